"""Runs that differ in their seed alone, and how far apart two such groups are.

Means come with a 95 % interval by Student's t; differences are paired by seed where seeds match, so that what a seed
brings to both (initial weights, order of examples) cancels out. Knows nothing of claims or pages.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from poolviz.runs.results import Result
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


def group(results: Sequence[Result]) -> list[Group]:
    """Completed runs by configuration and hardware; of two with the same seed the first counts."""
    found: dict[tuple[RunConfig, str], dict[int, Result]] = {}
    for result in results:
        if result.state == "completed":
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
    low, high = _interval(values)
    return Spread(len(values), mean, statistics.stdev(values), low, high)


def difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Ours less theirs, by seed; None where one has no figure.

    Paired where at least two seeds are in both (the others are left out), else by Welch's t.
    """
    shared = sorted(set(ours) & set(theirs))
    if len(shared) >= 2:
        apart = [ours[seed] - theirs[seed] for seed in shared]
        return Difference(len(shared), statistics.fmean(apart), *_interval(apart), paired=True)
    if not ours or not theirs:
        return None
    mine, other = list(ours.values()), list(theirs.values())
    mean = statistics.fmean(mine) - statistics.fmean(other)
    fewest = min(len(mine), len(other))
    if fewest < 2:
        return Difference(fewest, mean, None, None, paired=False)
    if len(set(mine)) == len(set(other)) == 1:  # nothing varies: t has no scale
        return Difference(fewest, mean, mean, mean, paired=False)
    from scipy import stats

    interval = stats.ttest_ind(mine, other, equal_var=False).confidence_interval(CONFIDENCE)
    return Difference(fewest, mean, float(interval.low), float(interval.high), paired=False)


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the mean of at least two values."""
    if len(set(values)) == 1:
        return values[0], values[0]
    from scipy import stats

    interval = stats.ttest_1samp(values, 0.0).confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high)


def unlike(one: Group, other: Group) -> list[str]:
    """Fields in which two groups' budgets or machines differ: where there is one, they are no fair comparison."""
    names = [name for name in BUDGET if getattr(one.config, name) != getattr(other.config, name)]
    names += ["task"] if one.config.task != other.config.task else []
    return names + (["hardware"] if one.hardware != other.hardware else [])


def differing(groups: Sequence[Group]) -> list[str]:
    """Fields of the configuration in which these groups differ."""
    return [f.name for f in fields(RunConfig) if len({getattr(g.config, f.name) for g in groups}) > 1]
