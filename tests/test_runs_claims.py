"""Claims: verdicts follow the runs. Each is made to hold, not to hold and not to tell, by runs whose truth is known."""

import json
import math
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from poolviz.runs import claims, evidence
from poolviz.runs.claims import CLAIMS, judged
from poolviz.runs.evidence import ABOVE, BELOW, FAILS, HOLDS, UNKNOWN, Range
from poolviz.runs.groups import Difference, group
from poolviz.runs.protocol import AVERAGE, BARE, CLS, MAX, MEAN_MAX, MINE, NONE
from poolviz.runs.reported import TABLE_B, TABLES_A
from poolviz.runs.results import MEASURES, Result
from poolviz.runs.store import Run
from poolviz.training.config import default_config

ROOT = Path(__file__).resolve().parent.parent
SEEDS = range(4)
QUIET = (0.0, 0.02, -0.01, 0.01)  # what a seed adds, of a figure's size

FALLING, RISING = (1.0, 0.8, 0.6, 0.5, 0.4), (0.6, 0.5, 0.8, 0.9, 1.0)
# what makes each claim hold; turned round, none holds
SCENES = {
    "A2": {"gap": {MINE: 0.1, CLS: 0.5, MEAN_MAX: 0.6}},
    "A4": {"last_mcc": {MINE: 0.5, CLS: 0.4, MEAN_MAX: 0.6}},
    "A5": {"train_time": {MINE: 230.0, CLS: 10.0}, "eval_time": {MINE: 60.0, CLS: 1.5}},
    "B1": {"fit_loss": {NONE: 0.01, MAX: 0.02, AVERAGE: 0.03}},
    "B2": {"validation_error": {NONE: 0.021, MAX: 0.010, AVERAGE: 0.012}},
    "B3": {"test_error": {NONE: 0.010, MAX: 0.012, AVERAGE: 0.014}},
    "B4": {"train_time": {AVERAGE: 10.0, MAX: 12.0, NONE: 15.0}},
    "B5": {"predict_time": {NONE: 1.0, MAX: 1.2, AVERAGE: 1.5}},
    "B6": {
        "parameters": {MAX: 1_199_882.0, NONE: 4_738_826.0},
        "estimated_bytes": {MAX: 0.46e9, NONE: 1.8e9},
    },
    "B7": {"test_error": {MAX: 0.010, AVERAGE: 0.012, NONE: 0.014}},
}
CURVES = {  # validation losses that make A1, and training losses that make A3, hold
    "A1": {MINE: FALLING, CLS: RISING, MEAN_MAX: RISING},
    "A3": {MINE: (0.9,) * 5, CLS: (0.5,) * 5, MEAN_MAX: (0.4,) * 5},
}


class Store:
    """Results that a test makes; those with a curve have a folder."""

    def __init__(self, root):
        self.root, self.results = root, []

    def add(self, side, seed, values=None, validation=None, train=None, hardware="CPU", created=0.0, origin="mine",
            early="", machine="", **config):  # fmt: skip
        of_a = side in (CLS, MEAN_MAX, MINE, BARE)
        usual = {"linear_tanh": True} if side.linear_tanh else {}
        made = default_config("cola" if of_a else "mnist", pooling=side.pooling, seed=seed, **(usual | config))
        folder = self.root / f"{side.pooling}-{len(self.results)}"
        facts = {"early": early, "machine": machine}
        result = Result(Run(folder), origin, made, "completed", hardware, values or {}, created, **facts)
        self.results.append(result)
        if validation or train:
            folder.mkdir()
            self.curve(result, validation or FALLING, train or FALLING)
        return result

    def curve(self, result, validation, train):
        rows = [{"kind": "start"}]
        for number, (loss, trained) in enumerate(zip(validation, train, strict=True), 1):
            rows += [{"kind": "step", "epoch": number - 1, "train_loss": 9.0}]
            rows += [{"kind": "epoch", "epoch": number, "validation_loss": loss, "train_loss": trained}]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (result.run.folder / "metrics.jsonl").write_text(text, encoding="utf-8")

    def judge(self, name):
        return CLAIMS[name].judge(group(self.results))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def turned(scene):
    """Largest and smallest change places."""
    return {
        measure: {side: max(of.values()) + min(of.values()) - value for side, value in of.items()}
        for measure, of in scene.items()
    }


