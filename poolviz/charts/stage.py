"""What the stage shows: an input map, operators' outputs beside it, and panels that explain them; as plain data.

The stage is the canvas component on which hovering one cell shows its window everywhere. All numbers are computed
by torch and travel with the picture, so hovering never asks the server.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from poolviz.charts.colour import DIVERGING, PALETTES, signed_range
from poolviz.pooling import POOLINGS, WindowGrid

MOST_EXACT = 100_000  # weights of one operator that travel as float32
NO_PLACE = 255  # a window without a weight, where weights travel as places


@dataclass(frozen=True)
class Output:
    """One operator at work on one channel."""

    name: str  # registry key
    values: Tensor  # (H_out, W_out)
    weights: Tensor  # (H_out, W_out, kh, kw); the effective gradient where the operator is no weighted sum
    probabilities: Tensor | None  # (H_out, W_out, kh, kw) of a stochastic operator, else None
    drawn: bool  # training mode of a stochastic operator: weights are one-hot draws
    note: str = ""  # one line under the picture
    p: float = 2.0  # exponent, where the operator has one


@dataclass(frozen=True)
class Panel:
    """An explaining picture that shares the stage's cell."""

    title: str
    values: Tensor  # (H, W), the size of the input or of the output
    space: str  # "input": the window is outlined; "output": the cell is
    value_range: tuple[float, float]  # of the colours; diverging where it begins below 0
    note: str = ""

    @property
    def signed(self) -> bool:
        """Diverging colours around 0, or sequential from 0."""
        return self.value_range[0] < 0


@dataclass(frozen=True)
class Stage:
    """Everything that is drawn together, on one colour scale."""

    title: str  # caption of downloads: input, map, channel, setting
    values: Tensor  # (H, W), the channel that is pooled
    grid: WindowGrid
    outputs: Sequence[Output]
    panels: Sequence[Panel] = ()
    palette: str = "viridis"
    panels_first: bool = False  # explaining panels stand before the outputs, or after them

    @property
    def signed(self) -> bool:
        """Diverging colours where the channel or any output is negative."""
        return self.value_range[0] < 0

    @property
    def value_range(self) -> tuple[float, float]:
        """One scale for all maps that are compared; symmetric around 0 where signed."""
        return common_range([self.values, *(output.values for output in self.outputs)])

    def ramp(self, signed: bool) -> tuple[str, ...]:
        """Colour anchors, lowest value first."""
        return DIVERGING if signed else PALETTES[self.palette]


def common_range(maps: Sequence[Tensor]) -> tuple[float, float]:
    """Colour range of maps that are compared: from 0, or symmetric around 0 where anything is negative."""
    finite = torch.cat([m.flatten()[m.flatten().isfinite()] for m in maps])
    if finite.numel() == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if low < 0:
        return signed_range(low, high)
    return (0.0, high) if high > 0 else (0.0, 1.0)


def payload(stage: Stage, cell: tuple[int, int], compact: bool = False) -> dict[str, Any]:
    """The stage as JSON for the component; `cell` is the output cell that is shown first.

    `compact` asks for small pictures without windows and arithmetic, to leave room for what stands below.
    """
    grid = stage.grid
    return {
        "title": stage.title,
        "input": _map(stage.values),
        "range": list(stage.value_range),
        "ramp": list(stage.ramp(stage.signed)),
        "grid": {
            "kernel": list(grid.kernel_size),
            "stride": list(grid.stride),
            "padding": list(grid.padding),
            "dilation": list(grid.dilation),
            "output": list(grid.output_size),
        },
        "outputs": [_output(output) for output in stage.outputs],
        "panels": [
            {
                **_map(panel.values),
                "title": panel.title,
                "note": panel.note,
                "space": panel.space,
                "range": list(panel.value_range),
                "ramp": list(stage.ramp(panel.signed)),
            }
            for panel in stage.panels
        ],
        "cell": list(cell),
        "compact": compact,
        "largest": 150 if compact else 420,
        "panelsFirst": stage.panels_first,
        "hint": "" if compact else "point, or click to keep",
    }


def _output(output: Output) -> dict[str, Any]:
    pooling = POOLINGS[output.name]
    kind = "drawn" if output.drawn else "weight" if pooling.is_weighted_sum else "gradient"
    return {
        **_map(output.values),
        "title": pooling.label,
        "note": output.note,
        "colour": pooling.colour,
        "arithmetic": pooling.arithmetic,
        "kind": kind,
        "p": output.p,
        "keepsCells": pooling.keeps_cells,
        "weights": _weights(output.weights),
        "probabilities": _weights(output.probabilities) if output.drawn else None,
    }


def _weights(weights: Tensor | None) -> dict[str, str]:
    """Weights (H, W, kh, kw) as the browser decodes them, as light as they can be.

    One cell of 1 a window: its place, a byte (255 for none). Else float32; many of them as bfloat16, whose error of
    0.4 % is below what a bar shows.
    """
    assert weights is not None
    flat = weights.detach().float().flatten(2)
    if flat.shape[-1] < NO_PLACE and bool(((flat == 0) | (flat == 1)).all() & (flat.sum(-1) <= 1).all()):
        place = torch.where(flat.sum(-1) > 0, flat.argmax(-1), NO_PLACE).to(torch.uint8)
        return {"place": _base64(place)}
    if flat.numel() > MOST_EXACT:
        return {"bfloat16": _base64(flat.to(torch.bfloat16).view(torch.int16))}
    return {"float32": _base64(flat)}


def _map(values: Tensor) -> dict[str, Any]:
    height, width = values.shape
    return {"height": height, "width": width, "values": _floats(values)}


def _floats(values: Tensor) -> str:
    return _base64(values.detach().to(torch.float32))


def _base64(values: Tensor) -> str:
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()
