"""A page's state in its address: read once when a session starts, written back after each run.

Values that are missing or bad fall back to their default, and each bad one is told in a sentence. Widgets use the
parameter's name as their `key`, so the session holds every value once. Where two pages would claim one name, a page
puts its own before it and a dot: `sentences.layer` is `layer` in the address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import streamlit as st

from poolviz.pages.show import plain

NOTICES = "link_notices"  # session key
UNTOLD = "link_untold"  # session key: the notices of a link have not been shown yet
RESTORED = "link_restored"  # session key: the pages that have read the address
ANSWER = re.compile(r"\d{1,2}:[-+.e0-9]{1,24}")  # a step and what was answered: an option, a number, a cell
ENDS = "link_ends"  # session key: by number, its largest value when its widget was last drawn
SAVED = "link_saved"  # session key: what was written last
LONGEST_SHOWN = 40  # characters of a bad value that a notice repeats
LONGEST_KEPT = 2000  # characters of a value in the address: longer ones break in mails and browsers


@dataclass(frozen=True)
class Param:
    """One value of the address."""

    default: Any
    parse: Callable[[str], Any]  # text -> value; ValueError says what is accepted
    show: Callable[[Any], str] = str  # value -> text


class Saved(NamedTuple):
    """What a run has written into the address."""

    page: str  # its first parameter
    address: dict[str, str]
    values: dict[str, Any]  # of all parameters of the page, in the session


def choice(default: str, options: Sequence[str]) -> Param:
    """One of `options`."""

    def parse(text: str) -> str:
        if text not in options:
            raise ValueError(f"known are {', '.join(options)}")
        return text

    return Param(default, parse)


def several(default: Sequence[str], options: Sequence[str], most: int) -> Param:
    """Up to `most` of `options`, separated by commas."""

    def parse(text: str) -> list[str]:
        names = list(dict.fromkeys(text.split(","))) if text else []
        if not set(names) <= set(options) or len(names) > most:
            raise ValueError(f"known are {', '.join(options)}, at most {most} of them")
        return names

    return Param(list(default), parse, ",".join)


def whole(default: int, low: int, high: int) -> Param:
    """A whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
            raise ValueError(f"a whole number from {low} to {high} is needed")
        return int(text)

    return Param(default, parse)


def one_of_numbers(default: float, options: Sequence[float]) -> Param:
    """One of a slider's stops."""

    def parse(text: str) -> float:
        found = [option for option in options if f"{option:g}" == text]
        if not found:
            raise ValueError(f"the stops are {', '.join(f'{option:g}' for option in options)}")
        return found[0]

    return Param(default, parse, lambda value: f"{value:g}")


def flag(default: bool) -> Param:
    """`yes` or `no`."""

    def parse(text: str) -> bool:
        if text not in ("yes", "no"):
            raise ValueError("yes or no is needed")
        return text == "yes"

    return Param(default, parse, lambda value: "yes" if value else "no")


def text(parse: Callable[[str], Any], show: Callable[[Any], str]) -> Param:
    """A value with a format of its own, absent by default."""
    return Param(None, parse, show)


def _lesson(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,60}", text):
        raise ValueError("the name of a lesson is needed")
    return text


def _answers(text: str) -> dict[int, str]:
    found = dict(part.split(":", 1) for part in text.split(",") if ":" in part)
    if len(text) > LONGEST_KEPT or not all(ANSWER.fullmatch(f"{step}:{given}") for step, given in found.items()):
        raise ValueError("steps and answers such as 2:1,3:0.5 are needed")
    return {int(step): given for step, given in found.items()}


def _told_answers(answers: Mapping[int, str]) -> str:
    return ",".join(f"{step}:{given}" for step, given in sorted(answers.items()))


FRAME: dict[str, Param] = {  # what every page's address may hold
    "frame.lesson": text(_lesson, str),
    "frame.step": whole(1, 1, 99),
    "frame.answers": Param({}, _answers, _told_answers),
    "frame.projector": flag(False),
    "frame.controls": flag(True),
}


