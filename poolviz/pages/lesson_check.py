"""Lessons that can be used, and a sentence for each that cannot: also its addresses and its facts are looked at.

`poolviz.lessons.reading` knows what a file may hold, the pages know which values they take.
"""

from __future__ import annotations

from poolviz.lessons import reading
from poolviz.lessons.facts import known_names
from poolviz.lessons.lesson import Lesson, Step
from poolviz.pages import link
from poolviz.pages.frame import params_of


def shelf() -> tuple[dict[str, Lesson], list[str]]:
    """All lessons by name, and what is wrong: with a file, which is left out, or with a step, which is still shown."""
    found, faults = reading.shelf()
    for lesson in found.values():
        for number, step in enumerate(lesson.steps, 1):
            fault = _fault(step)
            if fault:
                faults.append(f"{lesson.title}, step {number}: {fault}")
    return found, faults


def _fault(step: Step) -> str:
    """What is wrong with a step, in a sentence; empty where nothing is."""
    page = step.show.page
    try:
        params = params_of(page)
        link.parsed(params, step.show.query)
        link.parsed(params, step.then or {})
    except ValueError as error:
        return str(error)
    known = known_names(page)
    unknown = [name for name in step.names() if name not in known and name.removesuffix("-percent") not in known]
    if unknown:
        return f"no figure of the page {page} is called {unknown[0]}; the README of the lessons' folder lists them."
    return ""
