"""Cosines against scikit-learn, ranks against scipy, the way through the layers against numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics.pairwise import cosine_similarity

from poolviz.charts import similarity
from poolviz.charts.tokens import TokenSetting
from poolviz.pooling import POOLINGS, pool_sequence

torch.set_num_threads(1)
OPERATORS = tuple(name for name, pooling in POOLINGS.items() if pooling.for_sequences)
H = 16


def ragged(*lengths: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, H, generator=generator) for length in lengths]


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 12), width=st.integers(1, 50), seed=st.integers(0, 999), scale=st.sampled_from([1e-6, 1, 1e6])
)
def test_cosines_equal_scikit_learns(count, width, seed, scale):
    vectors = scale * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    found = similarity.cosines(vectors).numpy()
    np.testing.assert_allclose(found, cosine_similarity(vectors.double().numpy()), atol=1e-9)
    assert np.abs(found).max() <= 1 and np.allclose(np.diag(found), 1) and (found == found.T).all()


def test_a_vector_of_zeros_is_like_nothing():
    assert similarity.cosines(torch.tensor([[0.0, 0.0], [1.0, 2.0]])).tolist() == [[0, 0], [0, pytest.approx(1)]]


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("lengths", [(4, 9, 2, 1), (3,), (5, 5)])
def test_a_ragged_batch_equals_each_sentence_alone(lengths, name):
    hidden = ragged(*lengths)
    found = similarity.vectors(hidden, TokenSetting(temperature=0.5), name)
    alone = torch.cat([pool_sequence(each[None], None, name, temperature=0.5) for each in hidden])
    assert torch.allclose(found, alone, atol=1e-5) and len(found) == len(lengths)
    assert found.shape[1] == (2 * H if name == "mean-max" else H)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.integers(-5, 5), min_size=1, max_size=12), pinned=st.integers(0, 11))
def test_ranks_are_scipys_of_the_others(values, pinned):
    """With ties, which rank by place."""
    pinned %= len(values)
    matrix = torch.zeros(len(values), len(values))
    matrix[pinned] = torch.tensor(values) / 5
    found = similarity.ranks(matrix, pinned).tolist()
    assert found.pop(pinned) == 0
    others = [value for place, value in enumerate(values) if place != pinned]
    assert found == rankdata([-value for value in others], method="ordinal").astype(int).tolist()


def test_ranking_changes_nothing():
    matrix = torch.eye(3)
    similarity.ranks(matrix, 1)
    assert torch.equal(matrix, torch.eye(3))


@pytest.mark.parametrize("pinned", [0, 2])
def test_rows_of_the_pairs_tell_of_the_same_cosines(pinned):
    hidden, setting = ragged(4, 9, 2, 6), TokenSetting(("cls", "mean", "mean-max"))
    first, *matrices = similarity.pair_figures(hidden, setting, pinned)
    assert [figure.heading for figure in matrices] == [POOLINGS[name].label for name in setting.operators]
    for name, figure in zip(setting.operators, matrices, strict=True):
        truth = cosine_similarity(similarity.vectors(hidden, setting, name).double().numpy())
        ((_, cells),) = figure.datasets.items()
        assert len(cells) == 16
        for cell in cells:
            assert cell["cosine"] == pytest.approx(truth[cell["a"] - 1, cell["b"] - 1], abs=1e-9)
        rows = [row for row in first.datasets["ranks"] if row["operator"] == POOLINGS[name].label]
        assert sorted(row["rank"] for row in rows) == [1, 2, 3]
        assert {row["sentence"] for row in rows} == {1, 2, 3, 4} - {pinned + 1}
        by_rank = sorted(rows, key=lambda row: row["rank"])
        for row, cosine in zip(by_rank, sorted(np.delete(truth[pinned], pinned), reverse=True), strict=True):
            assert row["cosine"] == pytest.approx(cosine, abs=1e-9)


def test_the_same_sentence_twice_is_nearest():
    one, other = ragged(4, 7)
    (figure, *_) = similarity.pair_figures([one, other, one.clone()], TokenSetting(OPERATORS), 0)
    nearest = [row for row in figure.datasets["ranks"] if row["rank"] == 1]
    assert {row["sentence"] for row in nearest} == {3} and len(nearest) == len(OPERATORS)
    assert all(row["cosine"] == pytest.approx(1) for row in nearest)


# ---- layers


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("padded", [0, 3])
def test_layer_rows_equal_numpy_and_end_at_one(padded, training):
    hidden = torch.randn(7, 5 + padded, H, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(5 + padded) < 5
    setting = TokenSetting(OPERATORS, training)
    rows = similarity.layer_rows(hidden, mask, setting)
    assert len(rows) == 7 * len(OPERATORS)
    for name in OPERATORS:
        mine = [row for row in rows if row["operator"] == POOLINGS[name].label]
        pooled = np.stack([pool_sequence(layer[None, :5], None, name)[0].double().numpy() for layer in hidden])
        assert [row["layer"] for row in mine] == list(range(7)) and mine[-1]["cosine"] == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose([row["norm"] for row in mine], np.linalg.norm(pooled, axis=1), rtol=1e-5)
        np.testing.assert_allclose([row["cosine"] for row in mine], cosine_similarity(pooled)[-1], atol=1e-5)


def test_mean_and_mean_sqrt_len_point_the_same_way_and_differ_in_length():
    (hidden,) = ragged(9)
    rows = similarity.layer_rows(hidden[None], torch.ones(9, dtype=torch.bool), TokenSetting(("mean", "mean-sqrt-len")))
    assert rows[1]["norm"] == pytest.approx(3 * rows[0]["norm"], rel=1e-5)
    mean, longer = (similarity.vectors([hidden], TokenSetting(), name) for name in ("mean", "mean-sqrt-len"))
    assert float(similarity.cosines(torch.cat([mean, longer]))[0, 1]) == pytest.approx(1)
