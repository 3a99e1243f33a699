"""A picture on its way to becoming a feature map, and the one error that inputs raise.

This module knows no source of pictures.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MIN_SIDE = 4  # pixels: below it there is hardly a window to pool


class InputError(ValueError):
    """An input that cannot be used; the message is one sentence: what was wrong and what to do."""


@dataclass(frozen=True, eq=False)  # eq=False: comparing tensors gives no single truth value
class Picture:
    """A picture in its own units; what one unit means is said by the function that made it."""

    pixels: Tensor  # (C, H, W) float32
    channels: tuple[str, ...]  # C names
    note: str = ""  # one sentence on what was done to the input, "" if nothing


def shown(value: object, longest: int = 40) -> str:
    """A bad value as a message can show it: its repr, shortened."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print an int of more than 4,300 digits
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= longest else text[: longest - 1] + "…"


def whole(value: object, what: str, low: int, high: int) -> int:
    """`value` as an int within low..high, or InputError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or not low <= number <= high:
        raise InputError(f"{what} must be a whole number from {low:,} to {high:,}, not {shown(value)}.")
    return number


def to_tensor(image) -> Tensor:
    """A Pillow image of mode L, RGB (0..255) or F (0..1 already) as (C, H, W) float32 in 0..1."""
    levels = np.array(image, dtype=np.float32)
    if image.mode == "F":
        levels = levels.clip(0.0, 1.0)  # Lanczos overshoots a little beside sharp edges
    else:
        levels /= 255.0
    return torch.from_numpy(levels.reshape(*levels.shape[:2], -1)).permute(2, 0, 1).contiguous()
