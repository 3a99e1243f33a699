"""What two poolings get wrong: errors by class, confusion matrices side by side, the examples that tell them apart."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from poolviz.charts.classes import ClassErrors, classes_figure
from poolviz.charts.confusion import confusion_figure, confusion_rows
from poolviz.charts.curves import colours
from poolviz.charts.figure import Figure
from poolviz.pages.choose_results import Selection, kept
from poolviz.pages.compare_parameters import key
from poolviz.pages.leaderboard import choose_group
from poolviz.pages.parameters import bounds
from poolviz.pages.run_details import predictions, show_examples
from poolviz.pages.show import plain, show_figure
from poolviz.pages.train_parameters import TASK_NAMES
from poolviz.runs.disagreement import Disagreement, class_errors, disagreement
from poolviz.runs.groups import Group
from poolviz.runs.results import Result
from poolviz.training.config import CLASSES
from poolviz.training.fetch import at_hand


def errors_view(selection: Selection) -> list[Figure]:
    """Draw it; the figures that can be saved."""
    groups = selection.completed
    if not groups:
        st.info("No run has ended yet.", icon=":material/hourglass_empty:")
        return []
    figures = [classes_of(selection)]
    show_figure(figures[0])
    if len(groups) < 2:
        st.caption("With a second group of runs, the examples on which two disagree are shown here.")
        return figures
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = choose_group("First", "first", groups, selection)
        second = choose_group("Second", "second", groups, selection, number=1)
        seed = _seed(first, second)
    if first is None or second is None or seed is None:
        return figures
    return figures + _side_by_side(selection, first, second, seed)


def classes_of(selection: Selection) -> Figure:
    """Errors by class of every group."""
    shades = colours(selection.colours)
    shown = [
        ClassErrors(name, shade, {label: [100 * value for value in values] for label, values in errors.items()})
        for name, shade, each in zip(selection.names, shades, selection.groups, strict=True)
        if (errors := class_errors(each))
    ]
    return classes_figure(shown)


def _seed(first: Group | None, second: Group | None) -> int | None:
    shared = [seed for seed in first.seeds if seed in second.seeds] if first and second else []
    if not shared:
        st.caption("These two have no seed in common.")
        return None
    kept("seed", shared, shared[0])
    return st.selectbox("Seed", shared, width=110, **bounds(key("seed")))


def _side_by_side(selection: Selection, first: Group, second: Group, seed: int) -> list[Figure]:
    chosen = [next(r for r in each.results if r.config.seed == seed) for each in (first, second)]
    found = [predictions(result.run) for result in chosen]
    names = [selection.name_of(first), selection.name_of(second)]
    figures = []
    for place, name, result, told in zip(st.columns(2, gap="large"), names, chosen, found, strict=True):
        with place:
            if told is None:
                st.caption(plain(f"{name}: its predictions were not kept, or are damaged."))
                continue
            figure = _confusion(name, result, *told)
            show_figure(figure, width="content")
            figures.append(figure)
    if first.identity == second.identity:
        st.caption("Choose two different groups to see where they disagree.")
    elif found[0] is None or found[1] is None:
        pass
    elif found[0][1].get("split") != found[1][1].get("split"):
        st.info("These two were judged on different sets, so they cannot be set against each other by example.")
    else:
        _disagree(names, chosen, (found[0][0], found[1][0]), str(found[0][1].get("split")))
    return figures


def _confusion(name: str, result: Result, table: pd.DataFrame, facts: dict) -> Figure:
    classes = CLASSES[result.config.task]
    rows = confusion_rows(table.label.tolist(), table.prediction.tolist(), classes)
    figure = confusion_figure(rows, classes)
    note = f"{facts.get('split', 'validation')} set, epoch {facts.get('epoch', '?')}; a row a true class"
    return Figure(f"{name}, seed {result.config.seed}", note, figure.alt, *_rest(figure))


def _rest(figure: Figure) -> tuple:
    return figure.builder, figure.arguments, figure.datasets


def _disagree(names: list[str], chosen: list[Result], tables: tuple[pd.DataFrame, pd.DataFrame], split: str) -> None:
    try:
        found = disagreement(*tables)
    except ValueError as error:
        st.info(plain(str(error)))
        return
    st.markdown(f"#### Where they disagree  \n{plain(_in_words(names, found))}")
    here = at_hand(chosen[0].config.task)
    first = found.first_right.assign(
        prediction=found.first_right.prediction_second, confidence=found.first_right.confidence_second
    )
    for place, name, other, rows in zip(
        st.columns(2, gap="large"), names, reversed(names), (first, found.second_right), strict=True
    ):
        with place:
            st.markdown(f"**{plain(name)} is right, {plain(other)} is not** ({len(rows):,})")
            if here:
                show_examples(chosen[0].config, split, rows)
    if not here:
        st.caption(
            f"The examples themselves are looked up in the data set, and {TASK_NAMES[chosen[0].config.task]} is not at "
            "hand: set POOLVIZ_DATA, or download it on the page Train."
        )


def _in_words(names: list[str], found: Disagreement) -> str:
    first, second = len(found.first_right), len(found.second_right)
    said = (
        f"{found.both_right:,} examples are right with both and {found.both_wrong:,} wrong with both; "
        f"{names[0]} alone is right on {first:,}, {names[1]} alone on {second:,}. "
    )
    if found.chance < 0.05:
        return (
            said + f"Chance alone would split them so unevenly in {found.chance:.2g} of cases (McNemar's exact test)."
        )
    return said + f"Chance alone could split them so (p = {found.chance:.2g}, McNemar's exact test)."
