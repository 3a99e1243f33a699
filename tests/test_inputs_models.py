"""Layers of torchvision models by the real path: a weights file in a temporary TORCH_HOME, no network."""

import threading
import urllib.request
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from poolviz.inputs import models
from poolviz.inputs.images import InputError, Picture, digit, photograph

torch.set_num_threads(1)
FILE = "hub/checkpoints/squeezenet1_1-b8a52dc0.pth"
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])  # ImageNet's


@pytest.fixture(scope="module")
def reference():
    """A SqueezeNet with random weights, and the folder that holds them as torch.hub would."""
    from torchvision.models import squeezenet1_1

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return squeezenet1_1(weights=None).eval()


@pytest.fixture
def home(monkeypatch, tmp_path, reference) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    (tmp_path / FILE).parent.mkdir(parents=True)
    torch.save(reference.state_dict(), tmp_path / FILE)
    return tmp_path


@pytest.fixture
def refused(monkeypatch):
    """A network that refuses at once: a proxy on a closed port."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(urllib.request, "_opener", None)  # else proxies read earlier in this process stay in use


def test_models_are_torchvisions():
    from torchvision.models import list_models

    assert len(set(models.MODELS)) == len(models.MODELS) and set(models.MODELS) <= set(list_models())


def test_weights_at_hand(home):
    assert models.weights_at_hand() == ("squeezenet1_1",)
    (home / FILE).rename(home / "hub/checkpoints/other.pth")
    assert models.weights_at_hand() == ()


def test_nothing_at_hand_in_an_empty_home(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    assert models.weights_at_hand() == ()
    with pytest.raises(InputError, match=r"resnet18-f37072fd.pth is missing\): download them .* or copy https://.*\.$"):
        models.model_map(digit(0), "resnet18", "layer1")


@pytest.mark.parametrize("name", models.MODELS)
def test_layers_are_maps_with_their_channels_first(name):
    """Each named module gives (1, C, H, W) for another tall picture too."""
    from torchvision.models import get_model

    names = models.layers(name)
    assert len(names) == len(set(names)) > 5
    with torch.device("meta"):
        network = get_model(name, weights=None).eval()
        shapes: dict[str, torch.Size] = {}
        for layer in names:
            network.get_submodule(layer).register_forward_hook(
                lambda module, inputs, out, layer=layer: shapes.__setitem__(layer, out.shape)
            )
        network(torch.empty(1, 3, 384, 256))
    assert set(shapes) == set(names)
    for layer, (_, _, height, width) in shapes.items():
        assert height > width or layer == "avgpool", (layer, height, width)


def test_layers_come_in_order_of_execution():
    names = models.layers("resnet18")
    assert names[:4] == ("conv1", "bn1", "relu", "maxpool") and names[-1] == "layer4"
    assert (
        names.index("layer1.0.conv1") < names.index("layer1.0") < names.index("layer1.1.conv1") < names.index("layer1")
    )
    assert "avgpool" not in names and "fc" not in names
    assert not [layer for layer in models.layers("convnext_tiny") if layer.endswith((".block.1", ".block.4"))]


@pytest.mark.parametrize("layer, depth", [("features.0", 1), ("features.1", 2), ("features.2", 3), ("features", 13)])
def test_model_map_equals_torchvision_run_by_hand(home, reference, layer, depth):
    picture = photograph("china", 80)
    batch = ((picture.pixels - MEAN[:, None, None]) / STD[:, None, None])[None]
    with torch.no_grad():
        truth = reference.features[:depth](batch)[0]
        if layer == "features.0":  # before the in-place ReLU that follows
            truth = F.conv2d(batch, reference.features[0].weight, reference.features[0].bias, stride=2)[0]
            assert truth.min() < 0
    result = models.model_map(picture, "squeezenet1_1", layer)
    assert torch.allclose(result.values, truth, atol=1e-5) and result.values.dtype == torch.float32
    assert result.channels[:2] == ("channel 0", "channel 1") and len(result.channels) == len(truth)
    assert not result.values.is_inference() and not result.values.requires_grad


@pytest.mark.parametrize(
    "shape, size",
    [((1, 8, 8), (64, 64)), ((3, 112, 84), (112, 84)), ((1, 28, 56), (64, 128)), ((3, 300, 150), (224, 112))]
    + [((1, 4, 100), (64, 224)), ((3, 500, 400), (224, 179))],
)
def test_pictures_are_scaled_and_normalised(shape, size):
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    batch = models._network_input(Picture(pixels, ()), MEAN.tolist(), STD.tolist())
    assert batch.shape == (1, 3, *size)
    restored = batch[0] * STD[:, None, None] + MEAN[:, None, None]
    assert restored.min() > -0.01 and restored.max() < 1.01
    assert restored.mean() == pytest.approx(float(pixels.mean()), abs=0.05)


def test_values_beyond_one_are_stretched():
    pixels = digit(0).pixels
    batch = models._network_input(digit(0), [0, 0, 0], [1, 1, 1])
    truth = F.interpolate(pixels[None] / 15, size=(64, 64), mode="bilinear", align_corners=False)  # its largest is 15
    assert torch.allclose(batch[0, 0], truth[0, 0], atol=1e-5)
    flat = models._network_input(Picture(torch.full((1, 8, 8), 9.0), ()), [0, 0, 0], [1, 1, 1])
    assert torch.isfinite(flat).all()


def test_unknown_names(home):
    with pytest.raises(InputError, match="choose one of squeezenet1_1, "):
        models.layers("../../etc/passwd")
    with pytest.raises(InputError, match="has no layer 'features.99' that gives a map: try features"):
        models.model_map(digit(0), "squeezenet1_1", "features.99")
    with pytest.raises(InputError, match=r"one or three channels.*\(2, 8, 8\)"):
        models.model_map(Picture(torch.zeros(2, 8, 8), ()), "squeezenet1_1", "features.0")


@pytest.mark.parametrize("content", [b"", b"<html>", "cut", {"a": torch.zeros(1)}, [1, 2], 3], ids=str)
def test_damaged_weights(home, content):
    if isinstance(content, bytes):
        (home / FILE).write_bytes(content)
    elif content == "cut":
        (home / FILE).write_bytes((home / FILE).read_bytes()[:-1000])
    else:
        torch.save(content, home / FILE)
    with pytest.raises(InputError, match="fetch it again"):
        models.model_map(digit(0), "squeezenet1_1", "features.0")


def test_a_weights_file_cannot_run_code(home):
    class Evil:
        def __reduce__(self):
            return Path.touch, (home / "ran",)

    torch.save({"a": Evil()}, home / FILE)
    with pytest.raises(InputError, match="damaged or no plain weights file"):
        models.model_map(digit(0), "squeezenet1_1", "features.0")
    assert not (home / "ran").exists()


def test_old_densenet_names_are_read():
    old = {"features.denseblock1.denselayer2.norm.1.weight": 1, "features.conv0.weight": 2}
    assert list(models._modern_names(old)) == [
        "features.denseblock1.denselayer2.norm1.weight",
        "features.conv0.weight",
    ]


def test_sessions_at_the_same_time_do_not_mix(home):
    pictures = [digit(i) for i in range(6)]
    alone = [models.model_map(picture, "squeezenet1_1", "features.2").values for picture in pictures]
    together: list = [None] * 6

    def work(i: int) -> None:
        together[i] = models.model_map(pictures[i], "squeezenet1_1", "features.2").values

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_download_of_what_is_there(home, refused):
    assert models.download("squeezenet1_1") == home / FILE


def test_download_without_a_network(home, refused):
    with pytest.raises(
        InputError, match="alexnet could not be downloaded from https://.*: try again with one, or copy"
    ):
        models.download("alexnet")
    assert not list((home / "hub/checkpoints").glob("alexnet*"))
