"""Weights are compared with the network that the configuration tells of before they are read; few stay loaded."""

import os
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from poolviz.pooling.poolings import POOLINGS
from poolviz.runs import networks, store
from poolviz.runs.store import Run
from poolviz.training.config import RunConfig, default_config
from poolviz.training.models import PooledCNN

SIZE = 8
PLANE = torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def config_of(**changes):
    return default_config("digits", width=4, **changes)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a run's folder with weights, changed on the way."""
    monkeypatch.setattr(networks, "_LOADED", networks._Loaded())

    def make(name="a-run", config=None, change=lambda tensors: tensors):
        config = config or config_of()
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(config.to_json())
        torch.manual_seed(0)
        save_file(change(PooledCNN(config, SIZE, 10).state_dict()), folder / "best.safetensors")
        return Run(folder)

    return make


@pytest.mark.parametrize("name", [name for name, pooling in POOLINGS.items() if pooling.for_maps])
@pytest.mark.parametrize("depth", [1, 2])
def test_the_empty_network_has_the_tensors_of_a_real_one(name, depth):
    config = default_config("mnist", pooling=name, width=4, depth=depth)
    real = PooledCNN(config, 28, 10)
    assert networks._shapes(config) == {key: tuple(value.shape) for key, value in real.state_dict().items()}
    assert not list(real.buffers()), "what no file holds would stay empty"


def test_a_network_is_loaded_as_it_was(made):
    run = made()
    network = networks.load(run)
    real = PooledCNN(run.config, SIZE, 10).eval()
    real.load_state_dict(load_file(run.weights("best")))
    with torch.no_grad():
        assert torch.equal(networks.read(run, PLANE)[0], real(PLANE[None, None]).softmax(-1)[0])
    assert not network.training and not any(value.requires_grad for value in network.parameters())


FAULTS = {
    "a tensor less": lambda t: {name: value for name, value in t.items() if name != "head.3.bias"},
    "a tensor more": lambda t: t | {"more": torch.zeros(1)},
    "another shape": lambda t: t | {"head.3.bias": torch.zeros(11)},
    "another shape of as many numbers": lambda t: t | {"head.3.bias": torch.zeros(10, 1)},
    "whole numbers": lambda t: {name: value.int() for name, value in t.items()},
    "eight bits": lambda t: {name: value.to(torch.float8_e4m3fn) for name, value in t.items()},
    "no number": lambda t: t | {"head.3.bias": torch.full((10,), float("nan"))},
    "infinite": lambda t: t | {"head.3.bias": torch.full((10,), float("inf"))},
}


@pytest.mark.parametrize("case", FAULTS)
def test_weights_of_another_network_are_a_sentence(case, made):
    run = made(change=FAULTS[case])
    for use in (lambda: networks.read(run, PLANE)[0], lambda: networks.layer_map(run, PLANE, "conv1")):
        with pytest.raises(ValueError, match=r"The weights in a-run are damaged.*\.$"):
            use()


def test_a_network_without_room_for_its_poolings_is_a_sentence(made):
    run = made()
    (run.folder / "config.json").write_text(config_of(depth=2).to_json())
    with pytest.raises(ValueError, match="too small for these layers"):
        networks.load(run)


def test_a_large_network_is_neither_built_nor_read(made):
    """A gigabyte of numbers in a configuration of some bytes."""
    run = made()
    large = RunConfig(task="mnist", pooling="none", width=1024)
    (run.folder / "config.json").write_text(large.to_json())
    tracemalloc.start()
    with pytest.raises(ValueError, match="at most 50,000,000"):
        networks.load(run)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_weights_of_an_encoder_are_numbers_of_any_shape(tmp_path):
    config = default_config("cola")
    path = tmp_path / "best.safetensors"
    save_file({"classifier.bias": torch.zeros(2)}, path)
    networks.check_weights(path, config, path.name)
    save_file({"classifier.bias": torch.zeros(2, dtype=torch.int64)}, path)
    with pytest.raises(ValueError, match="no floating-point numbers"):
        networks.check_weights(path, config, path.name)


