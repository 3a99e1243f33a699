"""Tests that run a page without a browser have no connection: their visitor sits at a server where nothing is set."""

import sys

import pytest


@pytest.fixture(autouse=True)
def visitor_at_the_server(monkeypatch):
    if "streamlit" not in sys.modules:
        return  # a test of no page
    from poolviz.pages import guard, settings

    monkeypatch.setattr(guard, "at_the_server", lambda: True)
    monkeypatch.setattr(settings, "_section", lambda name: {})
    for name in settings.ACCESS:
        monkeypatch.delenv(f"POOLVIZ_{name.upper()}", raising=False)
