"""Learning curves of groups of runs: the mean over seeds as a line, its runs from least to most as a band.

A group comes as its runs' own lines (`metrics.jsonl`). Means are taken epoch by epoch over the runs that got there; by
the clock, an epoch lies at its runs' mean seconds. Nothing is smoothed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from poolviz.charts.curves import AXES, MEASURES, Curve, points
from poolviz.charts.entries import GREY, TEXT, Quantity, counted, fence, number, source
from poolviz.charts.figure import Figure, Rows

PICK = "curves"  # the selection's name
ROOM_ABOVE = 1.1
APART = 18  # pixels between two labels at lines' ends
HEIGHT = 430  # pixels of the whole chart without its legend
PLOT = 320  # of these are left for the lines
LEGEND = 30  # pixels a line of names
BETTER = {"loss": "low", "error": "low", "mcc": "high"}


@dataclass(frozen=True)
class Runs:
    """A group's runs."""

    label: str
    colour: str
    runs: Sequence[Sequence[dict[str, Any]]]  # of each run its lines


@dataclass(frozen=True)
class ReportedCurve:
    """Someone else's validation figures, by epoch."""

    label: str
    source: str  # "A", "B", "published"
    points: Sequence[tuple[float, float]]  # (epoch, figure as runs keep it: an error as a share)


def bands_figure(
    groups: Sequence[Runs], measure: str, axis: str, log: bool = False, reported: Sequence[ReportedCurve] = ()
) -> Figure:
    """All groups in one chart; others' curves where the axis is epochs. `log`: of the upright axis."""
    datasets: dict[str, Rows] = {"train": [], "validation": [], "reported": [], "ends": []}
    for group in groups:
        for name in ("train", "validation"):
            datasets[name] += band_rows(group, measure, axis, name, log)
    if axis == "epoch":
        datasets["reported"] = reported_rows(reported, measure, log)
        datasets["ends"] = end_rows(datasets, log, measure == "mcc")
    most = max((row["x"] for name in ("validation", "reported") for row in datasets[name]), default=0)
    return Figure(
        f"{MEASURES[measure]} by {AXES[axis].split()[0].rstrip('s')}",
        _note(groups, datasets, measure, axis, log),
        _alt(groups, datasets, measure),
        bands_chart,
        (
            tuple(group.label for group in groups),
            tuple(group.colour for group in groups),
            measure,
            axis,
            math.ceil(most) if axis == "epoch" else 0,
            log,
            top_of(datasets, measure, log),
        ),
        datasets,
    )


def band_rows(group: Runs, measure: str, axis: str, name: str, log: bool) -> Rows:
    """A row an epoch of `train` or `validation`: mean, least and most of its runs."""
    epochs: dict[int, list[tuple[float, float]]] = {}
    for run in group.runs:
        for row in points(Curve(group.label, group.colour, list(run)), measure, axis)[name]:
            if row["epoch"] is not None and math.isfinite(row["y"]) and (row["y"] > 0 or not log):
                epochs.setdefault(row["epoch"], []).append((row["x"], row["y"]))
    rows = []
    for epoch, found in sorted(epochs.items()):
        values = [y for _, y in found]
        rows.append(
            {
                "group": group.label,
                "x": statistics.fmean(x for x, _ in found),
                "y": statistics.fmean(values),
                "least": min(values),
                "most": max(values),
                "epoch": epoch,
                "n": len(values),
                "kind": name,
            }
        )
    return rows


def reported_rows(reported: Sequence[ReportedCurve], measure: str, log: bool) -> Rows:
    """A row a point; `name` tells the curves apart."""
    return [
        {"name": f"{curve.label}, {source(curve.source)}", "x": x, "y": y, "figure": shown(y, measure)}
        for curve in reported
        for x, y in curve.points
        if y > 0 or not log
    ]


