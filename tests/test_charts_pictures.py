"""Pictures and tables for downloads: decoded by Pillow, rendered by vl-convert, read back by pandas."""

import base64
import io
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from poolviz.charts.colour import DIVERGING, PALETTES
from poolviz.charts.compare import Setting, compare, with_coverage, with_difference, with_gradients
from poolviz.charts.pictures import (
    TILE,
    Tile,
    colourise,
    numbers_csv,
    picture_url,
    pictures_chart,
    render,
    stage_chart,
    stage_tiles,
)
from poolviz.charts.stage import Stage
from poolviz.inputs import images
from poolviz.pooling import POOLINGS

torch.set_num_threads(1)
SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
CAPTION = "handwritten digit 3 (no. 3), the image itself"


def stage(lens: str = "outputs", title: str = CAPTION, palette: str = "viridis", **chosen) -> Stage:
    setting = Setting(("max", "average"), **chosen)
    values = images.digit(3).pixels[0]
    shown = compare(values, setting, f"{title}\n{setting.describe()}", palette)
    lenses = {
        "outputs": lambda: shown,
        "difference": lambda: with_difference(shown, 0, 1),
        "gradient": lambda: with_gradients(shown, setting),
        "overlap": lambda: with_coverage(shown),
    }
    return lenses[lens]()


def decode(url: str) -> np.ndarray:
    head, data = url.split(",", 1)
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image.convert("RGBA"))


def rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def tile(values: torch.Tensor, low: float, high: float, ramp=PALETTES["viridis"]) -> Tile:
    return Tile("title", "subtitle", values, (low, high), ramp)


# ---- colours of cells


@pytest.mark.parametrize("ramp", [*PALETTES.values(), DIVERGING], ids=[*PALETTES, "diverging"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 3.0), (0.0, 1e6)])
def test_colourise_meets_every_anchor(ramp, low, high):
    at = torch.linspace(low, high, len(ramp), dtype=torch.float64)[None]
    pixels = colourise(at, (low, high), ramp)
    assert pixels.dtype == np.uint8 and pixels.shape == (1, len(ramp), 4)
    assert pixels[0].tolist() == [[*rgb(colour), 255] for colour in ramp]


def test_colourise_is_numpys_interpolation_between_anchors():
    values = torch.rand(20, 30, generator=torch.Generator().manual_seed(0)) * 5 - 1  # some beyond the range
    pixels = colourise(values, (0.0, 3.0), PALETTES["cividis"])
    anchors = np.array([rgb(colour) for colour in PALETTES["cividis"]], dtype=float)
    places = np.linspace(0, 3, len(anchors))
    for channel in range(3):
        truth = np.interp(values.double().numpy(), places, anchors[:, channel])  # np.interp clips as well
        assert np.abs(pixels[..., channel] - truth).max() <= 0.5 + 1e-6
    assert (pixels[..., 3] == 255).all()


def test_nan_is_transparent_and_infinity_the_end_of_the_scale():
    values = torch.tensor([[math.nan, math.inf, -math.inf, 0.0]])
    pixels = colourise(values, (-1.0, 1.0), DIVERGING)
    assert pixels[0, :, 3].tolist() == [0, 255, 255, 255]
    assert pixels[0, 1:, :3].tolist() == [rgb(DIVERGING[-1]), rgb(DIVERGING[0]), rgb(DIVERGING[5])]


def test_a_range_of_no_width_gives_the_lowest_colour():
    assert colourise(torch.zeros(1, 1), (0.0, 0.0), PALETTES["grey"]).tolist() == [[[0, 0, 0, 255]]]


@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (4, 7), (56, 56), (3, 112), (224, 224), (500, 500)])
def test_every_cell_is_a_uniform_block_of_its_colour(shape):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    pixels = decode(picture_url(tile(values, 0.0, 1.0)))
    scale = pixels.shape[0] // shape[0]
    assert pixels.shape == (shape[0] * scale, shape[1] * scale, 4)
    assert scale >= 1 and (max(shape) > 2 * TILE or abs(max(pixels.shape) - 2 * TILE) <= max(shape) / 2)
    blocks = pixels.reshape(shape[0], scale, shape[1], scale, 4)
    assert (blocks == colourise(values, (0.0, 1.0), PALETTES["viridis"])[:, None, :, None]).all()


