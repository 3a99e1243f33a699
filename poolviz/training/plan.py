"""What lies ahead of a run, by arithmetic alone: steps, and seconds from what was measured. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from poolviz.training.config import RunConfig

START_SECONDS = 4.0  # until a run's first step, on two cores: its process gets ready while the run before still trains
WARM_UP = 0.1  # share of the steps in which a linear or one-cycle schedule rises
DECISIVE = ("task", "pooling", "batch_size", "precision", "kernel_size", "stride", "width", "depth")
DECISIVE += ("encoder", "linear_tanh", "freeze")


def planned_steps(config: RunConfig, examples: int) -> int:
    """Optimizer steps that a run would take on so many training examples."""
    full = config.epochs * math.ceil(examples / config.batch_size)
    return min(full, config.max_steps) if config.max_steps else full


def rate(schedule: str, step: int, total: int) -> float:
    """Share of the learning rate at a step: constant; linear up then down to 0; one-cycle, with a cosine down."""
    if schedule == "constant":
        return 1.0
    rise = max(1, round(WARM_UP * total))
    if step < rise:
        return (step + 1) / rise
    done = min(1.0, (step - rise) / max(1, total - rise))
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def decisive(config: RunConfig) -> RunConfig:
    """`config` with only what decides the time of a step: runs that share it share a measurement."""
    return replace(RunConfig(), **{name: getattr(config, name) for name in DECISIVE})


def seconds(config: RunConfig, measured: dict[str, Any]) -> float:
    """Of a whole run, from what `estimate.measure` found of `decisive(config)`."""

    def limited(name: str, limit: int) -> int:
        return min(int(measured[name]), limit or int(measured[name]))

    examples = limited("train", config.train_limit)
    steps = planned_steps(config, examples)
    epochs = math.ceil(steps / math.ceil(examples / config.batch_size))
    # each epoch's validation, as many training examples at the end, and the best epoch's model on the test set
    validation = limited("validation", config.eval_limit)
    judged = epochs * validation + min(validation, examples) + limited("test", config.eval_limit)
    training = min(steps * measured["step_seconds"], config.max_seconds or math.inf)
    return START_SECONDS + training + judged * measured["judge_seconds"]
