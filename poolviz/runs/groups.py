"""Runs that differ in their seed alone, and how far apart two such groups are.

Means come with a 95 % interval by Student's t; differences are paired by seed where enough seeds match, so that what a
seed brings to both (initial weights, order of examples) cancels out. Runs are of one configuration where they differ in
no more than the seed and limits that were not reached. Knows nothing of claims or pages.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

from poolviz.runs.results import MEASURES, ORIGINS, Result
from poolviz.runs.summary import said
from poolviz.training.config import RunConfig

CONFIDENCE = 0.95
ROUNDING = 1e-12  # of the figures' size: a spread below it is none
ENOUGH_PAIRS = 3  # where both groups have seeds that the other has not
BUDGET = ("epochs", "batch_size", "train_limit", "eval_limit", "max_steps", "max_seconds", "held_out")


@dataclass(frozen=True)
class Spread:
    """Figures of several runs; the interval is that of the mean, None where they cannot tell one."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """One group's mean less another's; the interval is None where they cannot tell one."""

    n: int  # pairs, or runs of the smaller group
    mean: float
    low: float | None
    high: float | None
    paired: bool


@dataclass(frozen=True)
class Group:
    """Runs of one configuration on one kind of machine, a seed each."""

    config: RunConfig  # with seed 0
    hardware: str
    results: tuple[Result, ...]  # by seed

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its runs, rising."""
        return tuple(result.config.seed for result in self.results)

    @cached_property
    def identity(self) -> str:
        """A short name that stays the same: for addresses and keys."""
        short = "cut short" if self.cut_short else ""
        digest = hashlib.sha256(f"{self.config.to_json()}{self.hardware}{self.state}{short}".encode()).hexdigest()
        return f"{self.config.pooling}-{digest[:6]}"

    @property
    def state(self) -> str:
        """completed, or running for a run that is placed among others before its end."""
        return self.results[0].state

    @property
    def cut_short(self) -> bool:
        """Whether a limit of steps or seconds ended its runs: then it ended all of them."""
        return bool(self.results) and self.results[0].cut_short

    @property
    def origins(self) -> tuple[str, ...]:
        """Where its runs came from, each once."""
        return tuple(dict.fromkeys(result.origin for result in self.results))

    def values(self, measure: str, machine: str | None = None) -> dict[int, float]:
        """Seed -> figure, where it is known; times are those of one machine, by default that of most of its runs."""
        counted = self.results
        if MEASURES[measure].timed:
            machine = shared_machine([self]) if machine is None else machine
            counted = tuple(result for result in counted if result.machine == machine)
        return {r.config.seed: r.values[measure] for r in counted if measure in r.values}

    def spread(self, measure: str) -> Spread | None:
        """Of a measure; None where no run knows it."""
        values = list(self.values(measure).values())
        return spread(values, MEASURES[measure].exact) if values else None


def group(results: Sequence[Result], state: str = "completed") -> list[Group]:
    """Runs of one state by configuration, hardware, and whether a limit cut them short.

    Of two with the same seed a shipped one counts before a user's own, and that before an imported one; then the first.
    """
    found: dict[tuple[RunConfig, str, bool], dict[int, Result]] = {}
    for result in results:
        if result.state == state:
            seed, config = result.config.seed, replace(result.compared, seed=0)
            seeds = found.setdefault((config, result.hardware, result.cut_short), {})
            seeds[seed] = min(seeds.get(seed, result), result, key=lambda each: ORIGINS.index(each.origin))
    return [
        Group(config, hardware, tuple(seeds[number] for number in sorted(seeds)))
        for (config, hardware, _), seeds in found.items()
    ]


def shared_machine(groups: Sequence[Group]) -> str | None:
    """That on which each of these groups has runs, and most of them; None where there is none."""
    counts = [Counter(result.machine for result in each.results) for each in groups]
    shared = sorted(set.intersection(*map(set, counts))) if counts else []
    return max(shared, key=lambda name: min(count[name] for count in counts), default=None)


def figures(groups: Sequence[Group], measure: str) -> list[dict[int, float]]:
    """Each group's figures by seed, as they may be compared: times are of one machine that all share, or none."""
    machine = shared_machine(groups)
    if MEASURES[measure].timed and machine is None:
        return [{} for _ in groups]
    return [each.values(measure, machine) for each in groups]


def apart(one: Group, other: Group, measure: str) -> Difference | None:
    """How far two groups are apart on a measure; None where there is nothing to compare."""
    return difference(*figures([one, other], measure), exact=MEASURES[measure].exact)


