"""Max, min, average and Lp equal torch's own layers in value and gradient, and refuse what torch refuses."""

from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from poolviz.pooling import global_pool
from tests.test_pooling_reference import GEOMETRIES, POOL, SIZE, TORCH_MAX, by_formula, random_map, settings, unfolded

TORCH_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
TORCH_LP = {1: F.lp_pool1d, 2: F.lp_pool2d, 3: F.lp_pool3d}
ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
ADAPTIVE_AVERAGE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
DTYPES = [torch.float32, torch.float64]


def torch_average(dims, x, include, kernel_size, stride, padding, dilation, ceil_mode):
    assert dilation == 1  # torch's average pooling has none
    return TORCH_AVERAGE[dims](x, kernel_size, stride, padding, ceil_mode, include)


def value_and_gradient(pool, x):
    """Pooled x, and the gradient for a cotangent that differs from cell to cell."""
    leaf = x.detach().clone().requires_grad_()
    pooled = pool(leaf)
    (gradient,) = torch.autograd.grad(pooled, leaf, random_map(*pooled.shape, seed=9, dtype=x.dtype))
    return pooled.detach(), gradient


def assert_same(ours, theirs, x, exact=False):
    for mine, torchs in zip(value_and_gradient(ours, x), value_and_gradient(theirs, x), strict=True):
        torch.testing.assert_close(mine, torchs, **({"rtol": 0, "atol": 0} if exact else {}))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_max_and_min_equal_torch(dims, geometry, dtype):
    x, how = random_map(2, 3, *SIZE[dims], dtype=dtype), settings(geometry)
    assert_same(lambda t: POOL[dims](t, "max", **how), lambda t: TORCH_MAX[dims](t, **how), x, exact=True)
    assert_same(lambda t: POOL[dims](t, "min", **how), lambda t: -TORCH_MAX[dims](-t, **how), x, exact=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if g[3] == 1], ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_average_equals_torch(dims, geometry, include, dtype):
    x = random_map(2, 3, *SIZE[dims], dtype=dtype)
    assert_same(
        lambda t: POOL[dims](t, "average", **settings(geometry), count_include_pad=include),
        lambda t: torch_average(dims, t, include, *geometry),
        x,
        exact=True,
    )


