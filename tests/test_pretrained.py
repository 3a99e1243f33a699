"""The shipped runs: every folder can be trusted, holds nothing private, and the smallest is trained again."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from poolviz.runs import received, results, store
from poolviz.runs.commands import COMPLETED, command_line
from poolviz.runs.store import Run
from poolviz.training.config import CLASSES

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = sorted(path.parent for path in store.SHIPPED.glob("*/config.json"))
NEEDED = {"config.json", "environment.json", "status.json", "summary.json", "metrics.jsonl", "predictions.parquet"}


def test_runs_are_shipped_in_less_than_sixty_megabytes():
    assert len(FOLDERS) >= 142
    assert sum(path.stat().st_size for path in store.SHIPPED.rglob("*") if path.is_file()) < 60e6


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_run_is_whole_and_would_be_let_in_from_a_stranger(folder, tmp_path):
    assert {path.name for path in folder.iterdir()} - {"best.safetensors"} == NEEDED
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    config = received.check(copy)
    result = results.read(Run(folder))
    assert result.state == "completed" and result.config == config and result.origin == results.SHIPPED
    assert not result.early, "a shipped run has all its epochs"
    table = pd.read_parquet(folder / "predictions.parquet")
    summary = json.loads((folder / "summary.json").read_text())
    judged = summary.get("test") or summary["best"]
    wrong = (table.label != table.prediction).mean()
    assert wrong == pytest.approx(judged["error"], abs=1e-9), "predictions and summary tell the same"
    counts = pd.crosstab(table.label, table.prediction).reindex(
        index=range(len(CLASSES[config.task])), columns=range(len(CLASSES[config.task])), fill_value=0
    )
    assert counts.to_numpy().tolist() == judged["confusion"]


def test_nothing_private_is_shipped():
    private = re.compile(r'"(host|pid|visitor|owner|heartbeat)"|/home/|/root|/tmp|/work')
    for path in store.SHIPPED.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".md", ".txt"):
            assert not private.search(path.read_text(encoding="utf-8")), path


def test_the_smallest_is_trained_again_to_the_same_figures(tmp_path):
    """On the same processor to the last bit; another one adds numbers in another order, which training enlarges."""
    shipped = Run(store.SHIPPED / "digits-max-s0")
    words = shlex.split(command_line(shipped.config))
    settings = {"POOLVIZ_RUNS": str(tmp_path), "POOLVIZ_THREADS": str(shipped.environment["threads"])}
    found = subprocess.run(
        [sys.executable, *words[1:]], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == COMPLETED, found.stderr
    (again,) = (Run(path) for path in tmp_path.iterdir())
    epochs, before = ([row for row in run.metrics() if row["kind"] == "epoch"] for run in (again, shipped))
    assert len(epochs) == len(before) == shipped.config.epochs
    for row, known in zip(epochs, before, strict=True):
        assert row["validation_loss"] == pytest.approx(known["validation_loss"], rel=0.05, abs=0.01)
    assert again.summary["parameters"] == shipped.summary["parameters"]
    examples = len(pd.read_parquet(shipped.folder / "predictions.parquet"))
    assert again.summary["test"]["error"] == pytest.approx(shipped.summary["test"]["error"], abs=5 / examples)


def test_each_sweep_that_is_named_can_be_planned_and_the_shipped_runs_are_among_them():
    from poolviz.__main__ import parser
    from poolviz.runs.commands import configs_of

    planned = set()
    for path in sorted((store.SHIPPED / "sweeps").glob("*.txt")):
        planned |= set(configs_of(parser().parse_args(["sweep", f"@{path}"])))
    assert {Run(folder).config for folder in FOLDERS} <= planned
