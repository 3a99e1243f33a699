"""The contract of every pooling operator: a weighted sum over a set of cells.

    weights(x, valid) : x (..., n, c), valid broadcastable to it -> w (..., n, c), w >= 0, sum over valid n = 1
    pooled = sum_n w_n x_n

An image window, a whole map and the tokens of a sentence are the same case. A stochastic operator samples one cell
with probability w in training and takes the weighted sum, the expectation, at test time. An operator that gives all
weight to one cell says `pick`, the few that are no weighted sum (Lp, median) give `reduce` instead of `weights`, and
one that puts others' results side by side (mean-max) names its `parts`.
This file knows no operator by name, and nothing of windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .windows import WindowGrid

# A uniform never above this keeps `u * total` below `total` in float32 whatever `total` rounds to,
# so that the inverse CDF always ends on a cell with a positive probability.
LARGEST_UNIFORM = 1 - 2**-23
PART_CELLS = 1 << 18  # cells that a thread draws from at a time on a CPU


@dataclass(frozen=True)
class Options:
    """What a pooling call may set beside its windows; operators read what concerns them."""

    training: bool = False  # stochastic operators sample when True, take the expectation when False
    generator: torch.Generator | None = None  # source of the draws; None: torch's global generator
    temperature: float = 1.0  # softmax(x / temperature): -> 0 is max-like, large is average-like
    p: float = 2.0  # exponent of Lp pooling
    mix: float = 0.5  # share of max in mixed pooling, the rest is average
    count_include_pad: bool = False  # average only: count padding as zeros, as torch does by default
    query: Tensor | None = None  # attention only: (c,) or (B, 1, c); None: the mean of the valid cells

    def __post_init__(self) -> None:
        """Refuse what no operator could use, in one sentence."""
        if not 1e-30 <= self.temperature <= 1e30:  # beyond, float32 knows no difference from max or average
            raise ValueError(f"temperature must be a positive finite number, got {self.temperature}")
        if not (math.isfinite(self.p) and self.p > 0):
            raise ValueError(f"p must be a positive finite number, got {self.p}")
        if not 0 <= self.mix <= 1:
            raise ValueError(f"mix must lie between 0 (average) and 1 (max), got {self.mix}")


CellFunction = Callable[[Tensor, Tensor, Options], Tensor]


@dataclass(frozen=True)
class Pooling:
    """One entry of the registry: what an operator is called, where it comes from, and how it pools."""

    name: str  # registry key
    label: str  # what a page prints
    family: str  # file that holds it
    formula: str  # LaTeX, S over a window R of activations a
    paper: str  # source of the maths
    colour: str  # hex, the same in every chart
    # one window in numbers: {x} values, {sum} added, {sum^p} powers added, {wx} weighted, {n} how many, {p}, {y} result
    arithmetic: str
    weights: CellFunction | None = None  # (..., n, c) -> (..., n, c), the contract
    pick: CellFunction | None = None  # (..., n, c) -> (..., 1, c) index of the cell that takes all weight
    reduce: CellFunction | None = None  # (..., n, c) -> (..., c), for operators that are no weighted sum
    parts: tuple[Pooling, ...] = ()  # results side by side: (..., n, c) -> (..., len(parts) * c)
    # faster way over a map, with the same result; a stochastic operator draws there in training
    pool_windows: Callable[[Tensor, WindowGrid, Options], Tensor] | None = None
    stochastic: bool = False
    uses: tuple[str, ...] = ()  # fields of Options that it reads, beside training and generator
    keeps_cells: bool = False  # no reduction at all: every cell is its own window

    for_maps: bool = True
    for_sequences: bool = False

    def __post_init__(self) -> None:
        """An operator has exactly one definition."""
        if sum(map(bool, (self.weights, self.pick, self.reduce, self.parts))) != 1:
            raise ValueError(f"pooling {self.name!r} needs exactly one of weights, pick, reduce and parts")

    @property
    def is_weighted_sum(self) -> bool:
        """False for operators whose `weights` are an effective gradient."""
        return self.reduce is None


def registry(*poolings: Pooling) -> dict[str, Pooling]:
    """Collect operators by name; raises ValueError on a name given twice."""
    known: dict[str, Pooling] = {}
    for pooling in poolings:
        if pooling.name in known:
            raise ValueError(f"pooling {pooling.name!r} is registered twice")
        known[pooling.name] = pooling
    return known


def compute_dtype(x: Tensor) -> torch.dtype:
    """Half-precision inputs are weighed in float32: fp16 sums overflow and bf16 probabilities have 3 digits."""
    return torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype


def pool_cells(
    pooling: Pooling, x: Tensor, valid: Tensor, options: Options, return_weights: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Pool x (..., n, c) over its cells: ((..., c), weights (..., n, c) or None).

    Invalid cells have no say whatever they hold, NaN included. For operators that are no weighted sum the weights
    are the effective gradient d pooled / d x.
    """
    if pooling.parts:
        pooled, weights = zip(
            *(pool_cells(part, x, valid, options, return_weights) for part in pooling.parts), strict=True
        )
        return torch.cat(pooled, dim=-1), torch.cat(weights, dim=-1) if return_weights else None
    cells = x.to(compute_dtype(x))
    if x.device.type != "cpu" or not valid.all():  # a copy, and another of the gradient; asking would stall a GPU
        cells = torch.where(valid, cells, 0.0)
    if pooling.reduce is not None:
        gradient = effective_gradient(pooling.reduce, cells, valid, options) if return_weights else None
        return pooling.reduce(cells, valid, options).to(x.dtype), gradient
    if pooling.pick is not None:
        index = pooling.pick(cells, valid, options).expand_as(cells[..., :1, :])
        weights = torch.zeros_like(cells).scatter(-2, index, 1.0) if return_weights else None
        return cells.gather(-2, index).squeeze(-2).to(x.dtype), weights
    assert pooling.weights is not None
    if pooling.stochastic and options.training:
        pooled, weights = _pool_drawn(pooling.weights, cells, valid, options, return_weights)
        return pooled.to(x.dtype), weights
    weights = pooling.weights(cells, valid, options)
    # 0 * inf is NaN, in the gradient too, but a cell without weight must not speak
    heard = cells if all_finite(cells) else torch.where(weights == 0, 0.0, cells)
    return (weights * heard).sum(dim=-2).to(x.dtype), weights


