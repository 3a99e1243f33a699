"""The one loop: trains a run's model, records as it goes, and tests the best epoch's model once.

It runs under accelerate (CPU, CUDA, MPS, mixed precision, many processes). Everything that it tells goes through a
`Recorder`, so it does not know what a run's folder looks like, nor who asked for the run. As a command it does the
run in a folder (`work.py`):

    python -m poolviz.training.loop RUN_DIR
    accelerate launch -m poolviz.training.loop RUN_DIR
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from poolviz.inputs.encoder import Encoder
from poolviz.training.config import RunConfig
from poolviz.training.data import Split, Task, batches
from poolviz.training.evaluation import Evaluation, by_domain, confusion_matrix, matthews
from poolviz.training.footprint import Footprint, footprint
from poolviz.training.models import build_model
from poolviz.training.plan import planned_steps, rate
from poolviz.training.records import Progress, Recorder, epoch_row, peak_bytes, step_row

RECORD_EVERY = 0.5  # seconds between two records within an epoch
EVALUATION_BATCH = (256, 64)  # images, sentences
ASKED = "asked to stop"


class DivergedError(RuntimeError):
    """The loss is no number any more."""


class StoppedError(Exception):
    """Somebody asked for an end while a split was judged."""


@dataclass(frozen=True)
class Outcome:
    """A finished run; an evaluation is None where the run was stopped before it."""

    progress: Progress
    best: Evaluation | None  # of validation, by the model of the best epoch
    last: Evaluation | None  # by the model of the last epoch
    test: Evaluation | None  # by the model of the best epoch
    fit: Evaluation | None  # of training examples, as many as validation has, by the model of the last epoch
    estimate: Footprint
    parameters: int  # that are learned
    peak_bytes: int  # of the device on CUDA, else of the process


def train(
    config: RunConfig, task: Task, recorder: Recorder, encoder: Encoder | None = None, resume: bool = False
) -> Outcome:
    """Run `config` on `task`; a resumed run goes on from its last finished epoch, to the same end.

    Raises DivergedError when the loss is no number any more; what was recorded stays.
    """
    if torch.cuda.is_available():  # the process may have measured other runs before
        torch.cuda.reset_peak_memory_stats()
    loop = Loop(config, task, recorder, encoder)
    if not (resume and loop.restore()):
        loop.announce()
    progress = loop.progress
    try:
        while progress.epoch < config.epochs and not progress.stopped:
            mean, error = loop.train_epoch()
            if progress.stopped == ASKED:
                raise StoppedError
            loop.finish_epoch(mean, error)
        return loop.judge()
    except StoppedError:
        progress.stopped = ASKED
        return loop.outcome()


class Clock:
    """Seconds since it was made: by the clock, and of this process's threads on the CPU."""

    def __init__(self) -> None:
        self._started, self._before = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        """By the clock."""
        return time.perf_counter() - self._started

    @property
    def cpu_seconds(self) -> float:
        """Of this process's threads."""
        return time.process_time() - self._before


