"""Wrong shares class by class: a row a class, the hardest first, in it a dot a group from its least to its most run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt

from poolviz.charts.entries import GREY, TEXT, counted, number
from poolviz.charts.figure import Figure, Rows

PICK = "classes"  # the selection's name
LEAST, LANE = 30, 8  # pixels of a row; that a group takes in it


@dataclass(frozen=True)
class ClassErrors:
    """A group's errors."""

    label: str
    colour: str
    errors: Mapping[str, Sequence[float]]  # by class, of each run its wrong share in %


def classes_figure(groups: Sequence[ClassErrors]) -> Figure:
    """All groups in one chart; a class is hard by its mean over the groups."""
    rows = class_rows(groups)
    hardest = {row["class"]: row["over_all"] for row in rows}
    said = [
        f"{name}: " + ", ".join(f"{row['group']} {row['figure']}" for row in rows if row["class"] == name)
        for name in hardest
    ]
    parts = ["hardest class first; dot: mean of runs"]
    if any(row["least"] < row["most"] for row in rows):
        parts.append("line: least to most")
    parts.append("click a dot or a name to see it alone, double-click for all")
    return Figure(
        "Wrong share of each class",
        "; ".join(parts),
        f"Wrong share of {len(hardest)} classes by {counted(len(groups), 'group')}. {'; '.join(said) or 'nothing'}",
        classes_chart,
        (tuple(group.label for group in groups), tuple(group.colour for group in groups)),
        {"classes": rows},
    )


def class_rows(groups: Sequence[ClassErrors]) -> Rows:
    """A row a class and group: mean, least and most of its runs, and the class's mean over groups."""
    means = {
        (place, name): statistics.fmean(values)
        for place, group in enumerate(groups)
        for name, values in group.errors.items()
        if values
    }
    classes = dict.fromkeys(name for _, name in means)
    over_all = {name: statistics.fmean(mean for (_, of), mean in means.items() if of == name) for name in classes}
    middle = (len(groups) - 1) / 2
    return [
        {
            "class": name,
            "group": group.label,
            "x": means[place, name],
            "least": min(group.errors[name]),
            "most": max(group.errors[name]),
            "n": len(group.errors[name]),
            "figure": f"{number(means[place, name])} %",
            "over_all": over_all[name],
            "shift": (place - middle) * LANE,
            "above": place == min(at for at, of in means if of == name),
        }
        for name in sorted(classes, key=lambda each: -over_all[each])
        for place, group in enumerate(groups)
        if (place, name) in means
    ]


def classes_chart(labels: tuple[str, ...], colours: tuple[str, ...]) -> alt.LayerChart:
    """Data set `classes`."""
    step = max(LEAST, LANE * len(labels) + 12)
    order = alt.EncodingSortField(field="over_all", op="max", order="descending")
    axis = alt.Axis(
        grid=False, ticks=False, domain=False, labelLimit=200, labelFontSize=TEXT, title=None, labelPadding=10
    )
    y = alt.Y("class:N", sort=order, axis=axis, scale=alt.Scale(padding=0))
    x = alt.X("x:Q", title="Wrong share (%)    ← better", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=6))
    longest = max(map(len, labels), default=0)
    columns = 3 if longest <= 30 else 2 if longest <= 46 else 1
    legend = alt.Legend(title=None, orient="top", columns=columns, labelLimit=600, symbolSize=120, symbolOpacity=1)
    colour = alt.Color("group:N", scale=alt.Scale(domain=list(labels), range=list(colours)), legend=legend)
    pick = alt.selection_point(name=PICK, fields=["group"], bind="legend", on="click", clear="dblclick")
    shift = alt.expr("datum.shift")
    base = alt.Chart(alt.NamedData("classes")).encode(y=y, color=colour)
    told = [
        alt.Tooltip("class:N"),
        alt.Tooltip("group:N"),
        alt.Tooltip("figure:N", title="wrong, mean"),
        alt.Tooltip("least:Q", title="least (%)", format=".3~g"),
        alt.Tooltip("most:Q", title="most (%)", format=".3~g"),
        alt.Tooltip("n:Q", title="runs"),
    ]
    return alt.layer(
        # a line between classes: a row of many groups is tall
        base.transform_filter("datum.above")
        .mark_rule(opacity=0.5)
        .encode(y=y.copy().bandPosition(0), color=alt.value(GREY)),
        base.mark_rule(strokeWidth=2.5, yOffset=shift)
        .encode(x="least:Q", x2="most:Q", opacity=alt.condition(pick, alt.value(0.5), alt.value(0.04)))
        .add_params(pick),  # the names take part only where the first layer with colours has the selection
        base.mark_point(filled=True, size=60, yOffset=shift).encode(
            x=x, tooltip=told, opacity=alt.condition(pick, alt.value(1), alt.value(0.08))
        ),
    ).properties(height=alt.Step(step))
