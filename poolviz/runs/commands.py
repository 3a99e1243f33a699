"""The options of `python -m poolviz train | sweep | ship`, the configurations they give, and the line that gives one.

The options are RunConfig's fields; one that is added there wants a word in HELP. Imports nothing heavy, so that --help
answers at once. What the commands do is in foreground.py, sweep.py and ship.py.
"""

from __future__ import annotations

import argparse
import itertools
import math
import re
import shlex
import sys
from collections.abc import Callable, Collection
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from poolviz.runs.summary import changed
from poolviz.training.config import FREEZES, PRECISIONS, SCHEDULES, TASKS, RunConfig, default_config

COMPLETED, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130  # exit codes
KINDS = {field.name: type(field.default) for field in fields(RunConfig)}
CHOICES = {"task": TASKS, "schedule": SCHEDULES, "precision": PRECISIONS, "freeze": FREEZES}

# group -> field -> what it means; a task's default is added to it
HELP = {
    "what is trained": {
        "task": "three of images, two of sentences that are acceptable or not",
        "pooling": "the operator in the pooling layer, such as average, stochastic or none for images, "
        "mean-max or softmax-stochastic for text; an unknown name lists all",
        "seed": "initial weights, order of examples and draws; the same seed gives the same curve",
        "dropout": "share of values that are zeroed after the pooling while it trains",
        "temperature": "of softmax poolings and attention: low is near to max, high is near to the mean",
    },
    "how long": {
        "epochs": "times that every example is seen",
        "patience": "stop after this many epochs without a better validation loss; 0: never",
        "train_limit": "train on this many examples only; 0: all",
        "eval_limit": "judge on this many examples only; 0: all",
        "max_steps": "stop after this many batches; 0: no limit",
        "max_seconds": "stop after this many seconds of training; 0: no limit",
    },
    "optimizer (AdamW)": {
        "learning_rate": "size of a step; too large and the loss jumps, too small and it creeps",
        "batch_size": "examples a step",
        "weight_decay": "how strongly weights are pulled towards 0",
        "schedule": "of the learning rate; linear and one-cycle rise for a tenth of the steps, then fall",
        "clip": "largest norm of a gradient; 0: not clipped",
        "precision": "bf16 or fp16 is faster on a GPU",
    },
    "images only": {
        "kernel_size": "side of a pooling window",
        "stride": "cells from one window to the next",
        "width": "channels of the first convolution; the second has twice as many",
        "depth": "pooling stages, 1 or 2",
        "head_dropout": "dropout before the last layer",
    },
    "text only": {
        "encoder": "a text encoder's name on the Hugging Face Hub; the default needs no network",
        "linear_tanh": "put a linear map and tanh after the pooling",
        "freeze": "what of the encoder is left as it is",
        "held_out": "cola: judge on this share of the training sentences in place of the development set, such as "
        "0.1 to choose a learning rate by",
    },
}
TRAIN_EXAMPLES = """examples:
  python -m poolviz train
      ten digits with max pooling, in some seconds
  python -m poolviz train --task mnist --pooling stochastic --epochs 3 --seed 1
  python -m poolviz train --task cola --pooling mean-max --train-limit 1000
  python -m poolviz train --resume digits-max-s0-20260102-101112-ab12
      go on with a run that was stopped

Ctrl-C stops a run and keeps it. Runs are folders in POOLVIZ_RUNS, else in runs/; data is read from POOLVIZ_DATA.
Exit code: 0 completed, 1 failed, 2 nothing was started, 130 stopped."""


