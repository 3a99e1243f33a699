"""The expectation sum_i p_i x_i over the windows of a map, as running sums over shifted slices: no window is unfolded.

softmax:        p_i = exp((x_i - max) / T) / total,  y = sum p_i x_i,  dy/dx_i = p_i (1 + (x_i - y) / T)
Zeiler-Fergus:  p_i = max(x_i, 0) / total,           y = sum p_i x_i,  dy/dx_i = (2 x_i - y) / total where x_i >= 0
Same results as the operators' `weights` give, which remain the definition. This file knows no operator by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx

from .base import Options, all_finite, compute_dtype
from .windows import WindowGrid, new_map

# Output cells that a thread handles at a time on a CPU: the slices of one chunk stay in the cache.
CHUNK_CELLS = 1 << 16


def chunks(x: Tensor, grid: WindowGrid) -> Iterator[slice]:
    """Parts of the batch of x (N, C, *size) to be handled one after the other; all of it at once on a GPU."""
    cells = x.shape[1] * math.prod(grid.output_size)
    most = CHUNK_CELLS * torch.get_num_threads()
    step = max(1, most // max(1, cells) if x.device.type == "cpu" else len(x))
    return (slice(start, start + step) for start in range(0, len(x), step))


def positive(x: Tensor, cells: int, out: Tensor | None = None) -> Tensor:
    """Zeiler-Fergus weights, not normalised, of which `cells` can be added up."""
    # half the range: max / cells may itself round up, and then a sum of `cells` of them overflows
    return torch.clamp(x, min=0.0, max=torch.finfo(x.dtype).max / (2 * cells), out=out)


def largest_of(cells: Tensor, finite: bool) -> Tensor:
    """Maximum of cells (cells, ...) in each window, bounded unless all is finite: inf - inf never happens."""
    largest = torch.amax(cells, dim=0, out=torch.empty_like(cells[0]))  # laid out like a cell, or all after is slow
    bound = torch.finfo(largest.dtype).max
    return largest if finite else largest.clamp(-bound, bound)


def exp_weight(cell: Tensor, largest: Tensor, temperature: float, finite: bool, out: Tensor | None = None) -> Tensor:
    """exp((cell - window maximum) / temperature): 1 for each of infinitely large cells, 0 for infinitely low ones."""
    weight = torch.sub(cell, largest, out=out)
    if not finite:
        weight.clamp_(max=0.0)
    return (weight if temperature == 1 else weight.div_(temperature)).exp_()


def expect(x: Tensor, grid: WindowGrid, options: Options, softmax: bool, plain: Callable[[Tensor], Tensor]) -> Tensor:
    """Expectation over each window of x (N, C, *size): (N, C, *output_size), by the softmax or Zeiler-Fergus rule.

    `plain` computes the same from ordinary differentiable steps: for `torch.func`, forward-mode and second
    derivatives, for gradients beside infinities, and on a GPU, where none of this has been measured.
    """
    traced = torch._C._are_functorch_transforms_active() or forward_ad.unpack_dual(x).tangent is not None
    if traced or x.device.type != "cpu":
        return plain(x)
    if not (torch.is_grad_enabled() and x.requires_grad):
        pooled = new_map(x, grid.output_size)
        for part in chunks(x, grid):
            pooled[part] = _expect(x[part], grid, options, softmax)[0]
        return pooled
    if not _moderate(x, math.prod(grid.kernel_size)):
        return plain(x)
    return _Expectation.apply(x, grid, options, softmax, plain)


class _Expectation(torch.autograd.Function):
    """`expect` with a gradient that keeps the input and two or three numbers a window; for values of moderate size."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        grid: WindowGrid,
        options: Options,
        softmax: bool,
        plain: Callable[[Tensor], Tensor],
    ) -> Tensor:
        new = partial(x.new_empty, dtype=compute_dtype(x))
        windows = [new_map(x, grid.output_size, new) for _ in range(3 if softmax else 2)]
        for part in chunks(x, grid):
            for kept, result in zip(windows, _expect(x[part], grid, options, softmax), strict=True):
                kept[part] = result
        ctx.save_for_backward(x, *windows)
        ctx.how, ctx.plain = (grid, options, softmax), plain
        return windows[0].to(x.dtype, copy=True)  # so that an in-place ReLU behind the layer leaves backward its own

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *windows = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            result = torch.func.vjp(ctx.plain, x)[1](gradient)[0]
        else:
            result = _gradient(x, gradient, windows, *ctx.how)
        return result, None, None, None, None


