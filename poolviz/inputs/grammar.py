"""Minimal pairs of English sentences from a small grammar of ours: one acceptable, one not, by a single phenomenon.

A pair differs in one word or in the order of its words, and in nothing else. A template writes the difference as
[acceptable|unacceptable] and its open places as {kind.form}:

    the {person.one} near the {person2.many} [{rest.s}|{rest.base}] {often}.
    The pilot near the farmers waits every day. / The pilot near the farmers wait every day.

The kinds are the fields of Vocabulary; a kind's second word, {person2}, is never its first. Pairs are counted and
drawn by number, so nothing is ever listed in full. The splits "train" and "test" share templates and function words,
but no noun, verb, adjective or name: what is learned on one and holds on the other is no list of words.

The idea of minimal pairs by phenomenon is that of BLiMP (Warstadt et al., 2020); templates and words are our own.
What this module does not know: tokens, encoders, training. English is its only language.
"""

from __future__ import annotations

import functools
import operator
import random
import re
from collections.abc import Iterable
from math import prod
from string import Formatter
from typing import NamedTuple


class MinimalPair(NamedTuple):
    """Two sentences that differ in one word or in word order."""

    acceptable: str
    unacceptable: str
    phenomenon: str  # a key of PHENOMENA


# ---- words ----


class Noun(NamedTuple):
    """A noun that can be counted."""

    one: str
    many: str


class Verb(NamedTuple):
    """A verb whose five forms differ from each other, except that past and done may be the same."""

    base: str
    s: str  # third person singular, present
    past: str
    done: str  # past participle
    ing: str


class Vocabulary(NamedTuple):
    """The words of one split; each field is a kind that a template may name."""

    person: tuple[Noun, ...]
    thing: tuple[Noun, ...]
    rest: tuple[Verb, ...]  # a person does it, and never has an object, not even in the passive
    handle: tuple[Verb, ...]  # a person does it to one thing; without the thing it makes no sense at all
    judge: tuple[Verb, ...]  # a person does it to a person, also to himself or herself
    trait: tuple[str, ...]  # adjectives of persons that are no nouns or verbs as well
    look: tuple[str, ...]  # adjectives of things
    she: tuple[str, ...]  # names
    he: tuple[str, ...]
    woman: tuple[str, ...]  # relations of somebody
    man: tuple[str, ...]
    # function words, the same in both splits
    near: tuple[str, ...] = ("near", "behind", "beside")
    often: tuple[str, ...] = ("every day", "every week", "at night", "in the morning")
    once: tuple[str, ...] = ("yesterday", "last week", "last night", "on Monday")
    single: tuple[str, ...] = ("a", "one", "this", "every", "each", "another")
    several: tuple[str, ...] = ("these", "those", "many", "several", "two", "both")


def _nouns(text: str) -> tuple[Noun, ...]:
    return tuple(Noun(*entry.split()) for entry in text.split(","))


def _verbs(text: str) -> tuple[Verb, ...]:
    return tuple(Verb(*entry.split()) for entry in text.split(","))


