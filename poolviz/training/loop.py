"""The one loop: trains a run's model, records as it goes, and tests the best epoch's model once.

It runs under accelerate (CPU, CUDA, MPS, mixed precision, many processes). Everything that it tells goes through a
`Recorder`, so it does not know what a run's folder looks like, nor who asked for the run.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_matthews_corrcoef

from poolviz.inputs.encoder import Encoder
from poolviz.training.config import RunConfig
from poolviz.training.data import Split, Task, batches
from poolviz.training.footprint import Footprint, footprint
from poolviz.training.models import build_model

RECORD_EVERY = 0.5  # seconds between two records within an epoch
EVALUATION_BATCH = 256
WARM_UP = 0.1  # share of the steps in which a linear or one-cycle schedule rises


class Recorder(Protocol):
    """Where a run's records go."""

    def metrics(self, row: dict[str, Any]) -> None:
        """One line of the curve, flushed."""

    def save(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Keep tensors and plain facts under a name: best, last, checkpoint."""

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save` kept, or None."""

    def should_stop(self) -> bool:
        """Whether somebody asked for an end."""


class DivergedError(RuntimeError):
    """The loss is no number any more."""


@dataclass
class Progress:
    """Where a run stands: with the weights and the optimizer's state, all that a resumed run needs."""

    epoch: int = 0  # finished
    step: int = 0  # optimizer steps taken
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    best_loss: float = math.inf  # of validation
    best_epoch: int = 0
    stopped: str = ""  # why it ended before its last epoch


@dataclass(frozen=True)
class Evaluation:
    """A model on a split."""

    loss: float
    predictions: Tensor  # (n,) classes in the split's order
    confidence: Tensor  # (n,) probability of the prediction
    confusion: Tensor  # (classes, classes), a row a true class
    mcc: float
    seconds: float

    @property
    def error(self) -> float:
        """Share of examples whose class is wrong."""
        return 1.0 - float(self.confusion.diagonal().sum() / self.confusion.sum())


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    progress: Progress
    best: Evaluation  # of validation, by the model of the best epoch
    last: Evaluation  # by the model of the last epoch
    test: Evaluation | None  # by the model of the best epoch
    estimate: Footprint
    parameters: int  # that are learned
    peak_bytes: int  # of the device on CUDA, else of the process


def train(
    config: RunConfig, task: Task, recorder: Recorder, encoder: Encoder | None = None, resume: bool = False
) -> Outcome:
    """Run `config` on `task`; a resumed run goes on from its last finished epoch, to the same end.

    Raises DivergedError when the loss is no number any more; what was recorded stays.
    """
    accelerator = Accelerator(mixed_precision=config.precision)
    task = task.to(accelerator.device)
    model = build_model(config, len(task.classes), task.train.x.shape[-1], encoder).to(accelerator.device)
    estimate = footprint(model, _arguments(task.train.batch(torch.arange(min(config.batch_size, len(task.train))))))
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, config.learning_rate, weight_decay=config.weight_decay, fused=True)
    total = config.max_steps or config.epochs * math.ceil(len(task.train) / config.batch_size)
    schedule = LambdaLR(optimizer, lambda step: rate(config.schedule, step, total))
    progress = _restore(recorder, model, optimizer, schedule) if resume else Progress()
    model, optimizer = accelerator.prepare(model, optimizer)
    last = None
    while progress.epoch < config.epochs and not progress.stopped:
        loss = _train_epoch(config, task.train, accelerator, model, optimizer, schedule, progress, recorder)
        last = evaluate(accelerator, model, task.validation, len(task.classes))
        progress.eval_seconds += last.seconds
        progress.epoch += 1
        if last.loss < progress.best_loss:
            progress.best_loss, progress.best_epoch = last.loss, progress.epoch
            _save(accelerator, recorder, "best", model)
        elif config.patience and progress.epoch - progress.best_epoch >= config.patience:
            progress.stopped = progress.stopped or f"no better for {config.patience} epochs"
        recorder.metrics(_epoch_row(progress, loss, last, schedule))
        _save(accelerator, recorder, "last", model)
        _save_checkpoint(accelerator, recorder, model, optimizer, progress)
    return _finish(accelerator, model, task, recorder, progress, last, estimate, sum(p.numel() for p in learned))


