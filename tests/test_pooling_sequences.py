"""Pooling tokens beside what others wrote: sentence-transformers' pooling, torch's attention and windows, scipy, BERT.

Padding stands right, left or scattered; whatever it holds, it must change no result, no gradient and no draw.
"""

from functools import partial
from math import inf, nan

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.modules.pooling import Pooling as TheirPooling
from transformers.models.bert.modeling_bert import BertConfig, BertPooler

from poolviz.pooling import POOLINGS, ReportPooler, SequencePool, draw_sequence, pool1d, pool_sequence, pool_tokens
from tests.test_pooling_reference import GEOMETRIES, MAP_POOLINGS, settings

torch.set_num_threads(1)

SEQUENCES = [name for name, pooling in POOLINGS.items() if pooling.for_sequences]
DRAWN = [name for name in SEQUENCES if POOLINGS[name].stochastic]
MODES = [(name, False) for name in SEQUENCES] + [(name, True) for name in DRAWN]
DESIGNED = "cls mean max mean-max mean-sqrt-len weighted-mean last stochastic softmax-stochastic attention"
THEIRS = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean-max": ("mean", "max"),
    "mean-sqrt-len": "mean_sqrt_len_tokens",
    "weighted-mean": "weightedmean",
    "last": "lasttoken",
}
PADDINGS = ["none", "right", "left", "scattered"]
ROWS, TOKENS, HIDDEN = 6, 9, 5


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def padded(kind, rows=ROWS, tokens=TOKENS, seed=0):
    """Mask (rows, tokens), bool; the first row holds one token, the second is full."""
    lengths = torch.randint(1, tokens + 1, (rows,), generator=seeded(seed))
    lengths[0], lengths[1] = 1, tokens
    right = torch.arange(tokens) < lengths[:, None]
    order = torch.rand(rows, tokens, generator=seeded(seed)).argsort(dim=1)
    return {"none": right | True, "right": right, "left": right.flip(1), "scattered": right.gather(1, order)}[kind]


def embeddings(*shape, seed=1, dtype=torch.float64):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def batch(kind, dtype=torch.float64):
    return embeddings(ROWS, TOKENS, HIDDEN, dtype=dtype), padded(kind)


def value_and_gradient(pool, hidden):
    """Pooled hidden, and the gradient for a cotangent that differs from number to number."""
    leaf = hidden.detach().clone().requires_grad_()
    pooled = pool(leaf)
    (gradient,) = torch.autograd.grad(pooled, leaf, embeddings(*pooled.shape, seed=9, dtype=pooled.dtype))
    return pooled.detach(), gradient


def test_the_operators_for_sequences_are_those_of_the_design():
    assert set(SEQUENCES) == set(DESIGNED.split())
    assert DRAWN == ["stochastic", "softmax-stochastic"]


