"""Bring a run that somebody else made: its folder as a zip, as this app gives it away."""

from __future__ import annotations

import streamlit as st

from poolviz.pages import guard
from poolviz.pages.compare_parameters import key
from poolviz.pages.show import plain
from poolviz.pages.train_parameters import TASK_NAMES
from poolviz.runs.arrival import arrive

MOST_UPLOADED = 20  # megabytes, as .streamlit/config.toml has it, beyond which the server takes none; CNNs fit
SEEN = "received_run"  # session key: id of the last file, and what came of it


def receive_run() -> None:
    """An uploader; a file is looked at once, however often the page runs."""
    with st.expander("Bring a run", icon=":material/upload_file:"):
        if not guard.gate("Choose a file", "receive"):
            return
        given = st.file_uploader(
            "A run's folder as a zip",
            type="zip",
            max_upload_size=MOST_UPLOADED,
            help="As *Download the run's folder* gives it. It is checked before anything of it is kept.",
            key="receive_run",
        )
        if given is None:
            st.session_state.pop(SEEN, None)
            return
        if st.session_state.get(SEEN, ("",))[0] != given.file_id:
            st.session_state[SEEN] = (given.file_id, *_received(given.getvalue()))
            st.rerun()  # what is listed above has grown
        _, task, said = st.session_state[SEEN]
        (st.success if task else st.error)(plain(said), icon=":material/check:" if task else ":material/error:")
        if task and task != st.session_state[key("task")]:
            st.button(f"Show the runs of {TASK_NAMES[task]}", on_click=_show, args=(task,))


def _received(packed: bytes) -> tuple[str, str]:
    """The task of the run that came, empty where none did, and what to say."""
    try:
        guard.demand()
        run = arrive(packed)
    except (ValueError, OSError) as error:
        return "", str(error)
    return run.config.task, f"{run.name} is among the runs of {TASK_NAMES[run.config.task]} now, as imported."


def _show(task: str) -> None:
    st.session_state[key("task")] = task
