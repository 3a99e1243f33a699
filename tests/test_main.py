"""The command line: its help, the benchmark runner, and the doctor as a newcomer starts it."""

import subprocess
import sys
from pathlib import Path

import pytest

from poolviz import __main__ as command_line

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
import sys
print(__name__, *sys.argv[1:])
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pooling.py").write_text(SCRIPT)
    (tmp_path / "another.py").write_text(SCRIPT)
    (tmp_path / "_shared.py").write_text(SCRIPT)
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "conftest.py").write_text("")
    return tmp_path


@pytest.fixture
def bench(folder, monkeypatch):
    monkeypatch.setattr(command_line, "BENCHMARKS", folder)
    return lambda *words: command_line.main(["bench", *words])


def test_a_benchmark_runs_as_a_script_with_its_own_arguments(bench, capsys):
    before = list(sys.argv)
    assert bench("pooling", "--rounds", "3", "--help") == 0
    assert capsys.readouterr().out == "__main__ --rounds 3 --help\n"
    assert sys.argv == before


def test_arguments_are_restored_after_a_benchmark_that_fails(bench, folder):
    (folder / "broken.py").write_text("raise SystemExit(3)")
    before = list(sys.argv)
    with pytest.raises(SystemExit, match="3"):
        bench("broken")
    assert sys.argv == before


def test_an_unknown_benchmark_lists_the_known_ones(bench, capsys):
    assert bench("poling") == 2
    message = capsys.readouterr().err
    assert "'poling'" in message
    assert message.endswith("Known: another, pooling\n")


def test_without_a_name_the_benchmarks_are_listed(bench, capsys):
    assert bench() == 0
    assert capsys.readouterr().out == "Benchmarks: another, pooling\n"


def test_a_missing_folder_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command_line, "BENCHMARKS", tmp_path / "nowhere")
    assert command_line.main(["bench", "pooling"]) == 2
    assert "no script in" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in ("doctor", "train", "sweep", "bench"))])
def test_help_needs_no_heavy_import(words):
    code = (
        "import sys\nfrom poolviz.__main__ import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'altair', 'streamlit', 'numpy', 'distributed', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert " ".join(["usage: python -m poolviz", *words[:-1]]) in done.stdout


@pytest.mark.parametrize("words", [[], ["docter"]])
def test_a_wrong_command_names_the_right_ones(words, capsys):
    with pytest.raises(SystemExit) as end:
        command_line.main(words)
    assert end.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


def test_doctor_runs_where_the_terminal_knows_no_tick_mark(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = subprocess.run(
        [sys.executable, "-m", "poolviz", "doctor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert " ? Python " in done.stdout
