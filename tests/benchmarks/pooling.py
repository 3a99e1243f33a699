"""Time and memory of the sampled operators beside `F.max_pool2d`, forward and backward: `--help` says how to run it.

Time: one process, one thread. After a warm-up, each round times every operator once, in turning order, and divides by
`F.max_pool2d` of the same round; the median of those ratios is compared with the limit, so that a slow spell of the
machine hits both sides. "the usual way" is what public code does: unfold, softmax, multinomial, gather.
Memory: the most bytes that tensors hold at any moment of one forward and backward, beyond the input, as torch's
profiler logs each allocation and release. It counts the result, what is saved for backward and the input's gradient,
and no allocator's rounding or cache, so that it is the same number on every machine. The growth of a fresh process's
resident set (VmHWM) agrees with it to 0.3 of the input.
Lines that begin with "eval:" time the expectation, the forward alone and without gradients, in rounds of their own.
Where there is a GPU the forward of a large map is timed there, too, by the device's own clock, beside `F.max_pool2d`
and a copy of the input. Achieved bandwidth is what a max pooling has to move, input, result and positions (int64),
over the time of the draw, its uniforms included; the copy reads and writes the input.
"""

import argparse
import logging
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read on import: the profiler chats on stderr

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `python tests/benchmarks/pooling.py`
from poolviz.pooling import pool2d

Operator = Callable[[Tensor], Tensor]
REFERENCE, USUAL = "max (torch)", "the usual way"
LIMITED = ("stochastic", "softmax-stochastic")
OPERATORS = (*LIMITED, "softpool", "average")
EXPECTED = (*LIMITED, "softpool")  # timed in evaluation too
SPEED_UP = 5.0  # at least, over the usual way
USUAL_EVERY = 5  # rounds; the usual way takes as long as the others together


ON_GPU = (256, 64, 112, 112)  # kernel 2, stride 2, float32
IN_PLACE_OF_A_GPU = (16, 64, 112, 112)  # 51 MB: beyond the caches of a CPU
ON_GPU_RATIO, ON_GPU_SHARE = 1.3, 0.7  # at most of max pooling's time, at least of a copy's bandwidth
JUDGED = {True: "  ok", False: "  MISSED", None: ""}


class Case(NamedTuple):
    """One map and layer, and how many times the cost of `F.max_pool2d` and of the input's bytes a draw may take."""

    shape: tuple[int, int, int, int]
    kernel_size: int
    stride: int
    padding: int
    ratio: float
    memory: float


CASES = (
    Case((64, 32, 56, 56), 2, 2, 0, ratio=1.0, memory=3.2),
    Case((32, 64, 28, 28), 3, 2, 1, ratio=1.8, memory=5.6),
)


