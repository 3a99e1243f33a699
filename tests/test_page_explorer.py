"""The explorer page in Streamlit's own test runner: every input, map, lens, operator and setting, good and bad.

What the components send from the browser is sent here as the browser would; what they draw is read from their data.
"""

import base64
import io
import json
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from streamlit.testing.v1 import AppTest

from poolviz.inputs import features, images, models
from poolviz.inputs.features import FeatureMap
from poolviz.pages import sections
from poolviz.pages.parameters import LENSES, OPERATORS
from poolviz.pooling import POOLINGS, pool2d
from poolviz.runs import networks
from tests.test_charts_compare import weights_of

ROOT = Path(__file__).parents[1]
FRAME = ROOT / "streamlit_app.py"
GRID = "1,3,0,2;0,9,1,4;5,2,6,0;1,0,3,8"


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    """No data set and no weights, whatever this machine has."""
    monkeypatch.delenv("POOLVIZ_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # AppTest looks through every installed distribution for components, which takes 90 % of a page's time; ours are
    # registered in the code
    monkeypatch.setattr("streamlit.components.v2.manifest_scanner.scan_component_manifests", list)


def new_page(**query: str) -> AppTest:
    """A page that a visitor opens with this address; not yet run."""
    app = AppTest.from_file(FRAME, default_timeout=60)
    app.query_params.update(query)
    return app


def opened(**query: str) -> AppTest:
    return healthy(new_page(**query).run())


def healthy(app: AppTest) -> AppTest:
    """No traceback, whatever else the page says."""
    assert not app.exception, [element.message for element in app.exception]
    return app


def protos(app: AppTest, name: str = "poolviz_stage") -> list:
    return [e.proto for e in app.get("bidi_component") if e.proto.component_name == name]


def data(app: AppTest, name: str = "poolviz_stage") -> dict:
    """What the page gave a component to draw."""
    (proto,) = protos(app, name)
    return json.loads(proto.json)


def send(app: AppTest, name: str, **state: object) -> AppTest:
    """Run the page after the browser's side of a component has set this state, by the means that its code uses."""
    (proto,) = protos(app, name)
    widgets = app._tree.get_widget_states()
    widget = widgets.widgets.add()
    if "setTriggerValue(" in proto.js_content:
        widget.id = f"$$STREAMLIT_INTERNAL_KEY_{proto.id}__events"
        widget.json_trigger_value = json.dumps([{"event": event, "value": value} for event, value in state.items()])
    else:
        widget.id = proto.id
        widget.json_value = json.dumps(state)
    return app._run(widgets)


def numbers(drawn: dict, field: str = "values") -> torch.Tensor:
    """A map of the stage; weights keep one dimension for a window's cells."""
    flat = np.frombuffer(base64.b64decode(drawn[field]), dtype="<f4").copy()
    return torch.from_numpy(flat).reshape(drawn["height"], drawn["width"], -1).squeeze(-1)


def said(app: AppTest) -> dict[str, list[str]]:
    """All that the page tells its reader beside the picture, by kind, as it is read; empty kinds left out."""
    kinds = {
        kind: [re.sub(r"\\([^a-zA-Z0-9\s])", r"\1", e.value) for e in getattr(app, kind)]
        for kind in ("error", "warning", "info")
    }
    return {kind: texts for kind, texts in kinds.items() if texts}


def one_sentence(app: AppTest, kind: str) -> str:
    """The only thing that is said, and it is of this kind."""
    (text,) = said(app).pop(kind)
    assert list(said(app)) == [kind]
    assert "Traceback" not in text and "Error" not in text and len(text) < 500
    return text


# ---- the first look


def test_the_page_opens_on_a_digit_with_torchs_numbers():
    app = opened()
    shown = data(app)
    digit = images.digit(3).pixels[None]
    assert torch.equal(numbers(shown["input"]), digit[0, 0])
    outputs = {output["title"]: numbers(output) for output in shown["outputs"]}
    assert list(outputs) == ["Max", "Average", "Stochastic"]
    assert torch.equal(outputs["Max"], F.max_pool2d(digit, 2)[0, 0])
    torch.testing.assert_close(outputs["Average"], F.avg_pool2d(digit, 2)[0, 0])
    blocks = digit.reshape(4, 2, 4, 2)
    expected = (blocks**2).sum((1, 3)) / blocks.sum((1, 3)).clamp(min=1e-9)
    torch.testing.assert_close(outputs["Stochastic"], expected)
    difference = (F.max_pool2d(digit, 2) - F.avg_pool2d(digit, 2))[0, 0]
    row, column = shown["cell"]  # a telling one
    assert difference[row, column] == difference.max() and not shown["compact"]
    assert said(app) == {} and app.query_params == {}


def test_widgets_change_the_picture_by_torchs_rules():
    app = opened()
    app.number_input(key="kernel").set_value(3)
    app.number_input(key="stride").set_value(1)
    app.number_input(key="padding").set_value(1)
    app.number_input(key="index").set_value(7)
    healthy(app.run())
    assert torch.equal(numbers(data(app)["outputs"][0]), F.max_pool2d(images.digit(7).pixels[None], 3, 1, 1)[0, 0])
    assert app.query_params == {"index": "7", "kernel": "3", "stride": "1", "padding": "1"}


def test_average_can_count_padding():
    app = opened(padding="1", operators="average", countpad="yes")
    truth = F.avg_pool2d(images.digit(3).pixels[None], 2, 2, 1, count_include_pad=True)[0, 0]
    torch.testing.assert_close(numbers(data(app)["outputs"][0]), truth)
    app.toggle(key="countpad").set_value(False).run()
    truth = F.avg_pool2d(images.digit(3).pixels[None], 2, 2, 1, count_include_pad=False)[0, 0]
    torch.testing.assert_close(numbers(data(app)["outputs"][0]), truth)


# ---- inputs


@pytest.mark.parametrize(
    ("query", "pixels"),
    [
        ({"input": "digit", "index": "0"}, lambda: images.digit(0).pixels),
        ({"input": "digit", "index": "1796"}, lambda: images.digit(1796).pixels),
        ({"input": "photo"}, lambda: images.photograph("flower", 56).pixels),
        ({"input": "photo", "photo": "china", "size": "28"}, lambda: images.photograph("china", 28).pixels),
        ({"input": "photo", "size": "112"}, lambda: images.photograph("flower", 112).pixels),
        ({"input": "grid"}, lambda: torch.tensor([[float(n) for n in row.split(",")] for row in GRID.split(";")])),
        ({"input": "drawing"}, lambda: torch.zeros(1, 28, 28)),
        ({"input": "upload"}, lambda: images.digit(3).pixels),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_every_input_is_shown(query, pixels):
    app = opened(**query)
    assert torch.equal(numbers(data(app)["input"]), pixels().reshape(-1, *pixels().shape[-2:])[0])
    assert said(app) == {}


def test_a_missing_data_set_is_a_sentence_and_the_picture_stays():
    app = opened(index="7")
    healthy(app.selectbox(key="input").set_value("mnist").run())
    sentence = one_sentence(app, "error")
    assert "train-images-idx3-ubyte" in sentence and "POOLVIZ_DATA" in sentence and "download" in sentence
    assert torch.equal(numbers(data(app)["input"]), images.digit(7).pixels[0])
    assert any("Still showing" in caption.value for caption in app.caption)
    healthy(app.selectbox(key="input").set_value("digit").run())
    assert said(app) == {} and torch.equal(numbers(data(app)["input"]), images.digit(7).pixels[0])


def test_a_missing_data_set_in_a_link_is_a_sentence_over_a_picture():
    app = opened(input="mnist", index="9")
    assert "train-images-idx3-ubyte" in one_sentence(app, "error")
    assert numbers(data(app)["input"]).shape == (8, 8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_mnist_is_shown_where_its_files_are(monkeypatch, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = np.arange(12, dtype=np.uint8) % 10
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        (raw / f"{split}-images-idx3-ubyte").write_bytes(idx(pictures))
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx(labels))
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path / "data"))
    app = opened(input="mnist", index="11")
    torch.testing.assert_close(numbers(data(app)["input"]), torch.from_numpy(pictures[11]) / 255)
    assert "MNIST digit 1" in data(app)["title"] and said(app) == {}
    healthy(app.number_input(key="index").set_value(500).run())  # beyond this short file
    assert "from 0 to 11" in one_sentence(app, "error")
    torch.testing.assert_close(numbers(data(app)["input"]), torch.from_numpy(pictures[11]) / 255)


# ---- the number grid


def edited(app: AppTest, side: int = 4, **cells: object) -> AppTest:
    """Run after cells were typed: r0c1="7"."""
    rows: dict[int, dict[str, object]] = {}
    for place, value in cells.items():
        row, column = re.fullmatch(r"r(\d+)c(\d+)", place).groups()
        rows.setdefault(int(row), {})[column] = value
    app.session_state[f"editor{side}"] = {"edited_rows": rows, "added_rows": [], "deleted_rows": []}
    return healthy(app.run())


def test_numbers_typed_into_the_grid_are_pooled():
    app = edited(opened(input="grid"), r0c0="7.5", r3c3="-2")
    shown = numbers(data(app)["input"])
    assert shown[0].tolist() == [7.5, 3, 0, 2] and shown[3].tolist() == [1, 0, 3, -2]
    assert numbers(data(app)["outputs"][0]).tolist() == [[9, 4], [5, 6]]
    assert data(app)["range"] == [-9, 9]
    assert app.query_params["grid"] == "7.5,3,0,2;0,9,1,4;5,2,6,0;1,0,3,-2"
    assert edited(app, r0c0="0,25").session_state["grid"][0][0] == 0.25


@pytest.mark.parametrize(
    ("typed", "word"),
    [("seven", "not a number"), ("", "blank"), ("  ", "blank"), ("1e400", "1,000,000"), ("nan", "nan")],
)
def test_what_is_no_number_is_a_sentence_and_the_picture_stays(typed, word):
    app = edited(opened(input="grid"), r0c0="7.5")
    before = data(app)["input"]
    app = edited(app, r0c0="7.5", r1c2=typed)
    sentence = one_sentence(app, "error")
    assert "Row 1, column 2" in sentence and word in sentence
    assert data(app)["input"] == before
    assert said(edited(app, r0c0="7.5", r1c2="4")) == {}
    assert numbers(data(app)["input"])[1, 2] == 4


def test_a_deleted_cell_is_called_blank():
    assert "blank" in one_sentence(edited(opened(input="grid"), r1c2=None), "error")


def test_the_grid_grows_by_zeros_and_shrinks():
    app = opened(input="grid")
    size = next(n for n in app.number_input if n.label == "Rows and columns")
    healthy(size.set_value(6).run())
    shown = numbers(data(app)["input"])
    assert shown.shape == (6, 6) and shown[:4, :4].flatten().tolist() == [float(n) for n in re.findall(r"\d", GRID)]
    assert shown[4:].abs().sum() == 0 and shown[:, 4:].abs().sum() == 0
    edited(app, 6, r5c5="3")
    size = next(n for n in app.number_input if n.label == "Rows and columns")
    healthy(size.set_value(5).run())
    assert numbers(data(app)["input"]).shape == (5, 5)
    assert len(app.query_params["grid"].split(";")) == 5


@pytest.mark.parametrize("side", [4, 7, 12])
def test_a_grid_from_a_link_is_shown_as_images_grid_reads_it(side):
    rows = [[(r * side + c) % 10 - 3 for c in range(side)] for r in range(side)]
    app = opened(input="grid", grid=images.grid_to_text(rows))
    assert torch.equal(numbers(data(app)["input"]), images.grid(rows).pixels[0])
    assert app.query_params["grid"] == images.grid_to_text(rows)


@pytest.mark.parametrize(("height", "width"), [(4, 5), (6, 4)])
def test_a_grid_of_unequal_sides_in_a_link_shows_no_traceback(height, width):
    rows = [[r * width + c for c in range(width)] for r in range(height)]
    app = opened(input="grid", grid=images.grid_to_text(rows))
    assert numbers(data(app)["input"]).tolist() == rows


@pytest.mark.parametrize("number", ["0.1", "1234.5678", "999999.5", "1e-07"])
def test_a_grid_keeps_its_numbers(number):
    rows = [[float(number), 0, 0, 0]] + [[0] * 4] * 3
    app = opened(input="grid", grid=images.grid_to_text(rows))
    assert torch.equal(numbers(data(app)["input"]), images.grid(rows).pixels[0])
    assert app.query_params["grid"] == images.grid_to_text(rows)


def test_the_grid_keeps_its_edits_while_another_input_is_shown():
    app = edited(opened(input="grid"), r0c0="7.5")
    healthy(app.selectbox(key="input").set_value("digit").run())
    healthy(app.selectbox(key="input").set_value("grid").run())
    assert numbers(data(app)["input"])[0, 0] == 7.5


# ---- uploads


def file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stored = io.BytesIO()
    image.save(stored, kind, **options)
    return stored.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is this large and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


NOISE = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
BAD_FILES = {
    "notes.txt": (b"hello", "not an image"),
    "empty.png": (b"", "empty"),
    "page.png": (b"<!doctype html><script>alert(1)</script>", "web page"),
    "cut.png": (file(Image.fromarray(NOISE))[:600], "damaged or cut short"),
    "cut.jpg": (file(Image.fromarray(NOISE), "JPEG")[:300], ""),
    "dot.png": (file(Image.new("L", (1, 1))), "too few"),
    "bomb.png": (png_header(20_000, 20_000), "smaller"),
    "wide.png": (png_header(20_000, 10), "smaller"),
    "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
}


def uploaded(app: AppTest, name: str, content: bytes) -> AppTest:
    app.file_uploader[0].set_value((name, content, "image/png"))
    return healthy(app.run())


@pytest.mark.parametrize("name", list(BAD_FILES))
def test_a_bad_upload_is_a_sentence_and_the_picture_stays(name):
    app = opened(index="7")
    healthy(app.selectbox(key="input").set_value("upload").run())
    assert torch.equal(numbers(data(app)["input"]), images.digit(7).pixels[0])
    content, word = BAD_FILES[name]
    uploaded(app, name, content)
    sentence = one_sentence(app, "error")
    assert name in sentence and word in sentence and sentence.endswith(".")
    assert torch.equal(numbers(data(app)["input"]), images.digit(7).pixels[0])


def test_a_good_upload_is_shown_and_outlives_a_bad_one():
    levels = np.arange(80, dtype=np.uint8).reshape(8, 10) * 3
    app = uploaded(opened(input="upload"), "grey.png", file(Image.fromarray(levels)))
    truth = torch.from_numpy(levels).float() / 255
    torch.testing.assert_close(numbers(data(app)["input"]), truth)
    assert "grey.png" in data(app)["title"] and said(app) == {}
    uploaded(app, "notes.txt", b"hello")
    assert "notes.txt" in one_sentence(app, "error")
    torch.testing.assert_close(numbers(data(app)["input"]), truth)
    uploaded(app, "other.png", file(Image.fromarray(levels.T.copy())))
    assert said(app) == {}
    torch.testing.assert_close(numbers(data(app)["input"]), truth.T)


@pytest.mark.parametrize(
    ("image", "note", "first"),
    [
        (Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "white", 1.0),
        (Image.fromarray(np.full((8, 8), 65535 // 5, dtype=np.uint16)), "65,535", 0.2),
        (Image.new("L", (200, 100), 51), "56", 0.2),
        (Image.new("P", (8, 8)), "", 0.0),
        (Image.new("1", (8, 8), 1), "", 1.0),
    ],
    ids=["alpha", "16-bit", "large", "palette", "black-and-white"],
)
def test_an_unusual_upload_is_shown_with_a_note(image, note, first):
    app = uploaded(opened(input="upload"), "picture.png", file(image))
    assert said(app) == {}
    assert numbers(data(app)["input"])[0, 0] == pytest.approx(first, abs=1e-3)
    assert not note or any(note in caption.value for caption in app.caption)


# ---- the drawing


def test_a_drawing_is_pooled_and_kept():
    app = opened(input="drawing")
    levels = [255 if 8 <= r < 20 and 12 <= c < 15 else 0 for r in range(28) for c in range(28)]
    send(app, "poolviz_pad", levels=levels)
    truth = torch.tensor(levels).reshape(28, 28) / 255
    assert torch.equal(numbers(data(app)["input"]), truth) and not app.exception
    again = opened(**app.query_params)
    assert torch.equal(numbers(data(again)["input"]), truth)
    assert data(again, "poolviz_pad")["levels"] == levels
    healthy(app.selectbox(key="input").set_value("digit").run())
    healthy(app.selectbox(key="input").set_value("drawing").run())
    assert torch.equal(numbers(data(app)["input"]), truth)


ONE = [255 if 4 <= r < 24 and 13 <= c < 16 else 0 for r in range(28) for c in range(28)]


def test_networks_answer_a_drawing_and_the_link_gives_the_same_answers():
    app = opened(input="drawing", lens="answers")
    send(app, "poolviz_pad", levels=ONE)
    shown = data(app, "poolviz_answers")
    assert [card["name"] for card in shown["cards"]] == [
        "Max",
        "Average",
        "Stochastic",
        "Softmax-stochastic",
        "No pooling",
    ]
    assert {card["answer"] for card in shown["cards"]} == {"1"} and said(app) == {}
    assert data(opened(**app.query_params), "poolviz_answers") == shown
    app.segmented_control(key="networks").set_value("digits").run()
    assert len(data(healthy(app), "poolviz_answers")["cards"]) == 7
    send(app, "poolviz_pad", levels=[0] * 784)
    assert not protos(app, "poolviz_answers") and "digit" in one_sentence(app, "info")


@pytest.mark.parametrize("levels", [[1, 2], "ink", [256] * 784, [None] * 784, {"0": 1}])
def test_levels_that_are_no_drawing_are_a_sentence(levels):
    app = opened(input="drawing", lens="answers")
    send(app, "poolviz_pad", levels=levels)
    healthy(app)
    assert ["draw it again" in text for text in said(app)["error"]] == [True]
    assert not protos(app, "poolviz_answers")


def test_another_picture_is_answered_too_and_a_button_leads_to_the_pad():
    app = opened(lens="answers", index="12")
    assert data(app, "poolviz_answers")["cards"] and not protos(app, "poolviz_pad")
    next(button for button in app.button if button.label == "Draw a digit").click()
    healthy(app.run())
    assert app.query_params == {"lens": "answers", "index": "12", "input": "drawing"} and protos(app, "poolviz_pad")


def test_a_picture_of_the_networks_own_data_reaches_them_as_in_training(monkeypatch):
    """scikit-learn's digits, over 16; some have no cell of 16, so their own maximum would be another scale."""
    given, read = [], networks.read
    monkeypatch.setattr(networks, "read", lambda run, image: given.append(image) or read(run, image))
    dim = next(i for i, picture in enumerate(load_digits().images) if picture.max() < 16)
    opened(lens="answers", index=str(dim), networks="digits")
    assert len(given) == 7
    expected = torch.tensor(load_digits().images[dim] / 16, dtype=torch.float32)
    torch.testing.assert_close(given[0].reshape(8, 8), expected)


def test_a_wiped_drawing_leaves_the_address():
    app = opened(input="drawing", drawing=images.drawing_to_text(bytes([255] * 784)))
    send(app, "poolviz_pad", levels=[0] * 784)
    assert app.query_params == {"input": "drawing"} and numbers(data(app)["input"]).sum() == 0


# ---- feature maps


@pytest.mark.parametrize("channel", [0, 5])
@pytest.mark.parametrize(
    ("query", "maps"),
    [
        ({"map": "edges"}, lambda p: features.edge_map(p, True)),
        ({"map": "edges", "relu": "no"}, lambda p: features.edge_map(p, False)),
        ({"map": "gabor"}, lambda p: features.gabor_map(p, True)),
        ({"map": "gabor", "relu": "no"}, lambda p: features.gabor_map(p, False)),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_every_filter_bank_is_shown(query, maps, channel):
    app = opened(**query, channel=str(channel))
    made = maps(images.digit(3))
    shown = data(app)
    assert torch.equal(numbers(shown["input"]), made.values[channel])
    assert (shown["range"][0] < 0) == (query.get("relu") == "no") or made.values[channel].max() <= 0
    assert made.channels[channel] in shown["title"] and said(app) == {}


def test_a_photographs_channels_are_its_colours():
    app = opened(input="photo", channel="2")
    assert torch.equal(numbers(data(app)["input"]), images.photograph("flower", 56).pixels[2])
    assert "blue" in data(app)["title"]


def test_a_channel_beyond_the_map_falls_back_to_the_last():
    app = opened(map="gabor", channel="31")
    healthy(app.selectbox(key="map").set_value("edges").run())
    assert torch.equal(numbers(data(app)["input"]), features.edge_map(images.digit(3)).values[7])
    healthy(app.selectbox(key="map").set_value("image").run())
    assert torch.equal(numbers(data(app)["input"]), images.digit(3).pixels[0])


def test_a_network_without_weights_is_told_and_the_image_stays():
    app = opened(map="network")
    assert "not on this machine" in one_sentence(app, "info")
    assert torch.equal(numbers(data(app)["input"]), images.digit(3).pixels[0])
    assert [b.label for b in app.button if "Download" in b.label] == ["Download the weights"]


def test_a_download_that_fails_is_a_sentence(monkeypatch):
    def refuse(name: str) -> None:
        raise images.InputError("The weights could not be downloaded.")

    monkeypatch.setattr(models, "download", refuse)
    app = opened(map="network")
    next(b for b in app.button if "Download" in b.label).click()
    healthy(app.run())
    assert "could not be downloaded" in said(app)["error"][0] and protos(app)


@pytest.fixture
def a_network(monkeypatch):
    """A network at hand whose layer gives a map of the size that the test sets."""
    st.cache_data.clear()
    st.cache_resource.clear()
    given = {"size": (3, 6, 6)}
    monkeypatch.setattr(models, "weights_at_hand", lambda: ("resnet18",))
    monkeypatch.setattr(models, "layers", lambda name: ("conv1", "layer1", "layer4"))

    def model_map(picture, name, layer):
        values = torch.rand(given["size"], generator=torch.Generator().manual_seed(len(layer)))
        return FeatureMap(values, tuple(f"channel {i}" for i in range(len(values))))

    monkeypatch.setattr(models, "model_map", model_map)
    yield given
    st.cache_data.clear()
    st.cache_resource.clear()


def test_a_networks_layer_is_shown_and_kept_in_the_address(a_network):
    app = opened(map="network", model="resnet18", layer="layer1", channel="1")
    truth = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(6))
    assert torch.equal(numbers(data(app)["input"]), truth[1])
    assert app.query_params == {"map": "network", "model": "resnet18", "layer": "layer1", "channel": "1"}
    assert "resnet18, layer1" in data(app)["title"]


# an 8 x 8 digit goes into a network as 64 x 64, and the last blocks of a resnet give 2 x 2, of an alexnet 1 x 1
TINY = [(lens, side) for side in (1, 2) for lens in LENSES]


@pytest.mark.parametrize(("lens", "side"), TINY)
def test_a_tiny_layer_is_explored_without_a_traceback(a_network, lens, side):
    a_network["size"] = (3, side, side)
    app = opened(map="network", layer="layer4", lens=lens, kernel=str(side), stride="1", model="resnet18")
    assert numbers(data(app)["input"]).numel() == side * side


# ---- operators and settings


@pytest.mark.parametrize("mode", ["test", "train"])
@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_alone(name, mode):
    app = opened(operators=name, mode=mode, seed="11", kernel="3", stride="2", padding="1")
    (output,) = data(app)["outputs"]
    generator = torch.Generator().manual_seed(11)
    x = images.digit(3).pixels[None]
    stochastic = POOLINGS[name].stochastic
    # weights are asked for, because the page shows them: the sums may round otherwise than the fast way's
    truth, weights = pool2d(
        x, name, 3, 2, 1, generator=generator, training=mode == "train" and stochastic, return_weights=True
    )
    assert torch.equal(numbers(output), truth[0, 0])
    assert np.array_equal(weights_of(output["weights"], *weights.shape[2:]), weights[0, 0].numpy())
    assert output["title"] == POOLINGS[name].label and said(app) == {}
    assert ("seed" in [n.key for n in app.number_input]) == (mode == "train" and stochastic)


def test_the_longest_row_of_operators_is_bounded():
    app = opened(operators="max,lp,mixed,softpool")
    assert [o["title"] for o in data(app)["outputs"]] == ["Max", "Lp", "Mixed", "SoftPool"]
    assert app.multiselect(key="operators").proto.max_selections == 4


@pytest.mark.parametrize(
    ("operator", "field", "values"),
    [
        ("lp", "p", ["1", "2", "16"]),
        ("mixed", "mix", ["0", "0.3", "1"]),
        ("softpool", "temperature", ["0.01", "1", "100"]),
    ],
)
def test_an_operators_own_number_changes_it(operator, field, values):
    found = []
    for value in values:
        app = opened(operators=operator, **{field: value})
        truth = pool2d(images.digit(3).pixels[None], operator, 2, **{field: float(value)})[0, 0]
        shown = numbers(data(app)["outputs"][0])
        torch.testing.assert_close(shown, truth)
        found.append(tuple(shown.flatten().tolist()))
    assert len(set(found)) == len(values)


def test_no_operator_is_a_hint_and_no_traceback():
    app = opened()
    healthy(app.multiselect(key="operators").set_value([]).run())
    assert "Choose an operator" in one_sentence(app, "info") and not protos(app)
    healthy(app.multiselect(key="operators").set_value(["min"]).run())
    assert said(app) == {} and data(app)["outputs"][0]["title"] == "Min"


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"padding": "2"}, "padding 2 is more than half of kernel size 2"),
        ({"kernel": "1", "padding": "1"}, "padding 1 is more than half of kernel size 1"),
        ({"input": "grid", "kernel": "5"}, "spans 5 cells, but the input has 4"),
        ({"input": "grid", "kernel": "8", "padding": "1"}, "spans 8 cells"),
        ({"kernel": "3", "dilation": "4"}, "spans 9 cells, but the input has 8"),
        ({"kernel": "8", "dilation": "4", "padding": "4"}, "spans 29 cells"),
        ({"kernel": "2", "dilation": "4", "padding": "1", "stride": "8", "ceil": "yes", "input": "grid"}, ""),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("operators", ["max,average,stochastic", "lp"])
def test_an_impossible_setting_is_one_sentence(query, word, operators):
    app = opened(**query, operators=operators)
    try:
        F.max_pool2d(
            torch.zeros(1, 1, *[4 if "input" in query else 8] * 2),
            *(int(query.get(key, fallback)) for key, fallback in (("kernel", 2), ("stride", 2), ("padding", 0))),
            dilation=int(query.get("dilation", 1)),
            ceil_mode="ceil" in query,
        )
        possible = True
    except RuntimeError:
        possible = False
    if possible and not word:
        assert bool(protos(app)) != bool(said(app))
        return
    assert not possible
    sentence = one_sentence(app, "warning")
    assert sentence.startswith("This setting is impossible: ") and word in sentence and sentence.endswith(".")
    assert not protos(app)
    for key in ("kernel", "dilation", "padding"):
        app.number_input(key=key).set_value({"kernel": 2, "dilation": 1, "padding": 0}[key])
    healthy(app.run())
    assert said(app) == {} and protos(app)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        (2, 2, 0, 1),
        (3, 2, 1, 1),
        (3, 3, 0, 1),
        (3, 2, 0, 2),
        (4, 3, 1, 1),
        (8, 8, 4, 1),
    ],
)
def test_the_formula_of_the_output_size_holds(kernel, stride, padding, dilation, ceil):
    query = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    app = opened(**{key: str(value) for key, value in query.items()}, **({"ceil": "yes"} if ceil else {}))
    check_formula(app, ceil)
    truth = F.max_pool2d(torch.zeros(1, 1, 8, 8), kernel, stride, padding, dilation, ceil)
    assert data(app)["grid"]["output"] == list(truth.shape[2:])


@pytest.mark.parametrize("source", ["grid", "digit"])
def test_the_formula_holds_where_ceil_mode_drops_a_window(source):
    check_formula(opened(input=source, kernel="2", stride="3", padding="1", ceil="yes"), True)


def check_formula(app: AppTest, ceil: bool) -> None:
    formula = app.latex[0].value
    assert (r"\lceil" in formula) == ceil
    top, bottom, rest, result = re.search(r"\\frac\{([^}]+)\}\{(\d+)\}(.+)= (\d+)", formula).groups()
    share = eval(top.replace(r"\cdot", "*")) / int(bottom)  # our own page's arithmetic: digits and operators
    added = sum(int(sign + number) for sign, number in re.findall(r"([+-]) (\d+)", rest))
    assert (math.ceil(share) if ceil else math.floor(share)) + added == int(result)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, ["exactly one window", "Nothing"]),
        ({"kernel": "3", "stride": "1", "padding": "1"}, ["by up to 9", "28 of 64 windows"]),
        ({"kernel": "2", "stride": "3"}, ["seen by none"]),
        ({"kernel": "3", "stride": "3", "ceil": "yes"}, ["5 of 9 windows"]),
    ],
    ids=str,
)
def test_facts_on_overlap_and_padding(query, words):
    text = " ".join(element.value for element in opened(**query).markdown)
    for word in words:
        assert word in text


