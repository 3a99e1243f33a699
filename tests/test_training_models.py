"""Networks against hand-written ones, equal starts of a race, what is frozen, and the estimates of memory and time."""

import copy
import time

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel

from poolviz.inputs.encoder import Encoder, load_encoder
from poolviz.pooling import POOLINGS
from poolviz.training.config import FREEZES, default_config
from poolviz.training.data import load_task
from poolviz.training.estimate import Deaf, measure
from poolviz.training.footprint import footprint
from poolviz.training.loop import Loop, train
from poolviz.training.models import build_model
from poolviz.training.plan import decisive, seconds

torch.set_num_threads(1)
MAPS = [name for name, pooling in POOLINGS.items() if pooling.for_maps]
SEQUENCES = [name for name, pooling in POOLINGS.items() if pooling.for_sequences]


def tiny(encoder: Encoder) -> Encoder:
    """A small random BERT behind the real tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        model = BertModel(BertConfig(vocab_size=len(encoder.tokenizer), **size))
    return Encoder("tiny", encoder.tokenizer, model.eval().requires_grad_(False), 64)


@pytest.fixture(scope="module")
def encoder():
    return tiny(load_encoder())


@pytest.fixture(scope="module")
def text_task(encoder):
    return load_task(default_config("minimal-pairs", train_limit=48, eval_limit=16), encoder)


def reference(pool: nn.Module, cells: int) -> nn.Sequential:
    """Report B's network as a Keras user would write it in torch."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        pool,
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(cells, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )


def copied(model: nn.Module, other: nn.Module) -> nn.Module:
    """`other` with the weights of `model`, layer by layer."""
    other.load_state_dict(dict(zip(other.state_dict(), model.state_dict().values(), strict=True)))
    return other


def with_torchs_dropout(model: nn.Module) -> nn.Module:
    """Ours draws its zeros from fewer bits, so not the same ones: it has tests of its own."""
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.__class__ = nn.Dropout
    return model


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# ---- report B's network ----


@pytest.mark.parametrize(
    ("name", "pool", "cells", "parameters"),
    [
        ("max", nn.MaxPool2d(2), 12 * 12 * 64, 1_199_882),  # what Keras' mnist_cnn.py prints
        ("average", nn.AvgPool2d(2), 12 * 12 * 64, 1_199_882),
        ("none", nn.Identity(), 24 * 24 * 64, 4_738_826),
    ],
)
def test_report_bs_network_is_the_hand_written_one(name, pool, cells, parameters):
    model = with_torchs_dropout(build_model(default_config("mnist", pooling=name), 10, 28))
    other = copied(model, reference(pool, cells))
    assert count(model) == count(other) == parameters
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for training in (False, True):  # in training with the same dropout
        torch.manual_seed(1)
        expected = other.train(training)(x)
        torch.manual_seed(1)
        torch.testing.assert_close(model.train(training)(x), expected, rtol=0, atol=1e-6)


def test_options_of_the_network_are_where_they_belong():
    config = default_config("mnist", depth=2, kernel_size=3, stride=2, width=5, dropout=0.1, head_dropout=0.2)
    model = with_torchs_dropout(build_model(config, 10, 28))
    first = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(5, 10, 3), nn.ReLU())
    last = nn.Sequential(nn.Linear(4 * 4 * 10, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
    other = copied(model, nn.Sequential(first, nn.MaxPool2d(3, 2), nn.Dropout(0.1), nn.Flatten(), last))
    x = torch.rand(4, 1, 28, 28)
    for training in (False, True):
        torch.manual_seed(1)
        expected = other.train(training)(x)
        torch.manual_seed(1)
        torch.testing.assert_close(model.train(training)(x), expected, rtol=0, atol=1e-6)


def test_stride_2_quarters_the_dense_layer_and_nearly_the_network():  # claim B6
    sizes = {name: build_model(default_config("mnist", pooling=name), 10, 28) for name in ("max", "none")}
    assert sizes["none"].head[0].weight.numel() == 4 * sizes["max"].head[0].weight.numel()
    assert 0.25 < count(sizes["max"]) / count(sizes["none"]) < 0.26


def test_stochastic_pooling_draws_in_training_and_takes_the_expectation_otherwise():
    model = build_model(default_config("mnist", pooling="stochastic", dropout=0, head_dropout=0), 10, 28)
    x = torch.rand(2, 1, 28, 28)
    maps = model.features[:4](x)
    windows = maps.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)  # (2, 64, 12, 12, 4)
    chance = windows / windows.sum(-1, keepdim=True).clamp_min(1e-30)
    expected = model.head((chance * windows).sum(-1).flatten(1))
    model.eval()
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)
    assert torch.equal(model(x), model(x))
    model.train()
    drawn = model.features[4](maps)
    assert not torch.equal(model(x), model(x))
    assert (drawn[..., None] == windows).any(-1).all()  # each is one of its window's own values


