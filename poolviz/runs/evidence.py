"""How runs are asked whether a claim holds: what of them is compared, and the verdict.

A claim is one or more parts. A part is a difference of two poolings' means, a ratio of them, or a figure of one
pooling's curves, with its 95 % interval by Student's t (`groups.py`); a ratio is taken on logarithms. A part holds
where the whole interval lies in the range that was claimed, does not hold where all of it lies outside, else nobody can
tell. A claim holds where all its parts do, and does not where any does not. Each interval is 95 % by itself: no
correction for making many comparisons is made.

Every verdict is computed from the groups of runs that are given, of which `protocol.py` chooses. Knows nothing of
pages, nor of what the reports say (`claims.py`). Imports no torch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from poolviz.runs.groups import Difference, Group, difference, figures, shared_machine
from poolviz.runs.protocol import Evidence, Side, gather
from poolviz.runs.results import MEASURES, Measure, Result, is_number
from poolviz.training.folder import read_metrics

HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "cannot tell"
VERDICTS = (HOLDS, FAILS, UNKNOWN)
DIFFERENCE, RATIO, FIGURE = "difference", "ratio", "figure"  # kinds of parts
SMALL = (1_000, 10_000)  # training images: overfitting pressure

FIGURES = {  # what is computed for the claims alone, beside results.MEASURES
    measure.name: measure
    for measure in (
        Measure("largest_change", "largest change of validation loss", "", "low", "from an epoch to the next", True),
        Measure("late_rise", "late rise of validation loss", "", "low", "last epoch less the lowest before", True),
        Measure("mean_train_loss", "mean training loss", "", "low", "as trained, mean over the epochs", True),
        Measure("trained_gap", "gap to the loss as trained", "", "low", "last epoch, validation less training", True),
    )
}


@dataclass(frozen=True)
class Range:
    """Where a report has an effect; both ends belong to it."""

    low: float
    high: float
    words: str

    def verdict(self, effect: Difference | None) -> str:
        """By the whole interval."""
        if effect is None or effect.low is None or effect.high is None:
            return UNKNOWN
        if self.low <= effect.low and effect.high <= self.high:
            return HOLDS
        return FAILS if effect.high < self.low or self.high < effect.low else UNKNOWN


BELOW = Range(-math.inf, math.nextafter(0.0, -1.0), "below 0")
ABOVE = Range(math.nextafter(0.0, 1.0), math.inf, "above 0")
A_QUARTER = Range(0.2, 0.3, "about a quarter (0.2 to 0.3)")


def at_least_half_of(ratio: float) -> Range:
    """As slow as reported, generously."""
    return Range(ratio / 2, math.inf, f"at least {ratio / 2:.4g}, half of the {ratio:.4g} that was reported")


@dataclass(frozen=True)
class Question:
    """What a part asks: where ours less theirs, ours over theirs, or a figure of ours alone is claimed to lie."""

    measure: str  # of results.MEASURES or FIGURES
    ours: Side
    theirs: Side | None
    claimed: Range
    kind: str = DIFFERENCE

    @property
    def sides(self) -> tuple[Side, ...]:
        """Whose runs it needs."""
        return (self.ours,) if self.theirs is None else (self.ours, self.theirs)

    @property
    def label(self) -> str:
        """The comparison in words."""
        words = " over " if self.kind == RATIO else " less "
        return words.join(side.label for side in self.sides)


@dataclass(frozen=True)
class Part:
    """One comparison, and what came of it."""

    label: str  # "softmax-stochastic less CLS"
    measure: Measure
    kind: str  # DIFFERENCE, RATIO or FIGURE
    effect: Difference | None  # in the unit that is kept, a ratio as it is; None where there is nothing to compare
    claimed: str  # "below 0"
    verdict: str
    why: str  # one clause: the effect in numbers, or what is missing
    groups: tuple[Group, ...]  # ours, theirs
    runs: tuple[str, ...]  # names of those that count
    left_out: int = 0  # runs that do not know the figure, or took their time on another machine
    setting: str = ""  # "learning rate 0.004, one-cycle, 5 epochs, CPU Intel Xeon, 1 thread"; empty without runs

    @property
    def unit(self) -> str:
        """What `shown` is in."""
        if self.kind == RATIO:
            return "×"
        return "points" if self.measure.unit == "%" else self.measure.unit

    @property
    def shown(self) -> tuple[float, float | None, float | None] | None:
        """Mean and interval in `unit`."""
        if self.effect is None:
            return None
        scale = 1.0 if self.kind == RATIO else self.measure.scale
        found = (self.effect.low, self.effect.high)
        low, high = (None if end is None else end * scale for end in found)
        return self.effect.mean * scale, low, high


@dataclass(frozen=True)
class Finding:
    """What the runs say of a claim."""

    claim: str
    verdict: str
    reason: str  # one sentence
    parts: tuple[Part, ...]  # these decide
    also: tuple[Part, ...] = ()  # these do not

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs that are the evidence, each once."""
        return tuple(dict.fromkeys(name for part in (*self.parts, *self.also) for name in part.runs))