# ---- lenses


AWKWARD = {
    "blank drawing": {"input": "drawing"},
    "one output cell": {"kernel": "8"},
    "one operator": {"operators": "median"},
    "only none": {"operators": "none"},
    "sizes that differ": {"operators": "none,max,lp"},
    "signed": {"map": "edges", "relu": "no", "channel": "3", "operators": "stochastic,softmax-stochastic,lp,mixed"},
    "training": {"mode": "train", "seed": "3", "operators": "stochastic,softmax-stochastic"},
    "padding": {"kernel": "3", "stride": "1", "padding": "1", "ceil": "yes", "cell": "0,0"},
    "grid of zeros": {"input": "grid", "grid": ";".join(["0,0,0,0"] * 4), "lens": "outputs"},
    "large numbers": {"input": "grid", "grid": ";".join(["1000000,-1000000,0,0.5"] * 4), "operators": "lp", "p": "16"},
    "colour": {"input": "photo", "size": "28", "channel": "1", "cell": "13,13", "palette": "grey"},
}


@pytest.mark.parametrize("situation", list(AWKWARD))
@pytest.mark.parametrize("lens", list(LENSES))
def test_every_lens_in_every_situation(lens, situation):
    app = opened(**{**AWKWARD[situation], "lens": lens})
    if lens == "answers" and situation == "blank drawing":  # the pad takes the stage's place
        assert "digit" in one_sentence(app, "info") and not protos(app) and not protos(app, "poolviz_answers")
        return
    shown = data(app)
    assert shown["compact"] == (lens in ("channels", "chance", "invariance", "repeat", "answers"))
    assert "error" not in said(app)
    assert len(said(app).get("warning", [])) + len(said(app).get("info", [])) <= 1
    for drawn in (shown["input"], *shown["outputs"], *shown["panels"]):
        assert numbers(drawn).isfinite().all()


