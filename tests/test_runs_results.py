"""Ended runs as figures: the right field behind each measure, and folders that cannot be trusted."""

import json
import math
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolviz.runs import results, store
from poolviz.runs.results import IMPORTED, MEASURES, MINE, SHIPPED, TAIL, Shelf, ends_of, hardware, read
from poolviz.runs.summary import result as line_of
from poolviz.runs.summary import standing
from poolviz.training.config import default_config

CPU = {"device": "CPU", "processor": "Intel(R) Xeon(R) Processor", "threads": 1, "versions": {"torch": "2.14.1"}}
DAMAGE = ("summary.json", "environment.json", "metrics.jsonl")


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "runs"


def judged(loss, error=0.1, **more):
    return {"loss": loss, "error": error, "mcc": 1 - error, "seconds": 4.0, "cpu_seconds": 2.0, **more}


def epoch_row(epoch, **more):
    spent = {"train_seconds": 10.0 * epoch, "train_cpu_seconds": 6.0 * epoch, "eval_seconds": 4.0 * epoch}
    spent["eval_cpu_seconds"] = 2.0 * epoch
    return {"kind": "epoch", "step": epoch, "epoch": epoch, "train_loss": 1.0 / epoch, **spent, **more}


def summary_of(epochs=2):
    return {
        "progress": {"epoch": epochs, "stopped": ""},
        "parameters": 1000,
        "peak_bytes": 5_000_000,
        "estimated_bytes": 3_000_000,
        "best": judged(0.30, 0.10),
        "last": judged(0.40, 0.12),
        "test": judged(0.35, 0.11),
        "fit": judged(0.25, 0.05),
    }


def ended(state="completed", config=None, summary=None, environment=CPU, rows=None, **job):
    run = store.create(config or default_config("digits", epochs=2), **job)
    write(run, "summary.json", summary_of() if summary is None else summary)
    write(run, "environment.json", environment)
    rows = [{"kind": "start", "parameters": 1}, epoch_row(1), epoch_row(2)] if rows is None else rows
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run.set_status(state)
    return run


