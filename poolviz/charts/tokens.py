"""What each pooling takes from a sentence's tokens: readings, the token heatmap's data, shares of speech.

All numbers are computed by torch and travel with the picture, so hovering never asks the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from poolviz.charts import wire
from poolviz.charts.colour import DIVERGING, signed_range
from poolviz.inputs.encoder import Piece
from poolviz.pooling import POOLINGS, pool_sequence

MEASURES = {"weight": "of the weight", "vector": "of the vector"}
ORDERS = {"winner": "Dimensions by winning token", "variance": "by variance over tokens", "index": "by index"}


@dataclass(frozen=True)
class TokenSetting:
    """One setting for all operators that are compared."""

    operators: tuple[str, ...] = ("cls", "mean", "max", "softmax-stochastic")
    training: bool = False  # stochastic operators: draw, or take the expectation
    seed: int = 0
    temperature: float = 1.0

    def pool(self, hidden: Tensor, mask: Tensor, name: str, return_weights: bool = False) -> Any:
        """Pool hidden (B, T, H) with operator `name`; every operator draws from the same seed."""
        options = {"training": self.training, "temperature": self.temperature}
        generator = torch.Generator().manual_seed(self.seed)
        return pool_sequence(hidden, mask, name, generator=generator, return_weights=return_weights, **options)

    def describe(self) -> str:
        """One line for captions: what one needs to do it again."""
        chosen = [POOLINGS[name] for name in self.operators]
        parts = []
        if any(pooling.stochastic for pooling in chosen):
            parts.append(f"training mode, seed {self.seed}" if self.training else "test mode")
        if any("temperature" in pooling.uses for pooling in chosen):
            parts.append(f"temperature {self.temperature:g}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Reading:
    """One operator at work on one sentence; `mean-max` has two, a half each."""

    name: str  # registry key of the operator that does it
    label: str
    colour: str
    vector: Tensor  # (H,)
    weights: Tensor  # (T, H)
    probabilities: Tensor | None  # (T, H) of a stochastic operator in training, else None
    parts: Tensor  # (T, H) weighted tokens, which add up to the vector

    @property
    def shares(self) -> Tensor:
        """(T,) each token's share of all weight: for max and for draws, the share of dimensions that it wins."""
        each = self.weights.sum(dim=-1)
        return each / each.sum() if each.sum() > 0 else each

    @property
    def contributions(self) -> Tensor:
        """(T,) each token's part of the vector: what it brings along the vector's own direction; they sum to 1.

        A long token brings more than its weight, one that points away less than nothing. Kobayashi et al. (2020),
        "Attention is Not Only a Weight", look at norms for the same reason.
        """
        square = (self.vector**2).sum()
        return (self.parts * self.vector).sum(dim=-1) / square if square > 0 else torch.zeros(len(self.weights))

    @property
    def wins(self) -> Tensor:
        """(T,) in how many dimensions a token has the most weight; 0 where all have the same."""
        top = self.weights == self.weights.max(dim=0, keepdim=True).values
        return (top & (self.weights > 0) & (top.sum(dim=0) == 1)).sum(dim=1)


@dataclass(frozen=True)
class TokenStage:
    """A sentence at one layer, with what every operator reads from it."""

    title: str  # caption of downloads: sentence, encoder, layer, setting
    pieces: Sequence[Piece]  # T
    hidden: Tensor  # (T, H)
    mask: Tensor  # (T,) what the operators take for tokens
    readings: Sequence[Reading]
    order: Tensor  # (H,) dimensions from left to right

    @property
    def value_range(self) -> tuple[float, float]:
        """One diverging scale for tokens and vectors: 99 % of the numbers, so that one outlier bleaches nothing."""
        numbers = self.hidden.abs().flatten()
        return signed_range(float(torch.quantile(numbers[:1_000_000].double(), 0.99)))


def read(hidden: Tensor, mask: Tensor, setting: TokenSetting) -> list[Reading]:
    """Pool one sentence (T, H) with every operator of the setting."""
    readings = []
    for name in setting.operators:
        pooled, weights = setting.pool(hidden[None], mask[None], name, return_weights=True)
        odds = None
        if POOLINGS[name].stochastic and setting.training:
            _, odds = replace(setting, training=False).pool(hidden[None], mask[None], name, return_weights=True)
        readings += _halves(name, hidden, pooled[0], weights[0], None if odds is None else odds[0])
    return readings


