"""Drawing one cell a window in a single kernel, written in Triton, for maps on a GPU. Forward only.

A thread reads its window, adds the weights up in the plain path's order and takes the first cell whose cumulative
weight exceeds u * total, as `stochastic._draw` does in a dozen passes over slices. The uniforms come from outside, so
both paths draw the same cells from the same generator: the Zeiler-Fergus rule exactly, the softmax rule except where
a uniform lies within rounding of a border, as a GPU's exp and division differ from torch's in the last bits.

What that costs: for (256, 64, 112, 112) float32, kernel 2 and stride 2, the input has 822 MB, the result 206 MB, the
positions (int64, as torch's max pool writes and its backward wants them) 411 MB: 1439 MB, as `F.max_pool2d` moves.
The uniforms, 206 MB, are written by torch's generator and read here: 1850 MB, 1.29 times as much. At the speed of a
copy that leaves at most 78 % of its bandwidth to input, result and positions. A kernel that made its own numbers
would save that, but draw other cells than the plain path does.

A window that draws nothing gets the position -1, which torch's max-pool backwards pass over.
This file imports triton, which comes with torch on Linux alone, and knows no operator by name.
"""

from __future__ import annotations

import logging
import math
import threading

import torch
import triton
import triton.language as tl
from torch import Tensor

from .windows import WindowGrid, channels_last, new_map

BLOCK = 512  # windows a program, four a thread
MOST_CELLS = 32  # of a window: the loops over them are unrolled, so that cells stay in registers between passes
LARGEST_OFFSET = 2**31 - BLOCK  # in elements: offsets are 32-bit
LARGEST, TINY = torch.finfo(torch.float32).max, torch.finfo(torch.float32).tiny

log = logging.getLogger(__name__)
_failed = threading.Event()  # set by the first error of compiling or launching; the plain path serves from then on


@triton.jit
def _cell(
    plane, d, h, w, asked, D, H, W, stride_d, stride_h, stride_w,
    NUMBER: tl.constexpr, KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr,
    DILATION_D: tl.constexpr, DILATION_H: tl.constexpr, DILATION_W: tl.constexpr,
):  # fmt: skip
    """Cell NUMBER of the windows that begin at (d, h, w), -inf outside the map, and its position in the plane."""
    d += NUMBER // (KERNEL_H * KERNEL_W) * DILATION_D
    h += NUMBER // KERNEL_W % KERNEL_H * DILATION_H
    w += NUMBER % KERNEL_W * DILATION_W
    inside = asked & (d >= 0) & (d < D) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
    cell = tl.load(plane + d * stride_d + h * stride_h + w * stride_w, mask=inside, other=float("-inf"))
    return cell.to(tl.float32), (d * H + h) * W + w


@triton.jit
def _weight(cell, largest, temperature, bound, SOFTMAX: tl.constexpr):
    """What a cell weighs; NaN weighs NaN, which is why nothing here is a minimum or a maximum."""
    if SOFTMAX:
        distance = cell - largest
        return tl.exp(tl.where(distance > 0, 0.0, distance) / temperature)
    weight = tl.where(cell < 0, 0.0, cell)
    return tl.where(weight > bound, bound, weight)


