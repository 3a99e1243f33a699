"""Trained CNNs whose weights were kept: what their layers make of a picture.

The convolutions take a picture of any size, so a photograph can be looked at through a network of digits. torch is
imported where a network is loaded.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from poolviz.runs import store
from poolviz.runs.store import Run
from poolviz.training.config import CLASSES, IMAGE_TASKS, RunConfig

if TYPE_CHECKING:
    from torch import Tensor

    from poolviz.training.models import PooledCNN

LAYERS = {"conv1": "First convolution", "conv2": "Second convolution", "pooled": "After its pooling"}
LEAST_SIDE = 8  # pixels: below, two convolutions and a pooling leave nothing
INK = 0.1  # what is brighter belongs to a digit
IMAGE_SIDES = {"digits": 8}  # pixels of a task's images; 28 for the others


def at_hand() -> list[Run]:
    """Runs of images whose best weights are here, by task, pooling and seed."""
    found = []
    for run in store.unsorted_runs():
        try:
            if run.weights("best").is_file() and run.config.task in IMAGE_TASKS:
                found.append(run)
        except ValueError:  # a damaged folder
            continue
    return sorted(found, key=lambda run: (run.config.task, run.config.pooling, run.config.seed, run.name))


def layer_map(run: Run, plane: Tensor, layer: str) -> Tensor:
    """Channels (C, h, w) of `layer`, one of LAYERS, for a picture (H, W) in 0..1, in eval mode.

    ValueError, one sentence, for a picture that is too small and for weights that are missing or damaged.
    """
    import torch

    if min(plane.shape) < LEAST_SIDE:
        raise ValueError(f"A picture of at least {LEAST_SIDE} x {LEAST_SIDE} cells is needed for this network.")
    features = load(run).features
    ends = [number for number, part in enumerate(features) if type(part).__name__ == "ReLU"]
    stop = {"conv1": ends[0], "conv2": ends[1], "pooled": ends[1] + 1}[layer]
    try:
        with torch.no_grad():
            x = plane[None, None]
            for part in features[: stop + 1]:
                x = part(x)
    except (ValueError, RuntimeError) as error:  # with a large kernel, or two poolings
        raise ValueError("The picture is too small for this network: its layers shrink it to nothing.") from error
    return x[0]


def answer(run: Run, plane: Tensor, native: bool = False) -> Tensor:
    """Probabilities (classes,) of a picture (H, W) in 0..1, in eval mode.

    A `native` picture is one of the network's own data set and is taken as it is; any other is brought into its form
    first. ValueError, one sentence, for a picture without ink and for weights that are missing or damaged.
    """
    import torch

    network, side = load(run), IMAGE_SIDES.get(run.config.task, 28)
    x = plane if native else as_digit(plane, side)
    with torch.no_grad():
        return network(x[None, None]).softmax(dim=-1)[0]


def as_digit(plane: Tensor, side: int) -> Tensor:
    """A picture (H, W) in 0..1 as the data sets hold theirs: (side, side), bright on dark, centred.

    MNIST (LeCun et al. 1998) fits a digit into 20 x 20 and puts its centre of mass into the middle of 28 x 28; the
    8 x 8 digits fill their square.
    """
    import torch
    import torch.nn.functional as F

    ink = plane > INK
    if not ink.any():
        raise ValueError("There is nothing bright to read in this picture: draw a digit, or choose another.")
    rows, columns = ink.any(dim=1).nonzero()[:, 0], ink.any(dim=0).nonzero()[:, 0]
    box = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inner = round(side * 20 / 28) if side >= 28 else side
    scale = inner / max(box.shape)
    size = [max(1, round(extent * scale)) for extent in box.shape]
    small = F.interpolate(box[None, None], size=size, mode="bilinear", antialias=True, align_corners=False)[0, 0]
    top, left = ((side - extent) // 2 for extent in size)
    if side > inner:
        share = small / small.sum()
        centre = [float((share.sum(dim=1 - axis) * torch.arange(extent)).sum()) for axis, extent in enumerate(size)]
        places = (round((side - 1) / 2 - middle) for middle in centre)
        top, left = (min(max(0, at), side - extent) for at, extent in zip(places, size, strict=True))
    digit = torch.zeros(side, side)
    digit[top : top + size[0], left : left + size[1]] = small
    return digit


def load(run: Run) -> PooledCNN:
    """The trained network in eval mode, in 32 bits; ValueError, one sentence, where its file is damaged."""
    path = run.weights("best")
    try:
        return _loaded(path, path.stat().st_mtime_ns, run.config)
    except OSError:
        raise ValueError(f"The weights of {run.name} are not here (any more).") from None


@functools.lru_cache(maxsize=16)
def _loaded(path: Path, changed: int, config: RunConfig) -> PooledCNN:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from poolviz.training.models import PooledCNN

    network = PooledCNN(config, IMAGE_SIDES.get(config.task, 28), len(CLASSES[config.task]))
    try:
        network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"The weights in {path.parent.name} are damaged, or of another network.") from error
    return network.eval().requires_grad_(False)
