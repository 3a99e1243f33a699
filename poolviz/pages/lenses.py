"""The stage's own lenses: what each adds to the pictures or leaves out."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from poolviz.charts import compare
from poolviz.charts.compare import Setting
from poolviz.charts.stage import Stage
from poolviz.pages.parameters import bounds
from poolviz.pooling import POOLINGS


def difference(stage: Stage, setting: Setting) -> Stage:
    """Choose two outputs; their difference joins the stage, with a way to the widest."""
    if len(setting.operators) < 2:
        st.info("Choose two operators or more in the sidebar to see their difference.")
        return stage
    for name, fallback in (("first", 0), ("second", 1)):
        if st.session_state[name] not in setting.operators:
            taken = st.session_state["second" if name == "first" else "first"]
            st.session_state[name] = next(n for n in setting.operators[fallback:] + setting.operators if n != taken)
    left, right, button = st.columns([1, 1, 1.4], vertical_alignment="bottom")
    first, second = (
        setting.operators.index(
            column.selectbox(label, setting.operators, format_func=lambda n: POOLINGS[n].label, **bounds(key))
        )
        for column, label, key in ((left, "Output of", "first"), (right, "minus output of", "second"))
    )
    try:
        shown = compare.with_difference(stage, first, second)
    except ValueError as error:
        st.warning(str(error))
        return stage
    button.button(
        "Show the widest difference",
        on_click=_go,
        args=(compare.widest_difference(stage, first, second),),
        icon=":material/my_location:",
    )
    return shown


def _go(cell: tuple[int, int]) -> None:
    st.session_state["cell"] = cell


def gradient(stage: Stage, setting: Setting) -> Stage:
    """Each operator's gradient map joins the stage."""
    st.caption(
        "If every output cell receives a gradient of 1, this much arrives at each input cell. Max sends it to one cell "
        "of a window, average to all alike, a stochastic draw to the drawn cell. In test mode a stochastic operator is "
        "its expectation: a cell then also moves the probabilities, and may be pushed down."
    )
    return compare.with_gradients(stage, setting)


def overlap(stage: Stage, setting: Setting) -> Stage:
    """The number of windows over each input cell joins the stage."""
    return compare.with_coverage(stage)


STAGE_LENSES: dict[str, Callable[[Stage, Setting], Stage]] = {
    "difference": difference,
    "gradient": gradient,
    "overlap": overlap,
}
