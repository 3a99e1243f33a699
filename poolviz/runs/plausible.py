"""Whether a run's figures can be true: ranges, what a confusion matrix says, epochs that follow one another.

Every figure that a run tells is at least 0 but the Matthews correlation, and an error is a share. Knows nothing of
files; imports no torch. Every fault is a ValueError of one sentence that begins with the place that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

TOLERANCE = 1e-6  # of errors and correlations: they were added up in another order, or rounded


def check_figures(figures: dict[str, Any], where: str) -> None:
    """Each number of a part of a summary, or of a curve's line, within what its name allows."""
    for name, value in figures.items():
        low, high = _range(name)
        if isinstance(value, int | float) and not low - TOLERANCE <= value <= high + TOLERANCE:
            least = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
            raise ValueError(f"{where} holds {value:g} under {name!r}, which is {least} in any run.")


def _range(name: str) -> tuple[float, float]:
    if "mcc" in name:
        return -1.0, 1.0
    return 0.0, 1.0 if name.endswith("error") else math.inf


def check_judgement(judged: dict[str, Any], where: str) -> None:
    """Error and Matthews correlation are those of the confusion matrix beside them."""
    table = judged.get("confusion")
    if table is None:
        return
    total, right = sum(map(sum, table)), sum(row[place] for place, row in enumerate(table))
    if not total:
        raise ValueError(f"{where} has an empty confusion matrix.")
    for name, counted in (("error", (total - right) / total), ("mcc", matthews(table))):
        said = judged.get(name)
        if said is not None and abs(said - counted) > TOLERANCE:
            raise ValueError(f"{where} says {name} {said:.6g}, but its confusion matrix {counted:.6g}.")


def matthews(table: list[list[int]]) -> float:
    """As `training.evaluation.matthews`, of counts (classes, classes) as plain lists."""
    true, said = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    total, right = sum(true), sum(row[place] for place, row in enumerate(table))
    spread = (total**2 - sum(count**2 for count in said)) * (total**2 - sum(count**2 for count in true))
    by_chance = sum(one * other for one, other in zip(true, said, strict=True))
    return (right * total - by_chance) / math.sqrt(spread) if spread else 0.0


def check_epochs(rows: Iterable[dict[str, Any]], most: int, where: str) -> None:
    """A curve's epochs are 1, 2, ... up to `most` at the most."""
    done = 0
    for number, row in enumerate(rows, 1):
        done += row["kind"] == "epoch"
        if row["kind"] != "start" and (row["epoch"] != done or done > most):
            raise ValueError(f"Line {number:,} of {where} tells of epoch {row['epoch']:,} after {done:,} of {most:,}.")