def test_a_picture_keeps_nan_transparent():
    pixels = decode(picture_url(tile(torch.tensor([[math.nan, 1.0]]), 0.0, 1.0)))
    half = pixels.shape[1] // 2
    assert (pixels[:, :half, 3] == 0).all() and (pixels[:, half:, 3] == 255).all()


# ---- the stage's picture


@pytest.mark.parametrize(
    ("lens", "titles"),
    [
        ("outputs", ["Input", "Max", "Average"]),
        ("difference", ["Input", "Max", "Average", "Max − Average"]),
        ("gradient", ["Input", "Max", "Average", "Gradient: Max", "Gradient: Average"]),
        ("overlap", ["Input", "Max", "Average", "Windows that see a cell"]),
    ],
)
def test_tiles_are_the_stages_maps(lens, titles):
    shown = stage(lens)
    tiles = stage_tiles(shown)
    assert [t.title for t in tiles] == titles
    maps = [shown.values, *(o.values for o in shown.outputs), *(p.values for p in shown.panels)]
    for found, values in zip(tiles, maps, strict=True):
        assert torch.equal(found.values, values)
        assert found.subtitle.startswith(f"{values.shape[0]} × {values.shape[1]}")
    assert {t.value_range for t in tiles[:3]} == {shown.value_range}
    assert tiles[-1].ramp == (DIVERGING if lens == "difference" else PALETTES["viridis"])


def drawn(shown: Stage) -> tuple[ET.Element, str]:
    text = render(stage_chart(shown), "svg").decode()
    return ET.fromstring(text), text


@pytest.mark.parametrize("lens", ["outputs", "difference", "gradient", "overlap"])
def test_the_svg_holds_every_tile_in_its_colours_and_its_place(lens):
    shown = stage(lens)
    root, _ = drawn(shown)
    found = list(root.iter(f"{SVG}image"))
    tiles = stage_tiles(shown)
    assert len(found) == len(tiles) + 1  # the colour scale is the last
    corners = set()
    for element, each in zip(found, tiles, strict=False):
        pixels = decode(element.get("href") or element.get(HREF))
        scale = pixels.shape[0] // each.values.shape[0]
        truth = colourise(each.values, each.value_range, each.ramp)
        assert (pixels == truth.repeat(scale, 0).repeat(scale, 1)).all()
        width, height = float(element.get("width")), float(element.get("height"))
        tall, wide = each.values.shape
        assert max(width, height) == pytest.approx(TILE) and width / height == pytest.approx(wide / tall)
        corners.add(element.get("transform") or (element.get("x"), element.get("y")))
    assert len(corners) == len(tiles)
    strip = decode(found[-1].get("href") or found[-1].get(HREF))
    ramp = tiles[0].ramp
    assert strip[0, 0].tolist()[:3] == rgb(ramp[0]) and strip[0, -1].tolist()[:3] == rgb(ramp[-1])


def test_the_svg_says_its_settings_titles_and_scale():
    shown = stage("difference", kernel_size=3, stride=2, padding=1)
    root, _ = drawn(shown)
    texts = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    wanted = [*shown.title.split("\n"), "Max", "Average", "8 × 8", "4 × 4", f"{shown.value_range[1]:.4g}"]
    assert "kernel 3, stride 2, padding 1" in wanted
    for line in wanted:
        assert line in texts


@pytest.mark.parametrize("title", ['<script>alert("1")</script> & "quotes"', "100 % größer → ∞", "a" * 300])
def test_any_caption_is_text_and_nothing_else(title):
    root, _ = drawn(stage(title=title))
    assert any(title == "".join(element.itertext()) for element in root.iter(f"{SVG}text"))
    assert not list(root.iter(f"{SVG}script"))


def test_the_svg_needs_no_network():
    _, text = drawn(stage("gradient"))
    named = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    named = re.sub(r"base64,[A-Za-z0-9+/=]+", "", named)
    assert not re.search(r"https?:|//\w|url\((?!#)|@import|<script|<foreignObject", named)


