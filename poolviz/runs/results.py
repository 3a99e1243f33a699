"""What came out of ended runs, as numbers to compare: quick enough for hundreds of folders. Imports no torch.

A folder that cannot be trusted is named with what is wrong with it, and everything else still shows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from poolviz.runs import store
from poolviz.runs.store import Run
from poolviz.training.config import RunConfig
from poolviz.training.folder import ENDED, STATES, read_job, read_json

TAIL = 8192  # bytes at a curve's end that hold its last epoch
MOST = 1e100  # beyond it is no figure of a run
SHIPPED, MINE, IMPORTED = "shipped", "mine", "imported"  # where a run came from
ORIGINS = (SHIPPED, MINE, IMPORTED)  # of two runs of one experiment and seed the one that comes first here counts
LIMIT = "the limit of "  # how the reason of a run that a limit of steps or seconds cut short begins


@dataclass(frozen=True)
class Measure:
    """One figure of a run."""

    name: str
    label: str
    unit: str  # "%", "s", "MB", or "" for plain numbers; as it is shown
    better: str  # "low", "high", or "" where neither is
    about: str
    text: bool | None = None  # of text tasks alone, of image tasks alone, of both
    scale: float = 1.0  # what the kept figure is multiplied by to be shown in its unit
    exact: bool = False  # follows from the configuration alone: a figure that is the same for all seeds is certain

    @property
    def timed(self) -> bool:
        """Whether it may be compared on one machine alone."""
        return self.unit == "s"


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("test_error", "Test error", "%", "low", "wrong share of the test set, best epoch's model", False, 100),
        Measure("validation_error", "Validation error", "%", "low", "wrong share, best epoch's model", None, 100),
        Measure("last_mcc", "MCC, last epoch", "", "high", "Matthews correlation after the last epoch", True),
        Measure("validation_mcc", "MCC, best epoch", "", "high", "of the epoch of least validation loss", True),
        Measure("test_mcc", "Test MCC", "", "high", "Matthews correlation on the test set", True),
        Measure("mcc_in_domain", "MCC in domain", "", "high", "best epoch, sentences like those trained on", True),
        Measure("mcc_out_of_domain", "MCC out of domain", "", "high", "best epoch, sentences of other sources", True),
        Measure("test_loss", "Test loss", "", "low", "cross-entropy, best epoch's model", False),
        Measure("validation_loss", "Validation loss", "", "low", "cross-entropy, least of all epochs"),
        Measure("last_loss", "Validation loss, last epoch", "", "low", "cross-entropy after the last epoch"),
        Measure("fit_loss", "Training loss, judged", "", "low", "training examples in eval mode after the last epoch"),
        Measure("fit_error", "Training error, judged", "%", "low", "as the loss beside it: without dropout", None, 100),
        Measure(
            "train_loss", "Training loss, as trained", "", "low", "mean over the last epoch, with dropout and draws"
        ),
        Measure("gap", "Generalisation gap", "", "low", "validation loss less judged training loss, last epoch"),
        Measure("train_time", "Training time an epoch", "s", "low", "CPU seconds on a CPU, the clock's on a GPU"),
        Measure("eval_time", "Validation time a pass", "s", "low", "CPU seconds on a CPU, the clock's on a GPU"),
        Measure("predict_time", "Prediction time", "s", "low", "the whole test set, or for CoLA the validation set"),
        Measure("peak_bytes", "Memory, measured", "MB", "low", "the process, or the GPU's own counter", None, 1e-6),
        Measure(
            "estimated_bytes", "Memory, estimated", "MB", "low", "activations of a batch, parameters", None, 1e-6, True
        ),
        Measure("parameters", "Parameters", "", "low", "learned numbers", exact=True),
    )
}


@dataclass(frozen=True)
class Result:
    """A run that has ended, or goes on: then its figures are those of its last epoch."""

    run: Run
    origin: str
    config: RunConfig  # as it was asked for
    state: str
    hardware: str  # as it is shown
    values: dict[str, float]  # by measure, in the units that are kept; what is not known is left out
    created: float = 0.0
    epoch: int = 0  # finished
    early: str = ""  # why a completed run took fewer steps than its epochs have
    versions: dict[str, str] = field(default_factory=dict)
    steps: int = 0  # that all its epochs have; 0 where that is not known
    machine: str = ""  # finer than `hardware`: what times may be compared within

    @property
    def name(self) -> str:
        """The folder's."""
        return self.run.name

    @property
    def cut_short(self) -> bool:
        """Whether a limit of steps or seconds ended it; early stopping is part of its configuration."""
        return self.early.startswith(LIMIT)

    @property
    def compared(self) -> RunConfig:
        """Its configuration as an experiment: a limit that was not reached made no difference, so it is none."""
        out_of_time = self.cut_short and self.early.endswith("seconds")
        beyond = 0 < self.steps <= self.config.max_steps  # a nearer one bends the schedule, reached or not
        return replace(
            self.config,
            max_seconds=self.config.max_seconds if out_of_time else 0.0,
            max_steps=0 if beyond else self.config.max_steps,
        )


