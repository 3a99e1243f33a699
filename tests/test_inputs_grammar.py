"""Minimal pairs: minimal, distinct, right in their articles, the same for a seed, apart in words between splits."""

import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolviz.inputs import grammar
from poolviz.inputs.grammar import PHENOMENA, VOCABULARIES, everything, how_many, minimal_pairs

ROOT = Path(__file__).parents[1]
OPEN = ("person", "thing", "rest", "handle", "judge", "trait", "look", "she", "he", "woman", "man")  # content words
CASES = [(phenomenon, split) for phenomenon in PHENOMENA for split in VOCABULARIES]


def words(sentence: str) -> list[str]:
    return re.findall(r"[a-z]+|'s", sentence.lower())


def content(split: str) -> set[str]:
    """All forms of a split's content words."""
    entries = (entry for kind in OPEN for entry in getattr(VOCABULARIES[split], kind))
    return {form.lower() for entry in entries for form in ([entry] if isinstance(entry, str) else entry)}


def many(phenomenon: str, split: str, most: int = 3_000) -> tuple[grammar.MinimalPair, ...]:
    return minimal_pairs(phenomenon, min(most, how_many(phenomenon, split)), 0, split)


def sentence(call, *arguments) -> str:
    """The one sentence of the ValueError that a call raises."""
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 300
    return text


# ---- the pairs ----


@pytest.mark.parametrize("phenomenon, split", CASES)
def test_a_pair_differs_in_one_word_or_in_order_alone(phenomenon, split):
    for pair in many(phenomenon, split):
        left, right = words(pair.acceptable), words(pair.unacceptable)
        assert left != right and len(left) == len(right) and pair.phenomenon == phenomenon
        changed = sum(a != b for a, b in zip(left, right, strict=True))
        assert changed == 1 or Counter(left) == Counter(right), pair
        # what differs stands in one stretch: the same words before it and behind it
        places = [i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]
        assert places[-1] - places[0] < 5


@pytest.mark.parametrize("phenomenon, split", CASES)
def test_sentences_are_well_formed(phenomenon, split):
    for pair in many(phenomenon, split):
        for text in pair[:2]:
            assert re.fullmatch(r"[A-Z][A-Za-z' ]+[.?]", text) and "  " not in text, text
            assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), text


def test_no_word_breaks_the_rule_for_articles():
    # letters that mislead: a mute h, and a u or eu said as in "you"
    for split in VOCABULARIES:
        odd = [word for word in content(split) if re.match(r"hour|hon|heir|eu|ew|one|uni|use|usu|uti|ura", word)]
        assert odd == []


@pytest.mark.parametrize("phenomenon, split", CASES)
def test_every_acceptable_and_every_unacceptable_sentence_is_another(phenomenon, split):
    pairs = many(phenomenon, split, 6_000)
    assert len({pair.acceptable for pair in pairs}) == len(pairs)
    assert len({pair.unacceptable for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("split", VOCABULARIES)
def test_no_sentence_is_called_both(split):
    pairs = everything(split, 27_000, 1)
    assert not {pair.acceptable for pair in pairs} & {pair.unacceptable for pair in pairs}


@pytest.mark.parametrize("phenomenon, split", CASES)
def test_a_number_gives_each_pair_once(phenomenon, split):
    total = how_many(phenomenon, split)
    assert total > 3_000
    if total < 6_000:  # all of them
        assert len(set(minimal_pairs(phenomenon, total, 3, split))) == total


EXPECTED = {
    "agreement": ("The pilot waits every day.", "The pilot wait every day."),
    "attraction": ("The pilot near the farmers waits every day.", "The pilot near the farmers wait every day."),
    "determiner": ("The pilot damaged a lamp.", "The pilot damaged a lamps."),
    "reflexive": ("Mary admired herself yesterday.", "Mary admired himself yesterday."),
    "polarity": ("No pilot has ever waited.", "The pilot has ever waited."),
    "argument": ("Mary damaged the lamp yesterday.", "Mary waited the lamp yesterday."),
    "auxiliary": ("The pilot will wait again.", "The pilot will waited again."),
    "question": ("What did the pilot damage yesterday?", "What the pilot did damage yesterday?"),
    "order": ("The pilot damaged the lamp.", "Pilot the damaged the lamp."),
}


@pytest.mark.parametrize("phenomenon", PHENOMENA)
def test_the_first_pair(phenomenon):
    assert grammar._pair(grammar._TEMPLATES[phenomenon][0], VOCABULARIES["train"], 0) == EXPECTED[phenomenon]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a umbrella and a lamp", "An umbrella and a lamp"),
        ("a ugly lamp", "An ugly lamp"),
        ("we saw an apple", "We saw an apple"),
        ("a yellow apple", "A yellow apple"),
    ],
)
def test_articles(text, expected):
    assert grammar._finished(text) == expected


# ---- vocabularies ----


