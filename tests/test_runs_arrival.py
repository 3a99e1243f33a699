"""A run that comes as a zip: a real one arrives equal, a hostile one is refused in one sentence and leaves nothing."""

import io
import json
import os
import stat
import struct
import threading
import time
import tracemalloc
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from poolviz.runs import arrival, pages_of_parquet, parquet_apart, plausible, received, results, store
from poolviz.training.config import CLASSES, default_config
from poolviz.training.evaluation import matthews
from poolviz.training.folder import replace_json
from poolviz.training.work import work

CONFIG = default_config("digits", epochs=2, train_limit=100, eval_limit=60, width=4, seed=3)


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A finished run of somebody else, and its files as they are in its zip."""
    with pytest.MonkeyPatch.context() as there:
        there.setenv("POOLVIZ_RUNS", str(tmp_path_factory.mktemp("sender")))
        run = store.create(CONFIG, by="page", visitor="somebody", owner={"host": "theirs"})
        assert work(run.folder) == "completed"
        (run.folder / "log.txt").write_text("a warning\n")
        packed = run.zipped()
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        files = {name.split("/")[1]: archive.read(name) for name in archive.namelist()}
    return run, packed, files


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "runs"


def zipped(files, top="a-run/", how=zipfile.ZIP_DEFLATED):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(f"{top}{name}", content)
    return packed.getvalue()


def everything(folder):
    """All that is below a folder, hidden things too; None for a folder that is not there."""
    if not folder.exists():
        return None
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused(packed, runs):
    before = everything(runs)
    with pytest.raises(ValueError) as told:
        arrival.arrive(packed)
    said = str(told.value)
    assert type(told.value) is ValueError
    assert said.endswith(".") and "\n" not in said and 10 < len(said) < 700
    assert everything(runs) == before
    return said


# ---- what arrives ----


def test_a_real_run_arrives_equal(sent, runs):
    theirs, packed, _ = sent
    run = arrival.arrive(packed)
    assert run.name == theirs.name
    assert run.config == theirs.config
    assert run.status == {"state": "completed", "reason": ""}
    assert run.environment == theirs.environment
    assert run.summary == theirs.summary
    assert run.metrics() == theirs.metrics()
    ours, sent_table = (pd.read_parquet(each.folder / "predictions.parquet") for each in (run, theirs))
    pd.testing.assert_frame_equal(ours, sent_table)
    assert ours.attrs == sent_table.attrs
    for name in ("best", "last"):
        assert run.weights(name).read_bytes() == theirs.weights(name).read_bytes()
    assert (run.folder / "log.txt").read_text() == "a warning\n"
    assert results.read(run).values == results.read(theirs).values
    assert results.origin(run) == results.IMPORTED
    assert set(run.job) == {"by", "created"}
    assert [path.name for path in runs.iterdir()] == [run.name]
    assert store.find(run.name) == run


def test_a_run_that_is_here_is_named(sent, runs):
    _, packed, files = sent
    run = arrival.arrive(packed)
    assert f"here already: {run.name}." in refused(packed, runs)
    assert f"here already: {run.name}." in refused(zipped(files, top=""), runs)


def test_a_shipped_run_is_here_too(sent, runs, tmp_path):
    _, packed, _ = sent
    run = arrival.arrive(packed)
    (tmp_path / "shipped").mkdir()
    os.rename(run.folder, tmp_path / "shipped" / run.name)
    assert "here already" in refused(packed, runs)


@pytest.mark.parametrize(
    ("top", "name"),
    [
        ("", "digits-max-s3"),
        ("my-run/", "my-run"),
        ("My Run/", "digits-max-s3"),
        ("con/", "digits-max-s3"),
        ("nul.x/", "digits-max-s3"),
        (".hidden/", "digits-max-s3"),
        ("a..b/", "digits-max-s3"),
        ("a./", "digits-max-s3"),
        ("taken/", "taken-2"),
        ("shipped/", "shipped-2"),
        (f"{'x' * 300}/", "digits-max-s3"),
    ],
)
def test_its_name_is_its_own_or_a_plain_one(sent, runs, top, name):
    (runs / "taken").mkdir(parents=True)
    (store.SHIPPED / "shipped").mkdir(parents=True)
    assert arrival.arrive(zipped(sent[2], top)).name == name


def test_another_run_of_that_name_stays(sent, runs):
    _, packed, files = sent
    first = arrival.arrive(packed)
    other = json.loads(files["config.json"]) | {"batch_size": 16}
    second = arrival.arrive(zipped(files | {"config.json": json.dumps(other)}, f"{first.name}/"))
    assert second.name == f"{first.name}-2"
    assert (first.config.batch_size, second.config.batch_size) == (32, 16)


def test_a_folder_entry_and_missing_files_are_no_fault(sent):
    _, _, files = sent
    few = {name: files[name] for name in ("config.json", "metrics.jsonl")}
    status = json.dumps({"state": "failed", "reason": "Line\none.\u00a0Two"})
    run = arrival.arrive(zipped({"": b"", "status.json": status, **few}))
    assert run.status == {"state": "failed", "reason": "Line one. Two"}
    assert run.summary == run.environment == {}


def test_nothing_of_the_sender_is_kept(sent):
    _, _, files = sent
    status = json.dumps({"state": "completed", "reason": "", "host": "theirs", "pid": 7, "heartbeat": 1.0})
    environment = json.dumps(json.loads(files["environment.json"]) | {"host": "theirs", "user": "somebody"})
    run = arrival.arrive(zipped(files | {"status.json": status, "environment.json": environment}))
    kept = b"".join(path.read_bytes() for path in run.folder.iterdir() if path.suffix != ".safetensors")
    assert b"theirs" not in kept and b"somebody" not in kept
    assert run.status == {"state": "completed", "reason": ""}


def test_a_torn_last_line_is_left_out(sent):
    theirs, _, files = sent
    torn = files["metrics.jsonl"] + b'{"kind": "step", "st'
    assert arrival.arrive(zipped(files | {"metrics.jsonl": torn})).metrics() == theirs.metrics()


def test_a_log_is_plain_text(sent):
    log = b"caf\xe9\n\x1b[31mred\x1b[0m\tx\r\n"
    run = arrival.arrive(zipped(sent[2] | {"log.txt": log}))
    assert (run.folder / "log.txt").read_text() == "caf�\n[31mred[0m\tx\n"


def test_a_run_that_says_why_it_ended_early_arrives(sent):
    files = sent[2]
    longer = changed(epochs=5)(files["config.json"])
    early = part("progress", stopped="the limit of 8 steps")(files["summary.json"])
    run = arrival.arrive(zipped(files | {"config.json": longer, "summary.json": early}))
    assert results.read(run).early == "the limit of 8 steps"


def test_a_stopped_run_has_predictions_of_validation(sent, runs):
    files = {name: data for name, data in sent[2].items() if name != "summary.json"}
    files["status.json"] = b'{"state": "stopped", "reason": ""}'
    assert "is of the test set" in refused(zipped(files), runs)
    judged = table(attrs={"split": "validation", "epoch": 2})(files["predictions.parquet"])
    assert arrival.arrive(zipped(files | {"predictions.parquet": judged})).state == "stopped"


def test_one_zip_is_unpacked_at_a_time(sent, monkeypatch):
    inside, most = [], []
    real = arrival._unpack

    def watched(*given):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.1)
        real(*given)
        inside.pop()

    monkeypatch.setattr(arrival, "_unpack", watched)
    packed = [zipped(sent[2] | {"config.json": changed(seed=n)(sent[2]["config.json"])}) for n in range(3)]
    threads = [threading.Thread(target=arrival.arrive, args=(each,)) for each in packed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
    assert len(store.users_runs()) == 3


def test_imported_runs_are_counted_and_those_of_here_are_not(sent, runs, monkeypatch):
    store.create(CONFIG, by="page")
    monkeypatch.setenv("POOLVIZ_MAX_RUNS", "1")
    first = arrival.arrive(sent[1])
    other = zipped(sent[2] | {"config.json": changed(seed=4)(sent[2]["config.json"])})
    assert f"1 imported runs are here, the most: delete one first, such as {first.name}." in refused(other, runs)
    monkeypatch.setenv("POOLVIZ_MAX_RUNS", "0")
    assert arrival.arrive(other).config.seed == 4


def test_bytes_of_imported_runs_are_bounded(sent, runs, monkeypatch):
    first = arrival.arrive(sent[1])
    size = sum(path.stat().st_size for path in first.folder.iterdir())
    other = zipped(sent[2] | {"config.json": changed(seed=4)(sent[2]["config.json"])})
    monkeypatch.setattr(arrival, "MOST_IMPORTED", int(1.5 * size))
    assert f"delete one, such as {first.name}." in refused(other, runs)
    monkeypatch.setattr(arrival, "MOST_IMPORTED", 3 * size)
    assert arrival.arrive(other).config.seed == 4


def test_what_a_dead_process_left_is_cleared(sent, runs):
    old = runs / f"{arrival.SCRATCH}old" / "run"
    young = runs / f"{arrival.SCRATCH}young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old.parent, (0, 0))
    run = arrival.arrive(sent[1])
    assert {path.name for path in runs.iterdir()} == {run.name, young.name}


# ---- hostile zips ----


def add(**more):
    """A zip of the good files and one entry more, whose facts are set by hand."""

    def build(files):
        info = zipfile.ZipInfo(more.get("name", "a-run/log.txt"))
        for name, value in more.items():
            if name not in ("name", "content"):
                setattr(info, name, value)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in files.items():
                if name != "log.txt":
                    archive.writestr(f"a-run/{name}", content)
            archive.writestr(info, more.get("content", b"x"))
        return packed.getvalue()

    return build


def named(name):
    return add(name=name)


def twice(files):
    packed = io.BytesIO()
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(packed, "w") as archive:
        for name, content in [*files.items(), ("log.txt", b"x")]:
            archive.writestr(f"a-run/{name}", content)
    return packed.getvalue()


def encrypted(files):
    packed = bytearray(zipped(files))
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        packed[packed.find(sign) + place] |= 1
    return bytes(packed)


def lying(size):
    """The first file, log.txt, holds a million bytes; the zip says another number, and a checksum that fits to it."""

    def build(files):
        log = b"x" * 10**6
        packed = bytearray(zipped({"log.txt": log, **{k: v for k, v in files.items() if k != "log.txt"}}))
        (listed,) = struct.unpack_from("<I", packed, packed.rfind(b"PK\x05\x06") + 16)
        for place in (14, listed + 16):  # checksum, packed size, size
            struct.pack_into("<I", packed, place, zlib.crc32(log[:size]))
            struct.pack_into("<I", packed, place + 8, size)
        return bytes(packed)

    return build


def many_entries(count):
    return lambda files: zipped({**files, **{f"{number}.txt": b"" for number in range(count)}})


HOSTILE = {
    "nothing": (lambda files: b"", "no zip"),
    "no zip": (lambda files: b"PK\x03\x04" + b"x" * 1000, "no zip"),
    "cut short": (lambda files: zipped(files)[:-40], "no zip"),
    "an empty zip": (lambda files: zipped({}), "no config.json"),
    "no configuration": (lambda files: zipped({k: v for k, v in files.items() if k[0] != "c"}), "no config.json"),
    "no status": (lambda files: zipped({k: v for k, v in files.items() if k != "status.json"}), "no status.json"),
    "above": (named("a-run/../log.txt"), "is no name of a file"),
    "far above": (named("../../etc/passwd"), "is no name of a file"),
    "above alone": (named("../log.txt"), "is no name of a file"),
    "absolute": (named("/log.txt"), "is no name of a file"),
    "absolute folder": (named("/a-run/log.txt"), "is no name of a file"),
    "backslash": (named("a-run\\log.txt"), "is no name of a file"),
    "a Windows share": (named("\\\\host\\log.txt"), "is no name of a file"),
    "drive": (named("C:/log.txt"), "is no name of a file"),
    "drive alone": (named("C:log.txt"), "is no name of a file"),
    "stream": (named("a-run/log.txt:x"), "is no name of a file"),
    "dot": (named("./log.txt"), "is no name of a file"),
    "empty part": (named("a-run//log.txt"), "is no name of a file"),
    "line break": (named("a-run/log.txt\n"), "is no name of a file"),
    "two folders": (named("b-run/log.txt"), "one folder, or its files alone"),
    "a folder and none": (named("log.txt"), "one folder, or its files alone"),
    "a second empty folder": (add(name="b-run/", content=b""), "one folder, or its files alone"),
    "deeper": (named("a-run/deep/log.txt"), "is a folder within"),
    "deeper folder": (add(name="a-run/deep/", content=b""), "is a folder within"),
    "a file of no run": (named("a-run/model.pt"), "does not belong"),
    "a checkpoint": (named("a-run/checkpoint.safetensors"), "does not belong"),
    "a job": (named("a-run/job.json"), "does not belong"),
    "capitals": (named("a-run/LOG.TXT"), "does not belong"),
    "nested zip": (named("a-run/more.zip"), "does not belong"),
    "a zip for a log": (add(content=zipped({"x": b"\0" * 9})), "log.txt is no text"),
    "a zip for a configuration": (lambda files: zipped(files | {"config.json": zipped({"x": b""})}), "no JSON"),
    "symlink": (add(external_attr=(stat.S_IFLNK | 0o777) << 16, content=b"/etc/passwd"), "is a link"),
    "device": (add(external_attr=(stat.S_IFCHR | 0o666) << 16), "is a link"),
    "pipe": (add(external_attr=(stat.S_IFIFO | 0o666) << 16), "is a link"),
    "socket": (add(external_attr=(stat.S_IFSOCK | 0o666) << 16), "is a link"),
    "folder in disguise": (add(external_attr=(stat.S_IFDIR | 0o777) << 16), "is a link"),
    "DOS folder in disguise": (add(external_attr=0x10), "is a link"),
    "reparse point": (add(external_attr=0x400), "is a link"),
    "folder with bytes": (add(name="a-run/", content=b"xyz"), "bytes of its own"),
    "encrypted": (encrypted, "is encrypted"),
    "bzip2": (add(compress_type=zipfile.ZIP_BZIP2), "uncommon way"),
    "lzma": (add(compress_type=zipfile.ZIP_LZMA), "uncommon way"),
    "twice": (twice, "twice"),
    "too many entries": (many_entries(12), "entries; a run's folder"),
    "very many entries": (many_entries(1000), "more than 20 entries"),
    "says too little": (lying(10), None),
    "says nothing": (lying(0), None),
    "says too much": (lying(2 * 10**6), "damaged|another size"),
    "says far too much": (lying(2**32 - 2), "at most"),
    "a large log": (add(content=b"x" * (arrival.MOST["log.txt"] + 1)), "at most"),
    "a large curve": (lambda files: zipped(files | {"metrics.jsonl": b" " * 2**23 + b"\n"}), "at most 8,388,608"),
    "a large status": (lambda files: zipped(files | {"status.json": b" " * 70_000 + b"{}"}), "at most"),
    "wrong checksum": (
        lambda files: zipped(files, how=zipfile.ZIP_STORED).replace(b"a warning", b"a worning"),
        "is damaged in the zip",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_zips(case, sent, runs):
    build, said = HOSTILE[case]
    packed = build(sent[2])
    if said is None:  # a reader that stops at the size that is said finds a plain file
        assert (arrival.arrive(packed).folder / "log.txt").stat().st_size < 11
        return
    assert any(words in refused(packed, runs) for words in said.split("|"))
    assert not runs.exists()


def bomb(size, said):
    """A zip whose log.txt unpacks to `size` bytes and says another number; made in a few bytes of memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = b"\0" * 2**20
    content = b"".join(packer.compress(block) for _ in range(size // 2**20)) + packer.flush()
    name = b"log.txt"
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 0, 0, len(content), said, len(name), 0) + name
    entry = struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, 0, len(content), said, len(name), 0, 0, 0, 0, 0, 0
    )
    rest = io.BytesIO()
    with zipfile.ZipFile(rest, "w") as archive:
        archive.writestr("config.json", CONFIG.to_json())
        archive.writestr("status.json", '{"state": "failed"}')
    tail = rest.getvalue()
    end = tail.rfind(b"PK\x05\x06")
    first = tail.find(b"PK\x01\x02")
    listed = bytearray(tail[first:end])
    shift, place = len(local) + len(content), 0
    while place < len(listed):
        (offset,) = struct.unpack_from("<I", listed, place + 42)
        struct.pack_into("<I", listed, place + 42, offset + shift)
        place += 46 + struct.unpack_from("<H", listed, place + 28)[0]
    central = bytes(listed) + entry + name
    ended = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 3, 3, len(central), shift + first, 0)
    return local + content + tail[:first] + central + ended