def fill(store, name, seeds=SEEDS, turn=False, noise=QUIET, sides=None, **config):
    """Runs by which a claim holds, or, turned round, does not; `noise` alternates between sides."""
    if name in CURVES:
        for place, (side, losses) in enumerate(CURVES[name].items()):
            if sides is None or side in sides:
                other = {FALLING: RISING, RISING: FALLING}.get(losses) or (1.3 - losses[0],) * 5
                _curves(store, name, side, other if turn else losses, place, seeds, noise, config)
        return
    scene = turned(SCENES[name]) if turn else SCENES[name]
    for place, side in enumerate(dict.fromkeys(side for of in scene.values() for side in of)):
        for seed in seeds if sides is None or side in sides else ():
            factor = 1 + noise[seed % 4] * (1 + place)
            values = {
                measure: of[side] * (1 if name == "B6" and noise is QUIET else factor) for measure, of in scene.items()
            }
            store.add(side, seed, values, **config)


def _curves(store, name, side, losses, place, seeds, noise, config):
    for seed in seeds:
        bend = noise[seed % 4] * (1 + place)
        if name == "A3":
            store.add(side, seed, train=[loss * (1 + bend) for loss in losses], **config)
        else:
            drawn = [loss + bend * (epoch == 4) for epoch, loss in enumerate(losses)]
            store.add(side, seed, validation=drawn, **config)


SWINGING = (0.3, -0.3, 0.3, -0.3)  # times the side's place: differences of any two sides swing
LOUD = (0.9, -0.9, 0.9, -0.9)
SWING = {"A1": (2.0, -0.3, 2.0, -0.3), "A2": LOUD, "A3": (2.0, -0.9, 2.0, -0.9), "A4": LOUD}
SWING |= {"B2": LOUD, "A5": (0.0, -0.33, 20.0, -0.3), "B6": (0.1, -0.1, 0.2, -0.3)}  # about what is claimed


# ---- verdicts follow the data ----


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_where_the_runs_say_so(store, name):
    fill(store, name)
    found = store.judge(name)
    assert found.verdict == HOLDS, found.reason
    assert {part.verdict for part in found.parts} == {HOLDS}
    assert found.reason.endswith(": as reported.")
    assert "n = 4" in found.reason
    assert len(found.runs) == len(store.results)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_does_not_hold_where_they_say_the_contrary(store, name):
    fill(store, name, turn=True)
    found = store.judge(name)
    assert found.verdict == FAILS, found.reason
    assert "reported was" in found.reason
    assert any(part.claimed in found.reason for part in found.parts)


@pytest.mark.parametrize("name", CLAIMS)
def test_nobody_can_tell_where_seeds_swing(store, name):
    fill(store, name, noise=SWING.get(name, SWINGING))
    found = store.judge(name)
    assert found.verdict == UNKNOWN, found.reason
    assert "the interval leaves it open" in found.reason


@pytest.mark.parametrize("name", CLAIMS)
def test_one_seed_cannot_tell(store, name):
    fill(store, name, seeds=[3])
    found = store.judge(name)
    assert found.verdict == UNKNOWN
    assert "one seed only" in found.reason
    assert all(part.effect.n == 1 and part.shown[1] is None for part in found.parts)
    assert "leaves it open" not in found.reason


@pytest.mark.parametrize("name", CLAIMS)
def test_no_runs_cannot_tell(name):
    found = CLAIMS[name].judge([])
    assert found.verdict == UNKNOWN
    assert found.runs == found.also == ()
    assert re.fullmatch(r"No completed full (CoLA|MNIST) runs of .* are here\.", found.reason)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_missing_pooling_is_named(store, name):
    sides = list(dict.fromkeys(side for question in CLAIMS[name].questions for side in question.sides))
    fill(store, name, sides=sides[1:])
    found = store.judge(name)
    assert found.verdict == UNKNOWN
    assert f"runs of {sides[0].runs} are here" in found.reason
    assert not any(other.runs in found.reason.split(" are here")[0] for other in sides[1:])


@pytest.mark.parametrize("name", CLAIMS)
def test_runs_that_know_no_figures_cannot_tell(store, name):
    for side in dict.fromkeys(side for question in CLAIMS[name].questions for side in question.sides):
        store.add(side, 0)
    found = store.judge(name)
    assert found.verdict == UNKNOWN
    assert "do not tell" in found.reason
    assert found.runs == ()
    assert found.parts[0].left_out == len(found.parts[0].groups)


@pytest.mark.parametrize("name", [name for name in CLAIMS if name != "A1"])
def test_runs_on_different_hardware_are_not_compared(store, name):
    ours = CLAIMS[name].questions[0].ours
    sides = {side for question in CLAIMS[name].questions for side in question.sides}
    fill(store, name, sides=sides - {ours})
    fill(store, name, sides={ours}, hardware="NVIDIA H100")
    found = store.judge(name)
    assert found.verdict == UNKNOWN
    assert "same hardware" in found.reason


def test_one_part_that_does_not_hold_is_enough(store):
    for seed in SEEDS:
        store.add(MINE, seed, {"gap": 0.3 + seed / 100})
        store.add(CLS, seed, {"gap": 0.1 + seed / 90})
    found = store.judge("A2")
    assert [part.verdict for part in found.parts] == [FAILS, UNKNOWN]
    assert found.verdict == FAILS


