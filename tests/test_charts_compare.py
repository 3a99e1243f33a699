"""Comparisons, stages and their payload on a real digit, against torch's own layers, autograd and direct counts."""

import base64
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from poolviz.charts.colour import DIVERGING, PALETTES, signed_range
from poolviz.charts.compare import (
    Setting,
    compare,
    repeated,
    widest_difference,
    with_coverage,
    with_difference,
    with_gradients,
)
from poolviz.charts.sheet import THUMBNAIL, sheet_payload
from poolviz.charts.stage import Output, Panel, Stage, common_range, payload
from poolviz.inputs import images
from poolviz.pooling import POOLINGS

torch.set_num_threads(1)
MAPS = tuple(name for name, pooling in POOLINGS.items() if pooling.for_maps)
DRAWN = tuple(name for name in MAPS if POOLINGS[name].stochastic)
SUMS = tuple(name for name in MAPS if POOLINGS[name].is_weighted_sum and not POOLINGS[name].keeps_cells)
# kernel, stride, padding, dilation, ceil_mode
GEOMETRIES = [
    (2, 2, 0, 1, False),
    (3, 2, 1, 1, False),
    (3, 1, 1, 1, False),
    (3, 3, 0, 1, True),
    (2, 3, 0, 1, False),
    (8, 8, 4, 1, False),
    (1, 1, 0, 1, False),
    (8, 1, 0, 1, False),
]
DILATED = [(2, 2, 0, 2, False), (3, 2, 1, 2, True)]


def digit(number: int = 3) -> torch.Tensor:
    return images.digit(number).pixels[0]


def distinct(height: int = 8, width: int = 8, seed: int = 0) -> torch.Tensor:
    """Every value once, none 0."""
    return 1 + torch.randperm(height * width, generator=torch.Generator().manual_seed(seed)).float().view(height, width)


def setting(geometry: tuple = (2, 2, 0, 1, False), operators: tuple = ("max", "average"), **more) -> Setting:
    kernel, stride, padding, dilation, ceil_mode = geometry
    return Setting(operators, kernel, stride, padding, dilation, ceil_mode, **more)


def windows(values: torch.Tensor, geometry: tuple) -> torch.Tensor:
    """(H_out, W_out, k, k) window values by F.unfold, padding 0; for floor mode."""
    kernel, stride, padding, dilation, _ = geometry
    columns = F.unfold(values[None, None], kernel, dilation, padding, stride)[0]
    side = F.max_pool2d(values[None, None], *geometry).shape[-2:]
    return columns.T.reshape(*side, kernel, kernel)


def seen(values: torch.Tensor, geometry: tuple) -> torch.Tensor:
    """How many windows look at each cell: F.fold of ones; for floor mode."""
    kernel, stride, padding, dilation, _ = geometry
    count = F.max_pool2d(values[None, None], *geometry).numel()
    ones = torch.ones(1, kernel * kernel, count, dtype=torch.float64)
    return F.fold(ones, tuple(values.shape), kernel, dilation, padding, stride)[0, 0]


def share(note: str) -> int:
    return int(re.search(r"(\d+)%", note)[1])


