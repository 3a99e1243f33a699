"""The loop against a plain hand-written one, against torch's schedules and clipping, and against scikit-learn."""

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix, log_loss, matthews_corrcoef, zero_one_loss
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR
from torch.optim.optimizer import register_optimizer_step_pre_hook

from poolviz.inputs.encoder import load_encoder
from poolviz.training import loop as loop_module
from poolviz.training.config import RunConfig, default_config
from poolviz.training.data import Split, Task, load_task
from poolviz.training.loop import Loop, Outcome, train
from poolviz.training.models import build_model
from poolviz.training.plan import rate
from tests.test_training_models import tiny

torch.set_num_threads(1)
TIMES = ("train_seconds", "train_cpu_seconds", "eval_seconds", "eval_cpu_seconds", "steps_per_second", "peak_bytes")


class Memory:
    """A recorder that keeps everything, asks for an end after `stop_after` looks, or fails at its `fail_at`-th call."""

    def __init__(self, stop_after: float = math.inf, fail_at: int = -1) -> None:
        self.rows: list[dict[str, Any]] = []
        self.kept: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any]]] = {}
        self.said: list[tuple[Split, Any, dict[str, Any]]] = []
        self.looks, self.stop_after = 0, stop_after
        self.calls, self.fail_at = 0, fail_at

    def _called(self) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt

    def metrics(self, row):
        self._called()
        self.rows.append(dict(row))

    def predictions(self, split, found, facts):
        self._called()
        self.said.append((split, found, facts))

    def save(self, name, tensors, facts):
        self._called()
        self.kept[name] = copy.deepcopy((dict(tensors), facts))

    def load(self, name):
        return copy.deepcopy(self.kept.get(name))

    def rewind(self, step):
        self.rows = [row for row in self.rows if row["step"] <= step]

    def should_stop(self):
        self.looks += 1
        return self.looks > self.stop_after

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The rows of a kind without what a clock says."""
        return [{k: v for k, v in row.items() if k not in TIMES} for row in self.rows if row["kind"] == kind]


def small(**changes: Any) -> RunConfig:
    """A run of a second or less."""
    base: dict[str, Any] = {"epochs": 3, "train_limit": 90, "eval_limit": 60, "width": 4, "batch_size": 16}
    return default_config("digits", **base | changes)


def run(config: RunConfig, recorder: Memory | None = None, **options: Any) -> tuple[Memory, Outcome]:
    recorder = recorder or Memory()
    return recorder, train(config, load_task(config), recorder, **options)


def same(one: Memory, other: Memory, outcomes: tuple[Outcome, Outcome]) -> None:
    """Two runs told the same to the last bit."""
    for kind in ("start", "epoch"):
        assert one.of(kind) == other.of(kind)
    for name in ("best", "last"):
        (weights, facts), (others, other_facts) = one.kept[name], other.kept[name]
        assert facts == other_facts and all(torch.equal(weights[key], others[key]) for key in weights)
    for name in ("best", "last", "test", "fit"):
        found, again = (getattr(outcome, name) for outcome in outcomes)
        assert (found.loss, found.error, found.mcc) == (again.loss, again.error, again.mcc)
        assert torch.equal(found.predictions, again.predictions) and torch.equal(found.confidence, again.confidence)
    assert one.said[-1][2] == other.said[-1][2]


@pytest.fixture
def every_step(monkeypatch):
    """Each step is recorded, and the examples of each batch are noted."""
    monkeypatch.setattr(loop_module, "RECORD_EVERY", 0.0)
    order, original = [], loop_module.batches

    def noted(split, size, generator):
        for chosen in original(split, size, generator):
            order.append(chosen)
            yield chosen

    monkeypatch.setattr(loop_module, "batches", noted)
    return order


# ---- against a plain loop ----


@pytest.mark.parametrize("pooling", ["max", "none"])
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_an_epoch_is_that_of_a_plain_loop(every_step, pooling, clip):
    config = small(
        epochs=1, pooling=pooling, dropout=0, head_dropout=0, batch_size=17, weight_decay=0.1, clip=clip, seed=3
    )
    recorder, outcome = run(config)
    task = load_task(config)
    model = build_model(config, 10, 8)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1, foreach=False, fused=False)
    steps = math.ceil(90 / 17)
    losses, wrong, norms = [], 0, []
    for chosen in every_step[:steps]:
        x, y = task.train.x[chosen].float() / 16, task.train.y[chosen]
        optimizer.zero_grad()
        logits = model(x)
        loss = -logits.log_softmax(1)[torch.arange(len(y)), y].mean()
        loss.backward()
        if clip:
            norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip)))
        optimizer.step()
        losses += [loss.item()] * len(y)
        wrong += int((logits.argmax(1) != y).sum())
    assert not clip or min(norms) > clip  # it clips at every step
    told = [row["train_loss"] for row in recorder.of("step")]
    assert len(told) == steps and told == pytest.approx(list(dict.fromkeys(losses)), abs=1e-6)
    (epoch,) = recorder.of("epoch")
    assert epoch["train_loss"] == pytest.approx(np.mean(losses), abs=1e-6)
    assert epoch["train_error"] == pytest.approx(wrong / 90)
    for kept, weight in zip(recorder.kept["last"][0].values(), model.parameters(), strict=True):
        torch.testing.assert_close(kept, weight.detach(), rtol=0, atol=2e-5)
    with torch.no_grad():
        logits = model.eval()(task.test.x.float() / 16)
    assert outcome.test.loss == pytest.approx(F.cross_entropy(logits, task.test.y).item(), abs=1e-5)


def test_clipping_changes_the_run():
    ends = [run(small(epochs=1, clip=clip))[1].best.loss for clip in (0.0, 1e-4, 1e6)]
    assert ends[0] == ends[2] != ends[1]


def test_each_epoch_trains_on_every_example_once_and_in_another_order(every_step):
    run(small(epochs=2))
    per_epoch = math.ceil(90 / 16)
    validation = math.ceil(60 / 256)
    first = torch.cat(every_step[:per_epoch])
    second = torch.cat(every_step[per_epoch + validation : 2 * per_epoch + validation])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(90)) and not torch.equal(first, second)


# ---- the same seed, the same curve ----


@pytest.mark.parametrize("pooling", ["max", "stochastic", "softmax-stochastic"])
def test_the_same_seed_gives_the_same_curve_and_another_does_not(pooling):
    one, outcome = run(small(pooling=pooling))
    torch.manual_seed(99)  # what happened before in the process does not matter
    two, again = run(small(pooling=pooling))
    same(one, two, (outcome, again))
    other, _ = run(small(pooling=pooling, seed=1))
    assert other.of("epoch")[0]["train_loss"] != one.of("epoch")[0]["train_loss"]


def test_all_runners_of_a_race_see_the_same_batches(every_step):
    orders = []
    for pooling in ("max", "none", "stochastic"):
        every_step.clear()
        run(small(epochs=1, pooling=pooling))
        orders.append(torch.cat(every_step[:6]))
    assert torch.equal(orders[0], orders[1]) and torch.equal(orders[0], orders[2])


# ---- the learning rate ----


@pytest.mark.parametrize("total", [1, 2, 7, 10, 100, 2675])
@pytest.mark.parametrize("schedule", ["linear", "one-cycle"])
def test_the_schedule_is_torchs_warm_up_and_its_decay(schedule, total):
    rise = max(1, round(total / 10))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    up = LinearLR(optimizer, 1 / rise, 1.0, max(1, rise - 1))
    expected = []
    for _ in range(rise):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        up.step()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    left = max(1, total - rise)
    down = CosineAnnealingLR(optimizer, left) if schedule == "one-cycle" else LinearLR(optimizer, 1.0, 0.0, left)
    for _ in range(total - rise + 1):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        down.step()
    found = [rate(schedule, step, total) for step in range(total + 1)]
    assert found == pytest.approx(expected, abs=1e-6)
    assert max(found) == 1.0 and min(found) >= 0.0 and (found[-1] == pytest.approx(0.0, abs=1e-9) or total == 1)
    assert rate("constant", 0, total) == rate("constant", total, total) == 1.0


def test_every_step_takes_the_rate_of_its_schedule():
    used: list[float] = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"]))
    try:
        recorder, _ = run(small(schedule="one-cycle", learning_rate=0.01, epochs=4))
    finally:
        hook.remove()
    assert len(used) == 24
    assert used == pytest.approx([0.01 * rate("one-cycle", step, 24) for step in range(24)])
    assert [row["learning_rate"] for row in recorder.of("epoch")] == pytest.approx([*used[6::6], 0.0])


def test_a_limit_of_steps_is_the_schedules_end():
    recorder, outcome = run(small(schedule="linear", max_steps=10))
    assert outcome.progress.step == 10 and recorder.of("epoch")[-1]["learning_rate"] == 0.0


# ---- the figures ----


def inputs(split: Split, chosen: torch.Tensor) -> dict[str, torch.Tensor]:
    return {key: value for key, value in split.batch(chosen).items() if key != "labels"}


def against_scikit_learn(loop: Loop, split: Split) -> None:
    found = loop.evaluate(split)
    with torch.no_grad():
        log_chance = loop.model.eval()(**inputs(split, torch.arange(len(split)))).double().log_softmax(1).numpy()
    chance, classes = np.exp(log_chance), list(range(len(loop.task.classes)))
    y, said = split.y.numpy(), chance.argmax(1)
    assert np.array_equal(found.predictions.numpy(), said)
    assert found.confidence.numpy() == pytest.approx(chance.max(1), abs=1e-5)
    assert np.array_equal(found.confusion.numpy(), confusion_matrix(y, said, labels=classes))
    assert found.mcc == pytest.approx(matthews_corrcoef(y, said), abs=1e-5)
    assert found.error == pytest.approx(zero_one_loss(y, said))
    assert found.loss == pytest.approx(-log_chance[np.arange(len(y)), y].mean(), rel=1e-5)
    if chance.min() > 1e-9:  # scikit-learn cuts what is smaller
        assert found.loss == pytest.approx(log_loss(y, chance, labels=classes), rel=1e-5)
    if split.domain is not None:
        for name, part in (("mcc_in_domain", split.domain == 1), ("mcc_out_of_domain", split.domain == 0)):
            assert found.by_domain[name] == pytest.approx(matthews_corrcoef(y[part], said[part]), abs=1e-5)


def test_figures_of_pictures_are_scikit_learns():
    config = small(eval_limit=0)
    loop = Loop(config, load_task(config), Memory())
    loop.train_epoch()
    against_scikit_learn(loop, loop.task.validation)
    against_scikit_learn(loop, loop.task.test)
    with torch.no_grad():
        loop.model.head[-1].bias[4] += 1000  # one class for all
    against_scikit_learn(loop, replace(loop.task.test, y=loop.task.test.y.clamp_max(6)))
    assert loop.evaluate(loop.task.test).mcc == 0


@pytest.mark.parametrize("bias", [(0.0, 0.0), (0.0, 50.0), (50.0, 0.0)])
def test_figures_of_sentences_are_scikit_learns_also_where_all_are_called_the_same(bias):
    encoder = tiny(load_encoder())
    config = default_config("minimal-pairs", train_limit=64, eval_limit=100)
    task = load_task(config, encoder)
    good = task.validation.y == 1
    uneven = good | (torch.arange(100) % 3 == 0)  # labels 3 to 1, as in CoLA
    parts = {name: getattr(task.validation, name)[uneven] for name in ("x", "y", "index", "lengths")}
    split = Split(**parts, domain=(torch.arange(int(uneven.sum())) < 30).long())
    loop = Loop(config, Task(task.train, split, None, task.classes), Memory(), encoder)
    with torch.no_grad():
        loop.model.classifier.weight *= 20
        hidden = loop.model.eval()(**inputs(split, torch.arange(len(split))))
        loop.model.classifier.bias -= hidden.median(0).values  # both classes are said
        loop.model.classifier.bias += torch.tensor(bias)
    against_scikit_learn(loop, split)
    assert len(loop.evaluate(split).predictions.unique()) == (1 if any(bias) else 2)
    if any(bias):
        assert loop.evaluate(split).mcc == 0 and set(loop.evaluate(split).by_domain.values()) == {0}


@pytest.mark.filterwarnings("ignore:A single label")
def test_a_right_prediction_of_a_single_class_is_no_correlation():
    config = small(train_limit=10, eval_limit=20)
    loop = Loop(config, load_task(config), Memory())
    with torch.no_grad():
        loop.model.head[-1].bias[3] += 1000
    threes = replace(loop.task.test, y=torch.full_like(loop.task.test.y, 3))
    assert loop.evaluate(threes).error == 0
    against_scikit_learn(loop, threes)


@pytest.mark.parametrize("pooling", ["max", "average", "stochastic"])
def test_it_learns(pooling):
    _, outcome = run(default_config("digits", epochs=6, pooling=pooling, learning_rate=3e-3))
    assert outcome.test.error < 0.2 and outcome.best.error < 0.1  # chance: 0.9
    assert outcome.best.loss <= outcome.last.loss and outcome.best.mcc > 0.8
    assert outcome.test.confusion.sum() == 360


@pytest.mark.parametrize("precision", ["bf16", "no"])
def test_precisions_follow_each_other_in_one_process(precision):
    exact = run(small(learning_rate=3e-3))[1]
    recorder, outcome = run(small(learning_rate=3e-3, precision=precision))
    assert outcome.test.loss == pytest.approx(exact.test.loss, rel=0.1)
    assert (outcome.test.loss == exact.test.loss) == (precision == "no")
    assert all(weight.dtype == torch.float32 for weight in recorder.kept["best"][0].values())


def test_fp16_without_a_gpu_is_one_sentence():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    recorder = Memory()
    with pytest.raises(ValueError, match="fp16.*GPU") as caught:
        run(small(precision="fp16"), recorder)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200 and not recorder.rows
