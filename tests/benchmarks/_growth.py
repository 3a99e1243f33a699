"""How the cost of operators grows with the bytes that they read: measured interleaved, told as a slope.

A byte is counted once for each window that reads it: where windows neither overlap nor leave gaps, that is the input.
Time as a power of bytes, time ~ bytes^slope: 1 is linear; below, fixed costs show at the small end; above, something
grows faster than what there is to read. Inputs stay below 32 MB: larger blocks glibc's malloc returns to the system
and asks for anew in each call, and the pages' cost, which plain torch pays as well, would tell nothing of pooling.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from tests.benchmarks.pooling import JUDGED, LIMITED, milliseconds

SLOPE = 1.1  # at most


class Step(NamedTuple):
    """An input of one size, and what is measured on it."""

    size: int  # what the table's column is called
    x: Tensor
    operators: dict[str, Callable[[Tensor], Tensor]]
    read: int  # bytes


class Growth(NamedTuple):
    """An operator over all sizes."""

    name: str
    times: list[float]  # ms, medians of forward and backward
    read: list[int]  # bytes

    @property
    def slope(self) -> float:
        """Least squares of log(time) on log(bytes)."""
        return statistics.linear_regression([math.log(b) for b in self.read], [math.log(t) for t in self.times]).slope

    @property
    def kept(self) -> bool | None:
        """Whether the slope is within its limit; None where it has none."""
        return self.slope <= SLOPE if self.name in LIMITED else None


def turned(names: Sequence[str], number: int) -> list[str]:
    """The names in the order of round `number`, so that each comes first equally often."""
    turn = number % len(names)
    return [*names[turn:], *names[:turn]]


def measure(steps: Sequence[Step], rounds: int) -> list[Growth]:
    """Median times of every operator at every step; each round goes once through all of them."""
    times: dict[tuple[str, int], list[float]] = {}
    names = list(steps[0].operators)
    for number in range(-1, rounds):  # the first is the warm-up
        for step in steps:
            for name in turned(names, number):
                taken = milliseconds_of(step, name)
                if number >= 0:
                    times.setdefault((name, step.size), []).append(taken)
    read = [step.read for step in steps]
    return [Growth(name, [statistics.median(times[name, step.size]) for step in steps], read) for name in names]


def milliseconds_of(step: Step, name: str) -> float:
    """One forward and backward."""
    operator = step.operators[name]
    return milliseconds(operator, step.x, operator(step.x).detach().fill_(1))


def table(title: str, sizes: Sequence[int], growths: Sequence[Growth]) -> str:
    """ns a byte, a column a size, and the slope with its verdict."""
    lines = [f"{title}; ns a byte read", f"{'operator':<20}{''.join(f'{size:>9}' for size in sizes)}{'slope':>9}"]
    for growth in growths:
        costs = (1e6 * time / read for time, read in zip(growth.times, growth.read, strict=True))
        numbers = "".join(f"{cost:>9.2f}" for cost in costs)
        lines.append(f"{growth.name:<20}{numbers}{growth.slope:>9.2f}{JUDGED[growth.kept]}")
    return "\n".join(lines)