def end_rows(datasets: dict[str, Rows], log: bool, from_zero: bool) -> Rows:
    """Names of others' curves over their last points, moved apart where they would lie on one another."""
    last = {row["name"]: row for row in datasets["reported"]}
    if not last:
        return []
    scale = (math.log10, lambda value: 10**value) if log else (float, float)
    every = [value for name in ("train", "validation", "reported") for row in datasets[name] for value in _extent(row)]
    every += [0.0] if from_zero and not log else []
    low, high = scale[0](min(every)), scale[0](max(every))
    room = APART * (high - low) / PLOT
    ends, before = [], -math.inf
    for row in sorted(last.values(), key=lambda row: row["y"]):
        before = max(scale[0](row["y"]), before + room)
        ends.append({"name": row["name"], "x": row["x"], "y": scale[1](before)})
    return ends


def top_of(datasets: dict[str, Rows], measure: str, log: bool) -> float:
    """Where the upright axis ends: below the first epoch's training figures where they flatten the others, else 0."""
    if log or measure == "mcc":
        return 0.0
    first = [row for row in datasets["train"] if row["epoch"] == 1]
    rest = [row for name in ("train", "validation", "reported") for row in datasets[name] if row not in first]
    if not first or not rest:
        return 0.0
    # in two figures, so that a chart whose run goes on keeps its spec
    top = float(f"{ROOM_ABOVE * max(_extent(row)[1] for row in rest):.2g}")
    return top if max(row["y"] for row in first) > 2 * top else 0.0


def _extent(row: dict[str, Any]) -> tuple[float, float]:
    return row.get("least", row["y"]), row.get("most", row["y"])


def shown(value: float, measure: str) -> str:
    """A figure in words."""
    return Quantity("", "%", "").quote(100 * value) if measure == "error" else f"{value:.6g}"


def _note(groups: Sequence[Runs], datasets: dict[str, Rows], measure: str, axis: str, log: bool) -> str:
    parts = ["solid: validation, mean of runs"]
    if any(len(group.runs) > 1 for group in groups):
        parts.append("band: least to most")
    parts.append("dashed: training, with dropout and draws")
    if axis == "second":
        parts.append("an epoch lies at its runs' mean seconds")
    if datasets["reported"]:
        parts.append("grey dots: as reported by others, not ours")
    counts = {group.label: len(group.runs) for group in groups}
    if any(row["n"] < counts[row["group"]] for row in datasets["validation"]):
        parts.append("some runs have fewer epochs or figures: hover for n")
    if top_of(datasets, measure, log):
        parts.append("the first epoch's training lies above the axis: a logarithmic one shows it")
    elif flattened(datasets, log):
        parts.append("a few figures flatten the others: a logarithmic axis shows more")
    if log:
        parts.append("logarithmic: figures of 0 and less are left out")
    parts.append("click a line or a name to see it alone, double-click for all")
    return "; ".join(parts)


def flattened(datasets: dict[str, Rows], log: bool) -> bool:
    """Whether a few figures take most of the upright axis."""
    every = [value for name in ("train", "validation") for row in datasets[name] for value in _extent(row)]
    return not log and bool(every) and min(every) > 0 and fence(every) != (min(every), max(every))


def _alt(groups: Sequence[Runs], datasets: dict[str, Rows], measure: str) -> str:
    last = {row["group"]: row for row in datasets["validation"]}
    said = [
        f"{name}: {number(100 * row['y']) + ' %' if measure == 'error' else number(row['y'])}"
        f" after epoch {row['epoch']} (n {row['n']})"
        for name, row in last.items()
    ]
    others = {row["name"]: row for row in datasets["reported"]}
    said += [f"{name}: {row['figure']}" for name, row in others.items()]
    of = f"{MEASURES[measure]} of {counted(len(groups), 'group')} of runs"
    return f"{of}, validation: {'; '.join(said) or 'nothing yet'}"


