"""What this machine has and what it lacks: `checks()` looks, `report()` writes one screen.

Each check ends in a `Check`, whatever is broken: a machine on which torch does not load is the very machine
that asks. The command line and the app's panel show the same records. Knows nothing of Streamlit, downloads
nothing and changes nothing; commands that bring a missing thing are told, never run.
"""

import importlib.metadata
import importlib.util
import io
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from poolviz import __version__
from poolviz.inputs.encoder_files import (
    ENCODER,
    ENCODER_PACKAGE,
    ENCODER_VERSION,
    WEIGHTS,
    is_published,
    packaged_folder,
)

PYTHON_NEEDED = (3, 11)
# name -> size in bytes, as the data sets' authors published them, uncompressed
MNIST_FILES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}
COLA_FILES = ("in_domain_train.tsv", "in_domain_dev.tsv", "out_of_domain_dev.tsv")
COLA_URL = "https://nyu-mll.github.io/CoLA/cola_public_1.1.zip"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# What an import raises where a compiled package does not fit its neighbours.
BROKEN_INSTALL = (ImportError, OSError, RuntimeError, AttributeError)
WIDTH = 80  # columns of the report


@dataclass(frozen=True)
class Check:
    """One thing that was looked for."""

    name: str  # at most 10 characters, the report's first column
    found: bool
    detail: str  # what is there and where, or what is missing: one sentence or less
    remedy: str = ""  # the one shell command that brings it; empty where it is found


def checks() -> list[Check]:
    """Look at everything, in the report's order. Never raises. The first call imports torch and altair."""
    return [_guarded(name, look) for name, look in _CHECKS.items()]


def report(found: Iterable[Check]) -> str:
    """One screen of text, 80 columns wide: a line a check, and a command under each missing thing."""
    rows = list(found)
    lines = [f"poolviz {__version__}: what this machine has", ""]
    for row in rows:
        head = f" {'✓' if row.found else '–'} {row.name:<10}  "
        body = textwrap.wrap(row.detail, WIDTH - len(head)) or [""]
        lines += [(head if i == 0 else " " * len(head)) + text for i, text in enumerate(body)]
        if row.remedy:
            lines += [" " * 5 + text for text in wrap_command(row.remedy, WIDTH - 5)]
    missing = sum(not row.found for row in rows)
    lines += ["", "All here." if not missing else _closing(len(rows) - missing, len(rows))]
    return "\n".join(lines)


def _closing(found: int, total: int) -> str:
    return f"{found} of {total} are here. The command under a missing thing brings it."


def wrap_command(command: str, width: int) -> list[str]:
    r"""Break a shell command into lines of `width` columns that still paste as one command.

    Lines break at blanks outside quotes and end in a backslash. A single word longer than a line stays whole.
    """
    words, quote = [""], ""
    for character in command:
        if character == " " and not quote:
            words.append("")
            continue
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        words[-1] += character
    lines = [words[0]]
    for i, word in enumerate(words[1:], start=1):
        room = width if i == len(words) - 1 else width - 2  # for the backslash
        if len(lines[-1]) + 1 + len(word) <= room:
            lines[-1] += f" {word}"
        else:
            lines[-1] += " \\"
            lines.append(word)
    return lines


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as error:  # a broken machine may raise anything, and a doctor must not fall ill with it
        return Check(name, False, f"could not be looked at: {_one_line(error)}", f"{_python()} -m poolviz doctor")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return textwrap.shorten(f"{type(error).__name__}: {text}" if text else type(error).__name__, 130)


def _python() -> str:
    """The interpreter as one would type it here: `python`, a path below the current folder, or a full one."""
    here = Path(sys.executable)
    on_path = shutil.which("python")
    if on_path and Path(on_path) == here:
        return "python"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


def _pip(what: str) -> str:
    return f"{_python()} -m pip install {what}"


# ---- Python, torch, device ----