# ---- a race ----


def shared_weights(models: dict[str, nn.Module]) -> None:
    """Every layer of the same name and shape has the same weights in all models; at most one differs in shape."""
    first, *others = (model.state_dict() for model in models.values())
    for name, other in zip(list(models)[1:], others, strict=True):
        layers = {key.rpartition(".")[0] for key in first if first[key].shape != other[key].shape}
        assert len(layers) <= (name in ("none", "mean-max")), name
        same = [key for key in first if key.rpartition(".")[0] not in layers]
        assert all(torch.equal(first[key], other[key]) for key in same), name


@pytest.mark.parametrize("depth", [1, 2])
def test_a_race_of_images_starts_from_the_same_weights(depth):
    models = {name: build_model(default_config("mnist", pooling=name, depth=depth, width=4), 10, 28) for name in MAPS}
    shared_weights(models)
    assert len(models) > 8


@pytest.mark.parametrize("linear_tanh", [False, True])
def test_a_race_of_sentences_starts_from_the_same_weights(encoder, linear_tanh):
    models = {
        name: build_model(default_config("cola", pooling=name, linear_tanh=linear_tanh), 2, encoder=encoder)
        for name in SEQUENCES
    }
    shared_weights(models)
    given = {key: value for key, value in encoder.model.state_dict().items() if not key.startswith("pooler")}
    for model in models.values():
        inside = model.encoder.state_dict()
        assert inside.keys() == given.keys() and all(torch.equal(inside[key], given[key]) for key in given)


@pytest.mark.parametrize("task", ["mnist", "cola"])
def test_the_start_is_the_seeds_and_no_other_state_is_read_or_left(encoder, task):
    def start(seed: int) -> dict[str, torch.Tensor]:
        config = default_config(task, pooling="stochastic", seed=seed)
        before = torch.get_rng_state()
        model = build_model(config, 2, 28, encoder)
        assert torch.equal(torch.get_rng_state(), before)
        return model.state_dict()

    torch.manual_seed(1)
    one = start(0)
    torch.manual_seed(2)
    again, other = start(0), start(2**31 - 1)
    assert all(torch.equal(one[key], again[key]) for key in one)
    fresh = [key for key in one if not key.startswith("encoder.")]
    assert fresh and not any(torch.equal(one[key], other[key]) for key in fresh)
    weights = torch.cat([one[key].flatten() for key in fresh])
    assert 0.5 * len(weights) < len(weights.unique())  # layers of one shape are no copies of each other


# ---- the encoder ----


@pytest.mark.parametrize("freeze", FREEZES)
@pytest.mark.parametrize("linear_tanh", [False, True])
def test_training_changes_what_is_not_frozen_and_never_the_shared_encoder(encoder, text_task, freeze, linear_tanh):
    shared = copy.deepcopy(encoder.model.state_dict())
    config = default_config("minimal-pairs", freeze=freeze, linear_tanh=linear_tanh, pooling="attention", epochs=1)
    loop = Loop(config, text_task, Deaf(), encoder)
    before = copy.deepcopy(loop.model.state_dict())
    loop.train_epoch()
    changed = {key for key, value in loop.model.state_dict().items() if not torch.equal(value, before[key])}
    for key, value in encoder.model.state_dict().items():
        assert torch.equal(value, shared[key])
    assert not any(p.requires_grad for p in encoder.model.parameters()) and not encoder.model.training
    tables = {f"encoder.embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")}
    assert "classifier.weight" in changed and any("query" in key for key in changed)
    assert ("pool.linear.weight" in changed) == linear_tanh
    assert bool(changed & tables) == (freeze == "none")
    assert any("encoder.encoder.layer" in key for key in changed) == (freeze != "encoder")
    assert not any("pooler" in key for key in before)
    learned = sum(before[key].numel() for key in changed)
    assert loop.parameters >= learned
    if freeze == "encoder":
        assert loop.parameters == learned == sum(v.numel() for k, v in before.items() if not k.startswith("encoder."))


def test_a_sentence_is_judged_alike_in_any_company(encoder, text_task):
    model = build_model(default_config("minimal-pairs", pooling="mean"), 2, encoder=encoder).eval()
    split = text_task.train
    chosen = split.lengths.argsort()[[0, -1]]  # the shortest is padded to the longest
    together = split.batch(chosen)
    with torch.no_grad():
        alone = [model(**{k: v for k, v in split.batch(one[None]).items() if k != "labels"}) for one in chosen]
        both = model(together["ids"], together["mask"])
    assert not together["mask"][0].all()
    torch.testing.assert_close(both, torch.cat(alone), rtol=0, atol=1e-5)