@pytest.mark.parametrize("lens", ["outputs", "gradient"])
def test_the_png_opens_and_shows_the_stages_colours(lens):
    shown = stage(lens)
    with Image.open(io.BytesIO(render(stage_chart(shown), "png"))) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] >= 2 * 3 * TILE and pixels.shape[0] >= 2 * TILE
    weigh = np.array([1 << 16, 1 << 8, 1])
    colours = np.unique(pixels @ weigh)
    for each in stage_tiles(shown):
        truth = colourise(each.values, each.value_range, each.ramp)[..., :3]
        assert np.isin(truth @ weigh, colours).all()


@pytest.mark.parametrize("operators", [("max",), ("max", "average", "lp", "mixed")], ids=len)
def test_the_longest_caption_is_not_cut_off(operators):
    setting = Setting(operators, 3, 2, 1, 2, True, training=True, seed=999_999, temperature=0.03, p=16.0, mix=0.1)
    title = "photograph “flower”, 112 × 112, gabor filters (32), signed, channel 31 (157.5°, wavelength 8)"
    values = torch.rand(9, 9, generator=torch.Generator().manual_seed(0))
    shown = compare(values, setting, f"{title}\n{setting.describe()}")
    with Image.open(io.BytesIO(render(stage_chart(shown), "png"))) as image:
        pixels = np.asarray(image.convert("RGB"))
    # nothing touches the margin
    border = np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3), pixels[:, -4:].reshape(-1, 3)])
    assert (border == 255).all()


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (3, 2), (7, 3)])
def test_a_gallery_places_tiles_in_rows(count, columns):
    tiles = [tile(torch.full((2, 2), float(i)), 0.0, 7.0) for i in range(count)]
    spec = pictures_chart(tiles, columns, ink="#123456").to_dict()
    marks = [layer for layer in spec["layer"] if layer["mark"]["type"] == "image"]
    rows = [spec["datasets"][mark["data"]["name"]][0] for mark in marks[:count]]
    places = [(row["x"], row["y"]) for row in rows]
    assert len(set(places)) == count and len(marks) == count + 1
    assert places == sorted(places, key=lambda place: (place[1], place[0]))
    assert len({x for x, _ in places}) == min(count, columns)
    assert len({y for _, y in places}) == -(-count // columns)
    assert {layer["mark"]["color"] for layer in spec["layer"] if layer["mark"]["type"] == "text"} == {"#123456"}


# ---- the table


@pytest.mark.parametrize("lens", ["outputs", "difference", "gradient", "overlap"])
@pytest.mark.parametrize("title", [CAPTION, 'a "quoted", # comma\nand another line'])
def test_the_table_gives_every_number_back(lens, title):
    shown = stage(lens, title)
    text = numbers_csv(shown)
    table = pd.read_csv(io.StringIO(text), comment="#")
    assert list(table.columns) == ["map", "row", "column", "value"]
    maps = (
        {"input": shown.values} | {o.name: o.values for o in shown.outputs} | {p.title: p.values for p in shown.panels}
    )
    assert list(table["map"].unique()) == list(maps)
    for name, values in maps.items():
        found = table[table["map"] == name].pivot(index="row", columns="column", values="value").to_numpy()
        assert (found == values.double().numpy()).all(), name
    comments = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("#")]
    assert comments == shown.title.split("\n")


def test_the_table_keeps_nan_and_infinity():
    values = torch.tensor([[math.nan, math.inf], [-math.inf, 0.1]])
    text = numbers_csv(compare(values, Setting(("none",), 1, 1), "title"))
    table = pd.read_csv(io.StringIO(text), comment="#")
    found = table[table["map"] == "input"]["value"].to_numpy()
    assert np.array_equal(found, values.double().flatten().numpy(), equal_nan=True)


@pytest.mark.parametrize("name", [name for name, pooling in POOLINGS.items() if pooling.for_maps])
def test_every_operators_stage_is_drawn(name):
    shown = compare(images.digit(0).pixels[0], Setting((name,), training=True), "title")
    assert render(stage_chart(shown), "svg").startswith(b"<svg")
    assert name in numbers_csv(shown)
