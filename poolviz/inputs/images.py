"""Pictures from every source that the explorer offers, as small float tensors.

Each public function returns a `Picture` or raises `InputError`, whose message is one sentence for a student.
Heavy packages (scikit-learn, torchvision, Pillow) are imported where they are used, or only their data files
are read, so that the first paint of the app does not wait for them.

What this module does not know: pages, widgets, charts, feature maps and pooling. It keeps no state but caches
of files that do not change, and writes nothing but a data set that the caller asked it to download.
"""

from __future__ import annotations

import base64
import binascii
import functools
import importlib.util
import math
import numbers
import operator
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from http.client import HTTPException
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DIGIT_COUNT = 1797  # pictures in scikit-learn's digits
PHOTOGRAPHS = ("flower", "china")

# raster only: no PostScript, no SVG, nothing that runs
UPLOAD_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
UPLOAD_MAX_BYTES = 20 * 1024 * 1024
UPLOAD_MAX_SIDE = 8_192  # pixels
UPLOAD_MAX_PIXELS = 40_000_000
MIN_SIDE = 4  # pixels: below it there is hardly a window to pool

GRID_SIDES = (4, 12)  # least and most rows, and columns
GRID_LIMIT = 1e6  # largest magnitude of a cell: float32 still shows it with an exact first decimal
GRID_TEXT_LIMIT = 8_000  # characters: 144 cells of the longest float and their separators are 3,700

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
IDX_FOLDERS = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}  # also torchvision's class names


class InputError(ValueError):
    """An input that cannot be used; the message is one sentence: what was wrong and what to do."""


@dataclass(frozen=True, eq=False)  # eq=False: comparing tensors gives no single truth value
class Picture:
    """A picture in its own units; what one unit means is said by the function that made it."""

    pixels: Tensor  # (C, H, W) float32
    channels: tuple[str, ...]  # C names
    note: str = ""  # one sentence on what was done to the input, "" if nothing


# ---- what several sources share ----


def _shown(value: object, longest: int = 40) -> str:
    """A bad value as a message can show it: its repr, shortened."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print an int of more than 4,300 digits
        text = f"a very long {type(value).__name__}"
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _whole(value: object, what: str, low: int, high: int) -> int:
    """`value` as an int within low..high, or InputError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or not low <= number <= high:
        raise InputError(f"{what} must be a whole number from {low:,} to {high:,}, not {_shown(value)}.")
    return number


