"""Runs become part of the project: small, without private facts, under names that tell them apart; options in files."""

import getpass
import io
import json
import os
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from poolviz.__main__ import main, parser
from poolviz.runs import arrival, commands, results, ship, store
from poolviz.training import data
from poolviz.training.config import RunConfig, default_config
from poolviz.training.folder import FolderRecorder, signs_of_life
from poolviz.training.work import work

ROOT = Path(__file__).resolve().parent.parent
CONFIG = default_config("digits", epochs=4, train_limit=100, eval_limit=60, width=4, seed=3, learning_rate=0.01)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A completed run with everything that a folder may hold."""
    with pytest.MonkeyPatch.context() as there:
        there.setenv("POOLVIZ_RUNS", str(tmp_path_factory.mktemp("runs")))
        run = store.create(CONFIG, by="page", visitor="somebody", owner=signs_of_life())
        assert work(run.folder) == "completed"
        (run.folder / "log.txt").write_text(f"a warning from {run.folder}\n")
    return run


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch, done):
    monkeypatch.setenv("POOLVIZ_RUNS", str(done.folder.parent))
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "pretrained")
    return tmp_path / "pretrained"


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(folder, config):
    """A shipped folder of a configuration, of which nothing more is asked."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.to_json())


# ---- what is shipped ----


def test_a_shipped_run_has_the_figures_and_nothing_private(done, shipped, capsys):
    assert main(["ship", done.name]) == 0
    said = capsys.readouterr().out
    (name,) = [path.name for path in shipped.iterdir()]
    assert name == "digits-100-max-s3"
    size = sum(map(len, files(shipped).values()))
    assert said == f"{name}  {size:,} bytes\nAll that is shipped: {size:,} bytes in {shipped}\n"
    run = store.find(name)
    kinds = {"config.json", "environment.json", "status.json", "summary.json", "metrics.jsonl", "predictions.parquet"}
    assert set(files(run.folder)) == kinds
    assert run.config == done.config
    assert run.environment == done.environment
    assert run.summary == done.summary
    assert json.loads((run.folder / "status.json").read_text()) == {"state": "completed", "reason": ""}
    assert results.read(run).values == results.read(done).values
    assert results.origin(run) == results.SHIPPED
    whole = b"".join(files(shipped).values())
    for word in (socket.gethostname(), str(os.getpid()), "somebody", str(done.folder.parent), "warning", "heartbeat"):
        assert f'"{word}"'.encode() not in whole and (len(word) < 6 or word.encode() not in whole)
    assert getpass.getuser().encode() + b"@" not in whole


def test_its_predictions_are_the_same_and_small(done, shipped):
    rng = np.random.default_rng(0)
    many = pd.DataFrame(
        {
            "example": np.arange(10_000, dtype="int32"),
            "label": rng.integers(0, 10, 10_000).astype("int16"),
            "prediction": rng.integers(0, 10, 10_000).astype("int16"),
            "confidence": rng.random(10_000).astype("float32"),
        }
    )
    many.attrs = {"split": "test", "epoch": 2, "more": "x"}
    shipped.mkdir()
    many.to_parquet(shipped / "whole.parquet", index=False)
    ship._predictions(shipped / "whole.parquet", shipped / "small.parquet")
    small = pd.read_parquet(shipped / "small.parquet")
    assert (shipped / "small.parquet").stat().st_size < 0.5 * (shipped / "whole.parquet").stat().st_size
    assert small.attrs == {"split": "test", "epoch": 2}
    assert (small.dtypes == many.dtypes).all()
    for name in ("example", "label", "prediction"):
        assert (small[name] == many[name]).all()
    assert (small["confidence"] - many["confidence"]).abs().max() < 0.00051
    assert small["confidence"].between(0, 1).all()


@pytest.mark.parametrize("count", [0, 1, 2, 119, 120, 121, 500, 10_000])
def test_a_curve_keeps_its_ends_and_every_epoch(count):
    rows = [{"kind": "start", "step": 0, "estimated_bytes": 123_456_789}]
    for number in range(1, count + 1):
        rows.append({"kind": "step", "step": number, "train_loss": 1 / (3 * number), "peak_bytes": 1_234_567_891})
        if number % 100 == 0:
            rows.append({"kind": "epoch", "step": number, "train_loss": 1 / (7 * number)})
    thin = ship.thinned(rows)
    kept = [row["step"] for row in thin if row["kind"] == "step"]
    assert len(kept) == min(count, ship.MOST_STEPS)
    assert [row for row in thin if row["kind"] != "step"] == [row for row in rows if row["kind"] != "step"]
    assert [row["step"] for row in thin] == sorted(row["step"] for row in thin)
    if count > 1:
        gaps = np.diff(kept)
        assert (kept[0], kept[-1]) == (1, count)
        assert gaps.max() - gaps.min() <= 1
    if count:
        assert thin[1] == {"kind": "step", "step": 1, "train_loss": 0.333333, "peak_bytes": 1_234_567_891}
    assert ship.thinned(thin) == thin