# sentence-transformers


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-6), (torch.bfloat16, 2e-2)], ids=str
)
@pytest.mark.parametrize("kind", PADDINGS)
@pytest.mark.parametrize("name", THEIRS)
def test_results_and_gradients_equal_sentence_transformers(name, kind, dtype, tolerance):
    hidden, mask = batch(kind, dtype)
    module = TheirPooling(HIDDEN, pooling_mode=THEIRS[name])

    def theirs(leaf):
        return module({"token_embeddings": leaf, "attention_mask": mask.long()})["sentence_embedding"]

    truth = value_and_gradient(theirs, hidden)
    for mask_dtype in (torch.int64, torch.bool, torch.float32, torch.uint8):
        ours = value_and_gradient(partial(pool_sequence, attention_mask=mask.to(mask_dtype), name=name), hidden)
        torch.testing.assert_close(ours, truth, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", SEQUENCES)
def test_no_mask_means_that_every_position_is_a_token(name):
    hidden = embeddings(2, 4, 3)
    assert torch.equal(pool_sequence(hidden, None, name), pool_sequence(hidden, torch.ones(2, 4), name))


# padding


@pytest.mark.parametrize("kind", PADDINGS[1:])
@pytest.mark.parametrize(("name", "training"), MODES)
def test_what_padding_holds_changes_no_result_no_gradient_and_no_draw(name, training, kind):
    hidden, mask = batch(kind)
    results = []
    for held in (0.0, nan, inf, -inf, 1e30):
        leaf = hidden.masked_fill(~mask[..., None], held).requires_grad_()
        how = {"training": training, "generator": seeded(3)}
        pooled, weights = pool_sequence(leaf, mask, name, return_weights=True, **how)
        assert torch.equal(pooled, pool_sequence(leaf, mask, name, **{**how, "generator": seeded(3)}))
        (gradient,) = torch.autograd.grad(pooled, leaf, embeddings(*pooled.shape, seed=9))
        assert (gradient[~mask] == 0).all() and (weights[~mask] == 0).all()
        results.append((pooled, weights, gradient))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("margins", [(0, 3), (2, 0), (1, 4)], ids=["right", "left", "both"])
@pytest.mark.parametrize("kind", PADDINGS)
@pytest.mark.parametrize("name", SEQUENCES)
def test_more_padding_changes_nothing(name, kind, margins):
    hidden, mask = batch(kind)
    wider = F.pad(hidden, (0, 0, *margins), value=nan)
    torch.testing.assert_close(
        pool_sequence(wider, F.pad(mask, margins), name), pool_sequence(hidden, mask, name), rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sentence_is_pooled_as_it_would_be_alone(name):
    hidden, mask = batch("scattered")
    together = pool_sequence(hidden, mask, name)
    for row in range(ROWS):
        alone = pool_sequence(hidden[row : row + 1], mask[row : row + 1], name)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-13, atol=1e-13)


# refusals

X = torch.ones(4, 3, 2)
THIRD_ROW_EMPTY = torch.tensor([[1, 1, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]])
ADDITIVE = (1 - THIRD_ROW_EMPTY) * -10000.0
OTHERS = "pool_sequence: attention_mask may hold 1 (a token) and 0 (padding) alone; this one holds others"
KNOWN = f"known for sequences: {', '.join(SEQUENCES)}"

MESSAGES = [
    (
        lambda: pool_sequence(X, THIRD_ROW_EMPTY, "mean"),
        "pool_sequence: row 2 has no valid token: its attention_mask is 0 everywhere",
    ),
    (lambda: pool_sequence(X[0], None, "mean"), "pool_sequence: expected hidden of shape (B, T, H), got (3, 2)"),
    (lambda: pool_sequence(X[:, :0], None, "max"), "pool_sequence: expected hidden of shape (B, T, H), got (4, 0, 2)"),
    (
        lambda: pool_sequence(X[..., :0], None, "cls"),
        "pool_sequence: expected hidden of shape (B, T, H), got (4, 3, 0)",
    ),
    (
        lambda: pool_sequence(X, torch.ones(3, 4), "mean"),
        "pool_sequence: expected attention_mask of shape (B, T) = (4, 3), got (3, 4)",
    ),
    (
        lambda: pool_sequence(X, torch.ones(4, 1, 1, 3), "mean"),
        "pool_sequence: expected attention_mask of shape (B, T) = (4, 3), got (4, 1, 1, 3)",
    ),
    (lambda: pool_sequence(X, ADDITIVE, "mean"), OTHERS),
    (lambda: pool_sequence(X, torch.full((4, 3), nan), "mean"), OTHERS),
    (lambda: pool_sequence(X, 2 * torch.ones(4, 3, dtype=torch.int64), "mean"), OTHERS),
    (lambda: pool_sequence(X.long(), None, "mean"), "pool_sequence: expected floating-point"),
    (lambda: pool_sequence(X, None, "cIs"), f"pool_sequence: unknown pooling 'cIs'; {KNOWN}"),
    (
        lambda: pool_sequence(X, None, "attention", query=torch.zeros(3)),
        "pool_sequence: expected a query of shape (2,), or (4, 1, 2) for one a sentence, got (3,)",
    ),
    (  # as many sentences as tokens: it could be taken for a query a token
        lambda: pool_sequence(X[:3], None, "attention", query=torch.zeros(3, 2)),
        "pool_sequence: expected a query of shape (2,), or (3, 1, 2) for one a sentence, got (3, 2)",
    ),
    (
        lambda: pool_tokens(X, None, "attention", 2, query=torch.zeros(2, 1, 2)),
        "pool_tokens: expected a query of shape (2,), or (4, 1, 2) for one a sentence, got (2, 1, 2)",
    ),
    (lambda: SequencePool("cIs"), f"SequencePool: unknown pooling 'cIs'; {KNOWN}"),
    (lambda: ReportPooler(4, "average"), f"SequencePool: unknown pooling 'average'; {KNOWN}"),
    (
        lambda: pool_sequence(X, None, "softmax-stochastic", temperature=0),
        "pool_sequence: temperature must be a positive finite number, got 0",
    ),
    (
        lambda: pool_sequence(X, None, "mean", count_include_pad=True),
        "pool_sequence: count_include_pad is for 'average'; padding never counts in 'mean'",
    ),
    (lambda: SequencePool("attention"), "SequencePool: 'attention' learns a query and needs hidden_size, e.g. 384"),
    (lambda: pool_tokens(X[0], None, "mean", 2), "pool_tokens: expected hidden of shape (B, T, H), got (3, 2)"),
    (lambda: pool_tokens(X, ADDITIVE, "mean", 2), OTHERS.replace("sequence", "tokens")),
    (lambda: pool_tokens(X, None, "mean", 4), "pool_tokens: kernel_size 4 with dilation 1 spans 4 cells, but the"),
    (lambda: pool_tokens(X, None, "average", 2), f"pool_tokens: unknown pooling 'average'; {KNOWN}"),
]


@pytest.mark.parametrize(("call", "message"), MESSAGES, ids=[message for _, message in MESSAGES])
def test_messages(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name in MAP_POOLINGS if name not in SEQUENCES])
def test_operators_for_maps_alone_are_refused(name):
    with pytest.raises(ValueError, match=f"^pool_sequence: unknown pooling '{name}'; known for sequences: cls, "):
        pool_sequence(X, None, name)


