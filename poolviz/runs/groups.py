"""Runs that differ in their seed alone, and how far apart two such groups are.

Means come with a 95 % interval by Student's t; differences are paired by seed where seeds match, so that what a seed
brings to both (initial weights, order of examples) cancels out. Knows nothing of claims or pages.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from poolviz.runs.results import Result
from poolviz.runs.summary import said
from poolviz.training.config import RunConfig

CONFIDENCE = 0.95
BUDGET = ("epochs", "batch_size", "train_limit", "eval_limit", "max_steps", "max_seconds", "held_out")


@dataclass(frozen=True)
class Spread:
    """Figures of several runs; the interval is that of the mean, None for a single run."""

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """One group's mean less another's; the interval is None where there are too few runs for one."""

    n: int  # pairs, or runs of the smaller group
    mean: float
    low: float | None
    high: float | None
    paired: bool

    @property
    def sign(self) -> int:
        """-1 or 1 where the whole interval lies on one side of zero, else 0."""
        if self.low is None or self.high is None:
            return 0
        return (self.low > 0) - (self.high < 0)


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

    @property
    def identity(self) -> str:
        """A short name that stays the same: for addresses and keys."""
        digest = hashlib.sha256(f"{self.config.to_json()}{self.hardware}{self.state}".encode()).hexdigest()
        return f"{self.config.pooling}-{digest[:6]}"

    @property
    def state(self) -> str:
        """completed, or running for a run that is placed among others before its end."""
        return self.results[0].state

    @property
    def origins(self) -> tuple[str, ...]:
        """Where its runs came from, each once."""
        return tuple(dict.fromkeys(result.origin for result in self.results))

    def values(self, measure: str) -> dict[int, float]:
        """Seed -> figure, where it is known."""
        return {r.config.seed: r.values[measure] for r in self.results if measure in r.values}

    def spread(self, measure: str) -> Spread | None:
        """Of a measure; None where no run knows it."""
        values = list(self.values(measure).values())
        return spread(values) if values else None


def group(results: Sequence[Result], state: str = "completed") -> list[Group]:
    """Runs of one state by configuration and hardware; of two with the same seed the first counts."""
    found: dict[tuple[RunConfig, str], dict[int, Result]] = {}
    for result in results:
        if result.state == state:
            seeds = found.setdefault((replace(result.config, seed=0), result.hardware), {})
            seeds.setdefault(result.config.seed, result)
    return [
        Group(config, hardware, tuple(seeds[number] for number in sorted(seeds)))
        for (config, hardware), seeds in found.items()
    ]


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation (n - 1) and the mean's interval."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Spread(len(values), mean, None, None, None)
    sd = statistics.stdev(values)
    return Spread(len(values), mean, sd, *_interval(mean, sd / len(values) ** 0.5, len(values) - 1))


def difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Ours less theirs, by seed; None where one has no figure.

    Paired where at least two seeds are in both (the others are left out), else by Welch's t.
    """
    shared = sorted(set(ours) & set(theirs))
    if len(shared) >= 2:
        apart = spread([ours[seed] - theirs[seed] for seed in shared])
        return Difference(apart.n, apart.mean, apart.low, apart.high, paired=True)
    if not ours or not theirs:
        return None
    mine, other = spread(list(ours.values())), spread(list(theirs.values()))
    mean, fewest = mine.mean - other.mean, min(mine.n, other.n)
    if mine.sd is None or other.sd is None:
        return Difference(fewest, mean, None, None, paired=False)
    parts = [each.sd**2 / each.n for each in (mine, other)]  # of the difference's variance
    error = sum(parts) ** 0.5
    # Welch's degrees of freedom
    shares = [part / sum(parts) for part in parts] if error else [0.5, 0.5]
    freedom = 1 / sum(share**2 / (each.n - 1) for share, each in zip(shares, (mine, other), strict=True))
    return Difference(fewest, mean, *_interval(mean, error, freedom), paired=False)


def _interval(mean: float, error: float, freedom: float) -> tuple[float, float]:
    """Of a mean with this standard error, by Student's t; of no width where nothing varies."""
    if not error:
        return mean, mean
    # not scipy.stats: it takes a second more to import, and warns of figures that are equal but for their rounding
    from scipy.special import stdtrit

    half = error * float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
    return mean - half, mean + half


def unlike(one: Group, other: Group) -> list[str]:
    """Fields in which two groups' budgets or machines differ: where there is one, they are no fair comparison."""
    names = [name for name in BUDGET if getattr(one.config, name) != getattr(other.config, name)]
    names += ["task"] if one.config.task != other.config.task else []
    names += ["state"] if one.state != other.state else []  # one goes on: it is judged before its time
    return names + (["hardware"] if one.hardware != other.hardware else [])


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
        parts += [g.hardware] if g.hardware != machine else []
        told.append(" · ".join(parts))
    # two poolings' own settings may hide one another: then the groups' numbers tell
    return [
        title if told.count(title) == 1 else f"{title} · no. {told[: number + 1].count(title)}"
        for number, title in enumerate(told)
    ]
