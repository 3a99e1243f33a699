"""Sentences to embed and pool: sets of our own, lines that somebody typed, and CoLA.

A typed text is untrusted and of any length: what comes back is at most MOST_SENTENCES lines of at most
MOST_CHARACTERS, without control characters, and every cut or replacement is told in a notice. Markup stays as it was
typed, since it is text like any other: whoever shows a sentence on a page escapes it there.

CoLA (Warstadt, Singh and Bowman, 2019, "Neural Network Acceptability Judgments") comes from the folder that
POOLVIZ_DATA names, from ~/.cache/poolviz, or by a download that the caller asked for. It is not part of this project.

What this module does not know: tokens, encoders, pooling, pages. Generated pairs of sentences are in grammar.py.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from poolviz.inputs.picture import InputError, shown
from poolviz.inputs.samples import cache_folder, data_folders

MOST_SENTENCES = 12
MOST_CHARACTERS = 2_000  # a line
MOST_TEXT = 200_000  # characters of a text that are looked at

EXAMPLE_LABELS = {
    "bank": "One word, two senses",
    "order": "Same words, other order",
    "negation": "A word turns the meaning",
    "paraphrase": "Same meaning or same words?",
    "length": "Among more and more words",
    "acceptable": "Acceptable or not",
    "scripts": "Scripts, emoji, markup",
}
EXAMPLES: dict[str, tuple[str, ...]] = {
    "bank": (
        "We sat on the bank of the river.",
        "We rested beside the water.",
        "She took her money to the bank.",
        "She paid her savings into an account.",
    ),
    "order": (
        "The dog bit the man.",
        "The man bit the dog.",
        "The man was bitten by the dog.",
        "Dog the man the bit.",
    ),
    "negation": (
        "The film was good.",
        "The film was not good.",
        "The film was bad.",
        "The film was not bad at all.",
    ),
    "paraphrase": (
        "The children were afraid of the storm.",
        "Thunder and wind frightened the kids.",
        "The storm was afraid of the children.",
        "The shop on the corner sells bread.",
    ),
    "length": (
        "The cat sleeps.",
        "The cat sleeps, as it does on most days of the week.",
        "Well, as far as I can tell from here, the cat sleeps, as it does on most days of the week, you know.",
        "Well, as far as I can tell from here, the train leaves, as it does on most days of the week, you know.",
    ),
    "acceptable": (
        "The keys to the old house are on the table.",
        "The keys to the old house is on the table.",
        "My sister has never seen any snow.",
        "My sister has often seen any snow.",
        "Which book did you read yesterday?",
        "Which book you did read yesterday?",
    ),
    "scripts": (
        "القطة تنام على السجادة.",
        "החתול ישן על השטיח.",
        "猫在垫子上睡觉。",
        "Zoë's naïve café owner sold crème brûlée in Łódź.",
        "The cat 🐈 sleeps 😴, says the scientist 👩🏽‍🔬.",
        "<b>bold</b> & <script>alert(1)</script>",
    ),
}

_BREAK = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Cc without the tab, which is a space like others, and Cs: half of a UTF-16 pair is no character
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
# Letters that fonts leave blank (Hangul fillers, an empty Braille cell) and variation selectors
_LOOKS_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_ZERO_WIDTH_JOINER = "\u200d"
_LONGEST_CLUSTER = 32  # code points that a cut steps back at most; a family emoji has 7 to 11


# ---- typed sentences ----


def _start(line: str) -> int | None:
    """Where the first character stands that shows: no space, control or zero-width character, or lone accent."""
    unseen = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn", "Me")
    shows = (i for i, c in enumerate(line) if unicodedata.category(c) not in unseen and c not in _LOOKS_BLANK)
    return next(shows, None)


def _clings(character: str) -> bool:
    """Whether a character belongs to the one before it: an accent, a joiner, a skin tone."""
    return (
        unicodedata.category(character) in ("Mn", "Mc", "Me")  # variation selectors are Mn
        or character == _ZERO_WIDTH_JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )


def _cut(line: str, most: int) -> str:
    """The first `most` characters, or a few less so as not to part a letter from its accents."""
    if len(line) <= most:
        return line
    for end in range(most, most - _LONGEST_CLUSTER, -1):
        if not _clings(line[end]) and line[end - 1] != _ZERO_WIDTH_JOINER:
            return line[:end].rstrip()
    return line[:most].rstrip()


def _counted(count: int, one: str, many: str) -> str:
    return f"1 {one}" if count == 1 else f"{count:,} {many}"


def _tidy(lines: list[str]) -> tuple[list[str], list[str]]:
    """Readable lines without control and direction characters, each cut to MOST_CHARACTERS, and what was done."""
    sentences, long_lines, controls, turns = [], [], 0, 0
    for number, line in enumerate(lines, 1):
        line, replaced = _CONTROL.subn(" ", line)
        line, removed = _BIDI.subn("", line)
        line = line[_start(line) :].replace("\t", " ").rstrip()
        controls, turns = controls + replaced, turns + removed
        short = _cut(line, MOST_CHARACTERS)
        if short != line:
            long_lines.append(f"Sentence {number} had {len(line):,} characters; its first {len(short):,} are used.")
        sentences.append(short)
    notices = []
    if controls:
        notices.append(f"Replaced {_counted(controls, 'control character', 'control characters')} by spaces.")
    if turns:
        characters = _counted(turns, "invisible character", "invisible characters")
        notices.append(f"Removed {characters} that would turn the direction of the text around them.")
    return sentences, notices + long_lines


def read_lines(text: str) -> tuple[list[str], list[str]]:
    """The sentences of a typed text, one a line, and notices of what was cut or replaced.

    Lines that show nothing, spaces around a line, and invisible characters before it are dropped without a notice; a
    tab becomes a space. Other control characters and halves of surrogate pairs become spaces; characters that embed,
    isolate or override the writing direction (U+202A to U+202E, U+2066 to U+2069) are removed, since they could
    reorder the page around the sentence. At most MOST_TEXT characters are looked at, MOST_SENTENCES lines returned,
    and MOST_CHARACTERS of each: a text of any length takes a bounded time.

    Returns (sentences, notices), each a list of strings; sentences holds 1 to MOST_SENTENCES. Raises InputError where
    nothing readable remains.
    """
    if not isinstance(text, str):
        raise InputError(f"Sentences must be text, not {shown(text)}: write one sentence a line.")
    lines = [line for line in _BREAK.split(text[:MOST_TEXT]) if _start(line) is not None]
    if not lines:
        raise InputError("Write a sentence first: the text holds nothing that can be read.")
    notices = []
    if len(text) > MOST_TEXT:
        notices.append(f"The text has {len(text):,} characters; only its first {MOST_TEXT:,} were read.")
    if len(lines) > MOST_SENTENCES:
        notices.append(f"There were {len(lines):,} sentences; the first {MOST_SENTENCES} are used.")
    sentences, done = _tidy(lines[:MOST_SENTENCES])
    return sentences, notices + done


# ---- CoLA ----

# split -> the file names of CoLA's own release, with their domain, then those that download_cola writes
_ORIGINAL = {
    "train": (("in_domain_train.tsv", "in"),),
    "dev": (("in_domain_dev.tsv", "in"), ("out_of_domain_dev.tsv", "out")),
}
_DOWNLOADED = {
    "train": _ORIGINAL["train"],
    "dev": (("dev.tsv", ""),),  # GLUE does not say which sentence is of which domain
}
_HUB = "nyu-mll/glue"
_PATIENCE = 5.0  # seconds for the hub's first answer


class ColaSentence(NamedTuple):
    """One sentence of CoLA with its authors' judgement."""

    text: str
    acceptable: bool
    domain: str  # "in": from the sources that the training set is from; "out": from others; "": not known


