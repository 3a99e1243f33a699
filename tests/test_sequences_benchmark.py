"""The benchmark of sentences runs from the command line, its rivals pool what they should, and limits judge."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import scipy.stats
import torch

from poolviz.pooling import pool_sequence

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tests" / "benchmarks" / "sequences.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("sequences_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def batch(script):
    hidden = torch.randn(4, 8, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    return hidden, script.ragged_mask(4, 8)


def test_it_prints_a_row_for_each_operator_and_step():
    arguments = ["-m", "poolviz", "bench", "sequences", "--rounds", "1", "--small", "--outputs", "5"]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()
    assert header.startswith(f"torch {torch.__version__}, ") and header.endswith(", 1 thread, 1 rounds")
    times = {"softmax-stochastic": 3, "stochastic": 2, "mean": 2, "cls": 2}  # alone, as T grows, in a fine-tuning step
    others = dict.fromkeys(("softmax (torch)", "max", "attention", "expectation", "element by element"), 1)
    for name, count in (times | others).items():
        assert sum(line.startswith(name + " ") for line in lines) == count
    assert "estimated from 5 of 24 outputs" in done.stdout
    assert sum(line.endswith(("  ok", "  MISSED")) for line in lines) == 5


def test_the_reference_is_our_expectation(script, batch):
    torch.testing.assert_close(script.plain_expectation(*batch), pool_sequence(*batch, "softmax-stochastic"))


def test_the_loop_pools_tokens_and_sends_the_gradient_to_them(script, batch):
    hidden, mask = batch
    pooled = script.element_loop(hidden, mask, range(24)).reshape(4, 6)
    picks = (hidden.detach() == pooled[:, None].detach()) & mask[..., None]
    assert (picks.sum(dim=1) == 1).all()
    (gradient,) = torch.autograd.grad(pooled.sum(), hidden)
    assert torch.equal(gradient, picks.float())


def test_the_loop_draws_as_pool_sequence_does(script, batch):
    hidden, mask = batch
    torch.manual_seed(0)
    loop = script.element_loop(hidden, mask, [7] * 3000)  # sentence 1, dimension 1
    chances = pool_sequence(hidden.detach(), mask, "softmax-stochastic", return_weights=True)[1][1, mask[1], 1].double()
    copies = (t[1:2].detach().expand(3000, *t.shape[1:]) for t in batch)
    ours = pool_sequence(*copies, "softmax-stochastic", training=True)[:, 1]
    for drawn in (loop, ours):
        counts = [(drawn == value).sum().item() for value in hidden[1, mask[1], 1]]
        assert scipy.stats.chisquare(counts, 3000 * chances / chances.sum()).pvalue > 1e-4


@pytest.mark.parametrize(("total", "count"), [(12288, 256), (24, 24), (24, 5)])
def test_the_outputs_that_are_timed_are_spread_over_all(script, total, count):
    outputs = script.spread_outputs(total, count)
    assert len(set(outputs)) == count and 0 <= min(outputs) <= max(outputs) < total
    steps = {after - before for before, after in zip(outputs, outputs[1:], strict=False)}
    assert steps <= {total // count, -(-total // count)}


def test_the_loops_time_is_scaled_to_all_outputs(script, monkeypatch):
    monkeypatch.setattr(script, "milliseconds", lambda operator, *rest: 2.0)
    *plain, loop = script.pooling_rows((4, 8, 6), rounds=1, count=3)
    assert loop.name == script.LOOP and loop.times == [2.0 * 24 / 3] and loop.ratios == [8.0]
    assert all(row.times == [2.0] and row.ratios == [1.0] for row in plain)


def test_a_step_trains_the_whole_encoder_and_leaves_the_one_that_was_given(script):
    encoder = script.encoder_for(small=True).eval().requires_grad_(False)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    tuning = script.Tuning(encoder, "softmax-stochastic")
    tuning.step(torch.randint(1, 50, (4, 9)), torch.ones(4, 9), torch.tensor([0, 1, 0, 1]), seed=0)
    after = tuning.encoder.state_dict()
    moved = [not torch.equal(after[key], value) for key, value in before.items() if "pooler" not in key]
    assert all(moved) and all(torch.equal(encoder.state_dict()[key], value) for key, value in before.items())


def test_the_verdicts(script):
    def row(name, *ratios):
        return script.Row(name, [1.0], list(ratios))

    assert script.verdict(row("softmax-stochastic", 1.0, 2.0, 50.0)) is True
    assert script.verdict(row("softmax-stochastic", 2.1)) is False
    assert script.verdict(row("stochastic", 99.0)) is None
    assert [script.verdict(row(script.LOOP, times)) for times in (301.0, 299.0)] == [True, False]
    assert [script.tuning_verdict(row("softmax-stochastic", times)) for times in (1.04, 1.06)] == [True, False]
    assert script.tuning_verdict(row("cls", 1.0)) is None


@pytest.mark.parametrize(("arguments", "code"), [(["--check"], 1), ([], 0)])
def test_a_miss_fails_only_where_it_is_checked(script, monkeypatch, capsys, arguments, code):
    missed = [script.Row("softmax-stochastic", [10.0], [99.0]), script.Row(script.LOOP, [10.0], [1.0])]
    monkeypatch.setattr(script, "pooling_rows", lambda *rest: missed)
    monkeypatch.setattr(script, "tuning_rows", lambda *rest: missed[:1])
    monkeypatch.setattr(script, "measure", lambda *rest: [])
    assert script.main([*arguments, "--small"]) == code
    assert capsys.readouterr().out.count("MISSED") == 3