@pytest.mark.parametrize("name", SEQUENCES)
def test_every_operator_refuses_a_sentence_without_tokens(name):
    for training in (False, True):
        with pytest.raises(ValueError, match="^pool_sequence: row 2 has no valid token"):
            pool_sequence(X, THIRD_ROW_EMPTY, name, training=training)


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(TypeError, match="^pool_sequence: unknown option temprature; options are training, generator, "):
        pool_sequence(X, None, "attention", temprature=2)


@pytest.mark.parametrize("name", SEQUENCES)
def test_an_empty_batch_goes_forward_and_backward(name):
    hidden = torch.zeros(0, 4, 3, requires_grad=True)
    for training in (False, True):
        pooled, weights = pool_sequence(hidden, torch.zeros(0, 4), name, training=training, return_weights=True)
        assert pooled.shape == weights[:, 0].shape == (0, 6 if name == "mean-max" else 3)
        assert torch.autograd.grad(pooled.sum(), hidden)[0].shape == hidden.shape


# draws against exact probabilities

COPIES = 40_000
MASK = torch.tensor([0, 1, 1, 1, 0, 1, 1], dtype=torch.bool)
SENTENCE = embeddings(len(MASK), 12, seed=3).float()
SENTENCE[1:3] = SENTENCE[1:3].abs()  # at least two positive tokens in every dimension
TEMPERATURES = [
    ("stochastic", 1.0),
    ("softmax-stochastic", 1.0),
    ("softmax-stochastic", 0.4),
    ("softmax-stochastic", 3.0),
]


def probabilities(name, temperature, hidden=SENTENCE, mask=MASK):
    """(T, H) by scipy; 0 at padding, and where no token is positive."""
    values = hidden.double().numpy()[mask]
    if name == "stochastic":
        positive = np.maximum(values, 0)
        share = positive / np.maximum(positive.sum(axis=0), 1e-300)
    else:
        share = scipy.special.softmax(values / temperature, axis=0)
    result = np.zeros(hidden.shape)
    result[mask] = share
    return result


def drawn_tokens(name, temperature, seed=0):
    """(COPIES, H) index of the drawn token; every sentence of the batch is the same one."""
    hidden, mask = SENTENCE.expand(COPIES, -1, -1), MASK.expand(COPIES, -1)
    how = {"training": True, "temperature": temperature, "generator": seeded(seed)}
    pooled, weights = pool_sequence(hidden, mask, name, return_weights=True, **how)
    assert torch.equal(weights.sum(dim=1), torch.ones(pooled.shape)) and set(weights.unique().tolist()) == {0, 1}
    index = weights.argmax(dim=1)
    assert torch.equal(pooled, SENTENCE.gather(0, index))
    return index.numpy()


def p_value(observed, chances):
    """Chi-square of `observed` categories against their probabilities; the impossible never happens."""
    counts = np.bincount(observed, minlength=chances.size)
    possible = chances.flatten() > 0
    assert counts[~possible].sum() == 0, "a token of probability 0 was drawn"
    return scipy.stats.chisquare(counts[possible], len(observed) * chances.flatten()[possible]).pvalue


def plausible(p_values):
    """No p-value is impossible, and together they are as even as p-values are."""
    return min(p_values) > 1e-5 and scipy.stats.kstest(p_values, "uniform").pvalue > 1e-4


@pytest.mark.parametrize(("name", "temperature"), TEMPERATURES)
def test_each_dimension_draws_with_the_exact_probabilities(name, temperature):
    chances = probabilities(name, temperature)
    drawn = [drawn_tokens(name, temperature, seed) for seed in (0, 1)]
    assert plausible([p_value(tokens[:, d], chances[:, d]) for tokens in drawn for d in range(tokens.shape[1])])


@pytest.mark.parametrize("name", DRAWN)
def test_dimensions_and_sentences_draw_independently(name):
    chances, drawn = probabilities(name, 1.0), drawn_tokens(name, 1.0)
    tokens, dims = chances.shape
    pairs = [
        p_value(drawn[:, d] * tokens + drawn[:, e], np.outer(chances[:, d], chances[:, e]))
        for d in range(dims)
        for e in range(d)
    ]
    assert min(pairs) > 1e-6
    neighbours = [
        p_value(drawn[::2, d] * tokens + drawn[1::2, d], np.outer(chances[:, d], chances[:, d])) for d in range(dims)
    ]
    assert plausible(neighbours)


