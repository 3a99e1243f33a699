"""`python -m poolviz ship`: completed runs become part of the project, small and without a word of whose they were.

A shipped folder has a run's own format: configuration, environment, figures, a curve of which some of the points
within epochs are left out, and predictions whose confidence has three decimals. No job, host, process or log. Its name
follows from the configuration, so nothing is shipped twice.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poolviz.runs import received, results, store
from poolviz.runs.arrival import scratch
from poolviz.runs.commands import COMPLETED, refuse
from poolviz.runs.foreground import UNUSABLE
from poolviz.runs.store import Run
from poolviz.training.config import RunConfig, default_config
from poolviz.training.folder import FolderRecorder

if TYPE_CHECKING:
    from torch import Tensor

MOST_STEPS = 120  # points within epochs
DIGITS = 6  # of their figures
MOST_BYTES = 60_000_000  # of all that is shipped
SCRATCH = ".shipping-"
BASE = ("task", "train_limit", "pooling", "linear_tanh", "seed")  # fields that every name tells
SHORT = {"learning_rate": "lr", "batch_size": "batch", "weight_decay": "decay", "kernel_size": "kernel"}


def ship(options: argparse.Namespace) -> int:
    """Check all, ship them, say how large they are, and return the exit code."""
    try:
        runs = sorted({find(name) for name in options.runs}, key=lambda run: (run.config.to_json(), run.name))
        for run in runs:
            check(run, options.weights)
        for run in runs:
            print(add(run, options.weights, [other.config for other in runs]))
    except UNUSABLE as error:
        return refuse("ship", error)
    total = size_of(store.SHIPPED)
    print(f"All that is shipped: {total:,} bytes in {store.SHIPPED}")
    if total > MOST_BYTES:
        print(f"That is more than {MOST_BYTES:,} bytes: ship fewer runs, or fewer weights.", file=sys.stderr)
    return COMPLETED


def find(name: str) -> Run:
    """A run by its name or folder; ValueError where there is none."""
    folder = Path(name).expanduser()
    run = Run(folder.resolve()) if (folder / "config.json").is_file() else store.find(name)
    if run is None:
        raise ValueError(f"There is no run {name[:160]!r}: give the name of a folder in {store.runs_folder()}.")
    return run


def check(run: Run, weights: bool) -> None:
    """ValueError for a run that is not completed, is damaged, or has not the weights that are asked for."""
    if run.state != "completed":
        raise ValueError(f"{run.name} is {run.state}: only completed runs are shipped.")
    try:
        results.read(run)
    except ValueError as error:
        raise ValueError(f"{run.name} is damaged: {error}") from None
    if weights and not run.weights("best").is_file():
        raise ValueError(f"{run.name} has kept no weights: ship it without --weights.")


def add(run: Run, weights: bool = False, others: Sequence[RunConfig] = ()) -> str:
    """Put a run among those that are shipped; a line that says where, how large, and what was done.

    `others` are shipped with it. ValueError where another run of its configuration is there.
    """
    name = name_of(run.config, others)
    target = Run(store.SHIPPED / name)
    there = target.folder.is_dir()
    if there and target.summary != run.summary:
        raise ValueError(f"{target.folder} holds another run of this configuration: remove that folder first.")
    if there and not (weights and not target.weights("best").is_file()):
        return f"{name}  {size_of(target.folder):,} bytes, is there already"
    with scratch(store.SHIPPED, SCRATCH) as folder:
        said = _weights(run, folder) if weights else ""
        if there:
            os.replace(folder / "best.safetensors", target.weights("best"))
        else:
            _pack(run, folder)
            os.rename(folder, target.folder)
    return f"{name}  {size_of(target.folder):,} bytes{said}"


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ---- its name ----


def name_of(config: RunConfig, others: Sequence[RunConfig] = ()) -> str:
    """What a configuration's shipped folder is called.

    What most runs differ in, and the options that are not the task's defaults where one of the `others`, which are
    shipped with it, or a folder that is there would be called the same.
    """
    taken = {path.name: Run(path).config for path in _folders()}
    known = [name for name, other in taken.items() if other == config]
    if known:
        return known[0]
    name = base = _base(config)
    if base in taken or any(other != config and _base(other) == base for other in others):
        name = _slug(base + _differing(config, default_config(config.task)))
    if name in taken:  # of the defaults themselves
        name = _slug(base + _differing(config, taken[name]))
    if name in taken or not store.NAME.fullmatch(name):
        name = f"{name[:100]}-{hashlib.sha256(config.to_json().encode()).hexdigest()[:8]}"
    return name


def _base(config: RunConfig) -> str:
    limit = [str(config.train_limit)] * bool(config.train_limit)
    return _slug("-".join([config.task, *limit, config.pooling, *["tanh"] * config.linear_tanh, f"s{config.seed}"]))


def _folders() -> list[Path]:
    return [path for path in sorted(store.SHIPPED.glob("*")) if (path / "config.json").is_file()]


def _differing(config: RunConfig, other: RunConfig) -> str:
    """The options in which two runs differ, such as -lr2e-05."""
    said = ""
    for name in (field.name for field in fields(RunConfig) if field.name not in BASE):
        value = getattr(config, name)
        if value != getattr(other, name):
            short = f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else value
            said += f"-{SHORT.get(name, name.replace('_', '-'))}{short}"
    return said


def _slug(text: str) -> str:
    return re.sub(r"\.\.+", ".", re.sub(r"[^a-z0-9.-]+", "-", text.lower()))


# ---- its files ----


def _pack(run: Run, folder: Path) -> None:
    """Write everything but weights."""
    status = run.status
    parts = {
        "config": asdict(run.config),
        "environment": received.environment(run.environment),
        "status": {"state": status["state"], "reason": status.get("reason", "")},
        "summary": run.summary,
    }
    for name, content in parts.items():
        indent = None if name == "summary" else 2  # a matrix would take a line a number
        (folder / f"{name}.json").write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")
    lines = (json.dumps(row, separators=(",", ":")) + "\n" for row in thinned(run.metrics()))
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    if (run.folder / "predictions.parquet").is_file():
        _predictions(run.folder / "predictions.parquet", folder / "predictions.parquet")


def thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A curve with at most MOST_STEPS points within epochs, spread evenly, the first and the last among them."""
    steps = [number for number, row in enumerate(rows) if row.get("kind") == "step"]
    few = min(len(steps), MOST_STEPS)
    kept = {steps[round(number * (len(steps) - 1) / max(1, few - 1))] for number in range(few)}
    left = [row for number, row in enumerate(rows) if row.get("kind") != "step" or number in kept]
    return [_rounded(row) if row.get("kind") == "step" else row for row in left]


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for name, value in row.items()}


