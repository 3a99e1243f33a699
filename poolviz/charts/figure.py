"""A chart with its heading and its data, for a page to show and to give away as a picture or as numbers.

The spec is built from `builder(*arguments)`, which names its data sets and takes no data, so that it is built once
and only its data change.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Rows = list[dict[str, Any]]
CAPTION = 17  # pixels a line of a caption
INK = "#1a212b"  # of texts on the white of a picture
SIDE_BY_SIDE = 3  # small figures in a row
LETTERS = 110  # of a caption's line
EXPRESSIONS = ("expr", "test", "filter", "calculate")  # keys of a spec whose text may name a selection


@dataclass(frozen=True)
class Figure:
    """One chart."""

    heading: str  # what to see in it
    note: str  # how to read it, one line
    alt: str  # what it shows, in words
    builder: Callable[..., Any]  # -> alt.TopLevelMixin with named data sets
    arguments: tuple = ()  # hashable
    datasets: dict[str, Rows] = field(default_factory=dict)


def picture(figures: Sequence[Figure], title: str, kind: str) -> bytes:
    """All figures one under another, captioned, as "png" or "svg" bytes; those without a note side by side."""
    from poolviz.charts.pictures import render_spec

    rows, datasets, config = [], {}, {}
    for number, figure in enumerate(figures):
        spec, own = _part(figure, number)
        config = spec.pop("config", {}) | config
        datasets |= own
        beside = not figure.note and rows and len(rows[-1]) < SIDE_BY_SIDE and not figures[number - 1].note
        rows[-1].append(spec) if beside else rows.append([spec])
    caption = {
        # nothing wraps a line of a picture
        "text": [part for line in title.split("\n") for part in textwrap.wrap(line, LETTERS) or [""]],
        "anchor": "start",
        "fontSize": 12,
        "fontWeight": "normal",
    }
    spec = {
        "title": caption | {"lineHeight": CAPTION, "offset": 14},
        "vconcat": [row[0] if len(row) == 1 else {"hconcat": row} for row in rows],
        "resolve": {"scale": {"color": "independent"}, "legend": {"color": "independent"}},
        "datasets": datasets,
        "spacing": 36,
        "padding": 16,
        "background": "#ffffff",
        "config": {**config, "legend": {"labelLimit": 400}, "text": {"color": INK}},
    }
    return render_spec(spec, kind)


def _part(figure: Figure, number: int) -> tuple[dict[str, Any], dict[str, Rows]]:
    """A figure's spec and data sets, whose names are made its own: two figures may share a builder."""
    spec = _renamed(figure.builder(*figure.arguments).to_dict(), number)
    spec.pop("$schema", None)
    if "facet" not in spec:
        spec = {"width": 520, **spec}
    heading = {"text": figure.heading, "anchor": "start"}
    spec["title"] = heading | ({"subtitle": figure.note} if figure.note else {})
    return spec, {f"{name}_{number}": rows for name, rows in figure.datasets.items()}


def _renamed(spec: Any, number: int) -> Any:
    """With data sets, views and selections under names of their own: Vega merges what is called the same."""
    own = {param["name"]: f"{param['name']}_{number}" for param in spec.get("params", ())}
    known = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in own)) if own else None

    def walk(part: Any, key: str = "") -> Any:
        if isinstance(part, list):
            return [walk(each, key) for each in part]
        if isinstance(part, dict):
            return {name: walk(value, name) for name, value in part.items()}
        if not isinstance(part, str):
            return part
        if key in ("name", "views", "param"):
            return own.get(part, f"{part}_{number}")
        return known.sub(lambda found: own[found[0]], part) if known and key in EXPRESSIONS else part

    return walk(spec)


def numbers(figures: Sequence[Figure], title: str) -> str:
    """Every data set of the figures as CSV, one under another, each under its name."""
    import csv

    import pandas as pd

    head = "".join(f"# {line}\n" for line in title.split("\n"))
    tables = []
    for figure in figures:
        for name, rows in figure.datasets.items():
            tables.append(
                f"# {figure.heading}: {name}\n{pd.DataFrame(rows).to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC)}"
            )
    return head + "\n".join(tables)
