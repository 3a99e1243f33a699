"""Memory: channels-last maps are pooled without a copy, into the format of torch's poolings; parts change no draw."""

import pytest
import torch
import torch.nn.functional as F

from poolviz.pooling import base, pool2d, pool3d, pool_sequence
from tests.benchmarks.pooling import extra_memory
from tests.test_pooling_reference import STOCHASTIC

torch.set_num_threads(1)

FORMATS = (torch.contiguous_format, torch.channels_last)
SETTINGS = [(2, 2, 0), (3, 2, 1), (3, 1, 1)]
MODES = [*((name, True) for name in STOCHASTIC), *((name, False) for name in (*STOCHASTIC, "softpool"))]


def seeded(training):
    return {"training": training, "generator": torch.Generator().manual_seed(0)} if training else {}


@pytest.mark.parametrize("layer", SETTINGS, ids=str)
@pytest.mark.parametrize(("name", "training"), MODES)
def test_the_layout_changes_nothing_but_the_layout(name, training, layer):
    """The same draws, values and gradients, also over several chunks."""
    x = torch.randn(24, 8, 24, 26, generator=torch.Generator().manual_seed(1))
    results = []
    for memory_format in FORMATS:
        leaf = x.clone(memory_format=memory_format).requires_grad_()
        pooled = pool2d(leaf, name, *layer, **seeded(training))
        results.append((pooled, torch.autograd.grad(pooled.square().sum(), leaf)[0]))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0 if training else 1e-5, atol=0 if training else 1e-6)


@pytest.mark.parametrize("grad", [False, True], ids=["no gradient", "gradient"])
@pytest.mark.parametrize("shape", [(2, 5, 8, 9), (2, 1, 8, 9), (1, 4, 1, 1), (2, 5, 8, 1)], ids=str)
@pytest.mark.parametrize(("name", "training"), MODES)
def test_the_result_has_the_format_of_torchs(name, training, shape, grad):
    for memory_format in FORMATS:
        x = torch.rand(shape).contiguous(memory_format=memory_format).requires_grad_(grad)
        pooled, reference = pool2d(x, name, 1, 2, **seeded(training)), F.max_pool2d(x, 1, 2)
        for wanted in FORMATS:
            assert pooled.is_contiguous(memory_format=wanted) == reference.is_contiguous(memory_format=wanted)


def test_volumes_too():
    x = torch.rand(2, 3, 4, 6, 8).contiguous(memory_format=torch.channels_last_3d)
    for name in STOCHASTIC:
        pooled = pool3d(x, name, 2, training=True)
        assert pooled.is_contiguous(memory_format=torch.channels_last_3d)
        assert pooled.stride() == F.max_pool3d(x, 2).stride()


@pytest.mark.parametrize("layer", SETTINGS[:2], ids=str)
@pytest.mark.parametrize(("name", "training"), MODES)
def test_no_copy_of_the_input(name, training, layer):
    """At most the bytes that a contiguous map takes; a copy would be 1.0 more."""
    memory = []
    for memory_format in FORMATS:
        x = torch.rand(32, 16, 32, 32).contiguous(memory_format=memory_format).requires_grad_()

        def operator(x):
            return pool2d(x, name, *layer, **seeded(training))

        memory.append(extra_memory(operator, x, torch.ones_like(operator(x).detach())))
    assert memory[1] <= memory[0] + 0.01


@pytest.mark.parametrize(
    "cells", [1, 40, 6 * 50, 1 << 40], ids=["one", "a few dimensions", "a sentence", "all at once"]
)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_sentences_draw_the_same_in_parts_of_any_size(monkeypatch, name, cells):
    hidden = torch.randn(5, 50, 6, generator=torch.Generator().manual_seed(2)).requires_grad_()
    mask = torch.arange(50) < torch.tensor([50, 3, 40, 1, 20])[:, None]

    def pooled_and_gradient():
        pooled, weights = pool_sequence(hidden, mask, name, return_weights=True, **seeded(True))
        return pooled, weights, torch.autograd.grad(pooled.square().sum(), hidden)[0]

    expected = pooled_and_gradient()
    monkeypatch.setattr(base, "PART_CELLS", cells)
    for ours, theirs in zip(pooled_and_gradient(), expected, strict=True):
        assert torch.equal(ours, theirs)
