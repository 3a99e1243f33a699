"""What this machine has: the doctor's findings in a dialog."""

from __future__ import annotations

import streamlit as st

from poolviz import doctor


@st.cache_data(ttl=60, show_spinner="Looking at this machine …")
def _checks() -> list[tuple[str, bool, str, str]]:
    return [(check.name, check.found, check.detail, check.remedy) for check in doctor.checks()]


def machine_button() -> None:
    """A quiet button; the checks run when it is pressed."""
    if st.button("This machine", icon=":material/memory:", type="tertiary"):
        _show()


@st.dialog("This machine", width="large")
def _show() -> None:
    for name, found, detail, remedy in _checks():
        icon = ":material/check_circle:" if found else ":material/remove_circle_outline:"
        st.markdown(f"{icon} **{name}** · {detail}")
        if remedy:
            st.code(remedy, language="bash", wrap_lines=True)
