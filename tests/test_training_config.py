"""A run's configuration and what is checked before it starts: every bad value, layer and file is one sentence."""

import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolviz.inputs.picture import InputError
from poolviz.pooling import POOLINGS
from poolviz.training.check import check
from poolviz.training.config import FREEZES, PRECISIONS, SCHEDULES, TASKS, TEXT_TASKS, RunConfig, default_config

NAMES = [field.name for field in fields(RunConfig)]
OTHER_KIND = {
    int: [True, 1.5, "3", None, []],
    float: [False, "0.1", None, {}],
    str: [1, None, True, ["max"]],
    bool: [1],
}


def sentence(call, *arguments, kind=ValueError) -> str:
    """The message of the error that a call raises, which a page can show as it is."""
    with pytest.raises(kind) as caught:
        call(*arguments)
    text = str(caught.value)
    assert text.isprintable() and 20 < len(text) < 500
    return text


def from_json(**values) -> RunConfig:
    return RunConfig.from_json(json.dumps(values))


# ---- values ----

BAD_VALUES = {
    "task": ["", "MNIST", "cifar", "digits "],
    "schedule": ["", "cosine"],
    "precision": ["fp8", "yes", "float16"],
    "freeze": ["all", "Encoder"],
    "seed": [-1, 2**31, 10**4000],
    "epochs": [0, -1, 1001],
    "batch_size": [0, -32, 65_537],
    "patience": [-1],
    "train_limit": [-1],
    "eval_limit": [-5],
    "max_steps": [-1],
    "kernel_size": [0, 9],
    "stride": [0, -2, 9],
    "width": [0, 1025],
    "depth": [0, 3],
    "learning_rate": [0, 0.0, -1e-3, 10.1, math.nan, math.inf, -math.inf, 10**400],
    "weight_decay": [-0.1, math.nan, math.inf],
    "clip": [-1.0, math.nan, math.inf],
    "max_seconds": [-1.0, math.inf, math.nan],
    "temperature": [0.0, -1.0, math.nan, math.inf, 1e-31],
    "dropout": [-0.1, 0.96, 1.0, math.nan],
    "head_dropout": [-0.1, 1.0, math.inf],
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_bad_value_is_one_sentence_that_names_its_field(name):
    for value in BAD_VALUES[name]:
        assert name in sentence(lambda value=value: from_json(**{name: value})), value


def test_a_value_of_another_kind_is_one_sentence_that_names_its_field():
    for field in fields(RunConfig):
        for value in OTHER_KIND[type(field.default)]:
            assert field.name in sentence(lambda name=field.name, value=value: from_json(**{name: value})), value


def test_a_whole_number_stands_for_a_real_one_and_is_kept_as_such():
    config = from_json(learning_rate=1, clip=0)
    assert type(config.learning_rate) is float and type(config.clip) is float
    assert config == RunConfig(learning_rate=1.0)


@pytest.mark.parametrize("name", ["lr", "Task", "task ", "", "__class__", "a\nb", "ü" * 10_000], ids=range(7))
def test_an_unknown_field_is_one_sentence(name):
    sentence(lambda: from_json(**{name: 1}))


@pytest.mark.parametrize("name", ["pooling", "encoder"])
def test_a_name_that_cannot_be_one_is_a_short_sentence(name):
    for value in ("", "x\n" * 5000, "ma\x00x", "../" * 200):
        assert name in sentence(lambda value=value: check(replace(default_config("minimal-pairs"), **{name: value})))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '"task"', "\ufeff{}", '{"seed": 0x1}', '{"task": "digits"']
)
def test_what_is_no_json_object_is_one_sentence(text):
    assert "configuration" in sentence(RunConfig.from_json, text)


@pytest.mark.parametrize("depth", [10, 500, 900, 990, 1000, 1500, 3000, 20_000, 1_000_000])
def test_deep_json_is_one_sentence(depth):
    sentence(RunConfig.from_json, '{"epochs": ' + "[" * depth + "]" * depth + "}")
    sentence(RunConfig.from_json, '{"epochs": ' * depth + "1" + "}" * depth)


