"""Lesson files: TOML -> Lesson, or one sentence that says what is wrong in which file and step.

What a file holds is described in `files/README.md`, beside the lessons that come with poolviz.
"""

from __future__ import annotations

import os
import re
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from poolviz.lessons.lesson import CONDITION, NAME, PAGES, Address, Lesson, Option, Question, Step

SHIPPED = Path(__file__).parent / "files"
SETTING = "POOLVIZ_LESSONS"  # a folder of the teacher's own
LARGEST = 200_000  # bytes
MOST_STEPS = 40
MOST_NUMBER = 10**9  # of whole numbers: TOML has no end of them
LONGEST = 400  # characters of a sentence that says what is wrong
KINDS = ("choice", "number", "cell")
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
LESSON_KEYS = {"title": str, "about": str, "minutes": int, "steps": list}
STEP_KEYS = {"title": str, "text": str, "show": str, "then": str, "wait": str, "question": dict}
QUESTION_KEYS = {
    "ask": str,
    "kind": str,
    "options": list,
    "answer": str,
    "tolerance": float,
    "unit": str,
    "reveal": str,
}
OPTION_KEYS = {"text": str, "when": str}


def shelf() -> tuple[dict[str, Lesson], list[str]]:
    """All lessons by name, in the order of their files' names, and a sentence for each file that cannot be used."""
    found: dict[str, Lesson] = {}
    faults: list[str] = []
    own = os.environ.get(SETTING, "")
    for folder in [SHIPPED, *([Path(own)] if own else [])]:
        if not folder.is_dir():
            faults.append(f"{SETTING} names {folder}, which is no folder.")
            continue
        for path in sorted(folder.glob("*.toml")):
            try:
                lesson = read(path)
            except ValueError as error:
                faults.append(str(error))
            else:
                found[lesson.name] = lesson  # a teacher's lesson takes the place of a shipped one of that name
    return found, faults


def read(path: Path) -> Lesson:
    """One file; ValueError in a sentence where something is wrong."""
    name = path.stem.lstrip("0123456789").lstrip("-") or path.stem  # numbers give the order
    try:
        return _lesson(name, _table(path))
    except ValueError as error:  # it may repeat what the file holds: shortened, and on one line
        said = "".join(sign if sign.isprintable() else " " for sign in str(error))
        raise ValueError(f"{path.name}: {textwrap.shorten(said, LONGEST, placeholder=' …')}") from None


def _table(path: Path) -> dict[str, Any]:
    if not FILE_NAME.fullmatch(path.stem):
        raise ValueError("a lesson's file is named with small letters, digits and hyphens.")
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"a lesson has at most {LARGEST // 1000} kB.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text.") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"it is no TOML: {error}.") from None
    except RecursionError:
        raise ValueError("its lists are nested too deeply.") from None
    except ValueError:
        raise ValueError("it holds a number with too many digits.") from None


def _lesson(name: str, table: dict[str, Any]) -> Lesson:
    _check(table, LESSON_KEYS, needed=("title", "about", "minutes", "steps"))
    steps = []
    for number, each in enumerate(table["steps"], 1):
        try:
            steps.append(_step(each))
        except ValueError as error:
            raise ValueError(f"step {number}: {error}") from None
    if not 1 <= len(steps) <= MOST_STEPS:
        raise ValueError(f"a lesson has 1 to {MOST_STEPS} steps.")
    return Lesson(name, table["title"], table["about"], table["minutes"], tuple(steps))


def _step(table: Any) -> Step:
    _check(table, STEP_KEYS, needed=("title", "text", "show"))
    question = _question(table["question"]) if "question" in table else None
    if question is None and ("then" in table or "wait" in table):
        raise ValueError("'then' and 'wait' belong to a step with a question.")
    then = _query(table["then"], "then") if "then" in table else None
    return Step(table["title"], table["text"], _address(table["show"]), question, then, table.get("wait", ""))


def _question(table: dict[str, Any]) -> Question:
    _check(table, QUESTION_KEYS, needed=("ask", "kind", "reveal"))
    kind = table["kind"]
    if kind not in KINDS:
        raise ValueError(f"kind is '{kind}'; known are {', '.join(KINDS)}.")
    options = tuple(_option(each) for each in table.get("options", ()))
    answer = table.get("answer", "")
    if kind == "choice" and (len(options) < 2 or answer):
        raise ValueError("a choice has two options or more, each with its 'when', and no 'answer'.")
    if kind != "choice" and (options or not re.fullmatch(NAME, answer)):
        raise ValueError(f"a {kind} has an 'answer', the name of a fact such as max.output, and no options.")
    tolerance = float(table.get("tolerance", 0))
    if not 0 <= tolerance < float("inf"):
        raise ValueError("tolerance is a number from 0 on.")
    return Question(table["ask"], kind, table["reveal"], options, answer, tolerance, table.get("unit", ""))


def _option(table: Any) -> Option:
    _check(table, OPTION_KEYS, needed=("text", "when"))
    if not CONDITION.fullmatch(table["when"]):
        raise ValueError(
            f"when = '{table['when']}': two facts, or a fact and a number, with < > <= >= == or !=, "
            "several of them with 'and'."
        )
    return Option(table["text"], table["when"])


def _address(text: str) -> Address:
    parts = urlsplit(text)
    if parts.scheme or parts.netloc or parts.path not in PAGES:
        raise ValueError(
            f"show = '{text}': a page's address, as feature-maps?operators=max; pages are {', '.join(PAGES)}."
        )
    return Address(parts.path, _query(parts.query, "show"))


def _query(text: str, key: str) -> Mapping[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)))
    except ValueError:
        raise ValueError(f"{key} = '{text}': parts such as operators=max, with & between them.") from None


def _check(table: Any, known: Mapping[str, type], needed: tuple[str, ...]) -> None:
    if not isinstance(table, dict):
        raise ValueError(f"a table with {', '.join(needed)} is needed.")
    for key, value in table.items():
        if key not in known:
            raise ValueError(f"'{key}' is unknown; known are {', '.join(known)}.")
        kind = (int, float) if known[key] is float else known[key]
        vast = isinstance(value, int) and abs(value) > MOST_NUMBER
        if not isinstance(value, kind) or isinstance(value, bool) or vast:
            raise ValueError(f"'{key}' must be {_WORDS[known[key]]}.")
    missing = [key for key in needed if key not in table]
    if missing:
        raise ValueError(f"'{missing[0]}' is missing.")


_WORDS = {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "a table"}
