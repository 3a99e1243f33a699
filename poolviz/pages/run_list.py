"""Runs that are on this server: a table to open them from."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from poolviz.pages.train_parameters import MOST_WATCHED, TASK_NAMES, key, label_of
from poolviz.runs import store
from poolviz.runs.store import Run
from poolviz.runs.summary import result, standing
from poolviz.training.config import TEXT_TASKS

MOST_LISTED = 100


def run_list() -> None:
    """The newest runs; those that are ticked are shown above, side by side."""
    runs = [run for _, run in zip(range(MOST_LISTED), store.all_runs(), strict=False)]
    rows = [row for row in map(_row, runs) if row is not None]
    if not rows:
        st.caption("None yet.")
        return
    count = len(store.users_runs())
    older = f" The newest {MOST_LISTED} of {count:,} are listed." if count > MOST_LISTED else ""
    st.caption(f"Tick up to {MOST_WATCHED} runs to see them side by side.{older}")
    event = st.dataframe(
        _table(rows).dropna(axis="columns", how="all"),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        # a tick is the number of a line: where lines have moved, none is ticked
        key=f"run_list {rows[0]['run']} {len(rows)}",
        column_config={
            "when": st.column_config.DatetimeColumn("When", format="D MMM, HH:mm", timezone=st.context.timezone),
            "validation error": st.column_config.NumberColumn(format="percent"),
            "test error": st.column_config.NumberColumn(format="percent"),
            "validation MCC": st.column_config.NumberColumn(format="%.3f"),
            "test MCC": st.column_config.NumberColumn(format="%.3f"),
            "seconds": st.column_config.NumberColumn(format="%.1f"),
        },
    )
    ticked = [rows[number]["run"] for number in event.selection.rows[:MOST_WATCHED] if number < len(rows)]
    st.button(
        "Show the ticked runs",
        icon=":material/visibility:",
        disabled=not ticked,
        on_click=_watch,
        args=(ticked,),
        key="show_ticked",
    )


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
    return result(stand) if stand is not None else None


@st.cache_data(max_entries=2000, show_spinner=False, hash_funcs={Run: lambda run: str(run.folder)})
def _ended_row(run: Run, told_ns: int) -> dict[str, Any] | None:
    return _figures(run)


def _watch(names: list[str]) -> None:
    st.session_state[key("runs")] = names


def _of_text(row: dict, name: str) -> float | None:
    return row[name] if row["task"] in TEXT_TASKS else None


def _table(rows: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "when": pd.to_datetime([row["created"] for row in rows], unit="s", utc=True),
            "task": [TASK_NAMES.get(row["task"], row["task"]) for row in rows],
            "pooling": [label_of(row["pooling"]) for row in rows],
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
