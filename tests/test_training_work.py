"""The process of a run: what it leaves in the folder, its exit codes, and the orders of one that stands by."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import confusion_matrix, matthews_corrcoef

from poolviz.inputs import grammar
from poolviz.training import work as work_module
from poolviz.training.config import RunConfig, default_config
from poolviz.training.data import MINIMAL_PAIRS
from poolviz.training.folder import FolderRecorder, read_json, read_metrics
from poolviz.training.work import main, sentence, work

torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]
QUICK = {"epochs": 2, "train_limit": 200, "width": 4, "learning_rate": 3e-3}


def folder_of(path: Path, config: RunConfig) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(config.to_json(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = folder_of(tmp_path_factory.mktemp("done"), default_config("digits", **QUICK))
    assert work(folder) == "completed"
    return folder


# ---- what a run leaves ----


def test_a_finished_runs_folder(done):
    names = {path.name for path in done.iterdir()}
    expected = {"config", "environment", "status", "summary"}
    assert names == {f"{name}.json" for name in expected} | {
        "metrics.jsonl",
        "predictions.parquet",
        "best.safetensors",
        "last.safetensors",
    }
    status = read_json(done / "status.json")
    assert (status["state"], status["reason"], status["pid"]) == ("completed", "", os.getpid())
    assert time.time() - status["heartbeat"] < 60
    facts = read_json(done / "environment.json")
    assert (
        facts["versions"]["torch"] == torch.__version__.split("+")[0] or facts["versions"]["torch"] in torch.__version__
    )
    assert facts["threads"] == torch.get_num_threads() and facts["device"]


def test_its_predictions_are_of_the_test_set_and_agree_with_its_figures(done):
    table, summary = pd.read_parquet(done / "predictions.parquet"), read_json(done / "summary.json")
    assert table.attrs == {"split": "test", "epoch": summary["progress"]["best_epoch"]}
    assert np.array_equal(table["label"], load_digits().target[1437:][table["example"]]) and len(table) == 360
    test = summary["test"]
    assert test["confusion"] == confusion_matrix(table["label"], table["prediction"], labels=range(10)).tolist()
    assert test["mcc"] == pytest.approx(matthews_corrcoef(table["label"], table["prediction"]), abs=1e-5)
    assert test["error"] == pytest.approx((table["label"] != table["prediction"]).mean())
    assert table["confidence"].between(0.1, 1).all()


def test_its_figures_are_those_of_its_curve(done):
    summary, rows = read_json(done / "summary.json"), read_metrics(done / "metrics.jsonl")
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert [row["step"] for row in epochs] == [7, 14] and summary["progress"]["step"] == 14
    assert summary["last"]["loss"] == epochs[-1]["validation_loss"]
    assert summary["best"]["loss"] == min(row["validation_loss"] for row in epochs) == summary["progress"]["best_loss"]
    assert sum(summary["labels"]["train"]) == 200 and sum(summary["labels"]["validation"]) == 287
    assert summary["labels"]["test"] == np.bincount(load_digits().target[1437:]).tolist()
    assert summary["parameters"] == 4 * 10 + 8 * (4 * 9 + 1) + 128 * (8 * 4 + 1) + 129 * 10
    assert summary["classes"] == [str(digit) for digit in range(10)] and summary["peak_bytes"] > 10**7


def test_weights_are_left_out_where_the_job_says_so(tmp_path):
    folder = folder_of(tmp_path, default_config("digits", **QUICK | {"epochs": 1}))
    (folder / "job.json").write_text('{"keep_weights": false}', encoding="utf-8")
    assert work(folder) == "completed" and not list(folder.glob("*.safetensors"))
    assert read_json(folder / "summary.json")["test"]["error"] < 1


def test_a_text_run_says_which_sentences_it_got_wrong(tmp_path):
    config = default_config("minimal-pairs", train_limit=16, eval_limit=20, epochs=1, freeze="encoder")
    assert work(folder_of(tmp_path, config)) == "completed"
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert set(table["label"]) == {0, 1} and len(table) == 20
    pairs = grammar.everything("test", MINIMAL_PAIRS["test"], seed=0)
    texts = [text for pair in pairs for text in (pair.acceptable, pair.unacceptable)]
    good = {pair.acceptable for pair in pairs}
    for number, label in zip(table["example"], table["label"], strict=True):
        assert (texts[number] in good) == bool(label)


# ---- stopped, failed ----


def test_a_stop_file_ends_a_run_that_can_be_resumed(tmp_path):
    folder = folder_of(tmp_path, default_config("digits", **QUICK | {"epochs": 500}))

    def ask():
        while len(read_metrics(folder / "metrics.jsonl")) < 4:
            time.sleep(0.02)
        (folder / "stop").touch()

    thread = threading.Thread(target=ask)
    thread.start()
    assert main([str(folder)]) == 0
    thread.join()
    status = read_json(folder / "status.json")
    assert (status["state"], status["reason"]) == ("stopped", "It was asked to stop.")
    summary, before = read_json(folder / "summary.json"), len(read_metrics(folder / "metrics.jsonl"))
    assert "test" not in summary and summary["progress"]["epoch"] < 500 and (folder / "checkpoint.safetensors").exists()
    (folder / "stop").unlink()
    epochs = summary["progress"]["epoch"] + 2
    folder_of(tmp_path, default_config("digits", **QUICK | {"epochs": epochs}))
    assert main([str(folder), "--resume"]) == 0
    rows = [row["epoch"] for row in read_metrics(folder / "metrics.jsonl") if row["kind"] == "epoch"]
    assert rows == list(range(1, epochs + 1)) and len(rows) + 2 > before - 2
    assert (
        read_json(folder / "status.json")["state"] == "completed" and not (folder / "checkpoint.safetensors").exists()
    )


def test_a_stop_during_the_first_epoch_leaves_a_summary(tmp_path):
    folder = folder_of(tmp_path, default_config("digits", **QUICK))
    (folder / "stop").touch()
    assert work(folder) == "stopped"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert summary["progress"]["best_loss"] is None and summary["progress"]["epoch"] == 0


def test_a_signal_ends_a_run_as_asked(tmp_path):
    folder = folder_of(tmp_path, default_config("digits", **QUICK | {"epochs": 500}))
    before = signal.getsignal(signal.SIGTERM)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    recorder = FolderRecorder(folder)
    ready = recorder.metrics

    def first_row(row):
        if not timer.is_alive() and timer.ident is None:
            timer.start()
        ready(row)

    recorder.metrics = first_row
    assert work(folder, recorder=recorder) == "stopped" and signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "not JSON"), ('{"epochs": 0}', "epochs"), ("[" * 10**5, "JSON"), ("\ud800", "cannot be read")],
)
def test_a_damaged_configuration_is_told_and_starts_nothing(tmp_path, capsys, text, words):
    (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path)])
    assert caught.value.code == 2 and words in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert work(tmp_path) == "failed"  # as a process that stood by is told
    assert words in read_json(tmp_path / "status.json")["reason"]


def test_no_folder_is_a_usage_error(tmp_path, capsys):
    for arguments in ([], [str(tmp_path / "nowhere")]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "nowhere" in capsys.readouterr().err and not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pooling": "cls"}, "unknown pooling 'cls'"),
        ({"depth": 2}, "too small"),
        ({"learning_rate": 10.0, "weight_decay": 1.0, "epochs": 100}, "smaller learning rate"),
        ({"task": "mnist"}, "MNIST is not at hand"),
    ],
)
def test_a_run_that_fails_says_why_and_keeps_its_points(tmp_path, monkeypatch, capsys, changes, words):
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = folder_of(tmp_path / "run", RunConfig(**QUICK | changes))
    assert main([str(folder)]) == 1
    status = read_json(folder / "status.json")
    assert status["state"] == "failed" and words in status["reason"] and status["reason"].isprintable()
    assert "Traceback" in capsys.readouterr().err
    rows = read_metrics(folder / "metrics.jsonl")
    assert not rows or (rows[0]["kind"] == "start" and len(rows) > 2 and (folder / "best.safetensors").exists())
    assert bool(rows) == ("weight_decay" in changes) and not (folder / "summary.json").exists()


def test_errors_are_told_in_one_sentence():
    assert sentence(OSError(28, "No space left on device")).startswith("The disk is full")
    assert sentence(RuntimeError("safetensors: I/O error: No space left on device (os error 28)")).startswith(
        "The disk"
    )
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        OSError(12, "Cannot allocate memory"),
    ):
        assert "not enough memory" in sentence(error)
    assert sentence(ValueError("two\n  lines ")) == "two lines"
    assert sentence(KeyError()) == "KeyError" and len(sentence(ValueError("x" * 999))) == 300


def test_a_full_disk_while_weights_are_written_is_told(tmp_path, monkeypatch):
    def full(self, name, tensors, facts):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FolderRecorder, "save", full)
    assert work(folder_of(tmp_path, default_config("digits", **QUICK))) == "failed"
    assert "disk is full" in read_json(tmp_path / "status.json")["reason"]
    assert [row["kind"] for row in read_metrics(tmp_path / "metrics.jsonl")][-1] == "epoch"


# ---- standing by ----


def test_a_process_that_stands_by_measures_refuses_and_runs(tmp_path):
    folder = folder_of(tmp_path, default_config("digits", **QUICK | {"precision": "bf16"}))
    process = subprocess.Popen(
        [sys.executable, "-m", "poolviz.training.loop", "--standby"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def ask(**order):
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()

    try:
        assert process.stdout.readline() == "ready\n"
        for bad in ({"epochs": 0}, {"nonsense": 1}, {"pooling": "cls"}, [], "digits"):
            ask(measure=bad)
            answer = json.loads(process.stdout.readline())
            assert set(answer) == {"error"} and answer["error"].isprintable(), bad
        ask(measure=json.loads(default_config("digits", width=4).to_json()))
        answer = json.loads(process.stdout.readline())
        assert 0 < answer["step_seconds"] < 5 and answer["train"] == 1150
        ask(folder=str(folder))
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out == ""  # the run's own words are in its log
    assert read_json(folder / "status.json")["state"] == "completed", (folder / "log.txt").read_text()
    assert read_json(folder / "status.json")["pid"] == process.pid


def test_an_end_of_the_orders_ends_a_process_that_stands_by(monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdin", iter(()))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    assert work_module.standby() == 0
    assert capfd.readouterr().out == "ready\n"