def _halves(name: str, hidden: Tensor, vector: Tensor, weights: Tensor, odds: Tensor | None) -> list[Reading]:
    pooling = POOLINGS[name]
    if not pooling.parts:
        return [Reading(name, pooling.label, pooling.colour, vector, weights, odds, weights * hidden)]
    readings = []
    count = len(pooling.parts)
    for part, half, each in zip(pooling.parts, vector.chunk(count), weights.chunk(count, dim=-1), strict=True):
        label = f"{pooling.label}: {part.label.lower()}"
        readings.append(Reading(part.name, label, pooling.colour, half, each, None, each * hidden))
    return readings


def dimension_order(hidden: Tensor, mask: Tensor, how: str) -> Tensor:
    """(H,) dimensions of hidden (T, H) from left to right.

    "index": as they are. "variance": where tokens differ most first. "winner": by the token whose value is the
    largest, then by that value.
    """
    tokens = hidden[mask]
    if how == "index":
        return torch.arange(hidden.shape[1])
    if how == "variance":
        return tokens.var(dim=0, correction=0).argsort(descending=True)
    largest, winner = tokens.max(dim=0)
    by_value = largest.argsort(descending=True)
    return by_value[winner[by_value].argsort(stable=True)]


def telling_place(stage: TokenStage) -> tuple[int, int]:
    """(token, dimension) to begin with: where the words differ most, and the word that is largest there.

    Where padding is pooled: where it moves the mean most, and its first token.
    """
    padding = torch.tensor([piece.kind == "padding" for piece in stage.pieces])
    if bool((padding & stage.mask).any()):
        moved = stage.hidden.mean(0) - stage.hidden[~padding].mean(0)
        return int(padding.nonzero()[0]), int(moved.abs().argmax())
    words = torch.tensor([piece.kind in ("word", "inside") for piece in stage.pieces])
    rows = (words if words.any() else stage.mask).nonzero()[:, 0]
    tokens = stage.hidden[rows]
    dimension = int((tokens.amax(0) - tokens.amin(0)).argmax())
    return int(rows[tokens[:, dimension].argmax()]), dimension


def token_payload(stage: TokenStage, place: tuple[int, int], height: int = 420) -> dict[str, Any]:
    """The stage as JSON for its component; `place` is the (token, dimension) shown first, `height` of the rows."""
    return {
        "title": stage.title,
        "pieces": pieces_payload(stage.pieces),
        "mask": stage.mask.tolist(),
        "hidden": wire.heatmap(stage.hidden),
        "order": stage.order.tolist(),
        "range": list(stage.value_range),
        "ramp": list(DIVERGING),
        "readings": [_reading(reading) for reading in stage.readings],
        "place": list(place),
        "tall": height,
    }


def pieces_payload(pieces: Sequence[Piece]) -> list[dict[str, str]]:
    """What a component needs to write the sentence again, piece by piece."""
    return [{"piece": piece.piece, "kind": piece.kind, "text": piece.text, "gap": piece.gap} for piece in pieces]


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "title": reading.label,
        "colour": reading.colour,
        "values": wire.floats(reading.vector),
        "arithmetic": POOLINGS[reading.name].arithmetic,
        "weights": wire.weights(reading.weights.T),
        "probabilities": None if reading.probabilities is None else wire.weights(reading.probabilities.T),
    }


def speech_payload(pieces: Sequence[Piece], readings: Sequence[Reading], measure: str) -> dict[str, Any]:
    """The sentence once an operator, each token with its share of the weight or of the vector."""
    return {
        "pieces": pieces_payload(pieces),
        "rows": [
            {
                "title": reading.label,
                "colour": reading.colour,
                "shares": (reading.shares if measure == "weight" else reading.contributions).tolist(),
                "of": MEASURES[measure],
                "wins": reading.wins.tolist(),
                "dimensions": reading.vector.numel(),
            }
            for reading in readings
        ],
    }


def numbers_csv(stage: TokenStage) -> str:
    """Every number that the heatmap shows, a row a token or vector, a column a dimension."""
    import csv

    import pandas as pd

    names = [f"token {number}: {piece.text or piece.piece}" for number, piece in enumerate(stage.pieces)]
    names += [reading.label for reading in stage.readings]
    rows = torch.cat([stage.hidden, *(reading.vector[None] for reading in stage.readings)])
    table = pd.DataFrame(rows.double().numpy(), index=names).rename_axis("row")
    return "".join(f"# {line}\n" for line in stage.title.split("\n")) + table.to_csv(quoting=csv.QUOTE_NONNUMERIC)