def _sklearn_file(*parts: str) -> Path:
    """A data file inside the installed scikit-learn, found without its import, which costs two seconds."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("scikit-learn is not installed, so its pictures are missing: pip install scikit-learn.")
    path = Path(spec.submodule_search_locations[0], "datasets", *parts)
    if not path.is_file():
        raise InputError(f"The installed scikit-learn holds no {path.name}: install scikit-learn again.")
    return path


def _tensor(image) -> Tensor:
    """A Pillow image of mode L, RGB (0..255) or F (0..1 already) as (C, H, W) float32 in 0..1."""
    levels = np.array(image, dtype=np.float32)
    if image.mode == "F":
        levels = levels.clip(0.0, 1.0)  # Lanczos overshoots a little beside sharp edges
    else:
        levels /= 255.0
    return torch.from_numpy(levels.reshape(*levels.shape[:2], -1)).permute(2, 0, 1).contiguous()


# ---- handwritten digits of scikit-learn ----


@functools.lru_cache(maxsize=1)
def _digits() -> tuple[Tensor, tuple[int, ...]]:
    """All digits: (1797, 8, 8) float32 in 0..16, and their labels."""
    # np.loadtxt unpacks the .gz itself
    table = np.loadtxt(_sklearn_file("data", "digits.csv.gz"), delimiter=",", dtype=np.float32)
    return torch.from_numpy(table[:, :64].reshape(-1, 8, 8).copy()), tuple(int(label) for label in table[:, 64])


def digit(index: int) -> Picture:
    """Digit number `index` (0..1796) of scikit-learn's `load_digits`: (1, 8, 8), native values 0..16.

    Raises InputError for an index that is no whole number or out of range.
    """
    index = _whole(index, "The digit's number", 0, DIGIT_COUNT - 1)
    return Picture(_digits()[0][index].clone()[None], ("intensity",))


def digit_label(index: int) -> int:
    """The digit (0..9) that picture `index` shows. Raises InputError as `digit` does."""
    return _digits()[1][_whole(index, "The digit's number", 0, DIGIT_COUNT - 1)]


# ---- MNIST and Fashion-MNIST ----


def _cache_folder() -> Path:
    return Path(os.path.expanduser("~"), ".cache", "poolviz")


def _idx_folder(dataset: str) -> str:
    if dataset not in IDX_FOLDERS:
        raise InputError(f"There is no data set {_shown(dataset)}: choose one of {', '.join(IDX_FOLDERS)}.")
    return IDX_FOLDERS[dataset]


def _data_folders() -> list[Path]:
    """Where data sets are looked for, first to last."""
    named = os.environ.get("POOLVIZ_DATA")
    return ([Path(named)] if named else []) + [_cache_folder()]


def mnist_root(dataset: str = "mnist") -> Path | None:
    """The first folder that holds all four IDX files of `dataset` (`MNIST/raw/*` or `FashionMNIST/raw/*`).

    Looks at the folder that POOLVIZ_DATA names, then at ~/.cache/poolviz; None when neither holds them.
    Raises InputError for an unknown data set.
    """
    folder = _idx_folder(dataset)
    for root in _data_folders():
        if all((root / folder / "raw" / name).is_file() for name in IDX_FILES):
            return root
    return None


def _missing_sentence(dataset: str) -> str:
    folder = _idx_folder(dataset)
    raw = _data_folders()[0] / folder / "raw"
    missing = next((name for name in IDX_FILES if not (raw / name).is_file()), IDX_FILES[0])
    return (
        f"{folder} is not at hand ({raw / missing} is missing): set POOLVIZ_DATA to a folder laid out as "
        f"{folder}/raw/*, or download it with a network."
    )


def _download(dataset: str) -> Path:
    """Fetch `dataset` into ~/.cache/poolviz by torchvision, which checks the md5 of each archive."""
    from torchvision import datasets

    home, folder = _cache_folder(), _idx_folder(dataset)
    try:
        target = home / folder / "raw"
        target.mkdir(parents=True, exist_ok=True)
        # Unpacked aside, then moved file by file: another session never reads, or leaves, half a file.
        with tempfile.TemporaryDirectory(dir=home, prefix="download-") as scratch:
            getattr(datasets, folder)(root=scratch, download=True)
            for name in IDX_FILES:
                os.replace(Path(scratch, folder, "raw", name), target / name)
    except (OSError, RuntimeError, HTTPException) as error:
        raise InputError(
            f"{folder} could not be downloaded to {home} (is there a network, and room on the disk?): try "
            f"again with one, or set POOLVIZ_DATA to a folder laid out as {folder}/raw/*."
        ) from error
    return home


@functools.lru_cache(maxsize=4)
def _idx_set(root: Path, dataset: str, split: str) -> tuple[Tensor, Tensor]:
    """One split: images (n, 28, 28) uint8 and labels (n,), read by torchvision."""
    from torchvision import datasets

    folder = _idx_folder(dataset)
    sentence = (
        f"The {split} files of {folder} in {root / folder / 'raw'} are damaged or cut short: delete that "
        "folder, then copy or download the data set again."
    )
    try:
        data = getattr(datasets, folder)(root=root, train=split == "train", download=False)
        images, labels = data.data, data.targets
    # torchvision checks the header by assertions, a table look-up and a reshape
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError, LookupError) as error:
        raise InputError(sentence) from error
    if images.shape[1:] != (28, 28) or len(images) != len(labels) or len(images) == 0:
        raise InputError(sentence)
    return images, labels


def _idx_item(index: int, dataset: str, split: str, download: bool) -> tuple[Tensor, int]:
    if split not in ("train", "test"):
        raise InputError(f"There is no split {_shown(split)}: choose train or test.")
    root = mnist_root(dataset)
    if root is None:
        if not download:
            raise InputError(_missing_sentence(dataset))
        root = _download(dataset)
    images, labels = _idx_set(root, dataset, split)
    index = _whole(index, "The picture's number", 0, len(images) - 1)
    return images[index], int(labels[index])


def mnist(index: int, dataset: str = "mnist", split: str = "test", download: bool = False) -> Picture:
    """Picture `index` of MNIST or Fashion-MNIST: (1, 28, 28) in 0..1.

    dataset: "mnist" or "fashion-mnist"; split: "test" or "train"; download: fetch it to ~/.cache/poolviz
    where it is at hand neither there nor in POOLVIZ_DATA. Raises InputError for files missing, damaged or not
    to be downloaded, for unknown names and for an index out of range.
    """
    image, _ = _idx_item(index, dataset, split, download)
    return Picture(image[None].float() / 255.0, ("intensity",))


def mnist_label(index: int, dataset: str = "mnist", split: str = "test", download: bool = False) -> int:
    """The class (0..9) of the picture that `mnist` gives for these arguments; raises InputError like it."""
    return _idx_item(index, dataset, split, download)[1]


# ---- sample photographs ----


def photograph(name: str, size: int = 112) -> Picture:
    """A sample photograph of scikit-learn, (3, size, size) RGB in 0..1: centre square, antialiased.

    name: one of PHOTOGRAPHS; size: 4 to 427 pixels (the photographs are 640 x 427). Raises InputError
    otherwise.
    """
    if name not in PHOTOGRAPHS:
        raise InputError(f"There is no photograph {_shown(name)}: choose one of {', '.join(PHOTOGRAPHS)}.")
    size = _whole(size, "The photograph's size", MIN_SIDE, 427)
    from PIL import Image

    with Image.open(_sklearn_file("images", f"{name}.jpg")) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").crop((left, top, left + side, top + side))
        square = square.resize((size, size), Image.Resampling.LANCZOS)
    return Picture(_tensor(square), ("red", "green", "blue"))


# ---- uploads: bytes from a stranger ----


def _short_name(name: object) -> str:
    """A file's name on one line, at most 60 characters, the ending kept."""
    text = "".join(c for c in str(name) if c.isprintable()).strip() or "the file"
    return text if len(text) <= 60 else f"{text[:44]}…{text[-15:]}"