def _train_epoch(
    config: RunConfig,
    split: Split,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    schedule: LambdaLR,
    progress: Progress,
    recorder: Recorder,
) -> float:
    """One epoch, or what the limits leave of it; the mean training loss."""
    # a seed an epoch: a resumed run has the same order, dropout and draws as one that was never interrupted
    torch.manual_seed(config.seed * 1_000_003 + progress.epoch * 101 + accelerator.process_index)
    order = torch.Generator().manual_seed(config.seed * 1_000_003 + progress.epoch)
    model.train()
    total, seen = torch.zeros((), device=accelerator.device), 0
    started = told = time.perf_counter()
    before = progress.train_seconds
    for chosen in batches(split, config.batch_size, order):
        mine = chosen[accelerator.process_index :: accelerator.num_processes]
        mine = mine if len(chosen) >= accelerator.num_processes else chosen
        batch = split.batch(mine)
        logits = model(**_arguments(batch))
        # the mean over the whole batch, also where processes hold unequal parts of it
        share = accelerator.num_processes * len(mine) / len(chosen) if mine is not chosen else 1.0
        loss = F.cross_entropy(logits.float(), batch["labels"])
        accelerator.backward(loss * share)
        if config.clip:
            accelerator.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        total, seen = total + loss.detach(), seen + 1
        now = time.perf_counter()
        progress.train_seconds = before + now - started
        if now - told >= RECORD_EVERY or progress.step == 1:
            told = now
            recorder.metrics(_step_row(progress, float(loss), schedule))
            _require_number(float(loss), progress)
        progress.stopped = _reason_to_stop(config, progress, recorder, told == now)
        if progress.stopped:
            break
    mean = float(total) / max(1, seen)
    _require_number(mean, progress)
    return mean


@torch.no_grad()
def evaluate(accelerator: Accelerator, model: nn.Module, split: Split, classes: int) -> Evaluation:
    """The model in eval mode on every example of a split; processes share the work."""
    started = time.perf_counter()
    model.eval()
    predictions = torch.zeros(len(split), dtype=torch.long, device=accelerator.device)
    confidence = torch.zeros(len(split), device=accelerator.device)
    loss = torch.zeros((), device=accelerator.device)
    for number, chosen in enumerate(batches(split, EVALUATION_BATCH, None)):
        if number % accelerator.num_processes != accelerator.process_index:
            continue
        batch = split.batch(chosen)
        logits = model(**_arguments(batch)).float()
        loss += F.cross_entropy(logits, batch["labels"], reduction="sum")
        confidence[chosen], predictions[chosen] = logits.softmax(dim=-1).max(dim=-1)
    loss, predictions, confidence = (accelerator.reduce(each, "sum") for each in (loss, predictions, confidence))
    confusion = multiclass_confusion_matrix(predictions, split.y, classes)
    mcc = float(multiclass_matthews_corrcoef(predictions, split.y, classes))
    seconds = time.perf_counter() - started
    return Evaluation(float(loss) / len(split), predictions.cpu(), confidence.cpu(), confusion.cpu(), mcc, seconds)


def rate(schedule: str, step: int, total: int) -> float:
    """Share of the learning rate at a step: constant; linear up then down to 0; one-cycle, with a cosine down."""
    if schedule == "constant":
        return 1.0
    rise = max(1, round(WARM_UP * total))
    if step < rise:
        return (step + 1) / rise
    done = min(1.0, (step - rise) / max(1, total - rise))
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def _arguments(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in batch.items() if name != "labels"}


