"""What stands at the foot of every page's sidebar: share, project, this machine."""

from __future__ import annotations

import streamlit as st

from poolviz.pages.machine import machine_button
from poolviz.pages.projector import projector_button
from poolviz.pages.share import share_button


def foot() -> None:
    """Three quiet buttons."""
    with st.container(gap="xxsmall"):
        share_button()
        projector_button()
        machine_button()