def test_one_part_that_holds_is_not(store):
    for seed in SEEDS:
        store.add(MINE, seed, {"gap": 0.1 + seed / 100})
        store.add(CLS, seed, {"gap": 0.3 + seed / 90})
    found = store.judge("A2")
    assert [part.verdict for part in found.parts] == [HOLDS, UNKNOWN]
    assert found.verdict == UNKNOWN
    assert "MEAN-MAX are here" in found.reason


# ---- ranges ----


def effect(low, high):
    return Difference(3, 0.0 if low is None else (low + high) / 2, low, high, True)


@pytest.mark.parametrize(
    ("claimed", "low", "high", "verdict"),
    [
        (BELOW, -2, -1, HOLDS),
        (BELOW, 1, 2, FAILS),
        (BELOW, -1, 1, UNKNOWN),
        (BELOW, -1, 0, UNKNOWN),
        (BELOW, 0, 0, FAILS),  # certainly no difference
        (ABOVE, 1, 2, HOLDS),
        (ABOVE, -2, -1, FAILS),
        (ABOVE, -1, 1, UNKNOWN),
        (ABOVE, 0, 0, FAILS),
        (ABOVE, None, None, UNKNOWN),
        (evidence.A_QUARTER, 0.2, 0.3, HOLDS),
        (evidence.A_QUARTER, 0.25, 0.25, HOLDS),
        (evidence.A_QUARTER, 0.19, 0.25, UNKNOWN),
        (evidence.A_QUARTER, 0.1, 0.19, FAILS),
        (evidence.A_QUARTER, 0.31, 4, FAILS),
        (evidence.A_QUARTER, 0.1, 0.4, UNKNOWN),
        (evidence.at_least_half_of(22.7), 11.35, 30, HOLDS),
        (evidence.at_least_half_of(22.7), 11.34, 30, UNKNOWN),
        (evidence.at_least_half_of(22.7), 1, 11.34, FAILS),
        (Range(0, 1, ""), 0.5, 0.5, HOLDS),
    ],
)
def test_a_range_asks_for_the_whole_interval(claimed, low, high, verdict):
    assert claimed.verdict(effect(low, high)) == verdict


def test_no_effect_cannot_tell():
    assert BELOW.verdict(None) == UNKNOWN


# ---- numbers ----


def test_differences_are_paired_and_as_scipy_has_them(store):
    draws = np.random.default_rng(1)
    ours, theirs = draws.normal(0.5, 0.1, 5), draws.normal(0.4, 0.1, 5)
    for seed in range(5):
        store.add(MINE, seed, {"last_mcc": float(ours[seed])})
        store.add(CLS, seed, {"last_mcc": float(theirs[seed])})
    part = store.judge("A4").parts[0]
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert part.effect.paired
    assert (part.label, part.kind, part.measure) == ("softmax-stochastic less CLS", "difference", MEASURES["last_mcc"])
    assert part.shown == pytest.approx((np.mean(ours - theirs), interval.low, interval.high))


@pytest.mark.parametrize("offset", [0, 50])
def test_a_ratio_is_taken_on_logarithms(store, offset):
    draws = np.random.default_rng(2)
    ours, theirs = np.exp(draws.normal(3, 0.3, 6)), np.exp(draws.normal(0, 0.2, 6))
    for seed in range(6):
        store.add(MINE, seed, {"train_time": float(ours[seed])})
        store.add(CLS, seed + offset, {"train_time": float(theirs[seed])})
    test = stats.ttest_ind(np.log(ours), np.log(theirs), equal_var=False)
    if not offset:
        test = stats.ttest_rel(np.log(ours), np.log(theirs))
    interval = test.confidence_interval(0.95)
    part = store.judge("A5").parts[0]
    mean = np.exp(np.mean(np.log(ours) - np.log(theirs)))
    assert part.effect.paired == (offset == 0)
    assert (part.unit, part.kind, part.label) == ("×", "ratio", "softmax-stochastic over CLS")
    assert part.shown == pytest.approx((mean, math.exp(interval.low), math.exp(interval.high)))


def test_a_ratio_of_nothing_is_left_out(store):
    for seed in SEEDS:
        store.add(MINE, seed, {"train_time": 0.0 if seed == 3 else 200.0 + seed, "eval_time": 60.0})
        store.add(CLS, seed, {"train_time": 10.0, "eval_time": 1.0})
    part = store.judge("A5").parts[0]
    assert (part.effect.n, part.left_out, part.verdict) == (3, 1, HOLDS)
    assert "1 without the figure on one machine left out" in part.why


