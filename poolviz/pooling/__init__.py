"""Pooling over windows, whole maps and the tokens of sentences; torch only, nothing of pages, charts or training.

>>> import torch
>>> from poolviz.pooling import pool2d
>>> pool2d(torch.rand(1, 1, 28, 28), "stochastic", kernel_size=2, training=True).shape
torch.Size([1, 1, 14, 14])
"""

from .base import Options, Pooling
from .functional import global_pool, grid_for, pool1d, pool2d, pool3d
from .layers import GlobalPool, Pool1d, Pool2d, Pool3d, ReportPooler, SequencePool
from .poolings import POOLINGS
from .sequence import draw_sequence, pool_sequence, pool_tokens
from .windows import WindowGrid, Windows, windows2d

__all__ = [
    "POOLINGS",
    "GlobalPool",
    "Options",
    "Pool1d",
    "Pool2d",
    "Pool3d",
    "Pooling",
    "ReportPooler",
    "SequencePool",
    "WindowGrid",
    "Windows",
    "draw_sequence",
    "global_pool",
    "grid_for",
    "pool1d",
    "pool2d",
    "pool3d",
    "pool_sequence",
    "pool_tokens",
    "windows2d",
]
