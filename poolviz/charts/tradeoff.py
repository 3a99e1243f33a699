"""One measure against another: a faint dot a run, a strong mark a group's mean with its name beside it.

Figures come in the units that are shown. Names are placed so that they cover one another nowhere on a chart of the
least width; a line leads to a name that had to move away, and where there is no room it is left to the tooltip.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import altair as alt
import numpy as np

from poolviz.charts.entries import GREY, TEXT, Quantity, counted, cut, fence, room, source, words, wrapped
from poolviz.charts.figure import Figure, Rows

WIDTH, HEIGHT = 560, 400  # pixels of the plot for which names are placed; it may be wider
MOST_NAMES = 25  # each is compared with all others
AXES = 120  # pixels that titles, ticks and a page's margins take beside it
EDGE = 28  # pixels around the outermost marks
LETTER = 6.6  # pixels
ROOM = 6  # pixels by which a name may leave the plot
LONGEST = 26  # letters of a line of a name


@dataclass(frozen=True)
class Cloud:
    """A group's runs of which both figures are known."""

    label: str
    colour: str
    points: Mapping[int, tuple[float, float]]  # by seed
    detail: str = ""  # one line more about it


@dataclass(frozen=True)
class ReportedPoint:
    """Two figures of someone else."""

    label: str
    source: str  # "A", "B", "published"
    x: float
    y: float


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> float:
        """Pixels in common."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        tall = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, tall)

    @property
    def outside(self) -> float:
        """Pixels beyond the plot."""
        across = max(0.0, -self.left) + max(0.0, self.right - WIDTH)
        return across + max(0.0, -self.top) + max(0.0, self.bottom - HEIGHT)


def tradeoff_figure(
    groups: Sequence[Cloud],
    reported: Sequence[ReportedPoint],
    x: Quantity,
    y: Quantity,
    log_x: bool = False,
    log_y: bool = False,
) -> Figure:
    """Groups and others' figures; what has no logarithm is left out where an axis is logarithmic."""
    datasets, left_out = tradeoff_rows(groups, reported, x, y, (log_x, log_y))
    parts = ["filled: a group's mean", "circle: one run"]
    if datasets["reported"]:
        parts.append("grey diamond: as reported by others, not ours")
    if any(row["outside"] for rows in datasets.values() for row in rows if "outside" in row):
        parts.append("triangle at the edge: beyond the scale")
    unnamed = len(datasets["means"]) + len(datasets["reported"]) - len(datasets["names"])
    if unnamed:
        parts.append(f"hover for the names of {unnamed} more")
    if left_out:
        parts.append(f"left out, as 0 and less have no logarithm: {left_out}")
    said = [f"{row['group']} {row['told']}" for name in ("means", "reported") for row in datasets[name]]
    return Figure(
        f"{y.label} against {x.label[:1].lower() + x.label[1:] if x.label[1:2].islower() else x.label}",
        "; ".join(parts),
        f"{y.label} against {x.label} of {counted(len(groups), 'group')}: {'; '.join(said) or 'nothing'}",
        tradeoff_chart,
        (x.axis(), y.axis("↓", "↑"), x.title, y.title, log_x, log_y),
        datasets,
    )


def tradeoff_rows(
    groups: Sequence[Cloud],
    reported: Sequence[ReportedPoint],
    x: Quantity,
    y: Quantity,
    log: tuple[bool, bool],
) -> tuple[dict[str, Rows], int]:
    """Data sets `runs`, `means`, `reported`, `names`, `room`, and how many points had no logarithm."""
    means: Rows = []
    runs: Rows = []
    others: Rows = []
    left_out = 0

    def point(place: tuple[float, float], **more: Any) -> dict[str, Any]:
        told = {"across": x.say(place[0]), "upright": y.say(place[1])}
        return {"x": place[0], "y": place[1], **told, **more}

    for group in groups:
        fit = {seed: place for seed, place in group.points.items() if _drawable(place, log)}
        left_out += len(group.points) - len(fit)
        look = {"group": group.label, "colour": group.colour}
        runs += [point(place, seed=seed, **look) for seed, place in sorted(fit.items())]
        if fit:
            middle = tuple(statistics.fmean(each) for each in zip(*fit.values(), strict=True))
            told = f"at {x.say(middle[0])} {y.say(middle[1])} (n {len(fit)})"
            means.append(point(middle, n=len(fit), detail=group.detail or "-", told=told, **look))
    for one in reported:
        place = (one.x, one.y)
        if not _drawable(place, log):
            left_out += 1
            continue
        quoted = {"across": x.quote(one.x), "upright": y.quote(one.y)}
        name = f"{one.label}, {source(one.source)}"
        others.append(point(place, group=name, told=f"at {quoted['across']} {quoted['upright']}") | quoted)
    datasets = {"runs": runs, "means": means, "reported": others}
    _bound(datasets, log)
    around = [{"x": a, "y": b} for a, b in _around([*runs, *means, *others])]
    return {**datasets, "names": name_rows([*means, *others], runs, log), "room": around}, left_out


