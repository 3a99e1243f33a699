"""A task's examples: against the raw files, and the promises about splits, limits and batches."""

import csv
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from poolviz.inputs.encoder import load_encoder
from poolviz.training.config import default_config
from poolviz.training.data import SORTED_TOGETHER, Split, batches, load_task, look_up

DATA = Path(os.environ.get("POOLVIZ_DATA") or "/nowhere")
needs_mnist = pytest.mark.skipif(not (DATA / "MNIST").is_dir(), reason="POOLVIZ_DATA holds no MNIST")
needs_cola = pytest.mark.skipif(not (DATA / "cola").is_dir(), reason="POOLVIZ_DATA holds no CoLA")


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture(scope="module")
def pairs(encoder):
    return load_task(default_config("minimal-pairs", train_limit=0), encoder)


@pytest.fixture(scope="module")
def cola(encoder):
    return load_task(default_config("cola"), encoder)


def numbers(split: Split) -> set[int]:
    found = set(split.index.tolist())
    assert len(found) == len(split)
    return found


# ---- images ----


def test_digits_are_scikit_learns_and_their_splits_share_no_picture():
    task, (x, y) = load_task(default_config("digits")), load_digits(return_X_y=True)
    train, validation = numbers(task.train), numbers(task.validation)
    assert not train & validation and train | validation == set(range(1437))
    assert len(validation) == int(0.2 * 1437) and numbers(task.test) == set(range(360))
    for split, first in ((task.train, 0), (task.validation, 0), (task.test, 1437)):
        rows = split.index + first
        assert np.array_equal(split.x.flatten(1).numpy(), x[rows]) and np.array_equal(split.y.numpy(), y[rows])
    known = {picture.tobytes() for picture in x[:1437]}
    assert not known & {picture.tobytes() for picture in task.test.x.flatten(1).double().numpy()}
    batch = task.train.batch(torch.tensor([3, 5]))
    assert batch["x"].dtype == torch.float32 and batch["x"].shape == (2, 1, 8, 8)
    assert np.array_equal(batch["x"].flatten(1).numpy(), (x[task.train.index[[3, 5]]] / 16).astype("float32"))


@needs_mnist
def test_mnist_is_what_its_raw_files_hold():
    task = load_task(default_config("mnist"))
    assert [len(split) for split in (task.train, task.validation, task.test)] == [48_000, 12_000, 10_000]
    assert not numbers(task.train) & numbers(task.validation) and len(task.classes) == 10
    for prefix, splits in (("train", (task.train, task.validation)), ("t10k", (task.test,))):
        x = np.fromfile(DATA / "MNIST" / "raw" / f"{prefix}-images-idx3-ubyte", np.uint8)[16:].reshape(-1, 784)
        y = np.fromfile(DATA / "MNIST" / "raw" / f"{prefix}-labels-idx1-ubyte", np.uint8)[8:]
        for split in splits:
            assert np.array_equal(split.y.numpy(), y[split.index])
            assert np.array_equal(split.x.flatten(1).numpy(), x[split.index])
    assert task.train.scale == 255 and float(task.train.batch(torch.arange(99))["x"].max()) == 1.0


def test_the_split_is_the_same_for_every_run():
    tasks = [load_task(default_config("digits", seed=seed, pooling=name)) for seed, name in ((0, "max"), (7, "none"))]
    for split in ("train", "validation", "test"):
        assert torch.equal(*(getattr(task, split).index for task in tasks))


@pytest.mark.parametrize("limit", [1, 9, 10, 100, 105, 287, 1000, 5000])
def test_a_limit_is_even_over_the_classes_and_takes_from_its_own_split(limit):
    whole = load_task(default_config("digits"))
    task = load_task(default_config("digits", train_limit=limit, eval_limit=limit))
    for name in ("train", "validation", "test"):
        full, part = getattr(whole, name), getattr(task, name)
        assert len(part) == min(limit, len(full)) and numbers(part) <= numbers(full)
        labels = dict(zip(full.index.tolist(), full.y.tolist(), strict=True))
        assert [labels[number] for number in part.index.tolist()] == part.y.tolist()
        counts = part.y.bincount(minlength=10)
        short = counts == full.y.bincount(minlength=10)  # nothing more to take of these
        assert short.all() or int(counts.max() - counts[~short].min()) <= 1


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_picture_is_found_again_by_its_number(split):
    config = default_config("digits", train_limit=50, eval_limit=50)
    part = getattr(load_task(config), split)
    found = torch.stack(look_up(config, split, part.index.tolist()))
    assert torch.equal(found[:, None], part.batch(torch.arange(50))["x"])


# ---- text ----