def _reason_to_stop(config: RunConfig, progress: Progress, recorder: Recorder, ask: bool) -> str:
    if config.max_steps and progress.step >= config.max_steps:
        return f"its limit of {config.max_steps:,} steps"
    if config.max_seconds and progress.train_seconds >= config.max_seconds:
        return f"its limit of {config.max_seconds:g} seconds"
    return "asked to stop" if ask and recorder.should_stop() else ""


def _require_number(loss: float, progress: Progress) -> None:
    if not math.isfinite(loss):
        raise DivergedError(
            f"The loss is no number any more (step {progress.step:,}): a smaller learning rate or clipping may help."
        )


def _step_row(progress: Progress, loss: float, schedule: LambdaLR) -> dict[str, Any]:
    return {
        "kind": "step",
        "step": progress.step,
        "epoch": progress.epoch,
        "train_loss": loss,
        "learning_rate": schedule.get_last_lr()[0],
        "train_seconds": progress.train_seconds,
    }


def _epoch_row(progress: Progress, loss: float, validation: Evaluation, schedule: LambdaLR) -> dict[str, Any]:
    return {
        "kind": "epoch",
        "step": progress.step,
        "epoch": progress.epoch,
        "train_loss": loss,
        "validation_loss": validation.loss,
        "validation_error": validation.error,
        "validation_mcc": validation.mcc,
        "learning_rate": schedule.get_last_lr()[0],
        "train_seconds": progress.train_seconds,
        "eval_seconds": progress.eval_seconds,
        "steps_per_second": progress.step / max(progress.train_seconds, 1e-9),
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """Most memory so far: CUDA's own counter, else the process's resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import psutil

    memory = psutil.Process().memory_info()
    return getattr(memory, "peak_wset", memory.rss)


def _weights(accelerator: Accelerator, model: nn.Module) -> dict[str, Tensor]:
    state = accelerator.unwrap_model(model).state_dict()
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def _save(accelerator: Accelerator, recorder: Recorder, name: str, model: nn.Module) -> None:
    if accelerator.is_main_process:
        recorder.save(name, _weights(accelerator, model), {})


def _save_checkpoint(
    accelerator: Accelerator, recorder: Recorder, model: nn.Module, optimizer: Any, progress: Progress
) -> None:
    if not accelerator.is_main_process:
        return
    tensors = {f"model.{name}": value for name, value in _weights(accelerator, model).items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value.cpu().clone() for name, value in state.items()}
    recorder.save("checkpoint", tensors, asdict(progress))


def _restore(recorder: Recorder, model: nn.Module, optimizer: Any, schedule: LambdaLR) -> Progress:
    """Put a checkpoint back; a run without one begins anew."""
    kept = recorder.load("checkpoint")
    if kept is None:
        return Progress()
    tensors, facts = kept
    model.load_state_dict({name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, field = name.split(".", 2)
            state.setdefault(int(number), {})[field] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    progress = Progress(**facts)
    if progress.stopped.startswith("asked"):
        progress.stopped = ""
    schedule.last_epoch = progress.step - 1
    schedule.step()
    return progress


def _finish(
    accelerator: Accelerator,
    model: nn.Module,
    task: Task,
    recorder: Recorder,
    progress: Progress,
    last: Evaluation | None,
    estimate: Footprint,
    parameters: int,
) -> Outcome:
    """Judge the last and the best epoch's model; the test set is touched here, once."""
    classes = len(task.classes)
    last = last or evaluate(accelerator, model, task.validation, classes)
    accelerator.wait_for_everyone()
    kept = recorder.load("best")
    if kept is not None:
        accelerator.unwrap_model(model).load_state_dict(kept[0])
    best = evaluate(accelerator, model, task.validation, classes)
    test = evaluate(accelerator, model, task.test, classes) if task.test is not None else None
    return Outcome(progress, best, last, test, estimate, parameters, peak_bytes())