def _not_an_image(data: bytes, name: str) -> InputError:
    """The sentence for bytes that no accepted decoder recognises; the usual suspects are named."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    accepted = f"use {', '.join(UPLOAD_FORMATS[:-1])} or {UPLOAD_FORMATS[-1]}"
    if b"<svg" in head:
        return InputError(f"{name} is an SVG drawing, not pixels: {accepted}.")
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return InputError(f"{name} is a web page or other text, not an image: {accepted}.")
    if data[4:8] == b"ftyp":  # the container of HEIC, AVIF and films
        return InputError(f"{name} is a HEIC or AVIF picture or a film, which is not read here: {accepted}.")
    return InputError(f"{name} is not an image, or its beginning is damaged: {accepted}.")


def _check_size(width: int, height: int, name: str) -> None:
    if max(width, height) > UPLOAD_MAX_SIDE or width * height > UPLOAD_MAX_PIXELS:
        raise InputError(
            f"{name} is {width:,} x {height:,} pixels; at most {UPLOAD_MAX_SIDE:,} a side and "
            f"{UPLOAD_MAX_PIXELS:,} in all are read: make it smaller first."
        )
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"{name} is {width:,} x {height:,} pixels, too few to pool over: choose one of at least "
            f"{MIN_SIDE} x {MIN_SIDE}."
        )


def _open(data: bytes, name: str):
    """The Pillow image with its header read and checked; no pixel is decoded yet."""
    from PIL import Image

    if not data:
        raise InputError(f"{name} is empty (0 bytes): choose another file.")
    if len(data) > UPLOAD_MAX_BYTES:
        raise InputError(
            f"{name} has {len(data):,} bytes; at most {UPLOAD_MAX_BYTES:,} are read: make it smaller first."
        )
    try:
        image = Image.open(BytesIO(data), formats=UPLOAD_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow's own guard came first and keeps width and height to itself; its message has their product.
        count = re.search(r"\((\d+) pixels\)", str(error))
        has = f"has {int(count[1]):,} pixels" if count else "has too many pixels"
        raise InputError(
            f"{name} {has}; at most {UPLOAD_MAX_SIDE:,} a side and {UPLOAD_MAX_PIXELS:,} in all are read: "
            "make it smaller first."
        ) from error
    except Exception as error:  # Pillow's parsers raise almost anything on damaged bytes; none may reach a page
        raise _not_an_image(data, name) from error
    _check_size(*image.size, name)
    return image


def _upright(image, orientation: object):
    """`image` turned and mirrored as EXIF `orientation` (1..8) asks; an unknown value leaves it as it is."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _orientation(image) -> object:
    try:
        return image.getexif().get(0x0112)  # the tag's number in the EXIF standard
    except Exception:  # a damaged EXIF block raises almost anything and is no reason to refuse the pixels
        return None