def spread(values: Sequence[float], exact: bool = False) -> Spread:
    """Mean, standard deviation (n - 1) and the mean's interval.

    Figures that do not vary have no interval: errors are counted in whole examples, so that two seeds may well have the
    same by chance. Only where a figure is `exact`, the same for every seed by construction, the interval has no width.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Spread(len(values), mean, None, None, None)
    sd = statistics.stdev(values)
    found = _interval(mean, sd / len(values) ** 0.5, len(values) - 1, _size(values), exact)
    return Spread(len(values), mean, sd, *found)


def difference(ours: Mapping[int, float], theirs: Mapping[int, float], exact: bool = False) -> Difference | None:
    """Ours less theirs, by seed; None where one has no figure.

    Paired where at least two seeds are in both and either they are all that one side has, or they are three at least
    and more than half of both sides' (the others are left out); else by Welch's t, which leaves out none. An interval
    of no width is for `exact` figures alone, as in `spread`.
    """
    if not ours or not theirs:
        return None
    size = _size([*ours.values(), *theirs.values()])
    shared = sorted(set(ours) & set(theirs))
    if _are_pairs(len(shared), len(ours), len(theirs)):
        pairs = [ours[seed] - theirs[seed] for seed in shared]
        mean, n = statistics.fmean(pairs), len(pairs)
        error = statistics.stdev(pairs) / n**0.5
        return Difference(n, mean, *_interval(mean, error, n - 1, size, exact), paired=True)
    mine, other = spread(list(ours.values())), spread(list(theirs.values()))
    mean, fewest = mine.mean - other.mean, min(mine.n, other.n)
    if mine.sd is None or other.sd is None:
        return Difference(fewest, mean, None, None, paired=False)
    parts = [each.sd**2 / each.n for each in (mine, other)]  # of the difference's variance
    error = sum(parts) ** 0.5
    # Welch's degrees of freedom
    shares = [part / sum(parts) for part in parts] if error else [0.5, 0.5]
    freedom = 1 / sum(share**2 / (each.n - 1) for share, each in zip(shares, (mine, other), strict=True))
    return Difference(fewest, mean, *_interval(mean, error, freedom, size, exact), paired=False)


def _are_pairs(shared: int, ours: int, theirs: int) -> bool:
    """Whether so many shared seeds stand for both sides."""
    whole = shared == min(ours, theirs)
    return shared >= 2 and (whole or (shared >= ENOUGH_PAIRS and 2 * shared > max(ours, theirs)))


def _size(values: Sequence[float]) -> float:
    return max(map(abs, values))


def _interval(
    mean: float, error: float, freedom: float, size: float, exact: bool
) -> tuple[float, float] | tuple[None, None]:
    """Of a mean with this standard error, by Student's t; `size`: of the figures, by which rounding is told."""
    if error <= ROUNDING * size:
        return (mean, mean) if exact else (None, None)
    # not scipy.stats: it takes a second more to import, and warns of figures that are equal but for their rounding
    from scipy.special import stdtrit

    half = error * float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
    return mean - half, mean + half


def unlike(one: Group, other: Group, measure: str = "") -> list[str]:
    """Fields in which two groups' budgets or machines differ: where there is one, they are no fair comparison.

    Beside fields of the configuration: task, state, hardware, "cut short", and "machine" where a time is compared, the
    hardware is the same and yet no run of both had as many cores and the same version of torch.
    """
    names = [name for name in BUDGET if getattr(one.config, name) != getattr(other.config, name)]
    names += ["task"] if one.config.task != other.config.task else []
    names += ["state"] if one.state != other.state else []  # one goes on: it is judged before its time
    names += ["cut short"] if one.cut_short != other.cut_short else []
    if one.hardware != other.hardware:
        return [*names, "hardware"]
    timed = measure in MEASURES and MEASURES[measure].timed
    return names + (["machine"] if timed and shared_machine([one, other]) is None else [])


def differing(groups: Sequence[Group]) -> list[str]:
    """Fields of the configuration in which these groups differ."""
    return [f.name for f in fields(RunConfig) if len({getattr(g.config, f.name) for g in groups}) > 1]


def titles(groups: Sequence[Group], names: Mapping[str, str]) -> list[str]:
    """What tells groups apart: the pooling's name, and each setting in which a group is unlike most of the others."""
    varying = [name for name in differing(groups) if name != "pooling"]
    usual = {name: Counter(getattr(g.config, name) for g in groups).most_common(1)[0][0] for name in varying}
    machine = Counter(g.hardware for g in groups).most_common(1)[0][0] if groups else ""
    told = []
    for g in groups:
        parts = [names.get(g.config.pooling, g.config.pooling)]
        parts += [said(name, getattr(g.config, name)) for name in varying if getattr(g.config, name) != usual[name]]
        parts += ["cut short"] if g.cut_short else []
        parts += [g.hardware] if g.hardware != machine else []
        told.append(" · ".join(parts))
    # two poolings' own settings may hide one another: then the groups' numbers tell
    return [
        title if told.count(title) == 1 else f"{title} · no. {told[: number + 1].count(title)}"
        for number, title in enumerate(told)
    ]
