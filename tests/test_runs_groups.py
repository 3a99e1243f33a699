"""Groups of seeds: intervals against scipy.stats, pairs against numpy, and who is grouped with whom."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from poolviz.runs import groups
from poolviz.runs.groups import BUDGET, Group, apart, difference, differing, figures, group, spread, titles, unlike
from poolviz.runs.results import IMPORTED, MEASURES, MINE, SHIPPED, Result
from poolviz.runs.store import Run
from poolviz.training.config import RunConfig

FIGURE = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
SAMPLE = st.lists(FIGURE, min_size=2, max_size=12)


def result(
    seed=0, hardware="CPU", state="completed", origin=MINE, name="run", values=None, early="", machine="", **config
):
    config, run = RunConfig(seed=seed, **config), Run(Path("nowhere") / f"{name}-{seed}")
    facts = {"early": early, "steps": 100, "machine": machine}
    return Result(run, origin, config, state, hardware, values or {}, **facts)


# ---- spread ----


@given(SAMPLE)
def test_a_spread_is_that_of_scipy(values):
    assume(len(set(values)) > 1)
    found = spread(values)
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.sd == pytest.approx(np.std(values, ddof=1), rel=1e-6, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)
    assert found.low < found.mean < found.high


@given(FIGURE)
def test_one_run_has_a_mean_and_no_interval(value):
    found = spread([value])
    assert (found.n, found.mean, found.sd, found.low, found.high) == (1, value, None, None, None)


@given(FIGURE, st.integers(2, 9))
def test_equal_figures_have_an_interval_only_where_they_are_exact(value, n):
    found = spread([value] * n)
    assert (found.n, found.mean, found.sd) == (n, pytest.approx(value), 0)
    assert found.low is found.high is None
    certain = spread([value] * n, exact=True)
    assert certain.low == certain.mean == certain.high == found.mean


def test_figures_that_follow_from_the_configuration_are_exact():
    assert {name for name, measure in MEASURES.items() if measure.exact} == {"parameters", "estimated_bytes"}
    (found,) = group([result(seed, values={"parameters": 5.0, "test_error": 0.1}) for seed in (0, 1)])
    assert (found.spread("parameters").low, found.spread("test_error").low) == (5.0, None)


def test_an_interval_covers_the_truth_nineteen_times_in_twenty():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, 5))
    covered = [found.low <= 3.0 <= found.high for found in map(spread, draws.tolist())]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


# ---- difference ----


@given(st.dictionaries(st.integers(0, 9), st.tuples(FIGURE, FIGURE), min_size=2))
def test_shared_seeds_are_paired(pairs):
    ours = {seed: one for seed, (one, _) in pairs.items()}
    theirs = {seed: other for seed, (_, other) in reversed(pairs.items())}
    found = difference(ours, theirs)
    assert found.paired
    assert found.n == len(pairs)
    apart = [ours[seed] - theirs[seed] for seed in pairs]
    assert found.mean == pytest.approx(np.mean(apart), abs=1e-6)
    if np.ptp(apart) > 1e-3:
        test = stats.ttest_rel(list(ours.values()), [theirs[seed] for seed in ours]).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((test.low, test.high), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs", "pairs"),
    [
        (5, range(5), 5),
        (5, range(2), 2),  # all that the smaller side has
        (2, range(5), 2),
        (5, range(2, 7), 3),  # three, and most of both
        (6, range(3, 9), 0),  # three of six are not most
        (6, range(3, 7), 0),
        (5, range(3, 8), 0),  # two of five against five
        (3, range(1, 4), 0),
        (5, [0], 0),
        (2, [1], 0),
    ],
)
def test_pairs_must_stand_for_both_sides(ours, theirs, pairs):
    draws = np.random.default_rng(0)
    one = {seed: float(draws.normal()) for seed in range(ours)}
    other = {seed: float(draws.normal()) for seed in theirs}
    there, back = difference(one, other), difference(other, one)
    assert (there.paired, back.paired) == (pairs > 0, pairs > 0)
    assert there.n == (pairs or min(ours, len(theirs)))
    shared = set(one) & set(other)
    mean = np.mean([one[seed] - other[seed] for seed in shared]) if pairs else (
        np.mean(list(one.values())) - np.mean(list(other.values()))
    )  # fmt: skip
    assert there.mean == pytest.approx(mean)


@given(SAMPLE, SAMPLE)
def test_without_shared_seeds_it_is_welch(ours, theirs):
    assume(len(set(ours)) > 1 or len(set(theirs)) > 1)
    found = difference(dict(enumerate(ours)), dict(enumerate(theirs, 100)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's of figures without spread
        test = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert not found.paired
    assert found.n == min(len(ours), len(theirs))
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(theirs), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((test.low, test.high), rel=1e-6, abs=1e-6)


@given(SAMPLE, SAMPLE)
def test_a_difference_turns_with_its_sides(ours, theirs):
    for offset in (0, 100):
        one, other = dict(enumerate(ours)), dict(enumerate(theirs, offset))
        there, back = difference(one, other), difference(other, one)
        assert there.mean == pytest.approx(-back.mean)
        assert (there.low is None) == (back.low is None)
        if there.low is not None:
            assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


@pytest.mark.parametrize(
    ("ours", "theirs", "n"), [({1: 2.0}, {1: 1.0}, 1), ({1: 2.0}, {2: 1.0, 3: 1.0}, 1), ({1: 2.0, 2: 2.0}, {2: 1.0}, 1)]
)
def test_too_few_runs_have_no_interval(ours, theirs, n):
    found = difference(ours, theirs)
    assert (found.n, found.mean, found.low, found.high) == (n, 1.0, None, None)


@pytest.mark.parametrize(("ours", "theirs"), [({}, {1: 1.0}), ({1: 1.0}, {}), ({}, {})])
def test_nothing_to_compare(ours, theirs):
    assert difference(ours, theirs) is None


@pytest.mark.parametrize("offset", [0, 10])
def test_a_difference_is_certain_only_where_figures_are_exact(offset):
    ours, theirs = {0: 3.0, 1: 3.0}, {offset: 5.0, offset + 1: 5.0}
    found = difference(ours, theirs, exact=True)
    assert (found.mean, found.low, found.high) == (-2.0, -2.0, -2.0)
    found = difference(ours, theirs)
    assert (found.mean, found.low, found.high) == (-2.0, None, None)


def test_the_same_few_images_on_two_seeds_cannot_tell():
    """0.0118 less 0.0112 of 10,000 images, twice, which rounding makes 0.0006 and nearly that."""
    found = difference({0: 0.0118, 1: 0.0117}, {0: 0.0112, 1: 0.0111})
    assert found.paired and found.mean == pytest.approx(0.0006)
    assert found.low is found.high is None


def test_figures_that_are_equal_but_for_rounding_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = difference({0: 0.3, 1: 0.4, 2: 0.5}, {0: 0.2, 1: 0.3, 2: 0.4})
    assert found.mean == pytest.approx(0.1)
    assert found.low is found.high is None


# ---- groups ----


def test_a_group_differs_in_its_seed_alone():
    found = group(
        [
            result(2, pooling="max"),
            result(0, pooling="max"),
            result(1, pooling="average"),
            result(1, pooling="max", hardware="GPU"),
            result(1, pooling="max", dropout=0.1),
            result(5, pooling="max", state="stopped"),
            result(6, pooling="max", state="failed"),
        ]
    )
    assert [(each.config.pooling, each.hardware, each.seeds) for each in found] == [
        ("max", "CPU", (0, 2)),
        ("average", "CPU", (1,)),
        ("max", "GPU", (1,)),
        ("max", "CPU", (1,)),
    ]
    assert {each.config.seed for each in found} == {0}


def test_of_two_runs_of_a_seed_a_shipped_one_counts_then_a_user_s_own():
    gaps = {IMPORTED: 1.0, MINE: 2.0, SHIPPED: 3.0}
    results = [result(1, origin=origin, values={"gap": gap}) for origin, gap in gaps.items()]
    for order in (results, results[::-1], [results[1], results[2], results[0]]):
        (found,) = group(order)
        assert (found.values("gap"), found.origins) == ({1: 3.0}, (SHIPPED,))
    (found,) = group(results[:2])
    assert (found.values("gap"), found.origins) == ({1: 2.0}, (MINE,))


def test_of_two_runs_of_a_seed_from_one_place_the_first_counts():
    (found,) = group([result(1, values={"gap": 1.0}), result(1, values={"gap": 2.0})])
    assert found.values("gap") == {1: 1.0}


def test_a_limit_that_was_not_reached_makes_no_other_experiment():
    unlimited, limited = result(0), result(1, max_seconds=3600.0, max_steps=100)  # which are all its steps
    (found,) = group([limited, unlimited])
    assert (found.seeds, found.config) == ((0, 1), RunConfig())
    assert found.results[1].config.max_seconds == 3600.0
    (alone,), (other,) = group([unlimited]), group([limited])
    assert unlike(alone, other) == []
    assert alone.identity == other.identity
    early = result(2, patience=3, max_seconds=3600.0, early="no better validation loss for 3 epochs")
    assert [each.seeds for each in group([early, result(3, patience=3)])] == [(2, 3)]


@pytest.mark.parametrize("early", ["the limit of 50 steps", "the limit of 60 seconds"])
def test_a_run_cut_short_is_not_averaged_with_whole_ones(early):
    limits = {"max_steps": 50} if "steps" in early else {"max_seconds": 60.0}
    cut, whole = group([result(0, early=early, **limits), result(1), result(2, early=early, **limits)])
    assert (cut.seeds, whole.seeds) == ((0, 2), (1,))
    assert (cut.cut_short, whole.cut_short) == (True, False)
    assert unlike(cut, whole) == [*limits, "cut short"]
    assert "cut short" in titles([cut, whole], {})[0]
    # as much where the configuration does not tell
    cut, whole = group([result(0, early=early), result(1)])
    assert unlike(cut, whole) == ["cut short"]
    assert cut.identity != whole.identity


# ---- times ----


def timed(pooling, *machines, hardware="CPU"):
    values = {"train_time": 1.0, "test_error": 0.1}
    found = [
        result(seed, hardware, machine=machine, pooling=pooling, values={**values, "train_time": 2.0 + len(machine)})
        for seed, machine in enumerate(machines)
    ]
    return group(found)[0]


def test_times_are_compared_on_one_machine_alone():
    ours, theirs = timed("max", "two", "two", "three", "three", "three"), timed("average", "two", "two", "two")
    assert ours.spread("train_time").n == 3, "its most common machine"
    assert ours.spread("test_error").n == 5, "other figures do not depend on it"
    assert [len(each) for each in figures([ours, theirs], "train_time")] == [2, 3]
    assert (apart(ours, theirs, "train_time").n, apart(ours, theirs, "test_error").n) == (2, 3)
    assert unlike(ours, theirs, "train_time") == []


def test_times_of_different_machines_are_not_compared():
    ours, theirs = timed("max", "two", "two"), timed("average", "three", "three")
    assert figures([ours, theirs], "train_time") == [{}, {}]
    assert apart(ours, theirs, "train_time") is None
    assert unlike(ours, theirs, "train_time") == ["machine"]
    assert unlike(ours, theirs, "test_error") == unlike(ours, theirs) == []
    assert unlike(ours, timed("none", "four", hardware="GPU"), "train_time") == ["hardware"]
    assert apart(ours, theirs, "test_error").n == 2


def test_parameters_are_certainly_apart():
    ours, theirs = (
        group([result(seed, pooling=name, values={"parameters": count}) for seed in (0, 1)])[0]
        for name, count in (("max", 5.0), ("none", 20.0))
    )
    found = apart(ours, theirs, "parameters")
    assert (found.low, found.high) == (-15.0, -15.0)


def test_a_group_leaves_out_what_is_not_known():
    (found,) = group([result(0, values={"gap": 1.0}), result(1), result(2, values={"gap": 3.0}, origin=SHIPPED)])
    assert found.values("gap") == {0: 1.0, 2: 3.0}
    assert (found.spread("gap").n, found.spread("gap").mean) == (2, 2.0)
    assert found.spread("test_error") is None
    assert found.origins == (MINE, SHIPPED)


@pytest.mark.parametrize("name", [*BUDGET, "task", "hardware"])
def test_unlike_names_each_budget(name):
    one = Group(RunConfig(), "CPU", (result(),))
    if name == "hardware":
        other = replace(one, hardware="GPU")
    else:
        changed = "mnist" if name == "task" else getattr(one.config, name) + 1
        other = replace(one, config=replace(one.config, **{name: changed}))
    assert unlike(one, other) == [name]
    assert unlike(one, one) == []
    assert unlike(one, replace(one, config=replace(one.config, pooling="average", dropout=0.5))) == []


def test_differing_names_fields():
    some = [
        Group(RunConfig(pooling=name, width=width), "CPU", ()) for name, width in (("max", 4), ("min", 4), ("max", 8))
    ]
    assert differing(some) == ["pooling", "width"]
    assert differing(some[:1]) == differing([]) == []


def test_the_interval_is_95_percent():
    assert groups.CONFIDENCE == 0.95
