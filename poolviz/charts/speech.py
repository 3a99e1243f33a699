"""Tokens' shares and the pieces of a sentence as charts and tables to keep; the page writes them as words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from poolviz.charts.figure import Figure
from poolviz.charts.tokens import Reading
from poolviz.inputs.encoder import UNKNOWN, Piece

KINDS = {"inside": "piece inside a word", "special": "special token", "padding": "padding"}


def share_rows(pieces: Sequence[Piece], readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """A row a token and operator: its shares of weight and vector, and the dimensions in which it has the most."""
    rows = []
    for reading in readings:
        for number, (piece, share, won, part) in enumerate(
            zip(pieces, reading.shares, reading.wins, reading.contributions, strict=True)
        ):
            place = {"operator": reading.label, "position": number, "token": f"{number}: {piece.text or piece.piece}"}
            rows.append(place | {"share": float(share), "share of the vector": float(part), "dimensions won": int(won)})
    return rows


def speech_figure(pieces: Sequence[Piece], readings: Sequence[Reading]) -> Figure:
    """Bars of every token's share, a column an operator."""
    pairs = tuple((reading.label, reading.colour) for reading in readings)
    return Figure(
        "Who speaks?",
        "share of all weight",
        "Share of each token in the weight of each pooling",
        share_chart,
        (pairs, len(pieces)),
        {"shares": share_rows(pieces, readings)},
    )


def share_chart(pairs: tuple[tuple[str, str], ...], tokens: int) -> alt.FacetChart:
    """A column of bars for each (label, colour), a bar a token. Data set `shares`."""
    labels, colours = [label for label, _ in pairs], [colour for _, colour in pairs]
    step = max(3, min(20, 2000 // tokens))
    axis = alt.Axis(labels=step >= 10, ticks=step >= 10, labelLimit=220)
    y = alt.Y("token:N", sort=alt.EncodingSortField("position"), title=None, axis=axis)
    x = alt.X("share:Q", title=None, axis=alt.Axis(format="%"))
    colour = alt.Color("operator:N", scale=alt.Scale(domain=labels, range=colours), legend=None)
    bars = alt.Chart(alt.NamedData("shares")).mark_bar().encode(x=x, y=y, color=colour)
    bars = bars.properties(width=170, height=alt.Step(step))
    return bars.facet(alt.Facet("operator:N", sort=labels, title=None), columns=len(labels))


def piece_rows(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """A row a token: what it is, and where its characters stand."""
    return [
        {
            "position": number,
            "piece": piece.piece,
            "what it is": _kind(piece),
            "text": piece.text,
            "characters": f"{piece.start}:{piece.start + len(piece.text)}" if piece.text else "",
            "number in the vocabulary": piece.id,
        }
        for number, piece in enumerate(pieces)
    ]


def _kind(piece: Piece) -> str:
    if piece.piece in UNKNOWN:
        return "unknown"
    return KINDS.get(piece.kind) or ("word" if any(map(str.isalnum, piece.text)) else "mark")


def pieces_figure(pieces: Sequence[Piece]) -> Figure:
    """The pieces in a row of text, for downloads."""
    return Figure(
        "Pieces",
        "position, piece, kind",
        "The tokens of the sentence",
        pieces_chart,
        (),
        {"pieces": piece_rows(pieces)},
    )


def pieces_chart() -> alt.LayerChart:
    """A line a token. Data set `pieces`."""
    y = alt.Y("position:O", axis=alt.Axis(title=None, domain=False, ticks=False))
    base = alt.Chart(alt.NamedData("pieces")).encode(y=y)
    name = base.mark_text(align="left", fontSize=13, fontWeight=600).encode(text="piece:N", x=alt.value(0))
    kind = base.mark_text(align="left", fontSize=12, color="#59636e").encode(text="what it is:N", x=alt.value(180))
    place = base.mark_text(align="left", fontSize=12, color="#59636e").encode(text="characters:N", x=alt.value(360))
    return alt.layer(name, kind, place).configure_view(stroke=None)
