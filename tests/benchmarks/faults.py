"""What is left of runs when something dies or the ground gives way: `kill -9`, bad disks, clocks that jump, rivals.

Each scenario has a store of its own and the app as a user starts it; runs on digits are started by its training page.
Kills come at moments that `--seed` draws. Afterwards each run's folder is read by libraries that are not ours, lines of
curves that were seen before a fault are looked for, and processes that a scenario started are looked for by a marker
in their environment. A run that nobody killed has to be completed, its epochs told once each and in order.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pyarrow.parquet
from safetensors import SafetensorError, safe_open

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `python tests/benchmarks/faults.py`
from poolviz.runs.store import Run
from poolviz.training.folder import ENDED
from poolviz.training.work import sentence
from tests.benchmarks._visitor import LostError, Visitor
from tests.benchmarks.pooling import processor
from tests.benchmarks.sequences import JUDGED
from tests.processes import Cluster, kill, mounted, wait_for
from tests.server import ROOT, Server

MARKER = "POOLVIZ_FAULTS"  # an environment variable: whose processes these are
GRACE = 20.0  # seconds in which processes of a scenario end by themselves
SAY = 10.0  # seconds until the death of a run's process is told
SHARES = {"training process": 20, "app": 14, "scheduler": 6, "worker": 10}  # of 50 kills
# Three runs of some seconds, whose many small epochs are mostly judging and writing; and three that outlive a scenario.
SHORT = {"task": "digits", "maps": "max,average,stochastic", "epochs": 6, "batch": 64, "width": 8}
LONG = SHORT | {"epochs": 50, "batch": 8, "width": 16}
FULL = sentence(OSError(28, "No space left on device"))
HOUR = 3600.0
# What a process imports first: its clock, and what the system says of its start, are off by the seconds in a file.
CLOCK = """
import os, time
import psutil._pslinux as system

real, since_boot = time.time, system.boot_time

def offset():
    try:
        return float(open(os.environ["POOLVIZ_CLOCK"]).read() or 0)
    except OSError:
        return 0.0

