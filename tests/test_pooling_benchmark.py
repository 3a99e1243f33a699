"""The pooling benchmark runs from the command line, measures memory rightly, and judges by its limits."""

import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tests" / "benchmarks" / "pooling.py"


@pytest.fixture(scope="module")
def benchmark_script():
    spec = importlib.util.spec_from_file_location("pooling_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_prints_a_row_for_each_operator():
    arguments = ["-m", "poolviz", "bench", "pooling", "--rounds", "1", "--small"]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    head, apart, device = done.stdout.partition("no GPU here")  # also times a forward: there, or on the CPU
    header, *lines = head.splitlines()
    assert header.startswith(f"torch {torch.__version__}, ") and header.endswith(", 1 thread, 1 rounds")
    for name in ("max (torch)", "stochastic", "softmax-stochastic", "softpool", "average", "the usual way"):
        assert sum(line.startswith(name + " ") for line in lines) == 2
    for name in ("max (torch)", "stochastic", "softmax-stochastic", "softpool"):
        assert sum(line.startswith(f"eval: {name} ") for line in lines) == 2
    assert sum(line.endswith(("  ok", "  MISSED")) for line in lines) == 4
    if apart:
        assert re.findall(r"^([\w-]+) .* ms, [\d.]+ of max \(torch\), .* of a copy's [\d.,]+$", device, re.M) == [
            "stochastic",
            "softmax-stochastic",
        ]


def test_the_usual_way_draws_cells_of_the_window(benchmark_script):
    case = benchmark_script.CASES[1]._replace(shape=(50, 4, 8, 8))
    x = benchmark_script.activations(case.shape).detach()
    pooled = benchmark_script.usual_way(x, case.kernel_size, case.stride, case.padding)
    padded = torch.nn.functional.pad(x, [1] * 4, value=torch.nan).unfold(2, 3, 2).unfold(3, 3, 2).flatten(4)
    assert (padded == pooled[..., None]).any(dim=-1).all()


@pytest.mark.parametrize(
    ("operator", "multiple"),
    [
        (lambda x: x.clone(), 1),
        (lambda x: (x + 1) * 2, 2),  # the sum goes once it is doubled; then the result and one gradient
        (lambda x: x.exp(), 2),  # the result, which is also what backward needs, and one gradient
    ],
    ids=["clone", "two steps", "exp"],
)
def test_memory_of_known_operators(benchmark_script, operator, multiple):
    x = torch.rand(64, 1024, requires_grad=True)
    measured = benchmark_script.extra_memory(operator, x, torch.ones_like(operator(x).detach()))
    assert measured == pytest.approx(multiple, abs=0.01)


def test_the_verdict(benchmark_script):
    case = benchmark_script.CASES[0]
    good = benchmark_script.Row("stochastic", 10.0, [0.9, 1.0, 9.0], 5.0, 3.2)
    assert benchmark_script.within(good, case) is True
    for miss in ({"ratios": [1.01]}, {"speed_up": 4.9}, {"memory": 3.3}):
        assert benchmark_script.within(good._replace(**miss), case) is False
    assert benchmark_script.within(good._replace(name="softpool", ratios=[9.0]), case) is None
    assert [case.ratio for case in benchmark_script.CASES] == [1.0, 1.8]


def test_a_forward_on_the_device_is_timed_beside_max_and_a_copy(benchmark_script, monkeypatch):
    """With a clock that says what each call takes: max 2 ms, the copy 1 ms, draws 2.5 ms."""
    pools, copies = [], []

    def clock(call, device):
        name = call.keywords.get("name") or next((arg for arg in call.args if isinstance(arg, str)), None)
        (pools if name or call.func is torch.nn.functional.max_pool2d else copies).append(call())
        return 2.5 if name else 2.0 if call.func is torch.nn.functional.max_pool2d else 1.0

    monkeypatch.setattr(benchmark_script, "device_milliseconds", clock)
    rows = benchmark_script.device_rows((2, 3, 8, 8), 4, "cpu")
    assert [row.name for row in rows] == ["stochastic", "softmax-stochastic"]
    assert {tuple(pooled.shape) for pooled in pools} == {(2, 3, 4, 4)}
    for row in rows:
        assert (row.time, row.ratio, row.kept) == (2.5, 1.25, False)
        assert row.copied == pytest.approx(2 * 384 * 4 / 1e6)  # GB/s: bytes read and written in 1 ms
        assert row.bandwidth == pytest.approx((384 * 4 + 96 * (4 + 8)) / 2.5 / 1e6)


def test_the_verdict_on_the_device(benchmark_script):
    good = benchmark_script.DeviceRow("stochastic", 1.0, 1.3, 700.0, 1000.0)
    assert good.kept and benchmark_script.report_device(good).endswith("70% of a copy's 1,000.0  ok")
    for miss in ({"ratio": 1.31}, {"bandwidth": 699.0}):
        assert benchmark_script.report_device(good._replace(**miss)).endswith("  MISSED")


def test_a_clock_for_the_cpu(benchmark_script):
    assert benchmark_script.device_milliseconds(lambda: time.sleep(0.02), "cpu") >= 20


@pytest.mark.parametrize(("arguments", "code"), [(["--check"], 1), ([], 0)])
def test_a_miss_fails_only_where_it_is_checked(benchmark_script, monkeypatch, capsys, arguments, code):
    missed = benchmark_script.Row("stochastic", 10.0, [99.0], 1.0, 9.0)
    monkeypatch.setattr(benchmark_script, "rows", lambda case, rounds: [missed])
    monkeypatch.setattr(benchmark_script, "evaluations", lambda case, rounds: [])
    assert benchmark_script.main(arguments) == code
    assert capsys.readouterr().out.count("MISSED") == 2


@pytest.mark.benchmark
def test_memory_limits_hold_at_full_size(benchmark_script):
    """Bytes, not seconds: the one limit that a busy machine cannot miss."""
    for case in benchmark_script.CASES:
        memory = benchmark_script.memories(case)
        for name in benchmark_script.LIMITED:
            assert memory[name] <= case.memory
