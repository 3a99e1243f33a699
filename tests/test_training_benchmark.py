"""The benchmark of training runs on tiny tasks, compares like with like, and its limits judge."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from poolviz.training.config import default_config
from poolviz.training.data import load_task
from poolviz.training.models import Dropout, build_model

torch.set_num_threads(1)

SCRIPT = Path(__file__).resolve().parent / "benchmarks" / "training.py"
DIGITS = default_config("digits", width=2, schedule="constant", weight_decay=0.01)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("training_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    module.free_as_usual()


def test_every_candidate_runs_once_a_round(script):
    found = script.image_epochs(DIGITS, count=64, rounds=2, workers=False)
    names = {"max", "stochastic", "softmax-stochastic", script.PLAIN, script.KEPT}
    assert [set(times) for times in found.rounds] == [names, names]
    assert all(each.train > 0 for times in found.rounds for each in times.values())
    assert all(times["max"].judge > 0 for times in found.rounds)
    assert found.remark.startswith("error on 16 held-out images after 6 steps: ours ")


def test_the_tutorials_network_is_ours_with_max_pooling(script):
    x = torch.rand(4, 1, 8, 8)
    ours, plain = build_model(DIGITS, 10, 8).eval(), script.tutorial_network(DIGITS, 8).eval()
    torch.testing.assert_close(plain(x), ours(x))


def test_a_reduced_task_is_a_random_part_with_a_quarter_to_judge_by(script):
    whole = load_task(DIGITS)
    task = script.reduced(whole, 40)
    assert (len(task.train), len(task.validation), task.test) == (40, 10, None)
    places = [int((whole.train.index == number).nonzero()) for number in task.train.index]
    assert torch.equal(whole.train.x[places], task.train.x) and places != sorted(places)


def test_an_epoch_of_ours_repeats_to_the_bit(script):
    task = script.reduced(load_task(DIGITS), 64)
    runs = [script.Ours(replace(DIGITS, pooling="stochastic"), task) for _ in range(2)]
    for ours in runs:
        ours(), ours()
    first, second = (list(ours.loop.model.parameters()) for ours in runs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_our_dropout_keeps_its_share_and_the_mean(share, layout):
    torch.manual_seed(0)
    x = torch.ones(25, 8, 25, 41).contiguous(memory_format=layout).requires_grad_()
    layer = Dropout(share)
    y = layer(x)
    assert (y == 0).float().mean().item() == pytest.approx(share, abs=5e-3)
    assert y[y != 0].unique().tolist() == pytest.approx([1 / (1 - share)], rel=1e-3)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y)
    assert layer.eval()(x) is x


def verdicts(script, plain, drawn):
    """Of both tables, where the plain epoch takes `plain` times and a draw `drawn` times as long as ours."""
    times = {"max": script.Times(10, 2), script.PLAIN: script.Times(10 * plain)}
    times |= {name: script.Times(10 * drawn, 2 * drawn) for name in script.DRAWS}
    return script.tables("images", script.Epochs([times] * 3, ""), "max", (script.PLAIN,), 1.3, 1.1)


def test_the_verdicts(script, capsys):
    assert verdicts(script, plain=1.31, drawn=1.09) == [True, True, True]
    assert verdicts(script, plain=1.29, drawn=1.11) == [False, False, False]
    assert capsys.readouterr().out.count("MISSED") == 3


@pytest.mark.parametrize(("arguments", "code"), [(["--check"], 1), ([], 0)])
def test_a_miss_fails_only_where_it_is_checked(script, monkeypatch, capsys, arguments, code):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # the script sets it: put back behind the test

    def slow(base, *peers):
        names = (base, *script.DRAWS, *peers)
        return script.Epochs([{name: script.Times(9.0, 1.0) for name in names}], "no faster")

    monkeypatch.setattr(script, "image_epochs", lambda *rest, **more: slow("max", script.PLAIN, script.KEPT))
    monkeypatch.setattr(script, "text_epochs", lambda *rest: slow("cls", script.PADDED))
    assert script.main([*arguments, "--small", "--device", "cpu"]) == code
    assert capsys.readouterr().out.count("MISSED") == 2
