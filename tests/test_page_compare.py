"""The comparing page in Streamlit's own test runner: every view, filter, address and file, good and bad.

Nothing trains here: runs are folders whose figures are known, as the loop would leave them.
"""

import io
import itertools
import json
import re
import shutil
import statistics
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from scipy import stats
from sklearn.metrics import matthews_corrcoef
from streamlit.dataframe_util import convert_arrow_bytes_to_pandas_df
from streamlit.testing.v1 import AppTest

from poolviz.pages import choose_results, compare
from poolviz.pages.claims import PLURAL
from poolviz.pages.compare_parameters import HELD_OUT, ORIGIN_NAMES, PARAMS, REPORTED, VIEWS, key
from poolviz.pages.show import plain
from poolviz.pages.train_parameters import TASK_NAMES
from poolviz.pooling import POOLINGS
from poolviz.runs import store
from poolviz.runs.claims import CLAIMS
from poolviz.runs.claims import judged as verdicts
from poolviz.runs.groups import group
from poolviz.runs.reported import reported
from poolviz.runs.results import MEASURES, Shelf
from poolviz.runs.store import Run
from poolviz.training.config import CLASSES, RunConfig, default_config
from poolviz.training.folder import signs_of_life
from tests.test_page_explorer import healthy, new_page, no_data, one_sentence, said
from tests.test_page_sentences import HOSTILE, at
from tests.test_page_train import address, assert_inert, bare, texts

__all__ = ["no_data"]  # a fixture, used by every test of this file

CPU = {"device": "CPU", "processor": "Test CPU", "threads": 2, "cores": 2, "versions": {"torch": "2.14.1"}}
GPU = CPU | {"device": "NVIDIA Test"}
DIGITS = {"max": 0.050, "average": 0.040, "stochastic": 0.045}  # mean test errors
JITTER = (0.0, 0.004, -0.001)  # what a seed adds to a run's errors, of any pooling
NUMBERS = itertools.count()  # of runs' folders
LOUD = {"max": 1.0, "average": 1.5, "stochastic": 0.5}  # times this


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    choose_results.shelf.clear()
    return tmp_path


