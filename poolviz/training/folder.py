"""A run's folder, as the process that trains writes it. One format for shipped results and for users' runs.

    config.json         RunConfig
    job.json            who asked for it, and when
    environment.json    device, versions, cores, commit
    status.json         state, process, heartbeat, reason; replaced as a whole, so that nobody reads half of it
    metrics.jsonl       appended to line by line; a torn last line is ignored
    summary.json        figures at the end
    predictions.parquet example, label, prediction, confidence; which split and epoch is in its metadata
    *.safetensors       weights: best and last epoch; checkpoint until the run is completed
    log.txt             what the process wrote

No pickle anywhere. Knows nothing of queues or pages; `runs/store.py` reads what is written here.
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import math
import os
import platform
import secrets
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolviz.training.config import RunConfig

if TYPE_CHECKING:  # torch takes seconds to import, and a list of runs needs none of it
    from torch import Tensor

    from poolviz.training.data import Split
    from poolviz.training.evaluation import Evaluation

STATES = ("queued", "running", "completed", "stopped", "failed")
ENDED = ("completed", "stopped", "failed")
STOP = "stop"  # a file of this name asks a run to end
LOOK_EVERY = 0.2  # seconds between two looks for it
BEAT_EVERY = 5.0  # seconds between two heartbeats
PROJECT = Path(__file__).resolve().parents[2]


def replace_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside, then replace: a reader sees the old file or the new one.

    On a full disk the old file's own place is written over: a run's last word fits where its status was.
    """
    text = json.dumps(content, indent=2) + "\n"
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        if error.errno != errno.ENOSPC or not path.is_file():
            raise
        with path.open("r+", encoding="utf-8") as file:
            file.write(text.ljust(path.stat().st_size))  # blanks after JSON mean nothing


class Status:
    """A run's status.json, written by one process; a thread beats its heart while it runs."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "status.json"
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def begin(self) -> None:
        """The run is this process's now."""
        self._write("running")
        threading.Thread(target=self._beat, daemon=True).start()

    def end(self, state: str, reason: str) -> None:
        """The last word."""
        assert state in ENDED
        self._ended.set()
        self._write(state, reason=reason)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_EVERY):
            with self._lock:
                if not self._ended.is_set():
                    try:
                        replace_json(self.path, {"state": "running"} | signs_of_life())
                    except OSError:
                        continue  # a full disk is told by what has something to say

    def _write(self, state: str, **facts: Any) -> None:
        with self._lock:
            replace_json(self.path, {"state": state} | signs_of_life() | facts)


def signs_of_life(pid: int | None = None) -> dict[str, Any]:
    """What tells later whether a process, this one unless another is named, still is there."""
    pid = pid or os.getpid()
    return {"heartbeat": time.time(), "host": socket.gethostname(), "pid": pid, "birth": birth(pid)}


def birth(pid: int) -> str:
    """When a process began, as the kernel counts: no other process has both, whatever the clock does.

    Empty where the process is gone, and where there is no such count: on systems other than Linux.
    """
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    return f"{boot} {after_name.split()[19]}"  # proc(5): field 22 of stat, in ticks since the machine was started


class FolderRecorder:
    """The loop's recorder, writing into a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._looked, self._stop = 0.0, False

    def metrics(self, row: dict[str, Any]) -> None:
        """Append a line; a value that is no number becomes null, which JSON knows."""
        known = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()
        }
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(known) + "\n")

    def rewind(self, step: int) -> None:
        """Forget the lines after a step."""
        path = self.folder / "metrics.jsonl"
        rows = [row for row in read_metrics(path) if row.get("step", 0) <= step]
        aside = path.with_suffix(".tmp")
        aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(aside, path)

    def predictions(self, split: Split, found: Evaluation, facts: dict[str, Any]) -> None:
        """What the model says of each example."""
        import pandas as pd

        table = pd.DataFrame(
            {
                "example": split.index.cpu().numpy().astype("int32"),
                "label": split.y.cpu().numpy().astype("int16"),
                "prediction": found.predictions.numpy().astype("int16"),
                "confidence": found.confidence.numpy().astype("float32"),
            }
        )
        table.attrs = facts
        self._whole("predictions.parquet", lambda aside: table.to_parquet(aside, index=False))

    def save(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Keep tensors and plain facts."""
        from safetensors.torch import save_file

        apart = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        known = {key: None if isinstance(value, float) and math.isinf(value) else value for key, value in facts.items()}
        metadata = {"facts": json.dumps(known)}
        self._whole(f"{name}.safetensors", lambda aside: save_file(apart, aside, metadata=metadata))

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save` kept."""
        from safetensors import safe_open

        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            known = {key: math.inf if value is None else value for key, value in facts.items()}
            return {key: file.get_tensor(key) for key in file.keys()}, known  # noqa: SIM118  it is no dictionary

    def should_stop(self) -> bool:
        """Whether somebody asked for an end."""
        now = time.monotonic()
        if not self._stop and now - self._looked > LOOK_EVERY:
            self._looked, self._stop = now, (self.folder / STOP).exists()
        return self._stop

    def ask_to_stop(self) -> None:
        """From within this process, at a signal."""
        self._stop = True

    def _whole(self, name: str, write: Any) -> None:
        """Write aside first: a process that dies on the way leaves the file of before."""
        aside = self.folder / f".{name}.{secrets.token_hex(3)}.tmp"
        try:
            write(aside)
            os.replace(aside, self.folder / name)
        finally:
            aside.unlink(missing_ok=True)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; what is torn or no JSON object is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    rows = []
    for line in lines[:-1]:  # what follows the last line break is torn
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def read_config(folder: Path) -> RunConfig:
    """The configuration in a run's folder; ValueError, one sentence, for what is none."""
    try:
        text = (folder / "config.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{folder} is no run's folder: its config.json cannot be read.") from None
    return RunConfig.from_json(text)


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object; empty for what is missing or none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_job(folder: Path) -> dict[str, Any]:
    """Who asked for a run (`by`, `visitor`), when (`created`), and whether to `keep_weights`."""
    return read_json(folder / "job.json")


def environment() -> dict[str, Any]:
    """What a figure needs beside it: device, versions, cores, commit."""
    import torch

    versions = {}
    for package in ("torch", "torchvision", "transformers", "accelerate"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "device": device_name(),
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": platform.system(),
        "versions": versions,
        "commit": _commit(),
    }


def device_name() -> str:
    """What trains here, as accelerate would choose it."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return "Apple GPU (MPS)" if torch.backends.mps.is_available() else "CPU"


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The project's commit, with a plus where files were changed since; empty without git."""
    try:
        asked = ["git", "describe", "--always", "--dirty=+"]
        found = subprocess.run(asked, cwd=PROJECT, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()
