"""Sidebar of the training page: a task, the poolings that race, and how they train -> one RunConfig a pooling."""

from __future__ import annotations

import threading
from typing import Any

import streamlit as st

from poolviz.inputs.picture import InputError
from poolviz.pages import guard
from poolviz.pages.parameters import TEMPERATURES, bounds
from poolviz.pages.show import plain
from poolviz.pages.train_parameters import (
    ABOUT,
    BATCHES,
    EXAMPLES,
    IMAGE_POOLINGS,
    MOST_EPOCHS,
    MOST_RACING,
    PARAMS,
    QUICK,
    RATES,
    TASK_NAMES,
    TEXT_POOLINGS,
    key,
)
from poolviz.pooling import POOLINGS
from poolviz.training.config import TEXT_TASKS, RunConfig, default_config
from poolviz.training.fetch import at_hand, fetch

FETCHING = threading.Lock()  # one download at a time
SCHEDULE_NAMES = {"constant": "Constant", "linear": "Up, then down to 0", "one-cycle": "One cycle (cosine)"}
FREEZE_NAMES = {"none": "All of the encoder", "embeddings": "All but its embeddings", "encoder": "The classifier alone"}


def choose_runs() -> list[RunConfig]:
    """Widgets; one configuration a pooling, which differ in nothing else."""
    task = st.selectbox(
        "Task", list(TASK_NAMES), format_func=TASK_NAMES.get, on_change=_take_quick, **bounds(key("task"))
    )
    st.caption(ABOUT[task])
    _fill(task)
    _offer_download(task)
    text = task in TEXT_TASKS
    names = st.multiselect(
        "Poolings that race",
        TEXT_POOLINGS if text else IMAGE_POOLINGS,
        format_func=lambda name: POOLINGS[name].label,
        max_selections=MOST_RACING,
        placeholder="Choose at least one",
        help="All start from the same weights and see the same batches in the same order.",
        **bounds(key("tokens" if text else "maps")),
    )
    epochs = st.slider("Epochs", 1, MOST_EPOCHS, **bounds(key("epochs")))
    examples = st.select_slider(
        "Training examples",
        EXAMPLES,
        format_func=lambda count: f"{count:,}" if count else "all",
        **bounds(key("examples")),
    )
    rate = st.select_slider("Learning rate", RATES, format_func=lambda value: f"{value:g}", **bounds(key("rate")))
    with st.expander("More settings"):
        changes = _text_settings(names) if text else _image_settings(task, names)
        changes |= _training_settings()
        st.checkbox("Keep the trained weights", help=_keep_help(text), **bounds(key("keep")))
    return [
        default_config(
            task,
            pooling=name,
            epochs=int(epochs),
            train_limit=int(examples),
            eval_limit=judged(int(examples)),
            learning_rate=float(rate),
            **changes,
        )
        for name in names
    ]


def _training_settings() -> dict[str, Any]:
    batch = st.select_slider("Batch size", BATCHES, **bounds(key("batch")))
    schedule = st.selectbox(
        "Learning-rate schedule", list(SCHEDULE_NAMES), format_func=SCHEDULE_NAMES.get, **bounds(key("schedule"))
    )
    seed = st.number_input(
        "Seed", 0, 999_999, step=1, help="Initial weights, order, dropout and draws.", **bounds(key("seed"))
    )
    return {"batch_size": int(batch), "schedule": schedule, "seed": int(seed)}


def _offer_download(task: str) -> None:
    """Start says what is missing; here is one of the two ways to get it."""
    if at_hand(task):
        return
    st.caption(":material/cloud_download: Its data is not on this server: POOLVIZ_DATA may name a folder that has it.")
    label = "Download it"
    if guard.gate(label, "download") and st.button(label, icon=":material/download:", key="train_download"):
        try:
            with st.spinner("Downloading …"), FETCHING:
                fetch(task)
        except InputError as error:
            st.error(plain(str(error)), icon=":material/cloud_off:")
        else:
            st.rerun()  # what is missing is said no more


def judged(examples: int) -> int:
    """Examples that a run is judged on: all, or for a quick run half as many as it trains on, 200 at least."""
    return max(200, examples // 2) if examples else 0


def _keep_help(text: bool) -> str:
    size = "some 180 MB for the encoder" if text else "a few megabytes"
    return f"Of the best and of the last epoch: {size} a run, in its folder and its download."


def _take_quick() -> None:
    """A task brings its own quick settings."""
    for name, value in QUICK[st.session_state[key("task")]].items():
        st.session_state[key(name)] = value


def _fill(task: str) -> None:
    """What the address leaves open is the task's own."""
    for name, value in QUICK[task].items():
        if st.session_state[key(name)] is None:
            st.session_state[key(name)] = value


def differing() -> list[str]:
    """The page's parameters that the address has to hold: those that a task would set otherwise."""
    usual = QUICK[st.session_state[key("task")]]
    return [name for name in PARAMS if st.session_state[name] != usual.get(name.partition(".")[2], object())]


def _temperature(names: list[str]) -> dict[str, float]:
    if not any("temperature" in POOLINGS[name].uses for name in names):
        return {}
    chosen = st.select_slider(
        "Temperature", TEMPERATURES, format_func=lambda value: f"{value:g}", **bounds(key("temperature"))
    )
    return {"temperature": float(chosen)}


def _image_settings(task: str, names: list[str]) -> dict[str, Any]:
    left, right = st.columns(2)
    with left:
        kernel = st.number_input("Kernel", 1, 8, step=1, **bounds(key("kernel")))
        width = st.selectbox("Channels", (8, 16, 32, 64), help="of the first convolution", **bounds(key("width")))
    with right:
        stride = st.number_input("Stride", 1, 8, step=1, **bounds(key("stride")))
        small = task == "digits"  # 8 x 8 has no room for a second stage
        depth = st.number_input("Pooling stages", 1, 2, step=1, disabled=small, **bounds(key("stages")))
    changes = {
        "kernel_size": int(kernel),
        "stride": int(stride),
        "width": int(width),
        "depth": 1 if small else int(depth),
    }
    return changes | _temperature(names)


def _text_settings(names: list[str]) -> dict[str, Any]:
    freeze = st.selectbox("What is trained", list(FREEZE_NAMES), format_func=FREEZE_NAMES.get, **bounds(key("freeze")))
    tanh = st.checkbox(
        "Linear map and tanh after the pooling", help="As report A has it, and as BERT has it.", **bounds(key("tanh"))
    )
    return {"freeze": freeze, "linear_tanh": bool(tanh)} | _temperature(names)
