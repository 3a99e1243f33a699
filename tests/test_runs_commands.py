"""`python -m poolviz train` and `sweep`: options, the line that gives a configuration, real runs, plans, bad input."""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import types
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import poolviz.runs
from poolviz.__main__ import main, parser
from poolviz.runs import commands, foreground, store, sweep
from poolviz.training.config import _REAL, _WHOLE, FREEZES, PRECISIONS, SCHEDULES, TASKS, RunConfig, default_config
from poolviz.training.folder import signs_of_life

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--train-limit", "150", "--eval-limit", "100", "--width", "4"]


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("POOLVIZ_THREADS", "1")
    monkeypatch.delenv("POOLVIZ_SCHEDULER", raising=False)
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "runs"


def parse(words):
    return parser().parse_args(words)


# ---- options ----


def test_every_field_has_one_option_with_a_help_text():
    named = [name for texts in commands.HELP.values() for name in texts]
    assert sorted(named) == sorted(field.name for field in fields(RunConfig))
    assert all(texts.values() for texts in commands.HELP.values())
    assert not any(default_config(task).linear_tanh for task in TASKS), "a flag can only say yes"


@pytest.mark.parametrize("task", TASKS)
def test_what_is_not_given_is_the_tasks_default(task):
    assert commands.config_of(parse(["train", "--task", task])) == default_config(task)


def test_without_a_word_it_is_the_digits():
    assert commands.config_of(parse(["train"])) == default_config("digits")


def test_help_names_defaults_and_choices(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    for words in ("default 5; 12 for digits; 2 for minimal-pairs", "one-cycle", "examples:", "130 stopped"):
        assert words in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0-4", (0, 1, 2, 3, 4)), ("0,2,5", (0, 2, 5)), ("7", (7,)), (" 1 - 2 ,9,2", (1, 2, 9)), ("3-3", (3,))],
)
def test_seeds(text, expected):
    assert commands.seeds(text) == expected


@pytest.mark.parametrize("text", ["", "a", "-1", "0-", "4-0", "1,,2", "0-10000", "1.5", "0:4", "-3-2"])
def test_seeds_that_are_none_are_one_sentence(text, capsys, runs):
    with pytest.raises(SystemExit) as end:
        main(["sweep", "--poolings", "max", f"--seeds={text}"])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not runs.exists()


def test_a_sweep_has_all_combinations_the_first_seed_first():
    words = "sweep --task cola --poolings cls,mean-max --seeds 0,3 --learning-rates 2e-5,5e-5 --epochs 2"
    configs = commands.configs_of(parse(words.split()))
    assert len(configs) == len(set(configs)) == 8
    assert [(each.seed, each.pooling) for each in configs[:2]] == [(0, "cls"), (0, "mean-max")]
    assert {(each.task, each.epochs, each.batch_size) for each in configs} == {("cola", 2, 16)}
    assert {each.learning_rate for each in configs} == {2e-5, 5e-5}


# ---- the line that gives a configuration ----

whole = {name: st.integers(low, high) for name, low, high in _WHOLE}
real = {name: st.floats(low, high, exclude_min=no_low) for name, low, high, no_low in _REAL}
words = {
    name: st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=60)
    | st.sampled_from(["--epochs", "-1", "a b", "it's", "$HOME"])
    for name in ("pooling", "encoder")
}
choices = {"task": TASKS, "schedule": SCHEDULES, "precision": PRECISIONS, "freeze": FREEZES}
any_config = st.builds(
    RunConfig,
    **whole,
    **real,
    **words,
    **{name: st.sampled_from(known) for name, known in choices.items()},
    linear_tanh=st.booleans(),
).map(lambda config: config if config.task == "cola" else replace(config, held_out=0.0))
PARSER = parser()


@settings(max_examples=150, deadline=None)
@given(config=any_config)
def test_the_line_gives_back_the_configuration(config):
    *python, command = shlex.split(commands.command_line(config))[:4]
    assert [*python, command] == ["python", "-m", "poolviz", "train"]
    given_back = commands.config_of(PARSER.parse_args(shlex.split(commands.command_line(config))[3:]))
    assert given_back == config


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (default_config("digits"), "--task digits"),
        (default_config("mnist", pooling="average", seed=3), "--task mnist --pooling average --seed 3"),
        (
            default_config("cola", learning_rate=2e-5, linear_tanh=True),
            "--task cola --learning-rate 2e-05 --linear-tanh",
        ),
        (default_config("cola", encoder="a b"), "--task cola --encoder 'a b'"),
    ],
)
def test_the_line_names_what_differs(config, line):
    assert commands.command_line(config) == f"python -m poolviz train {line}"


