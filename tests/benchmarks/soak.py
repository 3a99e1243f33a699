"""Half an hour of a class that comes and goes while runs train: do memory, files and threads of the app stay flat?

Starts the app and lets sessions work on all pages as `bench class` does. Each closes after a few minutes, and another
one, with another address, takes its place, so that what a session leaves behind adds up. Meanwhile runs on digits are
started by the training page, one race after another. Every few seconds the app's process is looked at from outside,
and what it has started apart from it.
The first third, and at least two and a half minutes, warms up: models load, caches fill, and the sessions that
Streamlit keeps for a while come to their full number. Over the rest a line is fitted by least squares to the means of
equal spans of time, because samples that follow one another are not independent; its slope has an interval of 95 % by
Student's t. A figure is flat where its slope is below the limit, or is not told from zero.
"""

import argparse
import asyncio
import csv
import importlib
import os
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np
import psutil
import streamlit
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `python tests/benchmarks/soak.py`
from poolviz.runs.store import Run
from tests.benchmarks._visitor import LostError, Visitor
from tests.benchmarks.pooling import processor
from tests.benchmarks.sequences import JUDGED

lesson = importlib.import_module("tests.benchmarks.class")  # a word that `import` does not take

MB = 1e6
WARMING = 1 / 3  # of the time, which is not judged,
KEPT = 150.0  # nor are so many seconds: Streamlit keeps a session that is gone for two minutes, should it come again
SHORTEST = 4.0  # minutes that have something to judge
SPANS = 12  # in which the rest is averaged, at the most
EVERY = 5.0  # seconds between two samples
STAY = (0.5, 1.5)  # of --stay, that a session lives: at least and at most
LOOK = 1.0  # seconds between two looks at a race
RACE = {"task": "digits", "maps": "max,average,stochastic"}
LIMITS = {  # a minute, at the most; sessions are told by Streamlit
    "uss": 1 * MB,
    "fds": 0.2,
    "threads": 0.2,
    "children": 0.2,
    "sessions": 0.2,
}
UNITS = {"uss": ("app, USS, MB", MB), "fds": ("open files", 1), "threads": ("threads", 1)}
UNITS |= {"children": ("processes it started", 1), "sessions": ("sessions that it knows", 1)}
HEADER = f"{'figure':<26}{'begin':>9}{'end':>9}{'an hour':>11}{'95 % interval':>22}{'limit':>9}"
SESSIONS = re.compile(rb"^active_sessions\S* (\d+)", re.MULTILINE)


class Sample(NamedTuple):
    """The app at a moment, seen from outside."""

    seconds: float  # since the beginning
    uss: int  # bytes that would be free if its process ended
    rss: int  # bytes, with what it shares
    fds: int
    threads: int
    children: int  # processes that it has started, and those that they have
    children_rss: int  # bytes, of all of them
    sessions: int  # that Streamlit takes for active


class Slope(NamedTuple):
    """A line through samples."""

    a_minute: float
    low: float  # a minute, of the 95 % interval
    high: float

    def is_flat(self, limit: float) -> bool:
        """Whether it rises by less than `limit` a minute, or is not told from zero."""
        return self.a_minute < limit or self.low <= 0


def slope(seconds: Sequence[float], values: Sequence[float], spans: int = SPANS) -> Slope:
    """Least squares through the means of equal spans of time.

    Args:
        seconds: Of the samples, ascending, at least three.
        values: As many.
        spans: At the most; fewer where there are few samples.
    """
    count = min(spans, len(seconds))
    x, y = (
        np.array([part.mean() for part in np.array_split(np.asarray(each, float), count)]) for each in (seconds, values)
    )
    line = stats.linregress(x / 60, y)
    half = stats.t.ppf(0.975, count - 2) * line.stderr
    return Slope(line.slope, line.slope - half, line.slope + half)


@dataclass
class Soak:
    """What was measured."""

    samples: list[Sample] = field(default_factory=list)
    changes: int = 0
    sessions: int = 0  # that have come
    races: int = 0  # that have ended
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def judged(self) -> list[Sample]:
        """Without those of the warm-up."""
        end = self.samples[-1].seconds if self.samples else 0.0
        return [each for each in self.samples if each.seconds >= max(end * WARMING, KEPT)]


