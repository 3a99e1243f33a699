"""The queue for real: runs train in processes of their own, are stopped, killed, starved and recovered.

One queue and one process that stands by serve the whole file; a run costs the imports of the process after it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest
from safetensors.torch import load_file

from poolviz.runs import attending, jobs, standby, store
from poolviz.training.config import RunConfig, default_config
from poolviz.training.folder import signs_of_life
from poolviz.training.plan import START_SECONDS, seconds
from tests.processes import PATIENCE, is_gone, mounted, wait_for

ROOT = Path(__file__).resolve().parent.parent
SMALL = default_config("digits", epochs=2, train_limit=100)
WHOLE = default_config("digits", epochs=12, batch_size=64, width=16, seed=3)  # some seconds, many epochs
LONG = replace(WHOLE, epochs=1000, batch_size=32)
DIVERGING = default_config("digits", epochs=3, train_limit=640, learning_rate=10.0, weight_decay=10.0)

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


def written(run):
    return json.loads((run.folder / "status.json").read_text())


def has_points(run):
    return any(row["kind"] != "start" for row in run.metrics())


def trainers():
    """Training processes below this one."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "poolviz.training.loop" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


@contextmanager
def settings(**values):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, str(value))
        yield


@pytest.fixture(scope="module", autouse=True)
def queue(tmp_path_factory):
    """One torch thread a process: the same sums whatever else the machine does."""
    with settings(POOLVIZ_THREADS=1, POOLVIZ_SCHEDULER="", POOLVIZ_RUNS=tmp_path_factory.mktemp("runs")):
        jobs.warm()
        yield
        for run in store.users_runs():
            jobs.stop(run)
        wait_for(lambda: all(run.ended for run in store.users_runs()))
        jobs.close()
        left = psutil.wait_procs(trainers(), timeout=10)[1]
        for process in left:
            process.kill()
        assert left == []


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "runs"))
    for name in ("STEPS", "SECONDS", "QUEUED", "RUNS"):
        monkeypatch.delenv(f"POOLVIZ_MAX_{name}", raising=False)
    yield tmp_path / "runs"
    for run in store.users_runs():
        jobs.stop(run)
        wait_for(lambda run=run: run.ended)


def queue_by_hand(config, before=lambda run: None):
    """A run whose folder is spoiled before it is queued."""
    run = store.create(config, by="page", owner=signs_of_life())
    before(run)
    jobs.QUEUE.put(run)
    return run


# ---- limits and refusals: nothing starts ----


@pytest.mark.parametrize("name", ["STEPS", "SECONDS", "QUEUED", "RUNS"])
@pytest.mark.parametrize("text", ["many", "-1", "1e3", "0x10", "1.5", "٣"])
def test_a_malformed_limit_is_told(monkeypatch, name, text):
    monkeypatch.setenv(f"POOLVIZ_MAX_{name}", text)
    with pytest.raises(ValueError, match=f"^POOLVIZ_MAX_{name} must be a whole number, 0 for no limit, got .*\\.$"):
        jobs.submit([SMALL])
    assert store.users_runs() == []


def test_limits_come_from_the_environment(monkeypatch):
    assert jobs.limits() == jobs.Limits(0, 3600, 8, 500)
    for name, value in (("STEPS", 5), ("SECONDS", 6), ("QUEUED", 7), ("RUNS", 0)):
        monkeypatch.setenv(f"POOLVIZ_MAX_{name}", f" {value} ")
    assert jobs.limits() == jobs.Limits(5, 6, 7, 0)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (replace(SMALL, learning_rate=0.0), "learning_rate must be above 0"),
        (replace(SMALL, batch_size=0), "batch_size must be"),
        (replace(SMALL, seed=-1), "seed must be"),
        (replace(SMALL, task="cifar"), "Unknown task"),
        (replace(SMALL, pooling="maximal"), "maximal"),
        (replace(SMALL, depth=2, kernel_size=8, stride=8), "8"),
    ],
)
def test_an_impossible_run_is_refused_with_all_that_were_asked_with_it(bad, words):
    with pytest.raises(ValueError, match=words) as refused:
        jobs.submit([SMALL, bad])
    assert "\n" not in str(refused.value)
    assert store.users_runs() == []


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr("poolviz.runs.queue.CONNECT", 0.5)
    monkeypatch.setenv("POOLVIZ_SCHEDULER", "tcp://127.0.0.1:9")
    monkeypatch.setattr(jobs, "QUEUE", type(jobs.QUEUE)())
    with pytest.raises(ValueError, match=r"^No Dask scheduler answers at POOLVIZ_SCHEDULER=tcp://127.0.0.1:9: .*\.$"):
        jobs.submit([SMALL])
    assert store.users_runs() == []