def _drawable(place: tuple[float, float], log: tuple[bool, bool]) -> bool:
    return all(value > 0 or not of for value, of in zip(place, log, strict=True))


def _bound(datasets: dict[str, Rows], log: tuple[bool, bool]) -> None:
    """Rows' own x and y, cut at the scale's ends where these are not logarithmic; `outside` says which were."""
    every = [row for rows in datasets.values() for row in rows]
    for row in every:
        row["outside"] = False
    for axis, is_log in zip("xy", log, strict=True):
        values = [row[axis] for row in every]
        if is_log or not values:
            continue
        ends = fence(values)
        for row in every:
            row["outside"] |= not ends[0] <= row[axis] <= ends[1]
            row[axis] = cut(row[axis], ends)


def _around(rows: Rows) -> list[tuple[float, float]]:
    """Corners that give an extent to an axis on which all points are equal."""
    if not rows:
        return []
    across = [mark["x"] for mark in room([row["x"] for row in rows])] or [rows[0]["x"]]
    upright = [mark["x"] for mark in room([row["y"] for row in rows])] or [rows[0]["y"]]
    return [(a, b) for a in across for b in upright]


def name_rows(named: Rows, runs: Rows, log: tuple[bool, bool]) -> Rows:
    """Names with the pixels by which each stands off its mark; one for which there is no room is left out."""
    places = _pixels([*named, *runs], log)
    marks = [Box(a - 8, b - 8, a + 8, b + 8) for a, b in places[: len(named)]]
    dots = np.array([Box(a - 4, b - 4, a + 4, b + 4) for a, b in places[len(named) :]]).reshape(-1, 4)
    taken: list[Box] = []
    rows = []
    # those at the edges first: they have the least choice
    order = sorted(range(len(named)), key=lambda at: -abs(places[at][0] - WIDTH / 2))[:MOST_NAMES]
    for at in order:
        text = wrapped(named[at]["group"], LONGEST)
        spots = list(_spots(places[at], text.split("\n")))
        best = min(spots, key=lambda spot: spot.cost(taken, marks, dots))
        if any(best.box.meets(other) for other in taken) or best.box.outside > ROOM:
            continue  # no room: the tooltip has it
        taken.append(best.box)
        away = {"dx": best.dx, "dy": best.dy, "align": best.align, "far": best.distance > 20}
        rows.append({"x": named[at]["x"], "y": named[at]["y"], "name": text, "ours": "n" in named[at], **away})
    return rows


class Spot(NamedTuple):
    """A place for a name beside its mark."""

    distance: float
    dx: float
    dy: float
    align: str
    box: Box

    def cost(self, taken: Sequence[Box], marks: Sequence[Box], dots: np.ndarray) -> float:
        """Least where it covers nothing and is near; another name must not be covered, a dot may be."""
        covered = sum(200 * self.box.meets(other) for other in taken) + sum(6 * self.box.meets(mark) for mark in marks)
        return covered + _covered(self.box, dots) + 500 * self.box.outside + 3 * self.distance


def _covered(box: Box, others: np.ndarray) -> float:
    """Pixels in common with many, (N, 4): hundreds of dots stand against every place of every name."""
    wide = np.minimum(box.right, others[:, 2]) - np.maximum(box.left, others[:, 0])
    tall = np.minimum(box.bottom, others[:, 3]) - np.maximum(box.top, others[:, 1])
    return float((wide.clip(0) * tall.clip(0)).sum())