@dataclass(frozen=True)
class Damaged:
    """A folder that was skipped."""

    name: str
    why: str  # one sentence


def read(run: Run) -> Result:
    """A run's figures; ValueError, one sentence, for a folder that cannot be trusted."""
    config = run.config
    state = run.state
    completed = state == "completed"
    environment = _object(run.folder / "environment.json", needed=completed)
    summary = _object(run.folder / "summary.json", needed=completed)
    device = str(environment.get("device", "unknown"))
    start, last = ends_of(run.folder / "metrics.jsonl", needed=completed)
    progress = _part(summary, "progress")
    steps = start.get("epoch_steps")
    steps = config.epochs * int(steps) if is_number(steps) else 0
    epoch = last.get("epoch")
    if completed and is_number(progress.get("epoch")) and epoch != progress["epoch"]:
        raise ValueError("metrics.jsonl ends before the last epoch.")
    return Result(
        run,
        origin(run),
        config,
        state,
        hardware(environment),
        _values(summary, start, last, cpu=device == "CPU"),
        run.created,
        int(epoch) if is_number(epoch) else 0,
        _early(progress, steps),
        {str(name): str(value) for name, value in _part(environment, "versions", "environment.json").items()},
        steps,
        machine(environment),
    )


def _early(progress: dict[str, Any], steps: int) -> str:
    """Why it ended before its last step; empty also where a limit was reached in that very step."""
    stopped, taken = progress.get("stopped"), progress.get("step")
    whole = is_number(taken) and 0 < steps <= taken
    return stopped if isinstance(stopped, str) and not whole else ""


class Shelf:
    """Every run here, each folder read once until its status changes: a page asks again and again."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, Result | Damaged]] = {}

    def read_all(self) -> tuple[list[Result], list[Damaged]]:
        """Users' runs, the newest first, then those shipped; and what had to be skipped."""
        known: dict[Path, tuple[int, Result | Damaged]] = {}
        for run in store.unsorted_runs():
            known[run.folder] = self._look_at(run)
        self._known = known  # in one step: other visitors read it meanwhile
        found = [one for _, one in known.values()]
        results = sorted(
            (one for one in found if isinstance(one, Result)),
            key=lambda one: (one.origin == SHIPPED, -one.created, one.name),
        )
        return results, [one for one in found if isinstance(one, Damaged)]

    def _look_at(self, run: Run) -> tuple[int, Result | Damaged]:
        try:
            told = (run.folder / "status.json").stat().st_mtime_ns  # the last file that a run writes
        except OSError:
            told = -1
        before = self._known.get(run.folder)
        if before is not None and before[0] == told and getattr(before[1], "state", "") in ENDED:
            return before
        try:
            if read_json(run.folder / "status.json").get("state") not in STATES:
                raise ValueError("status.json is missing." if told < 0 else "status.json is torn: it tells no state.")
            return told, read(run)
        except ValueError as error:
            return told, Damaged(run.name, str(error))


def origin(run: Run) -> str:
    """Where a run came from."""
    if run.folder.parent == store.SHIPPED:
        return SHIPPED
    return IMPORTED if read_job(run.folder).get("by") == "import" else MINE


def hardware(environment: dict[str, Any]) -> str:
    """The device in a few words."""
    device = str(environment.get("device") or "unknown device")
    if device != "CPU":
        return device
    threads = environment.get("threads")
    processor = str(environment.get("processor") or "").replace("(R)", "").replace("(TM)", "").replace(" Processor", "")
    said = f"CPU {' '.join(processor.split())}".strip()
    return f"{said}, {threads} thread{'' if threads == 1 else 's'}" if isinstance(threads, int) else said