def look(process: psutil.Process, url: str, seconds: float) -> Sample:
    """The app now; LostError where it has ended or does not answer."""
    try:
        with process.oneshot():
            memory, fds, threads = process.memory_full_info(), process.num_fds(), process.num_threads()
        sizes = [size for child in process.children(recursive=True) if (size := resident(child))]
        with urllib.request.urlopen(url + "_stcore/metrics?families=active_sessions", timeout=30) as answer:
            found = SESSIONS.search(answer.read())
    except (psutil.Error, OSError) as error:
        raise LostError(f"the app has ended or does not answer: {error}") from None
    sessions = int(found[1]) if found else 0
    return Sample(seconds, memory.uss, memory.rss, fds, threads, len(sizes), sum(sizes), sessions)


def resident(process: psutil.Process) -> int:
    """Bytes; 0 for one that has ended meanwhile."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


async def sit(soak: Soak, url: str, place: int, places: int, stay: float, until: float) -> None:
    """One place in the class: sessions of about `stay` seconds follow one another on it until a time of the clock.

    Args:
        soak: To which changes and errors are added.
        url: Where the app is.
        place: 0, 1, ...; decides the page.
        places: How many there are: no two sessions have the same address.
        stay: Seconds.
        until: By the event loop's clock.
    """
    clock, page = asyncio.get_running_loop().time, lesson.in_turn(list(lesson.PAGES), place)
    number = place
    while clock() < until:
        address = urlencode(lesson.PAGES[page].address(number))
        student = lesson.Student(page, Visitor(url, lesson.PAGES[page].path, address, seed=number))
        soak.sessions += 1
        await student.open()
        leaves = clock() + stay * student.visitor.chance.uniform(*STAY)
        await student.work(min(until, leaves), lesson.THINK)
        soak.errors.update(f"{page}: {error}" for error in student.errors)
        soak.changes += len(student.changes)
        if student.lost:
            await asyncio.sleep(LOOK)  # an app that is gone is not asked without a pause
        await student.visitor.close()
        number += places


async def race(soak: Soak, url: str, runs: Path, until: float) -> None:
    """Start runs by the training page and watch them there, one race after another; at the end all are stopped."""
    clock = asyncio.get_running_loop().time
    while clock() < until:
        visitor = Visitor(url, "train", urlencode(RACE | {"seed": soak.races}))
        try:
            await visitor.open()
            await visitor.press("Start")
            if not going(runs):
                raise LostError("Start has started nothing")
            while clock() < until and going(runs):
                await visitor.rest(clock() + LOOK)
            soak.races += not going(runs)
        except LostError as reason:
            visitor.errors.append(str(reason))
            await asyncio.sleep(LOOK)
        soak.errors.update(f"who trains: {error}" for error in visitor.errors)
        await visitor.close()
    for run in going(runs):
        run.ask_to_stop()


def going(runs: Path) -> list[Run]:
    """Those in a folder that wait or train."""
    found = [Run(path.parent) for path in runs.glob("*/config.json")]
    return [run for run in found if not run.ended]


async def watch(soak: Soak, process: psutil.Process, url: str, until: float) -> None:
    """Take samples until a time of the clock."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while clock() < until:
        soak.samples.append(await asyncio.to_thread(look, process, url, clock() - began))
        await asyncio.sleep(EVERY)


async def hold(own: Any, url: str, places: int, seconds: float, stay: float, soak: Soak | None = None) -> Soak:
    """Let a class come and go for some seconds; LostError where the app does not live that long."""
    soak = soak or Soak()
    until = asyncio.get_running_loop().time() + seconds
    sitting = (sit(soak, url, place, places, stay, until) for place in range(places))
    lost: list[Exception] = []
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(watch(soak, own.process, url, until))
            group.create_task(race(soak, url, own.runs, until))
            for each in sitting:
                group.create_task(each)
    except* LostError as reasons:
        lost.extend(reasons.exceptions)
    if lost:
        raise lost[0]
    return soak


