"""The address: every parameter there and back, a copied link opens the same state, a bad one is told and harmless."""

import random
import re
import string

import pytest
import torch

from poolviz.inputs import images
from poolviz.pages import link
from poolviz.pages.parameters import (
    DRAW_COUNTS,
    LENSES,
    MAPS,
    OPERATORS,
    PARAMS,
    SHARES,
    SIZES,
    TEMPERATURES,
    bounds,
)
from poolviz.pooling import POOLINGS
from poolviz.runs.networks import LAYERS
from tests.test_page_explorer import data, edited, healthy, new_page, no_data, numbers, one_sentence, opened, said, send

__all__ = ["no_data"]  # a fixture, used by every test of this file

DRAWING = bytes(17 * ((r * c) % 16) for r in range(28) for c in range(28))
GRID = [[1.0, -2.5, 3.0, 0.0], [0.0, 0.125, 7.0, 4.0], [5.0, 2.0, 6.0, 0.0], [1.0, 0.0, 3.0, 8.0]]
SAMPLES = {
    "input": ["digit", "mnist", "fashion", "photo", "grid", "upload", "drawing"],
    "index": [0, 3, 1796, 9999],
    "photo": list(images.PHOTOGRAPHS),
    "size": list(SIZES),
    "grid": [GRID, [[0.1] * 12] * 12, [[-1e6, 1e6, 1e-300, 1 / 3]] * 4],
    "drawing": [bytes(784), bytes([255] * 784), DRAWING],
    "map": list(MAPS),
    "relu": [True, False],
    "model": ["resnet18"],
    "layer": ["layer1.0.conv1"],
    "trained": ["digits-max-s0", "digits-none-s0"],
    "conv": list(LAYERS),
    "channel": [0, 1, 9999],
    "operators": [["max"], ["max", "average", "stochastic"], list(OPERATORS[:4]), list(OPERATORS[-4:])],
    "kernel": list(range(1, 9)),
    "stride": list(range(1, 9)),
    "padding": list(range(5)),
    "dilation": list(range(1, 5)),
    "ceil": [True, False],
    "countpad": [True, False],
    "mode": ["test", "train"],
    "seed": [0, 1, 999_999],
    "temperature": list(TEMPERATURES),
    "p": [1, 2, 16],
    "mix": list(SHARES),
    "lens": list(LENSES),
    "cell": [(0, 0), (3, 4), (9999, 0)],
    "first": list(OPERATORS),
    "second": list(OPERATORS),
    "chance": [name for name in OPERATORS if POOLINGS[name].stochastic],
    "draws": list(DRAW_COUNTS),
    "shift": [1, 4, 16],
    "times": [1, 4, 8],
    "networks": ["digits", "mnist", "fashion-mnist"],
    "palette": ["viridis", "cividis", "grey"],
}
BAD = {
    "input": ["../etc/passwd", "Digit", "digit ", ""],
    "index": ["1e400", "-1", "10000", "3.0", "٣", "²", "", " 3", "+3", "0x3", "nan", "9" * 5000],
    "photo": ["cat", "flower.jpg", ""],
    "size": ["55", "56.0", "1e2", "inf", ""],
    "grid": ["<script>", "1,2;3,4", "1,2,3,4;" * 3, "a,b,c,d;" * 4, ";".join(["1e400,1,1,1"] * 4), "", "1" * 9000],
    "drawing": ["garbage", "", "%%%", "A" * 5000, "eNr7_3_oA4ZhAACnLsM"],
    "map": ["edge", ""],
    "relu": ["true", "1", "YES", ""],
    "trained": ["../x", "", "A", "a" * 200],
    "conv": ["conv9", ""],
    "channel": ["-1", "10000", "x"],
    "operators": ["max,foo", "max,max,,", "max,average,min,lp,none", "MAX", "cls", "max;average"],
    "kernel": ["99", "0", "9", "2.5", "two", "-2", "2 2"],
    "stride": ["0", "9"],
    "padding": ["5", "-1"],
    "dilation": ["0", "5"],
    "ceil": ["maybe"],
    "countpad": ["on"],
    "mode": ["training"],
    "seed": ["-1", "1000000", "1e3", "00000000001"],
    "temperature": ["5", "0", "-1", "nan", "inf", "1.0"],
    "p": ["0", "17", "2.5"],
    "mix": ["0.25", "1.1", "-0.1"],
    "lens": ["output"],
    "cell": ["abc", "1", "1,2,3", "-1,0", "1,", "99999,0", "1, 2", "²,1"],
    "first": ["foo"],
    "second": [""],
    "chance": ["max"],
    "draws": ["2", "1000000000"],
    "shift": ["0", "17"],
    "times": ["0", "9"],
    "networks": ["cola", "MNIST", ""],
    "palette": ["jet"],
}


