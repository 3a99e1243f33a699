"""The rules of the tree, read from the sources: imports, no machine's paths, README's commands.

Nothing is imported; sources are parsed. Each checker is also run on a small bad source, so that it can fail.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poolviz.__main__ import parser

ROOT = Path(__file__).resolve().parent.parent

# package -> the packages of poolviz that it may import, itself included: imports go one way
MAY_IMPORT = {
    "pooling": {"pooling"},
    "inputs": {"pooling", "inputs"},
    "charts": {"pooling", "inputs", "charts"},
    "training": {"pooling", "inputs", "training"},
    "runs": {"pooling", "training", "runs"},
    "lessons": {"pooling", "inputs", "charts", "training", "runs", "lessons"},
    "pages": {"pooling", "inputs", "charts", "training", "runs", "lessons", "doctor", "pages"},
    "doctor": {"inputs", "doctor"},
    "__main__": {"pooling", "inputs", "charts", "training", "runs", "doctor"},
    "__init__": set(),
}
PARTS = {*MAY_IMPORT, "*"}  # what follows `poolviz.`; anything else is a name of its own, as __version__
# The name of an exception runs nothing: torch raises it for weights that are no plain tensors.
HARMLESS = {"pickle.UnpicklingError"}
PICKLING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal"}
STANDARD_LIBRARY = set(sys.stdlib_module_names)


def python_files(*folders: str) -> list[Path]:
    frame = [ROOT / "streamlit_app.py"] if (ROOT / "streamlit_app.py").is_file() else []
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")) + frame


def imports(source: str, path: str) -> Iterator[str]:
    """Full dotted names that `source` at `path` (relative, with /) imports, anywhere in it.

    `from a import b` yields a.b, which may be a module or a name in one; relative imports are resolved.
    """
    package = path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def home(path: str) -> str:
    """The part of poolviz a file belongs to: poolviz/pages/a.py -> pages, poolviz/doctor.py -> doctor."""
    return path.removesuffix(".py").split("/")[1]


def faults(source: str, path: str) -> list[str]:
    """The import rules that a file breaks; `path` is relative to the project, with /."""
    found = []
    ours = path.startswith("poolviz/")
    for name in imports(source, path):
        top, *rest = name.split(".")
        if top == "streamlit" and path != "streamlit_app.py" and not path.startswith("poolviz/pages/"):
            found.append(f"{path} imports {name}: only streamlit_app.py and poolviz/pages/ may")
        if top == "accelerate" and path != "poolviz/training/loop.py":
            found.append(f"{path} imports {name}: only poolviz/training/loop.py may")
        if top in PICKLING and name not in HARMLESS:
            found.append(f"{path} imports {name}: nothing may, it runs what a file says")
        kernels = {"triton"} if path == "poolviz/pooling/fused.py" else set()
        if path.startswith("poolviz/pooling/") and top not in STANDARD_LIBRARY | {"torch", "poolviz"} | kernels:
            found.append(f"{path} imports {name}: pooling/ knows torch and the standard library alone")
        if ours and home(path) not in MAY_IMPORT:
            found.append(f"{path} has no place in the order of imports; give it one in MAY_IMPORT")
        elif ours and top == "poolviz" and set(rest[:1]) & (PARTS - MAY_IMPORT[home(path)]):
            found.append(f"{path} imports {name}: {home(path)} may not, imports go one way")
        if ours and top in ("tests", "streamlit_app"):
            found.append(f"{path} imports {name}, which stands above it")
    return found


@pytest.mark.parametrize(
    "path", [path.relative_to(ROOT).as_posix() for path in python_files("poolviz")], ids=lambda path: path
)
def test_imports_keep_the_rules(path):
    assert faults((ROOT / path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("poolviz/charts/heat.py", "import streamlit as st"),
        ("poolviz/doctor.py", "def f():\n    from streamlit.runtime import get_instance"),
        ("poolviz/inputs/image.py", "import importlib\nst = importlib.import_module('streamlit')"),
        ("poolviz/pooling/max.py", "import numpy as np"),
        ("poolviz/pooling/max.py", "from torchvision import ops"),
        ("poolviz/pooling/max.py", "import triton"),
        ("poolviz/pooling/max.py", "from poolviz.inputs import images"),
        ("poolviz/pooling/max.py", "from ..charts import heat"),
        ("poolviz/pooling/max.py", "from .. import training"),
        ("poolviz/inputs/image.py", "from poolviz import charts"),
        ("poolviz/inputs/image.py", "from poolviz import *"),
        ("poolviz/training/loop.py", "import poolviz.runs.store"),
        ("poolviz/training/data.py", "from accelerate import Accelerator"),
        ("poolviz/runs/store.py", "import poolviz.pages"),
        ("poolviz/runs/store.py", "import pickle"),
        ("poolviz/runs/store.py", "if True:\n    from pickle import loads"),
        ("poolviz/pages/explore.py", "from tests import helper"),
        ("poolviz/utils.py", "import torch"),
        ("poolviz/__init__.py", "from poolviz.pooling import pool2d"),
    ],
)
def test_the_checker_sees_a_bad_import(path, source):
    assert len(faults(source, path)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("streamlit_app.py", "import streamlit as st\nfrom poolviz.pages import explore"),
        ("poolviz/pages/explore.py", "import streamlit\nfrom poolviz import charts, doctor, __version__"),
        (
            "poolviz/pooling/__init__.py",
            "import math\nfrom . import base\nfrom poolviz.pooling.max import MAX",
        ),
        ("poolviz/pooling/max.py", "import torch.nn.functional as F\nfrom .base import Pooling"),
        ("poolviz/pooling/fused.py", "import triton.language as tl"),
        (
            "poolviz/training/loop.py",
            "from accelerate import Accelerator\nfrom poolviz.pooling import layers",
        ),
        ("poolviz/doctor.py", "from poolviz import __version__"),
        ("poolviz/inputs/models.py", "from pickle import UnpicklingError"),
    ],
)
def test_the_checker_lets_a_good_import_pass(path, source):
    assert faults(source, path) == []


def test_nothing_pickles():
    for path in python_files("poolviz", "tests"):
        found = set(imports(path.read_text(encoding="utf-8"), path.name)) - HARMLESS
        names = {name.split(".")[0] for name in found}
        assert not names & PICKLING, path


# ---- no machine's own paths ----

# An absolute path below a folder that differs from machine to machine; not the end of a URL or path.
MACHINE_PATH = re.compile(
    r"(?<![\w.~$}/:-])/(?:home|Users|root|work|workspace|mnt|media|srv|opt|tmp|scratch|farm)/[\w.]"
)
TEXT = {"", ".py", ".md", ".toml", ".txt", ".json", ".jsonl", ".css", ".js", ".html", ".yml", ".yaml"}


def text_files() -> list[Path]:
    inner = [
        path
        for folder in ("poolviz", "tests", "pretrained", ".ci", ".streamlit")
        for path in (ROOT / folder).rglob("*")
        if "__pycache__" not in path.parts and "output" not in path.parts
    ]
    return sorted(path for path in [*inner, *ROOT.glob("*")] if path.is_file() and path.suffix in TEXT)


def machine_paths(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if MACHINE_PATH.search(line)]


def test_no_path_of_a_particular_machine():
    found = {str(path): machine_paths(path.read_text(encoding="utf-8", errors="replace")) for path in text_files()}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("folder", ["home", "Users", "work", "opt", "tmp"])
def test_the_path_checker_sees_one(folder):
    assert machine_paths(f"DATA = '/{folder}/me/data'")
    assert machine_paths(f"cd /{folder}/me")
    assert not machine_paths(f"https://example.org/{folder}/page and my/{folder}/page and ~/{folder}/x")


# ---- README's commands ----

FENCED = re.compile(r"^```(?:bash|sh|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TEST_COMMAND = re.compile(r"^<!-- test-command -->\n```bash\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
PROJECT_FILE = re.compile(r"(?<![\w./:$*-])((?:\.ci/run|(?:[\w-]+/)*[\w-]+\.(?:py|txt|toml|md)))\b")


def missing_files(commands: str) -> list[str]:
    """Files of the project that shell commands name and that are not there."""
    return sorted({name for name in PROJECT_FILE.findall(commands) if not (ROOT / name).exists()})


def readme() -> str:
    path = ROOT / "README.md"
    assert path.is_file(), "README.md is missing"
    return path.read_text(encoding="utf-8")


def test_readme_has_the_test_command_that_ci_runs():
    found = TEST_COMMAND.findall(readme())
    assert len(found) == 1, "README.md needs one bash block right after the line <!-- test-command -->"
    (command,) = found
    assert "\n" not in command
    assert "requirements-dev.txt" in command
    assert command.endswith("-m pytest -n 2 --dist loadfile")  # a file's tests share their server


def test_files_that_readme_commands_name_are_there():
    blocks = FENCED.findall(readme())
    assert blocks
    assert missing_files("\n".join(blocks)) == []


def test_poolviz_commands_in_readme_are_known():
    for words in re.findall(r"-m poolviz ([\w-]+(?: [\w-]+)?)", "\n".join(FENCED.findall(readme()))):
        command, *name = words.split()
        options = parser().parse_args([command, *(name if command == "bench" else [])])
        if command == "bench" and name:
            assert (ROOT / "tests" / "benchmarks" / f"{options.name}.py").is_file()


def test_the_readme_checker_sees_a_missing_file():
    commands = "pip install -r requirements.txt && streamlit run no_such_app.py"
    assert missing_files(commands) == ["no_such_app.py"]
