"""The draw in one kernel against the plain path and against exact sums, under Triton's interpreter: no GPU is needed.

The interpreter runs the kernel's own source on tensors of the CPU, in a process of its own, as it has to be chosen
before triton is imported. What a GPU's compiler makes of that source is not tested here.
"""

import importlib.util
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from poolviz.pooling import pool2d, stochastic
from poolviz.pooling.base import LARGEST_UNIFORM, Options
from poolviz.pooling.windows import window_grid
from tests.test_pooling_reference import POOL, STOCHASTIC

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).relative_to(ROOT).as_posix()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

SETTINGS = {  # shape of the map, and kernel_size, stride, padding, dilation, ceil_mode
    "2d": ((2, 3, 8, 10), (2, 2, 0, 1, False)),
    "overlapping": ((2, 3, 9, 11), (3, 1, 0, 1, False)),
    "padded": ((2, 3, 9, 11), (3, 2, 1, 1, False)),
    "dilated": ((2, 2, 11, 9), (3, 2, 1, 2, False)),
    "ceil": ((2, 2, 8, 10), (3, 2, 0, 1, True)),
    "padded and ceil": ((1, 2, 9, 8), (2, 2, 1, 1, True)),
    "all different": ((2, 3, 12, 13), ((3, 2), (2, 3), (1, 0), (2, 1), True)),
    "gaps": ((1, 2, 11, 11), (2, 4, 0, 1, False)),
    "5 x 5": ((1, 2, 9, 9), (5, 2, 2, 1, False)),
    "several programs": ((4, 5, 16, 16), (2, 2, 0, 1, False)),
    "1d": ((2, 3, 17), (3, 2, 1, 1, False)),
    "3d dilated and padded": ((1, 2, 7, 6, 7), ((3, 2, 2), (2, 2, 1), (1, 0, 1), (2, 1, 2), True)),
    "3d": ((2, 2, 5, 6, 7), ((2, 3, 2), (1, 2, 2), (0, 1, 1), 1, False)),
}
RULES = [("stochastic", 1.0), ("softmax-stochastic", 1.0), ("softmax-stochastic", 0.3)]


