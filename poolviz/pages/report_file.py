"""Everything that the comparing page shows of its runs, as one HTML file that needs no network."""

from __future__ import annotations

from poolviz.charts.entries import counted
from poolviz.charts.handout import Section, Table, html_report
from poolviz.pages.choose_results import Selection, size, size_name
from poolviz.pages.claims import part_rows
from poolviz.pages.compare_charts import curves_of, tradeoff_of
from poolviz.pages.compare_errors import classes_of
from poolviz.pages.leaderboard import (
    answer_of,
    board_figures,
    confidence,
    distances_of,
    known_measures,
    reported_table,
    table,
)
from poolviz.pages.train_parameters import TASK_NAMES
from poolviz.runs.claims import CLAIMS, judged
from poolviz.runs.groups import Group
from poolviz.runs.results import MEASURES, Measure

SPREADS = "Mean ± standard deviation over seeds"
MOST_COLUMNS = 8  # of a table on a page


def report_file(selection: Selection, measure: Measure | None, baseline: Group | None) -> bytes:
    """The page of HTML: leaderboard, curves, trade-off, errors by class, claims, and what the runs were made with.

    `measure` and `baseline` are the leaderboard's; None where no run or report tells anything.
    """
    sections = [_board(selection, measure, baseline)] if measure else []
    if selection.groups and measure:
        sections.append(_curves(selection, measure))
    if selection.completed:
        sections.append(Section("Errors by class", [classes_of(selection)]))
    return html_report(
        f"poolviz: {TASK_NAMES[selection.task]}", [*sections, *_claims(selection), _made(selection)]
    ).encode()


def _board(selection: Selection, measure: Measure, baseline: Group | None) -> Section:
    results = [result for each in selection.groups for result in each.results]
    told = f"{counted(len(results), 'run')} in {counted(len(selection.groups), 'group')}"
    distances = distances_of(selection, measure, baseline)
    said = answer_of(selection, measure, baseline, distances)
    blocks = [
        f"{told}; training examples: {size_name(size(results[0]))}." if results else f"{told}.",
        *([f"{said} {confidence(distances)}"] if said else []),
        *board_figures(selection, measure, baseline, distances),
        Table(SPREADS, turned(table(selection))),
    ]
    if selection.reported:
        blocks.append(Table("As reported by others, never averaged with ours", reported_table(selection)))
    return Section("Leaderboard", blocks)


def turned(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """A row a measure and a column a group, where these are few: a page is wide enough for them."""
    if len(rows) > MOST_COLUMNS:
        return rows
    return [
        {"measure": name} | {row["runs"]: str(row[name]) for row in rows}
        for name in (rows[0] if rows else ())
        if name != "runs"
    ]


def _curves(selection: Selection, measure: Measure) -> Section:
    blocks = [curves_of(selection, "loss", "epoch", False)]
    known = known_measures(selection)
    across = next((name for name in ("train_time", *known) if name in known and name != measure.name), measure.name)
    blocks.append(tradeoff_of(selection, MEASURES[across], measure, False))
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
