"""Half precision, temperatures, large activations, memory layouts and empty batches."""

import pytest
import torch
import torch.nn.functional as F

from poolviz.pooling import global_pool, pool2d
from tests.test_pooling_reference import (
    MAP_POOLINGS,
    POOL,
    SIZE,
    STOCHASTIC,
    WINDOWED,
    by_formula,
    random_map,
    unfolded,
)

HALVES = [torch.float16, torch.bfloat16]
MODES = [(name, False) for name in WINDOWED] + [(name, True) for name in STOCHASTIC]
SOFT = ["softpool", "softmax-stochastic"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", WINDOWED)
def test_half_precision_is_the_rounded_float32_result(name, dims, dtype):
    x = random_map(2, 3, *SIZE[dims], dtype=torch.float32).to(dtype).requires_grad_()
    for pooled, truth in (
        (POOL[dims](x, name, 3, 2, 1), POOL[dims](x.detach().float(), name, 3, 2, 1)),
        (global_pool(x, name), global_pool(x.detach().float(), name)),
    ):
        assert pooled.dtype == dtype
        # one unit in the last place of the half type: the sum itself was taken in more digits
        torch.testing.assert_close(pooled.float(), truth, rtol=torch.finfo(dtype).eps, atol=1e-3)
        (gradient,) = torch.autograd.grad(pooled.sum(), x)
        assert gradient.dtype == dtype and gradient.isfinite().all()


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_half_precision_draws_are_cells_of_the_window_and_those_of_float32(name, dtype):
    x = torch.rand(8, 4, 12, 12, generator=seeded(1)).to(dtype)
    pooled = pool2d(x, name, 3, 2, 1, training=True, generator=seeded())
    values, valid = unfolded(x.float(), 3, 2, 1)
    assert pooled.dtype == dtype
    assert ((pooled.float()[..., None] == values) & valid).any(dim=-1).all()
    assert torch.equal(pooled.float(), pool2d(x.float(), name, 3, 2, 1, training=True, generator=seeded()))


@pytest.mark.parametrize("name", [name for name in WINDOWED if name != "lp"])
def test_fp16_sums_do_not_overflow(name):
    """Nine cells of 60000 add up to far more than fp16 holds; their average does not."""
    x = torch.full((1, 1, 6, 6), 60000.0, dtype=torch.float16)
    for training in (False, True):
        assert pool2d(x, name, 3, training=training).eq(60000).all()
        assert global_pool(x, name, training=training).eq(60000).all()


def test_fp16_lp_overflows_only_where_the_result_does():
    assert pool2d(torch.full((1, 1, 2, 2), 30000.0).half(), "lp", 2).item() == 60000
    assert pool2d(torch.full((1, 1, 2, 2), 60000.0).half(), "lp", 2).isposinf().all()


def test_the_median_of_two_large_values_does_not_overflow():
    x = torch.full((1, 1, 2, 2), 3e38)
    assert torch.equal(pool2d(x, "median", 2), x[..., :1, :1])


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("name", SOFT)
def test_temperatures_equal_the_formula(name, temperature):
    x = random_map(2, 2, 7, 6)
    pooled = pool2d(x, name, 3, 2, 1, temperature=temperature)
    torch.testing.assert_close(pooled, by_formula(name, x, (3, 2, 1), temperature=temperature))
    single = pool2d(x.float(), name, 3, 2, 1, temperature=temperature)
    torch.testing.assert_close(single.double(), pooled, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SOFT)
def test_temperature_runs_from_max_to_average(name):
    x = torch.randperm(72, generator=seeded()).double().reshape(1, 2, 6, 6)  # cells at least 1 apart
    cold, warm = (pool2d(x, name, 2, temperature=t) for t in (0.01, 1e6))
    torch.testing.assert_close(cold, F.max_pool2d(x, 2))
    torch.testing.assert_close(warm, F.avg_pool2d(x, 2), rtol=1e-3, atol=1e-3)
    steps = [pool2d(x, name, 2, temperature=t) for t in (0.01, 0.1, 1, 10, 100)]
    assert all((low >= high).all() for low, high in zip(steps, steps[1:], strict=False))
    for training in (True, False):
        drawn = pool2d(x, "softmax-stochastic", 2, temperature=0.01, training=training, generator=seeded())
        torch.testing.assert_close(drawn, F.max_pool2d(x, 2))


@pytest.mark.parametrize("temperature", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(("scale", "offset"), [(200, 0), (1, 1000), (1, -1000), (200, -1000), (1e30, 0), (1e-30, 0)])
@pytest.mark.parametrize("name", WINDOWED)
def test_large_activations_equal_float64(name, scale, offset, temperature):
    """exp(1000) is infinite: only the shift by the window's own maximum keeps this right."""
    x = (offset + scale * random_map(2, 2, 8, 7)).float()
    pooled = pool2d(x, name, 3, 2, 1, temperature=temperature)
    truth = by_formula(name, x, (3, 2, 1), temperature=temperature)
    torch.testing.assert_close(pooled.double(), truth, rtol=1e-5, atol=1e-4 * scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_the_shift_is_by_the_windows_own_maximum(dtype, training):
    """A large cell elsewhere in the plane must not push this window's weights to 0."""
    x = torch.ones(1, 1, 2, 4, dtype=dtype)
    x[..., 3] = 60000
    for name in SOFT:
        assert torch.equal(pool2d(x, name, 2, training=training).flatten(), torch.tensor([1, 60000], dtype=dtype))


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize(("scale", "offset"), [(200, 1000), (200, -1000), (1e30, 0)])
def test_draws_at_a_large_scale_are_cells_of_the_window(name, scale, offset):
    x = (offset + scale * random_map(4, 4, 9, 9)).float()
    values, valid = unfolded(x, 3, 2, 1)
    for temperature in (0.01, 100.0):
        pooled = pool2d(x, name, 3, 2, 1, training=True, temperature=temperature, generator=seeded())
        found = ((pooled[..., None] == values) & valid).any(dim=-1)
        nothing = (values.clamp(min=0).sum(dim=-1) == 0) & (pooled == 0)
        assert (found | nothing if name == "stochastic" else found).all()


LAYOUTS = {
    "transposed": lambda x: x.transpose(2, 3),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "every other cell": lambda x: x[:, :, ::2, 1::2],
    "expanded": lambda x: x[:1, :1].expand(3, 2, -1, -1),
    "flipped batch": lambda x: x.permute(1, 0, 2, 3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("name", "training"), MODES)
def test_memory_layout_makes_no_difference_and_the_input_stays(name, training, layout):
    base = random_map(2, 3, 8, 9)
    x = LAYOUTS[layout](base)
    assert not x.is_contiguous() or layout == "flipped batch"
    plain, before = x.clone(memory_format=torch.contiguous_format), base.clone()
    leaf, plain_leaf = x.detach().requires_grad_(), plain.requires_grad_()
    how = {"training": training, "temperature": 0.5}
    pooled = pool2d(leaf, name, 3, 2, 1, generator=seeded(), **how)
    truth = pool2d(plain_leaf, name, 3, 2, 1, generator=seeded(), **how)
    torch.testing.assert_close(pooled, truth)
    cotangent = random_map(*truth.shape, seed=6)
    (gradient,), (expected,) = (torch.autograd.grad(y, t, cotangent) for y, t in ((pooled, leaf), (truth, plain_leaf)))
    torch.testing.assert_close(gradient, expected)
    weights = [pool2d(t, name, 2, generator=seeded(), return_weights=True, **how)[1] for t in (leaf, plain_leaf)]
    torch.testing.assert_close(*weights)
    whole = [global_pool(t, name, generator=seeded(), **how) for t in (leaf, plain_leaf)]
    torch.testing.assert_close(*whole)
    assert torch.equal(base, before)


@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", MAP_POOLINGS)
def test_an_empty_batch_goes_forward_and_backward(name, dims, return_weights):
    x = torch.zeros(0, 2, *(6,) * dims, requires_grad=True)
    for training in (False, True):
        windowed = POOL[dims](x, name, 3, 2, 1, training=training, return_weights=return_weights)
        whole = global_pool(x, name, training=training, return_weights=return_weights)
        for result, shape in ((windowed, (0, 2, *(3,) * dims)), (whole, (0, 2))):
            pooled = result[0] if return_weights else result
            assert pooled.shape == shape or name == "none"
            assert torch.autograd.grad(pooled.sum(), x)[0].shape == x.shape


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_result_is_the_same_without_autograd(name):
    x = random_map(2, 2, 6, 6)
    tracked = pool2d(x.clone().requires_grad_(), name, 3, 2, 1, training=True, generator=seeded())
    with torch.no_grad():
        assert torch.equal(pool2d(x, name, 3, 2, 1, training=True, generator=seeded()), tracked)
