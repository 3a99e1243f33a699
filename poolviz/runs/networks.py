"""Trained CNNs whose weights were kept: what their layers make of a picture.

The convolutions take a picture of any size, so a photograph can be looked at through a network of digits. torch is
imported where a network is loaded.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from poolviz.runs import store
from poolviz.runs.store import Run
from poolviz.training.config import CLASSES, IMAGE_TASKS, RunConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

    from poolviz.training.models import PooledCNN

LAYERS = {"conv1": "First convolution", "conv2": "Second convolution", "pooled": "After its pooling"}
LEAST_SIDE = 8  # pixels: below, two convolutions and a pooling leave nothing
INK = 0.1  # what is brighter belongs to a digit
IMAGE_SIDES = {"digits": 8}  # pixels of a task's images; 28 for the others
MOST_PARAMETERS = 50_000_000  # of a network that is looked at here; the default has 1.2 million
MOST_KEPT = 200_000_000  # bytes of networks that stay loaded: as much as the largest needs
FLOATS = ("F64", "F32", "F16", "BF16")


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

    ValueError, one sentence, for a picture that is too small and for weights that are missing, damaged or of another
    network.
    """
    import torch

    if min(plane.shape) < LEAST_SIDE:
        raise ValueError(f"A picture of at least {LEAST_SIDE} x {LEAST_SIDE} cells is needed for this network.")
    features = load(run).features
    stop = dict(zip(LAYERS, _ends(features), strict=True))[layer]
    try:
        with torch.no_grad():
            x = plane[None, None]
            for part in features[: stop + 1]:
                x = part(x)
    except (ValueError, RuntimeError) as error:  # with a large kernel, or two poolings
        raise ValueError("The picture is too small for this network: its layers shrink it to nothing.") from error
    return x[0]


def _ends(features: nn.Sequential) -> tuple[int, int, int]:
    """Where the first convolution, the second one and the pooling after it end, their ReLUs included."""
    first, second = (number for number, part in enumerate(features) if type(part).__name__ == "ReLU")
    return first, second, second + 1


def read(run: Run, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a network makes of an image (H, W) in 0..1 of its own data set, or in its form (`as_digit`), in eval mode.

    ValueError, one sentence, for weights that are missing or damaged.

    Returns:
        Probabilities (classes,), the maps (C, H, W) that its last pooling is given, and those (C, h, w) that it gives.
    """
    import torch

    network = load(run)
    _, relu, pooling = _ends(network.features)
    with torch.no_grad():
        before = network.features[: relu + 1](image[None, None])
        after = network.features[pooling](before)
        logits = network.head(network.features[pooling + 1 :](after))
    return logits.softmax(dim=-1)[0], before[0], after[0]


def as_digit(plane: Tensor, side: int) -> Tensor:
    """A picture (H, W) in 0..1 as the data sets hold theirs: (side, side), bright on dark, centred.

    MNIST (LeCun et al. 1998) fits a digit into 20 x 20 and puts its centre of mass into the middle of 28 x 28; the
    8 x 8 digits fill their square. ValueError, one sentence, for a picture without ink.
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
        return _LOADED.get(path, path.stat().st_mtime_ns, run.config)
    except OSError:
        raise ValueError(f"The weights of {run.name} are not here (any more).") from None


def check_weights(path: Path, config: RunConfig, said: str) -> None:
    """ValueError where a file's header tells of other tensors than the run's network has; no tensor is read.

    Of an encoder only the kind of numbers is checked: its shapes are in files that need not be here. `said` names the
    file, or the run.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  it is no dictionary
            kinds = {part.get_dtype() for part in parts.values()}
            shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
    except SafetensorError as error:
        raise ValueError(f"The weights in {said} are damaged.") from error
    if not kinds <= set(FLOATS):
        raise ValueError(f"The weights in {said} are damaged: they are no floating-point numbers.")
    if config.task in IMAGE_TASKS and shapes != _shapes(config):
        raise ValueError(f"The weights in {said} are damaged, or of another network.")


def _shapes(config: RunConfig) -> dict[str, tuple[int, ...]]:
    """The tensors of a run's network, which takes no memory; ValueError where they are too large."""
    shapes = {name: tuple(value.shape) for name, value in _empty(config).state_dict().items()}
    count = sum(math.prod(shape) for shape in shapes.values())
    if count > MOST_PARAMETERS:
        raise ValueError(f"The network has {count:,} parameters; at most {MOST_PARAMETERS:,} are looked at here.")
    return shapes


def _empty(config: RunConfig) -> PooledCNN:
    """The network of a run without its numbers."""
    import torch

    from poolviz.training.models import PooledCNN

    with torch.device("meta"):
        return PooledCNN(config, IMAGE_SIDES.get(config.task, 28), len(CLASSES[config.task]))


class _Loaded:
    """The networks that were used last, MOST_KEPT bytes of them; a file that has changed is read anew."""

    def __init__(self) -> None:
        self._known: OrderedDict[Path, tuple[int, RunConfig, PooledCNN, int]] = OrderedDict()  # the last: its bytes
        self._lock = threading.Lock()  # one at a time is read

    def get(self, path: Path, changed: int, config: RunConfig) -> PooledCNN:
        with self._lock:
            known = self._known.pop(path, None)
            if known is None or known[:2] != (changed, config):
                network = _read(path, config)
                known = changed, config, network, _size(network)
            self._known[path] = known  # the newest is last
            while sum(size for *_, size in self._known.values()) > MOST_KEPT:
                self._known.popitem(last=False)
            return known[2]


_LOADED = _Loaded()


def _size(network: PooledCNN) -> int:
    return sum(value.nbytes for value in network.parameters())


def _read(path: Path, config: RunConfig) -> PooledCNN:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    said = path.parent.name
    check_weights(path, config, said)
    try:
        tensors = {name: value.float() for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise ValueError(f"The weights in {said} are damaged.") from error
    if not all(bool(value.isfinite().all()) for value in tensors.values()):
        raise ValueError(f"The weights in {said} are damaged: some are no numbers.")
    network = _empty(config)
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False)
