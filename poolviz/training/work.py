"""Do the run in a folder, and leave its results there.

Whatever happens, the run ends with a status and a reason in one sentence, and what was recorded stays. The exit code
is 0 for a run that was completed or stopped.

With --standby the process imports what training needs, builds an optimizer once, and waits for orders on its standard
input, one JSON object a line, so that the first step follows Start at once: {"measure": config} is answered with
an estimate on a line of its own, {"folder": ..., "resume": ...} is the last. An end of the input ends the process.
"""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolviz.training.config import RunConfig
from poolviz.training.folder import FolderRecorder, Status, environment, read_config, read_job, replace_json
from poolviz.training.memory import give_back, keep_freed_memory

if TYPE_CHECKING:
    from poolviz.training.data import Task
    from poolviz.training.evaluation import Evaluation
    from poolviz.training.loop import Outcome

GOOD_ENDS = ("completed", "stopped")


def work(folder: Path, resume: bool = False, recorder: FolderRecorder | None = None) -> str:
    """Train the run in `folder` in this process; its state at the end."""
    status = Status(folder)
    recorder = recorder or FolderRecorder(folder)
    before = signal.signal(signal.SIGTERM, lambda *_: recorder.ask_to_stop())
    try:
        set_threads()
        keep_freed_memory()
        if _is_main():
            status.begin()
            replace_json(folder / "environment.json", environment())
        state, reason = _train(folder, recorder, resume)
    except KeyboardInterrupt:
        state, reason = "stopped", "It was interrupted."
    except Exception as error:  # every end is told in the status; the log has the traceback
        with suppress(OSError):  # unless the disk is full, which must not keep the status from being told
            traceback.print_exc()
        state, reason = "failed", sentence(error)
    if _is_main():
        status.end(state, reason)
    signal.signal(signal.SIGTERM, before)  # now: a signal before the last word would take it away
    return state


def _is_main() -> bool:
    return os.environ.get("RANK", "0") == "0"


def set_threads() -> None:
    """POOLVIZ_THREADS, where it is set: many runs at once do better with one thread each."""
    import torch

    threads = os.environ.get("POOLVIZ_THREADS", "")
    if threads.isdigit() and int(threads) > 0:
        torch.set_num_threads(int(threads))


def _train(folder: Path, recorder: FolderRecorder, resume: bool) -> tuple[str, str]:
    from poolviz.training.data import load_encoder_of, load_task
    from poolviz.training.loop import ASKED, train

    config = read_config(folder)
    encoder = load_encoder_of(config)
    task = load_task(config, encoder)
    outcome = train(config, task, recorder, encoder, resume)
    stopped = outcome.progress.stopped
    if _is_main():
        replace_json(folder / "summary.json", summary(outcome, task))
        if stopped != ASKED:
            (folder / "checkpoint.safetensors").unlink(missing_ok=True)  # three times the weights, of no more use
            if not read_job(folder).get("keep_weights", True):
                for name in ("best", "last"):
                    (folder / f"{name}.safetensors").unlink(missing_ok=True)
    if stopped == ASKED:
        return "stopped", "It was asked to stop."
    whole = config.epochs * math.ceil(len(task.train) / config.batch_size)
    return "completed", f"It ended early: {stopped}." if outcome.progress.step < whole else ""


def summary(outcome: Outcome, task: Task) -> dict[str, Any]:
    """Figures of a finished run, as plain numbers."""
    progress = asdict(outcome.progress)
    result: dict[str, Any] = {
        "progress": progress | {"best_loss": outcome.best.loss if outcome.best else None},
        "parameters": outcome.parameters,
        "peak_bytes": outcome.peak_bytes,
        "estimated_bytes": outcome.estimate.bytes,
        "estimated_activations": outcome.estimate.activations,
        "classes": list(task.classes),
        "labels": {
            name: split.y.bincount(minlength=len(task.classes)).tolist()
            for name, split in (("train", task.train), ("validation", task.validation), ("test", task.test))
            if split is not None
        },
    }
    for name in ("best", "last", "test", "fit"):
        found: Evaluation | None = getattr(outcome, name)
        if found is not None:
            result[name] = {
                "loss": found.loss,
                "error": found.error,
                "mcc": found.mcc,
                "seconds": found.seconds,
                "cpu_seconds": found.cpu_seconds,
                "confusion": found.confusion.tolist(),
                **found.by_domain,
            }
    return result


def sentence(error: BaseException) -> str:
    """What went wrong, for somebody who will not read a traceback."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, OSError) and error.errno == errno.ENOSPC or "No space left" in text:
        return "The disk is full: delete old runs, or set POOLVIZ_RUNS to a folder with more room, and start again."
    short = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
    if isinstance(error, MemoryError) or any(words in text.lower() for words in short):
        return "There was not enough memory: a smaller batch, a narrower network or fewer examples need less."
    return text or type(error).__name__


def standby() -> int:
    """Get everything ready, then follow orders."""
    from poolviz.training.estimate import measure, warm_up

    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may speak on the line of answers
    set_threads()
    keep_freed_memory()
    warm_up()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "folder" in order:
            give_back()
            folder = Path(order["folder"])
            try:
                log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            except OSError:  # a full disk is told by the run itself
                log = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(log, stream)
            sys.stdout = sys.stderr
            return 0 if work(folder, order.get("resume", False)) in GOOD_ENDS else 1
        try:
            answer: dict[str, Any] = measure(RunConfig.from_dict(order["measure"]))
        except Exception as error:  # an estimate that cannot be had must not end the process
            answer = {"error": sentence(error)}
        print(json.dumps(answer), file=answers, flush=True)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Command line of one worker."""
    parser = argparse.ArgumentParser(prog="python -m poolviz.training.loop", description="Do the run in a folder.")
    parser.add_argument("folder", type=Path, nargs="?", help="the run's folder, with its config.json")
    parser.add_argument("--resume", action="store_true", help="go on from its last checkpoint")
    parser.add_argument("--standby", action="store_true", help="get ready, and wait for orders on the standard input")
    options = parser.parse_args(argv)
    if options.standby:
        return standby()
    if options.folder is None:
        parser.error("name a run's folder")
    try:
        read_config(options.folder)
    except ValueError as error:
        parser.error(str(error))
    return 0 if work(options.folder, options.resume) in GOOD_ENDS else 1
