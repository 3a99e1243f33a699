"""Median pooling: the middle value of a window; between the two middle values where their number is even.

Tukey (1977), "Exploratory Data Analysis" (running medians). Which cells are in the middle depends on the values, so
it is registered as no weighted sum; its effective gradient is 1 on the middle cell, or 1/2 on each of two.
"""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor

from .base import Options, Pooling


def _median(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    valid = valid.expand_as(x)
    ordered = torch.where(valid, x, inf).sort(dim=-2).values  # padding goes last and is never reached
    count = valid.sum(dim=-2, keepdim=True)
    lower = ordered.gather(-2, (count - 1) // 2).squeeze(-2)
    upper = ordered.gather(-2, count // 2).squeeze(-2)
    # halves before the sum: two large values must not overflow
    middle = torch.where((count % 2 == 1).squeeze(-2), lower, lower / 2 + upper / 2)
    return torch.where((valid & x.isnan()).any(dim=-2), torch.nan, middle)


MEDIAN = Pooling(
    name="median",
    label="Median",
    family="rank",
    formula=r"S = \operatorname{median}_{i \in R}\, a_i",
    paper="Tukey (1977), Exploratory Data Analysis",
    colour="#5F6B6D",
    arithmetic="median({x}) = {y}",
    reduce=_median,
)