def test_charts_stand_below_the_stage():
    for lens, count in (("chance", 3), ("invariance", 2)):
        charts = opened(lens=lens).get("vega_lite_chart")
        assert len(charts) == count
        for chart in charts:
            assert len(chart.proto.alt) > 20
            spec = json.loads(chart.proto.spec)
            assert spec.get("datasets", chart.proto.datasets)


def test_the_difference_is_the_outputs_difference_and_the_button_goes_to_its_widest_cell():
    app = opened(lens="difference", first="max", second="stochastic")
    first, second = data(app)["outputs"]
    assert [first["title"], second["title"]] == ["Max", "Stochastic"]
    (panel,) = data(app)["panels"]
    difference = numbers(first) - numbers(second)
    assert torch.equal(numbers(panel), difference)
    next(b for b in app.button if "widest difference" in b.label).click()
    healthy(app.run())
    row, column = data(app)["cell"]
    assert abs(difference[row, column]) == difference.abs().max()
    assert app.query_params["cell"] == f"{row},{column}"


def test_one_operator_has_no_difference():
    assert "two operators" in one_sentence(opened(lens="difference", operators="max"), "info")
    sentence = one_sentence(opened(lens="difference", operators="max,none", second="none"), "warning")
    assert "differ in size" in sentence


def test_the_difference_of_two_operators_is_never_of_one_with_itself():
    app = opened(lens="difference", operators="stochastic,softpool", second="stochastic")
    titles = [output["title"] for output in data(app)["outputs"]]
    assert len(set(titles)) == 2


