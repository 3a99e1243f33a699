"""Tables over runs: where one stands, and what came out of it. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from poolviz.training.config import RunConfig, default_config
from poolviz.training.folder import ENDED

if TYPE_CHECKING:  # psutil: `doctor` answers where it is missing
    from poolviz.runs.store import Run


MOST = 1e100  # beyond it is no figure of a run
PARTS = ("best", "last", "test", "fit", "progress")  # of a summary: a JSON object each


@dataclass(frozen=True)
class Standing:
    """A run at one moment."""

    run: Run
    config: RunConfig
    state: str
    reason: str
    rows: list[dict[str, Any]]  # of the curve
    summary: dict[str, Any]  # empty until the end

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ENDED

    @property
    def start(self) -> dict[str, Any]:
        """What lies ahead: steps, epochs, examples, parameters; empty before the first line."""
        return next((row for row in self.rows if row.get("kind") == "start"), {})

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The lines of finished epochs."""
        return [row for row in self.rows if row.get("kind") == "epoch"]

    @property
    def last(self) -> dict[str, Any]:
        """The newest line."""
        return self.rows[-1] if self.rows else {}

    @property
    def peak_bytes(self) -> float | None:
        """Most memory so far; at the end the summary's, which judging is part of."""
        told = self.summary.get("peak_bytes")
        if isinstance(told, int | float) and told:
            return told
        return max((row.get("peak_bytes") or 0 for row in self.rows), default=0) or None

    @property
    def done(self) -> float:
        """Share of the planned steps."""
        steps = self.start.get("steps") or 0
        return min(1.0, self.last.get("step", 0) / steps) if steps else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Of training and judging, as fast as until now; None before there is anything to go by."""
        spent = self.last.get("train_seconds", 0.0) + sum(row.get("eval_seconds", 0.0) for row in self.epochs[-1:])
        if not (self.done and spent):
            return None
        left = spent * (1 - self.done) / self.done
        limit = self.config.max_seconds - self.last.get("train_seconds", 0.0)
        return min(left, max(0.0, limit)) if self.config.max_seconds else left


def standing(run: Run) -> Standing | None:
    """Where a run stands; None for a folder that cannot be read."""
    try:
        config = run.config
    except ValueError:
        return None
    status = run.status
    rows = [{name: value for name, value in row.items() if _is_plain(name, value)} for row in run.metrics()]
    parts = {name: value for name, value in run.summary.items() if name not in PARTS or isinstance(value, dict)}
    return Standing(run, config, status["state"], str(status.get("reason", "")), rows, parts)


def _is_plain(name: str, value: Any) -> bool:
    """What a line of a curve may hold: its kind, and numbers that can be drawn."""
    return isinstance(value, str) if name == "kind" else isinstance(value, int | float) and abs(value) < MOST


def labels(configs: list[RunConfig], names: dict[str, str]) -> list[str]:
    """What tells runs apart: the pooling's name, then the seed and whatever else differs among them."""
    varying = [f.name for f in fields(RunConfig) if len({getattr(config, f.name) for config in configs}) > 1]
    told = []
    for config in configs:
        parts = [names.get(config.pooling, config.pooling)]
        parts += [said(name, getattr(config, name)) for name in varying if name != "pooling"]
        told.append(" · ".join(parts))
    # the same run twice is told by its place
    return [
        label if told.count(label) == 1 else f"{label} · no. {told[: number + 1].count(label)}"
        for number, label in enumerate(told)
    ]


def said(name: str, value: Any) -> str:
    """A setting in words."""
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}"


def changed(config: RunConfig) -> dict[str, Any]:
    """What differs from the task's defaults."""
    usual = asdict(default_config(config.task))
    return {name: value for name, value in asdict(config).items() if value != usual[name]}


def result(stand: Standing) -> dict[str, Any]:
    """One line of a table of runs; None where there is nothing to say yet."""
    best, test = stand.summary.get("best") or {}, stand.summary.get("test") or {}
    progress = stand.summary.get("progress") or {}
    last = stand.epochs[-1] if stand.epochs else {}
    judged = [row for row in stand.epochs if row.get("validation_loss") is not None]
    so_far = min(judged, key=lambda row: row["validation_loss"], default=last)  # no summary has a best epoch yet
    return {
        "run": stand.run.name,
        "task": stand.config.task,
        "pooling": stand.config.pooling,
        "seed": stand.config.seed,
        "state": stand.state,
        "created": stand.run.created,
        "epochs": last.get("epoch", 0),
        "best_epoch": progress.get("best_epoch") or None,
        "validation_loss": best.get("loss", so_far.get("validation_loss")),
        "validation_error": best.get("error", so_far.get("validation_error")),
        "validation_mcc": best.get("mcc", so_far.get("validation_mcc")),
        "test_error": test.get("error"),
        "test_mcc": test.get("mcc"),
        "train_loss": last.get("train_loss"),
        "train_seconds": stand.last.get("train_seconds"),
        "eval_seconds": last.get("eval_seconds"),
        "predict_seconds": (test or best).get("seconds"),
        "peak_bytes": stand.peak_bytes,
        "estimated_bytes": stand.start.get("estimated_bytes"),
        "parameters": stand.start.get("parameters"),
    }
