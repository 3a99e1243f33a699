"""What lies ahead of a run, by arithmetic alone: steps, and seconds from what was measured. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from poolviz.training.config import RunConfig

START_SECONDS = 4.0  # until a run's first step, on two cores: its process gets ready while the run before still trains
DECISIVE = ("task", "pooling", "batch_size", "precision", "kernel_size", "stride", "width", "depth")
DECISIVE += ("encoder", "linear_tanh", "freeze")


def planned_steps(config: RunConfig, examples: int) -> int:
    """Optimizer steps that a run would take on so many training examples."""
    full = config.epochs * math.ceil(examples / config.batch_size)
    return min(full, config.max_steps) if config.max_steps else full


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
    # each epoch's validation, and the best epoch's model on the test set
    judged = epochs * limited("validation", config.eval_limit) + limited("test", config.eval_limit)
    training = min(steps * measured["step_seconds"], config.max_seconds or math.inf)
    return START_SECONDS + training + judged * measured["judge_seconds"]