@pytest.mark.parametrize("said", [10, 4 * 2**20, 2**31])
def test_a_bomb_fills_neither_disk_nor_memory(said, runs, monkeypatch):
    packed = bomb(2**30, said)
    assert len(packed) < 2 * 2**20
    largest = []
    real = arrival._unpack

    def measured(archive, entries, folder):
        try:
            real(archive, entries, folder)
        finally:
            largest.append(sum(path.stat().st_size for path in folder.iterdir()))

    monkeypatch.setattr(arrival, "_unpack", measured)
    tracemalloc.start()
    try:
        refused(packed, runs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 * 2**20
    assert max(largest, default=0) <= 5 * 2**20
    assert not runs.exists()


def test_a_large_zip_is_not_opened(runs, monkeypatch):
    monkeypatch.setattr(arrival, "MOST_PACKED", 1000)
    assert "at most 1,000" in refused(b"x" * 1001, runs)


def test_all_files_together_are_bounded(sent, runs, monkeypatch):
    monkeypatch.setattr(arrival, "MOST_UNPACKED", 10_000)
    assert "at most 10,000" in refused(sent[1], runs)


@pytest.mark.parametrize("where", ["_unpack", "_moved"])
def test_a_full_disk_is_a_sentence(where, sent, runs, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrival, where, full)
    assert "The disk is full" in refused(sent[1], runs)


def test_a_folder_that_takes_no_runs_is_said(sent, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "file" / "runs"))
    assert "cannot be kept here" in refused(sent[1], tmp_path / "file" / "runs")