def write(folder: Path, name: str, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")


def judged(error: float, loss: float, seconds: float, **more) -> dict:
    return {"error": error, "loss": loss, "mcc": 1 - error, "seconds": seconds, "cpu_seconds": seconds / 2, **more}


def confusion_of(labels: list[int], guesses: list[int], classes: int) -> list[list[int]]:
    table = np.zeros((classes, classes), int)
    np.add.at(table, (labels, guesses), 1)
    return table.tolist()


def predicted(config: RunConfig, wrong: set[int], count: int = 40) -> pd.DataFrame:
    """Examples 0 to `count`, those of `wrong` taken for the next class."""
    classes = len(CLASSES[config.task])
    labels = [number % classes for number in range(count)]
    guesses = [(label + (n in wrong)) % classes for n, label in enumerate(labels)]
    columns = {"example": range(count), "label": labels, "prediction": guesses}
    frame = pd.DataFrame(columns | {"confidence": np.linspace(0.5, 1, count)}).astype(
        {"example": "int32", "label": "int16", "prediction": "int16"}
    )
    frame.attrs = {"split": "validation" if config.is_text else "test", "epoch": config.epochs}
    return frame


def plausible(run: Run) -> Run:
    """The same with figures that agree with its predictions: those of a stranger must."""
    told, table = run.summary, pd.read_parquet(run.folder / "predictions.parquet")
    for part in ("best", "last", "test"):
        told[part]["error"] = float((table.label != table.prediction).mean())
        told[part]["mcc"] = matthews_corrcoef(table.label, table.prediction)
    write(run.folder, "summary.json", told)
    return run


def a_run(
    task="digits",
    error=0.05,
    loss=0.2,
    seconds=4.0,
    root: Path | None = None,
    name="",
    environment=CPU,
    state="completed",
    finished=None,
    losses=None,
    wrong=(),
    by="page",
    created=1.0,
    parameters=1000,
    estimated=2_000_000,
    **settings,
) -> Run:
    """A folder as the loop leaves it; `loss` of the best epoch, `losses` of each."""
    config = default_config(task, **({"epochs": 3} if task == "digits" else {}) | settings)
    root = root or store.runs_folder()
    folder = root / (name or f"{task}-{config.pooling}-{config.seed}-{next(NUMBERS)}")
    folder.mkdir(parents=True)
    write(folder, "config.json", config.to_json())
    write(folder, "job.json", {"by": by, "created": created})
    write(folder, "environment.json", environment)
    epochs = config.epochs if finished is None else finished
    losses = list(losses or [loss + 0.1 * (epochs - n) for n in range(1, epochs + 1)])
    rows = [{"kind": "start", "step": 0, "steps": 10 * config.epochs, "epoch_steps": 10, "epochs": config.epochs}]
    rows[0] |= {"parameters": parameters, "estimated_bytes": estimated}
    for number, each in enumerate(losses, 1):
        spent = {"train_seconds": seconds * number, "train_cpu_seconds": 2 * seconds * number}
        spent |= {"eval_seconds": 0.5 * number, "eval_cpu_seconds": 0.25 * number}
        rows.append({"kind": "step", "step": 10 * number - 5, "epoch": number - 1, "train_loss": each + 0.2})
        rows.append(
            {"kind": "epoch", "step": 10 * number, "epoch": number, "train_loss": each + 0.1, "train_error": error / 2}
            | {"validation_loss": each, "validation_error": error, "validation_mcc": 1 - error, **spent}
        )
    write(folder, "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    if state == "completed":
        table = predicted(config, set(wrong))
        table.to_parquet(folder / "predictions.parquet", index=False)
        counts = confusion_of(table.label.tolist(), table.prediction.tolist(), len(CLASSES[task]))
        summary = {
            "progress": {"epoch": epochs, "best_epoch": epochs, "stopped": ""},
            "best": judged(error, min(losses), seconds / 4, confusion=counts),
            "last": judged(error, losses[-1], seconds / 4, confusion=counts),
            "fit": judged(error / 2, losses[-1] / 2, seconds),
            "parameters": parameters,
            "estimated_bytes": estimated,
            "peak_bytes": 500_000_000,
        }
        if not config.is_text:
            summary["test"] = judged(error, min(losses), seconds / 8, confusion=counts)
        write(folder, "summary.json", summary)
    write(folder, "status.json", {"state": state} | (signs_of_life() if state == "running" else {"reason": ""}))
    return Run(folder)


def digits(poolings=DIGITS, seeds=range(3), **settings) -> dict[str, list[Run]]:
    """Three poolings over three seeds; errors as DIGITS, JITTER and LOUD say."""
    return {
        pooling: [
            a_run(
                pooling=pooling,
                seed=seed,
                error=poolings[pooling] + JITTER[seed % 3] * LOUD.get(pooling, 1.0),
                loss=4 * poolings[pooling],
                seconds=4.0 + seed + len(pooling),
                wrong=range(seed + len(pooling)),
                **settings,
            )
            for seed in seeds
        ]
        for pooling in poolings
    }


def unopened(**query: str) -> AppTest:
    return at(new_page(**query), "compare")


def opened(**query: str) -> AppTest:
    return healthy(unopened(**query).run())


def charts(app: AppTest) -> list[dict[str, list[dict]]]:
    """Each chart's data sets by name."""
    return [
        {
            sent.name: convert_arrow_bytes_to_pandas_df(sent.data.data).to_dict("records")
            for sent in chart.proto.datasets
        }
        for chart in app.get("vega_lite_chart")
    ]


def by_group(chart: dict, name="rows") -> dict[str, dict]:
    return {row["group"]: row for row in chart[name]}


def frames(app: AppTest) -> list[pd.DataFrame]:
    """Tables of the page, in order."""
    return [element.value for element in app.dataframe]


def cell(app: AppTest, row: str, column: str) -> str:
    (value,) = frames(app)[0].set_index("runs").loc[[row], column]
    return value


def choose(app: AppTest, name: str, value: object) -> AppTest:
    """Set a widget of the page, whatever kind it is."""
    for kind in ("selectbox", "multiselect", "toggle", "button_group"):
        for widget in getattr(app, kind):
            if widget.key == key(name):
                widget.set_value(value)
                return healthy(app.run())
    raise AssertionError(f"no widget {name}")


def options(app: AppTest, name: str) -> list[str]:
    return next(box.options for box in app.selectbox if box.key == key(name))


def here() -> list:
    """Groups of all completed runs."""
    return group(Shelf().read_all()[0])


def state(app):
    """What the page shows, as it would stand in an address that names everything."""
    values = {name: app.session_state[name] for name in PARAMS if app.session_state[name] is not None}
    return {name.rpartition(".")[2]: PARAMS[name].show(value) for name, value in values.items()}


def identity(pooling: str, **settings) -> str:
    (found,) = [g for g in here() if g.config.pooling == pooling and vars(g.config).items() >= settings.items()]
    return found.identity


def saved(monkeypatch, **query: str) -> dict[str, object]:
    """What makes the files of the page's Save menu, by name."""
    files: dict[str, object] = {}

    def menu(picture, numbers, more=()):
        files.update({"picture": picture, "csv": numbers, **{file[0]: file[3] for file in more}})

    monkeypatch.setattr(compare, "download_menu", menu)
    opened(**query)
    return files


# ---- leaderboard


def test_means_spreads_and_numbers_of_runs_are_numpys():
    runs = digits()
    app = opened(task="digits")
    assert said(app) == {}
    board = by_group(charts(app)[0])
    assert list(board) == ["Average", "Stochastic", "Max"]  # the best first
    for pooling, each in runs.items():
        errors = np.array([100 * run.summary["test"]["error"] for run in each])
        name = POOLINGS[pooling].label
        assert cell(app, name, "Test error (%)") == f"{errors.mean():.2f} ± {errors.std(ddof=1):.2f}"
        seconds = np.array([run.metrics()[-1]["train_cpu_seconds"] / 3 for run in each])
        assert cell(app, name, "Training time an epoch (s)") == f"{seconds.mean():.2f} ± {seconds.std(ddof=1):.2f}"
        assert cell(app, name, "n") == board[name]["n"] == 3
        low, high = stats.t.interval(0.95, 2, errors.mean(), stats.sem(errors))
        assert [board[name][end] for end in ("mean", "low", "high")] == pytest.approx([errors.mean(), low, high])
    assert len(charts(app)[0]["runs"]) == 9


def test_differences_are_paired_by_seed_and_their_intervals_scipys():
    runs = digits()
    shutil.rmtree(runs["average"][0].folder)  # its seeds are 1 and 2 now
    app = opened(task="digits", baseline=identity("max"))
    found = by_group(charts(app)[1])
    errors = {
        name: [100 * run.summary["test"]["error"] for run in each if run.folder.is_dir()] for name, each in runs.items()
    }
    for name, ours, theirs in (
        ("Stochastic", errors["stochastic"], errors["max"]),
        ("Average", errors["average"], errors["max"][1:]),
    ):
        interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert found[name]["basis"] == f"paired, n {len(ours)}"
        assert found[name]["mean"] == pytest.approx(np.mean(ours) - np.mean(theirs))
        assert [found[name]["low"], found[name]["high"]] == pytest.approx([interval.low, interval.high])
        assert (found[name]["says"] == "cannot tell") == (interval.low < 0 < interval.high)


def test_another_measure_and_another_baseline():
    digits()
    app = choose(opened(task="digits"), "measure", "train_time")
    choose(app, "baseline", identity("average"))
    board, apart = charts(app)
    assert by_group(board)["Max"]["mean"] == pytest.approx(2 * (4 + 1 + 3))
    assert set(by_group(apart)) == {"Max", "Stochastic"} and "Average" not in by_group(apart)
    assert address(app)["measure"] == "train_time" and address(app)["baseline"] == identity("average")


def test_text_begins_with_cls_as_the_baseline_and_the_last_epochs_mcc():
    for pooling in ("max", "mean", "cls"):
        a_run("cola", pooling=pooling, error=0.6)
    app = opened(task="cola")
    assert app.session_state[key("baseline")] == identity("cls")
    assert app.session_state[key("measure")] == "last_mcc"


def test_one_seed_alone_has_no_spread_and_that_is_told():
    digits(seeds=[0])
    app = opened(task="digits")
    assert cell(app, "Max", "Test error (%)") == "5.00" and "One run alone: Max" in texts(app)
    assert {row["basis"] for row in charts(app)[1]["rows"]} == {"one seed, no interval"}
    assert "One seed gives no interval." in texts(app) and "Of twenty" not in texts(app)


def test_only_what_differs_in_settings_is_listed():
    digits()
    assert "Only what differs in their settings" not in [each.label for each in opened(task="digits").expander]
    a_run(pooling="max", learning_rate=0.01)
    app = opened(task="digits")
    assert list(frames(app)[-1].columns) == ["runs", "pooling", "learning rate"]
    assert "Max · learning rate 0.01" in list(frames(app)[-1].runs)


# ---- as reported


def test_reported_figures_stand_apart_and_are_never_averaged_in():
    for pooling, error in (("max", 0.009), ("average", 0.008), ("none", 0.010)):
        for seed in range(2):
            a_run("mnist", pooling=pooling, seed=seed, error=error)
    app = opened()
    board = charts(app)[0]
    assert len(board["reported"]) == len([each for each in reported("mnist") if "test_error" in each.values])
    assert board["reported"][0]["place"] == 3  # below all that is ours
    ours, theirs = frames(app)
    assert cell(app, "Max", "Test error (%)") == "0.90 ± 0.00" and list(ours.n) == [2, 2, 2]
    assert len(theirs) == len(reported("mnist")) and set(theirs.report) == {"B", "published"}
    assert list(theirs[theirs.report == "B"]["Test error (%)"]) == ["1.19", "1.19", "1.1"]
    choose(app, "origins", [name for name in ORIGIN_NAMES if name != REPORTED])
    assert charts(app)[0]["reported"] == [] and len(frames(app)) == 1 and "As reported" not in texts(app)
    assert frames(app)[0].equals(ours)
    assert address(app)["origins"] == "shipped,mine,imported"


def test_reported_figures_are_of_all_examples_alone():
    a_run("mnist", train_limit=1000)
    a_run("mnist")
    assert len(frames(opened(size="1000"))) == 1 and len(frames(opened())) == 2


# ---- filters


def test_filters_by_task_pooling_size_origin_and_machine(home):
    digits()
    a_run(pooling="max", train_limit=400, error=0.2)
    a_run(pooling="lp", environment=GPU, error=0.3)
    a_run(pooling="max", by="import", seed=7, error=0.4)
    a_run(pooling="none", root=home / "shipped", error=0.5)
    app = opened(task="digits")
    assert options(app, "task") == list(TASK_NAMES.values()) and "13 runs of 13 here" in texts(app)
    assert options(app, "size") == ["all", "400"]
    assert set(frames(app)[0].runs) == {"Max", "Average", "Stochastic", "None", "Lp · NVIDIA Test"}
    assert cell(app, "Max", "n") == 4 and cell(app, "Max", "from") == "mine, imported"
    choose(app, "origins", ["mine"])
    assert cell(app, "Max", "n") == 3 and len(frames(app)[0]) == 4
    choose(app, "origins", ["shipped"])
    assert len(frames(app)[0]) == 1 and frames(app)[0]["from"][0] == "shipped"
    choose(app, "origins", list(ORIGIN_NAMES))
    choose(app, "hardware", "NVIDIA Test")
    assert list(frames(app)[0].machine) == ["NVIDIA Test"]
    choose(app, "hardware", "all")
    choose(app, "poolings", ["max", "lp"])
    assert len(frames(app)[0]) == 2
    choose(app, "poolings", [])
    choose(app, "size", "400")
    assert list(frames(app)[0].n) == [1] and frames(app)[0]["Test error (%)"][0] == "20.00"
    choose(app, "task", "minimal-pairs")
    assert "No run of Minimal pairs is here" in bare(said(app)["info"][0])
    choose(app, "task", "digits")
    assert len(frames(app)[0]) == 5


def test_no_origin_at_all_is_said_and_undone():
    digits()
    app = choose(opened(task="digits"), "origins", [])
    assert "No run of Digits" in said(app)["info"][0] and address(app)["origins"] == ""
    assert said(choose(app, "origins", ["mine"])) == {}


def test_held_out_runs_are_another_question():
    a_run("cola", pooling="cls", error=0.6)
    a_run("cola", pooling="cls", error=0.5, held_out=0.1)
    app = opened(task="cola", size=HELD_OUT)
    assert frames(app)[0]["MCC, last epoch"][0] == "0.500" and len(frames(app)) == 1
    assert frames(choose(app, "size", "0"))[0]["MCC, last epoch"][0] == "0.400"


# ---- what is not comparable, and what goes on


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"epochs": 7}, "epochs 7, not 3"),
        ({"batch_size": 64}, "batch size 64, not 32"),
        ({"max_steps": 5}, "max steps 5, not 0"),
        ({"environment": GPU}, "another machine (NVIDIA Test)"),
    ],
)
def test_what_is_no_fair_comparison_is_marked_with_its_reason(settings, reason):
    digits()
    a_run(pooling="lp", **settings)
    app = opened(task="digits")
    (warning,) = said(app)["warning"]
    assert "Not comparable with Max" in warning and reason in warning
    marked = {name: row for name, row in by_group(charts(app)[1]).items() if row["faint"]}
    (row,) = marked.values()
    assert row["says"] == "not comparable" and row["why"] == reason