def _deep(image, notes: list[str]):
    """A picture of 16-bit, 32-bit or float levels as mode F in 0..1."""
    from PIL import Image

    levels = np.asarray(image).astype(np.float64)
    if not np.isfinite(levels).all():
        raise InputError("")  # the caller, who knows the file's name, says it
    low, high = float(levels.min()), float(levels.max())
    if image.mode != "F" and low >= 0 and high <= 65_535:
        levels, how = levels / 65_535, "16-bit values divided by 65,535"
    elif image.mode == "F" and low >= 0 and high <= 1:
        how = ""
    else:
        levels, how = (
            (levels - low) / ((high - low) or 1.0),
            f"values {low:g} to {high:g} stretched to 0 to 1",
        )
    if how:
        notes.append(how)
    return Image.fromarray(levels.astype(np.float32))


def _on_white(image, notes: list[str]):
    """A picture with an alpha channel or a transparent colour, laid on white: mode RGB."""
    from PIL import Image

    clear = image.convert("RGBA")
    alpha = clear.getchannel("A")
    if alpha.getextrema()[0] < 255:
        notes.append("transparent parts laid on white")
    white = Image.new("RGB", image.size, "white")
    white.paste(clear, mask=alpha)
    return white


def _plain(image, notes: list[str]):
    """Any decoded mode as L (grey), RGB (colour) or F (grey in 0..1); what was done is added to `notes`."""
    from PIL import ImageChops

    if image.mode == "F" or image.mode.startswith("I"):
        return _deep(image, notes)
    seen_through = "A" in image.getbands() or "transparency" in image.info
    if image.mode == "CMYK":
        notes.append("converted from CMYK to RGB")
    colour = _on_white(image, notes) if seen_through else image
    if image.mode in ("1", "L", "LA"):
        return colour.convert("L")
    colour = colour.convert("RGB")
    if image.mode in ("P", "PA"):  # a palette does not say whether it is grey: look at the pixels
        red, green, blue = colour.split()
        if not ImageChops.difference(red, green).getbbox() and not ImageChops.difference(green, blue).getbbox():
            return red
    return colour


def _has_second_frame(image) -> bool:
    if image.format not in ("GIF", "WEBP", "PNG", "TIFF"):
        return False
    try:
        image.seek(1)  # one step: counting all frames of a crafted file could take minutes
    except Exception:  # EOFError for a single frame; a damaged second frame does not matter, the first is read
        return False
    return True


