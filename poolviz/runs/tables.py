"""Results over seeds as tables in words: `python -m poolviz results`, and the table of a page.

Which columns a table has follows from what its runs know. Imports no torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from poolviz.runs.claims import CLAIMS, judged
from poolviz.runs.groups import Group, Spread, group, titles
from poolviz.runs.results import IMPORTED, MEASURES, SHIPPED, Measure, Shelf
from poolviz.training.config import TASKS, TEXT_TASKS

COLUMNS = {  # of the command's tables, by whether a task is text
    False: ("test_error", "validation_error", "fit_loss", "gap", "train_time", "predict_time", "parameters"),
    True: ("last_mcc", "validation_mcc", "mcc_in_domain", "mcc_out_of_domain", "last_loss", "gap", "train_time"),
}


def results(options: argparse.Namespace) -> int:
    """Print tables of completed runs, and what they say of the reports' claims; the exit code."""
    found, damaged = Shelf().read_all()
    found = [result for result in found if not options.shipped or result.origin == SHIPPED]
    groups = group(found)
    for task in TASKS:
        of_task = [each for each in groups if each.config.task == task]
        if of_task and options.task in (None, task):
            print(f"{task}: mean ± standard deviation over n seeds\n\n{table(of_task)}\n")
    if options.task is None:
        ours = [result for result in found if result.origin != IMPORTED]  # what strangers sent decides no claim
        print(f"The reports' claims\n\n{claims_table(group(ours))}")
    for each in damaged:
        print(f"Skipped {each.name}: {each.why}")
    return 0


def table(groups: Sequence[Group]) -> str:
    """Groups of one task in Markdown, a table a training set and machine."""
    parts = []
    for limit, held_out, hardware in sorted(
        {_setting(each) for each in groups}, key=lambda s: (s[1], s[0] != 0, -s[0])
    ):
        inside = [each for each in groups if _setting(each) == (limit, held_out, hardware)]
        measures = [MEASURES[name] for name in COLUMNS[inside[0].config.task in TEXT_TASKS]]
        measures = [each for each in measures if any(one.spread(each.name) for one in inside)]
        apart = ", judged on the rest of the training set" if held_out else ""
        examples = f"{limit:,} training examples" if limit else "all training examples"
        rows = [
            [name, str(len(each.results)), *(in_words(each.spread(one.name), one) for one in measures)]
            for name, each in zip(titles(inside, {}), inside, strict=True)
        ]
        parts.append(f"{examples}{apart}, {hardware}\n\n" + _markdown(["", "n", *map(heading, measures)], rows))
    return "\n\n".join(parts)


def _setting(one: Group) -> tuple[int, float, str]:
    return one.config.train_limit, one.config.held_out, one.hardware


def claims_table(groups: Sequence[Group]) -> str:
    """Every claim with its verdict and the reason, in Markdown."""
    rows = [[name, CLAIMS[name].title, finding.verdict, finding.reason] for name, finding in judged(groups).items()]
    return _markdown(["", "claim", "verdict", "because"], rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def heading(measure: Measure) -> str:
    """A column's, with its unit."""
    return f"{measure.label} ({measure.unit})" if measure.unit else measure.label


def in_words(found: Spread | None, measure: Measure) -> str:
    """Mean and standard deviation, to the digits that mean something; empty where nothing is known."""
    if found is None:
        return ""
    mean = found.mean * measure.scale
    if measure.name == "parameters":
        return f"{mean:,.0f}"
    digits = 3 if not measure.unit else 2 if abs(mean) < 100 else 0
    if found.sd is None:
        return f"{mean:,.{digits}f}"
    return f"{mean:,.{digits}f} ± {found.sd * measure.scale:,.{digits}f}"
