"""Report B's estimate of a network's memory: every layer's output for one batch, and the parameters, in bytes.

The usual Keras estimate counts 4 bytes a number; it leaves out gradients, the optimizer's state and workspace, so a
measured peak stands beside it. Knows nothing of configurations or of runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

NUMBER = 4  # bytes


@dataclass(frozen=True)
class Footprint:
    """An estimate for one batch."""

    activations: int  # numbers that the leaf layers put out
    parameters: int  # numbers that are learned or fixed

    @property
    def bytes(self) -> int:
        """Activations and parameters."""
        return NUMBER * (self.activations + self.parameters)


def footprint(model: nn.Module, batch: dict[str, Tensor]) -> Footprint:
    """Run `model(**batch)` once without gradients and count the outputs of its leaf modules."""
    counted = 0

    def count(module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal counted
        if isinstance(output, Tensor):
            counted += output.numel()

    leaves = [module for module in model.modules() if not any(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(**batch)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
    return Footprint(counted, sum(parameter.numel() for parameter in model.parameters()))
