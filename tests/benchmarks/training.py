"""Time of our epochs beside a tutorial's loop, and of draws beside max and CLS: `--help` says how to run it.

One process, the same fixed number of threads for all; on one thread its CPU time counts (`milliseconds`). Our loop
keeps freed memory, as the training process does (`poolviz/training/memory.py`); the plain loop has glibc's usual way,
and a row of its own with ours.
After an epoch of warm-up each round runs every candidate once, in turning order, and the median of ratios within a
round is compared with the limit.
Images: `Loop.train_epoch` on a part of MNIST, beside the same network from the same weights, written and fed as
tutorials do: torchvision's MNIST with ToTensor, a DataLoader that shuffles, AdamW as it comes. Both errors on the same
held-out images are printed after the same number of steps.
Sentences: on a random part of CoLA, beside the same encoder with every batch padded to 64 and AdamW as it comes.
Draws: an epoch and the judging of a quarter as many examples, as a split of 80 to 20 has it.
With --small, digits and minimal pairs stand in for both, which needs no data and measures nothing.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `python tests/benchmarks/training.py`
from poolviz.inputs import samples
from poolviz.inputs.encoder import Encoder
from poolviz.inputs.picture import InputError
from poolviz.training.config import RunConfig, default_config
from poolviz.training.data import Split, Task, load_encoder_of, load_task
from poolviz.training.estimate import Deaf
from poolviz.training.loop import Loop
from poolviz.training.memory import free_as_usual, keep_freed_memory
from poolviz.training.models import build_model
from tests.benchmarks.pooling import processor
from tests.benchmarks.sequences import Row, line, turned

PLAIN, KEPT, WORKERS, PADDED = "plain loop", "plain, memory kept", "plain, 2 workers", "padded to 64"
DRAWS = ("stochastic", "softmax-stochastic")
WIDTH = 64  # word pieces of a padded sentence
IMAGE_SPEED_UP, TEXT_SPEED_UP = 1.3, 2.0  # of our epoch over the plain one, at least
IMAGE_DRAW, TEXT_DRAW = 1.10, 1.05  # of a drawing epoch to max's and to CLS's, at most
HEADER = f"{'candidate':<20}{'ms':>10}{'ratio':>9}  [min..max]"


class Times(NamedTuple):
    """Milliseconds of one round of one candidate."""

    train: float
    judge: float = 0.0
    wall: float = 0.0  # of training, by the wall clock


Candidate = Callable[[], Times]


def milliseconds(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """One call: what it took, and the wall clock's time, the device's work included.

    On one thread of a CPU it took the process's own time, which is the wall clock's on an idle machine, and which
    others' work disturbs less.
    """
    own = device.type == "cpu" and torch.get_num_threads() == 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    start, cpu = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    wall = 1000 * (time.perf_counter() - start)
    return 1000 * (time.process_time() - cpu) if own else wall, wall


def part_of(split: Split, count: int, seed: int = 0) -> Split:
    """`count` examples of a split, drawn at random."""
    chosen = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:count]
    parts = {name: value[chosen] if isinstance(value, Tensor) else value for name, value in vars(split).items()}
    return Split(**parts)


def reduced(task: Task, count: int) -> Task:
    """A task of `count` training examples, and a quarter as many to judge by."""
    return replace(task, train=part_of(task.train, count), validation=part_of(task.validation, count // 4), test=None)


class Ours:
    """Our loop, without a folder."""

    def __init__(self, config: RunConfig, task: Task, encoder: Encoder | None = None) -> None:
        self.loop = Loop(config, task, Deaf(), encoder)
        self.device = self.loop.accelerator.device

    def __call__(self) -> Times:
        """An epoch, and the judging of the held-out part."""
        keep_freed_memory()
        train, wall = milliseconds(self._epoch, self.device)
        judge, _ = milliseconds(lambda: self.loop.evaluate(self.loop.task.validation), self.device)
        return Times(train, judge, wall)

    def _epoch(self) -> None:
        self.loop.train_epoch()
        self.loop.progress.epoch += 1  # the next one has another order

    def error(self) -> float:
        """On the held-out part."""
        return self.loop.evaluate(self.loop.task.validation).error


class Plain:
    """A model trained as tutorials do it, with torch's AdamW as it comes."""

    def __init__(
        self, model: nn.Module, loader: DataLoader, config: RunConfig, device: torch.device, keep: bool = False
    ) -> None:
        self.model, self.loader, self.device, self.keep = model.to(device), loader, device, keep
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.learning_rate)

    def __call__(self) -> Times:
        """An epoch."""
        (keep_freed_memory if self.keep else free_as_usual)()
        train, wall = milliseconds(self._epoch, self.device)
        return Times(train, wall=wall)

    def _epoch(self) -> None:
        self.model.train()
        for *x, y in self.loader:
            x, y = [each.to(self.device) for each in x], y.to(self.device)
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(*x), y).backward()
            self.optimizer.step()

    @torch.no_grad()
    def error(self, data: Dataset) -> float:
        """Share of `data` whose class is wrong."""
        self.model.eval()
        wrong = 0
        for *x, y in DataLoader(data, batch_size=256):
            wrong += int((self.model(*(each.to(self.device) for each in x)).argmax(dim=1).cpu() != y).sum())
        return wrong / len(data)