# ---- hostile contents ----


def changed(**fields):
    return lambda data: json.dumps(json.loads(data) | fields).encode()


def line(text, number=2):
    def put(data):
        lines = data.split(b"\n")
        lines.insert(number - 1, text)
        return b"\n".join(lines)

    return put


def step(**more):
    return line(json.dumps({"kind": "step", "step": 1, "epoch": 0, "train_loss": 1.0} | more).encode())


def part(name, **fields):
    return lambda data: json.dumps(json.loads(data) | {name: json.loads(data).get(name, {}) | fields}).encode()


def table(change=lambda frame: frame, attrs=None, **options):
    def build(data):
        frame = pd.read_parquet(io.BytesIO(data))
        kept = frame.attrs
        frame = change(frame)
        frame.attrs = kept if attrs is None else attrs
        packed = io.BytesIO()
        frame.to_parquet(packed, index=False, **options)
        return packed.getvalue()

    return build


def column(name, values):
    return table(lambda frame: frame.assign(**{name: values if not callable(values) else values(frame[name])}))


def first(name, value):
    def change(frame):
        frame = frame.astype({name: "float64" if isinstance(value, float) else "int64"})
        frame.loc[0, name] = value
        return frame

    return table(change)


def epochs_of(*numbers):
    """The curve with the epochs' lines in another order, or left out."""

    def change(data):
        rows = [json.loads(row) for row in data.split(b"\n")[:-1]]
        ends = {row["epoch"]: row for row in rows if row["kind"] == "epoch"}
        return b"".join(json.dumps(row).encode() + b"\n" for row in [rows[0], *(ends[number] for number in numbers)])

    return change