def test_a_live_run_stands_among_full_ones_and_is_marked():
    digits()
    run = a_run(pooling="lp", state="running", finished=2, error=0.3)
    app = opened(task="digits")
    name = next(each for each in frames(app)[0].runs if "live" in each)
    assert name.endswith("(live: epoch 2 of 3)") and cell(app, name, "Validation error (%)") == "30.00"
    assert "Test error" not in cell(app, name, "Test error (%)") and name not in options(app, "baseline")
    assert "it has not ended" in said(choose(app, "measure", "validation_error"))["warning"][0]
    assert by_group(charts(app)[1])[name]["says"] == "not comparable"
    for view in VIEWS:
        choose(app, "view", view)
    run.set_status("completed")  # without a summary: that is no completed run
    healthy(app.run())
    assert f"{run.name}: summary.json is missing." in texts(app).replace("**", "")


def test_a_page_that_was_open_while_runs_waited_looks_again():
    """The fragment of a browser's timer, run by hand: it asks for a whole run when a state has changed."""
    digits()
    run = a_run(pooling="lp", state="queued", finished=0)
    app = opened(task="digits")
    shelf = choose_results.shelf()
    waiting = {each.name: (each.state, each.epoch) for each in shelf.read_all()[0] if each.state == "queued"}
    assert set(waiting) == {run.name}
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare.st, "rerun", lambda: asked.append(True))
        compare._look_again(waiting)
        assert asked == []
        write(run.folder, "status.json", {"state": "completed", "reason": ""})
        compare._look_again(waiting)
    assert asked == [True] and not app.exception


