"""`nn.Module` shells over the functions; `self.training` decides whether stochastic operators draw."""

from __future__ import annotations

from torch import Tensor, nn

from .functional import Size, global_pool, pool1d, pool2d, pool3d


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
