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
from poolviz.runs.groups import BUDGET, Group, difference, differing, group, spread, unlike
from poolviz.runs.results import MINE, SHIPPED, Result
from poolviz.runs.store import Run
from poolviz.training.config import RunConfig

FIGURE = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
SAMPLE = st.lists(FIGURE, min_size=2, max_size=12)


def result(seed=0, hardware="CPU", state="completed", origin=MINE, name="run", values=None, **config):
    config = RunConfig(seed=seed, **config)
    return Result(Run(Path("nowhere") / f"{name}-{seed}"), origin, config, state, hardware, values or {})


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
def test_equal_figures_have_an_interval_of_no_width(value, n):
    found = spread([value] * n)
    assert found.low == found.mean == found.high
    assert found.sd == 0
    assert found.mean == pytest.approx(value)


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


def test_seeds_that_one_has_alone_are_left_out_of_pairs():
    ours, theirs = {1: 1.0, 2: 2.5, 3: 99.0}, {1: 0.5, 2: 1.0, 4: -99.0}
    found = difference(ours, theirs)
    assert (found.n, found.mean) == (2, 1.0)


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
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
        assert there.sign == -back.sign


@pytest.mark.parametrize(
    ("ours", "theirs", "n"), [({1: 2.0}, {1: 1.0}, 1), ({1: 2.0}, {2: 1.0, 3: 1.0}, 1), ({1: 2.0, 2: 2.0}, {2: 1.0}, 1)]
)
def test_too_few_runs_have_no_interval(ours, theirs, n):
    found = difference(ours, theirs)
    assert (found.n, found.mean, found.low, found.high, found.sign) == (n, 1.0, None, None, 0)


@pytest.mark.parametrize(("ours", "theirs"), [({}, {1: 1.0}), ({1: 1.0}, {}), ({}, {})])
def test_nothing_to_compare(ours, theirs):
    assert difference(ours, theirs) is None


@pytest.mark.parametrize("offset", [0, 10])
def test_what_never_varies_has_a_certain_difference(offset):
    found = difference({0: 3.0, 1: 3.0}, {offset: 5.0, offset + 1: 5.0})
    assert (found.mean, found.low, found.high, found.sign) == (-2.0, -2.0, -2.0, -1)


def test_figures_that_are_equal_but_for_rounding_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = difference({0: 0.3, 1: 0.4, 2: 0.5}, {0: 0.2, 1: 0.3, 2: 0.4})
    assert found.low <= found.mean <= found.high
    assert found.high - found.low < 1e-15
    assert found.sign == 1


@pytest.mark.parametrize(
    ("figures", "sign"), [([1.0, 1.1, 0.9], 1), ([-1.0, -1.1, -0.9], -1), ([1.0, -1.1, 0.2], 0), ([0.0, 0.0], 0)]
)
def test_a_sign_needs_the_whole_interval(figures, sign):
    assert difference(dict(enumerate(figures)), dict.fromkeys(range(len(figures)), 0.0)).sign == sign


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


def test_of_two_runs_of_a_seed_the_first_counts():
    (found,) = group([result(1, values={"gap": 1.0}), result(1, origin=SHIPPED, values={"gap": 2.0})])
    assert found.values("gap") == {1: 1.0}
    assert found.origins == (MINE,)


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
