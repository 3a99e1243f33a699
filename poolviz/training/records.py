"""What a run tells of itself as it goes: its progress, the lines of its curve, and who takes them."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch
from torch import Tensor

from poolviz.training.data import Split
from poolviz.training.evaluation import Evaluation

try:
    import resource
except ImportError:  # Windows
    resource = None


class Recorder(Protocol):
    """Where a run's records go."""

    def metrics(self, row: dict[str, Any]) -> None:
        """One line of the curve, flushed."""

    def predictions(self, split: Split, found: Evaluation, facts: dict[str, Any]) -> None:
        """What the model says of each example; replaces what was said before."""

    def save(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Keep tensors and plain facts under a name: best, last, checkpoint."""

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save` kept, or None."""

    def rewind(self, step: int) -> None:
        """Forget the lines of the curve after a step: a resumed run says them again."""

    def should_stop(self) -> bool:
        """Whether somebody asked for an end; asked at each step, so it must be quick."""


@dataclass
class Progress:
    """Where a run stands: with the weights and the optimizer's state, all that a resumed run needs.

    Seconds by the clock count what else the machine does; CPU seconds are this process's own, summed over its threads,
    and tell nothing of a GPU's work.
    """

    epoch: int = 0  # finished
    step: int = 0  # optimizer steps taken
    train_seconds: float = 0.0
    train_cpu_seconds: float = 0.0
    eval_seconds: float = 0.0
    eval_cpu_seconds: float = 0.0
    best_loss: float = math.inf  # of validation
    best_epoch: int = 0
    stopped: str = ""  # why it ended before its last epoch

    @property
    def row(self) -> dict[str, Any]:
        """What every line of the curve says."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "train_seconds": self.train_seconds,
            "train_cpu_seconds": self.train_cpu_seconds,
            "peak_bytes": peak_bytes(),
        }


def step_row(progress: Progress, loss: float, learning_rate: float) -> dict[str, Any]:
    """A line within an epoch."""
    return {"kind": "step", **progress.row, "train_loss": loss, "learning_rate": learning_rate}


def epoch_row(
    progress: Progress, loss: float, error: float, validation: Evaluation, learning_rate: float
) -> dict[str, Any]:
    """A line at an epoch's end."""
    return {
        "kind": "epoch",
        **progress.row,
        "train_loss": loss,
        "train_error": error,
        "validation_loss": validation.loss,
        "validation_error": validation.error,
        "validation_mcc": validation.mcc,
        **{f"validation_{name}": value for name, value in validation.by_domain.items()},
        "learning_rate": learning_rate,
        "eval_seconds": progress.eval_seconds,
        "eval_cpu_seconds": progress.eval_cpu_seconds,
        "steps_per_second": progress.step / max(progress.train_seconds, 1e-9),
    }


def peak_bytes() -> int:
    """Most memory so far: CUDA's own counter, else the most that this process ever held (its resident set).

    That is torch itself, some hundred MB, and whatever ran here before: a process that stood by and measured a larger
    run has that one's peak. Where a system keeps no peak it is what the process holds now.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    memory = psutil.Process().memory_info()
    return max(memory.rss, getattr(memory, "peak_wset", 0), _peak_resident())


def _peak_resident() -> int:
    """The kernel's own high-water mark in bytes; 0 where it tells none (Windows, which has `peak_wset`)."""
    # Linux: not getrusage, whose mark a process takes over from the one that started it (a server's, say)
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if resource is None:
        return 0
    told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return told if sys.platform == "darwin" else told * 1024
