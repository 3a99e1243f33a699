"""Average pooling: equal weights, 1/n over the cells that are not padding. Over maps this is torch's own `avg_pool`.

LeCun et al. (1990), "Handwritten Digit Recognition with a Back-Propagation Network" (subsampling by averages).
torch counts padding as zeros by default; here padding never counts unless `count_include_pad=True` asks for it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .base import Options, Pooling, compute_dtype, pool_stacked
from .windows import WindowGrid

_AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def average_weights(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    """1/n on every valid cell of x (..., n, c)."""
    share = valid.to(x.dtype)
    return (share / share.sum(dim=-2, keepdim=True)).expand_as(x)


def _torch_can(x: Tensor, grid: WindowGrid) -> bool:
    """Whether avg_pool takes it: no dilation, and in 3-D no half precision on a CPU and no map below the kernel."""
    if max(grid.dilation) > 1:
        return False
    small = any(k > n for k, n in zip(grid.kernel_size, grid.size, strict=True))
    return len(grid.size) < 3 or not (small or (x.device.type == "cpu" and compute_dtype(x) != x.dtype))


def _average_windows(x: Tensor, grid: WindowGrid, options: Options) -> Tensor:
    if not _torch_can(x, grid):
        return pool_stacked(AVERAGE, x, grid, options)[0]
    pool = _AVG_POOL[len(grid.size)]
    return pool(x, grid.kernel_size, grid.stride, grid.padding, grid.ceil_mode, options.count_include_pad)


AVERAGE = Pooling(
    name="average",
    label="Average",
    family="average",
    formula=r"S = \frac{1}{|R|} \sum_{i \in R} a_i",
    paper="LeCun et al. (1990), NIPS",
    colour="#0072B2",
    arithmetic="({sum}) / {n} = {y}",
    weights=average_weights,
    pool_windows=_average_windows,
    uses=("count_include_pad",),
)