def test_the_gradient_lens_is_autograds():
    app = opened(lens="gradient", operators="max,average", kernel="3", stride="2", padding="1")
    leaf = images.digit(3).pixels[None].clone().requires_grad_()
    F.max_pool2d(leaf, 3, 2, 1).sum().backward()
    assert torch.equal(numbers(data(app)["panels"][0]), leaf.grad[0, 0])
    assert data(app)["panelsFirst"]


def test_the_overlap_lens_counts_windows():
    app = opened(lens="overlap", kernel="3", stride="1")
    truth = F.fold(torch.ones(1, 9, 36), 8, 3)[0, 0]
    assert torch.equal(numbers(data(app)["panels"][0]), truth)


def test_draw_again_is_the_next_seed_and_another_picture():
    app = opened(operators="stochastic", mode="train", kernel="3", stride="1")
    before = data(app)["outputs"][0]["values"]
    app.button(key="again").click()
    healthy(app.run())
    assert app.query_params["seed"] == "1" and data(app)["outputs"][0]["values"] != before
    healthy(app.number_input(key="seed").set_value(0).run())
    assert data(app)["outputs"][0]["values"] == before
    last = opened(operators="stochastic", mode="train", seed="999999")
    last.button(key="again").click()
    assert healthy(last.run()).session_state["seed"] == 0