def retold(**change):
    """The weights with tensors of other shapes or kinds, more of them, or without some (None)."""

    def build(data):
        tensors = load(data) | {name.replace("_", "."): value for name, value in change.items()}
        return save({name: value for name, value in tensors.items() if value is not None}, {"facts": "{}"})

    return build


def header(text, body=b""):
    return lambda data: struct.pack("<Q", len(text)) + text + body


def weights(metadata=None, **tensors):
    return lambda data: save({name: np.zeros(shape, "float32") for name, shape in tensors.items()}, metadata)


DEEP = {"a": {"a": {"a": {"a": {"a": 1}}}}}
CONTENTS = [
    ("config.json", lambda data: b"", "no JSON"),
    ("config.json", lambda data: b"\xff\xfe{}", "no JSON"),
    ("config.json", lambda data: b"[" * 60_000, "no JSON"),
    ("config.json", lambda data: b"[1]", "one JSON object"),
    ("config.json", changed(gating="soft"), "'gating': a newer poolviz may have made it"),
    ("config.json", changed(task="poetry"), "a newer poolviz may have made it: Unknown task 'poetry'"),
    ("config.json", changed(pooling="maks"), "a newer poolviz may have made it: unknown pooling 'maks'"),
    ("config.json", changed(pooling="cls"), "unknown pooling 'cls'"),
    ("config.json", changed(epochs=0), "epochs must be"),
    ("config.json", changed(epochs="5"), "epochs must be a whole number"),
    ("config.json", changed(learning_rate=float("nan")), "no number"),
    ("config.json", changed(encoder="\ud800"), "encoder must be"),
    ("status.json", changed(state="running"), "not ended"),
    ("status.json", changed(state="queued"), "not ended"),
    ("status.json", changed(state=["completed"]), "not ended"),
    ("status.json", lambda data: b"{}", "not ended"),
    ("status.json", changed(reason=5), "as text"),
    ("environment.json", changed(device={"name": "CPU"}), "under 'device'"),
    ("environment.json", changed(device="x" * 201), "under 'device'"),
    ("environment.json", changed(processor="a\nb"), "under 'processor'"),
    ("environment.json", changed(threads="many"), "under 'threads'"),
    ("environment.json", changed(cores=10**400), "no JSON|under 'cores'"),
    ("environment.json", changed(more=[1]), "under 'more'"),
    ("environment.json", changed(versions={"torch": 2}), "under 'versions'"),
    ("environment.json", changed(versions=["torch"]), "under 'versions'"),
    ("environment.json", changed(versions={str(n): "" for n in range(101)}), "under 'versions'"),
    ("summary.json", lambda data: data[:-30], "no JSON"),
    ("summary.json", changed(peak_bytes=float("inf")), "no number"),
    ("summary.json", changed(peak_bytes=2**70), "finite number"),
    ("summary.json", changed(peak_bytes="much"), "no number"),
    ("summary.json", changed(more="x" * 300), "short text"),
    ("summary.json", changed(more=[0] * 101), "short text"),
    ("summary.json", changed(more=DEEP), "short text"),
    ("summary.json", changed(best=[1]), "under 'best'"),
    ("summary.json", part("best", loss="low"), "under 'best'"),
    ("summary.json", part("test", confusion=[[1]]), "under 'test'"),
    ("summary.json", part("test", confusion=[[-1] * 10] * 10), "under 'test'"),
    ("summary.json", part("test", confusion=[[0.5] * 10] * 10), "under 'test'"),
    ("summary.json", part("labels", train=[1]), "under 'labels'"),
    ("summary.json", changed(labels=[]), "under 'labels'"),
    ("summary.json", changed(classes=["a", "b"]), "other classes"),
    ("summary.json", part("progress", epoch="two"), "under 'progress'"),
    ("summary.json", part("progress", stopped=1), "under 'progress'"),
    ("summary.json", changed(parameters=-1), "holds -1 under 'parameters', which is at least 0"),
    ("summary.json", changed(peak_bytes=-1), "under 'peak_bytes'"),
    ("summary.json", part("progress", train_seconds=-5), "progress, holds -5 under 'train_seconds'"),
    ("summary.json", part("best", loss=-0.1), "best, holds -0.1 under 'loss'"),
    ("summary.json", part("best", cpu_seconds=-1), "under 'cpu_seconds'"),
    ("summary.json", part("fit", error=1.5), "under 'error', which is from 0 to 1"),
    ("summary.json", part("test", mcc=-1.5), "under 'mcc', which is from -1 to 1"),
    ("summary.json", part("last", mcc_in_domain=2), "under 'mcc_in_domain', which is from -1 to 1"),
    ("summary.json", part("test", error=0.123456), "test, says error 0.123456, but its confusion matrix"),
    ("summary.json", part("test", mcc=0.999999), "test, says mcc 0.999999, but its confusion matrix"),
    ("summary.json", part("test", confusion=[[0] * 10] * 10), "empty confusion matrix"),
    ("summary.json", changed(test={}), "is of the test set"),
    ("config.json", changed(epochs=3), "2 of 3 epochs and does not say why"),
    ("config.json", changed(epochs=1), "tells of epoch 2 after 2 of 1"),
    ("metrics.jsonl", epochs_of(2), "Line 2 of metrics.jsonl tells of epoch 2 after 1 of 2"),
    ("metrics.jsonl", epochs_of(2, 1), "Line 2 of metrics.jsonl tells of epoch 2"),
    ("metrics.jsonl", epochs_of(1, 1, 2), "Line 3 of metrics.jsonl tells of epoch 1"),
    ("metrics.jsonl", step(epoch=1), "Line 2 of metrics.jsonl tells of epoch 1"),
    ("metrics.jsonl", step(train_loss=-1), "Line 2 of metrics.jsonl holds -1 under 'train_loss'"),
    ("metrics.jsonl", step(train_seconds=-1), "under 'train_seconds'"),
    ("metrics.jsonl", step(train_error=1.1), "under 'train_error', which is from 0 to 1"),
    ("metrics.jsonl", step(validation_mcc=-1.1), "under 'validation_mcc', which is from -1 to 1"),
    ("metrics.jsonl", lambda data: b"", "ends without an epoch"),
    ("metrics.jsonl", line(b""), "Line 2 of metrics.jsonl is no JSON"),
    ("metrics.jsonl", line(b"nonsense", 3), "Line 3 of metrics.jsonl is no JSON"),
    ("metrics.jsonl", line(b"[1]"), "Line 2 of metrics.jsonl must be one JSON object"),
    ("metrics.jsonl", step(train_loss=float("nan")), "Line 2 of metrics.jsonl holds a figure that is no number"),
    ("metrics.jsonl", step(train_loss=float("-inf")), "Line 2 of metrics.jsonl holds a figure that is no number"),
    ("metrics.jsonl", line(b'{"kind": "step", "step": 1, "epoch": 0, "a": 1e999}'), "under 'a' that is no finite"),
    ("metrics.jsonl", step(train_loss="1"), "under 'train_loss' that is no finite number"),
    ("metrics.jsonl", step(train_loss=True), "under 'train_loss' that is no finite number"),
    ("metrics.jsonl", step(train_loss=[1]), "under 'train_loss' that is no finite number"),
    ("metrics.jsonl", step(kind="leap"), "Line 2 of metrics.jsonl is of no kind"),
    ("metrics.jsonl", step(kind=["step"]), "Line 2 of metrics.jsonl is of no kind"),
    ("metrics.jsonl", step(step=None), "must say its step"),
    ("metrics.jsonl", step(step=-1), "must say its step"),
    ("metrics.jsonl", step(epoch=0.5), "must say its epoch"),
    ("metrics.jsonl", line(b"[" * 5000), "Line 2 of metrics.jsonl is no JSON"),
    ("metrics.jsonl", step(**{f"a{n}": 1.0 for n in range(2000)}), "longer than 8,192 bytes"),
    ("metrics.jsonl", lambda data: data + b"\n" * 200_001, "more than 200,000 lines"),
    ("predictions.parquet", lambda data: b"", "damaged"),
    ("predictions.parquet", lambda data: b"PAR1" + b"x" * 100 + b"PAR1", "damaged"),
    ("predictions.parquet", lambda data: data[:-60], "damaged"),
    ("predictions.parquet", table(lambda frame: frame.drop(columns="label")), "must have the columns"),
    ("predictions.parquet", column("more", 1), "must have the columns"),
    ("predictions.parquet", table(lambda frame: frame[frame.columns[::-1]]), "must have the columns"),
    ("predictions.parquet", column("label", "a"), "no plain numbers in its column 2"),
    ("predictions.parquet", column("label", lambda kept: [[1]] * len(kept)), "no plain numbers in its column 2"),
    ("predictions.parquet", column("label", lambda kept: kept + 0.5), "numbers under 'label'"),
    ("predictions.parquet", column("confidence", lambda kept: kept.round().astype(int)), "under 'confidence'"),
    ("predictions.parquet", column("label", lambda kept: kept.astype("Int16").mask(kept > 2)), "under 'label'"),
    ("predictions.parquet", column("example", lambda kept: pd.to_datetime(kept)), "numbers under 'example'"),
    ("predictions.parquet", first("label", 10), "from 0 to 9 under 'label'"),
    ("predictions.parquet", first("label", -1), "from 0 to 9 under 'label'"),
    ("predictions.parquet", first("prediction", 2**40), "from 0 to 9 under 'prediction'"),
    ("predictions.parquet", first("example", -1), "from 0 to 10,000,000 under 'example'"),
    ("predictions.parquet", first("confidence", 1.01), "from 0 to 1 under 'confidence'"),
    ("predictions.parquet", first("confidence", float("nan")), "under 'confidence'"),
    ("predictions.parquet", first("confidence", float("inf")), "under 'confidence'"),
    ("predictions.parquet", column("example", 1), "an example twice"),
    ("predictions.parquet", table(attrs={}), "which split"),
    ("predictions.parquet", table(attrs={"split": "../x", "epoch": 1}), "which split"),
    ("predictions.parquet", table(attrs={"split": "test", "epoch": "1"}), "which split"),
    ("predictions.parquet", table(attrs={"split": "validation", "epoch": 1}), "is of the validation set"),
    ("predictions.parquet", lambda data: data.replace(b"parquet-cpp-arrow", b"parquet-mrx-arrow"), "written by Arrow"),
    ("predictions.parquet", table(compression="brotli"), "no plain numbers in its column 1"),
    ("best.safetensors", lambda data: b"", "no file of weights"),
    ("best.safetensors", lambda data: b"\x80\x04\x95pickle", "header of|no file of weights"),
    ("best.safetensors", lambda data: data[:-1], "no file of weights"),
    ("best.safetensors", lambda data: data + b"\0", "no file of weights"),
    ("best.safetensors", header(b"{}"), "1 to 2,000 tensors"),
    ("best.safetensors", header(b"[]"), "no file of weights"),
    ("best.safetensors", lambda data: struct.pack("<Q", 2**40) + data[8:], "header of"),
    (
        "best.safetensors",
        header(b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}'),
        "no file of weights",
    ),
    ("best.safetensors", header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', b"1234"), "no file of"),
    ("best.safetensors", weights({"facts": "{}", "code": "import os"}, a=(2,)), "plain facts"),
    ("best.safetensors", weights({"facts": "[]"}, a=(2,)), "one JSON object"),
    ("best.safetensors", weights({"facts": '{"epoch": [1]}'}, a=(2,)), "plain facts"),
    ("best.safetensors", weights(None, a=(2,)), "or of another network"),
    ("best.safetensors", retold(head_3_bias=None), "or of another network"),
    ("best.safetensors", retold(more=np.zeros(3, "float32")), "or of another network"),
    ("last.safetensors", retold(head_3_bias=np.zeros((10, 1), "float32")), "or of another network"),
    ("last.safetensors", retold(head_3_bias=np.zeros(10, "int32")), "no floating-point numbers"),
    ("config.json", changed(width=8), "or of another network"),
    ("config.json", changed(kernel_size=8), "too small for these layers"),
    ("last.safetensors", weights(None, **{f"t{n}": (1,) for n in range(2001)}), "1 to 2,000 tensors"),
    ("log.txt", lambda data: b"\x7fELF\0\0", "log.txt is no text"),
]


@pytest.mark.parametrize(
    ("name", "change", "said"), CONTENTS, ids=lambda part: "" if callable(part) else part[:30].replace(" ", "-")
)
def test_hostile_contents(name, change, said, sent, runs):
    files = sent[2]
    told = refused(zipped(files | {name: change(files[name])}), runs)
    assert any(words in told for words in said.split("|")), told
    assert not runs.exists()


def test_a_completed_run_needs_its_figures(sent, runs):
    for name in ("environment.json", "summary.json", "metrics.jsonl"):
        told = refused(zipped({key: value for key, value in sent[2].items() if key != name}), runs)
        assert told == f"{name} is missing."


def test_metadata_of_a_table_is_not_read_again(sent):
    """pandas' own metadata may name kinds and indices; what arrives is written anew."""
    packed = io.BytesIO()
    given = pq.read_table(io.BytesIO(sent[2]["predictions.parquet"]))
    known = dict(given.schema.metadata) | {b"evil": b"\x80\x04", b"pandas": b'{"index_columns": ["example"]}'}
    pq.write_table(given.replace_schema_metadata(known), packed)
    run = arrival.arrive(zipped(sent[2] | {"predictions.parquet": packed.getvalue()}))
    assert list(pd.read_parquet(run.folder / "predictions.parquet").columns) == list(received.COLUMNS)
    assert b"evil" not in (run.folder / "predictions.parquet").read_bytes()


@pytest.mark.parametrize("how", ["none", "snappy", "gzip", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_sizes_of_pages_are_those_of_the_columns(how, version):
    rng = np.random.default_rng(0)
    made = {"a": rng.integers(0, 9, 5000), "b": rng.random(5000), "c": np.arange(5000)}
    packed = io.BytesIO()
    options = {"data_page_size": 2000, "data_page_version": version, "write_page_checksum": True}
    pq.write_table(pa.table(made), packed, compression=how, row_group_size=2000, **options)
    data, metadata = packed.getvalue(), pq.ParquetFile(packed).metadata
    for number in range(metadata.num_row_groups):
        for place in range(3):
            column = metadata.row_group(number).column(place)
            begin = column.dictionary_page_offset or column.data_page_offset
            sizes = pages_of_parquet.page_sizes(data, begin, begin + column.total_compressed_size)
            assert len(sizes) > 1
            assert sum(sizes) < column.total_uncompressed_size < sum(sizes) + 200 * len(sizes)


def test_a_table_that_unpacks_to_much_is_not_read(monkeypatch):
    """200,000 equal numbers are some bytes; a page that says gigabytes is the same to a reader."""
    monkeypatch.setattr(pages_of_parquet, "MOST_UNPACKED", 50_000)
    many = pa.table({name: np.zeros(100_000, kind) for name, kind in zip(received.COLUMNS, "iiif", strict=True)})
    packed = io.BytesIO()
    pq.write_table(many, packed, compression="zstd", use_dictionary=False)
    assert len(packed.getvalue()) < 5_000
    with pytest.raises(ValueError, match="unpacks to more than"):
        parquet_apart._read(packed.getvalue(), received.COLUMNS, received.MOST_ROWS)


def test_a_table_that_ends_its_reader_does_not_end_the_server(sent, runs):
    """Of a codec that it does not know Arrow throws past Python: std::terminate."""
    data = sent[2]["predictions.parquet"]
    unknown = data.replace(b"label\x15\x02", b"label\x15\x34")  # SNAPPY is 1, which Thrift writes as 2; 26 is none
    assert unknown != data
    assert "damaged" in refused(zipped(sent[2] | {"predictions.parquet": unknown}), runs)


def test_a_table_that_takes_long_is_given_up(sent, runs, monkeypatch):
    monkeypatch.setattr(parquet_apart, "SECONDS", 0.01)
    assert "damaged" in refused(sent[1], runs)


# a page's header: kind, unpacked and packed size as i32 (0x15: one field on, type 5), each number doubled
PLAIN = b"\x15\x00\x15\x14\x15\x00"
LARGE = b"\x15\x00\x15\xfe\xff\xff\xff\x0f\x15\x00"  # 2 GB
HEADERS = {
    "a size again as i64": LARGE + b"\x06\x04\x14",
    "a size again as i16": LARGE + b"\x04\x04\x14",
    "a size again as i32": LARGE + b"\x05\x04\x14",
    "a size again with a number of 17 bits": PLAIN + b"\x05\x84\x80\x08\xfe\xff\xff\xff\x0f",
    "a size as i64 alone": b"\x15\x00\x16\x14\x15\x00",
    "a size as i16 alone": b"\x15\x00\x14\x14\x15\x00",
    "fields that do not rise": b"\x15\x00\x25\x00\x05\x04\x14",
    "a size of 33 bits": b"\x15\x00\x15\x94\x80\x80\x80\x20\x15\x00",
    "no size": b"\x15\x00\x25\x00",
    "a negative size": b"\x15\x00\x15\x13\x15\x00",
    "no kind": b"\x25\x14\x15\x00",
    "a long list": PLAIN + b"\x19\xf1" + b"\xd0\x0f" + b"\x01" * 2000,
}


def test_a_plain_header_is_read():
    assert pages_of_parquet.page_sizes(b"PAR1" + 2 * (PLAIN + b"\0"), 4, 18) == [10, 10]


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_can_be_read_in_two_ways_is_refused(case):
    data = b"PAR1" + HEADERS[case] + b"\0"
    with pytest.raises(ValueError):
        pages_of_parquet.page_sizes(data, 4, len(data), 2**40)


def test_a_header_ends_within_its_column():
    with pytest.raises(ValueError, match="torn"):
        pages_of_parquet.page_sizes(b"PAR1" + PLAIN + b"\0", 4, 10)


@pytest.mark.parametrize("most", [65, 64 * 10 - 1])
def test_pages_are_counted_as_they_are_read(most, monkeypatch):
    read = []
    real = pages_of_parquet._Reader.struct
    monkeypatch.setattr(pages_of_parquet._Reader, "struct", lambda *given: read.append(1) or real(*given))
    data = b"PAR1" + 10_000 * (PLAIN + b"\0")
    with pytest.raises(ValueError, match="unpacks to more than"):
        pages_of_parquet.page_sizes(data, 4, len(data), most)
    assert len(read) == most // 10 + 1


def test_many_pages_are_refused(sent, runs):
    told = refused(
        zipped(sent[2] | {"predictions.parquet": many_pages(70)}),
        runs,
    )
    assert "has many pages" in told


def many_pages(count):
    packed = io.BytesIO()
    frame = pa.table({name: np.arange(count, dtype=kind) for name, kind in zip(received.COLUMNS, "iiif", strict=True)})
    pq.write_table(frame, packed, use_dictionary=False, data_page_size=1, write_batch_size=1)
    return packed.getvalue()


def test_columns_that_share_bytes_are_refused():
    """All chunks of all groups at one place: each byte would be read 256 times."""
    data = b"PAR1" + PLAIN + b"\0"
    column = SimpleNamespace(
        physical_type="INT32",
        compression="ZSTD",
        num_values=1,
        data_page_offset=4,
        has_dictionary_page=False,
        total_compressed_size=len(data) - 4,
    )
    schema = SimpleNamespace(column=lambda _: SimpleNamespace(max_repetition_level=0))
    group = SimpleNamespace(num_rows=1, column=lambda _: column)

    def check(columns):
        facts = {"num_rows": 1, "num_row_groups": 1, "num_columns": columns, "created_by": "parquet-cpp-arrow"}
        metadata = SimpleNamespace(**facts, row_group=lambda _: group, schema=schema)
        pages_of_parquet.check_pages(data, metadata, 10)

    check(1)
    with pytest.raises(ValueError, match="share bytes"):
        check(2)


square = st.integers(2, 4).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 50), min_size=n, max_size=n), min_size=n, max_size=n)
)