@dataclass(frozen=True)
class Claim:
    """What a report says, and how runs are asked whether it is so."""

    name: str  # "A1"
    title: str
    said: str
    test: str
    questions: tuple[Question, ...]
    also: tuple[Question, ...] = ()  # on the same runs
    small: bool = False  # whether the questions are also put to runs with few training images
    contradiction: str = ""  # where the report contradicts itself

    @property
    def report(self) -> str:
        """A or B."""
        return self.name[0]

    def judge(self, groups: Sequence[Group]) -> Finding:
        """Its verdict by these groups of runs."""
        wanted = tuple(dict.fromkeys(side for question in self.questions for side in question.sides))
        evidence = gather(groups, self.report, wanted)
        parts = tuple(_part(question, evidence) for question in self.questions)
        asked = [question for question in self.also if set(question.sides) <= set(evidence.chosen)]
        also = [_part(question, evidence) for question in asked]
        for limit in SMALL if self.small else ():
            few = gather(groups, self.report, wanted, limit)
            told = [question for question in self.questions if set(question.sides) <= set(few.chosen)]
            also += [_part(question, few, f", {limit:,} training images") for question in told]
        verdict = _overall(parts)
        return Finding(self.name, verdict, _reason(self.questions, parts, verdict, evidence), parts, tuple(also))


# ---- figures ----


def values(groups: Sequence[Group], measure: str) -> list[dict[int, float]]:
    """Each group's figures by seed, as they may be compared; also what is computed for the claims alone."""
    if measure in MEASURES:
        return figures(groups, measure)
    found = [{result.config.seed: _FROM_RESULT[measure](result) for result in group.results} for group in groups]
    return [{seed: value for seed, value in each.items() if value is not None} for each in found]


def _largest_change(result: Result) -> float | None:
    losses = _curve(result, "validation_loss")
    return max(after - before for before, after in zip(losses, losses[1:], strict=False)) if losses else None


def _late_rise(result: Result) -> float | None:
    losses = _curve(result, "validation_loss")
    return losses[-1] - min(losses[:-1]) if losses else None


def _mean_train_loss(result: Result) -> float | None:
    losses = _curve(result, "train_loss")
    return math.fsum(losses) / len(losses) if losses else None


def _trained_gap(result: Result) -> float | None:
    known = result.values
    return known["last_loss"] - known["train_loss"] if {"last_loss", "train_loss"} <= set(known) else None


_FROM_RESULT: dict[str, Callable[[Result], float | None]] = {
    "largest_change": _largest_change,
    "late_rise": _late_rise,
    "mean_train_loss": _mean_train_loss,
    "trained_gap": _trained_gap,
}


def _curve(result: Result, name: str) -> tuple[float, ...]:
    """A figure epoch by epoch; empty unless all of at least two epochs are there."""
    path = result.run.folder / "metrics.jsonl"
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return ()
    by_epoch = {row[0]: row for row in _epochs(path, changed)}
    wanted = range(1, result.config.epochs + 1)
    if len(wanted) < 2 or set(by_epoch) != set(wanted):
        return ()
    found = [by_epoch[epoch][1 if name == "train_loss" else 2] for epoch in wanted]
    return tuple(map(float, found)) if all(map(is_number, found)) else ()


@functools.lru_cache(maxsize=512)
def _epochs(path: Path, changed: int) -> tuple[tuple[object, object, object], ...]:
    """Number, training and validation loss of a curve's epochs; `changed` makes a file that was changed another one."""
    rows = [row for row in read_metrics(path) if row.get("kind") == "epoch" and isinstance(row.get("epoch"), int)]
    return tuple((row["epoch"], row.get("train_loss"), row.get("validation_loss")) for row in rows)


# ---- parts and verdicts ----


def _part(question: Question, evidence: Evidence, on: str = "") -> Part:
    measure = MEASURES.get(question.measure) or FIGURES[question.measure]
    groups = tuple(evidence.chosen[side] for side in question.sides if side in evidence.chosen)
    known = [_usable(each, question.kind) for each in values(groups, question.measure)]
    whole = len(groups) == len(question.sides)
    effect = _effect(question.kind, known, measure.exact) if whole else None
    left_out = sum(len(group.results) for group in groups) - sum(map(len, known))
    runs, setting = _names(groups, known, effect), evidence.setting(question.sides)
    verdict = question.claimed.verdict(effect)
    told = (question.label + on, measure, question.kind, effect, question.claimed.words, verdict)
    part = Part(*told, why="", groups=groups, runs=runs, left_out=left_out, setting=setting)
    return replace(part, why=_in_numbers(part) if effect else _missing(question, evidence, measure))


