"""A task's examples on the device, and batches of them.

Images live there as one tensor; sentences are tokenised once, kept as one padded tensor of word pieces, and batched
by length, so that a batch is as wide as its longest sentence. No Python runs for a single example.
Knows nothing of models or of the loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from poolviz.inputs import grammar, samples, sentences
from poolviz.inputs.encoder import Encoder, load_encoder
from poolviz.training.config import CLASSES, RunConfig

VALIDATION_SHARE = 0.2  # of the training set, the classic split
SORTED_TOGETHER = 16  # batches whose sentences are sorted by length together
MINIMAL_PAIRS = {"train": 4000, "test": 1000}  # pairs, before a limit


@dataclass(frozen=True)
class Split:
    """Examples of one split, all on one device."""

    x: Tensor  # images (n, 1, H, W) uint8, or word pieces (n, T) int64, padded at the end
    y: Tensor  # (n,) int64 classes
    index: Tensor  # (n,) each example's number in its data set
    lengths: Tensor | None = None  # (n,) word pieces of a sentence
    scale: float = 1.0  # what pixels are divided by
    domain: Tensor | None = None  # (n,) 1 in domain, 0 out of it (CoLA)

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> Split:
        """The same on another device."""
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        return Split(**moved)

    def part(self, chosen: Tensor) -> Split:
        """The examples at `chosen` (b,) alone."""
        moved = {name: value[chosen] if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        return Split(**moved)

    def some(self, count: int) -> Split:
        """So many examples, or all, drawn with a fixed seed."""
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))[:count]
        return self.part(drawn.sort().values.to(self.y.device))

    def batch(self, chosen: Tensor) -> dict[str, Tensor]:
        """The model's arguments and `labels` for the examples at `chosen` (b,)."""
        if self.lengths is None:
            return {"x": self.x[chosen].float().div_(self.scale), "labels": self.y[chosen]}
        lengths = self.lengths[chosen]
        longest = int(lengths.max())
        mask = torch.arange(longest, device=lengths.device) < lengths[:, None]
        return {"ids": self.x[chosen, :longest], "mask": mask, "labels": self.y[chosen]}


@dataclass(frozen=True)
class Task:
    """What a run trains on, and what it is judged by."""

    train: Split
    validation: Split
    test: Split | None  # touched once, at the end; None where the task has no labelled one
    classes: tuple[str, ...]

    def to(self, device: torch.device) -> Task:
        """All splits on a device."""
        test = self.test.to(device) if self.test is not None else None
        return Task(self.train.to(device), self.validation.to(device), test, self.classes)


def load_encoder_of(config: RunConfig) -> Encoder | None:
    """The encoder of a text run; None for images."""
    return load_encoder(config.encoder) if config.is_text else None


def load_task(config: RunConfig, encoder: Encoder | None = None) -> Task:
    """The task's splits on the CPU; InputError, one sentence, where its data is missing or damaged.

    The split and the limit depend on the seed's data alone, not on the pooling: races share them. `encoder` tokenises
    text.
    """
    if config.task == "digits":
        return _split_images(*_digits(), config, scale=16.0)
    if config.task in ("mnist", "fashion-mnist"):
        x, y = samples.image_set(config.task, "train")
        test = samples.image_set(config.task, "test")
        return _split_images((x[:, None], y), (test[0][:, None], test[1]), config, scale=255.0)
    assert encoder is not None
    return (_cola if config.task == "cola" else _minimal_pairs)(config, encoder)


def look_up(config: RunConfig, split: str, numbers: Sequence[int]) -> list[Tensor] | list[str]:
    """The examples that `Split.index` numbers: images (H, W) in 0..1, or sentences; raises as `load_task` does."""
    if config.task == "digits":
        x, _ = samples.digit_set()
        first = _digit_cut(len(x)) if split == "test" else 0
        return [x[first + number].float() / 16 for number in numbers]
    if not config.is_text:
        x, _ = samples.image_set(config.task, "test" if split == "test" else "train")
        return [x[number].float() / 255 for number in numbers]
    if config.task == "cola":
        known = sentences.cola("dev" if split == "validation" and not config.held_out else "train")
        return [known[number].text for number in numbers]
    part = "test" if split == "test" else "train"
    texts = _pair_texts(part)
    return [texts[number] for number in numbers]


