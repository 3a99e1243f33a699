"""The training page in Streamlit's own test runner: every task, address, start and state of a run, good and bad.

Nothing trains here: the queue is replaced, and runs are folders as a process that trains leaves them.
"""

import argparse
import io
import json
import os
import re
import shlex
import shutil
import threading
import zipfile
from concurrent.futures import Future
from dataclasses import replace

import pandas as pd
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from poolviz.pages import train as train_page
from poolviz.pages.train_parameters import (
    EXAMPLES,
    IMAGE_POOLINGS,
    MOST_EPOCHS,
    MOST_WATCHED,
    PARAMS,
    QUICK,
    RATES,
    TASK_NAMES,
    TEXT_POOLINGS,
    key,
)
from poolviz.pooling import POOLINGS
from poolviz.runs import jobs, store
from poolviz.runs.commands import Parser, add_fields, config_of
from poolviz.training.config import FREEZES, SCHEDULES, TEXT_TASKS, RunConfig, default_config
from poolviz.training.data import look_up
from poolviz.training.folder import FolderRecorder, replace_json
from tests.test_page_explorer import healthy, new_page, no_data, one_sentence, said
from tests.test_page_sentences import HOSTILE, at, datasets

__all__ = ["no_data"]  # a fixture, used by every test of this file

MEASURED = {
    "step_seconds": 0.01,
    "judge_seconds": 0.001,
    "parameters": 53_002,
    "estimated_bytes": 900_000,
    "train": 1150,
    "validation": 287,
    "test": 360,
    "device": "CPU",
    "threads": 1,
}


class Queue:
    """What the page asks of the queue; runs are made, and wait for ever."""

    def __init__(self, patch):
        self.calls: list[tuple] = []
        self.refusal = ""
        self.before: dict[str, int] = {}  # runs that wait before one
        self.measure = lambda config: MEASURED
        patch.setattr(jobs, "warm", lambda: self.calls.append(("warm",)))
        patch.setattr(jobs, "recover", lambda: self.calls.append(("recover",)))
        patch.setattr(jobs, "estimate", lambda config: self.measure(config))
        patch.setattr(jobs, "submit", self.submit)
        patch.setattr(jobs, "stop", lambda run: self.calls.append(("stop", run.name)))
        patch.setattr(jobs, "resume", self.resume)
        patch.setattr(jobs, "place", lambda run: self.before.get(run.name, 0))
        self.check = jobs.check

    def submit(self, configs, visitor, keep_weights):
        if self.refusal:
            raise ValueError(self.refusal)
        for config in configs:
            self.check(config)
        self.calls.append(("submit", visitor, keep_weights, tuple(configs)))
        return [store.create(config, by="page", visitor=str(visitor)) for config in configs]

    def resume(self, run):
        if self.refusal:
            raise ValueError(self.refusal)
        self.calls.append(("resume", run.name))
        run.set_status("queued")

    def asked(self, kind):
        return [call[1:] for call in self.calls if call[0] == kind]


@pytest.fixture(autouse=True)
def queue(monkeypatch, tmp_path):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    train_page._measured.clear()
    return Queue(monkeypatch)


def unopened(**query: str) -> AppTest:
    """The page as a link opens it; not yet run."""
    return at(new_page(**query), "train")


def settled(app: AppTest) -> AppTest:
    """The page once its estimates are there."""
    after: Future = Future()
    train_page._machinery().put((after, int))
    after.result()
    return healthy(app.run())


def opened(**query: str) -> AppTest:
    return settled(healthy(unopened(**query).run()))


def shown(run: store.Run, *more: store.Run, **query: str) -> AppTest:
    return opened(runs=",".join(each.name for each in (run, *more)), **query)


def step(number: int, loss: float | None, **more) -> dict:
    return {"kind": "step", "step": number, "epoch": 0, "train_loss": loss, "train_seconds": number / 10} | more


def epoch(number: int, loss: float | None = 0.5, mcc: float | None = 0.5) -> dict:
    sizes = {"step": 36 * number, "epoch": number, "train_seconds": 3.6 * number, "eval_seconds": 0.1}
    losses = {"train_loss": loss, "train_error": 0.25, "validation_loss": loss, "validation_error": 0.125}
    return {"kind": "epoch", **sizes, **losses, "validation_mcc": mcc, "peak_bytes": 5e8}


def configured(**settings) -> RunConfig:
    return default_config(**{"task": "digits", "epochs": 3} | settings)


def a_run(state="completed", reason="", finished=3, **settings) -> store.Run:
    """A run's folder as a process that trains leaves it; `state` running: this process has it."""
    config = configured(**settings)
    run = store.create(config, by="page", visitor="somebody", keep_weights=False)
    if state == "queued":
        return run
    recorder = FolderRecorder(run.folder)
    recorder.metrics({"kind": "start", "step": 0, "steps": 36 * config.epochs, "epochs": config.epochs})
    run.set_running(os.getpid())
    for number in range(1, finished + 1):
        recorder.metrics(epoch(number))
    if finished:
        table(run, "test" if state == "completed" else "validation", finished)
    if state == "completed":
        found = {"loss": 0.4, "error": 0.125, "mcc": 0.75, "seconds": 0.1}
        best = {"best": found, "last": found, "test": found | {"error": 0.25}, "progress": {"best_epoch": finished}}
        replace_json(run.folder / "summary.json", best)
    if state != "running":
        run.set_status(state, reason)
    return run


