"""The rules of design.md: padding, windows without a positive cell, NaN and infinities, with their gradients."""

from math import inf, nan

import pytest
import torch

from poolviz.pooling import global_pool, pool1d, pool2d, stochastic
from poolviz.pooling.stochastic import scatter_gradient
from tests.test_pooling_reference import MAP_POOLINGS, POOL, STOCHASTIC, WINDOWED, by_formula, random_map, unfolded

# name and mode of every way in which a window is pooled
MODES = [(name, False) for name in WINDOWED] + [(name, True) for name in STOCHASTIC]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def window(*values, dtype=torch.float32):
    return torch.tensor(values, dtype=dtype).reshape(1, 1, 2, -1)


def both_paths(x, name, training, *geometry):
    """The plain result, and that which comes beside the weights."""
    yield pool2d(x, name, *geometry, training=training, generator=seeded())
    yield pool2d(x, name, *geometry, training=training, generator=seeded(), return_weights=True)[0]


@pytest.mark.parametrize("sign", [1, -1], ids=["positive map", "negative map"])
@pytest.mark.parametrize(("name", "training"), MODES)
def test_padding_neither_wins_nor_counts(name, training, sign):
    """A padding of 0 would be the largest cell of a negative map, and the smallest of a positive one."""
    x = sign * (5 + random_map(2, 3, 6, 7).abs())
    if name == "stochastic":
        x = x.abs()
    values, valid = unfolded(x, 3, 2, 1, 1, True)
    if not training:
        for pooled in both_paths(x, name, False, 3, 2, 1, 1, True):
            torch.testing.assert_close(pooled, by_formula(name, x, (3, 2, 1, 1, True)))
        return
    for pooled in both_paths(x.repeat(200, 1, 1, 1), name, True, 3, 2, 1, 1, True):
        cells = torch.where(valid, values, nan).repeat(200, 1, 1, 1, 1)
        assert (pooled[..., None] == cells).any(dim=-1).all()


@pytest.mark.parametrize(("name", "border"), [("max", -inf), ("min", inf), ("mixed", -inf), ("softpool", -inf)])
def test_padding_has_no_weight_beside_the_worst_of_cells(name, border):
    """The padding's own stand-in is infinite too; a tie with it must go to the map's cell."""
    x = torch.full((1, 1, 4, 4), border)
    weights = pool2d(x, name, 3, 2, 1, return_weights=True)[1].flatten(4)
    valid = unfolded(x, 3, 2, 1)[1]
    assert (weights[~valid] == 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(1, 1, 2, 2))


@pytest.mark.parametrize("values", [(0, 0, 0, 0), (-1, -2, -3, -4), (0, -1, -0.5, -inf)], ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_stochastic_without_a_positive_cell_is_zero_without_gradient(values, training):
    x = window(*values).requires_grad_()
    for pooled in [*both_paths(x, "stochastic", training, 2), global_pool(x, "stochastic", training=training)]:
        assert pooled.item() == 0
        (gradient,) = torch.autograd.grad(pooled.sum(), x)
        # at test time the gradient of 0 / 0 is taken as 0
        assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize("training", [False, True])
def test_a_dead_window_beside_a_living_one(training):
    """A dead window at the padded border must not send its neighbour's gradient anywhere else."""
    x = torch.full((1, 1, 4, 4), -1.0)
    x[..., 2:, 2:] = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    x.requires_grad_()
    for pooled in both_paths(x, "stochastic", training, 3, 2, 1):
        assert torch.equal(pooled.detach(), torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]]))
        (gradient,) = torch.autograd.grad(pooled.sum(), x)
        assert gradient[..., 2, 2] == 1
        assert gradient.count_nonzero() == 1 or not training


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("name", "training"), MODES)
def test_nan_comes_out_of_its_windows_and_of_no_other(name, training, dims):
    x = random_map(2, 2, *(7,) * dims).abs()
    place = (1, 0, *(3,) * dims)
    x[place] = nan
    truth = unfolded(x, 3, 2, 1)[0].isnan().any(dim=-1)
    for return_weights in (False, True):
        result = POOL[dims](x, name, 3, 2, 1, training=training, return_weights=return_weights)
        assert torch.equal((result[0] if return_weights else result).isnan(), truth)
    whole = torch.tensor([[False, False], [True, False]])
    assert torch.equal(global_pool(x, name, training=training).isnan(), whole)


# operator, window, pooled; the gradient is checked to be free of NaN where the last entry says so
LIMITS = [
    ("max", (inf, 1, 2, 3), inf, True),
    ("max", (-inf, 1, 2, 3), 3, True),
    ("max", (-inf,) * 4, -inf, True),
    ("min", (inf, 1, 2, 3), 1, True),
    ("min", (inf,) * 4, inf, True),
    ("average", (inf, 1, 2, 3), inf, True),
    ("average", (-inf, 1, 2, 3), -inf, True),
    ("average", (inf, -inf, 2, 3), nan, True),
    ("mixed", (inf, 1, 2, 3), inf, True),
    ("mixed", (-inf,) * 4, -inf, True),
    ("median", (inf, 1, 2, 3), 2.5, True),
    ("median", (inf, -inf, 2, 3), 2.5, True),
    ("median", (inf, inf, 2, 3), inf, True),
    ("median", (-inf,) * 4, -inf, True),
    ("lp", (inf, 1, 2, 3), inf, False),  # as torch's
    ("stochastic", (-inf, 0, 1, 3), 2.5, True),
    ("stochastic", (inf, 1, 2, 3), inf, False),  # the slope is infinite
    ("stochastic", (inf, -inf, inf, 3), inf, False),
    ("softpool", (inf, 1, 2, 3), inf, True),
    ("softpool", (inf, -inf, inf, 3), inf, True),
    ("softpool", (-inf, 2, 2, 2), 2, True),
    ("softpool", (-inf,) * 4, -inf, True),
    ("softmax-stochastic", (inf, 1, 2, 3), inf, True),
    ("softmax-stochastic", (-inf, 2, 2, 2), 2, True),
]


