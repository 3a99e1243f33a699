"""Where the windows of a pooling layer lie: sizes, offsets, and which cells fall outside the input.

The rules are torch's (`torch.nn.MaxPool2d`): output = floor((L + 2p - d(k - 1) - 1) / s) + 1, or ceil with
`ceil_mode`, where a last window that would start in the right padding is dropped.
This file knows positions only; it does not know what an operator does with the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Windows(NamedTuple):
    """Every output cell's window, as returned by `windows2d`."""

    values: Tensor  # (N, C, H_out, W_out, kh, kw); 0 where the cell is padding
    coordinates: Tensor  # (H_out, W_out, kh, kw, 2) row and column in the input; outside it where padding
    valid: Tensor  # (H_out, W_out, kh, kw) bool; False where the cell is padding


@dataclass(frozen=True)
class WindowGrid:
    """The grid of windows over an input of `size`; one entry per spatial dimension."""

    size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool
    output_size: tuple[int, ...]

    def offsets(self) -> Iterator[tuple[int, ...]]:
        """Kernel positions in row-major order: (0, 0), (0, 1), ..."""
        return product(*(range(k) for k in self.kernel_size))

    def pad(self, x: Tensor, value: float) -> Tensor:
        """Pad (N, C, *size) on both sides; further on the right where `ceil_mode` windows reach out."""
        amounts: list[int] = []
        for axis in reversed(range(len(self.size))):
            reach = self.stride[axis] * (self.output_size[axis] - 1) + self._span(axis)
            right = max(0, reach - self.padding[axis] - self.size[axis])
            amounts += [self.padding[axis], right]
        return F.pad(x, amounts, value=value) if any(amounts) else x

    def crop(self, padded: Tensor) -> Tensor:
        """View (N, C, *size) of what `pad` surrounded."""
        return padded[(..., *(slice(p, p + n) for p, n in zip(self.padding, self.size, strict=True)))]

    def take(self, padded: Tensor, offset: tuple[int, ...]) -> Tensor:
        """View (N, C, *output_size) of the cell at `offset` in every window of a padded tensor."""
        steps = zip(offset, self.dilation, self.stride, self.output_size, strict=True)
        return padded[(..., *(slice(o * d, o * d + s * (n - 1) + 1, s) for o, d, s, n in steps))]

    def cells(self, padded: Tensor) -> Tensor:
        """Copy (n, N, C, *output_size) of a padded tensor, laid out like it: `take` at each of the n offsets."""
        taken = [self.take(padded, offset) for offset in self.offsets()]
        if channels_last(padded):
            return torch.stack([cell.movedim(1, -1) for cell in taken]).movedim(-1, 2)
        return torch.stack(taken)

    def stack(self, x: Tensor) -> Tensor:
        """(N, C, *size) -> (N, C, *output_size[:-1], n, output_size[-1]); padding reads 0.

        The cells stand at dimension -2, as the pooling contract has them, and the last output
        dimension plays the contract's `c`: nothing has to be transposed.
        """
        padded = self.pad(x, 0.0)
        return torch.stack([self.take(padded, offset) for offset in self.offsets()], dim=-2)

    def unstack(self, stacked: Tensor) -> Tensor:
        """(N, C, *output_size[:-1], n, output_size[-1]) -> (N, C, *output_size, *kernel_size)."""
        cells_last = stacked.movedim(-2, -1)
        return cells_last.reshape(*cells_last.shape[:-1], *self.kernel_size)

    def axis_positions(self, axis: int, device: torch.device | None = None) -> Tensor:
        """(output_size[axis], kernel_size[axis]) input positions along one axis; outside [0, size) is padding."""
        starts = torch.arange(self.output_size[axis], device=device) * self.stride[axis] - self.padding[axis]
        return starts[:, None] + torch.arange(self.kernel_size[axis], device=device) * self.dilation[axis]

    def inside(self, margin: Sequence[int] | None = None, device: torch.device | None = None) -> Tensor:
        """(*output_size, *kernel_size) bool: the cell lies in the input, widened by `margin` on each side."""
        dims = len(self.size)
        result = torch.ones((), dtype=torch.bool, device=device)
        for axis in range(dims):
            extra = margin[axis] if margin is not None else 0
            position = self.axis_positions(axis, device)
            ok = (position >= -extra) & (position < self.size[axis] + extra)
            shape = [1] * (2 * dims)
            shape[axis], shape[dims + axis] = ok.shape
            result = result & ok.reshape(shape)
        return result

    def inside_stacked(self, margin: Sequence[int] | None = None, device: torch.device | None = None) -> Tensor:
        """`inside`, laid out as `stack` lays out the cells: (*output_size[:-1], n, output_size[-1])."""
        inside = self.inside(margin, device).flatten(len(self.size))
        return inside.movedim(-1, -2)

    def require_cells(self, caller: str) -> None:
        """Raise ValueError when dilation steps over the whole input, so that a window holds padding only."""
        if max(self.dilation) == 1:
            return
        empty = ~self.inside().flatten(len(self.size)).any(dim=-1)
        if empty.any():
            where = tuple(empty.nonzero()[0].tolist())
            raise ValueError(
                f"{caller}: the window of output cell {where} holds no cell of the input, only padding "
                f"(size {self.size}, kernel_size {self.kernel_size}, dilation {self.dilation}); use a smaller dilation"
            )

    def spread(self, weights: Tensor) -> Tensor:
        """Add each window's weights (N, C, *output_size, *kernel_size) up in the input: (N, C, *size)."""
        total = self.pad(weights.new_zeros(*weights.shape[:2], *self.size), 0.0).clone()
        for offset in self.offsets():
            self.take(total, offset).add_(weights[(..., *offset)])
        return self.crop(total)

    def _span(self, axis: int) -> int:
        return self.dilation[axis] * (self.kernel_size[axis] - 1) + 1


