"""What each pooling reads from a sentence, against numpy and scipy; what travels to the browser; numbers to keep."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from poolviz.charts import tokens
from poolviz.charts.tokens import TokenSetting, TokenStage
from poolviz.inputs.encoder import Piece
from poolviz.pooling import POOLINGS, pool_sequence

torch.set_num_threads(1)
OPERATORS = tuple(name for name, pooling in POOLINGS.items() if pooling.for_sequences)
DRAWN = tuple(name for name in OPERATORS if POOLINGS[name].stochastic)
T, H, PADDED = 6, 32, 2


def sentence(length: int = T, width: int = H, seed: int = 0) -> torch.Tensor:
    return torch.randn(length, width, generator=torch.Generator().manual_seed(seed))


def pieces(length: int = T, padded: int = 0) -> list[Piece]:
    """[CLS], words, [SEP], padding."""
    words = [Piece(f"w{i}", i, "inside" if i % 3 == 2 else "word", f"w{i}", 3 * i, " ") for i in range(1, length - 1)]
    special_ones = Piece("[CLS]", 101, "special", "", -1, ""), Piece("[SEP]", 102, "special", "", -1, "")
    return [special_ones[0], *words, special_ones[1], *[Piece("[PAD]", 0, "padding", "", -1, "")] * padded]


def stage(
    setting: TokenSetting | None = None, padded: int = 0, pooled_padding: bool = False, how: str = "winner"
) -> TokenStage:
    hidden = sentence(T + padded)
    mask = torch.arange(T + padded) < (T + padded if pooled_padding else T)
    readings = tokens.read(hidden, mask, setting or TokenSetting())
    order = tokens.dimension_order(hidden, mask, how)
    return TokenStage("a sentence\nan encoder, layer 3", pieces(T, padded), hidden, mask, readings, order)


def read_one(name: str, hidden: torch.Tensor, mask: torch.Tensor | None = None, **more) -> tokens.Reading:
    mask = torch.ones(len(hidden), dtype=torch.bool) if mask is None else mask
    (reading,) = tokens.read(hidden, mask, TokenSetting((name,), **more))
    return reading


def zeiler_fergus(hidden: np.ndarray) -> np.ndarray:
    """Probabilities (T, live dimensions): a share of the positive values; without one there is nothing to draw."""
    positive = hidden[:, (hidden > 0).any(0)].clip(min=0)
    return positive / positive.sum(0)


# ---- readings


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", OPERATORS)
def test_a_vector_is_its_weights_times_the_tokens(name, training):
    hidden, mask = sentence(T + PADDED), torch.arange(T + PADDED) < T
    for reading in tokens.read(hidden, mask, TokenSetting((name,), training, 3, 0.7)):
        assert reading.vector.shape == (H,) and reading.weights.shape == hidden.shape
        by_hand = (reading.weights.double().numpy() * hidden.double().numpy()).sum(0)
        np.testing.assert_allclose(reading.vector.numpy(), by_hand, atol=1e-5)
        assert (reading.weights[T:] == 0).all() and (reading.weights >= 0).all()


def test_all_readings_are_what_pool_sequence_gives_and_stand_in_the_settings_order():
    hidden, mask = sentence(), torch.ones(T, dtype=torch.bool)
    readings = tokens.read(hidden, mask, TokenSetting(OPERATORS))
    pooled = torch.cat([pool_sequence(hidden[None], mask[None], name)[0] for name in OPERATORS])
    assert torch.equal(torch.cat([reading.vector for reading in readings]), pooled)
    assert len(readings) == len(OPERATORS) + 1  # mean-max has two


def test_mean_max_has_two_halves():
    mean, most = tokens.read(sentence(), torch.ones(T, dtype=torch.bool), TokenSetting(("mean-max",)))
    assert (mean.name, most.name) == ("mean", "max") and mean.label != most.label
    assert mean.label.startswith("Mean-max") and most.label.startswith("Mean-max")
    np.testing.assert_allclose(mean.vector.numpy(), sentence().numpy().mean(0), atol=1e-6)
    np.testing.assert_array_equal(most.vector.numpy(), sentence().numpy().max(0))


@pytest.mark.parametrize("padded", [0, PADDED])
@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("cls", lambda h: np.eye(T)[0]),
        ("last", lambda h: np.eye(T)[-1]),
        ("mean", lambda h: np.full(T, 1 / T)),
        ("mean-sqrt-len", lambda h: np.full(T, 1 / T)),
        ("weighted-mean", lambda h: np.arange(1, T + 1) / np.arange(1, T + 1).sum()),
        ("max", lambda h: np.bincount(h.argmax(0), minlength=T) / H),
        ("softmax-stochastic", lambda h: special.softmax(h / 0.7, axis=0).mean(1)),
        ("stochastic", lambda h: zeiler_fergus(h).mean(1)),
    ],
)
def test_shares(name, truth, padded):
    reading = read_one(name, sentence(T + padded), torch.arange(T + padded) < T, temperature=0.7)
    expected = np.concatenate([truth(sentence(T + padded)[:T].double().numpy()), np.zeros(padded)])
    np.testing.assert_allclose(reading.shares.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", OPERATORS)
def test_shares_sum_to_one(name, training):
    for reading in tokens.read(sentence(), torch.ones(T, dtype=torch.bool), TokenSetting((name,), training)):
        assert float(reading.shares.sum()) == pytest.approx(1, abs=1e-5)


def test_shares_leave_out_dimensions_in_which_nothing_is_drawn():
    """Zeiler and Fergus' rule gives a dimension without a positive token no weight."""
    hidden = sentence()
    hidden[:, : H // 2] = -hidden[:, : H // 2].abs()
    reading = read_one("stochastic", hidden)
    np.testing.assert_allclose(reading.shares.numpy(), zeiler_fergus(hidden.numpy()).mean(1), atol=1e-6)
    assert (read_one("stochastic", -hidden.abs()).shares == 0).all()


@pytest.mark.parametrize("name", ["max", "softmax-stochastic", "stochastic"])
def test_wins_are_counts_of_the_largest_weight(name):
    reading = read_one(name, sentence())
    largest = sentence().numpy().argmax(0)
    live = sentence().numpy().max(0) > 0 if name == "stochastic" else np.ones(H, dtype=bool)
    np.testing.assert_array_equal(reading.wins.numpy(), np.bincount(largest[live], minlength=T))


@pytest.mark.parametrize(("name", "wins"), [("mean", [0] * T), ("cls", [H, *[0] * 5]), ("last", [*[0] * 5, H])])
def test_wins_where_all_dimensions_are_alike(name, wins):
    assert read_one(name, sentence()).wins.tolist() == wins


def test_the_one_token_of_a_sentence_wins_no_dimension_in_which_nothing_is_drawn():
    assert read_one("stochastic", torch.tensor([[1.0, -1.0, 2.0]])).wins.tolist() == [2]


@pytest.mark.parametrize("name", DRAWN)
def test_draws_are_one_hot_and_carry_the_test_time_weights_as_probabilities(name):
    hidden = sentence().abs() + 0.1
    drawn, calm = read_one(name, hidden, training=True, seed=5), read_one(name, hidden)
    assert ((drawn.weights == 0) | (drawn.weights == 1)).all() and (drawn.weights.sum(0) == 1).all()
    assert torch.equal(drawn.probabilities, calm.weights) and calm.probabilities is None
    assert torch.equal(drawn.wins, drawn.weights.sum(1).long())
    assert (drawn.probabilities[drawn.weights == 1] > 0).all()


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in DRAWN])
def test_operators_without_chance_do_not_know_training(name):
    everything = torch.ones(T, dtype=torch.bool)
    drawn, calm = (tokens.read(sentence(), everything, TokenSetting((name,), training)) for training in (True, False))
    for one, other in zip(drawn, calm, strict=True):
        assert torch.equal(one.vector, other.vector) and one.probabilities is None


