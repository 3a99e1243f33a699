"""Cost of pooling against kernel size, map size, batch and length of sentences, forward and backward: see `--help`.

One process, one thread, interleaved, medians after a warm-up. `_growth.py` says what a byte and a slope are; the
sampled operators keep a limit on theirs. With `--chart` the same figures as curves, both axes logarithmic.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `python tests/benchmarks/scaling.py`
from poolviz.charts.figure import Figure, picture
from poolviz.pooling import POOLINGS, pool2d
from tests.benchmarks._growth import SLOPE, Growth, Step, measure, table
from tests.benchmarks.pooling import activations, processor
from tests.benchmarks.sequences import LENGTHENED, lengthened

NAMES = ("max", "average", "stochastic", "softmax-stochastic")
FORMATS = ("svg", "png")


class Axis(NamedTuple):
    """One thing that grows."""

    title: str
    sizes: tuple[int, ...]
    step: Callable[[int], Step]


def map_step(size: int, shape: tuple[int, int, int, int], kernel_size: int, stride: int) -> Step:
    """A map and its layers, in training; `size` is what grows."""
    layers = {"kernel_size": kernel_size, "stride": stride, "training": True}
    operators = {name: partial(pool2d, name=name, **layers) for name in NAMES}
    x = activations(shape)
    windows = math.prod(operators["max"](x).shape)
    return Step(size, x, operators, windows * kernel_size**2 * x.element_size())


AXES = (
    Axis("kernel k, stride 1, on (8, 16, 48, 48)", (2, 3, 5, 7, 9), lambda k: map_step(k, (8, 16, 48, 48), k, 1)),
    Axis("maps (4, 16, S, S), kernel 2", (32, 64, 128, 256), lambda size: map_step(size, (4, 16, size, size), 2, 2)),
    Axis("batches (N, 32, 28, 28), kernel 2", (8, 32, 128, 256), lambda n: map_step(n, (n, 32, 28, 28), 2, 2)),
    Axis("sentences (2, T, 384)", LENGTHENED, partial(lengthened, names=("max", "mean", *NAMES[2:]))),
)


def figure(axis: Axis, growths: Sequence[Growth]) -> Figure:
    """Time against bytes, a line an operator."""
    rows = [
        {"operator": POOLINGS[growth.name].label, "MB": read / 1e6, "ms": time}
        for growth in growths
        for time, read in zip(growth.times, growth.read, strict=True)
    ]
    slopes = ", ".join(f"{growth.name} {growth.slope:.2f}" for growth in growths)
    names = tuple(growth.name for growth in growths)
    return Figure(axis.title, "", f"time against bytes; slopes: {slopes}", chart, (names,), {"times": rows})


def chart(names: Sequence[str]):
    """Lines over named data, both axes logarithmic."""
    import altair as alt

    colours = alt.Scale(
        domain=[POOLINGS[name].label for name in names], range=[POOLINGS[name].colour for name in names]
    )
    return (
        alt.Chart(alt.NamedData("times"), width=300, height=220)
        .mark_line(point=True)
        .encode(
            x=alt.X("MB:Q", title="MB read by windows", scale=alt.Scale(type="log")),
            y=alt.Y("ms:Q", title="ms, forward + backward", scale=alt.Scale(type="log")),
            color=alt.Color("operator:N", title=None, scale=colours),
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, draw, and return 1 if a limit is missed and `--check` was given."""
    parser = argparse.ArgumentParser(prog="python -m poolviz bench scaling", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds (default %(default)s)")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="also draw the curves, as .svg or .png")
    parser.add_argument("--small", action="store_true", help="two sizes of each: shows that it runs, measures nothing")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is missed")
    options = parser.parse_args(argv)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.chart and options.chart.suffix[1:] not in FORMATS:
        parser.error(f"--chart must end with .{' or .'.join(FORMATS)}, got {options.chart}")
    if options.chart and not options.chart.parent.is_dir():
        parser.error(f"--chart: there is no folder {options.chart.parent}")
    torch.set_num_threads(1)
    conditions = f"torch {torch.__version__}, {processor()}, {torch.get_num_threads()} thread, {options.rounds} rounds"
    print(f"{conditions}\nforward + backward; limit for the sampled operators: slope <= {SLOPE}\n", flush=True)
    figures, verdicts = [], []
    for axis in AXES:
        sizes = axis.sizes[:2] if options.small else axis.sizes
        growths = measure([axis.step(size) for size in sizes], options.rounds)
        print(table(axis.title, sizes, growths), end="\n\n", flush=True)
        figures.append(figure(axis, growths))
        verdicts += [growth.kept for growth in growths]
    if options.chart:
        options.chart.write_bytes(
            picture(figures, f"python -m poolviz bench scaling\n{conditions}", options.chart.suffix[1:])
        )
        print(f"wrote {options.chart}")
    return int(options.check and False in verdicts)


if __name__ == "__main__":
    sys.exit(main())
