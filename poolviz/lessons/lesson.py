"""A lesson: steps that show a page in a certain state, ask for a prediction, and explain it with computed figures.

A lesson is a TOML file, so that a teacher can write one without Python; `reading.py` says what it may hold. Figures are
facts by name (`facts.py`): `{max.output:.2f}` in a text, `max.output > average.output` in a condition.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Fact = float | str
Facts = Mapping[str, Callable[[], Fact]]  # computed when they are asked for

PAGES = ("feature-maps", "sentences", "train", "compare")
NAME = r"[a-z][a-z0-9-]*(?:\.[a-z0-9][a-z0-9-]*)+"
PLACE = re.compile(rf"\{{({NAME})(?::(\.\d[feg%]|,\.0f))?\}}")  # {name} or {name:.2f} in a text
PART = re.compile(rf"\s*({NAME})\s*(<=|>=|<|>|==|!=)\s*({NAME}|-?\d+(?:\.\d+)?|'[^']*')\s*")
CONDITION = re.compile(rf"{PART.pattern}(?:\band\b{PART.pattern})*")
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "==": lambda left, right: _equal(left, right),
    "!=": lambda left, right: not _equal(left, right),
}


class MissingFactError(LookupError):
    """A fact that the page does not tell in its present state."""


@dataclass(frozen=True)
class Address:
    """A page of the app and what its address holds."""

    page: str
    query: Mapping[str, str]


@dataclass(frozen=True)
class Option:
    """One of the answers to choose from."""

    text: str
    when: str  # the condition under which it is right: `max.output > average.output and window.zeros > 0`

    def right(self, facts: Facts) -> bool:
        """Whether the condition holds; MissingFactError where the page does not tell."""
        return all(_holds(facts, *part) for part in PART.findall(self.when))


@dataclass(frozen=True)
class Question:
    """A prediction: one of `options`, or a number near the fact `answer`, or a cell where the fact map is greatest."""

    ask: str
    kind: str  # "choice", "number", "cell"
    reveal: str  # a text with figures, shown after the answer
    options: tuple[Option, ...] = ()
    answer: str = ""
    tolerance: float = 0.0  # of a number: absolute; of a cell: share of the greatest value that may be missing
    unit: str = ""

    def is_right(self, given: str, facts: Facts) -> bool:
        """Whether an answer as it stands in the address is right; ValueError where it is none."""
        if self.kind == "choice":
            number = int(given)
            if not 0 <= number < len(self.options):
                raise ValueError("no such option")
            return self.options[number].right(facts)
        if self.kind == "number":
            return abs(float(given) - _number(facts, self.answer)) <= self.tolerance
        return _number(facts, self.answer) >= 1 - self.tolerance


@dataclass(frozen=True)
class Step:
    """One screen of a lesson."""

    title: str
    text: str
    show: Address
    question: Question | None = None
    then: Mapping[str, str] | None = None  # what changes in the address once the question is answered
    wait: str = ""  # said while the page does not tell what the reveal needs

    def names(self) -> list[str]:
        """The facts that its texts, conditions and answer name, in their order."""
        question = self.question
        named = [found[1] for found in PLACE.finditer(self.text)]
        if question is not None:
            for option in question.options:
                named += [side for left, _, right in PART.findall(option.when) for side in (left, right)]
            named += [question.answer, *(found[1] for found in PLACE.finditer(question.reveal))]
        return [name for name in named if re.fullmatch(NAME, name)]


@dataclass(frozen=True)
class Lesson:
    """What one file holds."""

    name: str  # of the file, without its ending
    title: str
    about: str
    minutes: int
    steps: tuple[Step, ...]


def fact(facts: Facts, name: str) -> Fact:
    """A figure or a word that the page tells; `x.y-percent` is a hundred times the share `x.y`."""
    share = name.removesuffix("-percent")
    if share != name and share in facts:
        return 100 * _number(facts, share)
    if name not in facts:
        raise MissingFactError(name)
    return facts[name]()


def filled(text: str, facts: Facts) -> str:
    """A text with its figures in place; MissingFactError where the page does not tell one."""

    def put(found: re.Match[str]) -> str:
        value, style = fact(facts, found[1]), found[2]
        if isinstance(value, str):
            return value
        return format(value, style) if style else f"{value:.3g}"

    return PLACE.sub(put, text)


def _holds(facts: Facts, left: str, sign: str, right: str) -> bool:
    """Only numbers are larger or smaller; MissingFactError for a word."""
    read = fact if sign in ("==", "!=") else _number
    return SIGNS[sign](read(facts, left), _value(facts, right, read))


def _value(facts: Facts, written: str, read: Callable[[Facts, str], Fact]) -> Fact:
    if written.startswith("'"):
        if read is _number:
            raise MissingFactError(written)
        return written[1:-1]
    return read(facts, written) if re.fullmatch(NAME, written) else float(written)


def _number(facts: Facts, name: str) -> float:
    value = fact(facts, name)
    if isinstance(value, str):
        raise MissingFactError(name)
    return value


def _equal(left: Fact, right: Fact) -> bool:
    if isinstance(left, str) or isinstance(right, str):
        return left == right
    return math.isclose(left, right, rel_tol=1e-6, abs_tol=1e-9)
