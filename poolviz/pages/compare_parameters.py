"""What the comparing page keeps in its address, and within which bounds."""

from __future__ import annotations

import re

from poolviz.charts.curves import AXES
from poolviz.charts.curves import MEASURES as CURVES
from poolviz.pages import link
from poolviz.pages.link import Param
from poolviz.pages.train_parameters import IMAGE_POOLINGS, TEXT_POOLINGS
from poolviz.runs.claims import CLAIMS
from poolviz.runs.results import IMPORTED, MEASURES, MINE, SHIPPED
from poolviz.training.config import TASKS

VIEWS = {
    "leaderboard": "Leaderboard",
    "curves": "Curves",
    "tradeoff": "Trade-off",
    "errors": "Errors",
    "claims": "The reports' claims",
}
REPORTED = "reported"
ORIGIN_NAMES = {SHIPPED: "Shipped", MINE: "Mine", IMPORTED: "Imported", REPORTED: "As reported"}
ANY = "all"  # machines
HELD_OUT = "held-out"  # runs that validate on held-out training sentences
POOLINGS = tuple(dict.fromkeys((*IMAGE_POOLINGS, *TEXT_POOLINGS)))
GROUP = re.compile(r"[a-z0-9-]{1,80}")  # a group's name in the address


def key(name: str) -> str:
    """Session key of a parameter of this page."""
    return f"compare.{name}"


def size_of(text: str) -> str:
    """Which training set: a number of examples, 0 for all, or HELD_OUT."""
    if text != HELD_OUT and not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise ValueError(f"a number of training examples, 0 for all, or {HELD_OUT} is needed")
    return text


def _group(text: str) -> str:
    if not GROUP.fullmatch(text):
        raise ValueError("the name of a group of runs is needed")
    return text


PARAMS: dict[str, Param] = {
    key(name): param
    for name, param in {
        "task": link.choice("mnist", TASKS),
        "view": link.choice("leaderboard", tuple(VIEWS)),
        "size": link.text(size_of, str),
        "poolings": link.several((), POOLINGS, len(POOLINGS)),
        "origins": link.several(tuple(ORIGIN_NAMES), tuple(ORIGIN_NAMES), len(ORIGIN_NAMES)),
        "hardware": Param(ANY, str),
        "measure": link.text(link.choice("", tuple(MEASURES)).parse, str),
        "baseline": link.text(_group, str),
        "curve": link.choice("loss", tuple(CURVES)),
        "axis": link.choice("epoch", tuple(AXES)),
        "log": link.flag(False),
        "x": link.choice("train_time", tuple(MEASURES)),
        "y": link.text(link.choice("", tuple(MEASURES)).parse, str),
        "first": link.text(_group, str),
        "second": link.text(_group, str),
        "seed": link.text(link.whole(0, 0, 2**31 - 1).parse, str),
        "claim": link.text(link.choice("", tuple(CLAIMS)).parse, str),
    }.items()
}
