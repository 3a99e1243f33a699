"""A real cluster: a Dask scheduler and two workers as processes of their own; one worker is killed in the middle."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from poolviz.runs import store
from poolviz.training.config import default_config
from tests.processes import PATIENCE, Cluster, wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by signals")

ROOT = Path(__file__).resolve().parent.parent

# An app that asks for runs and vanishes, as by a kill: nothing of it closes anything.
APP = """
import os, sys, time
from poolviz.runs import jobs
from poolviz.training.config import RunConfig
for run in jobs.submit([RunConfig.from_json(text) for text in sys.argv[1:]]):
    print(run.name, jobs.place(run))
sys.stdout.flush()
time.sleep(1)  # what it says reaches the scheduler within milliseconds
os._exit(1)
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The two workers."""
    started = Cluster(tmp_path)
    monkeypatch.setenv("POOLVIZ_SCHEDULER", started.address)
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "runs"))
    try:
        yield started.workers
    finally:
        for run in store.users_runs():
            run.ask_to_stop()  # also a process that has lost its worker looks for this
        started.kill()
        wait_for(lambda: all(run.state != "running" for run in store.users_runs()))


def test_two_workers_share_runs_and_none_is_lost_when_one_is_killed(cluster):
    configs = [replace(default_config("digits", epochs=25, batch_size=64, width=16), seed=seed) for seed in range(4)]
    arguments = [sys.executable, "-c", APP, *(config.to_json() for config in configs)]
    app = subprocess.run(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
    assert app.returncode == 1  # it is gone, its runs are not
    runs = [store.find(line.split()[0]) for line in app.stdout.splitlines()]
    assert [run.config.seed for run in runs] == [0, 1, 2, 3]

    trained_by = {}  # run -> worker, as the system tells whose child its process is

    def look():
        for run in runs:
            status = json.loads((run.folder / "status.json").read_text())
            if run.name not in trained_by and status["state"] == "running":
                trained_by[run.name] = psutil.Process(status["pid"]).ppid()
        return len(trained_by)

    wait_for(lambda: look() == 2 and all(len(run.metrics()) > 1 for run in runs[:2]))
    assert {trained_by[run.name] for run in runs[:2]} == {worker.pid for worker in cluster}
    assert [run.state for run in runs] == ["running", "running", "queued", "queued"]

    lost, process = runs[0], runs[0].status["pid"]
    victim = next(worker for worker in cluster if worker.pid == trained_by[lost.name])
    victim.kill()
    victim.wait()
    assert psutil.pid_exists(process)  # it goes on, and another worker waits for it
    wait_for(lambda: look() and all(run.ended for run in runs))
    assert [json.loads((run.folder / "status.json").read_text())["state"] for run in runs] == ["completed"] * 4
    assert lost.status["pid"] == process
    for run in runs:
        assert [row["epoch"] for row in run.metrics() if row["kind"] == "epoch"] == list(range(1, 26))
    survivor = next(worker for worker in cluster if worker is not victim)
    assert {trained_by[run.name] for run in runs[2:]} == {survivor.pid}
    ends = [run.status["heartbeat"] for run in runs]
    assert ends[2] < ends[3]  # in the order in which they were asked for
