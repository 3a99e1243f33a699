"""The bench of faults: that it sees what is lost, and what it found, each by itself."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import save_file

from poolviz.runs import attending, jobs, store
from poolviz.training import folder as written
from poolviz.training import work as work_module
from poolviz.training.config import default_config
from poolviz.training.folder import read_json, signs_of_life
from poolviz.training.work import work
from tests.benchmarks import faults
from tests.processes import is_gone, wait_for
from tests.server import ROOT
from tests.test_class_load import aside

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signals")
CONFIG = default_config("digits", epochs=3)


@pytest.fixture
def scenario(tmp_path, monkeypatch):
    made = faults.Scenario("here", tmp_path, 0)
    monkeypatch.setenv("POOLVIZ_RUNS", str(made.store))
    return made


def a_run(state="completed", epochs=(1, 2, 3)):
    """One of which everything is there."""
    run = store.create(CONFIG)
    run.set_status(state)
    curve = [{"kind": "start", "step": 0}, *({"kind": "epoch", "epoch": epoch, "step": epoch} for epoch in epochs)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    (run.folder / "summary.json").write_text("{}")
    pd.DataFrame({"label": [1, 2]}).to_parquet(run.folder / "predictions.parquet")
    save_file({"weight": torch.arange(9.0)}, run.folder / "checkpoint.safetensors")
    return run


# ---- what it sees ----


def test_a_whole_run_is_good(scenario):
    a_run()
    scenario.look()
    scenario.end()
    found = scenario.found
    assert (found.folders, found.readable, found.lines, found.kept, found.orphans) == (1, 1, 4, 4, 0)
    assert found.good


@pytest.mark.parametrize(
    "name",
    ["status.json", "config.json", "summary.json", "metrics.jsonl", "predictions.parquet", "checkpoint.safetensors"],
)
def test_a_file_cut_in_half_is_seen(scenario, name):
    path = a_run().folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + (b"\n" if name == "metrics.jsonl" else b""))
    scenario.end()
    assert (scenario.found.folders, scenario.found.readable) == (1, 0)
    assert name in scenario.found.wrong[0]
    assert not scenario.found.good


def test_a_half_written_file_is_seen(scenario):
    (a_run().folder / ".checkpoint.safetensors.a1b2c3.tmp").write_bytes(b"half")
    scenario.end()
    assert (scenario.found.folders, scenario.found.readable) == (1, 0)


def test_a_lost_line_is_seen(scenario):
    path = a_run().folder / "metrics.jsonl"
    scenario.look()
    first, second, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second.replace(b"1", b"7") + b"".join(rest))
    scenario.end()
    assert (scenario.found.lines, scenario.found.kept) == (4, 3)


@pytest.mark.parametrize(
    ("state", "epochs"), [("failed", (1, 2, 3)), ("completed", (1, 1, 2, 2, 3)), ("completed", (1, 2))]
)
def test_a_run_that_nobody_killed_has_to_be_done_once(scenario, state, epochs):
    run = a_run(state, epochs)
    scenario.end()
    assert scenario.found.wrong[0].startswith(f"nobody killed {run.name}, but it is {state}")
    scenario.killed.add(run.name)
    scenario.found.wrong.clear()
    scenario.end()
    assert scenario.found.wrong == []


def test_what_is_left_over_is_seen_and_ended(scenario, monkeypatch):
    monkeypatch.setattr(faults, "GRACE", 0.5)
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    others = subprocess.Popen(command)
    child = subprocess.Popen(command, env=os.environ | scenario.environment, start_new_session=True)
    try:
        scenario.end()
        assert scenario.found.orphans == 1
        wait_for(lambda: is_gone(child.pid), 10)
        assert others.poll() is None
    finally:
        for process in (child, others):
            process.kill()
            process.wait()


@pytest.mark.parametrize("kills", [1, 2, 7, 50, 333])
def test_kills_are_shared_out(kills):
    shares = faults.shared_out(kills)
    assert sum(shares.values()) == kills
    assert all(abs(shares[name] - kills * share / 50) <= 1 for name, share in faults.SHARES.items())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--kills", "0"], "--kills must be from 1 to 10,000, got 0"),
        (["--only", "app,cat"], "unknown scenario 'cat': choose of training process, app, "),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(capsys, arguments, told):
    with pytest.raises(SystemExit) as end:
        faults.main(arguments)
    assert end.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_real_kill(capsys):
    found = aside(lambda scene: faults.play("training process", scene, 1, seed=1), faults.kill_training)
    faults.report(found)
    assert found.good, capsys.readouterr().out
    assert (found.faults, found.folders, found.readable) == (1, 3, 3)
    assert capsys.readouterr().out.endswith("  ok\n")


# ---- what it found ----


def test_a_log_that_cannot_be_written_keeps_no_status_from_being_told(tmp_path, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    (tmp_path / "config.json").write_text(CONFIG.to_json())
    monkeypatch.setattr(work_module.traceback, "print_exc", full)
    monkeypatch.setattr(work_module, "_train", lambda *_: full())
    assert work(tmp_path) == "failed"
    assert read_json(tmp_path / "status.json")["reason"] == faults.FULL


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("told_by_system", [True, False])
def test_a_clock_that_jumps_kills_nobody(scenario, monkeypatch, hours, told_by_system):
    """Linux tells when a process began by the clock of now, other systems by the clock of then."""
    run = store.create(CONFIG, owner=signs_of_life())
    run.set_running(os.getpid())
    clock, began = written.time.time, store.psutil.Process.create_time
    monkeypatch.setattr(written.time, "time", lambda: clock() + 3600 * hours)
    if told_by_system:
        monkeypatch.setattr(store.psutil.Process, "create_time", lambda process: began(process) + 3600 * hours)
    assert run.state == "running"
    assert jobs._is_owned(run.job)
    written.Status(run.folder).begin()  # a heartbeat by the new clock
    assert run.state == "running"


@pytest.mark.skipif(sys.platform != "linux", reason="where the kernel counts")
def test_a_number_that_was_given_again_is_told_by_its_birth():
    status = signs_of_life()
    assert store.is_alive(status)
    boot, ticks = status["birth"].split()
    since_1970 = store.psutil.boot_time() + int(ticks) / os.sysconf("SC_CLK_TCK")
    assert since_1970 == pytest.approx(store.psutil.Process().create_time(), abs=0.1)
    assert not store.is_alive(status | {"birth": f"{boot} {int(ticks) - 1}"})
    assert not store.is_alive(status | {"birth": f"another {ticks}"})


TAKE = """
import os, sys, time
from pathlib import Path
from poolviz.runs.store import Run
runs = [Run(path) for path in sorted(Path(sys.argv[1]).iterdir()) if path.is_dir()]
print("ready", flush=True)
sys.stdin.readline()
print(*[run.name for run in runs if run.set_running(os.getpid())])
"""


def test_processes_that_come_for_the_same_runs_never_both_get_one(scenario):
    names = [store.create(replace(CONFIG, seed=seed)).name for seed in range(100)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    takers = [subprocess.Popen([sys.executable, "-c", TAKE, str(scenario.store)], **pipes) for _ in range(4)]
    for taker in takers:
        assert taker.stdout.readline() == "ready\n"
    for taker in takers:
        taker.stdin.write("go\n")
        taker.stdin.flush()
    taken = [taker.communicate(timeout=60)[0].split() for taker in takers]
    assert sorted(name for each in taken for name in each) == sorted(names)
    for taker, theirs in zip(takers, taken, strict=True):
        assert all(read_json(scenario.store / name / "status.json")["pid"] == taker.pid for name in theirs)


def test_a_run_that_another_has_taken_leaves_the_process_standing(scenario, monkeypatch):
    run = store.create(CONFIG)
    run.set_running(os.getppid())
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.setattr(attending, "spawn", lambda *_, **__: child)
    assert attending._start_anew(run, False, {}) is None
    assert is_gone(child.pid)
    assert run.status["pid"] == os.getppid()


def test_what_a_killed_process_had_half_written_is_removed(scenario):
    child = subprocess.Popen([sys.executable, "-c", ""])
    run = a_run("queued")
    run.set_running(child.pid)
    child.wait()
    before = {path.name for path in run.folder.iterdir()}
    (run.folder / ".checkpoint.safetensors.a1b2c3.tmp").write_bytes(b"half")
    assert attending.attend(str(run.folder)) == "failed"
    assert {path.name for path in run.folder.iterdir()} == before


def test_an_app_that_measures_ends_when_it_is_told_to(scenario):
    """Nothing answers its question: what stands by is stopped as soon as it is there."""
    app = scenario.start_app()
    server = psutil.Process(app.process.pid)
    aside(scenario.visit, app)  # the page asks for an estimate as soon as it is open
    wait_for(server.children, 30)
    for child in server.children():
        child.suspend()
    app.process.terminate()
    assert app.process.wait(10) == 0
    scenario.end()
    assert scenario.found.good, scenario.found.wrong
