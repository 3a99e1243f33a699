"""Windows as `windows2d` gives them, and the measures that are built on them, against cases worked by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from poolviz.pooling import grid_for, pool2d, windows2d
from poolviz.pooling.measure import (
    coverage,
    discarded_share,
    input_gradient,
    noise_changes,
    relative_change,
    shift_changes,
    shifted,
)
from tests.test_pooling_reference import GEOMETRIES, random_map, settings, unfolded

torch.set_num_threads(1)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_windows_hold_the_values_at_their_coordinates(geometry):
    x = random_map(2, 3, 9, 7)
    windows = windows2d(x, **settings(geometry))
    values, valid = unfolded(x, *geometry)
    kernel = geometry[0]
    assert windows.values.shape == (*values.shape[:4], kernel, kernel)
    assert windows.coordinates.shape == (*values.shape[2:4], kernel, kernel, 2)
    assert torch.equal(windows.values.flatten(4), values)
    assert torch.equal(windows.valid.flatten(2), valid[0, 0])
    for cell in np.ndindex(windows.valid.shape):
        row, column = windows.coordinates[cell].tolist()
        inside = 0 <= row < 9 and 0 <= column < 7
        assert inside == windows.valid[cell]
        found = windows.values[(slice(None), slice(None), *cell)]
        assert torch.equal(found, x[:, :, row, column] if inside else torch.zeros(2, 3, dtype=x.dtype))


def test_windows_by_hand():
    x = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    windows = windows2d(x, 2, 2, 1)
    assert windows.values[0, 0, 0, 0].tolist() == [[0, 0], [0, 1]]
    assert windows.valid[0, 0].tolist() == [[False, False], [False, True]]
    assert windows.coordinates[0, 1].tolist() == [[[-1, 1], [-1, 2]], [[0, 1], [0, 2]]]
    assert windows.values[0, 0, 1, 1].tolist() == [[5, 6], [8, 9]]
    dilated = windows2d(x, 2, 1, 0, 2)
    assert dilated.values.flatten().tolist() == [1, 3, 7, 9]


def test_a_rectangular_kernel():
    x = random_map(1, 2, 6, 8)
    columns = F.unfold(x, (2, 3), stride=(1, 2), padding=(1, 0)).reshape(1, 2, 6, 7, 3)
    windows = windows2d(x, (2, 3), (1, 2), (1, 0))
    assert torch.equal(windows.values, columns.permute(0, 1, 3, 4, 2).reshape(1, 2, 7, 3, 2, 3))


@pytest.mark.parametrize("geometry", [g for g in GEOMETRIES if not g[4]], ids=str)
def test_spread_equals_fold(geometry):
    kernel, stride, padding, dilation, _ = geometry
    x = random_map(2, 3, 9, 7)
    grid = grid_for(2, x, "max", **settings(geometry))
    weights = random_map(2, 3, *grid.output_size, kernel, kernel, seed=2)
    columns = weights.flatten(4).movedim(4, 2).reshape(2, 3 * kernel**2, -1)
    truth = F.fold(columns, (9, 7), kernel, dilation, padding, stride or kernel)
    torch.testing.assert_close(grid.spread(weights), truth)
    ones = torch.ones(1, kernel**2, columns.shape[-1], dtype=x.dtype)
    torch.testing.assert_close(coverage(grid), F.fold(ones, (9, 7), kernel, dilation, padding, stride or kernel)[0, 0])


def test_coverage_by_hand():
    x = torch.ones(1, 1, 5, 5)
    assert coverage(grid_for(2, x, "max", 2)).tolist() == [[1, 1, 1, 1, 0]] * 4 + [[0] * 5]
    assert coverage(grid_for(2, x, "max", 2, ceil_mode=True)).eq(1).all()
    across = torch.tensor([1.0, 1, 2, 1, 1], dtype=torch.float64)
    assert torch.equal(coverage(grid_for(2, x, "max", 3, 2)), across[:, None] * across)
    assert coverage(grid_for(2, x, "none", 2)).eq(1).all()


def test_gradient_by_hand():
    x = torch.tensor([[[[1.0, 2, 3, 9], [4, 8, 7, 5]]]])
    average = input_gradient(x, lambda t: pool2d(t, "average", 2))
    assert torch.equal(average, torch.full_like(x, 1 / 4))
    largest = input_gradient(x, lambda t: pool2d(t, "max", 2))
    assert largest.flatten().tolist() == [0, 0, 0, 1, 0, 1, 0, 0]
    overlapping = input_gradient(x, lambda t: pool2d(t, "max", 2, 1))
    assert overlapping.flatten().tolist() == [0, 0, 0, 1, 0, 2, 0, 0]
    with torch.no_grad():  # a page may ask for it where nothing is tracked
        assert torch.equal(input_gradient(x, lambda t: pool2d(t, "max", 2)), largest)
    assert not x.requires_grad and x.grad is None


@pytest.mark.parametrize(
    ("name", "geometry", "share"),
    [
        ("max", (2, 2, 0, 1, False), 3 / 4),
        ("average", (2, 2, 0, 1, False), 0),
        ("none", (2, 2, 0, 1, False), 0),
        ("median", (2, 2, 0, 1, False), 1 / 2),  # two of four cells in the middle
        ("average", (2, 3, 0, 1, False), 1 - (2 * 2 * 4) / 36),  # the stride skips cells
        ("average", (3, 2, 1, 1, False), 0),
        ("stochastic", (2, 2, 0, 1, False), 1 / 6),  # cells of value 0, or less, have no say
    ],
    ids=str,
)
def test_discarded_share_by_hand(name, geometry, share):
    x = torch.arange(36.0).reshape(1, 1, 6, 6) - 5
    weights = pool2d(x, name, **settings(geometry), return_weights=True)[1]
    assert discarded_share(weights, grid_for(2, x, name, **settings(geometry))) == pytest.approx(share)


def test_max_that_overlaps_keeps_a_cell_once():
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 1
    weights = pool2d(x, "max", 2, 1, return_weights=True)[1]
    assert discarded_share(weights, grid_for(2, x, "max", 2, 1)) == pytest.approx(8 / 9)


@pytest.mark.parametrize("pixels", [0, 1, 3, 7, 20])
def test_shift_repeats_the_left_edge(pixels):
    x = random_map(2, 1, 3, 7)
    truth = np.pad(x.numpy(), [(0, 0)] * 3 + [(pixels, 0)], mode="edge")[..., :7]
    assert np.array_equal(shifted(x, pixels).numpy(), truth)


def test_shift_changes_against_numpy():
    x = random_map(1, 2, 8, 8)

    def largest(a):
        return a.reshape(1, 2, 4, 2, 4, 2).max(axis=(3, 5))

    before, truth = largest(x.numpy()), []
    for pixels in range(4):
        moved = np.pad(x.numpy(), [(0, 0)] * 3 + [(pixels, 0)], mode="edge")[..., :8]
        truth.append(np.linalg.norm(largest(moved) - before) / np.linalg.norm(before))
    assert shift_changes(x, lambda t: pool2d(t, "max", 2), range(4)) == pytest.approx(truth)
    assert truth[0] == 0 < truth[1]


def test_a_periodic_map_does_not_feel_a_shift_by_its_period():
    x = torch.tensor([1.0, 5, 2, 4] * 4).expand(1, 1, 4, 16).clone()
    x[..., :4] = 1  # the edge that is repeated
    unmoved, moved = shift_changes(x, lambda t: pool2d(t, "max", 2)[..., 4:], [4, 1])
    assert unmoved == 0 < moved


def test_noise_changes_against_numpy():
    x = random_map(1, 1, 6, 6)
    levels, seeds = [0.0, 0.1, 0.5], [3, 4, 5]
    changes = noise_changes(x, lambda t: pool2d(t, "average", 2), levels, seeds)
    for row, level in zip(changes, levels, strict=True):
        for change, seed in zip(row, seeds, strict=True):
            noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
            before, moved = (t.numpy().reshape(3, 2, 3, 2).mean(axis=(1, 3)) for t in (x, noise))
            truth = level * np.ptp(x.numpy()) * np.linalg.norm(moved) / np.linalg.norm(before)
            assert change == pytest.approx(truth)


def test_relative_change_where_nothing_stood():
    nothing, something = torch.zeros(3), torch.tensor([3.0, 0, 4])
    assert relative_change(nothing, nothing) == 0
    assert relative_change(nothing, something) == math.inf
    assert relative_change(something, nothing) == 1
    assert relative_change(something, 2 * something) == 1
