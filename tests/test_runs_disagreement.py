"""Disagreement of two runs against scipy and counts by hand, and errors by class against their confusion."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from poolviz.runs.disagreement import class_errors, disagreement
from poolviz.runs.groups import Group
from poolviz.runs.results import Result
from poolviz.runs.store import Run
from poolviz.training.config import CLASSES, default_config


def table(labels, guesses, examples=None) -> pd.DataFrame:
    count = len(labels)
    columns = {"example": range(count) if examples is None else examples, "label": labels, "prediction": guesses}
    return pd.DataFrame(columns | {"confidence": np.linspace(0.5, 1, count)})


def test_counts_by_hand():
    labels = [0, 1, 2, 3, 4, 5]
    found = disagreement(table(labels, [0, 1, 2, 0, 0, 0]), table(labels, [0, 1, 0, 3, 4, 0]))
    assert (found.both_right, found.both_wrong) == (2, 1)
    assert list(found.first_right.example) == [2] and list(found.second_right.example) == [3, 4]
    assert list(found.first_right.prediction_second) == [0] and list(found.second_right.prediction) == [0, 0]
    assert list(found.second_right.confidence_second) == pytest.approx([0.8, 0.9])
    assert found.chance == pytest.approx(1.0)  # 1 against 2: half of all splits of three are as uneven


def test_mcnemars_exact_test_is_the_binomials():
    # Agresti, Categorical Data Analysis, ex. of approval ratings: 86 against 150 changed their minds
    first = table([1] * 1600, [1] * (794 + 150) + [0] * (86 + 570))
    second = table([1] * 1600, [1] * 794 + [0] * 150 + [1] * 86 + [0] * 570)
    found = disagreement(first, second)
    assert (found.both_right, len(found.first_right), len(found.second_right), found.both_wrong) == (794, 150, 86, 570)
    assert found.chance == pytest.approx(stats.binomtest(86, 236).pvalue) == pytest.approx(3.716e-05, rel=1e-3)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=60), st.randoms()
)
def test_any_two_tables_agree_with_numpy_whatever_their_order(rows, chance):
    labels, ours, theirs = map(np.array, zip(*rows, strict=True))
    order = list(range(len(rows)))
    chance.shuffle(order)
    found = disagreement(table(labels, ours), table(labels, theirs).iloc[order])
    right, other = ours == labels, theirs == labels
    assert found.both_right == (right & other).sum() and found.both_wrong == (~right & ~other).sum()
    assert set(found.first_right.example) == set(np.flatnonzero(right & ~other))
    assert set(found.second_right.example) == set(np.flatnonzero(~right & other))
    uneven = [(right & ~other).sum(), (~right & other).sum()]
    # twice the smaller tail of a fair coin, counted by hand
    tail = 2 * sum(stats.binom.pmf(n, sum(uneven), 0.5) for n in range(min(uneven) + 1))
    assert found.chance == pytest.approx(min(1.0, tail))
    turned = disagreement(table(labels, theirs), table(labels, ours))
    assert turned.chance == pytest.approx(found.chance)


def test_the_same_run_twice_is_chance():
    one = table([0, 1, 2], [0, 0, 2])
    found = disagreement(one, one)
    assert found.chance == 1.0 and (found.both_right, found.both_wrong) == (2, 1) and found.first_right.empty


def test_only_what_both_were_judged_on_counts():
    found = disagreement(table([0, 1], [0, 1], [5, 6]), table([1, 2], [1, 0], [6, 7]))
    assert (found.both_right, found.both_wrong, len(found.first_right), len(found.second_right)) == (1, 0, 0, 0)


@pytest.mark.parametrize("other", [table([0, 1], [0, 1], [8, 9]), table([1, 0], [1, 0]), table([], [])])
def test_nothing_in_common_is_one_sentence(other):
    with pytest.raises(ValueError, match="^These two runs were judged on no example in common.$"):
        disagreement(table([0, 1], [0, 1]), other)


# ---- errors by class


def a_group(tmp_path, *summaries, task="digits") -> Group:
    results = []
    for seed, summary in enumerate(summaries):
        run = Run(tmp_path / str(seed))
        run.folder.mkdir()
        (run.folder / "summary.json").write_text(summary if isinstance(summary, str) else json.dumps(summary))
        results.append(Result(run, "mine", default_config(task, seed=seed), "completed", "CPU", {}))
    return Group(default_config(task), "CPU", tuple(results))


def counts(labels, guesses, classes=10) -> list[list[int]]:
    found = np.zeros((classes, classes), int)
    np.add.at(found, (labels, guesses), 1)
    return found.tolist()


def test_wrong_shares_of_classes_are_those_of_the_predictions(tmp_path):
    drawn = np.random.default_rng(0)
    labels, runs = drawn.integers(0, 10, 500), [drawn.integers(0, 10, 500) for _ in range(3)]
    found = class_errors(a_group(tmp_path, *({"test": {"confusion": counts(labels, guesses)}} for guesses in runs)))
    assert list(found) == list(CLASSES["digits"])
    for number, name in enumerate(CLASSES["digits"]):
        of_class = labels == number
        assert found[name] == pytest.approx([(guesses[of_class] != number).mean() for guesses in runs])


def test_the_test_set_counts_and_where_there_is_none_the_validation_set(tmp_path):
    best, test = counts([0, 0, 1], [0, 1, 1], 2), counts([0, 0, 1], [1, 1, 1], 2)
    found = class_errors(
        a_group(
            tmp_path,
            {"best": {"confusion": best}},
            {"best": {"confusion": best}, "test": {"confusion": test}},
            task="cola",
        )
    )
    assert found == {"not acceptable": [0.5, 1.0], "acceptable": [0.0, 0.0]}


@pytest.mark.parametrize(
    "table_",
    [
        None,
        [],
        "x",
        [[1]],
        [[0] * 10] * 9,
        [[0] * 9] * 10,
        [[0.5] * 10] * 10,
        [[-1] * 10] * 10,
        [[None] * 10] * 10,
        [7] * 10,
    ],
)
def test_a_confusion_that_does_not_fit_is_left_out(tmp_path, table_):
    good = {"test": {"confusion": counts([0, 0], [0, 1])}}
    assert class_errors(a_group(tmp_path, {"test": {"confusion": table_}}, good)) == {"0": [0.5]}


def test_a_torn_summary_and_classes_without_examples_are_left_out(tmp_path):
    assert class_errors(a_group(tmp_path, "{", {})) == {}
    (tmp_path / "more").mkdir()
    assert class_errors(a_group(tmp_path / "more", {"test": {"confusion": counts([3], [3])}})) == {"3": [0.0]}