# An article before these words follows from their first letter: no "hour", no "university".
VOCABULARIES = {
    "train": Vocabulary(
        person=_nouns(
            "pilot pilots, farmer farmers, teacher teachers, doctor doctors, artist artists, lawyer lawyers,"
            "singer singers, engineer engineers, gardener gardeners, actor actors, tourist tourists, poet poets"
        ),
        thing=_nouns(
            "lamp lamps, box boxes, chair chairs, bottle bottles, book books, clock clocks, basket baskets,"
            "umbrella umbrellas, bicycle bicycles, letter letters, apple apples, guitar guitars"
        ),
        rest=_verbs(
            "wait waits waited waited waiting, laugh laughs laughed laughed laughing,"
            "sleep sleeps slept slept sleeping, cough coughs coughed coughed coughing,"
            "hesitate hesitates hesitated hesitated hesitating, listen listens listened listened listening,"
            "complain complains complained complained complaining, kneel kneels knelt knelt kneeling"
        ),
        handle=_verbs(
            "damage damages damaged damaged damaging, detect detects detected detected detecting,"
            "conceal conceals concealed concealed concealing, discover discovers discovered discovered discovering,"
            "ruin ruins ruined ruined ruining, grab grabs grabbed grabbed grabbing,"
            "obtain obtains obtained obtained obtaining, overlook overlooks overlooked overlooked overlooking"
        ),
        judge=_verbs(
            "admire admires admired admired admiring, blame blames blamed blamed blaming,"
            "trust trusts trusted trusted trusting, praise praises praised praised praising,"
            "introduce introduces introduced introduced introducing"
        ),
        trait=("old", "tall", "happy", "famous", "clever", "polite", "angry", "lazy"),
        look=("heavy", "yellow", "expensive", "large", "ugly", "broken"),
        she=("Mary", "Emma", "Anna", "Sarah", "Linda", "Julia"),
        he=("John", "Peter", "David", "Thomas", "Paul", "George"),
        woman=("sister", "aunt", "grandmother"),
        man=("brother", "uncle", "grandfather"),
    ),
    "test": Vocabulary(
        person=_nouns(
            "nurse nurses, baker bakers, student students, painter painters, soldier soldiers, writer writers,"
            "editor editors, officer officers, manager managers, visitor visitors, dentist dentists, sailor sailors"
        ),
        thing=_nouns(
            "candle candles, blanket blankets, wallet wallets, envelope envelopes, kettle kettles, violin violins,"
            "ticket tickets, pillow pillows, orange oranges, spoon spoons, carpet carpets, statue statues"
        ),
        rest=_verbs(
            "smile smiles smiled smiled smiling, yawn yawns yawned yawned yawning,"
            "snore snores snored snored snoring, sneeze sneezes sneezed sneezed sneezing,"
            "shiver shivers shivered shivered shivering, giggle giggles giggled giggled giggling,"
            "tremble trembles trembled trembled trembling, stumble stumbles stumbled stumbled stumbling"
        ),
        handle=_verbs(
            "destroy destroys destroyed destroyed destroying, remove removes removed removed removing,"
            "replace replaces replaced replaced replacing, retrieve retrieves retrieved retrieved retrieving,"
            "handle handles handled handled handling, identify identifies identified identified identifying,"
            "acquire acquires acquired acquired acquiring, demolish demolishes demolished demolished demolishing"
        ),
        judge=_verbs(
            "respect respects respected respected respecting, defend defends defended defended defending,"
            "describe describes described described describing, forgive forgives forgave forgiven forgiving,"
            "embarrass embarrasses embarrassed embarrassed embarrassing"
        ),
        trait=("wealthy", "shy", "brave", "proud", "nervous", "cheerful", "gentle", "impatient"),
        look=("dusty", "purple", "cheap", "tiny", "beautiful", "elegant"),
        she=("Alice", "Helen", "Laura", "Susan", "Maria", "Karen"),
        he=("Robert", "Michael", "Simon", "Henry", "Daniel", "Edward"),
        woman=("mother", "daughter", "niece"),
        man=("father", "son", "nephew"),
    ),
}


# ---- templates ----