def usual_way(x: Tensor, kernel_size: int, stride: int, padding: int) -> Tensor:
    """Softmax-stochastic pooling as public code writes it; padded with -inf, so that padding is never drawn."""
    padded = F.pad(x, [padding] * 4, value=-torch.inf) if padding else x
    columns = F.unfold(padded, kernel_size, stride=stride)
    columns = columns.reshape(*x.shape[:2], kernel_size**2, -1).transpose(2, 3)  # (N, C, windows, cells)
    chances = columns.softmax(dim=-1).flatten(0, 2)
    drawn = torch.multinomial(chances.detach(), 1).reshape(*columns.shape[:3], 1)
    size = [(n + 2 * padding - kernel_size) // stride + 1 for n in x.shape[2:]]
    return columns.gather(3, drawn).reshape(*x.shape[:2], *size)


def operators(case: Case) -> dict[str, Operator]:
    """What is measured on `case`, the reference first."""
    layer = {"kernel_size": case.kernel_size, "stride": case.stride, "padding": case.padding}
    table = {REFERENCE: partial(F.max_pool2d, **layer)}
    table |= {name: partial(pool2d, name=name, training=True, **layer) for name in OPERATORS}
    return table | {USUAL: partial(usual_way, **layer)}


def activations(shape: Sequence[int]) -> Tensor:
    """Half zeros, as after a ReLU."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu_().requires_grad_()


def forward_backward(operator: Operator, x: Tensor, cotangent: Tensor) -> None:
    """One training step's worth of pooling; leaves no gradient behind."""
    torch.autograd.grad(operator(x), x, cotangent)


def milliseconds(operator: Operator, x: Tensor, cotangent: Tensor) -> float:
    """One forward and backward by the wall clock."""
    start = time.perf_counter()
    forward_backward(operator, x, cotangent)
    return 1000 * (time.perf_counter() - start)


def timings(case: Case, rounds: int) -> list[dict[str, float]]:
    """Milliseconds of each operator, a dict a round; the usual way only in every few rounds."""
    table, x = operators(case), activations(case.shape)
    cotangent = torch.ones_like(table[REFERENCE](x).detach())
    for operator in table.values():
        forward_backward(operator, x, cotangent)
    result = []
    for number in range(rounds):
        names = [name for name in table if name != USUAL or number % USUAL_EVERY == 0]
        turn = number % len(names)
        result.append({name: milliseconds(table[name], x, cotangent) for name in names[turn:] + names[:turn]})
    return result


def evaluations(case: Case, rounds: int) -> list[dict[str, float]]:
    """Milliseconds of one forward in evaluation without gradients, a dict a round, the reference first."""
    layer = {"kernel_size": case.kernel_size, "stride": case.stride, "padding": case.padding}
    table = {REFERENCE: partial(F.max_pool2d, **layer)} | {
        name: partial(pool2d, name=name, **layer) for name in EXPECTED
    }
    x, result = activations(case.shape).detach(), []
    for number in range(rounds + 1):
        turn = number % len(table)
        times = {}
        for name in [*table][turn:] + [*table][:turn]:
            start = time.perf_counter()
            table[name](x)
            times[name] = 1000 * (time.perf_counter() - start)
        result.append(times)
    return result[1:]  # the first was the warm-up


def extra_memory(operator: Operator, x: Tensor, cotangent: Tensor) -> float:
    """Peak bytes held during one forward and backward beyond what was held before, as a multiple of x's bytes."""
    forward_backward(operator, x, cotangent)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        forward_backward(operator, x, cotangent)
    changes = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / (x.numel() * x.element_size())


def memories(case: Case) -> dict[str, float]:
    """`extra_memory` of each operator."""
    table, x = operators(case), activations(case.shape)
    cotangent = torch.ones_like(table[REFERENCE](x).detach())
    return {name: extra_memory(operator, x, cotangent) for name, operator in table.items()}


class Row(NamedTuple):
    """One line of the table."""

    name: str
    time: float  # ms, median
    ratios: list[float]  # to the reference, one a round
    speed_up: float  # over the usual way, median
    memory: float  # multiple of the input


def rows(case: Case, rounds: int) -> list[Row]:
    """Measure `case`."""
    times, memory = timings(case, rounds), memories(case)
    result = []
    for name in operators(case):
        own = [each for each in times if name in each]
        ratios = [each[name] / each[REFERENCE] for each in own]
        speed_up = statistics.median(each[USUAL] / each[name] for each in own if USUAL in each)
        result.append(Row(name, statistics.median(each[name] for each in own), ratios, speed_up, memory[name]))
    return result


def within(row: Row, case: Case) -> bool | None:
    """Whether the row keeps all three limits; None where it has none."""
    if row.name not in LIMITED:
        return None
    fast = statistics.median(row.ratios) <= case.ratio and row.speed_up >= SPEED_UP
    return fast and row.memory <= case.memory


def report(case: Case, measured: Sequence[Row]) -> str:
    """The table of one case."""
    layer = f"k={case.kernel_size} s={case.stride} p={case.padding}"
    lines = [
        f"{case.shape} {layer}; limits: ratio <= {case.ratio}, faster >= {SPEED_UP:g}x, memory <= {case.memory}x",
        f"{'operator':<20}{'ms':>8}{'ratio':>8}  {'[min..max]':<16}{'faster':>8}{'memory':>9}",
    ]
    for row in measured:
        spread = f"[{min(row.ratios):.2f}..{max(row.ratios):.2f}]"
        lines.append(
            f"{row.name:<20}{row.time:>8.1f}{statistics.median(row.ratios):>8.2f}  {spread:<16}"
            f"{row.speed_up:>7.1f}x{row.memory:>8.2f}x{JUDGED[within(row, case)]}"
        )
    return "\n".join(lines)


def report_evaluations(measured: Sequence[dict[str, float]]) -> str:
    """Lines of `report`, with time and ratio alone."""
    lines = []
    for name in (REFERENCE, *EXPECTED) if measured else ():
        own = statistics.median(each[name] for each in measured)
        ratios = [each[name] / each[REFERENCE] for each in measured]
        spread = f"[{min(ratios):.2f}..{max(ratios):.2f}]"
        lines.append(f"{'eval: ' + name:<24} {own:>3.1f}{statistics.median(ratios):>8.2f}  {spread}")
    return "\n".join(lines)


class DeviceRow(NamedTuple):
    """A sampled operator's forward on a GPU."""

    name: str
    time: float  # ms, median
    ratio: float  # to the reference, median of rounds
    bandwidth: float  # GB/s
    copied: float  # GB/s of a copy

    @property
    def kept(self) -> bool:
        """Whether both limits are kept."""
        return self.ratio <= ON_GPU_RATIO and self.bandwidth >= ON_GPU_SHARE * self.copied


def device_milliseconds(call: Callable[[], object], device: str) -> float:
    """Time of one call, by the GPU's clock where there is one."""
    if device != "cuda":
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


@torch.no_grad()
def device_rows(shape: Sequence[int], rounds: int, device: str) -> list[DeviceRow]:
    """Forward of each sampled operator on `device`, interleaved with max pooling and a copy of the input."""
    x = torch.randn(shape, device=device).relu_()
    twin = torch.empty_like(x)
    table = {REFERENCE: partial(F.max_pool2d, x, 2), "copy": partial(twin.copy_, x)}
    table |= {name: partial(pool2d, x, name, 2, training=True) for name in LIMITED}
    times: dict[str, list[float]] = {name: [] for name in table}
    for number in range(-3, rounds):  # the first three compile and warm up
        turn = number % len(table)
        for name in [*table][turn:] + [*table][:turn]:
            taken = device_milliseconds(table[name], device)
            if number >= 0:
                times[name].append(taken)
    size, windows = x.numel() * x.element_size(), table[REFERENCE]().numel()
    moved = size + windows * (x.element_size() + 8)
    copied = 2 * size / statistics.median(times["copy"]) / 1e6
    return [
        DeviceRow(
            name,
            statistics.median(times[name]),
            statistics.median(own / base for own, base in zip(times[name], times[REFERENCE], strict=True)),
            moved / statistics.median(times[name]) / 1e6,
            copied,
        )
        for name in LIMITED
    ]


def report_device(row: DeviceRow, judged: bool = True) -> str:
    """One line, with its verdict where there is a limit."""
    return (
        f"{row.name:<20}{row.time:>8.3f} ms, {row.ratio:.2f} of {REFERENCE}, {row.bandwidth:,.1f} GB/s, "
        f"{row.bandwidth / row.copied:.0%} of a copy's {row.copied:,.1f}{JUDGED[row.kept] if judged else ''}"
    )


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 if a limit is missed and `--check` was given."""
    parser = argparse.ArgumentParser(prog="python -m poolviz bench pooling", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds a case (default %(default)s)")
    parser.add_argument("--small", action="store_true", help="tiny maps: shows that it runs, measures nothing")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is missed")
    options = parser.parse_args(argv)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {processor()}, {torch.get_num_threads()} thread, {options.rounds} rounds")
    print(f"forward + backward; ratio to {REFERENCE}, faster than {USUAL}, memory beyond the input's\n")
    verdicts = []
    for case in CASES:
        case = case._replace(shape=(2, 4, *case.shape[2:])) if options.small else case
        measured = rows(case, options.rounds)
        print(report(case, measured))
        print(report_evaluations(evaluations(case, options.rounds)), end="\n\n", flush=True)
        verdicts += [within(row, case) for row in measured]
    if torch.cuda.is_available():
        shape = (2, 4, 8, 8) if options.small else ON_GPU
        logging.basicConfig(level=logging.WARNING)
        logging.getLogger("poolviz.pooling").setLevel(logging.DEBUG)  # says so where one kernel does not serve
        measured = device_rows(shape, options.rounds, "cuda")
        print(
            f"{torch.cuda.get_device_name()}, {shape} k=2 s=2 float32, forward; limits: ratio <= {ON_GPU_RATIO}, ",
            end="",
        )
        print(f"bandwidth >= {ON_GPU_SHARE:.0%} of a copy's", *map(report_device, measured), sep="\n")
        verdicts += [row.kept for row in measured]
    else:
        shape = (2, 4, 8, 8) if options.small else IN_PLACE_OF_A_GPU
        print(f"no GPU here; for a look, without limits, {shape} k=2 s=2 float32, forward, on the CPU")
        print(*(report_device(row, judged=False) for row in device_rows(shape, options.rounds, "cpu")), sep="\n")
    return int(options.check and False in verdicts)


if __name__ == "__main__":
    sys.exit(main())
