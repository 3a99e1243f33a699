"""What all tests share: a visitor without a connection, and one test alone where it measures.

Tests that run a page without a browser have no connection: their visitor sits at a server where nothing is set.
"""

import os
import sys
import tempfile
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Of several workers (`-n 2`) the others wait while a test measures time or memory."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return (yield)
    try:
        import fcntl
    except ImportError:  # Windows: nobody waits
        return (yield)

    alone = item.get_closest_marker("benchmark") is not None
    door, room = (Path(tempfile.gettempdir()) / f"poolviz-{run}-{name}" for name in ("door", "room"))
    with door.open("w") as entry, room.open("w") as place:
        fcntl.flock(entry, fcntl.LOCK_EX)  # whoever waits to be alone stands in the door, or others would go ahead
        fcntl.flock(place, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(entry, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(place, fcntl.LOCK_UN)  # a child that outlives its test has a copy of the file


@pytest.fixture
def figure(record_property):
    """Tell a figure, which is printed at the end of all tests."""
    return lambda sentence: record_property("measured", sentence)


def pytest_terminal_summary(terminalreporter):
    """The figures, also those of other workers, whose own prints nobody sees."""
    reports = [each for some in terminalreporter.stats.values() for each in some if getattr(each, "when", "") == "call"]
    figures = [text for each in reports for name, text in each.user_properties if name == "measured"]
    if figures:
        terminalreporter.section("measured")
    for figure in figures:
        terminalreporter.write_line(figure)


@pytest.fixture(autouse=True)
def visitor_at_the_server(monkeypatch):
    if "streamlit" not in sys.modules:
        return  # a test of no page
    from poolviz.pages import feature_maps, guard, settings

    # AppTest forgets the page when a part of it runs alone; that is tested over Streamlit's protocol
    monkeypatch.setattr(feature_maps, "OF_THE_STAGE", set())
    monkeypatch.setattr(guard, "at_the_server", lambda: True)
    monkeypatch.setattr(settings, "_section", lambda name: {})
    for name in settings.ACCESS:
        monkeypatch.delenv(f"POOLVIZ_{name.upper()}", raising=False)
