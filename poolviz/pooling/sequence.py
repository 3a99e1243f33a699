"""Pooling tokens by name: `pool_sequence` makes one vector of a sentence, `draw_sequence` many draws of one,
`pool_tokens` a shorter sequence.

All leave the maths to the operators; masks are checked here.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .base import draw_uniforms, pool_cells
from .functional import Size, checked
from .windows import window_grid


def pool_sequence(
    hidden: Tensor, attention_mask: Tensor | None, name: str, *, return_weights: bool = False, **options: object
):
    """Pool token embeddings hidden (B, T, H) -> (B, H) with the operator registered as `name`; `mean-max` -> (B, 2H).

    Args:
        hidden: floating-point token embeddings; what padded positions hold never matters, NaN included.
        attention_mask: (B, T), 1 or True for tokens, 0 or False for padding, wherever it stands; None: all tokens.
        name: a key of `POOLINGS`, with `for_sequences`.
        return_weights: also return weights (B, T, H), for `mean-max` (B, T, 2H): what each token counts in each
            dimension. They sum to 1 over a sentence's tokens, for `mean-sqrt-len` to sqrt(n).
        **options: fields of `Options`: training, generator, temperature, query.

    Raises:
        ValueError: an unknown name, a wrong shape or type, a mask with other numbers, a row without any token.

    >>> hidden = torch.tensor([[[1.0, 4.0], [3.0, 0.0], [9.0, 9.0]]])
    >>> [pool_sequence(hidden, torch.tensor([[1, 1, 0]]), name).tolist() for name in ("cls", "mean", "max")]
    [[[1.0, 4.0]], [[2.0, 2.0]], [[3.0, 4.0]]]
    """
    pooling, settings = checked("pool_sequence", name, hidden, options, sequences=True)
    valid = _valid("pool_sequence", hidden, attention_mask)
    _require_query("pool_sequence", hidden, settings.query)
    empty = ~valid.any(dim=1)
    if empty.any():
        row = int(empty.nonzero()[0, 0])
        raise ValueError(f"pool_sequence: row {row} has no valid token: its attention_mask is 0 everywhere")
    pooled, weights = pool_cells(pooling, hidden, valid.unsqueeze(-1), settings, return_weights)
    return (pooled, weights) if return_weights else pooled


def draw_sequence(
    hidden: Tensor, name: str, count: int, *, generator: torch.Generator | None = None, temperature: float = 1.0
) -> Tensor:
    """Draw one sentence hidden (T, H) `count` times with a stochastic operator: (count, H).

    The same draws as `pool_sequence` in training over `count` copies of it, but its odds are worked out once. Raises
    ValueError as `pool_sequence` does, and for an operator that draws nothing.
    """
    options = {"generator": generator, "temperature": temperature}
    pooling, settings = checked("draw_sequence", name, hidden, options, sequences=True)
    if not pooling.stochastic:
        raise ValueError(f"draw_sequence: {name!r} draws nothing; it always gives the same")
    if hidden.dim() != 2 or 0 in hidden.shape:
        raise ValueError(f"draw_sequence: expected hidden of shape (T, H), got {tuple(hidden.shape)}")
    _, odds = pool_sequence(hidden[None], None, name, return_weights=True, temperature=temperature)
    cumulative = odds[0].cumsum(dim=0).T.contiguous()  # (H, T): a search along rows
    total = cumulative[:, -1:]
    uniforms = draw_uniforms(torch.Size((count, hidden.shape[1])), odds, settings)
    index = torch.searchsorted(cumulative, (uniforms.T * total).contiguous(), right=True)
    drawn = hidden.T.gather(1, index.clamp_(max=len(hidden) - 1))
    return torch.where(total > 0, drawn, total.to(hidden.dtype)).T


def pool_tokens(
    hidden: Tensor,
    attention_mask: Tensor | None,
    name: str,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    **options: object,
) -> tuple[Tensor, Tensor]:
    """Pool windows of tokens: hidden (B, T, H) -> shorter (B, T_out, H) and its attention mask (B, T_out), bool.

    Windows lie as in `pool1d`. A window without any token gives zeros, and False in the new mask. Raises ValueError
    for an unknown name, wrong shapes, types or masks, and a setting that torch refuses.
    """
    pooling, settings = checked("pool_tokens", name, hidden, options, sequences=True)
    valid = _valid("pool_tokens", hidden, attention_mask)
    _require_query("pool_tokens", hidden, settings.query)
    if settings.query is not None and settings.query.dim() == 3:
        settings = replace(settings, query=settings.query.unsqueeze(1))  # a sentence's query asks each of its windows
    grid = window_grid("pool_tokens", hidden.shape[1:2], kernel_size, stride, padding, dilation, ceil_mode)
    tokens = torch.where(valid.unsqueeze(-1), hidden, 0.0)
    windows = grid.stack(tokens.transpose(1, 2)).movedim(-1, 1).transpose(2, 3)  # (B, T_out, n, H)
    inside = grid.stack(valid.unsqueeze(1).to(torch.uint8)).movedim(-1, 1).transpose(2, 3).bool()  # (B, T_out, n, 1)
    some = inside.any(dim=2)  # (B, T_out, 1)
    pooled, _ = pool_cells(pooling, windows, inside | ~some.unsqueeze(2), settings)
    return torch.where(some, pooled, 0.0), some.squeeze(-1)


def _require_query(caller: str, hidden: Tensor, query: Tensor | None) -> None:
    """One query for all, or one a sentence: (B, H) would be read as one a token where B = T."""
    rows, _, width = hidden.shape
    if query is not None and query.shape not in ((width,), (1, 1, width), (rows, 1, width)):
        raise ValueError(
            f"{caller}: expected a query of shape ({width},), or ({rows}, 1, {width}) for one a sentence, "
            f"got {tuple(query.shape)}"
        )


def _valid(caller: str, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The mask as (B, T) bool."""
    if hidden.dim() != 3 or 0 in hidden.shape[1:]:
        raise ValueError(f"{caller}: expected hidden of shape (B, T, H), got {tuple(hidden.shape)}")
    if attention_mask is None:
        return torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
    if attention_mask.shape != hidden.shape[:2]:
        raise ValueError(
            f"{caller}: expected attention_mask of shape (B, T) = {tuple(hidden.shape[:2])}, "
            f"got {tuple(attention_mask.shape)}"
        )
    valid = attention_mask == 1
    if not (valid | (attention_mask == 0)).all():
        raise ValueError(f"{caller}: attention_mask may hold 1 (a token) and 0 (padding) alone; this one holds others")
    return valid