def test_the_test_refuses_wrong_draws():
    """One token for all dimensions of a sentence, and a temperature that is a tenth off."""
    drawn, chances = drawn_tokens("softmax-stochastic", 1.0), probabilities("softmax-stochastic", 1.1)
    assert not plausible([p_value(drawn[:, d], chances[:, d]) for d in range(drawn.shape[1])])
    same = np.outer(chances[:, 0], chances[:, 0])
    assert p_value(drawn[:, 0] * len(MASK) + drawn[:, 0], same + 1e-12) < 1e-6


@pytest.mark.parametrize("kind", PADDINGS)
@pytest.mark.parametrize(("name", "temperature"), TEMPERATURES)
def test_the_test_mode_is_the_expectation(name, temperature, kind):
    hidden, mask = batch(kind)
    pooled, weights = pool_sequence(hidden, mask, name, temperature=temperature, return_weights=True)
    truth = np.stack([probabilities(name, temperature, *row) for row in zip(hidden, mask.numpy(), strict=True)])
    torch.testing.assert_close(weights, torch.from_numpy(truth), rtol=1e-12, atol=1e-12)
    expectation = (truth * hidden.numpy()).sum(axis=1)
    torch.testing.assert_close(pooled, torch.from_numpy(expectation), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "temperature"), TEMPERATURES)
def test_draws_average_to_the_expectation(name, temperature):
    values, chances = SENTENCE.double().numpy(), probabilities(name, temperature)
    expectation = (chances * values).sum(axis=0)
    spread = np.sqrt((chances * values**2).sum(axis=0) - expectation**2)
    drawn = np.take_along_axis(values, drawn_tokens(name, temperature, seed=5), axis=0)
    assert (abs(drawn.mean(axis=0) - expectation) < 5 * spread / COPIES**0.5).all()


@pytest.mark.parametrize("training", [False, True])
def test_a_dimension_without_a_positive_token_pools_to_zero(training):
    hidden = torch.tensor([[[-1.0, 3.0], [0.0, -2.0], [5.0, 5.0]]], requires_grad=True)
    how = {"training": training, "return_weights": True}
    pooled, weights = pool_sequence(hidden, torch.tensor([[1, 1, 0]]), "stochastic", **how)
    assert pooled.tolist() == [[0, 3]]
    assert weights.tolist() == [[[0, 1], [0, 0], [0, 0]]]
    (gradient,) = torch.autograd.grad(pooled[0, 0], hidden)
    assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", DRAWN)
def test_generators(name, dtype):
    """Same seed, same draw; the next differs; the global generator moves only when none is passed."""
    hidden, mask = embeddings(8, 9, 16, dtype=dtype), padded("right", 8)

    def draw(**options):
        return pool_sequence(hidden, mask, name, training=True, **options)

    before, generator = torch.get_rng_state(), seeded(3)
    first, following, again = draw(generator=generator), draw(generator=generator), draw(generator=seeded(3))
    assert torch.equal(first, again) and not torch.equal(first, following)
    pool_sequence(hidden, mask, name)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    default, moved = draw(), torch.get_rng_state()
    torch.manual_seed(4)
    assert not torch.equal(moved, torch.get_rng_state())
    assert torch.equal(draw(), default)


@pytest.mark.parametrize("kind", PADDINGS)
@pytest.mark.parametrize("name", DRAWN)
def test_the_gradient_of_a_draw_is_one_on_the_drawn_token(name, kind):
    hidden, mask = batch(kind)
    hidden = hidden.abs().requires_grad_()  # all tokens differ: the pooled value says which was drawn
    pooled, weights = pool_sequence(hidden, mask, name, training=True, generator=seeded(6), return_weights=True)
    (gradient,) = torch.autograd.grad(pooled.sum(), hidden)
    assert torch.equal(gradient, (hidden == pooled[:, None]).double())
    assert torch.equal(gradient, weights) and not weights.requires_grad
    assert (gradient.sum(dim=1) == 1).all()


# gradients and weights


@pytest.mark.parametrize("kind", ["right", "scattered"])
@pytest.mark.parametrize(("name", "training"), MODES)
def test_finite_differences(name, training, kind):
    hidden, mask = embeddings(3, 5, 2).requires_grad_(), padded(kind, 3, 5)

    def pool(leaf):  # the same uniforms each time
        return pool_sequence(leaf, mask, name, training=training, temperature=0.7, generator=seeded(2))

    assert torch.autograd.gradcheck(pool, hidden)


def test_finite_differences_of_attention_with_a_query():
    hidden, mask, query = embeddings(3, 5, 4).requires_grad_(), padded("right", 3, 5), embeddings(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda h, q: pool_sequence(h, mask, "attention", query=q), (hidden, query))


