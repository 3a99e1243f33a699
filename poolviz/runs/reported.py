"""The figures of the two source reports, and published ones beside them, as reported: data, never mixed with our runs.

Figures stand as they were printed; `reported` puts them into the units that `results.MEASURES` keeps (shares, seconds,
bytes). What a report measured otherwise than we do is left out of `values` rather than bent: report A's gap is to the
training loss as trained, and report B's training time is of a whole run whose epochs it does not tell. Both are in the
tables, and the notes say so. Knows nothing of runs.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

STEPS_AN_EPOCH = 535  # report A: 8,551 sentences in batches of 16
SENTENCES_EVALUATED = 1043
REPORT_A = "Report A: a stochastic pooler for a transformer on CoLA"
REPORT_B = "Report B: pooling in an MNIST CNN (Keras)"


@dataclass(frozen=True)
class Epoch:
    """A line of report A's tables."""

    epoch: int
    train_loss: float  # as trained
    validation_loss: float
    mcc: float
    eval_seconds: float
    samples_per_second: float  # evaluated


@dataclass(frozen=True)
class TableA:
    """One of report A's three tables."""

    label: str  # the report's name
    pooling: str  # registry key
    linear_tanh: bool
    seconds: float  # of the whole run
    epochs: tuple[Epoch, ...]


TABLES_A = (
    TableA(
        "CLS",
        "cls",
        False,
        5 * 60 + 20,
        (
            Epoch(1, 0.4841, 0.4272, 0.5313, 1.4353, 726.7),
            Epoch(2, 0.3094, 0.4075, 0.5702, 1.4669, 711.0),
            Epoch(3, 0.2120, 0.6508, 0.6117, 1.4995, 695.5),
            Epoch(4, 0.1433, 0.7570, 0.5911, 1.4763, 706.5),
            Epoch(5, 0.1082, 0.8183, 0.5884, 1.4792, 705.1),
        ),
    ),
    TableA(
        "MEAN-MAX",
        "mean-max",
        False,
        5 * 60 + 29,
        (
            Epoch(1, 0.4753, 0.4214, 0.5402, 1.4588, 715.0),
            Epoch(2, 0.2865, 0.4235, 0.5880, 1.4163, 736.4),
            Epoch(3, 0.1821, 0.7604, 0.5416, 1.4487, 718.6),
            Epoch(4, 0.1141, 0.8705, 0.5679, 1.4878, 701.0),
            Epoch(5, 0.0797, 0.9457, 0.5865, 1.4861, 701.8),
        ),
    ),
    TableA(
        "MINE",
        "softmax-stochastic",
        True,
        2 * 3600 + 60 + 2,
        (
            Epoch(1, 0.5902, 0.5701, 0.1039, 58.60, 17.8),
            Epoch(2, 0.5618, 0.5536, 0.2145, 57.97, 18.0),
            Epoch(3, 0.5565, 0.5532, 0.2197, 57.98, 18.0),
            Epoch(4, 0.5500, 0.5495, 0.2421, 56.96, 18.3),
            Epoch(5, 0.5388, 0.5485, 0.2468, 57.16, 18.2),
        ),
    ),
)


@dataclass(frozen=True)
class RowB:
    """A column of report B's table."""

    pooling: str
    test_error: float  # %
    train_seconds: float  # of the whole run
    predict_seconds: float
    memory: float  # GB, estimated


TABLE_B = (
    RowB("average", 1.19, 58.84, 0.72, 0.46),
    RowB("max", 1.19, 58.22, 0.71, 0.46),
    RowB("none", 1.10, 77.24, 0.70, 1.80),
)


@dataclass(frozen=True)
class Published:
    """A published figure."""

    task: str  # one of ours, or a data set that poolviz does not train on
    label: str
    pooling: str
    measure: str
    value: float  # in the unit that is kept
    source: str
    note: str = ""


_ZEILER = 'Zeiler, Fergus (2013), "Stochastic pooling for regularization of deep convolutional neural networks"'
_QUOTED = "As commonly quoted, not checked against the paper."
_ONE_EPOCH = "Which epoch it is of is not told."