@given(table=square)
def test_the_plain_correlation_is_that_of_the_loop(table):
    if sum(map(sum, table)):
        assert plausible.matthews(table) == pytest.approx(matthews(torch.tensor(table)), abs=1e-12)


def test_a_table_of_too_many_rows_is_not_read(sent, runs, monkeypatch):
    monkeypatch.setattr(received, "MOST_ROWS", 59)
    assert "more than 59 rows" in refused(sent[1], runs)


# ---- anything at all ----

anything = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def arrives_or_is_refused(packed, runs):
    """Never anything but a run or a sentence; a run that arrives can be read, and is removed again."""
    before = everything(runs)
    try:
        run = arrival.arrive(packed)
    except ValueError as error:
        said = str(error)
        assert said.endswith(".") and "\n" not in said and 10 < len(said) < 700, said
    else:
        assert results.read(run) is not None
        assert run.state in ("completed", "stopped", "failed") and run.job["by"] == "import"
        store.delete(run)
        if before is None:
            runs.rmdir()
    assert everything(runs) == before


@settings(anything, max_examples=120)
@given(packed=st.binary(max_size=400) | st.binary(max_size=100).map(lambda rest: b"PK\x05\x06" + rest))
def test_any_bytes(packed, runs):
    arrives_or_is_refused(packed, runs)