# ---- parameters by themselves


def test_the_tables_here_cover_every_parameter():
    assert set(SAMPLES) == set(PARAMS)
    assert set(BAD) == set(PARAMS) - {"model", "layer"}


@pytest.mark.parametrize("name", list(PARAMS))
def test_values_survive_the_address(name):
    param = PARAMS[name]
    values = SAMPLES[name] + ([param.default] if param.default is not None else [])
    texts = [param.show(value) for value in values]
    for value, text in zip(values, texts, strict=True):
        back = param.parse(text)
        assert back == value and type(back) is type(value), text
        assert isinstance(text, str) and len(text) < 4000
    distinct = {repr(value) for value in values}
    assert len(set(texts)) == len(distinct)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_bad_value_is_refused_with_a_reason(name, text):
    with pytest.raises(ValueError) as caught:
        PARAMS[name].parse(text)
    reason = str(caught.value)
    assert 5 < len(reason) < 500 and "\n" not in reason


@pytest.mark.parametrize("name", list(BAD))
def test_noise_is_refused_or_understood_and_never_an_accident(name):
    source = random.Random(name)
    for _ in range(200):
        text = "".join(source.choice(string.printable + "²٣é\0") for _ in range(source.randrange(12)))
        try:
            value = PARAMS[name].parse(text)
        except ValueError:
            continue
        assert PARAMS[name].parse(PARAMS[name].show(value)) == value


def test_a_list_names_each_once_in_its_order():
    assert PARAMS["operators"].parse("none,max,none") == ["none", "max"]


def test_a_parameter_that_is_absent_by_default_has_a_format_of_its_own():
    param = link.text(lambda text: int(text, 16), lambda value: f"{value:x}")
    assert param.default is None and param.parse(param.show(255)) == 255


@pytest.mark.parametrize("name", list(PARAMS))
def test_a_widget_uses_its_parameters_name(name):
    assert bounds(name) == {"key": name, "persist_state": "session"}


# ---- a link opens its state

WIDGETS = {
    "selectbox": ["input", "photo", "map", "trained", "conv", "channel", "first", "second", "chance"],
    "number_input": ["index", "kernel", "stride", "padding", "dilation", "seed", "p"],
    "select_slider": ["size", "temperature", "mix", "draws"],
    "slider": ["shift", "times"],
    "toggle": ["relu", "ceil", "countpad"],
    "multiselect": ["operators"],
    "segmented_control": ["mode", "lens", "palette", "networks"],
}
STATES = [
    {"index": "12", "kernel": "3", "stride": "1", "padding": "1", "cell": "0,7"},
    {"input": "photo", "photo": "china", "size": "28", "channel": "2", "palette": "grey"},
    {"map": "gabor", "relu": "no", "channel": "31", "operators": "lp,mixed", "p": "3", "mix": "0.3"},
    {"map": "edges", "channel": "7", "lens": "channels"},
    {"map": "trained", "trained": "digits-none-s0", "conv": "conv1", "channel": "7"},
    {"lens": "answers", "index": "12", "networks": "digits"},
    {"operators": "stochastic,softmax-stochastic", "mode": "train", "seed": "77", "temperature": "0.03"},
    {"operators": "average,none", "padding": "1", "countpad": "yes", "ceil": "yes", "stride": "3"},
    {"lens": "difference", "first": "average", "second": "stochastic", "cell": "3,3"},
    {"lens": "chance", "chance": "softmax-stochastic", "draws": "1000", "seed": "5", "operators": "softpool"},
    {"lens": "invariance", "shift": "7"},
    {"lens": "repeat", "times": "2", "dilation": "2"},
    {"input": "grid", "grid": images.grid_to_text(GRID), "lens": "gradient"},
    {"input": "drawing", "drawing": images.drawing_to_text(DRAWING), "lens": "overlap"},
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: "-".join(state)[:40])
def test_a_link_sets_its_widgets_and_stays_as_it_is(state):
    app = opened(**state)
    assert said(app) == {}
    assert app.query_params == state
    met = set()
    for kind, keys in WIDGETS.items():
        for widget in getattr(app, kind):
            if widget.key in keys and widget.key in state:
                value = PARAMS[widget.key].parse(state[widget.key])
                assert widget.value == value, widget.key
                met.add(widget.key)
    hidden = {"grid", "drawing", "cell"} | (set() if "mode" in state else {"seed"})
    assert met == set(state) - hidden
    if "cell" in state:
        assert ",".join(map(str, data(app)["cell"])) == state["cell"]
    if "grid" in state:
        assert torch.equal(numbers(data(app)["input"]), torch.tensor(GRID))
    if "drawing" in state:
        assert (numbers(data(app)["input"]).flatten() * 255).round().int().tolist() == list(DRAWING)


