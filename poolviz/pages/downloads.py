"""The download menu: what a page shows as PNG and SVG with its settings in the caption, and its numbers as CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from poolviz.charts.stage import Stage

File = tuple[str, str, str, Callable[[], bytes]]  # label, file name, MIME type, what makes it


def _picture(stage: Stage, kind: str) -> bytes:
    from poolviz.charts.pictures import render, stage_chart

    return render(stage_chart(stage), kind)


def _numbers(stage: Stage) -> bytes:
    from poolviz.charts.pictures import numbers_csv

    return numbers_csv(stage).encode()


def stage_menu(stage: Stage, more: Sequence[File] = ()) -> None:
    """The feature-map stage's own files, and more."""
    download_menu(lambda kind: _picture(stage, kind), lambda: _numbers(stage), more)


def download_menu(
    picture: Callable[[str], bytes] | None, numbers: Callable[[], bytes] | None, more: Sequence[File] = ()
) -> None:
    """Files are made when they are asked for, not at each run; only then is Altair imported.

    `picture` makes "png" or "svg" bytes, `numbers` CSV; each is None where there is none.
    """
    files: list[File] = []
    if picture is not None:
        files.append(("Picture (PNG)", "poolviz.png", "image/png", lambda: picture("png")))
        files.append(("Picture (SVG)", "poolviz.svg", "image/svg+xml", lambda: picture("svg")))
    if numbers is not None:
        files.append(("Numbers (CSV)", "poolviz.csv", "text/csv", numbers))
    with st.popover("Save", icon=":material/download:", width="stretch"):
        for label, name, mime, make in (*files, *more):
            st.download_button(label, make, name, mime, on_click="ignore", width="stretch")
