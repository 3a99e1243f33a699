"""Everything that would end a run at its beginning, found before it is queued."""

from __future__ import annotations

from dataclasses import replace

from poolviz.inputs import samples, sentences
from poolviz.pooling.functional import operator
from poolviz.training.config import RunConfig
from poolviz.training.models import PooledCNN

SIZES = {"digits": 8, "mnist": 28, "fashion-mnist": 28}  # side of an image


def check(config: RunConfig) -> None:
    """Values, pooling, layers and data; ValueError or InputError, one sentence that says what to change."""
    config.check()
    operator("training", config.pooling, sequences=config.is_text)
    if config.is_text:
        if config.task == "cola":
            sentences.cola("train")
            sentences.cola("dev")
        return
    PooledCNN(replace(config, width=1), SIZES[config.task], 2)
    if config.task != "digits":
        samples.image_set(config.task, "train")
        samples.image_set(config.task, "test")
