"""Learning curves: a colour a run; training dashed, validation solid. By epoch, by second or by step.

Curves come as a run's own lines (`metrics.jsonl`). Nothing is smoothed: a faint point is one batch, a line goes
through epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from poolviz.charts.figure import Figure

MEASURES = {"loss": "Loss", "error": "Error", "mcc": "MCC"}
AXES = {"epoch": "epochs", "second": "seconds of training", "step": "optimizer steps"}
MOST_POINTS = 300  # of one run's batches
HEIGHT = 380
# Where runs share a pooling: read on white and on the dark page alike.
SPARE = (
    *("#1F77B4", "#D55E00", "#009E73", "#C46A9B", "#8A5A00", "#4FA8E0", "#8C6BD1", "#D6405A"),
    *("#7A8F1F", "#12A3A8", "#B8860B", "#9C4F2E", "#5D7A99", "#E377C2", "#4C9F38", "#9A9A9A"),
)


@dataclass(frozen=True)
class Curve:
    """One run's lines under the name, and in the colour, that tell it from the others."""

    label: str
    colour: str
    rows: list[dict[str, Any]]


def colours(wanted: Sequence[str]) -> list[str]:
    """Each run's own colour; where two would share one, the first keeps it and the others take what is unlike all."""
    taken = list(dict.fromkeys(wanted))
    found: list[str] = []
    for colour in wanted:
        if colour in found:
            colour = max(SPARE, key=lambda spare: min(_unlike(spare, other) for other in taken))
            taken.append(colour)
        found.append(colour)
    return found


def _unlike(one: str, other: str) -> float:
    """Distance of two colours, roughly as an eye weighs red, green and blue."""
    pairs = zip(_channels(one), _channels(other), (2, 4, 3), strict=True)
    return sum(weight * (a - b) ** 2 for a, b, weight in pairs)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def points(curve: Curve, measure: str, axis: str) -> dict[str, list[dict[str, Any]]]:
    """`batches`, `train` and `validation`: rows of run, x and y; a value that is not there is left out."""
    start = next((row for row in curve.rows if row.get("kind") == "start"), {})
    # a limit of steps leaves an epoch as long as it is
    per_epoch = start.get("epoch_steps") or (start.get("steps") or 0) / (start.get("epochs") or 1) or 1.0

    def rows(kind: str, field: str) -> list[dict[str, Any]]:
        found = []
        for row in curve.rows:
            x = {"epoch": row.get("step", 0) / per_epoch, "second": row.get("train_seconds"), "step": row.get("step")}
            if row.get("kind") == kind and row.get(field) is not None and x[axis] is not None:
                found.append({"run": curve.label, "x": x[axis], "y": row[field], "epoch": row.get("epoch")})
        return found

    batches = rows("step", "train_loss") if measure == "loss" else []
    return {
        "batches": batches[:: len(batches) // MOST_POINTS + 1],
        "train": rows("epoch", f"train_{measure}"),
        "validation": rows("epoch", f"validation_{measure}"),
    }


def curves_figure(curves: Sequence[Curve], measure: str, axis: str) -> Figure:
    """All runs in one chart."""
    datasets: dict[str, list[dict[str, Any]]] = {"batches": [], "train": [], "validation": []}
    for curve in curves:
        for name, found in points(curve, measure, axis).items():
            datasets[name] += found
    epochs = max((row.get("epochs", 0) for curve in curves for row in curve.rows[:1]), default=0)
    ends = [
        f"{row['run']} {row['y']:.3g}"
        for row in {row["run"]: row for row in datasets["validation"]}.values()  # each run's newest
    ]
    return Figure(
        f"{MEASURES[measure]} by {AXES[axis].split()[0].rstrip('s')}",
        _note(measure),
        f"{MEASURES[measure]} of {len(curves)} runs; validation now: {', '.join(ends) or 'nothing yet'}",
        curves_chart,
        (
            tuple(curve.label for curve in curves),
            tuple(curve.colour for curve in curves),
            measure,
            axis,
            epochs if axis == "epoch" else 0,
        ),
        datasets,
    )


def _note(measure: str) -> str:
    if measure == "mcc":
        return "Matthews correlation on the validation set: 1 is perfect, 0 is no better than chance"
    dots = "; a faint dot: one batch" if measure == "loss" else ""
    return f"solid: validation, dashed: training, with dropout and draws{dots}"


def curves_chart(
    labels: tuple[str, ...], colours: tuple[str, ...], measure: str, axis: str, most: int
) -> alt.LayerChart:
    """Data sets `batches`, `train`, `validation`. `most`: the axis ends there; 0 lets it grow."""
    scale = alt.Scale(domain=[0, most], nice=False) if most else alt.Scale(zero=True)
    x = alt.X("x:Q", title=AXES[axis], scale=scale, axis=alt.Axis(tickMinStep=1, format="~s" if not most else "d"))
    shown = alt.Axis(format="~%") if measure == "error" else alt.Axis(format="~g")
    y = alt.Y("y:Q", title=MEASURES[measure], scale=alt.Scale(zero=measure != "loss"), axis=shown)
    columns = 3 if sum(map(len, labels)) < 40 else 2
    legend = alt.Legend(
        title=None,
        orient="top",
        columns=columns,
        labelLimit=320,
        symbolStrokeWidth=4,
        symbolType="stroke",
        symbolOpacity=1,
    )
    colour = alt.Color("run:N", scale=alt.Scale(domain=list(labels), range=list(colours)), legend=legend)
    told = [
        alt.Tooltip("run:N", title="run"),
        alt.Tooltip("x:Q", title=AXES[axis], format=".4~g"),
        alt.Tooltip("y:Q", title=MEASURES[measure], format=".4~g"),
    ]

    def layer(name: str) -> alt.Chart:
        return alt.Chart(alt.NamedData(name)).encode(x=x, y=y, color=colour)

    return alt.layer(
        layer("batches").mark_point(filled=True, size=14, opacity=0.3),
        layer("train").mark_line(strokeWidth=1.8, strokeDash=[6, 4], opacity=0.9),
        layer("train").mark_point(filled=False, size=22, strokeWidth=1.5).encode(tooltip=told),
        layer("validation").mark_line(strokeWidth=3),
        layer("validation").mark_point(filled=True, size=55, opacity=1).encode(tooltip=told),
    ).properties(height=HEIGHT)
