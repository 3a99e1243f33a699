"""Everything that decides a run, as one record that is kept as JSON beside its results.

Two runs with the same record on the same device and versions have the same curves. Knows nothing of torch: a form or
a command line can check its values before anything heavy is loaded.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

IMAGE_TASKS = ("digits", "mnist", "fashion-mnist")
TEXT_TASKS = ("minimal-pairs", "cola")
TASKS = (*IMAGE_TASKS, *TEXT_TASKS)
SCHEDULES = ("constant", "linear", "one-cycle")
FREEZES = ("none", "embeddings", "encoder")
PRECISIONS = ("no", "bf16", "fp16")
_CLOTHES = "T-shirt Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle-boot"
CLASSES = {task: tuple(map(str, range(10))) for task in ("digits", "mnist")}
CLASSES |= {"fashion-mnist": tuple(_CLOTHES.split())}  # the names of its authors (Xiao, Rasul, Vollgraf 2017)
CLASSES |= dict.fromkeys(TEXT_TASKS, ("not acceptable", "acceptable"))
DEFAULT_ENCODER = "all-MiniLM-L6-v2"


@dataclass(frozen=True)
class RunConfig:
    """One run. Fields of images mean nothing to text, and the other way round."""

    task: str = "digits"
    pooling: str = "max"  # registry key
    seed: int = 0  # initial weights, batch order, dropout, draws
    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"  # linear: warms up over a tenth of the steps, then falls to 0
    clip: float = 0.0  # largest norm of a gradient; 0: not clipped
    patience: int = 0  # epochs without a better validation loss before it stops; 0: never
    train_limit: int = 0  # examples of the training set, drawn evenly over classes; 0: all
    eval_limit: int = 0  # examples of the validation set, and of the test set; 0: all
    max_steps: int = 0  # 0: as many as the epochs have
    max_seconds: float = 0.0  # of training; 0: no limit
    precision: str = "no"  # mixed precision on a GPU
    temperature: float = 1.0  # of softmax poolings and attention
    dropout: float = 0.25  # after the pooling; for text before the classifier
    # images
    kernel_size: int = 2
    stride: int = 2
    width: int = 32  # channels of the first convolution; the second has twice as many
    depth: int = 1  # pooling stages
    head_dropout: float = 0.5
    # text
    encoder: str = DEFAULT_ENCODER
    linear_tanh: bool = False  # report A's linear map and tanh after the pooling
    freeze: str = "none"  # embeddings: the tables; encoder: all of it
    held_out: float = 0.0  # CoLA: share of the training sentences that validates in place of the development set

    @property
    def is_text(self) -> bool:
        """Sentences and an encoder, or images and a small CNN."""
        return self.task in TEXT_TASKS

    def to_json(self) -> str:
        """As it is kept in a run's folder."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        """Read and check; ValueError, one sentence, for what is no configuration."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("The configuration is not JSON.") from None
        if not isinstance(given, dict):
            raise ValueError("The configuration must be one JSON object.")
        return cls.from_dict(given)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> RunConfig:
        """Check names, types and values; ValueError, one sentence."""
        known = {field.name: type(field.default) for field in fields(cls)}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(f"Unknown in a configuration: {', '.join(map(repr, unknown))[:120]}.")
        values = {name: _typed(name, value, known[name]) for name, value in given.items()}
        config = cls(**values)
        config.check()
        return config

    def check(self) -> None:
        """ValueError, one sentence, for values that no run could use. Names of poolings are checked by the model."""
        _one_of("task", self.task, TASKS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("freeze", self.freeze, FREEZES)
        for name in ("pooling", "encoder"):
            value = getattr(self, name)
            if not 0 < len(value) <= 200 or not value.isprintable():
                raise ValueError(f"{name} must be a name of at most 200 characters, got {value[:60]!r}.")
        for name, low, high in _WHOLE:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high:,}, got {str(value)[:60]}.")
        for name, low, high, open_low in _REAL:
            value = getattr(self, name)
            inside = math.isfinite(value) and (low < value if open_low else low <= value) and value <= high
            if not inside:
                raise ValueError(
                    f"{name} must be {'above' if open_low else 'at least'} {low:g} and at most {high:g}, got {value}."
                )
        if self.held_out and self.task != "cola":
            raise ValueError(
                f"held_out is for cola: {self.task} always holds out a fifth of its training set, so set it to 0."
            )


_WHOLE = (
    ("seed", 0, 2**31 - 1),
    ("epochs", 1, 1000),
    ("batch_size", 1, 65_536),
    ("patience", 0, 1000),
    ("train_limit", 0, 10_000_000),
    ("eval_limit", 0, 10_000_000),
    ("max_steps", 0, 100_000_000),
    ("kernel_size", 1, 8),
    ("stride", 1, 8),
    ("width", 1, 1024),
    ("depth", 1, 2),
)
_REAL = (  # name, low, high, low itself excluded
    ("learning_rate", 0.0, 10.0, True),
    ("weight_decay", 0.0, 10.0, False),
    ("clip", 0.0, 1e6, False),
    ("max_seconds", 0.0, 1e7, False),
    ("temperature", 1e-30, 1e30, False),
    ("dropout", 0.0, 0.95, False),
    ("head_dropout", 0.0, 0.95, False),
    ("held_out", 0.0, 0.5, False),
)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"Unknown {name} {str(value)[:60]!r}: choose one of {', '.join(known)}.")


def _typed(name: str, value: Any, kind: type) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1023 else math.inf  # which `check` refuses
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise ValueError(f"{name} must be {words[kind]}, got {str(value)[:60]!r}.")
    return value


# What finishes within about half a minute on two cores, or, for CoLA, is report A's protocol.
_TASK_DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 12, "batch_size": 32},
    "mnist": {"epochs": 5, "batch_size": 128, "schedule": "one-cycle"},
    "fashion-mnist": {"epochs": 5, "batch_size": 128, "schedule": "one-cycle"},
    "minimal-pairs": {
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 5e-5,
        "train_limit": 400,
        "pooling": "cls",
        "dropout": 0.1,
    },
    "cola": {
        "epochs": 5,
        "batch_size": 16,
        "learning_rate": 5e-5,
        "schedule": "linear",
        "pooling": "cls",
        "dropout": 0.1,
    },
}


def default_config(task: str, **changes: Any) -> RunConfig:
    """A task's defaults with `changes`, checked."""
    _one_of("task", task, TASKS)
    return RunConfig.from_dict({"task": task, **_TASK_DEFAULTS[task], **changes})
