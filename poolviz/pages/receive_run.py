"""Bring a run that somebody else made: its folder as a zip, as this app gives it away."""

from __future__ import annotations

import streamlit as st

from poolviz.pages.show import plain
from poolviz.runs.arrival import arrive

MOST_UPLOADED = 40  # megabytes: a class that uploads at once is held in memory; a CNN with its weights fits
SEEN = "received_run"  # session key: id of the last file, and what came of it


def receive_run() -> None:
    """An uploader; a file is looked at once, however often the page runs."""
    with st.expander("Bring a run", icon=":material/upload_file:"):
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
        _, fine, said = st.session_state[SEEN]
        (st.success if fine else st.error)(plain(said), icon=":material/check:" if fine else ":material/error:")


def _received(packed: bytes) -> tuple[bool, str]:
    try:
        run = arrive(packed)
    except (ValueError, OSError) as error:
        return False, str(error)
    return True, f"{run.name} is among the runs of {run.config.task} now, as imported."
