"""Stochastic pooling of one window: draws against probabilities, and their mean against the expectation.

Draws are made by the operators themselves; the exact figures come from the weights in test mode.
Chart builders take no data: they name their data sets, so that a spec is built once and only its data change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt
import torch
from torch import Tensor

from poolviz.pooling import POOLINGS, global_pool

TEMPERATURES = tuple(10 ** (i / 20) for i in range(-40, 41))  # 0.01 to 100, for curves
INK = "#7d8590"


@dataclass(frozen=True)
class Draws:
    """N draws from one window of n cells."""

    values: Tensor  # (n,) the window's cells, padding left out
    probabilities: Tensor  # (n,) exact
    counts: Tensor  # (n,) how often each cell was drawn
    means: Tensor  # (N,) mean of the first 1, 2, ... N draws
    expectation: float  # the test-time output
    deviation: float  # standard deviation of one draw: the mean's error is about deviation / sqrt(N)


def draw_window(values: Tensor, name: str, count: int, seed: int, temperature: float) -> Draws | None:
    """Draw `count` times from a window's cells (n,); None where there is nothing to draw from."""
    options = {"temperature": temperature}
    expected, weights = global_pool(values.double()[None, None], name, return_weights=True, **options)
    probabilities = weights[0, 0]
    if not probabilities.sum() > 0:
        return None
    many = values.double().expand(count, 1, -1)
    generator = torch.Generator().manual_seed(seed)
    drawn, picks = global_pool(many, name, training=True, generator=generator, return_weights=True, **options)
    means = drawn[:, 0].cumsum(0) / torch.arange(1, count + 1)
    variance = (probabilities * (values.double() - expected[0, 0]) ** 2).sum()
    return Draws(values, probabilities, picks.sum(0)[0], means, float(expected), float(variance.sqrt()))


def frequency_rows(draws: Draws) -> list[dict[str, Any]]:
    """A row a cell: its value, exact probability and share of the draws."""
    total = float(draws.counts.sum())
    return [
        {"cell": f"{number}: {float(value):.4g}", "probability": float(p), "frequency": float(count) / total}
        for number, (value, p, count) in enumerate(zip(draws.values, draws.probabilities, draws.counts, strict=True))
    ]


def convergence_rows(draws: Draws) -> list[dict[str, Any]]:
    """The mean's distance from the expectation after N draws, at up to 120 log-spaced N, and what to expect."""
    count = len(draws.means)
    places = torch.logspace(0, torch.tensor(float(count)).log10().item(), 120).round().long().unique()
    return [
        {
            "draws": int(n),
            "error": max(abs(float(draws.means[n - 1]) - draws.expectation), 1e-12),
            "expected": max(draws.deviation / float(n) ** 0.5, 1e-12),
        }
        for n in places.clamp(1, count).unique()
    ]


def temperature_rows(values: Tensor) -> list[dict[str, Any]]:
    """The softmax-weighted output of a window's cells (n,) from T = 0.01 (max-like) to 100 (average-like)."""
    x = values.double()[None, None]
    return [{"temperature": t, "output": float(global_pool(x, "softpool", temperature=t))} for t in TEMPERATURES]


def frequency_chart() -> alt.LayerChart:
    """Bars: share of the draws; ticks: exact probability. Data set `frequency`."""
    base = alt.Chart(alt.NamedData("frequency")).encode(
        x=alt.X("cell:N", sort=None, title="cell of the window: value", axis=alt.Axis(labelAngle=0, labelOverlap=True))
    )
    bars = base.mark_bar(opacity=0.75, color=POOLINGS["stochastic"].colour).encode(
        y=alt.Y("frequency:Q", title="share of draws", scale=alt.Scale(domainMin=0))
    )
    ticks = base.mark_tick(thickness=3, color="#D55E00", width={"band": 0.9}).encode(y="probability:Q")
    return (bars + ticks).properties(height=260)


def convergence_chart() -> alt.LayerChart:
    """Distance of the mean from the expectation, against 1 / sqrt(N), both axes logarithmic. Data set `convergence`."""
    x = alt.X("draws:Q", scale=alt.Scale(type="log"), title="number of draws N", axis=alt.Axis(format="~s"))
    base = alt.Chart(alt.NamedData("convergence")).encode(x=x)
    line = base.mark_line(color=POOLINGS["stochastic"].colour, strokeWidth=2.5).encode(
        y=alt.Y("error:Q", scale=alt.Scale(type="log"), title="error of the mean")
    )
    expected = base.mark_line(color="#D55E00", strokeDash=[6, 4], strokeWidth=2).encode(y="expected:Q")
    return (line + expected).properties(height=260)


def temperature_chart() -> alt.LayerChart:
    """Output against temperature between the window's maximum and average. Data sets `temperature`, `marks`, `now`."""
    x = alt.X("temperature:Q", scale=alt.Scale(type="log"), title="temperature T", axis=alt.Axis(format="~g"))
    y = alt.Y("output:Q", title="output of the window", scale=alt.Scale(zero=False))
    line = alt.Chart(alt.NamedData("temperature")).mark_line(color=POOLINGS["softpool"].colour, strokeWidth=2.5)
    rules = alt.Chart(alt.NamedData("marks")).mark_rule(strokeDash=[5, 4], color=INK).encode(y="output:Q")
    names = alt.Chart(alt.NamedData("marks")).mark_text(align="left", dx=4, dy=-7, color=INK, fontSize=13)
    now = alt.Chart(alt.NamedData("now")).mark_point(filled=True, size=110, color="#D55E00")
    return alt.layer(
        line.encode(x=x, y=y),
        rules,
        names.encode(x=alt.value(0), y="output:Q", text="name:N"),
        now.encode(x="temperature:Q", y="output:Q"),
    ).properties(height=260)
