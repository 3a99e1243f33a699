"""One folder a run, one format for shipped results and for users' runs.

    config.json         RunConfig
    environment.json    device, versions, cores, commit
    status.json         state, pid, heartbeat, reason; replaced as a whole, so that a reader never sees half of it
    metrics.jsonl       appended to line by line; a torn last line is ignored
    summary.json        figures at the end
    predictions.parquet example, label, prediction, confidence
    *.safetensors       weights: best, last, checkpoint
    log.txt             what the process wrote

No pickle anywhere. Knows nothing of queues or pages.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from poolviz.training.config import RunConfig

STATES = ("queued", "running", "completed", "stopped", "failed")
ENDED = ("completed", "stopped", "failed")
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,120}")
SILENT = 60.0  # seconds without a heartbeat after which a running run is taken for dead
STOP = "stop"  # a file of this name asks a run to end
SHIPPED = Path(__file__).resolve().parents[2] / "pretrained"


def runs_folder() -> Path:
    """Where users' runs are: POOLVIZ_RUNS, else `runs` beside the project."""
    return Path(os.environ.get("POOLVIZ_RUNS") or Path(__file__).resolve().parents[2] / "runs")


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
        return RunConfig.from_json(_text(self.folder / "config.json"))

    @property
    def status(self) -> dict[str, Any]:
        """state, pid, heartbeat, reason; a running run whose heart stopped is told as failed."""
        status = _json(self.folder / "status.json") or {"state": "failed", "reason": "Its status cannot be read."}
        if status.get("state") == "running" and time.time() - float(status.get("heartbeat", 0)) > SILENT:
            return status | {"state": "failed", "reason": "Its process ended without a word."}
        return status

    @property
    def summary(self) -> dict[str, Any]:
        """Figures at the end; empty before."""
        return _json(self.folder / "summary.json") or {}

    @property
    def environment(self) -> dict[str, Any]:
        """Device and versions; empty before it ran."""
        return _json(self.folder / "environment.json") or {}

    def metrics(self) -> list[dict[str, Any]]:
        """The curve so far; a last line that is not whole yet is left out."""
        try:
            lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").split("\n")
        except OSError:
            return []
        rows = []
        for line in lines[:-1]:  # what follows the last line break is torn
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows

    def set_status(self, state: str, **facts: Any) -> None:
        """Replace the status as a whole."""
        assert state in STATES
        replace_json(self.folder / "status.json", {"state": state, "heartbeat": time.time(), **facts})

    def ask_to_stop(self) -> None:
        """The loop looks for this between steps."""
        (self.folder / STOP).touch()

    def weights(self, name: str) -> Path:
        """The file of weights `name`."""
        return self.folder / f"{name}.safetensors"


class FolderRecorder:
    """The loop's recorder, writing into a run's folder."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def metrics(self, row: dict[str, Any]) -> None:
        """Append a line and beat."""
        clean = {name: value if not isinstance(value, float) or math.isfinite(value) else None for name, value in row.items()}
        with (self.run.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean) + "\n")
        self.run.set_status("running", pid=os.getpid())

    def save(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Keep tensors, aside first: a process that dies while writing leaves the file of before."""
        from safetensors.torch import save_file

        target = self.run.weights(name)
        aside = target.with_suffix(f".{secrets.token_hex(4)}.tmp")
        contiguous = {key: value.contiguous() for key, value in tensors.items()}
        save_file(contiguous, aside, metadata={"facts": json.dumps(facts)})
        os.replace(aside, target)

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save` kept."""
        from safetensors import safe_open

        path = self.run.weights(name)
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118  it is no dictionary

    def should_stop(self) -> bool:
        """Whether somebody asked for an end."""
        return (self.run.folder / STOP).exists()


def create(config: RunConfig, folder: Path | None = None) -> Run:
    """A new run's folder, queued; two processes never get the same."""
    config.check()
    root = folder or runs_folder()
    root.mkdir(parents=True, exist_ok=True)
    while True:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        path = root / f"{config.task}-{config.pooling}-s{config.seed}-{stamp}-{secrets.token_hex(2)}"
        try:
            path.mkdir()
            break
        except FileExistsError:
            continue
    (path / "config.json").write_text(config.to_json() + "\n", encoding="utf-8")
    run = Run(path)
    run.set_status("queued")
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
    for root in (runs_folder(), SHIPPED):
        if root.is_dir():
            paths = [path for path in root.iterdir() if (path / "config.json").is_file()]
            yield from (Run(path) for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True))


def replace_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside, then replace: a reader sees the old file or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(3)}")
    aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(aside, path)


def environment() -> dict[str, Any]:
    """What a figure needs beside it: device, versions, cores, commit."""
    import importlib.metadata

    import torch

    packages = ("torch", "torchvision", "transformers", "accelerate", "torchmetrics")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "device": gpu or "CPU",
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": platform.system(),
        "versions": versions,
        "commit": _commit(),
    }


def _commit() -> str:
    try:
        asked = ["git", "rev-parse", "--short", "HEAD"]
        found = subprocess.run(asked, cwd=SHIPPED.parent, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{path.name} of the run {path.parent.name} cannot be read.") from None


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
