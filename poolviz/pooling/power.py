r"""Lp pooling, torch's `LPPool`: the p-th root of the sum of p-th powers; p = 1 is the sum, p -> infinity the maximum.

    S = (n / |R|  sum_{i in R} a_i^p)^(1/p),  n the kernel's cells, |R| those that lie in the input

Sermanet, Chintala, LeCun (2012), "Convolutional Neural Networks Applied to House Numbers Digit Classification".
n / |R| is 1 except where `ceil_mode` or padding clips a window: torch scales such a window up to a full one, and so
does this. Powers keep their sign as in torch: odd p of a negative activation is negative (where the sum is negative,
torch gives NaN and this the real root); a fractional p of a negative activation is NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Options, Pooling


def _lp(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    valid = valid.expand_as(x)
    # Dividing by the largest magnitude keeps powers finite; it cancels, so it needs no gradient.
    scale = torch.where(valid, x.detach().abs(), 0.0).amax(dim=-2, keepdim=True)
    scale = torch.where((scale == 0) | scale.isinf(), 1.0, scale)
    powers = torch.where(valid, x / scale, 0.0).pow(options.p)
    total = powers.sum(dim=-2) * (x.shape[-2] / valid.sum(dim=-2))
    # the root's slope at 0 is infinite; torch documents a gradient of 0 there
    silent = total == 0
    root = torch.where(silent, 1.0, total.abs()).pow(1 / options.p) * total.detach().sign()
    return torch.where(silent, 0.0, root * scale.squeeze(-2))


LP = Pooling(
    name="lp",
    label="Lp",
    family="power",
    formula=r"S = \Big(\frac{n}{|R|} \sum_{i \in R} a_i^{\,p}\Big)^{1/p}",
    paper="Sermanet, Chintala, LeCun (2012), ICPR",
    colour="#8C6D31",
    arithmetic="({sum^p})^(1/{p}) = {y}",
    reduce=_lp,
    uses=("p",),
)