PHENOMENA = {
    "agreement": "Subject and verb agree",
    "attraction": "Subject and verb agree across another noun",
    "determiner": "Determiner and noun agree",
    "reflexive": "Himself, herself and themselves agree with their subject",
    "polarity": "Ever and any need a negation or a question",
    "argument": "A verb has its object, or none",
    "auxiliary": "An auxiliary asks for its form of the verb",
    "question": "Questions: inversion and the gap",
    "order": "Word order",
}
_TEMPLATES = {
    "agreement": (
        "the {person.one} [{rest.s}|{rest.base}] {often}.",
        "the {person.many} [{rest.base}|{rest.s}] {often}.",
        "the {person.one} [is|are] very {trait}.",
        "the {person.many} [were|was] very {trait}.",
        "the {person.one} [has|have] {handle.done} the {thing.many}.",
        "the {person.many} [have|has] {handle.done} the {thing.one}.",
    ),
    "attraction": (
        "the {person.one} {near} the {person2.many} [{rest.s}|{rest.base}] {often}.",
        "the {person.many} {near} the {person2.one} [{rest.base}|{rest.s}] {often}.",
        "the {thing.one} {near} the {thing2.many} [is|are] {look}.",
        "the {thing.many} {near} the {thing2.one} [were|was] {look}.",
        "the {person.one} who {judge.s} the {person2.many} [{rest.s}|{rest.base}] {often}.",
        "the {person.many} that the {person2.one} {judge.s} [{rest.base}|{rest.s}] {often}.",
    ),
    "determiner": (
        "the {person.one} {handle.past} {single} [{thing.one}|{thing.many}].",
        "the {person.one} {handle.past} {several} [{thing.many}|{thing.one}].",
        "the {person.many} {handle.past} {single} {look} [{thing.one}|{thing.many}].",
        "the {person.many} {handle.past} {several} {look} [{thing.many}|{thing.one}].",
        "[this|these] {trait} {person.one} {handle.past} the {thing.many}.",
        "[those|this] {trait} {person.many} {handle.past} the {thing.one}.",
    ),
    "reflexive": (
        "{she} {judge.past} [herself|himself] {once}.",
        "{he} {judge.past} [himself|herself] {once}.",
        "{she}'s {man} {judge.past} [himself|herself] {once}.",
        "{he}'s {woman} {judge.past} [herself|himself] {once}.",
        "{she} said that {he} {judge.past} [himself|herself] {once}.",
        "{he} said that {she} {judge.past} [herself|himself] {once}.",
        "{she} and {she2} {judge.past} [themselves|herself] {once}.",
        "the {person.many} {near} {he} {judge.past} [themselves|himself] {once}.",
    ),
    "polarity": (
        "[no|the] {person.one} has ever {rest.done}.",
        "[no|the] {person.many} have ever {handle.done} the {thing.one}.",
        "[nobody|somebody] {handle.past} any {thing.many} {once}.",
        "[nobody|somebody] {handle.past} any {look} {thing.many}.",
        "the {person.one} [never|recently] {handle.past} any {thing.many}.",
        "the {person.many} have [not|just] {handle.done} any {thing.many}.",
        "[has the {person.one}|the {person.one} has] ever {handle.done} the {thing.many}[?|.]",
    ),
    "argument": (
        "{she} [{handle.past}|{rest.past}] the {thing.one} {once}.",
        "the {person.one} [{handle.past}|{rest.past}] the {thing.many}.",
        "{she} and the {person.many} [{rest.past}|{handle.past}] again.",
        "{he} [{rest.past}|{handle.past}] {near} the {thing.one}.",
        "the {look} {thing.one} was [{handle.done}|{rest.done}] {once}.",
        "the {thing.many} were [{handle.done}|{rest.done}] by {he}.",
    ),
    "auxiliary": (
        "the {person.one} will [{rest.base}|{rest.past}] again.",
        "the {person.many} did not [{rest.base}|{rest.past}] {once}.",
        "the {person.one} is [{rest.ing}|{rest.base}] again.",
        "the {person.one} has [{handle.done}|{handle.base}] the {thing.one}.",
        "the {person.many} will [{handle.base}|{handle.done}] the {thing.many}.",
        "the {person.many} are [{handle.ing}|{handle.base}] the {thing.one}.",
    ),
    "question": (
        "what [did the {person.one}|the {person.one} did] {handle.base} {once}?",
        "where [will the {person.many}|the {person.many} will] {handle.base} the {thing.one}?",
        "did the {person.one} [{handle.base}|{handle.past}] the {thing.one}?",
        "[where|what] did the {person.many} {handle.base} the {thing.many}?",
        "[why|what] has the {person.one} {handle.done} the {thing.many}?",
    ),
    "order": (
        "[the {person.one}|{person.one} the] {handle.past} the {thing.one}.",
        "the [{trait} {person.one}|{person.one} {trait}] {rest.past} {once}.",
        "the {person.many} [will {handle.base}|{handle.base} will] the {thing.one}.",
        "the {person.one} [did not|not did] {handle.base} the {thing.many}.",
        "the {person.many} {rest.past} [{near} the {thing.one}|the {thing.one} {near}].",
        "{once} the {person.one} [{handle.past} the {thing.many}|the {thing.many} {handle.past}].",
    ),
}

_CHOICE = re.compile(r"\[([^|\]]*)\|([^|\]]*)\]")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")


@functools.cache
def _side(template: str, group: int) -> str:
    """One sentence of a template: 1 the acceptable, 2 the unacceptable, its places still open."""
    return _CHOICE.sub(lambda choice: choice[group], template)


def _finished(sentence: str) -> str:
    sentence = _ARTICLE.sub(r"\1n ", sentence)
    return sentence[0].upper() + sentence[1:]


@functools.cache
def _places(template: str, group: int) -> tuple[str, ...]:
    """The open places of one side, as "person" or "person2", in order of appearance and each once."""
    names = (name for _, name, _, _ in Formatter().parse(_side(template, group)) if name)
    return tuple(dict.fromkeys(name.split(".")[0] for name in names))


def _sizes(template: str, words: Vocabulary) -> list[int]:
    """How many words each place of a template may have; a second place of a kind cannot have the first's."""
    return [len(getattr(words, name.rstrip("2"))) - name.endswith("2") for name in _places(template, 1)]


