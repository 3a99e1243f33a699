"""`python -m poolviz sweep`: all combinations through the queue, those left out that are done.

What is done is read from the folders of runs, so the same command goes on after any end. Knows nothing of how a run
is started.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from poolviz.runs import store
from poolviz.runs.commands import COMPLETED, FAILED, INTERRUPTED, configs_of, refuse
from poolviz.runs.foreground import UNUSABLE, figures, is_orphan, prepare, say
from poolviz.runs.store import Run
from poolviz.runs.summary import Standing, result, standing
from poolviz.training.config import RunConfig
from poolviz.training.fetch import at_hand
from poolviz.training.folder import cores

LOOK = 0.5  # seconds between two looks at the folders
PATIENCE = 10.0  # seconds that stopped runs have to end
MOST_WORKERS = 256
DONE, ELSEWHERE, GO_ON, TO_DO = "done", "running", "go on", "to do"


@dataclass(frozen=True)
class Planned:
    """One combination, and what there is of it already."""

    config: RunConfig
    what: str  # DONE, ELSEWHERE (this command waits for it), GO_ON or TO_DO
    run: Run | None = None

    @property
    def line(self) -> str:
        """As a plan is printed."""
        where = self.run.folder if self.run else f"a new folder in {store.runs_folder()}"
        return f"  {self.what:8}{_label(self.config)}  {where}"


def sweep(options: argparse.Namespace) -> int:
    """Check, plan, do what is left, and return the exit code."""
    ours: list[Run] = []
    configs: list[RunConfig] = []
    try:
        _check_workers(options.workers)
        configs = list(dict.fromkeys(configs_of(options)))
        if options.dry_run and not at_hand(configs[0].task):
            print(f"The data of {configs[0].task} is not at hand: set POOLVIZ_DATA, or add --download.")
        else:
            prepare(configs, options.download)
        if not options.dry_run:
            clear(configs)
        planned = plan(configs)
        _print_plan(planned)
        if options.dry_run:
            print("Nothing was started.")
        if options.dry_run or all(each.what == DONE for each in planned):
            return COMPLETED
        with _queue(options.workers):
            try:
                _start(planned, ours, keep_weights=not options.no_weights)
                others = [each.run for each in planned if each.what == ELSEWHERE and each.run]
                failed = Board([*others, *ours], len(planned)).follow()
            except BaseException:
                _end(ours)
                raise
    except KeyboardInterrupt:
        return _interrupted(configs)
    except UNUSABLE as error:
        return refuse("sweep", error)
    return _conclude(len(planned), failed)


# ---- what there is to do ----


def plan(configs: list[RunConfig]) -> list[Planned]:
    """What is left of these configurations. Changes nothing."""
    found: dict[RunConfig, list[Run]] = {config: [] for config in configs}
    for run in store.all_runs():
        with contextlib.suppress(ValueError):  # a damaged folder is nobody's result
            if run.config in found:
                found[run.config].append(run)
    return [_planned(config, runs) for config, runs in found.items()]


def _planned(config: RunConfig, runs: list[Run]) -> Planned:
    states = {run: run.state for run in runs}
    waits = {run for run, state in states.items() if state == "queued" and not is_orphan(run)}
    for what, fitting in (
        (DONE, [run for run, state in states.items() if state == "completed"]),
        (ELSEWHERE, [run for run, state in states.items() if state == "running" or run in waits]),
        (GO_ON, [run for run, state in states.items() if state in ("stopped", "failed") and _can_go_on(run)]),
    ):
        if fitting:
            return Planned(config, what, fitting[0])
    return Planned(config, TO_DO)


def _can_go_on(run: Run) -> bool:
    """Whether it left a checkpoint; a visitor's run is the visitor's."""
    return run.job.get("by") == "command" and run.weights("checkpoint").is_file()


def clear(configs: list[RunConfig]) -> None:
    """Take what a sweep on this machine left waiting when it died, and remove what never began."""
    for run in store.users_runs():
        with contextlib.suppress(ValueError):
            owner = run.job.get("owner")
            here = isinstance(owner, dict) and owner.get("host") == socket.gethostname()
            if here and run.state == "queued" and is_orphan(run) and run.config in configs:
                run.set_status("stopped", "The command that queued it has ended.")
                remove_if_empty(run)


def remove_if_empty(run: Run) -> None:
    """Remove a stopped run that nothing is known of."""
    if run.state == "stopped" and not run.metrics():
        store.delete(run)


def _label(config: RunConfig) -> str:
    return f"{config.pooling}, seed {config.seed}, learning rate {config.learning_rate:g}"


def _print_plan(planned: list[Planned]) -> None:
    count = sum(each.what == DONE for each in planned)
    print(f"{len(planned)} runs of {planned[0].config.task}: {count} done, {len(planned) - count} to do")
    for each in planned:
        print(each.line)


# ---- doing it ----


def _start(planned: list[Planned], ours: list[Run], keep_weights: bool) -> None:
    """Queue what is left, and put it into `ours` as it is queued."""
    from poolviz.runs import jobs

    for each in planned:
        if each.what == GO_ON and each.run:
            jobs.resume(each.run)
            ours.append(each.run)
    configs = [each.config for each in planned if each.what == TO_DO]
    if configs:
        ours += jobs.submit(configs, keep_weights=keep_weights, by="command")


def _end(ours: list[Run]) -> None:
    """End what goes on, keep it, and remove what never began."""
    from poolviz.runs import jobs

    for run in ours:
        jobs.stop(run)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not all(run.ended for run in ours):
        time.sleep(LOOK / 5)
    for run in ours:
        remove_if_empty(run)


class Board:
    """A bar for the sweep and one for each run that goes on; lines alone where nobody watches."""

    def __init__(self, runs: list[Run], count: int) -> None:
        """`count` runs belong to the sweep; those that are not among `runs` are done."""
        self.left, self.count, self.done, self.failed = list(runs), count, count - len(runs), 0
        self.settings = {"disable": not sys.stderr.isatty(), "dynamic_ncols": True, "mininterval": 0.0}
        self.bars: dict[Run, tqdm[Any]] = {}

    def follow(self) -> int:
        """Until all have ended; how many did not complete."""
        with tqdm(total=self.count, initial=self.done, desc="sweep", unit=" runs", **self.settings) as whole:
            while self.left:
                for run in list(self.left):
                    self._look_at(run)
                whole.update(self.done - whole.n)
                if self.left:
                    time.sleep(LOOK)
        return self.failed

    def _look_at(self, run: Run) -> None:
        stand = standing(run)
        if stand is None or stand.ended:
            self._end(run, stand)
        elif stand.state == "running":
            if run not in self.bars:
                self.bars[run] = self._begin(stand)
            _advance(self.bars[run], stand)

    def _begin(self, stand: Standing) -> tqdm[Any]:
        about = f"{stand.config.pooling} s{stand.config.seed}"
        bar = tqdm(desc=about, unit=" batches", leave=False, **self.settings)
        if bar.disable:
            say(f"started    {_label(stand.config)}  {stand.run.folder}", sys.stdout)
        return bar

    def _end(self, run: Run, stand: Standing | None) -> None:
        self.left.remove(run)
        self.done += 1
        self.failed += stand is None or stand.state != "completed"
        if run in self.bars:
            self.bars.pop(run).close()
        how = _ending(stand) if stand else f"gone       {run.name}"
        say(f"{how}  ({self.done} of {self.count})", sys.stdout)


def _advance(bar: tqdm[Any], stand: Standing) -> None:
    """A bar counts the run's batches."""
    if bar.disable:
        return
    bar.total = stand.start.get("steps")
    loss = (stand.epochs or [{}])[-1].get("validation_loss")
    if loss is not None:
        bar.set_postfix({"validation loss": f"{loss:.4f}"}, refresh=False)
    bar.update(stand.last.get("step", 0) - bar.n)