def test_a_baseline_that_nobody_chose_follows_what_is_usual():
    digits()
    app = opened(task="digits", poolings="average")
    assert state(app)["baseline"] == identity("average") and "baseline" not in address(app)
    choose(app, "poolings", ["average", "max"])
    assert state(app)["baseline"] == identity("max")
    choose(app, "baseline", identity("average"))
    choose(app, "poolings", [])
    assert state(app)["baseline"] == identity("average"), "what was chosen stays"


def test_each_view_gives_its_own_numbers(monkeypatch, mnist):
    assert saved(monkeypatch, view="leaderboard")["csv"]().startswith(b"origin,")
    assert b"# Loss by epoch: validation" in saved(monkeypatch, view="curves")["csv"]()
    table = pd.read_csv(io.BytesIO(saved(monkeypatch, view="claims")["csv"]()))
    assert set(table.claim) <= set(CLAIMS) and set(table["verdict of the claim"]) <= {
        "holds",
        "does not hold",
        "cannot tell",
    }


def test_the_report_shows_the_measure_and_the_baseline_of_the_page(monkeypatch, mnist):
    files = saved(monkeypatch, measure="train_time", baseline=identity("average", task="mnist"))
    text = files["Report (HTML)"]().decode()
    assert "Training time an epoch: difference to Average" in text and "difference to Max" not in text
    assert "Training time an epoch against Average. " in text and "equal over all seeds give no" in text


def test_a_live_run_alone_and_before_its_first_line_breaks_nothing(monkeypatch):
    run = a_run(pooling="lp", state="running", finished=0)
    (run.folder / "metrics.jsonl").unlink()
    for view in VIEWS:
        opened(task="digits", view=view)
    assert run.name in saved(monkeypatch, task="digits")["Report (HTML)"]().decode()


# ---- curves and trade-off


def test_curves_are_means_over_seeds_by_epoch_step_and_second():
    runs = digits()["max"]
    app = opened(task="digits", view="curves", poolings="max")
    for axis, at_end in (("epoch", 3), ("step", 30), ("second", 3 * (4 + 1 + 3))):
        rows = charts(choose(app, "axis", axis))[0]["validation"]
        losses = [[row["validation_loss"] for row in run.metrics() if row["kind"] == "epoch"] for run in runs]
        assert [row["y"] for row in rows] == pytest.approx(np.mean(losses, 0))
        assert rows[-1]["x"] == pytest.approx(at_end) and {row["n"] for row in rows} == {3}
    choose(app, "curve", "error")
    errors = [run.summary["best"]["error"] for run in runs]
    last = charts(app)[0]["validation"][-1]
    assert [last["least"], last["y"], last["most"]] == pytest.approx([min(errors), np.mean(errors), max(errors)])
    choose(app, "log", True)
    assert '"type": "log"' in json.dumps(json.loads(app.get("vega_lite_chart")[0].proto.spec))
    assert {"axis": "second", "curve": "error", "log": "yes"}.items() <= address(app).items()


def test_reported_curves_lie_beside_ours_by_epoch_alone():
    a_run("cola", pooling="cls", error=0.6)
    app = opened(task="cola", view="curves", curve="mcc")
    assert len({row["name"] for row in charts(app)[0]["reported"]}) == 3
    assert [row["y"] for row in charts(app)[0]["validation"]] == pytest.approx([0.4] * 5)
    assert charts(choose(app, "axis", "second"))[0]["reported"] == []


def test_the_trade_off_has_a_dot_a_run_and_a_mean_a_group():
    runs = digits()
    app = opened(task="digits", view="tradeoff")
    (chart,) = charts(app)
    assert len(chart["runs"]) == 9
    for pooling, each in runs.items():
        point = by_group(chart, "means")[POOLINGS[pooling].label]
        assert point["y"] == pytest.approx(100 * np.mean([run.summary["test"]["error"] for run in each]))
        assert point["x"] == pytest.approx(np.mean([run.metrics()[-1]["train_cpu_seconds"] / 3 for run in each]))
    choose(choose(app, "x", "peak_bytes"), "y", "gap")
    assert by_group(charts(app)[0], "means")["Max"]["x"] == pytest.approx(500)
    choose(app, "log", True)


