"""The download menu: what a page shows as PNG and SVG with its settings in the caption, and its numbers as CSV."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from poolviz.charts.stage import Stage


def _picture(stage: Stage, kind: str) -> bytes:
    from poolviz.charts.pictures import render, stage_chart

    return render(stage_chart(stage), kind)


def _numbers(stage: Stage) -> bytes:
    from poolviz.charts.pictures import numbers_csv

    return numbers_csv(stage).encode()


def stage_menu(stage: Stage) -> None:
    """The feature-map stage's three files."""
    download_menu(lambda kind: _picture(stage, kind), lambda: _numbers(stage))


def download_menu(picture: Callable[[str], bytes], numbers: Callable[[], bytes]) -> None:
    """Files are made when they are asked for, not at each run; only then is Altair imported.

    `picture` makes "png" or "svg" bytes, `numbers` CSV.
    """
    with st.popover("Save", icon=":material/download:", width="stretch"):
        for label, name, mime, make in (
            ("Picture (PNG)", "poolviz.png", "image/png", lambda: picture("png")),
            ("Picture (SVG)", "poolviz.svg", "image/svg+xml", lambda: picture("svg")),
            ("Numbers (CSV)", "poolviz.csv", "text/csv", numbers),
        ):
            st.download_button(label, make, name, mime, on_click="ignore", width="stretch")
