"""Layers of trained networks against a plain torch module made from the same file; what does not fit."""

import json
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy.ndimage import center_of_mass
from torch import nn

from poolviz.inputs import images
from poolviz.pooling import POOLINGS, Pool2d, pool2d
from poolviz.runs import store
from poolviz.runs.networks import IMAGE_SIDES, LAYERS, LEAST_SIDE, as_digit, at_hand, layer_map, read
from poolviz.runs.store import Run
from poolviz.training.config import CLASSES, default_config
from poolviz.training.models import build_model

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "runs"


def trained(root, name="net", dtype=torch.float32, task="mnist", **settings) -> Run:
    """A run with weights, as a process that trains leaves them."""
    config = default_config(task, **{"width": 4} | settings)
    run = Run(root / name)
    run.folder.mkdir(parents=True)
    (run.folder / "config.json").write_text(config.to_json())
    model = build_model(config, len(CLASSES[task]), IMAGE_SIDES.get(task, 28))
    save_file({name: value.to(dtype).contiguous() for name, value in model.state_dict().items()}, run.weights("best"))
    return run


def picture(height=28, width=28) -> torch.Tensor:
    return torch.rand(height, width, generator=torch.Generator().manual_seed(1))


def plain(run: Run, poolings: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    """The layers' outputs for `picture()` by torch's own functions, straight from the file."""
    weights = {name: value.float() for name, value in load_file(run.weights("best")).items()}
    convolutions = sorted({name.rpartition(".")[0] for name in weights if name.startswith("features.")})
    assert len(convolutions) == 2
    first, second = ({part: weights[f"{name}.{part}"] for part in ("weight", "bias")} for name in convolutions)
    found = {"conv1": F.relu(F.conv2d(picture()[None, None], **first))}
    between = poolings.get("between", nn.Identity())(found["conv1"])
    found["conv2"] = F.relu(F.conv2d(between, **second))
    found["pooled"] = poolings["last"](found["conv2"])
    return {name: value[0] for name, value in found.items()}


@pytest.mark.parametrize("layer", list(LAYERS))
@pytest.mark.parametrize(
    ("settings", "poolings"),
    [
        ({"pooling": "max"}, {"last": nn.MaxPool2d(2)}),
        ({"pooling": "average"}, {"last": nn.AvgPool2d(2)}),
        ({"pooling": "none"}, {"last": nn.Identity()}),
        ({"pooling": "max", "depth": 2}, {"between": nn.MaxPool2d(2), "last": nn.MaxPool2d(2)}),
        ({"pooling": "average", "kernel_size": 3, "stride": 1}, {"last": nn.AvgPool2d(3, 1)}),
        ({"pooling": "lp"}, {"last": nn.LPPool2d(2, 2)}),
    ],
)
def test_a_layer_is_that_of_a_plain_torch_network(runs, settings, poolings, layer):
    run = trained(runs, **settings)
    found, wanted = layer_map(run, picture(), layer), plain(run, poolings)[layer]
    assert found.shape == wanted.shape and not found.requires_grad
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("pooling", [name for name, pooling in POOLINGS.items() if pooling.for_maps])
def test_a_reading_is_what_hooks_see_in_the_networks_own_forward(runs, pooling, depth):
    run = trained(runs, pooling=pooling, depth=depth)
    model = build_model(run.config, 10, 28).eval()
    model.load_state_dict(load_file(run.weights("best")))
    seen = {}
    *_, last = (part for part in model.modules() if isinstance(part, Pool2d))
    last.register_forward_hook(lambda _, given, made: seen.update(before=given[0][0], after=made[0]))
    with torch.no_grad():
        logits = model(picture()[None, None])[0]
    probabilities, before, after = read(run, picture())
    assert torch.equal(before, seen["before"]) and torch.equal(after, seen["after"])
    assert torch.equal(probabilities, logits.softmax(0))
    assert before.std() > 0 and not before.requires_grad
    assert torch.equal(after, pool2d(before[None], pooling, kernel_size=2, training=False)[0])


@pytest.mark.parametrize("place", [(0, 0), (3, 9), (20, 14)])
@pytest.mark.parametrize("size", [(8, 8), (8, 3), (4, 14)])
def test_any_picture_takes_the_data_sets_form_wherever_its_ink_is(size, place):
    """MNIST: within 20 x 20, centre of mass in the middle; the 8 x 8 digits fill their square."""
    ink = torch.rand(size, generator=torch.Generator().manual_seed(2)) / 2 + 0.5
    plane = torch.zeros(30, 40)
    plane[place[0] : place[0] + size[0], place[1] : place[1] + size[1]] = ink
    digit = as_digit(plane, 28)
    rows, columns = (digit > 0).any(1).nonzero(), (digit > 0).any(0).nonzero()
    assert max(rows[-1] - rows[0], columns[-1] - columns[0]) == 19
    assert np.abs(np.array(center_of_mass(digit.numpy())) - 13.5).max() <= 0.5
    small = as_digit(plane, 8)
    assert small.shape == (8, 8) and (small > 0).sum() >= 8
    assert torch.equal(digit, as_digit(ink, 28))


def test_a_picture_without_ink_is_a_sentence():
    with pytest.raises(ValueError, match="^There is nothing bright to read in this picture: .*[.]$"):
        as_digit(torch.full((28, 28), 0.05), 28)


def test_halves_are_read_as_whole_numbers(runs):
    run = trained(runs, dtype=torch.float16)
    found = layer_map(run, picture(), "pooled")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain(run, {"last": nn.MaxPool2d(2)})["pooled"])