def test_padding_does_not_count_unless_asked():
    x = random_map(1, 1, 4, 4)
    assert torch.equal(POOL[2](x, "average", 3, 2, 1), F.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
    assert not torch.equal(POOL[2](x, "average", 3, 2, 1), F.avg_pool2d(x, 3, 2, 1))


def test_dilated_average_that_counts_padding_equals_a_map_with_zeros_around():
    """torch has no dilated average to compare with; without padding it stands among the formulas."""
    x = random_map(2, 2, 9, 8)
    pooled = POOL[2](x, "average", 3, 2, 1, 2, count_include_pad=True)
    torch.testing.assert_close(pooled, unfolded(F.pad(x, [1] * 4), 3, 2, 0, 2)[0].mean(-1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 1.5])
@pytest.mark.parametrize(("kernel", "stride", "ceil_mode"), [(2, None, False), (3, 2, True), (3, 1, False)])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_lp_equals_torch(dims, kernel, stride, ceil_mode, p, dtype):
    x = random_map(2, 3, *SIZE[dims], dtype=dtype)
    x = x if p == 2 else x.abs()  # torch gives NaN for a negative sum of powers
    assert_same(
        lambda t: POOL[dims](t, "lp", kernel, stride, ceil_mode=ceil_mode, p=p),
        lambda t: TORCH_LP[dims](t, p, kernel, stride, ceil_mode),
        x,
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_whole_maps_equal_torchs_adaptive_layers(dims, dtype):
    x = random_map(2, 3, *SIZE[dims], dtype=dtype)
    assert_same(lambda t: global_pool(t, "max"), lambda t: ADAPTIVE_MAX[dims](t, 1).flatten(1), x)
    assert_same(lambda t: global_pool(t, "min"), lambda t: -ADAPTIVE_MAX[dims](-t, 1).flatten(1), x)
    assert_same(lambda t: global_pool(t, "average"), lambda t: ADAPTIVE_AVERAGE[dims](t, 1).flatten(1), x)


@pytest.mark.parametrize("kernel", [2, 3])
def test_ties_go_where_torch_sends_them(kernel):
    x = random_map(2, 2, 9, 8).round()  # a handful of values: most windows hold a tie
    assert_same(lambda t: POOL[2](t, "max", kernel, 1), lambda t: F.max_pool2d(t, kernel, 1), x, exact=True)
    assert_same(lambda t: global_pool(t, "max"), lambda t: ADAPTIVE_MAX[2](t, 1).flatten(1), x, exact=True)
    weights = POOL[2](x, "max", kernel, 2, return_weights=True)[1].flatten(4)
    _, index = F.max_pool2d(x, kernel, 2, return_indices=True)
    rows, columns = torch.meshgrid(torch.arange(9), torch.arange(8), indexing="ij")
    places = unfolded((rows * 8 + columns).double().expand(2, 2, 9, 8), kernel, 2)[0]
    assert torch.equal((weights * places).sum(-1).long(), index)


sizes = st.integers(1, 3).flatmap(lambda dims: st.tuples(*[st.integers(1, 7)] * dims))


def per_axis(least, most):
    """One number for all axes, or up to three of them; too many or too few are for the refusals."""
    one = st.integers(least, most)
    return st.one_of(one, one, st.lists(one, min_size=1, max_size=3).map(tuple))


@effort(max_examples=400, deadline=None, derandomize=True)
@given(
    size=sizes,
    kernel=per_axis(0, 5),
    stride=st.one_of(st.none(), per_axis(0, 3)),
    padding=per_axis(-1, 2),
    dilation=per_axis(0, 3),
    ceil_mode=st.booleans(),
    include=st.booleans(),
)
def test_random_settings_agree_with_torch(size, kernel, stride, padding, dilation, ceil_mode, include):
    """What torch pools, we pool to the same value and gradient; what it refuses, we refuse in a sentence."""
    dims, x = len(size), random_map(1, 2, *size)
    how = settings((kernel, stride, padding, dilation, ceil_mode))
    truth = None
    with suppress(RuntimeError):
        truth = TORCH_MAX[dims](x, **how)
    # a window of padding alone: torch pools it to -inf, and its backward writes out of bounds
    if truth is None or truth.isinf().any():
        for name in ("max", "average", "softpool"):
            with pytest.raises(ValueError, match=rf"^pool{dims}d: .*(kernel_size|stride|padding|dilation)"):
                POOL[dims](x, name, **how)
        return
    assert_same(lambda t: POOL[dims](t, "max", **how), lambda t: TORCH_MAX[dims](t, **how), x, exact=True)
    pooled = POOL[dims](x, "average", **how, count_include_pad=include)
    assert pooled.shape == truth.shape and pooled.isfinite().all()
    # the one map that torch's max pooling takes and its 3-D average does not
    small = dims == 3 and any(k > n for k, n in zip(_triple(kernel), size, strict=True))
    if dilation == 1 and not small:
        assert_same(
            lambda t: POOL[dims](t, "average", **how, count_include_pad=include),
            lambda t: torch_average(dims, t, include, **how),
            x,
            exact=True,
        )


def _triple(kernel):
    return (kernel,) * 3 if isinstance(kernel, int) else kernel * (3 // len(kernel))


def test_a_3d_map_smaller_than_the_kernel_is_averaged_though_torch_does_not():
    x = random_map(2, 2, 2, 3, 4)
    torch.testing.assert_close(POOL[3](x, "average", 3, 1, 1), by_formula("average", x, (3, 1, 1)))
    included = POOL[3](x, "average", 3, 1, 1, count_include_pad=True)
    torch.testing.assert_close(included, F.avg_pool3d(F.pad(x, [1] * 6), 3, 1))
