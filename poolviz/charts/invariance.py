"""Invariance in numbers: how much each operator's output changes when its input is moved or disturbed."""

from __future__ import annotations

from typing import Any

import altair as alt
from torch import Tensor

from poolviz.charts.compare import Setting
from poolviz.pooling import POOLINGS
from poolviz.pooling.measure import noise_changes, shift_changes

NOISE_LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # standard deviation as a share of the map's range
NOISE_SEEDS = (0, 1, 2, 3, 4)


def shift_rows(x: Tensor, setting: Setting, most: int) -> list[dict[str, Any]]:
    """Change of each operator's output, relative to its size, for shifts of x (1, 1, H, W) by 0..most cells.

    Stochastic operators keep their uniforms, so that the change is the shift's and not the draw's.
    """
    rows = []
    for name in with_yardstick(setting.operators):
        changes = shift_changes(x, lambda z, name=name: setting.pool(z, name), range(most + 1))
        rows += [_row(name, shift=pixels, change=change) for pixels, change in enumerate(changes)]
    return rows


def noise_rows(x: Tensor, setting: Setting) -> list[dict[str, Any]]:
    """Mean, least and greatest change over five noise seeds, for each level of Gaussian noise."""
    rows = []
    for name in with_yardstick(setting.operators):
        table = noise_changes(x, lambda z, name=name: setting.pool(z, name), NOISE_LEVELS, NOISE_SEEDS)
        for level, changes in zip(NOISE_LEVELS, table, strict=True):
            mean = sum(changes) / len(changes)
            rows.append(_row(name, noise=level, change=mean, least=min(changes), most=max(changes)))
    return rows


def shift_chart(operators: tuple[str, ...]) -> alt.Chart:
    """Lines over the shift, one an operator. Data set `shift`."""
    x = alt.X("shift:Q", title="input moved right by (cells)", axis=alt.Axis(tickMinStep=1, format="d"))
    return (
        alt.Chart(alt.NamedData("shift"))
        .mark_line(point=alt.OverlayMarkDef(size=55), strokeWidth=2.5)
        .encode(x=x, y=_change(), color=_colour(operators))
        .properties(height=300)
    )


def noise_chart(operators: tuple[str, ...]) -> alt.LayerChart:
    """Lines over the noise level with a band from the least to the greatest of five seeds. Data set `noise`."""
    base = alt.Chart(alt.NamedData("noise")).encode(
        x=alt.X("noise:Q", title="noise (standard deviation, share of the map's range)", axis=alt.Axis(format="%")),
        color=_colour(operators),
    )
    band = base.mark_area(opacity=0.2).encode(y=_change("least:Q"), y2="most:Q")
    line = base.mark_line(point=alt.OverlayMarkDef(size=55), strokeWidth=2.5).encode(y=_change())
    return (band + line).properties(height=300)


def with_yardstick(operators: tuple[str, ...]) -> tuple[str, ...]:
    """The operators and `none`: how much the map itself changes is what they are measured against."""
    return operators if "none" in operators else (*operators, "none")


def _row(name: str, **values: float) -> dict[str, Any]:
    return {"operator": POOLINGS[name].label, **values}


def _change(field: str = "change:Q") -> alt.Y:
    return alt.Y(field, title="change of the output", axis=alt.Axis(format="%"))


def _colour(operators: tuple[str, ...]) -> alt.Color:
    shown = [POOLINGS[name] for name in with_yardstick(operators)]
    scale = alt.Scale(domain=[p.label for p in shown], range=[p.colour for p in shown])
    return alt.Color(
        "operator:N", scale=scale, legend=alt.Legend(orient="top", title=None, labelLimit=220, symbolOpacity=1)
    )
