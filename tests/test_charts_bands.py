"""Curves over seeds against numpy: means, bands, seconds, and others' curves apart."""

import numpy as np
import pytest

from poolviz.charts.bands import APART, PLOT, ReportedCurve, Runs, bands_figure
from poolviz.charts.curves import AXES, MEASURES
from tests.test_charts_leaderboard import names_of

RNG = np.random.default_rng(1)
VALUES = RNG.uniform(0.1, 1.0, (3, 4))  # run, epoch
SECONDS = np.cumsum(RNG.uniform(5, 15, (3, 4)), axis=1)


def run(values, seconds, steps=10):
    rows = [{"kind": "start", "step": 0, "epoch_steps": steps, "epochs": len(values)}]
    for epoch, (value, second) in enumerate(zip(map(float, values), map(float, seconds), strict=True), 1):
        figures = {f"{kind}_{name}": value for kind in ("train", "validation") for name in MEASURES}
        rows.append({"kind": "epoch", "step": epoch * steps, "epoch": epoch, "train_seconds": second, **figures})
    return rows


GROUP = Runs("Max", "#D55E00", [run(*pair) for pair in zip(VALUES, SECONDS, strict=True)])
THEIRS = [
    ReportedCurve("CLS", "A", [(1, 0.53), (4, 0.5884)]),
    ReportedCurve("MEAN-MAX", "A", [(1, 0.54), (4, 0.5865)]),
    ReportedCurve("Stochastic", "A", [(1, 0.1), (4, 0.2468)]),
]


def column(rows, name):
    return [row[name] for row in rows]


@pytest.mark.parametrize("measure", MEASURES)
def test_line_and_band_are_mean_and_extremes_of_the_runs(measure):
    rows = bands_figure([GROUP], measure, "epoch").datasets["validation"]
    assert column(rows, "x") == [1, 2, 3, 4]
    np.testing.assert_allclose(column(rows, "y"), VALUES.mean(0))
    np.testing.assert_allclose(column(rows, "least"), VALUES.min(0))
    np.testing.assert_allclose(column(rows, "most"), VALUES.max(0))
    assert column(rows, "n") == [3] * 4


@pytest.mark.parametrize(("axis", "x"), [("second", SECONDS.mean(0)), ("step", [10, 20, 30, 40])])
def test_an_epoch_lies_at_its_runs_mean_place(axis, x):
    rows = bands_figure([GROUP], "loss", axis).datasets["validation"]
    np.testing.assert_allclose(column(rows, "x"), x)


def test_a_run_that_ended_early_counts_as_far_as_it_got():
    short = Runs("Max", "#D55E00", [GROUP.runs[0][:3], *GROUP.runs[1:]])  # its start and two epochs
    figure = bands_figure([short], "loss", "epoch")
    rows = figure.datasets["validation"]
    assert column(rows, "n") == [3, 3, 2, 2]
    np.testing.assert_allclose(rows[3]["y"], VALUES[1:, 3].mean())
    assert "fewer epochs" in figure.note
    assert "fewer epochs" not in bands_figure([GROUP], "loss", "epoch").note


def test_a_single_run_has_a_line_and_no_band():
    figure = bands_figure([Runs("Max", "#D55E00", GROUP.runs[:1])], "loss", "epoch")
    np.testing.assert_allclose(column(figure.datasets["validation"], "y"), VALUES[0])
    spec = figure.builder(*figure.arguments).to_dict()
    (band,) = [layer for layer in spec["layer"] if layer["mark"]["type"] == "area"]
    assert band["transform"] == [{"filter": "datum.n > 1"}] and column(figure.datasets["validation"], "n") == [1] * 4
    assert "band" not in figure.note


def test_training_is_dashed_and_has_no_band():
    figure = bands_figure([GROUP], "loss", "epoch")
    layers = figure.builder(*figure.arguments).to_dict()["layer"]
    marks = {(layer["data"]["name"], layer["mark"]["type"]): layer["mark"] for layer in layers}
    assert "strokeDash" in marks["train", "line"] and "strokeDash" not in marks["validation", "line"]
    assert ("train", "area") not in marks and ("validation", "area") in marks