def assert_contract(hidden, mask, name, pooled, weights, tolerance):
    """pooled = sum of weights * hidden over tokens; weights >= 0, 0 at padding, and add up as documented."""
    twice = 2 if name == "mean-max" else 1
    assert weights.shape == (*hidden.shape[:2], twice * hidden.shape[2])
    assert pooled.shape == (len(hidden), twice * hidden.shape[2]) and pooled.dtype == hidden.dtype
    cells = hidden.masked_fill(~mask[..., None], 0).repeat(1, 1, twice).to(weights.dtype)
    torch.testing.assert_close((weights * cells).sum(dim=1), pooled.to(weights.dtype), rtol=tolerance, atol=tolerance)
    assert (weights >= 0).all() and (weights[~mask] == 0).all()
    total = torch.ones_like(weights[:, 0])
    if name == "mean-sqrt-len":
        total = mask.sum(dim=1, keepdim=True).sqrt() * total
    if name == "stochastic":
        total = (cells > 0).any(dim=1).to(total)
    torch.testing.assert_close(weights.sum(dim=1), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", PADDINGS)
@pytest.mark.parametrize(("name", "training"), MODES)
def test_weights_make_up_the_result(name, training, kind):
    hidden, mask = batch(kind)
    pooled, weights = pool_sequence(hidden, mask, name, training=training, return_weights=True)
    assert_contract(hidden, mask, name, pooled, weights, 1e-12)


DTYPES = [(torch.float64, 1e-11), (torch.float32, 1e-4), (torch.bfloat16, 0.2)]


@st.composite
def batches(draw):
    """Any mask with a token a row, and embeddings of any scale, with ties, beside junk in the padding."""
    tokens, width = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    row = st.lists(st.booleans(), min_size=tokens, max_size=tokens).filter(any)
    mask = torch.tensor(draw(st.lists(row, min_size=1, max_size=4)))
    hidden = draw(st.sampled_from([0.01, 1, 10])) * embeddings(*mask.shape, width, seed=draw(st.integers(0, 99)))
    hidden = hidden.round() if draw(st.booleans()) else hidden
    return hidden.masked_fill(~mask[..., None], draw(st.sampled_from([0, nan, inf, -7]))), mask


@given(batches(), st.sampled_from(DTYPES), st.sampled_from(MODES), st.sampled_from([0.1, 1.0, 10.0]))
@effort(max_examples=150, deadline=None)
def test_the_contract_holds_for_any_batch(case, kind, mode, temperature):
    (hidden, mask), (dtype, tolerance), (name, training) = case, kind, mode
    hidden = hidden.to(dtype)
    how = {"training": training, "temperature": temperature, "return_weights": True}
    pooled, weights = pool_sequence(hidden, mask, name, **how)
    assert_contract(hidden, mask, name, pooled, weights, tolerance)
    if training or name in ("cls", "last", "max"):
        is_a_token = ((hidden == pooled[:, None]) & mask[..., None]).any(dim=1)
        assert (is_a_token | ((pooled == 0) & (name == "stochastic"))).all()


# attention


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("kind", PADDINGS)
@pytest.mark.parametrize("queries", [(HIDDEN,), (ROWS, 1, HIDDEN)], ids=["one for all", "one a sentence"])
def test_attention_equals_torchs_scaled_dot_product_attention(queries, kind, temperature):
    hidden, mask = batch(kind)
    query = embeddings(*queries, seed=4)

    def theirs(h, q):
        scale = 1 / (HIDDEN**0.5 * temperature)
        q = q.expand(ROWS, 1, HIDDEN)
        return F.scaled_dot_product_attention(q, h, h, attn_mask=mask[:, None], scale=scale).squeeze(1)

    def ours(h, q):
        return pool_sequence(h, mask, "attention", query=q, temperature=temperature)

    results = []
    for pool in (ours, theirs):
        leaves = hidden.clone().requires_grad_(), query.clone().requires_grad_()
        pooled = pool(*leaves)
        results.append((pooled, *torch.autograd.grad(pooled, leaves, embeddings(*pooled.shape, seed=9))))
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", PADDINGS)
def test_attention_without_a_query_asks_with_the_mean_and_with_zeros_is_the_mean(kind):
    hidden, mask = batch(kind)
    mean = torch.stack([tokens[inside].mean(dim=0) for tokens, inside in zip(hidden, mask, strict=True)])
    asked = F.scaled_dot_product_attention(mean[:, None], hidden, hidden, attn_mask=mask[:, None]).squeeze(1)
    torch.testing.assert_close(pool_sequence(hidden, mask, "attention"), asked)
    torch.testing.assert_close(pool_sequence(hidden, mask, "attention", query=torch.zeros(HIDDEN)), mean)


# windows of tokens


def channels_first(pool, hidden, *arguments, **options):
    return pool(hidden.transpose(1, 2), *arguments, **options).transpose(1, 2)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_windows_of_tokens_equal_torchs_layers_where_all_are_tokens(geometry):
    hidden, how = embeddings(2, 11, 3), settings(geometry)
    largest, some = pool_tokens(hidden, torch.ones(2, 11), "max", **how)
    assert torch.equal(largest, channels_first(F.max_pool1d, hidden, **how))
    assert torch.equal(largest, pool_tokens(hidden, None, "max", **how)[0])
    assert some.shape == largest.shape[:2] and some.dtype == torch.bool and some.all()
    for name in ("max", *DRAWN):
        truth = channels_first(pool1d, hidden, name, **how)
        torch.testing.assert_close(pool_tokens(hidden, None, name, **how)[0], truth)
    mean = pool_tokens(hidden, None, "mean", **how)[0]
    if how.pop("dilation") == 1:  # torch's average pooling has none
        torch.testing.assert_close(mean, channels_first(F.avg_pool1d, hidden, **how, count_include_pad=False))


def window_by_window(hidden, mask, name, geometry):
    """`pool_sequence` on each window's positions by themselves; zeros where there is no token."""
    kernel, stride, padding, dilation, _ = geometry
    rows, tokens, width = hidden.shape
    count = F.max_pool1d(torch.ones(1, 1, tokens), **settings(geometry)).shape[-1]
    pooled = torch.zeros(rows, count, (2 if name == "mean-max" else 1) * width, dtype=hidden.dtype)
    some = torch.zeros(rows, count, dtype=torch.bool)
    for row in range(rows):
        for window in range(count):
            start = window * (kernel if stride is None else stride) - padding
            inside = [p for p in range(start, start + dilation * kernel, dilation) if 0 <= p < tokens]
            if mask[row, inside].any():
                some[row, window] = True
                pooled[row, window] = pool_sequence(hidden[row : row + 1, inside], mask[row : row + 1, inside], name)[0]
    return pooled, some


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("name", SEQUENCES)
def test_windows_of_tokens_equal_a_loop_over_windows(name, geometry):
    hidden = embeddings(4, 11, 3)
    for kind in PADDINGS[1:]:
        mask = padded(kind, 4, 11)
        truth = window_by_window(hidden, mask, name, geometry)
        junk = hidden.masked_fill(~mask[..., None], nan)
        for leaf in (hidden.clone().requires_grad_(), junk.requires_grad_()):
            pooled, some = pool_tokens(leaf, mask, name, **settings(geometry))
            torch.testing.assert_close((pooled, some), truth)
            (gradient,) = torch.autograd.grad(pooled.sum(), leaf)
            assert (gradient[~mask] == 0).all() and gradient.isfinite().all()


@pytest.mark.parametrize("queries", [(3,), (5, 1, 3)], ids=["one for all", "one a sentence"])
def test_windows_ask_with_the_query_of_their_sentence(queries):
    """5 windows of 5 sentences: a query a sentence must not be taken for one a window."""
    hidden, mask, query = embeddings(5, 10, 3), padded("right", 5, 10), embeddings(*queries, seed=4)
    pooled, some = pool_tokens(hidden, mask, "attention", 2, query=query)
    for window in range(5):
        place, filled = slice(2 * window, 2 * window + 2), some[:, window]
        own = query if query.dim() == 1 else query[filled]
        truth = pool_sequence(hidden[filled, place], mask[filled, place], "attention", query=own)
        torch.testing.assert_close(pooled[filled, window], truth)


def test_a_window_without_tokens_is_zeros_and_padding_again():
    hidden, mask = torch.ones(2, 6, 3), torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    for name in SEQUENCES:
        for training in (False, True):
            pooled, some = pool_tokens(hidden, mask, name, 2, training=training)
            assert some.tolist() == [[True, True, False], [False] * 3]
            assert (pooled[some] > 0).all() and (pooled[~some] == 0).all()


def test_windows_without_tokens_teach_a_query_nothing():
    """And no NaN of theirs, as 0 / 0 would give, is masked on the way back."""
    hidden, mask, query = embeddings(3, 8, 4), padded("right", 3, 8), embeddings(4, seed=2).requires_grad_()
    pooled, some = pool_tokens(hidden, mask, "attention", 2, query=query)
    with torch.autograd.set_detect_anomaly(True):
        (gradient,) = torch.autograd.grad(pooled.sum(), query)
    rows = [
        pool_sequence(h[2 * w : 2 * w + 2][None], m[2 * w : 2 * w + 2][None], "attention", query=query)
        for h, m, filled in zip(hidden, mask, some, strict=True)
        for w in filled.nonzero().flatten().tolist()
    ]
    assert not some.all()
    torch.testing.assert_close(gradient, torch.autograd.grad(torch.cat(rows).sum(), query)[0])


@pytest.mark.parametrize("name", DRAWN)
def test_windows_draw_tokens_of_theirs_each_by_itself(name):
    hidden, mask = embeddings(400, 9, 3).abs(), padded("right", 400)
    pooled, some = pool_tokens(hidden, mask, name, 3, 1, 1, training=True, generator=seeded(1))
    tokens = hidden.masked_fill(~mask[..., None], nan)
    windows = F.pad(tokens, (0, 0, 1, 1), value=nan).unfold(1, 3, 1)
    picks = windows == pooled[..., None]
    assert torch.equal(picks.any(dim=-1), some[..., None].expand_as(pooled))
    assert torch.equal(pooled, pool_tokens(hidden, mask, name, 3, 1, 1, training=True, generator=seeded(1))[0])
    assert (picks[some].flatten(0, 1).float().mean(dim=0) > 0.2).all()  # each place of a window is drawn


# layers


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", [name for name in SEQUENCES if name != "attention"])
def test_a_layer_is_the_function_in_its_mode(name, training):
    hidden, mask = embeddings(8, 9, 16), padded("right", 8)
    layer = SequencePool(name, temperature=0.5).train(training)
    assert list(layer.parameters()) == [] and repr(layer) == f"SequencePool('{name}', temperature=0.5)"
    torch.manual_seed(11)
    pooled = layer(hidden, mask)
    torch.manual_seed(11)
    assert torch.equal(pooled, pool_sequence(hidden, mask, name, training=training, temperature=0.5))
    assert torch.equal(pooled, layer.train(not training)(hidden, mask)) != POOLINGS[name].stochastic
    assert layer(hidden).shape == pooled.shape  # without a mask


def test_an_attention_layer_begins_as_the_mean_learns_and_saves():
    hidden, mask = embeddings(ROWS, TOKENS, HIDDEN, dtype=torch.float32), padded("right")
    layer = SequencePool("attention", HIDDEN)
    torch.testing.assert_close(layer(hidden, mask), pool_sequence(hidden, mask, "mean"))
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    layer(hidden, mask).square().sum().backward()
    optimizer.step()
    assert layer.query.all() and layer.query.grad.isfinite().all()
    truth = pool_sequence(hidden, mask, "attention", query=layer.query.detach())
    torch.testing.assert_close(layer(hidden, mask), truth)
    assert not torch.allclose(truth, pool_sequence(hidden, mask, "mean"))
    other = SequencePool("attention", HIDDEN)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(hidden, mask), truth)