def table(run: store.Run, split: str, epoch: int) -> None:
    """Twenty predictions: all 3s are taken for 1s with growing confidence, all else is right."""
    classes = 2 if run.config.is_text else 10
    labels = [number % classes for number in range(20)]
    guesses = [1 - label if classes == 2 and n > 15 else 1 if label == 3 else label for n, label in enumerate(labels)]
    columns = {"example": range(20), "label": labels, "prediction": guesses, "confidence": [n / 20 for n in range(20)]}
    frame = pd.DataFrame(columns).astype({"example": "int32", "label": "int16", "prediction": "int16"})
    frame.attrs = {"split": split, "epoch": epoch}
    frame.to_parquet(run.folder / "predictions.parquet", index=False)


def bare(text: str) -> str:
    """Markdown as it is read: without backslashes and the joiners that nobody sees."""
    return re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", text).replace("\u2060", "")


def texts(app: AppTest) -> str:
    """All Markdown and captions of the page, as they are read."""
    return bare("\n".join(element.value for element in (*app.markdown, *app.caption)))


def htmls(app: AppTest) -> str:
    return "\n".join(element.proto.body for element in app.get("html"))


LIVE = ("<script", "<img", "![x]", "[a](", ":red[x]", "$x$", "~~s~~", "`c`", "_i_", "http://evil", ":material/home")


def assert_inert(values) -> None:
    """Nothing of HOSTILE is Markdown or HTML there."""
    for value in values:
        for raw in LIVE:
            assert not re.search(r"(?<!\\)" + re.escape(raw), value), value


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button if button.label]


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if label in (button.label, button.help)).click()
    return healthy(app.run())


def address(app: AppTest) -> dict[str, str]:
    return dict(app.query_params)


# ---- settings and addresses


@pytest.mark.parametrize("task", list(TASK_NAMES))
def test_every_task_shows_its_own_quick_settings_and_starts_with_them(queue, monkeypatch, task):
    monkeypatch.setattr(queue, "check", lambda config: config.check())  # wherever its data are
    app = opened(task=task)
    assert said(app) == {} and address(app) == ({"task": task} if task != "digits" else {})
    for name, value in QUICK[task].items():
        assert app.session_state[key(name)] == value, name
    press(app, "Start")
    ((visitor, keep, configs),) = queue.asked("submit")
    assert visitor and keep is False and len({replace(config, pooling="max") for config in configs}) == 1
    usual = QUICK[task]
    for config in configs:
        assert (config.task, config.epochs, config.train_limit) == (task, usual["epochs"], usual["examples"])
        assert (config.learning_rate, config.batch_size) == (usual["rate"], usual["batch"])
        assert config.schedule == usual["schedule"] and POOLINGS[config.pooling]
    assert address(app)["runs"].count(",") == len(configs) - 1


def test_switching_tasks_brings_the_settings_of_each_and_keeps_its_poolings(queue):
    app = opened(maps="lp", epochs="7", rate="0.01")
    for task in (*list(TASK_NAMES)[1:], "digits"):
        healthy(app.selectbox(key=key("task")).set_value(task).run())
        assert {name: app.session_state[key(name)] for name in QUICK[task]} == QUICK[task]
        poolings = app.multiselect[0].value
        assert poolings == (PARAMS[key("tokens")].default if task in TEXT_TASKS else ["lp"])
        assert set(address(app)) - {"task"} == {"maps"} and said(app) == {}
    assert "task" not in address(app)


FULL = {
    "digits": {
        "maps": "max,none,mixed",
        "epochs": "50",
        "examples": "400",
        "rate": "1e-05",
        "batch": "256",
        "schedule": "one-cycle",
        "seed": "999999",
        "kernel": "3",
        "stride": "1",
        "width": "8",
        "stages": "2",
        "keep": "yes",
        "measure": "error",
        "axis": "second",
    },
    "cola": {
        "task": "cola",
        "tokens": "cls,mean-max,softmax-stochastic",
        "epochs": "1",
        "examples": "0",
        "rate": "0.1",
        "batch": "8",
        "schedule": "constant",
        "seed": "3",
        "temperature": "0.3",
        "freeze": "encoder",
        "tanh": "yes",
        "measure": "mcc",
        "axis": "step",
    },
}


@pytest.mark.parametrize("name", list(FULL))
def test_an_address_is_restored_and_written_as_it_was(name):
    app = opened(**FULL[name])
    assert address(app) == FULL[name] and said(app) == {}
    for each, text in FULL[name].items():
        assert app.session_state[key(each)] == PARAMS[key(each)].parse(text)
    again = opened(**address(app))
    assert all(again.session_state[name] == app.session_state[name] for name in PARAMS)


def test_the_address_holds_only_what_differs_from_the_tasks_quick_settings():
    usual = QUICK["cola"]
    own = {name: PARAMS[key(name)].show(value) for name, value in usual.items()}
    app = opened(task="cola", seed="0", **own)
    assert address(app) == {"task": "cola"}
    healthy(app.slider(key=key("epochs")).set_value(usual["epochs"] + 1).run())
    assert address(app) == {"task": "cola", "epochs": str(usual["epochs"] + 1)}
    healthy(app.slider(key=key("epochs")).set_value(usual["epochs"]).run())
    assert address(app) == {"task": "cola"}
    healthy(app.selectbox(key=key("task")).set_value("digits").run())  # whose own are others
    assert address(app) == {}
    assert address(opened(**own))["epochs"] == own["epochs"] and QUICK["digits"]["epochs"] != usual["epochs"]


