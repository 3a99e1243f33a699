"""The fuzzers' targets for a moment each, what they have found so far, and that they would see a fault."""

import json
import random
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolviz.inputs.picture import InputError
from poolviz.runs import arrival, store
from tests.fuzz import mutate, targets
from tests.fuzz.targets import TARGETS, at_home

LONGEST = 4  # changes of one input


@pytest.fixture
def home(tmp_path):
    with at_home(tmp_path):
        yield tmp_path


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read_and_not_refused(name, home, monkeypatch):
    monkeypatch.setattr(targets, "told", lambda error, **_: pytest.fail(str(error)))
    seeds = TARGETS[name].seeds()
    for seed in seeds:
        TARGETS[name].run(seed, home)
        assert len(seed) <= TARGETS[name].longest
    assert seeds


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chance=st.integers(0, 2**32), times=st.integers(1, LONGEST))
def test_any_change_is_read_or_refused_in_a_sentence(name, home, chance, times):
    source, target = random.Random(chance), TARGETS[name]
    data = source.choice(target.seeds())
    for _ in range(times):
        data = target.change(data, source, mutate.plain_grain(source))
    target.run(data, home)


# ---- what was found ----


def running(**status):
    """A run's folder, as if it ran."""
    said = json.dumps({"state": "running", "host": "another", "pid": 7} | status).encode()
    return mutate.zipped(mutate.unzipped(targets.folder_seeds()[0]) | {"status.json": said})


def lesson(old, new):
    """A shipped lesson with another text in it."""
    seed = targets.lesson_seeds()[1].decode()
    assert old in seed
    return seed.replace(old, new, 1).encode()


FOUND = {
    "a heartbeat beyond floats": ("folders", running(heartbeat=10**400)),
    "a heartbeat below floats": ("folders", running(heartbeat=-(10**400))),
    "a control character in a bad value of a link": ("links", b"train?axis=ep%01ch"),
    "a lesson with a long number": ("lessons", lesson("minutes = ", f"minutes = {'9' * 5000}")),
    "a lesson with a vast number": ("lessons", lesson("minutes = ", f"minutes = 0x{'f' * 4000} # ")),
    "a lesson with a vast tolerance": ("lessons", lesson("tolerance = ", f"tolerance = 0x{'f' * 400} # ")),
    "a lesson with many brackets": ("lessons", lesson("minutes = ", f"minutes = {'[' * 3000} # ")),
    "a lesson with a kind over two lines": ("lessons", lesson('kind = "', 'kind = "a\\nb')),
    "a lesson with a page of 3,000 letters": ("lessons", lesson('show = "', f'show = "{"x" * 3000}')),
    "a sign that turns the text of a notice": ("links", b"train?axis=%E2%80%AEep"),
}


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found(case, home):
    name, data = FOUND[case]
    TARGETS[name].run(data, home)


# ---- faults that must be seen ----


def torn(error):
    def reader(*_, **__):
        raise error

    return reader


@pytest.mark.parametrize(
    "error",
    [
        KeyError("config.json"),
        RecursionError("too deep"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ValueError("Two lines.\nOf a message."),
        ValueError("\x1b[2JA sign that steers."),
        ValueError("invalid literal for int() with base 10: 'x'."),
        ValueError(""),
        ValueError("Long. " * 1000),
    ],
    ids=lambda error: repr(error)[:30],
)
def test_an_exception_or_a_bad_sentence_is_seen(error, home, monkeypatch):
    monkeypatch.setattr(arrival, "arrive", torn(error))
    with pytest.raises((AssertionError, type(error))) as caught:
        targets.arrive(b"", home)
    assert type(caught.value) is not ValueError


def test_a_plain_refusal_is_none(home, monkeypatch):
    monkeypatch.setattr(arrival, "arrive", torn(ValueError("The zip holds no run.")))
    targets.arrive(b"", home)
    monkeypatch.setattr(targets.uploads, "upload", torn(InputError("This is no picture.")))
    targets.upload(b"", home)


def test_a_file_that_stays_behind_is_seen(home, monkeypatch):
    def untidy(packed):
        (store.runs_folder() / ".arriving-x").mkdir(parents=True)
        raise ValueError("The zip holds no run.")

    monkeypatch.setattr(arrival, "arrive", untidy)
    with pytest.raises(AssertionError):
        targets.arrive(b"", home)


# ---- changes reach what stands behind a container ----


@pytest.mark.parametrize("kind", ["config.json", "metrics.jsonl", "predictions.parquet", "best.safetensors"])
def test_files_within_a_zip_are_changed_and_the_zip_stays_whole(kind):
    seed = targets.run_seeds()[0]
    before, whole, changed = mutate.unzipped(seed), 0, 0
    for chance in range(900):
        source = random.Random(chance)
        after = mutate.unzipped(mutate.change_zip(seed, source, mutate.plain_grain(source)))
        whole += after.keys() == before.keys()
        changed += kind in after and after[kind] != before[kind]
    assert whole > 450 and changed > 8


def test_a_changed_chunk_of_a_png_has_its_checksum():
    seed, right = targets.picture_seeds()[0], 0
    for chance in range(100):
        source = random.Random(chance)
        data = mutate.change_picture(seed, source, mutate.plain_grain(source))
        chunks = list(mutate._chunks(data))
        at = 8 + sum(12 + len(content) for _, content in chunks[:1])
        kind, content = chunks[0]
        right += data != seed and data[at - 4 : at] == zlib.crc32(kind + content).to_bytes(4, "big")
    assert seed.startswith(b"\x89PNG") and right > 60
