"""Runs that are on this server: a table to open them from. The folders are read only while it is unfolded."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pandas as pd
import streamlit as st

from poolviz.pages.choose_run import judged
from poolviz.pages.train_parameters import MOST_WATCHED, TASK_NAMES, key, label_of
from poolviz.runs import store
from poolviz.runs.store import Run
from poolviz.runs.summary import result, standing
from poolviz.training.config import TEXT_TASKS, RunConfig

MOST_LISTED = 100
OWN_COLUMN = ("task", "pooling", "seed", "epochs", "learning_rate", "train_limit")
BOUNDS = ("max_steps", "max_seconds")  # a page's runs have the server's; one that ended by them says so


@st.fragment
def run_list(unfolded: bool) -> None:
    """The newest runs; those that are ticked are shown above, side by side. `unfolded`: until a visitor folds it."""
    fold = st.expander(
        "Runs on this server",
        expanded=unfolded,
        icon=":material/history:",
        key=f"run_list {'unfolded' if unfolded else 'folded'}",  # what a visitor did to one is not done to the other
        on_change="rerun",
    )
    if fold.open:
        with fold:
            _listed()


def _listed() -> None:
    runs = store.newest()
    rows = [row for row in map(_row, runs[:MOST_LISTED]) if row is not None]
    if not rows:
        st.caption("None yet. Full runs that came with poolviz are on the page Compare.")
        return
    count = len(runs)
    older = f" The newest {MOST_LISTED} of {count:,} are listed." if count > MOST_LISTED else ""
    st.caption(f"Tick up to {MOST_WATCHED} runs to see them side by side.{older}")
    event = st.dataframe(
        _table(rows).dropna(axis="columns", how="all"),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        placeholder="",  # "None" is a pooling
        # a tick is the number of a line: where lines have moved, none is ticked
        key=f"run_list {rows[0]['run']} {len(rows)}",
        column_config={
            "when": st.column_config.DatetimeColumn("When", format="D MMM, HH:mm", timezone=st.context.timezone),
            "pooling": st.column_config.TextColumn(width=155),
            "validation error": st.column_config.NumberColumn(format="percent"),
            "test error": st.column_config.NumberColumn(format="percent"),
            "validation MCC": st.column_config.NumberColumn(format="%.3f"),
            "test MCC": st.column_config.NumberColumn(format="%.3f"),
            "seconds": st.column_config.NumberColumn(format="%.1f"),
        },
    )
    ticked = [rows[number]["run"] for number in event.selection.rows[:MOST_WATCHED] if number < len(rows)]
    if st.button("Show the ticked runs", icon=":material/visibility:", disabled=not ticked, key="show_ticked"):
        st.session_state[key("runs")] = ticked
        st.rerun()


def _row(run: Run) -> dict[str, Any] | None:
    """Its figures; those of an ended run are read once, for curves of an hour are long."""
    if not run.ended:
        return _figures(run)
    try:
        told_ns = (run.folder / "status.json").stat().st_mtime_ns  # the last file that a run writes
    except OSError:  # damaged, or deleted meanwhile
        return _figures(run)
    return _ended_row(run, told_ns)


def _figures(run: Run) -> dict[str, Any] | None:
    stand = standing(run)
    return result(stand) | {"config": stand.config} if stand is not None else None


@st.cache_data(max_entries=2000, show_spinner=False, hash_funcs={Run: lambda run: str(run.folder)})
def _ended_row(run: Run, told_ns: int) -> dict[str, Any] | None:
    return _figures(run)


def _of_text(row: dict, name: str) -> float | None:
    return row[name] if row["task"] in TEXT_TASKS else None


def _table(rows: list[dict]) -> pd.DataFrame:
    configs = [row["config"] for row in rows]
    varying = {task: _varying([config for config in configs if config.task == task]) for task in TASK_NAMES}

    def shown(config: RunConfig, name: str, value: Any) -> Any:
        return value if name in varying[config.task] else None

    return pd.DataFrame(
        {
            "when": pd.to_datetime([row["created"] for row in rows], unit="s", utc=True),
            "task": [TASK_NAMES.get(row["task"], row["task"]) for row in rows],
            "pooling": [label_of(row["pooling"]) for row in rows],
            "learning rate": [shown(each, "learning_rate", f"{each.learning_rate:g}") for each in configs],
            "examples": [
                shown(each, "train_limit", f"{each.train_limit:,}" if each.train_limit else "all") for each in configs
            ],
            "other settings": [_others(each, varying[each.task]) for each in configs],
            "seed": [row["seed"] for row in rows],
            "state": [row["state"] for row in rows],
            "epochs": [row["epochs"] for row in rows],
            "validation error": [row["validation_error"] for row in rows],
            "test error": [row["test_error"] for row in rows],
            "validation MCC": [_of_text(row, "validation_mcc") for row in rows],
            "test MCC": [_of_text(row, "test_mcc") for row in rows],
            "seconds": [row["train_seconds"] for row in rows],
        }
    )


def _varying(configs: list[RunConfig]) -> set[str]:
    """In which settings these runs of one task differ."""
    found = {f.name for f in fields(RunConfig) if len({getattr(config, f.name) for config in configs}) > 1}
    if all(config.eval_limit == judged(config.train_limit) for config in configs):
        found.discard("eval_limit")  # follows from the examples
    return found - set(BOUNDS)


def _others(config: RunConfig, varying: set[str]) -> str | None:
    """What has no column of its own, for one who tells runs apart."""
    names = [f.name for f in fields(RunConfig) if f.name in varying and f.name not in OWN_COLUMN]
    return ", ".join(f"{name.replace('_', ' ')} {_said(getattr(config, name))}" for name in names) or None


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
