"""Sentences: awkward typed lines, sets of our own, and CoLA in both layouts; each bad input's sentence."""

import os
import subprocess
import sys
import time
import types
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolviz.inputs import sentences
from poolviz.inputs.sentences import InputError, cola, cola_folder, download_cola, read_lines

ROOT = Path(__file__).parents[1]


def sentence(call, *arguments) -> str:
    """The one sentence of the InputError that a call raises."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 600
    return text


# ---- typed sentences ----


def test_the_module_needs_no_heavy_package_of_its_own():
    code = (
        "import sys; from poolviz.inputs import sentences\n"
        "sentences.read_lines('a'); sentences.cola_folder()\n"
        "print([m for m in ('datasets', 'huggingface_hub', 'transformers', 'streamlit') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sentences.EXAMPLES)
def test_our_sets_pass_unchanged(name):
    lines = sentences.EXAMPLES[name]
    assert 2 <= len(lines) <= 6 and max(map(len, lines)) <= 120 and len(set(lines)) == len(lines)
    assert name.isascii() and name.isalnum() and name.islower()
    assert read_lines("\n".join(lines)) == (list(lines), [])


def test_every_set_has_a_label():
    assert list(sentences.EXAMPLE_LABELS) == list(sentences.EXAMPLES)


def test_the_scripts_set_holds_what_it_shows():
    text = "".join(sentences.EXAMPLES["scripts"])
    assert {"R", "AL"} <= {unicodedata.bidirectional(character) for character in text}  # Hebrew and Arabic
    for part in ("猫", "🐈", "\u200d", "ë", "<b>bold</b> & <script>alert(1)</script>"):
        assert part in text


@pytest.mark.parametrize("mark", ["\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_lines_end_at_every_line_break(mark):
    assert read_lines(f"{mark}  one {mark}{mark} \t {mark}two{mark}") == (["one", "two"], [])


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\tb", "a b"),
        ("\ufeffa b", "a b"),  # a byte order mark
        ("\u200b \u00a0a", "a"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # a zero-width non-joiner is Persian spelling
        ("👩🏽\u200d🔬 ❤\ufe0f 🇺🇳", "👩🏽\u200d🔬 ❤\ufe0f 🇺🇳"),
        ("e\u0301te\u0301", "e\u0301te\u0301"),  # not normalised: the tokenizer decides
        ("<script>alert(1)</script> &amp; {{x}} $y$ `z`", "<script>alert(1)</script> &amp; {{x}} $y$ `z`"),
        ("?", "?"),
        ("x" * 2_000, "x" * 2_000),
    ],
)
def test_harmless_text_is_kept_without_a_notice(text, expected):
    assert read_lines(text) == ([expected], [])


@pytest.mark.parametrize(
    "text, kept, count",
    [
        ("a\x00b", "a b", "1 control character "),
        ("\x1b[31mred\x07", "[31mred", "2 control characters "),
        ("a\x7fb\x9fc", "a b c", "2 control characters "),
        ("a\x1cb", "a b", "1 control character "),
        ("a\ud83db\udc00", "a b", "2 control characters "),
        ("a" + "\x01" * 1_500 + "b", "a" + " " * 1_500 + "b", "1,500 control characters "),
    ],
)
def test_control_characters_and_half_pairs_become_spaces(text, kept, count):
    lines, notices = read_lines(text)
    assert lines == [kept] and len(notices) == 1 and f"Replaced {count}by spaces." in notices[0]
    lines[0].encode("utf-8")


@pytest.mark.parametrize("turn", [*"\u202a\u202b\u202c\u202d\u202e", *"\u2066\u2067\u2068\u2069"])
def test_direction_characters_are_removed(turn):
    assert read_lines(f"a{turn}b\n{turn}c") == (
        ["ab", "c"],
        ["Removed 2 invisible characters that would turn the direction of the text around them."],
    )


def test_right_to_left_text_needs_no_such_characters():
    assert read_lines("שלום\u200f!") == (["שלום\u200f!"], [])


def test_a_long_line_is_cut():
    lines, notices = read_lines("short\n" + "word " * 1_000)
    assert lines[0] == "short" and lines[1] == ("word " * 400).rstrip()
    assert notices == ["Sentence 2 had 4,999 characters; its first 1,999 are used."]


@pytest.mark.parametrize(
    "cluster", ["e\u0301\u0323", "👩🏽\u200d🔬", "❤\ufe0f", "க\u0bcd"], ids=["accents", "joined", "variation", "virama"]
)
def test_a_cut_keeps_letters_whole(cluster):
    for before in range(1, len(cluster) + 1):
        [line], [notice] = read_lines("x" * (2_000 - before) + cluster + "y" * 9)
        assert line == "x" * (2_000 - before) + (cluster if before == len(cluster) else "")
        assert f"{2_000 - before + len(cluster) + 9:,} characters" in notice and f"first {len(line):,} " in notice


def test_a_cut_inside_endless_accents_is_hard():
    [line], [notice] = read_lines("a" + "\u0301" * 3_000)
    assert len(line) == 2_000 and "3,001" in notice


def test_too_many_lines():
    lines, notices = read_lines("\n\n".join(f"line {number}" for number in range(13)))
    assert lines == [f"line {number}" for number in range(12)]
    assert notices == ["There were 13 sentences; the first 12 are used."]
    assert read_lines("\n".join("abcdefghijkl"))[1] == []


def test_what_is_not_used_gets_no_notice():
    assert len(read_lines("ok\n" * 12 + "bad\x00\u202e" + "x" * 9_000)[1]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\r\n\t",
        "\u00a0\u3000\u2003",
        "\x00\x01\x7f",
        "\ud800",
        "\u202e\u2066",
        "\u200b\u200d\ufeff\u2060\u00ad",
    ]
    + [
        "\u0301",
        "\ufe0f",
        "\u3164\u2800",
        " \x00\n\u200b\n\u202e ",
        pytest.param(" " * 10_000_000, id="10 MB of spaces"),
    ],
)
def test_nothing_to_read(text):
    assert sentence(read_lines, text).startswith("Write a sentence first: ")


@pytest.mark.parametrize("text", [None, 3, b"bytes", ["a"]])
def test_no_text(text):
    assert "Sentences must be text, not " in sentence(read_lines, text)


HUGE = {
    "one line": "a" * 10_000_000,
    "short lines": "a\n" * 5_000_000,
    "wide characters": "字\n" * 5_000_000,
    "accents": "e\u0301" * 5_000_000,
    "controls": "a" + "\x00" * 10_000_000,
    "overrides": "a" + "\u202e" * 10_000_000,
    "zero width, then a letter": "\u200b" * 100_000 + "a" * 9_900_000,
}


@pytest.mark.parametrize("case", HUGE)
def test_a_huge_text_is_bounded(case):
    start = time.process_time()
    lines, notices = read_lines(HUGE[case])
    assert time.process_time() - start < 1
    assert 1 <= len(lines) <= 12 and max(map(len, lines)) <= 2_000 and len(notices) <= 15
    assert notices[0] == f"The text has {len(HUGE[case]):,} characters; only its first 200,000 were read."


awkward = st.text(st.one_of(st.characters(), st.sampled_from("\x00\n\r\u202e\u2066\u200d\u0301\ud800🇺👩 \t\u2028")))


@settings(max_examples=500, deadline=None)
@given(st.one_of(awkward, awkward.map(lambda text: text * 300)))
def test_any_text_gives_clean_lines_or_an_input_error(text):
    try:
        lines, notices = read_lines(text)
    except InputError:
        return
    assert 1 <= len(lines) <= 12 and all(notice.endswith(".") for notice in notices)
    for line in lines:
        assert 0 < len(line) <= 2_000 and line == line.strip() and len(line.splitlines()) == 1
        assert not {unicodedata.category(character) for character in line} & {"Cc", "Cs"}
        assert not set(line) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert read_lines("\n".join(lines)) == (lines, [])  # what was cleaned once is clean


# ---- CoLA ----

TRAIN = "gj04\t1\t\tOur friends came.\nks08\t0\t*\tFriends our came.\n"
IN = "gj04\t1\t\tA cat “slept”.\ncj99\t0\t*\tA slept cat the.\n"
OUT = "clc95\t0\t?*\tWho you did see?"  # the release's own file ends without a line break


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A home and a POOLVIZ_DATA that hold nothing."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POOLVIZ_DATA", str(tmp_path / "data"))
    sentences._cola.cache_clear()
    return tmp_path


def write(root: Path, **files: str | bytes) -> Path:
    folder = root / "cola"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.tsv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


@pytest.mark.parametrize("place", ["data", "home/.cache/poolviz"])
def test_cola_as_released(bare, place):
    assert cola_folder() is cola_folder("train") is None
    folder = write(bare / place, in_domain_train=TRAIN, in_domain_dev=IN, out_of_domain_dev=OUT)
    assert cola_folder() == cola_folder("train") == folder
    assert cola("train") == (("Our friends came.", True, "in"), ("Friends our came.", False, "in"))
    assert cola("dev") == (
        ("A cat “slept”.", True, "in"),
        ("A slept cat the.", False, "in"),
        ("Who you did see?", False, "out"),
    )
    assert cola("dev") is cola("dev") and cola("dev")[2].domain == "out"


def test_cola_as_downloaded(bare):
    folder = write(bare / "home/.cache/poolviz", dev=IN)
    assert cola_folder("dev") == folder and cola_folder("train") is None
    assert cola("dev")[0] == ("A cat “slept”.", True, "")


def test_windows_line_ends_and_a_byte_order_mark(bare):
    write(bare / "data", in_domain_train="\ufeff" + TRAIN.replace("\n", "\r\n"))
    assert [line.text for line in cola("train")] == ["Our friends came.", "Friends our came."]


def test_cola_missing(bare):
    text = sentence(cola, "dev")
    assert "in_domain_dev.tsv is missing" in text and "POOLVIZ_DATA" in text and "download" in text
    assert str(bare / "data" / "cola") in text
    write(bare / "data", in_domain_dev=IN)
    assert "out_of_domain_dev.tsv is missing" in sentence(cola, "dev")
    assert "in_domain_train.tsv is missing" in sentence(cola, "train")


def test_cola_without_poolviz_data(bare, monkeypatch):
    monkeypatch.delenv("POOLVIZ_DATA")
    assert str(bare / "home/.cache/poolviz/cola") in sentence(cola, "dev")


@pytest.mark.parametrize("split", ["test", "", None, 3])
def test_cola_unknown_split(bare, split):
    for call in (cola, cola_folder):
        assert "choose one of train, dev" in sentence(call, split)


@pytest.mark.parametrize(
    "damaged, line",
    [
        (b"", 1),
        (b"<html>not found</html>\n", 1),
        (TRAIN + "gj04\t2\t\tA label that is none.\n", 3),
        (TRAIN + "gj04\t1\tA cell too few.\n", 3),
        (TRAIN + "gj04\t1\t\tA cell\ttoo many.\n", 3),
        (TRAIN + "gj04\t1\t\t \n", 3),
        (TRAIN + "\n" + TRAIN, 3),
        (TRAIN + "gj0", 3),
        (TRAIN.encode() + b"gj04\t1\t\tcaf\xe9\n", 3),
        (bytes(100), 1),
        (TRAIN + "x" * 100_000, 3),
    ],
)
def test_cola_damaged(bare, damaged, line):
    folder = write(bare / "data", in_domain_train=damaged, in_domain_dev=IN, out_of_domain_dev=OUT)
    text = sentence(cola, "train")
    assert text.startswith(f"Line {line} of {folder / 'in_domain_train.tsv'} is not ") and "again." in text
    assert len(cola("dev")) == 3  # the other split is whole
    write(bare / "data", in_domain_train=TRAIN)
    assert len(cola("train")) == 2  # a mended file is read


@pytest.mark.skipif("POOLVIZ_DATA" not in os.environ, reason="POOLVIZ_DATA is not set")
def test_real_cola_has_the_published_sizes():
    if cola_folder("train") is None or cola_folder("dev") is None:
        pytest.skip("no CoLA in POOLVIZ_DATA")
    train, dev = cola("train"), cola("dev")
    assert len(train) == 8_551 and len(dev) == 1_043
    assert 0.70 < sum(line.acceptable for line in train) / len(train) < 0.71  # 70.5 % in the paper's table
    assert sum(line.domain == "in" for line in dev) in (527, 0)  # 0: as downloaded
    assert sum(line.domain == "out" for line in dev) in (516, 0)


# ---- the download ----


def hub(monkeypatch, load, info=lambda *a, **k: None) -> None:
    """Stand-ins for the two packages of the download."""
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load))
    api = types.SimpleNamespace(dataset_info=info)
    fake = types.SimpleNamespace(is_offline_mode=lambda: False, HfApi=lambda: api)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)


def test_download(bare, monkeypatch):
    def load(name, config):
        assert (name, config) == ("nyu-mll/glue", "cola")
        return {
            "train": {"sentence": ["A dog barked.", "Barked dog\ta.\n"], "label": [1, 0]},
            "validation": {"sentence": ["It’s “fine”."], "label": [1]},
            "test": {"sentence": ["Unknown."], "label": [-1]},
        }

    hub(monkeypatch, load)
    write(bare / "home/.cache/poolviz", dev=IN)
    assert len(cola("dev")) == 2
    assert download_cola() is None
    assert cola("train") == (("A dog barked.", True, "in"), ("Barked dog a.", False, "in"))
    assert cola("dev") == (("It’s “fine”.", True, ""),)  # not what was read before
    folder = bare / "home/.cache/poolviz/cola"
    assert sorted(path.name for path in folder.iterdir()) == ["dev.tsv", "in_domain_train.tsv"]
    assert (folder / "in_domain_train.tsv").read_bytes() == b"glue\t1\t\tA dog barked.\nglue\t0\t*\tBarked dog a.\n"


class LibraryError(Exception):
    """An error of no class that the standard library knows."""


def broken(*arguments, **named):
    raise LibraryError("several\nlines")


@pytest.mark.parametrize(
    "load, info",
    [
        (broken, lambda *a, **k: None),
        (lambda *a: {}, broken),
        (lambda *a: {}, lambda *a, **k: None),
        (lambda *a: dict.fromkeys(("train", "validation"), {"sentence": ["a"], "label": [-1]}), lambda *a, **k: None),
        (lambda *a: dict.fromkeys(("train", "validation"), {"sentence": [], "label": []}), lambda *a, **k: None),
    ],
    ids=["load", "first answer", "no splits", "labels", "empty"],
)
def test_a_failed_download_leaves_what_was_there(bare, monkeypatch, load, info):
    hub(monkeypatch, load, info)
    folder = write(bare / "home/.cache/poolviz", dev=IN)
    assert "CoLA could not be downloaded" in sentence(download_cola)
    assert [path.name for path in folder.iterdir()] == ["dev.tsv"] and (folder / "dev.tsv").read_text() == IN


def test_download_without_room(bare, monkeypatch):
    splits = dict.fromkeys(("train", "validation"), {"sentence": ["a"], "label": [1]})
    hub(monkeypatch, lambda *a: splits)
    (bare / "home").write_text("a file where the folder would be")
    assert "room on the disk" in sentence(download_cola)


def test_download_without_the_package(bare, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # import raises ImportError
    assert "pip install datasets" in sentence(download_cola)


@pytest.mark.parametrize("offline", ["0", "1"])
def test_the_real_library_without_a_network(bare, offline):
    pytest.importorskip("datasets")
    code = (
        "import time, datasets; from poolviz.inputs.sentences import InputError, download_cola\n"
        "start = time.monotonic()\n"
        "try: download_cola()\n"
        "except InputError as error: print(error, time.monotonic() - start, sep='|')"
    )
    refused = "http://127.0.0.1:9"  # nobody listens there: a network that refuses at once
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        **dict.fromkeys(names, refused),
        "no_proxy": "",
        "NO_PROXY": "",
        "HF_HOME": str(bare / "hub"),
        "HF_HUB_OFFLINE": offline,
    }
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    text, seconds = out.stdout.strip().split("|")
    assert text.startswith("CoLA could not be downloaded") and text.endswith(".") and "POOLVIZ_DATA" in text
    assert float(seconds) < 10
    assert not list((bare / "home").rglob("*.tsv"))
