"""Draws of sentence vectors against exact probabilities, the plane against scikit-learn's PCA."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from poolviz.charts import cloud as clouds
from poolviz.charts.cloud import Cloud, draw_cloud, plane
from poolviz.charts.tokens import TokenSetting
from poolviz.pooling import POOLINGS

torch.set_num_threads(1)
DRAWN = tuple(name for name, pooling in POOLINGS.items() if pooling.for_sequences and pooling.stochastic)
T, H = 5, 24


def sentence(length: int = T, width: int = H, seed: int = 0) -> torch.Tensor:
    return torch.randn(length, width, generator=torch.Generator().manual_seed(seed))


def draw(name: str, count: int = 200, seed: int = 0, temperature: float = 1.0, hidden=None, mask=None) -> Cloud:
    hidden = sentence() if hidden is None else hidden
    mask = torch.ones(len(hidden), dtype=torch.bool) if mask is None else mask
    return draw_cloud(hidden, mask, TokenSetting((name,), True, seed, temperature), name, count)


def odds(name: str, hidden: torch.Tensor, temperature: float = 1.0) -> np.ndarray:
    """(T, H) by hand; 0 in a dimension that Zeiler and Fergus' rule leaves at 0."""
    numbers = hidden.double().numpy()
    if name == "softmax-stochastic":
        return special.softmax(numbers / temperature, axis=0)
    positive = numbers.clip(min=0)
    return np.divide(positive, positive.sum(0), out=np.zeros_like(positive), where=positive.sum(0) > 0)


