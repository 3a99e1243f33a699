"""The source reports' twelve claims, in our own words, and the questions that decide each (`evidence.py`).

A claim's parts are judged by 95 % intervals over seeds; no correction for making many comparisons is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from poolviz.runs.evidence import (
    A_QUARTER,
    ABOVE,
    BELOW,
    FIGURE,
    RATIO,
    Claim,
    Finding,
    Question,
    Range,
    at_least_half_of,
)
from poolviz.runs.groups import Group
from poolviz.runs.protocol import AVERAGE, BARE, CLS, MAX, MEAN_MAX, MINE, NONE, Side

TRAIN_RATIO, EVAL_RATIO = 22.7, 38.0  # report A's slowness


def _less(measure: str, ours: Side, *others: Side, claimed: Range = BELOW) -> tuple[Question, ...]:
    return tuple(Question(measure, ours, other, claimed) for other in others)


def _over(measure: str, ours: Side, other: Side, claimed: Range) -> Question:
    return Question(measure, ours, other, claimed, RATIO)


_FULL_A = (
    "Completed CoLA runs by the report's protocol (5 epochs of all sentences, batch 16) with the default encoder, each "
    "pooling with the learning rate that held-out training sentences chose"
)
_FULL_B = "Completed runs on all of MNIST with the report's network, alike in all but the pooling"
_FEW = " Runs with 1,000 and 10,000 training images stand beside it and do not decide."

_ALL = (
    Claim(
        "A1",
        "Validation loss falls with stochastic pooling and rises with the others",
        "Over 5 epochs the validation loss fell from each to the next with stochastic pooling (0.5701 to 0.5485). "
        "It rose after its lowest epoch with CLS (0.4075 to 0.8183) and with MEAN-MAX (0.4214 to 0.9457).",
        f"{_FULL_A}: for softmax-stochastic a run's largest change of validation loss from one epoch to the next is "
        "to be below 0; for CLS and MEAN-MAX the last epoch's loss less the lowest before it is to be above 0.",
        (
            Question("largest_change", MINE, None, BELOW, FIGURE),
            Question("late_rise", CLS, None, ABOVE, FIGURE),
            Question("late_rise", MEAN_MAX, None, ABOVE, FIGURE),
        ),
        (Question("largest_change", BARE, None, BELOW, FIGURE),),
    ),
    Claim(
        "A2",
        "Stochastic pooling generalises better",
        "After 5 epochs the validation loss stood 0.0097 above the training loss with stochastic pooling, 0.7101 with "
        "CLS and 0.8660 with MEAN-MAX.",
        f"{_FULL_A}: validation loss less training loss, both in eval mode after the last epoch, is to be smaller for "
        "softmax-stochastic. The gap to the loss as trained, which the report's table shows, does not decide.",
        _less("gap", MINE, CLS, MEAN_MAX),
        _less("trained_gap", MINE, CLS, MEAN_MAX)
        + _less("gap", BARE, CLS, MEAN_MAX)
        + _less("trained_gap", BARE, CLS, MEAN_MAX),
    ),
    Claim(
        "A3",
        "Stochastic pooling converges more slowly",
        "In 5 epochs the training loss fell to 0.5388 with stochastic pooling, to 0.1082 with CLS and to 0.0797 with "
        "MEAN-MAX.",
        f"{_FULL_A}: the training loss as trained, meaned over the epochs (the area under its curve), is to be larger "
        "for softmax-stochastic.",
        _less("mean_train_loss", MINE, CLS, MEAN_MAX, claimed=ABOVE),
        _less("mean_train_loss", BARE, CLS, MEAN_MAX, claimed=ABOVE),
    ),
    Claim(
        "A4",
        "The stochastic result lies between CLS and MEAN-MAX",
        "By the report's text stochastic pooling did not achieve MEAN-MAX and did surpass CLS.",
        f"{_FULL_A}: the last epoch's MCC of softmax-stochastic is to be above that of CLS and below that of MEAN-MAX.",
        (*_less("last_mcc", MINE, CLS, claimed=ABOVE), *_less("last_mcc", MINE, MEAN_MAX)),
        (*_less("last_mcc", BARE, CLS, claimed=ABOVE), *_less("last_mcc", BARE, MEAN_MAX)),
        contradiction="The report's own table has its stochastic pooling at 0.2468, below both CLS (0.5884) and "
        "MEAN-MAX (0.5865).",
    ),
    Claim(
        "A5",
        "Stochastic pooling costs many times as much",
        "Stochastic pooling took 22.7 times as long as CLS to train (2 h 1 min 2 s against 5 min 20 s), and 38 times "
        "as long to evaluate (39.2 by the means of its table, 57.7 s against 1.47 s).",
        f"{_FULL_A}, on the same hardware: the ratio of training time and that of validation time to CLS is to be at "
        "least half of what was reported.",
        (
            _over("train_time", MINE, CLS, at_least_half_of(TRAIN_RATIO)),
            _over("eval_time", MINE, CLS, at_least_half_of(EVAL_RATIO)),
        ),
        (
            _over("train_time", BARE, CLS, at_least_half_of(TRAIN_RATIO)),
            _over("eval_time", BARE, CLS, at_least_half_of(EVAL_RATIO)),
        ),
    ),
    Claim(
        "B1",
        "Without pooling, the training set is fitted best",
        "Without a pooling layer the network fitted its training set best.",
        f"{_FULL_B}: the training loss without pooling, in eval mode after the last epoch, is to be below that with "
        f"max and with average.{_FEW}",
        _less("fit_loss", NONE, MAX, AVERAGE),
        small=True,
    ),
    Claim(
        "B2",
        "Pooling has the lower validation error",
        "With a pooling layer the validation error was lower: the network overfitted less.",
        f"{_FULL_B}: the validation error with max and with average is to be below that without pooling.{_FEW}",
        (*_less("validation_error", MAX, NONE), *_less("validation_error", AVERAGE, NONE)),
        small=True,
    ),
    Claim(
        "B3",
        "Without pooling, the test error is lower",
        "The test error was slightly lower without pooling: 1.10 % against 1.19 % with max and with average.",
        f"{_FULL_B}: the test error without pooling is to be below that with max and with average.{_FEW}",
        _less("test_error", NONE, MAX, AVERAGE),
        small=True,
    ),
    Claim(
        "B4",
        "Average pooling trains fastest",
        "By the report's text average pooling trained fastest; its table has 58.84 s for average, 58.22 s for max and "
        "77.24 s for none.",
        f"{_FULL_B} and on the same hardware: training time an epoch with average is to be below that with max and "
        "without pooling.",
        _less("train_time", AVERAGE, MAX, NONE),
        contradiction="Its text calls average pooling the fastest to train, while its own table has max pooling 0.62 s "
        "faster (58.22 s against 58.84 s).",
    ),
    Claim(
        "B5",
        "Prediction is fastest without pooling",
        "Prediction took 0.70 s without pooling, 0.71 s with max and 0.72 s with average.",
        f"{_FULL_B} and on the same hardware: the time to predict the test set without pooling is to be below that "
        "with max and with average.",
        _less("predict_time", NONE, MAX, AVERAGE),
    ),
    Claim(
        "B6",
        "Pooling quarters the parameters and the memory",
        "The estimated memory was 0.46 GB with max and with average and 1.80 GB without pooling, as the parameters "
        "after the pooling drop to a quarter.",
        f"{_FULL_B}: max over none is to be a quarter, that is 0.2 to 0.3, for the parameters and for the estimated "
        "memory. Measured memory, and average, stand beside it and do not decide.",
        (_over("parameters", MAX, NONE, A_QUARTER), _over("estimated_bytes", MAX, NONE, A_QUARTER)),
        (
            _over("peak_bytes", MAX, NONE, A_QUARTER),
            _over("parameters", AVERAGE, NONE, A_QUARTER),
            _over("estimated_bytes", AVERAGE, NONE, A_QUARTER),
        ),
    ),
    Claim(
        "B7",
        "Max pooling is the best choice over all",
        "The report recommends max pooling over all: 1.19 % test error, 58.22 s to train and 0.46 GB, against 1.19 %, "
        "58.84 s and 0.46 GB with average and 1.10 %, 77.24 s and 1.80 GB without pooling.",
        f"{_FULL_B}: the test error with max is to be below that with average and without pooling; its times and its "
        f"memory do not decide.{_FEW}",
        _less("test_error", MAX, AVERAGE, NONE),
        tuple(
            question
            for measure in ("train_time", "predict_time", "estimated_bytes", "peak_bytes")
            for question in _less(measure, MAX, AVERAGE, NONE)
        ),
        small=True,
    ),
)

CLAIMS = {claim.name: claim for claim in _ALL}


def judged(groups: Sequence[Group]) -> dict[str, Finding]:
    """Every claim's finding by these groups of runs, in the reports' order."""
    return {name: claim.judge(groups) for name, claim in CLAIMS.items()}
