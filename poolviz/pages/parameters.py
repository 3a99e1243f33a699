"""What the feature-map page keeps in its address, and within which bounds."""

from __future__ import annotations

from typing import Any

from poolviz.inputs import images, models
from poolviz.pages import link
from poolviz.pages.link import Param
from poolviz.pooling import POOLINGS
from poolviz.runs.networks import LAYERS
from poolviz.runs.store import NAME
from poolviz.training.config import IMAGE_TASKS

MOST_OPERATORS = 4
SIZES = (28, 56, 112)
TEMPERATURES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
DRAW_COUNTS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
SHARES = tuple(i / 10 for i in range(11))

INPUTS = {
    "digit": "Handwritten digit (8 × 8)",
    "mnist": "MNIST digit (28 × 28)",
    "fashion": "Fashion-MNIST (28 × 28)",
    "photo": "Photograph",
    "grid": "Number grid",
    "upload": "Upload a picture",
    "drawing": "Draw",
}
MAPS = {
    "image": "The image itself",
    "edges": "Edge filters (8)",
    "gabor": "Gabor filters (32)",
    "trained": "A CNN trained with a pooling",
    "network": "A network's layer",
}
LENSES = {
    "outputs": "Outputs",
    "channels": "Channels",
    "difference": "Difference",
    "gradient": "Gradient",
    "overlap": "Overlap",
    "chance": "Chance",
    "invariance": "Shift and noise",
    "repeat": "Repeat",
    "answers": "Networks",
}
OPERATORS = tuple(name for name, pooling in POOLINGS.items() if pooling.for_maps)


def parse_cell(text: str) -> tuple[int, int]:
    """A row and a column, as `3,4`."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) <= 4 for part in parts):
        raise ValueError("a row and a column such as 3,4 are needed")
    return int(parts[0]), int(parts[1])


def _run_name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError("the name of a run is needed")
    return text


def _grid(text: str) -> list[list[float]]:
    rows = images.grid_from_text(text)
    images.grid(rows)
    return rows


PARAMS: dict[str, Param] = {
    "input": link.choice("digit", tuple(INPUTS)),
    "index": link.whole(3, 0, 9999),
    "photo": link.choice("flower", images.PHOTOGRAPHS),
    "size": link.one_of_numbers(56, SIZES),
    "grid": link.text(_grid, images.grid_to_text),
    "drawing": link.text(images.drawing_from_text, images.drawing_to_text),
    "map": link.choice("image", tuple(MAPS)),
    "relu": link.flag(True),
    "model": link.text(link.choice("", models.MODELS).parse, str),
    "layer": link.text(str, str),
    "trained": link.text(_run_name, str),
    "conv": link.choice("conv2", tuple(LAYERS)),
    "channel": link.whole(0, 0, 9999),
    "operators": link.several(("max", "average", "stochastic"), OPERATORS, MOST_OPERATORS),
    "kernel": link.whole(2, 1, 8),
    "stride": link.whole(2, 1, 8),
    "padding": link.whole(0, 0, 4),
    "dilation": link.whole(1, 1, 4),
    "ceil": link.flag(False),
    "countpad": link.flag(False),
    "mode": link.choice("test", ("test", "train")),
    "seed": link.whole(0, 0, 999_999),
    "temperature": link.one_of_numbers(1.0, TEMPERATURES),
    "p": link.whole(2, 1, 16),
    "mix": link.one_of_numbers(0.5, SHARES),
    "lens": link.choice("outputs", tuple(LENSES)),
    "cell": link.text(parse_cell, lambda cell: f"{cell[0]},{cell[1]}"),
    "first": link.choice("max", OPERATORS),
    "second": link.choice("average", OPERATORS),
    "chance": link.choice("stochastic", tuple(n for n in OPERATORS if POOLINGS[n].stochastic)),
    "draws": link.one_of_numbers(300, DRAW_COUNTS),
    "shift": link.whole(4, 1, 16),
    "times": link.whole(4, 1, 8),
    "networks": link.choice("mnist", IMAGE_TASKS),
    "palette": link.choice("viridis", ("viridis", "cividis", "grey")),
}


def bounds(name: str) -> dict[str, Any]:
    """Widget arguments that give `name` its key and keep its value while the widget is not on the page."""
    return {"key": name, "persist_state": "session"}