SWEEP_EXAMPLES = """examples:
  python -m poolviz sweep --task cola --poolings cls,mean-max,softmax-stochastic --seeds 0-4 --dry-run
      what would be done: 15 runs, less those that are there
  python -m poolviz sweep --task cola --poolings cls,mean-max,softmax-stochastic --seeds 0-4
      do them; after Ctrl-C or a power cut the same line goes on
  python -m poolviz sweep --task mnist --poolings max,average --learning-rates 1e-3,3e-3 --workers 2
  python -m poolviz sweep @sweep.txt --workers 2
      read options from a file: some words a line, # begins a comment

Runs are folders in POOLVIZ_RUNS, else in runs/. A completed run there, or in pretrained/, with the same configuration
is not done again. With POOLVIZ_SCHEDULER=tcp://HOST:PORT the runs go to that Dask cluster.
Exit code: 0 all completed, 1 some failed, 2 nothing was started, 130 stopped."""
SHIP_EXAMPLES = """examples:
  python -m poolviz ship mnist-max-s0-20260102-101112-ab12
  python -m poolviz ship runs/mnist-* --weights

Exit code: 0 all are in pretrained/, 2 some cannot be shipped."""
MOST_RUNS = 10_000  # of a sweep: more is a slip of the keyboard


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says what is wrong in one line, without the list of all options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False} | settings)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(REFUSED, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Where words may come from files (@FILE): refuse one that is missing, or no text, before any is taken."""
        for word in args or ():
            if self.fromfile_prefix_chars and word.startswith("@"):
                try:
                    Path(word[1:]).read_text(encoding="utf-8")
                except (OSError, ValueError):
                    self.error(f"there is no text file {word[1:][:160]!r} to read options from")
        return super().parse_known_args(args, namespace)

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """The words of a file's line, quoted as in a shell where need be; # begins a comment."""
        try:
            words = shlex.split(re.sub(r"(^|\s)#.*", "", arg_line))
        except ValueError:
            self.error(f"a quotation mark has no partner in {arg_line.strip()[:60]!r}")
        if any(word.startswith("@") for word in words):
            self.error(f"a file of options names no other file: {arg_line.strip()[:60]!r}")
        return words


def refuse(command: str, error: object) -> int:
    """Say in one line on stderr why nothing is started."""
    text = " ".join(str(error).split()).removeprefix("training: ") or type(error).__name__
    name = re.match(r"\w+(?= must )", text)  # of a field: it is said as the option that was written
    if name and name[0] in KINDS:
        text = option(name[0]) + text[name.end() :]
    if isinstance(error, ImportError):
        text += ": python -m poolviz doctor says how to bring what is missing"
    print(f"python -m poolviz {command}: {text}", file=sys.stderr)
    return REFUSED


def add_train(commands: Any) -> None:
    """Add `train` to the commands."""
    parser = commands.add_parser(
        "train",
        help="train one model here and watch it: digits, MNIST, minimal pairs, CoLA",
        description="Trains one model, prints a line an epoch, and keeps the result as a folder that the app shows.\n"
        "Every option has a default that suits the task.",
        usage="%(prog)s [--task NAME] [--pooling NAME] [OPTION ...]",
        epilog=TRAIN_EXAMPLES,
    )
    parser.add_argument("--resume", metavar="RUN", help="go on with this run (name or folder) after its last epoch")
    add_download(parser)
    add_fields(parser)


def add_sweep(commands: Any) -> None:
    """Add `sweep` to the commands."""
    parser = commands.add_parser(
        "sweep",
        help="train all combinations of poolings and seeds, here or on a Dask cluster",
        description="Trains every combination of poolings, seeds and learning rates, and skips what is done.\n"
        "Every other option is that of train and holds for all runs.",
        usage="%(prog)s [@FILE] [--task NAME] --poolings A,B [--seeds 0-4] [OPTION ...]",
        epilog=SWEEP_EXAMPLES,
        fromfile_prefix_chars="@",
    )
    group = parser.add_argument_group("combinations")
    group.add_argument("--poolings", metavar="A,B", type=_list_of(str), help="operators, with commas between them")
    group.add_argument("--seeds", metavar="0-4", type=seeds, default=(0,), help="such as 0-4 or 0,2,5 (default 0)")
    group.add_argument(
        "--learning-rates", metavar="X,Y", type=_list_of(float), help="such as 2e-5,5e-5 (default: the task's)"
    )
    group = parser.add_argument_group("how it is done")
    group.add_argument("--workers", metavar="N", type=_reader(int), help="runs at a time on this machine")
    add_download(group)
    group.add_argument("--no-weights", action="store_true", help="keep curves and figures, not the trained weights")
    group.add_argument("--dry-run", action="store_true", help="print what is done and what would be; start nothing")
    add_fields(parser, leave_out=("pooling", "seed", "learning_rate"))


def add_results(commands: Any) -> None:
    """Add `results` to the commands."""
    parser = commands.add_parser(
        "results",
        help="print what completed runs came to over seeds, and what they say of the reports' claims",
        description="Tables in Markdown: mean ± standard deviation over seeds, a table a training set and machine.",
    )
    parser.add_argument("--task", metavar="NAME", choices=TASKS, help=f"one of {', '.join(TASKS)} alone")
    parser.add_argument("--shipped", action="store_true", help="only the runs that came with the project")


def add_ship(commands: Any) -> None:
    """Add `ship` to the commands."""
    parser = commands.add_parser(
        "ship",
        help="put completed runs into pretrained/, small and without private facts",
        description="Copies completed runs into pretrained/, which comes with the project.\n"
        "No host, log or name of who asked goes along. What is there already stays.",
        epilog=SHIP_EXAMPLES,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="name or folder of a completed run")
    words = "the best epoch's weights too, in half precision where they make as many errors on the test set"
    parser.add_argument("--weights", action="store_true", help=words)


def add_download(parser: Any) -> None:
    """The one option under which a command asks the network for data."""
    words = "fetch the task's data first where it is missing (MNIST, Fashion-MNIST, CoLA)"
    parser.add_argument("--download", action="store_true", help=words)


def add_fields(parser: argparse.ArgumentParser, leave_out: Collection[str] = ()) -> None:
    """An option a field, in groups. What is not given is not in the result, so that a task's default holds."""
    for title, texts in HELP.items():
        group = parser.add_argument_group(title)
        for name, text in texts.items():
            about: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
            if name in leave_out:
                continue
            if KINDS[name] is bool:
                group.add_argument(option(name), action="store_true", help=text, **about)
                continue
            if name in CHOICES:
                text = f"{text}: {', '.join(CHOICES[name])}"
            about["metavar"] = {int: "N", float: "X", str: "NAME"}[KINDS[name]]
            about["help"] = f"{text} ({_default(name)})".replace("%", "%%")
            group.add_argument(option(name), type=_reader(KINDS[name]), **about)


def option(name: str) -> str:
    """A field's option."""
    return f"--{name.replace('_', '-')}"


def _default(name: str) -> str:
    """A field's default, and the tasks that have another."""
    usual = getattr(RunConfig(), name)
    other: dict[Any, list[str]] = {}
    for task in TASKS:
        value = getattr(default_config(task), name)
        if value != usual and name != "task":
            other.setdefault(value, []).append(task)
    shown = [f"{_short(value)} for {' and '.join(tasks)}" for value, tasks in other.items()]
    return "; ".join([f"default {_short(usual)}", *shown])


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _reader(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            words = {int: "a whole number", float: "a number"}[kind]
            raise argparse.ArgumentTypeError(f"expected {words}, got {text[:60]!r}") from None

    return read


def _list_of(kind: type) -> Callable[[str], tuple[Any, ...]]:
    def read(text: str) -> tuple[Any, ...]:
        parts = [part.strip() for part in text.split(",")]
        if not all(parts):
            raise argparse.ArgumentTypeError(f"expected values with a comma between them, got {text[:60]!r}")
        return tuple(dict.fromkeys(map(_reader(kind), parts)))

    return read


def seeds(text: str) -> tuple[int, ...]:
    """0-4 and 0,2,5 as numbers, each once; ArgumentTypeError for anything else."""
    found: dict[int, None] = {}
    for part in text.split(","):
        ends = re.fullmatch(r"\s*([0-9]{1,10})(?:\s*-\s*([0-9]{1,10}))?\s*", part)
        if ends is None:
            raise argparse.ArgumentTypeError(f"expected whole numbers such as 0-4 or 0,2,5, got {text[:60]!r}")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if last < first or last - first >= MOST_RUNS:
            raise argparse.ArgumentTypeError(f"{part.strip()} must go upwards, and by less than {MOST_RUNS:,}")
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)


def given_fields(options: argparse.Namespace) -> dict[str, Any]:
    """The fields that were given as options."""
    return {name: getattr(options, name) for name in KINDS if name in options}


def config_of(options: argparse.Namespace) -> RunConfig:
    """The task's defaults with what was given; ValueError, one sentence."""
    given = given_fields(options)
    return default_config(given.pop("task", RunConfig.task), **given)


def configs_of(options: argparse.Namespace) -> list[RunConfig]:
    """All combinations of a sweep, every pooling with the first seed first; ValueError, one sentence."""
    given = given_fields(options)
    task = given.pop("task", RunConfig.task)
    usual = default_config(task, **given)
    if not options.poolings:
        raise ValueError("Say which poolings are to be compared, for instance --poolings cls,mean-max.")
    rates = options.learning_rates or (usual.learning_rate,)
    parts = (options.seeds, rates, options.poolings)
    if math.prod(map(len, parts)) > MOST_RUNS:
        raise ValueError(f"A sweep has at most {MOST_RUNS:,} runs; these are {math.prod(map(len, parts)):,}.")
    return [
        default_config(task, **given | {"seed": seed, "learning_rate": rate, "pooling": pooling})
        for seed, rate, pooling in itertools.product(*parts)
    ]


def command_line(config: RunConfig) -> str:
    """The line for a shell that trains exactly this configuration; it names what differs from the task's defaults."""
    words = ["python", "-m", "poolviz", "train", "--task", config.task]
    for name, value in changed(config).items():
        if value is True:
            words.append(option(name))
        elif str(value).startswith("-"):
            words.append(f"{option(name)}={value}")  # a word of its own would be taken for an option
        else:
            words += [option(name), str(value)]
    return shlex.join(words)
