"""Pictures from every source, against scikit-learn, Pillow and torchvision; each bad input's sentence."""

import base64
import contextlib
import gzip
import io
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from poolviz.inputs import images, samples
from poolviz.inputs.images import InputError

torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]


def sentence(call, *arguments, **named) -> str:
    """The one sentence of the InputError that a call raises."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **named)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 500
    return text


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height: int, width: int, *bands: int, top: int = 256, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, (height, width, *bands)).astype(dtype)


# ---- digits and photographs ----


def test_digits_equal_scikit_learns():
    from sklearn.datasets import load_digits

    truth = load_digits()
    assert len(truth.images) == images.DIGIT_COUNT
    for index in range(images.DIGIT_COUNT):
        assert (images.digit(index).pixels[0].numpy() == truth.images[index]).all()
        assert images.digit_label(index) == truth.target[index]
    picture = images.digit(0)
    assert picture.pixels.shape == (1, 8, 8) and picture.pixels.dtype == torch.float32
    assert picture.channels == ("intensity",) and picture.note == ""


def test_a_changed_digit_does_not_change_the_next_one():
    images.digit(0).pixels.fill_(99)
    assert images.digit(0).pixels.max() <= 16


@pytest.mark.parametrize("index", [-1, 1797, 1.5, "1", None, pytest.param(10**5000, id="huge")])
def test_digit_out_of_range(index):
    assert "from 0 to 1,796" in sentence(images.digit, index)
    assert "from 0 to 1,796" in sentence(images.digit_label, index)


def test_a_digit_imports_no_heavy_package():
    code = (
        "import sys; from poolviz.inputs import images, features, models\n"
        "images.digit(3); models.weights_at_hand()\n"
        "print([m for m in ('sklearn', 'torchvision', 'PIL', 'streamlit', 'altair') if m in sys.modules])"
    )
    environment = {**os.environ, "TORCH_HOME": "/nonexistent"}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", images.PHOTOGRAPHS)
def test_photographs_equal_pillows_reduction_of_scikit_learns(name):
    from sklearn.datasets import load_sample_image

    whole = load_sample_image(f"{name}.jpg")
    left = (640 - 427) // 2
    truth = Image.fromarray(whole[:, left : left + 427]).resize((112, 112), Image.Resampling.LANCZOS)
    picture = images.photograph(name)
    assert picture.pixels.shape == (3, 112, 112) and picture.channels == ("red", "green", "blue")
    assert np.array_equal((picture.pixels * 255).round().permute(1, 2, 0).byte().numpy(), np.asarray(truth))
    assert images.photograph(name, 427).pixels.shape == (3, 427, 427)


def test_photograph_refused():
    assert "flower, china" in sentence(images.photograph, "cat")
    for size in (3, 428, 1.5):
        assert "4 to 427" in sentence(images.photograph, "china", size)


# ---- MNIST ----


def write_idx(root: Path, folder: str = "MNIST", count: int = 3) -> np.ndarray:
    """A tiny data set in torchvision's layout; returns the pictures, the same in both splits."""
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    pictures = noise(count * 28, 28).reshape(count, 28, 28)
    for split in ("train", "t10k"):
        (raw / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + pictures.tobytes())
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + bytes(range(count)))
    return pictures


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A home and a POOLVIZ_DATA that hold nothing, and a network that refuses at once."""
    import urllib.request

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path / "data"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(urllib.request, "_opener", None)  # else proxies read earlier in this process stay in use
    samples._idx_set.cache_clear()
    return tmp_path


@pytest.mark.parametrize("dataset, folder", images.IDX_FOLDERS.items())
@pytest.mark.parametrize("place", ["data", "home/.cache/poolviz"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_mnist_from_a_small_set(bare, dataset, folder, place, split):
    assert images.mnist_root(dataset) is None
    pictures = write_idx(bare / place, folder)
    assert images.mnist_root(dataset) == bare / place
    picture = images.mnist(2, dataset, split)
    assert picture.pixels.shape == (1, 28, 28) and picture.pixels.dtype == torch.float32
    assert np.array_equal(picture.pixels[0].numpy(), pictures[2].astype(np.float32) / 255)
    assert images.mnist_label(2, dataset, split) == 2
    assert "from 0 to 2" in sentence(images.mnist, 3, dataset, split)


def test_mnist_missing(bare):
    text = sentence(images.mnist, 0)
    assert "train-images-idx3-ubyte is missing" in text and "POOLVIZ_DATA" in text and "network" in text
    write_idx(bare / "data")
    (bare / "data/MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    assert "t10k-labels-idx1-ubyte is missing" in sentence(images.mnist_label, 0)


def test_mnist_download_without_a_network(bare):
    for dataset in images.IDX_FOLDERS:
        assert "could not be downloaded" in sentence(images.mnist, 0, dataset, download=True)
    assert not list((bare / "home").rglob("*ubyte*"))  # nothing half done is left behind


def test_mnist_download(bare, monkeypatch):
    from torchvision import datasets

    monkeypatch.setattr(datasets.MNIST, "download", lambda self: write_idx(Path(self.root)))
    assert images.mnist_label(1, download=True) == 1
    assert images.mnist_root() == bare / "home/.cache/poolviz"
    assert not list((bare / "home/.cache/poolviz").glob("download-*"))


@pytest.mark.parametrize("damage", [b"", b"\0", b"<html>not found</html>", "cut", "labels", "shape"])
def test_mnist_damaged(bare, damage):
    write_idx(bare / "data")
    raw = bare / "data/MNIST/raw"
    pictures, labels = raw / "t10k-images-idx3-ubyte", raw / "t10k-labels-idx1-ubyte"
    if damage == "cut":
        pictures.write_bytes(pictures.read_bytes()[:-1])
    elif damage == "labels":
        labels.write_bytes(struct.pack(">2i", 2049, 2) + b"\0\1")
    elif damage == "shape":
        pictures.write_bytes(struct.pack(">4i", 2051, 3, 4, 4) + bytes(48))
    else:
        pictures.write_bytes(damage)
    assert "damaged or cut short" in sentence(images.mnist, 0)
    assert images.mnist_label(1, split="train") == 1  # the other split is whole


def test_mnist_unknown_names(bare):
    write_idx(bare / "data")
    assert "mnist, fashion-mnist" in sentence(images.mnist, 0, "cifar")
    assert "train or test" in sentence(images.mnist, 0, "mnist", "validation")


@pytest.mark.skipif("POOLVIZ_DATA" not in os.environ, reason="POOLVIZ_DATA is not set")
def test_real_mnist_equals_torchvisions():
    from torchvision.datasets import MNIST

    truth = MNIST(os.environ["POOLVIZ_DATA"], train=False)
    for index in (0, 4_321, 9_999):
        image, label = truth[index]
        assert np.array_equal((images.mnist(index).pixels[0] * 255).round().byte().numpy(), np.asarray(image))
        assert images.mnist_label(index) == label


# ---- uploads ----

COLOUR = Image.fromarray(noise(20, 30, 3))
GREY = Image.fromarray(noise(20, 30))


@pytest.mark.parametrize("kind, options", [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {})])
@pytest.mark.parametrize("image", [COLOUR, GREY], ids=["colour", "grey"])
def test_upload_keeps_small_pictures_exactly(kind, options, image):
    data = encoded(image, kind, **options)
    picture = images.upload(data, "a picture")
    truth = np.asarray(Image.open(io.BytesIO(data)))
    bands = 1 if truth.ndim == 2 else 3  # WEBP has no grey mode
    assert picture.pixels.dtype == torch.float32 and picture.pixels.is_contiguous()
    assert picture.channels == (("intensity",) if bands == 1 else ("red", "green", "blue"))
    assert np.array_equal((picture.pixels * 255).round().numpy(), truth.reshape(20, 30, bands).transpose(2, 0, 1))
    assert picture.note == ""


MODES = {
    "1-bit": (GREY.convert("1"), "PNG", GREY.convert("1").convert("L")),
    "colour palette": (COLOUR.quantize(16), "PNG", COLOUR.quantize(16).convert("RGB")),
    "grey palette": (GREY.convert("P"), "GIF", GREY),
    "JPEG": (COLOUR, "JPEG", None),
    "grey JPEG": (GREY, "JPEG", None),
    "CMYK JPEG": (COLOUR.convert("CMYK"), "JPEG", None),
    "CMYK TIFF": (COLOUR.convert("CMYK"), "TIFF", COLOUR.convert("CMYK").convert("RGB")),
}


@pytest.mark.parametrize("case", MODES)
def test_upload_modes(case):
    image, kind, truth = MODES[case]
    data = encoded(image, kind)
    if truth is None:  # lossy: as Pillow decodes it
        truth = Image.open(io.BytesIO(data))
        truth = truth if truth.mode == "L" else truth.convert("RGB")
    got = (images.upload(data, case).pixels * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(got, np.asarray(truth).reshape(20, 30, -1))


def test_upload_is_reduced_with_its_ratio_kept():
    image = Image.fromarray(noise(300, 200, 3))
    picture = images.upload(encoded(image), "tall.png", size=90)
    truth = np.asarray(image.resize((60, 90), Image.Resampling.LANCZOS))
    assert np.array_equal((picture.pixels * 255).round().byte().permute(1, 2, 0).numpy(), truth)
    assert picture.note == "Reduced from 200 x 300 to 60 x 90 pixels."


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_upload_applies_exif_orientation(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(COLOUR, kind, exif=exif)
    truth = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    picture = images.upload(data, "turned")
    assert np.array_equal((picture.pixels * 255).round().byte().permute(1, 2, 0).numpy(), truth)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_upload_lays_transparency_on_white(mode):
    image, options = Image.fromarray(noise(20, 30, 4)), {}
    if mode == "LA":
        image = image.convert("LA")
    elif mode == "P":
        image, options = COLOUR.quantize(16), {"transparency": 3}
    elif mode == "L":
        image, options = GREY.quantize(8).convert("L"), {}
        options = {"transparency": image.getpixel((0, 0))}
    data = encoded(image, **options)
    clear = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(float) / 255
    truth = clear[..., :3] * clear[..., 3:] + (1 - clear[..., 3:])
    picture = images.upload(data, "clear.png")
    assert len(picture.pixels) == (1 if mode in ("LA", "L") else 3)
    assert np.allclose(picture.pixels.expand(3, -1, -1).permute(1, 2, 0).numpy(), truth, atol=1.01 / 255)
    assert picture.note == "Transparent parts laid on white."


def test_an_opaque_alpha_channel_gets_no_note():
    picture = images.upload(encoded(COLOUR.convert("RGBA")), "opaque.png")
    assert picture.note == "" and np.array_equal((picture.pixels[0] * 255).round().numpy(), np.asarray(COLOUR)[..., 0])


@pytest.mark.parametrize(
    "levels, kind, scaled, note",
    [
        (
            noise(9, 9, top=65_536, dtype=np.uint16),
            "PNG",
            lambda x: x / 65_535,
            "16-bit values divided by 65,535.",
        ),
        (
            noise(9, 9, top=65_536, dtype=np.uint16),
            "TIFF",
            lambda x: x / 65_535,
            "16-bit values divided by 65,535.",
        ),
        (
            noise(9, 9, top=65_536, dtype=np.int32),
            "TIFF",
            lambda x: x / 65_535,
            "16-bit values divided by 65,535.",
        ),
        (
            np.arange(16, dtype=np.int32).reshape(4, 4) * 10_000,
            "TIFF",
            lambda x: x / 150_000,
            "Values 0 to 150000",
        ),
        (np.arange(16, dtype=np.float32).reshape(4, 4) / 15, "TIFF", lambda x: x, ""),
        (
            np.arange(16, dtype=np.float32).reshape(4, 4) - 3,
            "TIFF",
            lambda x: (x + 3) / 15,
            "Values -3 to 12",
        ),
        (np.full((4, 4), 7, dtype=np.float32), "TIFF", lambda x: x * 0, "Values 7 to 7"),
    ],
)
def test_upload_deep_levels(levels, kind, scaled, note):
    picture = images.upload(encoded(Image.fromarray(levels), kind), "deep")
    assert picture.channels == ("intensity",)
    assert np.allclose(picture.pixels[0].numpy(), scaled(levels.astype(float)), atol=1e-6)
    assert picture.note.startswith(note) and bool(picture.note) == bool(note)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_upload_takes_the_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    data = encoded(
        frames[0],
        kind,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if kind == "WEBP" else {}),
    )
    picture = images.upload(data, "film")
    assert picture.pixels[:, 0, 0].tolist() == [1, 0, 0] and picture.note == "First frame of several."


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises width x height pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


NAN = Image.fromarray(np.full((4, 4), np.nan, dtype=np.float32))
BAD_UPLOADS = {
    "empty": (b"", "is empty (0 bytes)"),
    "text": (b"hello, world", "is not an image"),
    "SVG": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
    "HTML": (b"\xef\xbb\xbf <!DOCTYPE html><html></html>", "is a web page"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
    "PDF": (b"%PDF-1.7", "is not an image"),
    "PPM, known to Pillow but not accepted": (encoded(COLOUR, "PPM"), "is not an image"),
    "header only": (encoded(COLOUR)[:12], "is not an image"),
    "cut PNG": (encoded(COLOUR)[:-200], "damaged or cut short"),
    "cut JPEG": (encoded(COLOUR, "JPEG")[:-200], "damaged or cut short"),
    "cut BMP": (encoded(COLOUR, "BMP")[:-200], "damaged or cut short"),
    "too large a file": (bytes(20 * 1024 * 1024 + 1), "has 20,971,521 bytes; at most 20,971,520"),
    "too wide": (bomb(20_000, 100), "is 20,000 x 100 pixels; at most 8,192 a side"),
    "too tall": (bomb(4, 8_193), "is 4 x 8,193 pixels"),
    "41 megapixels": (
        bomb(8_000, 5_125),
        "is 8,000 x 5,125 pixels; at most 8,192 a side and 40,000,000 in all",
    ),
    "100 megapixels": (bomb(10_000, 10_000), "is 10,000 x 10,000 pixels"),
    "Pillow's own limit": (bomb(20_000, 20_000), "has 400,000,000 pixels; at most 8,192 a side"),
    "one pixel": (
        encoded(COLOUR.resize((1, 1))),
        "is 1 x 1 pixels, too few to pool over: choose one of at least 4 x 4",
    ),
    "three rows": (encoded(COLOUR.resize((30, 3))), "is 30 x 3 pixels"),
    "too thin": (encoded(Image.new("L", (4_000, 5))), "is 4,000 x 5 pixels, too thin"),
    "nan": (encoded(NAN, "TIFF"), "no finite numbers"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", BAD_UPLOADS)
def test_bad_uploads(case):
    data, expected = BAD_UPLOADS[case]
    text = sentence(images.upload, data, "picture.png")
    assert expected in text and text.startswith("picture.png ")


def test_a_bomb_is_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    sentence(images.upload, bomb(8_000, 8_000), "bomb.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's warning as an error, as a strict host may set it
        sentence(images.upload, bomb(10_000, 10_000), "bomb.png")


def test_long_and_odd_names_are_shortened():
    text = sentence(images.upload, b"", "x" * 300 + "\n\x1b[31m.png")
    assert text.index(" is empty") == 60 and ".png is empty" in text
    assert sentence(images.upload, b"", "").startswith("the file is empty")
    assert "not as bytes" in sentence(images.upload, "text", "a.png")
    assert "from 4 to 8,192" in sentence(images.upload, encoded(COLOUR), "a.png", size=0)


SEEDS = [
    encoded(COLOUR),
    encoded(COLOUR.convert("RGBA"), "WEBP"),
    encoded(COLOUR, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    encoded(COLOUR, "GIF", save_all=True, append_images=[GREY]),
    encoded(COLOUR, "TIFF", compression="tiff_lzw"),
    encoded(GREY, "BMP"),
    encoded(Image.fromarray(noise(9, 9, top=65_536, dtype=np.uint16))),
]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=500, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.integers(0, 12), st.floats(0.3, 1.2))
def test_damaged_uploads_raise_only_input_errors(seed, chance, flips, kept):
    data, draw = bytearray(seed), random.Random(chance)
    for _ in range(flips):  # headers matter most, so half the damage goes there
        data[draw.randrange(min(len(data), draw.choice((60, len(data)))))] = draw.randrange(256)
    try:
        picture = images.upload(bytes(data[: int(len(data) * kept)]), "fuzz", size=16)
    except InputError as error:
        assert str(error).startswith("fuzz ")
    else:
        assert torch.isfinite(picture.pixels).all() and 0 <= picture.pixels.min() <= picture.pixels.max() <= 1
        assert len(picture.channels) == len(picture.pixels) and max(picture.pixels.shape[1:]) <= 16


# ---- number grids ----


def table(cell: object = 0, height: int = 4, width: int = 4) -> list[list[object]]:
    """A grid of zeros with `cell` in row 2, column 1."""
    rows: list[list[object]] = [[0] * width for _ in range(height)]
    rows[2][1] = cell
    return rows


@pytest.mark.parametrize(
    "cell, value",
    [
        (3, 3),
        (0.1, 0.1),
        ("0.5", 0.5),
        ("0,5", 0.5),
        (" -2 ", -2),
        ("+1e3", 1000),
        (".5", 0.5),
        ("5.", 5),
        ("\u22121", -1),
    ]
    + [
        (np.float32(1.5), 1.5),
        (np.int64(-7), -7),
        (Decimal("0.25"), 0.25),
        (1e6, 1e6),
        ("-1000000", -1e6),
        ("1e-400", 0),
    ],
)
def test_grid_cells(cell, value):
    picture = images.grid(table(cell))
    assert picture.pixels.shape == (1, 4, 4) and picture.pixels.dtype == torch.float32
    assert picture.pixels[0, 2, 1] == torch.tensor(float(value)) and picture.pixels.count_nonzero() <= 1


@pytest.mark.parametrize(
    "cell, expected",
    [(None, "is blank"), ("", "is blank"), ("  ", "is blank"), ("cat", "holds 'cat', which is not a number")]
    + [
        (text, "is not a number")
        for text in ("nan", "inf", "1_000", "1,000.5", "1,2,3", "0x10", "٣", "1e", "-", "=1+1")
    ]
    + [
        (float("nan"), "holds nan, which is not a number"),
        (np.float64("nan"), "holds nan"),
        (True, "holds True"),
    ]
    + [
        (float("inf"), "holds inf; numbers from"),
        ("1e400", "holds '1e400'; numbers from"),
        (-1_000_001, "holds -1000001;"),
    ]
    + [
        pytest.param(10**400, "numbers from", id="large"),
        pytest.param(10**5000, "holds a very long int", id="huge"),
        (1j, "not a number"),
        ([1], "not a number"),
    ]
    + [
        (Decimal("sNaN"), "not a number"),
        (b"1", "not a number"),
        pytest.param("9" * 5000, "numbers from", id="long"),
        (object(), "not a number"),
    ],
)
def test_bad_grid_cells_are_named(cell, expected):
    text = sentence(images.grid, table(cell))
    assert text.startswith("Row 2, column 1 ") and expected in text and len(text) < 160


@pytest.mark.parametrize(
    "rows, expected",
    [
        (table(height=3), "3 rows and 4 columns; 4 x 4 to 12 x 12"),
        (table(width=13), "4 rows and 13 columns"),
        (table(height=13), "13 rows"),
        ([], "0 rows and 0 columns"),
        (table()[:3] + [[0] * 5], "Row 3 of the grid has 5 cells and row 0 has 4"),
        (None, "list of rows"),
        ("1,2;3,4", "list of rows"),
        (7, "list of rows"),
        ([1, 2, 3, 4], "must be a list of numbers"),
        (["1234"] * 4, "must be a list of numbers"),
    ],
)
def test_bad_grid_shapes(rows, expected):
    assert expected in sentence(images.grid, rows)


def test_grid_takes_arrays_and_every_size():
    for height in range(4, 13):
        values = np.random.default_rng(height).normal(size=(height, 16 - height))
        assert np.array_equal(images.grid(values).pixels[0].numpy(), values.astype(np.float32))


def test_grid_text_is_short():
    assert images.grid_to_text([[1, 2.5, "0,1", -3]] * 4) == ";".join(["1,2.5,0.1,-3"] * 4)


sizes = st.tuples(st.integers(4, 12), st.integers(4, 12))
grids = sizes.flatmap(
    lambda s: st.lists(st.lists(st.floats(-1e6, 1e6), min_size=s[1], max_size=s[1]), min_size=s[0], max_size=s[0])
)


@settings(max_examples=100, deadline=None)
@given(grids)
def test_grid_text_round_trip_is_exact(rows):
    text = images.grid_to_text(rows)
    assert images.grid_from_text(text) == rows and len(text) <= images.GRID_TEXT_LIMIT
    assert set(text) <= set("0123456789.,;e-")


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.text("0123456789.,;e-+ n"), st.lists(st.text("01,;.e-"), max_size=9).map(";".join)))
def test_any_text_gives_a_grid_or_an_input_error(text):
    with contextlib.suppress(InputError):
        images.grid(images.grid_from_text(text))


@pytest.mark.parametrize("text", ["", ";;;", "1,2,3", "1,2,3,x;" * 4, "1" * 9_000, None, 5, b"1,2"])
def test_bad_grid_text(text):
    sentence(images.grid_from_text, text)


# ---- drawings ----


def test_drawing():
    levels = noise(28, 28)
    for given_as in (levels.tobytes(), levels.reshape(-1).tolist()):
        picture = images.drawing(given_as)
        assert picture.pixels.shape == (1, 28, 28)
        assert np.array_equal(picture.pixels[0].numpy(), levels.astype(np.float32) / 255)


@pytest.mark.parametrize(
    "levels, expected",
    [
        (bytes(783), "783 cells, not 28 x 28 = 784"),
        ([256] * 784, "0 to 255"),
        ([0.5] * 784, "0 to 255"),
        ([-1] * 784, "0 to 255"),
    ]
    + [
        (None, "0 to 255"),
        (784, "0 to 255"),
        ("x" * 784, "0 to 255"),
        ([10**400] * 784, "0 to 255"),
        (b"", "0 cells"),
    ],
)
def test_bad_drawings(levels, expected):
    assert expected in sentence(images.drawing, levels)
    assert expected in sentence(images.drawing_to_text, levels)


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 33).flatmap(lambda side: st.tuples(st.just(side), st.binary(min_size=side**2, max_size=side**2))))
def test_drawing_text_round_trip(case):
    side, levels = case
    text = images.drawing_to_text(levels, side)
    back = images.drawing_from_text(text, side)
    nearest = np.rint(np.frombuffer(levels, np.uint8) / 17) * 17
    assert np.array_equal(np.frombuffer(back, np.uint8), nearest)
    assert images.drawing_to_text(back, side) == text and text.replace("-", "a").replace("_", "a").isalnum()


def test_a_blank_drawing_is_short_and_a_bomb_is_not_unpacked():
    text = images.drawing_to_text(bytes(784))
    assert len(text) < 40
    bomb_text = base64.urlsafe_b64encode(zlib.compress(bytes(300_000))).decode().rstrip("=")
    assert len(bomb_text) < 2 * 392  # it passes the text's own limit
    for bad in (
        bomb_text,
        text[:-1],
        text[:-4],
        text + "AAAA",
        "!" + text,
        text + "\n",
        "",
        "é",
        None,
        3,
        text * 99,
        "A",
    ):
        assert "cannot be read" in sentence(images.drawing_from_text, bad)
    assert "cannot be read" in sentence(images.drawing_from_text, text, 27)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.text("ABCabc019-_"),
        st.binary().map(lambda b: base64.urlsafe_b64encode(b).decode()),
    )
)
def test_any_text_gives_a_drawing_or_an_input_error(text):
    with contextlib.suppress(InputError):
        images.drawing(images.drawing_from_text(text))


def test_digits_file_is_what_scikit_learn_ships():
    with gzip.open(samples._sklearn_file("data", "digits.csv.gz"), "rt") as lines:
        assert sum(1 for _ in lines) == images.DIGIT_COUNT