def test_the_line_goes_through_a_shell():
    config = default_config("cola", encoder="it's $HOME; `x`", pooling="-x")
    line = commands.command_line(config).removeprefix("python -m poolviz ")
    show = shlex.join([sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))"])
    shown = subprocess.run(["sh", "-c", f"{show} {line}"], capture_output=True, text=True, check=True, timeout=60)
    assert commands.config_of(parse(json.loads(shown.stdout))) == config


# ---- bad input: one sentence, exit code 2, nothing written ----


def refused(words, capsys, runs):
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    err = capsys.readouterr().err
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("python -m poolviz")
    assert "Traceback" not in err
    assert not runs.exists()
    return err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--learning-rate 0", "--learning-rate must be above 0"),
        ("--learning-rate nan", "--learning-rate must be above 0"),
        ("--learning-rate quick", "expected a number, got 'quick'"),
        ("--batch-size 0", "--batch-size must be a whole number from 1"),
        ("--seed -1", "--seed must be a whole number from 0"),
        ("--epochs 1.5", "expected a whole number, got '1.5'"),
        ("--task poetry", "choose one of digits, mnist"),
        ("--pooling maks", "unknown pooling 'maks'; known for maps: max"),
        ("--task minimal-pairs --pooling median", "unknown pooling 'median'; known for sequences"),
        ("--kernel-size 8", "too small for these layers"),
        ("--schedule x", "Unknown schedule"),
        ("--epoch 3", "unrecognized arguments: --epoch"),
        ("--task minimal-pairs --encoder ../x", "no name on the Hugging Face Hub"),
        ("--resume no-such-run", "There is no run 'no-such-run'"),
        ("--resume x --task mnist", "leave --task away"),
    ],
)
def test_bad_input_to_train(words, said, capsys, runs):
    assert said in refused(["train", *words.split()], capsys, runs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "--poolings cls,mean-max"),
        ("--poolings max,,average", "values with a comma between them"),
        ("--poolings max,maks", "unknown pooling 'maks'"),
        ("--poolings max --learning-rates 1e-3,0", "--learning-rate must be above 0"),
        ("--poolings max --learning-rates a", "expected a number"),
        ("--poolings max --seeds 0-9999 --learning-rates 1,2", "at most 10,000 runs; these are 20,000"),
        ("--poolings max --workers 0", "--workers must be"),
        ("--poolings max --task poetry --dry-run", "Unknown task"),
        ("--poolings max --batch-size 0 --dry-run", "--batch-size must be"),
    ],
)
def test_bad_input_to_sweep(words, said, capsys, runs):
    assert said in refused(["sweep", *words.split()], capsys, runs)


def test_workers_are_the_clusters_where_there_is_one(capsys, runs, monkeypatch):
    monkeypatch.setenv("POOLVIZ_SCHEDULER", "tcp://localhost:1")
    assert "leave --workers away" in refused(["sweep", "--poolings", "max", "--workers", "2"], capsys, runs)


@pytest.mark.parametrize("command", [["train", "--pooling", "max"], ["sweep", "--poolings", "max"]])
def test_truncated_images_are_said_before_anything_starts(command, capsys, runs, tmp_path, monkeypatch):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, magic in (("images-idx3", 0x803), ("labels-idx1", 0x801)):
        for split in ("train", "t10k"):
            (raw / f"{split}-{part}-ubyte").write_bytes(magic.to_bytes(4, "big") + b"\0\0\xea\x60" + b"\0" * 50)
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path / "data"))
    assert "are damaged or cut short" in refused([*command, "--task", "mnist"], capsys, runs)


def test_missing_columns_are_said_before_anything_starts(capsys, runs, tmp_path, monkeypatch):
    folder = tmp_path / "data" / "cola"
    folder.mkdir(parents=True)
    for name in ("in_domain_train", "in_domain_dev", "out_of_domain_dev"):
        (folder / f"{name}.tsv").write_text("gj04\t1\tA sentence without its mark.\n")
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path / "data"))
    assert "Line 1 of" in refused(["train", "--task", "cola"], capsys, runs)


def test_a_folder_that_takes_no_runs_is_said(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "file" / "runs"))
    refused(["train"], capsys, tmp_path / "file" / "runs")


# ---- one run in the foreground ----


def curve(run):
    names = ("kind", "step", "epoch", "train_loss", "train_error", "validation_loss", "validation_mcc", "learning_rate")
    return [[row.get(name) for name in names] for row in run.metrics() if row["kind"] == "epoch"]