def check_python() -> Check:
    """The interpreter's version."""
    needed = ".".join(map(str, PYTHON_NEEDED))
    if sys.version_info[:2] >= PYTHON_NEEDED:
        return Check("Python", True, platform.python_version())
    return Check(
        "Python",
        False,
        f"{platform.python_version()}; poolviz needs {needed} or newer",
        f"python{needed} -m venv .venv",
    )


def check_torch() -> Check:
    """Whether torch and torchvision load together."""
    remedy = _pip("-r requirements.txt")
    try:
        import torch
    except BROKEN_INSTALL as error:
        return Check("torch", False, f"torch does not load ({_one_line(error)})", remedy)
    try:
        import torchvision
    except BROKEN_INSTALL as error:
        detail = f"torch {torch.__version__} is here, torchvision does not load with it ({_one_line(error)})"
        return Check("torch", False, detail, remedy)
    return Check("torch", True, f"{torch.__version__}, with torchvision {torchvision.__version__}")


def check_device() -> Check:
    """The device that torch would use, and its memory."""
    try:
        import torch
    except BROKEN_INSTALL:
        return Check("device", False, f"{_cpu()}; a GPU is looked for once torch loads", _pip("-r requirements.txt"))
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return Check("device", True, "; ".join(f"{gpu.name}, {_gib(gpu.total_memory)}" for gpu in gpus))
    if torch.backends.mps.is_available():
        memory = _gib(torch.mps.recommended_max_memory())
        return Check("device", True, f"Apple GPU (MPS), {memory} of it for torch; {_cpu()}")
    return Check("device", True, f"{_cpu()}; no GPU, and none is needed")


def _cpu() -> str:
    # the cores that this process may use, which a container may hold below the machine's
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    text = f"CPU with {cores} core{'s' if cores != 1 else ''}"
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):  # not on Windows
        text += f", {_gib(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))} of memory"
    return text


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


# ---- Data sets ----


def check_mnist() -> Check:
    """MNIST's four files under POOLVIZ_DATA."""
    fetch = "-c \"import torchvision.datasets as d; d.MNIST('$POOLVIZ_DATA', download=True)\""
    return _data_check("MNIST", Path("MNIST", "raw"), MNIST_FILES, f"{_python()} {fetch}")


def check_cola() -> Check:
    """CoLA's three files under POOLVIZ_DATA."""
    fetch = f"curl -L -o cola.zip {COLA_URL} && unzip -j cola.zip 'cola_public/raw/*' -d \"$POOLVIZ_DATA/cola\""
    return _data_check("CoLA", Path("cola"), dict.fromkeys(COLA_FILES), fetch)


def _data_check(name: str, folder: Path, files: Mapping[str, int | None], fetch: str) -> Check:
    """Whether POOLVIZ_DATA, or the app's own downloads, hold `files` (name -> bytes, None: any but 0) in `folder`."""
    downloaded = Path.home() / ".cache" / "poolviz" / folder
    if all(
        (downloaded / file).is_file() and _fits((downloaded / file).stat().st_size, size)
        for file, size in files.items()
    ):
        return Check(name, True, str(downloaded))
    root = os.environ.get("POOLVIZ_DATA")
    if not root:
        return Check(name, False, "POOLVIZ_DATA is not set", f'export POOLVIZ_DATA="$PWD/data" && {fetch}')
    if not Path(root).is_dir():
        return Check(name, False, f"POOLVIZ_DATA names a folder that does not exist: {root}", fetch)
    there = Path(root) / folder
    absent = [file for file in files if not (there / file).is_file()]
    if absent:
        return Check(name, False, f"not in {there}: {', '.join(absent)}", fetch)
    broken = [file for file, size in files.items() if not _fits((there / file).stat().st_size, size)]
    if broken:
        return Check(name, False, f"damaged in {there}: {', '.join(broken)}", fetch)
    return Check(name, True, str(there))


