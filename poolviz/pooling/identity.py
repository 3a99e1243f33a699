"""No pooling, report B's baseline: every cell is its own window."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Options, Pooling


def _ones(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    return torch.ones_like(x)


NONE = Pooling(
    name="none",
    label="None",
    family="identity",
    formula=r"S_i = a_i",
    paper="the baseline of report B",
    colour="#767676",
    arithmetic="{x} = {y}",
    weights=_ones,
    keeps_cells=True,
)