def test_thirty_sessions_at_once_warm_one_process(monkeypatch):
    monkeypatch.setattr(jobs, "PLACES", standby.Places())
    started = []
    monkeypatch.setattr(standby, "Standby", lambda environment: started.append(environment))
    sessions = [threading.Thread(target=jobs.warm) for _ in range(30)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()
    wait_for(lambda: started)
    time.sleep(0.1)
    assert len(started) == 1


# ---- one after another ----


@pytest.fixture(scope="module")
def race(queue, tmp_path_factory):
    """A whole run, one that diverges, one that is stopped while it runs, one while it waits; and what was seen."""
    seen, took = [], {}
    with settings(POOLVIZ_RUNS=tmp_path_factory.mktemp("race")):
        wait_for(lambda: jobs.PLACES.at(0) is not None)
        runs = jobs.submit([WHOLE, DIVERGING, LONG, SMALL], visitor="me")
        places = [jobs.place(run) for run in runs]
        wait_for(lambda: has_points(runs[0]))
        began = time.monotonic()
        jobs.stop(runs[3])
        took["waiting"] = time.monotonic() - began

        def look():
            states = tuple(written(run)["state"] for run in runs)
            if not seen or seen[-1] != states:
                seen.append(states)

        wait_for(lambda: look() or has_points(runs[2]))
        pid = runs[2].status["pid"]
        jobs.stop(runs[2])
        took["running"] = wait_for(lambda: look() or written(runs[2])["state"] == "stopped")
        took["gone"] = wait_for(lambda: is_gone(pid))
        yield {"runs": runs, "places": places, "seen": seen, "took": took}


def test_runs_go_one_at_a_time_in_the_order_of_the_calls(race):
    done = "completed"
    assert [states[:3] for states in race["seen"] if "running" in states] == [
        ("running", "queued", "queued"),
        (done, "running", "queued"),
        (done, "failed", "running"),
    ]
    assert race["runs"][0].status["reason"] == ""
    assert [run.state for run in race["runs"]] == [done, "failed", "stopped", "stopped"]


def test_a_running_run_is_stopped_within_two_seconds_and_its_memory_is_free(race):
    assert race["took"]["running"] + race["took"]["gone"] < 2
    assert race["runs"][2].status["reason"] == "It was asked to stop."
    assert has_points(race["runs"][2])


def test_the_place_is_the_number_of_runs_that_wait_before(race):
    assert race["places"][1:] in ([1, 2, 3], [0, 1, 2])  # whether the first one had begun
    assert race["places"][0] == 0
    assert [jobs.place(run) for run in race["runs"]] == [0, 0, 0, 0]


def test_a_waiting_run_is_stopped_at_once_and_never_starts(race):
    stopped = race["runs"][3]
    assert race["took"]["waiting"] < 0.5
    assert stopped.status["reason"] == "It was asked to stop."
    assert stopped.metrics() == []
    assert not (stopped.folder / "log.txt").exists()
    assert all(states[3] != "running" for states in race["seen"])


def test_a_loss_that_is_no_number_fails_and_keeps_its_points(race):
    failed = race["runs"][1]
    assert failed.status["reason"].startswith("The loss is no number any more (step ")
    points = [row for row in failed.metrics() if row["kind"] == "step"]
    assert points[0]["step"] == 1
    assert points[0]["train_loss"] == pytest.approx(2.3, abs=0.2)  # ln 10: it knows nothing of ten digits


def test_who_asked_is_kept(race):
    job = race["runs"][0].job
    assert (job["by"], job["visitor"], job["keep_weights"]) == ("page", "me", True)
    assert race["runs"][0].config == replace(WHOLE, max_seconds=3600.0)


def test_an_estimate_is_near_to_what_it_takes(race):
    whole = race["runs"][0]
    took = sum(whole.metrics()[-1][name] for name in ("train_seconds", "eval_seconds"))
    estimated = jobs.estimate(replace(WHOLE, seed=99))
    assert estimated["parameters"] == whole.summary["parameters"]
    assert took / 4 < seconds(WHOLE, estimated) - START_SECONDS < took * 4
    began = time.monotonic()
    assert jobs.estimate(replace(WHOLE, seed=7)) == estimated  # of another seed
    assert time.monotonic() - began < 0.2


# ---- stop and resume ----


@posix
def test_a_stopped_run_goes_on_to_the_same_end_bit_for_bit(race, folder):
    """Its process stands still, as in a long computation, so that only a kill ends it."""
    (run,) = jobs.submit([WHOLE])
    wait_for(lambda: run.weights("checkpoint").is_file())
    pid = run.status["pid"]
    with pytest.raises(ValueError, match="is running"):
        jobs.resume(run)
    os.kill(pid, signal.SIGSTOP)
    jobs.stop(run)
    assert wait_for(lambda: written(run)["state"] == "stopped" and is_gone(pid)) < 2
    epochs = [row["epoch"] for row in run.metrics() if row["kind"] == "epoch"]
    assert 1 <= len(epochs) < WHOLE.epochs  # in the middle of it
    jobs.resume(run)
    assert run.state in ("queued", "running")
    wait_for(lambda: run.ended)
    assert run.state == "completed", run.status
    assert run.status["pid"] != pid

    whole = race["runs"][0]

    def curve(run):
        times = {"train_seconds", "train_cpu_seconds", "eval_seconds", "eval_cpu_seconds"}
        times |= {"steps_per_second", "peak_bytes"}
        rows = [row for row in run.metrics() if row["kind"] == "epoch"]
        return [{name: value for name, value in row.items() if name not in times} for row in rows]

    assert curve(run) == curve(whole)
    assert len(curve(run)) == WHOLE.epochs
    for name in ("best", "last", "test"):
        ours, theirs = run.summary[name], whole.summary[name]
        untimed = {"seconds": 0, "cpu_seconds": 0}
        assert ours | untimed == theirs | untimed
    for name in ("best", "last"):
        ours, theirs = load_file(run.weights(name)), load_file(whole.weights(name))
        assert ours.keys() == theirs.keys()
        assert all(ours[key].equal(theirs[key]) for key in ours)
    tables = [pd.read_parquet(each.folder / "predictions.parquet") for each in (run, whole)]
    pd.testing.assert_frame_equal(*tables)
    with pytest.raises(ValueError, match="is completed"):
        jobs.resume(run)


def test_a_run_without_a_checkpoint_cannot_go_on():
    run = store.create(SMALL, by="page")
    run.set_status("stopped")
    with pytest.raises(ValueError, match="has no checkpoint"):
        jobs.resume(run)
    assert run.state == "stopped"


def test_a_visitors_room_is_counted(folder):
    mine = [store.create(SMALL, by="page", visitor="me") for _ in range(2)]
    mine[0].set_status("completed")
    with settings(POOLVIZ_MAX_QUEUED=2):
        with pytest.raises(
            ValueError, match=r"^You have 1 runs? waiting or running and asked for 2 more, but 2 is the"
        ):
            jobs.submit([SMALL, SMALL], visitor="me")
        with pytest.raises(ValueError, match=r"^You asked for 3, but 2 is the most: .*\.$"):
            jobs.submit([SMALL] * 3, visitor="another")
    assert len(store.users_runs()) == 2


# ---- what kills a run ----


@posix
def test_a_killed_run_fails_with_its_reason_and_keeps_its_points():
    (run,) = jobs.submit([LONG])
    wait_for(lambda: has_points(run))
    before = run.metrics()
    os.kill(run.status["pid"], signal.SIGKILL)
    wait_for(lambda: written(run)["state"] != "running", seconds=5)
    reason = "Its process was killed (signal 9): the machine may have run out of memory."
    assert (run.state, run.status["reason"]) == ("failed", reason)
    assert run.metrics()[: len(before)] == before


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process's memory")
def test_a_run_without_enough_memory_fails_with_its_reason():
    import resource

    standing = jobs.PLACES.fill()
    assert standing.claim(PATIENCE)
    size = psutil.Process(standing.process.pid).memory_info().vms + 400 * 2**20
    resource.prlimit(standing.process.pid, resource.RLIMIT_AS, (size, size))
    standing.line.release()
    (run,) = jobs.submit([replace(SMALL, train_limit=0, batch_size=2048, width=1024)])
    wait_for(lambda: run.ended)
    assert run.status["pid"] == standing.process.pid
    assert run.state == "failed"
    reason = "There was not enough memory: a smaller batch, a narrower network or fewer examples need less."
    assert run.status["reason"] == reason, (run.folder / "log.txt").read_text()


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """Half a megabyte where one may mount; else a curve that nothing can be added to."""
    place = tmp_path / "small"
    place.mkdir()
    monkeypatch.setenv("POOLVIZ_RUNS", str(place))
    with mounted(place, "400k") as able:
        yield able


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_a_full_disk_fails_a_run_with_its_reason_and_keeps_its_points(small_disk):
    def spoil(run):
        if not small_disk:
            (run.folder / "metrics.jsonl").symlink_to("/dev/full")

    run = queue_by_hand(SMALL, spoil)
    wait_for(lambda: run.ended)
    reason = "The disk is full: delete old runs, or set POOLVIZ_RUNS to a folder with more room, and start again."
    assert (written(run)["state"], written(run)["reason"]) == ("failed", reason)
    assert has_points(run) == small_disk
    if small_disk:  # a checkpoint had no room: nothing of it is left behind
        assert not run.weights("checkpoint").exists()
        assert not list(run.folder.glob(".*"))


@posix
def test_a_process_that_does_not_answer_is_replaced():
    silent = jobs.PLACES.fill()
    assert silent.claim(PATIENCE)
    silent.line.release()
    os.kill(silent.process.pid, signal.SIGSTOP)
    with pytest.raises(ValueError, match=r"^The time cannot be measured now"):
        standby.ESTIMATES.ask(replace(SMALL, width=5), 0.5)
    wait_for(lambda: is_gone(silent.process.pid), seconds=5)
    dead = jobs.PLACES.fill()
    dead.process.kill()
    assert jobs.estimate(replace(SMALL, width=5))["parameters"] > 0
    assert jobs.PLACES.at(0).alive


def test_nothing_stands_by_after_its_parent():
    code = "from poolviz.runs.standby import PLACES; import os; print(PLACES.fill().process.pid, flush=True); {}"
    for end in ("", "os._exit(1)"):
        parent = subprocess.run(
            [sys.executable, "-c", code.format(end)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        wait_for(lambda pid=int(parent.stdout): is_gone(pid), seconds=60)


# ---- an app that ends ----

APP = """
import sys, time
from dataclasses import replace
from poolviz.runs import jobs
from poolviz.training.config import RunConfig
runs = jobs.submit([RunConfig.from_json(text) for text in sys.argv[1:]])
while len(runs[0].metrics()) < 2:
    time.sleep(0.01)
print("running", flush=True)
time.sleep(600)
"""


@posix
def test_runs_of_an_app_that_was_killed_are_recovered():
    configs = [replace(WHOLE, epochs=40), replace(SMALL, seed=1), replace(SMALL, seed=2)]
    app = subprocess.Popen(
        [sys.executable, "-c", APP, *(config.to_json() for config in configs)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert app.stdout.readline() == "running\n"
        first, *waiting = sorted(store.users_runs(), key=lambda run: run.created)
        jobs._RECOVERED.clear()
        jobs.recover()  # the app lives: its runs are its own
        assert not jobs.QUEUE._waiting
    finally:
        app.kill()
        app.wait()
        app.stdout.close()
    pid = first.status["pid"]
    assert not is_gone(pid)
    assert [run.state for run in (first, *waiting)] == ["running", "queued", "queued"]
    commands = store.create(SMALL, by="command", owner=waiting[0].job["owner"])
    waiting[1].ask_to_stop()  # while nobody was there

    jobs._RECOVERED.clear()
    for _ in range(3):
        jobs.recover()
    assert len(jobs.QUEUE._waiting) == 3
    wait_for(lambda: all(run.ended for run in (first, *waiting)))
    assert [written(run)["state"] for run in (first, *waiting)] == ["completed", "completed", "stopped"]
    assert first.status["pid"] == pid  # the same process, to its end
    assert [row["epoch"] for row in first.metrics() if row["kind"] == "epoch"] == list(range(1, 41))
    ends = [written(run)["heartbeat"] for run in (first, waiting[0])]
    assert ends == sorted(ends)
    assert commands.state == "queued"
    commands.set_status("stopped")


# ---- the attendant by itself ----


def test_an_attendant_tells_what_became_of_a_run():
    run = store.create(SMALL)
    run.ask_to_stop()
    assert attending.attend(str(run.folder)) == "stopped"
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = store.create(SMALL)
    dead.set_running(child.pid)
    assert attending.attend(str(dead.folder)) == "failed"
    assert (written(dead)["state"], written(dead)["reason"]) == ("failed", store.GONE)
    for done in (run, dead):
        before = (done.folder / "status.json").read_bytes()
        attending.attend(str(done.folder))
        assert (done.folder / "status.json").read_bytes() == before
    deleted = store.create(SMALL)
    store.shutil.rmtree(deleted.folder)
    assert attending.attend(str(deleted.folder)) == "failed"
    assert not deleted.folder.exists()


def test_a_task_of_before_a_run_was_resumed_leaves_it_alone():
    run = store.create(SMALL, ticket="of the resumed one")
    assert attending.attend(str(run.folder)) == "queued"
    assert not (run.folder / "log.txt").exists()


def test_a_process_that_says_nothing_is_told_by_its_log(monkeypatch):
    def spawn(*_, environment=None, **streams):
        return subprocess.Popen([sys.executable, "-c", "raise ImportError('no torch here')"], **streams)

    monkeypatch.setattr(attending, "spawn", spawn)
    monkeypatch.setattr(attending, "PLACES", standby.Places())
    run = store.create(SMALL)
    assert attending.attend(str(run.folder)) == "failed"
    expected = "Its process ended without a word (exit code 1); its log ends with: ImportError: no torch here."
    assert run.status["reason"] == expected


def test_no_room_for_a_process_is_told(monkeypatch):
    def spawn(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(attending, "spawn", spawn)
    monkeypatch.setattr(attending, "PLACES", standby.Places())
    run = store.create(SMALL)
    assert attending.attend(str(run.folder)) == "failed"
    assert run.status["reason"].startswith("Its process could not be started: ")


def test_old_runs_make_room(monkeypatch):
    monkeypatch.setattr(jobs.QUEUE, "put", lambda run, again=False: None)
    old = []
    for number in range(4):
        run = store.create(RunConfig(), by="page", created=number)
        run.set_status("stopped")
        old.append(run)
    with settings(POOLVIZ_MAX_RUNS=2):
        (new,) = jobs.submit([SMALL])
    assert {run.name for run in store.users_runs()} == {new.name, old[2].name, old[3].name}
    with settings(POOLVIZ_MAX_STEPS=7, POOLVIZ_MAX_SECONDS=9):
        (run,) = jobs.submit([replace(SMALL, max_steps=100, max_seconds=5.0)])
        (command,) = jobs.submit([SMALL], by="command")
    assert (run.config.max_steps, run.config.max_seconds) == (7, 5.0)
    assert command.config == SMALL
    for each in store.users_runs():
        each.set_status("stopped")


# ---- several GPUs ----


def test_each_slot_has_a_gpu_of_its_own(monkeypatch):
    import torch

    from poolviz.runs import queue

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for count, expected in ((0, [None]), (1, [None]), (3, ["0", "1", "2"])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert [slot.get("CUDA_VISIBLE_DEVICES") for slot in queue._slots()] == expected
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 2,7")
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in queue._slots()] == ["4", "2", "7"]


BEGAN = []  # (run, slot)


def note(folder, again, ticket):
    """A task; of this module, so that it is told by name and not copied."""
    BEGAN.append((Path(folder).name, attending._slot()))
    time.sleep(1.5 if len(BEGAN) == 1 else 0.05)


def test_two_slots_keep_the_order_behind_a_long_run(monkeypatch):
    from poolviz.runs import queue

    BEGAN.clear()
    places = standby.Places()
    monkeypatch.setattr(queue, "_slots", lambda: [{}, {}])
    monkeypatch.setattr(queue, "PLACES", places)
    monkeypatch.setattr(attending, "PLACES", places)
    monkeypatch.setattr(queue, "attend", note)
    runs = [store.create(replace(SMALL, seed=seed)) for seed in range(8)]
    two = queue.Queue()
    try:
        for run in runs:
            two.put(run)
        wait_for(lambda: len(BEGAN) == len(runs), seconds=30)
    finally:
        two.close()
    names = [name for name, _ in BEGAN]
    assert sorted(names[:2]) == sorted(run.name for run in runs[:2])  # they begin at once
    assert names[2:] == [run.name for run in runs[2:]]
    assert {slot for _, slot in BEGAN} == {0, 1}
    for run in runs:
        run.set_status("stopped")