def machine(environment: dict[str, Any]) -> str:
    """What a time may be compared within: the device, how many cores there were, and torch's version (2.14)."""
    versions = _part(environment, "versions", "environment.json")
    torch = ".".join(str(versions.get("torch", "unknown")).split(".")[:2])
    return f"{hardware(environment)}, {environment.get('cores', 'unknown')} cores, torch {torch}"


def _object(path: Path, needed: bool) -> dict[str, Any]:
    """One JSON object of finite numbers; ValueError, one sentence, for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        if not needed:
            return {}
        raise ValueError(f"{path.name} is missing.") from None
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{path.name} cannot be read.") from None
    except _NoNumberError:
        raise ValueError(f"{path.name} holds a figure that is no number.") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{path.name} is torn: it is no JSON.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} must be one JSON object.")
    return content


class _NoNumberError(Exception):
    """NaN or an infinity in JSON."""


def _no_number(text: str) -> float:
    raise _NoNumberError(text)


def ends_of(path: Path, needed: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """First line and last epoch's line of a curve, each empty where there is none; ValueError where it is missing."""
    try:
        with path.open("rb") as file:
            first = file.readline(TAIL)
            file.seek(max(0, path.stat().st_size - TAIL))
            tail = file.read().split(b"\n")
    except OSError:
        if not needed:
            return {}, {}
        raise ValueError(f"{path.name} is missing.") from None
    epochs = (row for row in map(_line, reversed(tail)) if row.get("kind") == "epoch")
    last = next(epochs, {})
    if needed and not last:
        raise ValueError(f"{path.name} ends without an epoch.")
    return _line(first), last


def _line(line: bytes) -> dict[str, Any]:
    """A line of a curve; empty for a torn one."""
    try:
        row = json.loads(line, parse_constant=_no_number)
    except _NoNumberError:
        raise ValueError("metrics.jsonl holds a figure that is no number.") from None
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _part(content: dict[str, Any], name: str, file: str = "summary.json") -> dict[str, Any]:
    part = content.get(name, {})
    if not isinstance(part, dict):
        raise ValueError(f"{file} must hold an object under {name!r}.")
    return part


def _values(summary: dict[str, Any], start: dict[str, Any], epoch: dict[str, Any], cpu: bool) -> dict[str, float]:
    best, last, test, fit = (_part(summary, name) for name in ("best", "last", "test", "fit"))
    if not best and not last:  # it goes on: what its last epoch said
        told = {"loss": "validation_loss", "error": "validation_error", "mcc": "validation_mcc"}
        best = last = {name: epoch[field] for name, field in told.items() if epoch.get(field) is not None}
    clock = "cpu_seconds" if cpu else "seconds"
    epochs = epoch.get("epoch")
    predicted = test or last or best

    def an_epoch(name: str) -> Any:
        spent = epoch.get(name)
        return spent / epochs if is_number(spent) and is_number(epochs) and epochs else None

    known = {
        "test_error": test.get("error"),
        "test_mcc": test.get("mcc"),
        "test_loss": test.get("loss"),
        "validation_error": best.get("error"),
        "validation_mcc": best.get("mcc"),
        "validation_loss": best.get("loss"),
        "mcc_in_domain": best.get("mcc_in_domain"),
        "mcc_out_of_domain": best.get("mcc_out_of_domain"),
        "last_mcc": last.get("mcc"),
        "last_loss": last.get("loss"),
        "fit_loss": fit.get("loss"),
        "fit_error": fit.get("error"),
        "train_loss": epoch.get("train_loss"),
        "train_time": an_epoch(f"train_{clock}"),
        "eval_time": an_epoch(f"eval_{clock}"),
        "predict_time": predicted.get(clock),
        "peak_bytes": summary.get("peak_bytes"),
        "estimated_bytes": summary.get("estimated_bytes", start.get("estimated_bytes")),
        "parameters": summary.get("parameters", start.get("parameters")),
    }
    if is_number(last.get("loss")) and is_number(fit.get("loss")):
        known["gap"] = last["loss"] - fit["loss"]
    wrong = [name for name, value in known.items() if value is not None and not is_number(value)]
    if wrong:
        raise ValueError(f"{MEASURES[wrong[0]].label} is no number.")
    return {name: float(value) for name, value in known.items() if value is not None}


def is_number(value: object) -> TypeGuard[int | float]:
    """Finite, and small enough that sums of squares are."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST
