"""What the stage shows: an input map, operators' outputs beside it, and panels that explain them; as plain data.

The stage is the canvas component on which hovering one cell shows its window everywhere. All numbers are computed
by torch and travel with the picture, so hovering never asks the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from poolviz.charts import wire
from poolviz.charts.colour import DIVERGING, PALETTES, signed_range
from poolviz.pooling import POOLINGS, WindowGrid


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
        "input": wire.heatmap(stage.values),
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
                **wire.heatmap(panel.values),
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
        **wire.heatmap(output.values),
        "title": pooling.label,
        "note": output.note,
        "colour": pooling.colour,
        "arithmetic": pooling.arithmetic,
        "kind": kind,
        "p": output.p,
        "keepsCells": pooling.keeps_cells,
        "weights": wire.weights(output.weights.flatten(0, 1).flatten(1)),
        "probabilities": wire.weights(output.probabilities.flatten(0, 1).flatten(1)) if output.drawn else None,
    }