@pytest.mark.parametrize("changes", [{"epochs": True}, {"epochs": "3"}, {"epochs": 2.5}, {"lr": 0.1}, {"seed": None}])
def test_defaults_with_changes_are_checked_as_a_file_is(changes):
    assert next(iter(changes)) in sentence(lambda: default_config("digits", **changes))


def test_an_unknown_task_has_no_defaults():
    assert "mnist" in sentence(default_config, "imagenet")


@pytest.mark.parametrize("task", TASKS)
def test_defaults_pass_their_own_check_and_survive_json(task):
    config = default_config(task)
    assert config.task == task and config.is_text == (task in TEXT_TASKS)
    assert RunConfig.from_json(config.to_json()) == config
    assert RunConfig.from_dict({}) == RunConfig()


VALID = st.builds(
    RunConfig,
    task=st.sampled_from(TASKS),
    pooling=st.sampled_from(sorted(POOLINGS)),
    seed=st.integers(0, 2**31 - 1),
    epochs=st.integers(1, 1000),
    batch_size=st.integers(1, 65_536),
    learning_rate=st.floats(1e-300, 10.0),
    weight_decay=st.floats(0.0, 10.0),
    schedule=st.sampled_from(SCHEDULES),
    max_seconds=st.floats(0.0, 1e7),
    precision=st.sampled_from(PRECISIONS),
    temperature=st.floats(1e-30, 1e30),
    dropout=st.floats(0.0, 0.95),
    width=st.integers(1, 1024),
    linear_tanh=st.booleans(),
    freeze=st.sampled_from(FREEZES),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2))


@given(VALID)
def test_every_valid_configuration_survives_json_to_the_last_bit(config):
    config.check()
    assert asdict(RunConfig.from_json(config.to_json())) == asdict(config)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), JSON, max_size=4))
def test_any_json_object_is_a_checked_configuration_or_one_sentence(given_values):
    text = json.dumps(given_values)
    try:
        config = RunConfig.from_json(text)
    except ValueError as error:
        assert str(error).isprintable() and len(str(error)) < 500
        return
    assert set(given_values) <= set(NAMES)
    for field in fields(RunConfig):
        assert type(getattr(config, field.name)) is type(field.default)


# ---- layers and poolings ----


