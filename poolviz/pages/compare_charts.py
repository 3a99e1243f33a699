"""Two views of the comparing page: curves with a band over seeds, and any measure against any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from poolviz.charts.bands import ReportedCurve, Runs, bands_figure
from poolviz.charts.curves import AXES, colours
from poolviz.charts.curves import MEASURES as CURVES
from poolviz.charts.entries import Quantity
from poolviz.charts.figure import Figure
from poolviz.charts.tradeoff import Cloud, ReportedPoint, tradeoff_figure
from poolviz.pages.choose_results import Selection, kept
from poolviz.pages.compare_parameters import key
from poolviz.pages.leaderboard import choose_measure, first_measure, known_measures, who
from poolviz.pages.parameters import bounds
from poolviz.pages.show import show_figure
from poolviz.runs.groups import Group
from poolviz.runs.results import MEASURES, Measure
from poolviz.runs.summary import standing
from poolviz.training.config import TEXT_TASKS


def curves_view(selection: Selection) -> list[Figure]:
    """Mean and band a group."""
    text = selection.task in TEXT_TASKS
    measures = [name for name in CURVES if name != "mcc" or text]
    kept("curve", measures, measures[0])
    with st.container(horizontal=True, vertical_alignment="center"):
        measure = st.segmented_control(
            "Curve",
            measures,
            format_func=CURVES.get,
            required=True,
            label_visibility="collapsed",
            **bounds(key("curve")),
        )
        axis = st.segmented_control(
            "By",
            list(AXES),
            format_func=lambda name: f"by {name}",
            required=True,
            label_visibility="collapsed",
            **bounds(key("axis")),
        )
        log = st.toggle("Logarithmic", **bounds(key("log")))
    figure = curves_of(selection, measure, axis, log)
    show_figure(figure)
    return [figure]


def curves_of(selection: Selection, measure: str, axis: str, log: bool) -> Figure:
    """The chart of curves."""
    shades = colours(selection.colours)
    groups = [
        Runs(name, shade, [_lines(result.run.folder, _changed(result.run.folder)) for result in each.results])
        for name, shade, each in zip(selection.names, shades, selection.groups, strict=True)
    ]
    field = f"validation_{measure}"
    reported = [
        ReportedCurve(who(each), each.report, [(row["epoch"], row[field]) for row in each.rows if field in row])
        for each in selection.reported
        if axis == "epoch" and any(field in row for row in each.rows)
    ]
    return bands_figure(groups, measure, axis, log, reported)


def _changed(folder: Path) -> int:
    try:
        return (folder / "metrics.jsonl").stat().st_mtime_ns
    except OSError:
        return -1


@st.cache_data(max_entries=2000, max_size="64MB", show_spinner=False)
def _lines(folder: Path, changed_ns: int) -> list[dict[str, Any]]:
    """A run's first line and those of its epochs."""
    from poolviz.runs.store import Run

    stand = standing(Run(folder))
    return [row for row in stand.rows if row.get("kind") in ("start", "epoch")] if stand else []


def tradeoff_view(selection: Selection) -> list[Figure]:
    """A dot a run: what one measure costs in another."""
    known = known_measures(selection)
    if len(known) < 2:
        st.info("None of these runs has two figures yet.", icon=":material/hourglass_empty:")
        return []
    with st.container(horizontal=True, vertical_alignment="bottom"):
        x = choose_measure("Across", "x", known, "train_time" if "train_time" in known else known[-1])
        y = choose_measure("Up", "y", known, first_measure(selection, known))
        log = st.toggle("Logarithmic", **bounds(key("log")))
    figure = tradeoff_of(selection, MEASURES[x], MEASURES[y], log)
    show_figure(figure)
    return [figure]


def tradeoff_of(selection: Selection, x: Measure, y: Measure, log: bool) -> Figure:
    """The chart of two measures."""
    reported = [
        ReportedPoint(who(each), each.report, each.values[x.name] * x.scale, each.values[y.name] * y.scale)
        for each in selection.reported
        if {x.name, y.name} <= set(each.values)
    ]
    clouds = [
        Cloud(name, colour, _points(each, x, y), each.hardware)
        for name, colour, each in zip(selection.names, selection.colours, selection.groups, strict=True)
    ]
    return tradeoff_figure([each for each in clouds if each.points], reported, _quantity(x), _quantity(y), log, log)


def _points(one: Group, x: Measure, y: Measure) -> dict[int, tuple[float, float]]:
    across, up = one.values(x.name), one.values(y.name)
    return {seed: (across[seed] * x.scale, up[seed] * y.scale) for seed in across if seed in up}


def _quantity(measure: Measure) -> Quantity:
    return Quantity(measure.label, measure.unit, measure.better)