def moments(name: str, hidden: torch.Tensor, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Expectation and variance (H,) of one draw."""
    p, numbers = odds(name, hidden, temperature), hidden.double().numpy()
    mean = (p * numbers).sum(0)
    return mean, (p * (numbers - mean) ** 2).sum(0)


# ---- draws


@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("name", DRAWN)
def test_expectation_and_variance_are_exact(name, temperature):
    made = draw(name, 10, temperature=temperature)
    mean, variance = moments(name, sentence(), temperature)
    np.testing.assert_allclose(made.expectation.numpy(), mean, atol=1e-5)
    np.testing.assert_allclose(made.variance.numpy(), variance, atol=1e-5)


@pytest.mark.parametrize("name", DRAWN)
def test_means_and_variances_of_draws_are_as_promised(name):
    """Every dimension within 5 standard errors: under chance alone less than 1 run in 30,000 would fail."""
    count = 20_000
    made = draw(name, count, seed=11)
    mean, variance = moments(name, sentence())
    draws = made.draws.double().numpy()
    live = variance > 1e-9
    errors = (draws.mean(0) - mean)[live] / np.sqrt(variance[live] / count)
    assert np.abs(errors).max() < stats.norm.isf(1e-4 / 2 / H) and 0.3 < np.square(errors).mean() < 2.2
    fourth = (odds(name, sentence()) * (sentence().double().numpy() - mean) ** 4).sum(0)
    allowed = 5 * np.sqrt((fourth - variance**2).clip(min=0) / count) + 1e-3 * variance + 1e-9
    assert (np.abs(draws.var(0) - variance) <= allowed).all()


@pytest.mark.parametrize("name", DRAWN)
def test_a_draw_is_a_mosaic_of_the_tokens(name):
    """Each number is some token's in that dimension, or 0 where no token is positive; frequencies fit."""
    made, hidden = draw(name, 3000, seed=4), sentence()
    p = odds(name, hidden)
    where = made.draws[:, None] == hidden  # (N, T, H)
    live = torch.from_numpy(p.sum(0) > 0)
    assert (where[:, :, live].sum(1) == 1).all() and (made.draws[:, ~live] == 0).all()
    for dimension in live.nonzero()[:, 0].tolist():
        counts, expected = where[:, :, dimension].sum(0).numpy(), 3000 * p[:, dimension]
        assert (counts[expected == 0] == 0).all()
        some = expected > 0
        if some.sum() > 1 and expected[some].min() > 1:
            assert stats.chisquare(counts[some], expected[some]).pvalue > 1e-6


@pytest.mark.parametrize("name", DRAWN)
def test_dimensions_are_drawn_independently_of_one_another(name):
    draws = draw(name, 20_000, hidden=sentence().abs() + 0.1).draws.double().numpy()
    correlation = np.corrcoef(draws.T)[np.triu_indices(H, 1)]
    assert np.abs(correlation).max() < stats.norm.isf(1e-5 / len(correlation)) / np.sqrt(20_000)


@pytest.mark.parametrize("name", DRAWN)
def test_a_seed_is_a_cloud(name):
    first, again, other = draw(name, seed=1), draw(name, seed=1), draw(name, seed=2)
    assert torch.equal(first.draws, again.draws) and not torch.equal(first.draws, other.draws)
    assert torch.equal(first.expectation, other.expectation)


@pytest.mark.parametrize("name", DRAWN)
def test_what_padding_holds_never_matters(name):
    hidden = torch.cat([sentence(), torch.full((3, H), torch.nan)])
    padded = draw(name, hidden=hidden, mask=torch.arange(T + 3) < T)
    alone = draw(name)
    for one, other in ((padded.draws, alone.draws), (padded.expectation, alone.expectation)):
        assert torch.equal(one, other)
    assert torch.equal(padded.variance, alone.variance)
    assert all(torch.equal(padded.marks[mark], alone.marks[mark]) for mark in clouds.MARKS)


def test_draws_differ_from_one_another():
    made = draw("softmax-stochastic", 95)
    assert made.draws.shape == (95, H) and len(made.draws.unique(dim=0)) == 95


@pytest.mark.parametrize("seed", range(3))
def test_no_axis_is_mirrored_from_draw_to_draw(seed):
    _, marks, _ = clouds.cloud_rows(draw("softmax-stochastic", seed=seed))
    places = {mark["name"]: mark for mark in marks}
    assert places["Mean"]["x"] >= 0 and places["Max"]["y"] >= 0


def test_marks_are_the_other_operators_vectors():
    made, numbers = draw("softmax-stochastic"), sentence().numpy()
    np.testing.assert_allclose(made.marks["mean"].numpy(), numbers.mean(0), atol=1e-6)
    np.testing.assert_array_equal(made.marks["max"].numpy(), numbers.max(0))
    np.testing.assert_array_equal(made.marks["cls"].numpy(), numbers[0])


def test_dead_dimensions_stay_at_zero_without_variance():
    """Zeiler and Fergus' rule on signed embeddings."""
    hidden = sentence()
    hidden[:, ::3] = -hidden[:, ::3].abs()
    made = draw("stochastic", hidden=hidden)
    assert (made.draws[:, ::3] == 0).all() and (made.variance[::3] == 0).all() and (made.expectation[::3] == 0).all()
    assert torch.isfinite(made.draws).all() and made.variance[1::3].sum() > 0


# ---- the plane


@pytest.mark.parametrize(("count", "width"), [(10, 40), (40, 10), (30, 30), (200, 24), (3, 5), (1000, 2)])
def test_the_plane_is_that_of_scikit_learns_pca(count, width):
    points = sentence(count, width, seed=3) * torch.linspace(3, 1, width) + 5
    middle, axes, shares = plane(points)
    truth = PCA(2, svd_solver="full").fit(points.double().numpy())
    np.testing.assert_allclose(middle.numpy(), truth.mean_, atol=1e-9)
    np.testing.assert_allclose(shares.numpy(), truth.explained_variance_ratio_, atol=1e-9)
    for axis, other in zip(axes.numpy(), truth.components_, strict=True):
        np.testing.assert_allclose(axis * np.sign(axis @ other), other, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 7, 10, 100])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e-30])
def test_points_that_are_all_the_same_have_no_plane(count, value):
    middle, axes, shares = plane(torch.full((count, 6), value))
    assert torch.isfinite(axes).all() and shares.tolist() == [0, 0]
    np.testing.assert_allclose(middle.numpy(), np.float32(value), rtol=1e-12)


@pytest.mark.parametrize(("count", "width"), [(2, 6), (10, 6), (4, 50)])
def test_points_on_a_line_have_one_axis(count, width):
    direction = sentence(1, width)
    _, axes, shares = plane(torch.arange(float(count))[:, None] * direction)
    assert shares.tolist() == pytest.approx([1, 0], abs=1e-9) and torch.isfinite(axes).all()
    assert abs(float(axes[0] @ (direction[0] / direction.norm()).double())) == pytest.approx(1)


def test_rows_are_places_in_that_plane():
    made = draw("softmax-stochastic", 50)
    rows, marks, _ = clouds.cloud_rows(made)
    pca = PCA(2, svd_solver="full").fit(made.draws.double().numpy())
    found, truth = np.array([[row["x"], row["y"]] for row in rows]), pca.transform(made.draws.double().numpy())
    signs = np.sign((found * truth).sum(0))
    np.testing.assert_allclose(found * signs, truth, atol=1e-6)
    assert [mark["name"] for mark in marks] == ["expectation", *(POOLINGS[name].label for name in clouds.MARKS)]
    vectors = torch.stack([made.expectation, *made.marks.values()]).double().numpy()
    np.testing.assert_allclose(
        np.array([[mark["x"], mark["y"]] for mark in marks]) * signs, pca.transform(vectors), atol=1e-6
    )


