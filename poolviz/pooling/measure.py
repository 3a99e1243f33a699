"""What an operator does to a map, in numbers: gradient, share discarded, coverage, change under shift and noise.

Everything is computed by calling the operators and autograd; no operator is known by name here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .windows import WindowGrid

PoolFunction = Callable[[Tensor], Tensor]  # (N, C, H, W) -> (N, C, H_out, W_out)


def input_gradient(x: Tensor, pool: PoolFunction) -> Tensor:
    """Return d sum(pool(x)) / d x by autograd: where the gradient of 1 at every output cell arrives, shape of x."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(pool(leaf).sum(), leaf)
    return gradient


def discarded_share(weights: Tensor, grid: WindowGrid) -> float:
    """Share (0..1) of x's cells that count in no window, given weights (N, C, *output_size, *kernel_size)."""
    return float((grid.spread(weights.abs()) == 0).double().mean())


def coverage(grid: WindowGrid) -> Tensor:
    """(*size) number of windows that look at each cell; above 1 where windows overlap, 0 where they skip."""
    return grid.spread(grid.inside()[None, None].double())[0, 0]


def shifted(x: Tensor, pixels: int) -> Tensor:
    """Move x (N, C, H, W) to the right by `pixels`; the left edge is repeated."""
    if pixels == 0:
        return x
    pixels = min(pixels, x.shape[-1])
    return torch.cat([x[..., :1].expand(*x.shape[:-1], pixels), x[..., : x.shape[-1] - pixels]], dim=-1)


def relative_change(before: Tensor, after: Tensor) -> float:
    """||after - before|| / ||before||; 0 where both vanish, inf where only `before` does."""
    distance, size = (after - before).double().norm(), before.double().norm()
    return float(distance / size) if size > 0 else (0.0 if distance == 0 else float("inf"))


def shift_changes(x: Tensor, pool: PoolFunction, pixels: Sequence[int]) -> list[float]:
    """`relative_change` of pool(x) for each shift of x to the right.

    0 for every shift would be perfect invariance (Zhang 2019, "Making Convolutional Networks Shift-Invariant Again").
    """
    before = pool(x)
    return [relative_change(before, pool(shifted(x, n))) for n in pixels]


def noise_changes(x: Tensor, pool: PoolFunction, levels: Sequence[float], seeds: Sequence[int]) -> list[list[float]]:
    """`relative_change` of pool(x) under Gaussian noise, a row a level, a column a seed.

    A level is the noise's standard deviation as a share of x's range (max - min).
    """
    before, span = pool(x), float(x.max() - x.min())
    rows = []
    for level in levels:
        noise = [
            torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype).to(x.device)
            for seed in seeds
        ]
        rows.append([relative_change(before, pool(x + level * span * n)) for n in noise])
    return rows