def a_map(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def uniforms_for(x, grid):
    uniforms = torch.empty((*x.shape[:2], *grid.output_size))
    return uniforms.uniform_(0, LARGEST_UNIFORM, generator=torch.Generator().manual_seed(1))


def grid_of(x, setting):
    return window_grid("test", x.shape[2:], *setting)


def plain(x, grid, uniforms, name, temperature):
    """Values and positions of the plain path for these uniforms; -1 where nothing is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stochastic, "draw_uniforms", lambda shape, like, options: uniforms)
        patch.setattr(stochastic, "chunks", lambda x, grid: [slice(None)])
        options = Options(training=True, temperature=temperature)
        pooled, positions, alive = stochastic._draw_map(x, grid, options, name == "softmax-stochastic")
    return pooled, positions if alive is None else torch.where(alive == 1, positions, -1)


def exact(x, grid, uniforms, name, temperature):
    """Flat position drawn for each uniform, and its distance from the next border, by float64 sums in NumPy."""
    places = np.stack(np.meshgrid(*(np.arange(n) for n in grid.size), indexing="ij"), axis=-1)
    drawn, distance = np.empty(uniforms.shape, dtype=int), np.empty(uniforms.shape)
    for index in np.ndindex(*uniforms.shape):
        offsets = np.array(list(np.ndindex(*grid.kernel_size))) * grid.dilation
        cells = np.array(index[2:]) * grid.stride - grid.padding + offsets
        cells = cells[((cells >= 0) & (cells < grid.size)).all(axis=1)]
        values = x[index[:2]].double().numpy()[tuple(cells.T)]
        weights = np.maximum(values, 0)
        if name == "softmax-stochastic":
            weights = np.exp((values - values.max()) / temperature)
        if not weights.any():
            drawn[index], distance[index] = -1, np.inf
            continue
        borders = np.cumsum(weights) / weights.sum()
        number = np.searchsorted(borders, uniforms[index].item(), side="right")
        drawn[index] = np.ravel_multi_index(cells[number], places.shape[:-1])
        distance[index] = np.abs(borders - uniforms[index].item()).min()
    return torch.from_numpy(drawn), torch.from_numpy(distance)


class TestUnderTheInterpreter:
    """Collected only by the process that `test_the_kernel` starts."""

    __test__ = INTERPRETED

    @pytest.fixture(autouse=True)
    def fresh(self):
        from poolviz.pooling import fused

        yield
        fused._failed.clear()

    @staticmethod
    def draw(x, grid, uniforms, name, temperature):
        from poolviz.pooling import fused

        drawn = fused.draw(x, grid, uniforms, temperature, name == "softmax-stochastic")
        assert drawn is not None, "the kernel did not serve"
        return drawn

    @pytest.mark.parametrize(("name", "temperature"), RULES)
    @pytest.mark.parametrize("setting", SETTINGS)
    def test_positions_are_exact(self, setting, name, temperature):
        """Those of the plain path to the last one; those of exact sums but within rounding of a border."""
        shape, geometry = SETTINGS[setting]
        x = a_map(shape)
        grid = grid_of(x, geometry)
        uniforms = uniforms_for(x, grid)
        pooled, positions = self.draw(x, grid, uniforms, name, temperature)
        truth, distance = exact(x, grid, uniforms, name, temperature)
        away = distance > 1e-6
        assert away.float().mean() > 0.99
        assert torch.equal(positions[away], truth[away])
        expected, places = plain(x, grid, uniforms, name, temperature)
        away = away if name == "softmax-stochastic" else torch.ones_like(away)  # exp differs in the last bit
        assert torch.equal(positions[away], places[away]) and torch.equal(pooled[away], expected[away])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    @pytest.mark.parametrize(("name", "temperature"), RULES)
    def test_halves(self, name, temperature, dtype):
        x = a_map((2, 3, 9, 11)).to(dtype)
        grid = grid_of(x, (3, 2, 1, 1, False))
        uniforms = uniforms_for(x, grid)
        pooled, positions = self.draw(x, grid, uniforms, name, temperature)
        truth, distance = exact(x, grid, uniforms, name, temperature)
        away = distance > 1e-6
        assert pooled.dtype == dtype and torch.equal(positions[away], truth[away])
        heard = positions >= 0
        gathered = x.flatten(2).gather(2, positions.clamp(min=0).flatten(2)).reshape(pooled.shape)
        assert torch.equal(pooled[heard], gathered[heard])

    @pytest.mark.parametrize("name", STOCHASTIC)
    @pytest.mark.parametrize(
        ("shape", "layout"),
        [
            ((2, 5, 8, 9), lambda x: x.contiguous(memory_format=torch.channels_last)),
            ((2, 3, 4, 5, 6), lambda x: x.contiguous(memory_format=torch.channels_last_3d)),
            ((2, 5, 8, 9), lambda x: x.mT.contiguous().mT),
            ((2, 5, 8, 9), lambda x: x.repeat_interleave(2, dim=1)[:, ::2]),
            ((2, 5, 8, 9), lambda x: x.repeat_interleave(2, dim=3)[..., ::2]),
            ((1, 5, 8, 9), lambda x: x.expand(3, -1, -1, -1)),
        ],
        ids=["channels_last", "channels_last_3d", "columns first", "every other channel", "every other", "expanded"],
    )
    def test_memory_layouts(self, name, shape, layout):
        x = layout(a_map(shape))
        grid = grid_of(x, (2, 2, 0, 1, False))
        uniforms = uniforms_for(x, grid)
        pooled, positions = self.draw(x, grid, uniforms, name, 1.0)
        expected, places = self.draw(x.clone(memory_format=torch.contiguous_format), grid, uniforms, name, 1.0)
        assert torch.equal(pooled, expected) and torch.equal(positions, places)
        assert pooled.stride() == positions.stride() == POOL[x.dim() - 2](x, "max", 2).stride()

    @pytest.mark.parametrize("name", STOCHASTIC)
    def test_windows_that_are_not_finite_or_draw_nothing(self, name):
        inf, nan, tiny = torch.inf, torch.nan, 1e-40
        windows = torch.tensor(
            [[-1.0, -2, 0, -3], [nan, 1, 2, 3], [1, 2, 3, nan], [inf, 1, inf, 2], [-inf, 1, -inf, -2]]
            + [[-inf] * 4, [inf, -inf, nan, 0], [3e38, 3e38, 1, 3e38], [0, tiny, 0, 0], [-3e38, 3e38, -inf, inf]]
        )
        x = windows.flatten().expand(40, 1, -1)
        grid = grid_of(x, (4, 4, 0, 1, False))
        uniforms = uniforms_for(x, grid)
        pooled, positions = self.draw(x, grid, uniforms, name, 1.0)
        expected, places = plain(x, grid, uniforms, name, 1.0)
        assert torch.equal(pooled.nan_to_num(nan=0.5), expected.nan_to_num(nan=0.5))
        assert torch.equal(pooled.isnan(), expected.isnan()) and torch.equal(positions, places)
        assert (positions == -1).any() and pooled.isnan().any()

    @pytest.mark.parametrize("uniform", [0.0, 0.24, 0.25, 0.74, 0.75, LARGEST_UNIFORM])
    def test_borders_belong_to_the_next_cell(self, uniform):
        """Probabilities 0, 1/4, 1/2, 0, 1/4, 0, which are exact in binary."""
        x = torch.tensor([[[-1.0, 1, 2, -2, 1, -3]]])
        _, positions = self.draw(x, grid_of(x, (6, 6, 0, 1, False)), torch.full((1, 1, 1), uniform), "stochastic", 1.0)
        assert positions.item() == {0.0: 1, 0.24: 1, 0.25: 2, 0.74: 2}.get(uniform, 4)

    @pytest.mark.parametrize("name", STOCHASTIC)
    @pytest.mark.parametrize("setting", ["padded", "all different", "1d", "3d"])
    def test_a_layer_draws_the_same_on_both_paths_and_sends_the_same_gradient(self, monkeypatch, name, setting):
        shape, (kernel, stride, padding, dilation, ceil) = SETTINGS[setting]
        x = a_map(shape).requires_grad_()

        def pooled_and_gradient():
            generator = torch.Generator().manual_seed(3)
            pooled = POOL[x.dim() - 2](
                x, name, kernel, stride, padding, dilation, ceil, training=True, generator=generator
            )
            slopes = torch.arange(1.0, pooled.numel() + 1).reshape(pooled.shape)
            return pooled, torch.autograd.grad(pooled, x, slopes)[0], generator.get_state()

        expected = pooled_and_gradient()
        monkeypatch.setattr(stochastic, "FUSED_ON", ("cpu",))
        for ours, theirs in zip(pooled_and_gradient(), expected, strict=True):
            assert torch.equal(ours, theirs)

    def test_what_it_cannot_do_is_left_to_the_plain_path(self, monkeypatch):
        from poolviz.pooling import fused

        def served(x, kernel_size):
            grid = grid_of(x, (kernel_size, None, 0, 1, False))
            return fused.draw(x, grid, uniforms_for(x, grid), 1.0, True) is not None

        x = torch.rand(1, 1, 8, 8)
        assert served(x, 2) and not served(x.double(), 2) and not served(x, 6) and not served(x[:0], 2)
        monkeypatch.setattr(fused, "LARGEST_OFFSET", 63)
        assert not served(x, 2) and served(x[..., :7, :7], 2)

    def test_an_error_is_logged_once_and_the_plain_path_serves_for_good(self, monkeypatch, caplog):
        from poolviz.pooling import fused

        calls = []

        def broken(*arguments):
            calls.append(arguments)
            raise RuntimeError("no compiler")

        x = torch.rand(2, 3, 6, 6)
        expected = pool2d(x, "stochastic", 2, training=True, generator=torch.Generator().manual_seed(0))
        monkeypatch.setattr(stochastic, "FUSED_ON", ("cpu",))
        monkeypatch.setattr(fused, "_launch", broken)
        with caplog.at_level(logging.DEBUG, logger="poolviz"):
            for _ in range(3):
                pooled = pool2d(x, "stochastic", 2, training=True, generator=torch.Generator().manual_seed(0))
                assert torch.equal(pooled, expected)
        assert len(calls) == 1
        assert [(record.levelno, "no compiler" in record.getMessage()) for record in caplog.records] == [(10, True)]


@pytest.mark.skipif(INTERPRETED, reason="this is the interpreter's process")
def test_the_kernel():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed; it comes with torch on Linux")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{HERE}::TestUnderTheInterpreter"],
        cwd=ROOT,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 60 and "skipped" not in done.stdout, done.stdout


@pytest.mark.parametrize("name", STOCHASTIC)
def test_without_triton_the_plain_path_draws_as_ever(monkeypatch, name):
    x = torch.rand(2, 3, 8, 8)
    expected = pool2d(x, name, 2, training=True, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(stochastic, "FUSED_ON", ("cpu",))
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "poolviz.pooling.fused", raising=False)
    assert torch.equal(pool2d(x, name, 2, training=True, generator=torch.Generator().manual_seed(0)), expected)
