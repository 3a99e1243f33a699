"""A teacher's settings: the environment's POOLVIZ_X, else x in [poolviz] of Streamlit's secrets.toml.

What bounds runs is read from the environment by the modules that keep to it, which know no Streamlit and whose
processes inherit it; so what stands in the secrets is put there, once a server. Who may start runs is asked for here
and never leaves this process.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

BOUNDS = ("max_queued", "max_seconds", "max_steps", "max_runs", "threads")
ACCESS = ("passphrase", "teachers")
LEAST_LENGTH = 8  # characters of a passphrase: with one guess a minute (guard.py), a word and a number last


@dataclass(frozen=True)
class Access:
    """Who may start what costs the server; nothing at all: those who sit at it."""

    passphrase: str = ""
    teachers: frozenset[str] = frozenset()  # addresses in lower case
    providers: tuple[str, ...] = ()  # of Streamlit's login; "" is the unnamed one

    @property
    def is_set(self) -> bool:
        """Whether the teacher has said who may."""
        return bool(self.passphrase or self.teachers or self.providers)


def access() -> Access:
    """What is set now; ValueError, one sentence without a secret in it, for what cannot be meant."""
    section = _section("poolviz")
    unknown = sorted(set(section) - {*BOUNDS, *ACCESS})
    if unknown:
        raise ValueError(f"secrets.toml: [poolviz] knows {', '.join((*ACCESS, *BOUNDS))}, but not {unknown[0][:40]!r}.")
    for name in BOUNDS:
        if type(section.get(name, 0)) is not int:
            raise ValueError(f"secrets.toml: {name} in [poolviz] must be a whole number.")
    return Access(_passphrase(section), _teachers(section), _providers(_section("auth")))


@st.cache_resource(show_spinner=False)
def bounds_to_environment() -> None:
    """Put the secrets' bounds of runs where they are looked for; what is there already stays."""
    try:
        section = _section("poolviz")
    except ValueError:  # `access` tells whoever wants to start
        return
    for name in BOUNDS:
        if name in section and not _of_environment(name):
            os.environ[_variable(name)] = str(section[name])


def _passphrase(section: Mapping[str, Any]) -> str:
    found = _of_environment("passphrase") or section.get("passphrase", "")
    if not isinstance(found, str):
        raise ValueError("secrets.toml: passphrase in [poolviz] must be text in quotation marks.")
    found = found.strip()
    if 0 < len(found) < LEAST_LENGTH:
        raise ValueError(f"The passphrase that this server was given is too short: {LEAST_LENGTH} characters at least.")
    return found


def _teachers(section: Mapping[str, Any]) -> frozenset[str]:
    named = _of_environment("teachers")
    found = named.split(",") if named else section.get("teachers", [])
    if not isinstance(found, list) or not all(isinstance(each, str) and "@" in each for each in found):
        raise ValueError("teachers must be e-mail addresses: POOLVIZ_TEACHERS=a@b.c,d@e.f, or a list in secrets.toml.")
    return frozenset(each.strip().casefold() for each in found)


def _providers(auth: Mapping[str, Any]) -> tuple[str, ...]:
    """As `st.login` takes them: one without a name in [auth] itself, or one a table [auth.NAME]."""
    if "client_id" in auth:
        return ("",)
    return tuple(name for name, value in auth.items() if isinstance(value, Mapping) and "client_id" in value)


def _variable(name: str) -> str:
    return f"POOLVIZ_{name.upper()}"


def _of_environment(name: str) -> str:
    return os.environ.get(_variable(name), "").strip()


def _section(name: str) -> Mapping[str, Any]:
    """A table of the secrets, empty where there is none; ValueError where they cannot be read."""
    try:
        found = st.secrets.get(name, {})
    except StreamlitSecretNotFoundError as error:
        if error.error_id == "no-secrets-found":
            return {}
        raise ValueError("secrets.toml cannot be read; the server's log says where it is at fault.") from None
    except (OSError, UnicodeDecodeError):
        raise ValueError("secrets.toml cannot be read: it must be a UTF-8 text that the server may open.") from None
    if not isinstance(found, Mapping):
        raise ValueError(f"secrets.toml: {name} must be a section, [{name}] on a line of its own.")
    return found
