"""Stochastic pooling and its softmax relatives: one cell is drawn in training, the expectation is taken at test time.

- stochastic (Zeiler & Fergus 2013, "Stochastic Pooling for Regularization of Deep CNNs", eq. 1-4):
  p_i = a_i / sum_k a_k. Needs activations >= 0: negatives count as probability 0, and a window without any
  positive cell pools to 0 in both modes.
- softmax-stochastic (report A): p = softmax(a / temperature). Its expectation is softpool with a temperature.
- softpool (Stergiou, Poppe, Kalliatakis 2021, "Refining activation downsampling with SoftPool", eq. 1-2).
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from math import inf

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .base import Options, Pooling, all_finite, compute_dtype, draw_uniforms, pool_stacked
from .expectation import chunks, exp_weight, expect, largest_of, positive
from .windows import WindowGrid, new_map

FUSED_ON = ("cuda",)  # types of devices on which one kernel draws


def activation_weights(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    """Zeiler-Fergus probabilities of x (..., n, c): a_i / sum a, all 0 where no cell is positive."""
    activations = torch.where(valid, positive(x, x.shape[-2]), 0.0)
    total = activations.sum(dim=-2, keepdim=True)
    # a total below the normal numbers cannot be divided among cells; NaN goes on as NaN
    return activations / torch.where(total < torch.finfo(x.dtype).tiny, inf, total)


def softmax_weights(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    """softmax(x / temperature) over the valid cells of x (..., n, c), shifted by each window's own maximum.

    Infinite cells take the limit: +inf shares all weight among its kind; a window of -inf alone is uniform.
    """
    x = torch.where(valid, x, -inf)
    largest = x.detach().amax(dim=-2, keepdim=True)
    if all_finite(largest):
        return torch.softmax((x - largest) / options.temperature, dim=-2)
    # inf - inf is NaN: beside an infinite maximum a cell either equals it or is infinitely far below
    limit = torch.where(x.detach() == largest, 0.0, -inf)
    distance = torch.where(largest.isinf(), limit, x - largest)
    weights = torch.where(valid, (distance / options.temperature).exp(), 0.0)
    return weights / weights.sum(dim=-2, keepdim=True)


class _DrawCells(torch.autograd.Function):
    """Draw one cell a window by the inverse CDF over shifted slices; the gradient goes to the drawn cells.

    Each window has a uniform of its own, so windows that overlap draw independently. Noise laid on the input
    and shared by overlapping windows (Gumbel noise through one max_pool call) would not.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, grid: WindowGrid, options: Options, softmax: bool) -> Tensor:
        pooled, positions, alive = _draw_map(x, grid, options, softmax)
        ctx.save_for_backward(x, positions, alive)
        ctx.grid = grid
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, positions, alive = ctx.saved_tensors
        if alive is not None:
            gradient = gradient * alive
        return scatter_gradient(gradient, x, ctx.grid, positions), None, None, None


