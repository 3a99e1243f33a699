"""A class at once on one server: time from a change to the end of its run, errors, memory and CPU; see `--help`.

Starts the app in a process of its own and opens a session a student over Streamlit's own protocol (`_visitor.py`),
in turn over the pages, each with an address of its own. For a minute each moves a slider, a select box or a number
field every 2 to 5 seconds. A change counts from the moment that it is due to the end of its run: on this machine,
without the time in which a browser draws.
The first session of each page opens alone and looks through all options of its select boxes, which loads the models
and data that are then shared; memory a session is what the others add, at the most, until the end.
With --training a further tab starts runs on digits, one after another, and watches them for as long.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import psutil
import streamlit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `python tests/benchmarks/class.py`
from poolviz.inputs.images import DIGIT_COUNT
from poolviz.pages import compare_parameters, parameters, sentence_parameters
from poolviz.runs.store import Run
from poolviz.training.config import TASKS
from tests.benchmarks._visitor import LostError, Visitor
from tests.benchmarks.pooling import processor
from tests.benchmarks.sequences import JUDGED
from tests.server import Server

THINK = (2.0, 5.0)  # seconds between an answer and the next change
P95 = 300.0  # milliseconds from a change to the end of its run, at most
MEMORY = 15.0  # MB a session beyond the shared models, at most
LOOK_EVERY = 1.0  # seconds between looks at the runs that train
RUN_STARTS = RUN_ENDS = 60.0  # seconds that a run has for it
MB = 1e6
SLOWEST = 3  # widgets that are named
HEADER = f"{'page':<16}{'sessions':>8}{'changes':>9}{'median ms':>11}{'p95 ms':>9}{'worst ms':>10}{'errors':>8}"


class Page(NamedTuple):
    """A page of the app."""

    path: str  # below the app's address
    address: Callable[[int], Mapping[str, object]]  # what follows the question mark, of student 0, 1, ...


def in_turn(options: Sequence[str], number: int) -> str:
    """The option of student `number`."""
    return options[number % len(options)]


def feature_maps_address(number: int) -> dict[str, object]:
    """Another digit each, another lens in turn, and a pooling that has a temperature."""
    lens = in_turn(list(parameters.LENSES), number)
    return {"index": number % DIGIT_COUNT, "lens": lens, "operators": "max,average,softmax-stochastic"}


def sentences_address(number: int) -> dict[str, object]:
    """Sentences of one's own, another lens in turn."""
    text = f"Student {number} sat on the bank of the river.\nThe bank raised its rates {number} times."
    return {"source": "own", "text": text, "lens": in_turn(list(sentence_parameters.LENSES), number)}