def floats(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(shape)


def weights_of(sent: dict, *shape: int) -> np.ndarray:
    """Weights (H, W, kh, kw) as the browser decodes them from any of the four forms."""
    ((form, text),) = sent.items()
    data = base64.b64decode(text)
    if form == "shared":
        return np.broadcast_to(floats(text, *shape[2:]), shape)
    if form == "float32":
        return floats(text, *shape)
    if form == "bfloat16":
        return (np.frombuffer(data, dtype="<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    cells = shape[2] * shape[3]
    places = np.frombuffer(data, dtype=np.uint8)
    return (places[:, None] == np.arange(cells)).astype(np.float32).reshape(shape)


# ---- compare


@pytest.mark.parametrize("geometry", GEOMETRIES + DILATED, ids=str)
def test_max_and_average_are_torchs(geometry):
    kernel, stride, padding, dilation, ceil_mode = geometry
    x = digit()[None, None]
    stage = compare(x[0, 0], setting(geometry), "a title", "grey")
    most, mean = stage.outputs
    assert torch.equal(most.values, F.max_pool2d(x, *geometry)[0, 0])
    if dilation == 1:
        truth = F.avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad=False)
        torch.testing.assert_close(mean.values, truth[0, 0])
        counted = replace(setting(geometry), count_include_pad=True)
        truth = F.avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad=True)
        torch.testing.assert_close(compare(x[0, 0], counted, "").outputs[1].values, truth[0, 0])
    assert stage.grid.output_size == most.values.shape
    assert (stage.title, stage.palette, stage.panels) == ("a title", "grey", ())
    assert torch.equal(stage.values, digit())


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if not g[-1]] + DILATED[:1], ids=str)
def test_weights_times_the_window_is_the_output(geometry):
    stage = compare(digit(), setting(geometry, SUMS), "")
    inside = windows(torch.ones(8, 8), geometry)
    for output in stage.outputs:
        found = (output.weights * windows(digit(), geometry)).sum((-1, -2))
        torch.testing.assert_close(found, output.values, msg=output.name)
        assert (output.weights >= 0).all() and (output.weights * (1 - inside) == 0).all(), output.name


@pytest.mark.parametrize("name", ["lp", "median"])
def test_operators_that_are_no_weighted_sum_show_autograds_gradient(name):
    values = distinct()
    output = compare(values, setting(operators=(name,), p=3.0), "").outputs[0]
    cells = windows(values, (2, 2, 0, 1, False)).clone().requires_grad_()
    flat = cells.flatten(2)
    truth = torch.linalg.vector_norm(flat, 3, dim=-1) if name == "lp" else flat.sort(-1).values[..., 1:3].mean(-1)
    truth.sum().backward()
    torch.testing.assert_close(output.values, truth.detach())
    torch.testing.assert_close(output.weights, cells.grad)


def test_none_keeps_every_cell():
    output = compare(digit(), setting(operators=("none",)), "").outputs[0]
    assert torch.equal(output.values, digit())
    assert output.weights.shape == (8, 8, 1, 1) and (output.weights == 1).all() and share(output.note) == 0


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_the_share_without_a_say_is_counted_directly(geometry):
    values = distinct()
    most, mean = compare(values, setting(geometry), "").outputs
    winners = F.max_pool2d(values[None, None], *geometry, return_indices=True)[1].unique().numel()
    assert share(most.note) == round(100 * (1 - winners / 64))
    if not geometry[-1]:
        assert share(mean.note) == round(100 * float((seen(values, geometry) == 0).double().mean()))


def test_max_of_pairs_discards_three_quarters():
    assert [share(output.note) for output in compare(distinct(), setting(), "").outputs] == [75, 0]


# ---- chance


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("geometry", [GEOMETRIES[0], GEOMETRIES[1], DILATED[0]], ids=str)
def test_training_draws_one_cell_with_the_test_modes_probabilities(name, geometry):
    # 5: every window holds something to draw, also under the rule of positive activations
    test, train = setting(geometry, (name,)), setting(geometry, (name,), training=True, seed=5)
    values = distinct()
    expected, drawn = (compare(values, s, "").outputs[0] for s in (test, train))
    assert not expected.drawn and drawn.drawn
    assert torch.equal(expected.probabilities, expected.weights)
    assert torch.equal(drawn.probabilities, expected.weights)
    flat = drawn.weights.flatten(2)
    assert ((flat == 0) | (flat == 1)).all() and (flat.sum(-1) == 1).all()
    assert (drawn.probabilities[drawn.weights == 1] > 0).all()
    assert torch.equal((drawn.weights * windows(values, geometry)).sum((-1, -2)), drawn.values)


