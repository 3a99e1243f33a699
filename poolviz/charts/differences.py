"""How far groups of runs lie from one of them: a difference and its 95 % interval a row, and what that says.

Better, worse or cannot tell is told in words, by shape and by place as well as by colour. Differences come in the unit
that is shown; who is paired with whom, and what makes two groups no fair comparison, is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from poolviz.charts.entries import (
    BETTER,
    GREY,
    WORSE,
    Quantity,
    across,
    beyond,
    cut,
    fence,
    names,
    rows_of,
    step,
    words,
    wrapped,
)
from poolviz.charts.figure import Figure, Rows

CANNOT = "cannot tell"
SAME = "the same"
UNFAIR = "not comparable"
VERDICTS = {  # shape, colour
    "better": ("triangle-up", BETTER),
    "worse": ("triangle-down", WORSE),
    "higher": ("triangle-up", BETTER),
    "lower": ("triangle-down", WORSE),
    CANNOT: ("circle", GREY),
    SAME: ("circle", GREY),
    UNFAIR: ("cross", GREY),
}
SIGNS = {"low": {-1: "better", 1: "worse"}, "high": {-1: "worse", 1: "better"}, "": {-1: "lower", 1: "higher"}}


@dataclass(frozen=True)
class Apart:
    """A group's mean less the baseline's."""

    label: str
    mean: float
    low: float | None  # of its 95 % interval; None where there are too few runs
    high: float | None
    n: int  # pairs, or runs of the smaller group
    paired: bool
    reasons: tuple[str, ...] = ()  # why the two are no fair comparison
    detail: str = ""  # one line more about it


def verdict(row: Apart, better: str) -> str:
    """What the interval says: it lies on one side of 0, or it does not."""
    if row.reasons:
        return UNFAIR
    if row.low == row.high == 0:
        return SAME
    sign = 0 if row.low is None or row.high is None else (row.low > 0) - (row.high < 0)
    return SIGNS[better].get(sign, CANNOT)


def differences_figure(
    rows: Sequence[Apart], baseline_label: str, measure_label: str, unit: str, better: str
) -> Figure:
    """A row a group, the best first and those that are not comparable last."""
    quantity = Quantity(measure_label, "points" if unit == "%" else unit, better)
    rows = sorted(rows, key=lambda row: (bool(row.reasons), -row.mean if better == "high" else row.mean))
    found = difference_rows(rows, quantity)
    said = "; ".join(
        f"{row['group']} {row['figure']} ({row['interval']}, {row['basis']}): {row['says']}"
        + (f" ({row['why']})" if row["faint"] else "")
        for row in found["rows"]
    )
    heading = f"{measure_label}: difference to {baseline_label}"
    parts = ["mark: mean difference", "line: its 95 % interval; where it crosses 0, these runs cannot tell"]
    if unit == "%":
        parts.append("points: of a hundred examples")
    if any(row.reasons for row in rows):
        parts.append("faint: not comparable")
    if found["beyond"]:
        parts.append("arrow: beyond the scale")
    arguments = (
        f"Difference: {quantity.axis()}",
        step([row[side] for row in found["rows"] for side in ("label", "end")]),
    )
    return Figure(heading, "; ".join(parts), f"{heading}. {said or 'no groups'}", differences_chart, arguments, found)


def answer(rows: Sequence[Apart], baseline_label: str, measure_label: str, better: str) -> str:
    """One sentence: which groups are better or worse than the baseline, and which these runs cannot tell from it."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(verdict(row, better), []).append(row.label)
    if not found.keys() - {UNFAIR}:
        return ""
    parts = [f"{listed(found[says])}: {says}" for says in SIGNS[better].values() if says in found]
    parts += [f"{listed(found[CANNOT])}: these runs cannot tell"] if CANNOT in found else []
    parts += [f"{listed(found[SAME])}: the same"] if SAME in found else []
    return f"{measure_label} against {baseline_label}. " + "; ".join(parts) + "."


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def difference_rows(rows: Sequence[Apart], quantity: Quantity) -> dict[str, Rows]:
    """Data sets `rows`, `beyond`, `zero`."""
    values = [value for row in rows for value in (row.mean, row.low, row.high) if value is not None]
    low, high = fence([*values, 0.0])
    ends = min(low, 0.0), max(high, 0.0)
    datasets: dict[str, Rows] = {"rows": [], "beyond": [], "zero": [{"x": 0.0}]}
    for place, row in enumerate(rows):
        known = row.low is not None and row.high is not None
        placed, told = {"label": wrapped(row.label), "place": place}, _told(row, quantity)
        datasets["rows"].append(
            {
                **placed,
                **told,
                "mean": row.mean,
                "x": cut(row.mean, ends),
                "low": cut(row.low, ends) if known else None,
                "high": cut(row.high, ends) if known else None,
                "inside": ends[0] <= row.mean <= ends[1],
                "end": f"{told['figure']}: {told['says']}\n{told['basis']}",
            }
        )
        reach = (row.mean, row.low, row.high) if known else (row.mean,)
        marks = [mark for value in reach for mark in beyond(placed["label"], value, ends, told)]
        datasets["beyond"] += [{**mark, **placed} for mark in {mark["side"]: mark for mark in marks}.values()]
    return datasets