def stages(size: int, depth: int, kernel: int, stride: int) -> int:
    """Side of the last map by the arithmetic of report B's layers; below 1 where nothing is left."""
    sides = [size - 2] if depth == 1 else [(size - 2 - kernel) // stride + 1]
    if sides[0] < 1 or (depth == 2 and size - 2 < kernel):
        return 0
    sides.append(sides[0] - 2)
    return (sides[1] - kernel) // stride + 1 if sides[1] >= kernel else 0


def test_layers_that_do_not_fit_are_refused_and_no_others():
    refused = 0
    for depth in (1, 2):
        for kernel in range(1, 9):
            for stride in (1, 2, 3, 8):
                config = default_config("digits", depth=depth, kernel_size=kernel, stride=stride)
                if stages(8, depth, kernel, stride) >= 1:
                    check(config)
                    continue
                refused += 1
                assert "8 x 8" in sentence(check, config)
    assert refused > 20
    assert stages(8, 2, 2, 2) == 0 and stages(8, 1, 2, 2) == 2
    check(default_config("digits", pooling="none", kernel_size=8))  # its kernel means nothing


def test_a_task_takes_the_poolings_of_its_kind_and_no_others():
    for name, pooling in POOLINGS.items():
        for task, takes in (("digits", pooling.for_maps), ("minimal-pairs", pooling.for_sequences)):
            config = default_config(task, pooling=name)
            if takes:
                check(config)
            else:
                assert name in sentence(check, config)
    assert "softpool" in sentence(check, default_config("digits", pooling="cls"))
    assert "attention" in sentence(check, default_config("minimal-pairs", pooling="median"))
    sentence(check, default_config("digits", pooling="Max"))


# ---- data ----

IDX = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")}
IDX["test"] = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of ten pictures a split and a few sentences, and a home without a cache."""
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    raw, cola = tmp_path / "data" / "MNIST" / "raw", tmp_path / "data" / "cola"
    raw.mkdir(parents=True)
    cola.mkdir()
    for images, labels in IDX.values():
        (raw / images).write_bytes(np.array([2051, 10, 28, 28], ">i4").tobytes() + bytes(7840))
        (raw / labels).write_bytes(np.array([2049, 10], ">i4").tobytes() + bytes(range(10)))
    for name in ("in_domain_train", "in_domain_dev", "out_of_domain_dev"):
        (cola / f"{name}.tsv").write_text("gj04\t1\t\tThey sleep.\ngj04\t0\t*\tThey sleeps.\n", encoding="utf-8")
    return tmp_path / "data"


def refused(data: Path, task: str) -> str:
    """The sentence of `check`, which leaves every file as it was."""
    before = listing(data.parent)
    text = sentence(check, default_config(task), kind=InputError)
    assert text.endswith(".") and listing(data.parent) == before
    return text


def test_good_data_pass(data):
    before = listing(data.parent)
    check(default_config("mnist"))
    check(default_config("cola"))
    assert listing(data.parent) == before


@pytest.mark.parametrize("split", IDX)
@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("length", [0, 3, 4, 7, 15, -1])
def test_a_truncated_idx_file_is_one_sentence(data, split, part, length):
    path = data / "MNIST" / "raw" / IDX[split][part]
    path.write_bytes(path.read_bytes()[:length])
    text = refused(data, "mnist")
    assert split in text and str(path.parent) in text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t10k-images-idx3-ubyte", b"\x1f\x8b\x08\x00" + bytes(8000)),  # still packed
        ("train-images-idx3-ubyte", np.array([2049, 7840], ">i4").tobytes() + bytes(7840)),  # a labels' magic
        ("train-images-idx3-ubyte", np.array([2051, 10, 14, 56], ">i4").tobytes() + bytes(7840)),
        ("train-labels-idx1-ubyte", np.array([2049, 9], ">i4").tobytes() + bytes(9)),  # one label too few
        ("train-labels-idx1-ubyte", np.array([2049, 10], ">i4").tobytes() + bytes([200] * 10)),  # no such class
        ("t10k-labels-idx1-ubyte", b"<html>not found</html>"),
    ],
)
def test_another_file_in_an_idx_files_place_is_one_sentence(data, name, content):
    (data / "MNIST" / "raw" / name).write_bytes(content)
    text = refused(data, "mnist")
    assert str(data / "MNIST" / "raw") in text and ("train" if name.startswith("train") else "test") in text


def test_a_missing_file_is_named(data):
    (data / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    assert "t10k-labels-idx1-ubyte" in refused(data, "mnist")
    assert str(data / "FashionMNIST") in refused(data, "fashion-mnist")
    (data / "cola" / "out_of_domain_dev.tsv").unlink()
    assert "out_of_domain_dev.tsv" in refused(data, "cola")


def test_a_missing_folder_is_named(data, monkeypatch):
    monkeypatch.setenv("POOLVIZ_DATA", str(data / "nowhere"))
    for task in ("mnist", "fashion-mnist", "cola"):
        assert str(data / "nowhere") in refused(data, task)


@pytest.mark.parametrize("name", ["in_domain_train.tsv", "in_domain_dev.tsv", "out_of_domain_dev.tsv"])
@pytest.mark.parametrize(
    "line", [b"They sleep.", b"gj04\t1\tThey sleep.", b"gj04\tyes\t\tThey sleep.", b"gj04\t1\t\t\xff."]
)
def test_a_damaged_line_of_a_tsv_is_named(data, name, line):
    path = data / "cola" / name
    path.write_bytes(path.read_bytes() + line + b"\n")
    text = refused(data, "cola")
    assert str(path) in text and "3" in text
