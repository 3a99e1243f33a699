"""A chart with its heading and its data, for a page to show and to give away as a picture or as numbers.

The spec is built from `builder(*arguments)`, which names its data sets and takes no data, so that it is built once
and only its data change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Rows = list[dict[str, Any]]
CAPTION = 17  # pixels a line of a caption


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
    """All figures one under another, captioned, as "png" or "svg" bytes."""
    from poolviz.charts.pictures import render_spec

    parts, datasets, config = [], {}, {}
    for figure in figures:
        spec = figure.builder(*figure.arguments).to_dict()
        spec.pop("$schema", None)
        config = spec.pop("config", {}) | config
        if "facet" not in spec and "hconcat" not in spec:
            spec = {"width": 520, **spec}
        parts.append({**spec, "title": {"text": figure.heading, "subtitle": figure.note, "anchor": "start"}})
        datasets |= figure.datasets
    caption = {
        "text": title.split("\n"),
        "anchor": "start",
        "fontSize": 12,
        "fontWeight": "normal",
        "lineHeight": CAPTION,
    }
    spec = {"vconcat": parts, "datasets": datasets, "title": caption, "spacing": 36, "background": "#ffffff"}
    spec["config"] = {**config, "legend": {"labelLimit": 400}}
    spec["padding"] = 16
    return render_spec(spec, kind)


def numbers(figures: Sequence[Figure], title: str) -> str:
    """Every data set of the figures as CSV, one under another, each under its name."""
    import pandas as pd

    head = "".join(f"# {line}\n" for line in title.split("\n"))
    tables = []
    for figure in figures:
        for name, rows in figure.datasets.items():
            tables.append(f"# {figure.heading}: {name}\n{pd.DataFrame(rows).to_csv(index=False)}")
    return head + "\n".join(tables)
