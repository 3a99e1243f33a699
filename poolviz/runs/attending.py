"""Attend to a run's process: start it, end it when somebody asks, and say how it ended when it cannot.

`attend` is the task that a Dask worker runs, in the app's own process or on another machine; the training is always a
process of its own, so that it can be ended at any moment, and its memory with it. It outlives whoever attends to it:
an attendant that finds a living process waits for that one. Knows nothing of the queue that calls it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from distributed import get_worker

from poolviz.runs.standby import LOOK, PLACES, spawn
from poolviz.runs.store import GONE, STOPPED, Run, is_alive
from poolviz.training.folder import ENDED, read_json

GRACE = 1.2  # seconds that a process has to end by itself
WARMING = 30.0  # seconds that a run waits for a process that is getting ready
LEAVING = threading.Event()  # this process ends: runs go on without it

logger = logging.getLogger(__name__)


def attend(folder: str, resume: bool = False, ticket: str = "") -> str:
    """See the run in `folder` to its end; its state then. `ticket` tells a resumed run from its first attempt."""
    run = Run(Path(folder))
    try:
        if is_current(run, ticket):
            _attend(run, resume, ticket)
    except Exception as error:  # a task that fails is told by nobody
        logger.exception("%s", run.name)
        tell(run, "failed", f"Its process could not be started: {' '.join(str(error).split())[:200]}")
    return run.state


def is_current(run: Run, ticket: str) -> bool:
    """Whether the run was not resumed since: then it is another task's."""
    return run.job.get("ticket", "") == ticket


def tell(run: Run, state: str, reason: str) -> None:
    """Say how a run ended, unless it has said so itself."""
    if _state(run) in ENDED or not run.folder.is_dir():
        return
    try:
        run.set_status(state, reason)
    except OSError as error:  # its process is gone, which the status then says by itself
        logger.warning("%s: %s", run.name, error)


def _state(run: Run) -> str:
    """As it is written, whether or not the process lives."""
    return read_json(run.folder / "status.json").get("state", "")


def _attend(run: Run, resume: bool, ticket: str) -> None:
    if LEAVING.is_set():
        return
    if _state(run) == "queued" and run.asked_to_stop:
        tell(run, "stopped", STOPPED)
    if _state(run) == "queued":
        slot = _slot()
        process = _start(run, resume, slot)
        if process is not None:
            if _watch(run, process, slot):
                if is_current(run, ticket):  # its process says that it has ended some time before it has
                    _tell_end(run, process.returncode)
                if PLACES.wanted:
                    _fill(slot)
            return
    if _state(run) == "running" and _watch_another(run) and is_current(run, ticket):
        _tell_end(run, None)


def _slot() -> int:
    """The number of the worker that this is, where the queue is this process's own."""
    try:
        name = get_worker().name
    except ValueError:
        return 0
    return name if isinstance(name, int) and name < len(PLACES.environments) else 0


def _start(run: Run, resume: bool, slot: int) -> subprocess.Popen[str] | None:
    """A process that does the run: the one that stands by, or a new one; None where there shall be none."""
    standing = PLACES.at(slot)
    if standing is not None:
        if standing.claim(WARMING, enough=lambda: run.asked_to_stop):
            try:
                if not _take(run, standing.process.pid):
                    return None  # the process stands by for the next one
                PLACES.leave(slot, standing)
                return standing.hand(run.folder, resume)
            except OSError:
                standing.end()
                _give_back(run)
            finally:
                standing.line.release()
        elif LEAVING.is_set():
            return None  # it waits on, for the next app
        elif run.asked_to_stop:
            tell(run, "stopped", STOPPED)
            return None
        else:
            PLACES.leave(slot, standing)
            standing.end()
    return _start_anew(run, resume, PLACES.environments[slot])


