"""The leaderboard: every group of runs on one measure, its distance from a baseline, and all measures in a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
import streamlit as st

from poolviz.charts import entries
from poolviz.charts.differences import Apart, answer, differences_figure
from poolviz.charts.entries import Entry
from poolviz.charts.figure import Figure
from poolviz.charts.leaderboard import leaderboard_figure
from poolviz.pages import link
from poolviz.pages.choose_results import Selection, kept
from poolviz.pages.compare_parameters import key
from poolviz.pages.parameters import bounds
from poolviz.pages.show import plain, show_figure
from poolviz.pages.train_parameters import label_of
from poolviz.runs.groups import Group, apart, differing, spread, unlike
from poolviz.runs.reported import Reported
from poolviz.runs.results import MEASURES, Measure
from poolviz.runs.tables import heading, in_words
from poolviz.training.config import TEXT_TASKS

FIRST = ("test_error", "last_mcc", "validation_error")  # to begin with: the first that a run knows; MCC for text


def leaderboard(selection: Selection) -> list[Figure]:
    """Draw it; the figures that can be saved."""
    known = known_measures(selection)
    if not known:
        st.info("None of these runs has a figure yet.", icon=":material/hourglass_empty:")
        return []
    with st.container(horizontal=True, vertical_alignment="bottom"):
        measure = MEASURES[choose_measure("Measure", "measure", known, first_measure(selection, known))]
        baseline = choose_group("Baseline", "baseline", selection.completed, selection)
    distances = distances_of(selection, measure, baseline)
    if said := answer_of(selection, measure, baseline, distances):
        st.markdown(f"**{plain(said)}** {confidence(distances)}")
    figures = board_figures(selection, measure, baseline, distances)
    for figure in figures:
        show_figure(figure)
    _comparability(selection, baseline, measure)
    show_table(selection)
    _differences_of_settings(selection)
    return figures


def board_figures(
    selection: Selection, measure: Measure, baseline: Group | None, distances: list[Apart]
) -> list[Figure]:
    """The groups on a measure, and their distances from the baseline where there is another group."""
    shown = baseline.spread(measure.name) if baseline else None
    line = (selection.name_of(baseline), shown.mean * measure.scale) if baseline and shown else None
    figures = [
        leaderboard_figure(
            [entry for each in selection.groups if (entry := _entry(selection, each, measure))],
            [
                entries.Reported(who(each), each.report, each.values[measure.name] * measure.scale)
                for each in selection.reported
                if measure.name in each.values
            ],
            measure.label,
            measure.unit,
            measure.better,
            line,
        )
    ]
    if distances and baseline:
        name = selection.name_of(baseline)
        figures.append(differences_figure(distances, name, measure.label, measure.unit, measure.better))
    return figures


def answer_of(selection: Selection, measure: Measure, baseline: Group | None, distances: list[Apart]) -> str:
    """What the distances say, in a sentence; empty without a baseline or others."""
    if baseline is None:
        return ""
    return answer(distances, selection.name_of(baseline), measure.label, measure.better)


def confidence(distances: list[Apart]) -> str:
    """How far the answer can be trusted."""
    if any(row.low is not None for row in distances):
        return "Of twenty such intervals one is expected to miss."
    equal = any(row.n > 1 for row in distances)
    return "Runs that are equal over all seeds give no interval." if equal else "One seed gives no interval."


def distances_of(selection: Selection, measure: Measure, baseline: Group | None) -> list[Apart]:
    """How far each other group lies from the baseline, where both know the measure."""
    return [row for each in selection.groups if baseline and (row := _apart(selection, each, baseline, measure))]


def who(each: Reported) -> str:
    """What was reported on: a report's pooling under the name that it has here."""
    return each.label if each.report == "published" else label_of(each.pooling)


def known_measures(selection: Selection) -> list[str]:
    """Measures that a group, or a report, knows; of images or of text alone where a measure is."""
    text = selection.task in TEXT_TASKS
    holders = [result.values for each in selection.groups for result in each.results]
    holders += [each.values for each in selection.reported]
    return [
        name
        for name, measure in MEASURES.items()
        if measure.text in (None, text) and any(name in values for values in holders)
    ]


def chosen(selection: Selection) -> tuple[Measure | None, Group | None]:
    """The measure and the baseline that the leaderboard shows, or would begin with; None where nothing is known."""
    name, baseline, known = (
        st.session_state[key("measure")],
        st.session_state[key("baseline")],
        known_measures(selection),
    )
    if not known:
        return None, None
    group = next((each for each in selection.completed if each.identity == baseline), None)
    usual = first_baseline(selection.completed) if selection.completed else None
    return MEASURES[name if name in known else first_measure(selection, known)], group or usual


def first_measure(selection: Selection, known: list[str]) -> str:
    """What a page begins with: error for images, MCC for text."""
    wanted = ("last_mcc", "validation_mcc") if selection.task in TEXT_TASKS else FIRST
    return next((name for name in wanted if name in known), known[0])


def choose_measure(label: str, name: str, known: list[str], first: str) -> str:
    """A select box of measures."""
    kept(name, known, first)
    return st.selectbox(label, known, format_func=lambda each: MEASURES[each].label, width=280, **bounds(key(name)))


def choose_group(label: str, name: str, groups: list[Group], selection: Selection, number: int = 0) -> Group | None:
    """A select box of groups; None where there is nothing to choose from."""
    names = {each.identity: selection.name_of(each) for each in groups}
    if not names:
        return None
    usual = (first_baseline(groups) if not number else groups[min(number, len(groups) - 1)]).identity
    link.hold(key(name), names)  # titles change with what else is shown
    kept(name, list(names), usual, names[usual])
    chosen = st.selectbox(label, list(names), format_func=names.get, width=280, **bounds(key(name)))
    return next(each for each in groups if each.identity == chosen)