def rows(name: str) -> list[list[str]]:
    with (DATA / "cola" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@needs_cola
def test_a_held_out_tenth_of_the_training_sentences_validates_and_the_development_set_is_left_alone(encoder, cola):
    config = default_config("cola", held_out=0.1)
    task = load_task(config, encoder)
    assert (len(task.train), len(task.validation), task.test) == (7696, 855, None)
    assert sorted([*task.train.index.tolist(), *task.validation.index.tolist()]) == list(range(8551))
    for split in (task.train, task.validation):
        assert torch.equal(split.x, cola.train.x[split.index]) and torch.equal(split.y, cola.train.y[split.index])
    number = int(task.validation.index[0])
    assert look_up(config, "validation", [number]) == look_up(default_config("cola"), "train", [number])
    assert torch.equal(load_task(replace(config, seed=7), encoder).validation.index, task.validation.index)


def test_only_cola_has_a_held_out_share():
    with pytest.raises(ValueError, match="held_out is for cola: mnist always holds out a fifth"):
        default_config("mnist", held_out=0.1)


def test_some_of_a_split_are_drawn_alike_each_time_and_no_more_than_there_are():
    train = load_task(default_config("digits", train_limit=90)).train
    few = train.some(20)
    assert len(few) == 20 and len(set(few.index.tolist())) == 20 and torch.equal(few.x, train.some(20).x)
    assert torch.equal(train.some(1000).index, train.index)


@needs_cola
def test_cola_is_what_its_tables_hold(cola):
    assert len(cola.train) == 8551 and len(cola.validation) == 1043 and cola.test is None
    dev = rows("in_domain_dev.tsv") + rows("out_of_domain_dev.tsv")
    for split, table in ((cola.train, rows("in_domain_train.tsv")), (cola.validation, dev)):
        assert split.y.tolist() == [int(table[number][1]) for number in split.index.tolist()]
    assert cola.validation.domain.tolist() == [1] * 527 + [0] * 516
    assert cola.classes[1] == "acceptable"


@needs_cola
def test_a_cola_limit_keeps_labels_domains_and_word_pieces_together(cola, encoder):
    config = default_config("cola", train_limit=300, eval_limit=300)
    part = load_task(config, encoder)
    assert part.train.y.bincount().tolist() == part.validation.y.bincount().tolist() == [150, 150]
    for name in ("train", "validation"):
        split, full = getattr(part, name), getattr(cola, name)
        width = split.x.shape[1]
        assert torch.equal(split.x, full.x[split.index, :width]) and torch.equal(split.y, full.y[split.index])
        assert torch.equal(split.lengths, full.lengths[split.index])
    assert torch.equal(part.validation.domain, cola.validation.domain[part.validation.index])
    text = look_up(config, "validation", part.validation.index[:20].tolist())
    assert torch.equal(encoder.tokenise(text)[1], part.validation.lengths[:20])


def test_tokenising_many_equals_the_tokenizer_called_one_by_one(encoder):
    texts = ["They sleep.", "", "猫 🐈 naïve [MASK]", "word " * 400, "Antidisestablishmentarianism!", "a\x00b"]
    ids, lengths = encoder.tokenise(texts)
    for text, row, length in zip(texts, ids, lengths.tolist(), strict=True):
        alone = encoder.tokenizer(text, truncation=True, max_length=encoder.limit)["input_ids"]
        assert row[:length].tolist() == alone and set(row[length:].tolist()) <= {encoder.tokenizer.pad_token_id}
    assert ids.shape[1] == int(lengths.max()) == encoder.limit


# words that both splits need: determiners, pronouns, auxiliaries, prepositions, times, and the frame "X said that"
FUNCTION_WORDS = """
a all an and another any anyone anything at be been before behind beside both by can could did do does each
ever  every everyone few had has have he her hers herself him himself his i in is it its itself last many may
might  monday morning much must my myself near never night no nobody none nor not of on one or our ourselves
several  she should some somebody someone than that the their theirs them themselves these they this those to
two was we  week were what when where whether which who whom whose will with without would yesterday you your
yourself  yourselves day are being often there for from during after while because if only more most as how
why into but  am me us nothing something so too very himselves theirselves hisself theirself  s said again
just recently
"""


def test_both_sentences_of_a_pair_are_on_one_side(pairs):
    train, validation = numbers(pairs.train), numbers(pairs.validation)
    assert not train & validation and train | validation == set(range(8000))
    assert len(validation) == 1600
    for side in (train, validation, numbers(pairs.test)):
        assert {number ^ 1 for number in side} == side  # 2k and 2k + 1 are the two sentences of pair k
    config = default_config("minimal-pairs")
    for name in ("train", "test"):
        good, bad = look_up(config, name, [0, 1])
        assert good != bad and len(set(good.split()) ^ set(bad.split())) <= 2
    for split in (pairs.train, pairs.validation, pairs.test):
        assert torch.equal(split.y, 1 - split.index % 2)  # the acceptable one first


def test_the_test_splits_words_are_unseen_in_training():
    config, words = default_config("minimal-pairs"), {}
    for name, count in (("train", 8000), ("test", 2000)):
        words[name] = set(re.findall(r"[a-z]+", " ".join(look_up(config, name, range(count))).lower()))
    shared = words["train"] & words["test"]
    assert not shared - set(FUNCTION_WORDS.split())
    assert min(len(words[name] - shared) for name in words) > 100


def test_a_limit_of_pairs_takes_of_both_labels_and_leaves_the_splits_apart(pairs, encoder):
    part = load_task(default_config("minimal-pairs", train_limit=100, eval_limit=50), encoder)
    assert [split.y.bincount().tolist() for split in (part.train, part.validation, part.test)] == [
        [50, 50],
        [25, 25],
        [25, 25],
    ]
    for name in ("train", "validation", "test"):
        split, full = getattr(part, name), getattr(pairs, name)
        assert numbers(split) <= numbers(full)
        texts = look_up(default_config("minimal-pairs"), name, split.index.tolist())
        ids, lengths = encoder.tokenise(texts)
        assert torch.equal(lengths, split.lengths) and torch.equal(ids, split.x[:, : ids.shape[1]])


# ---- batches ----


def split_of(lengths: list[int] | None, count: int = 0) -> Split:
    """A split whose word pieces are 1 + the example's number, padded by 0."""
    count = len(lengths) if lengths is not None else count
    y = torch.zeros(count, dtype=torch.long)
    if lengths is None:
        return Split(torch.zeros(count, 1, 2, 2, dtype=torch.uint8), y, torch.arange(count))
    longest, places = torch.tensor(lengths), torch.arange(max(lengths) + 3)
    x = torch.where(places < longest[:, None], 1 + torch.arange(count)[:, None], 0)
    return Split(x, y, torch.arange(count), longest)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=150), st.integers(1, 40), st.booleans(), st.booleans())
