"""Errors class by class: means, extremes, order, and what is missing."""

import numpy as np
import pytest

from poolviz.charts.classes import LANE, ClassErrors, classes_figure
from tests.test_charts_leaderboard import names_of

MAX = ClassErrors("Max", "#D55E00", {"0": [0.2, 0.4], "8": [2.0, 3.0], "5": [1.0, 1.0]})
AVERAGE = ClassErrors("Average", "#0072B2", {"0": [0.6], "8": [1.0], "5": []})


def test_a_dot_is_the_mean_of_the_runs_and_a_line_their_extremes():
    rows = classes_figure([MAX]).datasets["classes"]
    found = {row["class"]: row for row in rows}
    for name, values in MAX.errors.items():
        assert found[name]["x"] == pytest.approx(np.mean(values))
        assert (found[name]["least"], found[name]["most"], found[name]["n"]) == (min(values), max(values), 2)


def test_the_hardest_class_stands_first():
    figure = classes_figure([MAX, AVERAGE])
    order = sorted(figure.datasets["classes"], key=lambda row: -row["over_all"])
    assert list(dict.fromkeys(row["class"] for row in order)) == ["8", "5", "0"]
    assert figure.datasets["classes"] == order
    assert [row["over_all"] for row in order if row["class"] == "8"] == [1.75, 1.75]


def test_a_class_of_which_nothing_is_known_is_left_out_for_that_group():
    rows = classes_figure([MAX, AVERAGE]).datasets["classes"]
    assert [row["group"] for row in rows if row["class"] == "5"] == ["Max"]
    assert sum(row["above"] for row in rows) == 3  # one line between classes for each


@pytest.mark.parametrize("count", [1, 2, 7])
def test_groups_lie_side_by_side_within_their_row(count):
    groups = [ClassErrors(str(n), "#000000", {"a": [1.0]}) for n in range(count)]
    figure = classes_figure(groups)
    shifts = [row["shift"] for row in figure.datasets["classes"]]
    assert np.diff(shifts).tolist() == [LANE] * (count - 1) and sum(shifts) == 0
    height = figure.builder(*figure.arguments).to_dict()["height"]["step"]
    assert height > shifts[-1] - shifts[0] + 8  # a dot's size


@pytest.mark.parametrize("groups", [[], [MAX], [MAX, AVERAGE]], ids=len)
def test_the_chart_builds_and_isolates_by_itself(groups):
    figure = classes_figure(groups)
    spec = figure.builder(*figure.arguments).to_dict()
    assert names_of(spec) == {"classes"} == set(figure.datasets)
    assert spec["params"][0]["bind"] == "legend"
    assert all(group.label in figure.alt for group in groups)
