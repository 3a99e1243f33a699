"""How long will it take on this machine? Measured on the first steps of the very run that is asked for."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from poolviz.training.config import RunConfig
from poolviz.training.data import Split, load_encoder_of, load_task
from poolviz.training.loop import Loop, Progress, planned_steps

MOST_SECONDS = 1.5  # of measured steps
MOST_STEPS = 12
JUDGED = 128  # examples that the time of an evaluation is measured on


class Deaf:
    """A recorder that keeps nothing."""

    def metrics(self, row: dict[str, Any]) -> None:
        """Nothing."""

    def predictions(self, split: Split, found: Any, facts: dict[str, Any]) -> None:
        """Nothing."""

    def save(self, name: str, tensors: dict[str, Any], facts: dict[str, Any]) -> None:
        """Nothing."""

    def load(self, name: str) -> None:
        """Nothing."""

    def rewind(self, step: int) -> None:
        """Nothing."""

    def should_stop(self) -> bool:
        """Never."""
        return False


def measure(config: RunConfig) -> dict[str, float]:
    """Seconds of the whole run, as its first steps take them here, and its size.

    Returns `seconds`, `step_seconds`, `steps`, `parameters` and `estimated_bytes` (activations of a batch and
    parameters, report B's way). Raises what the run itself would raise before its first step.
    """
    encoder = load_encoder_of(config)
    task = load_task(config, encoder)
    loop = Loop(config, task, Deaf(), encoder)
    step = _step_seconds(loop)
    few = _first(loop.task.validation, JUDGED)
    loop.evaluate(few)
    judge = loop.evaluate(few).seconds / len(few)
    steps = planned_steps(config, len(task.train))
    per_epoch = math.ceil(len(task.train) / config.batch_size)
    judged = math.ceil(steps / per_epoch) * len(task.validation) + len(task.validation)
    judged += len(task.test) if task.test is not None else 0
    training = min(steps * step, config.max_seconds or math.inf)
    return {
        "seconds": training + judged * judge,
        "step_seconds": step,
        "steps": steps,
        "parameters": loop.parameters,
        "estimated_bytes": loop.estimate.bytes,
    }


def warm_up() -> None:
    """Do once what a process does only once: torch's first convolution, backward pass and optimizer step."""
    from dataclasses import replace

    from poolviz.training.config import default_config

    config = replace(default_config("digits"), batch_size=8, train_limit=16, width=2)
    loop = Loop(config, load_task(config), Deaf())
    loop.train_epoch()
    loop.evaluate(_first(loop.task.validation, 8))
    loop.progress = Progress()


def _step_seconds(loop: Loop) -> float:
    """Median time of a step, the first left out."""
    from poolviz.training.data import batches

    loop.model.train()
    sums = torch.zeros(2, device=loop.accelerator.device)
    times: list[float] = []
    for chosen in batches(loop.task.train, loop.config.batch_size, torch.Generator().manual_seed(0)):
        started = time.perf_counter()
        float(loop.step(chosen, sums)[0])  # waits for the device
        times.append(time.perf_counter() - started)
        if len(times) > MOST_STEPS or sum(times) > MOST_SECONDS and len(times) > 1:
            break
    counted = sorted(times[1:] or times)
    return counted[len(counted) // 2]


def _first(split: Split, count: int) -> Split:
    parts = {name: value[:count] if isinstance(value, torch.Tensor) else value for name, value in vars(split).items()}
    return Split(**parts)