@pytest.mark.parametrize("pooling", [name for name, pooling in POOLINGS.items() if pooling.for_maps])
def test_every_pooling_is_in_eval_mode_and_repeats_itself(runs, pooling):
    run = trained(runs, pooling=pooling)
    one, two = (layer_map(run, picture(), "pooled") for _ in range(2))
    assert torch.equal(one, two) and torch.isfinite(one).all()


@pytest.mark.parametrize("task", ["digits", "mnist", "fashion-mnist"])
@pytest.mark.parametrize("size", [(LEAST_SIDE, LEAST_SIDE), (8, 40), (57, 33)])
def test_a_picture_of_any_size_goes_through(runs, task, size):
    run = trained(runs, task=task)
    height, width = size
    assert layer_map(run, picture(*size), "conv1").shape == (4, height - 2, width - 2)
    assert layer_map(run, picture(*size), "conv2").shape == (8, height - 4, width - 4)
    assert layer_map(run, picture(*size), "pooled").shape == (8, (height - 4) // 2, (width - 4) // 2)


@pytest.mark.parametrize("size", [(7, 28), (28, 7), (1, 1), (0, 28)])
def test_a_picture_that_is_too_small_is_one_sentence(runs, size):
    with pytest.raises(ValueError, match="^A picture of at least 8 x 8 cells is needed for this network.$"):
        layer_map(trained(runs), torch.zeros(size), "conv1")


@pytest.mark.parametrize("layer", ["conv2", "pooled"])
@pytest.mark.parametrize("settings", [{"depth": 2, "kernel_size": 4, "stride": 4}, {"depth": 2, "kernel_size": 5}])
def test_a_picture_that_a_large_kernel_shrinks_to_nothing_is_one_sentence(runs, settings, layer):
    run = trained(runs, pooling="max", **settings)
    with pytest.raises(ValueError, match="^The picture is too small for this network: .*[.]$"):
        layer_map(run, picture(8, 8), layer)
    assert layer_map(run, picture(8, 8), "conv1").shape == (4, 6, 6)
    assert layer_map(run, picture(), layer).numel()


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def other_header(path):
    data = path.read_bytes()
    path.write_bytes(b"\xff" * 8 + data[8:])


def other_shape(path):
    save_file({name: value[:1].contiguous() for name, value in load_file(path).items()}, path)


def lacking(path):
    save_file({name: value for name, value in load_file(path).items() if "bias" not in name}, path)


def one_more(path):
    save_file(load_file(path) | {"more": torch.zeros(1)}, path)


@pytest.mark.parametrize(
    "damage", [cut, other_header, other_shape, lacking, one_more, lambda path: path.write_bytes(b"")]
)
def test_a_damaged_file_is_one_sentence(runs, damage):
    run = trained(runs)
    damage(run.weights("best"))
    with pytest.raises(ValueError, match="^The weights in net are damaged(, or of another network)?\\.$"):
        layer_map(run, picture(), "conv1")


def test_weights_that_are_gone_are_one_sentence_and_new_ones_are_read(runs):
    run = trained(runs)
    before = layer_map(run, picture(), "conv1")
    save_file({name: value + 1 for name, value in load_file(run.weights("best")).items()}, run.weights("best"))
    os.utime(run.weights("best"), (1, 1))
    assert not torch.equal(layer_map(run, picture(), "conv1"), before)
    run.weights("best").unlink()
    with pytest.raises(ValueError, match="^The weights of net are not here [(]any more[)][.]$"):
        layer_map(run, picture(), "conv1")


def test_a_pooling_that_is_unknown_here_is_a_sentence(runs):
    run = trained(runs)
    config = json.loads((run.folder / "config.json").read_text()) | {"pooling": "best"}
    (run.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="best"):
        layer_map(run, picture(), "conv1")


def test_networks_at_hand_are_those_of_images_with_weights_by_task_pooling_and_seed(runs, tmp_path):
    trained(runs, "b", pooling="max")
    trained(runs, "a", pooling="average", seed=1)
    trained(tmp_path / "shipped", "z", pooling="max")
    without = trained(runs, "without")
    without.weights("best").unlink()
    damaged = trained(runs, "damaged")
    (damaged.folder / "config.json").write_text("{")
    text = Run(runs / "text")
    text.folder.mkdir()
    (text.folder / "config.json").write_text(default_config("cola").to_json())
    text.weights("best").write_bytes(b"x")
    assert [run.name for run in at_hand()] == ["a", "b", "z"]


def test_a_digit_goes_through_a_network_of_digits(runs):
    run = trained(runs, task="digits")
    plane = images.digit(3).pixels[0].float()
    assert layer_map(run, plane, "pooled").shape == (8, 2, 2)
