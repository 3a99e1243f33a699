"""Trained CNNs whose weights were kept, shipped ones first: what their layers make of a picture.

The convolutions take a picture of any size, so a photograph can be looked at through a network of digits. torch is
imported where a network is loaded.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from poolviz.runs import store
from poolviz.runs.results import SHIPPED, origin
from poolviz.runs.store import Run
from poolviz.training.config import CLASSES, IMAGE_TASKS, RunConfig

if TYPE_CHECKING:
    from torch import Tensor

    from poolviz.training.models import PooledCNN

LAYERS = {"conv1": "First convolution", "conv2": "Second convolution", "pooled": "After its pooling"}
LEAST_SIDE = 8  # pixels: below, two convolutions and a pooling leave nothing
IMAGE_SIDES = {"digits": 8}  # pixels of a task's images; 28 for the others


def at_hand() -> list[Run]:
    """Runs of images whose best weights are here: shipped ones first, by pooling and seed."""
    found = []
    for run in store.unsorted_runs():
        try:
            if run.weights("best").is_file() and run.config.task in IMAGE_TASKS:
                found.append(
                    (origin(run) != SHIPPED, run.config.task, run.config.pooling, run.config.seed, run.name, run)
                )
        except ValueError:  # a damaged folder
            continue
    return [entry[-1] for entry in sorted(found, key=lambda entry: entry[:-1])]


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
    with torch.no_grad():
        x = plane[None, None]
        for part in features[: stop + 1]:
            x = part(x)
    return x[0]


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
