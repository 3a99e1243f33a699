"""`nn.Module` shells over the functions; `self.training` decides whether stochastic operators draw."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .functional import Size, global_pool, operator, pool1d, pool2d, pool3d, settings_of
from .poolings import POOLINGS
from .sequence import pool_sequence


class _Pool(nn.Module):
    pool = None  # pool1d, pool2d or pool3d

    def __init__(
        self,
        name: str,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
        **options: object,
    ) -> None:
        super().__init__()
        self.name, self.options = name, options
        self.geometry = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "ceil_mode": ceil_mode,
        }

    def forward(self, x: Tensor) -> Tensor:
        return type(self).pool(x, self.name, **self.geometry, **self.options, training=self.training)

    def extra_repr(self) -> str:
        settings = {**self.geometry, **self.options}
        return ", ".join([repr(self.name), *(f"{key}={value}" for key, value in settings.items())])


class Pool1d(_Pool):
    """`pool1d` as a layer: (N, C, L) -> (N, C, L_out)."""

    pool = staticmethod(pool1d)


class Pool2d(_Pool):
    """`pool2d` as a layer: (N, C, H, W) -> (N, C, H_out, W_out)."""

    pool = staticmethod(pool2d)


class Pool3d(_Pool):
    """`pool3d` as a layer: (N, C, D, H, W) -> (N, C, D_out, H_out, W_out)."""

    pool = staticmethod(pool3d)


class GlobalPool(nn.Module):
    """`global_pool` as a layer: (N, C, *spatial) -> (N, C)."""

    def __init__(self, name: str, **options: object) -> None:
        super().__init__()
        self.name, self.options = name, options

    def forward(self, x: Tensor) -> Tensor:
        """Pool each channel as one window."""
        return global_pool(x, self.name, **self.options, training=self.training)

    def extra_repr(self) -> str:
        """Name and options, as `print(model)` shows them."""
        return ", ".join([repr(self.name), *(f"{key}={value}" for key, value in self.options.items())])


class SequencePool(nn.Module):
    """`pool_sequence` as a layer: (B, T, H), (B, T) -> (B, H), or (B, 2H) for mean-max.

    `attention` learns its query, and needs `hidden_size` for it; a `query` that is given stays fixed. The learned one
    begins at zero, where attention is the mean.
    """

    def __init__(
        self, name: str, hidden_size: int | None = None, query: Tensor | None = None, **options: object
    ) -> None:
        super().__init__()
        settings_of("SequencePool", options)
        self.name, self.options = name, options
        asks = "query" in operator("SequencePool", name, sequences=True).uses
        if asks and query is None and hidden_size is None:
            raise ValueError(f"SequencePool: {name!r} learns a query and needs hidden_size, e.g. 384")
        if asks and query is None:
            self.query = nn.Parameter(torch.zeros(hidden_size))
        else:
            self.register_buffer("query", query)  # fixed, or none

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Pool each sentence's tokens."""
        options = {**self.options, "query": self.query, "training": self.training}
        return pool_sequence(hidden, attention_mask, self.name, **options)

    def extra_repr(self) -> str:
        """Name and options, as `print(model)` shows them."""
        return ", ".join([repr(self.name), *(f"{key}={value}" for key, value in self.options.items())])


class ReportPooler(nn.Module):
    """Report A's pooler: softmax-stochastic pooling, a linear H x H map, tanh; (B, T, H), (B, T) -> (B, H).

    In training each dimension takes one token's value, drawn with p = softmax over the tokens; at test time it takes
    the expectation. The map and tanh are those of BERT's own pooler, which follows CLS.
    """

    def __init__(self, hidden_size: int, name: str = "softmax-stochastic", **options: object) -> None:
        super().__init__()
        self.pool = SequencePool(name, hidden_size, **options)
        parts = len(POOLINGS[name].parts) or 1
        self.linear = nn.Linear(parts * hidden_size, hidden_size)

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Pool, map, squash."""
        return torch.tanh(self.linear(self.pool(hidden, attention_mask)))