def _start_anew(run: Run, resume: bool, environment: dict[str, str]) -> subprocess.Popen[str] | None:
    try:
        log = (run.folder / "log.txt").open("a", encoding="utf-8")
    except OSError:  # a full disk is told by the run itself
        log = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  closed below
    with log:
        arguments = [str(run.folder), *(["--resume"] if resume else [])]
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        process = spawn(*arguments, environment=environment, **streams)
    if _take(run, process.pid):
        return process
    process.kill()  # it is at its imports
    process.wait()
    return None


def _take(run: Run, pid: int) -> bool:
    """Whether the run is this process's now; not where somebody else's attendant has given it to another."""
    try:
        return run.set_running(pid)
    except OSError:  # the process says it as well, or why it cannot
        return True


def _give_back(run: Run) -> None:
    """Its process has died before it heard of the run, which waits again."""
    with suppress(OSError):
        run.set_status("queued")


def _watch(run: Run, process: subprocess.Popen[str], slot: int) -> bool:
    """Wait for its end; meanwhile the next one gets ready, once this run has shown its first points."""
    filled = False

    def alive() -> bool:
        nonlocal filled
        if PLACES.wanted and not filled and _has_begun(run):
            filled = _fill(slot)
        return process.poll() is None

    return _wait(run, alive, process.pid)


def _has_begun(run: Run) -> bool:
    """Whether there is more of a curve than its first line, which says what lies ahead."""
    try:
        with (run.folder / "metrics.jsonl").open("rb") as lines:
            return next(lines, b"") != b"" and next(lines, b"") != b""
    except OSError:
        return False


def _fill(slot: int) -> bool:
    with suppress(OSError):  # no room for one: the next run starts without
        PLACES.fill(slot)
    return True


def _watch_another(run: Run) -> bool:
    """Wait for the end of a process that somebody else started; on another machine its heartbeat tells."""
    status = read_json(run.folder / "status.json")
    process = None
    if status.get("host") == socket.gethostname() and is_alive(status):
        with suppress(psutil.Error):
            process = psutil.Process(int(status["pid"]))

    def alive() -> bool:
        if process is None:
            status = read_json(run.folder / "status.json")
            return status.get("state") == "running" and is_alive(status)
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    return _wait(run, alive, process.pid if process is not None else None)


def _wait(run: Run, alive: Callable[[], bool], pid: int | None) -> bool:
    """Until a process has ended, which it does soon after somebody asked it to; False where this process ends first."""
    asked = 0.0
    while alive():
        if LEAVING.is_set():
            return False
        if pid is not None and run.asked_to_stop:
            now = time.monotonic()
            asked = asked or now
            _end(pid, kill=now - asked > GRACE, first=now == asked)
        time.sleep(LOOK)
    return True


def _end(pid: int, kill: bool, first: bool) -> None:
    """Ask a process to end, once; then end it, and what it has started. It also looks for the stop file by itself."""
    with suppress(OSError, psutil.Error):
        if os.name != "posix":
            if kill:
                psutil.Process(pid).kill()
        elif kill and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        elif kill or first:
            os.kill(pid, signal.SIGKILL if kill else signal.SIGTERM)


def _tell_end(run: Run, code: int | None) -> None:
    """In one sentence how a process ended that could not say so itself; nobody knows the code of another's."""
    _clear(run)
    if run.asked_to_stop:
        tell(run, "stopped", STOPPED)
    elif code is None:
        tell(run, "failed", GONE)
    elif code < 0:
        why = ": the machine may have run out of memory" if code == -signal.SIGKILL else ""
        tell(run, "failed", f"Its process was killed (signal {-code}){why}.")
    else:
        tell(run, "failed", f"Its process ended without a word (exit code {code}){_last_words(run)}.")


def _clear(run: Run) -> None:
    """Remove what a process had half written when it was killed: weights of an encoder are hundreds of megabytes."""
    for half in run.folder.glob("*.tmp"):
        with suppress(OSError):
            half.unlink()


def _last_words(run: Run) -> str:
    with suppress(OSError):
        lines = (run.folder / "log.txt").read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"; its log ends with: {said[-1][:200].rstrip('.')}" if said else ""
    return ""
