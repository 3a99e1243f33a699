"""The process that stands by: torch imported, an optimizer built, waiting for a run or for a question about its time.

A run that is handed to it has its first point within a second or two; a process that begins with its imports needs
some seconds more. `training/work.py` has the other end of the line: one JSON object a line, both ways. A process
serves any number of questions and one run; then another takes its place. Knows nothing of queues.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from poolviz.training.config import RunConfig
from poolviz.training.folder import PROJECT, cores

NICE = 19  # pages come first
LOOK = 0.05  # seconds between two looks
REMEMBERED = 256  # estimates
BUSY = "The time cannot be measured now, the machine is too busy: start without, or look again in a minute."


def spawn(*arguments: str, environment: Mapping[str, str] | None = None, **streams: Any) -> subprocess.Popen[str]:
    """A training process with less right to the processor than the pages have, in a session of its own.

    OSError where there is no room for one.
    """
    known = {**os.environ, **(environment or {})}
    if known.get("POOLVIZ_DATA"):  # it starts in another folder
        known["POOLVIZ_DATA"] = str(Path(known["POOLVIZ_DATA"]).expanduser().absolute())
    # one core is the pages'; OpenMP's threads wait for one another, and a page in between makes all of them late
    known.setdefault("POOLVIZ_THREADS", str(max(1, cores() - 1)))
    # a thread that waits actively takes the core that the other one needs
    known.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    windows = ("CREATE_NEW_PROCESS_GROUP", "BELOW_NORMAL_PRIORITY_CLASS")
    process = subprocess.Popen(
        [sys.executable, "-m", "poolviz.training.loop", *arguments],
        cwd=PROJECT,
        env=known,
        start_new_session=True,
        creationflags=sum(getattr(subprocess, name, 0) for name in windows),
        text=True,
        **streams,
    )
    if os.name == "posix":
        with suppress(psutil.Error):  # it may be gone, or nicer already
            psutil.Process(process.pid).nice(NICE)
    return process


class GoneError(RuntimeError):
    """The process has died or does not answer."""


class Standby:
    """One process. `line` is held by who speaks with it."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.line = threading.Lock()
        self.used = False  # it does a run, and listens no more
        self._ready = threading.Event()
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = spawn("--standby", environment=environment, **pipes)
        threading.Thread(target=self._listen, daemon=True, name="poolviz-standby").start()

    def _listen(self) -> None:
        with self.process.stdout as answers:
            for line in answers:
                if self._ready.is_set():
                    self._answers.put(line)
                elif line.strip() == "ready":
                    self._ready.set()
        self._answers.put("")  # nothing more will come

    @property
    def alive(self) -> bool:
        """Whether the process still is there."""
        return self.process.poll() is None

    def claim(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> bool:
        """Wait until it is ready, then hold its line; False where it died, takes too long, or one had `enough`."""
        end = time.monotonic() + seconds
        while self.alive and time.monotonic() < end and not enough():
            if self._ready.wait(LOOK) and self.line.acquire(timeout=LOOK):
                if not self.used:
                    return True
                self.line.release()
                break
        return False

    def measure(self, config: RunConfig, seconds: float) -> dict[str, Any]:
        """What the process measures; ValueError for what the run would end with, GoneError without an answer.

        The caller holds the line. A process that takes too long is ended: its answer would be taken for another's.
        """
        try:
            self._say({"measure": asdict(config)})
            answer = json.loads(self._answers.get(timeout=seconds))
        except (OSError, ValueError, queue.Empty):
            self.end()
            raise GoneError from None
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def hand(self, folder: Path, resume: bool) -> subprocess.Popen[str]:
        """Let it do the run in `folder`, its last order; OSError where it is gone. The caller holds the line."""
        self._say({"folder": str(folder), "resume": resume})
        self.used = True
        self.process.stdin.close()
        return self.process

    def _say(self, order: dict[str, Any]) -> None:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """End the process: it has nothing that could be lost."""
        self.process.kill()
        with suppress(OSError):
            self.process.stdin.close()
        self.process.wait()


class Places:
    """The processes that stand by in this app: at most one a slot of the queue."""

    def __init__(self) -> None:
        self.environments: list[dict[str, str]] = [{}]  # of the slots
        self.wanted = False  # whether another shall take the place of one that was used
        self._lock = threading.Lock()
        self._standing: dict[int, Standby] = {}

    def fill(self, slot: int = 0) -> Standby:
        """The slot's process, a new one where there is none; OSError where there is no room for one."""
        with self._lock:
            standing = self._standing.get(slot)
            if standing is not None and not standing.alive:
                standing.end()  # its pipes too
                standing = None
            if standing is None:
                standing = self._standing[slot] = Standby(self.environments[slot])
            return standing

    def at(self, slot: int) -> Standby | None:
        """The slot's process, if there is one."""
        with self._lock:
            return self._standing.get(slot)

    def leave(self, slot: int, standing: Standby) -> None:
        """It has been used, or is of no use."""
        with self._lock:
            if self._standing.get(slot) is standing:
                del self._standing[slot]

    def empty(self) -> None:
        """End all of them, and want none any more."""
        self.wanted = False
        with self._lock:
            standing, self._standing = list(self._standing.values()), {}
        for each in standing:
            each.end()


PLACES = Places()
atexit.register(PLACES.empty)


class Estimates:
    """What decides how long runs take, measured by the process that stands by and remembered."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._asking = threading.Lock()  # two measurements at once would measure each other
        self._known: dict[RunConfig, dict[str, Any]] = {}

    def ask(self, config: RunConfig, seconds: float) -> dict[str, Any]:
        """What is known of `config`, whatever its seed; ValueError, one sentence, without an answer in time."""
        question, end = replace(config, seed=0), time.monotonic() + seconds
        if question not in self._known:
            if not self._asking.acquire(timeout=seconds):
                raise ValueError(BUSY)
            try:
                if question not in self._known:
                    self._remember(question, self._measure(question, end))
            finally:
                self._asking.release()
        return dict(self._known[question])

    def _measure(self, config: RunConfig, end: float) -> dict[str, Any]:
        while (left := end - time.monotonic()) > 0:
            standing = self._places.fill()
            if not standing.claim(left, enough=lambda standing=standing: self._places.at(0) is not standing):
                if self._places.at(0) is standing and time.monotonic() >= end:
                    break
                continue  # it died, or a run has taken it: another one
            try:
                return standing.measure(config, max(1.0, end - time.monotonic()))
            except GoneError:
                continue
            finally:
                standing.line.release()
        raise ValueError(BUSY)

    def _remember(self, question: RunConfig, answer: dict[str, Any]) -> None:
        known = {**self._known, question: answer}
        self._known = dict(list(known.items())[-REMEMBERED:])  # replaced, not changed: readers hold no lock


ESTIMATES = Estimates(PLACES)