def _fits(size: int, expected: int | None) -> bool:
    return size > 0 if expected is None else size == expected


# ---- Models ----


def check_encoder() -> Check:
    """The packaged sentence encoder, and that its weights are the ones that were published."""
    remedy = _pip(f"{ENCODER_PACKAGE}=={ENCODER_VERSION}")
    folder = packaged_folder()
    if folder is None:
        return Check("encoder", False, f"{ENCODER_PACKAGE} is not installed; sentences need it", remedy)
    weights = folder / WEIGHTS
    if not weights.is_file():
        return Check("encoder", False, f"{weights.name} is missing in {weights.parent}", f"{remedy} --force-reinstall")
    if not is_published(weights):
        detail = f"{weights} is not the published file (sha256 differs)"
        return Check("encoder", False, detail, f"{remedy} --force-reinstall")
    version = importlib.metadata.version(ENCODER_PACKAGE)
    return Check("encoder", True, f"{ENCODER} ({ENCODER_PACKAGE} {version}), sha256 right")


def weights_folder() -> Path:
    """Where torchvision keeps downloaded weights: under TORCH_HOME, else the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or str(Path(cache) / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def check_weights() -> Check:
    """Which torchvision weights are at hand."""
    folder = weights_folder()
    names = sorted(path.name for path in folder.glob("*.pth")) if folder.is_dir() else []
    if names:
        return Check("weights", True, f"{', '.join(names[:4])}{', ...' if len(names) > 4 else ''} in {folder}")
    fetch = "-c \"import torchvision as tv; tv.models.resnet18(weights='DEFAULT')\""
    return Check("weights", False, f"no torchvision weights in {folder}", f"{_python()} {fetch}")


# ---- Export and browser ----


def check_export() -> Check:
    """Whether a chart really becomes a PNG here."""
    remedy = _pip("-r requirements.txt")
    try:
        import altair as alt

        chart = alt.Chart(alt.Data(values=[{"x": 1}])).mark_point().encode(x="x:Q")
        picture = io.BytesIO()
        chart.save(picture, format="png")
    except (*BROKEN_INSTALL, ValueError) as error:
        return Check("export", False, f"charts cannot be saved as pictures ({_one_line(error)})", remedy)
    if not picture.getvalue().startswith(PNG_SIGNATURE):
        return Check("export", False, "a chart was saved, but not as a PNG", remedy)
    version = importlib.metadata.version("vl-convert-python")
    return Check("export", True, f"charts save as PNG and SVG (vl-convert {version})")


def chromium() -> Path | None:
    """The browser for the tests: one on PATH, else the folder that Playwright downloaded last, else None."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return Path(path)
    caches = (
        os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or "~/.cache/ms-playwright",
        "~/Library/Caches/ms-playwright",
        "~/AppData/Local/ms-playwright",
    )
    for cache in caches:
        if downloaded := sorted(Path(cache).expanduser().glob("chromium-*")):
            return downloaded[-1]
    return None


def check_browser() -> Check:
    """What the browser tests need; the app itself does without."""
    if importlib.util.find_spec("playwright") is None:
        remedy = _pip("-r requirements-dev.txt")
        return Check("browser", False, "playwright is not installed; only the browser tests need it", remedy)
    version = importlib.metadata.version("playwright")
    browser = chromium()
    if browser is None:
        remedy = f"{_python()} -m playwright install chromium"
        return Check("browser", False, "no Chromium; only the browser tests need it", remedy)
    return Check("browser", True, f"{browser} and playwright {version}, for the browser tests")


_CHECKS: Mapping[str, Callable[[], Check]] = {
    "Python": check_python,
    "torch": check_torch,
    "device": check_device,
    "MNIST": check_mnist,
    "CoLA": check_cola,
    "encoder": check_encoder,
    "weights": check_weights,
    "export": check_export,
    "browser": check_browser,
}