def _usable(known: dict[int, float], kind: str) -> dict[int, float]:
    """A ratio is taken of logarithms."""
    return {seed: math.log(value) for seed, value in known.items() if value > 0} if kind == RATIO else known


def _effect(kind: str, known: Sequence[dict[int, float]], exact: bool) -> Difference | None:
    ours, theirs = known[0], known[1] if len(known) == 2 else dict.fromkeys(known[0], 0.0)
    effect = difference(ours, theirs, exact)
    if effect is None or kind != RATIO:
        return effect
    low, high = (None if end is None else _exp(end) for end in (effect.low, effect.high))
    return replace(effect, mean=_exp(effect.mean), low=low, high=high)


def _exp(power: float) -> float:
    return math.exp(min(power, 700.0))  # two wildly different seeds have an interval beyond all numbers


def _names(groups: Sequence[Group], known: Sequence[dict[int, float]], effect: Difference | None) -> tuple[str, ...]:
    """Runs that the effect is computed from."""
    if effect is None:
        return ()
    seeds = [set(each) for each in known]
    if effect.paired:
        seeds = [set.intersection(*seeds)] * len(seeds)
    pairs = zip(groups, seeds, strict=True)
    return tuple(result.name for group, count in pairs for result in group.results if result.config.seed in count)


def _in_numbers(part: Part) -> str:
    """Effect, interval and n, as one clause."""
    assert part.effect is not None and part.shown is not None
    mean, low, high = part.shown
    digits = _decimals(max(abs(mean), 0.0 if low is None or high is None else (high - low) / 2))
    sign = "" if part.kind == RATIO else "+"
    unit = part.unit if part.kind == RATIO else f" {part.unit}" if part.unit else ""

    def said(value: float) -> str:
        return f"{round(value, digits) + 0.0:{sign},.{digits}f}"  # no negative zero

    if low is not None and high is not None:
        ends = f"95 % interval {said(low)} to {said(high)}, n = {part.effect.n}"
    elif part.effect.n == 1:
        ends = "one seed only, so no interval"
    else:
        ends = f"the same for each seed, too coarse for an interval, n = {part.effect.n}"
    lacking = "without the figure on one machine" if part.measure.timed else "without the figure"
    out = f", {part.left_out} {lacking} left out" if part.left_out else ""
    return f"{part.label}: {_lower(part.measure.label)} {said(mean)}{unit} ({ends}{out})"


def _decimals(size: float) -> int:
    """For three figures that tell."""
    return min(8, max(0, 2 - math.floor(math.log10(size)))) if size > 1e-8 else 2


def _lower(label: str) -> str:
    return label if label.startswith("MCC") else label[0].lower() + label[1:]


def _missing(question: Question, evidence: Evidence, measure: Measure) -> str:
    lacks = evidence.lacks(question.sides)
    if lacks:
        return f"{question.label}: {lacks}"
    if not set(question.sides) <= set(evidence.chosen):
        return f"{question.label}: their runs have not the same settings on the same hardware"
    if measure.timed and shared_machine([evidence.chosen[side] for side in question.sides]) is None:
        return f"{question.label}: their runs had not as many cores and the same version of torch"
    return f"{question.label}: the runs do not tell the {_lower(measure.label)}, or it is damaged"


def _overall(parts: Iterable[Part]) -> str:
    verdicts = {part.verdict for part in parts}
    return FAILS if FAILS in verdicts else HOLDS if verdicts == {HOLDS} else UNKNOWN


def _reason(questions: Sequence[Question], parts: Sequence[Part], verdict: str, evidence: Evidence) -> str:
    """One sentence: what decided."""
    told = [(question, part) for question, part in zip(questions, parts, strict=True) if part.verdict == verdict]
    clauses = [part.why for _, part in told]
    if verdict == HOLDS:
        end = ": as reported"
    elif verdict == FAILS:
        end = f": reported was {' and '.join(dict.fromkeys(part.claimed for _, part in told))}"
    else:
        # what is not here is named once for all parts
        clauses = [evidence.lacks(evidence.absent)]
        clauses += [part.why for question, part in told if not evidence.lacks(question.sides)]
        is_open = any(part.effect and part.effect.low is not None for _, part in told)
        end = "; the interval leaves it open" if is_open else ""
    said = "; ".join(filter(None, clauses))
    return f"{said[0].upper()}{said[1:]}{end}."