@pytest.mark.parametrize("name", DRAWN)
def test_a_seed_is_a_draw(name):
    def values(seed: int) -> torch.Tensor:
        stage = compare(distinct(), setting(operators=(name,), training=True, seed=seed, temperature=100.0), "")
        return stage.outputs[0].values

    assert torch.equal(values(1), values(1))
    assert len({tuple(values(seed).flatten().tolist()) for seed in range(20)}) == 20
    state = torch.random.get_rng_state()
    values(3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_operators_without_chance_have_no_probabilities():
    names = tuple(name for name in MAPS if name not in DRAWN)
    for output in compare(digit(), setting(operators=names, training=True), "").outputs:
        assert output.probabilities is None and not output.drawn, output.name


# ---- difference


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (2, 0), (1, 1)])
def test_difference(first, second):
    stage = compare(digit(), setting(operators=("max", "average", "median")), "")
    shown = with_difference(stage, first, second)
    assert [o.name for o in shown.outputs] == [stage.outputs[i].name for i in (first, second)]
    (panel,) = shown.panels
    truth = stage.outputs[first].values.numpy() - stage.outputs[second].values.numpy()
    assert (panel.values.numpy() == truth).all()
    assert panel.space == "output"
    low, high = panel.value_range
    assert low == -high and high == (np.abs(truth).max() or 1.0) and panel.signed
    row, column = widest_difference(stage, first, second)
    assert abs(truth[row, column]) == np.abs(truth).max()


def test_the_widest_difference_looks_past_nan():
    values = distinct()
    values[0, 0] = math.nan
    stage = compare(values, setting(), "")
    assert stage.outputs[0].values[0, 0].isnan()
    found = widest_difference(stage, 0, 1)
    truth = (stage.outputs[0].values - stage.outputs[1].values).numpy()
    assert found == np.unravel_index(np.nanargmax(np.abs(truth)), truth.shape)


def test_a_difference_needs_one_size():
    stage = compare(digit(), setting(operators=("max", "none")), "")
    with pytest.raises(ValueError, match=r"Max and None differ in size"):
        with_difference(stage, 0, 1)
    alike = compare(digit(), setting((1, 1, 0, 1, False), ("max", "none")), "")
    assert (with_difference(alike, 0, 1).panels[0].values == 0).all()


# ---- gradient


@pytest.mark.parametrize("geometry", GEOMETRIES + DILATED, ids=str)
def test_gradients_are_those_of_torchs_layers(geometry):
    kernel, stride, padding, dilation, ceil_mode = geometry
    layers = {"max": torch.nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)}
    if dilation == 1:
        layers["average"] = torch.nn.AvgPool2d(kernel, stride, padding, ceil_mode, count_include_pad=False)
    chosen = setting(geometry, tuple(layers))
    shown = with_gradients(compare(distinct(), chosen, ""), chosen)
    truths = []
    for panel, layer in zip(shown.panels, layers.values(), strict=True):
        leaf = distinct()[None, None].requires_grad_()
        layer(leaf).sum().backward()
        torch.testing.assert_close(panel.values, leaf.grad[0, 0])
        assert panel.space == "input"
        assert share(panel.note) == round(100 * float((leaf.grad != 0).double().mean()))
        truths.append(leaf.grad)
    assert {panel.value_range for panel in shown.panels} == {(0.0, float(torch.cat(truths).max()))}
    assert shown.panels_first


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("geometry", [GEOMETRIES[0], GEOMETRIES[1], GEOMETRIES[2]], ids=str)
def test_the_gradient_of_a_draw_goes_to_the_drawn_cells_that_the_bars_show(name, geometry):
    kernel, stride, padding, dilation, _ = geometry
    for seed in range(12):
        chosen = setting(geometry, (name,), training=True, seed=seed, temperature=30.0)
        stage = with_gradients(compare(distinct(seed=seed), chosen, ""), chosen)
        columns = stage.outputs[0].weights.flatten(2).flatten(0, 1).T[None]
        truth = F.fold(columns, (8, 8), kernel, dilation, padding, stride)[0, 0]
        assert torch.equal(stage.panels[0].values, truth), seed


