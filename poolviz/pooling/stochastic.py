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
from math import inf

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .base import Options, Pooling, all_finite, compute_dtype, draw_uniforms, pool_stacked
from .expectation import chunks, exp_weight, expect, largest_of, positive
from .windows import WindowGrid


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
        shape = (*x.shape[:2], *grid.output_size)
        pooled = torch.empty(shape, dtype=x.dtype, device=x.device)
        positions = torch.empty(shape, dtype=torch.int64, device=x.device)
        alive = torch.empty(shape, dtype=torch.bool, device=x.device)
        for part in chunks(x, grid):
            value, position, some = _draw(x[part], grid, options, softmax)
            pooled[part], positions[part], alive[part] = value, position, some
        ctx.save_for_backward(x, positions, alive)
        ctx.grid = grid
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, positions, alive = ctx.saved_tensors
        if not alive.all():
            gradient = gradient * alive
        return scatter_gradient(gradient, x, ctx.grid, positions), None, None, None


def _draw(x: Tensor, grid: WindowGrid, options: Options, softmax: bool) -> tuple[Tensor, Tensor, Tensor | bool]:
    """Values, flat positions in a plane of x, and where there was anything to draw from; (N, C, *output_size)."""
    # finite numbers on a CPU allow plain arithmetic, which is vectorised; torch.where there is 25x slower
    x = x.to(compute_dtype(x))
    plain = x.device.type == "cpu" and math.isfinite(x.sum()) and math.prod(grid.size) < 2**24
    padded = grid.pad(x, torch.finfo(x.dtype).min if plain else -inf)  # padding weighs nothing under either rule
    slices = [grid.take(padded, offset).contiguous() for offset in grid.offsets()]
    cumulative = _cumulative_exp(slices, options.temperature, plain) if softmax else _cumulative_positive(slices)
    total = cumulative[-1]
    threshold = draw_uniforms(total.shape, x, options).mul_(total)
    pick = _pick_by_arithmetic if plain else _pick_by_selection
    value, step = pick(slices, cumulative[:-1], threshold, _flat_steps(grid))
    position = step.add_(_flat_starts(grid, step))
    if padded is not x:  # a window that draws nothing may point at padding, where no gradient may go
        position.clamp_(0, math.prod(grid.size) - 1)
    if plain and softmax:
        return value, position, True
    alive = total >= torch.finfo(total.dtype).tiny  # False for NaN; below, u * total may round up to total
    if plain:
        return value.mul_(alive), position, alive
    value = torch.where(alive, value, -inf if softmax else 0.0)
    return value.add_(total, alpha=0), position, alive  # 0 * NaN carries a window's NaN to the output


def _pick_by_selection(
    slices: list[Tensor], below: list[Tensor], threshold: Tensor, steps: list[int]
) -> tuple[Tensor, Tensor]:
    """The first cell whose cumulative weight exceeds the threshold, and its step from the window's first cell."""
    value = slices[0]
    step = torch.full_like(value, steps[0], dtype=torch.int64)
    for lower, cell, cell_step in zip(below, slices[1:], steps[1:], strict=True):
        beyond = lower <= threshold
        value = torch.where(beyond, cell, value)
        step = torch.where(beyond, cell_step, step)
    return value, step


def _pick_by_arithmetic(
    slices: list[Tensor], below: list[Tensor], threshold: Tensor, steps: list[int]
) -> tuple[Tensor, Tensor]:
    """`_pick_by_selection` for finite cells: 0/1 indicators, of which one is 1, times the cells. Exact."""
    value, step = torch.zeros_like(threshold), torch.full_like(threshold, steps[0])
    reached = torch.ones_like(threshold)
    for i, lower in enumerate(below):
        beyond = torch.empty_like(threshold)
        torch.le(lower, threshold, out=beyond)
        value.addcmul_(reached.sub_(beyond), slices[i])
        step.add_(beyond, alpha=steps[i + 1] - steps[i])
        reached = beyond
    return value.addcmul_(reached, slices[-1]), step


def _cumulative_positive(slices: list[Tensor]) -> list[Tensor]:
    """Cumulative Zeiler-Fergus weights, cell by cell; not normalised."""
    cumulative = [positive(slices[0], len(slices))]
    for cell in slices[1:]:
        cumulative.append(positive(cell, len(slices)).add_(cumulative[-1]))
    return cumulative


def _cumulative_exp(slices: list[Tensor], temperature: float, finite: bool) -> list[Tensor]:
    """Cumulative exp((x - window maximum) / temperature), cell by cell; not normalised."""
    largest = largest_of(slices, finite)
    cumulative: list[Tensor] = []
    for cell in slices:
        weight = exp_weight(cell, largest, temperature, finite)
        cumulative.append(weight.add_(cumulative[-1]) if cumulative else weight)
    return cumulative


def _flat_steps(grid: WindowGrid) -> list[int]:
    """Distance of each kernel cell from the window's first, in a flattened plane of the input."""
    strides = _plane_strides(grid.size)
    return [sum(o * d * s for o, d, s in zip(offset, grid.dilation, strides, strict=True)) for offset in grid.offsets()]


def _flat_starts(grid: WindowGrid, like: Tensor) -> Tensor:
    """(*output_size) flat position of each window's first cell, typed as `like`; negative where that is padding."""
    total = torch.zeros((), dtype=like.dtype, device=like.device)
    dims = len(grid.size)
    for axis, stride in enumerate(_plane_strides(grid.size)):
        first = grid.axis_positions(axis, like.device)[:, 0] * stride
        total = total + first.to(like.dtype).reshape([-1 if a == axis else 1 for a in range(dims)])
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