def _moderate(x: Tensor, cells: int) -> bool:
    """Whether differences and sums of a window's cells stay finite."""
    if not x.numel():
        return False
    low, high = (float(extreme) for extreme in x.detach().aminmax())
    return max(-low, high) < torch.finfo(compute_dtype(x)).max / (4 * cells) and not math.isnan(low)


def _expect(x: Tensor, grid: WindowGrid, options: Options, softmax: bool) -> tuple[Tensor, ...]:
    """Expectation and total weight of each window, (N, C, *output_size); for softmax its maximum too."""
    cells, finite = _cells(x, grid, softmax)
    return _expect_softmax(cells, options.temperature, finite) if softmax else _expect_positive(cells)


def _cells(x: Tensor, grid: WindowGrid, softmax: bool) -> tuple[Tensor, bool]:
    """Copy (n, N, C, *output_size) of the cells of all windows, and whether all is finite; padding weighs nothing."""
    x = x.to(compute_dtype(x))
    finite = all_finite(x)
    lowest = torch.finfo(x.dtype).min if finite else -math.inf  # plain arithmetic knows no 0 * inf
    return grid.cells(grid.pad(x, lowest if softmax else 0.0)), finite


def _expect_softmax(cells: Tensor, temperature: float, finite: bool) -> tuple[Tensor, Tensor, Tensor]:
    largest = largest_of(cells, finite)
    weights = exp_weight(cells, largest, temperature, finite)
    total = torch.sum(weights, dim=0, out=torch.empty_like(weights[0]))
    share = 0.5 ** len(cells).bit_length()  # exact, and the sum of `cells` largest numbers stays finite
    heard = cells if finite else torch.where(weights == 0, 0.0, cells)  # 0 * inf is NaN
    value = torch.zeros_like(total)
    for weight, cell in zip(weights, heard, strict=True):
        value.addcmul_(weight, cell, value=share)
    value.div_(total).mul_(1 / share)
    return value if finite else torch.where(total == 0, -math.inf, value), total, largest


def _expect_positive(cells: Tensor) -> tuple[Tensor, Tensor]:
    cells = cells.clamp_(min=0.0)  # -inf has no weight, and 0 * inf is NaN
    weights = positive(cells, len(cells))
    total = torch.sum(weights, dim=0, out=torch.empty_like(weights[0]))
    # a total below the normal numbers cannot be divided among cells; NaN goes on as NaN
    total.masked_fill_(total < torch.finfo(total.dtype).tiny, math.inf)
    value = torch.zeros_like(total)
    for weight, cell in zip(weights.div_(total), cells, strict=True):
        value.addcmul_(weight, cell)
    return value, total


def _gradient(
    x: Tensor, gradient: Tensor, windows: Sequence[Tensor], grid: WindowGrid, options: Options, softmax: bool
) -> Tensor:
    """d/dx of sum(gradient * expectation), shape of x; windows is what `_expect` returned, gradient fits each."""
    gradient = gradient.to(windows[0].dtype)
    # made out of gradient: `is_grads_batched` hands over many at once, and the buffer must take them all
    padded = new_map(x, grid.pad(x[:0], 0.0).shape[2:], gradient.new_zeros)
    for part in chunks(x, grid):
        pooled, total, *largest = (window[part] for window in windows)
        for offset, cell in zip(grid.offsets(), _cells(x[part], grid, softmax)[0], strict=True):
            if softmax:
                weight = exp_weight(cell, *largest, options.temperature, True).div_(total)
                slope = torch.addcmul(weight, weight, cell - pooled, value=1 / options.temperature)
            else:
                slope = cell.mul(2).sub_(pooled).div_(total).mul_(cell >= 0)
            grid.take(padded[part], offset).add_(slope * gradient[part])
    return grid.crop(padded).to(x.dtype)