time.time = lambda: real() + offset()
system.boot_time = lambda: since_boot() + offset()
"""
STATES = "import sys; from poolviz.runs import store; print(*[run.state for run in store.users_runs()])"
HEADER = f"{'scenario':<20}{'faults':>7}{'readable':>10}{'lines kept':>14}{'orphans':>9}{'seconds':>9}"


@dataclass
class Findings:
    """What a scenario left."""

    name: str
    faults: int = 0
    folders: int = 0
    readable: int = 0
    lines: int = 0  # of curves, seen before a fault
    kept: int = 0
    orphans: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)  # a sentence each
    skipped: str = ""  # why nothing was tried

    @property
    def good(self) -> bool:
        """Whether nothing was lost."""
        return self.readable == self.folders and self.kept == self.lines and not self.orphans and not self.wrong


def lines(folder: Path) -> list[bytes]:
    """The whole lines of a run's curve."""
    with suppress(FileNotFoundError):
        return (folder / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
    return []


def unreadable(folder: Path) -> str:
    """Which file of a run cannot be read and why; empty where all can."""
    for path in sorted(folder.iterdir()):
        try:
            if path.suffix == ".json" and not path.name.startswith("."):
                json.loads(path.read_text(encoding="utf-8"))
            elif path.name == "metrics.jsonl":
                for line in lines(folder):
                    json.loads(line)
            elif path.suffix == ".parquet":
                pyarrow.parquet.read_table(path)
            elif path.suffix == ".safetensors":
                with safe_open(path, framework="np") as tensors:
                    for name in tensors.keys():  # noqa: SIM118  it is no dictionary
                        tensors.get_slice(name).get_shape()
        except (OSError, ValueError, SafetensorError) as error:
            return f"{folder.name}/{path.name}: {error}"
    half = [path.name for path in folder.glob("*.tmp")]
    if half:
        return f"{folder.name}: half-written files were left, {half[0]}"
    return "" if (folder / "status.json").is_file() else f"{folder.name} has no status.json"


def epochs(run: Run) -> list[int]:
    """The epochs that a curve tells, in its order."""
    return [row["epoch"] for row in run.metrics() if row.get("kind") == "epoch"]


class Scenario:
    """A store, the processes that work on it, and what was seen before each fault.

    Args:
        name: In the table.
        folder: Empty; for the store, in `runs`, and logs.
        seed: Of moments and victims.
        environment: Of the app, beside this process's.
    """

    def __init__(self, name: str, folder: Path, seed: int, **environment: str) -> None:
        self.found, self.chance = Findings(name), random.Random(f"{name} {seed}")
        self.folder, self.store = folder, folder / "runs"
        self.store.mkdir(exist_ok=True)
        self.mark = f"{os.getpid()}-{folder.name}"
        self.environment = {MARKER: self.mark, "POOLVIZ_RUNS": str(self.store), "POOLVIZ_THREADS": "1", **environment}
        self.apps: list[Server] = []
        self.killed: set[str] = set()  # runs whose end is the scenario's doing
        self._seen: dict[Path, list[bytes]] = {}
        self._races = 0

    def start_app(self) -> Server:
        """One more, which answers; RuntimeError where it does not."""
        log = self.folder / f"app-{time.monotonic_ns()}.log"
        app = Server(log, STREAMLIT_CLIENT_SHOW_ERROR_DETAILS="full", **self.environment)
        self.apps.append(app)
        return app.wait()

    def kill_app(self, app: Server) -> None:
        """A fault."""
        self.look()
        self.apps.remove(app)  # first: who visits it need not wonder
        kill(app.process)
        self.found.faults += 1

    def visit(self, app: Server, address: Mapping[str, object] | None = None) -> list[str]:
        """Open the training page, press Start where there is an address of what to start; what it shows as errors.

        A server that is killed meanwhile is no error.
        """

        async def whole() -> list[str]:
            self._races += 1
            query = urlencode({**address, "seed": self._races}) if address else ""
            visitor = Visitor(app.url, "train", query)
            try:
                await visitor.open()
                if address:
                    await visitor.press("Start")
            except LostError as lost:
                if app in self.apps:
                    visitor.errors.append(str(lost))
            finally:
                await visitor.close()
            return visitor.errors

        errors = asyncio.run(whole())
        self.found.wrong.extend(errors)
        return errors

    def runs(self) -> list[Run]:
        """All that can be told from a half-made folder."""
        return [Run(path) for path in sorted(self.store.iterdir()) if (path / "config.json").is_file()]

    def going(self) -> list[Run]:
        """Those that wait or train."""
        return [run for run in self.runs() if not run.ended]

    def training(self) -> list[Run]:
        """Those that a living process has."""
        return [run for run in self.runs() if run.state == "running"]

    def look(self) -> None:
        """Remember what is told by now: from here on it must not be lost."""
        for run in self.runs():
            self._seen[run.folder] = lines(run.folder)

    def wait(self, condition: Callable[[], object], otherwise: str, seconds: float = 120.0) -> bool:
        """Until it is true; where it is not in time, that is wrong."""
        try:
            wait_for(condition, seconds, every=0.05)
        except TimeoutError:
            self.found.wrong.append(f"{otherwise} within {seconds:g} s")
            return False
        return True

    def stop_all(self) -> None:
        """Let what still goes on end, as its owner wants it."""
        for run in self.going():
            self.killed.add(run.name)
            run.ask_to_stop()

    def end(self) -> None:
        """End the apps in good order, wait for the processes, and judge."""
        for app in self.apps:
            try:
                app.stop()
            except subprocess.TimeoutExpired as late:
                self.found.wrong.append(f"the app did not end within {late.timeout:g} s of a SIGTERM")
        with suppress(TimeoutError):
            wait_for(lambda: not self._left(), GRACE, every=0.2)
        left = self._left()
        self.found.orphans = len(left)
        self.found.wrong += [f"left over: {' '.join(each.cmdline())[-100:]}" for each in left]
        for each in left:
            each.kill()
        self._judge()

    def _judge(self) -> None:
        found = self.found
        for run in self.runs():
            fault = unreadable(run.folder)
            found.folders += 1
            found.readable += not fault
            now, before = lines(run.folder), self._seen.get(run.folder, [])
            found.lines += len(before)
            found.kept += sum(a == b for a, b in zip(before, now, strict=False))
            if fault:
                found.wrong.append(fault)
            elif run.name not in self.killed and not self._is_whole(run):
                told = f"{run.status['state']} ({run.status.get('reason', '')}) with epochs {epochs(run)}"
                found.wrong.append(f"nobody killed {run.name}, but it is {told}")

    @staticmethod
    def _is_whole(run: Run) -> bool:
        return run.state == "completed" and epochs(run) == list(range(1, run.config.epochs + 1))

    def _left(self) -> list[psutil.Process]:
        """Processes of this scenario that live."""
        left = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARKER) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process)
        return left


