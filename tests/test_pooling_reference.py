"""Every operator against its formula, written once more with numpy and scipy for one window at a time.

The other pooling tests use `unfolded` and `FORMULAS` from here. `unfolded` shares nothing with poolviz: it is
`Tensor.unfold`, and is itself compared with `F.unfold`.
"""

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F

from poolviz.pooling import POOLINGS, global_pool, pool1d, pool2d, pool3d

torch.set_num_threads(1)

POOL = {1: pool1d, 2: pool2d, 3: pool3d}
TORCH_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
SIZE = {1: (11,), 2: (9, 7), 3: (5, 6, 7)}
MAP_POOLINGS = [name for name, pooling in POOLINGS.items() if pooling.for_maps]
WINDOWED = [name for name in MAP_POOLINGS if not POOLINGS[name].keeps_cells]
STOCHASTIC = [name for name in WINDOWED if POOLINGS[name].stochastic]
# kernel_size, stride, padding, dilation, ceil_mode
GEOMETRIES = [
    (1, 1, 0, 1, False),
    (2, None, 0, 1, False),
    (2, 2, 0, 1, True),
    (2, 3, 1, 1, True),  # the stride skips cells
    (3, 2, 1, 1, False),
    (3, 1, 1, 1, False),
    (2, 1, 1, 2, False),
    (3, 2, 1, 2, True),
]


def settings(geometry):
    return dict(zip(("kernel_size", "stride", "padding", "dilation", "ceil_mode"), geometry, strict=True))


def random_map(*shape, seed=0, dtype=torch.float64):
    """Distinct positive and negative values, so that no maximum and no median is a tie."""
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def unfolded(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Windows of x (N, C, *size) as (N, C, *out, n) and which cells are no padding, by Tensor.unfold."""
    dims = x.dim() - 2
    stride = kernel_size if stride is None else stride
    out = TORCH_MAX[dims](x, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode).shape[2:]
    span = dilation * (kernel_size - 1) + 1
    right = [max(0, stride * (n - 1) + span - padding - length) for n, length in zip(out, x.shape[2:], strict=True)]
    margins = [amount for r in reversed(right) for amount in (padding, r)]
    both = [F.pad(x, margins), F.pad(torch.ones_like(x), margins)]
    for axis, n in enumerate(out):
        both = [t.unfold(2 + axis, span, stride).narrow(2 + axis, 0, n)[..., ::dilation] for t in both]
    values, valid = (t.flatten(2 + dims) for t in both)
    return values, valid.bool()


def _max_share(v, o):
    return np.eye(len(v))[v.argmax()]


def _softmax_share(v, o):
    return scipy.special.softmax(v / o.get("temperature", 1.0))


def _stochastic_share(v, o):
    positive = np.maximum(v, 0)
    return positive / positive.sum() if positive.any() else positive


def _mixed_share(v, o):
    mix = o.get("mix", 0.5)
    return mix * _max_share(v, o) + (1 - mix) / len(v)


# valid values of one window -> the weight of each
SHARES = {
    "max": _max_share,
    "min": lambda v, o: _max_share(-v, o),
    "average": lambda v, o: np.full(len(v), 1 / len(v)),
    "stochastic": _stochastic_share,
    "softmax-stochastic": _softmax_share,
    "softpool": _softmax_share,
    "mixed": _mixed_share,
}
# valid values of one window, cells of the kernel -> the pooled value
FORMULAS = {name: lambda v, cells, o, share=share: share(v, o) @ v for name, share in SHARES.items()} | {
    # torch scales a clipped window up to a full one
    "lp": lambda v, cells, o: (cells / len(v) * (v ** o.get("p", 2.0)).sum()) ** (1 / o.get("p", 2.0)),
    "median": lambda v, cells, o: np.median(v),
}


def by_formula(name, x, geometry, **options):
    """What `name` makes of x (N, C, *size), by the formulas above."""
    values, valid = (t.numpy() for t in unfolded(x.detach().double(), *geometry))
    pooled = np.empty(values.shape[:-1])
    for cell in np.ndindex(pooled.shape):
        window = values[cell][valid[cell]]
        pooled[cell] = FORMULAS[name](window, values.shape[-1], options)
    return torch.from_numpy(pooled)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(2, 2, 0, 1), (3, 2, 1, 1), (3, 1, 1, 2)])
def test_the_reference_equals_torch_unfold(kernel, stride, padding, dilation):
    x = random_map(2, 3, 9, 7)
    values, valid = unfolded(x, kernel, stride, padding, dilation)
    columns = F.unfold(x, kernel, dilation, padding, stride).reshape(2, 3, kernel**2, -1)
    assert torch.equal(values.flatten(2, 3).transpose(2, 3), columns)
    inside = F.unfold(torch.ones_like(x), kernel, dilation, padding, stride).reshape(2, 3, kernel**2, -1)
    assert torch.equal(valid.flatten(2, 3).transpose(2, 3), inside.bool())


def test_every_windowed_operator_has_a_formula():
    assert set(FORMULAS) == set(WINDOWED)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", WINDOWED)
def test_an_operator_equals_its_formula(name, dims, geometry):
    x = random_map(1, 2, *SIZE[dims])
    pooled = POOL[dims](x, name, **settings(geometry))
    torch.testing.assert_close(pooled, by_formula(name, x, geometry))


OPTIONS = [
    ("softpool", {"temperature": 0.3}),
    ("softmax-stochastic", {"temperature": 7.0}),
    ("lp", {"p": 1.0}),
    ("lp", {"p": 4.0}),
    ("mixed", {"mix": 0.0}),
    ("mixed", {"mix": 0.2}),
    ("mixed", {"mix": 1.0}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
def test_an_option_acts_as_in_the_formula(name, options):
    x = random_map(2, 2, 8, 7)
    x = x.abs() if name == "lp" else x  # the sum of p-th powers is then positive for every p
    pooled = pool2d(x, name, 3, 2, 1, **options)
    torch.testing.assert_close(pooled, by_formula(name, x, (3, 2, 1), **options))
    assert not torch.allclose(pooled, pool2d(x, name, 3, 2, 1))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", WINDOWED)
def test_a_whole_map_is_one_window(name, dims):
    x = random_map(2, 3, *SIZE[dims])
    truth = [FORMULAS[name](plane.flatten().numpy(), plane.numel(), {}) for plane in x.flatten(0, 1)]
    torch.testing.assert_close(global_pool(x, name), torch.tensor(truth, dtype=x.dtype).reshape(2, 3))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_none_keeps_every_cell(dims):
    x = random_map(2, 3, *SIZE[dims])
    pooled, weights = POOL[dims](x, "none", 2, return_weights=True)
    assert torch.equal(pooled, x)
    assert weights.shape == (*x.shape, *(1,) * dims) and (weights == 1).all()
    assert torch.equal(global_pool(x, "none"), x.flatten(1))