# ---- cosines and convergence


@pytest.mark.parametrize("count", [2, 10, 150, 700])
@pytest.mark.parametrize("name", DRAWN)
def test_cosines_equal_scikit_learns(name, count):
    made = draw(name, count)
    rows, means = clouds.cosine_rows(made)
    draws = made.draws.double().numpy()
    some = cosine_similarity(draws[: clouds.MOST_PAIRED])
    between = some[np.triu_indices(len(some), 1)]
    towards = cosine_similarity(draws, made.expectation.double().numpy()[None])[:, 0]
    assert means == pytest.approx(
        {"between two draws": between.mean(), "between a draw and the expectation": towards.mean()}
    )
    low = min(between.min(), towards.min(), 0.99)
    for pair, values in (("between two draws", between), ("between a draw and the expectation", towards)):
        bars = [row for row in rows if row["pair"] == pair]
        assert sum(bar["share"] for bar in bars) == pytest.approx(1)
        assert bars[0]["cosine"] == pytest.approx(low) and bars[-1]["to"] == pytest.approx(1)
        counts, _ = np.histogram(values, clouds.BINS, (low, 1))
        np.testing.assert_allclose(
            np.cumsum([bar["share"] for bar in bars]), np.cumsum(counts) / len(values), atol=0.02
        )


@pytest.mark.parametrize("name", DRAWN)
def test_one_draw_has_a_cosine_to_the_expectation_alone(name):
    rows, means = clouds.cosine_rows(draw(name, 1))
    assert list(means) == ["between a draw and the expectation"] and len(rows) == clouds.BINS


@pytest.mark.parametrize("name", DRAWN)
def test_the_error_to_expect_is_the_root_mean_square_of_the_errors(name):
    """Over 60 seeds; err^2 averages to sum(variance) / N / size^2."""
    runs = [clouds.convergence_rows(draw(name, 100, seed=1000 * seed)) for seed in range(60)]
    mean, variance = moments(name, sentence())
    for place, row in enumerate(runs[0]):
        assert row["expected"] == pytest.approx(np.sqrt(variance.sum() / row["draws"]) / np.linalg.norm(mean), rel=1e-4)
        square = np.mean([run[place]["error"] ** 2 for run in runs])
        assert 0.6 < square / row["expected"] ** 2 < 1.6


@pytest.mark.parametrize("count", [1, 2, 10, 300, 1000])
def test_convergence_rows_tell_the_relative_distance_of_the_mean(count):
    made = draw("softmax-stochastic", count)
    rows = clouds.convergence_rows(made)
    places = [row["draws"] for row in rows]
    assert places == sorted(set(places)) and places[0] == 1 and places[-1] == count and len(places) <= 60
    draws, mean = made.draws.double().numpy(), made.expectation.double().numpy()
    for row in rows:
        error = np.linalg.norm(draws[: row["draws"]].mean(0) - mean) / np.linalg.norm(mean)
        assert row["error"] == pytest.approx(error, rel=1e-9)


# ---- whatever the sentence


def numbers_of(figures) -> list[float]:
    rows = [row for figure in figures for data in figure.datasets.values() for row in data]
    return [value for row in rows for value in row.values() if isinstance(value, (int, float))]


@pytest.mark.parametrize("count", [1, 2, 10, 300])
@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize(
    "hidden",
    [sentence(), -sentence().abs(), torch.zeros(T, H), torch.ones(T, H), sentence(1), sentence(2, 3), 1e4 * sentence()],
    ids=["signed", "negative", "zeros", "ones", "one token", "tiny", "large"],
)
def test_any_sentence_gives_finite_figures(hidden, name, count):
    figures = clouds.cloud_figures(draw(name, count, hidden=hidden))
    assert len(figures) == 3 and np.isfinite(numbers_of(figures)).all()
    assert all(row["error"] > 0 and row["expected"] > 0 for row in figures[2].datasets["means"])  # logarithmic axes


def test_cold_draws_gather_at_the_maximum_and_hot_ones_around_the_mean():
    cold, hot = (draw("softmax-stochastic", 50, temperature=t) for t in (1e-3, 1e3))
    assert torch.equal(cold.draws[0], cold.marks["max"]) or (cold.draws - cold.marks["max"]).abs().mean() < 0.01
    np.testing.assert_allclose(hot.expectation.numpy(), hot.marks["mean"].numpy(), atol=0.01)
