"""The leaderboard and what all charts of groups share: order, intervals, others' figures apart, ends of a scale."""

import numpy as np
import pytest

from poolviz.charts.entries import Entry, Quantity, Reported, cut, fence, number, offsets, wrapped
from poolviz.charts.leaderboard import JITTER, leaderboard_chart, leaderboard_figure

RNG = np.random.default_rng(0)
MAX = Entry("Max", "#D55E00", {100: 0.9, 101: 1.1}, 1.0, -0.27, 2.27)
AVERAGE = Entry("Average", "#0072B2", {100: 0.7, 102: 0.8}, 0.75, 0.1, 1.4, detail="5 epochs")
ALONE = Entry("Mixed", "#7F3C8D", {100: 1.2}, 1.2)
REPORTED = [Reported("Max", "B", 1.19), Reported("Stochastic", "published", 0.47)]
ERROR = ("Test error", "%", "low")


def names_of(spec):
    """Data sets that a spec asks for."""
    if isinstance(spec, list):
        return set().union(*map(names_of, spec))
    if not isinstance(spec, dict):
        return set()
    own = {spec["data"]["name"]} if isinstance(spec.get("data"), dict) else set()
    return own.union(*map(names_of, spec.values()))


def layers_of(figure, name):
    spec = figure.builder(*figure.arguments).to_dict()
    return [layer for layer in spec["layer"] if layer["data"]["name"] == name]


@pytest.mark.parametrize(("better", "order"), [("low", "AMX"), ("high", "XMA"), ("", "AMX")])
def test_the_best_stands_first(better, order):
    rows = [MAX, Entry("X", "#000000", {1: 2.0}, 2.0), AVERAGE]
    found = leaderboard_figure(rows, [], "MCC", "", better).datasets["rows"]
    assert "".join(row["group"][0] for row in sorted(found, key=lambda row: row["place"])) == order


def test_a_dot_a_run_lies_at_its_figure_and_the_mean_at_the_mean():
    figure = leaderboard_figure([MAX, AVERAGE], [], *ERROR)
    dots = {(row["group"], row["seed"]): row["x"] for row in figure.datasets["runs"]}
    assert dots == {("Max", 100): 0.9, ("Max", 101): 1.1, ("Average", 100): 0.7, ("Average", 102): 0.8}
    best = figure.datasets["rows"][0]
    assert (best["x"], best["low"], best["high"], best["n"], best["end"]) == (0.75, 0.1, 1.4, 2, "0.750 %, n 2")


def test_a_seed_lies_equally_high_in_every_row_and_seeds_do_not_cover_one_another():
    runs = leaderboard_figure([MAX, AVERAGE], [], *ERROR).datasets["runs"]
    heights = {row["seed"]: {other["shift"] for other in runs if other["seed"] == row["seed"]} for row in runs}
    assert all(len(shifts) == 1 for shifts in heights.values())
    assert sorted(shift for (shift,) in heights.values()) == [-JITTER, 0, JITTER]


def test_one_run_has_no_interval():
    figure = leaderboard_figure([ALONE], [], *ERROR)
    (row,) = figure.datasets["rows"]
    assert row["low"] is None and row["high"] is None
    assert leaderboard_figure([MAX, ALONE], [], *ERROR).datasets["runs"][-1]["shift"] == 0
    assert "no interval" in row["interval"] and "interval" not in figure.alt and "interval" not in figure.note
    (rule,) = [layer for layer in layers_of(figure, "rows") if layer["mark"]["type"] == "rule"]
    assert rule["transform"] == [{"filter": "datum.low !== null"}]


def test_figures_of_others_stand_below_ours_and_move_nothing():
    without = leaderboard_figure([MAX, AVERAGE], [], *ERROR)
    figure = leaderboard_figure([MAX, AVERAGE], REPORTED, *ERROR)
    assert figure.datasets["rows"] == without.datasets["rows"]
    assert figure.datasets["runs"] == without.datasets["runs"]
    others = figure.datasets["reported"]
    assert min(row["place"] for row in others) > max(row["place"] for row in figure.datasets["rows"])
    assert [row["x"] for row in others] == [0.47, 1.19]
    assert all("as reported" in row["label"].replace("\n", " ") for row in others)
    assert "as reported (report B)" in figure.alt and "as reported (published)" in figure.alt
    labels = [row["label"] for row in others + figure.datasets["rows"]]
    assert len(set(labels)) == len(labels)  # Max of ours and Max of theirs are two rows


def test_figures_of_others_are_hollow_grey_diamonds():
    figure = leaderboard_figure([MAX], REPORTED, *ERROR)
    (mark,) = [layer["mark"] for layer in layers_of(figure, "reported") if layer["mark"]["type"] == "point"]
    assert mark["shape"] == "diamond" and mark["filled"] is False and mark["color"] == "#7d8590"


def test_a_figure_of_others_keeps_the_digits_it_was_given_with():
    (row,) = leaderboard_figure([], [Reported("a", "B", 1.1)], *ERROR).datasets["reported"]
    assert row["end"] == "1.1 %"