def write(run, name, content):
    (run.folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


# ---- the right field ----


def test_every_figure_comes_from_its_own_field():
    found = read(ended()).values
    assert found == pytest.approx(
        {
            "test_error": 0.11,
            "test_mcc": 0.89,
            "test_loss": 0.35,
            "validation_error": 0.10,
            "validation_mcc": 0.90,
            "validation_loss": 0.30,
            "last_mcc": 0.88,
            "last_loss": 0.40,
            "fit_loss": 0.25,
            "fit_error": 0.05,
            "train_loss": 0.5,
            "gap": 0.15,
            "train_time": 6.0,
            "eval_time": 2.0,
            "predict_time": 2.0,
            "peak_bytes": 5e6,
            "estimated_bytes": 3e6,
            "parameters": 1000,
        }
    )
    assert set(found) <= set(MEASURES)


def test_on_a_gpu_the_clock_counts():
    found = read(ended(environment={"device": "NVIDIA H100"})).values
    assert (found["train_time"], found["eval_time"], found["predict_time"]) == (10.0, 4.0, 4.0)


def test_domains_and_predictions_of_a_text_task():
    domains = {"mcc_in_domain": 0.5, "mcc_out_of_domain": 0.4}
    summary = summary_of() | {"best": judged(0.3, **domains), "last": judged(0.4) | {"cpu_seconds": 3.0}}
    del summary["test"]
    found = read(ended(config=default_config("cola", epochs=2), summary=summary)).values
    assert (found["mcc_in_domain"], found["mcc_out_of_domain"]) == (0.5, 0.4)
    assert found["predict_time"] == 3.0  # the validation set, by the last epoch's model
    assert "test_error" not in found


def test_figures_of_the_first_line_fill_in():
    summary = summary_of()
    del summary["parameters"], summary["estimated_bytes"]
    start = {"kind": "start", "parameters": 7, "estimated_bytes": 9}
    found = read(ended(summary=summary, rows=[start, epoch_row(1), epoch_row(2)])).values
    assert (found["parameters"], found["estimated_bytes"]) == (7, 9)


def test_facts_beside_the_figures():
    run = ended(summary=summary_of() | {"progress": {"stopped": "the limit of 3 steps"}}, created=5.0)
    found = read(run)
    assert (found.name, found.origin, found.state, found.created, found.epoch) == (run.name, MINE, "completed", 5.0, 2)
    assert found.early == "the limit of 3 steps"
    assert found.versions == {"torch": "2.14.1"}
    assert found.config == run.config
    assert found.hardware == "CPU Intel Xeon, 1 thread"


WHOLE = [{"kind": "start", "epoch_steps": 4}, epoch_row(1), epoch_row(2)]  # eight steps in all


def limited(stopped="", step=8, rows=WHOLE, state="completed", **config):
    summary = summary_of() | {"progress": {"epoch": 2, "stopped": stopped, "step": step}}
    return read(ended(state, default_config("digits", epochs=2, **config), summary, rows=rows))


@pytest.mark.parametrize(
    ("limits", "stopped", "step", "left"),
    [
        ({}, "", 8, {}),
        ({"max_seconds": 3600.0}, "", 8, {}),
        ({"max_seconds": 3600.0, "max_steps": 9}, "", 8, {}),
        ({"max_steps": 8}, "the limit of 8 steps", 8, {}),  # reached in its last step
        ({"max_seconds": 5.0}, "the limit of 5 seconds", 8, {}),
        ({"max_seconds": 3600.0, "patience": 1}, "no better validation loss for 1 epochs", 4, {"patience": 1}),
        # a limit that lay nearer than the end has bent the schedule
        ({"max_steps": 6, "patience": 1}, "no better validation loss for 1 epochs", 4, {"max_steps": 6, "patience": 1}),
        ({"max_steps": 6, "max_seconds": 9.0}, "the limit of 6 steps", 6, {"max_steps": 6}),
        ({"max_steps": 9, "max_seconds": 9.0}, "the limit of 9 seconds", 5, {"max_seconds": 9.0}),
    ],
)
def test_a_limit_that_was_not_reached_is_none(limits, stopped, step, left):
    found = limited(stopped, step, **limits)
    assert found.compared == default_config("digits", epochs=2, **left)
    assert found.config == default_config("digits", epochs=2, **limits), "as it was asked for"
    assert found.cut_short == (step < 8 and "limit" in stopped)
    assert found.early == (stopped if step < 8 else "")


def test_where_the_number_of_steps_is_not_known_a_limit_of_them_stays():
    found = limited(rows=[epoch_row(1), epoch_row(2)], max_steps=8, max_seconds=9.0)
    assert (found.compared.max_steps, found.compared.max_seconds) == (8, 0.0)


def test_reasons_of_a_limit_are_those_that_the_loop_gives():
    from types import SimpleNamespace

    from poolviz.training.loop import Loop

    loop = SimpleNamespace(accelerator=SimpleNamespace(num_processes=1))
    for config, end in (({"max_steps": 3}, "steps"), ({"max_seconds": 2.5}, "seconds")):
        loop.config = default_config("digits", **config)
        loop.progress = SimpleNamespace(step=3, train_seconds=2.5)
        reason = Loop._reason_to_stop(loop)
        assert reason.startswith(results.LIMIT) and reason.endswith(end)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"versions": {"torch": "2.14.9"}}, True),
        ({"versions": {"torch": "2.15.0"}}, False),
        ({"cores": 8}, False),
        ({"threads": 2}, False),
        ({"versions": {}}, False),
    ],
)
def test_a_machine_is_finer_than_the_hardware_that_is_shown(change, same):
    one, other = read(ended(environment=CPU | {"cores": 2})), read(ended(environment=CPU | {"cores": 2} | change))
    assert (one.machine == other.machine) == same
    assert one.machine == "CPU Intel Xeon, 1 thread, 2 cores, torch 2.14"
    assert (one.hardware == other.hardware) == ("threads" not in change)


def test_where_a_run_came_from(tmp_path):
    mine, given_ = ended(), ended(by="import")
    (tmp_path / "shipped").mkdir()
    ended().folder.rename(tmp_path / "shipped" / "digits-one")
    found, damaged = Shelf().read_all()
    assert damaged == []
    assert {each.name: each.origin for each in found} == {
        mine.name: MINE,
        given_.name: IMPORTED,
        "digits-one": SHIPPED,
    }
    assert found[-1].name == "digits-one"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "unknown device"),
        ({"device": "NVIDIA H100", "threads": 4}, "NVIDIA H100"),
        ({"device": "CPU"}, "CPU"),
        ({"device": "CPU", "processor": "AMD  EPYC", "threads": 4}, "CPU AMD EPYC, 4 threads"),
        ({"device": "CPU", "processor": None, "threads": "many"}, "CPU"),
    ],
)
def test_hardware_in_a_few_words(environment, said):
    assert hardware(environment) == said


# ---- runs that did not complete ----


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_that_goes_on_tells_what_it_knows(state):
    run = ended(state)
    (run.folder / "summary.json").unlink()
    if state == "running":
        run.set_running(os.getpid())
    found = read(run)
    assert (found.state, found.epoch, found.values["train_loss"]) == (state, 2, 0.5)
    assert "test_error" not in found.values


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_run_that_was_cut_off_may_lack_everything(state):
    run = ended(state)
    for name in DAMAGE:
        (run.folder / name).unlink()
    found = read(run)
    assert (found.state, found.values, found.hardware) == (state, {}, "unknown device")


