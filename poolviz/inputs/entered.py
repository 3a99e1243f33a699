"""What a visitor enters by hand: a grid of numbers and a drawing, each with a compact text form for links."""

from __future__ import annotations

import base64
import binascii
import math
import numbers
import re
import zlib
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
import torch

from poolviz.inputs.picture import MIN_SIDE, InputError, Picture, shown, whole

GRID_SIDES = (4, 12)  # least and most rows, and columns
GRID_LIMIT = 1e6  # largest magnitude of a cell: float32 still shows it with an exact first decimal
GRID_TEXT_LIMIT = 8_000  # characters: 144 cells of the longest float and their separators are 3,700


_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)


def _cell(value: object, row: int, column: int) -> float:
    """One cell as a float, or an InputError that names it."""
    where = f"Row {row}, column {column}"
    value = value.item() if isinstance(value, np.generic) else value  # shown as 1.5, not np.float64(1.5)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise InputError(f"{where} is blank: write a number there, 0 if nothing else.")
    number = math.nan
    if isinstance(value, str):
        text = value.strip().replace("\u2212", "-")  # a minus sign copied from typeset arithmetic
        if _NUMBER.fullmatch(text):
            number = float(text.replace(",", "."))
    elif isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        except (ValueError, TypeError):
            number = math.nan
    if math.isnan(number):
        raise InputError(f"{where} holds {shown(value)}, which is not a number: write one, such as 0.5.")
    if abs(number) > GRID_LIMIT:
        raise InputError(f"{where} holds {shown(value)}; numbers from -1,000,000 to 1,000,000 are taken.")
    return number


def _cells(rows: Sequence[Sequence[object]]) -> list[list[float]]:
    """A checked grid of floats."""
    least, most = GRID_SIDES
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | dict):
        raise InputError(f"The grid must be a list of rows, not {shown(rows)}.")
    try:
        table = [None if isinstance(row, str | bytes | dict) else list(row) for row in rows]
    except TypeError:
        table = [None]
    if any(row is None for row in table):
        raise InputError("Each row of the grid must be a list of numbers.")
    height, width = len(table), len(table[0]) if table else 0
    for number, row in enumerate(table):
        if len(row) != width:
            raise InputError(f"Row {number} of the grid has {len(row)} cells and row 0 has {width}: make them equal.")
    if not (least <= height <= most and least <= width <= most):
        raise InputError(
            f"The grid has {height} rows and {width} columns; {least} x {least} to {most} x {most} are taken."
        )
    return [[_cell(value, r, c) for c, value in enumerate(row)] for r, row in enumerate(table)]


def grid(rows: Sequence[Sequence[object]]) -> Picture:
    """A number grid of 4 x 4 to 12 x 12 cells as (1, H, W), in the numbers' own units.

    Cells are numbers, or strings that hold one (a decimal comma is taken). Raises InputError for a blank,
    text, nan, inf or a magnitude above 1,000,000, naming row and column (counted from 0), and for ragged rows
    or another size.
    """
    return Picture(torch.tensor(_cells(rows), dtype=torch.float32)[None], ("value",))


def grid_to_text(rows: Sequence[Sequence[object]]) -> str:
    """A grid as the short text of a link: "1,2.5;3,4", exact for every float. Raises InputError as `grid`."""
    return ";".join(",".join(repr(value).removesuffix(".0") for value in row) for row in _cells(rows))


def grid_from_text(text: str) -> list[list[float]]:
    """The rows that `grid_to_text` wrote, the same floats; raises InputError for any other text."""
    if not isinstance(text, str):
        raise InputError(f"The grid in the link must be text, not {shown(text)}.")
    if len(text) > GRID_TEXT_LIMIT:
        raise InputError(f"The grid in the link has {len(text):,} characters; at most {GRID_TEXT_LIMIT:,} are read.")
    return _cells([row.split(",") for row in text.split(";")])


def _levels(levels: bytes | Sequence[int], side: int) -> bytes:
    """The side * side levels 0..255, row by row, checked."""
    side = whole(side, "The drawing's side", MIN_SIDE, 64)
    try:
        # bytes(n) of a bare number would be n zeros, so numbers are refused before
        checked = None if isinstance(levels, numbers.Integral | str) else bytes(levels)
    except (TypeError, ValueError, OverflowError):
        checked = None
    if checked is None:
        raise InputError("The drawing must be whole numbers from 0 to 255: draw it again.")
    if len(checked) != side * side:
        raise InputError(
            f"The drawing has {len(checked):,} cells, not {side} x {side} = {side * side:,}: draw it again."
        )
    return checked


def drawing(levels: bytes | Sequence[int], side: int = 28) -> Picture:
    """A drawing as (1, side, side) in 0..1, from side * side levels 0 (blank) to 255 (ink), row by row.

    Raises InputError for another count, for a level that is no whole number in 0..255 and for a side outside
    4..64.
    """
    flat = np.frombuffer(_levels(levels, side), dtype=np.uint8).astype(np.float32)
    return Picture(torch.from_numpy(flat.reshape(1, side, side) / 255.0), ("intensity",))


def drawing_to_text(levels: bytes | Sequence[int], side: int = 28) -> str:
    """A drawing as URL-safe text: levels rounded to 16 steps, two a byte, zlib, base64url without padding.

    Raises InputError as `drawing` does.
    """
    flat = np.frombuffer(_levels(levels, side), dtype=np.uint8).astype(np.uint16)
    steps = ((flat * 15 + 127) // 255).astype(np.uint8)  # nearest of 16 steps, 17 levels apart
    steps = np.append(steps, np.zeros(len(steps) % 2, dtype=np.uint8)).reshape(-1, 2)
    packed = (steps[:, 0] << 4 | steps[:, 1]).tobytes()
    return base64.urlsafe_b64encode(zlib.compress(packed, 9)).rstrip(b"=").decode("ascii")


def drawing_from_text(text: str, side: int = 28) -> bytes:
    """The levels (side * side bytes, multiples of 17) of a text that `drawing_to_text` wrote.

    Raises InputError for anything else; a text that would unpack to more than the drawing is never unpacked
    further.
    """
    side = whole(side, "The drawing's side", MIN_SIDE, 64)
    size = (side * side + 1) // 2  # bytes
    broken = InputError("The drawing in the link cannot be read: copy the whole link again, or draw anew.")
    if not isinstance(text, str) or len(text) > 2 * size + 64 or not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise broken
    try:
        stream = zlib.decompressobj()
        packed = stream.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), size + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise broken from error
    if len(packed) != size or not stream.eof or stream.unused_data:
        raise broken
    pairs = np.frombuffer(packed, dtype=np.uint8)
    steps = np.stack([pairs >> 4, pairs & 15], axis=1).reshape(-1)
    if steps[side * side :].any():  # the spare half byte of an odd side
        raise broken
    return (steps[: side * side] * 17).tobytes()
