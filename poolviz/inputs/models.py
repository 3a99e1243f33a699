"""Feature maps from the layers of torchvision's image classifiers, for the weights that are at hand.

Weights are looked for in torch.hub's checkpoint folder ($TORCH_HOME/hub/checkpoints) under torchvision's own
file names, and read with weights_only=True: no file can run code. torchvision is imported where it is needed;
asking what is at hand costs nothing on a machine that has no checkpoints.

What this module does not know: how the picture was made, other filters (features.py), training, pooling,
pages.
"""

from __future__ import annotations

import difflib
import functools
import re
import threading
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError  # what torch.load raises on a damaged file; nothing is unpickled here

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolviz.inputs.features import FeatureMap
from poolviz.inputs.picture import InputError, Picture

# classifiers whose layers are plain (N, C, H, W) maps, the smallest download first
MODELS = (
    "squeezenet1_1",
    "shufflenet_v2_x1_0",
    "mobilenet_v3_small",
    "mobilenet_v2",
    "efficientnet_b0",
    "densenet121",
    "resnet18",
    "resnet50",
    "convnext_tiny",
    "alexnet",
    "vgg11",
)

# pixels given to a network: below, deep layers shrink to one cell; above, a pass is slow
LEAST_SIDE, MOST_SIDE = 64, 224

# A loaded network is shared by all sessions, and a hook sees every pass through it: one pass at a time.
_ONE_PASS = threading.Lock()


def _weights(model_name: str):
    """The default weights record, or InputError for a model that is not in MODELS."""
    if model_name not in MODELS:
        raise InputError(f"There is no model {str(model_name)[:60]!r}: choose one of {', '.join(MODELS)}.")
    from torchvision.models import get_model_weights

    return get_model_weights(model_name).DEFAULT


def _checkpoints() -> Path:
    return Path(torch.hub.get_dir(), "checkpoints")


def _weights_file(model_name: str) -> Path:
    return _checkpoints() / _weights(model_name).url.rsplit("/", 1)[-1]


def weights_at_hand() -> tuple[str, ...]:
    """Those of MODELS, in that order, whose default weights lie in torch.hub's checkpoint folder."""
    folder = _checkpoints()
    if not folder.is_dir() or not any(folder.glob("*.pth")):
        return ()  # without importing torchvision, which costs a second or more
    return tuple(name for name in MODELS if _weights_file(name).is_file())


def download(model_name: str) -> Path:
    """Fetch a model's default weights into torch.hub's checkpoint folder, hash checked; returns the file.

    Raises InputError for an unknown model and where there is no network.
    """
    weights = _weights(model_name)
    try:
        weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, HTTPException, EOFError, UnpicklingError) as error:
        raise InputError(
            f"The weights of {model_name} could not be downloaded from {weights.url} (is there a network, "
            f"and room on the disk?): try again with one, or copy the file to {_weights_file(model_name)}."
        ) from error
    return _weights_file(model_name)


@functools.lru_cache(maxsize=len(MODELS))
def layers(model_name: str) -> tuple[str, ...]:
    """Names of the modules whose output is a (N, C, H, W) map of more than one cell, in order of execution.

    Needs no weights: one pass of a 224 x 160 picture on torch's "meta" device, which computes shapes alone. A
    block follows the modules that it is made of; a module that runs more than once is listed where it runs
    last. Raises InputError for an unknown model.
    """
    _weights(model_name)
    from torchvision.models import get_model

    order: dict[str, None] = {}  # a dict for its order

    def note(name: str):
        def hook(module: nn.Module, inputs: tuple, output: object) -> None:
            order.pop(name, None)
            # The picture is tall, so a map that is wide has its channels last (ConvNeXt's inner layers).
            if isinstance(output, Tensor) and output.ndim == 4 and 1 < output.shape[2] >= output.shape[3]:
                order[name] = None

        return hook

    with torch.device("meta"), torch.inference_mode():
        network = get_model(model_name, weights=None).eval()
        for name, module in network.named_modules():
            if name:  # the network as a whole has no name and gives class scores
                module.register_forward_hook(note(name))
        network(torch.empty(1, 3, 224, 160))
    return tuple(order)


