"""Who may ask for what costs the server: runs, imports, downloads, encoders of the Hub. Everybody may look.

A teacher sets a passphrase or names accounts (`settings.py`). Where nothing is set, those may who sit at the server
itself. `gate` draws a lock where a button would be. `demand` keeps it: each act calls it first, for a browser can send
what no page offers it.
"""

from __future__ import annotations

import hmac
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

import streamlit as st
from streamlit.errors import StreamlitAuthError, StreamlitMissingAuthlibError

from poolviz.pages.settings import Access, access
from poolviz.pages.show import plain

ADMITTED = "guard_admitted"  # session key: True once the passphrase was right
ANSWER = "guard_answer"  # session key: why the last attempt at a lock did not open it, and at which
LOOPBACK = (None, "127.0.0.1", "::1", "::ffff:127.0.0.1")  # Streamlit says None for the first two
# What proxies and tunnels add. None of it is believed; that it is there says that somebody else is behind.
FORWARDING = ("forwarded", "x-forwarded-", "x-real-ip", "x-client-ip", "true-client-ip", "cf-", "via")
CLOSED = (
    "Only who sits at the server (http://localhost there) may start this until the teacher sets "
    "POOLVIZ_PASSPHRASE or a login: README, “A teacher's server”."
)


class NotPermittedError(ValueError):
    """This session may not; one sentence that says what it takes."""


def permitted() -> bool:
    """Whether this session may ask for what costs the server."""
    return not objection()


def demand() -> None:
    """Raise NotPermittedError unless this session may ask for what costs the server."""
    reason = objection()
    if reason:
        raise NotPermittedError(reason)


def objection() -> str:
    """Why this session may not, in a sentence; empty where it may."""
    try:
        known = access()
    except ValueError as error:
        return str(error)
    if not known.is_set:
        return "" if at_the_server() else CLOSED
    if known.passphrase and st.session_state.get(ADMITTED) is True:
        return ""
    return _objection_to_account(known)


def _objection_to_account(known: Access) -> str:
    account = _account()
    if account in known.teachers:
        return ""
    if known.passphrase:
        return "The teacher's passphrase opens this" + (", or a teacher's login." if known.providers else ".")
    if not known.providers:
        return "Teachers are named on this server, but no login: it is an [auth] section of secrets.toml."
    return f"{account} is not among this server's teachers." if account else "A teacher's login opens this."


def _account() -> str:
    """The e-mail address of who is logged in, in lower case; empty for nobody, and for one nobody has verified."""
    user = st.user.to_dict()
    if user.get("is_logged_in") is not True or user.get("email_verified", True) not in (True, "true"):
        return ""
    return str(user.get("email") or "").casefold()


# ---- who sits at the server


def at_the_server() -> bool:
    """Whether this session's browser runs on the server's own machine and asks it directly.

    A session whose connection is gone has no address any more, as if it were local: it is nobody.
    """
    headers = st.context.headers
    if not headers or str(st.get_option("server.address") or "").startswith("unix:"):  # a socket's peer is a proxy
        return False
    return is_direct(st.context.ip_address, headers)


def is_direct(address: str | None, headers: Mapping[str, str]) -> bool:
    """Whether a connection comes from this machine, and no proxy, tunnel or foreign page stands between.

    A proxy on this machine connects from it too. It is known by the headers that it adds, or by the name in the
    browser's address: Host and Origin.
    """
    if address not in LOOPBACK or any(name.lower().startswith(FORWARDING) for name in headers):
        return False
    given = {name.lower(): value for name, value in headers.items()}
    return _names_loopback(f"//{given.get('host', '')}") and _names_loopback(given.get("origin", "//localhost"))


def _names_loopback(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # another name, or none
        return False


# ---- the lock on the page


def gate(label: str, place: str) -> bool:
    """True where this session may; otherwise a lock `label` stands here, with the reason and the way in.

    `place` tells the locks of a page apart.
    """
    reason = objection()
    if not reason:
        return True
    ways = _ways_in()
    if not ways:
        st.button(
            label, icon=":material/lock:", disabled=True, help=plain(reason), width="stretch", key=f"closed {place}"
        )
        return False
    with st.popover(label, icon=":material/lock:", width="stretch", key=f"gate {place}"):
        st.caption(plain(reason))
        for way in ways:
            way(place)
        where, said = st.session_state.get(ANSWER, ("", ""))
        if where == place:
            st.error(plain(said), icon=":material/lock:")
    return False


def _ways_in() -> list[Callable[[str], None]]:
    """What opens a lock here, as functions that draw it."""
    try:
        known = access()
    except ValueError:
        return []
    ways = [_ask_passphrase] if known.passphrase else []
    return [*ways, lambda place: _ask_login(place, known.providers)] if known.providers else ways


def _ask_passphrase(place: str) -> None:
    field = f"passphrase {place}"
    with st.form(f"form {place}", border=False):
        st.text_input("Passphrase", type="password", max_chars=200, key=field)
        st.form_submit_button("Unlock", icon=":material/lock_open:", on_click=_answer, args=(place, field))


def _answer(place: str, field: str) -> None:
    given = st.session_state[field]
    st.session_state[field] = ""  # kept nowhere
    wrong = ATTEMPTS.judge(given, access().passphrase)
    st.session_state[ADMITTED] = not wrong
    st.session_state[ANSWER] = place, wrong


def _ask_login(place: str, providers: Iterable[str]) -> None:
    if _account():
        st.button("Log out", icon=":material/logout:", on_click=st.logout, key=f"log out {place}")
        return
    for provider in providers:
        label = f"Log in with {plain(provider)}" if provider else "Log in"
        st.button(label, icon=":material/login:", on_click=_log_in, args=(place, provider), key=f"{label} {place}")


def _log_in(place: str, provider: str) -> None:
    try:
        st.login(provider or None)
    except StreamlitMissingAuthlibError:
        st.session_state[ANSWER] = place, "Logging in needs one more package on the server: pip install Authlib."
    except StreamlitAuthError:
        st.session_state[ANSWER] = place, "The [auth] section of secrets.toml is not complete: see README."


# ---- guessing


class Attempts:
    """Judges passphrases for the whole server, so that a second session or a second address guesses no faster."""

    FREE = 10  # wrong ones before pauses begin: thirty students mistype
    LONGEST = 60.0  # seconds of a pause; the first is one second, each next one twice as long
    FORGOTTEN = 3600.0  # seconds after the last wrong one

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._wrong, self._last = 0, -math.inf

    def judge(self, given: str, passphrase: str) -> str:
        """Empty for the right one, else a sentence. During a pause nothing is looked at, not even the right one."""
        with self._lock:
            since = self._clock() - self._last
            if since > self.FORGOTTEN:
                self._wrong = 0
            left = self._pause() - since
            if left > 0:
                return f"Too many wrong passphrases on this server: try again in {math.ceil(left)} s."
            if passphrase and hmac.compare_digest(_bytes(given), _bytes(passphrase)):
                return ""
            self._wrong += 1
            self._last = self._clock()
            return "That is not the passphrase."

    def _pause(self) -> float:
        over = self._wrong - self.FREE
        return min(self.LONGEST, 2.0 ** min(over, 10)) if over >= 0 else 0.0


def _bytes(text: str) -> bytes:
    return text.strip().encode(errors="surrogateescape")  # an environment may hold bytes that are no UTF-8


# Not in Streamlit's cache, which any browser may ask the server to clear.
ATTEMPTS = Attempts()
