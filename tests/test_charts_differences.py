"""Differences to a baseline: the verdict is the interval's, and what is not comparable says why."""

import pytest

from poolviz.charts.differences import CANNOT, SAME, UNFAIR, VERDICTS, Apart, answer, differences_figure, verdict
from tests.test_charts_leaderboard import names_of


def apart(low, high, **more):
    mean = 0.0 if low is None else (low + high) / 2
    return Apart(more.pop("label", "a"), mean, low, high, 5, True, **more)


@pytest.mark.parametrize(
    ("low", "high", "better", "said"),
    [
        (-2, -1, "low", "better"),
        (1, 2, "low", "worse"),
        (1, 2, "high", "better"),
        (-2, -1, "high", "worse"),
        (1, 2, "", "higher"),
        (-2, -1, "", "lower"),
        (-1, 2, "low", CANNOT),
        (0, 2, "low", CANNOT),
        (None, None, "low", CANNOT),
        (0, 0, "low", SAME),
    ],
)
def test_the_interval_gives_the_verdict(low, high, better, said):
    assert verdict(apart(low, high), better) == said


def test_what_is_not_comparable_gets_no_verdict_but_its_reasons():
    rows = [apart(-2, -1, label="fair"), apart(-9, -8, label="unfair", reasons=("epochs: 12 against 5", "hardware"))]
    figure = differences_figure(rows, "Max", "Test error", "%", "low")
    fair, unfair = figure.datasets["rows"]
    assert (fair["group"], fair["faint"], fair["says"]) == ("fair", False, "better")
    assert (unfair["group"], unfair["faint"], unfair["says"]) == ("unfair", True, UNFAIR)
    assert unfair["why"] == "epochs: 12 against 5; hardware" and unfair["why"] in figure.alt
    assert UNFAIR in unfair["end"] and "faint" in figure.note


def test_verdicts_differ_in_shape_and_not_in_colour_alone():
    for one, other in (
        ("better", "worse"),
        ("better", CANNOT),
        ("worse", CANNOT),
        (CANNOT, UNFAIR),
        ("lower", "higher"),
    ):
        assert VERDICTS[one][0] != VERDICTS[other][0]


def test_rows_say_how_they_were_compared():
    rows = [Apart("a", 0.3, 0.1, 0.5, 5, True), Apart("b", 0.4, None, None, 1, False)]
    first, second = differences_figure(rows, "Max", "Test error", "%", "low").datasets["rows"]
    assert first["end"] == "+0.300 points: worse\npaired, n 5"
    assert first["interval"] == "95 % interval +0.100 points to +0.500 points"
    assert second["end"] == "+0.400 points: cannot tell\none seed, no interval"
    assert second["interval"] == "no interval" and second["low"] is None


@pytest.mark.parametrize(("better", "order"), [("low", "ab"), ("high", "ba")])
def test_the_best_stands_first(better, order):
    rows = [apart(1, 2, label="b"), apart(-2, -1, label="a")]
    found = differences_figure(rows, "Max", "MCC", "", better).datasets["rows"]
    assert "".join(row["group"] for row in found) == order


def test_zero_is_on_the_chart_and_one_spec_serves_every_filter():
    one = differences_figure([apart(5, 6)], "Max", "MCC", "", "high")
    none = differences_figure([], "Max", "MCC", "", "high")
    assert one.datasets["zero"] == none.datasets["zero"] == [{"x": 0.0}]
    assert names_of(one.builder(*one.arguments).to_dict()) == set(one.datasets)
    assert one.arguments[0] == none.arguments[0]
    none.builder(*none.arguments).to_dict()


def test_an_outlier_is_cut_and_marked():
    rows = [apart(-0.1 * n, 0.2, label=str(n)) for n in range(1, 6)] + [apart(50, 110, label="diverged")]
    figure = differences_figure(rows, "Max", "Loss", "", "low")
    assert max(row["x"] for row in figure.datasets["rows"]) < 1
    (arrow,) = figure.datasets["beyond"]
    assert (arrow["group"], arrow["side"], arrow["figure"]) == ("diverged", "right", "+80.0")


def test_the_answer_is_that_of_the_intervals():
    rows = [apart(-2, -1, label="a"), apart(1, 2, label="b"), apart(-1, 1, label="c"), apart(0.5, 1, label="d")]
    said = answer([*rows, apart(-9, -8, label="e", reasons=("hardware",))], "Max", "Test error", "low")
    assert said == "Test error against Max. a: better; b and d: worse; c: these runs cannot tell."
    assert answer([apart(-2, -1, label="a", reasons=("hardware",))], "Max", "Test error", "low") == ""