BAD = {
    "task": ["imagenet", "", "DIGITS", "<script>alert(1)</script>"],
    "maps": ["cls", "max;average", "max," * 9, "![x](http://evil.example/x.png)"],
    "tokens": ["lp", "cls,,mean"],
    "epochs": ["0", "51", "-1", "3.5", "٣", "9" * 40],
    "examples": ["50", "1e9", "all"],
    "rate": ["0", "nan", "-0.001", "0.0015"],
    "batch": ["0", "7", "1e400"],
    "schedule": ["Linear", "*"],
    "seed": ["-1", "1000000", "0x10"],
    "temperature": ["0", "-1"],
    "kernel": ["0", "9"],
    "stride": ["0", "2.0"],
    "width": ["1024", "33"],
    "stages": ["3", "0"],
    "freeze": ["all"],
    "keep": ["true"],
    "measure": ["accuracy"],
    "axis": ["hour"],
    "runs": [
        "../../etc",
        "/etc/passwd",
        "a\x00b",
        "Digits",
        "a,,b",
        "<script>alert(1)</script>",
        "x" * 3000,
        ",".join(f"run-{number}" for number in range(MOST_WATCHED + 1)),
    ],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_in_an_address_is_told_and_the_rest_holds(name, value):
    app = healthy(unopened(**{"axis": "second", name: value}).run())
    warning = one_sentence(app, "warning")
    assert f"{name} = `" in warning and address(app) == ({} if name == "axis" else {"axis": "second"})
    assert app.session_state[key("task")] == "digits" and "Start" in labels(app)
    assert said(healthy(app.run())) == {}  # once


@pytest.mark.parametrize("name", ["digits-max-s0-20260101-000000-abcd", "..", "a..b", "config.json", "con", "x" * 121])
def test_runs_that_do_not_exist_are_told_and_leave_the_address(name, tmp_path):
    here = a_run()
    (tmp_path / "runs" / "config.json").write_text("{}")
    app = healthy(unopened(runs=f"{here.name},{name}").run())
    if store.NAME.fullmatch(name):
        assert name in one_sentence(app, "warning") and address(app) == {"runs": here.name}
        assert said(healthy(app.run())) == {} and "completed" in texts(app)
    else:
        assert "runs = `" in one_sentence(app, "warning") and address(app) == {}


@pytest.mark.parametrize(
    "query",
    [{"maps": name} for name in IMAGE_POOLINGS] + [{"task": "minimal-pairs", "tokens": name} for name in TEXT_POOLINGS],
    ids=lambda query: "-".join(query.values()),
)
def test_every_pooling_can_be_asked_for(queue, query):
    app, name = press(opened(**query, temperature="0.3"), "Start"), list(query.values())[-1]
    ((_, _, (config,)),) = queue.asked("submit")
    assert config.pooling == name and said(app) == {} and "gets ready" in texts(app)
    assert config.temperature == (0.3 if "temperature" in POOLINGS[name].uses else 1.0)


def test_no_pooling_is_a_hint_and_nothing_can_be_started():
    app = opened(maps="")
    assert "Choose a pooling" in one_sentence(app, "info") and "Start" not in labels(app)
    healthy(app.multiselect[0].set_value(["max"]).run())
    assert said(app) == {} and "Start" in labels(app)


def test_the_ends_of_every_slider_make_configurations_that_hold(queue):
    for task, freeze in (("digits", "none"), ("minimal-pairs", FREEZES[-1])):
        for at_end in (0, -1):
            app = opened(task=task, freeze=freeze, schedule=SCHEDULES[at_end])
            app.slider(key=key("epochs")).set_value((1, MOST_EPOCHS)[at_end])
            app.select_slider(key=key("examples")).set_value(EXAMPLES[at_end])
            app.select_slider(key=key("rate")).set_value(RATES[at_end])
            press(healthy(app.run()), "Start")
    for _, _, configs in queue.asked("submit"):
        assert all(config == RunConfig.from_json(config.to_json()) for config in configs)
        limits = {(config.train_limit, config.eval_limit) for config in configs}
        assert limits in ({(100, 200)}, {(0, 0)})


# ---- starts that are refused


def test_a_refused_start_is_one_sentence_and_nothing_is_lost(queue):
    run = a_run()
    app = shown(run, epochs="7")
    queue.refusal = "You have 8 runs waiting <b>or</b> running and asked for 3 more, but 8 is the most: stop some."
    before = address(app)
    press(app, "Start")
    assert one_sentence(app, "error") == queue.refusal and address(app) == before
    assert "completed" in texts(app) and app.session_state[key("epochs")] == 7
    assert one_sentence(healthy(app.run()), "error") == queue.refusal  # until something else is asked for
    app.session_state[key("epochs")] = 8
    assert said(healthy(app.run())) == {}
    queue.refusal = ""
    press(app, "Start")
    assert said(app) == {} and len(queue.asked("submit")) == 1


def test_a_second_click_starts_nothing_twice(queue):
    app = press(press(press(opened(maps="max"), "Start"), "Start"), "Start")
    assert len(queue.asked("submit")) == 1 and said(app) == {} and "wait or train already" in app.toast[-1].value
    press(healthy(app.number_input(key=key("seed")).set_value(1).run()), "Start")
    assert len(queue.asked("submit")) == 2
    for run in store.users_runs():
        run.set_status("stopped")
    press(app, "Start")
    assert len(queue.asked("submit")) == 3


def test_runs_of_another_task_say_so():
    run = a_run(task="minimal-pairs", pooling="mean")
    assert "These runs: Minimal pairs" in texts(shown(run))
    assert "These runs" not in texts(shown(run, task="minimal-pairs"))


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"task": "mnist"}, "POOLVIZ_DATA"),
        ({"task": "fashion-mnist"}, "POOLVIZ_DATA"),
        ({"task": "cola"}, "POOLVIZ_DATA"),
        ({"kernel": "8"}, "smaller kernel"),
    ],
    ids=str,
)
def test_what_cannot_run_is_one_sentence_before_and_at_the_start(queue, query, word):
    def measure(config):
        queue.check(config)
        return MEASURED

    queue.measure = measure
    app = opened(**query)
    before = address(app)
    assert word in texts(app)
    press(app, "Start")
    assert word.lower() in one_sentence(app, "error").lower() and address(app) == before
    assert queue.asked("submit") == [] and not store.users_runs()


