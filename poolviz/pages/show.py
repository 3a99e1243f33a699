"""Show an Altair chart whose spec is built once and whose data change; text as text; the theme's ink."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import streamlit as st

from poolviz.charts.figure import Figure

JOINER = "\u2060"


@st.cache_resource(max_entries=256, show_spinner=False)
def _spec(name: str, arguments: tuple, _builder: Callable[..., Any]) -> dict[str, Any]:
    return _builder(*arguments).to_dict()


def show_chart(
    builder: Callable[..., Any],
    *arguments: Any,
    alt: str,
    width: str = "stretch",
    select: dict[str, Any] | None = None,
    **datasets: list[dict[str, Any]],
) -> Any:
    """Draw `builder(*arguments)` with its named data sets; `alt` says in words what it shows.

    `select` holds Streamlit's own `on_select`, `selection_mode` and `key`: the chart's event is then given back.
    """
    spec = {**_spec(f"{builder.__module__}.{builder.__qualname__}", arguments, builder), "datasets": datasets}
    # the chart theme's grey labels miss a contrast of 4.5 to 1 on white
    labels = {"labelColor": ink(), "titleColor": ink(), "labelFontSize": 13, "titleFontSize": 13}
    spec["config"] = {
        **spec.get("config", {}),
        "text": {"color": ink()},
        "axis": labels,
        "legend": {**labels, "labelLimit": 400},
    }
    return st.vega_lite_chart(None, spec, width=width, alt=alt, **(select or {}))


def show_figure(figure: Figure, width: str = "stretch") -> None:
    """A figure's heading and note, then its chart: as wide as its place, or as its "content"."""
    st.markdown(f"**{plain(figure.heading)}**" + (f"  \n{plain(figure.note)}" if figure.note else ""))
    show_chart(figure.builder, *figure.arguments, alt=figure.alt, width=width, **figure.datasets)


def plain(text: str) -> str:
    """Text for a Markdown element that shows it as it is: a file's name must not become a link or a picture."""
    text = " ".join(text.split())
    # Streamlit draws arrows, dashes and icons after Markdown is parsed, where a backslash does not count: a word
    # joiner, which nobody sees, keeps their characters apart
    text = re.sub(r"(?<!\S)(<->|->|<-|--|>=|<=|~=)(?!\S)", lambda found: JOINER.join(found[0]), text)
    text = re.sub(r"(?i):(?=material|streamlit)", f":{JOINER}", text)
    text = re.sub(r"([\\`*_{}\[\]()#+\-!|<>~$:&])", r"\\\1", text)
    text = re.sub(r"^(\d+)\.", r"\1\.", text)  # no numbered list
    # bare addresses become links even when escaped
    return re.sub(r"(?i)(www|https?|mailto)(?=[.:\\])|(?<=\w)(?=@)", lambda found: found[0] + JOINER, text)


def ink() -> str:
    """Text colour for marks that the chart theme does not colour."""
    return "#E8ECF1" if st.context.theme.type == "dark" else "#1a212b"
