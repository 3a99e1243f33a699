"""Where runs go wrong: errors by class over seeds, and the examples on which two runs disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poolviz.runs.groups import Group
from poolviz.training.config import CLASSES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Disagreement:
    """Two models on the same examples. Tables hold example, label, and each one's prediction and confidence."""

    both_right: int
    both_wrong: int
    first_right: pd.DataFrame  # and the second wrong
    second_right: pd.DataFrame
    chance: float  # two-sided probability of so uneven a split if both were equally good (McNemar's exact test)


def disagreement(first: pd.DataFrame, second: pd.DataFrame) -> Disagreement:
    """Of two tables of predictions; ValueError, one sentence, where they share no example."""
    from scipy import stats

    both = first.merge(second, on=["example", "label"], suffixes=("", "_second"))
    if both.empty:
        raise ValueError("These two runs were judged on no example in common.")
    right, right_second = both.prediction == both.label, both.prediction_second == both.label
    only, only_second = both[right & ~right_second], both[~right & right_second]
    uneven = len(only) + len(only_second)
    return Disagreement(
        int((right & right_second).sum()),
        int((~right & ~right_second).sum()),
        only,
        only_second,
        float(stats.binomtest(len(only), uneven).pvalue) if uneven else 1.0,
    )


def class_errors(one: Group) -> dict[str, list[float]]:
    """Class -> each run's wrong share of it, 0..1: on the test set, or for CoLA on the validation set (best epoch)."""
    classes = CLASSES[one.config.task]
    found: dict[str, list[float]] = {name: [] for name in classes}
    for result in one.results:
        summary = result.run.summary
        for name, row, number in zip(classes, _confusion(summary, len(classes)), range(len(classes)), strict=False):
            if sum(row):
                found[name].append(1 - row[number] / sum(row))
    return {name: errors for name, errors in found.items() if errors}


def _confusion(summary: dict[str, Any], classes: int) -> list[list[int]]:
    """Counts, a row a true class; empty where the summary has none that fits."""
    table = (summary.get("test") or summary.get("best") or {}).get("confusion")
    fits = isinstance(table, list) and len(table) == classes
    if not fits or not all(isinstance(row, list) and len(row) == classes for row in table):
        return []
    return table if all(isinstance(count, int) and count >= 0 for row in table for count in row) else []