@pytest.mark.parametrize(("name", "values", "truth", "gradient_is_finite"), LIMITS, ids=str)
def test_infinite_cells_take_the_limit(name, values, truth, gradient_is_finite):
    x = window(*values).requires_grad_()
    for pooled in [*both_paths(x, name, False, 2), global_pool(x, name)]:
        torch.testing.assert_close(pooled.item(), float(truth), equal_nan=True)
        if gradient_is_finite:
            assert torch.autograd.grad(pooled.sum(), x)[0].isfinite().all()
    weights = pool2d(x, name, 2, return_weights=True)[1]
    assert (weights.isfinite() & (weights >= 0)).all() or name == "lp"


@pytest.mark.parametrize("name", ["softpool", "softmax-stochastic", "stochastic"])
def test_an_infinitely_low_cell_is_ignored(name):
    x = window(-inf, 1, 2, 3, 4, 5).requires_grad_()
    rest = torch.tensor([[[1.0, 2, 3, 4, 5]]], requires_grad=True)
    with_it, without = global_pool(x, name), global_pool(rest, name)
    torch.testing.assert_close(with_it, without)
    (gradient,) = torch.autograd.grad(with_it.sum(), x)
    assert gradient.flatten()[0] == 0
    torch.testing.assert_close(gradient.flatten()[1:], torch.autograd.grad(without.sum(), rest)[0].flatten())


@pytest.mark.parametrize(
    ("name", "values", "possible"),
    [
        ("stochastic", (inf, 1, 2, 3), {inf}),
        ("stochastic", (-inf, 0, 1, 3), {1, 3}),
        ("stochastic", (-inf,) * 4, {0}),
        ("softmax-stochastic", (inf, 1, 2, 3), {inf}),
        ("softmax-stochastic", (inf, -inf, inf, 3), {inf}),
        ("softmax-stochastic", (-inf, 2, 2, 3), {2, 3}),
        ("softmax-stochastic", (-inf,) * 4, {-inf}),
    ],
    ids=str,
)
def test_infinite_cells_are_drawn_in_the_limit(name, values, possible):
    x = window(*values).repeat(300, 1, 1, 1).requires_grad_()
    results = [*both_paths(x, name, True, 2), global_pool(x, name, training=True, generator=seeded())]
    for pooled in results:
        assert set(pooled.flatten().tolist()) == possible
        assert torch.autograd.grad(pooled.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("border", [nan, inf, -inf, -1.0])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_backward_stays_inside_each_plane(monkeypatch, name, dims, border):
    """A window that draws nothing has its first cell in the padding: torch would write there, outside the plane."""
    scattered = []

    def scatter(gradient, x, grid, positions):
        scattered.append(positions)
        return scatter_gradient(gradient, x, grid, positions)

    monkeypatch.setattr(stochastic, "scatter_gradient", scatter)
    size = (5,) * dims
    x = torch.full((3, 3, *size), border)
    x[1, 1] = 1.0  # the only plane with an ordinary gradient
    x.requires_grad_()
    pooled = POOL[dims](x, name, 3, 2, 1, 1, True, training=True, generator=seeded())
    cotangent = torch.zeros_like(pooled)
    cotangent[1, 1] = 1.0
    (gradient,) = torch.autograd.grad(pooled, x, cotangent, retain_graph=True)
    assert scattered[0].min() >= 0 and scattered[0].max() < 5**dims
    assert gradient[1, 1].sum() == cotangent.sum()
    gradient[1, 1] = 0
    assert (gradient == 0).all()
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    assert gradient.isfinite().all()
    if border != inf and not (border == -1.0 and name == "softmax-stochastic"):
        gradient[1, 1] = 0
        assert (gradient == 0).all()  # planes without anything to draw


@pytest.mark.parametrize("name", [name for name in MAP_POOLINGS if name != "none"])
def test_a_window_of_padding_alone_is_refused(name):
    """A dilated window can step over the whole map. torch's max pooling then writes outside the map's gradient."""
    with pytest.raises(ValueError, match=r"pool2d: the window of output cell \(0, 0\) holds no cell of the input"):
        pool2d(torch.ones(1, 4, 1, 1), name, 2, 1, 1, 2)
    with pytest.raises(ValueError, match="only padding"):
        POOL[1](torch.ones(1, 4, 2), name, 2, 2, 1, 3)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("value", [3e38, torch.inf])
def test_sums_of_the_largest_activations_stay_finite_in_windows_of_any_size(value, training):
    for cells in range(1, 65):
        x = torch.full((1, 1, cells), value)
        pooled = pool1d(x, "stochastic", cells, training=training)
        assert torch.allclose(pooled, x[..., :1]), cells
        assert torch.allclose(global_pool(x, "stochastic", training=training), x[..., 0]), cells


def test_a_total_below_the_normal_numbers_draws_nothing():
    x = torch.tensor([[[1e-45, -5.0]]])
    for seed in range(20):
        drawn = pool1d(x, "stochastic", 2, training=True, generator=torch.Generator().manual_seed(seed))
        assert drawn.item() == 0
    assert pool1d(x, "stochastic", 2).item() == 0
