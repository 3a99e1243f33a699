"""The command line: `python -m poolviz doctor | train | sweep | results | ship | bench`.

Reads arguments and hands over. It knows nothing of torch or of charts; each command imports what it needs
when it is called, so that `--help` answers at once.
"""

import argparse
import io
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from poolviz.runs.commands import Parser, add_results, add_ship, add_sweep, add_train

BENCHMARKS = Path(__file__).resolve().parent.parent / "tests" / "benchmarks"


def doctor() -> int:
    """Print what this machine has and what each missing thing needs."""
    from poolviz.doctor import checks, report

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without a tick mark gets a question mark
    print(report(checks()))
    return 0


def benchmarks(folder: Path) -> dict[str, Path]:
    """The benchmark scripts in `folder` by name, sorted; empty where the folder is missing."""
    return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith(("_", "conftest"))}


def bench(name: str | None, arguments: Sequence[str], folder: Path) -> int:
    """Run the benchmark `name` as a script with `arguments`; without a known name, list what there is."""
    known = benchmarks(folder)
    listing = ", ".join(known) or f"none (no script in {folder})"
    if name is None:
        print(f"Benchmarks: {listing}")
        return 0
    if name not in known:
        print(f"poolviz bench: no benchmark is called {name!r}. Known: {listing}", file=sys.stderr)
        return 2
    path = str(known[name])
    before = sys.argv
    sys.argv = [path, *arguments]
    try:
        runpy.run_path(path, run_name="__main__")
    finally:
        sys.argv = before
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = Parser(
        prog="python -m poolviz",
        description="Tools beside the app. The app itself is started with: streamlit run streamlit_app.py",
        epilog="python -m poolviz COMMAND --help explains a command, with examples.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "doctor",
        help="say what this machine has, and the one command that brings each missing thing",
        description="One screen: Python, torch, device, data sets, encoder, weights, export, browser. "
        "Changes nothing and needs no network.",
    )
    add_train(commands)
    add_sweep(commands)
    add_results(commands)
    add_ship(commands)
    run = commands.add_parser(
        "bench",
        help="measure speed and memory",
        description="Runs tests/benchmarks/NAME.py with ARGUMENTS; without NAME, lists the benchmarks.",
    )
    run.add_argument("name", nargs="?", metavar="NAME", help="for instance: pooling")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENTS", help="the benchmark's own; try --help")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` is without the program's name."""
    options = parser().parse_args(argv)
    if options.command == "doctor":
        return doctor()
    if options.command == "train":
        from poolviz.runs.foreground import train

        return train(options)
    if options.command == "sweep":
        from poolviz.runs.sweep import sweep

        return sweep(options)
    if options.command == "results":
        from poolviz.runs.tables import results

        return results(options)
    if options.command == "ship":
        from poolviz.runs.ship import ship

        return ship(options)
    return bench(options.name, options.arguments, BENCHMARKS)


if __name__ == "__main__":
    sys.exit(main())
