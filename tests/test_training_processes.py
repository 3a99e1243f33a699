"""Two processes on the CPU by `accelerate launch` are one run: the same figures, one folder, one end.

With --cpu the launcher starts one process, whatever --num_processes says; it is --multi_gpu that starts two, and
ACCELERATE_USE_CPU that keeps them off a GPU.
"""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch

from poolviz.training.config import RunConfig, default_config
from poolviz.training.folder import FolderRecorder, read_json, read_metrics
from poolviz.training.work import work
from tests.test_training_work import ROOT, folder_of

torch.set_num_threads(1)
FIGURES = ("train_loss", "train_error", "validation_loss", "validation_error", "validation_mcc", "learning_rate")


def config_of(pooling: str, **changes) -> RunConfig:
    """No chance but the order of batches; 33 does not divide by two, and the fourth batch holds one example."""
    base = {"epochs": 3, "train_limit": 100, "batch_size": 33, "dropout": 0.0, "head_dropout": 0.0}
    base |= {"width": 8, "learning_rate": 3e-3, "clip": 0.5, "schedule": "one-cycle", "pooling": pooling}
    return default_config("digits", **base | changes)


def launched(folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command += ["-m", "poolviz.training.loop", str(folder), *options]
    variables = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "POOLVIZ_THREADS": "1"}
    with (folder / "launch.txt").open("w") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | variables)


def ended(process: subprocess.Popen, folder: Path) -> int:
    try:
        return process.wait(200)
    finally:
        if process.poll() is None:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
            pytest.fail((folder / "launch.txt").read_text())


def epochs_of(folder: Path) -> list[dict]:
    return [row for row in read_metrics(folder / "metrics.jsonl") if row["kind"] == "epoch"]


def close(row: dict, other: dict) -> None:
    assert (row["step"], row["epoch"]) == (other["step"], other["epoch"])
    for name in FIGURES:
        assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), (name, row, other)


def test_two_processes_resume_a_run_to_the_end_that_one_has(tmp_path):
    config = config_of("max")
    alone, together = (folder_of(tmp_path / name, config) for name in ("alone", "together"))
    assert work(alone) == "completed"
    recorder = FolderRecorder(together)
    recorder.should_stop = lambda: len(epochs_of(together)) == 1 and sum(1 for _ in together.glob("checkpoint*")) == 1
    assert work(together, recorder=recorder) == "stopped" and len(epochs_of(together)) == 1
    with (together / "metrics.jsonl").open("a", encoding="utf-8") as file:  # what came after its checkpoint
        file.write('{"kind": "step", "step": 7, "epoch": 1, "train_loss": 9.9}\n')

    process = launched(together, "--resume")
    assert ended(process, together) == 0, (together / "launch.txt").read_text()
    rows = epochs_of(together)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert 9.9 not in [row["train_loss"] for row in read_metrics(together / "metrics.jsonl")[1:]]
    for row, other in zip(rows, epochs_of(alone), strict=True):
        close(row, other)
    one, two = (read_json(folder / "summary.json") for folder in (alone, together))
    assert two["progress"]["best_epoch"] == one["progress"]["best_epoch"] and two["labels"] == one["labels"]
    for name in ("best", "last", "test"):
        assert two[name]["loss"] == pytest.approx(one[name]["loss"], rel=1e-3)
        assert sum(map(sum, two[name]["confusion"])) == sum(map(sum, one[name]["confusion"]))
    assert two["test"]["error"] == pytest.approx(one["test"]["error"], abs=2 / 360)
    tables = [pd.read_parquet(folder / "predictions.parquet") for folder in (alone, together)]
    assert tables[0]["example"].equals(tables[1]["example"]) and tables[0].attrs == tables[1].attrs
    assert (tables[0]["prediction"] != tables[1]["prediction"]).sum() <= 2
    assert (tables[0]["confidence"] - tables[1]["confidence"]).abs().max() < 0.01
    assert read_json(together / "status.json")["state"] == "completed"
    assert {path.name for path in together.iterdir()} == {path.name for path in alone.iterdir()} | {"launch.txt"}


def test_a_stop_file_ends_both_processes_and_what_they_said_is_what_one_says(tmp_path):
    config = config_of("average", epochs=1000, schedule="constant")
    folder = folder_of(tmp_path / "together", config)
    process = launched(folder)
    deadline = time.monotonic() + 150
    while len(epochs_of(folder)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = [
        child for child in psutil.Process(process.pid).children(recursive=True) if "poolviz" in str(child.cmdline())
    ]
    (folder / "stop").touch()
    asked = time.time()
    assert ended(process, folder) == 0, (folder / "launch.txt").read_text()
    status = read_json(folder / "status.json")
    assert status["state"] == "stopped" and status["heartbeat"] - asked < 5
    assert len(workers) == 2 and not any(worker.is_running() for worker in workers)

    rows = epochs_of(folder)
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1)) and 3 <= len(rows) < 1000
    assert [row["step"] for row in rows] == [4 * row["epoch"] for row in rows]
    assert [row["kind"] for row in read_metrics(folder / "metrics.jsonl")].count("start") == 1
    assert "test" not in read_json(folder / "summary.json") and (folder / "checkpoint.safetensors").exists()
    (tmp_path / "alone").mkdir()
    assert work(folder_of(tmp_path / "alone", config_of("average", epochs=3, schedule="constant"))) == "completed"
    for row, other in zip(rows, epochs_of(tmp_path / "alone"), strict=False):
        close(row, other)
    assert math.isfinite(rows[-1]["validation_loss"])