# ---- coverage


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if not g[-1]] + DILATED[:1], ids=str)
def test_coverage_is_fold_of_ones(geometry):
    shown = with_coverage(compare(digit(), setting(geometry), ""))
    (panel,) = shown.panels
    truth = seen(digit(), geometry)
    assert torch.equal(panel.values.double(), truth)
    assert panel.value_range == (0.0, float(truth.max())) and panel.space == "input"
    numbers = [int(n) for n in re.findall(r"\d+", panel.note)]
    assert numbers == sorted({int(truth.min()), int(truth.max())})


# ---- repetition


@pytest.mark.parametrize(
    ("geometry", "times", "sizes"),
    [
        ((2, 2, 0, 1, False), 4, [8, 4, 2, 1]),
        ((2, 2, 0, 1, False), 2, [8, 4, 2]),
        ((3, 2, 1, 1, False), 3, [8, 4, 2, 1]),
        ((3, 1, 0, 1, False), 8, [8, 6, 4, 2]),
        ((8, 8, 0, 1, False), 3, [8, 1]),
        ((1, 1, 0, 1, False), 3, [8, 8, 8, 8]),
    ],
    ids=str,
)
def test_repetition_stops_where_torch_refuses(geometry, times, sizes):
    maps = repeated(digit(), setting(geometry), "max", times)
    assert [m.shape for m in maps] == [(side, side) for side in sizes]
    assert torch.equal(maps[0], digit())
    for before, after in zip(maps, maps[1:], strict=False):
        assert torch.equal(after, F.max_pool2d(before[None, None], *geometry)[0, 0])


@pytest.mark.parametrize("name", DRAWN)
def test_repetition_begins_with_the_draw_on_the_stage_and_draws_anew_each_time(name):
    chosen = setting((3, 1, 1, 1, False), (name,), training=True, seed=4, temperature=30.0)
    once, twice = repeated(distinct(), chosen, name, 2)[1:]
    assert torch.equal(once, compare(distinct(), chosen, "").outputs[0].values)
    assert not torch.equal(twice, compare(once, chosen, "").outputs[0].values)
    assert torch.equal(twice, compare(once, replace(chosen, seed=5), "").outputs[0].values)


# ---- captions


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (Setting(("max",)), "kernel 2, stride 2, padding 0"),
        (Setting(("max",), 3, 1, 1, 2, True), "kernel 3, stride 1, padding 1, dilation 2, ceil mode"),
        (Setting(("stochastic",)), "kernel 2, stride 2, padding 0, test mode"),
        (
            Setting(("max", "softmax-stochastic"), training=True, seed=7, temperature=0.3),
            "kernel 2, stride 2, padding 0, training mode, seed 7, temperature 0.3",
        ),
        (Setting(("softpool",), temperature=100.0), "kernel 2, stride 2, padding 0, temperature 100"),
        (Setting(("lp", "mixed"), p=4.0, mix=0.3), "kernel 2, stride 2, padding 0, p = 4, mix 0.3"),
        # what no chosen operator reads stays out
        (Setting(("max",), training=True, seed=9, temperature=3.0, p=5.0, mix=0.1), "kernel 2, stride 2, padding 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_setting_describes_itself(chosen, told):
    assert chosen.describe() == told


def test_a_caption_tells_settings_apart_that_give_other_pictures():
    plain = Setting(("average",), 3, 2, 1)
    counted = replace(plain, count_include_pad=True)
    first, second = (compare(digit(), s, "").outputs[0].values for s in (plain, counted))
    assert not torch.equal(first, second)
    assert plain.describe() != counted.describe()


# ---- colour ranges


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1.0, 2.0], [5.0]], (0.0, 5.0)),
        ([[-1.0, 2.0], [0.5]], (-2.0, 2.0)),
        ([[-3.0], [2.0]], (-3.0, 3.0)),
        ([[0.0, 0.0]], (0.0, 1.0)),
        ([[-0.0]], (0.0, 1.0)),
        ([[math.nan, 4.0], [math.inf, -math.inf]], (0.0, 4.0)),
        ([[math.nan, -4.0, math.inf]], (-4.0, 4.0)),
        ([[math.nan], [math.inf]], (0.0, 1.0)),
        ([[]], (0.0, 1.0)),
    ],
    ids=str,
)
def test_common_range(values, expected):
    found = common_range([torch.tensor(v) for v in values])
    assert found == expected
    assert all(isinstance(end, float) and math.isfinite(end) for end in found) and found[0] < found[1]


