"""Maps as pictures in one Altair chart: for downloads with a caption, and for galleries on a page.

Every cell is enlarged to whole pixels first, because viewers smooth an enlarged picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np
from torch import Tensor

from poolviz.charts.stage import Stage
from poolviz.pooling import POOLINGS

TILE = 220  # pixels a picture's longer side may take
GAP, HEAD, FOOT = 24, 44, 56  # between tiles; above each for its title; below all for legend and caption


@dataclass(frozen=True)
class Tile:
    """One map as a picture."""

    title: str
    subtitle: str
    values: Tensor  # (H, W)
    value_range: tuple[float, float]
    ramp: tuple[str, ...]  # colour anchors, lowest first


def colourise(values: Tensor, value_range: tuple[float, float], ramp: Sequence[str]) -> np.ndarray:
    """(H, W) -> (H, W, 4) uint8 RGBA; linear between anchors, NaN transparent."""
    anchors = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in ramp], dtype=np.float64)
    low, high = value_range
    numbers = values.detach().double().numpy()
    share = np.clip((numbers - low) / (high - low if high > low else 1.0), 0, 1)
    at = np.nan_to_num(share) * (len(anchors) - 1)
    below = np.minimum(at.astype(int), len(anchors) - 2)
    rgb = anchors[below] + (anchors[below + 1] - anchors[below]) * (at - below)[..., None]
    alpha = np.where(np.isnan(numbers), 0, 255)
    return np.dstack([rgb.round(), alpha]).astype(np.uint8)


def picture_url(tile: Tile, side: int = TILE) -> str:
    """PNG data URL of a tile, every cell a square of whole pixels."""
    from PIL import Image

    pixels = colourise(tile.values, tile.value_range, tile.ramp)
    scale = max(1, round(2 * side / max(pixels.shape[:2])))  # twice the size shown, for dense screens
    stored = io.BytesIO()
    Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)).save(stored, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stored.getvalue()).decode()


def stage_tiles(stage: Stage) -> list[Tile]:
    """The stage's pictures in reading order."""
    ramp, scale = stage.ramp(stage.signed), stage.value_range
    maps = [("Input", stage.values)] + [(POOLINGS[output.name].label, output.values) for output in stage.outputs]
    tiles = [Tile(title, _size(values), values, scale, ramp) for title, values in maps]
    for panel in stage.panels:
        low, high = panel.value_range
        subtitle = f"{_size(panel.values)}, scale {low:.4g} to {high:.4g}"
        tiles.append(Tile(panel.title, subtitle, panel.values, (low, high), stage.ramp(panel.signed)))
    return tiles


def pictures_chart(tiles: Sequence[Tile], columns: int, caption: str = "", ink: str = "#1a212b") -> alt.LayerChart:
    """Tiles in rows of `columns`, the first tile's colour scale as legend, and a caption of one line a sentence."""
    rows = -(-len(tiles) // columns)
    lines = caption.split("\n") if caption else []
    width = max(columns * (TILE + GAP) - GAP, 2 * TILE + GAP)
    height = rows * (TILE + HEAD + GAP) + FOOT + 18 * len(lines)
    pictures, texts = [], []
    for number, tile in enumerate(tiles):
        left, top = (number % columns) * (TILE + GAP), (number // columns) * (TILE + HEAD + GAP)
        tall, wide = tile.values.shape
        scale = TILE / max(tall, wide)
        pictures.append(
            {"x": left, "y": top + HEAD, "x2": left + wide * scale, "y2": top + HEAD + tall * scale}
            | {"url": picture_url(tile)}
        )
        texts.append({"x": left, "y": top + 12, "text": tile.title, "size": 15})
        texts.append({"x": left, "y": top + 31, "text": tile.subtitle, "size": 12})
    base = rows * (TILE + HEAD + GAP)
    legend, labels = scale_legend(tiles[0], base)
    texts += labels + [
        {"x": 0, "y": base + 44 + 18 * number, "text": line, "size": 12} for number, line in enumerate(lines)
    ]
    return draw(pictures + legend, texts, width, height, ink)


def stage_chart(stage: Stage) -> alt.LayerChart:
    """The stage as a picture to keep, in rows of at most five, with its settings in the caption."""
    tiles = stage_tiles(stage)
    rows = -(-len(tiles) // 5)
    return pictures_chart(tiles, columns=-(-len(tiles) // rows), caption=stage.title)


def render(chart: alt.TopLevelMixin, kind: str) -> bytes:
    """`chart` as PNG (twice its size) or SVG bytes, without a browser and without a network."""
    return render_spec(chart.to_dict(), kind)


def render_spec(spec: dict, kind: str) -> bytes:
    """`render` for a Vega-Lite spec."""
    import vl_convert

    if kind == "svg":
        return vl_convert.vegalite_to_svg(spec).encode()
    return vl_convert.vegalite_to_png(spec, scale=2)


def numbers_csv(stage: Stage) -> str:
    """Every number that the stage shows, one a row: map, row, column, value."""
    import pandas as pd

    maps = [("input", stage.values)] + [(output.name, output.values) for output in stage.outputs]
    maps += [(panel.title, panel.values) for panel in stage.panels]
    tables = []
    for name, values in maps:
        rows, columns = np.indices(values.shape)
        data = {"map": name, "row": rows.ravel(), "column": columns.ravel(), "value": values.double().numpy().ravel()}
        tables.append(pd.DataFrame(data))
    comment = "".join(f"# {line}\n" for line in stage.title.split("\n"))
    return comment + pd.concat(tables).to_csv(index=False)


def _size(values: Tensor) -> str:
    return f"{values.shape[0]} × {values.shape[1]}"


def scale_legend(tile: Tile, top: float) -> tuple[list[dict], list[dict]]:
    """The colour scale of a tile at `top`, as a picture and its labels."""
    import torch

    low, high = tile.value_range
    strip = Tile("", "", torch.linspace(low, high, 64)[None], tile.value_range, tile.ramp)
    picture = {"x": 0, "y": top, "x2": TILE, "y2": top + 12, "url": picture_url(strip)}
    labels = [
        {"x": 0, "y": top + 24, "text": f"{low:.4g}", "size": 12},
        {"x": TILE - 28, "y": top + 24, "text": f"{high:.4g}", "size": 12},
    ]
    return [picture], labels


def draw(pictures: list[dict], texts: list[dict], width: int, height: int, ink: str) -> alt.LayerChart:
    """Place everything by pixel: the scales are the identity."""

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", axis=None, scale=alt.Scale(domain=[0, width], nice=False, zero=False))

    def y(field: str) -> alt.Y:
        scale = alt.Scale(domain=[0, height], nice=False, zero=False, reverse=True)
        return alt.Y(f"{field}:Q", axis=None, scale=scale)

    # an image mark has no x2: its place is the middle, its size a number of the mark itself
    layers = [
        alt.Chart(alt.InlineData(values=[{**p, "mx": (p["x"] + p["x2"]) / 2, "my": (p["y"] + p["y2"]) / 2}]))
        .mark_image(width=p["x2"] - p["x"], height=p["y2"] - p["y"], aspect=False)
        .encode(x=x("mx"), y=y("my"), url="url:N")
        for p in pictures
    ]
    for size in sorted({text["size"] for text in texts}):
        rows = [text for text in texts if text["size"] == size]
        layers.append(
            alt.Chart(alt.InlineData(values=rows))
            .mark_text(align="left", baseline="middle", fontSize=size, color=ink)
            .encode(x=x("x"), y=y("y"), text="text:N")
        )
    return alt.layer(*layers).properties(width=width, height=height).configure_view(stroke=None)