def _ending(stand: Standing) -> str:
    """One line of how a run ended."""
    if stand.state != "completed":
        return f"{stand.state:9}  {_label(stand.config)}  {stand.reason}"
    row = result(stand)
    found = figures({name: row[f"validation_{name}"] for name in ("loss", "error", "mcc")}, stand.config)
    return f"completed  {_label(stand.config)}  best epoch {row['best_epoch']}: validation {found}"


def _conclude(count: int, failed: int) -> int:
    if not failed:
        print(f"All {count} runs are completed.")
        return COMPLETED
    print(f"{failed} of {count} runs did not complete; the same command tries them again.", file=sys.stderr)
    return FAILED


def _interrupted(configs: list[RunConfig]) -> int:
    if configs:
        done = sum(each.what == DONE for each in plan(configs))
        print(f"Stopped: {done} of {len(configs)} runs are done and kept. The same command goes on.", file=sys.stderr)
    return INTERRUPTED


# ---- workers ----


def _check_workers(count: int | None) -> None:
    if count is None:
        return
    if not 1 <= count <= MOST_WORKERS:
        raise ValueError(f"--workers must be a whole number from 1 to {MOST_WORKERS}, got {count}.")
    if os.environ.get("POOLVIZ_SCHEDULER", "").strip():
        raise ValueError("POOLVIZ_SCHEDULER names a cluster, which has workers of its own: leave --workers away.")


@contextlib.contextmanager
def _queue(workers: int | None) -> Iterator[None]:
    """The queue, with so many workers on this machine, among which its cores are divided."""
    from poolviz.runs import jobs
    from poolviz.runs.queue import QUEUE

    if workers:
        os.environ.setdefault("POOLVIZ_THREADS", str(max(1, cores() // workers)))
    QUEUE.connect(workers or 0)
    try:
        yield
    finally:
        jobs.close()