def test_a_seed_is_a_draw_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = (
        read_one("softmax-stochastic", sentence(), training=True, seed=seed).vector for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_reading_changes_nothing():
    hidden = sentence()
    tokens.read(hidden, torch.ones(T, dtype=torch.bool), TokenSetting(OPERATORS, True))
    assert torch.equal(hidden, sentence())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (TokenSetting(("cls", "max")), ""),
        (TokenSetting(("stochastic",)), "test mode"),
        (TokenSetting(("stochastic", "softmax-stochastic"), True, 7, 0.5), "training mode, seed 7, temperature 0.5"),
        (TokenSetting(("attention",), temperature=2.0), "temperature 2"),
    ],
)
def test_a_caption_says_what_one_needs_to_do_it_again(setting, words):
    assert setting.describe() == words


# ---- order of dimensions, and where to begin


@pytest.mark.parametrize("how", tokens.ORDERS)
@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 8), width=st.integers(1, 40), padded=st.integers(0, 3), seed=st.integers(0, 99))
def test_an_order_has_every_dimension_once(how, length, width, padded, seed):
    hidden, mask = sentence(length + padded, width, seed), torch.arange(length + padded) < length
    order = tokens.dimension_order(hidden, mask, how)
    assert sorted(order.tolist()) == list(range(width))
    hidden[length:] = 1e9
    assert torch.equal(order, tokens.dimension_order(hidden, mask, how))


