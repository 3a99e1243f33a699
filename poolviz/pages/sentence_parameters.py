"""What the sentence page keeps in its address, and within which bounds."""

from __future__ import annotations

from poolviz.charts.tokens import MEASURES, ORDERS
from poolviz.inputs.grammar import PHENOMENA
from poolviz.inputs.sentences import EXAMPLES, MOST_SENTENCES
from poolviz.pages import link
from poolviz.pages.link import Param
from poolviz.pages.parameters import TEMPERATURES, parse_cell
from poolviz.pooling import POOLINGS

MOST_OPERATORS = 5
DRAW_COUNTS = (10, 30, 100, 300, 1000)
MOST_PADDING = 64  # padded tokens
COLA_SENTENCES = 8551 + 1043

SOURCES = {
    "example": "Examples",
    "own": "My own",
    "pairs": "Minimal pairs",
    "cola": "CoLA",
}
LENSES = {
    "tokens": "Tokens",
    "speech": "Who speaks?",
    "pieces": "Pieces",
    "layers": "Layers",
    "padding": "Padding",
    "draws": "Draws",
    "pairs": "Pairs",
}
OPERATORS = tuple(name for name, pooling in POOLINGS.items() if pooling.for_sequences)
STOCHASTIC = tuple(name for name in OPERATORS if POOLINGS[name].stochastic)


def key(name: str) -> str:
    """Session key of a parameter of this page."""
    return f"sentences.{name}"


PARAMS: dict[str, Param] = {
    key(name): param
    for name, param in {
        "source": link.choice("example", tuple(SOURCES)),
        "example": link.choice(next(iter(EXAMPLES)), tuple(EXAMPLES)),
        "text": link.text(str, str),
        "phenomenon": link.choice(next(iter(PHENOMENA)), tuple(PHENOMENA)),
        "pairs": link.whole(0, 0, 999_999),
        "cola": link.whole(0, 0, COLA_SENTENCES - 1),
        "which": link.whole(0, 0, MOST_SENTENCES - 1),
        "encoder": Param("", str.strip, str.strip),
        "layer": link.text(link.whole(0, 0, 999).parse, str),
        "operators": link.several(("cls", "mean", "max", "softmax-stochastic"), OPERATORS, MOST_OPERATORS),
        "mode": link.choice("test", ("test", "train")),
        "seed": link.whole(0, 0, 999_999),
        "temperature": link.one_of_numbers(1.0, TEMPERATURES),
        "lens": link.choice("tokens", tuple(LENSES)),
        "order": link.choice("winner", tuple(ORDERS)),
        "place": link.text(parse_cell, lambda place: f"{place[0]},{place[1]}"),
        "measure": link.choice("weight", tuple(MEASURES)),
        "without": link.flag(False),
        "padding": link.whole(8, 0, MOST_PADDING),
        "forget": link.flag(True),
        "deaf": link.flag(False),
        "with": link.choice("softmax-stochastic", STOCHASTIC),
        "draws": link.one_of_numbers(300, DRAW_COUNTS),
        "pinned": link.whole(0, 0, MOST_SENTENCES - 1),
    }.items()
}