# ---- kill -9 ----


def kill_training(scenario: Scenario, kills: int) -> None:
    """The process of a run, from the moment that it has the run."""
    app = scenario.start_app()
    while scenario.found.faults < kills and not scenario.found.wrong:
        if not scenario.going():
            scenario.visit(app, LONG)
        if not scenario.wait(scenario.training, "no run began to train"):
            break
        time.sleep(scenario.chance.uniform(0.0, 4.0))
        (run, *_), _ = scenario.training(), scenario.look()
        scenario.killed.add(run.name)
        os.kill(run.status["pid"], 9)
        scenario.found.faults += 1
        scenario.wait(lambda run=run: told(run) == "failed", f"{run.name} was not told as failed", SAY)
    scenario.stop_all()
    scenario.wait(lambda: not scenario.going(), "runs did not end")


def told(run: Run) -> str:
    """A run's state as it is written, whether or not its process lives."""
    return json.loads((run.folder / "status.json").read_text(encoding="utf-8"))["state"]


def kill_apps(scenario: Scenario, kills: int) -> None:
    """The app, with the scheduler within it: while it starts, takes runs over, queues runs, attends to one."""
    for _ in range(kills):
        app = scenario.start_app()
        more = SHORT if len(scenario.going()) < 3 else None
        visit = threading.Thread(target=scenario.visit, args=(app, more))
        visit.start()
        time.sleep(scenario.chance.uniform(0.0, 12.0))
        scenario.kill_app(app)
        visit.join()
    app = scenario.start_app()
    scenario.visit(app)
    scenario.wait(lambda: not scenario.going(), "runs did not end")


def kill_scheduler(scenario: Scenario, kills: int) -> None:
    """A cluster's scheduler; it and workers that leave with it are started again, as a supervisor does."""
    with cluster(scenario) as dask:

        def fault() -> None:
            kill(dask.scheduler)
            dask.start_scheduler()

        kill_in_cluster(scenario, kills, dask, fault)


def kill_workers(scenario: Scenario, kills: int) -> None:
    """One of a cluster's two workers; another one takes its place."""
    with cluster(scenario) as dask:
        kill_in_cluster(scenario, kills, dask, lambda: kill(scenario.chance.choice(dask.workers)))


@contextmanager
def cluster(scenario: Scenario) -> Iterator[Cluster]:
    """One that the scenario's apps use."""
    dask = Cluster(scenario.folder, **{MARKER: scenario.mark})
    scenario.environment["POOLVIZ_SCHEDULER"] = dask.address
    try:
        yield dask
    finally:
        dask.kill()


def kill_in_cluster(scenario: Scenario, kills: int, dask: Cluster, fault: Callable[[], None]) -> None:
    """Let faults come while an app keeps the cluster busy; all runs have to be completed."""

    def trains() -> list[Run]:
        dask.replace_workers()  # they leave some time after their scheduler
        return scenario.training()

    def over() -> bool:
        dask.replace_workers()
        return not scenario.going()

    app = scenario.start_app()
    for _ in range(kills):
        if len(scenario.going()) < 2:
            scenario.visit(app, SHORT)
        scenario.wait(trains, "no run began to train")
        time.sleep(scenario.chance.uniform(0.0, 8.0))
        scenario.look()
        fault()
        scenario.found.faults += 1
    scenario.wait(over, "runs did not end")


# ---- ground that gives way ----


def fill_disk(scenario: Scenario, times: int) -> None:
    """The disk is full from some moment of a run on: it fails in one sentence, and the next one has room again."""
    with mounted(scenario.store, "8m") as able:
        if not able:
            scenario.found.skipped = "needs the right to mount a small disk"
            return
        app, filler = scenario.start_app(), scenario.store / "filler"
        for _ in range(times):
            scenario.visit(app, LONG)
            if not scenario.wait(scenario.training, "no run began to train"):
                break
            time.sleep(scenario.chance.uniform(0.0, 3.0))
            scenario.look()
            scenario.killed.update(run.name for run in scenario.going())
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            scenario.found.faults += 1
            scenario.wait(lambda: all(told(run) in ENDED for run in scenario.runs()), "runs did not end on a full disk")
            reasons = {run.status["reason"] for run in scenario.runs()} - {FULL}
            scenario.found.wrong += [f"a full disk was told as {reason!r}" for reason in reasons]
            scenario.visit(app)
            filler.unlink()
        scenario.visit(app, SHORT)
        scenario.wait(lambda: not scenario.going(), "runs did not end with room again")
        scenario.end()  # before the disk is gone