def _spots(place: tuple[float, float], lines: list[str]) -> Iterator[Spot]:
    """Around a mark, the nearest first."""
    a, b = place
    wide, half = LETTER * max(map(len, lines)), (TEXT + 3) / 2 * len(lines)
    for distance in (13, 30, 48, 70, 95):
        for angle in range(0, 360, 30):
            dx, dy = distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle))
            align = "left" if dx > 1 else "right" if dx < -1 else "center"
            left = a + dx - {"left": 0, "right": wide, "center": wide / 2}[align]
            box = Box(left, b + dy - half, left + wide, b + dy + half)
            yield Spot(distance, round(dx, 1), round(dy, 1), align, box)


def _pixels(rows: Rows, log: tuple[bool, bool]) -> list[tuple[float, float]]:
    """Where points lie on a plot of WIDTH by HEIGHT, from its left upper corner."""
    found = []
    for axis, is_log, size in (("x", log[0], WIDTH), ("y", log[1], HEIGHT)):
        values = [math.log10(row[axis]) if is_log else row[axis] for row in rows]
        low, high = (min(values), max(values)) if values else (0, 0)
        span = size - 2 * EDGE
        found.append([EDGE + span * ((value - low) / (high - low) if high > low else 0.5) for value in values])
    return [(a, HEIGHT - b) for a, b in zip(*found, strict=True)]


def tradeoff_chart(across: str, upright: str, x_told: str, y_told: str, log_x: bool, log_y: bool) -> alt.LayerChart:
    """Data sets `runs`, `means`, `reported`, `names`, `room`."""

    def scale(log: bool) -> alt.Scale:
        return alt.Scale(type="log" if log else "linear", zero=False, nice=False, padding=EDGE)

    ticks = {"labelSeparation": 12, "labelOverlap": True, "tickCount": 6}
    # a title over its axis, read without turning one's head
    over = alt.Axis(titleAngle=0, titleAlign="left", titleAnchor="end", titleY=-12, titleX=-40, **ticks)
    x = alt.X("x:Q", title=across, scale=scale(log_x), axis=alt.Axis(**ticks))
    y = alt.Y("y:Q", title=upright, scale=scale(log_y), axis=over)
    told = [
        alt.Tooltip("group:N"),
        alt.Tooltip("across:N", title=x_told),
        alt.Tooltip("upright:N", title=y_told),
    ]

    def layer(name: str) -> alt.Chart:
        return alt.Chart(alt.NamedData(name)).encode(x=x, y=y)

    def shape(inside: str) -> alt.Shape:
        return alt.condition("datum.outside", alt.value("triangle"), alt.value(inside))

    colour = alt.Color("colour:N", scale=None)
    of_mean = [*told, alt.Tooltip("n:Q", title="runs, mean of"), alt.Tooltip("detail:N", title="about")]
    names = layer("names")
    return alt.layer(
        layer("room").mark_point(opacity=0),
        names.transform_filter("datum.far")
        .mark_rule(color=GREY, strokeWidth=1, x2Offset=alt.expr("datum.dx"), y2Offset=alt.expr("datum.dy"))
        .encode(x2="x:Q", y2="y:Q"),
        layer("runs")
        .mark_point(filled=False, size=45, strokeWidth=1.5, opacity=0.8)
        .encode(color=colour, shape=shape("circle"), tooltip=[*told, alt.Tooltip("seed:N")]),
        layer("reported")
        .mark_point(filled=False, size=130, strokeWidth=2, opacity=1, color=GREY)
        .encode(shape=shape("diamond"), tooltip=told),
        layer("means")
        .mark_point(filled=True, size=190, opacity=1)
        .encode(color=colour, shape=shape("circle"), tooltip=of_mean),
        *_texts(names),
    ).properties(height=HEIGHT + AXES)


def _texts(names: alt.Chart) -> list[alt.Chart]:
    """Names where they were placed: an alignment and a style are a mark's and not a datum's."""
    return [
        words(
            names.transform_filter(f"datum.align === '{align}' && {'' if ours else '!'}datum.ours"),
            "name",
            dy="datum.dy",
            dx=alt.expr("datum.dx"),
            align=align,
            fontStyle="normal" if ours else "italic",
        )
        for align in ("left", "center", "right")
        for ours in (True, False)
    ]
