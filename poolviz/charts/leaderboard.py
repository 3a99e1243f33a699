"""Groups of runs from best to worst: a dot a run, the mean and its 95 % interval; others' figures in rows of their own.

Figures come in the unit that is shown; all rows change by data alone, so one spec serves every filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from poolviz.charts.entries import (
    GREY,
    TEXT,
    Entry,
    Quantity,
    Reported,
    across,
    beyond,
    cut,
    fence,
    names,
    offsets,
    room,
    rows_of,
    source,
    step,
    wrapped,
)
from poolviz.charts.figure import Figure, Rows

JITTER = 7  # pixels up and down


def leaderboard_figure(
    rows: Sequence[Entry],
    reported: Sequence[Reported],
    measure_label: str,
    unit: str,
    better: str,
    baseline: tuple[str, float] | None = None,
) -> Figure:
    """A row a group, best first. `baseline`: a name and the mean at which a thin line stands."""
    quantity = Quantity(measure_label, unit, better)
    rows = ranked(rows, better)
    datasets = leaderboard_rows(rows, reported, quantity, baseline)
    return Figure(
        measure_label,
        _note(rows, datasets, baseline),
        _alt(rows, reported, quantity, baseline),
        leaderboard_chart,
        (quantity.title, quantity.axis(), step([row["label"] for row in datasets["rows"] + datasets["reported"]])),
        datasets,
    )


def ranked(rows: Sequence[Entry], better: str) -> list[Entry]:
    """By their means: the best first, or the lowest where neither way is better."""
    return sorted(rows, key=lambda row: row.mean, reverse=better == "high")


def leaderboard_rows(
    rows: Sequence[Entry], reported: Sequence[Reported], quantity: Quantity, baseline: tuple[str, float] | None
) -> dict[str, Rows]:
    """Data sets `rows`, `runs`, `reported`, `beyond`, `baseline`, `room`."""
    every = [value for row in rows for value in (row.mean, row.low, row.high, *row.values.values())]
    every += [other.value for other in reported] + ([baseline[1]] if baseline else [])
    known = [value for value in every if value is not None]
    ends = fence(known) if known else (0.0, 0.0)
    shift = offsets([seed for row in rows for seed in row.values], JITTER)
    datasets: dict[str, Rows] = {
        "rows": [],
        "runs": [],
        "reported": [],
        "beyond": [],
        "baseline": [],
        "room": room(known),
    }
    for place, row in enumerate(rows):
        of_row, of_runs, outside = _group(row, place, quantity, ends, shift)
        datasets["rows"].append(of_row)
        datasets["runs"] += of_runs
        datasets["beyond"] += outside
    for place, other in enumerate(sorted(reported, key=lambda one: one.value, reverse=quantity.better == "high")):
        found = {"label": wrapped(f"{other.label}, {source(other.source)}"), "place": len(rows) + place}
        told = {"group": other.label, "figure": quantity.quote(other.value), "source": source(other.source)}
        shown = {"x": cut(other.value, ends), "value": other.value, "end": quantity.quote(other.value)}
        shown["inside"] = ends[0] <= other.value <= ends[1]
        datasets["reported"].append({**found, **told, **shown, "line": place == 0 and bool(rows)})
        datasets["beyond"] += [{**mark, **found} for mark in beyond("", other.value, ends, {**told, "colour": GREY})]
    if baseline:
        datasets["baseline"].append(
            {"x": cut(baseline[1], ends), "figure": quantity.say(baseline[1]), "of": baseline[0]}
        )
    return datasets


def _group(
    row: Entry, place: int, quantity: Quantity, ends: tuple[float, float], shift: dict[int, float]
) -> tuple[dict[str, Any], Rows, Rows]:
    """A group's row, its runs' dots, and what of it lies beyond the scale."""
    label, n = wrapped(row.label), len(row.values)
    within = {"label": label, "place": place, "group": row.label}
    interval = (
        "one run: no interval"
        if row.low is None or row.high is None
        else (f"{quantity.say(row.low)} to {quantity.say(row.high)}")
    )
    told = {"figure": quantity.say(row.mean), "interval": interval, "n": n, "detail": row.detail or "-"}
    of_row = {
        **within,
        **told,
        "colour": row.colour,
        "mean": row.mean,
        "x": cut(row.mean, ends),
        "low": None if row.low is None else cut(row.low, ends),
        "high": None if row.high is None else cut(row.high, ends),
        "inside": ends[0] <= row.mean <= ends[1],
        "end": f"{quantity.say(row.mean)}, n {n}",
    }
    runs: Rows = []
    outside: Rows = []
    for value in (row.mean, row.low, row.high):
        if value is not None:
            one = {**told, "colour": row.colour}
            outside += [{**mark, **within} for mark in beyond(label, value, ends, one)]
    for seed, value in sorted(row.values.items()):
        one = {"figure": quantity.say(value), "seed": seed, "colour": row.colour}
        if ends[0] <= value <= ends[1]:
            runs.append({**within, **one, "x": value, "value": value, "shift": shift[seed] if n > 1 else 0.0})
        outside += [{**mark, **within} for mark in beyond(label, value, ends, one)]
    sides = {mark["side"]: mark for mark in outside}  # one arrow a side is enough: a run's, where there is one
    return of_row, runs, list(sides.values())


def _note(rows: Sequence[Entry], datasets: dict[str, Rows], baseline: tuple[str, float] | None) -> str:
    parts = ["bar: mean"]
    if any(row.low is not None for row in rows):
        parts.append("thick line: its 95 % interval")
    parts.append("circle: one run")
    if datasets["reported"]:
        parts.append("grey diamond: as reported by others, not ours")
    if baseline:
        parts.append(f"thin line: {baseline[0]}")
    if datasets["beyond"]:
        parts.append("arrow: beyond the scale")
    return "; ".join(parts)


def _alt(
    rows: Sequence[Entry], reported: Sequence[Reported], quantity: Quantity, baseline: tuple[str, float] | None
) -> str:
    said = []
    for row in rows:
        interval = (
            ""
            if row.low is None or row.high is None
            else (f" (95 % interval {quantity.say(row.low)} to {quantity.say(row.high)})")
        )
        said.append(f"{row.label} {quantity.say(row.mean)}{interval}, n {len(row.values)}")
    others = [f"{one.label} {quantity.quote(one.value)} {source(one.source)}" for one in reported]
    order = "best first" if quantity.better else "lowest first"
    beside = [f"not ours: {'; '.join(others)}"] if others else []
    beside += [f"baseline: {baseline[0]} {quantity.say(baseline[1])}"] if baseline else []
    return f"{quantity.label}, {order}: " + ". ".join(["; ".join(said) or "no runs", *beside])


def leaderboard_chart(title: str, axis: str, step: int) -> alt.LayerChart:
    """Data sets `rows`, `runs`, `reported`, `beyond`, `baseline`, `room`. `step`: pixels a row."""
    y = rows_of()
    x = across(axis)
    colour = alt.Color("colour:N", scale=None)
    told = [alt.Tooltip("group:N", title="group"), alt.Tooltip("figure:N", title=title)]
    of_mean = [
        *told,
        alt.Tooltip("interval:N", title="95 % interval of the mean"),
        alt.Tooltip("n:Q", title="runs"),
        alt.Tooltip("detail:N", title="about"),
    ]
    of_run = [*told, alt.Tooltip("seed:N", title="seed")]
    rows, runs, others, outside, line, around = (
        alt.Chart(alt.NamedData(name)) for name in ("rows", "runs", "reported", "beyond", "baseline", "room")
    )
    shape = alt.condition("datum.side === 'left'", alt.value("triangle-left"), alt.value("triangle-right"))
    end = {"align": "left", "baseline": "middle", "dx": 12, "fontSize": TEXT}
    return alt.layer(
        around.mark_point(opacity=0).encode(x=x),
        line.mark_rule(color=GREY, strokeWidth=1.5, strokeDash=[5, 4]).encode(x=x),
        line.mark_text(text="baseline", baseline="bottom", dy=-5, fontSize=TEXT, color=GREY).encode(
            x=x, y=alt.value(0)
        ),
        others.transform_filter("datum.line").mark_rule(color=GREY, strokeWidth=1).encode(y=y.copy().bandPosition(0)),
        rows.transform_filter("datum.low !== null")
        .mark_rule(strokeWidth=7, opacity=0.4, strokeCap="round")
        .encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour, tooltip=of_mean),
        rows.transform_filter("datum.inside")
        .mark_tick(thickness=4, size=26, opacity=1)
        .encode(x=x, y=y, color=colour, tooltip=of_mean),
        runs.mark_point(filled=False, size=60, strokeWidth=1.6, opacity=0.9, yOffset=alt.expr("datum.shift")).encode(
            x=x, y=y, color=colour, tooltip=of_run
        ),
        others.transform_filter("datum.inside")
        .mark_point(shape="diamond", filled=False, size=120, strokeWidth=2, opacity=1, color=GREY)
        .encode(x=x, y=y, tooltip=[*told, alt.Tooltip("source:N", title="whose")]),
        outside.mark_point(filled=True, size=130, opacity=1).encode(
            x=x, y=y, color=alt.Color("colour:N", scale=None), shape=shape, tooltip=of_run
        ),
        names(rows),
        names(others, fontStyle="italic"),
        rows.mark_text(**end).encode(x=alt.value("width"), y=y, text="end:N"),
        others.mark_text(**end, fontStyle="italic").encode(x=alt.value("width"), y=y, text="end:N"),
    ).properties(height=alt.Step(step))
