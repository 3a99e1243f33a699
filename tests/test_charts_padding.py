"""What a forgotten mask costs, against numpy."""

import numpy as np
import pytest
import torch

from poolviz.charts.padding import by_padding, forgotten
from poolviz.charts.tokens import TokenSetting
from poolviz.pooling import POOLINGS

torch.set_num_threads(1)
OPERATORS = tuple(name for name, pooling in POOLINGS.items() if pooling.for_sequences)
T, PADDED, H = 5, 4, 16
MASK = torch.arange(T + PADDED) < T
ALL = torch.ones(T + PADDED, dtype=torch.bool)


def sentence(seed: int = 0) -> torch.Tensor:
    return torch.randn(T + PADDED, H, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [False, True])
def test_with_the_mask_nothing_is_wrong(training):
    rows = forgotten(sentence(), sentence(), MASK, MASK, TokenSetting(OPERATORS, training))
    assert [row["operator"] for row in rows] == [POOLINGS[name].label for name in OPERATORS]
    assert all(row["error"] == 0 and row["cosine"] == pytest.approx(1, abs=1e-6) for row in rows)


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("mean", lambda h: h.mean(0)),
        ("max", lambda h: h.max(0)),
        ("mean-max", lambda h: np.concatenate([h.mean(0), h.max(0)])),
        ("mean-sqrt-len", lambda h: h.sum(0) / np.sqrt(len(h))),
        ("last", lambda h: h[-1]),
        ("weighted-mean", lambda h: np.arange(1, len(h) + 1) @ h / np.arange(1, len(h) + 1).sum()),
    ],
)
def test_errors_equal_numpys(name, pool):
    hidden = sentence().double().numpy()
    right, wrong = pool(hidden[:T]), pool(hidden)
    (row,) = forgotten(sentence(), sentence(), MASK, ALL, TokenSetting((name,)))
    assert row["error"] == pytest.approx(np.linalg.norm(wrong - right) / np.linalg.norm(right), rel=1e-4)
    assert row["cosine"] == pytest.approx(wrong @ right / np.linalg.norm(wrong) / np.linalg.norm(right), abs=1e-5)


def test_cls_never_moves_when_the_pooling_alone_forgets_and_moves_when_the_encoder_does():
    setting = TokenSetting(("cls", "mean"))
    cls, mean = forgotten(sentence(), sentence(), MASK, ALL, setting)
    assert cls["error"] == 0 and mean["error"] > 0.05
    deaf = sentence() + 0.1 * sentence(1)
    cls, mean = forgotten(sentence(), deaf, MASK, ALL, setting)
    first, moved = sentence()[0].numpy(), deaf[0].numpy()
    assert cls["error"] == pytest.approx(np.linalg.norm(moved - first) / np.linalg.norm(first), rel=1e-4)


def test_a_stochastic_operator_is_judged_by_its_expectation():
    for name in ("stochastic", "softmax-stochastic"):
        drawn, calm = (
            forgotten(sentence(), sentence(), MASK, ALL, TokenSetting((name,), training, seed))
            for training, seed in ((True, 7), (False, 0))
        )
        assert drawn == calm


def test_what_padding_holds_matters_only_where_it_is_forgotten():
    changed = sentence()
    changed[T:] = torch.nan
    rows = forgotten(sentence(), changed, MASK, MASK, TokenSetting(OPERATORS))
    assert all(row["error"] == 0 for row in rows)


def test_the_curve_begins_at_nothing_and_ends_at_the_whole_padding():
    setting = TokenSetting(OPERATORS)
    rows = by_padding(sentence(), MASK, setting)
    assert len(rows) == len(OPERATORS) * (PADDED + 1)
    for name in OPERATORS:
        mine = [row for row in rows if row["operator"] == POOLINGS[name].label]
        assert [row["padding"] for row in mine] == list(range(PADDED + 1)) and mine[0]["error"] == 0
    whole = forgotten(sentence(), sentence(), MASK, ALL, setting)
    for row, last in zip(whole, [row for row in rows if row["padding"] == PADDED], strict=True):
        assert last["operator"] == row["operator"]
        assert (last["error"], last["cosine"]) == pytest.approx((row["error"], row["cosine"]), abs=1e-6)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_point_of_the_curve_is_that_of_a_shorter_batch(name):
    for row in by_padding(sentence(), MASK, TokenSetting((name,))):
        short = sentence()[: T + row["padding"]]
        (alone,) = forgotten(short, short, MASK[: len(short)], ALL[: len(short)], TokenSetting((name,)))
        assert (row["error"], row["cosine"]) == pytest.approx((alone["error"], alone["cosine"]), abs=1e-5)


def test_two_vectors_of_zeros_are_the_same():
    """Under Zeiler and Fergus' rule a sentence without a positive number is 0."""
    hidden = -sentence().abs()
    (row,) = forgotten(hidden, hidden, MASK, ALL, TokenSetting(("stochastic",)))
    assert (row["error"], row["cosine"]) == (0, 1)
    hidden[T:] = 1.0
    (row,) = forgotten(hidden, hidden, MASK, ALL, TokenSetting(("stochastic",)))
    assert (row["error"], row["cosine"]) == (1, 0)


def test_the_curve_of_the_mean_equals_numpy():
    hidden = sentence().double().numpy()
    right = hidden[:T].mean(0)
    for row in by_padding(sentence(), MASK, TokenSetting(("mean",))):
        wrong = hidden[: T + row["padding"]].mean(0)
        assert row["error"] == pytest.approx(np.linalg.norm(wrong - right) / np.linalg.norm(right), rel=1e-4, abs=1e-6)


def test_no_padding_gives_one_row_an_operator():
    assert [row["padding"] for row in by_padding(sentence()[:T], MASK[:T], TokenSetting(("mean", "max")))] == [0, 0]


def test_more_padding_of_one_kind_leads_the_mean_away_steadily():
    hidden = torch.cat([sentence()[:T], sentence(9)[:1].expand(PADDED, H)])
    errors = [row["error"] for row in by_padding(hidden, MASK, TokenSetting(("mean",)))]
    assert errors == sorted(errors) and len(set(errors)) == PADDED + 1
