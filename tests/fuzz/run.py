"""Fuzz one reader: coverage-guided by atheris (libFuzzer), with mutators that keep containers whole.

    .venv/bin/pip install atheris==3.0.0     # Linux and macOS, no part of requirements-dev.txt
    .venv/bin/python tests/fuzz/run.py arrival --seconds 1800
    .venv/bin/python tests/fuzz/run.py arrival --input tests/fuzz/output/arrival/crash-...

Inputs that reach something new are kept in tests/fuzz/output/TARGET/corpus, and the next run goes on from them; what
fails is kept beside it. It ends with libFuzzer's own exit code: 0 without a finding.
"""

import argparse
import hashlib
import multiprocessing
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
OUTPUT = ROOT / "tests" / "fuzz" / "output"
MEMORY = Path("/dev/shm")  # files in memory, where a system has such a place: a run's are written and removed again
WATCHED = ["poolviz", "zipfile", "tomllib", "json", "PIL", "urllib"]  # whose branches count as coverage


def main():
    """Read the command line and fuzz until time, runs or an input end it; an exit code."""
    names = ("arrival", "folders", "links", "images", "texts", "lessons")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=names)
    parser.add_argument("--seconds", type=int, default=120, help="of fuzzing; 0: no limit")
    parser.add_argument("--runs", type=int, default=-1, help="executions; -1: no limit")
    parser.add_argument("--timeout", type=int, default=20, help="seconds of one input")
    parser.add_argument("--memory", type=int, default=3000, help="megabytes of the whole process")
    parser.add_argument("--input", type=Path, help="run one file alone and show what is wrong with it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="poolviz-fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as home:
        if options.input:
            return replay(options, Path(home))
        child = multiprocessing.get_context("fork").Process(target=fuzz, args=(options, Path(home)))
        child.start()
        child.join()  # libFuzzer ends its process as it stands: what is to be removed is removed here
    return child.exitcode


def replay(options, home):
    """One input, without atheris: its exception is shown; 0 where there is none."""
    from tests.fuzz.targets import TARGETS, at_home

    with at_home(home):
        TARGETS[options.target].run(options.input.read_bytes(), home)
    return 0


def fuzz(options, home):
    """Until libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=WATCHED):
        from tests.fuzz.targets import TARGETS, at_home
    import torch

    torch.set_num_threads(1)
    target = TARGETS[options.target]
    folder = OUTPUT / options.target
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha1(seed).hexdigest()).write_bytes(seed)

    def change(data, longest, seed):
        source = random.Random(seed)
        changed = target.change(data, source, lambda part: atheris.Mutate(part, len(part) + 64))
        return changed if len(changed) <= longest else data

    def run(data):
        try:
            target.run(data, home)
        except BaseException:
            (folder / f"crash-{hashlib.sha1(data).hexdigest()}").write_bytes(data)
            raise

    flags = {
        "max_total_time": options.seconds,
        "runs": options.runs,
        "timeout": options.timeout,
        "rss_limit_mb": options.memory,
        "max_len": target.longest,
        "len_control": 0,
        "print_final_stats": 1,
        "close_fd_mask": 2 if options.target == "images" else 0,  # decoders write of every damaged file to stderr
        "artifact_prefix": f"{folder}/",
    }
    arguments = [sys.argv[0], *(f"-{name}={value}" for name, value in flags.items()), str(corpus)]
    with at_home(home):
        atheris.Setup(arguments, run, custom_mutator=change)
        atheris.Fuzz()  # never returns


if __name__ == "__main__":
    sys.exit(main())
