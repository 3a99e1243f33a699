"""The folders of runs: what is written survives torn lines, races, full disks and strange names."""

import errno
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from poolviz.runs import store
from poolviz.training import folder as written
from poolviz.training.config import RunConfig

ROOT = Path(__file__).resolve().parent.parent
HOST = socket.gethostname()


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "runs"


def ended(state="completed", **job):
    run = store.create(RunConfig(), **job)
    run.set_status(state)
    return run


# ---- making and finding ----


def test_a_new_run_waits_and_says_who_asked():
    before = time.time()
    run = store.create(RunConfig(pooling="average", seed=3), by="page", visitor="me", race="r", keep_weights=False)
    assert run.state == "queued"
    assert not run.ended
    assert run.config == RunConfig(pooling="average", seed=3)
    assert run.job | {"created": 0} == {"created": 0, "by": "page", "visitor": "me", "race": "r", "keep_weights": False}
    assert before <= run.created <= time.time()
    assert run.summary == run.environment == {}
    assert run.metrics() == []
    assert [path.name for path in run.folder.iterdir() if path.name.startswith(".")] == []


def test_an_impossible_configuration_makes_no_folder(runs):
    with pytest.raises(ValueError, match="epochs"):
        store.create(RunConfig(epochs=0))
    assert not runs.exists()


CREATE = """
import sys
from poolviz.runs import store
from poolviz.training.config import RunConfig
store.secrets.token_hex = iter(f"{n:04x}" for n in range(1000)).__next__ and (
    lambda size, numbers=iter(range(1000)): f"{next(numbers):04x}"  # every process draws the same names
)
store.time.strftime = lambda *_: "20260101-000000"
for _ in range(40):
    print(store.create(RunConfig()).name)
"""


def test_processes_that_draw_the_same_names_never_share_a_folder(runs):
    made = [
        subprocess.Popen([sys.executable, "-c", CREATE], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    names = [name for process in made for name in process.communicate(timeout=60)[0].split()]
    assert len(names) == 120
    assert len(set(names)) == 120
    assert sorted(path.name for path in runs.iterdir()) == sorted(names)
    assert all(store.find(name).config == RunConfig() for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secret",
        "a/../../secret",
        "a/b",
        "a\\b",
        "A-run",
        "a\0b",
        "a\n",
        "é",
        "a" * 200,
        "%2e%2e",
        "~",
    ],
)
def test_hostile_names_find_nothing(runs, name):
    runs.mkdir()
    for place in (runs.parent / "secret", runs / "a", runs / "b"):
        place.mkdir()
        (place / "config.json").write_text(RunConfig().to_json())
    (runs / "config.json").write_text(RunConfig().to_json())
    assert store.find("a") is not None  # it would find one
    assert store.find(name) is None


def test_a_shipped_run_is_found_like_a_users(tmp_path):
    shipped = tmp_path / "shipped" / "digits-max-s0"
    shipped.mkdir(parents=True)
    (shipped / "config.json").write_text(RunConfig().to_json())
    own = ended()
    assert store.find("digits-max-s0").folder == shipped
    assert [run.name for run in store.all_runs()] == [own.name, "digits-max-s0"]
    with pytest.raises(ValueError, match="stays"):
        store.delete(store.find("digits-max-s0"))
    assert shipped.is_dir()


def test_a_folder_without_configuration_is_no_run(runs):
    own = ended()
    (runs / "half-made").mkdir()
    (runs / "note.txt").write_text("x")
    assert [run.name for run in store.users_runs()] == [own.name]


# ---- status ----


def test_a_reader_never_sees_half_a_status(tmp_path):
    path = tmp_path / "status.json"
    contents = [{"state": "running", "filling": letter * 50_000} for letter in "ab"]
    written.replace_json(path, contents[0])
    code = (
        "import sys, json, pathlib; from poolviz.training.folder import replace_json\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "for n in range(400): replace_json(path, {'state': 'running', 'filling': 'ab'[n % 2] * 50_000})"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT)
    seen = set()
    try:
        while writer.poll() is None:
            content = json.loads(path.read_text())  # not our own lenient reader
            assert content in contents
            seen.add(content["filling"][0])
    finally:
        writer.kill()
        assert writer.wait() == 0
    assert seen == {"a", "b"}
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"state": "dancing"}', "\xff\xfe", "[" * 100_000])
def test_a_damaged_status_is_told_as_failed(text):
    run = store.create(RunConfig())
    (run.folder / "status.json").write_bytes(text.encode("latin-1"))
    assert run.status == {"state": "failed", "reason": "Its status cannot be read."}
    assert run.ended


def no_room(self, *_, **__):
    raise OSError(errno.ENOSPC, "No space left on device", str(self))


def test_on_a_full_disk_the_last_word_takes_the_place_of_the_status(monkeypatch):
    run = store.create(RunConfig())
    status = written.Status(run.folder)
    status.begin()
    with monkeypatch.context() as full:
        full.setattr(Path, "write_text", no_room)
        status.end("failed", "short")  # shorter than what it replaces
        assert (run.state, run.status["reason"]) == ("failed", "short")
        run.set_status("failed", "a longer reason " * 9)
    assert run.status["reason"] == "a longer reason " * 9
    assert not list(run.folder.glob(".status*"))


def test_other_errors_of_a_disk_are_raised(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "write_text", no_room)
    with pytest.raises(OSError, match="No space"):  # nothing there to write over
        written.replace_json(tmp_path / "new.json", {})


def test_a_heart_beats_until_the_end(monkeypatch):
    monkeypatch.setattr(written, "BEAT_EVERY", 0.02)
    run = store.create(RunConfig())
    status = written.Status(run.folder)
    status.begin()
    first = run.status["heartbeat"]
    until = time.monotonic() + 10
    while run.status["heartbeat"] == first:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert run.state == "running"
    status.end("stopped", "why")
    time.sleep(0.1)  # some beats later
    assert run.status["state"] == "stopped"
    assert run.status["reason"] == "why"


# ---- whether a process lives ----


def test_a_living_process_is_alive():
    run = store.create(RunConfig())
    run.set_running(os.getpid())
    assert run.state == "running"
    assert store.is_alive(run.status)


def test_a_number_that_was_given_again_is_another_process():
    began = psutil.Process().create_time()
    assert store.is_alive({"host": HOST, "pid": os.getpid(), "heartbeat": began + 10})
    assert not store.is_alive({"host": HOST, "pid": os.getpid(), "heartbeat": began - 10})


@pytest.mark.skipif(os.name != "posix", reason="zombies are POSIX's")
def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    status = {"host": HOST, "pid": child.pid, "heartbeat": time.time() + 5}
    until = time.monotonic() + 30
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert psutil.pid_exists(child.pid)
    assert not store.is_alive(status)
    child.wait()
    assert not store.is_alive(status)


def test_on_another_host_the_heartbeat_tells():
    elsewhere = {"host": "another-host", "pid": os.getpid()}
    assert store.is_alive(elsewhere | {"heartbeat": time.time() - store.SILENT + 20})
    assert not store.is_alive(elsewhere | {"heartbeat": time.time() - store.SILENT - 1})


@pytest.mark.parametrize("pid", [None, -1, 0.5, "x", [], 2**40])
@pytest.mark.parametrize("beat", [None, "now", float("nan"), []])
def test_nonsense_is_dead(pid, beat):
    assert not store.is_alive({"host": HOST, "pid": pid, "heartbeat": beat})
    assert not store.is_alive({"host": "another-host", "pid": pid, "heartbeat": beat})


def test_a_run_whose_process_is_gone_is_told_as_failed():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    run = store.create(RunConfig())
    run.set_running(child.pid)
    assert (run.state, run.status["reason"]) == ("failed", store.GONE)


# ---- curves ----


def test_a_torn_last_line_is_left_out_and_the_next_attempt_says_it_again(tmp_path):
    recorder = written.FolderRecorder(tmp_path)
    rows = [{"kind": "step", "step": step, "train_loss": 1.5 / step} for step in (1, 2, 3)]
    for row in rows:
        recorder.metrics(row)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):  # torn at every byte
        path.write_bytes(whole[:cut])
        assert written.read_metrics(path) == rows[: whole[:cut].count(b"\n")]
    path.write_bytes(whole[:-5])
    recorder.rewind(2)
    recorder.metrics(rows[2])
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows


