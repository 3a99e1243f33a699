"""Max and min pooling: all weight on one cell. Over maps this is torch's own `max_pool`.

Boureau, Ponce, LeCun (2010), "A Theoretical Analysis of Feature Pooling in Visual Recognition".
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .base import Options, Pooling, extreme_index
from .windows import WindowGrid

_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def max_index(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    """Index (..., 1, c) of the first largest valid cell of x (..., n, c)."""
    return extreme_index(x, valid, largest=True)


def _min_index(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    return extreme_index(x, valid, largest=False)


def _max_windows(x: Tensor, grid: WindowGrid, options: Options) -> Tensor:
    pool = _MAX_POOL[len(grid.size)]
    return pool(x, grid.kernel_size, grid.stride, grid.padding, grid.dilation, ceil_mode=grid.ceil_mode)


def _min_windows(x: Tensor, grid: WindowGrid, options: Options) -> Tensor:
    return -_max_windows(-x, grid, options)


MAX = Pooling(
    name="max",
    label="Max",
    family="max",
    formula=r"S = \max_{i \in R} a_i",
    paper="Boureau, Ponce, LeCun (2010), ICML",
    colour="#D55E00",
    arithmetic="max({x}) = {y}",
    pick=max_index,
    pool_windows=_max_windows,
    for_sequences=True,
)
MIN = Pooling(
    name="min",
    label="Min",
    family="max",
    formula=r"S = \min_{i \in R} a_i",
    paper="max pooling of the negated map",
    colour="#56B4E9",
    arithmetic="min({x}) = {y}",
    pick=_min_index,
    pool_windows=_min_windows,
)