def test_order_by_index_and_by_variance():
    hidden, mask = sentence(), torch.ones(T, dtype=torch.bool)
    assert tokens.dimension_order(hidden, mask, "index").tolist() == list(range(H))
    variances = hidden.numpy().var(axis=0)[tokens.dimension_order(hidden, mask, "variance").numpy()]
    assert (np.diff(variances) <= 1e-6).all() and variances[0] == pytest.approx(hidden.numpy().var(axis=0).max())


def test_order_by_winner_groups_tokens_in_their_order_and_falls_within_a_group():
    hidden = sentence(width=200)
    order = tokens.dimension_order(hidden, torch.ones(T, dtype=torch.bool), "winner").numpy()
    winners, largest = hidden.numpy().argmax(0)[order], hidden.numpy().max(0)[order]
    assert (np.diff(winners) >= 0).all() and set(winners) == set(range(T))
    for token in range(T):
        assert (np.diff(largest[winners == token]) <= 0).all()


def test_it_begins_at_the_word_that_is_largest_where_words_differ_most():
    hidden = torch.zeros(T, H)
    hidden[3, 7], hidden[0, 9] = 5.0, 100.0  # [CLS] is no word
    made = TokenStage("", pieces(), hidden, torch.ones(T, dtype=torch.bool), (), torch.arange(H))
    assert tokens.telling_place(made) == (3, 7)


def test_it_begins_at_padding_where_that_is_pooled_and_moves_the_mean():
    hidden = torch.zeros(T + PADDED, H)
    hidden[3, 7], hidden[T:, 11] = 5.0, -4.0
    mask = torch.ones(T + PADDED, dtype=torch.bool)
    made = TokenStage("", pieces(T, PADDED), hidden, mask, (), torch.arange(H))
    assert tokens.telling_place(made) == (T, 11)


@settings(max_examples=40, deadline=None)
@given(length=st.integers(2, 8), padded=st.integers(0, 4), pooled=st.booleans(), seed=st.integers(0, 99))
def test_it_begins_within_bounds_and_at_no_padding_unless_that_is_pooled(length, padded, pooled, seed):
    mask = torch.arange(length + padded) < (length + padded if pooled else length)
    hidden = sentence(length + padded, 5, seed)
    made = TokenStage("", pieces(length, padded), hidden, mask, (), torch.arange(5))
    token, dimension = tokens.telling_place(made)
    assert 0 <= token < length + padded and 0 <= dimension < 5
    kind = made.pieces[token].kind
    assert kind == ("padding" if pooled and padded else "special" if length == 2 else kind) and (
        kind != "padding" or pooled
    )