class Loop:
    """A model, its optimizer and its data on their device, and where the run stands."""

    def __init__(self, config: RunConfig, task: Task, recorder: Recorder, encoder: Encoder | None = None) -> None:
        self.config, self.recorder = config, recorder
        AcceleratorState._reset_state()  # a process that stood by has run with another precision before
        self.accelerator = Accelerator(mixed_precision=config.precision)
        if config.precision == "fp16" and self.accelerator.device.type == "cpu":
            raise ValueError("precision fp16 needs a GPU: take bf16, or no mixed precision.")
        self.task = task.to(self.accelerator.device)
        model = build_model(config, len(task.classes), task.train.x.shape[-1], encoder).to(self.accelerator.device)
        few = torch.arange(min(config.batch_size, len(task.train)), device=self.accelerator.device)
        self.estimate = footprint(model, _arguments(self.task.train.batch(few)))
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.parameters = sum(parameter.numel() for parameter in learned)
        optimizer = torch.optim.AdamW(learned, config.learning_rate, weight_decay=config.weight_decay, fused=True)
        self.steps = planned_steps(config, len(task.train))
        self.schedule = LambdaLR(optimizer, lambda step: rate(config.schedule, step, self.steps))
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.progress = Progress()
        self.best: Evaluation | None = None
        self.last: Evaluation | None = None

    def train_epoch(self) -> tuple[float, float]:
        """One epoch, or what the limits leave of it; mean loss and error over its batches, in train mode."""
        config, progress, accelerator = self.config, self.progress, self.accelerator
        # a seed an epoch: a resumed run has the same order, dropout and draws as one that was never interrupted
        seed = config.seed * 1_000_003 + progress.epoch
        torch.manual_seed(seed + 7919 * accelerator.process_index)
        self.model.train()
        sums = torch.zeros(2, device=accelerator.device)  # loss and errors of all examples
        seen = 0
        clock, told = Clock(), time.perf_counter()
        before, before_cpu = progress.train_seconds, progress.train_cpu_seconds
        for chosen in batches(self.task.train, config.batch_size, torch.Generator().manual_seed(seed)):
            loss, count = self.step(chosen, sums)
            progress.step += 1
            seen += count
            now = time.perf_counter()
            progress.train_seconds = before + clock.seconds
            progress.train_cpu_seconds = before_cpu + clock.cpu_seconds
            if now - told >= RECORD_EVERY or progress.step == 1:
                told = now
                self._record(step_row(progress, _number(float(loss), progress), self._learning_rate))
            progress.stopped = self._reason_to_stop()
            if progress.stopped:
                break
        totals = torch.cat([sums, torch.tensor([float(seen)], device=sums.device)])
        loss, errors, examples = accelerator.reduce(totals, "sum").tolist()
        return _number(loss / examples, progress), errors / examples

    def step(self, chosen: Tensor, sums: Tensor) -> tuple[Tensor, int]:
        """One optimizer step on the examples at `chosen`, of which each process takes its part.

        Adds this part's loss and errors to `sums`; gives the mean loss and the number of examples of the part.
        """
        accelerator = self.accelerator
        mine = chosen[accelerator.process_index :: accelerator.num_processes]
        counted = len(mine)
        if len(chosen) < accelerator.num_processes:
            mine = chosen  # nobody goes without; the mean of equal gradients is the gradient
            counted = len(mine) if accelerator.is_main_process else 0
        batch = self.task.train.batch(mine)
        logits = self.model(**_arguments(batch)).float()
        loss = F.cross_entropy(logits, batch["labels"])
        # processes' gradients are averaged: this makes it the mean over the batch where their parts are unequal
        share = 1.0 if mine is chosen else accelerator.num_processes * len(mine) / len(chosen)
        accelerator.backward(loss * share)
        if self.config.clip:
            accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        loss = loss.detach()
        wrong = (logits.detach().argmax(dim=-1) != batch["labels"]).sum()
        sums += torch.stack([loss * counted, wrong * (counted > 0)])
        return loss, counted

    def finish_epoch(self, train_loss: float, train_error: float) -> None:
        """Validate, record, keep the best model, and leave a checkpoint."""
        progress, found = self.progress, self.evaluate(self.task.validation)
        self.last = found
        progress.eval_seconds += found.seconds
        progress.eval_cpu_seconds += found.cpu_seconds
        progress.epoch += 1
        self._record(epoch_row(progress, train_loss, train_error, found, self._learning_rate))
        _number(found.loss, progress)
        if found.loss < progress.best_loss:
            progress.best_loss, progress.best_epoch, self.best = found.loss, progress.epoch, found
            self._save("best", self._weights(), {"epoch": progress.epoch})
        elif self.config.patience and progress.epoch - progress.best_epoch >= self.config.patience:
            progress.stopped = progress.stopped or f"no better validation loss for {self.config.patience} epochs"
        if self.accelerator.is_main_process:
            facts = {"split": "validation", "epoch": progress.epoch}
            self.recorder.predictions(self.task.validation, found, facts)
        self._save("checkpoint", self._checkpoint(), asdict(progress))

    def judge(self) -> Outcome:
        """Judge the last and the best epoch's model; the test set is touched here, once."""
        self.accelerator.wait_for_everyone()
        self.last = self.last or self.evaluate(self.task.validation)  # a resumed run may have no epoch left
        fit = self.evaluate(self.task.train.some(len(self.task.validation)))
        self._save("last", self._weights(), {"epoch": self.progress.epoch})
        kept = self.recorder.load("best")
        if kept is not None:
            self.accelerator.unwrap_model(self.model).load_state_dict(kept[0])
        self.best = self.best or self.evaluate(self.task.validation)  # also of a resumed run
        test = self.evaluate(self.task.test) if self.task.test is not None else None
        if self.accelerator.is_main_process:
            facts = {"split": "test" if test else "validation", "epoch": self.progress.best_epoch}
            self.recorder.predictions(self.task.test if test else self.task.validation, test or self.best, facts)
        return self.outcome(test, fit)

    def outcome(self, test: Evaluation | None = None, fit: Evaluation | None = None) -> Outcome:
        """What there is to say."""
        peak = peak_bytes()
        return Outcome(self.progress, self.best, self.last, test, fit, self.estimate, self.parameters, peak)

    @torch.no_grad()
    def evaluate(self, split: Split) -> Evaluation:
        """The model in eval mode on every example of a split; processes share the batches."""
        accelerator, clock = self.accelerator, Clock()
        self.model.eval()
        predictions = torch.zeros(len(split), dtype=torch.long, device=accelerator.device)
        confidence = torch.zeros(len(split), device=accelerator.device)
        loss = torch.zeros((), device=accelerator.device)
        size = EVALUATION_BATCH[split.lengths is not None]
        for number, chosen in enumerate(batches(split, size, None)):
            if number % accelerator.num_processes != accelerator.process_index:
                continue
            if accelerator.num_processes == 1 and self.recorder.should_stop():
                raise StoppedError
            batch = split.batch(chosen)
            logits = self.model(**_arguments(batch)).float()
            loss += F.cross_entropy(logits, batch["labels"], reduction="sum")
            confidence[chosen], predictions[chosen] = logits.softmax(dim=-1).max(dim=-1)
        loss, predictions, confidence = (accelerator.reduce(each, "sum") for each in (loss, predictions, confidence))
        confusion = confusion_matrix(split.y, predictions, len(self.task.classes)).cpu()
        mean = float(loss) / len(split)  # waits for the device, so the clock is read after it
        return Evaluation(
            mean,
            predictions.cpu(),
            confidence.cpu(),
            confusion,
            matthews(confusion),
            clock.seconds,
            clock.cpu_seconds,
            by_domain(predictions, split),
        )

    def announce(self) -> None:
        """The first line of the curve: what lies ahead."""
        if self.accelerator.is_main_process:
            self.recorder.rewind(-1)  # of an attempt before that left no checkpoint
        self._record(
            {
                "kind": "start",
                "step": 0,
                "steps": self.steps,
                "epoch_steps": math.ceil(len(self.task.train) / self.config.batch_size),
                "epochs": self.config.epochs,
                "train_examples": len(self.task.train),
                "validation_examples": len(self.task.validation),
                "parameters": self.parameters,
                "estimated_bytes": self.estimate.bytes,
            }
        )

    def restore(self) -> bool:
        """Put a checkpoint back; False where there is none."""
        kept = self.recorder.load("checkpoint")
        if kept is None:
            return False
        tensors, facts = kept
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        self.accelerator.unwrap_model(self.model).load_state_dict(parts["model"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            number, _, of = name.partition(".")
            state.setdefault(int(number), {})[of] = value
        self.progress = Progress(**facts)
        if self.accelerator.is_main_process:
            self.recorder.rewind(self.progress.step)
        now = self.config.learning_rate * rate(self.config.schedule, self.progress.step, self.steps)
        groups = [group | {"lr": now} for group in self.optimizer.state_dict()["param_groups"]]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        place = {"last_epoch": self.progress.step, "_step_count": self.progress.step + 1, "_last_lr": [now]}
        self.schedule.load_state_dict(self.schedule.state_dict() | place)
        return True

    def _reason_to_stop(self) -> str:
        config, progress, reason = self.config, self.progress, ""
        if config.max_steps and progress.step >= config.max_steps:
            reason = f"the limit of {config.max_steps:,} steps"
        elif config.max_seconds and progress.train_seconds >= config.max_seconds:
            reason = f"the limit of {config.max_seconds:g} seconds"
        elif self.recorder.should_stop():
            reason = ASKED
        if self.accelerator.num_processes > 1:  # clocks differ, and a process that goes on alone waits for ever
            reason = broadcast_object_list([reason])[0]
        return reason

    @property
    def _learning_rate(self) -> float:
        return self.schedule.get_last_lr()[0]

    def _record(self, row: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.recorder.metrics(row)

    def _save(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            self.recorder.save(name, tensors, facts)

    def _weights(self) -> dict[str, Tensor]:
        return self.accelerator.unwrap_model(self.model).state_dict()

    def _checkpoint(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": value for name, value in self._weights().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        return tensors


def _arguments(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in batch.items() if name != "labels"}


def _number(loss: float, progress: Progress) -> float:
    if not math.isfinite(loss):
        raise DivergedError(
            f"The loss is no number any more (step {progress.step:,}): a smaller learning rate or clipping may help."
        )
    return loss


if __name__ == "__main__":
    from poolviz.training.work import main

    sys.exit(main())
