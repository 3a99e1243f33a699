"""Projector mode: everything larger, no sidebar; and pages without controls. Both stand in the address."""

from __future__ import annotations

import streamlit as st

KEY = "P"
ON, CONTROLS = "frame.projector", "frame.controls"  # session keys
# The smallest letters of a page and of its charts have 13 pixels: they become 18. A page then has as much room on
# 1440 pixels as it has beside its sidebar otherwise. The whole main part is enlarged, so that what was laid out to fit
# fits; outlines grow with it.
ZOOM = 1.4
ALWAYS = """
.stMainBlockContainer { padding-top: 4.5rem; }
/* At the top a toast would lie over the button that was just pressed, and stay there as long as the pointer does. */
.stToastContainer { top: auto !important; bottom: 1rem; }
/* Streamlit writes the accent itself on tints of it, where the dark theme's is too dark: there the links' blue. */
[data-testid='stButtonGroup'] :is([aria-checked='true'], [aria-pressed='true']) p,
[data-testid='stSliderThumbValue'] p {
  color: light-dark(#0b5cad, #8cc4f7);
}
"""
NO_SIDEBAR = "[data-testid='stSidebar'], [data-testid='stExpandSidebarButton'] { display: none !important; }"
LARGE = f"""
.stMain {{ zoom: {ZOOM}; }}
.stMainBlockContainer {{ padding: 3.6rem 1.6rem 2rem; }}
/* Streamlit gives charts and tables the width that it measures on the screen, which is then enlarged: here it
measures less. */
[data-testid='stFullScreenFrame']:has([data-testid='stVegaLiteChart'], [data-testid='stDataFrame']) {{
  width: calc(100% / {ZOOM}) !important;
}}
[data-testid='stHeader'] :is(p, [data-testid='stIconMaterial']) {{ font-size: 1.15rem; }}
"""


def style() -> None:
    """The page's look, from what the address says."""
    large = st.session_state[ON]
    parts = [ALWAYS, NO_SIDEBAR * (large or not st.session_state[CONTROLS]), LARGE * large]
    st.html(f"<style>{''.join(parts)}</style>")


def projector_button() -> None:
    """Into projector mode, from the sidebar."""
    if not st.session_state.get(ON):
        _button("Projector", ":material/present_to_all:")


def way_out() -> None:
    """Below the page: out of projector mode, and the controls back."""
    if st.session_state[ON]:
        _button("Leave projector mode", ":material/close_fullscreen:")
    elif not st.session_state[CONTROLS]:
        st.button("Show controls", icon=":material/tune:", type="tertiary", on_click=_show_controls)


def _button(label: str, icon: str) -> None:
    told = "Larger letters, no sidebar. The same key leads back."
    st.button(label, key="projector", icon=icon, type="tertiary", shortcut=KEY, help=told, on_click=_turn)


def _turn() -> None:
    st.session_state[ON] = not st.session_state[ON]


def _show_controls() -> None:
    st.session_state[CONTROLS] = True