def window_grid(
    caller: str,
    size: Sequence[int],
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> WindowGrid:
    """Check a pooling setting against an input of `size` and lay out its windows.

    Raises ValueError, in one sentence that begins with `caller`, for every setting that torch refuses.
    """
    dims = len(size)
    kernel = _per_axis(caller, "kernel_size", kernel_size, dims, least=1)
    # torch reads an empty stride as "the kernel size"
    step = kernel if stride is None or stride == () else _per_axis(caller, "stride", stride, dims, least=1)
    pad = _per_axis(caller, "padding", padding, dims, least=0)
    spacing = _per_axis(caller, "dilation", dilation, dims, least=1)
    output = []
    for length, k, s, p, d in zip(size, kernel, step, pad, spacing, strict=True):
        if p > k // 2:
            raise ValueError(
                f"{caller}: padding {p} is more than half of kernel_size {k}, so a window could lie in the padding "
                f"alone; use padding <= {k // 2}"
            )
        span = d * (k - 1) + 1
        count = _output_length(length, span, s, p, ceil_mode)
        if count < 1:
            raise ValueError(
                f"{caller}: kernel_size {k} with dilation {d} spans {span} cells, but the input has {length} "
                f"(+ 2 x {p} of padding); use a smaller kernel or a larger map"
            )
        output.append(count)
    grid = WindowGrid(tuple(size), kernel, step, pad, spacing, ceil_mode, tuple(output))
    grid.require_cells(caller)  # torch's max pooling lets it pass and then writes out of bounds in its backward
    return grid


def channels_last(x: Tensor) -> bool:
    """Whether the channels of x (N, C, *size) lie innermost in memory, as in torch's formats of that name."""
    return x.dim() in (4, 5) and 0 < x.stride(1) < min(x.stride()[2:])


def new_map(x: Tensor, size: Sequence[int], new: Callable[[tuple[int, ...]], Tensor] | None = None) -> Tensor:
    """A map (N, C, *size) in the memory format that torch's poolings give to the result of a map x (N, C, ...).

    `new` makes it from a shape; without one it is like x and not initialised.
    """
    new = new or x.new_empty
    if channels_last(x):
        return new((len(x), *size, x.shape[1])).movedim(-1, 1)
    return new((*x.shape[:2], *size))


def windows2d(
    x: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Windows:
    """Each output cell's window over x (N, C, H, W): values, input coordinates and validity.

    >>> windows2d(torch.arange(16.0).reshape(1, 1, 4, 4), 2).values[0, 0, 0, 1]
    tensor([[2., 3.],
            [6., 7.]])
    """
    if x.dim() != 4:
        raise ValueError(f"windows2d: expected x of shape (N, C, H, W), got {tuple(x.shape)}")
    grid = window_grid("windows2d", x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    rows, columns = (grid.axis_positions(axis, x.device) for axis in (0, 1))
    coordinates = torch.stack(torch.broadcast_tensors(rows[:, None, :, None], columns[None, :, None, :]), dim=-1)
    return Windows(grid.unstack(grid.stack(x)), coordinates, grid.inside(device=x.device))


def _output_length(length: int, span: int, stride: int, padding: int, ceil_mode: bool) -> int:
    room = length + 2 * padding - span
    if room < 0 and not ceil_mode:
        return 0
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= length + padding:
        count -= 1  # the last window would start in the right padding
    return count


def _per_axis(caller: str, name: str, value: int | Sequence[int], dims: int, least: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * dims
    if len(values) == 1:
        values *= dims
    if len(values) != dims or not all(isinstance(v, Integral) and not isinstance(v, bool) for v in values):
        raise ValueError(f"{caller}: expected {name} as one whole number or {dims} of them, got {value!r}")
    if min(values) < least:
        raise ValueError(f"{caller}: {name} must be at least {least}, got {value!r}")
    return tuple(int(v) for v in values)
