"""One HTML file that needs nothing else: texts, tables, formulas, and pictures that still answer the pointer.

Vega comes with the file, once, where there is a chart; a page's own component brings its own script. Nothing is loaded
from anywhere, and the file's own policy forbids it. Colours follow the reader's light or dark setting, and paper is
always light. Every text is text: none of it is markup.
"""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poolviz.charts.figure import Figure, Rows
from poolviz.charts.mathml import mathml

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
:root { color-scheme: light dark; --ink: #1a212b; --paper: #ffffff; --soft: #5a6472; --line: #d5dae2;
  --field: #f2f5f9; --accent: #0b5cad; }
:root.paper { color-scheme: light; }
@media screen and (prefers-color-scheme: dark) {
  :root:not(.paper) { --ink: #e8ecf1; --paper: #0e1117; --soft: #aab3c0; --line: #343b49;
    --field: #1a212b; --accent: #3a82d0; }
}
@page { size: A4; margin: 12mm; }
@media print {
  :root { color-scheme: light; --ink: #000000; --soft: #444444; --line: #bbbbbb; }
  body { margin: 0; padding: 0; font-size: 14px; }
  figure, table, .formula, .box, .choices { break-inside: avoid; }
  h1, h2, h3 { break-after: avoid; }
  .new-page { break-before: page; }
}
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif;
  max-width: 62rem; margin: 2rem auto; padding: 0 1.25rem; overflow-wrap: anywhere; }
body:has(.component) { max-width: 84rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
p { max-width: 46rem; white-space: pre-line; }
a { color: inherit; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 14px; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
.number { text-align: right; }
figure { margin: 1.5rem 0; } figcaption { margin-bottom: .5rem; }
figcaption span { color: var(--soft); display: block; }
figure img { max-width: 100%; image-rendering: pixelated; }
.pictures { display: flex; flex-wrap: wrap; gap: 0 1rem; } .pictures figure { margin: .3rem 0; width: 150px; }
.chart { width: 100%; overflow-x: auto; } .chart svg { max-width: 100%; height: auto; }
.component { --st-text-color: var(--ink); --st-background-color: var(--paper); --st-font: system-ui, sans-serif;
  --st-secondary-background-color: var(--field); --st-border-color: var(--line); --st-primary-color: var(--accent);
  --st-base-radius: 8px; position: relative; margin: 1.5rem 0; }
.paper .component { width: 43rem; }
.formula { margin: 1rem 0; } .formula math { margin: .4rem 1.5rem; width: fit-content; font-size: 1.1em; }
.formula span { color: var(--soft); }
.box { border: 1px solid var(--soft); border-radius: 6px; height: 3.5rem; max-width: 46rem; padding: .3rem .6rem;
  color: var(--soft); font-size: 14px; }
.choices { list-style: "\\2610\\00a0\\00a0"; }
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
# What a component finds in Streamlit: its data, its place, and somebody who answers when a cell is kept. It is drawn
# again where the colours change, and before printing at once, as wide as paper: nobody waits for the next frame there.
SHOW = """
const drawings = [];
function showComponent(name, mount) {
  for (const host of document.querySelectorAll(`[data-component="${name}"]`)) {
    const data = JSON.parse(host.nextElementSibling.textContent);
    const keep = (key, value) => { if (key in data) data[key] = value.split(",").map(Number); };
    drawings.push(() => mount({data, parentElement: host.shadowRoot, setTriggerValue: keep, setStateValue: () => {}}));
    drawings.at(-1)();
  }
}
const drawAll = () => drawings.forEach((draw) => draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
addEventListener("beforeprint", () => {
  const later = window.requestAnimationFrame;
  document.documentElement.classList.add("paper");
  window.requestAnimationFrame = (callback) => (callback(performance.now()), 0);
  drawAll();
  window.requestAnimationFrame = later;
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("paper");
  drawAll();
});
"""
EXPORT = "export default function ("
# On paper nothing can be pressed; the fields that say which cell is shown stay.
COMPONENT_STYLE = """
@media print {
  button:not(:has(canvas)), input[type="range"] { display: none !important; }
  section { break-inside: avoid; }
}
"""


@dataclass(frozen=True)
class Table:
    """Plain values under names of columns; the first row says which columns there are."""

    caption: str
    rows: Rows


@dataclass(frozen=True)
class Component:
    """A part of a page that draws itself: its own markup, style and script, as Streamlit mounts them, and its data."""

    name: str  # what stands under one name has one script
    words: str  # what it shows, where scripts are off
    html: str
    css: str
    js: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Formula:
    """A formula in LaTeX with its name and source."""

    label: str
    source: str
    latex: str
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture as a data URL, with what it shows."""

    caption: str
    url: str


@dataclass(frozen=True)
class Pictures:
    """Small pictures beside one another."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Prose:
    """A text with Markdown's paragraphs, *emphasis*, **weight** and `code`; anything else of it is text."""

    text: str


@dataclass(frozen=True)
class Link:
    """An address that is also written out: it is read on paper too."""

    label: str
    url: str


@dataclass(frozen=True)
class Choices:
    """Answers to tick."""

    options: Sequence[str]


@dataclass(frozen=True)
class Box:
    """Room to write in."""

    label: str


Block = str | Table | Figure | Component | Formula | Picture | Pictures | Prose | Link | Choices | Box


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in order; on paper it may begin a new page."""

    heading: str
    blocks: Sequence[Block]
    new_page: bool = False


def html_report(title: str, sections: Sequence[Section]) -> str:
    """The whole file. TypeError for a block of another kind."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for section in sections:
        look = ' class="new-page"' if section.new_page else ""
        parts.append(f"<section{look}><h2>{html.escape(section.heading)}</h2>")
        parts += [_block(block) for block in section.blocks]
        parts.append("</section>")
    scripts = _scripts([block for section in sections for block in section.blocks])
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


def _scripts(blocks: Sequence[Block]) -> str:
    """What draws the blocks, each script once."""
    scripts = [f"<script>{_bundle()}</script>", f"<script>{DRAW}</script>"]
    scripts = scripts if any(isinstance(block, Figure) for block in blocks) else []
    components = {block.name: block for block in blocks if isinstance(block, Component)}
    if components:
        scripts.append(f"<script>{SHOW}</script>")
    for name, component in components.items():
        # a module, so that names of its own stay its own
        code = f'{_mount(component)}\nshowComponent("{name}", mountComponent);'
        scripts.append(f'<script type="module">{_inside_script(code)}</script>')
    return "\n".join(scripts)


def _mount(component: Component) -> str:
    """A component's module with its one function under a name; ValueError where it has none."""
    if component.js.count(EXPORT) != 1:
        raise ValueError(f"component {component.name!r} needs exactly one '{EXPORT}…'")
    return component.js.replace(EXPORT, "function mountComponent(")


def _inside_script(code: str) -> str:
    return code.replace("</script", "<\\/script")


def _block(block: Block) -> str:
    if type(block) not in BLOCKS:
        raise TypeError(
            f"html_report: expected one of {', '.join(k.__name__ for k in BLOCKS)}, got {type(block).__name__}"
        )
    return BLOCKS[type(block)](block)


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _component(component: Component) -> str:
    return (
        f'<div class="component" data-component="{component.name}"><template shadowrootmode="open">'
        f"<style>{component.css}{COMPONENT_STYLE}</style>{component.html}</template></div>"
        f'<script type="application/json">{_json(component.data)}</script>'
        f"<noscript>{_paragraph(component.words)}</noscript>"
    )


def _formula(formula: Formula) -> str:
    note = f"<br><span>{html.escape(formula.note)}</span>" if formula.note else ""
    head = f"<strong>{html.escape(formula.label)}</strong> · {html.escape(formula.source)}"
    return f'<div class="formula">{head}{mathml(formula.latex)}{note}</div>'


def _picture(picture: Picture) -> str:
    caption, url = html.escape(picture.caption), html.escape(picture.url)
    return f'<figure><img src="{url}" alt="{caption}"><figcaption><span>{caption}</span></figcaption></figure>'


def _pictures(pictures: Pictures) -> str:
    return f'<div class="pictures">{"".join(map(_picture, pictures.pictures))}</div>'


def _prose(prose: Prose) -> str:
    """Markup is put around what is escaped already."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", prose.text.strip()):
        text = html.escape(" ".join(paragraph.split()))
        for mark, tag in ((r"`", "code"), (r"\*\*", "strong"), (r"\*", "em")):
            text = re.sub(rf"{mark}(?=\S)([^`*]+?)(?<=\S){mark}", rf"<{tag}>\1</{tag}>", text)
        paragraphs.append(f"<p>{text}</p>")
    return "".join(paragraphs)


def _link(link: Link) -> str:
    shown = html.escape(link.url)
    web = link.url.startswith(("http://", "https://"))  # no other scheme becomes something to click
    return f"<p>{html.escape(link.label)}: " + (f'<a href="{shown}">{shown}</a></p>' if web else f"{shown}</p>")


def _choices(choices: Choices) -> str:
    return '<ul class="choices">' + "".join(f"<li>{html.escape(each)}</li>" for each in choices.options) + "</ul>"


def _box(box: Box) -> str:
    return f'<div class="box">{html.escape(box.label)}</div>'


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
    return _inside_script(vl_convert.javascript_bundle(vl_version=version))


BLOCKS: dict[type, Callable[[Any], str]] = {
    str: _paragraph,
    Table: _table,
    Figure: _figure,
    Component: _component,
    Formula: _formula,
    Picture: _picture,
    Pictures: _pictures,
    Prose: _prose,
    Link: _link,
    Choices: _choices,
    Box: _box,
}
