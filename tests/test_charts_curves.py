"""Learning curves: what a row becomes on each axis; runs that would share a colour do not."""

import pytest

from poolviz.charts.curves import AXES, MEASURES, MOST_POINTS, Curve, colours, curves_chart, curves_figure, points

START = {"kind": "start", "step": 0, "steps": 20, "epochs": 2}
ROWS = [
    START,
    {"kind": "step", "step": 1, "epoch": 0, "train_loss": 2.0, "train_seconds": 0.5},
    {"kind": "step", "step": 5, "epoch": 0, "train_loss": None, "train_seconds": 1.0},
    {
        "kind": "epoch",
        "step": 10,
        "epoch": 1,
        "train_loss": 1.5,
        "train_error": 0.4,
        "validation_loss": 1.0,
        "validation_error": 0.3,
        "validation_mcc": 0.2,
        "train_seconds": 2.5,
    },
]


@pytest.mark.parametrize(("axis", "step", "epoch"), [("epoch", 0.1, 1.0), ("second", 0.5, 2.5), ("step", 1, 10)])
def test_a_row_lies_where_its_axis_says(axis, step, epoch):
    found = points(Curve("Max", "#000", ROWS), "loss", axis)
    assert [(row["x"], row["y"]) for row in found["batches"]] == [(step, 2.0)]  # what is no number is left out
    assert [(row["x"], row["y"]) for row in found["train"]] == [(epoch, 1.5)]
    assert [(row["x"], row["y"]) for row in found["validation"]] == [(epoch, 1.0)]


def test_error_and_mcc_have_no_batches():
    assert points(Curve("a", "#000", ROWS), "error", "step")["batches"] == []
    found = points(Curve("a", "#000", ROWS), "mcc", "step")
    assert found["train"] == []
    assert found["validation"][0]["y"] == 0.2


def test_a_run_without_a_first_line_is_drawn_all_the_same():
    assert points(Curve("a", "#000", ROWS[1:]), "loss", "epoch")["validation"]
    assert curves_figure([Curve("a", "#000", [])], "loss", "epoch").datasets["validation"] == []


def test_a_long_run_sends_a_bounded_number_of_points():
    rows = [START] + [{"kind": "step", "step": n, "train_loss": 1.0, "train_seconds": n} for n in range(10_000)]
    found = points(Curve("a", "#000", rows), "loss", "step")["batches"]
    assert MOST_POINTS / 2 < len(found) <= MOST_POINTS
    assert (found[0]["x"], found[-1]["x"] > 9_900) == (0, True)


def test_runs_of_one_pooling_get_colours_of_their_own():
    assert colours(["#D55E00", "#0072B2"]) == ["#D55E00", "#0072B2"]
    many = colours(["#D55E00", "#D55E00", "#0072B2", *["#009E73"] * 9])
    assert len(set(many)) == 12, "no two runs of one pooling look alike"
    assert [many[0], many[2], many[3]] == ["#D55E00", "#0072B2", "#009E73"], "the first keeps its pooling's colour"


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("axis", AXES)
def test_every_chart_builds_and_names_its_data(measure, axis):
    figure = curves_figure([Curve("Max", "#D55E00", ROWS), Curve("Average", "#0072B2", ROWS)], measure, axis)
    spec = curves_chart(*figure.arguments).to_dict()
    assert {layer["data"]["name"] for layer in spec["layer"]} == set(figure.datasets)
    assert "Max" in figure.alt or measure == "mcc"
