"""What a page tells a lesson: named figures of what is on screen, each computed when it is asked for.

Names are `window.`, `map.`, `sentence.` or an operator's registry name, a dot, and one of the words below.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product

from torch import Tensor

from poolviz.charts.compare import Setting
from poolviz.charts.stage import Output, Stage
from poolviz.charts.tokens import Reading
from poolviz.lessons.lesson import Fact, Facts
from poolviz.pooling import POOLINGS, grid_for
from poolviz.pooling.measure import discarded_share, shift_changes
from poolviz.runs.claims import CLAIMS
from poolviz.runs.evidence import Finding
from poolviz.runs.groups import Group
from poolviz.runs.results import MEASURES
from poolviz.runs.summary import Standing

Named = Mapping[str, Callable[[], Fact]]

VALUES = ("cells", "zeros", "largest", "smallest", "mean", "sum")
OPERATOR = ("output", "rows", "columns", "weight", "chance", "heard", "discarded", "shift")
READING = ("dimensions", "loudest", "share", "quietest", "speakers", "first", "error", "cosine")
EPOCH = ("train-error", "validation-error", "train-loss", "validation-loss", "seconds")


def known_names(page: str) -> frozenset[str]:
    """The facts that a page may tell; whether it tells one depends on what it shows.

    A lesson's author is told of any other name when the lesson is read. `-percent` may follow each.
    """
    if page == "feature-maps":
        single = {"map.rows", "map.columns", "cell.row", "cell.column", "apart.share"}
        return frozenset(single | _names(("map", "window"), VALUES) | _names(POOLINGS, VALUES + OPERATOR))
    if page == "sentences":
        return frozenset({"sentence.tokens"} | _names(POOLINGS, READING))
    if page == "train":
        return frozenset({"runs.count", "runs.ended"} | _names(POOLINGS, EPOCH))
    measures = [name.replace("_", "-") + end for name in MEASURES for end in ("", "-sd")]
    return frozenset(_names(("claim",), map(str.lower, CLAIMS)) | _names(POOLINGS, ("runs", *measures)))


def _names(prefixes: Iterable[str], words: Iterable[str]) -> set[str]:
    return {f"{prefix}.{word}" for prefix, word in product(prefixes, words)}


def map_facts(stage: Stage, setting: Setting, cell: tuple[int, int]) -> Facts:
    """Of a feature map, the window of output `cell`, and each operator.

    `apart.share` is the distance of the first two operators at the cell, as a share of the greatest one on the map.
    ValueError where the outputs have no such cell: a link may hold any.
    """
    if not all(0 <= place < size for place, size in zip(cell, stage.grid.output_size, strict=True)):
        raise ValueError("the outputs have no such cell")
    rows, columns = stage.values.shape
    found = _prefixed("map", _values(stage.values)) | {
        "map.rows": lambda: rows,
        "map.columns": lambda: columns,
        "cell.row": lambda: cell[0],
        "cell.column": lambda: cell[1],
    }
    if _comparable(stage):
        found["apart.share"] = partial(_apart, stage, cell)
    found |= _prefixed("window", _values(_window(stage, cell)))
    for output in stage.outputs:
        found |= _prefixed(output.name, _operator(output, stage, setting, cell))
    return found


def _values(cells: Tensor) -> Named:
    """Of the finite cells of a map or of a window."""
    cells = cells[cells.isfinite()].double()
    return {
        "cells": cells.numel,
        "zeros": lambda: float((cells == 0).double().mean()),
        "largest": lambda: float(cells.max()),
        "smallest": lambda: float(cells.min()),
        "mean": lambda: float(cells.mean()),
        "sum": lambda: float(cells.sum()),
    }


def _operator(output: Output, stage: Stage, setting: Setting, cell: tuple[int, int]) -> Named:
    weights = output.weights[cell]
    chances = weights if output.probabilities is None else output.probabilities[cell]

    def shift() -> float:
        return shift_changes(stage.values[None, None], lambda x: setting.pool(x, output.name), [1])[0]

    def discarded() -> float:
        grid = grid_for(2, stage.values[None, None], output.name, **setting.geometry())
        return discarded_share(output.weights[None, None], grid)

    return dict(_values(output.values)) | {
        "output": lambda: float(output.values[cell]),
        "rows": lambda: output.values.shape[0],
        "columns": lambda: output.values.shape[1],
        "weight": lambda: float(weights.max()),  # the greatest of the window
        "chance": lambda: float(chances.max()),  # of a draw; its weight where nothing is drawn
        "heard": lambda: int((chances > 0).sum()),  # cells of the window that count, or may be drawn
        "discarded": discarded,
        "shift": shift,
    }


def _window(stage: Stage, cell: tuple[int, int]) -> Tensor:
    """The cells of the map that the window of an output cell sees, padding left out."""
    rows, columns = (stage.grid.axis_positions(axis)[cell[axis]] for axis in (0, 1))
    rows, columns = (p[(p >= 0) & (p < n)] for p, n in zip((rows, columns), stage.grid.size, strict=True))
    return stage.values[rows[:, None], columns]


def _comparable(stage: Stage) -> bool:
    """Whether there are two outputs, cell by cell beside one another."""
    return len(stage.outputs) > 1 and stage.outputs[0].values.shape == stage.outputs[1].values.shape


def _apart(stage: Stage, cell: tuple[int, int]) -> float:
    first, second = (output.values for output in stage.outputs[:2])
    distances = (first - second).abs().nan_to_num()
    most = float(distances.max())
    return float(distances[cell]) / most if most else 1.0


def sentence_facts(readings: Sequence[Reading], words: Sequence[str], padding: Mapping[str, Mapping]) -> Facts:
    """Of a sentence and of each pooling of its tokens.

    Args:
        readings: what each pooling takes from the tokens.
        words: the tokens as they are shown.
        padding: by pooling a row of `charts.padding.forgotten`: error and cosine of its vector.
    """
    found: dict[str, Callable[[], Fact]] = {"sentence.tokens": lambda: len(words)}
    for reading in readings:
        found |= _prefixed(reading.name, _reading(reading, words))
    for name, row in padding.items():
        found |= {f"{name}.{what}": partial(row.__getitem__, what) for what in ("error", "cosine")}
    return found


def _reading(reading: Reading, words: Sequence[str]) -> Named:
    shares = reading.shares
    return {
        "dimensions": lambda: len(reading.vector),
        "loudest": lambda: words[int(shares.argmax())],
        "share": lambda: float(shares.max()),
        "quietest": lambda: words[int(shares.argmin())],
        "speakers": lambda: int((shares > 0).sum()),
        "first": lambda: float(shares[0]),
    }


def comparison_facts(groups: Sequence[Group], findings: Mapping[str, Finding]) -> Facts:
    """Of groups of runs over seeds, by pooling (the first group of each), and of the claims' verdicts."""
    found: dict[str, Callable[[], Fact]] = {
        f"claim.{name.lower()}": partial(getattr, finding, "verdict") for name, finding in findings.items()
    }
    for group in reversed(groups):
        found |= _prefixed(group.config.pooling, _figures(group))
    return found