def test_a_query_that_is_given_is_not_learned():
    hidden, query = embeddings(2, 4, 3), embeddings(3)
    layer = SequencePool("attention", query=query)
    assert list(layer.parameters()) == []
    assert torch.equal(layer(hidden), pool_sequence(hidden, None, "attention", query=query))


@pytest.mark.parametrize("kind", PADDINGS)
def test_reports_pooler_is_tanh_of_a_linear_map_of_the_expectation(kind):
    hidden, mask = batch(kind)
    pooler = ReportPooler(HIDDEN).double()
    expectation = np.stack(
        [
            (probabilities("softmax-stochastic", 1.0, *row) * row[0].numpy()).sum(axis=0)
            for row in zip(hidden, mask.numpy(), strict=True)
        ]
    )
    weight, bias = (p.detach().numpy() for p in (pooler.linear.weight, pooler.linear.bias))
    truth = np.tanh(expectation @ weight.T + bias)
    torch.testing.assert_close(pooler.eval()(hidden, mask).detach(), torch.from_numpy(truth))
    torch.manual_seed(2)
    trained = pooler.train()(hidden, mask)
    torch.manual_seed(2)
    drawn = pool_sequence(hidden, mask, "softmax-stochastic", training=True)
    torch.testing.assert_close(trained, torch.tanh(pooler.linear(drawn)))