def _told(row: Apart, quantity: Quantity) -> dict[str, Any]:
    """A row in words, and the look of its verdict."""
    interval = "no interval"
    if row.low is not None and row.high is not None:
        interval = f"95 % interval {signed(row.low, quantity)} to {signed(row.high, quantity)}"
    says = verdict(row, quantity.better)
    shape, colour = VERDICTS[says]
    return {
        "group": row.label,
        "figure": signed(row.mean, quantity),
        "interval": interval,
        "basis": "one seed, no interval" if row.n == 1 else f"{'paired' if row.paired else 'unpaired'}, n {row.n}",
        "says": says,
        "why": "; ".join(row.reasons) or "-",
        "detail": row.detail or "-",
        "faint": bool(row.reasons),
        "shape": shape,
        "colour": colour,
    }


def signed(value: float, quantity: Quantity) -> str:
    """With its sign; a zero has none."""
    said = quantity.say(abs(value))
    return f"+{said}" if value > 0 else f"−{said}" if value < 0 else said


def differences_chart(title: str, step: int) -> alt.LayerChart:
    """Data sets `rows`, `beyond`, `zero`. `step`: pixels a row."""
    colour, shape = alt.Color("colour:N", scale=None), alt.Shape("shape:N", scale=None)
    strength = alt.condition("datum.faint", alt.value(0.45), alt.value(1))
    x, y = across(title), rows_of()
    tooltip = [
        alt.Tooltip("group:N"),
        alt.Tooltip("figure:N", title="difference"),
        alt.Tooltip("interval:N"),
        alt.Tooltip("basis:N", title="runs"),
        alt.Tooltip("says:N", title="says"),
        alt.Tooltip("why:N", title="not comparable in"),
        alt.Tooltip("detail:N", title="about"),
    ]
    rows, outside = alt.Chart(alt.NamedData("rows")), alt.Chart(alt.NamedData("beyond"))
    nothing = alt.Chart(alt.NamedData("zero"))
    side = alt.condition("datum.side === 'left'", alt.value("triangle-left"), alt.value("triangle-right"))
    return alt.layer(
        nothing.mark_rule(color=GREY, strokeWidth=2).encode(x=x),
        rows.transform_filter("datum.low !== null")
        .mark_rule(strokeWidth=4, strokeCap="round")
        .encode(x="low:Q", x2="high:Q", y=y, color=colour, opacity=strength, tooltip=tooltip),
        rows.transform_filter("datum.inside")
        .mark_point(filled=True, size=190)
        .encode(x=x, y=y, color=colour, shape=shape, opacity=strength, tooltip=tooltip),
        outside.mark_point(filled=True, size=130).encode(
            x=x, y=y, color=colour, shape=side, opacity=strength, tooltip=tooltip
        ),
        names(rows).encode(opacity=strength),
        words(rows, "end", align="left", dx=12).encode(x=alt.value("width"), y=y),
    ).properties(height=alt.Step(step))
