"""What networks say of a picture, as a chart: rows, framed answers, text where there is anything to tell."""

import pytest

from poolviz.charts.answers import TOLD, answers_chart, answers_figure

CLASSES = ("a", "b", "c")


def test_each_network_has_a_row_a_class_and_its_likeliest_is_framed():
    figure = answers_figure([("Max", [0.1, 0.7, 0.2]), ("None", [0.96, 0.03, 0.01])], CLASSES)
    rows = figure.datasets["answers"]
    assert [(row["network"], row["class"]) for row in rows] == [(n, c) for n in ("Max", "None") for c in CLASSES]
    assert [row["class"] for row in rows if row["first"]] == ["b", "a"]
    assert sum(row["probability"] for row in rows[:3]) == pytest.approx(1)
    assert [row["told"] for row in rows] == ["10%", "70%", "20%", "96%", "", ""]
    assert all((row["probability"] >= TOLD) == bool(row["told"]) for row in rows)
    assert "Max b" in figure.alt and "None a" in figure.alt


def test_the_columns_keep_the_classes_order():
    spec = answers_chart(("10", "9", "1")).to_dict()
    assert spec["layer"][0]["encoding"]["x"]["sort"] == ["10", "9", "1"]
