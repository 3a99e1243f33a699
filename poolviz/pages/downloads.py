"""The download menu: the stage as PNG and SVG with its settings in the caption, its numbers as CSV."""

from __future__ import annotations

import streamlit as st

from poolviz.charts.pictures import numbers_csv, render, stage_chart
from poolviz.charts.stage import Stage


def download_menu(stage: Stage) -> None:
    """Files are made when they are asked for, not at each run."""
    with st.popover("Save", icon=":material/download:", width="stretch"):
        for label, name, mime, make in (
            ("Picture (PNG)", "poolviz.png", "image/png", lambda: render(stage_chart(stage), "png")),
            ("Picture (SVG)", "poolviz.svg", "image/svg+xml", lambda: render(stage_chart(stage), "svg")),
            ("Numbers (CSV)", "poolviz.csv", "text/csv", lambda: numbers_csv(stage).encode()),
        ):
            st.download_button(label, make, name, mime, on_click="ignore", width="stretch")