def test_a_run_that_is_interrupted_goes_on_to_the_same_end(capsys, runs):
    words = ["train", "--seed", "4", "--epochs", "60", "--schedule", "one-cycle", *SMALL]
    with subprocess.Popen(
        [sys.executable, "-m", "poolviz", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        lines = [next(process.stdout) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert lines[0].startswith("Run digits-max-s4-")
    assert lines[2].startswith("epoch  2/60  train loss ")
    assert process.returncode == 130
    assert "go on with: python -m poolviz train --resume" in out.lower()
    assert err == ""
    (run,) = store.users_runs()
    assert run.state == "stopped"
    assert run.job["by"] == "command"
    assert 2 <= len(curve(run)) < 60

    assert main(["train", "--resume", run.name]) == 0
    said = capsys.readouterr().out
    assert "Goes on after epoch" in said
    assert run.state == "completed"
    assert main(words) == 0
    (whole,) = [each for each in store.users_runs() if each.name != run.name]
    assert curve(run) == curve(whole)
    assert run.summary["test"]["loss"] == whole.summary["test"]["loss"]

    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 + 60 + 4
    assert [line.split()[0] for line in said[-4:]] == ["best", "last", "test", "Completed"]
    assert main(["train", "--resume", str(run.folder)]) == 2
    assert "is completed" in capsys.readouterr().err


def test_a_run_that_fails_says_why_and_keeps_the_traceback_for_the_log(capsys, runs, monkeypatch):
    def full(self, name, tensors, facts):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(foreground.Teller, "save", full)
    assert main(["train", "--epochs", "1", *SMALL]) == 1
    err = capsys.readouterr().err
    assert "The disk is full" in err
    assert err.count("\n") == 1
    (run,) = store.users_runs()
    assert run.state == "failed"
    assert "Traceback" in (run.folder / "log.txt").read_text()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_a_bar_within_an_epoch(runs, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    teller = foreground.Teller(store.create(default_config("cola", epochs=2)))
    common = {"train_loss": 0.5, "train_seconds": 3.0, "eval_seconds": 1.0}
    judged = {"validation_loss": 0.4, "validation_error": 0.2, "validation_mcc": 0.51}
    teller.metrics({"kind": "start", "step": 0, "steps": 20, "train_examples": 160})
    teller.metrics({"kind": "step", "step": 4, "epoch": 0, **common})
    assert "epoch  1/2" in sys.stderr.getvalue()
    assert "/10 " in sys.stderr.getvalue()
    teller.metrics({"kind": "epoch", "step": 10, "epoch": 1, **common, **judged})
    assert sys.stdout.getvalue().endswith("epoch  1/2  train loss 0.5000  validation loss 0.4000  MCC 0.510  4.0 s\n")
    apart = {"validation_mcc_in_domain": 0.5, "validation_mcc_out_of_domain": 0.25}
    teller.metrics({"kind": "epoch", "step": 20, "epoch": 2, **common, **judged, **apart, "validation_loss": None})
    assert "loss nan  MCC 0.510 (in domain 0.500, out of domain 0.250)" in sys.stdout.getvalue()


def test_a_run_that_somebody_has_is_left_alone(capsys):
    run = store.create(default_config("digits"), by="command", owner=signs_of_life())
    assert main(["train", "--resume", run.name]) == 2
    assert "is queued: stop it first" in capsys.readouterr().err
    run.set_running(os.getpid())
    assert main(["train", "--resume", run.name]) == 2
    assert "is running: stop it first" in capsys.readouterr().err


# ---- sweeps ----

SWEEP = ["sweep", "--poolings", "max,average", "--epochs", "1", *SMALL]
DEAD = {"pid": 2**22 + 1, "heartbeat": 0.0}


def configs():
    return commands.configs_of(parse(SWEEP))


def a_run(config, state, owner=None, checkpoint=False, by="command"):
    run = store.create(config, by=by, owner=signs_of_life() | (owner or {}))
    if checkpoint:
        run.weights("checkpoint").write_bytes(b"")
        (run.folder / "metrics.jsonl").write_text('{"kind": "step", "step": 1}\n')
    if state == "running":
        run.set_running(os.getpid())
    else:
        run.set_status(state)
    return run


def test_a_dry_run_starts_and_writes_nothing(capsys, runs):
    assert main([*SWEEP, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "2 runs of digits: 0 done, 2 to do" in said
    assert said.count("  to do   ") == 2
    assert str(runs) in said
    assert not runs.exists()


@pytest.mark.parametrize(
    ("state", "more", "what"),
    [
        ("completed", {}, sweep.DONE),
        ("completed", {"by": "page"}, sweep.DONE),
        ("running", {}, sweep.ELSEWHERE),
        ("queued", {}, sweep.ELSEWHERE),
        ("queued", {"owner": DEAD}, sweep.TO_DO),
        ("stopped", {}, sweep.TO_DO),
        ("failed", {"checkpoint": True}, sweep.GO_ON),
        ("stopped", {"checkpoint": True}, sweep.GO_ON),
        ("stopped", {"checkpoint": True, "by": "page"}, sweep.TO_DO),
    ],
)
def test_a_plan_knows_what_is_there(state, more, what):
    first, second = configs()
    run = a_run(first, state, **more)
    a_run(replace(second, seed=9), "completed")
    planned = sweep.plan([first, second])
    assert [each.what for each in planned] == [what, sweep.TO_DO]
    assert planned[0].run == (None if what == sweep.TO_DO else run)


def test_what_is_done_here_or_shipped_is_not_done_again(capsys, monkeypatch):
    first, second = configs()
    a_run(first, "failed")
    a_run(first, "completed")
    with monkeypatch.context() as there:
        there.setenv("POOLVIZ_RUNS", str(store.SHIPPED))
        a_run(second, "completed")
    monkeypatch.setitem(sys.modules, "poolviz.runs.jobs", None)  # nothing is started, so no queue is needed
    assert main(SWEEP) == 0
    said = capsys.readouterr().out
    assert "2 done, 0 to do" in said
    assert str(store.SHIPPED) in said


@pytest.fixture
def jobs(monkeypatch):
    """A queue that remembers what it was asked for."""
    asked = []
    queue = types.SimpleNamespace(
        asked=asked,
        submit=lambda configs, **job: [asked.append(config) or a_run(config, "queued") for config in configs],
        resume=lambda run: asked.append(run) or run.set_status("queued"),
        stop=lambda run: run.set_status("stopped"),
        close=lambda: asked.append("closed"),
    )
    monkeypatch.setattr(poolviz.runs, "jobs", queue, raising=False)
    monkeypatch.setitem(sys.modules, "poolviz.runs.jobs", queue)
    return queue


def test_an_interrupted_sweep_keeps_what_began_and_goes_on(capsys, jobs, monkeypatch):
    first, second = configs()
    begun = a_run(first, "stopped", checkpoint=True)
    left_behind = a_run(second, "queued", owner=DEAD)

    def interrupt(board):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep.Board, "follow", interrupt)
    assert main(SWEEP) == 130
    assert jobs.asked == [begun, second, "closed"]
    assert not left_behind.folder.exists()
    assert [run.name for run in store.users_runs()] == [begun.name]
    assert "Stopped: 0 of 2 runs are done and kept. The same command goes on." in capsys.readouterr().err
    assert [each.what for each in sweep.plan([first, second])] == [sweep.GO_ON, sweep.TO_DO]


def test_a_sweep_tells_what_failed(capsys, jobs, monkeypatch):
    monkeypatch.setattr(sweep, "LOOK", 0.01)
    jobs.submit = lambda configs, **job: [a_run(config, "failed") for config in configs]
    assert main(SWEEP) == 1
    said = capsys.readouterr()
    assert said.out.count("failed     ") == 2
    assert "2 of 2 runs did not complete; the same command tries them again." in said.err


def test_a_queue_that_refuses_leaves_nothing_going_on(capsys, jobs):
    first, _ = configs()
    begun = a_run(first, "stopped", checkpoint=True)

    def refuse(configs, **job):
        raise ValueError("No Dask scheduler answers.")

    jobs.submit = refuse
    assert main(SWEEP) == 2
    assert "No Dask scheduler answers." in capsys.readouterr().err
    assert begun.state == "stopped"


def test_a_terminal_sees_a_bar_a_run(jobs, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sweep, "LOOK", 0.01)
    first, second = configs()
    run = a_run(first, "running")
    (run.folder / "metrics.jsonl").write_text('{"kind": "start", "steps": 40}\n{"kind": "step", "step": 10}\n')
    board = sweep.Board([run], 2)
    board._look_at(run)
    run.set_status("completed")
    assert board.follow() == 0
    shown = sys.stderr.getvalue()
    assert "max s0:  25%" in shown
    assert "sweep:  50%" in shown
    assert "completed  max, seed 0" in sys.stdout.getvalue()


def test_a_real_sweep_through_the_queue(capsys, runs):
    assert main([*SWEEP, "--workers", "2", "--no-weights"]) == 0
    said = capsys.readouterr()
    assert said.out.count("\ncompleted  ") == 2
    assert "(2 of 2)" in said.out
    assert "Traceback" not in said.err
    done = store.users_runs()
    assert {run.config for run in done} == set(configs())
    assert all(run.state == "completed" and run.job["by"] == "command" for run in done)
    assert all(run.environment["threads"] == 1 and not run.weights("best").exists() for run in done)
    assert main(SWEEP) == 0
    assert "2 runs of digits: 2 done, 0 to do" in capsys.readouterr().out
    assert len(store.users_runs()) == 2
