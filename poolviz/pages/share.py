"""A link to what is on screen: copied, or as a QR code on the wall; with or without the controls."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st

from poolviz.pages.components import mount_copy

LOCAL = {"localhost", "127.0.0.1", "::1"}
LONGEST_CODE = 1200  # characters: beyond, a code's squares are too small to be read from a seat
QUIET = 4  # squares of white around a code, as its standard asks for


def share_button() -> None:
    """A quiet button that opens the link."""
    if st.button("Share", icon=":material/share:", type="tertiary"):
        _share()


@st.dialog("Share this view", width="medium")
def _share() -> None:
    controls = st.toggle("With controls", value=True, help="Without them the sidebar is hidden; what it shows stays.")
    projector = st.toggle("In projector mode", value=False)
    changes = {"controls": "" if controls else "no", "projector": "yes" if projector else ""}
    query = {name: value for name, value in (st.query_params.to_dict() | changes).items() if value}
    own, others = addresses(st.context.url or "", query)
    mount_copy(data={"link": others or own}, key="copy_link")
    if others:
        st.caption(
            "This browser is on the server itself. The link names the server as other machines of this network find "
            "it; they reach it unless a firewall is in the way."
        )
    st.code(others or own, language=None, wrap_lines=True)
    if len(others or own) > LONGEST_CODE:
        st.info("This link is too long for a code that can be read from a seat: a drawing or a text is part of it.")
    else:
        st.image(qr_code(others or own), width=400, alt="The link as a QR code")
    st.caption("The link holds everything that is chosen, the seed too. A picture that was uploaded is not part of it.")


def view_link(query: Mapping[str, str], without: str = "") -> str:
    """The link to the current page with this query, as other machines have it; `without` the page's own name."""
    own, others = addresses((st.context.url or "").removesuffix(without), query)
    return others or own


def addresses(url: str, query: Mapping[str, str]) -> tuple[str, str]:
    """The link as this browser has it, and as other machines would; the second is empty where it is the same."""
    parts = urlsplit(url)
    parts = parts._replace(path=parts.path or "/")
    own = urlunsplit(parts._replace(query=urlencode(query), fragment=""))
    if parts.hostname not in LOCAL or not (found := own_address()):
        return own, ""
    port = f":{parts.port}" if parts.port else ""
    return own, urlunsplit(parts._replace(netloc=found + port, query=urlencode(query), fragment=""))


def own_address() -> str:
    """This machine's address in its network, or nothing where it has none. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address that is kept for examples: only the route is looked up
            found = str(probe.getsockname()[0])
        except OSError:
            return ""
    return "" if found.startswith("127.") or found == "0.0.0.0" else found


@st.cache_data(max_entries=64, show_spinner=False)
def qr_code(link: str) -> str:
    """An SVG of the link, black on white in both themes: a camera wants it so."""
    import segno

    return segno.make_qr(link, error="m").svg_inline(scale=8, border=QUIET, dark="#000000", light="#ffffff")