@pytest.mark.parametrize(("ends", "expected"), [((-1, 2), (-2, 2)), ((0, 0), (-1, 1)), ((), (-1, 1)), ((3,), (-3, 3))])
def test_signed_range(ends, expected):
    assert signed_range(*ends) == expected


def test_all_compared_maps_share_one_scale_and_a_negative_one_makes_it_diverging():
    # Lp of ones is above every cell of the input
    stage = compare(torch.ones(4, 4), setting(operators=("max", "lp"), p=1.0), "", "cividis")
    assert stage.value_range == (0.0, 4.0) and not stage.signed
    assert stage.ramp(stage.signed) == PALETTES["cividis"]
    signed = compare(-torch.ones(4, 4), setting(), "")
    assert signed.value_range == (-1.0, 1.0) and signed.signed and signed.ramp(signed.signed) == DIVERGING


# ---- what travels to the browser


def stage_with_everything() -> Stage:
    chosen = setting((3, 2, 1, 1, False), ("max", "stochastic", "lp", "none"), training=True, seed=1)
    return with_gradients(compare(digit(), chosen, "digit\nsetting", "cividis"), chosen)


def test_payload_is_json_and_carries_float32_of_every_tensor():
    stage = stage_with_everything()
    sent = json.loads(json.dumps(payload(stage, (1, 2)), allow_nan=False))
    assert sent["title"] == "digit\nsetting" and sent["cell"] == [1, 2]
    assert sent["range"] == list(stage.value_range) and sent["ramp"] == list(PALETTES["cividis"])
    assert sent["grid"] == {
        "kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "output": [4, 4],
    }  # fmt: skip
    assert (floats(sent["input"]["values"], 8, 8) == digit().numpy()).all()
    assert [o["kind"] for o in sent["outputs"]] == ["weight", "drawn", "gradient", "weight"]
    assert [o["keepsCells"] for o in sent["outputs"]] == [False, False, False, True]
    for output, found in zip(stage.outputs, sent["outputs"], strict=True):
        pooling = POOLINGS[output.name]
        assert (found["height"], found["width"]) == output.values.shape
        assert (found["title"], found["colour"], found["note"]) == (pooling.label, pooling.colour, output.note)
        assert (floats(found["values"], *output.values.shape) == output.values.numpy()).all()
        assert (weights_of(found["weights"], *output.weights.shape) == output.weights.numpy()).all()
        assert (found["probabilities"] is None) == (not output.drawn)
        if output.drawn:
            shape = output.probabilities.shape
            assert (weights_of(found["probabilities"], *shape) == output.probabilities.numpy()).all()
    assert len(sent["panels"]) == 4 and sent["panelsFirst"]
    for panel, found in zip(stage.panels, sent["panels"], strict=True):
        assert (floats(found["values"], found["height"], found["width"]) == panel.values.numpy()).all()
        assert found["range"] == list(panel.value_range) and found["space"] == "input"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_payload_of_a_map_with_nan_or_infinity_is_still_json(bad):
    values = distinct()
    values[0, 0] = bad
    sent = json.loads(json.dumps(payload(compare(values, setting(), ""), (0, 0)), allow_nan=False))
    found = floats(sent["input"]["values"], 8, 8)
    assert np.array_equal(found, values.numpy(), equal_nan=True)