def test_a_full_disk_is_a_sentence(queue, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jobs, "submit", full)
    app = press(opened(), "Start")
    assert "No space left" in one_sentence(app, "error")


# ---- what it will take


def test_an_estimate_is_pending_then_there(queue):
    ready = threading.Event()

    def measure(config):
        ready.wait(30)
        return MEASURED | {"device": "CPU"}

    queue.measure = measure
    try:
        app = healthy(unopened().run())
        assert "measuring the first steps" in texts(app) and said(app) == {} and "Start" in labels(app)
        press(app, "Start")  # nobody has to wait for it
        assert len(queue.asked("submit")) == 1
    finally:
        ready.set()
    told = texts(settled(app)).replace("**", "")
    assert "about 37 s in all on the CPU (no GPU was found), threads: 1" in told
    assert "1,150 training examples · 12 epochs · 53,002 learned parameters" in texts(app)


@pytest.mark.parametrize("error", [ValueError("Too <busy> to *measure*."), OSError(28, "No space"), RuntimeError("x")])
def test_an_estimate_that_fails_is_a_sentence_and_the_start_is_there(queue, error):
    def measure(config):
        raise error

    queue.measure = measure
    app = opened()
    assert str(error) in texts(app) and said(app) == {}
    press(app, "Start")
    assert len(queue.asked("submit")) == 1


def test_an_estimate_that_fails_while_it_is_waited_for_is_looked_for_no_more(queue, monkeypatch):
    ready, asked, polls = threading.Event(), [], []

    def measure(config):
        asked.append(config)
        ready.wait(30)
        raise ValueError("Too busy.")

    real = st.fragment

    def fragment(function=None, **more):
        if getattr(function, "__name__", "") == "_estimate":
            polls.append(more["run_every"])
        return real(function, **more)

    monkeypatch.setattr(st, "fragment", fragment)
    queue.measure = measure
    try:
        app = healthy(unopened(maps="max").run())
        assert polls == [0.7]
    finally:
        ready.set()
    settled(app)
    seen = len(polls)
    for _ in range(3):
        healthy(app.run())
        assert texts(app).count("Too busy.") == 1
    assert len(polls) == seen and len(asked) == 1  # told without a fragment that looks again
    queue.measure = lambda config: asked.append(config) or MEASURED
    healthy(app.slider(key=key("epochs")).set_value(7).run())
    assert "7 epochs" in texts(settled(app)) and "Too busy" not in texts(app) and len(asked) == 2


def test_an_estimate_that_failed_is_asked_for_again_after_a_minute(queue, monkeypatch):
    def measure(config):
        raise ValueError("Too busy.")

    queue.measure = measure
    app = opened()
    queue.measure = lambda config: MEASURED
    assert "Too busy." in texts(healthy(app.run()))
    monkeypatch.setattr(train_page, "AGAIN", 0.0)
    assert "learned parameters" in texts(settled(healthy(app.run())))


@pytest.mark.parametrize(
    ("maps", "told"),
    [
        ("none", "203,018 learned parameters"),
        ("max,average", "· 53,002 learned parameters"),
        ("none,max,average", "· 53,002 (None: 203,018) learned parameters"),
        ("max,none,mixed,lp", "53,000 to 203,018 learned parameters"),
    ],
)
def test_each_kind_of_network_has_its_own_number_of_parameters(queue, maps, told):
    sizes = {"none": 203_018, "mixed": 53_000}
    queue.measure = lambda config: MEASURED | {"parameters": sizes.get(config.pooling, 53_002)}
    assert told in texts(opened(maps=maps))


def test_seed_epochs_and_examples_need_no_new_measurement(queue):
    asked = []
    queue.measure = lambda config: asked.append(config) or MEASURED
    app = opened(maps="max")
    seconds = re.findall(r"about \*\*(.*?)\*\*", texts(app))
    healthy(app.slider(key=key("epochs")).set_value(50).run())
    assert re.findall(r"about \*\*(.*?)\*\*", texts(app)) != seconds
    healthy(app.select_slider(key=key("examples")).set_value(100).run())
    assert len(asked) == 1 and "100 training examples" in texts(app)
    queue.measure = lambda config: asked.append(config) or MEASURED | {"device": "Some <GPU> *1*"}
    healthy(app.select_slider(key=key("batch")).set_value(64).run())
    assert "Some <GPU> *1*" in texts(settled(app)) and len(asked) == 2