def test_what_never_varies_is_certain(store):
    fill(store, "B6")
    part = store.judge("B6").parts[0]
    assert part.effect.low == part.effect.mean == part.effect.high
    assert part.effect.mean == pytest.approx(1_199_882 / 4_738_826)
    assert "max over none: parameters 0.253× (95 % interval 0.253 to 0.253, n = 4)" in part.why


@pytest.mark.parametrize("ahead", [0.0, 0.0004])
def test_equal_figures_of_a_coarse_measure_cannot_tell(store, ahead):
    for seed in SEEDS:
        for side in (MAX, AVERAGE, NONE):
            store.add(side, seed, {"test_error": 0.01 + seed / 1000 - ahead * (side == MAX)})
    found = store.judge("B7")
    assert found.verdict == UNKNOWN
    assert "the same for each seed, too coarse for an interval, n = 4" in found.reason
    assert ("+0.00 points" if not ahead else "-0.0400 points") in found.reason
    assert "-0.00 " not in found.reason and "leaves it open" not in found.reason


def test_percent_are_shown_as_points(store):
    fill(store, "B3")
    part = store.judge("B3").parts[0]
    assert part.unit == "points"
    assert part.shown[0] == pytest.approx(100 * part.effect.mean)
    assert -1 < part.shown[0] < 0


def test_runs_are_those_of_the_pairs(store):
    for seed in (1, 2, 3, 4):
        store.add(MINE, seed, {"gap": seed / 10})
    for seed in (2, 3, 4, 5):
        store.add(CLS, seed, {"gap": seed / 7})
    found = store.judge("A2")
    assert found.parts[0].effect.n == 3
    counted = {result.name for result in store.results if result.config.seed in (2, 3, 4)}
    assert set(found.runs) == counted
    assert len(found.runs) == len(counted)


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e-3, 1.0, 1e6, 1e99])
def test_effects_of_any_size_are_told(store, size):
    for seed in SEEDS:
        store.add(MINE, seed, {"gap": size * (1 + seed / 10), "train_time": size})
        store.add(CLS, seed, {"gap": size * (2 + seed / 9), "train_time": 1 / size})
    assert "n = 4" in store.judge("A2").parts[0].why
    assert "n = 4" in store.judge("A5").parts[0].why


def test_seeds_worlds_apart_still_have_a_ratio(store):
    for seed, times in enumerate((1e-90, 1e90)):
        store.add(MINE, seed, {"train_time": times})
        store.add(CLS, seed, {"train_time": 1.0})
    part = store.judge("A5").parts[0]
    assert part.verdict == UNKNOWN
    assert part.shown[0] == pytest.approx(1.0)


# ---- curves ----


def test_figures_of_a_curve(store):
    result = store.add(MINE, 0, validation=[0.5, 0.3, 0.35, 0.2, 0.6], train=[1.0, 0.5, 0.4, 0.3, 0.3])
    (one,) = group([result])
    assert evidence.values([one], "largest_change")[0] == pytest.approx({0: 0.4})
    assert evidence.values([one], "late_rise")[0] == pytest.approx({0: 0.4})
    assert evidence.values([one], "mean_train_loss")[0] == pytest.approx({0: 0.5})
    assert evidence.values([one], "trained_gap")[0] == {}
    known = replace(result, values={"last_loss": 0.6, "train_loss": 0.3})
    assert evidence.values(group([known]), "trained_gap")[0] == pytest.approx({0: 0.3})


def test_the_report_s_own_curves_bear_out_what_it_says_of_them(store):
    for table in TABLES_A:
        side = {"cls": CLS, "mean-max": MEAN_MAX}.get(table.pooling, MINE)
        for seed in (0, 1):  # a little apart: one run cannot tell, nor can two that are the same
            near = 1 + seed / 1000
            validation, train = zip(
                *((r.validation_loss * near, r.train_loss * near) for r in table.epochs), strict=True
            )
            values = {"last_mcc": table.epochs[-1].mcc * near, "gap": validation[-1] - train[-1]}
            seconds = sum(row.eval_seconds for row in table.epochs)
            values |= {"train_time": table.seconds + seed, "eval_time": seconds + seed / 100}
            store.add(side, seed, values, validation, train)
    verdicts = {name: store.judge(name).verdict for name in CLAIMS if name.startswith("A")}
    assert verdicts == {"A1": HOLDS, "A2": HOLDS, "A3": HOLDS, "A4": FAILS, "A5": HOLDS}


