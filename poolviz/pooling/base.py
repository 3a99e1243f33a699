"""The contract of every pooling operator: a weighted sum over a set of cells.

    weights(x, valid) : x (..., n, c), valid broadcastable to it -> w (..., n, c), w >= 0, sum over valid n = 1
    pooled = sum_n w_n x_n

An image window, a whole map and the tokens of a sentence are the same case. A stochastic operator samples one cell
with probability w in training and takes the weighted sum, the expectation, at test time. The few operators that are
no weighted sum (Lp, median) give `reduce` instead of `weights`.
This file knows no operator by name, and nothing of windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .windows import WindowGrid

# A uniform never above this keeps `u * total` below `total` in float32 whatever `total` rounds to,
# so that the inverse CDF always ends on a cell with a positive probability.
LARGEST_UNIFORM = 1 - 2**-23


@dataclass(frozen=True)
class Options:
    """What a pooling call may set beside its windows; operators read what concerns them."""

    training: bool = False  # stochastic operators sample when True, take the expectation when False
    generator: torch.Generator | None = None  # source of the draws; None: torch's global generator
    temperature: float = 1.0  # softmax(x / temperature): -> 0 is max-like, large is average-like
    p: float = 2.0  # exponent of Lp pooling
    mix: float = 0.5  # share of max in mixed pooling, the rest is average
    count_include_pad: bool = False  # average only: count padding as zeros, as torch does by default

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
    reduce: CellFunction | None = None  # (..., n, c) -> (..., c), for operators that are no weighted sum
    # faster way over a map, with the same result; for a stochastic operator, the draw in training
    pool_windows: Callable[[Tensor, WindowGrid, Options], Tensor] | None = None
    stochastic: bool = False
    uses: tuple[str, ...] = ()  # fields of Options that it reads, beside training and generator
    keeps_cells: bool = False  # no reduction at all: every cell is its own window

    for_maps: bool = True
    for_sequences: bool = False

    def __post_init__(self) -> None:
        """An operator has exactly one definition."""
        if (self.weights is None) == (self.reduce is None):
            raise ValueError(f"pooling {self.name!r} needs either weights or reduce")

    @property
    def is_weighted_sum(self) -> bool:
        """False for operators whose `weights` are an effective gradient."""
        return self.weights is not None


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
    cells = torch.where(valid, x.to(compute_dtype(x)), 0.0)
    if pooling.reduce is not None:
        gradient = effective_gradient(pooling.reduce, cells, valid, options) if return_weights else None
        return pooling.reduce(cells, valid, options).to(x.dtype), gradient
    assert pooling.weights is not None
    weights = pooling.weights(cells, valid, options)
    if pooling.stochastic and options.training:
        weights = draw_one(weights.detach(), draw_uniforms(weights.shape[:-2] + weights.shape[-1:], weights, options))
    # 0 * inf is NaN, in the gradient too, but a cell without weight must not speak
    pooled = (weights * torch.where(weights == 0, 0.0, cells)).sum(dim=-2)
    return pooled.to(x.dtype), weights


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


def draw_one(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Inverse CDF: weights (..., n, c) and uniforms (..., c) -> one-hot (..., n, c).

    The first cell whose cumulative weight exceeds u * total (strictly: a cell of weight 0 is never drawn).
    All-zero weights draw nothing; NaN weights give NaN.
    """
    cumulative = weights.cumsum(dim=-2)
    total = cumulative[..., -1:, :]
    threshold = uniforms.unsqueeze(-2) * total
    exceeds = (cumulative > threshold) & (weights > 0)
    first = exceeds.to(torch.uint8).argmax(dim=-2, keepdim=True)
    drawn = torch.zeros_like(weights).scatter(-2, first, exceeds.gather(-2, first).to(weights.dtype))
    return torch.where(total.isnan(), total, drawn)


def one_hot_extreme(x: Tensor, valid: Tensor, largest: bool) -> Tensor:
    """All weight on the first valid largest (or smallest) cell of x (..., n, c); NaN counts as extreme."""
    score = torch.where(valid, x if largest else -x, -math.inf)
    winner = score.argmax(dim=-2, keepdim=True)
    # a window that holds only -inf must not elect a padded cell
    valid = valid.expand_as(x)
    winner = torch.where(valid.gather(-2, winner), winner, valid.to(torch.uint8).argmax(dim=-2, keepdim=True))
    return torch.zeros_like(x).scatter(-2, winner, 1.0)
