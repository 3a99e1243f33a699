"""`return_weights`: the weights sum to 1, make up the result, and are those of the formula or of autograd."""

import numpy as np
import pytest
import torch

from poolviz.pooling import POOLINGS, global_pool, pool2d
from tests.test_pooling_reference import (
    GEOMETRIES,
    POOL,
    SHARES,
    SIZE,
    STOCHASTIC,
    WINDOWED,
    random_map,
    settings,
    unfolded,
)

GRADIENT_WEIGHTS = [name for name in WINDOWED if not POOLINGS[name].is_weighted_sum]


def test_which_operators_are_no_weighted_sum():
    assert GRADIENT_WEIGHTS == ["lp", "median"]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", SHARES)
def test_weights_are_the_formulas_and_make_up_the_result(name, dims, geometry):
    x = random_map(1, 2, *SIZE[dims])
    plain = POOL[dims](x, name, **settings(geometry))
    pooled, weights = POOL[dims](x, name, **settings(geometry), return_weights=True)
    assert torch.equal(pooled, plain)
    assert weights.shape == (*pooled.shape, *(geometry[0],) * dims)

    weights = weights.flatten(2 + dims)
    values, valid = unfolded(x, *geometry)
    assert (weights >= 0).all() and (weights[~valid] == 0).all()
    torch.testing.assert_close((weights * values).sum(-1), pooled)
    truth = np.zeros(values.shape)
    for cell in np.ndindex(values.shape[:-1]):
        inside = valid[cell].numpy()
        truth[cell][inside] = SHARES[name](values[cell].numpy()[inside], {})
    torch.testing.assert_close(weights, torch.from_numpy(truth))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SHARES)
def test_weights_sum_to_one(name, training):
    x = random_map(2, 3, 8, 9).abs()
    weights = pool2d(x, name, 3, 2, 1, training=training, return_weights=True)[1]
    torch.testing.assert_close(weights.sum(dim=(-2, -1)), torch.ones(weights.shape[:4], dtype=x.dtype))
    whole = global_pool(x, name, training=training, return_weights=True)[1]
    assert whole.shape == x.shape
    torch.testing.assert_close(whole.sum(dim=(-2, -1)), torch.ones(2, 3, dtype=x.dtype))


def test_a_stochastic_window_without_a_positive_cell_has_no_weight():
    for training in (False, True):
        weights = pool2d(-torch.ones(1, 1, 2, 2), "stochastic", 2, training=training, return_weights=True)[1]
        assert (weights == 0).all()


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_draw_is_one_hot(name):
    x = random_map(2, 3, 9, 7).abs()
    weights = pool2d(x, name, 3, 1, 1, training=True, return_weights=True)[1].flatten(4)
    assert torch.equal(weights.sort(dim=-1).values, torch.eye(9, dtype=x.dtype)[-1].expand_as(weights))


@pytest.mark.parametrize("count_include_pad", [False, True])
def test_padding_weighs_something_only_where_it_counts(count_include_pad):
    x = random_map(1, 1, 5, 5)
    options = {"count_include_pad": count_include_pad, "return_weights": True}
    pooled, weights = pool2d(x, "average", 3, 2, 1, **options)
    corner = [[1 / 9] * 3] * 3 if count_include_pad else [[0, 0, 0], [0, 1 / 4, 1 / 4], [0, 1 / 4, 1 / 4]]
    torch.testing.assert_close(weights[0, 0, 0, 0], torch.tensor(corner, dtype=x.dtype))
    torch.testing.assert_close(pooled[0, 0, 0, 0], x[0, 0, :2, :2].sum() / (9 if count_include_pad else 4))


@pytest.mark.parametrize("name", GRADIENT_WEIGHTS)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_effective_weights_are_autograds_gradient(name, geometry):
    """One window at a time, so that overlapping windows do not add up."""
    x = random_map(1, 1, 6, 5).requires_grad_()
    pooled, weights = pool2d(x, name, **settings(geometry), return_weights=True)
    places = unfolded(torch.arange(x.numel(), dtype=x.dtype).reshape(x.shape), *geometry)[0].long().flatten(0, 3)
    for value, weight, place in zip(pooled.flatten(), weights.flatten(4).flatten(0, 3), places, strict=True):
        (gradient,) = torch.autograd.grad(value, x, retain_graph=True)
        routed = torch.zeros(x.numel(), dtype=x.dtype).index_add(0, place, weight)
        torch.testing.assert_close(routed.reshape(x.shape), gradient)


@pytest.mark.parametrize("name", GRADIENT_WEIGHTS)
def test_global_effective_weights_are_autograds_gradient(name):
    x = random_map(2, 2, 5, 3).requires_grad_()
    pooled, weights = global_pool(x, name, return_weights=True)
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    torch.testing.assert_close(weights, gradient)


@pytest.mark.parametrize("name", ["max", "average", "mixed"])
def test_constant_weights_are_the_gradient_too(name):
    x = random_map(1, 1, 4, 6).requires_grad_()
    pooled, weights = pool2d(x, name, 2, return_weights=True)
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    torch.testing.assert_close(weights.movedim(4, 3).reshape(x.shape), gradient)
