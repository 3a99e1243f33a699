"""Gradients: finite differences in float64 for every operator, and where a drawn cell's gradient lands."""

import pytest
import torch

from poolviz.pooling import global_pool, pool2d
from tests.test_pooling_reference import MAP_POOLINGS, POOL, STOCHASTIC, WINDOWED, random_map, settings

torch.set_num_threads(1)

SMALL = {1: (7,), 2: (5, 4), 3: (3, 4, 3)}
GEOMETRIES = [(2, 2, 0, 1, False), (3, 2, 1, 1, True), (2, 1, 1, 1, False), (2, 1, 0, 2, False)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_map(name, *shape):
    """Distinct values, kept off 0 and from one another, where max, median and the positive part have a kink."""
    count = torch.Size(shape).numel()
    order = torch.randperm(count, generator=seeded(3))
    values = 0.1 + 0.07 * order.double()
    signs = torch.where(order % 3 == 0, -1.0, 1.0) if name != "lp" else 1.0
    return (values * signs).reshape(shape).requires_grad_()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", MAP_POOLINGS)
def test_finite_differences(name, dims, geometry):
    x = smooth_map(name, 1, 2, *SMALL[dims])
    assert torch.autograd.gradcheck(lambda t: POOL[dims](t, name, **settings(geometry)), x)
    if geometry is GEOMETRIES[0]:
        assert torch.autograd.gradcheck(lambda t: global_pool(t, name), x)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lp", {"p": 1.0}),
        ("lp", {"p": 3.0}),
        ("lp", {"p": 1.5}),
        ("mixed", {"mix": 0.3}),
        ("softpool", {"temperature": 0.5}),
        ("average", {"count_include_pad": True}),
    ],
    ids=str,
)
def test_finite_differences_with_options(name, options):
    assert torch.autograd.gradcheck(lambda t: pool2d(t, name, 3, 2, 1, **options), smooth_map(name, 1, 1, 5, 5))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_finite_differences_with_the_draw_held(name, dims, geometry):
    """The same uniforms each time; a step of 1e-6 moves no cumulative probability past one of them."""
    x = smooth_map(name, 1, 2, *SMALL[dims])
    how = settings(geometry)

    def draw(t):
        return POOL[dims](t, name, **how, training=True, generator=seeded(1))

    def draw_with_weights(t):
        return POOL[dims](t, name, **how, training=True, generator=seeded(1), return_weights=True)[0]

    assert torch.autograd.gradcheck(draw, x)
    assert torch.autograd.gradcheck(draw_with_weights, x)
    assert torch.autograd.gradcheck(lambda t: global_pool(t, name, training=True, generator=seeded(1)), x)


@pytest.mark.parametrize("geometry", [*GEOMETRIES, (3, 2, 1, 2, True)], ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_the_gradient_lands_on_the_drawn_cells(name, dims, geometry):
    """All cells differ, so that the pooled value itself says which cell was drawn."""
    x = random_map(2, 3, *{1: (11,), 2: (9, 7), 3: (5, 6, 7)}[dims]).abs().requires_grad_()
    pooled = POOL[dims](x, name, **settings(geometry), training=True, generator=seeded(5))
    cotangent = random_map(*pooled.shape, seed=8)
    (gradient,) = torch.autograd.grad(pooled, x, cotangent)
    truth = torch.zeros_like(x)
    planes = x.detach().flatten(0, 1).flatten(1)
    rows = zip(planes, pooled.flatten(0, 1).flatten(1), cotangent.flatten(0, 1).flatten(1), strict=True)
    for plane, (cells, values, slopes) in enumerate(rows):
        matches = values[:, None] == cells[None]
        assert (matches.sum(dim=1) == 1).all()  # a drawn value is one of the cells, bit by bit
        truth.view(len(planes), -1)[plane] = (matches * slopes[:, None]).sum(dim=0)
    torch.testing.assert_close(gradient, truth)


def test_the_expectation_carries_gradient_through_its_probabilities():
    """d/dx of sum x^2 / sum x, by hand; weights held constant would give p alone."""
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(pool2d(x, "stochastic", 2).sum(), x)
    pooled = 30 / 10
    torch.testing.assert_close(gradient, (2 * x.detach() - pooled) / 10)


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("training", [False, True])
def test_gradient_is_the_same_with_weights_returned(name, training):
    x = random_map(2, 2, 7, 6).abs().requires_grad_()
    gradients = []
    for return_weights in (False, True):
        pooled = pool2d(x, name, 3, 2, 1, training=training, generator=seeded(2), return_weights=return_weights)
        pooled = pooled[0] if return_weights else pooled
        gradients += torch.autograd.grad(pooled, x, random_map(*pooled.shape, seed=4))
    torch.testing.assert_close(*gradients)
