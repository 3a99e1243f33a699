"""Which runs are evidence for a report's claims: by its protocol, alike in their settings, on one kind of machine.

What is chosen here is chosen without a look at the results that a claim is about. Shipped runs come first: they were
planned before anybody saw a result. Report A lets each pooling have its own learning rate: that which did best on
training sentences that were held out (`RunConfig.held_out`), where such runs are here. Imports no torch.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from poolviz.runs.groups import Group
from poolviz.runs.results import SHIPPED
from poolviz.training.config import DEFAULT_ENCODER, RunConfig

LEAST_EPOCHS = 5  # of MNIST


@dataclass(frozen=True)
class Side:
    """A pooling as one side of a comparison."""

    pooling: str
    linear_tanh: bool = False

    @property
    def label(self) -> str:
        """As the reports call it."""
        if self.pooling == "softmax-stochastic" and not self.linear_tanh:
            return "softmax-stochastic without linear map"
        return {"cls": "CLS", "mean-max": "MEAN-MAX"}.get(self.pooling, self.pooling)

    @property
    def runs(self) -> str:
        """As its runs are asked for."""
        return f"{self.label} with linear map and tanh" if self.linear_tanh else self.label


CLS, MEAN_MAX = Side("cls"), Side("mean-max")
MINE, BARE = Side("softmax-stochastic", linear_tanh=True), Side("softmax-stochastic")
AVERAGE, MAX, NONE = Side("average"), Side("max"), Side("none")


@dataclass(frozen=True)
class Evidence:
    """The groups that may be compared: one setting, one kind of machine."""

    chosen: dict[Side, Group]
    absent: tuple[Side, ...]  # of which a claim needs runs, and there are none
    protocol: str  # what the runs must be, in words
    rates: dict[Side, float] = field(default_factory=dict)  # learning rates that held-out sentences chose

    def lacks(self, sides: Iterable[Side]) -> str:
        """A clause that names those of which there are no runs; empty where there are of all."""
        names = [side.runs for side in self.absent if side in sides]
        listed = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        return f"no completed {self.protocol} runs of {listed} are here" if names else ""

    def setting(self, sides: Sequence[Side]) -> str:
        """What these sides' runs have in common, and each one's learning rate; empty where there are none."""
        found = {side: self.chosen[side] for side in sides if side in self.chosen}
        if not found:
            return ""
        told = {side: self._rate(side) for side in found}
        rates = f"learning rate {next(iter(told.values()))}"
        if len(set(told.values())) > 1:
            rates = "learning rates " + " and ".join(f"{rate} for {side.label}" for side, rate in told.items())
        one = next(iter(found.values()))
        return f"{rates}, {one.config.schedule}, {one.config.epochs} epochs, {one.hardware}"

    def _rate(self, side: Side) -> str:
        rate = self.chosen[side].config.learning_rate
        return f"{rate:g} (chosen on held-out sentences)" if self.rates.get(side) == rate else f"{rate:g}"


def gather(groups: Sequence[Group], report: str, wanted: Sequence[Side], train_limit: int = 0) -> Evidence:
    """The groups by which sides are compared: of all sets of like groups the one that says most of those wanted.

    Like groups differ in their pooling alone; report A's also in the learning rate, one for each pooling, and in the
    linear map. That set counts which has shipped runs of most sides, then runs of most sides, then most seeds, then the
    older one: trying again overturns no verdict.
    """
    of_a = report == "A"
    sets: dict[tuple[RunConfig, str], dict[Side, list[Group]]] = {}
    for group in groups:
        fits = _is_full_cola(group.config) if of_a else _is_report_b(group.config, train_limit)
        if fits and _is_whole(group):
            sides = sets.setdefault((_like(group.config, of_a), group.hardware), {})
            sides.setdefault(_side(group.config, of_a), []).append(group)
    rates = {like: chosen_rates(groups, like) if of_a else {} for like, _ in sets}
    found = [
        ({side: _best(some, rates[like].get(side)) for side, some in sides.items()}, rates[like])
        for (like, _), sides in sets.items()
    ]
    best, chosen = max(found, key=lambda one: _worth(one[0], wanted), default=({}, {}))
    absent = tuple(side for side in wanted if not any(side in sides for sides in sets.values()))
    protocol = "full CoLA" if of_a else f"{train_limit:,}-image MNIST" if train_limit else "full MNIST"
    return Evidence(best, absent, protocol, chosen)


def chosen_rates(groups: Sequence[Group], like: RunConfig) -> dict[Side, float]:
    """Side -> the learning rate of the best mean MCC on held-out training sentences, by runs that are otherwise `like`.

    Only epochs and the held-out share may be others. Of several such searches of a side that with shipped runs counts,
    then that over most rates, then over most runs.
    """
    searches: dict[Side, dict[tuple[int, float], dict[float, list[Group]]]] = {}
    for group in groups:
        config = group.config
        as_judged = replace(config, held_out=0.0, epochs=like.epochs)
        if config.held_out and _is_whole(group) and _like(as_judged, True) == like and group.values("last_mcc"):
            search = searches.setdefault(_side(config, True), {}).setdefault((config.epochs, config.held_out), {})
            search.setdefault(config.learning_rate, []).append(group)
    return {side: _best_rate(max(each.values(), key=_extent)) for side, each in searches.items()}


def _best_rate(search: dict[float, list[Group]]) -> float:
    """Of equal ones the smallest."""
    means: dict[float, float] = {}
    for rate, groups in search.items():
        by_seed = defaultdict(list)  # on several machines a seed counts once
        for group in groups:
            for seed, value in group.values("last_mcc").items():
                by_seed[seed].append(value)
        means[rate] = statistics.fmean(map(statistics.fmean, by_seed.values()))
    return max(sorted(means), key=lambda rate: means[rate])


def _extent(search: dict[float, list[Group]]) -> tuple[bool, int, int]:
    groups = [group for some in search.values() for group in some]
    return any(SHIPPED in group.origins for group in groups), len(search), sum(len(group.results) for group in groups)


def _is_whole(group: Group) -> bool:
    return not group.cut_short and all(result.state == "completed" for result in group.results)


def _is_full_cola(config: RunConfig) -> bool:
    """Report A's protocol."""
    limits = (config.train_limit, config.eval_limit, config.max_steps, config.max_seconds, config.held_out)
    asked = (config.task, config.epochs, config.batch_size, config.freeze, config.encoder, config.temperature)
    return asked == ("cola", 5, 16, "none", DEFAULT_ENCODER, 1.0) and not any(limits) and not config.patience