def test_one_outlier_does_not_bleach_the_scale():
    hidden = sentence(30, 300)
    hidden[0, 0] = 1e4
    made = TokenStage("", pieces(30), hidden, torch.ones(30, dtype=torch.bool), (), torch.arange(300))
    low, high = made.value_range
    assert low == -high and high == pytest.approx(np.quantile(np.abs(hidden.double().numpy()), 0.99), rel=1e-6)
    flat = TokenStage("", pieces(2), torch.zeros(2, 3), torch.ones(2, dtype=torch.bool), (), torch.arange(3))
    assert flat.value_range == (-1.0, 1.0)


# ---- what travels to the browser


def decoded(sent: dict[str, str] | str, *shape: int) -> np.ndarray:
    """As heatmap.js reads it."""
    form, text = ("float32", sent) if isinstance(sent, str) else next(iter(sent.items()))
    data = base64.b64decode(text)
    if form == "place":
        return (np.frombuffer(data, np.uint8)[:, None] == np.arange(shape[1])).astype("<f4")
    if form == "bfloat16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    numbers = np.frombuffer(data, "<f4")
    return np.broadcast_to(numbers, shape) if form == "shared" else numbers.reshape(shape)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("padded", [0, PADDED])
def test_the_payload_is_json_and_holds_the_same_numbers(training, padded):
    made = stage(TokenSetting(OPERATORS, training, 1), padded)
    sent = json.loads(json.dumps(tokens.token_payload(made, (2, 5), 300), allow_nan=False))
    length = T + padded
    assert (sent["hidden"]["height"], sent["hidden"]["width"]) == (length, H)
    np.testing.assert_array_equal(decoded(sent["hidden"]["values"], length, H), made.hidden.numpy())
    assert sent["order"] == made.order.tolist() and sent["mask"] == made.mask.tolist()
    assert (sent["place"], sent["tall"], sent["title"]) == ([2, 5], 300, made.title)
    assert sent["range"] == list(made.value_range)
    assert sent["pieces"] == [{"piece": p.piece, "kind": p.kind, "text": p.text, "gap": p.gap} for p in made.pieces]
    for reading, found in zip(made.readings, sent["readings"], strict=True):
        assert (found["title"], found["colour"]) == (reading.label, reading.colour)
        np.testing.assert_array_equal(decoded(found["values"], H), reading.vector.numpy())
        np.testing.assert_array_equal(decoded(found["weights"], H, length), reading.weights.T.numpy())
        assert (found["probabilities"] is None) == (reading.probabilities is None)
        if reading.probabilities is not None:
            np.testing.assert_array_equal(decoded(found["probabilities"], H, length), reading.probabilities.T.numpy())


@pytest.mark.parametrize(
    ("name", "training", "form"),
    [("mean", False, "shared"), ("cls", False, "shared"), ("max", False, "place"), ("stochastic", True, "place")]
    + [("softmax-stochastic", False, "float32")],
)
def test_weights_travel_as_light_as_they_can_be(name, training, form):
    (sent,) = tokens.token_payload(stage(TokenSetting((name,), training)), (0, 0))["readings"]
    assert list(sent["weights"]) == [form]


