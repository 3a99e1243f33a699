"""Components of ours that run in the browser: registered once at import, mounted by pages."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent


def _read(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


SOURCES: dict[str, dict[str, str]] = {}  # what each component is made of, by name: a handout brings it along


def _component(name: str, **source: str) -> Callable[..., Any]:
    SOURCES[name] = source
    return st.components.v2.component(name, **source)


mount_stage = _component(
    "poolviz_stage",
    html=_read("stage.html"),
    css=_read("stage.css"),
    js=_read("heatmap.js", "arithmetic.js", "stage_drawing.js", "stage.js"),
)
mount_pad = _component("poolviz_pad", html=_read("pad.html"), css=_read("pad.css"), js=_read("pad.js"))
mount_answers = _component(
    "poolviz_answers", html=_read("answers.html"), css=_read("answers.css"), js=_read("heatmap.js", "answers.js")
)
mount_sheet = _component(
    "poolviz_sheet", html=_read("sheet.html"), css=_read("sheet.css"), js=_read("heatmap.js", "sheet.js")
)
mount_tokens = _component(
    "poolviz_tokens",
    html=_read("tokens.html"),
    css=_read("sentence.css", "tokens.css"),
    js=_read("heatmap.js", "arithmetic.js", "sentence.js", "tokens_drawing.js", "tokens.js"),
)
mount_speech = _component(
    "poolviz_speech",
    html=_read("speech.html"),
    css=_read("sentence.css", "speech.css"),
    js=_read("sentence.js", "speech.js"),
)
mount_copy = _component("poolviz_copy", html=_read("copy.html"), css=_read("copy.css"), js=_read("copy.js"))