def _figures(group: Group) -> Named:
    found: dict[str, Callable[[], Fact]] = {"runs": lambda: len(group.results)}
    for name, measure in MEASURES.items():
        spread = group.spread(name)
        if spread is not None:
            found[name.replace("_", "-")] = partial(float, spread.mean * measure.scale)
            if spread.sd is not None:
                found[name.replace("_", "-") + "-sd"] = partial(float, spread.sd * measure.scale)
    return found


def training_facts(stands: Sequence[Standing]) -> Facts:
    """Of the runs that are watched, by pooling; figures come when all of them have ended."""
    found: dict[str, Callable[[], Fact]] = {"runs.count": lambda: len(stands)}
    if stands and all(stand.ended and stand.epochs for stand in stands):
        found["runs.ended"] = lambda: len(stands)
        for stand in stands:
            found |= _prefixed(stand.config.pooling, _last(stand))
    return found


def _last(stand: Standing) -> Named:
    """In per cent where they are shares."""
    last = stand.epochs[-1]
    known = {
        "train-error": last.get("train_error"),
        "validation-error": last.get("validation_error"),
        "train-loss": last.get("train_loss"),
        "validation-loss": last.get("validation_loss"),
        "seconds": statistics.fmean([row.get("train_seconds") or 0.0 for row in stand.epochs]),
    }
    scale = {"train-error": 100, "validation-error": 100}
    return {name: partial(float, value * scale.get(name, 1)) for name, value in known.items() if value is not None}


def _prefixed(prefix: str, named: Named) -> dict[str, Callable[[], Fact]]:
    return {f"{prefix}.{name}": compute for name, compute in named.items()}
