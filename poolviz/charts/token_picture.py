"""The token heatmap with the pooled vectors below it as one chart to keep, settings in the caption."""

from __future__ import annotations

import altair as alt

from poolviz.charts.colour import DIVERGING
from poolviz.charts.pictures import Tile, draw, picture_url, scale_legend
from poolviz.charts.tokens import TokenStage

WIDE, LABELS, GAP = 880, 170, 6  # pixels: heatmap, names at its left, between vectors
STRIP = 20


def token_chart(stage: TokenStage, ink: str = "#1a212b") -> alt.LayerChart:
    """The stage as a picture: a row a token in the stage's order of dimensions, a strip a pooled vector."""
    row = max(3, min(22, 700 // len(stage.pieces)))
    pictures, texts = [], []

    def place(values, title: str, top: float, height: float) -> None:
        # a pixel row each: an image that is stretched in one direction is blurred in it
        tall = values[:, stage.order].repeat_interleave(max(1, round(2 * height / len(values))), dim=0)
        tile = Tile(title, "", tall, stage.value_range, DIVERGING)
        box = {"x": LABELS, "x2": LABELS + WIDE, "y": top, "y2": top + height}
        pictures.append(box | {"url": picture_url(tile, WIDE)})

    place(stage.hidden, "tokens", 0, row * len(stage.pieces))
    if row >= 11:
        for number, piece in enumerate(stage.pieces):
            name = _short(piece.text or piece.piece)
            texts.append({"x": 0, "y": (number + 0.5) * row, "text": name, "size": 12})
    top = row * len(stage.pieces) + 24
    for reading in stage.readings:
        place(reading.vector[None], reading.label, top, STRIP)
        texts.append({"x": 0, "y": top + STRIP / 2, "text": reading.label, "size": 13})
        top += STRIP + GAP
    legend, labels = scale_legend(Tile("", "", stage.hidden, stage.value_range, DIVERGING), top + 14)
    lines = stage.title.split("\n")
    texts += labels + [
        {"x": 0, "y": top + 62 + 18 * number, "text": _short(line, 170), "size": 12}
        for number, line in enumerate(lines)
    ]
    return draw(pictures + legend, texts, LABELS + WIDE, int(top + 70 + 18 * len(lines)), ink)


def _short(text: str, most: int = 24) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
