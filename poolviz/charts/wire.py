"""Tensors as text that a component in the browser decodes (heatmap.js), as light as they can be."""

from __future__ import annotations

import base64

import torch
from torch import Tensor

MOST_EXACT = 100_000  # weights of one operator that travel as float32
NO_PLACE = 255  # a window without a weight, where weights travel as places


def base64_of(values: Tensor) -> str:
    """The bytes of a tensor, row-major."""
    return base64.b64encode(values.detach().contiguous().numpy().tobytes()).decode()


def floats(values: Tensor) -> str:
    """Any numbers as float32."""
    return base64_of(values.to(torch.float32))


def heatmap(values: Tensor) -> dict[str, object]:
    """A map (H, W) with its size."""
    height, width = values.shape
    return {"height": height, "width": width, "values": floats(values)}


def weights(values: Tensor) -> dict[str, str]:
    """Weights (windows, cells) of one operator.

    The same in every window: one row of them. One cell of 1 a window: its place, a byte (255 for none). Else float32;
    many of them as bfloat16, whose error of 0.4 % is below what a bar shows.
    """
    values = values.detach().float()
    if len(values) > 1 and bool((values == values[:1]).all()):
        return {"shared": base64_of(values[0])}
    total = values.sum(-1)
    if values.shape[-1] < NO_PLACE and bool(((values == 0) | (values == 1)).all() & (total <= 1).all()):
        return {"place": base64_of(torch.where(total > 0, values.argmax(-1), NO_PLACE).to(torch.uint8))}
    if values.numel() > MOST_EXACT:
        return {"bfloat16": base64_of(values.to(torch.bfloat16).view(torch.int16))}
    return {"float32": base64_of(values)}
