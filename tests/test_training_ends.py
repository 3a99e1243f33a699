"""How a run ends: limits, early stopping, an interruption at any point and its resumption, a loss that is no number."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from poolviz.inputs.encoder import load_encoder
from poolviz.training.config import default_config
from poolviz.training.data import load_task
from poolviz.training.loop import ASKED, DivergedError, Loop, train
from tests.test_training_loop import Memory, run, same, small
from tests.test_training_models import tiny

torch.set_num_threads(1)
EAGER = {"pooling": "stochastic", "schedule": "one-cycle", "weight_decay": 0.01, "clip": 1.0, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def whole():
    """A run with everything that has a state: dropout, draws, a schedule, the optimizer's moments."""
    return run(small(**EAGER))


# ---- limits ----


def test_a_limit_of_steps():
    recorder, outcome = run(small(max_steps=8))
    assert (outcome.progress.step, outcome.progress.epoch) == (8, 2)
    assert outcome.progress.stopped == "the limit of 8 steps" and outcome.test is not None
    assert [row["step"] for row in recorder.of("epoch")] == [6, 8]
    assert run(small(max_steps=18))[1].progress.epoch == 3


def test_a_limit_of_seconds():
    recorder, outcome = run(small(max_seconds=1e-6))
    assert outcome.progress.step == 1 and outcome.progress.stopped == "the limit of 1e-06 seconds"
    assert len(recorder.of("epoch")) == 1 and outcome.test is not None and outcome.progress.train_seconds > 0


def test_without_a_limit_nothing_is_said():
    _, outcome = run(small(max_seconds=1000.0, max_steps=1000, patience=100))
    assert outcome.progress.stopped == "" and (outcome.progress.step, outcome.progress.epoch) == (18, 3)


# ---- early stopping ----


class Scripted(Loop):
    """Validation losses as a list says; notes what each split is judged by."""

    losses: list[float] = []
    judged: list[tuple[str, dict[str, torch.Tensor]]] = []

    def evaluate(self, split):
        found = super().evaluate(split)
        weights = copy.deepcopy(self.model.state_dict())
        name = next((name for name in ("validation", "test") if split is getattr(self.task, name)), "fit")
        self.judged.append((name, weights))
        number = sum(name == "validation" for name, _ in self.judged) - 1
        return replace(found, loss=self.losses[number]) if name == "validation" else found


@pytest.mark.parametrize(
    ("losses", "patience", "epochs", "best"),
    [
        ([1.0, 0.8, 0.9, 0.85, 0.1, 0.1], 2, 4, 2),
        ([1.0, 0.8, 0.9, 0.7, 0.75, 0.7, 0.1], 2, 6, 4),  # no better is not better
        ([0.5, 0.6, 0.4], 1, 2, 1),
        ([0.9, 0.8, 0.7, 0.6, 0.5], 1, 5, 5),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0, 6, 1),  # no patience is no limit
    ],
)
def test_it_stops_when_patience_ends_and_tests_the_best_epoch_once(monkeypatch, losses, patience, epochs, best):
    monkeypatch.setattr("poolviz.training.loop.Loop", Scripted)
    monkeypatch.setattr(Scripted, "losses", losses)
    monkeypatch.setattr(Scripted, "judged", [])
    recorder, outcome = run(small(epochs=len(losses), patience=patience))
    names = [name for name, _ in Scripted.judged]
    assert names == ["validation"] * epochs + ["fit", "test"]
    at_best, at_end, fitted, tested = (Scripted.judged[number][1] for number in (best - 1, epochs - 1, -2, -1))
    assert all(torch.equal(fitted[key], at_end[key]) for key in fitted)
    assert all(torch.equal(tested[key], at_best[key]) for key in tested)
    assert all(torch.equal(recorder.kept["best"][0][key], at_best[key]) for key in tested)
    assert all(torch.equal(recorder.kept["last"][0][key], at_end[key]) for key in tested)
    assert recorder.kept["best"][1] == {"epoch": best} and recorder.kept["last"][1] == {"epoch": epochs}
    assert outcome.progress.best_epoch == best and outcome.progress.epoch == epochs
    assert (outcome.best.loss, outcome.last.loss) == (losses[best - 1], losses[epochs - 1])
    early = epochs < len(losses)
    assert outcome.progress.stopped == (f"no better validation loss for {patience} epochs" if early else "")
    assert recorder.said[-1][2] == {"split": "test", "epoch": best}


def test_the_test_split_is_read_at_the_end_alone(monkeypatch):
    config, looks = small(), []
    task = load_task(config)
    test = task.to(torch.device("cpu")).test

    class Spied(type(test)):
        def batch(self, chosen):
            looks.append((len(recorder.of("epoch")), len(chosen)))
            return super().batch(chosen)

        def to(self, device):
            return self

    recorder = Memory()
    train(config, replace(task, test=Spied(**vars(test))), recorder)
    assert looks == [(3, 60)]