def test_a_shipped_run_can_be_given_to_others(done, tmp_path, monkeypatch):
    ship.add(done)
    run = store.find("digits-100-max-s3")
    packed = run.zipped()
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match=r"here already: digits-100-max-s3\."):
        arrival.arrive(packed)
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "another")
    there = arrival.arrive(packed)
    assert (there.name, there.config, there.summary, there.metrics()) == (
        run.name,
        run.config,
        run.summary,
        run.metrics(),
    )
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None


# ---- twice ----


def test_twice_gives_the_same(done, shipped, capsys):
    assert main(["ship", done.name, str(done.folder)]) == 0
    before = files(shipped)
    assert capsys.readouterr().out.count("digits-100-max-s3  ") == 1
    assert main(["ship", done.name]) == 0
    assert "digits-100-max-s3  " in (said := capsys.readouterr().out) and "is there already" in said
    assert main(["ship", "digits-100-max-s3"]) == 0  # its own shipped name finds it too
    assert files(shipped) == before
    for path in sorted(shipped.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert main(["ship", done.name, "--weights"]) == main(["ship", done.name, "--weights"]) == 0
    weights = files(shipped).pop("digits-100-max-s3/best.safetensors")
    for path in sorted(shipped.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert main(["ship", done.name]) == 0
    assert files(shipped) == before
    assert main(["ship", done.name, "--weights"]) == 0  # they are added
    assert files(shipped) == before | {"digits-100-max-s3/best.safetensors": weights}
    assert main(["ship", done.name]) == 0  # and stay
    assert "digits-100-max-s3/best.safetensors" in files(shipped)


def test_another_run_of_the_configuration_stays(done, shipped, capsys):
    ship.add(done)
    path = shipped / "digits-100-max-s3" / "summary.json"
    path.write_text(path.read_text().replace('"peak_bytes": ', '"peak_bytes": 1'))
    before = files(shipped)
    assert main(["ship", done.name]) == 2
    assert "holds another run of this configuration" in capsys.readouterr().err
    assert files(shipped) == before


# ---- weights ----


def test_weights_are_halved_where_they_are_as_right(done, shipped, capsys):
    assert main(["ship", done.name, "--weights"]) == 0
    said = capsys.readouterr().out
    wrong = round(done.summary["test"]["error"] * 60)
    assert f"weights in fp16 ({wrong} errors of 60, as in fp32)" in said
    run = store.find("digits-100-max-s3")
    whole, half = load_file(done.weights("best")), load_file(run.weights("best"))
    assert {name: value.half() for name, value in whole.items()}.keys() == half.keys()
    assert all(torch.equal(half[name], value.half()) for name, value in whole.items())
    assert FolderRecorder(run.folder).load("best")[1] == FolderRecorder(done.folder).load("best")[1]
    assert run.weights("best").stat().st_size < 0.55 * done.weights("best").stat().st_size


def test_weights_that_would_be_less_right_stay_whole(done, shipped, capsys, monkeypatch):
    real = torch.Tensor.half
    monkeypatch.setattr(torch.Tensor, "half", lambda self: -real(self))
    assert main(["ship", done.name, "--weights"]) == 0
    assert "weights in fp32 (" in capsys.readouterr().out
    kept = load_file(store.find("digits-100-max-s3").weights("best"))
    assert all(torch.equal(kept[name], value) for name, value in load_file(done.weights("best")).items())


def test_sentences_are_judged_too(done, monkeypatch, tmp_path):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "texts"))
    monkeypatch.setattr(data, "MINIMAL_PAIRS", {"train": 60, "test": 20})
    config = default_config("minimal-pairs", train_limit=16, eval_limit=20, epochs=1, linear_tanh=True)
    run = store.create(config, by="command")
    assert work(run.folder) == "completed"
    said = ship.add(run, weights=True)
    assert said.startswith("minimal-pairs-16-cls-tanh-s0  ")
    kept = load_file(store.find("minimal-pairs-16-cls-tanh-s0").weights("best"))
    kinds = {value.dtype for value in kept.values() if value.is_floating_point()}
    assert kinds == {torch.float16 if "weights in fp16" in said else torch.float32}


# ---- names ----

MNIST = default_config("mnist", train_limit=10_000, pooling="softmax-stochastic", seed=2)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (RunConfig(), "digits-max-s0"),
        (MNIST, "mnist-10000-softmax-stochastic-s2"),
        (default_config("cola", linear_tanh=True, seed=4), "cola-cls-tanh-s4"),
        (RunConfig(pooling="A b/../c"), "digits-a-b-.-c-s0"),
    ],
)
def test_a_name_tells_what_runs_mostly_differ_in(config, name):
    assert ship.name_of(config) == name
    assert store.NAME.fullmatch(name) and ".." not in name


