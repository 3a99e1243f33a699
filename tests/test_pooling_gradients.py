"""Gradients: finite differences in float64 for every operator, and where a drawn cell's gradient lands."""

import pytest
import torch

from poolviz.pooling import expectation, global_pool, pool2d
from tests.test_pooling_reference import MAP_POOLINGS, POOL, STOCHASTIC, WINDOWED, random_map, settings, unfolded

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


EXPECTED = [*STOCHASTIC, "softpool"]


def expected(name, x, geometry, temperature):
    """The expectation from unfolded windows in float64, and its gradient for a random cotangent."""
    leaf = x.detach().double().requires_grad_()
    values, valid = unfolded(leaf, *geometry)
    if name == "stochastic":
        odds = torch.where(valid, values.relu(), 0.0)
        odds = odds / odds.sum(dim=-1, keepdim=True).clamp(min=1e-300)
    else:
        odds = torch.where(valid, values / temperature, -torch.inf).softmax(dim=-1)
    pooled = (odds * values).sum(dim=-1)
    cotangent = random_map(*pooled.shape, seed=4)
    return pooled.detach(), cotangent, torch.autograd.grad(pooled, leaf, cotangent)[0]


@pytest.mark.parametrize("temperature", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("geometry", [*GEOMETRIES, (3, 2, 1, 2, True), (1, 1, 0, 1, False)], ids=str)
@pytest.mark.parametrize("name", EXPECTED)
def test_the_expectation_and_its_gradient_equal_those_of_unfolded_windows(
    monkeypatch, name, geometry, dtype, temperature
):
    """In several chunks, of which the last is smaller; without autograd there is a way of its own."""
    monkeypatch.setattr(expectation, "CHUNK_CELLS", 300)
    x = (2 * random_map(7, 3, 9, 8) + 0.5).to(dtype).requires_grad_()
    before = x.detach().clone()
    truth, cotangent, slope = expected(name, x, geometry, temperature)
    error = torch.finfo(dtype).eps  # of the pooled value, which the gradient divides by the temperature
    close = {"rtol": 4 * error, "atol": 50 * error * (1 + 1 / temperature)}
    how = {**settings(geometry), "temperature": temperature}
    pooled = pool2d(x, name, **how)
    with torch.no_grad():
        torch.testing.assert_close(pool2d(x, name, **how), pooled.detach(), rtol=0, atol=0)
    torch.testing.assert_close(pooled.double(), truth, **close)
    (gradient,) = torch.autograd.grad(pooled, x, cotangent.to(dtype))
    torch.testing.assert_close(gradient.double(), slope, **close)
    assert torch.equal(x, before)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", EXPECTED)
def test_second_derivatives_of_the_expectation(name, dims, geometry):
    x = smooth_map(name, 1, 1, *SMALL[dims])
    assert torch.autograd.gradgradcheck(lambda t: POOL[dims](t, name, **settings(geometry), temperature=0.7), x)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_expectation_under_the_transforms_of_torch_func(name):
    """Reverse, forward, both nested, and batched cotangents give one Jacobian and one Hessian."""
    x = smooth_map(name, 1, 1, 4, 5).detach()

    def pool(t):
        return pool2d(t, name, 3, 2, 1)

    def energy(t):
        return pool(t).square().sum()

    jacobian = torch.autograd.functional.jacobian(pool, x)
    torch.testing.assert_close(torch.autograd.functional.jacobian(pool, x, vectorize=True), jacobian)
    torch.testing.assert_close(torch.func.jacrev(pool)(x), jacobian)
    torch.testing.assert_close(torch.func.jacfwd(pool)(x), jacobian)
    torch.testing.assert_close(torch.func.hessian(energy)(x), torch.autograd.functional.hessian(energy, x))


@pytest.mark.parametrize("name", EXPECTED)
def test_the_expectation_may_be_overwritten_before_backward(name):
    """As by `nn.ReLU(inplace=True)` behind the layer."""
    x = random_map(1, 1, 6, 6).requires_grad_()
    (truth,) = torch.autograd.grad(pool2d(x, name, 2).relu().sum(), x)
    (gradient,) = torch.autograd.grad(pool2d(x, name, 2).relu_().sum(), x)
    torch.testing.assert_close(gradient, truth)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("scale", [3e38, 1e-30])
def test_the_expectation_at_the_ends_of_float32(name, scale):
    """3e38: neither a sum of cells nor 2 x may overflow. A gradient has no scale, except through the temperature."""
    x = torch.full((1, 1, 4, 4), scale, requires_grad=True)
    pooled = pool2d(x, name, 2)
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    torch.testing.assert_close(pooled, x[..., ::2, ::2].detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient, torch.full_like(x, 0.25))
    with torch.no_grad():
        torch.testing.assert_close(pool2d(x, name, 2), pooled.detach(), rtol=1e-5, atol=0)