def _pair(template: str, words: Vocabulary, number: int) -> tuple[str, str]:
    """Pair `number` of a template, from 0 to the product of its sizes - 1, each number another acceptable sentence.

    The number's digits, in the mixed base of the sizes, are the words' places in their lists.
    """
    digits: dict[str, int] = {}
    for name, size in zip(_places(template, 1), _sizes(template, words), strict=True):
        number, digit = divmod(number, size)
        if name.endswith("2"):  # step over the word that the first place has
            digit += digit >= digits[name.rstrip("2")]
        digits[name] = digit
    turn = sum(digits.values())
    for name in _places(template, 2):
        if name not in digits:  # a verb of the unacceptable side alone goes around with the other words
            digits[name] = turn % len(getattr(words, name))
    filled = {name: getattr(words, name.rstrip("2"))[digit] for name, digit in digits.items()}
    acceptable, unacceptable = (_finished(_side(template, group).format(**filled)) for group in (1, 2))
    return acceptable, unacceptable


# ---- drawing ----


def _words(split: str) -> Vocabulary:
    if split not in VOCABULARIES:
        raise ValueError(f"There is no split {split!r}: choose one of {', '.join(VOCABULARIES)}.")
    return VOCABULARIES[split]


def _known(phenomenon: str) -> str:
    if phenomenon not in PHENOMENA:
        raise ValueError(f"There is no phenomenon {phenomenon!r}: choose one of {', '.join(PHENOMENA)}.")
    return phenomenon


def _shares(count: int, sizes: list[int]) -> list[int]:
    """`count` dealt out over `sizes` as evenly as they allow; what does not divide goes to the largest."""
    shares = [0] * len(sizes)
    left = count
    # The smallest first: what it cannot take is dealt out over the larger ones.
    for place, index in enumerate(sorted(range(len(sizes)), key=lambda i: (sizes[i], -i))):
        shares[index] = min(sizes[index], left // (len(sizes) - place))
        left -= shares[index]
    return shares


def _asked(count: int, available: int, what: str) -> int:
    try:
        number = operator.index(count)
    except TypeError:
        number = -1
    if not 0 <= number <= available:
        raise ValueError(f"The number of pairs must be from 0 to {available:,}, as many as {what} has, not {count!r}.")
    return number


def _drawn(phenomenon: str, count: int, words: Vocabulary, chance: random.Random) -> Iterable[MinimalPair]:
    templates = _TEMPLATES[phenomenon]
    sizes = [prod(_sizes(template, words)) for template in templates]
    for template, size, share in zip(templates, sizes, _shares(count, sizes), strict=True):
        for number in chance.sample(range(size), share):
            yield MinimalPair(*_pair(template, words, number), phenomenon)


def how_many(phenomenon: str, split: str = "train") -> int:
    """How many distinct pairs a phenomenon has in a split. Raises ValueError for unknown names."""
    words = _words(split)
    return sum(prod(_sizes(template, words)) for template in _TEMPLATES[_known(phenomenon)])


def minimal_pairs(phenomenon: str, count: int, seed: int, split: str = "train") -> tuple[MinimalPair, ...]:
    """`count` distinct pairs of one phenomenon, in random order; the same arguments give the same pairs.

    phenomenon: a key of PHENOMENA; split: "train" or "test", which share no noun, verb, adjective or name. The
    phenomenon's templates are drawn from evenly, as far as each has pairs left. Raises ValueError for an unknown
    phenomenon or split, and for a count below 0 or above `how_many(phenomenon, split)`.
    """
    count = _asked(count, how_many(phenomenon, split), f"{phenomenon} in {split}")
    chance = random.Random(seed)
    pairs = list(_drawn(phenomenon, count, _words(split), chance))
    chance.shuffle(pairs)
    return tuple(pairs)


def everything(split: str, count: int, seed: int) -> tuple[MinimalPair, ...]:
    """`count` distinct pairs of all phenomena, as evenly as their sizes allow, in random order.

    Deterministic as `minimal_pairs` is. Raises ValueError for an unknown split, and for a count below 0 or above the
    number of pairs in the split.
    """
    sizes = [how_many(phenomenon, split) for phenomenon in PHENOMENA]
    count = _asked(count, sum(sizes), split)
    chance = random.Random(seed)
    shares = zip(PHENOMENA, _shares(count, sizes), strict=True)
    pairs = [pair for phenomenon, share in shares for pair in _drawn(phenomenon, share, _words(split), chance)]
    chance.shuffle(pairs)
    return tuple(pairs)