def change_by_hand(app) -> None:
    """A visitor at work: widgets, a click, a draw."""
    app.number_input(key="kernel").set_value(3)
    app.number_input(key="padding").set_value(1)
    app.multiselect(key="operators").set_value(["softmax-stochastic", "average"])
    healthy(app.run())
    app.segmented_control(key="mode").set_value("train").run()
    app.toggle(key="countpad").set_value(True).run()
    app.select_slider(key="temperature").set_value(10.0).run()
    app.button(key="again").click().run()
    app.segmented_control(key="lens").set_value("gradient").run()
    send(app, "poolviz_stage", cell="3,1")


@pytest.mark.parametrize("source", ["digit", "photo", "grid", "drawing"])
def test_a_copied_link_shows_the_same_numbers(source):
    app = opened(input=source)
    if source == "grid":
        edited(app, r0c0="-3", r2c2="0.5")
    if source == "drawing":
        send(app, "poolviz_pad", levels=list(DRAWING))
    change_by_hand(app)
    again = opened(**app.query_params)
    assert again.query_params == app.query_params and len(app.query_params) >= 8
    assert data(again) == data(app) and data(app)["cell"] == [min(3, data(app)["grid"]["output"][0] - 1), 1]
    healthy(app.run())
    assert data(again) == data(app)


@pytest.mark.parametrize("seed", range(24))
def test_any_good_address_opens_without_a_traceback_and_opens_again_alike(seed):
    source = random.Random(seed)
    names = source.sample([name for name in PARAMS if name not in ("model", "layer")], 9)
    # the numbers that a grid keeps only to six digits are tested in test_page_explorer
    samples = {**SAMPLES, "grid": [GRID], "index": [0, 3, 1796]}
    query = {name: PARAMS[name].show(source.choice(samples[name])) for name in names}
    app = opened(**query)
    # values beyond this map are told once and leave the address; then nothing may change any more
    app = opened(**app.query_params)
    again = opened(**app.query_params)
    assert again.query_params == app.query_params and said(again) == said(app)
    assert [e.proto.json for e in again.get("bidi_component")] == [e.proto.json for e in app.get("bidi_component")]


def test_a_copied_link_shows_the_cell_that_its_sender_sees():
    app = opened()
    app.number_input(key="kernel").set_value(3)
    app.number_input(key="stride").set_value(1)
    healthy(app.run())
    assert data(opened(**app.query_params))["cell"] == data(app)["cell"]


def test_defaults_leave_the_address_empty():
    app = opened(**{name: param.show(param.default) for name, param in PARAMS.items() if param.default is not None})
    assert app.query_params == {} and said(app) == {}
    app.number_input(key="kernel").set_value(5).run()
    assert app.query_params == {"kernel": "5"}
    app.number_input(key="kernel").set_value(2).run()
    assert app.query_params == {}


def test_values_of_widgets_that_are_not_shown_stay():
    app = opened(operators="lp", p="5")
    app.multiselect(key="operators").set_value(["max"]).run()
    assert app.query_params == {"operators": "max", "p": "5"}
    app.multiselect(key="operators").set_value(["lp"]).run()
    assert app.number_input(key="p").value == 5


def test_no_operator_survives_a_copied_link():
    app = opened()
    app.multiselect(key="operators").set_value([]).run()
    again = opened(**app.query_params)
    assert "warning" not in said(again) and data_is_absent(again)


def data_is_absent(app) -> bool:
    return not app.get("bidi_component")


# ---- bad links


def test_a_bad_link_is_one_warning_that_names_every_part_and_shows_the_defaults():
    bad = {
        "kernel": "99", "operators": "max,foo", "cell": "abc", "seed": "-1", "index": "1e400", "temperature": "5",
        "grid": "<script>alert(1)</script>", "drawing": "garbage", "input": "../etc/passwd", "lens": "x" * 3000,
    }  # fmt: skip
    app = opened(**bad)
    sentence = [line for line in one_long_warning(app).split("\n") if line.startswith("- ")]
    assert [line.split(" = ")[0] for line in sentence] == [f"- {name}" for name in PARAMS if name in bad]
    assert all(len(line) < 300 for line in sentence)
    assert app.query_params == {}
    assert data(app) == data(opened())
    healthy(app.run())
    assert said(app) == {}  # told once