def batches(split: Split, size: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Numbers of the examples of each batch of an epoch, in random order, or in order without a generator.

    Sentences are grouped by length within groups of SORTED_TOGETHER batches, whose batches come in random order.
    """
    count = len(split)
    device = split.y.device
    order = torch.randperm(count, generator=generator) if generator is not None else torch.arange(count)
    if split.lengths is None:
        yield from order.to(device).split(size)
        return
    lengths = split.lengths.cpu()
    if generator is None:  # evaluation: the whole split by length, so that little is padded
        yield from lengths.argsort(stable=True).to(device).split(size)
        return
    groups = [group[lengths[group].argsort(stable=True)] for group in order.split(size * SORTED_TOGETHER)]
    parts = [part for group in groups for part in group.split(size)]
    for number in torch.randperm(len(parts), generator=generator).tolist():
        yield parts[number].to(device)


def _digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """scikit-learn's 1,797 digits: the last fifth is the test set."""
    x, y = samples.digit_set()
    cut = _digit_cut(len(x))
    return (x[:cut, None], y[:cut]), (x[cut:, None], y[cut:])


def _digit_cut(count: int) -> int:
    return count * 4 // 5


def _pair_texts(split: str) -> list[str]:
    """Sentences of the grammar's pairs: the acceptable one, then the other."""
    pairs = grammar.everything(split, MINIMAL_PAIRS[split], seed=0)
    return [text for pair in pairs for text in (pair.acceptable, pair.unacceptable)]


def _split_images(known: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], config: RunConfig, scale: float) -> Task:
    """Keep 20 % of the training set, drawn with a fixed seed, for validation; then limit the rest."""
    x, y = known
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held = int(len(x) * VALIDATION_SHARE)
    validation = _limited(order[:held], y, config.eval_limit)
    train = _limited(order[held:], y, config.train_limit)
    judged = _limited(torch.arange(len(test[1])), test[1], config.eval_limit)
    return Task(
        Split(x[train], y[train], train, scale=scale),
        Split(x[validation], y[validation], validation, scale=scale),
        Split(test[0][judged], test[1][judged], judged, scale=scale),
        CLASSES[config.task],
    )


def _limited(train: Tensor, y: Tensor, limit: int) -> Tensor:
    """The first `limit` examples, evenly over the classes as far as they go."""
    if not limit or limit >= len(train):
        return train
    rank = torch.zeros(len(train), dtype=torch.long)  # how many of its class came before an example
    for label in y[train].unique():
        of_class = (y[train] == label).nonzero()[:, 0]
        rank[of_class] = torch.arange(len(of_class))
    return train[rank.argsort(stable=True)[:limit]]


def _cola(config: RunConfig, encoder: Encoder) -> Task:
    train, dev = sentences.cola("train"), sentences.cola("dev")
    x, lengths = encoder.tokenise([each.text for each in train])
    y = torch.tensor([int(each.acceptable) for each in train])
    if config.held_out:
        return _cola_held_out(x, y, lengths, config)
    chosen = _limited(torch.arange(len(train)), y, config.train_limit)
    dev_y = torch.tensor([int(each.acceptable) for each in dev])
    judged = _limited(torch.arange(len(dev)), dev_y, config.eval_limit)
    dev_x, dev_lengths = encoder.tokenise([dev[number].text for number in judged.tolist()])
    domain = torch.tensor([int(each.domain != "out") for each in dev]) if any(d.domain for d in dev) else None
    # report A's protocol: the development sentences are the validation set, and no test labels are public
    return Task(
        Split(x[chosen], y[chosen], chosen, lengths[chosen]),
        Split(dev_x, dev_y[judged], judged, dev_lengths, domain=domain[judged] if domain is not None else None),
        None,
        CLASSES[config.task],
    )


def _cola_held_out(x: Tensor, y: Tensor, lengths: Tensor, config: RunConfig) -> Task:
    """A share of the training sentences validates: options are chosen by it, so that the report's set stays unseen."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held = max(1, int(len(x) * config.held_out))
    validation, train = _limited(order[:held], y, config.eval_limit), _limited(order[held:], y, config.train_limit)
    return Task(
        Split(x[train], y[train], train, lengths[train]),
        Split(x[validation], y[validation], validation, lengths[validation]),
        None,
        CLASSES[config.task],
    )


def _minimal_pairs(config: RunConfig, encoder: Encoder) -> Task:
    """Pairs of our grammar; the vocabulary of the test split is unseen in training."""
    splits = {}
    for split in MINIMAL_PAIRS:
        texts = _pair_texts(split)
        splits[split] = (*encoder.tokenise(texts), torch.tensor([1, 0]).repeat(len(texts) // 2))
    x, lengths, y = splits["train"]
    pair = torch.arange(len(x)) // 2  # both sentences of a pair are on one side of the split
    held = (torch.randperm(len(x) // 2, generator=torch.Generator().manual_seed(0)) < len(x) // 2 * VALIDATION_SHARE)[
        pair
    ]
    validation, train = held.nonzero()[:, 0], (~held).nonzero()[:, 0]
    # the grammar gives one phenomenon after another: a limit takes some of each
    shuffle = torch.Generator().manual_seed(1)
    train = _limited(train[torch.randperm(len(train), generator=shuffle)], y, config.train_limit)
    validation = _limited(validation[torch.randperm(len(validation), generator=shuffle)], y, config.eval_limit)
    test_x, test_lengths, test_y = splits["test"]
    judged = _limited(torch.randperm(len(test_x), generator=shuffle), test_y, config.eval_limit)
    return Task(
        Split(x[train], y[train], train, lengths[train]),
        Split(x[validation], y[validation], validation, lengths[validation]),
        Split(test_x[judged], test_y[judged], judged, test_lengths[judged]),
        CLASSES[config.task],
    )