# ---- where runs stand


def test_runs_that_wait_say_their_place_and_can_be_stopped(queue):
    first, second = a_run("queued"), a_run("queued", pooling="average")
    queue.before = {second.name: 3}
    app = shown(first, second)
    assert "gets ready" in texts(app) and "waits: 3 more before it" in texts(app)
    press(app, "Stop Max")
    press(app, "Stop all")
    assert [name for (name,) in queue.asked("stop")] == [first.name, second.name, first.name]  # the last first


def test_a_run_that_trains_shows_how_far_it_is(queue):
    run = a_run("running", finished=1)
    app = shown(run)
    assert "epoch 2 of 3 · about 7 s left" in texts(app)
    assert "2 of 20 validation examples are wrong; the surest mistakes, after epoch 1" in texts(app).replace("**", "")
    assert htmls(app).count("<img") == 2 and "3 → 1" in htmls(app)
    assert len(datasets(app)["validation"]) == 1 and not datasets(app).get("confusion")
    press(app, "Stop Max")
    assert queue.asked("stop") == [(run.name,)]
    run.ask_to_stop()
    assert "stopping" in texts(healthy(app.run()))


def test_a_run_before_its_first_line_and_before_its_first_epoch():
    run = a_run("running", finished=0)
    app = shown(run)
    assert "epoch 1 of 3" in texts(app) and "The first epoch's end shows" in texts(app)
    (run.folder / "metrics.jsonl").unlink()
    assert "loads its data" in texts(healthy(app.run()))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("completed", ""),
        ("completed", "It ended early: no better validation loss for 3 epochs."),
        ("stopped", "It was asked to stop."),
        ("failed", "The loss is no number any more: a smaller learning rate helps."),
    ],
)
@pytest.mark.parametrize("task", ["digits", "minimal-pairs"])
def test_an_ended_run_tells_how_and_shows_all_about_it(state, reason, task):
    run = a_run(state, reason, task=task, pooling="max")
    app = shown(run)
    line = next(element.value for element in app.markdown if state in element.value)
    assert reason in bare(line)
    if state == "completed":
        told = "validation MCC **0.750** · test MCC **0.750**" if task != "digits" else "test error **25.0%**"
        assert told in line
    assert "What is taken for what" in texts(app) and len(datasets(app)["confusion"]) in (4, 100)
    assert len(datasets(app)["validation"]) == 3 and said(app) == {}
    assert "Stop" not in " ".join(button.help or "" for button in app.button)
    assert run.name in app.get("download_button")[0].proto.id


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_run_with_a_checkpoint_can_go_on(queue, state):
    run = a_run(state, "It was asked to stop.")
    assert not any("Go on" in (button.help or "") for button in shown(run).button)
    run.weights("checkpoint").write_bytes(b"weights")
    app = shown(run)
    help = next(button.help for button in app.button if "Go on" in (button.help or ""))
    queue.refusal = "You have 8 runs waiting or running and asked for 1 more, but 8 is the most."
    press(app, help)
    assert [toast.value for toast in app.toast] == [queue.refusal] and run.state == state
    queue.refusal = ""
    press(app, help)
    assert queue.asked("resume") == [(run.name,)] and "gets ready" in texts(app) and said(app) == {}


def test_a_run_that_was_stopped_before_its_turn_can_be_started_anew(queue):
    first, waited = a_run(), a_run("queued", pooling="average", learning_rate=0.01)
    waited.set_status("stopped", "It was asked to stop.")
    app = shown(first, waited)
    assert not any("Go on" in (button.help or "") for button in app.button)
    (help,) = {button.help for button in app.button if "anew" in (button.help or "")}
    queue.refusal = "You have 8 runs waiting or running and asked for 1 more, but 8 is the most."
    press(app, help)
    assert [toast.value for toast in app.toast] == [queue.refusal] and len(store.users_runs()) == 2
    queue.refusal = ""
    press(app, help)
    ((visitor, keep, configs),) = queue.asked("submit")
    assert visitor and keep is False and configs == (waited.config,)
    (new,) = {run.name for run in store.users_runs()} - {first.name, waited.name}
    assert address(app) == {"runs": f"{first.name},{new}"} and "gets ready" in texts(app) and said(app) == {}


@pytest.mark.parametrize("rows", [[], [{"kind": "start", "steps": 36, "epochs": 3}], [step(1, 2.0)]], ids=len)
@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_run_that_ended_before_there_was_anything(state, rows):
    run = a_run("queued")
    for row in rows:
        FolderRecorder(run.folder).metrics(row)
    run.set_status(state, "Its process was killed (signal 9): the machine may have run out of memory.")
    app = shown(run)
    assert "signal 9" in texts(app) and "It ended before its first epoch" in texts(app) and said(app) == {}
    assert datasets(app).get("confusion", []) == []


def test_a_process_that_has_gone_is_told_as_failed():
    run = a_run("queued")
    run.set_running(2**22 + 1)
    assert "failed" in texts(shown(run)) and bare(store.GONE) in texts(shown(run))