def test_payload_takes_views_and_doubles():
    values = distinct(8, 6).double().T  # not contiguous
    sent = payload(compare(values, setting(), ""), (0, 0))
    assert (floats(sent["input"]["values"], 6, 8) == values.numpy()).all()
    weights = torch.rand(2, 2, 3, 4, dtype=torch.float64).permute(2, 3, 0, 1)
    output = Output("max", torch.ones(1, 1).expand(3, 4), weights, None, False)
    sent = payload(replace(compare(values, setting(), ""), outputs=[output]), (0, 0))["outputs"][0]
    assert (floats(sent["values"], 3, 4) == 1).all()
    assert (weights_of(sent["weights"], 3, 4, 2, 2) == weights.float().numpy()).all()


def test_many_weights_travel_light_and_close():
    values = torch.rand(112, 112)
    stage = compare(values, setting((8, 1, 0, 1, False), ("max", "softpool", "stochastic")), "")
    sent = payload(stage, (0, 0))
    assert [list(output["weights"]) for output in sent["outputs"]] == [["place"], ["bfloat16"], ["bfloat16"]]
    for output, found in zip(stage.outputs, sent["outputs"], strict=True):
        near = weights_of(found["weights"], *output.weights.shape)
        assert np.allclose(near, output.weights.numpy(), rtol=0.005, atol=0)
    assert len(json.dumps(sent)) < 5_000_000


def test_a_window_without_a_weight_has_no_place():
    values = torch.zeros(4, 4)
    values[0, 1] = 7.0
    sent = payload(compare(values, setting(operators=("stochastic",)), ""), (0, 0))["outputs"][0]
    assert list(base64.b64decode(sent["weights"]["place"])) == [1, 255, 255, 255]


@pytest.mark.parametrize("names", [("average",), ("none",), ("stochastic",)])
def test_weights_that_are_the_same_in_every_window_travel_once(names):
    """Averages everywhere; no weight anywhere, as Zeiler and Fergus' rule has it for a map of zeros."""
    stage = compare(torch.zeros(28, 28), setting((2, 2, 0, 1, False), names), "")
    sent = payload(stage, (0, 0))["outputs"][0]["weights"]
    weights = stage.outputs[0].weights
    assert list(sent) == ["shared"] and len(sent["shared"]) < 30
    assert (weights_of(sent, *weights.shape) == weights.numpy()).all()
    padded = compare(torch.ones(8, 8), setting((3, 1, 1, 1, False), ("average",)), "")
    assert list(payload(padded, (0, 0))["outputs"][0]["weights"]) == ["float32"]  # fewer cells count at the border


def test_one_window_of_many_cells_travels_as_floats():
    """Nothing to share, and a place beyond 254 fits no byte."""
    one = compare(torch.rand(28, 28), setting((28, 28, 0, 1, False), ("max", "average")), "")
    for output, found in zip(one.outputs, payload(one, (0, 0))["outputs"], strict=True):
        assert list(found["weights"]) == ["float32"]
        assert (weights_of(found["weights"], *output.weights.shape) == output.weights.numpy()).all()


def test_a_panel_has_the_ramp_of_its_own_range():
    stage = replace(
        compare(digit(), setting(), ""),
        panels=[Panel("a", torch.ones(8, 8), "input", (-1.0, 1.0)), Panel("b", torch.ones(8, 8), "input", (0.0, 1.0))],
    )
    ramps = [panel["ramp"] for panel in payload(stage, (0, 0))["panels"]]
    assert ramps == [list(DIVERGING), list(PALETTES["viridis"])]