# ---- damaged folders: named, and the others still show ----

TORN = {
    "summary.json is missing": ("summary.json", None),
    "environment.json is missing": ("environment.json", None),
    "metrics.jsonl is missing": ("metrics.jsonl", None),
    "summary.json is torn": ("summary.json", '{"best": {"loss": 0.'),
    "environment.json is torn": ("environment.json", "{"),
    "summary.json is empty": ("summary.json", ""),
    "summary.json is a list": ("summary.json", "[1, 2]"),
    "summary.json is deep": ("summary.json", "[" * 100_000),
    "summary.json holds NaN": ("summary.json", '{"best": {"loss": NaN}}'),
    "summary.json holds an infinity": ("summary.json", '{"best": {"loss": -Infinity}}'),
    "a figure is beyond floats": ("summary.json", '{"best": {"loss": 1e999}}'),
    "a figure is a vast whole number": ("summary.json", '{"best": {"loss": 1%s}}' % ("0" * 400)),
    "a figure overflows when squared": ("summary.json", '{"best": {"loss": 1e300}}'),
    "a figure is text": ("summary.json", '{"test": {"error": "0.1"}}'),
    "a figure is true": ("summary.json", '{"parameters": true}'),
    "versions are a list": ("environment.json", '{"device": "CPU", "versions": []}'),
    "no epoch": ("metrics.jsonl", '{"kind": "start"}\n'),
    "a curve of nothing": ("metrics.jsonl", ""),
    "the curve holds NaN": ("metrics.jsonl", '{"kind": "epoch", "epoch": 2, "train_loss": NaN}\n'),
    "a curve's figure is text": ("metrics.jsonl", '{"kind": "epoch", "epoch": 2, "train_loss": "low"}\n'),
    "the last epoch is torn": ("metrics.jsonl", json.dumps(epoch_row(1)) + '\n{"kind": "epoch", "epo'),
    "config.json is torn": ("config.json", "{"),
    "config.json has an unknown field": ("config.json", '{"task": "digits", "flux": 1}'),
    "config.json has a wrong type": ("config.json", '{"epochs": "5"}'),
} | {
    f"{part} is {kind}": ("summary.json", json.dumps(summary_of() | {part: wrong}))
    for part in ("best", "last", "test", "fit", "progress")
    for kind, wrong in (("a list", [1]), ("text", "x"), ("a number", 3), ("null", None))
}


@pytest.mark.parametrize(("name", "content"), TORN.values(), ids=TORN)
def test_a_damaged_folder_is_named_and_the_others_show(name, content):
    good, bad = ended(), ended()
    path = bad.folder / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8")
    found, damaged = Shelf().read_all()
    assert [each.name for each in found] == [good.name]
    assert [each.name for each in damaged] == [bad.name]
    assert damaged[0].why.endswith(".")
    assert len(damaged[0].why) < 200
    assert "Traceback" not in damaged[0].why


def test_what_is_wrong_is_said():
    run = ended()
    for name, content, said in (
        ("summary.json", '{"best": 3}', "summary.json must hold an object under 'best'"),
        ("summary.json", '{"best": {"loss": NaN}}', "summary.json holds a figure that is no number"),
        ("summary.json", '{"test": {"error": []}}', "Test error is no number"),
        ("environment.json", '{"versions": 3}', "environment.json must hold an object under 'versions'"),
        ("metrics.jsonl", json.dumps(epoch_row(1)) + "\n", "ends before the last epoch"),
        ("config.json", '{"flux": 3}', "'flux'"),
    ):
        before = (run.folder / name).read_text(encoding="utf-8")
        write(run, name, content)
        with pytest.raises(ValueError, match=said):
            read(run)
        write(run, name, before)
    assert read(run).values["parameters"] == 1000


@pytest.mark.parametrize("name", DAMAGE)
def test_a_folder_or_bytes_in_place_of_a_file(name):
    bad, worse = ended(), ended()
    (bad.folder / name).unlink()
    (bad.folder / name).mkdir()
    (worse.folder / name).write_bytes(b"\xff\xfe\x00{")
    found, damaged = Shelf().read_all()
    assert found == []
    assert {each.name for each in damaged} == {bad.name, worse.name}


def test_a_torn_status_is_a_failed_run():
    run = ended()
    write(run, "status.json", '{"state": "comp')
    assert read(run).state == "failed"


def test_a_null_is_left_out():
    run = ended(rows=[epoch_row(1), epoch_row(2, train_loss=None, train_cpu_seconds=None)])
    found = read(run).values
    assert "train_loss" not in found
    assert "train_time" not in found
    assert "eval_time" in found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["best", "last", "test", "fit", "progress", "parameters", "peak_bytes", "device", "versions"])
