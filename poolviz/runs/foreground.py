"""A run in this process and on this terminal: a line an epoch, a bar within one, figures at the end.

What is kept is what any run keeps, in the same folder. Knows nothing of the queue.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from poolviz.runs import store
from poolviz.runs.commands import COMPLETED, FAILED, INTERRUPTED, config_of, given_fields, option, refuse
from poolviz.training.config import RunConfig
from poolviz.training.folder import STOP, FolderRecorder, read_metrics, signs_of_life
from poolviz.training.work import work

UNUSABLE = (ValueError, OSError, ImportError, MemoryError)  # how a configuration, a folder or this machine may be


def train(options: argparse.Namespace) -> int:
    """Check, train here, and return the exit code."""
    resume = options.resume is not None
    try:
        if resume and given_fields(options):
            first = option(next(iter(given_fields(options))))
            return refuse("train", f"A resumed run keeps its configuration: leave {first} away.")
        run = to_resume(options.resume) if resume else None
        config = run.config if run else config_of(options)
        prepare([config], options.download)  # imports torch too, so that Ctrl-C finds no run that has hardly begun
        run = run or store.create(config, by="command", owner=signs_of_life())
        (run.folder / STOP).unlink(missing_ok=True)
        teller = Teller(run)
        with _log_for_errors(run.folder / "log.txt"), _asking_to_stop(teller):
            state = work(run.folder, resume, teller)
    except KeyboardInterrupt:
        return INTERRUPTED
    except UNUSABLE as error:
        return refuse("train", error)
    teller.close()
    return _conclude(run, state, teller)


def prepare(configs: Iterable[RunConfig], download: bool = False) -> None:
    """Find what would end these runs at their beginning; ValueError, one sentence."""
    from poolviz.training.check import check
    from poolviz.training.data import load_encoder_of
    from poolviz.training.fetch import fetch

    configs = list(configs)
    for task in {config.task for config in configs if download}:
        fetch(task)
    for config in configs:
        check(config)
    for config in {config.encoder: config for config in configs if config.is_text}.values():
        load_encoder_of(config)


def to_resume(name: str) -> store.Run:
    """The run to go on with, by its name or folder; ValueError where there is none, or nothing to go on with."""
    folder = Path(name).expanduser()
    run = store.Run(folder.resolve()) if (folder / "config.json").is_file() else store.find(name)
    if run is None:
        raise ValueError(f"There is no run {name[:160]!r}: give the name of a folder in {store.runs_folder()}.")
    state = run.state
    if state == "completed":
        raise ValueError(f"{run.name} is completed: there is nothing to go on with.")
    if state == "running" or state == "queued" and not is_orphan(run):
        raise ValueError(f"{run.name} is {state}: stop it first.")
    return run


def say(line: str, out: TextIO) -> None:
    """A line above all bars; a run does not end because nobody reads any more."""
    try:
        with tqdm.external_write_mode(file=out):
            print(line, file=out, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def is_orphan(run: store.Run) -> bool:
    """Whether a command left this run waiting and has died; an app takes care of its own."""
    owner = run.job.get("owner")
    return run.job.get("by") == "command" and not (isinstance(owner, dict) and store.is_alive(owner))


class Teller(FolderRecorder):
    """Writes into the run's folder, and says on the terminal what each epoch brought."""

    def __init__(self, run: store.Run) -> None:
        super().__init__(run.folder)
        self.out, self.err = sys.stdout, sys.stderr  # while it trains, errors go to the log
        self.config = run.config
        self.start: dict[str, Any] = {}  # the curve's first line
        self.seconds = 0.0  # until the last epoch's end
        self.bar: tqdm[Any] | None = None
        self.say(f"Run {run.name} in {run.folder}")

    def say(self, line: str) -> None:
        """A line above the bar."""
        say(line, self.out)

    def metrics(self, row: dict[str, Any]) -> None:
        """Keep it, and show it."""
        super().metrics(row)
        if row["kind"] == "start":
            self.start = row
        elif row["kind"] == "step":
            self._advance(row)
        else:
            self.close()
            seconds, self.seconds = self.seconds, row["train_seconds"] + row["eval_seconds"]
            self.say(epoch_line(row, self.config, self.seconds - seconds))

    def load(self, name: str) -> Any:
        """What `save` kept; a checkpoint is where the run goes on."""
        kept = super().load(name)
        if name == "checkpoint":
            self.say(f"Goes on after epoch {kept[1]['epoch']}" if kept else "Begins anew: no epoch was finished before")
        if name == "checkpoint" and kept:
            self.seconds = kept[1]["train_seconds"] + kept[1]["eval_seconds"]
            self.start = next(iter(read_metrics(self.folder / "metrics.jsonl")), {})
        return kept

    def _advance(self, row: dict[str, Any]) -> None:
        if not self.err.isatty() or "train_examples" not in self.start:
            return
        size = math.ceil(self.start["train_examples"] / self.config.batch_size)
        before = row["epoch"] * size
        if self.bar is None:
            about = f"epoch {row['epoch'] + 1:2}/{self.config.epochs}"
            total = min(size, self.start["steps"] - before)
            looks = {"leave": False, "dynamic_ncols": True, "mininterval": 0.0}
            self.bar = tqdm(total=total, desc=about, unit=" batches", file=self.err, **looks)
        self.bar.set_postfix({"train loss": f"{row['train_loss']:.4f}"}, refresh=False)
        self.bar.update(row["step"] - before - self.bar.n)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def epoch_line(row: dict[str, Any], config: RunConfig, seconds: float) -> str:
    """One epoch."""
    judged = {name.removeprefix("validation_"): value for name, value in row.items() if name.startswith("validation_")}
    epoch = f"epoch {row['epoch']:2}/{config.epochs}"
    return f"{epoch}  train loss {row['train_loss']:.4f}  validation {figures(judged, config)}  {seconds:.1f} s"


