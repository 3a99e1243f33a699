"""Around every page: a lesson's step, projector mode, and what their addresses hold."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import streamlit as st

from poolviz.lessons.lesson import PAGES
from poolviz.pages import link, projector
from poolviz.pages.handout import Handout
from poolviz.pages.link import FRAME, Param
from poolviz.pages.show import plain

FACTS = "frame_facts"  # session key: what the page tells a lesson in this run
HANDOUT = "frame_handout"  # session key: what the page shows in this run, as a handout
ENTER = "frame_enter"  # session key: a lesson's step is to be shown: "show", or "answered" after its prediction
FAULT = "frame_fault"  # session key: what was wrong with a lesson's address

# All that was loaded until now stays until the end: without this, each full collection looks through it again, for
# some hundred milliseconds in which every visitor waits. The frame's last import is this module.
gc.collect()
gc.freeze()

Pages = Mapping[str, Any]  # st.Page by the name in its address


def params_of(page: str) -> Mapping[str, Param]:
    """What a page keeps in its address; ValueError for an unknown page."""
    if page == "feature-maps":
        from poolviz.pages.parameters import PARAMS
    elif page == "sentences":
        from poolviz.pages.sentence_parameters import PARAMS
    elif page == "train":
        from poolviz.pages.train_parameters import PARAMS
    elif page == "compare":
        from poolviz.pages.compare_parameters import PARAMS
    else:
        raise ValueError(f"'{page}' is no page; known are {', '.join(PAGES)}.")
    return PARAMS


def tell(facts: Callable[[tuple[int, int] | None], Any]) -> None:
    """A page says what it shows, for a lesson to ask about: facts by name, of a cell or of the one that is kept."""
    if st.session_state["frame.lesson"]:
        st.session_state[FACTS] = facts


def hand_out(handout: Handout) -> None:
    """A page says how what it shows is handed out, for the handout of a lesson."""
    if st.session_state["frame.lesson"]:
        st.session_state[HANDOUT] = handout


@contextmanager
def frame(pages: Pages, current: Any) -> Iterator[None]:
    """What stands above a page: a lesson's step is drawn when the page has told what it shows."""
    _restore(_name(current))
    st.session_state[FACTS] = st.session_state[HANDOUT] = None
    if st.session_state["frame.lesson"]:
        _enter(pages, current)
    projector.style()
    panel = st.container()
    yield
    projector.way_out()
    if st.session_state["frame.lesson"]:
        from poolviz.pages.lesson_panel import lesson_panel

        with panel:
            lesson_panel(_name(current), st.session_state[FACTS], st.session_state[HANDOUT])
    st.session_state[FACTS] = st.session_state[HANDOUT] = None  # tensors of a page are not kept between runs


def _name(page: Any) -> str:
    return page.url_path or "feature-maps"


def _restore(page: str) -> None:
    """Read what the address says of the frame, and of the page too where the browser went back or forward.

    A link that names a lesson and nothing else of a page begins with the step's own view.
    """
    fresh = next(iter(FRAME)) not in st.session_state
    if fresh:
        link.restore(FRAME)
    went = not fresh and link.go_along(params_of(page) if page in PAGES else {})
    bare = set(st.query_params) <= {key.rpartition(".")[2] for key in FRAME}
    if (fresh or went) and bare and st.session_state["frame.lesson"]:
        st.session_state[ENTER] = "show"


def _enter(pages: Pages, current: Any) -> None:
    """Bring the page of a step into the step's state, and go there if it is another one."""
    how = st.session_state.pop(ENTER, "")
    if not how:
        return
    from poolviz.pages.lesson_panel import step_of

    step = step_of()
    if step is None:
        return
    st.session_state[FAULT] = ""
    page, given = step.show.page, st.session_state["frame.answers"].get(st.session_state["frame.step"])
    try:
        params = params_of(page)
        if how == "show" or page != "train":  # a race that was begun before the prediction goes on
            link.apply(params, step.show.query)
        if given and step.then is not None:
            link.apply(params, step.then, partly=True)
        if given and step.question is not None and step.question.kind == "cell":  # the reveal is about this cell
            link.apply(params, {"cell": given.replace("-", ",")}, partly=True)
    except ValueError as fault:
        st.session_state[FAULT] = plain(str(fault))
        return
    if page != _name(current):
        st.switch_page(pages[page])