def _draw_map(x: Tensor, grid: WindowGrid, options: Options, softmax: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Values, flat positions in a plane of x, and 1 or 0 where there was anything to draw from; (N, C, *output_size).

    In the place of the last None, where all windows could be drawn from or the positions tell: -1 takes no gradient.
    """
    uniforms = None
    if x.device.type in FUSED_ON:
        uniforms = draw_uniforms((*x.shape[:2], *grid.output_size), x, options)
        fused = _draw_fused(x, grid, uniforms, options.temperature, softmax)
        if fused is not None:
            return *fused, None
    pooled = new_map(x, grid.output_size)
    positions = torch.empty_like(pooled, dtype=torch.int64)
    finite = all_finite(x)
    alive = None if finite and softmax else torch.empty_like(pooled)
    starts = _flat_starts(grid, x)
    for part in chunks(x, grid):
        drawn = draw_uniforms(pooled[part].shape, x, options) if uniforms is None else uniforms[part]
        position, total = _draw(x[part], grid, drawn, options.temperature, softmax, finite, starts)
        flat = positions[part].copy_(position).flatten(2)
        torch.gather(x[part].flatten(2), 2, flat, out=pooled[part].flatten(2))
        if alive is not None:
            _silence(pooled[part], alive[part], total, -inf if softmax else 0.0, finite)
    return pooled, positions, alive


def _draw_fused(
    x: Tensor, grid: WindowGrid, uniforms: Tensor, temperature: float, softmax: bool
) -> tuple[Tensor, Tensor] | None:
    """Values and positions, -1 where nothing is drawn, by one kernel; None where it does not serve."""
    try:
        from .fused import draw
    except ImportError:  # triton is not everywhere
        return None
    return draw(x, grid, uniforms, temperature, softmax)


def _draw(
    x: Tensor, grid: WindowGrid, uniforms: Tensor, temperature: float, softmax: bool, finite: bool, starts: Tensor
) -> tuple[Tensor, Tensor]:
    """Flat position in a plane of x of each window's draw, typed as `starts`, and total weight; (N, C, *output_size).

    The draw is the first cell whose cumulative weight exceeds u * total.
    """
    padded = grid.pad(x.to(compute_dtype(x)), -inf)  # which weighs nothing under either rule
    cells = grid.cells(padded)  # (n, N, C, *output_size)
    if softmax:
        weights = exp_weight(cells, largest_of(cells, finite), temperature, finite, out=cells)
    else:
        weights = positive(cells, len(cells), out=cells)
    for lower, upper in pairwise(weights):
        upper.add_(lower)
    total = weights[-1]
    threshold = total * uniforms  # laid out as the total
    beyond = weights[:-1].le_(threshold).to(starts.dtype)  # 1 or 0, as numbers: bools are slow to add up
    position = torch.empty_like(total, dtype=starts.dtype).copy_(starts)
    for passed, (step, next_step) in zip(beyond, pairwise(_flat_steps(grid)), strict=True):
        position.add_(passed, alpha=next_step - step)
    if padded is not x:  # a window that draws nothing may point at padding, where no gradient may go
        position.clamp_(0, math.prod(grid.size) - 1)
    return position, total


def _silence(pooled: Tensor, alive: Tensor, total: Tensor, nothing: float, finite: bool) -> None:
    """Write 1 to `alive` where there was anything to draw from, else 0, and `nothing` or NaN to `pooled` there."""
    torch.ge(total, torch.finfo(total.dtype).tiny, out=alive)  # 0 for NaN; below, u * total may round up to total
    if finite:
        pooled.mul_(alive)  # torch.where is far slower on a CPU
    else:
        pooled.masked_fill_(alive == 0, nothing).add_(total, alpha=0)  # 0 * NaN carries a window's NaN to the output


def _flat_steps(grid: WindowGrid) -> list[int]:
    """Distance of each kernel cell from the window's first, in a flattened plane of the input."""
    strides = _plane_strides(grid.size)
    return [sum(o * d * s for o, d, s in zip(offset, grid.dilation, strides, strict=True)) for offset in grid.offsets()]


def _flat_starts(grid: WindowGrid, x: Tensor) -> Tensor:
    """(*output_size) flat position of each window's first cell, negative where that is padding.

    As numbers of the type that x is weighed in, which are faster on a CPU, where these count the cells exactly.
    """
    dtype = compute_dtype(x) if math.prod(grid.size) < 2**24 else torch.int64
    total = torch.zeros((), dtype=dtype, device=x.device)
    dims = len(grid.size)
    for axis, stride in enumerate(_plane_strides(grid.size)):
        first = grid.axis_positions(axis, x.device)[:, 0] * stride
        total = total + first.to(dtype).reshape([-1 if a == axis else 1 for a in range(dims)])
    return total


def _plane_strides(size: tuple[int, ...]) -> list[int]:
    strides = [1]
    for length in reversed(size[1:]):
        strides.insert(0, strides[0] * length)
    return strides


def scatter_gradient(gradient: Tensor, x: Tensor, grid: WindowGrid, positions: Tensor) -> Tensor:
    """Add gradient (N, C, *output_size) up at `positions` in x's planes; torch's own max-pool backward does it."""
    kernel, stride, padding, dilation = grid.kernel_size, grid.stride, grid.padding, grid.dilation
    if len(grid.size) == 1:
        x, gradient, positions = x.unsqueeze(2), gradient.unsqueeze(2), positions.unsqueeze(2)
        kernel, stride, padding, dilation = (1, *kernel), (1, *stride), (0, *padding), (1, *dilation)
    aten = torch.ops.aten
    backward = aten.max_pool3d_with_indices_backward if x.dim() == 5 else aten.max_pool2d_with_indices_backward
    result = backward(gradient, x, kernel, stride, padding, dilation, grid.ceil_mode, positions)
    return result.squeeze(2) if len(grid.size) == 1 else result


def _draw_or_expect(x: Tensor, grid: WindowGrid, options: Options, softmax: bool) -> Tensor:
    if options.training:
        return _DrawCells.apply(x, grid, options, softmax)
    return _expect(x, grid, options, softmax)


def _expect(x: Tensor, grid: WindowGrid, options: Options, softmax: bool) -> Tensor:
    def plain(cells: Tensor) -> Tensor:
        return pool_stacked(SOFTPOOL if softmax else STOCHASTIC, cells, grid, options)[0]

    return expect(x, grid, options, softmax, plain)


STOCHASTIC = Pooling(
    name="stochastic",
    label="Stochastic",
    family="stochastic",
    formula=r"S = a_l,\; l \sim p_i = \frac{\max(a_i, 0)}{\sum_{k \in R} \max(a_k, 0)}"
    r" \quad\text{(test: } \sum_{i \in R} p_i a_i\text{)}",
    paper="Zeiler, Fergus (2013), ICLR",
    colour="#009E73",
    arithmetic="{wx} = {y}",
    weights=activation_weights,
    pool_windows=partial(_draw_or_expect, softmax=False),
    stochastic=True,
    for_sequences=True,
)
SOFTMAX_STOCHASTIC = Pooling(
    name="softmax-stochastic",
    label="Softmax-stochastic",
    family="stochastic",
    formula=r"S = a_l,\; l \sim p_i = \frac{e^{a_i/T}}{\sum_{k \in R} e^{a_k/T}}"
    r" \quad\text{(test: } \sum_{i \in R} p_i a_i\text{)}",
    paper="softmax odds in the place of Zeiler, Fergus (2013)",
    colour="#CC79A7",
    arithmetic="{wx} = {y}",
    weights=softmax_weights,
    pool_windows=partial(_draw_or_expect, softmax=True),
    stochastic=True,
    uses=("temperature",),
    for_sequences=True,
)
SOFTPOOL = Pooling(
    name="softpool",
    label="SoftPool",
    family="stochastic",
    formula=r"S = \sum_{i \in R} \frac{e^{a_i/T}}{\sum_{k \in R} e^{a_k/T}}\, a_i",
    paper="Stergiou, Poppe, Kalliatakis (2021), ICCV",
    colour="#E69F00",
    arithmetic="{wx} = {y}",
    weights=softmax_weights,
    pool_windows=partial(_expect, softmax=True),
    uses=("temperature",),
)