def tutorial_network(config: RunConfig, size: int) -> nn.Module:
    """The network of `config` with max pooling, from torch's layers alone and with our initial weights."""
    cells = (size - 4) // 2
    plain = nn.Sequential(
        *(nn.Conv2d(1, config.width, 3), nn.ReLU(), nn.Conv2d(config.width, 2 * config.width, 3), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Dropout(config.dropout), nn.Flatten()),
        *(nn.Linear(2 * config.width * cells**2, 128), nn.ReLU(), nn.Dropout(config.head_dropout), nn.Linear(128, 10)),
    )
    with torch.no_grad():
        for own, weight in zip(plain.parameters(), build_model(config, 10, size).parameters(), strict=True):
            own.copy_(weight)
    return plain


def images_as_tutorials_read_them(task: str) -> Dataset:
    """torchvision's training images, decoded to PIL one by one; digits, for --small, as a tensor."""
    if task == "digits":
        x, y = samples.digit_set()
        return TensorDataset(x[:, None] / 16, y)
    from torchvision import datasets, transforms

    root = samples.mnist_root(task)
    assert root is not None  # the task has been loaded
    return datasets.MNIST(root, train=True, transform=transforms.ToTensor())


class Epochs(NamedTuple):
    """What was measured of a task: a dict a round, and what to say of accuracy."""

    rounds: list[dict[str, Times]]
    remark: str


def in_turn(candidates: dict[str, Candidate], rounds: int) -> list[dict[str, Times]]:
    """Each candidate once a round, after a round of warm-up that is not counted."""
    for candidate in candidates.values():
        candidate()
    return [{name: candidates[name]() for name in turned(list(candidates), number)} for number in range(rounds)]


def image_epochs(config: RunConfig, count: int, rounds: int, workers: bool = True) -> Epochs:
    """Max and the draws in our loop, and the plain loop, which pools by max."""
    task = reduced(load_task(config), count)
    size = task.train.x.shape[-1]
    ours = {name: Ours(replace(config, pooling=name), task) for name in ("max", *DRAWS)}
    data = images_as_tutorials_read_them(config.task)

    def plain(number: int, keep: bool = False) -> Plain:
        loader = DataLoader(
            Subset(data, task.train.index.tolist()),
            batch_size=config.batch_size,
            shuffle=True,
            num_workers=number,
        )
        return Plain(tutorial_network(replace(config, pooling="max"), size), loader, config, ours["max"].device, keep)

    torch.manual_seed(config.seed)
    plains = {PLAIN: plain(0), KEPT: plain(0, keep=True)} | ({WORKERS: plain(2)} if workers else {})
    measured = in_turn(ours | plains, rounds)
    steps = ours["max"].loop.progress.step
    errors = ours["max"].error(), plains[PLAIN].error(Subset(data, task.validation.index.tolist()))
    remark = f"error on {len(task.validation):,} held-out images after {steps:,} steps: "
    remark += f"ours {errors[0]:.1%}, plain {errors[1]:.1%}"
    for name in plains:  # workers are processes of their own: the wall clock alone counts them
        ratio = statistics.median(times[name].wall / times["max"].wall for times in measured)
        remark += f"\n{name}, by the wall clock: {ratio:.2f} of ours"
    return Epochs(measured, remark)


def text_epochs(config: RunConfig, count: int, rounds: int) -> Epochs:
    """CLS and the draws in our loop, and CLS with every batch padded to 64."""
    encoder = load_encoder_of(config)
    task = reduced(load_task(config, encoder), count)
    ours = {name: Ours(replace(config, pooling=name), task, encoder) for name in ("cls", *DRAWS)}
    ids = F.pad(task.train.x, (0, max(0, WIDTH - task.train.x.shape[1])))[:, :WIDTH]
    mask = torch.arange(WIDTH) < task.train.lengths[:, None]
    torch.manual_seed(config.seed)
    loader = DataLoader(TensorDataset(ids, mask, task.train.y), batch_size=config.batch_size, shuffle=True)
    model = build_model(replace(config, pooling="cls"), len(task.classes), encoder=encoder)
    measured = in_turn({**ours, PADDED: Plain(model, loader, config, ours["cls"].device)}, rounds)
    lengths = task.train.lengths.float()
    return Epochs(measured, f"{lengths.mean():.1f} word pieces a sentence, {int(lengths.max())} at most")


