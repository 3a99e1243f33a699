"""Runs on the disk: made, found, listed, given away and deleted. `training/folder.py` says what a folder holds.

Shipped runs (`pretrained/`, read-only) and users' runs (POOLVIZ_RUNS, else `runs/`) have one format, and nothing
branches on where a run came from. Imports no torch. Knows nothing of queues or pages.
"""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import socket
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from poolviz.training.config import RunConfig
from poolviz.training.folder import (
    ENDED,
    PROJECT,
    STATES,
    STOP,
    birth,
    read_config,
    read_job,
    read_json,
    read_metrics,
    replace_json,
    signs_of_life,
)

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,120}")
PRIVATE = ("job.json", "status.json", STOP)  # hosts and addresses
SILENT = 60.0  # seconds without a heartbeat after which a run on another machine is taken for dead
LOCK = ".lock"  # a file in the folder of runs
LOCKED = 5.0  # seconds to wait for it: who holds it writes one small file
SHIPPED = PROJECT / "pretrained"
LAST = 2**32  # seconds since 1970: the year 2106
WEIGHTS_KEPT = 20  # runs; those of one encoder are some 180 MB
STOPPED = "It was asked to stop."
GONE = "Its process ended without a word: it was killed, or the machine was restarted."


def runs_folder() -> Path:
    """Where users' runs are: POOLVIZ_RUNS, else `runs` beside the project."""
    return Path(os.environ.get("POOLVIZ_RUNS") or PROJECT / "runs").expanduser()


@dataclass(frozen=True)
class Run:
    """A run's folder; every property reads it anew."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name, which is the run's id."""
        return self.folder.name

    @property
    def config(self) -> RunConfig:
        """Its configuration; ValueError, one sentence, where that is damaged."""
        return read_config(self.folder)

    @property
    def status(self) -> dict[str, Any]:
        """state, reason and, while it runs, heartbeat, host and pid; a run whose process is gone is told as failed."""
        status = read_json(self.folder / "status.json")
        if status.get("state") not in STATES:
            return {"state": "failed", "reason": "Its status cannot be read."}
        if status["state"] == "running" and not is_alive(status):
            if self.asked_to_stop:
                return status | {"state": "stopped", "reason": STOPPED}
            return status | {"state": "failed", "reason": GONE}
        return status

    @property
    def state(self) -> str:
        """queued, running, completed, stopped or failed."""
        return self.status["state"]

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ENDED

    @property
    def job(self) -> dict[str, Any]:
        """Who asked for it (`by`, `visitor`), when (`created`), and whether to `keep_weights`."""
        return read_job(self.folder)

    @property
    def created(self) -> float:
        """When it was asked for, in seconds since 1970."""
        created = self.job.get("created", 0.0)
        return float(created) if isinstance(created, int | float) and 0 <= created < LAST else 0.0

    @property
    def summary(self) -> dict[str, Any]:
        """Figures at the end; empty before."""
        return read_json(self.folder / "summary.json")

    @property
    def environment(self) -> dict[str, Any]:
        """Device and versions; empty before it ran."""
        return read_json(self.folder / "environment.json")

    def metrics(self) -> list[dict[str, Any]]:
        """The curve so far."""
        return read_metrics(self.folder / "metrics.jsonl")

    def set_status(self, state: str, reason: str = "") -> None:
        """Replace the status of a run that no process has."""
        assert state in STATES
        replace_json(self.folder / "status.json", {"state": state, "reason": reason, "heartbeat": time.time()})

    def set_running(self, pid: int) -> bool:
        """A process has the run now, though it may not know yet; False, and no change, where another one was first.

        Apps that share the store, and workers of a cluster, may come for the same run at the same moment.
        """
        with _one_at_a_time(self.folder.parent):
            status = read_json(self.folder / "status.json")
            if status.get("state") != "queued" and status.get("pid") != pid:
                return False
            replace_json(self.folder / "status.json", {"state": "running"} | signs_of_life(pid))
        return True

    def ask_to_stop(self) -> None:
        """The loop, and who attends to its process, look for this."""
        (self.folder / STOP).touch()

    @property
    def asked_to_stop(self) -> bool:
        """Whether somebody did."""
        return (self.folder / STOP).exists()

    def weights(self, name: str) -> Path:
        """The file of weights `name`: best, last or checkpoint."""
        return self.folder / f"{name}.safetensors"

    def zipped(self) -> bytes:
        """The folder as a zip, without its checkpoint, what is being written, and who asked for it from where."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(self.folder.iterdir()):
                if path.is_file() and not path.name.startswith((".", "checkpoint")) and path.name not in PRIVATE:
                    # weights do not shrink, they only take time
                    how = zipfile.ZIP_STORED if path.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
                    archive.write(path, f"{self.name}/{path.name}", how)
            told = {"state": self.state, "reason": self.status.get("reason", "")}
            archive.writestr(f"{self.name}/status.json", json.dumps(told, indent=2) + "\n")
        return packed.getvalue()


@contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    """Hold the lock of a folder of runs, which the system opens where its holder dies; go without where it has none."""
    lock = FileLock(root / LOCK, timeout=LOCKED)
    with suppress(OSError, NotImplementedError):  # a full or read-only disk; a file system without locks
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_alive(status: dict[str, Any]) -> bool:
    """Whether the process that wrote a running status still is there; on another machine its heartbeat tells."""
    beat = status.get("heartbeat")
    fresh = isinstance(beat, int | float) and 0 <= beat < LAST and time.time() - beat < SILENT
    if status.get("host") != socket.gethostname():
        return fresh
    try:
        process = psutil.Process(int(status.get("pid", -1)))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if status.get("birth"):
            return status["birth"] == birth(process.pid)
        # a number that was given again belongs to a process that began after the last heartbeat
        return process.create_time() <= beat + 1
    except (psutil.Error, TypeError, ValueError, OverflowError):
        return False


def create(config: RunConfig, **job: Any) -> Run:
    """A new run's folder, queued; two processes never get the same. `job` says who asked for it."""
    config.check()
    root = runs_folder()
    root.mkdir(parents=True, exist_ok=True)
    while True:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        path = root / f"{config.task}-{config.pooling}-s{config.seed}-{stamp}-{secrets.token_hex(2)}"
        try:
            path.mkdir()
            break
        except FileExistsError:
            continue
    run = Run(path)
    try:
        replace_json(path / "job.json", {"created": time.time(), **job})
        run.set_status("queued")
        aside = path / ".config.json"
        aside.write_text(config.to_json() + "\n", encoding="utf-8")
        os.replace(aside, path / "config.json")  # last: what has a configuration is a run
    except OSError:
        shutil.rmtree(path, ignore_errors=True)  # nobody would find it again
        raise
    return run


