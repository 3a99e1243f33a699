"""The lessons: what each is about, how long it takes, and a button that begins it."""

from __future__ import annotations

import streamlit as st

from poolviz.charts.entries import counted
from poolviz.pages import link
from poolviz.pages.lesson_panel import begin, leave, lessons
from poolviz.pages.projector import projector_button
from poolviz.pages.show import plain


def page() -> None:
    """A card a lesson."""
    found, faults = lessons()
    st.markdown("### Lessons")
    st.markdown(
        "Each leads through the pages of this app: it asks you to predict first, then shows what torch computes."
    )
    current = st.session_state["frame.lesson"]
    for row in range(0, len(found), 2):
        for column, (name, lesson) in zip(st.columns(2), list(found.items())[row : row + 2], strict=False):
            with column.container(border=True, height="stretch"):
                questions = sum(step.question is not None for step in lesson.steps)
                st.markdown(f"#### {plain(lesson.title)}\n{plain(lesson.about)}")
                st.caption(
                    f"About {lesson.minutes} minutes · {counted(len(lesson.steps), 'step')} · "
                    f"{counted(questions, 'prediction')}"
                )
                again = name == current
                step = st.session_state["frame.step"]
                st.button(
                    f"Go on with step {step}" if again else "Begin",
                    key=f"begin {name}",
                    type="primary" if again else "secondary",
                    on_click=begin,
                    args=(name, step, False) if again else (name,),
                )
    for fault in faults:
        st.warning(plain(fault), icon=":material/error:")
    if current:
        st.button("Leave the lesson", type="tertiary", on_click=leave)
    projector_button()  # this page has no sidebar
    link.save({}, ())