def test_reports_pooler_over_cls_is_berts_own():
    theirs = BertPooler(BertConfig(hidden_size=12, num_attention_heads=2))
    ours = ReportPooler(12, name="cls")
    ours.linear.load_state_dict(theirs.dense.state_dict())
    hidden, mask = embeddings(4, 7, 12, dtype=torch.float32), padded("right", 4, 7)
    results = []
    for pooler, arguments in ((ours, (mask,)), (theirs, ())):
        results.append(value_and_gradient(lambda leaf, p=pooler, a=arguments: p(leaf, *a), hidden))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", SEQUENCES)
def test_reports_pooler_learns_and_saves_over_every_operator(name):
    hidden, mask = embeddings(4, 7, 6, dtype=torch.float32), padded("scattered", 4, 7)
    pooler, other = ReportPooler(6, name), ReportPooler(6, name)
    pooled = pooler(hidden, mask)
    assert pooled.shape == (4, 6)
    pooled.square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in pooler.parameters())
    other.load_state_dict(pooler.state_dict())
    assert torch.equal(other.eval()(hidden, mask), pooler.eval()(hidden, mask))
    assert ("pool.query" in pooler.state_dict()) == (name == "attention")


# large values, infinities and NaN


@pytest.mark.parametrize(("dtype", "value"), [(torch.float16, 60000.0), (torch.bfloat16, 3e38)], ids=str)
@pytest.mark.parametrize(("name", "training"), MODES)
def test_values_near_the_types_largest_do_not_overflow(name, training, dtype, value):
    hidden = torch.full((ROWS, TOKENS, 2), value, dtype=dtype)
    mask = padded("right")
    mask = mask[:1] if name == "mean-sqrt-len" else mask  # sqrt(n) times as large, so that only one token fits
    pooled = pool_sequence(hidden[: len(mask)], mask, name, training=training)
    assert pooled.dtype == dtype and (pooled == hidden[0, 0, 0]).all()