def one_long_warning(app) -> str:
    (text,) = said(app)["warning"]
    assert list(said(app)) == ["warning"]
    return text


# the numbers stand in the notice; the rest of the link is kept
@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts[:2]])
def test_each_bad_value_falls_back_alone(name, text):
    good = {"stride": "1"} if name != "stride" else {"kernel": "3"}
    app = opened(**{name: text}, **good)
    warning = one_long_warning(app)
    assert warning.count("\n- ") == 1 and f"- {name} = " in warning
    assert app.query_params == good
    assert data(app) == data(opened(**good))


def test_unknown_parameters_are_ignored():
    app = opened(foo="1", __proto__="2", session_state="3", picture="x", grid_base="y", stage="z")
    assert said(app) == {} and app.query_params == {} and data(app) == data(opened())


@pytest.mark.parametrize("values", [["3", "4"], ["99", "4"]])
def test_of_a_repeated_parameter_the_last_counts(values):
    app = new_page()
    app.query_params["kernel"] = values
    healthy(app.run())
    assert app.number_input(key="kernel").value == 4 and said(app) == {}


def test_a_script_in_an_address_is_text():
    text = "<img src=x onerror=alert(1)>"
    (warning,) = [element.value for element in opened(kernel=text).warning]
    assert f"`{text}`" in warning  # Streamlit writes no HTML of a warning, and code is not rendered


@pytest.mark.parametrize(
    "query",
    [
        {"grid": "![x](//evil.example/p),0,0,0;" + ";".join(["0,0,0,0"] * 3)},
        {"grid": "[go](//evil.example),0,0,0;" + ";".join(["0,0,0,0"] * 3)},
        {"kernel": "a\n\n[go](//evil.example)\n\nb"},
    ],
    ids=["image", "link", "lines"],
)
def test_a_strangers_link_puts_no_picture_and_no_link_of_its_own_on_the_page(query):
    (warning,) = [element.value for element in opened(**query).warning]
    body = warning.split("as they are:", 1)[1]
    # a blank line ends a span of code; outside of one, a backslash takes a bracket's meaning
    outside = body if "\n\n" in body else "".join(body.split("`")[::2])
    assert not re.search(r"(?<!\\)\]\(", outside)


@pytest.mark.parametrize("query", [{"map": "network", "model": "garbage"}, {"model": "garbage"}], ids=str)
def test_an_unknown_network_in_a_link_is_told(query):
    assert "garbage" in " ".join(said(opened(**query)).get("warning", []))


@pytest.mark.parametrize("query", [{"index": "9000"}, {"channel": "77"}, {"cell": "999,999"}], ids=str)
def test_a_number_beyond_this_map_is_told_or_leaves_the_address(query):
    app = opened(**query)
    assert "warning" in said(app) or app.query_params == {}


def test_a_links_impossible_setting_keeps_its_values_for_mending():
    app = opened(kernel="2", padding="4")
    assert "impossible" in one_sentence(app, "warning")
    assert app.query_params == {"padding": "4"} and app.number_input(key="padding").value == 4


# ---- back and forward


def test_going_back_shows_what_the_address_says():
    app = opened(kernel="3")
    app.number_input(key="kernel").set_value(4)
    healthy(app.run())
    assert app.query_params["kernel"] == "4"
    app.query_params["kernel"] = "3"  # as a browser's Back does: another address, and no widget was used
    healthy(app.run())
    assert app.session_state["kernel"] == 3 and app.number_input(key="kernel").value == 3


def test_an_address_that_the_browser_has_not_heard_of_yet_takes_nothing_back():
    app = opened(kernel="3")
    app.number_input(key="kernel").set_value(4)
    healthy(app.run())
    app.query_params["kernel"] = "3"  # the address of before comes along with the next change
    app.number_input(key="stride").set_value(1)
    healthy(app.run())
    assert (app.session_state["kernel"], app.session_state["stride"]) == (4, 1)
    assert app.query_params["kernel"] == "4"


def test_going_back_leaves_projector_mode_at_once():
    """Without a sidebar its button is the only way out: the look and the button follow one address."""
    app = opened()
    (projector,) = (each for each in app.button if each.label == "Projector")
    healthy(projector.click().run())
    assert app.query_params["projector"] == "yes" and "zoom" in app.get("html")[0].proto.body
    app.query_params.clear()  # as a browser's Back does
    healthy(app.run())
    assert "zoom" not in app.get("html")[0].proto.body
    assert not any(each.label == "Leave projector mode" for each in app.button)