def values(samples: Sequence[Sample], name: str) -> list[float]:
    """One figure of each sample, in the unit of its line."""
    return [getattr(each, name) / UNITS[name][1] for each in samples]


def report(soak: Soak) -> bool:
    """Print slopes and errors; whether all is flat and nothing failed."""
    judged = soak.judged
    seconds = [each.seconds for each in judged]
    print(f"over the last {(seconds[-1] - seconds[0]) / 60:.1f} minutes, {len(judged)} samples\n{HEADER}")
    verdicts = []
    for name, (told, unit) in UNITS.items():
        of, limit = values(judged, name), LIMITS[name] / unit
        found = slope(seconds, of)
        verdicts.append(found.is_flat(limit))
        interval = f"{60 * found.low:.1f} to {60 * found.high:.1f}"
        figures = f"{of[0]:>9.0f}{of[-1]:>9.0f}{60 * found.a_minute:>11.1f}{interval:>22}{60 * limit:>9.0f}"
        print(f"{told:<26}{figures}{JUDGED[verdicts[-1]]}")
    most = max(soak.samples, key=lambda each: each.children_rss)
    print(
        f"processes that the app started held {most.children_rss / MB:.0f} MB at the most, the app {most.rss / MB:.0f}"
    )
    errors = soak.errors.total()
    print(f"{soak.sessions} sessions, {soak.changes:,} changes, {soak.races} races to their end, errors: {errors}")
    for error, count in soak.errors.most_common():
        print(f"  {count} x {error}")
    verdicts += [not errors, soak.changes > 0, soak.races > 0]
    print("flat" if all(verdicts) else "NOT flat, or not without errors")
    return all(verdicts)


def write(path: Path, samples: Sequence[Sample]) -> None:
    """A line a sample, bytes as bytes."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Sample._fields)
        writer.writerows(samples)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options; ends the process with one sentence where they do not fit."""
    parser = argparse.ArgumentParser(prog="python -m poolviz bench soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="warm-up included (default %(default)g)")
    parser.add_argument("--sessions", type=int, default=30, help="at once (default %(default)s)")
    parser.add_argument("--stay", type=float, default=3.0, help="minutes that a session lives (default %(default)g)")
    parser.add_argument("--csv", type=Path, help="where the samples go")
    options = parser.parse_args(argv)
    if not SHORTEST <= options.minutes <= 24 * 60:
        parser.error(f"--minutes must be from {SHORTEST:g} to {24 * 60}, got {options.minutes}")
    if not 1 <= options.sessions <= 1000:
        parser.error(f"--sessions must be from 1 to 1000, got {options.sessions}")
    if not 0.1 <= options.stay <= options.minutes:
        parser.error(f"--stay must be from 0.1 to --minutes, got {options.stay}")
    if options.csv and not options.csv.resolve().parent.is_dir():
        parser.error(f"--csv: there is no folder {str(options.csv.parent)!r}")
    if os.name != "posix":
        parser.error("open files are counted as POSIX does, which this system does not")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if something grows or fails."""
    options = parse(argv)
    print(f"streamlit {streamlit.__version__}, {processor()}, {os.cpu_count()} cores, nice {os.nice(0)}")
    print(
        f"{options.sessions} sessions at once for {options.minutes:g} minutes, each about {options.stay:g}\n",
        flush=True,
    )
    soak = Soak()
    try:
        with lesson.own_server() as own:
            url = own.wait()
            asyncio.run(hold(own, url, options.sessions, 60 * options.minutes, 60 * options.stay, soak))
    except LostError as lost:
        print(f"poolviz bench soak: {lost}", file=sys.stderr)
        return 1
    except subprocess.TimeoutExpired as late:  # what was measured before is told all the same
        soak.errors[f"the app did not end within {late.timeout:g} s of a SIGTERM"] += 1
    finally:
        if options.csv:
            write(options.csv, soak.samples)
    return int(not report(soak))


if __name__ == "__main__":
    sys.exit(main())
