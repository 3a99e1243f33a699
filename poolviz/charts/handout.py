"""A report as one HTML file that needs nothing else: texts, tables, and charts that still answer the pointer.

Vega comes with the file, once; nothing is loaded from anywhere, and the page's own policy forbids it. Colours follow
the reader's light or dark setting by CSS alone, and paper is always light. Every text is text: none of it is markup.
"""

from __future__ import annotations

import functools
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from poolviz.charts.figure import Figure, Rows

NOTHING = "-"
POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"
INK = "currentColor"  # SVG takes the page's
GRID = "#7d859055"
CONFIG = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 13,
        "titleFontSize": 13,
        "gridColor": GRID,
        "domainColor": GRID,
        "tickColor": GRID,
    },
    "legend": {"labelColor": INK, "titleColor": INK, "labelFontSize": 13, "titleFontSize": 13, "labelLimit": 600},
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 13, "titleFontSize": 13},
    "title": {"color": INK, "subtitleColor": INK},
    "text": {"color": INK},
    "view": {"stroke": None},
}
STYLE = """
:root { color-scheme: light dark; --ink: #1a212b; --paper: #ffffff; --soft: #5a6472; --line: #d5dae2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ecf1; --paper: #0e1117; --soft: #aab3c0; --line: #343b49; }
}
@media print {
  :root { color-scheme: light; --ink: #000000; --paper: #ffffff; --soft: #444444; --line: #bbbbbb; }
  figure, table { break-inside: avoid; }
  h2 { break-after: avoid; }
}
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif;
  max-width: 62rem; margin: 2rem auto; padding: 0 1.25rem; overflow-wrap: anywhere; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
p { max-width: 46rem; white-space: pre-line; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 14px; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
.number { text-align: right; }
figure { margin: 1.5rem 0; } figcaption { margin-bottom: .5rem; }
figcaption span { color: var(--soft); display: block; }
.chart { width: 100%; overflow-x: auto; } .chart svg { max-width: 100%; height: auto; }
#vg-tooltip-element { color: var(--ink); background: var(--paper); border: 1px solid var(--soft); font-size: 13px; }
#vg-tooltip-element table tr td.key { color: var(--soft); } #vg-tooltip-element td { border: none; }
"""
DRAW = """
for (const place of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(place.nextElementSibling.textContent);
  place.textContent = "";
  vegaEmbed(place, spec, {renderer: "svg", actions: false}).then(() => { place.dataset.drawn = "yes"; });
}
"""


@dataclass(frozen=True)
class Table:
    """Plain values under names of columns; the first row says which columns there are."""

    caption: str
    rows: Rows


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in order: paragraphs, tables, charts."""

    heading: str
    blocks: Sequence[str | Table | Figure]


def html_report(title: str, sections: Sequence[Section]) -> str:
    """The whole file. TypeError for a block of another kind."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for section in sections:
        parts.append(f"<section><h2>{html.escape(section.heading)}</h2>")
        parts += [_block(block) for block in section.blocks]
        parts.append("</section>")
    drawn = any(isinstance(block, Figure) for section in sections for block in section.blocks)
    scripts = f"<script>{_bundle()}</script>\n<script>{DRAW}</script>" if drawn else ""
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
{scripts}
</body>
</html>
"""


def _block(block: str | Table | Figure) -> str:
    if isinstance(block, str):
        return f"<p>{html.escape(block)}</p>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        return _figure(block)
    raise TypeError(f"html_report: expected text, a Table or a Figure, got {type(block).__name__}")


def _table(table: Table) -> str:
    columns = list(dict.fromkeys(name for row in table.rows for name in row))
    of_numbers = {name for name in columns if all(_is_number(row.get(name)) for row in table.rows)}

    def cell(tag: str, name: str, text: str) -> str:
        look = ' class="number"' if name in of_numbers else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{look}>{html.escape(text)}</{tag}>"

    head = "".join(cell("th", name, str(name)) for name in columns)
    body = "\n".join(
        "<tr>" + "".join(cell("td", name, said(row.get(name))) for name in columns) + "</tr>" for row in table.rows
    )
    caption = html.escape(table.caption)
    return (
        f'<div class="wide"><table><caption>{caption}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def said(value: Any) -> str:
    """A table's value in words: four figures of a number."""
    if value is None or value != value:  # NaN
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _figure(figure: Figure) -> str:
    note = f"<span>{html.escape(figure.note)}</span>" if figure.note else ""
    return (
        f"<figure><figcaption><strong>{html.escape(figure.heading)}</strong>{note}</figcaption>\n"
        # until it is drawn, and where scripts are off, its words stand in its place
        f'<div class="chart" role="img" aria-label="{html.escape(figure.alt)}">{html.escape(figure.alt)}</div>\n'
        f'<script type="application/json">{_json(chart_spec(figure))}</script></figure>'
    )


def chart_spec(figure: Figure) -> dict[str, Any]:
    """A figure's spec with its data, as wide as its place where it can be."""
    spec = figure.builder(*figure.arguments).to_dict()
    spec.pop("$schema", None)  # an address, and the file's Vega is the one that fits
    if not {"facet", "hconcat", "vconcat", "concat", "repeat"} & set(spec):
        spec = {"width": "container", **spec}
    own = {name: value for name, value in spec.pop("config", {}).items() if name not in CONFIG}
    fit = {"type": "fit-x", "contains": "padding"} if spec.get("width") == "container" else {"type": "pad"}
    return {**spec, "autosize": spec.get("autosize", fit), "config": own | CONFIG, "datasets": figure.datasets}


def _json(value: Any) -> str:
    """JSON within a script element: no text can end it, and `NaN` is none."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


@functools.cache
def _bundle() -> str:
    """Vega, Vega-Lite and their embedding as one script, of the Vega-Lite that Altair writes for."""
    import altair as alt
    import vl_convert

    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    return vl_convert.javascript_bundle(vl_version=version).replace("</script", "<\\/script")