# ---- stopped, and resumed ----


@pytest.mark.parametrize("looks", [0, 1, 4, 7, 8, 13, 14, 20, 21])  # within epochs 1-3, while it is judged, at the end
def test_a_run_that_was_stopped_goes_on_to_the_same_end(whole, looks):
    config, recorder = small(**EAGER), Memory(stop_after=looks)
    _, stopped = run(config, recorder)
    assert stopped.progress.stopped == ASKED and stopped.test is None
    assert recorder.looks == looks + 1  # at once
    assert [row["epoch"] for row in recorder.of("epoch")] == list(range(1, stopped.progress.epoch + 1))
    recorder.stop_after = math.inf
    torch.manual_seed(1234)
    _, outcome = run(config, recorder, resume=True)
    same(whole[0], recorder, (whole[1], outcome))
    clock = dict.fromkeys(("train_seconds", "train_cpu_seconds", "eval_seconds", "eval_cpu_seconds"), 0.0)
    assert replace(outcome.progress, **clock) == replace(whole[1].progress, **clock)


def test_a_run_that_was_killed_anywhere_goes_on_to_the_same_end(whole):
    config = small(**EAGER)
    calls = whole[0].calls
    assert calls > 14
    for call in range(1, calls + 1):
        recorder = Memory(fail_at=call)
        with pytest.raises(KeyboardInterrupt):
            run(config, recorder)
        recorder.fail_at = -1
        _, outcome = run(config, recorder, resume=True)
        same(whole[0], recorder, (whole[1], outcome))


def test_early_stopping_counts_on_over_an_interruption():
    config = small(epochs=30, patience=2, learning_rate=0.05)
    full, outcome = run(config)
    assert 3 <= outcome.progress.epoch < 30
    recorder = Memory(stop_after=7 * (outcome.progress.epoch - 1) + 3)
    assert run(config, recorder)[1].progress.stopped == ASKED
    recorder.stop_after = math.inf
    _, again = run(config, recorder, resume=True)
    same(full, recorder, (outcome, again))


def test_a_text_run_goes_on_to_the_same_end():
    encoder = tiny(load_encoder())
    config = default_config("minimal-pairs", train_limit=64, eval_limit=32, pooling="attention", freeze="embeddings")
    task = load_task(config, encoder)
    full, part = Memory(), Memory(stop_after=7)
    outcome = train(config, task, full, encoder)
    assert train(config, task, part, encoder).progress.stopped == ASKED
    part.stop_after = math.inf
    same(full, part, (outcome, train(config, task, part, encoder, resume=True)))


def test_a_resumed_run_without_a_checkpoint_begins_anew(whole):
    recorder, outcome = run(small(**EAGER), resume=True)
    same(whole[0], recorder, (whole[1], outcome))


def test_of_many_processes_one_alone_writes(monkeypatch, whole):
    recorder = copy.copy(whole[0])
    recorder.rewind = lambda step: pytest.fail("two processes would replace the same file")
    recorder.metrics = lambda row: pytest.fail("two processes would write the same line")
    monkeypatch.setattr(Accelerator, "is_main_process", False)
    loop = Loop(small(**EAGER), load_task(small(**EAGER)), recorder)
    loop.announce()
    assert loop.restore() and loop.progress.epoch == 3


# ---- a loss that is no number ----


@pytest.mark.parametrize("record_every", [0.0, 1e9])
def test_a_loss_that_is_no_number_ends_the_run_in_one_sentence(monkeypatch, record_every):
    monkeypatch.setattr("poolviz.training.loop.RECORD_EVERY", record_every)
    recorder = Memory()
    with pytest.raises(DivergedError) as caught:
        run(small(learning_rate=10.0, weight_decay=1.0, epochs=100), recorder)
    text = str(caught.value)
    assert text.isprintable() and "learning rate" in text and text.endswith(".")
    rows = recorder.of("step") + recorder.of("epoch")
    assert rows and all(math.isfinite(row["train_loss"]) for row in rows)
    assert "best" in recorder.kept and math.isfinite(recorder.of("epoch")[0]["validation_loss"])
    assert all(torch.isfinite(weight).all() for weight in recorder.kept["best"][0].values())


def test_a_validation_loss_that_is_no_number_ends_the_run_with_its_row(monkeypatch):
    monkeypatch.setattr("poolviz.training.loop.Loop", Scripted)
    monkeypatch.setattr(Scripted, "losses", [0.5, math.nan])
    monkeypatch.setattr(Scripted, "judged", [])
    recorder = Memory()
    with pytest.raises(DivergedError):
        run(small(), recorder)
    assert len(recorder.of("epoch")) == 2 and recorder.kept["best"][1] == {"epoch": 1}
    assert "test" not in [name for name, _ in Scripted.judged]