def first_baseline(groups: list[Group]) -> Group:
    """What others are compared with to begin with: CLS for text, max for images, else the first."""
    usual = "cls" if groups[0].config.is_text else "max"
    return next((each for each in groups if each.config.pooling == usual), groups[0])


def _entry(selection: Selection, one: Group, measure: Measure) -> Entry | None:
    values = {seed: value * measure.scale for seed, value in one.values(measure.name).items()}
    if not values:
        return None
    found = spread(list(values.values()), measure.exact)
    return Entry(
        selection.name_of(one), selection.colour_of(one), values, found.mean, found.low, found.high, _detail(one)
    )


def _detail(one: Group) -> str:
    return f"{', '.join(one.origins)} · {one.config.epochs} epochs · {one.hardware}"


def _apart(selection: Selection, one: Group, baseline: Group, measure: Measure) -> Apart | None:
    if one.identity == baseline.identity:
        return None
    found = apart(one, baseline, measure.name)
    if found is None:
        return None
    low, high = (end * measure.scale if end is not None else None for end in (found.low, found.high))
    return Apart(
        selection.name_of(one),
        found.mean * measure.scale,
        low,
        high,
        found.n,
        found.paired,
        tuple(_reasons(one, baseline, measure)),
        _detail(one),
    )


def _reasons(one: Group, other: Group, measure: Measure) -> list[str]:
    """Why two groups are no fair comparison, in words."""
    told = {"hardware": f"another machine ({one.hardware})", "state": "it has not ended", "task": "another task"}
    told |= {"cut short": "a limit cut one of them short", "machine": "other cores, or another version of torch"}
    return [
        told.get(name) or f"{name.replace('_', ' ')} {getattr(one.config, name)}, not {getattr(other.config, name)}"
        for name in unlike(one, other, measure.name)
    ]


def _comparability(selection: Selection, baseline: Group | None, measure: Measure) -> None:
    unfair = {selection.name_of(each): _reasons(each, baseline, measure) for each in selection.groups if baseline}
    told = [f"**{plain(name)}**: {plain(', '.join(reasons))}" for name, reasons in unfair.items() if reasons]
    if told and baseline:
        st.warning(
            f"Not comparable with {plain(selection.name_of(baseline))} as they are: " + "; ".join(told),
            icon=":material/balance:",
        )
    single = [selection.name_of(each) for each in selection.completed if len(each.results) == 1]
    if single and len(selection.completed) > 1:
        st.caption(f"One run alone: {plain(', '.join(single))}. More seeds would show how large chance is.")


def show_table(selection: Selection) -> None:
    """All measures, mean and standard deviation; what was reported stands apart."""
    if selection.groups:
        st.markdown("**All measures**: mean ± standard deviation over seeds")
        st.dataframe(pd.DataFrame(table(selection)), hide_index=True, width="stretch")
    if selection.reported:
        st.markdown("**As reported**, by others on other machines: never averaged with ours")
        st.dataframe(pd.DataFrame(reported_table(selection)), hide_index=True, width="stretch")


def table(selection: Selection) -> list[dict[str, Any]]:
    """A row a group."""
    known = known_measures(selection)
    return [
        {"runs": selection.name_of(each), "n": len(each.results)}
        | {heading(MEASURES[name]): in_words(each.spread(name), MEASURES[name]) for name in known}
        | {"epochs": each.config.epochs, "machine": each.hardware, "from": ", ".join(each.origins)}
        for each in selection.groups
    ]


def reported_table(selection: Selection) -> list[dict[str, Any]]:
    """A row a reported result."""
    known = [name for name in MEASURES if any(name in each.values for each in selection.reported)]
    return [
        {"report": each.report, "what": who(each)}
        | {
            heading(MEASURES[name]): f"{each.values[name] * MEASURES[name].scale:.4g}" if name in each.values else ""
            for name in known
        }
        | {"note": each.note}
        for each in selection.reported
    ]


def _differences_of_settings(selection: Selection) -> None:
    names = [name for name in differing(selection.groups) if name != "pooling"]
    if not names:
        return
    with st.expander("Only what differs in their settings", icon=":material/difference:"):
        rows = []
        for each in selection.groups:
            kept = asdict(each.config)
            rows.append(
                {"runs": selection.name_of(each), "pooling": label_of(each.config.pooling)}
                | {name.replace("_", " "): str(kept[name]) for name in names}
            )
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch")


def board_csv(selection: Selection) -> bytes:
    """A line a run and measure in kept units, and what was reported: apart, and named so."""
    rows = [
        {
            "origin": result.origin,
            "runs": selection.name_of(each),
            "run": result.name,
            "pooling": each.config.pooling,
            "seed": str(result.config.seed),  # reported figures have none, which would make it a fraction
            "machine": each.hardware,
            "measure": name,
            "value": value,
        }
        for each in selection.groups
        for result in each.results
        for name, value in result.values.items()
    ]
    rows += [
        {"origin": "as reported", "runs": each.label, "pooling": each.pooling, "measure": name, "value": value}
        for each in selection.reported
        for name, value in each.values.items()
    ]
    table = pd.DataFrame(rows)
    for name in table.select_dtypes(exclude="number"):  # a spreadsheet runs what begins like a formula
        table[name] = table[name].map(lambda cell: f"'{cell}" if str(cell).startswith(("=", "+", "-", "@")) else cell)
    return table.to_csv(index=False).encode()
