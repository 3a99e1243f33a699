"""For tests and benchmarks that start and kill processes: a Dask cluster, a small disk, waiting for what comes true."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.server import ROOT, free_port

PATIENCE = 120.0  # seconds: a busy machine is slow, a machine that hangs is told


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE, every: float = 0.005) -> float:
    """Look `every` few seconds until it is true; the seconds that it took. TimeoutError where it stays false."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TimeoutError("waited in vain")
        time.sleep(every)
    return time.monotonic() - began


def is_gone(pid: int) -> bool:
    """Whether no process has this number any more, or one that is only waited for."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def answers(port: int) -> bool:
    """Whether somebody listens there on this machine."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[bool]:
    """A disk of `size` (as `400k`) at an empty folder; False, and the folder as it is, where one may not mount."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    able = sys.platform == "linux" and subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield able
    finally:
        if able:
            subprocess.run(["umount", "-l", str(folder)], check=True)


class Cluster:
    """A Dask scheduler and two workers, a process each, which write their logs to `folder`.

    Workers know nothing of the folder of runs but what a task tells them. `environment` is added to this process's.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self._folder, self._port = folder, free_port()
        self.address = f"tcp://127.0.0.1:{self._port}"
        own = {"POOLVIZ_THREADS": "1", "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0"}
        self._environment = {**os.environ, **own, **environment}
        self._environment.pop("POOLVIZ_RUNS", None)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.start_scheduler()
        for _ in range(2):
            self.start_worker()
        try:
            wait_for(lambda: (folder / "worker.log").read_text().count("Registered to:") == 2)
        except TimeoutError:
            self.kill()
            raise

    def start_scheduler(self) -> None:
        """Start it, for the first time or in a dead one's place; returns when it answers."""
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", str(self._port))
        wait_for(lambda: answers(self._port))

    def start_worker(self) -> None:
        """Another one."""
        scratch = ("--no-nanny", "--nthreads", "1", "--local-directory", str(self._folder))
        self.workers.append(self._start("worker", self.address, *scratch))

    def replace_workers(self) -> None:
        """One in the place of each that has ended, as a supervisor would."""
        for worker in [worker for worker in self.workers if worker.poll() is not None]:
            self.workers.remove(worker)
            self.start_worker()

    def kill(self) -> None:
        """End all of it."""
        for process in [*self.workers, self.scheduler]:
            kill(process)

    def _start(self, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments, "--no-dashboard"]
        with (self._folder / f"{kind}.log").open("a") as log:
            streams = {"stdout": log, "stderr": subprocess.STDOUT}
            return subprocess.Popen(command, cwd=ROOT, env=self._environment, **streams)


def kill(process: subprocess.Popen[bytes]) -> None:
    """As `kill -9` does, and wait until it is gone."""
    process.send_signal(signal.SIGKILL)
    process.wait()