def compare_address(number: int) -> dict[str, object]:
    """Tasks and views in turn, until each task has had each view."""
    view = in_turn(list(compare_parameters.VIEWS), number + number // len(TASKS))
    return {"task": in_turn(TASKS, number), "view": view}


def train_address(number: int) -> dict[str, object]:
    """Another seed each."""
    return {"seed": number}


PAGES = {
    "feature-maps": Page("", feature_maps_address),  # the first page has no path
    "sentences": Page("sentences", sentences_address),
    "compare": Page("compare", compare_address),
    "train": Page("train", train_address),
}
# Small batches of a wide network: about two minutes a run on one core.
LESSON = {"task": "digits", "maps": "max,average,stochastic", "epochs": 50, "batch": 8, "width": 64}


class Load(NamedTuple):
    """What the server's process holds and has used; without its helpers, as those that train."""

    own: int  # bytes, unique set size: would be free if it ended
    resident: int  # bytes, with what it shares with other processes
    cpu: float  # seconds on a core, so far


@dataclass
class Student:
    """A session, and how its changes went."""

    page: str
    visitor: Visitor
    opening: float = 0.0  # seconds to the end of the first run
    changes: list[tuple[str, float]] = field(default_factory=list)  # what was moved, seconds
    lost: str = ""  # why the session ended early

    async def open(self, explore: bool = False) -> None:
        """Open the page, and look through its select boxes where asked."""
        clock = asyncio.get_running_loop().time
        start = clock()
        try:
            await self.visitor.open()
            self.opening = clock() - start
            if explore:
                await self.visitor.look_through()
        except LostError as reason:
            self.lost = str(reason)

    async def work(self, until: float, think: tuple[float, float]) -> None:
        """Change something every now and then, until a time of the event loop's clock or until the session is lost."""
        clock = asyncio.get_running_loop().time
        try:
            while not self.lost and (due := clock() + self.visitor.chance.uniform(*think)) < until:
                await self.visitor.rest(due)
                moved = await self.visitor.move()
                self.changes.append((moved, clock() - due))
        except LostError as reason:
            self.lost = str(reason)

    @property
    def errors(self) -> list[str]:
        """A sentence each."""
        return [*self.visitor.errors, *([self.lost] if self.lost else [])]


class Figures(NamedTuple):
    """Of some changes: milliseconds, interpolated linearly between neighbours."""

    count: int
    median: float
    p95: float
    worst: float


def figures(seconds: Sequence[float]) -> Figures | None:
    """None where nothing was measured."""
    if not seconds:
        return None
    times = [1000 * each for each in seconds]
    p95 = statistics.quantiles(times, n=100, method="inclusive")[94] if len(times) > 1 else times[0]
    return Figures(len(times), statistics.median(times), p95, max(times))


class Training:
    """Runs on digits that a tab starts and watches.

    Args:
        url: Where the app is.
        runs: The folder in which its server keeps them, and nothing else.

    Attributes:
        steps: Optimizer steps that were taken beside the class.
        fault: Why there was not always one that trained; empty where there was.
    """

    def __init__(self, url: str, runs: Path) -> None:
        self.steps, self.fault = 0, ""
        self._visitor, self._folder, self._over = Visitor(url, "train", urlencode(LESSON)), runs, False

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Start them, wait until one trains, watch while the class works, and stop all.

        LostError where none trains, and where one does not stop.
        """
        await self._visitor.open()
        await self._visitor.press("Start")
        await self._until(lambda: self._steps() > 0, RUN_STARTS, "no run began to train")
        before, watching = self._steps(), asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self.steps = self._steps() - before
            if not any(run.state == "running" for run in self._runs()):
                self.fault = "the training ended before the class did"
            self._over = True
            await watching
            for run in self._runs():
                run.ask_to_stop()
            await self._until(lambda: all(run.ended for run in self._runs()), RUN_ENDS, "a run did not stop")
            await self._visitor.close()

    async def _watch(self) -> None:
        """Stay on the page, which looks again every second."""
        clock = asyncio.get_running_loop().time
        try:
            while not self._over:
                await self._visitor.rest(clock() + LOOK_EVERY)
        except LostError as reason:
            self.fault = f"who watches the training lost the session: {reason}"

    async def _until(self, done: Callable[[], bool], seconds: float, otherwise: str) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while not done():
            if clock() > deadline:
                raise LostError(f"{otherwise} within {seconds:g} s")
            await self._visitor.rest(clock() + LOOK_EVERY)

    def _runs(self) -> list[Run]:
        return [Run(file.parent) for file in self._folder.glob("*/config.json")]

    def _steps(self) -> int:
        """So far, of all runs."""
        return sum(max((row.get("step", 0) for row in run.metrics()), default=0) for run in self._runs())


@dataclass
class Lesson:
    """What was measured."""

    students: list[Student]
    pages: Sequence[str]
    loads: list[tuple[str, Load]] = field(default_factory=list)  # at moments, in order; empty for another's server

    @property
    def session_memory(self) -> float | None:
        """Bytes that a session adds, at the most, beyond the shared models; None where it was not measured."""
        if not self.loads:
            return None
        _, (_, shared), *later = self.loads
        return (max(each.own for _, each in later) - shared.own) / (len(self.students) - len(self.pages))


async def hold(
    url: str,
    pages: Mapping[str, Page],
    clients: int,
    seconds: float,
    think: tuple[float, float] = THINK,
    seed: int = 0,
    load: Callable[[], Load] | None = None,
    training: Training | None = None,
) -> Lesson:
    """Let a class work on an app.

    Args:
        url: Where the app is, without a page.
        pages: By the name that the table gives them.
        clients: Sessions, more than pages, in turn over them.
        seconds: For which they make changes.
        think: Seconds from an answer to the next change, at least and at most.
        seed: Of their choices.
        load: What the server holds and has used now; None where it cannot be known.
        training: What trains meanwhile.

    Raises:
        LostError: No first session of a page could be opened, or the training failed; the message says why.
    """
    lesson = Lesson([], list(pages))
    for number in range(clients):
        name, count = in_turn(lesson.pages, number), number // len(pages)
        visitor = Visitor(url, pages[name].path, urlencode(pages[name].address(count)), seed=1000 * seed + number)
        lesson.students.append(Student(name, visitor))

    def look(moment: str) -> None:
        if load is not None:
            lesson.loads.append((moment, load()))

    first, others = lesson.students[: len(pages)], lesson.students[len(pages) :]
    look("before the first session")
    await asyncio.gather(*(student.open(explore=True) for student in first))
    if all(student.lost for student in first):
        raise LostError(first[0].lost)
    async with training.beside() if training else nullcontext():
        look("one session a page, shared models loaded")
        await asyncio.gather(*(student.open() for student in others))
        look(f"{clients} sessions, opened")
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(student.work(until, think) for student in lesson.students))
        look(f"{clients} sessions, at the end")
    await asyncio.gather(*(student.visitor.close() for student in lesson.students))
    return lesson


def line(name: str, students: Sequence[Student]) -> tuple[str, bool]:
    """A line of the table, and whether these students' changes keep the limits."""
    found = figures([seconds for student in students for _, seconds in student.changes])
    errors = sum(len(student.errors) for student in students)
    kept = found is not None and found.p95 <= P95 and not errors
    times = (
        f"{found.count:>9}{found.median:>11.0f}{found.p95:>9.0f}{found.worst:>10.0f}" if found else f"{0:>9}{'':>30}"
    )
    return f"{name:<16}{len(students):>8}{times}{errors:>8}{JUDGED[kept]}", kept


def slowest(lesson: Lesson) -> list[str]:
    """The widgets whose changes take longest at the median, in words."""
    by_widget: dict[str, list[float]] = {}
    for student in lesson.students:
        for moved, seconds in student.changes:
            by_widget.setdefault(f"{student.page}, {moved}", []).append(seconds)
    found = [(figures(seconds), name) for name, seconds in by_widget.items()]
    found.sort(key=lambda each: each[0].median, reverse=True)
    return [f"{name}: median {of.median:.0f} ms, worst {of.worst:.0f} ms of {of.count}" for of, name in found[:SLOWEST]]


def report_changes(lesson: Lesson) -> list[bool]:
    """Print times and errors; the verdicts."""
    print(f"from a change to the end of its run; limits: p95 <= {P95:g} ms, no error\n{HEADER}")
    groups = {page: [student for student in lesson.students if student.page == page] for page in lesson.pages}
    verdicts = []
    for name, students in [*groups.items(), *([("all", lesson.students)] if len(groups) > 1 else [])]:
        told, kept = line(name, students)
        print(told)
        verdicts.append(kept)
    for told in slowest(lesson):
        print(f"  slowest: {told}")
    errors = Counter(f"{student.page}: {error}" for student in lesson.students for error in student.errors)
    for error, count in errors.most_common():
        print(f"  {count} x {error}")
    together = lesson.students[len(lesson.pages) :]
    opened = figures([student.opening for student in together if student.opening])
    if opened:
        print(f"{len(together)} opened at once: median {opened.median:,.0f} ms, worst {opened.worst:,.0f} ms")
    return verdicts


def report_load(lesson: Lesson) -> list[bool]:
    """Print what the server holds and uses; the verdict, where it was measured."""
    a_session = lesson.session_memory
    if a_session is None:
        print("\nmemory: not measured, the server is not this command's own")
        return []
    print(f"\n{'the server holds':<44}{'USS MB':>9}{'RSS MB':>9}")
    for moment, load in lesson.loads:
        print(f"{moment:<44}{load.own / MB:>9.0f}{load.resident / MB:>9.0f}")
    kept = a_session <= MEMORY * MB
    print(f"{'a session beyond one a page (USS)':<44}{a_session / MB:>9.1f}  limit: <= {MEMORY:g} MB{JUDGED[kept]}")
    *_, (_, opened), (_, end) = lesson.loads
    changes = sum(len(student.changes) for student in lesson.students)
    if changes:
        print(f"the server's CPU: {1000 * (end.cpu - opened.cpu) / changes:.0f} ms a change")
    return [kept]


def report(lesson: Lesson, training: Training | None) -> bool:
    """Print everything; whether all limits are kept."""
    verdicts = [*report_changes(lesson), *report_load(lesson)]
    if training is not None:
        kept = training.steps > 0 and not training.fault
        print(f"\ntraining beside it: {training.steps:,} steps{JUDGED[kept]} {training.fault}".rstrip())
        verdicts.append(kept)
    return all(verdicts)


class OwnServer:
    """The app in a process of its own, which writes to `app.log` in a folder and keeps its runs in `runs` there."""

    def __init__(self, folder: Path) -> None:
        self.runs, self._log = folder / "runs", folder / "app.log"
        self.runs.mkdir()
        # an exception that a visitor does not see has a name here
        self._server = Server(self._log, POOLVIZ_RUNS=str(self.runs), STREAMLIT_CLIENT_SHOW_ERROR_DETAILS="full")
        self.process = psutil.Process(self._server.process.pid)

    def wait(self) -> str:
        """The address, as soon as it answers; LostError where it does not start."""
        try:
            return self._server.wait().url
        except RuntimeError:
            raise LostError(f"the app did not start; {self._last_line()}") from None

    def load(self) -> Load:
        """What it holds and has used; LostError where it has ended."""
        try:
            memory, cpu = self.process.memory_full_info(), self.process.cpu_times()
        except psutil.NoSuchProcess:
            raise LostError(f"the app has ended; {self._last_line()}") from None
        return Load(memory.uss, memory.rss, cpu.user + cpu.system)

    def end(self) -> None:
        """End it and all that it started."""
        helpers = self.process.children(recursive=True) if self.process.is_running() else []
        try:
            self._server.stop()
        finally:  # also where it does not end in time
            self._server.process.kill()
            _, left = psutil.wait_procs(helpers, timeout=20)
            for helper in left:
                helper.kill()

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"its last line was: {lines[-1] if lines else 'none'}"


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """The app without any runs; its process and its folder are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="poolviz-class-", ignore_cleanup_errors=True) as folder:
        server = OwnServer(Path(folder))
        try:
            yield server
        finally:
            server.end()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command's options; ends the process with one sentence where they do not fit."""
    parser = argparse.ArgumentParser(prog="python -m poolviz bench class", description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=30, help="sessions (default %(default)s)")
    parser.add_argument(
        "--pages",
        default="feature-maps,sentences",
        help=f"over which they spread, of {', '.join(PAGES)} (default %(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of changes (default %(default)g)")
    parser.add_argument("--seed", type=int, default=0, help="of what they change, and when (default %(default)s)")
    parser.add_argument("--training", action="store_true", help="train on digits meanwhile")
    parser.add_argument("--url", help="an app that runs already, as http://127.0.0.1:8501; default: start one")
    options = parser.parse_args(argv)
    options.pages = list(dict.fromkeys(options.pages.split(",")))
    unknown = [page for page in options.pages if page not in PAGES]
    if unknown:
        parser.error(f"unknown page {unknown[0]!r}: choose of {', '.join(PAGES)}")
    if options.clients <= len(options.pages):
        parser.error(f"--clients must be more than the {len(options.pages)} pages, got {options.clients}")
    if not THINK[1] < options.seconds < float("inf"):
        parser.error(f"--seconds must be more than {THINK[1]:g}, the longest wait for a change, got {options.seconds}")
    if options.url and options.training:
        parser.error("--training starts a server of its own, so that it leaves no runs on another: omit --url")
    if options.url and not options.url.startswith(("http://", "https://")):
        parser.error(f"--url must begin with http:// or https://, got {options.url[:60]!r}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a limit is missed or nothing could be measured."""
    options = parse(argv)
    busy = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    nice = f", nice {os.nice(0)}" if hasattr(os, "nice") and os.nice(0) else ""
    print(f"streamlit {streamlit.__version__}, {processor()}, {os.cpu_count()} cores{busy}{nice}")
    print(f"{options.clients} sessions, a change each {THINK[0]:g} to {THINK[1]:g} s for {options.seconds:g} s\n")
    sys.stdout.flush()
    pages = {name: PAGES[name] for name in options.pages}
    measure = partial(hold, pages=pages, clients=options.clients, seconds=options.seconds, seed=options.seed)
    training = None
    try:
        if options.url:
            lesson = asyncio.run(measure(options.url))
        else:
            with own_server() as own:
                url = own.wait()
                training = Training(url, own.runs) if options.training else None
                lesson = asyncio.run(measure(url, load=own.load, training=training))
    except LostError as error:
        print(f"poolviz bench class: {error}", file=sys.stderr)
        return 1
    return int(not report(lesson, training))


if __name__ == "__main__":
    sys.exit(main())