# ---- errors


def test_disagreement_is_counted_and_its_examples_are_shown():
    a_run(pooling="max", wrong=[1, 2, 3, 4])
    a_run(pooling="average", wrong=[4, 5, 6])
    app = opened(task="digits", view="errors")
    shown = texts(app)
    assert "34 examples are right with both and 1 wrong with both; Max alone is right on 2, Average alone on 3" in shown
    assert f"p = {stats.binomtest(2, 5).pvalue:.2g}" in shown
    pictures = [body for each in app.get("html") if "<figure" in (body := each.proto.body)]
    assert [body.count("<figure>") for body in pictures] == [2, 3]
    assert "5 → 6" in pictures[0] and "1 → 2" in pictures[1]
    left, right = charts(app)[1:]
    assert sum(row["count"] for row in left["confusion"] if row["truth"] != row["said"]) == 4
    assert sum(row["count"] for row in right["confusion"] if row["truth"] != row["said"]) == 3
    choose(app, "second", identity("max"))
    assert "Choose two different groups" in texts(app)


def test_groups_without_a_seed_in_common_are_told_and_a_seed_that_is_gone_is_replaced():
    for seed in (0, 1):
        a_run(pooling="max", seed=seed)
    a_run(pooling="average", seed=0)
    a_run(pooling="lp", seed=5)
    a_run(pooling="none", seed=1)
    app = opened(task="digits", view="errors", first=identity("max"), second=identity("none"))
    assert app.session_state[key("seed")] == 1 and "seed" not in address(app), "the only one they share is usual"
    choose(app, "second", identity("average"))
    assert app.session_state[key("seed")] == 0
    choose(app, "second", identity("lp"))
    assert "no seed in common" in texts(app)


def other_columns(folder):
    pd.DataFrame({"a": [1]}).to_parquet(folder / "predictions.parquet")


def classes_beyond(folder):
    table = pd.read_parquet(folder / "predictions.parquet").assign(label=99)
    table.to_parquet(folder / "predictions.parquet")


@pytest.mark.parametrize(
    "damage",
    [
        other_columns,
        classes_beyond,
        lambda folder: (folder / "predictions.parquet").write_bytes(b"PAR1torn"),
        lambda folder: (folder / "predictions.parquet").unlink(),
    ],
)
def test_damaged_predictions_are_told_and_the_rest_is_shown(damage):
    damage(digits(seeds=[0])["max"][0].folder)
    app = opened(task="digits", view="errors")
    assert "Max: its predictions were not kept, or are damaged." in texts(app) and len(charts(app)) == 2


def test_tables_of_different_sets_are_not_compared():
    run = digits(seeds=[0])["max"][0]
    table = pd.read_parquet(run.folder / "predictions.parquet")
    table.attrs = {"split": "validation", "epoch": 1}
    table.to_parquet(run.folder / "predictions.parquet")
    assert "judged on different sets" in said(opened(task="digits", view="errors"))["info"][0]


# ---- claims


def claimed(small=False):
    """Full MNIST and CoLA runs on which some claims hold, some do not."""
    limits = (0, 1000) if small else (0,)
    for limit in limits:
        for place, (pooling, error) in enumerate((("max", 0.009), ("average", 0.012), ("none", 0.010))):
            for seed in range(3):
                a_run(
                    "mnist",
                    pooling=pooling,
                    seed=seed,
                    error=error + seed * 1e-4 * (1 + place),
                    seconds=10 + 3 * place + seed / 10,
                    loss=0.03 - 0.01 * place,
                    parameters=4000 if pooling == "none" else 1000,
                    estimated=8_000_000 if pooling == "none" else 2_000_000,
                    train_limit=limit,
                )
    for place, (pooling, tanh) in enumerate((("cls", False), ("mean-max", False), ("softmax-stochastic", True))):
        for seed in range(3):
            losses = (
                [0.5, 0.4, 0.6 + seed / 100, 0.7, 0.8] if pooling != "softmax-stochastic" else [0.6, 0.5, 0.4, 0.3, 0.2]
            )
            a_run(
                "cola",
                pooling=pooling,
                linear_tanh=tanh,
                seed=seed,
                error=0.6 + place / 10 + seed / 100,
                losses=losses,
                seconds=5 + place + seed / 10,
            )


def test_every_claims_verdict_is_that_of_the_runs():
    claimed(small=True)
    findings = verdicts(here())
    assert {finding.verdict for finding in findings.values()} >= {"holds", "does not hold"}
    app = opened(view="claims")
    shown = texts(app)
    for name, claim in CLAIMS.items():
        (line,) = [
            line for line in bare("\n".join(e.value for e in app.markdown)).split("**") if line.startswith(f"{name} · ")
        ]
        assert claim.title in line
        said_of = next(bare(e.value) for e in app.markdown if bare(e.value).startswith(f"**{name} · "))
        assert findings[name].verdict in said_of and bare(plain(findings[name].reason)) in said_of
        assert bool(claim.contradiction) == (bare(plain(claim.contradiction)) in shown and bool(claim.contradiction))
    counts = Counter(finding.verdict for finding in findings.values())
    for verdict, count in counts.items():
        assert f"badge[{count} {PLURAL[verdict] if count > 1 else verdict}]" in shown
    rows = frames(app)[list(CLAIMS).index("B3")]
    part = findings["B3"].parts[0]
    assert rows.effect[0] == f"{part.shown[0]:.4g} points" and rows.n[0] == "3, paired"
    assert list(rows.decides) == ["yes"] * len(findings["B3"].parts) + ["no"] * len(findings["B3"].also)


