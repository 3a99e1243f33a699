"""Sidebar of the comparing page: which runs are compared -> groups of them, and what was reported of the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from poolviz.charts.entries import counted
from poolviz.pages import link
from poolviz.pages.compare_parameters import ANY, HELD_OUT, ORIGIN_NAMES, PARAMS, REPORTED, key
from poolviz.pages.parameters import bounds
from poolviz.pages.train_parameters import ABOUT, IMAGE_POOLINGS, TASK_NAMES, TEXT_POOLINGS, colour_of, label_of
from poolviz.pooling import POOLINGS
from poolviz.runs.groups import Group, group, titles
from poolviz.runs.reported import Reported, reported
from poolviz.runs.results import IMPORTED, Damaged, Result, Shelf
from poolviz.training.config import TEXT_TASKS

EXPLAINED = ("digits",)  # tasks whose figures surprise without a word on their data


@dataclass(frozen=True)
class Selection:
    """What the page compares."""

    task: str
    groups: tuple[Group, ...]  # completed runs first, then those that go on
    names: tuple[str, ...]  # a title each
    colours: tuple[str, ...]
    reported: tuple[Reported, ...]
    damaged: tuple[Damaged, ...]
    evidence: tuple[Group, ...]  # completed runs of all tasks, shipped or made here: claims choose among them
    going: Mapping[str, tuple[str, int]]  # runs of the task that wait or train: their state and finished epochs
    elsewhere: bool = True  # whether there are runs of the task that the choice leaves out

    @property
    def completed(self) -> list[Group]:
        """Those whose runs have ended."""
        return [each for each in self.groups if each.state == "completed"]

    def name_of(self, one: Group) -> str:
        """A group's title."""
        return self.names[self.identities.index(one.identity)]

    def colour_of(self, one: Group) -> str:
        """A group's colour."""
        return self.colours[self.identities.index(one.identity)]

    @property
    def identities(self) -> list[str]:
        """Of the groups."""
        return [each.identity for each in self.groups]


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """One for all visitors: what was read once is not read again."""
    return Shelf()


def size_name(size: str) -> str:
    """Which training set, in words."""
    if size == HELD_OUT:
        return "nine tenths, judged on the rest"
    return "all" if size == "0" else f"{int(size):,}"


def size(result: Result) -> str:
    """Which training set a run had."""
    return HELD_OUT if result.config.held_out else str(result.config.train_limit)


def choose_results() -> Selection:
    """Widgets; the runs that fit."""
    results, damaged = shelf().read_all()
    shown = [result for result in results if result.state in ("completed", "running")]
    task = st.selectbox(
        "Task",
        list(TASK_NAMES),
        format_func=TASK_NAMES.get,  # no count: a browser answers with a label, and one that changes is lost
        **bounds(key("task")),
    )
    of_task = [result for result in shown if result.config.task == task]
    st.caption(f"{counted(len(of_task), 'run')} of {len(shown):,} here")
    if task in EXPLAINED:
        st.caption(ABOUT[task])
    wanted = _sized(of_task)
    wanted = _pooled(wanted)
    wanted = _on_machine(wanted)
    origins = st.pills(
        "From",
        list(ORIGIN_NAMES),
        selection_mode="multi",
        format_func=ORIGIN_NAMES.get,
        help="Shipped with poolviz, made on this server, brought as a zip, or a report's own figures.",
        **bounds(key("origins")),
    )
    wanted = [result for result in wanted if result.origin in origins]
    ended, live = (sorted(group(wanted, state), key=_order) for state in ("completed", "running"))
    groups = (*ended, *live)
    return Selection(
        task,
        groups,
        (*_titles(ended), *map(_live, live, _titles(live))),
        tuple(colour_of(each.config.pooling) for each in groups),
        reported(task) if REPORTED in origins and st.session_state[key("size")] in (None, "0") else (),
        tuple(damaged),
        tuple(group([result for result in results if result.origin != IMPORTED])),
        {r.name: (r.state, r.epoch) for r in results if r.config.task == task and r.state in ("queued", "running")},
        bool(of_task),
    )


def _order(one: Group) -> tuple:
    """As poolings are listed everywhere, the larger budget first."""
    known = list(POOLINGS)
    place = known.index(one.config.pooling) if one.config.pooling in known else len(known)
    return place, one.config.linear_tanh, -one.config.epochs, one.config.learning_rate, one.hardware


def _titles(groups: list[Group]) -> list[str]:
    return titles(groups, {each.config.pooling: label_of(each.config.pooling) for each in groups})


def _live(one: Group, title: str) -> str:
    return f"{title} (live: epoch {one.results[0].epoch} of {one.config.epochs})"


def _sized(results: list[Result]) -> list[Result]:
    """Runs on one training set are compared: another one is another question."""
    counts = Counter(map(size, results))
    if reported(st.session_state[key("task")]):
        counts["0"] += 0  # what is reported is of all examples, and is shown before such a run is here
    options = sorted(counts, key=lambda name: (name == HELD_OUT, name != "0", -int(name) if name != HELD_OUT else 0))
    if not options:
        kept("size", ["0"], "0")  # what is reported is of all examples
        return results
    chosen = kept("size", options, "0" if "0" in counts else counts.most_common(1)[0][0])
    if len(options) > 1:
        st.selectbox("Training examples", options, format_func=size_name, **bounds(key("size")))
        chosen = st.session_state[key("size")]
    if not counts[chosen] and results:
        others = ", ".join(f"{count} of {size_name(name)}" for name, count in counts.most_common() if count)
        st.caption(f"No run of ours of {size_name(chosen)} is here; there are {others}.")
    return [result for result in results if size(result) == chosen]


def kept(name: str, options: Sequence[Any], default: Any, called: str = "") -> Any:
    """The session's choice where it is one here, else the default; a link that named another is told.

    `called`: how the default is called on the page, where it is another name.
    """
    usual = link.usual(key(name), default)
    if st.session_state[key(name)] not in options or usual:
        if st.session_state[key(name)] == PARAMS[key(name)].default or usual:
            st.session_state[key(name)] = None  # no link named it
        link.replace(key(name), default, called)
    return st.session_state[key(name)]


def _pooled(results: list[Result]) -> list[Result]:
    chosen = st.session_state[key("poolings")]
    of_kind = TEXT_POOLINGS if st.session_state[key("task")] in TEXT_TASKS else IMAGE_POOLINGS
    if not set(chosen) <= set(of_kind):  # of the task before
        chosen = [name for name in chosen if name in of_kind]
        link.replace(key("poolings"), chosen)
    known = list(dict.fromkeys([result.config.pooling for result in results] + chosen))
    names = st.multiselect(
        "Poolings", known, format_func=label_of, placeholder="All of them", **bounds(key("poolings"))
    )
    return [result for result in results if not names or result.config.pooling in names]


def _on_machine(results: list[Result]) -> list[Result]:
    known = [name for name, _ in Counter(result.hardware for result in results).most_common()]
    kept("hardware", [ANY, *known], ANY)
    if len(known) < 2:
        st.session_state[key("hardware")] = None
        return results
    chosen = st.selectbox(
        "Machine",
        [ANY, *known],
        format_func=lambda name: "All machines" if name == ANY else name,
        **bounds(key("hardware")),
    )
    return [result for result in results if chosen in (ANY, result.hardware)]