def mutated(data, edits):
    """`data` with bytes replaced, cut out or repeated at places that are given as shares of its length."""
    changed = bytearray(data)
    for share, kind, value in edits:
        place = int(share * len(changed))
        if kind == "set" and changed:
            changed[min(place, len(changed) - 1)] = value
        elif kind == "cut":
            del changed[place : place + value]
        elif kind == "repeat":
            changed[place:place] = changed[place : place + value]
    return bytes(changed)


edits = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["set", "set", "set", "cut", "repeat"]), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


@settings(anything, max_examples=100)
@given(edits=edits, at_the_end=st.booleans())
def test_a_zip_with_other_bytes(edits, at_the_end, sent, runs):
    small = {name: data for name, data in sent[2].items() if "safetensors" not in name}
    packed = zipped(small, how=zipfile.ZIP_STORED)
    cut = packed.find(b"PK\x01\x02") if at_the_end else 0  # the list of entries is what decides
    arrives_or_is_refused(packed[:cut] + mutated(packed[cut:], edits), runs)


@settings(anything, max_examples=60)  # each starts a process that reads the table
@given(name=st.sampled_from(sorted(arrival.MOST)), edits=edits, at_an_end=st.sampled_from([0, 2000, -3000]))
def test_a_file_with_other_bytes(name, edits, at_an_end, sent, runs):
    data = sent[2][name]
    if at_an_end > 0:
        data = mutated(data[:at_an_end], edits) + data[at_an_end:]
    elif at_an_end < 0:
        data = data[:at_an_end] + mutated(data[at_an_end:], edits)
    else:
        data = mutated(data, edits)
    arrives_or_is_refused(zipped(sent[2] | {name: data}, how=zipfile.ZIP_STORED), runs)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(anything, max_examples=120)