def find(name: str) -> Run | None:
    """The run called `name`, a user's or a shipped one; None for what is no run's name or not there."""
    if not NAME.fullmatch(name) or ".." in name:
        return None
    for root in (runs_folder(), SHIPPED):
        if (root / name / "config.json").is_file():
            return Run(root / name)
    return None


def all_runs() -> Iterator[Run]:
    """Users' runs, the newest first, then those that are shipped."""
    yield from newest()
    yield from _in(SHIPPED)


def newest() -> list[Run]:
    """Users' runs, the newest first."""
    return sorted(users_runs(), key=lambda run: run.created, reverse=True)


def unsorted_runs() -> Iterator[Run]:
    """All of them, for who reads when they were made anyway."""
    yield from users_runs()
    yield from _in(SHIPPED)


def users_runs() -> list[Run]:
    """Runs that were made here."""
    return _in(runs_folder())


def _in(root: Path) -> list[Run]:
    if not root.is_dir():
        return []
    return [Run(path) for path in sorted(root.iterdir()) if (path / "config.json").is_file()]


def delete(run: Run) -> None:
    """Remove a run that has ended; ValueError for one that has not, and for a shipped one."""
    if run.folder.parent != runs_folder():
        raise ValueError(f"{run.name} came with poolviz and stays.")
    if not run.ended:
        raise ValueError(f"{run.name} has not ended: stop it first.")
    shutil.rmtree(run.folder)


def prune(keep: int, by: str) -> list[str]:
    """Delete the oldest ended runs asked for `by` somebody, beyond the newest `keep`; their names.

    Of those that stay, the newest WEIGHTS_KEPT keep their weights.
    """
    theirs = [run for run in users_runs() if run.job.get("by") == by and run.ended]
    newest = sorted(theirs, key=lambda run: run.created, reverse=True)
    old = newest[keep:]
    for run in old:
        shutil.rmtree(run.folder, ignore_errors=True)
    for run in newest[WEIGHTS_KEPT:keep]:
        for weights in run.folder.glob("*.safetensors"):
            weights.unlink(missing_ok=True)
    return [run.name for run in old]
