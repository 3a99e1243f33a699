"""How long will it take on this machine? Measured on the first steps of the very network that is asked for."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch

from poolviz.training.config import RunConfig, default_config
from poolviz.training.data import batches, load_encoder_of, load_task
from poolviz.training.folder import device_name
from poolviz.training.loop import Loop

MOST_SECONDS = 1.5  # of measured steps
MOST_STEPS = 12
JUDGED = 128  # examples that the time of an evaluation is measured on
PROBE = 8  # examples of a first, small step; larger ones follow as long as they can be waited for


class Deaf:
    """A recorder that keeps nothing."""

    def metrics(self, row: dict[str, Any]) -> None:
        """Nothing."""

    def predictions(self, split: Any, found: Any, facts: dict[str, Any]) -> None:
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


def measure(config: RunConfig) -> dict[str, Any]:
    """Seconds of a step and of judging an example here, and sizes.

    Returns `step_seconds`, `judge_seconds`, `parameters`, `estimated_bytes` (activations of a batch and parameters,
    report B's way), the task's examples (`train`, `validation`, `test`), `device` and `threads`. Raises what the run
    itself would raise before its first step.
    """
    encoder = load_encoder_of(config)
    task = load_task(config, encoder)
    loop = Loop(config, task, Deaf(), encoder)
    step = _step_seconds(loop)
    few = loop.task.validation.some(JUDGED if step / config.batch_size * JUDGED < MOST_SECONDS else PROBE)
    loop.evaluate(few)
    return {
        "step_seconds": step,
        "judge_seconds": loop.evaluate(few).seconds / len(few),
        "parameters": loop.parameters,
        "estimated_bytes": loop.estimate.bytes,
        "train": len(task.train),
        "validation": len(task.validation),
        "test": len(task.test) if task.test is not None else 0,
        "device": device_name(),
        "threads": torch.get_num_threads(),
    }


def warm_up() -> None:
    """Do once what a process does only once: torch's first convolution, backward pass and optimizer step."""
    config = replace(default_config("digits"), batch_size=8, train_limit=16, width=2)
    loop = Loop(config, load_task(config), Deaf())
    loop.train_epoch()
    loop.evaluate(loop.task.validation.some(8))


def _step_seconds(loop: Loop) -> float:
    """Median time of a step, the first left out; in proportion from a part of one where a whole one takes too long."""
    loop.model.train()
    sums = torch.zeros(2, device=loop.accelerator.device)

    def timed(chosen: torch.Tensor) -> float:
        started = time.perf_counter()
        float(loop.step(chosen, sums)[0])  # waits for the device
        return time.perf_counter() - started

    times: list[float] = []
    for chosen in batches(loop.task.train, loop.config.batch_size, torch.Generator().manual_seed(0)):
        part = PROBE if not times else len(chosen)
        if part < len(chosen):
            timed(chosen[:part])  # the very first is slower
        while part < len(chosen):
            took = timed(chosen[:part])
            if took > MOST_SECONDS / 4:
                return took / part * len(chosen)
            part *= 4
        times.append(timed(chosen))
        if len(times) > MOST_STEPS or (sum(times) > MOST_SECONDS and len(times) > 1):
            break
    counted = sorted(times[1:] or times)
    return counted[len(counted) // 2]
