"""Pooling operators over windows and whole maps; torch only, nothing of pages, charts, data or training.

>>> import torch
>>> from poolviz.pooling import pool2d
>>> pool2d(torch.rand(1, 1, 28, 28), "stochastic", kernel_size=2, training=True).shape
torch.Size([1, 1, 14, 14])
"""

from .base import Options, Pooling
from .functional import global_pool, grid_for, pool1d, pool2d, pool3d
from .layers import GlobalPool, Pool1d, Pool2d, Pool3d
from .poolings import POOLINGS
from .windows import WindowGrid, Windows, windows2d

__all__ = [
    "POOLINGS",
    "GlobalPool",
    "Options",
    "Pool1d",
    "Pool2d",
    "Pool3d",
    "Pooling",
    "WindowGrid",
    "Windows",
    "global_pool",
    "grid_for",
    "pool1d",
    "pool2d",
    "pool3d",
    "windows2d",
]