@triton.jit
def _draw_kernel(
    x, uniforms, pooled, positions, count, outer, inner,
    out_d, out_h, out_w, D, H, W, stride_n, stride_c, stride_d, stride_h, stride_w, temperature, bound,
    SOFTMAX: tl.constexpr, CELLS: tl.constexpr, KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr,
    STEP_D: tl.constexpr, STEP_H: tl.constexpr, STEP_W: tl.constexpr,
    PADDING_D: tl.constexpr, PADDING_H: tl.constexpr, PADDING_W: tl.constexpr,
    DILATION_D: tl.constexpr, DILATION_H: tl.constexpr, DILATION_W: tl.constexpr,
    LARGEST: tl.constexpr, TINY: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Draw for BLOCK windows, which lie in memory as (n, outer channels, d, h, w, inner channels)."""
    window = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    asked = window < count
    rest = window // inner
    w = rest % out_w * STEP_W - PADDING_W
    rest = rest // out_w
    h = rest % out_h * STEP_H - PADDING_H
    rest = rest // out_h
    d = rest % out_d * STEP_D - PADDING_D
    rest = rest // out_d
    channel = rest % outer * inner + window % inner  # one of outer and inner is 1
    plane = x + rest // outer * stride_n + channel * stride_c

    # each pass reads the window again; unrolled, the compiler makes one load of them
    largest = tl.full((BLOCK,), -LARGEST, tl.float32)  # bounded on both sides: inf - inf never happens
    if SOFTMAX:
        for number in tl.static_range(CELLS):
            cell, _ = _cell(
                plane, d, h, w, asked, D, H, W, stride_d, stride_h, stride_w,
                number, KERNEL_H, KERNEL_W, DILATION_D, DILATION_H, DILATION_W,
            )  # fmt: skip
            largest = tl.maximum(largest, cell)
        largest = tl.minimum(largest, LARGEST)

    total = tl.zeros((BLOCK,), tl.float32)
    for number in tl.static_range(CELLS):
        cell, _ = _cell(
            plane, d, h, w, asked, D, H, W, stride_d, stride_h, stride_w,
            number, KERNEL_H, KERNEL_W, DILATION_D, DILATION_H, DILATION_W,
        )  # fmt: skip
        total += _weight(cell, largest, temperature, bound, SOFTMAX)

    threshold = tl.load(uniforms + window, mask=asked, other=0.0) * total
    cumulative = tl.full((BLOCK,), -1.0, tl.float32)  # the first cell is drawn unless a later one is
    value = tl.zeros((BLOCK,), tl.float32)
    position = tl.zeros((BLOCK,), tl.int32)
    for number in tl.static_range(CELLS):
        cell, place = _cell(
            plane, d, h, w, asked, D, H, W, stride_d, stride_h, stride_w,
            number, KERNEL_H, KERNEL_W, DILATION_D, DILATION_H, DILATION_W,
        )  # fmt: skip
        further = cumulative <= threshold
        value = tl.where(further, cell, value)
        position = tl.where(further, place, position)
        weight = _weight(cell, largest, temperature, bound, SOFTMAX)
        cumulative = weight if number == 0 else cumulative + weight

    nothing = float("-inf") if SOFTMAX else 0.0
    value = tl.where(total >= TINY, value, tl.where(total == total, nothing, total))  # a total of NaN is the result
    tl.store(pooled + window, value.to(pooled.dtype.element_ty), mask=asked)
    tl.store(positions + window, tl.where(total >= TINY, position, -1).to(tl.int64), mask=asked)


def draw(
    x: Tensor, grid: WindowGrid, uniforms: Tensor, temperature: float, softmax: bool
) -> tuple[Tensor, Tensor] | None:
    """Pool x (N, C, *size) by drawing a cell a window: values and flat positions, (N, C, *output_size).

    `uniforms` (N, C, *output_size) float32. The result lies in memory as `F.max_pool2d`'s would. None where the kernel
    cannot do it: for other types than float32 and halves, windows of many cells, maps beyond 32-bit offsets, and
    after an error of compiling or launching, which is logged once at level debug.
    """
    if _failed.is_set() or not _suits(x, grid):
        return None
    pooled = new_map(x, grid.output_size)
    positions = torch.empty_like(pooled, dtype=torch.int64)
    laid_out = torch.empty_like(pooled, dtype=torch.float32).copy_(uniforms) if channels_last(x) else uniforms
    try:
        with torch.cuda.device_of(x):
            _launch(x, grid, laid_out, pooled, positions, temperature, softmax)
    except Exception as error:  # triton's own, those of the compilers that it calls, the driver's
        log.debug("the fused draw failed; plain torch draws from now on: %s", error)
        _failed.set()
        return None
    return pooled, positions


def _suits(x: Tensor, grid: WindowGrid) -> bool:
    reach = sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True))
    windows = x.shape[0] * x.shape[1] * math.prod(grid.output_size)
    return (
        x.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and math.prod(grid.kernel_size) <= MOST_CELLS
        and 0 < windows < LARGEST_OFFSET
        and max(reach, math.prod(grid.size)) < LARGEST_OFFSET
    )


def _launch(
    x: Tensor, grid: WindowGrid, uniforms: Tensor, pooled: Tensor, positions: Tensor, temperature: float, softmax: bool
) -> None:
    channels = x.shape[1]
    outer, inner = (1, channels) if channels_last(x) else (channels, 1)
    missing = 3 - len(grid.size)  # a plane is a volume of depth 1

    def full(values: tuple[int, ...], filler: int) -> tuple[int, ...]:
        return (filler,) * missing + tuple(values)

    cells = math.prod(grid.kernel_size)
    _draw_kernel[(triton.cdiv(pooled.numel(), BLOCK),)](
        x, uniforms, pooled, positions, pooled.numel(), outer, inner,
        *full(grid.output_size, 1), *full(grid.size, 1), *x.stride()[:2], *full(x.stride()[2:], 0),
        temperature, LARGEST / (2 * cells),
        softmax, cells, *full(grid.kernel_size, 1)[1:], *full(grid.stride, 1), *full(grid.padding, 0),
        *full(grid.dilation, 1), LARGEST, TINY, BLOCK,
    )  # fmt: skip