def all_finite(x: Tensor) -> bool:
    """True where plain arithmetic is safe: no NaN, no infinity. On a GPU, where asking would stall it, always False."""
    return x.device.type == "cpu" and math.isfinite(x.detach().sum(dtype=compute_dtype(x)))  # fp16 sums overflow


def _pool_drawn(
    weights_of: CellFunction, cells: Tensor, valid: Tensor, options: Options, return_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """Training mode of a stochastic operator: the gradient goes to the drawn cell, never into its probability."""
    with torch.no_grad():
        total = torch.empty_like(cells[..., :1, :])
        index = torch.empty_like(total, dtype=torch.int64)
        whole = valid.expand_as(cells)
        for part in _parts(cells):
            index[part], total[part] = _draw_part(weights_of, cells[part], whole[part], options)
        weights = (
            torch.zeros_like(cells).scatter(-2, index, torch.where(total > 0, 1.0, total)) if return_weights else None
        )
    # a window without a positive cell pools to its total, 0; one with NaN to NaN
    return torch.where(total > 0, cells.gather(-2, index), total).squeeze(-2), weights


def _draw_part(weights_of: CellFunction, cells: Tensor, valid: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Index of each drawn cell of (..., n, c), and total weight, (..., 1, c)."""
    odds = weights_of(cells, valid, options)
    return draw_index(odds, draw_uniforms(odds.shape[:-2] + odds.shape[-1:], odds, options))


def _parts(cells: Tensor) -> Iterator[tuple]:
    """Slices of cells (B, ..., n, c), in the order of memory, whose probabilities and sums stay in a CPU's cache.

    Without parts those of long sentences are blocks so large that the system hands them out page by page, each time.
    """
    if cells.dim() < 3 or cells.device.type != "cpu" or not cells.numel():
        yield (...,)
        return
    most, row = PART_CELLS * torch.get_num_threads(), cells[:1].numel()
    rows = max(1, most // row)
    # a batch of long sentences: a few dimensions of one after another, which draws in the same order
    columns = max(1, most * cells.shape[-1] // row) if cells.dim() == 3 else cells.shape[-1]
    for start in range(0, len(cells), rows):
        for first in range(0, cells.shape[-1], columns):
            yield slice(start, start + rows), ..., slice(first, first + columns)


def pool_stacked(
    pooling: Pooling, x: Tensor, grid: WindowGrid, options: Options, return_weights: bool = False
) -> tuple[Tensor, Tensor | None]:
    """`pool_cells` over every window of a map x (N, C, *size), weights as `WindowGrid.stack` lays out cells."""
    margin = grid.padding if options.count_include_pad else None
    return pool_cells(pooling, grid.stack(x), grid.inside_stacked(margin, x.device), options, return_weights)


def effective_gradient(reduce: CellFunction, cells: Tensor, valid: Tensor, options: Options) -> Tensor:
    """Return d pooled / d x of every window by itself, (..., n, c); detached."""
    with torch.enable_grad():
        leaf = cells.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(reduce(leaf, valid, options).sum(), leaf)
    return gradient


def draw_uniforms(shape: torch.Size, like: Tensor, options: Options) -> Tensor:
    """One uniform a draw, in [0, 1); only the passed generator moves when there is one."""
    generator = options.generator
    if generator is not None and generator.device.type != like.device.type:
        raise ValueError(f"the generator lives on {generator.device}, the input on {like.device}; use one device")
    uniforms = torch.empty(shape, dtype=compute_dtype(like), device=like.device)
    return uniforms.uniform_(0, LARGEST_UNIFORM, generator=generator)


def draw_index(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse CDF: weights (..., n, c) and uniforms (..., c) -> index of the drawn cell and total weight, (..., 1, c).

    The first cell whose cumulative weight exceeds u * total (strictly: a cell of weight 0 is never drawn).
    Where the total is 0 or NaN nothing is drawn and the index means nothing.
    """
    cumulative = weights.cumsum(dim=-2)
    total = cumulative[..., -1:, :]
    threshold = uniforms.unsqueeze(-2) * total
    if weights.device.type == "cpu":
        # a sequential sum never falls, so the cells at or below the threshold come first: count them, as floats,
        # which are exact to 2^24 and three times faster than bools
        below = torch.le(cumulative, threshold, out=torch.empty_like(cumulative))
        index = below.sum(dim=-2, keepdim=True).long().clamp_(max=weights.shape[-2] - 1)
    else:
        # a parallel sum may waver in its last digit: cells without weight are passed over, and where nothing is left
        # above the threshold, the last cell with weight is drawn
        heard = weights > 0
        exceeds = (cumulative > threshold) & heard
        last = weights.shape[-2] - 1 - first_index(heard.flip(-2))
        index = torch.where(exceeds.any(dim=-2, keepdim=True), first_index(exceeds), last)
    return index, total


def extreme_index(x: Tensor, valid: Tensor, largest: bool) -> Tensor:
    """Index (..., 1, c) of the first valid largest (or smallest) cell of x (..., n, c); NaN counts as extreme."""
    score = torch.where(valid, x if largest else -x, -math.inf)
    winner = score.max(dim=-2, keepdim=True).indices  # the first, as argmax, and 3 to 8 times faster
    # a window that holds only -inf must not elect a padded cell
    valid = valid.expand_as(x)
    return torch.where(valid.gather(-2, winner), winner, first_index(valid))


def first_index(valid: Tensor) -> Tensor:
    """Index (..., 1, c) of the first valid cell of (..., n, c)."""
    return valid.to(torch.uint8).max(dim=-2, keepdim=True).indices