def test_the_claim_of_the_address_is_open_and_alone():
    app = opened(view="claims", claim="B6")
    about = [each for each in app.expander if each.label.startswith("What was reported")]
    assert [each.proto.expanded for each in about] == [True] + [False] * (len(CLAIMS) - 1), "it comes first"
    first = next(bare(each.value) for each in app.markdown if re.match(r"\*\*[AB]\d", each.value))
    assert first.startswith("**B6 · ")
    assert address(app)["claim"] == "B6" and "[A link to this claim](?view=claims&claim=B6)" in texts(app)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("B3", {"measure": "test_error", "poolings": "none,max,average"}),
        ("B7", {"measure": "test_error", "poolings": "max,average,none"}),
        ("A2", {"task": "cola", "measure": "gap", "poolings": "softmax-stochastic,cls,mean-max"}),
        ("A1", {"task": "cola", "view": "curves", "poolings": "softmax-stochastic,cls,mean-max"}),
    ],
)
def test_the_evidence_of_a_claim_is_opened_with_its_runs(name, wanted):
    claimed()
    app = opened(view="claims", claim=name, origins="shipped", size="0")
    finding = CLAIMS[name].judge(here())
    app.button(key=f"evidence {name}").click()
    healthy(app.run())
    assert wanted.items() <= state(app).items() and said(app) == {}
    assert {"origins", "hardware"}.isdisjoint(address(app)) and state(app)["size"] == "0"
    if "view" not in wanted:
        assert state(app)["baseline"] == finding.parts[0].groups[-1].identity and address(app).get("view") is None
        assert sum(frames(app)[0].n) == 9


def test_the_evidence_that_does_not_decide_can_be_opened_where_it_is_all_there_is():
    for pooling in ("max", "average", "none"):
        for seed in range(2):
            a_run("mnist", pooling=pooling, seed=seed, error=0.05 + seed / 1000, train_limit=1000)
    app = opened(view="claims")
    app.button(key="evidence B3").click()
    healthy(app.run())
    assert state(app)["size"] == "1000" and state(app)["measure"] == "test_error" and len(frames(app)[0]) == 2


# ---- the address


def test_an_address_is_restored_and_written_as_it_was():
    digits()
    a_run(pooling="lp", environment=GPU)
    full = {
        "task": "digits",
        "view": "tradeoff",
        "size": "0",
        "poolings": "max,average",
        "origins": "mine,reported",
        "measure": "gap",
        "curve": "error",
        "axis": "second",
        "log": "yes",
        "x": "parameters",
        "y": "test_loss",
        "baseline": identity("average"),
        "first": identity("average"),
        "second": identity("max"),
        "seed": "2",
        "claim": "A3",
    }
    for view in VIEWS:
        app = opened(**full | {"view": view})
        wanted = full | {"view": view}
        usual = {"size": "0"}  # what is shown until somebody chooses stays out of the address
        kept = {name: text for name, text in wanted.items() if usual.get(name, PARAMS[key(name)].default) != text}
        assert address(app) == kept
        assert said(app) == {}, view
        for name, text in wanted.items():
            assert app.session_state[key(name)] == PARAMS[key(name)].parse(text)