def read_only(scenario: Scenario, times: int) -> None:
    """The store cannot be written: its runs are shown, a start is refused, and with the right to write all goes on."""
    with mounted(scenario.store, "8m") as able:
        if not able:
            scenario.found.skipped = "needs the right to mount a disk"
            return
        for _ in range(times):
            app = scenario.start_app()
            scenario.visit(app, SHORT)
            scenario.wait(lambda: len(scenario.runs()) and not scenario.going(), "runs did not end")
            scenario.look()
            before = [run.name for run in scenario.runs()]
            # the process of the last run has its log open for a moment after its last word
            scenario.wait(lambda: remount(scenario.store, "ro"), "the store could not be made read-only", GRACE)
            scenario.found.faults += 1
            scenario.visit(app, SHORT)  # the app that was there
            other = scenario.start_app()
            scenario.visit(other, SHORT)  # one that starts on it
            if [run.name for run in scenario.runs()] != before:
                scenario.found.wrong.append("a read-only store has changed")
            remount(scenario.store, "rw")
            scenario.visit(other, SHORT)
            scenario.wait(lambda: not scenario.going(), "runs did not end on a store that can be written again")
            if len(scenario.runs()) != len(before) + 3:
                scenario.found.wrong.append(f"{len(scenario.runs())} runs in place of {len(before) + 3}")
        scenario.end()