# what a NaN or infinity in dimension 0 makes of that dimension in test mode; None: what the other tokens make
SPECIAL = [
    *((name, value, None) for name in ("cls", "last") for value in (nan, inf, -inf)),
    *((name, value, value) for name in ("mean", "mean-sqrt-len", "weighted-mean") for value in (nan, inf, -inf)),
    *((name, value, value) for name in ("max", *DRAWN) for value in (nan, inf)),
    *((name, -inf, None) for name in ("max", *DRAWN)),
]


def with_a_special_cell(value):
    """(plain, special, mask, mask without the cell's token): a cell in the midst of the second of three sentences."""
    hidden, mask = embeddings(3, 6, 4).abs(), torch.tensor([[0, 1, 1, 1, 1, 0]] * 3)
    special, without = hidden.clone(), mask.clone()
    special[1, 2, 0], without[1, 2] = value, 0
    return hidden, special, mask, without


@pytest.mark.parametrize(("name", "value", "truth"), SPECIAL, ids=str)
def test_a_cell_that_is_no_number_speaks_in_its_own_dimension(name, value, truth):
    hidden, special, mask, without = with_a_special_cell(value)
    pooled = pool_sequence(special, mask, name)[1, 0]
    truth = pool_sequence(hidden, without, name)[1, 0] if truth is None else torch.tensor(truth, dtype=pooled.dtype)
    torch.testing.assert_close(pooled, truth, equal_nan=True)


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize(("name", "training"), [mode for mode in MODES if mode[0] != "attention"])
def test_a_cell_that_is_no_number_is_not_heard_elsewhere(name, training, value):
    hidden, special, mask, _ = with_a_special_cell(value)
    plain, pooled = (pool_sequence(h, mask, name, training=training, generator=seeded(7)) for h in (hidden, special))
    heard = torch.zeros(plain.shape, dtype=torch.bool)
    heard[1, ::4] = True  # dimension 0, of mean-max in both halves
    torch.testing.assert_close(pooled[~heard], plain[~heard])
    if training:
        drawn = pooled[1, 0]
        assert drawn.isnan() if value != value else drawn == inf if value == inf else drawn.isfinite()


def test_attention_weighs_whole_tokens_so_that_a_nan_spreads_over_its_sentence_alone():
    hidden = embeddings(3, 6, 4)
    plain = pool_sequence(hidden, None, "attention", query=torch.ones(4))
    hidden[1, 2, 0] = nan
    pooled = pool_sequence(hidden, None, "attention", query=torch.ones(4))
    assert pooled[1].isnan().all()
    torch.testing.assert_close(pooled[::2], plain[::2])


def test_attention_takes_the_limit_of_an_infinite_score():
    hidden = embeddings(1, 6, 4)
    hidden[0, 2, 0] = inf
    pooled = pool_sequence(hidden, None, "attention", query=torch.ones(4))
    assert torch.equal(pooled[0], hidden[0, 2])
    hidden[0, 2, 0] = -inf
    pooled = pool_sequence(hidden, None, "attention", query=torch.ones(4))
    rest = pool_sequence(hidden[:, [0, 1, 3, 4, 5]], None, "attention", query=torch.ones(4))
    torch.testing.assert_close(pooled, rest)


# ---- many draws of one sentence ----


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_many_draws_are_those_of_as_many_copies(name, temperature):
    hidden = embeddings(7, 5, dtype=torch.float32)
    hidden[:, 2] = -hidden[:, 2].abs()  # nothing to draw from, for stochastic
    drawn = draw_sequence(hidden, name, 200, generator=seeded(3), temperature=temperature)
    options = {"training": True, "generator": seeded(3), "temperature": temperature}
    copies = pool_sequence(hidden.expand(200, -1, -1), None, name, **options)
    assert torch.equal(drawn, copies)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw_sequence(torch.ones(2, 3), "mean", 5), "draw_sequence: 'mean' draws nothing"),
        (lambda: draw_sequence(torch.ones(1, 2, 3), "stochastic", 5), "draw_sequence: expected hidden of shape"),
        (lambda: draw_sequence(torch.ones(2, 3), "lp", 5), "draw_sequence: unknown pooling 'lp'"),
    ],
)
def test_what_cannot_be_drawn_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_given_query_stays_fixed_and_moves_with_the_layer():
    query = torch.randn(4)
    layer = SequencePool("attention", query=query)
    assert list(layer.parameters()) == [] and "query" in layer.state_dict()
    hidden = torch.randn(2, 3, 4)
    torch.testing.assert_close(layer(hidden), pool_sequence(hidden, None, "attention", query=query))
    assert layer.double().query.dtype == torch.float64


def test_a_layer_refuses_a_misspelt_option_at_once():
    with pytest.raises(TypeError, match="SequencePool: unknown option temprature"):
        SequencePool("mean", temprature=2.0)