def test_the_chance_lens_draws_from_the_pinned_window():
    app = opened(lens="chance", cell="1,2", draws="10000")
    window = images.digit(3).pixels[0, 2:4, 4:6].flatten()
    expectation = float((window**2).sum() / window.sum())
    heads = [m.value for m in app.markdown if "expectation" in m.value]
    assert len(heads) == 1 and f"expectation {expectation:.4g}" in heads[0]
    mean = float(re.search(r"Mean of draws ([\d.]+)", heads[0])[1])
    spread = float(((window**3).sum() / window.sum() - expectation**2).clamp(min=0).sqrt())
    assert abs(mean - expectation) <= 5 * spread / 100 + 1e-3
    app.button(key="again_below").click()
    assert healthy(app.run()).session_state["seed"] == 1


def test_a_window_without_positive_cells_is_explained():
    app = opened(lens="chance", input="drawing")
    assert "nothing to draw from" in one_sentence(app, "info")


def test_repetition_shows_sizes_and_stops():
    app = opened(lens="repeat", operators="max", times="8")
    assert any("8 × 8 → 4 × 4 → 2 × 2 → 1 × 1" in m.value for m in app.markdown)
    assert any("A row stops" in c.value for c in app.caption)


# ---- what the browser sends


def test_a_click_on_the_stage_pins_the_cell():
    app = opened()
    send(app, "poolviz_stage", cell="0,3")
    assert data(app)["cell"] == [0, 3] and app.query_params == {"cell": "0,3"} and not app.exception
    healthy(app.number_input(key="kernel").set_value(8).run())  # one output cell is left
    assert data(app)["cell"] == [0, 0]