@pytest.mark.parametrize("bad", [None, float("nan"), 0.0])
def test_what_has_no_logarithm_or_is_no_number_is_left_out(bad):
    rows = run(VALUES[0], SECONDS[0])
    rows[2]["validation_loss"] = bad
    found = bands_figure([Runs("Max", "#D55E00", [rows])], "loss", "epoch", log=True).datasets["validation"]
    assert column(found, "epoch") == [1, 3, 4]


def test_curves_of_others_come_by_epoch_alone_and_join_no_mean():
    alone = bands_figure([GROUP], "mcc", "epoch")
    figure = bands_figure([GROUP], "mcc", "epoch", reported=THEIRS)
    assert figure.datasets["validation"] == alone.datasets["validation"]
    assert {row["name"] for row in figure.datasets["reported"]} == {
        "CLS, as reported (report A)",
        "MEAN-MAX, as reported (report A)",
        "Stochastic, as reported (report A)",
    }
    assert "as reported" in figure.note and "CLS, as reported (report A): 0.5884" in figure.alt
    for axis in ("second", "step"):
        assert bands_figure([GROUP], "mcc", axis, reported=THEIRS).datasets["reported"] == []


@pytest.mark.parametrize("log", [False, True])
def test_names_of_others_do_not_lie_on_one_another(log):
    datasets = bands_figure([GROUP], "mcc", "epoch", log=log, reported=THEIRS).datasets
    every = [row[name] for row in datasets["validation"] for name in ("least", "most")]
    every += column(datasets["reported"], "y") + ([] if log else [0.0])
    ends = np.array(column(datasets["ends"], "y"))
    if log:
        every, ends = np.log10(every), np.log10(ends)
    pixels = np.sort(ends) / (np.max(every) - np.min(every)) * PLOT
    assert np.diff(pixels).min() >= APART - 1e-6


def test_figures_that_flatten_the_others_are_told():
    wild = Runs("diverged", "#000000", [run([80, 70, 60, 50], SECONDS[0])])
    many = [Runs(str(n), "#0072B2", GROUP.runs) for n in range(6)]
    assert "logarithmic axis shows more" in bands_figure([*many, wild], "loss", "epoch").note
    assert "logarithmic axis shows more" not in bands_figure([*many, wild], "loss", "epoch", log=True).note
    assert "logarithmic axis shows more" not in bands_figure(many, "loss", "epoch").note


def test_alt_says_where_each_group_ended():
    figure = bands_figure([GROUP], "error", "epoch")
    assert f"Max: {100 * VALUES[:, 3].mean():.1f} % after epoch 4 (n 3)" in figure.alt


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("groups", [[], [GROUP], [GROUP, Runs("Average, " + "long " * 12, "#0072B2", [])]], ids=len)
def test_every_chart_builds_names_its_data_and_isolates_by_itself(measure, axis, groups):
    figure = bands_figure(groups, measure, axis, log=measure == "loss", reported=THEIRS)
    spec = figure.builder(*figure.arguments).to_dict()
    assert names_of(spec) == set(figure.datasets)
    (pick,) = spec["params"]
    assert pick["bind"] == "legend" and pick["select"]["fields"] == ["group"]
    assert pick["views"] == [spec["layer"][0]["name"]]  # elsewhere the legend would not answer


def test_the_first_epochs_training_does_not_flatten_the_rest():
    rows = run([0.1, 0.09, 0.08, 0.07], SECONDS[0])
    for row, value in zip((row for row in rows if row["kind"] == "epoch"), (2.0, 0.1, 0.09, 0.08), strict=True):
        row["train_loss"] = value
    figure = bands_figure([Runs("Max", "#D55E00", [rows])], "loss", "epoch")
    spec = figure.builder(*figure.arguments).to_dict()
    domain = spec["layer"][-2]["encoding"]["y"]["scale"]["domain"]
    assert domain[0] == 0 and 0.1 < domain[1] < 0.2 and "lies above the axis" in figure.note
    log = bands_figure([Runs("Max", "#D55E00", [rows])], "loss", "epoch", log=True)
    assert "lies above" not in log.note and 2.0 in column(log.datasets["train"], "y")
