"""The soak: slopes as others fit them, verdicts, and a server that leaks told from one that does not."""

import asyncio
import os
import time

import numpy as np
import psutil
import pytest

from tests.benchmarks import soak
from tests.benchmarks._visitor import LostError, Visitor
from tests.server import Server
from tests.test_class_load import aside

pytestmark = pytest.mark.skipif(os.name != "posix", reason="open files are counted as POSIX does")
MB = 1e6
# a page that keeps, with each run of its script, what `?leak=1` asks it to
PAGE = """
import streamlit as st


@st.cache_resource
def kept():
    return []


st.slider("Outside", 0, 100, 50)
if "leak" in st.query_params:
    kept().append((bytearray(b"x" * 2**20), open(__file__)))
"""


def sample(seconds, **figures):
    usual = dict.fromkeys(soak.Sample._fields, 0) | {"uss": 500 * MB, "rss": 600 * MB, "fds": 50, "threads": 20}
    return soak.Sample(**usual | {"seconds": seconds} | figures)


def soaked(**per_minute):
    """Half an hour in which figures rise."""
    begun = {"uss": 500 * MB, "fds": 50, "threads": 20, "children": 1, "sessions": 30}
    samples = [
        sample(t, **{name: int(begun[name] + rise * t / 60) for name, rise in per_minute.items()})
        for t in np.arange(0, 1800, 5.0)
    ]
    return soak.Soak(samples, changes=9, sessions=9, races=9)


# ---- slopes ----


@pytest.mark.parametrize("count", [3, 7, 12])
def test_a_slope_equals_numpys(count):
    """Of as many spans as there are samples; numpy's covariance gives the interval, with a table's quantile."""
    rng = np.random.default_rng(count)
    seconds, values = np.sort(rng.uniform(0, 600, count)), rng.normal(size=count)
    (expected, _), covariance = np.polyfit(seconds / 60, values, 1, cov=True)
    half = {3: 12.7062, 7: 2.5706, 12: 2.2281}[count] * np.sqrt(covariance[0, 0])  # of t with count - 2 degrees
    found = soak.slope(seconds, values)
    assert found == pytest.approx((expected, expected - half, expected + half), rel=1e-4)


def test_an_exact_rise_is_found():
    found = soak.slope(np.arange(0, 1200, 5.0), 7 + np.arange(0, 1200, 5.0) / 60 * 3.5)
    assert found == pytest.approx((3.5, 3.5, 3.5))


def test_the_interval_holds_what_is_true_nineteen_times_in_twenty():
    rng, seconds = np.random.default_rng(0), np.arange(0, 1200, 5.0)
    found = [soak.slope(seconds, 2 * seconds / 60 + rng.normal(scale=5, size=len(seconds))) for _ in range(1000)]
    share = np.mean([each.low <= 2 <= each.high for each in found])
    assert 0.93 < share < 0.97


# ---- verdicts ----


def test_the_first_third_is_not_judged():
    rising = [sample(t, uss=t * MB) for t in range(600)]
    assert [each.seconds for each in soak.Soak(rising).judged] == list(range(200, 600))
    assert [each.seconds for each in soak.Soak(rising[:300]).judged] == list(range(150, 300))


@pytest.mark.parametrize(
    ("rises", "flat"),
    [
        ({}, True),
        ({"uss": 0.9 * MB}, True),
        ({"uss": 1.1 * MB}, False),
        ({"fds": 0.5}, False),
        ({"threads": 0.5}, False),
        ({"children": 0.5}, False),
        ({"sessions": 0.5}, False),
        ({"fds": -2}, True),
    ],
)
def test_what_rises_is_told(capsys, rises, flat):
    assert soak.report(soaked(**rises)) is flat
    told = capsys.readouterr().out
    assert ("MISSED" in told) is not flat
    assert told.splitlines()[-1].startswith("flat" if flat else "NOT flat")


@pytest.mark.parametrize("change", [{"changes": 0}, {"races": 0}, {"errors": soak.Counter({"page: KeyError": 2})}])
def test_a_class_that_did_not_work_is_no_soak(capsys, change):
    measured = soaked()
    for name, value in change.items():
        setattr(measured, name, value)
    assert soak.report(measured) is False
    assert "errors: 2" in capsys.readouterr().out or "errors" not in change


def test_noise_that_hides_a_rise_is_flat():
    assert soak.Slope(1.2, -0.1, 2.5).is_flat(1.0)
    assert not soak.Slope(1.2, 0.1, 2.3).is_flat(1.0)


def test_samples_are_written(tmp_path):
    samples = [sample(0.5, uss=5), sample(5.5, fds=7)]
    soak.write(tmp_path / "samples.csv", samples)
    table = np.genfromtxt(tmp_path / "samples.csv", delimiter=",", names=True)
    assert table.dtype.names == soak.Sample._fields
    assert [tuple(row) for row in table] == [tuple(each) for each in samples]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--minutes", "3"], "--minutes must be from 4 to 1440, got 3.0"),
        (["--minutes", "nan"], "--minutes must be from 4 to 1440, got nan"),
        (["--sessions", "0"], "--sessions must be from 1 to 1000, got 0"),
        (["--stay", "31"], "--stay must be from 0.1 to --minutes, got 31.0"),
        (["--csv", "nowhere/samples.csv"], "--csv: there is no folder 'nowhere'"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(capsys, arguments, told):
    with pytest.raises(SystemExit) as end:
        soak.main(arguments)
    assert end.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"python -m poolviz bench soak: error: {told}"


# ---- real servers ----


@pytest.mark.parametrize("leak", ["", "leak=1"])
def test_a_leak_is_seen_from_outside(tmp_path, leak):
    (tmp_path / "page.py").write_text(PAGE)
    server = Server(tmp_path / "app.log", tmp_path / "page.py").wait()

    async def whole():
        visitor = Visitor(server.url, query=leak)
        await visitor.open()
        samples = []
        for _ in range(12):
            await visitor.move()
            samples.append(soak.look(psutil.Process(server.process.pid), server.url, time.monotonic()))
        assert samples[-1].sessions == 1
        await visitor.close()
        return samples

    try:
        samples = aside(asyncio.run, whole())
    finally:
        server.stop()
    grown = samples[-1].uss - samples[0].uss
    assert (samples[-1].fds - samples[0].fds, grown > 10 * MB) == ((11, True) if leak else (0, False))


def test_a_server_that_has_ended_is_one_sentence(tmp_path):
    (tmp_path / "page.py").write_text(PAGE)
    server = Server(tmp_path / "app.log", tmp_path / "page.py").wait()
    process = psutil.Process(server.process.pid)
    server.stop()
    with pytest.raises(LostError, match="^the app has ended or does not answer: "):
        soak.look(process, server.url, 0.0)


def test_a_small_class_comes_and_goes_on_the_app(capsys, monkeypatch):
    monkeypatch.setattr(soak, "EVERY", 1.0)
    monkeypatch.setattr(soak, "KEPT", 0.0)
    monkeypatch.setattr(soak, "RACE", soak.RACE | {"maps": "max", "epochs": 1, "width": 8})
    with soak.lesson.own_server() as own:
        measured = aside(asyncio.run, soak.hold(own, own.wait(), places=4, seconds=40, stay=8))
    assert measured.errors == {}
    assert measured.sessions > 4 and measured.changes > 4 and measured.races > 0
    sizes = [each.uss for each in measured.samples]
    assert len(sizes) > 5 and sizes[0] < sizes[-1]  # torch came with the first sessions
    assert max(each.sessions for each in measured.samples) >= 4
    soak.report(measured)
    assert "app, USS, MB" in capsys.readouterr().out
