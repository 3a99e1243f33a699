"""Sidebar: which operators, which windows, how stochastic ones behave."""

from __future__ import annotations

import streamlit as st

from poolviz.charts.compare import Setting
from poolviz.pages.parameters import MOST_OPERATORS, OPERATORS, SHARES, TEMPERATURES, bounds
from poolviz.pooling import POOLINGS


def choose_setting() -> Setting:
    """Widgets for everything that a `Setting` holds."""
    names = st.multiselect(
        "Operators, side by side",
        OPERATORS,
        format_func=lambda name: POOLINGS[name].label,
        max_selections=MOST_OPERATORS,
        placeholder="Choose at least one",
        **bounds("operators"),
    )
    left, right = st.columns(2)
    kernel = left.number_input("Kernel size", 1, 8, step=1, **bounds("kernel"))
    stride = right.number_input("Stride", 1, 8, step=1, **bounds("stride"))
    padding = left.number_input("Padding", 0, 4, step=1, **bounds("padding"))
    dilation = right.number_input("Dilation", 1, 4, step=1, **bounds("dilation"))
    help_ceil = "Keep a last window that reaches out of the input, in place of dropping it."
    ceil_mode = st.toggle("Ceil mode", help=help_ceil, **bounds("ceil"))
    count_include_pad = False
    if "average" in names and padding:
        count_include_pad = st.toggle("Average counts padding as zeros", **bounds("countpad"))
    training, seed = _chance(names)
    used = {option for name in names for option in POOLINGS[name].uses}
    return Setting(
        tuple(names),
        int(kernel),
        int(stride),
        int(padding),
        int(dilation),
        ceil_mode,
        count_include_pad,
        training,
        seed,
        temperature=temperature_slider() if "temperature" in used else 1.0,
        p=float(st.number_input("Exponent p of Lp", 1, 16, step=1, **bounds("p"))) if "p" in used else 2.0,
        mix=_mix() if "mix" in used else 0.5,
    )


def _chance(names: list[str]) -> tuple[bool, int]:
    if not any(POOLINGS[name].stochastic for name in names):
        return False, int(st.session_state["seed"])
    words = {"test": "Test", "train": "Training"}
    mode = st.segmented_control(
        "Stochastic operators behave as in",
        list(words),
        format_func=words.get,
        required=True,
        width="stretch",
        **bounds("mode"),
        help="Training draws one cell a window at random; test takes the expectation, the weighted sum.",
    )
    if mode != "train":
        return False, int(st.session_state["seed"])
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    right.button("Draw again", on_click=draw_again, icon=":material/casino:", width="stretch", key="again")
    return True, int(left.number_input("Seed", 0, 999_999, step=1, **bounds("seed")))


def draw_again() -> None:
    """The next seed, so that each draw can be had again."""
    st.session_state["seed"] = (int(st.session_state["seed"]) + 1) % 1_000_000


def temperature_slider() -> float:
    """Stops from max-like to average-like."""
    return st.select_slider(
        "Temperature (max-like → average-like)",
        TEMPERATURES,
        format_func=lambda value: f"{value:g}",
        **bounds("temperature"),
    )


def _mix() -> float:
    return st.select_slider("Mix (average → max)", SHARES, format_func=lambda value: f"{value:g}", **bounds("mix"))