def _predictions(source: Path, target: Path) -> None:
    """The same rows, smaller: 10,000 take some 30 kB."""
    import pandas as pd

    table = pd.read_parquet(source)
    kinds = {"example": "int32", "label": "int16", "prediction": "int16", "confidence": "float32"}
    small = pd.DataFrame({name: table[name].astype(kind) for name, kind in kinds.items()})
    small["confidence"] = small["confidence"].round(3)
    small.attrs = {name: table.attrs[name] for name in ("split", "epoch") if name in table.attrs}
    small.to_parquet(
        target,
        index=False,
        compression="zstd",
        compression_level=19,
        write_statistics=False,
        use_dictionary=["label", "prediction", "confidence"],
        column_encoding={"example": "DELTA_BINARY_PACKED"},  # they mostly go up by one
    )


# ---- its weights ----


def _weights(run: Run, folder: Path) -> str:
    """Keep the best epoch's weights, in half precision where they make as many errors; a phrase that says which."""
    kept = FolderRecorder(run.folder).load("best")
    assert kept is not None
    tensors, facts = kept
    half = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    before, after, count = _errors(run.config, tensors, half)
    same = before == after and all(bool(value.isfinite().all()) for value in half.values())
    FolderRecorder(folder).save("best", half if same else tensors, facts)
    (folder / "best.safetensors").chmod(0o644)
    if same:
        return f", weights in fp16 ({before:,} errors of {count:,}, as in fp32)"
    return f", weights in fp32 ({before:,} errors of {count:,}; in fp16 they make {after:,})"


class _Silent:
    """A recorder of a loop that only judges."""

    def should_stop(self) -> bool:
        return False


def _errors(config: RunConfig, *weights: dict[str, Tensor]) -> tuple[int, ...]:
    """How many examples of the test set each set of weights gets wrong (of the validation set where there is no other).

    The number of examples comes last.
    """
    from poolviz.training.data import load_encoder_of, load_task
    from poolviz.training.loop import Loop
    from poolviz.training.work import set_threads

    set_threads()
    encoder = load_encoder_of(config)
    loop = Loop(replace(config, precision="no"), load_task(config, encoder), _Silent(), encoder)
    split = loop.task.test if loop.task.test is not None else loop.task.validation
    found = []
    for tensors in weights:
        loop.accelerator.unwrap_model(loop.model).load_state_dict(tensors)
        confusion = loop.evaluate(split).confusion
        found.append(int(confusion.sum() - confusion.diagonal().sum()))
    return (*found, len(split))