def _layout(folder: Path, split: str) -> tuple[tuple[str, str], ...] | None:
    """The (file name, domain) pairs that hold `split` in `folder`; None where a file is missing."""
    if split not in _ORIGINAL:
        raise InputError(f"CoLA has no split {shown(split)} here: choose one of {', '.join(_ORIGINAL)}.")
    for files in (_ORIGINAL[split], _DOWNLOADED[split]):
        if all((folder / name).is_file() for name, _ in files):
            return files
    return None


def cola_folder(split: str = "dev") -> Path | None:
    """The first folder that holds the files of CoLA's `split`, "dev" or "train"; None where there is none.

    Looks at `cola` in the folder that POOLVIZ_DATA names, then in ~/.cache/poolviz. Raises InputError for an unknown
    split.
    """
    folders = [root / "cola" for root in data_folders()]
    return next((folder for folder in folders if _layout(folder, split)), None)


def _cola_lines(path: Path, domain: str) -> list[ColaSentence]:
    """The sentences of one TSV: source, label (1 acceptable, 0 not), author's mark, sentence; no header, no quotes."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"Line {number} of {path} is not UTF-8 text: copy or download CoLA again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): copy or download CoLA again.") from error
    sentences = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        cells = line.removesuffix("\r").split("\t")
        if len(cells) != 4 or cells[1] not in ("0", "1") or not cells[3].strip():
            raise InputError(
                f"Line {number} of {path} is not source, label (0 or 1), mark and sentence with tabs between them but "
                f"{shown(line)}: copy or download CoLA again."
            )
        sentences.append(ColaSentence(cells[3].strip(), cells[1] == "1", domain))
    return sentences


@functools.lru_cache(maxsize=4)
def _cola(folder: Path, files: tuple[tuple[str, str], ...]) -> tuple[ColaSentence, ...]:
    return tuple(sentence for name, domain in files for sentence in _cola_lines(folder / name, domain))


def cola(split: str) -> tuple[ColaSentence, ...]:
    """CoLA's sentences in the order of its files: "train" (8,551) or "dev" (527 in domain and 516 out of it).

    The public test set has no labels and is not read. Raises InputError for an unknown split and for files that are
    missing or damaged.
    """
    folder = cola_folder(split)
    if folder is None:
        expected = data_folders()[0] / "cola"
        missing = next(name for name, _ in _ORIGINAL[split] if not (expected / name).is_file())
        raise InputError(
            f"CoLA is not at hand ({expected / missing} is missing): set POOLVIZ_DATA to a folder laid out as "
            "cola/*.tsv, or download it with a network."
        )
    return _cola(folder, _layout(folder, split))


def _hub_rows() -> dict[str, list[tuple[str, int]]]:
    """File name -> (sentence, label) pairs, from the hub or from the cache of `datasets`."""
    import datasets
    import huggingface_hub

    if not huggingface_hub.is_offline_mode():
        # load_dataset tries six times, in 23 s, before it says that there is no network, and no setting bounds that
        huggingface_hub.HfApi().dataset_info(_HUB, timeout=_PATIENCE)
    loaded = datasets.load_dataset(_HUB, "cola")
    named = {"in_domain_train.tsv": loaded["train"], "dev.tsv": loaded["validation"]}
    return {name: list(zip(part["sentence"], part["label"], strict=True)) for name, part in named.items()}


def _write_tsv(path: Path, rows: Iterable[tuple[str, int]]) -> None:
    lines = (f"glue\t{label}\t{'' if label else '*'}\t{' '.join(sentence.split())}\n" for sentence, label in rows)
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def download_cola() -> None:
    """Fetch CoLA's "train" and "dev" from the Hugging Face hub's GLUE into ~/.cache/poolviz/cola, where `cola` looks.

    Needs the package `datasets`, which keeps its own copy too. Raises InputError where that is not installed, and for
    every failure of the download; no half-written file is left, and one that was there before stays.
    """
    folder = cache_folder() / "cola"
    try:
        rows = _hub_rows()
        folder.mkdir(parents=True, exist_ok=True)
        # Written aside, checked, then moved: another session never reads, or leaves, half a file.
        with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as scratch:
            for name, part in rows.items():
                _write_tsv(Path(scratch, name), part)
                _cola_lines(Path(scratch, name), "")
            for name in rows:
                os.replace(Path(scratch, name), folder / name)
    except ImportError as error:
        raise InputError("CoLA is downloaded by the package datasets: pip install datasets, then try again.") from error
    # Errors of httpx, fsspec, pyarrow and of the hub's libraries share no other class.
    except Exception as error:
        raise InputError(
            f"CoLA could not be downloaded to {folder} (is there a network, and room on the disk?): try again with "
            "one, or set POOLVIZ_DATA to a folder laid out as cola/*.tsv."
        ) from error
    _cola.cache_clear()