def test_many_runs_are_told_apart_and_a_chosen_one_is_shown_closely():
    runs = [a_run(pooling=name, seed=seed) for name in ("max", "average") for seed in (0, 1)]
    runs += [a_run("stopped", "It was asked to stop.", pooling="max", seed=1), a_run(task="cola", pooling="cls")]
    app = shown(*runs)
    names = {row["run"] for row in datasets(app)["validation"]}
    assert len(names) == len(runs) and "One seed" not in texts(app)
    (choice,) = [box for box in app.selectbox if str(box.key).startswith("closely")]  # pills would be many rows
    healthy(choice.set_value(4).run())
    assert runs[4].name in app.get("download_button")[0].proto.id
    both = shown(*(a_run(pooling=name) for name in ("max", "average")), axis="second", measure="error")
    assert "One seed: a small difference may be chance" in texts(both)
    assert {row["y"] for row in datasets(both)["validation"]} == {0.125}


def test_the_runs_of_a_race_are_pills_that_wrap(monkeypatch):
    runs = [a_run(pooling=name) for name in ("max", "average", "stochastic", "softmax-stochastic", "mixed", "none")]
    asked, real = {}, st.pills
    monkeypatch.setattr(st, "pills", lambda label, *a, **more: asked.update({label: more}) or real(label, *a, **more))
    app = shown(*runs)
    assert asked["Look closely at"]["wrap"] is True  # Streamlit's own choice within a column is one row
    (pills,) = [group for group in app.button_group if str(group.key).startswith("closely")]
    assert len(pills.options) == 6
    app.session_state[pills.key] = 5
    healthy(app.run())
    assert runs[5].name in app.get("download_button")[0].proto.id


def test_mcc_of_a_link_is_shown_for_sentences_and_not_asked_of_images():
    app = shown(a_run(task="minimal-pairs", pooling="mean"), measure="mcc")
    assert {row["y"] for row in datasets(app)["validation"]} == {0.5} and "MCC by epoch" in texts(app)
    assert "Loss by epoch" in texts(shown(a_run(), measure="mcc"))
    mixed = shown(a_run(), a_run(task="minimal-pairs", pooling="mean"))
    assert len(datasets(mixed)["validation"]) == 6


# ---- damage


def test_a_damaged_configuration_is_a_sentence_and_the_others_are_shown():
    good, bad = a_run(), a_run(pooling="average")
    for content in ("{", "[]", '{"task": "digits", "unknown": 1}', '{"epochs": "many"}', "\x00", "[" * 10_000):
        (bad.folder / "config.json").write_text(content)
        assert "cannot be read" in one_sentence(shown(bad), "error")
        assert "completed" in texts(shown(good, bad))


def test_a_pooling_that_is_not_known_here_does_not_take_the_page_away():
    good, other = a_run(), a_run()
    given = json.loads((other.folder / "config.json").read_text())
    (other.folder / "config.json").write_text(json.dumps(given | {"pooling": "of-tomorrow"}))
    app = shown(good, other)
    assert "completed" in texts(app) and "of-tomorrow" in htmls(app)
    assert "of-tomorrow" in texts(shown(other))
    assert "of-tomorrow" in list(unfolded(app).dataframe[0].value["pooling"])


@pytest.mark.parametrize(
    "lines",
    [
        b'{"kind": "epoch", "step": 3',
        b"\xff\xfe\x00{\n",
        b"[1, 2]\nnull\n17\n",
        b'{"kind": "epoch"}\n',
        b'{"kind": "step", "step": 140, "train_loss": NaN, "train_seconds": 14}\n',
        b'{"kind": "step", "step": 140, "train_loss": null, "train_seconds": 14}\n',
        b'{"kind": "step", "step": 100000, "train_loss": 1e308, "train_seconds": 1}\n',
    ],
)
@pytest.mark.parametrize("state", ["running", "failed"])
def test_torn_and_odd_metrics_leave_the_other_points(lines, state):
    run = a_run(state, "Torn." if state == "failed" else "")
    with (run.folder / "metrics.jsonl").open("ab") as file:
        file.write(lines)
    app = shown(run)
    losses = [row["y"] for row in datasets(app)["validation"] if row["y"] == row["y"]]
    assert losses == [0.5] * 3 and said(app) == {}


def test_a_loss_that_is_no_number_ends_a_curve_and_is_told():
    run = a_run("running", finished=1)
    recorder = FolderRecorder(run.folder)
    recorder.metrics(step(50, float("nan")))
    recorder.metrics(epoch(2, float("inf"), float("nan")))
    run.set_status("failed", "The loss is no number any more: a smaller learning rate helps.")
    app = shown(run)
    assert len(datasets(app)["validation"]) == 1 and "no number any more" in texts(app)
    assert "nan" not in texts(app).lower()


@pytest.mark.parametrize("name", ["predictions.parquet", "summary.json", "environment.json", "status.json", "job.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\x00"])
def test_a_missing_or_damaged_file_takes_only_its_own_part_away(name, content):
    run = a_run(pooling="average")
    path = run.folder / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    app = shown(run)
    assert len(datasets(app)["validation"]) == 3
    assert bool(datasets(app).get("confusion")) == (name != "predictions.parquet")
    assert ("status cannot be read" in texts(app)) == (name == "status.json")


