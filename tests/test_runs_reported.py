"""The reports' figures, held against each other and against what the reports say of them in words."""

import json
import math
import statistics

import pytest

from poolviz.runs import reported as module
from poolviz.runs.reported import PUBLISHED, STEPS_AN_EPOCH, TABLE_B, TABLES_A, reported, told
from poolviz.runs.results import MEASURES
from poolviz.training.config import TASKS

A = {table.pooling: table for table in TABLES_A}
B = {row.pooling: row for row in TABLE_B}


def by_pooling(task, report):
    return {each.pooling: each for each in reported(task) if each.report == report}


def test_the_steps_are_those_of_the_sentences():
    assert math.ceil(8551 / 16) == STEPS_AN_EPOCH
    for each in by_pooling("cola", "A").values():
        assert [row["step"] for row in each.rows] == [535, 1070, 1605, 2140, 2675]


def test_each_of_report_a_has_five_epochs_in_order():
    assert [table.label for table in TABLES_A] == ["CLS", "MEAN-MAX", "MINE"]
    for table in TABLES_A:
        assert [row.epoch for row in table.epochs] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("table", TABLES_A, ids=lambda table: table.label)
def test_seconds_and_samples_a_second_make_the_development_set(table):
    for row in table.epochs:
        assert row.eval_seconds * row.samples_per_second == pytest.approx(module.SENTENCES_EVALUATED, rel=4e-3)


def test_the_times_are_22_7_to_one_and_about_38():
    assert A["softmax-stochastic"].seconds / A["cls"].seconds == pytest.approx(22.7, abs=0.01)
    mean = {name: statistics.fmean(row.eval_seconds for row in table.epochs) for name, table in A.items()}
    assert 38 < mean["softmax-stochastic"] / mean["cls"] < 40
    ours = by_pooling("cola", "A")
    assert ours["softmax-stochastic"].values["train_time"] * 5 == pytest.approx(7262)
    assert ours["cls"].values["train_time"] * 5 == pytest.approx(320)
    assert ours["mean-max"].train_seconds == 329
    assert {name: each.values["eval_time"] for name, each in ours.items()} == pytest.approx(mean)


def test_the_curves_do_what_the_report_says_of_them():
    losses = {name: [row.validation_loss for row in table.epochs] for name, table in A.items()}
    assert losses["softmax-stochastic"] == sorted(losses["softmax-stochastic"], reverse=True)
    for name in ("cls", "mean-max"):
        assert losses[name][-1] == max(losses[name])
    for table in TABLES_A:
        fit = [row.train_loss for row in table.epochs]
        assert fit == sorted(fit, reverse=True)


def test_a_last_epoch_is_no_best_epoch():
    cls = by_pooling("cola", "A")["cls"].values
    assert (cls["last_mcc"], cls["validation_mcc"]) == (0.5884, 0.5702)
    assert (cls["last_loss"], cls["validation_loss"], cls["train_loss"]) == (0.8183, 0.4075, 0.1082)
    mine = by_pooling("cola", "A")["softmax-stochastic"]
    assert mine.label == "MINE"
    assert mine.linear_tanh
    assert mine.values["last_mcc"] == mine.values["validation_mcc"] == 0.2468


def test_rows_are_shaped_as_a_run_writes_them():
    for each in by_pooling("cola", "A").values():
        table = A[each.pooling]
        assert json.loads(json.dumps(each.rows)) == list(each.rows)
        assert {row["kind"] for row in each.rows} == {"epoch"}
        assert [row["validation_mcc"] for row in each.rows] == [row.mcc for row in table.epochs]
        assert each.rows[-1]["eval_seconds"] == pytest.approx(each.values["eval_time"] * 5)  # summed up, as ours are


def test_report_b_in_the_units_that_are_kept():
    ours = by_pooling("mnist", "B")
    assert {name: each.values["test_error"] for name, each in ours.items()} == pytest.approx(
        {"average": 0.0119, "max": 0.0119, "none": 0.011}
    )
    assert ours["none"].values["estimated_bytes"] == pytest.approx(1.8e9)
    assert {name: each.train_seconds for name, each in ours.items()} == {"average": 58.84, "max": 58.22, "none": 77.24}
    for each in ours.values():
        assert each.values["test_error"] * MEASURES["test_error"].scale == pytest.approx(B[each.pooling].test_error)


def test_report_b_gives_no_time_an_epoch():
    assert not any("train_time" in each.values for each in by_pooling("mnist", "B").values())


def test_the_memory_is_about_a_quarter():
    assert B["max"].memory / B["none"].memory == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("task", [*TASKS, "cifar-10", "svhn"])
def test_every_record_is_whole(task):
    for each in reported(task):
        assert each.report in ("A", "B", "published")
        assert each.label
        assert each.source
        assert each.values
        assert set(each.values) <= set(MEASURES)
        for name, value in each.values.items():
            assert value > 0
            if MEASURES[name].unit == "%" or "mcc" in name:
                assert value < 1
            assert MEASURES[name].text in (None, task == "cola")


def test_published_figures():
    found = {(each.label, each.values["test_error"]) for each in reported("mnist") if each.report == "published"}
    assert ("Zeiler & Fergus: stochastic", 0.0047) in found
    keras = next(each for each in reported("mnist") if each.label == "Keras' example")
    assert 1 - keras.values["test_error"] == pytest.approx(0.9925)
    assert [value for each, value in told("cola", "last_mcc") if each.report == "published"] == [
        0.565,
        0.589,
        0.585,
        0.57,
    ]
    unchecked = [figure for figure in PUBLISHED if "not checked" in figure.note]
    assert sorted((figure.task, figure.pooling) for figure in unchecked) == [
        ("cifar-10", "average"),
        ("cifar-10", "max"),
        ("mnist", "average"),
        ("mnist", "max"),
    ]


def test_told_names_who_knows_a_measure():
    assert [each.label for each, _ in told("cola", "train_loss")] == ["CLS", "MEAN-MAX", "MINE"]
    assert told("cola", "gap") == []  # measured otherwise than ours
    assert told("digits", "test_error") == []


def test_what_a_caller_does_to_a_record_is_forgotten():
    reported("cola")[0].values["last_mcc"] = 1.0
    reported("cola")[0].rows[0]["step"] = 0
    assert reported("cola")[0].values["last_mcc"] == 0.5884
    assert reported("cola")[0].rows[0]["step"] == 535
