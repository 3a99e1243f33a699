"""Windows draw independently of one another, also where they share cells; noise shared by windows does not.

The joint picks of two windows are compared with the product of their exact probabilities by chi-square.
"""

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from poolviz.pooling import pool2d
from tests.test_pooling_reference import STOCHASTIC, unfolded

torch.set_num_threads(1)

SEEDS = range(12)
DRAWS = 4000
# the other window, seen from that of output cell (0, 0) in channel 0: (channel, row, column)
NEIGHBOURS = {"right": (0, 0, 1), "below": (0, 1, 0), "diagonal": (0, 1, 1), "next channel": (1, 0, 0)}


def near_constant(stride):
    """A map whose windows are uniform to 0.1 %, while each cell's value still tells which one it is."""
    side = 3 + stride
    cells = 1 + 1e-4 * torch.arange(2 * side * side).reshape(2, side, side)
    return cells.expand(DRAWS, 2, side, side)


def picks_by_value(pooled, x, stride):
    """Which of the 9 cells of its window each pooled value is: (N, 2, 2, 2)."""
    return (unfolded(x[:1], 3, stride)[0] == pooled[..., None]).double().argmax(dim=-1)


def fast(x, name, stride, generator):
    return picks_by_value(pool2d(x, name, 3, stride, training=True, generator=generator), x, stride)


def by_weights(x, name, stride, generator):
    constant = torch.ones_like(x)
    weights = pool2d(constant, name, 3, stride, training=True, generator=generator, return_weights=True)[1]
    return weights.flatten(4).argmax(dim=-1)


def shared_noise(x, name, stride, generator):
    """What public code often does: Gumbel noise on the input, then one max pooling. Each window alone is right."""
    uniforms = torch.rand(x.shape, generator=generator, dtype=torch.float64).clamp(min=1e-12)
    logits = x.double().log() if name == "stochastic" else x.double()
    _, index = F.max_pool2d(logits - (-uniforms.log()).log(), 3, stride, return_indices=True)
    return picks_by_value(x.flatten(2).gather(2, index.flatten(2)).reshape(index.shape), x, stride)


def joint_counts(picks, other):
    pair = picks[:, 0, 0, 0] * 9 + picks[(slice(None), *other)]
    return torch.bincount(pair, minlength=81).reshape(9, 9).numpy()


def against_product(counts):
    """(statistic, degrees of freedom) for "each pick is uniform over 9 cells, and the two are independent"."""
    expected = counts.sum() / 81
    return ((counts - expected) ** 2 / expected).sum(), 80


def fits(tables):
    statistics = [against_product(counts) for counts in tables]
    total, freedom = np.sum(statistics, axis=0)
    each = [scipy.stats.chi2.sf(s, d) for s, d in statistics]
    return min(each) > 1e-6 and scipy.stats.chi2.sf(total, freedom) > 1e-4


def tables(draw, name, stride, other):
    x = near_constant(stride)
    return [joint_counts(draw(x, name, stride, torch.Generator().manual_seed(seed)), other) for seed in SEEDS]


@pytest.mark.parametrize("draw", [fast, by_weights])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_neighbouring_windows_draw_independently(name, stride, draw):
    for other in NEIGHBOURS.values():
        assert fits(tables(draw, name, stride, other)), other


@pytest.mark.parametrize("stride", [1, 2])
def test_shared_noise_fails_though_each_window_alone_is_right(stride):
    drawn = tables(shared_noise, "softmax-stochastic", stride, NEIGHBOURS["right"])
    alone = sum(drawn).sum(axis=1)
    assert scipy.stats.chisquare(alone).pvalue > 1e-4
    assert not any(fits([counts]) for counts in drawn)


@pytest.mark.parametrize(("stride", "shared_cells"), [(1, 6), (2, 3)])
def test_neighbours_pick_the_same_cell_as_often_as_chance_has_it(stride, shared_cells):
    """Cell (r, c) of the right window is cell (r, c + stride) of the left: 3.7 % at s=2; shared noise has 20 %."""
    same = np.zeros((9, 9), dtype=bool)
    for row in range(3):
        for column in range(3 - stride):
            same[row * 3 + column + stride, row * 3 + column] = True
    assert same.sum() == shared_cells

    def share(draw):
        counts = sum(tables(draw, "softmax-stochastic", stride, NEIGHBOURS["right"]))
        return counts[same].sum() / counts.sum()

    chance = shared_cells / 81
    error = (chance * (1 - chance) / (DRAWS * len(SEEDS))) ** 0.5
    assert abs(share(fast) - chance) < 5 * error
    # with one noise field, both pick a shared cell whenever the largest of the union's cells is shared
    union = 18 - shared_cells
    assert share(shared_noise) == pytest.approx(shared_cells / union, abs=0.01)
