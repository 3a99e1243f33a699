"""One measure against another: means against numpy, names that do not cover one another, logarithms."""

import itertools

import numpy as np
import pytest

from poolviz.charts.entries import TEXT, Quantity
from poolviz.charts.tradeoff import LETTER, ROOM, Box, Cloud, ReportedPoint, _pixels, tradeoff_figure
from tests.test_charts_leaderboard import names_of

TIME, ERROR = Quantity("Training time an epoch", "s", "low"), Quantity("Test error", "%", "low")
RNG = np.random.default_rng(2)


def clouds(count, label="Pooling {}"):
    points = [20 + 4 * RNG.normal(size=(5, 2)) for _ in range(count)]
    return [Cloud(label.format(n), "#0072B2", dict(enumerate(map(tuple, p.tolist())))) for n, p in enumerate(points)]


def test_a_mean_lies_amid_its_runs():
    (group,) = clouds(1)
    figure = tradeoff_figure([group], [], TIME, ERROR)
    (mean,) = figure.datasets["means"]
    np.testing.assert_allclose([mean["x"], mean["y"]], np.mean(list(group.points.values()), axis=0))
    assert [(row["x"], row["y"]) for row in figure.datasets["runs"]] == [group.points[seed] for seed in range(5)]
    assert mean["n"] == 5 and "(n 5)" in figure.alt


def test_axes_have_units_and_an_arrow_for_what_is_better():
    figure = tradeoff_figure(clouds(1), [], TIME, Quantity("MCC", "", "high"))
    spec = figure.builder(*figure.arguments).to_dict()
    encodings = [layer["encoding"] for layer in spec["layer"] if layer["data"]["name"] == "means"]
    assert encodings[0]["x"]["title"] == "Training time an epoch (s) · ← better"
    assert encodings[0]["y"]["title"] == "MCC · better ↑"


def test_points_of_others_are_hollow_grey_diamonds_and_join_no_mean():
    group = clouds(2)
    without = tradeoff_figure(group, [], TIME, ERROR).datasets
    figure = tradeoff_figure(group, [ReportedPoint("Max", "B", 22.0, 21.0)], TIME, ERROR)
    assert figure.datasets["means"] == without["means"]
    (row,) = figure.datasets["reported"]
    assert (row["x"], row["y"], row["group"]) == (22.0, 21.0, "Max, as reported (report B)")
    layers = figure.builder(*figure.arguments).to_dict()["layer"]
    (mark,) = [layer for layer in layers if layer["data"]["name"] == "reported"]
    assert mark["mark"]["filled"] is False and mark["mark"]["color"] == "#7d8590"
    assert mark["encoding"]["shape"]["value"] == "diamond"


@pytest.mark.parametrize(("log_x", "left"), [(True, 1), (False, 2)])
def test_what_has_no_logarithm_is_left_out_and_said(log_x, left):
    figure = tradeoff_figure([Cloud("a", "#000000", {0: (0.0, 1.0), 1: (2.0, 3.0)})], [], TIME, ERROR, log_x)
    (mean,) = figure.datasets["means"]
    assert len(figure.datasets["runs"]) == left == mean["n"]
    assert mean["x"] == (2.0 if log_x else 1.0)
    assert ("logarithm: 1" in figure.note) == log_x
    spec = figure.builder(*figure.arguments).to_dict()
    assert spec["layer"][0]["encoding"]["x"]["scale"]["type"] == ("log" if log_x else "linear")


def boxes(figure, log=(False, False)):
    """Each name's rectangle and each mean's place, in pixels."""
    means = figure.datasets["means"]
    places = _pixels([*means, *figure.datasets["runs"]], log)[: len(means)]
    where = {(mean["x"], mean["y"]): place for mean, place in zip(means, places, strict=True)}
    found = []
    for row in figure.datasets["names"]:
        lines = row["name"].split("\n")
        wide, half = LETTER * max(map(len, lines)), (TEXT + 3) / 2 * len(lines)
        x, y = where[row["x"], row["y"]]
        left = x + row["dx"] - {"left": 0, "right": wide, "center": wide / 2}[row["align"]]
        found.append(Box(left, y + row["dy"] - half, left + wide, y + row["dy"] + half))
    return found, places


@pytest.mark.parametrize("count", [1, 7])
def test_names_cover_neither_one_another_nor_the_means(count):
    names, places = boxes(tradeoff_figure(clouds(count), [], TIME, ERROR))
    assert len(names) == count
    assert sum(one.meets(other) for one, other in itertools.combinations(names, 2)) == 0
    assert sum(name.meets(Box(x - 4, y - 4, x + 4, y + 4)) for name in names for x, y in places) == 0


def test_names_of_equal_means_are_all_to_be_read():
    same = [Cloud(f"Pooling {n}", "#000000", {0: (1.0, 2.0)}) for n in range(7)]
    figure = tradeoff_figure(same, [], TIME, ERROR)
    names, _ = boxes(figure)
    assert sum(one.meets(other) for one, other in itertools.combinations(names, 2)) == 0
    assert len({(row["x"], row["y"]) for row in figure.datasets["room"]}) == 4  # the axes have an extent


def test_a_name_without_room_is_left_to_the_tooltip_and_that_is_said():
    figure = tradeoff_figure(clouds(60, "A long name for a pooling {}"), [], TIME, ERROR)
    names, _ = boxes(figure)
    assert 5 < len(names) < 60 and f"hover for the names of {60 - len(names)} more" in figure.note
    assert sum(one.meets(other) for one, other in itertools.combinations(names, 2)) == 0
    assert max(name.outside for name in names) <= ROOM
    assert "hover" not in tradeoff_figure(clouds(3), [], TIME, ERROR).note


def test_long_names_are_wrapped_and_not_cut():
    name = "Stochastic (Zeiler and Fergus), 10,000 images, learning rate 0.001"
    (row,) = tradeoff_figure(clouds(1, name), [], TIME, ERROR).datasets["names"]
    assert row["name"].replace("\n", " ") == name and max(map(len, row["name"].split("\n"))) <= 26


def test_an_outlier_is_cut_and_marked():
    figure = tradeoff_figure([*clouds(6), Cloud("diverged", "#000000", {0: (20.0, 9000.0)})], [], TIME, ERROR)
    last = figure.datasets["means"][-1]
    assert last["outside"] and last["y"] < 100 and last["upright"] == "9,000 %"
    assert not any(row["outside"] for row in figure.datasets["means"][:-1])
    assert "beyond the scale" in figure.note


@pytest.mark.parametrize("count", [0, 1, 20])
def test_one_spec_serves_every_filter(count):
    figure = tradeoff_figure(clouds(count), [], TIME, ERROR)
    assert figure.arguments == tradeoff_figure(clouds(3), [], TIME, ERROR).arguments
    assert names_of(figure.builder(*figure.arguments).to_dict()) == set(figure.datasets)