def test_a_name_that_is_anothers_tells_more(shipped):
    put(shipped / "mnist-10000-softmax-stochastic-s2", replace(MNIST, learning_rate=2e-3))
    assert ship.name_of(replace(MNIST, learning_rate=2e-3)) == "mnist-10000-softmax-stochastic-s2"
    other = replace(MNIST, learning_rate=5e-5, epochs=7, temperature=1e30)
    assert ship.name_of(other) == "mnist-10000-softmax-stochastic-s2-epochs7-lr5e-05-temperature1e-30"
    assert ship.name_of(MNIST) == "mnist-10000-softmax-stochastic-s2-lr0.001"  # the defaults, said against the other


def test_runs_that_are_shipped_together_are_all_told_apart():
    rates = [replace(MNIST, learning_rate=rate) for rate in (1e-3, 2e-3, 4e-3)]
    names = [ship.name_of(config, rates) for config in rates]
    base = "mnist-10000-softmax-stochastic-s2"
    assert names == [base, f"{base}-lr0.002", f"{base}-lr0.004"]


def test_a_long_name_is_cut_and_still_one_runs(shipped):
    first, second = (default_config("cola", encoder="x" * 150 + end) for end in "ab")
    put(shipped / ship.name_of(default_config("cola")), default_config("cola"))
    names = [ship.name_of(config) for config in (first, second)]
    assert len(set(names)) == 2 and all(store.NAME.fullmatch(name) for name in names)


# ---- what is not shipped ----


@pytest.mark.parametrize("state", ["queued", "stopped", "failed"])
def test_only_completed_runs_are_shipped(state, done, shipped, capsys):
    run = store.create(CONFIG)
    run.set_status(state)
    try:
        assert main(["ship", done.name, run.name]) == 2
    finally:
        run.set_status("stopped")
        store.delete(run)
    err = capsys.readouterr().err
    assert err == f"python -m poolviz ship: {run.name} is {state}: only completed runs are shipped.\n"
    assert not shipped.exists()


def test_what_cannot_be_shipped_is_one_sentence(done, shipped, capsys, tmp_path):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for name in ("config.json", "status.json"):
        (damaged / name).write_bytes((done.folder / name).read_bytes())
    cases = {
        ("no-such-run",): "There is no run 'no-such-run'",
        ("../x",): "There is no run '../x'",
        (str(damaged),): "damaged is damaged: environment.json is missing.",
    }
    for words, said in cases.items():
        assert main(["ship", *words]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
    ship.add(done)  # a shipped run has no weights
    assert main(["ship", "digits-100-max-s3", "--weights"]) == 2
    assert "has kept no weights: ship it without --weights" in capsys.readouterr().err


def test_a_shipping_that_fails_leaves_nothing(done, shipped, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ship, "_predictions", full)
    assert main(["ship", done.name]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not shipped.exists()


def test_too_much_in_all_is_said(done, shipped, capsys, monkeypatch):
    monkeypatch.setattr(ship, "MOST_BYTES", 1000)
    assert main(["ship", done.name]) == 0
    assert "more than 1,000 bytes" in capsys.readouterr().err


def test_help_needs_no_heavy_import():
    code = (
        "import sys\nfrom poolviz.__main__ import main\n"
        "try:\n    main(['ship', '--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'altair', 'streamlit', 'numpy', 'distributed', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m poolviz ship" in done.stdout


# ---- options in files ----


def test_a_sweep_reads_its_options_from_a_file(tmp_path):
    path = tmp_path / "cola sweep.txt"
    text = "# report A's table\n--task cola\n\n--poolings cls,mean-max  # two of them\n--seeds\n0-2\n"
    path.write_text(f"{text}--encoder 'a b#c'\n   # nothing more\n")
    words = ["--task", "cola", "--poolings", "cls,mean-max", "--seeds", "0-2", "--encoder"]
    expected = commands.configs_of(parser().parse_args(["sweep", *words, "a b#c"]))
    assert commands.configs_of(parser().parse_args(["sweep", f"@{path}"])) == expected
    assert len(expected) == 6
    more = parser().parse_args(["sweep", f"@{path}", "--seeds", "5", "--dry-run"])  # the last word holds
    assert {config.seed for config in commands.configs_of(more)} == {5}
    assert more.dry_run


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no text file 'sweep.txt'"),
        ("--seeds 'x", 'quotation mark has no partner in "--seeds \'x"'),
        ("--seeds x", "expected whole numbers"),
        ("--sead 1", "unrecognized arguments: --sead 1"),
        ("@sweep.txt", "names no other file"),
        ("", "--poolings cls,mean-max"),
        ("\x00\udcff", "there is no text file"),
    ],
)
def test_a_file_that_holds_no_sweep_is_one_line(text, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("sweep.txt").write_text(text, errors="surrogateescape")
    try:
        code = main(["sweep", "@sweep.txt"])
    except SystemExit as end:
        code = end.code
    err = capsys.readouterr().err
    assert code == 2
    assert said in err and err.count("\n") == 1


@pytest.mark.parametrize("name", ["", ".", "a\0b", "x" * 5000])
def test_what_is_no_file_is_one_line(name, capsys):
    with pytest.raises(SystemExit) as end:
        main(["sweep", f"@{name}"])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_other_commands_take_the_sign_as_it_is():
    assert parser().parse_args(["train", "--pooling", "@x"]).pooling == "@x"