def _modern_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """DenseNet's file says "norm.1" where the module is "norm1": module names have lost their dots since."""
    old = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")
    return {old.sub(r"\1\2", name): value for name, value in state.items()}


@functools.lru_cache(maxsize=2)
def _network(model_name: str, path: Path, changed: int) -> nn.Module:
    """The model with the weights of `path`, for inference; `changed` (mtime) makes a new file a new entry."""
    from torchvision.models import get_model

    with torch.device("meta"):  # no time is spent on random weights that are overwritten
        network = get_model(model_name, weights=None).eval()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(_modern_names(state), assign=True)
    # a damaged file, another model's file, or no dict of tensors
    except (OSError, RuntimeError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(f"{path} does not hold the weights of {model_name}: delete it and fetch it again.") from error
    except UnpicklingError as error:
        raise InputError(f"{path} is damaged or no plain weights file: delete it and fetch it again.") from error
    return network.requires_grad_(False)


def _network_input(picture: Picture, mean: list[float], std: list[float]) -> Tensor:
    """(1, 3, H, W), H and W in 64..224, normalised by the weights' own mean and deviation a channel."""
    pixels = picture.pixels
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise InputError(f"A picture of one or three channels is needed here, not one of shape {tuple(pixels.shape)}.")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:  # digits count 0..16 and a grid holds any number: networks expect 0..1
        pixels = (pixels - low) / ((high - low) or 1.0)
    height, width = pixels.shape[-2:]
    scale = max(1.0, LEAST_SIDE / min(height, width)) * min(1.0, MOST_SIDE / max(height, width))
    size = [min(MOST_SIDE, max(LEAST_SIDE, round(side * scale))) for side in (height, width)]
    rgb = pixels.expand(3, -1, -1)[None]
    if size != [height, width]:
        rgb = F.interpolate(rgb, size=size, mode="bilinear", antialias=True, align_corners=False)
    return (rgb - rgb.new_tensor(mean)[:, None, None]) / rgb.new_tensor(std)[:, None, None]


def _run_to(network: nn.Module, layer: str, batch: Tensor) -> Tensor:
    """The output of `layer`, of its last run in the pass."""
    caught: list[Tensor] = []
    with _ONE_PASS, torch.inference_mode():
        # cloned, since an in-place ReLU after the layer would overwrite what was caught
        handle = network.get_submodule(layer).register_forward_hook(lambda m, i, out: caught.append(out.clone()))
        try:
            network(batch)
        finally:
            handle.remove()
    return caught[-1]


def model_map(picture: Picture, model_name: str, layer: str) -> FeatureMap:
    """One layer's output of a torchvision classifier for `picture`: (C, H, W) float32, as the layer gives it.

    layer: one of `layers(model_name)`. Grey is repeated to RGB; values outside 0..1 are stretched from the
    picture's least and largest to 0..1; sides are scaled, the ratio kept where it can be, to 64 .. 224
    pixels; then mean and deviation of the weights' own preset are applied. Channels are "channel 0", "channel
    1", ...

    Raises InputError for an unknown model or layer, and for weights that are not at hand or damaged.
    """
    weights, path = _weights(model_name), _weights_file(model_name)
    if not path.is_file():
        raise InputError(
            f"The weights of {model_name} are not at hand ({path} is missing): download them with a network, "
            f"or copy {weights.url} to that place."
        )
    known = layers(model_name)
    if layer not in known:
        near = difflib.get_close_matches(str(layer), known, n=3, cutoff=0.0)
        raise InputError(f"{model_name} has no layer {str(layer)[:60]!r} that gives a map: try {', '.join(near)}.")
    preset = weights.transforms()
    batch = _network_input(picture, preset.mean, preset.std)
    values = _run_to(_network(model_name, path, path.stat().st_mtime_ns), layer, batch)[0]
    with torch.inference_mode(False):
        values = values.clone()  # a plain tensor again: an inference tensor could not take part in autograd
    return FeatureMap(values, tuple(f"channel {index}" for index in range(len(values))))