@given(
    name=st.sampled_from(["config.json", "status.json", "environment.json", "summary.json", "metrics.jsonl"]),
    data=st.data(),
)
def test_a_value_of_another_kind(name, data, sent, runs):
    lines = sent[2][name].split(b"\n")[:-1] if name == "metrics.jsonl" else [sent[2][name]]
    number = data.draw(st.integers(0, len(lines) - 1))
    content = json.loads(lines[number])
    places = [(content, key) for key in content]
    places += [(value, key) for value in content.values() if isinstance(value, dict) for key in value]
    where, key = data.draw(st.sampled_from(places))
    where[key] = data.draw(plain)
    lines[number] = json.dumps(content).encode()
    arrives_or_is_refused(zipped(sent[2] | {name: b"\n".join(lines) + b"\n"}), runs)


def test_the_classes_of_every_task_bound_its_predictions(sent, runs):
    """A run of sentences has two classes."""
    files = sent[2]
    config = json.dumps({"task": "cola", "pooling": "cls", "batch_size": 16})
    few = {name: files[name] for name in ("metrics.jsonl", "predictions.parquet")}
    status = '{"state": "stopped", "reason": ""}'
    assert len(CLASSES["cola"]) == 2
    told = refused(zipped(few | {"config.json": config, "status.json": status}), runs)
    assert "from 0 to 1 under 'label'" in told


def test_a_damaged_run_beside_it_is_no_hindrance(sent, runs):
    (runs / "bad").mkdir(parents=True)
    (runs / "bad" / "config.json").write_text("{")
    replace_json(runs / "bad" / "summary.json", {})
    assert arrival.arrive(sent[1]).state == "completed"
