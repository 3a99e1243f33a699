"""Report B's estimate of a network's memory: every layer's output for one batch, and the parameters, in bytes.

The usual Keras estimate counts 4 bytes a number, and layers as Keras has them: an activation function belongs to the
layer before it, dropout and flattening are layers of their own. It leaves out gradients, the optimizer's state and
workspace, so a measured peak stands beside it. Knows nothing of configurations or of runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from poolviz.pooling import Pool2d

NUMBER = 4  # bytes


@dataclass(frozen=True)
class Footprint:
    """An estimate for one batch."""

    activations: int  # numbers that the layers put out
    parameters: int  # numbers that are learned or fixed

    @property
    def bytes(self) -> int:
        """Activations and parameters."""
        return NUMBER * (self.activations + self.parameters)


def footprint(model: nn.Module, batch: dict[str, Tensor]) -> Footprint:
    """Run the model once without gradients on the batch's first example and count what its leaf modules put out.

    Every output is as many times larger for the batch, so a batch that would not fit costs nothing here.
    """
    counted = 0

    def count(module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal counted
        if isinstance(output, Tensor):
            counted += output.numel()

    layers = [module for module in model.modules() if _is_layer(module)]
    hooks = [module.register_forward_hook(count) for module in layers]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(**{name: value[:1] for name, value in batch.items()})
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    examples = len(next(iter(batch.values())))
    return Footprint(counted * examples, sum(parameter.numel() for parameter in model.parameters()))


def _is_layer(module: nn.Module) -> bool:
    """A leaf that Keras would list: no activation function, and no pooling that does nothing."""
    if any(module.children()) or (isinstance(module, Pool2d) and module.name == "none"):
        return False
    return not type(module).__name__.endswith(("ReLU", "GELU", "Tanh", "Activation"))
