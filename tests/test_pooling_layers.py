"""The registry, and the `nn.Module` shells over the functions."""

import dataclasses
import doctest
import importlib
import pkgutil
import re

import pytest
import torch
from torch import nn

import poolviz.pooling
from poolviz.pooling import POOLINGS, GlobalPool, Pool1d, Pool2d, Pool3d, Pooling, global_pool
from poolviz.pooling.base import registry
from tests.test_pooling_reference import MAP_POOLINGS, POOL, SIZE, random_map

DESIGNED = "max average min stochastic softmax-stochastic softpool lp mixed median none"  # design.md's list
LAYER = {1: Pool1d, 2: Pool2d, 3: Pool3d}
MODULES = [module.name for module in pkgutil.iter_modules(poolviz.pooling.__path__)]


def test_all_names_of_the_design_are_registered():
    assert [name for name in DESIGNED.split() if name not in POOLINGS or not POOLINGS[name].for_maps] == []
    assert all(name == pooling.name for name, pooling in POOLINGS.items())


@pytest.mark.parametrize("name", POOLINGS)
def test_a_record_is_frozen_and_complete(name):
    pooling = POOLINGS[name]
    with pytest.raises(dataclasses.FrozenInstanceError):
        pooling.name = "other"
    assert re.fullmatch("#[0-9A-F]{6}", pooling.colour)
    for text in (pooling.label, pooling.formula, pooling.paper, pooling.arithmetic):
        assert text and text.isprintable(), "a control character: was a raw string's backslash lost?"
    assert pooling.formula.count("{") == pooling.formula.count("}")
    assert pooling.family in MODULES
    assert set(re.findall(r"{([^}]+)}", pooling.arithmetic)) <= {"x", "sum", "sum^p", "p", "wx", "y", "n"}
    assert pooling.stochastic == (name in ("stochastic", "softmax-stochastic"))


@pytest.mark.parametrize("kind", ["for_maps", "for_sequences"])
def test_labels_and_colours_tell_operators_of_a_kind_apart(kind):
    """Mean of tokens and average of cells share a colour: it is one operator, and no chart shows both."""
    for field in ("label", "colour"):
        values = [getattr(pooling, field) for pooling in POOLINGS.values() if getattr(pooling, kind)]
        assert len(set(values)) == len(values), field


def test_a_name_given_twice_is_refused():
    with pytest.raises(ValueError, match="pooling 'max' is registered twice"):
        registry(POOLINGS["max"], POOLINGS["min"], POOLINGS["max"])


@pytest.mark.parametrize(
    "missing",
    [{}, {"weights": max, "reduce": max}, {"pick": max, "parts": (POOLINGS["max"],)}],
    ids=["none", "weights and reduce", "pick and parts"],
)
def test_an_operator_has_one_definition(missing):
    texts = dict.fromkeys(("label", "family", "formula", "paper", "colour", "arithmetic"), "")
    with pytest.raises(ValueError, match="pooling 'new' needs exactly one of weights, pick, reduce and parts"):
        Pooling(name="new", **texts, **missing)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", MAP_POOLINGS)
def test_a_layer_is_the_function_in_its_mode(name, dims, training):
    x = random_map(2, 3, *SIZE[dims]).abs()
    geometry = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}
    pairs = (
        (LAYER[dims](name, **geometry, temperature=0.5), lambda **o: POOL[dims](x, name, **geometry, **o)),
        (GlobalPool(name, temperature=0.5), lambda **o: global_pool(x, name, **o)),
    )
    for layer, function in pairs:
        assert list(layer.parameters()) == []
        torch.manual_seed(11)
        pooled = layer.train(training)(x)
        torch.manual_seed(11)
        assert torch.equal(pooled, function(training=training, temperature=0.5))
    stochastic = POOLINGS[name].stochastic
    assert torch.equal(pooled, layer.train(not training)(x)) != stochastic


def test_layers_say_what_they_are():
    model = nn.Sequential(Pool2d("softpool", 3, stride=2, temperature=0.5), GlobalPool("lp", p=3))
    printed = repr(model)
    assert "Pool2d('softpool', kernel_size=3, stride=2, padding=0, dilation=1, ceil_mode=False, temp" in printed
    assert "GlobalPool('lp', p=3)" in printed


def test_a_model_with_pooling_layers_learns_and_saves():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), Pool2d("stochastic", 2), GlobalPool("average"))
    model.load_state_dict(model.state_dict())
    model(torch.rand(2, 1, 10, 10)).sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module):
    result = doctest.testmod(importlib.import_module(f"poolviz.pooling.{module}"))
    assert result.failed == 0


def test_the_packages_own_example():
    result = doctest.testmod(poolviz.pooling)
    assert result.failed == 0 and result.attempted > 0
