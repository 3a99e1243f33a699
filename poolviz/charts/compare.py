"""Operators side by side on one feature map: runs them and gathers what the stage and the tables show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from poolviz.charts.colour import signed_range
from poolviz.charts.stage import Output, Panel, Stage, common_range
from poolviz.pooling import POOLINGS, WindowGrid, grid_for, pool2d
from poolviz.pooling.measure import coverage, discarded_share, input_gradient
from poolviz.pooling.windows import window_grid


@dataclass(frozen=True)
class Setting:
    """One pooling setting for all operators that are compared."""

    operators: tuple[str, ...] = ("max", "average", "stochastic")
    kernel_size: int = 2
    stride: int = 2
    padding: int = 0
    dilation: int = 1
    ceil_mode: bool = False
    count_include_pad: bool = False  # average only
    training: bool = False  # stochastic operators: draw, or take the expectation
    seed: int = 0
    temperature: float = 1.0
    p: float = 2.0
    mix: float = 0.5

    def geometry(self) -> dict[str, Any]:
        """The arguments that place the windows."""
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        return {name: getattr(self, name) for name in names}

    def options(self, name: str) -> dict[str, Any]:
        """The operator's own arguments; every stochastic operator starts from the same seed."""
        generator = torch.Generator().manual_seed(self.seed)
        counted = self.count_include_pad and "count_include_pad" in POOLINGS[name].uses
        return {
            "training": self.training,
            "generator": generator,
            "temperature": self.temperature,
            "p": self.p,
            "mix": self.mix,
            "count_include_pad": counted,
        }

    def grid(self, x: Tensor) -> WindowGrid:
        """The windows over x (..., H, W); ValueError in a sentence where torch would refuse."""
        return window_grid("pool2d", x.shape[-2:], **self.geometry())

    def pool(self, x: Tensor, name: str, return_weights: bool = False) -> Any:
        """Pool x (N, C, H, W) with operator `name`."""
        return pool2d(x, name, **self.geometry(), **self.options(name), return_weights=return_weights)

    def describe(self) -> str:
        """One line for captions: what one needs to do it again."""
        parts = [f"kernel {self.kernel_size}, stride {self.stride}, padding {self.padding}"]
        if self.dilation > 1:
            parts.append(f"dilation {self.dilation}")
        if self.ceil_mode:
            parts.append("ceil mode")
        chosen = [POOLINGS[name] for name in self.operators]
        if self.count_include_pad and any("count_include_pad" in pooling.uses for pooling in chosen):
            parts.append("padding counted as zeros")
        if any(pooling.stochastic for pooling in chosen):
            parts.append(f"training mode, seed {self.seed}" if self.training else "test mode")
        if any("temperature" in pooling.uses for pooling in chosen):
            parts.append(f"temperature {self.temperature:g}")
        if any("p" in pooling.uses for pooling in chosen):
            parts.append(f"p = {self.p:g}")
        if any("mix" in pooling.uses for pooling in chosen):
            parts.append(f"mix {self.mix:g}")
        return ", ".join(parts)


def compare(values: Tensor, setting: Setting, title: str, palette: str = "viridis") -> Stage:
    """Pool one channel (H, W) with every operator and put it on the stage.

    Channels are pooled independently of one another, so those that nobody looks at are left alone.
    """
    outputs = [_output(values[None, None], setting, name) for name in setting.operators]
    return Stage(title, values, setting.grid(values), outputs, (), palette)


def _output(x: Tensor, setting: Setting, name: str) -> Output:
    pooling = POOLINGS[name]
    pooled, weights = setting.pool(x, name, return_weights=True)
    probabilities = None
    if pooling.stochastic:
        probabilities = weights
        if setting.training:
            _, probabilities = replace(setting, training=False).pool(x, name, return_weights=True)
        probabilities = probabilities[0, 0]
    share = discarded_share(weights, grid_for(2, x, name, **setting.geometry()))
    return Output(
        name,
        pooled[0, 0],
        weights[0, 0],
        probabilities,
        drawn=pooling.stochastic and setting.training,
        note=f"{share:.0%} discarded",
        p=setting.p,
    )


def with_difference(stage: Stage, first: int, second: int) -> Stage:
    """Keep two outputs and add the picture of their difference; ValueError where their sizes differ."""
    a, b = stage.outputs[first], stage.outputs[second]
    if a.values.shape != b.values.shape:
        raise ValueError(
            f"{POOLINGS[a.name].label} and {POOLINGS[b.name].label} differ in size; choose two of one size"
        )
    title = f"{POOLINGS[a.name].label} − {POOLINGS[b.name].label}"
    difference = a.values - b.values
    note = "purple: negative, orange: positive"
    panel = Panel(title, difference, "output", signed_range(*common_range([difference])), note)
    return replace(stage, outputs=(a, b), panels=(panel,))


def widest_difference(stage: Stage, first: int, second: int) -> tuple[int, int]:
    """(row, column) of the output cell where two operators disagree most."""
    difference = (stage.outputs[first].values - stage.outputs[second].values).abs().nan_to_num()
    return divmod(int(difference.argmax()), difference.shape[1])


def with_gradients(stage: Stage, setting: Setting) -> Stage:
    """Add, for every operator, the gradient that reaches each input cell when each output cell receives 1."""
    x = stage.values[None, None]
    gradients = [input_gradient(x, lambda leaf, name=o.name: setting.pool(leaf, name))[0, 0] for o in stage.outputs]
    scale = common_range(gradients)
    panels = []
    for output, gradient in zip(stage.outputs, gradients, strict=True):
        note = f"it reaches {float((gradient != 0).double().mean()):.0%} of the input"
        panels.append(Panel(f"Gradient: {POOLINGS[output.name].label}", gradient, "input", scale, note))
    return replace(stage, panels=tuple(panels), panels_first=True)


def with_coverage(stage: Stage) -> Stage:
    """Add the number of windows that see each input cell."""
    counts = coverage(stage.grid)
    note = f"each cell is seen by {_span(counts)}"
    return replace(
        stage,
        panels=(Panel("Windows that see a cell", counts, "input", common_range([counts]), note),),
        panels_first=True,
    )


def _span(counts: Tensor) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low} to {high} windows" if low != high else f"{low} window{'s' if low != 1 else ''}"


def repeated(values: Tensor, setting: Setting, name: str, times: int) -> list[Tensor]:
    """Apply one operator again and again to a channel (H, W): it and each result, until torch refuses."""
    maps, current = [values], values[None, None]
    for turn in range(times):
        try:
            current = replace(setting, seed=setting.seed + turn).pool(current, name)
        except ValueError:
            break
        maps.append(current[0, 0])
    return maps
