"""What the training page keeps in its address, within which bounds, and what a quick run of each task is."""

from __future__ import annotations

from typing import Any

from poolviz.charts.curves import AXES, MEASURES
from poolviz.pages import link
from poolviz.pages.link import Param
from poolviz.pages.parameters import TEMPERATURES
from poolviz.pooling import POOLINGS
from poolviz.runs.store import NAME
from poolviz.training.config import FREEZES, IMAGE_TASKS, SCHEDULES, TASKS, TEXT_TASKS

MOST_RACING = 6
MOST_WATCHED = 12
MOST_EPOCHS = 50
EXAMPLES = (100, 200, 400, 600, 1000, 2000, 5000, 10_000, 0)  # of the training set; 0: all of it
RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1)
BATCHES = (8, 16, 32, 64, 128, 256)
TASK_NAMES = {
    "digits": "Digits (8 × 8)",
    "mnist": "MNIST (28 × 28)",
    "fashion-mnist": "Fashion-MNIST (28 × 28)",
    "minimal-pairs": "Minimal pairs",
    "cola": "CoLA",
}
ABOUT = {
    "digits": "1,797 handwritten digits of scikit-learn; a small CNN reads them. The test digits are the last fifth of "
    "the file, which is not shuffled: they are harder, probably by other hands.",
    "mnist": "70,000 handwritten digits; report B's CNN reads them.",
    "fashion-mnist": "70,000 pictures of clothes; report B's CNN names them.",
    "minimal-pairs": "Sentences of a small grammar, acceptable or not; the encoder learns to judge them. "
    "The words of the test sentences are new to it.",
    "cola": "Sentences from linguistics books, acceptable or not; the encoder learns to judge them, as in report A.",
}
# What finishes within about half a minute on two cores; the digits' are those of the shipped runs.
QUICK: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 12, "examples": 0, "rate": 1e-3, "batch": 32, "schedule": "constant"},
    "mnist": {"epochs": 4, "examples": 1000, "rate": 1e-3, "batch": 64, "schedule": "constant"},
    "fashion-mnist": {"epochs": 4, "examples": 1000, "rate": 1e-3, "batch": 64, "schedule": "constant"},
    "minimal-pairs": {"epochs": 2, "examples": 600, "rate": 2e-4, "batch": 16, "schedule": "linear"},
    "cola": {"epochs": 2, "examples": 600, "rate": 1e-4, "batch": 16, "schedule": "linear"},
}
IMAGE_POOLINGS = tuple(name for name, pooling in POOLINGS.items() if pooling.for_maps)
TEXT_POOLINGS = tuple(name for name, pooling in POOLINGS.items() if pooling.for_sequences)


def key(name: str) -> str:
    """Session key of a parameter of this page."""
    return f"train.{name}"


def label_of(pooling: str) -> str:
    """A pooling as a visitor reads it; a run of another version may have one that is unknown here."""
    return POOLINGS[pooling].label if pooling in POOLINGS else pooling


def colour_of(pooling: str) -> str:
    """Its own; grey where it is unknown here."""
    return POOLINGS[pooling].colour if pooling in POOLINGS else "#7D8590"


def _stop(options: tuple[float, ...]) -> Param:
    known = link.one_of_numbers(options[0], options)
    return Param(None, known.parse, known.show)


def _run_names(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    if len(names) > MOST_WATCHED or not all(NAME.fullmatch(name) for name in names):
        raise ValueError(f"names of up to {MOST_WATCHED} runs, with commas between them, are needed")
    return names


PARAMS: dict[str, Param] = {
    key(name): param
    for name, param in {
        "task": link.choice("digits", TASKS),
        "maps": link.several(("max", "average", "stochastic"), IMAGE_POOLINGS, MOST_RACING),
        "tokens": link.several(("mean",), TEXT_POOLINGS, MOST_RACING),
        # None: the task's own, as QUICK has it
        "epochs": Param(None, link.whole(1, 1, MOST_EPOCHS).parse),
        "examples": _stop(EXAMPLES),
        "rate": _stop(RATES),
        "batch": _stop(BATCHES),
        "schedule": Param(None, link.choice("", SCHEDULES).parse),
        "seed": link.whole(0, 0, 999_999),
        "temperature": link.one_of_numbers(1.0, TEMPERATURES),
        "kernel": link.whole(2, 1, 8),
        "stride": link.whole(2, 1, 8),
        "width": link.one_of_numbers(32, (8, 16, 32, 64)),
        "stages": link.whole(1, 1, 2),
        "freeze": link.choice("none", FREEZES),
        "tanh": link.flag(False),
        "keep": link.flag(False),
        "runs": Param([], _run_names, ",".join),
        "measure": link.choice("loss", tuple(MEASURES)),
        "axis": link.choice("epoch", tuple(AXES)),
    }.items()
}

assert set(QUICK) == set(TASK_NAMES) == set(ABOUT) == {*IMAGE_TASKS, *TEXT_TASKS}