def parsed(params: Mapping[str, Param], query: Mapping[str, str]) -> dict[str, Any]:
    """The values of an address that a lesson names, by parameter; ValueError in a sentence where one is bad."""
    known = {_in_address(key): key for key in params}
    unknown = [name for name in query if name not in known]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is no part of this page's address; known are {', '.join(known)}.")
    values = {}
    for name, given in query.items():
        try:
            values[known[name]] = params[known[name]].parse(given)
        except ValueError as reason:
            raise ValueError(f"{name} = {given[:LONGEST_SHOWN]}: {reason}.") from None
    return values


def apply(params: Mapping[str, Param], query: Mapping[str, str], partly: bool = False) -> None:
    """Put a page into the state of an address that a lesson names, before its widgets are drawn.

    `partly` leaves alone what the address does not name. ValueError in a sentence where a value is bad; the page is
    then as it was.
    """
    values = parsed(params, query)
    if not partly:
        values = {key: copy(param.default) for key, param in params.items()} | values
    st.session_state.setdefault(RESTORED, set()).add(next(iter(params)))
    st.session_state.setdefault(NOTICES, [])
    st.session_state.setdefault(UNTOLD, False)
    st.session_state.update(values)


def restore(params: Mapping[str, Param]) -> None:
    """Fill the session from the address on a page's first run, and keep a notice for each value that is bad."""
    page = next(iter(params))
    restored = st.session_state.setdefault(RESTORED, set())
    if page not in restored:
        restored.add(page)
        _read(params)


def go_along(params: Mapping[str, Param]) -> bool:
    """Fill a known page and the frame anew where the browser went to another address by itself; whether it did.

    That is back or forward, or by a link from another page. Called before anything is drawn.
    """
    params = {**params, **FRAME}
    page = next(iter(params))
    if page not in st.session_state[RESTORED] or not _went(page):
        return False
    _read(params)
    return True


def _went(page: str) -> bool:
    """Whether the address is none that this session wrote last, while nobody used a widget."""
    last: Saved | None = st.session_state.get(SAVED)
    now = st.query_params.to_dict()
    if last is None:
        return False
    if last.page != page:
        return bool(now)  # the navigation leaves it empty: the page is as it was left
    # a run may begin before the browser has heard of the address that the run before it wrote
    return now != last.address and all(st.session_state.get(key) == value for key, value in last.values.items())


def changed(params: Mapping[str, Param]) -> set[str]:
    """The parameters of a page that differ from those of its last run; all where another page ran."""
    last: Saved | None = st.session_state.get(SAVED)
    if last is None or last.page != next(iter(params)):
        return set(params)
    return {key for key, value in last.values.items() if st.session_state.get(key) != value}


def _read(params: Mapping[str, Param]) -> None:
    notices = st.session_state.setdefault(NOTICES, [])
    st.session_state[UNTOLD] = True
    for key, param in params.items():
        name = _in_address(key)
        st.session_state[key] = copy(param.default)
        given = st.query_params.get(name)
        if given is None:
            continue
        try:
            st.session_state[key] = param.parse(given)
        except ValueError as reason:
            shown = given if len(given) <= LONGEST_SHOWN else given[:LONGEST_SHOWN] + "…"
            shown = _readable(shown.replace("`", "")) or " "  # a blank line would end the code span
            notices.append(f"{name} = `{shown}`: {plain(str(reason))}")


