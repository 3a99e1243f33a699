"""Tables of results in words: means and spreads against numpy, a table a setting, and the command that prints them."""

from pathlib import Path

import numpy as np
import pytest

from poolviz.__main__ import main
from poolviz.runs import store
from poolviz.runs.groups import group, spread
from poolviz.runs.results import MEASURES, Result
from poolviz.runs.store import Run
from poolviz.runs.tables import claims_table, in_words, table
from poolviz.training.config import default_config


def result(pooling: str, seed: int, error: float, limit: int = 0, hardware: str = "CPU, 1 thread") -> Result:
    config = default_config("mnist", pooling=pooling, seed=seed, train_limit=limit)
    values = {"test_error": error, "parameters": 1234567.0, "train_time": 100.0 + seed}
    return Result(Run(Path("/nowhere") / f"{pooling}{seed}"), "mine", config, "completed", hardware, values)


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("test_error", [0.01, 0.02, 0.03], "2.00 ± 1.00"),
        ("test_error", [0.0123], "1.23"),
        ("last_mcc", [0.25, 0.27], "0.260 ± 0.014"),
        ("parameters", [1199882.0, 1199882.0], "1,199,882"),
        ("peak_bytes", [1.5e9, 1.5e9], "1,500 ± 0"),
    ],
)
def test_a_figure_is_told_to_the_digits_that_mean_something(name, values, told):
    assert in_words(spread(values), MEASURES[name]) == told
    assert in_words(None, MEASURES[name]) == ""


def test_a_table_has_mean_and_spread_a_pooling_and_a_part_a_training_set_and_machine():
    errors = {"max": [0.009, 0.011, 0.0105], "none": [0.012, 0.010, 0.0115]}
    results = [result(name, seed, error) for name, found in errors.items() for seed, error in enumerate(found)]
    results += [result("max", 0, 0.05, limit=1000), result("max", 0, 0.009, hardware="NVIDIA H100")]
    text = table(group(results))
    for name, found in errors.items():
        assert f"| {name} | 3 | {100 * np.mean(found):.2f} ± {100 * np.std(found, ddof=1):.2f} |" in text
    heads = [line for line in text.splitlines() if line and not line.startswith("|")]
    assert sorted(heads) == sorted(
        [
            "all training examples, CPU, 1 thread",
            "all training examples, NVIDIA H100",
            "1,000 training examples, CPU, 1 thread",
        ]
    )
    assert "MCC" not in text and "Prediction time" not in text, "no column of what no run knows"


def test_every_claim_has_a_line_with_its_verdict():
    lines = claims_table([]).splitlines()[2:]
    assert len(lines) == 12 and all("| cannot tell |" in line for line in lines)


def test_the_command_prints_what_is_shipped_and_names_what_it_skips(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POOLVIZ_RUNS", str(tmp_path))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text("{")
    assert main(["results", "--shipped"]) == 0
    said = capsys.readouterr().out
    shipped = list(store.SHIPPED.glob("digits-max-s*"))
    assert f"| max | {len(shipped)} |" in said and "| A1 |" in said and "Skipped torn:" in said
    assert main(["results", "--task", "digits"]) == 0
    assert "| A1 |" not in capsys.readouterr().out
