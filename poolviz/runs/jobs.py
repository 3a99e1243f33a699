"""The queue of runs: asked for, waiting, going on, stopped. One run at a time a GPU, one in all without a GPU.

What is known of a run is in its folder. This process only remembers the order in which its own runs wait
(`queue.py`), so it may end at any moment, and the next one recovers them.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from poolviz.runs import store
from poolviz.runs.attending import LEAVING, attend, tell
from poolviz.runs.queue import QUEUE
from poolviz.runs.standby import ESTIMATES, LOOK, PLACES
from poolviz.runs.store import STOPPED, Run, is_alive
from poolviz.training.check import check
from poolviz.training.config import RunConfig
from poolviz.training.folder import STOP, replace_json, signs_of_life
from poolviz.training.work import sentence

__all__ = [
    "Limits",
    "attend",
    "close",
    "estimate",
    "limited",
    "limits",
    "place",
    "recover",
    "resume",
    "stop",
    "submit",
    "warm",
]

PAGE = "page"  # who asks for runs here; a command's runs belong to the command
ESTIMATE = 20.0  # seconds to an estimate, the start of the process that measures included


@dataclass(frozen=True)
class Limits:
    """What pages may ask for; 0: no limit. Commands have none."""

    steps: int = 0  # optimizer steps of a run
    seconds: float = 3600.0  # of training
    queued: int = 8  # a visitor's waiting and running runs
    kept: int = 500  # ended runs; the oldest are deleted


def limits() -> Limits:
    """From POOLVIZ_MAX_STEPS, _SECONDS, _QUEUED and _RUNS; ValueError, one sentence, for what is no number."""
    usual = Limits()
    return Limits(
        int(_number("POOLVIZ_MAX_STEPS", usual.steps)),
        _number("POOLVIZ_MAX_SECONDS", usual.seconds),
        int(_number("POOLVIZ_MAX_QUEUED", usual.queued)),
        int(_number("POOLVIZ_MAX_RUNS", usual.kept)),
    )


def _number(name: str, usual: float) -> float:
    text = os.environ.get(name, "").strip()
    if not text:
        return usual
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{name} must be a whole number, 0 for no limit, got {text[:60]!r}.")
    return float(text)


def limited(config: RunConfig, most: Limits) -> RunConfig:
    """The same run, no longer than it may be."""
    steps = min(config.max_steps or most.steps, most.steps or config.max_steps)
    seconds = min(config.max_seconds or most.seconds, most.seconds or config.max_seconds)
    return replace(config, max_steps=steps, max_seconds=float(seconds))


def submit(configs: Sequence[RunConfig], visitor: str = "", keep_weights: bool = True, by: str = PAGE) -> list[Run]:
    """Queue runs in this order, all or none. A page's are held to the limits, and its oldest ended ones make room.

    ValueError, one sentence that says what to do, for a configuration that no run could use, for too many runs, for
    a scheduler that does not answer and for a full disk.
    """
    most = limits() if by == PAGE else Limits(0, 0.0, 0, 0)
    configs = [limited(config, most) for config in configs]
    for config in configs:
        check(config)
    QUEUE.connect()
    with QUEUE.lock:
        _check_room(visitor, len(configs), most)
        if most.kept:
            store.prune(most.kept, by=PAGE)
        asked = {"by": by, "visitor": visitor, "keep_weights": keep_weights, "owner": signs_of_life()}
        runs: list[Run] = []
        try:
            for config in configs:
                runs.append(store.create(config, **asked))
        except OSError as error:
            for run in runs:
                shutil.rmtree(run.folder, ignore_errors=True)
            raise ValueError(sentence(error)) from None
        for run in runs:
            QUEUE.put(run)
    return runs


def _check_room(visitor: str, more: int, most: Limits) -> None:
    if not most.queued:
        return
    theirs = [run for run in store.users_runs() if run.job.get("by") == PAGE and run.job.get("visitor") == visitor]
    count = sum(not run.ended for run in theirs)
    if count + more > most.queued:
        have = (
            f"You have {count} runs waiting or running and asked for {more} more" if count else f"You asked for {more}"
        )
        raise ValueError(f"{have}, but {most.queued} is the most: stop some, wait for an end, or ask for fewer.")


def resume(run: Run) -> None:
    """Let a stopped or failed run go on from its checkpoint; ValueError, one sentence, where it cannot."""
    if run.state not in ("stopped", "failed"):
        raise ValueError(f"{run.name} is {run.state}: only a run that was stopped or failed can go on.")
    if not run.weights("checkpoint").is_file():
        raise ValueError(f"{run.name} has no checkpoint: it ended before its first epoch did, so start it anew.")
    QUEUE.connect()
    with QUEUE.lock:
        job = run.job
        if job.get("by") == PAGE:
            _check_room(job.get("visitor", ""), 1, limits())
        try:
            # a task that still waits from its first attempt has another ticket, and leaves it alone
            replace_json(run.folder / "job.json", job | {"ticket": secrets.token_hex(4), "owner": signs_of_life()})
            (run.folder / STOP).unlink(missing_ok=True)
            run.set_status("queued")
        except OSError as error:
            raise ValueError(sentence(error)) from None
        QUEUE.put(run, again=True)


def stop(run: Run) -> None:
    """Ask for an end: a waiting run never starts, a running one ends within two seconds. Returns at once."""
    if run.ended:
        return
    with suppress(FileNotFoundError):  # deleted meanwhile
        run.ask_to_stop()
    if run.state == "queued":
        tell(run, "stopped", STOPPED)


def place(run: Run) -> int:
    """How many runs wait before it: 0 for the next one, and for one that does not wait."""
    return QUEUE.ahead(run) if run.state == "queued" else 0


_RECOVERED = threading.Event()


def recover() -> None:
    """Take over the runs of an app that has ended: what waits is queued again, what still runs keeps its slot.

    Once a process. Runs of a command, and of an app that lives, are left alone. ValueError, with nothing changed,
    where no scheduler answers.
    """
    with QUEUE.lock:
        if _RECOVERED.is_set():
            return
        orphans = [run for run in store.users_runs() if run.job.get("by") == PAGE and not _is_owned(run.job)]
        states = {run.name: store.read_json(run.folder / "status.json").get("state") for run in orphans}
        left = [run for run in orphans if states[run.name] in ("queued", "running")]
        if left:
            QUEUE.connect()  # before any is taken over: where it fails, all are still to be recovered
        # what runs first: it has a slot already
        for run in sorted(left, key=lambda run: (states[run.name] == "queued", _asked(run))):
            with suppress(OSError):  # on a full disk it is taken over all the same
                replace_json(run.folder / "job.json", run.job | {"owner": signs_of_life()})
            QUEUE.put(run, again=run.weights("checkpoint").is_file())
        _RECOVERED.set()


def _asked(run: Run) -> float:
    """When it was queued, the last time."""
    beat = run.status.get("heartbeat")
    return beat if isinstance(beat, int | float) else run.created


def _is_owned(job: dict[str, Any]) -> bool:
    """Whether the app that queued it lives. One on another machine does not: names of containers change."""
    owner = job.get("owner")
    return isinstance(owner, dict) and owner.get("host") == signs_of_life()["host"] and is_alive(owner)


_WARMING = threading.Lock()


def warm() -> None:
    """Start the queue and the processes that stand by, in the background. Returns at once, does it once."""
    with _WARMING:
        if PLACES.wanted:
            return
        PLACES.wanted = True
    threading.Thread(target=_warm, daemon=True, name="poolviz-warm").start()


def _warm() -> None:
    with suppress(ValueError):  # who submits is told
        QUEUE.connect()
    for slot in range(len(PLACES.environments)):
        with suppress(OSError):  # runs start without
            PLACES.fill(slot)


def estimate(config: RunConfig) -> dict[str, Any]:
    """What `training/estimate.py` measures of a run that a page asks for; blocks meanwhile.

    ValueError, one sentence, for what cannot run and where nothing answers in time.
    """
    config = limited(config, limits())
    check(config)
    return ESTIMATES.ask(config, ESTIMATE)


def close() -> None:
    """Leave everything in good order: no process stands by, and what trains goes on without this one."""
    LEAVING.set()
    PLACES.empty()
    QUEUE.close()
    time.sleep(3 * LOOK)  # until all that attend have seen it
    _RECOVERED.clear()
    LEAVING.clear()


atexit.register(LEAVING.set)