def test_a_file_that_changes_is_read_anew_and_a_file_that_goes_is_told(made):
    run = made()
    first = networks.load(run)
    assert networks.load(run) is first
    made(change=lambda tensors: {name: value + 1 for name, value in tensors.items()})
    os.utime(run.weights("best"), (1, 1))
    again = networks.load(run)
    assert again is not first and not torch.equal(again.head[3].bias, first.head[3].bias)
    assert len(networks._LOADED._known) == 1
    run.weights("best").unlink()
    with pytest.raises(ValueError, match="not here"):
        networks.load(run)


def test_another_configuration_of_the_same_file_is_no_hit(made):
    run = made()
    first = networks.load(run)
    (run.folder / "config.json").write_text(config_of(pooling="average").to_json())
    assert networks.load(run) is not first


def test_bytes_of_loaded_networks_are_bounded(made, monkeypatch):
    runs = [made(f"run-{number}") for number in range(4)]
    size = sum(4 * int(np.prod(shape)) for shape in networks._shapes(runs[0].config).values())
    monkeypatch.setattr(networks, "MOST_KEPT", 2 * size + 10)
    first, second, third, _ = (networks.load(run) for run in runs)
    assert len(networks._LOADED._known) == 2
    assert networks.load(runs[2]) is third
    assert networks.load(runs[1]) is not second and networks.load(runs[0]) is not first
    monkeypatch.setattr(networks, "MOST_KEPT", size // 2)
    assert networks.load(runs[3]) is not None and not networks._LOADED._known


def windows(x):
    """Cells (C, h, w, 4) of 2 x 2 windows of maps (C, H, W)."""
    return x.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3)


def proportional(x):
    """Zeiler and Fergus's expectation: sum of squares over sum, 0 where a window is empty."""
    return (windows(x) ** 2).sum(-1) / windows(x).sum(-1).clamp(min=1e-30)


TRUTH = {  # maps after pooling, by torch's own functions on maps before
    "max": lambda x: F.max_pool2d(x, 2),
    "average": lambda x: F.avg_pool2d(x, 2),
    "mixed": lambda x: (F.max_pool2d(x, 2) + F.avg_pool2d(x, 2)) / 2,
    "lp": lambda x: F.lp_pool2d(x, 2, 2),
    "stochastic": proportional,
    "softmax-stochastic": lambda x: (windows(x).softmax(-1) * windows(x)).sum(-1),
    "none": lambda x: x,
}


@pytest.mark.parametrize("name", [f"mnist-{pooling}-s0" for pooling in ("max", "average", "stochastic")])
def test_a_shipped_network_reads_a_one(name):
    one = torch.zeros(28, 28)
    one[4:24, 13:16] = 1
    assert int(networks.read(Run(store.SHIPPED / name), one)[0].argmax()) == 1


def test_what_a_shipped_networks_pooling_leaves_over_is_torchs():
    runs = [run for run in networks.at_hand() if run.folder.parent == store.SHIPPED]
    assert {run.config.pooling for run in runs} == set(TRUTH)
    for run in runs:
        side = networks.IMAGE_SIDES.get(run.config.task, 28)
        plane = torch.rand(side, side, generator=torch.Generator().manual_seed(0))
        _, before, after = networks.read(run, plane)
        torch.testing.assert_close(after, TRUTH[run.config.pooling](before))


def test_the_shipped_networks_answer():
    runs = [run for run in networks.at_hand() if run.folder.parent == store.SHIPPED]
    assert len(runs) >= 7
    for run in runs:
        side = networks.IMAGE_SIDES.get(run.config.task, 28)
        plane = torch.rand(side, side, generator=torch.Generator().manual_seed(0))
        assert float(networks.read(run, plane)[0].sum()) == pytest.approx(1, abs=1e-5)
