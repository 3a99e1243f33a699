"""The download menu: the stage as PNG and SVG with its settings in the caption, its numbers as CSV."""

from __future__ import annotations

import streamlit as st

from poolviz.charts.stage import Stage


def _picture(stage: Stage, kind: str) -> bytes:
    from poolviz.charts.pictures import render, stage_chart

    return render(stage_chart(stage), kind)


def _numbers(stage: Stage) -> bytes:
    from poolviz.charts.pictures import numbers_csv

    return numbers_csv(stage).encode()


def download_menu(stage: Stage) -> None:
    """Files are made when they are asked for, not at each run; only then is Altair imported."""
    with st.popover("Save", icon=":material/download:", width="stretch"):
        for label, name, mime, make in (
            ("Picture (PNG)", "poolviz.png", "image/png", lambda: _picture(stage, "png")),
            ("Picture (SVG)", "poolviz.svg", "image/svg+xml", lambda: _picture(stage, "svg")),
            ("Numbers (CSV)", "poolviz.csv", "text/csv", lambda: _numbers(stage)),
        ):
            st.download_button(label, make, name, mime, on_click="ignore", width="stretch")