def _readable(text: str) -> str:
    """On one line, without signs that steer a terminal or turn the direction of the text around them."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _in_address(key: str) -> str:
    return key.rpartition(".")[2]


def clamp(name: str, most: int, told: bool = True) -> int:
    """Bring a number down to `most`, its largest value here; a link that went beyond is told, where `told`.

    To be called right before the number's widget. A slider with another end is another widget to Streamlit, which
    would begin with what was last written into the session, not with what was last chosen: so it is written anew.
    """
    value, ends = st.session_state[name], st.session_state.setdefault(ENDS, {})
    if value > most or ends.get(name) != most:
        st.session_state[name] = min(value, most)
    if value > most and told:
        st.session_state[NOTICES].append(f"{_in_address(name)} = `{value}`: {most} is the last here")
    ends[name] = most
    return st.session_state[name]


def replace(name: str, value: Any, called: str = "") -> None:
    """Put `value` where the session holds one that does not exist here; a link that named it is told.

    `called`: how the page calls `value`, where that is another name.
    """
    old = st.session_state[name]
    st.session_state[name] = value
    if old is not None:
        given, shown = plain(_readable(_said(old)[:LONGEST_SHOWN])), plain(called or _said(value))
        st.session_state[NOTICES].append(f"{_in_address(name)} = {given}: unknown here, {shown} is shown")


def usual(name: str, value: Any) -> bool:
    """Note what a parameter is until somebody chooses, which depends on what is here and stays out of the address.

    Whether it is still what was usual before: then nobody has chosen.
    """
    before = st.session_state.get(f"{name} usual")
    st.session_state[f"{name} usual"] = value
    return before is not None and before != value and st.session_state[name] == before


def _said(value: Any) -> str:
    return ",".join(map(str, value)) or "everything" if isinstance(value, tuple | list) else str(value)


def follow(name: str, labels: Sequence[str]) -> None:
    """Keep a numbered choice where the labels of its options change.

    The browser answers with the label that it shows, which may be one of before: it then comes as text, and the
    number that was chosen stays. Writing the number again sends its new label.
    """
    number, shown = st.session_state.get(f"{name} followed", (0, None))
    if isinstance(st.session_state[name], str):
        st.session_state[name] = number
    clamp(name, len(labels) - 1)
    if shown != labels:
        st.session_state[name] = int(st.session_state[name])
    st.session_state[f"{name} followed"] = (st.session_state[name], labels)


def hold(name: str, labels: Mapping[str, str]) -> None:
    """Keep a named choice where labels change, as `follow` does for a numbered one; `labels` by name."""
    held, shown = st.session_state.get(f"{name} held", (None, {}))
    value = st.session_state[name]
    if value not in labels and held in labels:  # the browser answered with a label of before
        value = held
    if shown != labels:
        st.session_state[name] = value  # sends its new label
    st.session_state[f"{name} held"] = (value, dict(labels))


def tell_notices(holder: Any) -> None:
    """Say what was wrong with the link, once; what is clamped in later runs is the visitor's own doing."""
    notices, st.session_state[NOTICES] = st.session_state[NOTICES], []
    untold, st.session_state[UNTOLD] = st.session_state[UNTOLD], False  # a click may have cut the first run short
    if untold and notices:
        told = "".join(f"\n- {notice}" for notice in notices)
        holder.warning(f"Parts of this link could not be used as they are:{told}", icon=":material/link_off:")


def address(params: Mapping[str, Param], names: Iterable[str]) -> dict[str, str]:
    """What the address holds of `names`: the values that differ from their default."""
    wanted = {}
    for name in names:
        value = st.session_state.get(name, params[name].default)
        if value is not None and value not in (params[name].default, st.session_state.get(f"{name} usual")):
            shown = params[name].show(value)
            if len(shown) <= LONGEST_KEPT:
                wanted[_in_address(name)] = shown
    return wanted


def save(params: dict[str, Param], names: Iterable[str]) -> None:
    """Write the values of `names`, and the frame's, that differ from their default to the address, and nothing else."""
    params = params | FRAME
    wanted = address(params, (*names, *FRAME))
    if wanted != st.query_params.to_dict():
        st.query_params.from_dict(wanted)
    values = {name: copy(st.session_state.get(name)) for name in params}
    st.session_state[SAVED] = Saved(next(iter(params)), wanted, values)
