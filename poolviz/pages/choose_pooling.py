"""Sidebar: which operators, which windows, how stochastic ones behave."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from poolviz.charts.compare import Setting
from poolviz.pages.parameters import MOST_OPERATORS, OPERATORS, SHARES, TEMPERATURES, bounds
from poolviz.pooling import POOLINGS


def chosen_setting() -> Setting:
    """What the widgets of `choose_setting` hold."""
    held = st.session_state
    used = _used()
    return Setting(
        tuple(held["operators"]),
        int(held["kernel"]),
        int(held["stride"]),
        int(held["padding"]),
        int(held["dilation"]),
        held["ceil"],
        held["countpad"] and _counts_padding(),
        held["mode"] == "train" and _draws(),
        int(held["seed"]),
        temperature=held["temperature"] if "temperature" in used else 1.0,
        p=float(held["p"]) if "p" in used else 2.0,
        mix=held["mix"] if "mix" in used else 0.5,
    )


def _used() -> set[str]:
    return {option for name in st.session_state["operators"] for option in POOLINGS[name].uses}


def _counts_padding() -> bool:
    return "average" in st.session_state["operators"] and st.session_state["padding"] > 0


def _draws() -> bool:
    return any(POOLINGS[name].stochastic for name in st.session_state["operators"])


def choose_setting(alone: Callable[..., None]) -> DeltaGenerator:
    """Widgets for everything that a `Setting` holds, and room for the temperature's, which `choose_temperature` draws.

    Those that change no other widget call `alone`, with "facts" where they change which windows there are.
    """
    windows = {"on_change": alone, "args": ("facts",)}
    st.multiselect(
        "Operators, side by side",
        OPERATORS,
        format_func=lambda name: POOLINGS[name].label,
        max_selections=MOST_OPERATORS,
        placeholder="Choose at least one",
        **bounds("operators"),
    )
    left, right = st.columns(2)
    left.number_input("Kernel size", 1, 8, step=1, **windows, **bounds("kernel"))
    right.number_input("Stride", 1, 8, step=1, **windows, **bounds("stride"))
    left.number_input("Padding", 0, 4, step=1, **bounds("padding"))
    right.number_input("Dilation", 1, 4, step=1, **windows, **bounds("dilation"))
    help_ceil = "Keep a last window that reaches out of the input, in place of dropping it."
    st.toggle("Ceil mode", help=help_ceil, **windows, **bounds("ceil"))
    if _counts_padding():
        st.toggle("Average counts padding as zeros", **windows, **bounds("countpad"))
    if _draws():
        _chance(alone)
    used = _used()
    room = st.container()
    if "p" in used:
        st.number_input("Exponent p of Lp", 1, 16, step=1, on_change=alone, **bounds("p"))
    if "mix" in used:
        label = "Mix (average → max)"
        st.select_slider(label, SHARES, format_func=lambda value: f"{value:g}", on_change=alone, **bounds("mix"))
    return room


def choose_temperature(room: DeltaGenerator) -> None:
    """The slider of temperature, where an operator has one."""
    if "temperature" in _used():
        with room:
            temperature_slider()


def _chance(alone: Callable[[], None]) -> None:
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
        return
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    right.button("Draw again", on_click=draw_again, icon=":material/casino:", width="stretch", key="again")
    left.number_input("Seed", 0, 999_999, step=1, on_change=alone, **bounds("seed"))


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
