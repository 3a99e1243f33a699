"""The benchmark of growth runs from the command line, draws its chart, and judges slopes by what they are."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from tests.benchmarks import _growth, scaling

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent


def grown(power, name="stochastic"):
    read = [1000, 2000, 4000, 8000]
    return _growth.Growth(name, [3.0 * (bytes_ / 1000) ** power for bytes_ in read], read)


def test_it_prints_every_axis_and_draws_them(tmp_path):
    path = tmp_path / "scaling.svg"
    done = subprocess.run(
        [sys.executable, "-m", "poolviz", "bench", "scaling", "--rounds", "1", "--small", "--chart", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for name, count in {"max": 4, "average": 3, "mean": 1, "stochastic": 4, "softmax-stochastic": 4}.items():
        assert sum(line.startswith(name + " ") for line in lines) == count
    assert sum(line.endswith(("  ok", "  MISSED")) for line in lines) == 8
    texts = {element.text for element in ET.parse(path).getroot().iter() if element.text}
    assert {axis.title for axis in scaling.AXES} | {"Stochastic", "MB read by windows"} <= texts


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_slope_is_the_power(power):
    assert grown(power).slope == pytest.approx(power)


def test_the_verdict():
    assert [grown(power).kept for power in (0.9, 1.09, 1.11)] == [True, True, False]
    assert grown(2.0, "max").kept is None


def test_time_that_grows_as_the_square_of_the_input_is_seen():
    """All pairs of n numbers, read as n: the slope of a real measurement, far from 1."""

    def pairs(x):
        return (x[:, None] * x[None]).sum(dim=1)

    steps = [
        _growth.Step(size, torch.rand(size).requires_grad_(), {"stochastic": pairs}, 4 * size) for size in (512, 2048)
    ]
    (growth,) = _growth.measure(steps, 3)
    assert growth.slope > 1.3 and growth.kept is False


def test_bytes_are_counted_once_for_each_window_that_reads_them():
    side_by_side, overlapping = scaling.map_step(8, (2, 3, 8, 8), 2, 2), scaling.map_step(3, (2, 3, 8, 8), 3, 1)
    assert side_by_side.read == side_by_side.x.numel() * 4
    assert overlapping.read == 2 * 3 * 6 * 6 * 9 * 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--chart", "curves.pdf"], "must end with .svg or .png"),
        (["--chart", "nowhere/curves.svg"], "there is no folder nowhere"),
        (["--rounds", "0"], "--rounds must be at least 1"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, told, capsys):
    with pytest.raises(SystemExit) as end:
        scaling.main(arguments)
    assert end.value.code == 2 and told in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "code"), [(["--check"], 1), ([], 0)])
def test_a_miss_fails_only_where_it_is_checked(monkeypatch, capsys, arguments, code):
    monkeypatch.setattr(scaling, "measure", lambda steps, rounds: [grown(2.0)._replace(read=[1, 2], times=[1.0, 4.0])])
    assert scaling.main([*arguments, "--small"]) == code
    assert capsys.readouterr().out.count("MISSED") == len(scaling.AXES)