def test_a_long_sentence_travels_in_less_than_three_megabytes_and_close():
    """256 tokens of 768 dimensions; a place of 255 and more would not fit a byte."""
    hidden, mask = sentence(256, 768), torch.ones(256, dtype=torch.bool)
    setting = TokenSetting(("cls", "mean", "max", "softmax-stochastic"))
    readings = tokens.read(hidden, mask, setting)
    made = TokenStage("", pieces(256), hidden, mask, readings, torch.arange(768))
    sent = tokens.token_payload(made, (0, 0))
    assert len(json.dumps(sent)) < 3_000_000
    for reading, found in zip(readings, sent["readings"], strict=True):
        np.testing.assert_allclose(decoded(found["weights"], 768, 256), reading.weights.T.numpy(), rtol=0.005)


def test_the_speech_payload_is_json_with_shares_that_sum_to_one():
    made = stage(TokenSetting(("mean", "max", "mean-max")))
    sent = json.loads(json.dumps(tokens.speech_payload(made.pieces, made.readings, "weight"), allow_nan=False))
    assert len(sent["pieces"]) == T and [row["dimensions"] for row in sent["rows"]] == [H] * 4
    for row, reading in zip(sent["rows"], made.readings, strict=True):
        assert sum(row["shares"]) == pytest.approx(1, abs=1e-5) and row["wins"] == reading.wins.tolist()


def test_parts_of_the_vector_are_projections_that_sum_to_one():
    made = stage(TokenSetting(("mean", "max", "softmax-stochastic", "mean-max", "cls")))
    sent = tokens.speech_payload(made.pieces, made.readings, "vector")
    for row, reading in zip(sent["rows"], made.readings, strict=True):
        vector, weighted = reading.vector.numpy(), (reading.weights * made.hidden).numpy()
        np.testing.assert_allclose(weighted.sum(0), vector, atol=1e-5)
        np.testing.assert_allclose(row["shares"], weighted @ vector / (vector @ vector), atol=1e-5)
        assert sum(row["shares"]) == pytest.approx(1, abs=1e-4) and row["of"] == "of the vector"


# ---- numbers to keep

AWKWARD = ['say "hi"', "a,b", "line\nbreak", "tab\tand 'x'", "ا", "🐈", "=1+1", "<b>", "NA", ""]


def test_numbers_come_back_through_pandas():
    hidden = sentence(len(AWKWARD) + 2)
    hidden[1, 3] = torch.nan
    mask = torch.ones(len(hidden), dtype=torch.bool)
    named = [Piece("[CLS]", 101, "special", "", -1, "")]
    named += [Piece(f"p{i}", i, "word", text, i, "") for i, text in enumerate(AWKWARD)]
    named += [Piece("[PAD]", 0, "padding", "", -1, "")]
    readings = tokens.read(hidden, mask, TokenSetting(("mean", "max", "mean-max")))
    made = TokenStage("a sentence\nan encoder", named, hidden, mask, readings, torch.arange(H))
    text = tokens.numbers_csv(made)
    assert text.splitlines()[:2] == ["# a sentence", "# an encoder"]
    table = pd.read_csv(io.StringIO(text), skiprows=2, index_col=0)
    rows = torch.cat([hidden, *(reading.vector[None] for reading in readings)])
    np.testing.assert_array_equal(table.to_numpy(), rows.double().numpy())
    assert list(table.columns) == [str(i) for i in range(H)]
    assert list(table.index) == [
        "token 0: [CLS]",
        *(f"token {i + 1}: {text or f'p{i}'}" for i, text in enumerate(AWKWARD)),
        f"token {len(AWKWARD) + 1}: [PAD]",
        *(reading.label for reading in readings),
    ]


def test_numbers_come_back_with_the_caption_read_as_comment():
    named = [Piece("#", 1, "word", "#", 0, ""), Piece("##s", 2, "inside", "s", 1, "")]
    made = TokenStage("t", named, sentence(2), torch.ones(2, dtype=torch.bool), (), torch.arange(H))
    table = pd.read_csv(io.StringIO(tokens.numbers_csv(made)), comment="#", index_col=0)
    np.testing.assert_allclose(table.to_numpy(), sentence(2).numpy(), rtol=1e-6)
