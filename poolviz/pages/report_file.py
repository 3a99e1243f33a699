"""Everything that the comparing page shows of its runs, as one HTML file that needs no network."""

from __future__ import annotations

from poolviz.charts.entries import counted
from poolviz.charts.handout import Section, Table, html_report
from poolviz.pages.choose_results import Selection, size, size_name
from poolviz.pages.claims import part_rows
from poolviz.pages.compare_charts import curves_of, tradeoff_of
from poolviz.pages.compare_errors import classes_of
from poolviz.pages.leaderboard import (
    board_figures,
    first_baseline,
    first_measure,
    known_measures,
    reported_table,
    table,
)
from poolviz.pages.train_parameters import TASK_NAMES
from poolviz.runs.claims import CLAIMS, judged
from poolviz.runs.results import MEASURES


def report_file(selection: Selection) -> bytes:
    """The page of HTML: leaderboard, curves, trade-off, errors by class, claims, and what the runs were made with."""
    known = known_measures(selection)
    sections = [_board(selection, known)] if known else []
    if selection.groups and known:
        sections.append(_curves(selection, known))
    if selection.completed:
        sections.append(Section("Errors by class", [classes_of(selection)]))
    return html_report(
        f"poolviz: {TASK_NAMES[selection.task]}", [*sections, *_claims(selection), _made(selection)]
    ).encode()


def _board(selection: Selection, known: list[str]) -> Section:
    measure = MEASURES[first_measure(selection, known)]
    baseline = first_baseline(selection.completed) if selection.completed else None
    results = [result for each in selection.groups for result in each.results]
    told = f"{counted(len(results), 'run')} in {counted(len(selection.groups), 'group')}"
    blocks = [
        f"{told}; training examples: {size_name(size(results[0]))}." if results else f"{told}.",
        *board_figures(selection, measure, baseline),
        Table("Mean ± standard deviation over seeds", table(selection)),
    ]
    if selection.reported:
        blocks.append(Table("As reported by others, never averaged with ours", reported_table(selection)))
    return Section("Leaderboard", blocks)


def _curves(selection: Selection, known: list[str]) -> Section:
    blocks = [curves_of(selection, "loss", "epoch", False)]
    if "train_time" in known:
        measure = MEASURES[first_measure(selection, known)]
        blocks.append(tradeoff_of(selection, MEASURES["train_time"], measure, False))
    return Section("Curves and cost", blocks)


def _claims(selection: Selection) -> list[Section]:
    found = judged(selection.evidence)
    return [
        Section(
            f"{name} · {claim.title}: {found[name].verdict}",
            [
                f"Reported: {claim.said}",
                *([f"The report contradicts itself. {claim.contradiction}"] if claim.contradiction else []),
                f"Our test: {claim.test}",
                found[name].reason,
                Table("Evidence", part_rows(found[name])),
            ],
        )
        for name, claim in CLAIMS.items()
        if any(part.effect for part in found[name].parts)
    ]


def _made(selection: Selection) -> Section:
    rows = [
        {
            "run": result.name,
            "from": result.origin,
            "machine": result.hardware,
            **{name: version for name, version in result.versions.items() if name in ("torch", "transformers")},
        }
        for each in selection.groups
        for result in each.results
    ]
    return Section("The runs", [Table("Where each was made, and with what", rows)])