def test_a_click_counts_again_after_a_button_has_moved_the_cell():
    app = opened(lens="difference")
    send(app, "poolviz_stage", cell="0,0")
    next(b for b in app.button if "widest difference" in b.label).click()
    healthy(app.run())
    assert data(app)["cell"] != [0, 0]
    send(app, "poolviz_stage", cell="0,0")
    assert data(app)["cell"] == [0, 0]


def test_a_click_on_the_sheet_chooses_the_channel():
    app = opened(map="gabor", lens="channels")
    sheet = data(app, "poolviz_sheet")
    assert (sheet["count"], sheet["chosen"]) == (32, 0)
    send(app, "poolviz_sheet", channel=5)
    assert app.session_state["channel"] == 5 and data(app, "poolviz_sheet")["chosen"] == 5 and not app.exception


def test_the_channels_widget_works_after_a_click_on_the_sheet(monkeypatch):
    app = opened(map="gabor", lens="channels")
    send(app, "poolviz_sheet", channel=5)
    app.selectbox(key="channel").set_value(7)
    reruns = []
    rerun = st.rerun

    def counted(*arguments, **named):
        reruns.append(1)
        assert len(reruns) < 5, "the page reruns without end"
        rerun(*arguments, **named)

    monkeypatch.setattr(sections.st, "rerun", counted)
    # the browser still holds the click, unless the component sends it as an event
    by_event = "setTriggerValue(" in protos(app, "poolviz_sheet")[0].js_content
    healthy(app.run() if by_event else send(app, "poolviz_sheet", channel=5))
    assert app.session_state["channel"] == 7
    healthy(send(app, "poolviz_sheet", channel=5))
    assert app.session_state["channel"] == 5


def test_a_map_of_one_channel_has_no_sheet():
    app = opened(lens="channels")
    assert "one channel" in one_sentence(app, "info") and not protos(app, "poolviz_sheet")


# ---- the rest of the page


def test_the_machines_dialog_opens():
    app = opened()
    next(b for b in app.button if b.label == "This machine").click()
    healthy(app.run())
    text = " ".join(m.value for m in app.markdown)
    for name in ("Python", "torch", "device", "MNIST"):
        assert f"**{name}**" in text
    assert app.code  # what is missing comes with a command


@pytest.mark.parametrize("palette", ["viridis", "cividis", "grey"])
def test_the_palette_is_the_stages(palette):
    from poolviz.charts.colour import PALETTES

    assert data(opened(palette=palette))["ramp"] == list(PALETTES[palette])


def test_each_visitor_has_a_page_of_their_own():
    first, second = opened(), opened()
    first.number_input(key="index").set_value(9)
    healthy(first.run())
    assert torch.equal(numbers(data(healthy(second.run()))["input"]), images.digit(3).pixels[0])
    assert second.query_params == {}