def test_lines_that_are_no_json_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\nnonsense\n[1]\n\xff\xfe\n' + b"[" * 100_000 + b'\n{"step": 2}\n')
    assert written.read_metrics(path) == [{"step": 1}, {"step": 2}]
    assert written.read_metrics(tmp_path / "none.jsonl") == []


def test_what_is_no_number_becomes_null(tmp_path):
    recorder = written.FolderRecorder(tmp_path)
    recorder.metrics({"a": float("nan"), "b": float("-inf"), "c": 0.5, "d": None})

    def refuse(word):
        raise AssertionError(word)

    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line, parse_constant=refuse) == {"a": None, "b": None, "c": 0.5, "d": None}


# ---- giving away and deleting ----


def test_the_zip_is_the_folder_without_what_is_of_no_use():
    run = ended()
    for name in ("best.safetensors", "checkpoint.safetensors", "metrics.jsonl", "stop", ".half.tmp"):
        (run.folder / name).write_bytes(name.encode() * 100)
    with zipfile.ZipFile(io.BytesIO(run.zipped())) as archive:
        assert archive.testzip() is None
        expected = ["best.safetensors", "config.json", "metrics.jsonl", "status.json"]
        assert sorted(name.removeprefix(f"{run.name}/") for name in archive.namelist()) == expected
        # no host, no address: a folder is given to others
        assert json.loads(archive.read(f"{run.name}/status.json")) == {"state": run.state, "reason": ""}
        assert RunConfig.from_json(archive.read(f"{run.name}/config.json").decode()) == RunConfig()


def test_only_a_run_that_has_ended_is_deleted():
    run = store.create(RunConfig())
    for begin in (lambda: None, lambda: run.set_running(os.getpid())):
        begin()
        with pytest.raises(ValueError, match="stop it first"):
            store.delete(run)
        assert run.folder.is_dir()
    run.set_status("failed")
    store.delete(run)
    assert not run.folder.exists()


def test_the_oldest_ended_runs_of_one_kind_are_pruned():
    runs = [ended(by="page", created=number) for number in (3, 1, 5, 2, 4)]
    kept = [ended(by="command", created=0), store.create(RunConfig(), by="page", created=0), ended()]
    gone = store.prune(2, by="page")
    assert sorted(gone) == sorted(run.name for run in runs if run.created <= 3)
    left = {run.name for run in store.users_runs()}
    assert left == {run.name for run in [*kept, *(run for run in runs if run.job and run.created >= 4)]}
    assert store.prune(2, by="page") == []


def test_a_runs_name_says_what_it_is():
    name = store.create(RunConfig(pooling="softmax-stochastic", seed=7)).name
    assert re.fullmatch(r"digits-softmax-stochastic-s7-\d{8}-\d{6}-[0-9a-f]{4}", name)
    assert store.NAME.fullmatch(name)