def bands_chart(
    labels: tuple[str, ...], colours: tuple[str, ...], measure: str, axis: str, most: int, log: bool, top: float = 0.0
) -> alt.LayerChart:
    """Data sets `train`, `validation`, `reported`, `ends`. `most`, `top`: the axes end there; 0 lets them grow."""
    scale = alt.Scale(domain=[0, most], nice=False) if most else alt.Scale(zero=True)
    x = alt.X("x:Q", title=AXES[axis], scale=scale, axis=alt.Axis(tickMinStep=1, format="d" if most else "~s"))
    percent = measure == "error"
    upright = alt.Axis(format="~%" if percent else ".4~r", tickCount=6)
    title = Quantity(MEASURES[measure], "", BETTER[measure]).axis()  # turned: an arrow to the left points down
    y_scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=measure == "mcc")
    if top:
        y_scale = alt.Scale(domain=[0, top], nice=False)
    y = alt.Y("y:Q", title=title, scale=y_scale, axis=upright)
    longest = max(map(len, labels), default=0)
    columns = 3 if longest <= 30 else 2 if longest <= 46 else 1
    pick = alt.selection_point(name=PICK, fields=["group"], bind="legend", on="click", clear="dblclick")
    colours_of = alt.Scale(domain=list(labels), range=list(colours))
    colour = alt.Color("group:N", scale=colours_of, legend=_legend(columns))
    told, theirs = _tooltips(axis, ".3~%" if percent else ".4~g")

    def layer(name: str) -> alt.Chart:
        return alt.Chart(alt.NamedData(name)).encode(x=x, y=y)

    def ours(name: str, strong: float) -> alt.Chart:
        return layer(name).encode(color=colour, opacity=alt.condition(pick, alt.value(strong), alt.value(0.05)))

    others = layer("reported").encode(detail="name:N")
    return alt.layer(
        ours("validation", 0.2)
        .transform_filter("datum.n > 1")
        .mark_area()
        .encode(y=alt.Y("least:Q"), y2="most:Q")
        .add_params(pick),  # the names take part only where the first layer has the selection
        others.mark_line(color=GREY, strokeWidth=2, strokeDash=[2, 4]),
        others.mark_point(filled=False, shape="diamond", size=60, color=GREY, opacity=1).encode(tooltip=theirs),
        ours("train", 0.7).mark_line(strokeWidth=1.8, strokeDash=[6, 4], clip=bool(top)),
        ours("train", 0.7).mark_point(filled=False, size=22, strokeWidth=1.5, clip=bool(top)).encode(tooltip=told),
        ours("validation", 1).mark_line(strokeWidth=3),
        ours("validation", 1).mark_point(filled=True, size=60).encode(tooltip=told),
        layer("ends")
        .mark_text(align="right", baseline="bottom", dy=-6, fontSize=TEXT, fontStyle="italic")
        .encode(text="name:N"),
    ).properties(height=HEIGHT + LEGEND * -(-len(labels) // columns))


def _legend(columns: int) -> alt.Legend:
    stroke = {"symbolType": "stroke", "symbolStrokeWidth": 4, "symbolSize": 300, "symbolOpacity": 1}
    return alt.Legend(title=None, orient="top", columns=columns, labelLimit=600, **stroke)


def _tooltips(axis: str, figure: str) -> tuple[list[alt.Tooltip], list[alt.Tooltip]]:
    """Of our groups and of others' figures; `figure` is a number's format."""
    ours = [
        alt.Tooltip("group:N"),
        alt.Tooltip("kind:N", title="figures"),
        alt.Tooltip("epoch:Q"),
        *([alt.Tooltip("x:Q", title=AXES[axis], format=".4~g")] if axis != "epoch" else []),
        alt.Tooltip("y:Q", title="mean", format=figure),
        alt.Tooltip("least:Q", format=figure),
        alt.Tooltip("most:Q", format=figure),
        alt.Tooltip("n:Q", title="runs"),
    ]
    return ours, [alt.Tooltip("name:N", title="not ours"), alt.Tooltip("x:Q", title="epoch"), alt.Tooltip("figure:N")]
