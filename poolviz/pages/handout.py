"""Handouts: the current view, or a whole lesson, as one HTML file that hovers without a network.

A file is made when it is asked for, outside of the session: everything that it needs stands in its arguments.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poolviz import __version__
from poolviz.charts.handout import Block, Box, Choices, Component, Formula, Link, Prose, Section, html_report, said
from poolviz.lessons.lesson import PLACE, Facts, Lesson, MissingFactError, Question, Step, fact, filled
from poolviz.pages.components import SOURCES
from poolviz.pages.downloads import File
from poolviz.pooling import POOLINGS

UNKNOWN = "…"  # a figure that the page does not tell now
HOVER = (
    "Point at a cell, or press Tab until the picture has a frame and move with the arrow keys; a click keeps a cell."
)
LATER = (
    "Figures of a step are known once it was on screen, and its answer once it was predicted; the picture is that of "
    "the step on screen. Where a figure is missing stands …: open the step's link, and take the handout again."
)


@dataclass
class Handout:
    """What a page shows. It is not frozen: a lens that runs by itself puts here what it shows now, and its link."""

    title: str
    settings: str  # in words
    seeds: str
    link: str
    view: Callable[[], Sequence[Block]]
    operators: Sequence[str] = ()  # registry names, whose formulas are shown
    symbols: str = ""  # what the letters of the formulas mean
    below: Sequence[Block] = ()

    def file(self) -> File:
        """The entry of the Save menu."""
        return "Handout (HTML)", "poolviz-handout.html", "text/html", self.html

    def html(self) -> bytes:
        """The whole file."""
        return html_report(f"poolviz: {self.title}", self.sections()).encode()

    def sections(self) -> list[Section]:
        """The view, the formulas, and how to see it again."""
        shown = [Section("What is shown", [self.settings, *self.view(), *self.below])]
        if self.operators:
            notes = [self.symbols] if self.symbols else []
            shown.append(Section("The poolings: formula and source", [*map(_formula, self.operators), *notes]))
        return [*shown, Section("To see it again", [Link("This view", self.link), made(self.seeds)])]


def made(seeds: str) -> str:
    """Who made the file, when, and from which seeds."""
    today = datetime.date.today()
    return f"Made with poolviz {__version__} on {today.day} {today:%B %Y}. Seed: {seeds}."


def component(name: str, words: str, data: Mapping[str, Any]) -> Component:
    """One of the pages' own components (its name without poolviz_) with its data."""
    return Component(name, words, data=data, **SOURCES[f"poolviz_{name}"])


def _formula(name: str) -> Formula:
    pooling = POOLINGS[name]
    note = "" if pooling.is_weighted_sum else "Not a weighted sum: the bars show d output / d cell."
    return Formula(pooling.label, pooling.paper, pooling.formula, note)


# ---- lessons


@dataclass(frozen=True)
class Told:
    """A step's texts with the page's figures, each None until the page has told them."""

    text: str | None = None
    answer: str | None = None  # what is right
    reveal: str | None = None


def tell_step(step: Step, facts: Facts, answered: bool, before: Told) -> Told:
    """What the page tells of a step now. What it told `before` stays: a visitor may have changed the view since.

    An answer is only told in the view that the step shows after it, or of the cell that was chosen.
    """
    question = step.question
    if question is not None and not answered and (step.then is not None or question.kind == "cell"):
        question = None
    return Told(
        before.text or _figures(step.text, facts),
        before.answer or (question and _right(question, facts)),
        before.reveal or (question and _figures(question.reveal, facts)),
    )


def blank(text: str) -> str:
    """A text with a sign for each figure."""
    return PLACE.sub(UNKNOWN, text)


def _figures(text: str, facts: Facts) -> str | None:
    try:
        return filled(text, facts)
    except MissingFactError:
        return None


def _right(question: Question, facts: Facts) -> str | None:
    try:
        if question.kind == "choice":
            return "; ".join(option.text for option in question.options if option.right(facts))
        return f"{said(fact(facts, question.answer))} {question.unit}".rstrip() if question.kind == "number" else None
    except MissingFactError:
        return None


@dataclass(frozen=True)
class LessonHandout:
    """A lesson as one file: all steps with room for predictions, then the answers on a page of their own."""

    lesson: Lesson
    told: Mapping[int, Told]  # by the step's number
    links: Sequence[str]  # one a step
    number: int  # of the step on screen
    answered: bool  # its question is: then its view holds the answer
    shown: Handout | None  # its view; None where the page shows nothing

    def html(self) -> bytes:
        """The whole file."""
        numbered = list(enumerate(self.lesson.steps, 1))
        seeds = self.shown.seeds if self.shown else "as in the links"
        about = Section("About this lesson", [Prose(self.lesson.about), made(seeds)])
        answers = [block for number, step in numbered for block in self._answer(step, number)]
        last = Section("Answers", [LATER, *answers], new_page=True)
        sections = [about, *(self._step(step, number) for number, step in numbered), last]
        return html_report(f"poolviz: {self.lesson.title}", sections).encode()

    def _step(self, step: Step, number: int) -> Section:
        blocks: list[Block] = [Prose(self.told.get(number, Told()).text or blank(step.text))]
        if step.question is not None:
            unit = f" ({step.question.unit})" if step.question.unit else ""
            blocks.append(Prose(f"**{step.question.ask.strip()}**"))
            if step.question.options:
                blocks.append(Choices([option.text for option in step.question.options]))
            blocks.append(Box(f"My prediction{unit}, and why:"))
        if not self.answered:
            blocks += self._view(number)
        return Section(f"{number} · {step.title}", [*blocks, Link("On the server", self.links[number - 1])])

    def _answer(self, step: Step, number: int) -> list[Block]:
        if step.question is None:
            return []
        known = self.told.get(number, Told())
        right = [f"Right: {known.answer}"] if known.answer else []
        head = Prose(f"**{number} · {step.title}: {step.question.ask.strip()}**")
        view = self._view(number) if self.answered else []
        return [head, *right, Prose(known.reveal or blank(step.question.reveal)), *view]

    def _view(self, number: int) -> list[Block]:
        """What the page shows, if this is the step on screen."""
        if number != self.number or self.shown is None:
            return []
        return [self.shown.settings, *self.shown.view(), *self.shown.below]