DAMAGED = {
    "torn": lambda text: text[: len(text) // 2],
    "NaN": lambda text: text.replace('"validation_loss": 0.8', '"validation_loss": NaN'),
    "null": lambda text: text.replace('"validation_loss": 0.8', '"validation_loss": null'),
    "text": lambda text: text.replace('"validation_loss": 0.8', '"validation_loss": "0.8"'),
    "vast": lambda text: text.replace('"validation_loss": 0.8', '"validation_loss": 1' + "0" * 400),
    "an epoch gone": lambda text: "".join(row for row in text.splitlines(True) if '"epoch": 2, "val' not in row),
    "an epoch too many": lambda text: text + '{"kind": "epoch", "epoch": 6, "validation_loss": 0.1}\n',
    "an epoch without a number": lambda text: text.replace('"epoch": 2, "val', '"epoch": [2], "val'),
    "empty": lambda text: "",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_curve_is_left_out(store, damage):
    fill(store, "A1")
    path = store.results[0].run.folder / "metrics.jsonl"
    before = path.read_text(encoding="utf-8")
    assert damage(before) != before
    path.write_text(damage(before), encoding="utf-8")
    part = store.judge("A1").parts[0]
    assert (part.effect.n, part.left_out) == (3, 1)
    assert store.results[0].name not in part.runs


def test_a_curve_that_is_gone_is_left_out(store):
    fill(store, "A3")
    for result in store.results[:4]:
        (result.run.folder / "metrics.jsonl").unlink()
    found = store.judge("A3")
    assert found.verdict == UNKNOWN
    assert "do not tell the mean training loss" in found.reason


def test_a_curve_that_was_changed_is_read_again(store):
    fill(store, "A1")
    assert store.judge("A1").verdict == HOLDS
    time.sleep(0.02)
    for result in store.results:
        if result.config.pooling == "cls":
            store.curve(result, [loss * (1 + result.config.seed / 100) for loss in FALLING], FALLING)
    assert store.judge("A1").verdict == FAILS


def test_of_an_epoch_told_twice_the_last_counts(store):
    result = store.add(MINE, 0, validation=FALLING)
    path = result.run.folder / "metrics.jsonl"
    rows = path.read_text(encoding="utf-8")
    path.write_text(
        '{"kind": "epoch", "epoch": 1, "validation_loss": 5.0, "train_loss": 5.0}\n' + rows, encoding="utf-8"
    )
    assert evidence.values(group([result]), "late_rise")[0] == pytest.approx({0: -0.1})


# ---- which runs count ----

OFF_A = {
    "epochs": 3, "batch_size": 32, "train_limit": 100, "eval_limit": 100, "held_out": 0.1, "freeze": "encoder",
    "max_steps": 9, "encoder": "other", "temperature": 0.5, "patience": 1,
}  # fmt: skip
OFF_B = {
    "epochs": 4, "train_limit": 5_000, "eval_limit": 100, "kernel_size": 3, "stride": 1, "width": 8, "depth": 2,
    "max_steps": 9, "task": "fashion-mnist", "dropout": 0.1, "head_dropout": 0.25, "batch_size": 64, "patience": 2,
    "weight_decay": 0.01, "clip": 1.0, "temperature": 0.5,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), OFF_A.items(), ids=OFF_A)
def test_runs_off_report_a_s_protocol_do_not_count(store, name, value):
    fill(store, "A2")
    store.results = [replace(each, config=replace(each.config, **{name: value})) for each in store.results]
    assert "No completed" in store.judge("A2").reason


@pytest.mark.parametrize(("name", "value"), OFF_B.items(), ids=OFF_B)
def test_runs_off_report_b_s_network_do_not_count(store, name, value):
    fill(store, "B3")
    store.results = [replace(each, config=replace(each.config, **{name: value})) for each in store.results]
    found = store.judge("B3")
    assert "No completed" in found.reason
    assert found.also == ()


@pytest.mark.parametrize("name", ["A2", "B3"])
def test_runs_that_a_limit_cut_short_do_not_count(store, name):
    fill(store, name, early="the limit of 60 seconds", max_seconds=60.0)
    assert "No completed" in store.judge(name).reason
    store.results = [replace(each, config=replace(each.config, max_seconds=0.0)) for each in store.results]
    assert "No completed" in store.judge(name).reason, "whatever the configuration says"


@pytest.mark.parametrize("name", ["A2", "B3"])
def test_runs_with_a_limit_that_they_did_not_reach_count(store, name):
    fill(store, name, seeds=[0, 1])
    fill(store, name, seeds=[2, 3], max_seconds=3600.0)
    found = store.judge(name)
    assert found.verdict == HOLDS and "n = 4" in found.reason


def test_only_completed_runs_count(store):
    fill(store, "B3")
    running = [replace(each, state="running") for each in store.results]
    going = [replace(each, results=tuple(running[:1])) for each in group(store.results)]
    assert "No completed" in CLAIMS["B3"].judge(going).reason


def test_poolings_of_report_b_need_the_same_learning_rate(store):
    fill(store, "B3", sides={MAX, AVERAGE}, learning_rate=1e-3)
    fill(store, "B3", sides={NONE}, learning_rate=2e-3)
    assert "same settings" in store.judge("B3").reason


def test_poolings_of_report_a_may_have_their_own(store):
    fill(store, "A4", sides={MINE}, learning_rate=1e-4)
    fill(store, "A4", sides={CLS, MEAN_MAX}, learning_rate=2e-5)
    assert store.judge("A4").verdict == HOLDS
    assert {each.config.learning_rate for each in store.judge("A4").parts[0].groups} == {1e-4, 2e-5}


# ---- report A: the learning rate of each pooling ----


def search(store, side, mccs, **config):
    """Runs judged on held-out training sentences: their MCC by learning rate."""
    for rate, mcc in mccs.items():
        usual = {"held_out": 0.1, "epochs": 2, "learning_rate": rate}
        store.add(side, 100, {"last_mcc": mcc}, **(usual | config))


def rate_of(store, side=CLS):
    part = next(part for part in store.judge("A4").parts if side.label in part.label)
    return next(group.config.learning_rate for group in part.groups if group.config.pooling == side.pooling)


@pytest.mark.parametrize("best", [5e-5, 1e-4, 2e-4])
def test_the_learning_rate_is_the_one_that_held_out_sentences_chose(store, best):
    """By nothing else: neither the newest, nor that of most seeds, nor that with the best result."""
    fill(store, "A4", sides={MINE, MEAN_MAX})
    for place, rate in enumerate((5e-5, 1e-4, 2e-4)):
        fill(
            store, "A4", sides={CLS}, seeds=range(2 + place), learning_rate=rate, created=float(place), turn=place == 1
        )
    search(store, CLS, {rate: 0.5 if rate == best else 0.4 for rate in (5e-5, 1e-4, 2e-4)})
    search(store, MINE, {4e-4: 0.9})  # another pooling's
    search(store, CLS, {4e-4: 0.9}, dropout=0.5)  # other settings
    search(store, CLS, {4e-4: 0.9}, linear_tanh=True)  # another head
    search(store, CLS, {4e-4: 0.9}, epochs=1)  # a search over fewer rates
    assert rate_of(store) == best
    setting = store.judge("A4").parts[0].setting
    assert f"{best:g} (chosen on held-out sentences)" in setting and setting.endswith("linear, 5 epochs, CPU")


def test_equal_rates_are_decided_by_the_smallest(store):
    for rate in (1e-4, 5e-5):
        fill(store, "A4", sides={CLS}, learning_rate=rate)
    search(store, CLS, {1e-4: 0.5, 5e-5: 0.5})
    assert rate_of(store) == 5e-5


def test_a_shipped_search_counts_before_one_over_more_rates(store):
    for rate in (1e-4, 5e-5):
        fill(store, "A4", sides={CLS}, learning_rate=rate)
    search(store, CLS, {1e-4: 0.3, 5e-5: 0.5}, origin="shipped")
    search(store, CLS, {1e-4: 0.6, 5e-5: 0.5, 2e-5: 0.4}, held_out=0.2)
    assert rate_of(store) == 5e-5


def test_without_a_search_shipped_runs_count_then_more_seeds_then_the_older(store):
    fill(store, "A4", sides={MINE, MEAN_MAX})
    fill(store, "A4", sides={CLS}, seeds=[0, 1], learning_rate=1e-4, created=5.0)
    fill(store, "A4", sides={CLS}, seeds=[0, 1], learning_rate=2e-4, created=9.0)
    assert rate_of(store) == 1e-4
    fill(store, "A4", sides={CLS}, seeds=[0, 1, 2], learning_rate=3e-4, created=9.0)
    assert rate_of(store) == 3e-4
    fill(store, "A4", sides={CLS}, seeds=[0], learning_rate=4e-4, created=10.0, origin="shipped")
    assert rate_of(store) == 4e-4
    assert "chosen" not in store.judge("A4").parts[0].setting


def test_a_chosen_rate_of_which_there_are_no_runs_is_not_claimed_to_be_theirs(store):
    fill(store, "A4")
    search(store, CLS, {1e-3: 0.5, 5e-5: 0.4})
    found = store.judge("A4").parts[0]
    assert found.verdict == HOLDS and found.setting == "learning rate 5e-05, linear, 5 epochs, CPU"


# ---- sets of runs ----


def test_a_part_tells_its_setting(store):
    fill(store, "B3", hardware="CPU Intel Xeon, 1 thread", learning_rate=4e-3)
    fill(store, "B3", hardware="CPU Intel Xeon, 1 thread", train_limit=1000, epochs=20)
    found = store.judge("B3")
    assert found.parts[0].setting == "learning rate 0.004, one-cycle, 5 epochs, CPU Intel Xeon, 1 thread"
    assert found.also[0].setting == "learning rate 0.001, one-cycle, 20 epochs, CPU Intel Xeon, 1 thread"
    assert CLAIMS["B3"].judge([]).parts[0].setting == ""


def test_sides_with_rates_of_their_own_tell_them(store):
    fill(store, "A4", sides={MINE}, learning_rate=1e-4)
    fill(store, "A4", sides={CLS, MEAN_MAX}, learning_rate=2e-5)
    told = store.judge("A4").parts[0].setting
    assert told == "learning rates 0.0001 for softmax-stochastic and 2e-05 for CLS, linear, 5 epochs, CPU"


def test_the_set_of_shipped_runs_counts_before_all_others(store):
    fill(store, "B3", seeds=[0, 1], sides={NONE, MAX}, learning_rate=4e-3, origin="shipped")
    fill(store, "B3", turn=True)
    found = store.judge("B3")
    assert [part.verdict for part in found.parts] == [HOLDS, UNKNOWN]
    assert found.parts[0].setting.startswith("learning rate 0.004")


def test_shipped_runs_of_one_pooling_do_not_take_the_place_of_shipped_runs_of_all(store):
    """As those by which a learning rate was chosen."""
    fill(store, "B3", seeds=[0, 1], origin="shipped")
    fill(store, "B3", turn=True, sides={MAX}, learning_rate=2e-3, origin="shipped")
    assert store.judge("B3").verdict == HOLDS


def test_trying_again_overturns_no_verdict(store):
    fill(store, "B3", created=1.0)
    fill(store, "B3", turn=True, learning_rate=2e-3, created=2.0)
    assert store.judge("B3").verdict == HOLDS


def test_times_are_compared_on_one_machine_alone(store):
    fill(store, "B4", sides={AVERAGE, NONE}, machine="two cores")
    fill(store, "B4", sides={MAX}, machine="four cores")
    found = store.judge("B4")
    assert [part.verdict for part in found.parts] == [UNKNOWN, HOLDS]
    assert "had not as many cores and the same version of torch" in found.reason
    store.results.clear()
    fill(store, "B3", sides={AVERAGE, NONE}, machine="two cores")
    fill(store, "B3", sides={MAX}, machine="four cores")
    assert store.judge("B3").verdict == HOLDS, "errors are the same on both"


def test_of_two_sets_the_one_with_more_seeds_counts(store):
    fill(store, "B3", seeds=[0, 1], created=9.0)
    fill(store, "B3", turn=True, epochs=12)
    assert store.judge("B3").verdict == FAILS
    assert {each.config.epochs for each in store.judge("B3").parts[0].groups} == {12}


def test_a_set_of_all_poolings_counts_before_one_of_more_seeds(store):
    fill(store, "B3", seeds=[0, 1])
    fill(store, "B3", sides={MAX, AVERAGE}, epochs=12)
    assert store.judge("B3").verdict == HOLDS


def test_a_linear_map_belongs_to_the_stochastic_side_alone(store):
    fill(store, "A4", sides={MINE, MEAN_MAX})
    fill(store, "A4", sides={CLS}, linear_tanh=True)
    assert "runs of CLS are here" in store.judge("A4").reason


# ---- what stands beside ----


def test_without_linear_map_stands_beside_and_does_not_decide(store):
    fill(store, "A4")
    assert store.judge("A4").also == ()
    for seed in SEEDS:
        store.add(BARE, seed, {"last_mcc": 0.1 + seed / 1000})
    found = store.judge("A4")
    assert found.verdict == HOLDS
    assert [part.label for part in found.also] == [
        "softmax-stochastic without linear map less CLS",
        "softmax-stochastic without linear map less MEAN-MAX",
    ]
    assert [part.verdict for part in found.also] == [FAILS, HOLDS]
    assert set(found.also[0].runs) <= set(found.runs)


def test_the_gap_as_trained_stands_beside(store):
    fill(store, "A2")
    store.results = [
        replace(each, values=each.values | {"last_loss": 0.9 - place**1.1 / 100, "train_loss": 0.4})
        for place, each in enumerate(store.results)
    ]
    found = store.judge("A2")
    assert found.verdict == HOLDS
    assert [(part.measure.name, part.verdict) for part in found.also] == [("trained_gap", FAILS)] * 2


@pytest.mark.parametrize("name", ["B1", "B2", "B3", "B7"])
def test_few_training_images_stand_beside_and_do_not_decide(store, name):
    fill(store, name)
    fill(store, name, turn=True, train_limit=1_000)
    fill(store, name, train_limit=10_000, epochs=9)
    found = store.judge(name)
    assert found.verdict == HOLDS
    small = [part for part in found.also if "training images" in part.label]
    assert [part.label.partition(", ")[2] for part in small] == ["1,000 training images"] * 2 + [
        "10,000 training images"
    ] * 2
    assert FAILS in {part.verdict for part in small[:2]}
    assert {part.verdict for part in small[2:]} == {HOLDS}
    assert small[0].why.startswith(small[0].label)


def test_few_images_alone_do_not_decide(store):
    fill(store, "B3", train_limit=1_000)
    found = store.judge("B3")
    assert found.verdict == UNKNOWN
    assert len(found.also) == 2


def test_measured_memory_stands_beside(store):
    fill(store, "B6")
    store.results = [
        replace(each, values=each.values | {"peak_bytes": 1e9 + place * each.config.seed})
        for place, each in enumerate(store.results)
    ]
    found = store.judge("B6")
    assert found.verdict == HOLDS
    assert [(part.measure.name, part.verdict) for part in found.also if part.effect] == [("peak_bytes", FAILS)]


# ---- what is said ----


def numbers(text):
    return set(re.findall(r"\d+\.\d+", text))


def test_the_claims_are_those_of_the_reports():
    assert list(CLAIMS) == ["A1", "A2", "A3", "A4", "A5", "B1", "B2", "B3", "B4", "B5", "B6", "B7"]
    for name, claim in CLAIMS.items():
        assert (claim.name, claim.report) == (name, name[0])
        assert claim.title
        assert claim.said.endswith(".")
        assert claim.test.endswith(".")
        for question in (*claim.questions, *claim.also):
            assert question.measure in {**MEASURES, **evidence.FIGURES}


def test_figures_in_words_are_those_of_the_tables():
    known = {f"{number:.4f}" for table in TABLES_A for row in table.epochs for number in
             (row.train_loss, row.validation_loss, row.mcc, row.validation_loss - row.train_loss)}  # fmt: skip
    known |= {f"{number:.2f}" for row in TABLE_B for number in
              (row.test_error, row.train_seconds, row.predict_seconds, row.memory)}  # fmt: skip
    times = {table.pooling: [row.eval_seconds for row in table.epochs] for table in TABLES_A}
    mine, cls = np.mean(times["softmax-stochastic"]), np.mean(times["cls"])
    known |= {f"{mine / cls:.1f}", f"{mine:.1f}", f"{cls:.2f}", f"{7262 / 320:.1f}", f"{58.84 - 58.22:.2f}"}
    for claim in CLAIMS.values():
        assert numbers(claim.said) | numbers(claim.contradiction) <= known, claim.name


def test_where_a_report_contradicts_itself_its_table_does():
    assert [name for name, claim in CLAIMS.items() if claim.contradiction] == ["A4", "B4"]
    mcc = {table.pooling: table.epochs[-1].mcc for table in TABLES_A}
    assert mcc["softmax-stochastic"] < min(mcc["cls"], mcc["mean-max"])
    times = {row.pooling: row.train_seconds for row in TABLE_B}
    assert min(times, key=times.get) == "max"


def test_the_docstring_owns_up_to_many_comparisons():
    assert "95 %" in claims.__doc__
    assert "no correction for making many comparisons" in claims.__doc__


def test_all_are_judged_in_order(store):
    fill(store, "B3")
    found = judged(group(store.results))
    assert list(found) == [each.claim for each in found.values()] == list(CLAIMS)
    assert {each.verdict for name, each in found.items() if name != "B3"} == {UNKNOWN, FAILS}
    assert found["B7"].verdict == FAILS  # B3's contrary


def test_neither_torch_nor_streamlit_is_loaded():
    code = (
        "import sys, poolviz.runs.claims as c, poolviz.runs.reported as r; c.judged([]); r.reported('cola');"
        "sys.exit(bool({'torch', 'streamlit', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.benchmark
def test_two_hundred_results_are_judged_in_no_time(store):
    draws = np.random.default_rng(0)
    rows = [0.5 - 0.01 * epoch for epoch in range(5)]
    for seed in range(10):
        for side in (CLS, MEAN_MAX, MINE, BARE, MAX, AVERAGE, NONE):
            of_a = side in (CLS, MEAN_MAX, MINE, BARE)
            for limit in (0,) if of_a else (0, 1_000, 10_000):
                for rate in (1e-3, 2e-3):
                    values = {name: float(draws.uniform(0.1, 1)) for name in MEASURES}
                    curve = {"validation": rows, "train": rows} if of_a else {}
                    store.add(side, seed, values, train_limit=limit, learning_rate=rate, **curve)
    groups = group(store.results)
    assert len(store.results) > 200
    judged(groups)  # reads the curves
    started = time.perf_counter()
    judged(groups)
    assert time.perf_counter() - started < 0.2
