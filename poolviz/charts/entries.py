"""What the charts that compare groups of runs share: rows as plain values, words for figures, and where a scale ends.

A figure comes in the unit in which it is shown. Knows nothing of run folders, seeds' meaning or statistics: means and
intervals are the caller's.
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import altair as alt

GREY = "#7d8590"  # read on white and on black alike
TEXT = 13  # pixels
LINE = 30  # letters of a label's line beside a chart
WORSE, BETTER = "#D55E00", "#0072B2"
REPORTED = "as reported"
BEYOND = 4.0  # quartile distances after which a figure may lie beyond the scale
FLATTENED = 30.0  # so many times as wide the scale would be with it: less is a fact to see, not to cut off


@dataclass(frozen=True)
class Entry:
    """A group of runs and a figure of each."""

    label: str
    colour: str
    values: Mapping[int, float]  # by seed
    mean: float
    low: float | None = None  # of the mean's 95 % interval; None for a single run
    high: float | None = None
    detail: str = ""  # one line more about it


@dataclass(frozen=True)
class Reported:
    """Someone else's figure."""

    label: str
    source: str  # "A", "B", "published"
    value: float


class Quantity(NamedTuple):
    """What is measured."""

    label: str
    unit: str  # "%", "s", "MB" or ""
    better: str  # "low", "high" or ""

    @property
    def title(self) -> str:
        """With its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def axis(self, lower: str = "←", higher: str = "→") -> str:
        """Title of an axis: an arrow says which way is better."""
        said = {"low": f" · {lower} better", "high": f" · better {higher}"}
        return self.title + said.get(self.better, "")

    def say(self, value: float) -> str:
        """A figure of ours with its unit."""
        return f"{number(value)} {self.unit}".rstrip()

    def quote(self, value: float) -> str:
        """A figure of others with its unit, and with no more digits than they gave."""
        return f"{value:,.6g} {self.unit}".rstrip()


def number(value: float) -> str:
    """About three figures; whole numbers from a hundred on."""
    size = abs(value)
    if 0 < size < 0.001:
        return f"{value:.1e}"
    if size < 0.01:
        return f"{value:#.2g}" if size else "0"
    return (
        f"{value:.3f}"
        if size < 1
        else f"{value:.2f}"
        if size < 10
        else f"{value:.1f}"
        if size < 100
        else f"{value:,.0f}"
    )


def counted(count: int, what: str) -> str:
    """A number of things."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def wrapped(label: str, letters: int = LINE) -> str:
    """A label in lines of so many letters at most: as they fit beside a chart."""
    return "\n".join(textwrap.wrap(" ".join(label.split()), letters)) or " "


def step(labels: Sequence[str]) -> int:
    """Pixels that a row takes, by the lines of the longest wrapped label."""
    return max(34, 12 + 16 * max((label.count("\n") + 1 for label in labels), default=1))


def source(name: str) -> str:
    """Whose figure, in words: "as reported (report B)"."""
    return f"{REPORTED} ({name if name == 'published' else f'report {name}'})"


def rows_of() -> alt.Y:
    """A band a row, in the rows' order; `names` says what each is."""
    return alt.Y("label:N", sort=alt.EncodingSortField(field="place", op="min"), axis=None)


def names(base: alt.Chart, **style: Any) -> alt.Chart:
    """Rows' names beside the chart: an axis would not set several lines around their row's middle."""
    return words(base, "label", align="right", dx=-12, **style).encode(x=alt.value(0), y=rows_of())


def words(base: alt.Chart, field: str, dy: str = "0", **style: Any) -> alt.Chart:
    """Text of one line or several, with its middle `dy`, a Vega expression, below its place."""
    height = TEXT + 3
    lifted = alt.expr(f"{dy} - {height / 2} * (length(split(datum.{field}, '\\n')) - 1)")
    lines = {"baseline": "middle", "fontSize": TEXT, "lineBreak": "\n", "lineHeight": height}
    return base.mark_text(dy=lifted, **lines, **style).encode(text=f"{field}:N")


def fence(values: Sequence[float]) -> tuple[float, float]:
    """Where a scale may end: at the extremes, or before a few figures that would flatten all others."""
    least, most = min(values), max(values)
    if len(values) < 4:
        return least, most
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    reach = BEYOND * (third - first)
    inside = [value for value in values if first - reach <= value <= third + reach]
    low, high = min(inside), max(inside)
    return (low, high) if 0 < FLATTENED * (high - low) < most - least else (least, most)


def cut(value: float, ends: tuple[float, float]) -> float:
    """A figure where it is drawn: one beyond the scale lies just outside of its ends."""
    low, high = ends
    margin = 0.04 * (high - low)
    return low - margin if value < low else high + margin if value > high else value


def beyond(label: str, value: float, ends: tuple[float, float], told: dict[str, Any]) -> list[dict[str, Any]]:
    """The mark of a figure beyond the scale, or nothing."""
    if ends[0] <= value <= ends[1]:
        return []
    return [{"label": label, "x": cut(value, ends), "side": "left" if value < ends[0] else "right", **told}]


def room(values: Sequence[float]) -> list[dict[str, float]]:
    """Unseen marks around figures that are all equal: a scale without an extent would label their place wrongly."""
    if not values or min(values) < max(values):
        return []
    apart = 0.05 * abs(values[0]) or 0.05
    return [{"x": values[0] - apart}, {"x": values[0] + apart}]


def across(title: str) -> alt.X:
    """The figures' axis: it ends near them and not at 0, for marks tell by their place."""
    ticks = alt.Axis(tickCount=5, labelSeparation=12, labelOverlap=True)
    return alt.X("x:Q", title=title, scale=alt.Scale(zero=False, nice=False, padding=16), axis=ticks)


def offsets(seeds: Sequence[int], room: float) -> dict[int, float]:
    """Pixels by which a run's dot is moved, so that equal ones are seen: a seed lies equally high in every row."""
    known = sorted(set(seeds))
    if len(known) < 2:
        return dict.fromkeys(known, 0.0)
    return {seed: room * (2 * at / (len(known) - 1) - 1) for at, seed in enumerate(known)}