def test_a_folder_that_vanishes_while_it_is_watched():
    run, other = a_run("running"), a_run("running", pooling="average")
    app = shown(run, other)
    shutil.rmtree(run.folder)
    healthy(app.run())
    assert run.name in one_sentence(app, "warning") and address(app) == {"runs": other.name}
    shutil.rmtree(other.folder)
    healthy(app.run())
    assert other.name in one_sentence(app, "warning") and address(app) == {} and "None yet" in texts(app)


# ---- closely


def pick(app: AppTest, **cell: int) -> AppTest:
    """A click on a cell of the confusion matrix, as the browser tells it."""
    (chart,) = [c.proto for c in app.get("vega_lite_chart") if "confusion" in [d.name for d in c.proto.datasets]]
    widgets = app._tree.get_widget_states()
    for widget in list(widgets.widgets):
        if widget.id == chart.id:
            widgets.widgets.remove(widget)
    widget = widgets.widgets.add()
    widget.id, widget.string_value = chart.id, json.dumps({"selection": {"pick": [cell] if cell else []}})
    return healthy(app._run(widgets))


def test_a_cell_of_the_confusion_matrix_shows_its_examples():
    run = a_run()
    app = shown(run)
    cells = {(row["truth"], row["said"]): row["count"] for row in datasets(app)["confusion"]}
    assert cells[3, 1] == 2 and cells[3, 3] == 0 and cells[7, 7] == 2 and sum(cells.values()) == 20
    pick(app, truth=3, said=1)
    assert "2 examples of 3 taken for 1" in texts(app) and htmls(app).count("3 → 1") == 2
    assert htmls(app).index("65% sure") < htmls(app).index("15% sure")
    pick(app, truth=7, said=7)
    assert "2 examples of 7 rightly taken for 7" in texts(app) and htmls(app).count("7 → 7") == 2
    pick(app, truth=3, said=3)
    assert "0 examples of 3" in texts(app) and "None." in texts(app) and "<img" not in htmls(app)
    pick(app)
    assert "surest mistakes" in texts(app)


def test_a_confusion_is_chosen_without_a_pointer():
    app = shown(a_run())
    (choice,) = [box for box in app.selectbox if box.label == "Examples to show"]
    assert choice.value is None and choice.options == ["3 taken for 1 (2)"]
    choice.select("3 taken for 1 (2)")
    healthy(app.run())
    assert "2 examples of 3 taken for 1" in texts(app) and htmls(app).count("3 → 1") == 2


def test_sentences_are_shown_as_they_are_and_judged():
    run = a_run(task="minimal-pairs", pooling="mean")
    app = shown(run)
    pick(app, truth=1, said=0)
    (sentence,) = look_up(run.config, "test", (19,))
    assert "2 examples of acceptable taken for not acceptable" in texts(app) and sentence in texts(app)
    assert "95% sure" in texts(app)


def test_sentences_of_a_data_set_cannot_become_markdown_or_html(monkeypatch, tmp_path):
    folder = tmp_path / "data" / "cola"
    folder.mkdir(parents=True)
    lines = [f"x\t{number % 2}\t\t{HOSTILE[number % len(HOSTILE)]}" for number in range(40)]
    for name in ("in_domain_train", "in_domain_dev", "out_of_domain_dev"):
        (folder / f"{name}.tsv").write_text("\n".join(lines))
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path / "data"))
    app = shown(a_run("stopped", task="cola", pooling="mean"))
    told = texts(app)
    assert any(text in told for text in HOSTILE[6:8])
    assert_inert(element.value for element in app.markdown)


def test_examples_whose_data_are_not_at_hand_are_a_sentence():
    app = shown(a_run(task="mnist", pooling="max"))
    assert "The examples themselves are not at hand here" in texts(app) and len(datasets(app)["confusion"]) == 100


def test_the_zip_holds_the_folder_without_its_checkpoint(monkeypatch):
    run = a_run()
    for name in ("best", "checkpoint"):
        run.weights(name).write_bytes(b"weights")
    offered = {}
    real = st.download_button
    monkeypatch.setattr(st, "download_button", lambda *a, **more: offered.update({a[0]: a[1:]}) or real(*a, **more))
    shown(run)
    make, name, kind = offered["Download the run's folder (zip)"]
    assert (name, kind) == (f"{run.name}.zip", "application/zip")
    with zipfile.ZipFile(io.BytesIO(make())) as packed:
        found = {path.removeprefix(f"{run.name}/") for path in packed.namelist()}
        assert RunConfig.from_json(packed.read(f"{run.name}/config.json").decode()) == run.config
    kept = {"config.json", "status.json", "metrics.jsonl", "summary.json", "predictions.parquet"}
    assert found == kept | {"best.safetensors"}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pooling": "none", "seed": 999_999, "learning_rate": 1e-5, "schedule": "one-cycle", "epochs": 50},
        {"pooling": "softmax-stochastic", "temperature": 0.3, "kernel_size": 3, "stride": 1, "width": 8, "depth": 2},
        {"task": "mnist", "pooling": "lp", "train_limit": 1000, "eval_limit": 500, "max_seconds": 3600.0},
        {"task": "cola", "pooling": "mean-max", "freeze": "encoder", "linear_tanh": True, "max_steps": 10},
        {"task": "minimal-pairs", "pooling": "mean", "encoder": "$(rm -rf ~) 'a' \"b\" `c` -x"},
        {"task": "minimal-pairs", "pooling": "mean", "encoder": "--seed"},
    ],
    ids=str,
)
def test_the_copied_command_is_the_same_run(settings):
    app = shown(a_run("stopped", **settings))
    (code,) = [block.value for block in app.code]
    python, *words = shlex.split(code)
    assert python == "python" and words[:3] == ["-m", "poolviz", "train"]
    parser = Parser(prog="train", argument_default=argparse.SUPPRESS)
    add_fields(parser)
    assert config_of(parser.parse_args(words[3:])) == configured(**settings)


