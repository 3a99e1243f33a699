"""Pooling by name: `pool1d`, `pool2d`, `pool3d` over windows and `global_pool` over a whole map.

The functions check what they are given, lay out the windows, and hand over to the operator; the maths stands in the
operators' files.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .base import Options, Pooling, pool_cells, pool_stacked
from .poolings import POOLINGS
from .windows import WindowGrid, window_grid

_AXES = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}

Size = int | Sequence[int]


def pool1d(
    x: Tensor,
    name: str,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    *,
    return_weights: bool = False,
    **options: object,
):
    """`pool2d` over x (N, C, L); weights are (N, C, L_out, k)."""
    return _pool(1, x, name, (kernel_size, stride, padding, dilation, ceil_mode), return_weights, options)


def pool2d(
    x: Tensor,
    name: str,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    *,
    return_weights: bool = False,
    **options: object,
):
    """Pool x (N, C, H, W) -> (N, C, H_out, W_out) with the operator registered as `name`.

    Args:
        x: floating-point map.
        name: a key of `POOLINGS`, with `for_maps`.
        kernel_size, stride, padding, dilation, ceil_mode: as in `torch.nn.MaxPool2d`. Padding never wins and never
            counts.
        return_weights: also return weights (N, C, H_out, W_out, kh, kw): what each cell of a window counts. They
            sum to 1, except over a `stochastic` window without a positive cell (all 0). For `lp` and `median`,
            which are no weighted sums, they are the effective gradient d pooled / d x.
        **options: fields of `Options`: training, generator, temperature, p, mix, count_include_pad (average only).

    Raises:
        ValueError: an unknown name, a wrong shape or type, a setting that torch refuses; one sentence says which.

    >>> x = torch.tensor([[[[0.0, 1.0], [3.0, 0.0]]]])
    >>> [pool2d(x, name, 2).item() for name in ("max", "average", "stochastic")]
    [3.0, 1.0, 2.5]
    """
    return _pool(2, x, name, (kernel_size, stride, padding, dilation, ceil_mode), return_weights, options)


def pool3d(
    x: Tensor,
    name: str,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    *,
    return_weights: bool = False,
    **options: object,
):
    """`pool2d` over x (N, C, D, H, W); weights are (N, C, D_out, H_out, W_out, kd, kh, kw)."""
    return _pool(3, x, name, (kernel_size, stride, padding, dilation, ceil_mode), return_weights, options)


def global_pool(x: Tensor, name: str, *, return_weights: bool = False, **options: object):
    """Pool each channel of x (N, C, *spatial) as one window: (N, C), weights (N, C, *spatial).

    `none` keeps every cell and returns (N, C * cells), as the fully connected layer of report B's baseline sees it.
    Raises ValueError as `pool2d` does, and for a map without cells.
    """
    pooling, settings = checked("global_pool", name, x, options)
    if x.dim() < 3 or 0 in x.shape[2:]:
        raise ValueError(f"global_pool: expected x of shape (N, C, *spatial) with cells in it, got {tuple(x.shape)}")
    if pooling.keeps_cells:
        return (x.flatten(1), torch.ones_like(x)) if return_weights else x.flatten(1)
    cells = x.flatten(2).transpose(1, 2)
    valid = torch.ones((), dtype=torch.bool, device=x.device).expand(cells.shape[-2], 1)
    pooled, weights = pool_cells(pooling, cells, valid, settings, return_weights)
    return (pooled, weights.transpose(1, 2).reshape(x.shape)) if return_weights else pooled


def grid_for(
    dims: int,
    x: Tensor,
    name: str,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> WindowGrid:
    """The windows that `name` looks at: those of the setting, or single cells where it keeps every cell."""
    if POOLINGS[name].keeps_cells:
        kernel_size, stride, padding, dilation, ceil_mode = 1, 1, 0, 1, False
    return window_grid(f"pool{dims}d", x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)


def _pool(dims: int, x: Tensor, name: str, geometry: tuple, return_weights: bool, options: dict[str, object]):
    pooling, settings = checked(f"pool{dims}d", name, x, options)
    if x.dim() != dims + 2 or 0 in x.shape[1:]:
        raise ValueError(f"pool{dims}d: expected x of shape {_AXES[dims]}, got {tuple(x.shape)}")
    grid = grid_for(dims, x, name, *geometry)
    direct = pooling.pool_windows
    if pooling.keeps_cells:
        return (x, torch.ones_like(x)[(..., *(None,) * dims)]) if return_weights else x
    if not return_weights:
        return direct(x, grid, settings) if direct else pool_stacked(pooling, x, grid, settings)[0]
    pooled, weights = pool_stacked(pooling, x, grid, settings, return_weights=True)
    if direct and not (pooling.stochastic and settings.training):
        pooled = direct(x, grid, settings)  # the weights explain the result; they do not replace it
    return pooled, grid.unstack(weights)


def operator(caller: str, name: str, sequences: bool = False) -> Pooling:
    """The operator called `name`; ValueError that begins with `caller` and lists the known ones."""
    kind = "sequences" if sequences else "maps"
    known = [key for key, pooling in POOLINGS.items() if (pooling.for_sequences if sequences else pooling.for_maps)]
    if name not in known:
        raise ValueError(f"{caller}: unknown pooling {name!r}; known for {kind}: {', '.join(known)}")
    return POOLINGS[name]


def checked(
    caller: str, name: str, x: Tensor, options: dict[str, object], sequences: bool = False
) -> tuple[Pooling, Options]:
    """The operator called `name` and its options; ValueError or TypeError that begins with `caller`."""
    pooling = operator(caller, name, sequences)
    if not x.is_floating_point():
        argument = "hidden" if sequences else "x"
        raise ValueError(f"{caller}: expected floating-point {argument}, got {x.dtype} of shape {tuple(x.shape)}")
    settings = settings_of(caller, options)
    if settings.count_include_pad and "count_include_pad" not in pooling.uses:
        raise ValueError(f"{caller}: count_include_pad is for 'average'; padding never counts in {name!r}")
    return pooling, settings


def settings_of(caller: str, options: dict[str, object]) -> Options:
    """The options as a record; ValueError or TypeError that begins with `caller`."""
    try:
        return Options(**options)
    except TypeError:
        wrong = sorted(set(options) - set(Options.__dataclass_fields__))
        if not wrong:
            raise
        allowed = ", ".join(Options.__dataclass_fields__)
        raise TypeError(f"{caller}: unknown option {', '.join(wrong)}; options are {allowed}") from None
    except ValueError as error:
        raise ValueError(f"{caller}: {error}") from None
