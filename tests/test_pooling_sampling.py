"""Draws against exact probabilities by chi-square, on every path that draws; the same test refuses wrong ones."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from poolviz.pooling import base, global_pool, stochastic
from poolviz.pooling.base import LARGEST_UNIFORM
from tests.test_pooling_reference import POOL, STOCHASTIC

torch.set_num_threads(1)

SEEDS = range(12)
DRAWS = 6000  # copies of a map drawn at once
CELL = {  # activations of one window's cells by dims; negatives have probability 0 under "stochastic"
    1: [[0.5, 2.0, 1.0, 0.0, 1.5]],
    2: [[0.5, 2.0, 1.0, 0.7], [0.1, 1.2, -0.4, 0.9], [1.5, 0.3, 0.8, 2.2], [0.6, 1.1, 0.2, 1.7]],
    3: [[[0.5, 2.0, 1.0], [0.1, 1.2, 0.4]], [[1.5, 0.3, -0.8], [0.6, 1.1, 0.2]]],
}
# dims, kernel, stride, padding
PATHS = [(1, 2, 1, 0), (1, 3, 2, 1), (2, 2, 2, 0), (2, 3, 2, 1), (2, 3, 1, 1), (3, 2, 1, 0)]


def probabilities(values, name, temperature):
    if name == "stochastic":
        positive = np.maximum(values, 0)
        return positive / positive.sum()
    return scipy.special.softmax(values / temperature)


def reached(grid, corner, kernel):
    """The values of the window that begins at `corner`; padding is left out."""
    inside = tuple(slice(max(0, c), c + kernel) for c in corner)
    return grid[inside].flatten()


def chi_square(drawn, values, expected):
    """(statistic, degrees of freedom) of draws, given as the values drawn, against probabilities of the values."""
    counts = np.array([(drawn == value).sum() for value in values])
    assert counts.sum() == len(drawn), "something was drawn that is no cell of the window"
    possible = expected > 0
    assert counts[~possible].sum() == 0, "a cell of probability 0 was drawn"
    statistic = ((counts - len(drawn) * expected)[possible] ** 2 / (len(drawn) * expected[possible])).sum()
    return statistic, possible.sum() - 1


def assert_fits(statistics):
    """Each p-value is possible, and together they are neither too large nor too small (draws not independent)."""
    statistics = [(s, d) for s, d in statistics if d > 0]  # a window with one possible cell proves nothing
    each = [scipy.stats.chi2.sf(s, d) for s, d in statistics]
    assert min(each) > 1e-6
    total, freedom = np.sum(statistics, axis=0)
    assert 1e-4 < scipy.stats.chi2.sf(total, freedom) < 1 - 1e-4


def copies(dims):
    grid = torch.tensor(CELL[dims] if dims > 1 else CELL[dims][0])
    return grid.double().numpy().astype(np.float32), grid.expand(DRAWS, 1, *grid.shape)


def drawn_windows(name, path, temperature, how):
    """Yield (draws, values of the window) for each output cell and seed."""
    dims, kernel, stride, padding = path
    grid, x = copies(dims)
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        options = {"training": True, "generator": generator, "temperature": temperature}
        if how == "weights":
            pooled, _ = POOL[dims](x, name, kernel, stride, padding, return_weights=True, **options)
        else:
            pooled = POOL[dims](x, name, kernel, stride, padding, **options)
        for cell in np.ndindex(*pooled.shape[2:]):
            corner = [c * stride - padding for c in cell]
            yield pooled[(slice(None), 0, *cell)].numpy(), reached(grid, corner, kernel)


@pytest.mark.parametrize("how", ["fast", "weights"])
@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize(("name", "temperature"), [("stochastic", 1.0), ("softmax-stochastic", 0.7)])
def test_windows_draw_with_the_exact_probabilities(name, temperature, path, how):
    statistics = [
        chi_square(drawn, values, probabilities(values, name, temperature))
        for drawn, values in drawn_windows(name, path, temperature, how)
    ]
    assert len(statistics) >= len(SEEDS)
    assert_fits(statistics)


@pytest.mark.parametrize(("name", "temperature"), [("stochastic", 1.0), ("softmax-stochastic", 2.0)])
@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_whole_map_draws_with_the_exact_probabilities(name, temperature, dims, return_weights):
    grid, x = copies(dims)
    truth = probabilities(grid.flatten(), name, temperature)
    statistics = []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        result = global_pool(
            x, name, training=True, generator=generator, temperature=temperature, return_weights=return_weights
        )
        drawn = (result[0] if return_weights else result)[:, 0].numpy()
        statistics.append(chi_square(drawn, grid.flatten(), truth))
    assert_fits(statistics)


def softmax(values, temperature=1.0):
    return probabilities(values, "softmax-stochastic", temperature)


WRONG = {
    "uniform": lambda values: np.full(len(values), 1 / len(values)),
    "slightly flattened": lambda values: 0.9 * softmax(values) + 0.1 / len(values),
    "temperature 1.2": lambda values: softmax(values, 1.2),
    "the other rule": lambda values: np.maximum(values, 0.01) / np.maximum(values, 0.01).sum(),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_test_refuses_a_wrong_distribution(wrong):
    path = (2, 2, 2, 0)
    windows = list(drawn_windows("softmax-stochastic", path, 1.0, "fast"))
    assert_fits([chi_square(d, v, softmax(v)) for d, v in windows])
    with pytest.raises(AssertionError):
        assert_fits([chi_square(d, v, WRONG[wrong](v)) for d, v in windows])


def test_the_test_refuses_argmax():
    values = np.array(CELL[2], dtype=np.float32)[:2, :2].flatten()
    with pytest.raises(AssertionError):
        assert_fits([chi_square(np.full(DRAWS, values.max()), values, probabilities(values, "stochastic", 1.0))])


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize("batch", [3, 300], ids=["one chunk", "several chunks"])
def test_both_paths_draw_the_same_cells(name, batch):
    """300 maps are more cells than the fast path handles at a time; it must not change the draws."""
    x = torch.rand(batch, 4, 20, 20, generator=torch.Generator().manual_seed(1))
    seeded = {"training": True, "temperature": 0.5}
    fast = POOL[2](x, name, 3, 2, 1, generator=torch.Generator().manual_seed(7), **seeded)
    slow, weights = POOL[2](x, name, 3, 2, 1, generator=torch.Generator().manual_seed(7), return_weights=True, **seeded)
    # the two add in another order, so a draw may differ where a uniform lies within rounding of a border
    assert (fast != slow).float().mean() < 1e-5
    assert weights.flatten(4).sum(-1).eq(1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_generators(name, dtype):
    """Same seed, same draw; the next draw differs; the global generator moves only when none is passed."""
    x = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1)).to(dtype)

    def calls(**options):
        yield POOL[2](x, name, 3, 1, 1, training=True, **options)
        yield POOL[2](x, name, 2, training=True, return_weights=True, **options)[0]
        yield global_pool(x, name, training=True, **options)

    before = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    first = list(calls(generator=generator))
    following = list(calls(generator=generator))
    again = list(calls(generator=torch.Generator().manual_seed(3)))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, following, strict=True))

    before = torch.manual_seed(4).get_state()
    default = list(calls())
    assert not torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert all(torch.equal(a, b) for a, b in zip(default, calls(), strict=True))


@pytest.mark.parametrize("name", STOCHASTIC)
def test_no_draw_outside_training(name):
    x, before = torch.rand(1, 1, 6, 6), torch.get_rng_state()
    assert torch.equal(POOL[2](x, name, 2), POOL[2](x, name, 2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_draws_average_to_the_expectation(name):
    x = copies(2)[1]
    mean = POOL[2](x, name, 2, training=True, generator=torch.Generator().manual_seed(0)).mean(dim=0)
    spread = x[0].std()
    assert (mean - POOL[2](x[:1], name, 2)[0]).abs().max() < 5 * spread / DRAWS**0.5


@pytest.mark.parametrize("also_nan", [False, True], ids=["finite", "beside a NaN"])  # the fast path has two ways
@pytest.mark.parametrize(
    ("uniform", "cell"),
    [
        (0.0, 1),  # not cell 0, whose probability is 0
        (0.24, 1),
        (0.25, 2),  # exactly on the border: the next cell's
        (0.74, 2),
        (0.75, 4),  # not cell 3
        (LARGEST_UNIFORM, 4),  # not cell 5
    ],
)
def test_a_uniform_draws_by_the_inverse_of_the_cumulative_probability(monkeypatch, uniform, cell, also_nan):
    """Probabilities 0, 1/4, 1/2, 0, 1/4, 0; the values -1, 1, 2, -2, 1.0, -3 are exact in binary."""
    for module in (base, stochastic):
        monkeypatch.setattr(module, "draw_uniforms", lambda shape, like, options: torch.full(shape, uniform))
    x = torch.tensor([-1.0, 1, 2, -2, 1, -3]).repeat(2, 1, 1)
    if also_nan:
        x[1] = torch.nan
    x.requires_grad_()
    fast = POOL[1](x, "stochastic", 6, training=True)
    weighed, _ = POOL[1](x, "stochastic", 6, training=True, return_weights=True)
    for pooled in (fast, weighed, global_pool(x, "stochastic", training=True)):
        (gradient,) = torch.autograd.grad(pooled[0].sum(), x)
        assert gradient[0, 0].nonzero().flatten().tolist() == [cell]
        assert pooled[0].item() == x[0, 0, cell]