def test_batches_cover_every_example_once(lengths, size, text, shuffled):
    split = split_of(lengths if text else None, len(lengths))
    generator = torch.Generator().manual_seed(5) if shuffled else None
    parts = list(batches(split, size, generator))
    assert sorted(torch.cat(parts).tolist()) == list(range(len(lengths)))
    assert len(parts) == math.ceil(len(lengths) / size)
    assert sorted(len(part) for part in parts)[1:] == [size] * (len(parts) - 1)  # all but one are full
    if not shuffled and not text:
        assert torch.cat(parts).tolist() == list(range(len(lengths)))
    if text:
        for part in parts:
            inside = split.lengths[part].tolist()
            assert inside == sorted(inside)
            batch = split.batch(part)
            assert batch["ids"].shape == batch["mask"].shape == (len(part), max(inside))
            assert batch["mask"].sum(1).tolist() == inside
            assert torch.equal(batch["mask"], batch["ids"] != 0)  # ones first, and every word piece under one
            assert batch["ids"][:, 0].tolist() == [1 + number for number in part.tolist()]
    if text and not shuffled:
        assert split.lengths[torch.cat(parts)].tolist() == sorted(lengths)


@pytest.mark.parametrize("text", [False, True])
def test_the_order_is_the_generators(text):
    split = split_of([1 + number * 7 % 13 for number in range(500)] if text else None, 500)

    def order(seed: int) -> list[int]:
        return torch.cat(list(batches(split, 4, torch.Generator().manual_seed(seed)))).tolist()

    assert order(3) == order(3) != order(4)
    assert order(3) != sorted(order(3))
    first = [int(split.lengths[part].float().mean()) for part in batches(split, 4, torch.Generator())] if text else []
    assert first != sorted(first) or not text  # short batches do not all come first


@needs_cola
def test_grouping_by_length_saves_most_of_the_padding(cola):
    lengths, size = cola.train.lengths, 16

    def padded(parts) -> int:
        return sum(int(lengths[part].max()) * len(part) - int(lengths[part].sum()) for part in parts)

    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0))
    assert SORTED_TOGETHER > 1
    assert padded(batches(cola.train, size, torch.Generator().manual_seed(0))) < 0.25 * padded(order.split(size))


def test_moving_a_split_keeps_everything(pairs):
    moved = replace(pairs.validation, domain=pairs.validation.y).to(torch.device("meta"))
    for name in ("x", "y", "index", "lengths", "domain"):
        assert getattr(moved, name).device.type == "meta"
    assert moved.scale == pairs.validation.scale and pairs.to(torch.device("meta")).test.x.device.type == "meta"