def _is_report_b(config: RunConfig, train_limit: int) -> bool:
    """Report B's network, trained to the end; the reports tell neither rate nor schedule, so any will do."""
    network = (config.task, config.kernel_size, config.stride, config.width, config.depth, config.temperature)
    training = (config.batch_size, config.dropout, config.head_dropout, config.weight_decay, config.clip)
    limits = (config.eval_limit, config.max_steps, config.max_seconds, config.patience)
    fits = network == ("mnist", 2, 2, 32, 1, 1.0) and training == (128, 0.25, 0.5, 0.0, 0.0)
    return fits and config.train_limit == train_limit and config.epochs >= LEAST_EPOCHS and not any(limits)


def _like(config: RunConfig, of_a: bool) -> RunConfig:
    """With what may differ between sides taken out."""
    like = replace(config, seed=0, pooling="", linear_tanh=False)
    return replace(like, learning_rate=1.0) if of_a else like


def _side(config: RunConfig, of_a: bool) -> Side:
    return Side(config.pooling, of_a and config.linear_tanh)


def _best(groups: Sequence[Group], rate: float | None) -> Group:
    """Of one side's groups in a set: that with the chosen rate, then with shipped runs, most seeds, the older one."""
    return max(groups, key=lambda group: (group.config.learning_rate == rate, *_weight(group)))


def _weight(group: Group) -> tuple[bool, int, float]:
    return SHIPPED in group.origins, len(group.results), -max(result.created for result in group.results)


def _worth(chosen: dict[Side, Group], wanted: Sequence[Side]) -> tuple[float, ...]:
    """How much a set of groups has to say."""
    found = [_weight(chosen[side]) for side in wanted if side in chosen]
    if not found:
        return (0,)
    shipped, seeds, made = zip(*found, strict=True)
    return sum(shipped), len(found), min(seeds), sum(seeds), min(made)
