"""Uploads: bytes from a stranger, decoded to a picture or refused in one sentence.

Sizes are checked from the header, before any pixel is decoded. Pillow is imported when the first upload comes.
"""

from __future__ import annotations

import re
from io import BytesIO

import numpy as np

from poolviz.inputs.picture import MIN_SIDE, InputError, Picture, to_tensor, whole

# raster only: no PostScript, no SVG, nothing that runs
UPLOAD_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
UPLOAD_MAX_BYTES = 20 * 1024 * 1024
UPLOAD_MAX_SIDE = 8_192  # pixels
UPLOAD_MAX_PIXELS = 40_000_000


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
    size = whole(size, "The picture's size", MIN_SIDE, UPLOAD_MAX_SIDE)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InputError(f"{name} came as {type(data).__name__}, not as bytes: choose the file again.")
    notes: list[str] = []
    with _open(bytes(data), name) as image:
        plain = _reduced(_decode(image, name, notes), size, name, notes)
    pixels = to_tensor(plain)
    note = "; ".join(notes)
    channels = ("intensity",) if len(pixels) == 1 else ("red", "green", "blue")
    return Picture(pixels, channels, f"{note[0].upper()}{note[1:]}." if note else "")
