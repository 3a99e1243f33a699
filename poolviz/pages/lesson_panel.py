"""A lesson's step above the page that it is about: text, a prediction, and the answer with the page's own figures."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from poolviz.lessons.lesson import Facts, Lesson, MissingFactError, Question, Step, filled
from poolviz.pages import lesson_check
from poolviz.pages.frame import ENTER, FAULT
from poolviz.pages.handout import Handout, LessonHandout, Told, blank, tell_step
from poolviz.pages.share import view_link
from poolviz.pages.show import plain

Tell = Callable[[tuple[int, int] | None], Facts]
TOLD = "lesson_told"  # session key: by lesson and step, its texts with the figures of its own view, for a handout
JUDGED = "lesson_judged"  # session key: by lesson, step and prediction, whether it was right, and what was told
TITLES = {"feature-maps": "Feature maps", "sentences": "Sentences", "train": "Train", "compare": "Compare"}
MINUTE = 60.0


@st.cache_data(ttl=MINUTE, max_entries=1, show_spinner=False)
def lessons() -> tuple[dict[str, Lesson], list[str]]:
    """All lessons by name, and what is wrong with other files; a file that was changed counts within a minute."""
    return lesson_check.shelf()


def lesson_of() -> Lesson | None:
    """The lesson that the address names, if it is here."""
    return lessons()[0].get(st.session_state["frame.lesson"])


def step_of() -> Step | None:
    """Its step that the address names; the last one where the lesson is shorter."""
    lesson = lesson_of()
    if lesson is None:
        return None
    st.session_state["frame.step"] = min(st.session_state["frame.step"], len(lesson.steps))
    return lesson.steps[st.session_state["frame.step"] - 1]


def begin(name: str, step: int = 1, afresh: bool = True) -> None:
    """Go to a step of a lesson."""
    st.session_state["frame.lesson"] = name
    if afresh:
        st.session_state["frame.answers"] = {}
    go(step)


def go(step: int) -> None:
    """Show a step in its own view."""
    st.session_state["frame.step"] = step
    st.session_state[ENTER] = "show"


def leave() -> None:
    """End the lesson; the page stays as it is."""
    st.session_state["frame.lesson"] = None
    st.session_state["frame.step"] = 1
    st.session_state["frame.answers"] = {}


def lesson_panel(page: str, tell: Tell | None, handout: Handout | None) -> None:
    """Draw the step; `tell` gives the page's facts, `handout` its view; None where the page shows nothing."""
    lesson, step = lesson_of(), step_of()
    if lesson is None or step is None:
        st.warning(f"No lesson is called {plain(str(st.session_state['frame.lesson']))}; the page Lessons lists them.")
        return
    with st.container(border=True, key="lesson"):
        on_page = step.show.page == page
        facts = tell(None) if tell and on_page else {}
        _head(lesson, _lesson_handout(lesson, step, facts, handout if on_page else None, page))
        if st.session_state.get(FAULT):
            st.error(f"This step's view could not be set: {st.session_state[FAULT]}", icon=":material/error:")
        if not on_page:
            st.markdown(f"This step is on the page {TITLES.get(step.show.page, 'that it names')}.")
            st.button("Go there", type="primary", on_click=go, args=(st.session_state["frame.step"],))
            return
        text, question = st.columns(2, gap="large") if step.question is not None else (st.container(), None)
        with text:
            st.markdown(f"#### {plain(step.title)}\n{_text(step.text, facts)}")
        if step.question is not None:
            with question:
                _question(lesson, step, step.question, tell)


def _text(text: str, facts: Facts) -> str:
    try:
        return filled(text, facts)
    except MissingFactError:
        return blank(text)


def _head(lesson: Lesson, handout: LessonHandout) -> None:
    at, count = st.session_state["frame.step"], len(lesson.steps)
    title, moves = st.columns([4, 8], vertical_alignment="center")
    title.progress(at / count, f"**{plain(lesson.title)}** · {at} of {count}")
    with moves.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", gap="small"):
        st.download_button(
            "Handout",
            handout.html,
            f"poolviz-{lesson.name}.html",
            "text/html",
            icon=":material/print:",
            type="tertiary",
            on_click="ignore",
        )
        st.button("Leave", icon=":material/close:", type="tertiary", on_click=leave)
        again = "Show the step's own view again"
        st.button("Reset", icon=":material/restart_alt:", type="tertiary", on_click=go, args=(at,), help=again)
        if at > 1:
            st.button("Back", icon=":material/arrow_back:", on_click=go, args=(at - 1,))
        if at < count:
            kind = "secondary" if _open_question(lesson.steps[at - 1]) else "primary"
            st.button("Next", icon=":material/arrow_forward:", type=kind, on_click=go, args=(at + 1,))
        else:
            st.button("End", icon=":material/flag:", on_click=leave, help="End the lesson; the page stays")