BAD = {
    "task": ["imagenet", "", "<script>alert(1)</script>"],
    "view": ["board", "Claims"],
    "size": ["-1", "1e3", "٣", "9" * 10, "5000"],
    "poolings": ["best", "max;average", "max,,lp", "cls"],
    "origins": ["ours", "mine,mine,x"],
    "hardware": ["NVIDIA H100", "![x](http://evil.example/x.png)"],
    "measure": ["accuracy", "last_mcc"],
    "baseline": ["max-abcdef", "MAX", "../../etc/passwd", "x" * 3000],
    "curve": ["f1"],
    "axis": ["hour"],
    "log": ["1"],
    "x": ["speed"],
    "seed": ["-1", "2.5", "9" * 12],
    "claim": ["A6", "a1", "<b>"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_in_an_address_is_told_and_the_rest_holds(name, value):
    digits(seeds=[0])
    app = healthy(unopened(**{"task": "digits", "curve": "error", name: value}).run())
    warning = one_sentence(app, "warning")
    assert f"{name} = " in warning
    assert_inert([app.warning[0].value.partition("`")[0]])
    for other in {"task": "digits", "curve": "error"}.items() - {(name, value)}:
        assert name == other[0] or app.session_state[key(other[0])] == other[1]
    assert said(healthy(app.run())) in ({}, said(app))


@pytest.mark.parametrize(
    ("view", "name", "value"),
    [
        ("tradeoff", "y", "test_mcc"),
        ("tradeoff", "x", "test_mcc"),
        ("curves", "curve", "mcc"),
        ("errors", "first", "lp-1"),
        ("errors", "seed", "77"),
    ],
)
def test_what_an_address_names_and_is_not_here_is_told_in_its_view(view, name, value):
    digits(seeds=[0])
    app = healthy(unopened(task="digits", view=view, **{name: value}).run())
    assert f"{name} = {value}: unknown here" in one_sentence(app, "warning")


# ---- what others bring


def upload(app: AppTest, packed: bytes) -> AppTest:
    app.file_uploader(key="receive_run").set_value(("run.zip", packed, "application/zip"))
    return healthy(app.run())


def packed(entries: dict[str, bytes | str]) -> bytes:
    store_ = io.BytesIO()
    with zipfile.ZipFile(store_, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return store_.getvalue()


def test_a_run_of_somebody_else_arrives_and_is_marked_as_imported():
    run = plausible(digits()["max"][0])
    given = run.zipped()
    shutil.rmtree(run.folder)
    app = opened(task="digits")
    assert cell(app, "Max", "n") == 2
    upload(app, given)
    assert f"{run.name} is among the runs of Digits (8 × 8) now, as imported." in bare(app.success[0].value)
    assert cell(app, "Max", "n") == 3 and set(cell(app, "Max", "from").split(", ")) == {"mine", "imported"}
    upload(app, given)
    assert cell(app, "Max", "n") == 3


def test_a_run_that_is_here_already_is_not_kept_twice():
    run = plausible(digits()["max"][0])
    app = upload(opened(task="digits"), run.zipped())
    assert f"This run is here already: {run.name}." in said(app)["error"][0] and len(list(store.users_runs())) == 9


HOSTILE_ZIPS = {
    "a path out of the folder": ({"../evil/config.json": "{}"}, "no name of a file"),
    "an absolute path": ({"/etc/cron.d/x": "x"}, "no name of a file"),
    "a strange file": ({"run/config.json": "{}", "run/x.pkl": "x"}, "does not belong"),
    "no run": ({"run/log.txt": "x"}, "holds no config.json"),
    "Markdown": ({"![x](http://evil.example/x.png)": "x"}, ""),
    "an unknown field": (
        {"config.json": '{"task": "digits", "colour": 1}', "status.json": "{}"},
        "not known here, 'colour'",
    ),
    "no zip": (None, "no zip"),
    "a bomb": ({"run/config.json": "{}", "run/status.json": "{}", "run/log.txt": b"0" * (5 * 2**20)}, "at most"),
}


@pytest.mark.parametrize("name", list(HOSTILE_ZIPS))
def test_a_hostile_zip_is_refused_in_a_sentence_and_everything_else_shows(name, home):
    digits(seeds=[0])
    entries, why = HOSTILE_ZIPS[name]
    before = {path for path in home.rglob("*") if "shipped" not in path.parts}
    app = upload(opened(task="digits"), packed(entries) if entries else b"PK\x03\x04 torn")
    assert why in one_sentence(app, "error") and len(frames(app)[0]) == 3
    assert_inert([app.error[0].value])
    assert {path for path in home.rglob("*") if "shipped" not in path.parts} == before


# ---- damaged folders


DAMAGE = {
    "summary.json is missing.": lambda folder: (folder / "summary.json").unlink(),
    "environment.json is missing.": lambda folder: (folder / "environment.json").unlink(),
    "metrics.jsonl is missing.": lambda folder: (folder / "metrics.jsonl").unlink(),
    "status.json is missing.": lambda folder: (folder / "status.json").unlink(),
    "summary.json is torn": lambda folder: write(folder, "summary.json", '{"best": {"err'),
    "environment.json is torn": lambda folder: write(folder, "environment.json", ""),
    "status.json is torn": lambda folder: write(folder, "status.json", '{"state": "comp'),
    "metrics.jsonl ends before the last epoch": lambda folder: write(
        folder,
        "metrics.jsonl",
        "".join((folder / "metrics.jsonl").read_text().splitlines(keepends=True)[:-1]) + '{"kin',
    ),
    "holds a figure that is no number": lambda folder: write(folder, "summary.json", '{"best": {"error": NaN}}'),
    "The configuration is not JSON": lambda folder: write(folder, "config.json", '{"task": "dig'),
    "Unknown in a configuration: 'colour'": lambda folder: write(
        folder, "config.json", json.loads((folder / "config.json").read_text()) | {"colour": "red"}
    ),
    "Unknown task 'imagenet'": lambda folder: write(folder, "config.json", {"task": "imagenet"}),
    "Test error is no number": lambda folder: write(
        folder, "summary.json", json.loads((folder / "summary.json").read_text()) | {"test": {"error": "small"}}
    ),
}


def test_damaged_folders_are_named_with_their_sentence_and_all_else_shows():
    digits()
    bad = {why: a_run(pooling="lp", seed=number) for number, why in enumerate(DAMAGE)}
    for why, damage in DAMAGE.items():
        damage(bad[why].folder)
    for view in VIEWS:
        app = opened(task="digits", view=view)
        assert f"Skipped: {len(DAMAGE)} damaged folders" in [each.label for each in app.expander]
        shown = texts(app).replace("**", "")
        for why, run in bad.items():
            assert re.search(rf"- {run.name}: [^\n]*{re.escape(why)}", shown), why
    assert list(frames(opened(task="digits"))[0].n) == [3, 3, 3]


def test_hundreds_of_damaged_folders_are_counted_and_not_all_listed():
    digits(seeds=[0])
    for number in range(60):
        folder = store.runs_folder() / f"bad-{number}"
        folder.mkdir()
        write(folder, "config.json", "{")
    app = opened(task="digits")
    assert "Skipped: 60 damaged folders" in [each.label for each in app.expander] and "And 40 more." in texts(app)


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "epoch", "epoch": NaN, "step": 1, "validation_loss": NaN, "train_loss": 1, "train_seconds": NaN}',
        '{"kind": "epoch", "epoch": "x", "step": null, "validation_loss": [1], "train_loss": {}}',
        '{"kind": "epoch"}',
        '{"kind": "epoch", "epoch": 1e308, "step": 1e308, "validation_loss": 1e308, "train_seconds": 1e308}',
        '{"kind": "epoch", "epoch": 1, "step": 1' + "0" * 400 + ', "validation_loss": 1' + "0" * 400 + "}",
        "[]",
        '{"kind": ["epoch"]}',
        "\x00",
    ],
)
def test_a_bad_line_in_the_middle_of_a_curve_breaks_no_view(line):
    folder = digits(seeds=[0])["max"][0].folder
    lines = (folder / "metrics.jsonl").read_text().split("\n")
    write(folder, "metrics.jsonl", "\n".join([lines[0], line, *lines[2:]]))
    for axis in ("epoch", "step", "second"):
        app = opened(task="digits", view="curves", axis=axis, log="yes")
        assert by_group(charts(app)[0], "validation")["Average"]["y"] > 0
    opened(task="digits", view="claims")