WITHIN = st.sampled_from(["loss", "error", "mcc", "seconds", "epoch", "stopped"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(DAMAGE),
    st.dictionaries(NAMES, JSON | st.dictionaries(WITHIN, JSON, max_size=3), max_size=4),
    st.integers(0, 400),
)
def test_whatever_a_file_holds_a_folder_is_read_or_named(tmp_path, name, content, cut):
    run = store.Run(tmp_path / "runs" / "one")
    if not run.folder.is_dir():
        ended().folder.rename(run.folder)
    text = json.dumps({"kind": "epoch", "epoch": 2, **content})
    before = (run.folder / name).read_text(encoding="utf-8")
    write(run, name, text[: cut or None] + "\n")
    found, damaged = Shelf().read_all()
    write(run, name, before)
    assert len(found) + len(damaged) == 1
    for each in found:
        assert all(isinstance(value, float) and math.isfinite(value) for value in each.values.values())


# ---- a shelf reads a folder once ----


def test_a_shelf_reads_an_ended_run_once():
    run, shelf = ended(), Shelf()
    ((before,), _) = shelf.read_all()
    write(run, "summary.json", "{")  # nobody writes after the status: this is not looked at
    ((after,), damaged) = shelf.read_all()
    assert after is before
    assert damaged == []
    assert Shelf().read_all()[0] == []


def test_a_shelf_looks_again_where_the_status_changed_and_at_what_was_damaged():
    one, two, shelf = ended(), ended("queued"), Shelf()
    write(one, "environment.json", "{")
    found, damaged = shelf.read_all()
    assert ([each.state for each in found], [each.name for each in damaged]) == (["queued"], [one.name])
    write(one, "environment.json", CPU)
    two.set_status("stopped")
    found, damaged = shelf.read_all()
    assert sorted(each.state for each in found) == ["completed", "stopped"]
    assert damaged == []


def test_a_shelf_forgets_a_deleted_run():
    run, shelf = ended(), Shelf()
    assert len(shelf.read_all()[0]) == 1
    store.delete(run)
    assert shelf.read_all() == ([], [])


def test_the_newest_come_first_and_the_shipped_last(tmp_path):
    (tmp_path / "shipped").mkdir()
    ended(created=9.0).folder.rename(tmp_path / "shipped" / "digits-one")
    old, new = ended(created=1.0), ended(created=2.0)
    assert [each.name for each in Shelf().read_all()[0]] == [new.name, old.name, "digits-one"]


# ---- both ends of a curve ----


def test_the_last_epoch_of_a_long_curve(tmp_path):
    path = tmp_path / "metrics.jsonl"
    steps = [{"kind": "step", "step": number, "note": "x" * 50} for number in range(1000)]
    rows = [{"kind": "start", "steps": 3}, epoch_row(1), *steps, epoch_row(2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"kind": "ep', encoding="utf-8")
    assert path.stat().st_size > 5 * TAIL
    assert ends_of(path, needed=True) == (rows[0], rows[-1])


def test_a_short_curve_is_read_from_its_first_byte(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(epoch_row(1)) + "\n", encoding="utf-8")
    assert ends_of(path, needed=True) == (epoch_row(1), epoch_row(1))
    assert ends_of(tmp_path / "none", needed=False) == ({}, {})


# ---- the list of measures ----


def test_measures_are_what_a_page_can_show():
    assert list(MEASURES) == [measure.name for measure in MEASURES.values()]
    assert len({measure.label for measure in MEASURES.values()}) == len(MEASURES)
    for measure in MEASURES.values():
        assert measure.better in ("low", "high", "")
        assert measure.scale == {"%": 100, "MB": 1e-6}.get(measure.unit, 1.0)
        assert asdict(measure)


def test_what_was_shipped_ranks_first():
    assert results.ORIGINS == (SHIPPED, MINE, IMPORTED)


# ---- the peak of memory ----


def test_a_peak_stays_when_memory_is_given_back():
    """In a process of its own, that a large one started: its peak is its own, and what it freed still counts."""
    code = (
        "from poolviz.training.records import peak_bytes;"
        "import sys, mmap; before = peak_bytes();"
        "room = mmap.mmap(-1, 300_000_000); room.write(bytes(300_000_000)); room.close();"
        "print(before, peak_bytes())"
    )
    large = bytearray(800_000_000)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    del large
    before, after = map(int, found.stdout.split())
    assert 50_000_000 < before < 800_000_000
    assert after > before + 250_000_000


def test_the_peak_is_the_same_in_every_table():
    run = ended(rows=[{"kind": "start"}, epoch_row(1, peak_bytes=3_000_000), epoch_row(2, peak_bytes=4_000_000)])
    stand = standing(run)
    assert stand.peak_bytes == line_of(stand)["peak_bytes"] == read(run).values["peak_bytes"] == 5_000_000
    (run.folder / "summary.json").unlink()
    assert standing(run).peak_bytes == 4_000_000