def test_a_compact_stage_asks_for_smaller_pictures():
    wide, compact = (payload(stage_with_everything(), (0, 0), flag) for flag in (False, True))
    assert compact["compact"] and not wide["compact"] and compact["largest"] < wide["largest"]


# ---- contact sheet


@pytest.mark.parametrize("shape", [(3, 8, 8), (32, 28, 28), (2, 56, 56), (2, 112, 56), (1, 30, 200), (1, 4, 112)])
def test_the_sheet_shows_every_channel_small(shape):
    values = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    sent = json.loads(json.dumps(sheet_payload(values, 0, "grey"), allow_nan=False))
    height, width = sent["height"], sent["width"]
    assert sent["count"] == shape[0] and max(height, width) == min(THUMBNAIL, max(shape[1:])) and min(height, width) > 0
    assert abs(width / height - shape[2] / shape[1]) <= 0.35 * shape[2] / shape[1]
    found = floats(sent["values"], shape[0], height, width)
    if max(shape[1:]) <= THUMBNAIL:
        assert (found == values.numpy()).all()
    np.testing.assert_allclose(found.mean((1, 2)), values.numpy().mean((1, 2)), rtol=0.1)
    low, high = sent["range"]
    assert low == 0 and high == found.max() and sent["ramp"] == list(PALETTES["grey"])


def test_the_sheet_averages_whole_blocks():
    values = torch.rand(2, 56, 56, generator=torch.Generator().manual_seed(2))
    found = floats(sheet_payload(values, 1, "viridis")["values"], 2, 28, 28)
    np.testing.assert_allclose(found, values.numpy().reshape(2, 28, 2, 28, 2).mean((2, 4)), rtol=1e-6)


def test_a_signed_sheet_diverges_around_0():
    sent = sheet_payload(torch.tensor([[[-3.0, 1.0]] * 2]), 0, "viridis")
    assert sent["range"] == [-3.0, 3.0] and sent["ramp"] == list(DIVERGING) and sent["chosen"] == 0


# ---- colours


def luminance(colour: str) -> float:
    """Relative luminance of an sRGB colour (WCAG 2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def lightness(colour: str) -> float:
    """CIE L*, 0 to 100: as a person sees it."""
    y = luminance(colour)
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


@pytest.mark.parametrize("name", sorted(PALETTES))
def test_sequential_palettes_grow_lighter_at_each_anchor(name):
    steps = [lightness(colour) for colour in PALETTES[name]]
    assert all(re.fullmatch(r"#[0-9a-f]{6}", colour) for colour in PALETTES[name])
    rises = [after - before for before, after in zip(steps, steps[1:], strict=False)]
    assert min(rises) > 0 and steps[-1] - steps[0] > 60
    assert max(rises) < 2.2 * min(rises)  # evenly, so that equal steps of a value look equal


def test_the_diverging_palette_is_lightest_in_the_middle_and_alike_on_both_sides():
    steps = [lightness(colour) for colour in DIVERGING]
    middle = len(steps) // 2
    assert len(steps) % 2 == 1 and steps[middle] == max(steps) > 95
    assert steps[: middle + 1] == sorted(steps[: middle + 1])
    assert steps[middle:] == sorted(steps[middle:], reverse=True)
    for below, above in zip(steps[:middle], reversed(steps[middle + 1 :]), strict=True):
        assert abs(below - above) < 25  # PuOr's darkest purple is darker than its darkest brown
    # the two sides differ in blue against red also where red and green look alike
    ends = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (DIVERGING[2], DIVERGING[-3])]
    assert ends[0][2] > ends[0][0] + 40 and ends[1][0] > ends[1][2] + 100


@pytest.mark.parametrize("shown", ["for_maps", "for_sequences"])
def test_operators_that_are_shown_together_have_colours_of_their_own(shown):
    colours = [pooling.colour for pooling in POOLINGS.values() if getattr(pooling, shown)]
    assert len(colours) >= 8 and len(set(colours)) == len(colours)