def rows(measured: Sequence[dict[str, Times]], base: str, names: Sequence[str], judged: bool) -> list[Row]:
    """The candidates `names`, with ratios to `base`; with the time of judging where `judged`."""
    totals = [{name: each.train + judged * each.judge for name, each in times.items()} for times in measured]
    return [Row(name, [each[name] for each in totals], [each[name] / each[base] for each in totals]) for name in names]


def within(row: Row, least: float = 0.0, most: float = 0.0) -> bool:
    """Whether the median ratio keeps its one limit."""
    ratio = statistics.median(row.ratios)
    return ratio >= least if least else ratio <= most


def tables(title: str, epochs: Epochs, base: str, peers: Sequence[str], least: float, most: float) -> list[bool]:
    """Print both tables of a task; the verdicts. The first of `peers` has the limit `least`, draws have `most`."""
    verdicts = []
    print(f"{title}: our epoch and a plain one; limit: {peers[0]} >= {least:g} of ours\n{HEADER}")
    for row in rows(epochs.rounds, base, (base, *peers), judged=False):
        kept = within(row, least=least) if row.name == peers[0] else None
        verdicts += [kept] if kept is not None else []
        print(line(row, kept))
    print(f"{epochs.remark}\n\n{title}: training and judging; limit: draws <= {most:g} of {base}\n{HEADER}")
    for row in rows(epochs.rounds, base, (base, *DRAWS), judged=True):
        kept = within(row, most=most) if row.name in DRAWS else None
        verdicts += [kept] if kept is not None else []
        print(line(row, kept))
    print(flush=True)
    return verdicts


def full_epoch_seconds(config: RunConfig) -> float:
    """An epoch of all training images, on the device, after one step of warm-up."""
    ours = Ours(config, load_task(config))
    some = torch.arange(min(config.batch_size, len(ours.loop.task.train)), device=ours.device)
    ours.loop.model.train()
    ours.loop.step(some, torch.zeros(2, device=ours.device))
    return ours().wall / 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a limit is missed and `--check` was given."""
    parser = argparse.ArgumentParser(prog="python -m poolviz bench training", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="timed rounds (default %(default)s)")
    parser.add_argument("--images", type=int, default=1024, help="training images (default %(default)s)")
    parser.add_argument("--sentences", type=int, default=96, help="training sentences (default %(default)s)")
    usual = torch.get_num_threads()
    parser.add_argument("--threads", type=int, default=usual, help="of all candidates (default: torch's, %(default)s)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: CUDA where there is one")
    parser.add_argument("--small", action="store_true", help="tiny tasks: shows that it runs, measures nothing")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is missed")
    options = parser.parse_args(argv)
    if min(options.rounds, options.images, options.sentences, options.threads) < 1:
        parser.error("--rounds, --images, --sentences and --threads must be at least 1")
    cuda = torch.cuda.is_available()
    if options.device == "cuda" and not cuda:
        parser.error("no CUDA device is at hand")
    cuda = cuda and options.device != "cpu"
    if not cuda:
        os.environ["ACCELERATE_USE_CPU"] = "true"  # before the first Accelerator
    torch.set_num_threads(options.threads)
    # AdamW's own learning rate and weight decay, which is what the plain loop has
    images = default_config("digits" if options.small else "mnist", schedule="constant", weight_decay=0.01)
    text = default_config("minimal-pairs" if options.small else "cola", schedule="constant", weight_decay=0.01)
    if options.small:
        images, options.images, options.sentences = replace(images, width=2), 64, 16
        text = replace(text, train_limit=16, eval_limit=16, batch_size=8)
    device = torch.cuda.get_device_name() if cuda else processor()
    load = f"load average {os.getloadavg()[0]:.1f}, " if hasattr(os, "getloadavg") else ""
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
    print(f"torch {torch.__version__}, {device}, {load}{threads}, {options.rounds} rounds\n")

    found = image_epochs(images, options.images, options.rounds, workers=not options.small)
    title = f"{images.task}, {options.images:,} images, batch {images.batch_size}"
    verdicts = tables(title, found, "max", (PLAIN, KEPT), IMAGE_SPEED_UP, IMAGE_DRAW)
    found = text_epochs(text, options.sentences, options.rounds)
    title = f"{text.task}, {options.sentences:,} sentences, batch {text.batch_size}"
    verdicts += tables(title, found, "cls", (PADDED,), TEXT_SPEED_UP, TEXT_DRAW)
    if cuda:
        print(f"a whole epoch of {images.task} on {device}: {full_epoch_seconds(images):.2f} s")
    return int(options.check and False in verdicts)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:  # no data at hand: one sentence
        sys.exit(str(error))