def _lesson_handout(lesson: Lesson, step: Step, facts: Facts, shown: Handout | None, page: str) -> LessonHandout:
    """Everything that the file needs, gathered here: it is made outside of the session."""
    at, numbers = st.session_state["frame.step"], range(1, len(lesson.steps) + 1)
    known = st.session_state.setdefault(TOLD, {})
    answered = at in st.session_state["frame.answers"]
    again = step.show.page == "train"  # another race gives other figures
    before = Told() if again else known.get((lesson.name, at), Told())
    known[lesson.name, at] = tell_step(step, facts, answered, before)
    told = {number: known[lesson.name, number] for number in numbers if (lesson.name, number) in known}
    links = [view_link({"lesson": lesson.name, "step": str(number)}, page) for number in numbers]
    return LessonHandout(lesson, told, links, at, answered, shown)


def _question(lesson: Lesson, step: Step, question: Question, tell: Tell | None) -> None:
    number = st.session_state["frame.step"]
    given = st.session_state["frame.answers"].get(number)
    st.markdown(f"**{question.ask.strip()}**")
    if given is None:
        _ask(question, number, f"lesson_draft {lesson.name} {number}")
        return
    try:
        if step.show.page == "train":  # another race gives another answer
            st.session_state.pop(JUDGED, None)
        right, told = _judged((lesson.name, number, given), question, tell)
    except MissingFactError as missing:
        unknown = f"The page tells no {missing} now: press *Reset*, or look for this name in the lesson's file."
        st.info(step.wait or unknown)
    except ValueError:
        st.warning("This link holds an answer that is none. Predict anew.")
    else:
        _tell(question, given, right, told)
    st.button("Predict anew", type="tertiary", icon=":material/replay:", on_click=_forget, args=(number,))


def _judged(asked: tuple[str, int, str], question: Question, tell: Tell | None) -> tuple[bool, str]:
    """Whether a prediction is right, and the reveal, by the view that it was about: it may be changed afterwards."""
    known = st.session_state.setdefault(JUDGED, {})
    if asked not in known:
        given = asked[2]
        facts = tell(_cell(given) if question.kind == "cell" else None) if tell else {}
        known[asked] = question.is_right(given, facts), filled(question.reveal, facts)
    return known[asked]


def _ask(question: Question, number: int, key: str) -> None:
    """A form, so that what is typed counts when the button is pressed, without Enter before."""
    with st.form(f"form of {key}", border=False):
        if question.kind == "choice":
            texts = [option.text for option in question.options]
            numbers = range(len(texts))
            st.radio(question.ask, numbers, None, texts.__getitem__, key=key, label_visibility="collapsed")
        elif question.kind == "number":
            unit = f" ({question.unit})" if question.unit else ""
            st.number_input(f"Your prediction{unit}", value=None, step=None, format="%g", width=220, key=key)
        elif cell := st.session_state.get("cell"):
            st.caption(f"Click a cell of an output. Chosen: row {cell[0]}, column {cell[1]}.")
        else:
            st.caption("Click a cell of an output.")
        arguments = (number, question.kind, key)
        if st.form_submit_button("That is my prediction", type="primary", on_click=_answer, args=arguments):
            st.caption("Predict first: " + ("type a number." if question.kind == "number" else "choose one."))


def _answer(step: int, kind: str, key: str) -> None:
    value = st.session_state.get("cell" if kind == "cell" else key)
    if value is None:
        return
    given = f"{value[0]}-{value[1]}" if kind == "cell" else f"{value:.12g}"
    st.session_state["frame.answers"] = st.session_state["frame.answers"] | {step: given}
    st.session_state[ENTER] = "answered"


def _forget(step: int) -> None:
    st.session_state.pop(JUDGED, None)
    answers = st.session_state["frame.answers"]
    st.session_state["frame.answers"] = {number: given for number, given in answers.items() if number != step}
    go(step)


def _tell(question: Question, given: str, right: bool, told: str) -> None:
    if question.kind == "choice":
        said = question.options[int(given)].text
    elif question.kind == "number":
        said = f"{given} {question.unit}".rstrip()
    else:
        said = "row {}, column {}".format(*given.split("-"))
    verdict = f"Right: {said}." if right else f"Not quite. You said: {said}."
    show, icon = (st.success, ":material/check_circle:") if right else (st.info, ":material/lightbulb:")
    show(f"{verdict}  \n{told}", icon=icon)


def _open_question(step: Step) -> bool:
    return step.question is not None and st.session_state["frame.step"] not in st.session_state["frame.answers"]


def _cell(given: str) -> tuple[int, int]:
    row, column = given.split("-")
    return int(row), int(column)