def test_hostile_names_are_shown_as_text_in_every_view():
    for number, text in enumerate(HOSTILE):
        run = a_run(seed=number, environment=CPU | {"processor": text, "versions": {text: text}})
        write(run.folder, "config.json", json.loads((run.folder / "config.json").read_text()) | {"pooling": text})
        bad = store.runs_folder() / f"bad-{number}"
        bad.mkdir()
        write(bad, "config.json", {text: 1})
    for view in VIEWS:
        app = opened(task="digits", view=view)
        assert_inert(
            element.value for kind in ("markdown", "caption", "warning", "info") for element in getattr(app, kind)
        )


# ---- files


@pytest.fixture
def mnist():
    return [
        a_run("mnist", pooling=pooling, seed=seed, error=error + seed / 1000)
        for pooling, error in (("max", 0.009), ("average", 0.008))
        for seed in range(3)
    ]


def test_the_csv_holds_every_run_and_the_reported_figures_apart(monkeypatch, mnist):
    text = saved(monkeypatch)["csv"]().decode()
    table = pd.read_csv(io.StringIO(text))
    ours, theirs = table[table.origin != "as reported"], table[table.origin == "as reported"]
    assert set(ours.run) == {run.name for run in mnist} and theirs.run.isna().all() and theirs.seed.isna().all()
    for run in mnist:
        (error,) = ours[(ours.run == run.name) & (ours.measure == "test_error")].value
        assert error == run.summary["test"]["error"]
    assert len(theirs) == sum(len(each.values) for each in reported("mnist"))
    assert set(ours.measure) <= set(MEASURES)


def test_the_report_holds_every_run_and_the_reported_figures_apart(monkeypatch, mnist):
    text = saved(monkeypatch)["Report (HTML)"]().decode()
    tables = dict(re.findall("<table><caption>(.*?)</caption>(.*?)</table>", text, re.S))
    made = tables["Where each was made, and with what"]
    assert all(run.name in made for run in mnist) and made.count("<tr>") == 1 + len(mnist)
    ours = tables["Mean ± standard deviation over seeds"]
    theirs = tables["As reported by others, never averaged with ours"]
    assert "1.00 ± 0.10" in ours and "0.90 ± 0.10" in ours and "Zeiler" not in ours and "1.19" not in ours
    assert theirs.count("1.19") == 2 and theirs.count("<tr>") == 1 + len(reported("mnist"))
    assert "6 runs in 2 groups; training examples: all." in text
    assert not re.search(r'(src|href)="?(https?:)?//', re.sub("<script.*?</script>", "", text, flags=re.S))


def test_the_report_says_on_which_examples(monkeypatch):
    a_run("cola", pooling="cls", error=0.6, held_out=0.1)
    text = saved(monkeypatch, task="cola", size=HELD_OUT)["Report (HTML)"]().decode()
    assert "1 run in 1 group; training examples: nine tenths, judged on the rest." in text


@pytest.mark.parametrize("view", list(VIEWS))
def test_every_view_can_be_saved(monkeypatch, mnist, view):
    files = saved(monkeypatch, view=view)
    assert files["csv"]()
    if view != "claims":
        assert files["picture"]("png").startswith(b"\x89PNG") and b"<svg" in files["picture"]("svg")[:300]


# ---- nothing at all, and very much


def test_without_any_run_every_view_of_every_task_says_so(monkeypatch):
    for task in TASK_NAMES:
        for view in VIEWS:
            app = opened(task=task, view=view)
            assert list(said(app)) in ([], ["info"])
    assert "0.47" in saved(monkeypatch)["Report (HTML)"]().decode()  # what was reported is there
    assert opened(view="claims").session_state[key("task")] == "mnist"


def test_shipped_runs_alone(home):
    digits(root=home / "shipped")
    app = opened(task="digits")
    assert said(app) == {} and set(frames(app)[0]["from"]) == {"shipped"}
    assert not store.runs_folder().exists()
    choose(app, "origins", ["mine", "imported"])
    assert "No run of Digits" in said(app)["info"][0]


OPENS, REPAINTS = 2.0, 0.5  # seconds, as the issue promises; a loaded machine may take several times as long
SLACK = 4


@pytest.fixture(scope="module")
def five_hundred(tmp_path_factory):
    """A folder of 500 runs: 20 groups of 25 seeds, of curves of 12 epochs."""
    root = tmp_path_factory.mktemp("many") / "runs"
    poolings = ("max", "average", "stochastic", "lp", "mixed")
    for number in range(500):
        seed, place = number % 25, number // 25
        more = {"learning_rate": (0.001, 0.002)[place // 5 % 2], "environment": (CPU, GPU)[place // 10]}
        a_run(
            root=root,
            pooling=poolings[place % 5],
            seed=seed,
            error=0.03 + seed / 1e4,
            epochs=12,
            wrong=range(5),
            **more,
        )
    return root


@pytest.mark.parametrize("view", list(VIEWS))
def test_five_hundred_runs_open_and_repaint_in_time(monkeypatch, five_hundred, view):
    monkeypatch.setenv("POOLVIZ_RUNS", str(five_hundred))
    opened()  # what is imported once
    choose_results.shelf.clear()
    st.cache_data.clear()
    began = time.perf_counter()
    app = opened(task="digits", view=view)
    first = time.perf_counter() - began
    repaints: dict[tuple[str, ...], list[float]] = {("max",): [], ("max", "average"): [], (): []}
    for _, poolings in itertools.product(range(3), repaints):
        began = time.perf_counter()
        choose(app, "poolings", list(poolings))
        repaints[poolings].append(time.perf_counter() - began)
    slowest = max(statistics.median(times) for times in repaints.values())  # that of all groups
    print(f"\n500 runs, {view}: opens in {first:.2f} s; a filter repaints in {slowest:.3f} s")
    assert first < SLACK * OPENS and slowest < SLACK * REPAINTS