PUBLISHED = (
    Published("mnist", "Zeiler & Fergus: stochastic", "stochastic", "test_error", 0.0047, _ZEILER),
    Published("mnist", "Zeiler & Fergus: average", "average", "test_error", 0.0083, _ZEILER, _QUOTED),
    Published("mnist", "Zeiler & Fergus: max", "max", "test_error", 0.0055, _ZEILER, _QUOTED),
    Published("cifar-10", "Zeiler & Fergus: stochastic", "stochastic", "test_error", 0.1513, _ZEILER),
    Published("cifar-10", "Zeiler & Fergus: average", "average", "test_error", 0.1924, _ZEILER, _QUOTED),
    Published("cifar-10", "Zeiler & Fergus: max", "max", "test_error", 0.1940, _ZEILER, _QUOTED),
    Published("svhn", "Zeiler & Fergus: stochastic", "stochastic", "test_error", 0.0280, _ZEILER),
    Published("mnist", "Keras' example", "max", "test_error", 0.0075, "Keras' own example of that CNN", "12 epochs."),
    Published(
        "cola", "BERT-base-cased", "cls", "last_mcc", 0.565, "transformers' text-classification example", "3 epochs."
    ),
    Published("cola", "BERT-base", "cls", "last_mcc", 0.589, "MiniLM's model card", _ONE_EPOCH),
    Published("cola", "MiniLM-L12", "cls", "last_mcc", 0.585, "MiniLM's model card", _ONE_EPOCH),
    Published("cola", "ELECTRA-small", "cls", "last_mcc", 0.570, "ELECTRA's repository", _ONE_EPOCH),
)


@dataclass(frozen=True)
class Reported:
    """What somebody else found with one pooling."""

    report: str  # "A", "B" or "published"
    label: str
    pooling: str  # registry key, or "" where it is not told
    values: dict[str, float]  # by results.MEASURES' name, in the units that are kept
    rows: tuple[dict[str, Any], ...]  # epochs as metrics.jsonl has them; empty where there is no curve
    note: str
    source: str
    linear_tanh: bool = False
    train_seconds: float | None = None  # of the whole run, by the clock


def reported(task: str) -> tuple[Reported, ...]:
    """All that is reported of a task, each time anew: report A for cola, report B for mnist, then published figures."""
    ours: tuple[Reported, ...] = ()
    if task == "cola":
        ours = tuple(_of_a(table) for table in TABLES_A)
    elif task == "mnist":
        ours = tuple(_of_b(row) for row in TABLE_B)
    return ours + tuple(_published(figure) for figure in PUBLISHED if figure.task == task)


def told(task: str, measure: str) -> list[tuple[Reported, float]]:
    """Who reports a measure of a task, and the figure in the unit that is kept."""
    return [(each, each.values[measure]) for each in reported(task) if measure in each.values]


def _of_a(table: TableA) -> Reported:
    last, best = table.epochs[-1], min(table.epochs, key=lambda row: row.validation_loss)
    values = {
        "last_mcc": last.mcc,
        "validation_mcc": best.mcc,
        "last_loss": last.validation_loss,
        "validation_loss": best.validation_loss,
        "train_loss": last.train_loss,
        "train_time": table.seconds / len(table.epochs),
        "eval_time": statistics.fmean(row.eval_seconds for row in table.epochs),
    }
    note = (
        "Its encoder is not named. Training time an epoch is the whole run's time, by the clock, over its 5 epochs. "
        "Its gap is to the training loss as trained, so no generalisation gap as we measure it is given."
    )
    return Reported(
        "A", table.label, table.pooling, values, _rows(table), note, REPORT_A, table.linear_tanh, table.seconds
    )


def _rows(table: TableA) -> tuple[dict[str, Any], ...]:
    """As `training/records.py` writes an epoch: seconds are summed up. Training seconds by epoch are not told."""
    spent, rows = 0.0, []
    for row in table.epochs:
        spent += row.eval_seconds
        rows.append(
            {
                "kind": "epoch",
                "step": STEPS_AN_EPOCH * row.epoch,
                "epoch": row.epoch,
                "train_loss": row.train_loss,
                "validation_loss": row.validation_loss,
                "validation_mcc": row.mcc,
                "eval_seconds": spent,
            }
        )
    return tuple(rows)


def _of_b(row: RowB) -> Reported:
    values = {
        "test_error": row.test_error / 100,
        "predict_time": row.predict_seconds,
        "estimated_bytes": row.memory * 1e9,
    }
    note = (
        "Its training time is of a whole run and its epochs are not told, so no time an epoch is given. "
        "Nor is the batch told that its memory is estimated for."
    )
    return Reported("B", row.pooling, row.pooling, values, (), note, REPORT_B, train_seconds=row.train_seconds)


def _published(figure: Published) -> Reported:
    values = {figure.measure: figure.value}
    return Reported("published", figure.label, figure.pooling, values, (), figure.note, figure.source)
