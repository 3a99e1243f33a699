"""Mixed pooling: a fixed mix of max and average pooling.

Lee, Gallagher, Tu (2016), "Generalizing Pooling Functions in CNNs: Mixed, Gated, and Tree", eq. 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .average import average_weights
from .base import Options, Pooling
from .max import max_index


def _mixed_weights(x: Tensor, valid: Tensor, options: Options) -> Tensor:
    largest = torch.zeros_like(x).scatter(-2, max_index(x, valid, options), 1.0)
    return options.mix * largest + (1 - options.mix) * average_weights(x, valid, options)


MIXED = Pooling(
    name="mixed",
    label="Mixed",
    family="mixed",
    formula=r"S = \alpha \max_{i \in R} a_i + (1 - \alpha) \frac{1}{|R|} \sum_{i \in R} a_i",
    paper="Lee, Gallagher, Tu (2016), AISTATS",
    colour="#7F3C8D",
    arithmetic="{wx} = {y}",
    weights=_mixed_weights,
    uses=("mix",),
)