def test_the_baseline_is_a_line_at_its_mean():
    figure = leaderboard_figure([MAX, AVERAGE], [], *ERROR, ("Max", 1.0))
    assert [row["x"] for row in figure.datasets["baseline"]] == [1.0]
    assert "thin line: Max" in figure.note and "baseline: Max 1.00 %" in figure.alt
    assert leaderboard_figure([MAX], [], *ERROR).datasets["baseline"] == []


def test_alt_says_every_group_with_its_interval_and_n():
    alt = leaderboard_figure([MAX, AVERAGE, ALONE], [], *ERROR).alt
    assert "Average 0.750 % (95 % interval 0.100 % to 1.40 %), n 2; Max 1.00 %" in alt
    assert alt.endswith("Mixed 1.20 %, n 1")


@pytest.mark.parametrize(("better", "title"), [("low", "← better"), ("high", "better →"), ("", "(%)")])
def test_an_arrow_says_which_way_is_better(better, title):
    figure = leaderboard_figure([MAX], [], "Test error", "%", better)
    assert figure.arguments[1].endswith(title)


def test_one_spec_serves_every_filter():
    one = leaderboard_figure([MAX], [], *ERROR)
    other = leaderboard_figure([AVERAGE, ALONE], REPORTED[:1], *ERROR, ("Max", 1.0))
    assert (one.builder, one.arguments) == (other.builder, other.arguments)
    assert names_of(leaderboard_chart(*one.arguments).to_dict()) == set(other.datasets)


def test_a_diverged_run_does_not_flatten_the_others():
    rows = [Entry(str(i), "#000000", dict(enumerate(RNG.normal(1, 0.05, 5))), 1.0) for i in range(6)]
    rows.append(Entry("diverged", "#000000", {0: 1.0, 1: 90.0}, 45.5, -520.0, 611.0))
    figure = leaderboard_figure(rows, [], *ERROR)
    drawn = [row["x"] for row in figure.datasets["runs"] + figure.datasets["rows"]]
    assert max(drawn) < 2
    last = figure.datasets["rows"][-1]
    assert last["mean"] == 45.5 and not last["inside"] and last["end"].startswith("45.5 %")
    arrows = {row["side"]: row for row in figure.datasets["beyond"]}
    assert arrows["right"]["figure"] == "90.0 %" and arrows["right"]["seed"] == 1
    assert set(arrows) == {"left", "right"} and "beyond the scale" in figure.note


def test_equal_figures_get_a_scale_around_them():
    around = leaderboard_figure([Entry("a", "#000000", {1: 2.0, 2: 2.0}, 2.0, 2.0, 2.0)], [], *ERROR).datasets["room"]
    assert [row["x"] for row in around] == pytest.approx([1.9, 2.1])
    assert leaderboard_figure([MAX], [], *ERROR).datasets["room"] == []


def test_nothing_to_show_is_a_chart_all_the_same():
    figure = leaderboard_figure([], [], *ERROR)
    figure.builder(*figure.arguments).to_dict()
    assert "no runs" in figure.alt


# ---- what the charts share


def test_a_scale_ends_at_the_extremes_unless_a_few_figures_take_most_of_it():
    assert fence([1, 2, 3, 4, 5]) == (1, 5)
    assert fence([1, 1.1, 1.2, 1.3, 1.4, 90]) == (1, 1.4)
    assert fence([1, 1, 1, 1, 90]) == (1, 90)  # the others have no extent that it could flatten
    assert fence([1, 90]) == (1, 90)


def test_what_is_cut_lies_outside_of_the_ends_and_the_rest_where_it_was():
    ends = (0.0, 10.0)
    assert cut(3.0, ends) == 3.0
    assert cut(-50, ends) == cut(-5000, ends) < 0
    assert cut(50, ends) == cut(5000, ends) > 10


def test_offsets_are_told_by_the_seed_alone():
    assert offsets([3, 1, 2, 1], 6) == {1: -6, 2: 0, 3: 6}
    assert offsets([7], 6) == {7: 0}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.912, "0.912"),
        (1.0, "1.00"),
        (18.92, "18.9"),
        (1199882, "1,199,882"),
        (0, "0"),
        (0.00012, "1.2e-04"),
        (-3.14159, "-3.14"),
    ],
)
def test_numbers_have_about_three_figures(value, said):
    assert number(value) == said


def test_long_names_are_wrapped_and_not_cut():
    name = "Stochastic (Zeiler and Fergus), 10,000 training images, " + "x" * 50
    lines = wrapped(name).split("\n")
    assert max(map(len, lines)) <= 30
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")


def test_a_unit_is_said_once():
    assert Quantity("Test error", "%", "low").say(1.5) == "1.50 %"
    assert Quantity("MCC", "", "high").say(0.5) == "0.500"
    assert Quantity("MCC", "", "high").title == "MCC"