def test_train_and_test_share_no_content_word():
    assert not content("train") & content("test")
    for split, other in (("train", "test"), ("test", "train")):
        used = {word for pair in everything(split, 9_000, 0) for text in pair[:2] for word in words(text)}
        assert not used & content(other)
        assert used >= {entry[0] for entry in VOCABULARIES[split].person}  # the words are in use
        assert len(used - content(split)) < 90  # function words


@pytest.mark.parametrize("split", VOCABULARIES)
def test_no_word_is_listed_twice(split):
    listed = VOCABULARIES[split]
    for kind, entries in listed._asdict().items():
        assert len(set(entries)) == len(entries), kind
    nouns = [form for noun in listed.person + listed.thing for form in noun]
    verbs = [form for verb in listed.rest + listed.handle + listed.judge for form in set(verb)]
    assert len({*nouns, *verbs}) == len(nouns) + len(verbs)
    for verb in listed.rest + listed.handle + listed.judge:
        assert len({verb.base, verb.s, verb.past, verb.ing}) == 4 and verb.done != verb.base
        assert verb.ing.endswith("ing") and verb.s[:-3] in verb.base and verb.s.endswith("s")
    for noun in listed.person + listed.thing:
        assert noun.many in (noun.one + "s", noun.one + "es")


def test_both_splits_have_as_many_pairs():
    for phenomenon in PHENOMENA:
        assert how_many(phenomenon, "train") == how_many(phenomenon, "test")


def test_every_template_names_known_kinds_and_one_choice():
    assert list(grammar._TEMPLATES) == list(PHENOMENA) and len(PHENOMENA) >= 6
    for templates in grammar._TEMPLATES.values():
        for template in templates:
            assert grammar._CHOICE.search(template)
            for name in grammar._places(template, 1) + grammar._places(template, 2):
                assert name.rstrip("2") in grammar.Vocabulary._fields


# ---- drawing ----


@pytest.mark.parametrize("phenomenon, split", CASES)
def test_a_seed_decides(phenomenon, split):
    first = minimal_pairs(phenomenon, 50, 7, split)
    random.seed(0)  # the global generator has no say
    assert first == minimal_pairs(phenomenon, 50, 7, split) and len(set(first)) == 50
    assert first != minimal_pairs(phenomenon, 50, 8, split)


def test_another_process_draws_the_same():
    code = (
        "import sys; from poolviz.inputs.grammar import everything\n"
        "print(everything('test', 5, 3)); print([m for m in ('torch', 'numpy', 'streamlit') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == [str(everything("test", 5, 3)), "[]"]


def test_everything_is_balanced_over_phenomena_and_templates():
    pairs = everything("train", 900, 0)
    assert len(set(pairs)) == 900 and pairs == everything("train", 900, 0) != everything("train", 900, 1)
    assert Counter(pair.phenomenon for pair in pairs) == dict.fromkeys(PHENOMENA, 100)
    assert {pair.phenomenon for pair in pairs[:60]} == set(PHENOMENA)  # in random order
    uneven = Counter(pair.phenomenon for pair in everything("test", 905, 0))
    assert set(uneven.values()) == {100, 101}
    endings = Counter(" very " in pair.acceptable for pair in minimal_pairs("agreement", 300, 0))
    assert endings[True] == 100  # two of six templates, though they have 6 % of the pairs


def test_everything_beyond_the_smallest_phenomenon():
    pairs = everything("train", 60_000, 0)
    tally = Counter(pair.phenomenon for pair in pairs)
    assert len(set(pairs)) == 60_000
    smallest = min(PHENOMENA, key=how_many)
    assert tally[smallest] == how_many(smallest) < tally["attraction"]


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=6).flatmap(
        lambda s: st.tuples(st.just(s), st.integers(0, sum(s)))
    )
)
@settings(max_examples=200, deadline=None)
def test_shares_are_even_and_fit(case):
    sizes, count = case
    shares = grammar._shares(count, sizes)
    assert sum(shares) == count and all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    open_shares = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    assert not open_shares or max(shares) - min(open_shares) <= 1


def test_none_is_none():
    assert minimal_pairs("order", 0, 0) == everything("train", 0, 0) == ()


def test_bad_questions():
    assert "'orders': choose one of agreement, attraction" in sentence(minimal_pairs, "orders", 1, 0)
    assert "'dev': choose one of train, test" in sentence(minimal_pairs, "order", 1, 0, "dev")
    assert "'dev': choose one of train, test" in sentence(everything, "dev", 1, 0)
    assert "orders" in sentence(how_many, "orders") and "dev" in sentence(how_many, "order", "dev")
    total = how_many("order")
    for count in (total + 1, -1, 1.5, "3", None):
        text = sentence(minimal_pairs, "order", count, 0)
        assert f"from 0 to {total:,}, as many as order in train has" in text and repr(count) in text
    total = sum(how_many(phenomenon, "test") for phenomenon in PHENOMENA)
    assert f"{total:,}, as many as test has" in sentence(everything, "test", total + 1, 0)