def test_the_classifier_reads_each_part_of_the_pooling_as_the_options_say(encoder, text_task):
    batch = {key: value for key, value in text_task.train.batch(torch.arange(4)).items() if key != "labels"}
    for linear_tanh in (False, True):
        config = default_config("cola", pooling="mean-max", linear_tanh=linear_tanh)
        model = build_model(config, 2, encoder=encoder).eval()
        hidden = encoder.model(batch["ids"], attention_mask=batch["mask"].long()).last_hidden_state
        tokens = [row[mask] for row, mask in zip(hidden, batch["mask"], strict=True)]
        pooled = torch.stack([torch.cat([row.mean(0), row.max(0).values]) for row in tokens])
        if linear_tanh:
            pooled = torch.tanh(pooled @ model.pool.linear.weight.T + model.pool.linear.bias)
        expected = pooled @ model.classifier.weight.T + model.classifier.bias
        torch.testing.assert_close(model(**batch), expected, rtol=0, atol=1e-5)


# ---- memory ----


@pytest.mark.parametrize(
    ("name", "pooled", "parameters"),
    [("max", 3 * 12 * 12 * 64, 1_199_882), ("none", 2 * 24 * 24 * 64, 4_738_826)],  # pooling, dropout, flatten
)
def test_the_footprint_is_that_of_keras_example(name, pooled, parameters):
    """Keras' layers: convolutions with their ReLU, pooling, dropout, flatten, dense, dropout, dense."""
    one = 26 * 26 * 32 + 24 * 24 * 64 + pooled + (128 + 128 + 10)
    assert name == "none" or one == 86_410
    model = build_model(default_config("mnist", pooling=name), 10, 28).train()
    found = footprint(model, {"x": torch.zeros(128, 1, 28, 28)})
    assert (found.activations, found.parameters) == (128 * one, parameters)
    assert found.bytes == 4 * (128 * one + parameters)
    assert model.training and not any(module._forward_hooks for module in model.modules())


def test_the_footprint_leaves_the_generator_and_the_weights_alone():
    model = build_model(default_config("mnist", pooling="stochastic"), 10, 28)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    footprint(model, {"x": torch.zeros(2, 1, 28, 28)})
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


# ---- time ----


def test_an_estimate_tells_the_sizes_that_the_run_has():
    config = default_config("digits", width=4, batch_size=32)
    found = measure(decisive(config))
    task = load_task(config)
    loop = Loop(config, task, Deaf())
    assert [found[name] for name in ("train", "validation", "test")] == [1150, 287, 360]
    assert (found["parameters"], found["estimated_bytes"]) == (loop.parameters, loop.estimate.bytes)
    assert 0 < found["step_seconds"] < 1 and 0 < found["judge_seconds"] < 0.1


def test_an_estimate_counts_steps_and_judged_examples():
    measured = {"step_seconds": 1.0, "judge_seconds": 0.001, "train": 100, "validation": 50, "test": 20}
    base = default_config("digits", epochs=3, batch_size=33)

    def more(**changes) -> float:
        return seconds(default_config("digits", **{"epochs": 3, "batch_size": 33} | changes), measured) - idle

    idle = seconds(base, measured | {"step_seconds": 0.0, "judge_seconds": 0.0})
    # each epoch's validation, as many training examples at the end, and the test set
    assert more() == pytest.approx(3 * 4 + 0.001 * (3 * 50 + 50 + 20))
    assert more(epochs=6) == pytest.approx(6 * 4 + 0.001 * (6 * 50 + 50 + 20))
    assert more(max_steps=5) == pytest.approx(5 + 0.001 * (2 * 50 + 50 + 20))
    assert more(train_limit=33) == pytest.approx(3 + 0.001 * (3 * 50 + 33 + 20))
    assert more(train_limit=33, eval_limit=10) == pytest.approx(3 + 0.001 * (3 * 10 + 10 + 10))
    assert more(max_seconds=2.5) == pytest.approx(2.5 + 0.001 * (3 * 50 + 50 + 20))


def test_an_estimate_is_near_what_a_run_takes():
    config = default_config("digits", epochs=4, width=16)
    expected = seconds(config, measure(decisive(config)))
    started = time.perf_counter()
    train(config, load_task(config), Deaf())
    assert expected / 5 < time.perf_counter() - started + 1 < 5 * expected  # a second is the process's own start


def test_an_estimate_of_something_huge_takes_seconds():
    started = time.perf_counter()
    found = measure(decisive(default_config("digits", width=512, batch_size=65_536)))  # one step takes some 25 s
    assert time.perf_counter() - started < 8
    assert found["step_seconds"] > 4