def _decode(image, name: str, notes: list[str]):
    """Header -> upright first frame of mode L, RGB or F."""
    damaged = f"{name} is damaged or cut short, its pixels cannot be decoded: save or send the picture again."
    try:
        image.load()
        plain = _upright(_plain(image, notes), _orientation(image))
    except InputError as error:
        raise InputError(f"{name} holds values that are no finite numbers (nan or inf): mend them first.") from error
    except Exception as error:  # see _open: decoders raise almost anything on damaged bytes
        raise InputError(damaged) from error
    if _has_second_frame(image):
        notes.append("first frame of several")
    _check_size(*plain.size, name)  # a decoder may have found another size than the header's
    return plain


def _reduced(image, size: int, name: str, notes: list[str]):
    """`image` with its longest side reduced to `size`; a smaller one stays as it is."""
    from PIL import Image

    width, height = image.size
    scale = size / max(width, height)
    if scale >= 1:
        return image
    new = (round(width * scale), round(height * scale))
    if min(new) < MIN_SIDE:
        raise InputError(
            f"{name} is {width:,} x {height:,} pixels, too thin to be reduced to {size:,} on its longer side: crop it."
        )
    notes.append(f"reduced from {width:,} x {height:,} to {new[0]:,} x {new[1]:,} pixels")
    return image.resize(new, Image.Resampling.LANCZOS)


def upload(data: bytes, name: str, size: int = 112) -> Picture:
    """An uploaded picture in 0..1: (1, H, W) "intensity" if grey, (3, H, W) "red", "green", "blue" if colour.

    data: the file's bytes (PNG, JPEG, WEBP, BMP, GIF, TIFF), decoded by Pillow; name: for messages only;
    size: the longest side is reduced to it, in pixels, the ratio kept, never enlarged. EXIF orientation is
    applied, alpha is laid on white, 16-bit levels are divided by 65,535, of several frames the first is
    taken; `note` says what was done.

    Raises InputError for what is no such image, damaged, empty, above 20 MB, 8,192 pixels a side or 40
    megapixels (both from the header, before a pixel is decoded), or below 4 x 4 pixels.
    """
    name = _short_name(name)
    size = _whole(size, "The picture's size", MIN_SIDE, UPLOAD_MAX_SIDE)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InputError(f"{name} came as {type(data).__name__}, not as bytes: choose the file again.")
    notes: list[str] = []
    with _open(bytes(data), name) as image:
        plain = _reduced(_decode(image, name, notes), size, name, notes)
    pixels = _tensor(plain)
    note = "; ".join(notes)
    channels = ("intensity",) if len(pixels) == 1 else ("red", "green", "blue")
    return Picture(pixels, channels, f"{note[0].upper()}{note[1:]}." if note else "")


# ---- a number grid, edited by hand ----

# ASCII digits, a point or a comma before decimals: float() alone also takes "1_000", "nan" and "infinity"
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
        raise InputError(f"{where} holds {_shown(value)}, which is not a number: write one, such as 0.5.")
    if abs(number) > GRID_LIMIT:
        raise InputError(f"{where} holds {_shown(value)}; numbers from -1,000,000 to 1,000,000 are taken.")
    return number


def _cells(rows: Sequence[Sequence[object]]) -> list[list[float]]:
    """A checked grid of floats."""
    least, most = GRID_SIDES
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | dict):
        raise InputError(f"The grid must be a list of rows, not {_shown(rows)}.")
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
        raise InputError(f"The grid in the link must be text, not {_shown(text)}.")
    if len(text) > GRID_TEXT_LIMIT:
        raise InputError(f"The grid in the link has {len(text):,} characters; at most {GRID_TEXT_LIMIT:,} are read.")
    return _cells([row.split(",") for row in text.split(";")])


# ---- a drawing ----


def _levels(levels: bytes | Sequence[int], side: int) -> bytes:
    """The side * side levels 0..255, row by row, checked."""
    side = _whole(side, "The drawing's side", MIN_SIDE, 64)
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
    side = _whole(side, "The drawing's side", MIN_SIDE, 64)
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
