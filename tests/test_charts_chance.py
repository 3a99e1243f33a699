"""Draws against exact probabilities, invariance against numpy, the charts' specs against the rows they are given."""

import inspect
import json
import math
import re

import altair as alt
import numpy as np
import pytest
import torch
import vl_convert
from scipy import special, stats

from poolviz.charts import chance, invariance
from poolviz.charts.compare import Setting
from poolviz.inputs import images
from poolviz.pooling import POOLINGS

torch.set_num_threads(1)
DRAWN = tuple(name for name, pooling in POOLINGS.items() if pooling.for_maps and pooling.stochastic)
WINDOW = torch.tensor([1.0, 2.0, 0.0, 5.0])


def probabilities(values: torch.Tensor, name: str, temperature: float) -> np.ndarray:
    numbers = values.double().numpy()
    if name == "softmax-stochastic":
        return special.softmax(numbers / temperature)
    positive = numbers.clip(min=0)
    return positive / positive.sum()


# ---- draws


@pytest.mark.parametrize("temperature", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("values", [WINDOW, torch.tensor([-3.0, 2.0, 2.0]), torch.tensor([4.0]), torch.arange(9.0)])
def test_exact_figures_of_a_window(values, name, temperature):
    draws = chance.draw_window(values, name, 200, 0, temperature)
    p, numbers = probabilities(values, name, temperature), values.double().numpy()
    np.testing.assert_allclose(draws.probabilities.numpy(), p, rtol=1e-12)
    mean = (p * numbers).sum()
    assert draws.expectation == pytest.approx(mean, rel=1e-12)
    assert draws.deviation == pytest.approx(math.sqrt((p * (numbers - mean) ** 2).sum()), rel=1e-9, abs=1e-9)
    assert torch.equal(draws.values, values)


@pytest.mark.parametrize("count", [1, 3, 100, 3000])
@pytest.mark.parametrize("name", DRAWN)
def test_counts_and_running_means_tell_of_the_same_draws(name, count):
    draws = chance.draw_window(WINDOW, name, count, 3, 1.0)
    assert draws.counts.sum() == count and len(draws.means) == count
    assert (draws.counts == draws.counts.round()).all()
    assert (draws.counts[draws.probabilities == 0] == 0).all()
    assert float(draws.means[-1]) == pytest.approx(float((draws.counts * WINDOW).sum() / count))
    drawn = np.diff(draws.means.numpy() * np.arange(1, count + 1), prepend=0)
    for value, counted in zip(WINDOW.tolist(), draws.counts.tolist(), strict=True):
        assert np.isclose(drawn, value, atol=1e-6).sum() == counted


@pytest.mark.parametrize(
    ("name", "temperature"), [("stochastic", 1.0), *(("softmax-stochastic", t) for t in (0.5, 3.0))]
)
def test_frequencies_are_the_probabilities(name, temperature):
    """Chi-square over 16 seeds together: too far off and too good to be true are both caught."""
    p = probabilities(WINDOW, name, temperature)
    live, count, seeds = p > 0, 2000, 16
    statistic = 0.0
    for seed in range(seeds):
        counts = chance.draw_window(WINDOW, name, count, seed, temperature).counts.numpy()
        statistic += stats.chisquare(counts[live], count * p[live]).statistic
    assert 1e-4 < stats.chi2.sf(statistic, seeds * (live.sum() - 1)) < 1 - 1e-4


@pytest.mark.parametrize("name", DRAWN)
def test_means_converge_as_fast_as_promised(name):
    """The error times sqrt(N) / deviation is standard normal: its mean square over seeds is about 1 at every N."""
    runs = [chance.draw_window(WINDOW, name, 1000, seed, 2.0) for seed in range(40)]
    for n in (10, 100, 1000):
        scores = [float(run.means[n - 1] - run.expectation) / (run.deviation / n**0.5) for run in runs]
        assert 0.4 < np.mean(np.square(scores)) < 2 and max(map(abs, scores)) < 5


def test_a_seed_is_a_series_of_draws():
    first, again, other = (chance.draw_window(WINDOW, "stochastic", 100, seed, 1.0).means for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("values", [[0.0, 0.0], [-1.0, 0.0], [-2.0]])
def test_a_window_without_a_positive_cell_has_nothing_to_draw_under_zeiler_and_fergus(values):
    assert chance.draw_window(torch.tensor(values), "stochastic", 10, 0, 1.0) is None
    assert chance.draw_window(torch.tensor(values), "softmax-stochastic", 10, 0, 1.0) is not None


# ---- rows


def test_frequency_rows():
    draws = chance.draw_window(WINDOW, "stochastic", 300, 0, 1.0)
    rows = chance.frequency_rows(draws)
    assert [row["cell"] for row in rows] == ["0: 1", "1: 2", "2: 0", "3: 5"]
    assert sum(row["frequency"] for row in rows) == pytest.approx(1)
    np.testing.assert_allclose([row["frequency"] for row in rows], draws.counts.numpy() / 300)
    np.testing.assert_allclose([row["probability"] for row in rows], np.array([1, 2, 0, 5]) / 8)


@pytest.mark.parametrize("count", [1, 3, 10, 300, 10000])
def test_convergence_rows(count):
    draws = chance.draw_window(WINDOW, "stochastic", count, 0, 1.0)
    rows = chance.convergence_rows(draws)
    places = [row["draws"] for row in rows]
    assert places == sorted(set(places)) and places[0] == 1 and places[-1] == count
    assert len(places) <= 120 and (count < 100 or len(places) > 60)
    spread = np.sqrt((np.array([1, 2, 0, 5]) / 8 * (WINDOW.numpy() - 3.75) ** 2).sum())
    for row in rows:
        assert row["expected"] == pytest.approx(spread / math.sqrt(row["draws"]))
        error = abs(float(draws.means[row["draws"] - 1]) - 3.75)
        assert row["error"] == pytest.approx(error, abs=1.1e-12)


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("values", [[0.0, 0.0, 7.0, 0.0], [5.0, 5.0]])
def test_convergence_rows_fit_a_logarithmic_axis(values, name):
    draws = chance.draw_window(torch.tensor(values), name, 100, 0, 0.01)
    for row in chance.convergence_rows(draws):
        assert row["error"] >= 1e-12 and row["expected"] >= 1e-12


@pytest.mark.parametrize("values", [WINDOW, torch.tensor([-3.0, 2.0, 2.5]), torch.tensor([200.0, -200.0])])
def test_temperature_leads_from_the_maximum_to_the_average(values):
    rows = chance.temperature_rows(values)
    numbers = values.double().numpy()
    assert rows[0]["temperature"] == pytest.approx(0.01) and rows[-1]["temperature"] == pytest.approx(100)
    for row in rows:
        truth = (special.softmax(numbers / row["temperature"]) * numbers).sum()
        assert row["output"] == pytest.approx(truth, rel=1e-9)
    outputs = [row["output"] for row in rows]
    assert all(after <= before + 1e-9 for before, after in zip(outputs, outputs[1:], strict=False))
    assert outputs[0] == pytest.approx(numbers.max(), rel=1e-3)
    if np.ptp(numbers) < 10:  # to first order, the softmax mean is off by variance / T
        assert outputs[-1] == pytest.approx(numbers.mean() + numbers.var() / 100, abs=1e-3)


# ---- invariance


def numpy_pool(x: np.ndarray, how: str) -> np.ndarray:
    """2 x 2 windows, stride 2."""
    if how == "none":
        return x
    blocks = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2)
    return {"max": blocks.max, "average": blocks.mean, "min": blocks.min}[how](axis=(1, 3))


def change(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.linalg.norm(after - before) / np.linalg.norm(before))


def test_shifts_equal_numpys():
    x = images.digit(5).pixels[0]
    rows = invariance.shift_rows(x[None, None], Setting(("max", "average")), 10)
    array = x.double().numpy()
    expected = []
    for name in ("max", "average", "none"):
        for n in range(11):
            moved = np.pad(array, ((0, 0), (n, 0)), mode="edge")[:, :8]
            expected.append((POOLINGS[name].label, n, change(numpy_pool(array, name), numpy_pool(moved, name))))
    assert [(row["operator"], row["shift"]) for row in rows] == [row[:2] for row in expected]
    np.testing.assert_allclose([row["change"] for row in rows], [row[2] for row in expected], rtol=1e-5)
    assert all(row["change"] == 0 for row in rows if row["shift"] == 0)
    assert any(row["change"] > 0.1 for row in rows)


def test_noise_equals_numpys():
    x = images.digit(5).pixels
    rows = invariance.noise_rows(x[None], Setting(("max", "average")))
    span = float(x.max() - x.min())
    noise = [
        torch.randn((1, 1, 8, 8), generator=torch.Generator().manual_seed(seed)).double().numpy()[0, 0]
        for seed in invariance.NOISE_SEEDS
    ]
    array = x[0].double().numpy()
    assert len(rows) == 3 * len(invariance.NOISE_LEVELS)
    for row in rows:
        name = row["operator"].lower()
        before = numpy_pool(array, name)
        changes = [change(before, numpy_pool(array + row["noise"] * span * n, name)) for n in noise]
        for field, truth in (("change", np.mean(changes)), ("least", min(changes)), ("most", max(changes))):
            assert row[field] == pytest.approx(truth, rel=1e-4, abs=1e-7)
    assert all(row["most"] == 0 for row in rows if row["noise"] == 0)
    assert len({round(row["most"] - row["least"], 6) for row in rows}) > 5  # the seeds do differ


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_operator_keeps_its_uniforms_so_that_no_shift_is_no_change(name):
    x = images.digit(5).pixels[None]
    rows = invariance.shift_rows(x, Setting((name,), training=True, seed=3, temperature=30.0), 2)
    assert [row["change"] for row in rows if row["shift"] == 0] == [0, 0]


@pytest.mark.parametrize(
    ("operators", "expected"),
    [(("max",), ("max", "none")), (("none", "max"), ("none", "max")), (("none",), ("none",))],
)
def test_the_map_itself_is_the_yardstick_once(operators, expected):
    assert invariance.with_yardstick(operators) == expected


def test_a_blank_map_changes_by_nothing_under_shifts():
    rows = invariance.shift_rows(torch.zeros(1, 1, 4, 4), Setting(("max", "stochastic")), 3)
    assert {row["change"] for row in rows} == {0.0}


# ---- specs

SETTING = Setting(("max", "average", "stochastic"))


def rows_of(name: str) -> list[dict]:
    draws = chance.draw_window(WINDOW, "stochastic", 300, 0, 1.0)
    x = images.digit(3).pixels[None]
    makers = {
        "frequency": lambda: chance.frequency_rows(draws),
        "convergence": lambda: chance.convergence_rows(draws),
        "temperature": lambda: chance.temperature_rows(WINDOW),
        "marks": lambda: [{"name": "max", "output": 5.0}, {"name": "average", "output": 2.0}],
        "now": lambda: [{"temperature": 1.0, "output": 4.7}],
        "shift": lambda: invariance.shift_rows(x, SETTING, 4),
        "noise": lambda: invariance.noise_rows(x, SETTING),
    }
    return makers[name]()


CHARTS = [
    (chance.frequency_chart, (), {"frequency"}),
    (chance.convergence_chart, (), {"convergence"}),
    (chance.temperature_chart, (), {"temperature", "marks", "now"}),
    (invariance.shift_chart, (SETTING.operators,), {"shift"}),
    (invariance.noise_chart, (SETTING.operators,), {"noise"}),
]
EACH_CHART = pytest.mark.parametrize(
    ("builder", "arguments", "names"), CHARTS, ids=lambda v: getattr(v, "__name__", "")
)


def fields(spec: dict, data: str | None = None):
    """(data set, field) of every encoding, layers included."""
    data = spec.get("data", {}).get("name", data)
    for channel in spec.get("encoding", {}).values():
        if isinstance(channel, dict) and "field" in channel:
            yield data, channel["field"]
    for layer in spec.get("layer", []):
        # what is shared stands beside the layers
        yield from fields({**layer, "encoding": {**spec.get("encoding", {}), **layer.get("encoding", {})}}, data)


@EACH_CHART
def test_a_spec_is_valid_and_asks_for_fields_that_its_rows_have(builder, arguments, names):
    spec = builder(*arguments).to_dict()
    alt.Chart.from_dict(json.loads(json.dumps(spec)))  # validates against the Vega-Lite schema
    asked = list(fields(spec))
    assert {data for data, _ in asked} == names
    for data, field in asked:
        for row in rows_of(data):
            assert field in row and row[field] is not None, (data, field)


@EACH_CHART
def test_a_builder_takes_no_data_and_its_spec_holds_none(builder, arguments, names):
    assert set(inspect.signature(builder).parameters) <= {"operators"}
    text = json.dumps(builder(*arguments).to_dict())
    assert '"values"' not in text and '"datasets"' not in text and len(text) < 6000
    assert text == json.dumps(builder(*arguments).to_dict())


@EACH_CHART
def test_a_chart_draws_its_rows(builder, arguments, names):
    rows = {name: rows_of(name) for name in names}
    svg = vl_convert.vegalite_to_svg({**builder(*arguments).to_dict(), "datasets": rows})
    for broken in ("NaN", "undefined", "null", "Infinity"):
        assert broken not in svg
    marks = {
        kind: len(re.findall(f'aria-roledescription="{kind}"', svg)) for kind in ("bar", "tick", "point", "rule mark")
    }
    expected = {
        frozenset({"frequency"}): {"bar": 4, "tick": 4},
        frozenset({"convergence"}): {},
        frozenset({"temperature", "marks", "now"}): {"point": 1, "rule mark": 2},
        frozenset({"shift"}): {"point": 4 * 5},
        frozenset({"noise"}): {"point": 4 * 7},
    }[frozenset(names)]
    assert {kind: count for kind, count in marks.items() if count} == expected
    paths = re.findall(r'aria-roledescription="(?:line|area) mark"[^>]* d="([^"]+)"', svg)
    lines = {"convergence": 2, "temperature": 1, "shift": 4, "noise": 8}  # noise: four bands and four lines
    assert len(paths) == sum(lines.get(name, 0) for name in names)
    assert all(path.count("L") + path.count("C") >= 4 for path in paths)


@pytest.mark.parametrize("builder", [invariance.shift_chart, invariance.noise_chart])
def test_operators_keep_their_colours_in_every_chart(builder):
    text = json.dumps(builder(("lp", "max")).to_dict())
    scale = re.search(r'"domain": (\[[^]]+\]), "range": (\[[^]]+\])', text)
    assert json.loads(scale[1]) == ["Lp", "Max", "None"]
    assert json.loads(scale[2]) == [POOLINGS[name].colour for name in ("lp", "max", "none")]