def remount(folder: Path, how: str) -> bool:
    """Let it be written (`rw`), or not (`ro`); False where a file in it is open for writing."""
    command = ["mount", "-o", f"remount,{how}", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def turn_clock(scenario: Scenario, times: int) -> None:
    """The clock jumps back and forth while runs wait and train: none is taken for dead or done twice.

    Only the processes of this scenario see it: this machine's clock stays.
    """
    if sys.platform != "linux":
        scenario.found.skipped = "needs Linux"
        return
    (scenario.folder / "sitecustomize.py").write_text(CLOCK, encoding="utf-8")
    offset = scenario.folder / "clock"
    offset.write_text("0")
    scenario.environment |= {"PYTHONPATH": str(scenario.folder), "POOLVIZ_CLOCK": str(offset)}
    app = scenario.start_app()
    for number in range(times):
        scenario.visit(app, SHORT)
        scenario.wait(scenario.training, "no run began to train")
        time.sleep(scenario.chance.uniform(0.0, 3.0))
        scenario.look()
        offset.write_text(str((-HOUR, HOUR)[number % 2] * (number + 1)))
        scenario.found.faults += 1
        states = as_others_see(scenario)
        if "failed" in states:
            scenario.found.wrong.append(f"after a jump of the clock others take a run for dead: {states}")
        other = scenario.start_app()
        scenario.visit(other)  # another app must not take them over
        scenario.wait(lambda: not scenario.going(), "runs did not end")


def as_others_see(scenario: Scenario) -> list[str]:
    """The states of all runs, as a process tells that is started now."""
    environment = {**os.environ, **scenario.environment}
    asked = [sys.executable, "-c", STATES]
    return subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.split()


def share_store(scenario: Scenario, times: int) -> None:
    """Two apps on one store, which die together and start together: each run is done once, by one of them."""
    for _ in range(times):
        apps = [scenario.start_app(), scenario.start_app()]
        for app in apps:
            scenario.visit(app, SHORT)
        scenario.wait(lambda: len(scenario.training()) == 2, "the two apps did not train at once")
        if len(scenario.going()) < 4:
            scenario.found.wrong.append(f"one took the other's runs for dead: {[run.state for run in scenario.runs()]}")
        time.sleep(scenario.chance.uniform(0.0, 3.0))
        for app in apps:
            scenario.kill_app(app)
        again = [scenario.start_app(), scenario.start_app()]
        visits = [threading.Thread(target=scenario.visit, args=(app,)) for app in again]
        for visit in visits:
            visit.start()
        for visit in visits:
            visit.join()
        scenario.wait(lambda: not scenario.going(), "runs did not end")


KILLS = {
    "training process": kill_training,
    "app": kill_apps,
    "scheduler": kill_scheduler,
    "worker": kill_workers,
}
OTHERS = {  # how often
    "full disk": (fill_disk, 3),
    "read-only store": (read_only, 1),
    "clock": (turn_clock, 2),
    "two apps": (share_store, 2),
}


def shared_out(kills: int) -> dict[str, int]:
    """How often each kind is killed: in the proportions of SHARES, `kills` in all."""
    names, whole = list(SHARES), sum(SHARES.values())
    ends = [round(kills * sum(SHARES[name] for name in names[: n + 1]) / whole) for n in range(len(names))]
    return {name: end - begin for name, begin, end in zip(names, [0, *ends], ends, strict=False)}


def play(name: str, scene: Callable[[Scenario, int], None], times: int, seed: int) -> Findings:
    """One scenario in a folder of its own, which is gone afterwards."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="poolviz-faults-", ignore_cleanup_errors=True) as folder:
        scenario = Scenario(name, Path(folder), seed)
        try:
            scene(scenario, times)
        except (RuntimeError, TimeoutError, LostError) as error:
            scenario.found.wrong.append(f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}")
        finally:
            if not scenario.found.folders:
                scenario.end()
    scenario.found.seconds = time.monotonic() - began
    return scenario.found


def report(found: Findings) -> None:
    """Print a scenario's line, and a line for each thing that went wrong."""
    if found.skipped:
        print(f"{found.name:<20}not measured: {found.skipped}")
        return
    readable, kept = f"{found.readable}/{found.folders}", f"{found.kept}/{found.lines}"
    counts = f"{found.faults:>7}{readable:>10}{kept:>14}{found.orphans:>9}{found.seconds:>9.0f}"
    print(f"{found.name:<20}{counts}{JUDGED[found.good]}", flush=True)
    for told in found.wrong:
        print(f"  {told}", flush=True)


def gpu_bytes() -> int | None:
    """What is in use on the GPUs, of all processes; None where there is none."""
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return sum(int(line) * 2**20 for line in told.split())


def report_gpu(before: int | None) -> bool:
    """Print whether GPU memory was leaked; the verdict, true where there is no GPU."""
    after = gpu_bytes()
    if before is None or after is None:
        print("GPU memory: not measured, there is no GPU")
        return True
    kept = after - before <= 2**26  # what a driver keeps changes by some MB
    print(f"GPU memory: {before / 1e6:.0f} MB before, {after / 1e6:.0f} MB after{JUDGED[kept]}")
    return kept


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command's options; ends the process with one sentence where they do not fit."""
    parser = argparse.ArgumentParser(prog="python -m poolviz bench faults", description=__doc__.split("\n")[0])
    known = [*KILLS, *OTHERS]
    parser.add_argument("--kills", type=int, default=50, help="in all (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims (default %(default)s)")
    parser.add_argument("--only", default=",".join(known), help=f"scenarios, of {', '.join(known)}; default: all")
    options = parser.parse_args(argv)
    options.only = [name.strip() for name in options.only.split(",")]
    unknown = [name for name in options.only if name not in known]
    if unknown:
        parser.error(f"unknown scenario {unknown[0]!r}: choose of {', '.join(known)}")
    if not 1 <= options.kills <= 10_000:
        parser.error(f"--kills must be from 1 to 10,000, got {options.kills}")
    if os.name != "posix":
        parser.error("processes are killed by POSIX signals, which this system has not")
    return options


def main(argv: list[str] | None = None) -> int:
    """Play, print, and return 1 if anything was lost."""
    options = parse(argv)
    print(
        f"{processor()}, {os.cpu_count()} cores; kill -9 at moments drawn by seed {options.seed}\n{HEADER}", flush=True
    )
    memory, verdicts, kills = gpu_bytes(), [], 0
    scenes = {name: (KILLS[name], times) for name, times in shared_out(options.kills).items() if times} | OTHERS
    for name, (scene, times) in scenes.items():
        if name in options.only:
            found = play(name, scene, times, options.seed)
            report(found)
            verdicts.append(found.good)
            kills += found.faults if name in KILLS else 0
    if kills:
        print(f"{kills} kills in all")
    return int(not all([*verdicts, report_gpu(memory)]))


if __name__ == "__main__":
    sys.exit(main())