def figures(found: dict[str, Any], config: RunConfig) -> str:
    """Loss, and error of images or MCC of text; a value that is no number became null."""
    known = {name: math.nan if value is None else value for name, value in found.items()}
    loss = f"loss {known['loss']:.4f}"
    if not config.is_text:
        return f"{loss}  error {100 * known['error']:.2f} %"
    names = {"mcc_in_domain": "in domain", "mcc_out_of_domain": "out of domain"}
    apart = ", ".join(f"{words} {known[name]:.3f}" for name, words in names.items() if name in known)
    return f"{loss}  MCC {known['mcc']:.3f}" + f" ({apart})" * bool(apart)


def _conclude(run: store.Run, state: str, teller: Teller) -> int:
    """Say how it ended, and return the exit code."""
    reason, summary = run.status.get("reason", ""), run.summary
    if state == "failed":
        print(f"python -m poolviz train: {reason} ({run.folder} keeps what it did)", file=sys.stderr)
        return FAILED
    if state == "stopped":
        teller.say(f"Stopped and kept. Go on with: python -m poolviz train --resume {run.name}")
        return INTERRUPTED
    progress = summary["progress"]
    teller.say(f"best  epoch {progress['best_epoch']:2}  validation {figures(summary['best'], teller.config)}")
    teller.say(f"last  epoch {progress['epoch']:2}  validation {figures(summary['last'], teller.config)}")
    if "test" in summary:
        teller.say(f"test  of the best epoch's model  {figures(summary['test'], teller.config)}")
    teller.say(f"Completed in {progress['train_seconds'] + progress['eval_seconds']:.1f} s. {reason}".rstrip())
    return COMPLETED


@contextlib.contextmanager
def _log_for_errors(path: Path) -> Iterator[None]:
    """Warnings and tracebacks go where those of a queued run go."""
    with path.open("a", encoding="utf-8") as log, contextlib.redirect_stderr(log):
        yield


@contextlib.contextmanager
def _asking_to_stop(recorder: FolderRecorder) -> Iterator[None]:
    """The first Ctrl-C ends the run after its batch, a second one at once."""
    before = signal.getsignal(signal.SIGINT)

    def ask(*_: Any) -> None:
        recorder.ask_to_stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