# ---- text stays text


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_run_says_cannot_become_markdown_or_html(text):
    reason = f"It ended: {text}"
    runs = [a_run("failed", reason, task="minimal-pairs", pooling="mean", encoder=name) for name in (text, "other")]
    replace_json(runs[0].folder / "environment.json", {"device": text, "processor": text, "commit": text})
    app = shown(*runs)
    assert bare(text) in texts(app) or text in texts(app)
    shown_texts = [element.value for element in (*app.markdown, *app.caption)]
    shown_texts += [button.help or "" for button in app.button] + [each.label for each in app.expander]
    for group in app.button_group:
        shown_texts += [option.content for option in group.proto.options]
    assert_inert(shown_texts)
    assert "<script" not in htmls(app) and "<img src=x" not in htmls(app)


# ---- the list of runs


def test_no_runs_is_said():
    app = opened()
    assert "None yet." in texts(app) and not app.dataframe


def test_a_hundred_and_fifty_runs_are_listed_newest_first_and_ticked_ones_shown():
    runs = []
    for number in range(150):
        run = a_run("queued", seed=number)
        run.set_status(("completed", "stopped", "failed")[number % 3], "")
        replace_json(run.folder / "job.json", run.job | {"created": 1_700_000_000 + number})
        runs.append(run)
    app = opened()
    frame = app.dataframe[0].value
    assert list(frame["seed"]) == list(range(149, 49, -1)) and set(frame["state"]) == {"completed", "stopped", "failed"}
    ticked(app, [0, 2])
    press(app, "Show the ticked runs")
    assert address(app) == {"runs": f"{runs[149].name},{runs[147].name}"}
    ticked(unfolded(app), list(range(40)))
    press(app, "Show the ticked runs")
    assert address(app)["runs"].count(",") == MOST_WATCHED - 1


def unfolded(app: AppTest) -> AppTest:
    """The list of runs, opened by a click while others are watched."""
    app.session_state["run_list folded"] = True
    return healthy(app.run())


def test_runs_are_read_only_while_their_list_is_unfolded(monkeypatch):
    run, read = a_run(), []
    real = store.newest
    monkeypatch.setattr(store, "newest", lambda: read.append(1) or real())
    app = shown(run)
    for epochs in (4, 5, 6):
        healthy(app.slider(key=key("epochs")).set_value(epochs).run())
    assert read == [] and not app.dataframe
    assert len(unfolded(app).dataframe[0].value) == 1 and read
    assert len(opened().dataframe[0].value) == 1  # where nothing is watched it is there at once


def test_runs_that_differ_in_one_setting_are_told_apart_in_the_list():
    for settings in ({}, {"learning_rate": 0.01}, {"train_limit": 400, "eval_limit": 200}, {"task": "minimal-pairs"}):
        a_run(**settings)
    frame = opened().dataframe[0].value
    assert sorted(frame["learning rate"].dropna()) == ["0.001", "0.001", "0.01"]
    assert sorted(frame["examples"].dropna()) == ["400", "all", "all"]
    assert "other settings" not in frame
    a_run(batch_size=64)
    told = list(opened().dataframe[0].value["other settings"].dropna())
    assert sorted(told) == ["batch size 32"] * 3 + ["batch size 64"]


def test_what_all_runs_share_has_no_column():
    for settings in ({}, {"pooling": "average", "seed": 3}, {"state": "stopped", "epochs": 9}):
        a_run(**settings)
    assert not {"learning rate", "examples", "other settings"} & set(opened().dataframe[0].value)


def ticked(app: AppTest, rows: list[int]) -> AppTest:
    proto = app.dataframe[0].proto
    widgets = app._tree.get_widget_states()
    for widget in list(widgets.widgets):
        if widget.id == proto.id:
            widgets.widgets.remove(widget)
    widget = widgets.widgets.add()
    widget.id, widget.string_value = proto.id, json.dumps({"selection": {"rows": rows, "columns": [], "cells": []}})
    return healthy(app._run(widgets))


def test_ticks_do_not_move_to_other_runs_when_a_new_one_comes():
    runs = [a_run("queued", seed=number) for number in range(3)]
    for number, run in enumerate(runs):
        replace_json(run.folder / "job.json", run.job | {"created": 1_700_000_000 + number})
    app = ticked(opened(), [0])
    a_run("queued", seed=9)
    healthy(app.run())
    button = next(button for button in app.button if button.label == "Show the ticked runs")
    if not button.disabled:
        press(app, "Show the ticked runs")
        assert address(app) == {"runs": runs[2].name}


def test_the_queue_is_prepared_once_a_server(queue):
    train_page._machinery.clear()
    for _ in range(3):
        opened()
    assert queue.calls == [("recover",), ("warm",)]


def test_torch_is_not_seeded_by_the_page():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    opened()
    assert torch.equal(torch.get_rng_state(), before)
