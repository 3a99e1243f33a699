"""Training: choose a task and poolings, press Start, and watch them learn. No page trains in its own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import Any

import streamlit as st

from poolviz.charts.figure import Figure, numbers, picture
from poolviz.charts.handout import Table
from poolviz.inputs.picture import InputError
from poolviz.lessons.facts import training_facts
from poolviz.pages import guard, link
from poolviz.pages.choose_run import choose_runs, differing
from poolviz.pages.downloads import download_menu
from poolviz.pages.foot import foot
from poolviz.pages.frame import hand_out, tell
from poolviz.pages.handout import Handout
from poolviz.pages.run_list import run_list
from poolviz.pages.share import view_link
from poolviz.pages.show import plain
from poolviz.pages.train_parameters import PARAMS, TASK_NAMES, key
from poolviz.pages.watch import in_words, visitor, watch
from poolviz.pooling import POOLINGS
from poolviz.runs import jobs, store
from poolviz.runs.summary import changed, standing
from poolviz.training.config import RunConfig
from poolviz.training.fetch import at_hand
from poolviz.training.plan import decisive, seconds

REFUSED = "train_refused"  # session key: what was refused to start and why; told until something else is asked for
AGAIN = 60.0  # seconds until a scheduler that did not answer, or an estimate that failed, is asked for again
UNMEASURED = "train_unmeasured"  # session key: of which choice there is no estimate, why, and since when


def page() -> None:
    """Draw the page once for the current widgets; the address is read first and written last."""
    link.restore(PARAMS)
    top = st.container()
    _machinery()
    with st.sidebar:
        st.markdown("### poolviz  \nPoolings learn side by side: the same start, the same batches, one difference.")
        configs = choose_runs()
        st.divider()
        foot()
    if configs:
        _start_line(configs)
    else:
        st.info("Choose a pooling in the sidebar.", icon=":material/arrow_back:")
    asked, refused = st.session_state.get(REFUSED, (configs, ""))
    if refused and asked == configs:
        st.error(plain(refused), icon=":material/error:")
    runs = _watched()
    if runs:
        figures = watch(runs)
        if figures:
            _save_menu(figures, runs)
    tell(lambda _: training_facts([stand for run in runs if (stand := standing(run))]))
    run_list(unfolded=not runs)
    link.tell_notices(top)
    link.save(PARAMS, differing())


@st.cache_resource(show_spinner=False)
def _machinery() -> SimpleQueue[tuple[Future, Callable[[], Any]]]:
    """Once a server: runs of before are found again, and a process stands by. Estimates are asked for one by one."""
    asked: SimpleQueue[tuple[Future, Callable[[], Any]]] = SimpleQueue()
    # daemons, unlike the threads of an executor: a server that is told to end waits for no estimate
    for work, arguments in ((_prepare, ()), (_answer, (asked,))):
        threading.Thread(target=work, args=arguments, daemon=True).start()
    return asked


def _answer(asked: SimpleQueue[tuple[Future, Callable[[], Any]]]) -> None:
    while True:
        answer, question = asked.get()
        try:
            answer.set_result(question())
        except Exception as error:  # who looks at the answer is told
            answer.set_exception(error)


def _prepare() -> None:
    while not _recovered():
        time.sleep(AGAIN)


def _recovered() -> bool:
    try:
        jobs.recover()
    except ValueError:  # no scheduler answers: it may be started later than this
        return False
    finally:
        jobs.warm()
    return True


@st.cache_resource(max_entries=512, show_spinner=False)
def _measured(config: RunConfig) -> Future:
    answer: Future = Future()
    _machinery().put((answer, partial(jobs.estimate, config)))
    return answer


def _start_line(configs: list[RunConfig]) -> None:
    racers = " · ".join(POOLINGS[config.pooling].label for config in configs)
    head, button = st.columns([4, 1], vertical_alignment="center")
    with head:
        st.markdown(f"#### {plain(TASK_NAMES[configs[0].task])}: {plain(racers)}")
        closed = guard.objection()
        failure = f":material/lock: {plain(closed)}" if closed else _failure(configs)
        if failure:
            st.caption(failure)
        else:  # an estimate trains for some steps
            pending = _pending(configs)
            st.fragment(_estimate, run_every=0.7 if pending else None)(configs, pending)
    with button:
        if guard.gate("Start", "start"):
            st.button(
                "Start",
                type="primary",
                icon=":material/play_arrow:",
                width="stretch",
                on_click=_start,
                args=(configs,),
            )


def _choice(configs: list[RunConfig]) -> tuple[list[RunConfig], bool]:
    return configs, at_hand(configs[0].task)  # which a download changes


def _failure(configs: list[RunConfig]) -> str:
    """Why there is no estimate, if this very choice was measured in vain a moment ago: it would only fail again."""
    choice, told, since = st.session_state.get(UNMEASURED, (None, "", 0.0))
    if told and choice == _choice(configs) and time.monotonic() < since + AGAIN:
        return told
    st.session_state.pop(UNMEASURED, None)
    return ""


def _pending(configs: list[RunConfig]) -> bool:
    return not all(_measured(decisive(config)).done() for config in configs)


def _estimate(configs: list[RunConfig], was_pending: bool) -> None:
    asked = [_measured(decisive(config)) for config in configs]
    if not all(each.done() for each in asked):
        st.caption(":material/timer: measuring the first steps on this machine …")
        return
    try:
        measured = [each.result() for each in asked]
        most = jobs.limits()
    except (ValueError, OSError, RuntimeError) as error:
        for config, each in zip(configs, asked, strict=True):
            if each.exception():
                _measured.clear(decisive(config))  # asked again when the choice changes
        told = f":material/timer_off: {plain(str(error))}"
        st.session_state[UNMEASURED] = _choice(configs), told, time.monotonic()
        st.caption(told)
        if was_pending:
            st.rerun()  # nothing to look for any more
        return
    total = sum(seconds(jobs.limited(config, most), each) for config, each in zip(configs, measured, strict=True))
    first = measured[0]
    examples = min(first["train"], configs[0].train_limit or first["train"])
    device = first["device"] if first["device"] != "CPU" else f"the CPU (no GPU was found), threads: {first['threads']}"
    st.caption(
        f":material/timer: about **{in_words(total)}** in all on {plain(device)} · "
        f"{examples:,} training examples · {configs[0].epochs} epochs · "
        f"{_parameters(configs, measured)} learned parameters"
    )
    if was_pending:
        st.rerun()


def _parameters(configs: list[RunConfig], measured: list[dict[str, Any]]) -> str:
    """One figure, with the one pooling that differs, or their range: what follows a pooling depends on its output."""
    counts = [each["parameters"] for each in measured]
    usual = max(counts, key=counts.count)
    others = [f"{POOLINGS[c.pooling].label}: {n:,}" for c, n in zip(configs, counts, strict=True) if n != usual]
    if len(others) > 1:
        return f"{min(counts):,} to {max(counts):,}"
    return f"{usual:,}" + (f" ({plain(others[0])})" if others else "")


def _start(configs: list[RunConfig]) -> None:
    if _are_underway(configs):  # a second click
        st.toast("These runs wait or train already.", icon=":material/hourglass_empty:")
        return
    try:
        guard.demand()
        runs = jobs.submit(configs, visitor=visitor(), keep_weights=bool(st.session_state[key("keep")]))
    except (ValueError, InputError, OSError) as error:
        st.session_state[REFUSED] = configs, str(error)
        return
    st.session_state.pop(REFUSED, None)
    st.session_state[key("runs")] = [run.name for run in runs]


def _are_underway(configs: list[RunConfig]) -> bool:
    """Whether one of them is watched and has not ended; the queue's own limits make no difference."""
    runs = [store.find(name) for name in st.session_state[key("runs")]]
    going = [stand.config for stand in map(standing, filter(None, runs)) if stand is not None and not stand.ended]
    return any(replace(config, max_steps=0, max_seconds=0.0) in configs for config in going)


def _save_menu(figures: list[Figure], runs: list[store.Run]) -> None:
    title = "poolviz: " + ", ".join(run.name for run in runs)
    handout = _handout(figures, runs)
    hand_out(handout)
    left, _ = st.columns([1, 4])
    with left:
        download_menu(
            lambda kind: picture(figures, title, kind),
            lambda: numbers(figures, title).encode(),
            [handout.file()],
        )


def _handout(figures: list[Figure], runs: list[store.Run]) -> Handout:
    """The curves as a file, with the runs' settings."""
    named = {run.name: stand.config for run in runs if (stand := standing(run))}  # a damaged run has none
    rows = [{"run": name, "pooling": config.pooling, **changed(config)} for name, config in named.items()]
    configs = named.values()
    return Handout(
        ", ".join(dict.fromkeys(TASK_NAMES[config.task] for config in configs)),
        "The same start, the same batches, one difference: the pooling.",
        ", ".join(dict.fromkeys(str(config.seed) for config in configs)),
        view_link(link.address(PARAMS, differing())),
        lambda: [*figures, Table("The runs", rows)],
        [name for name in dict.fromkeys(config.pooling for config in configs) if name in POOLINGS],
    )


def _watched() -> list[store.Run]:
    """The runs of the address that are there; those that are not are told."""
    wanted = st.session_state[key("runs")]
    found = {name: store.find(name) for name in wanted}
    missing = [name for name, run in found.items() if run is None]
    if missing:
        st.session_state[key("runs")] = [name for name in wanted if name not in missing]
        st.warning(f"Not on this server (any more): {plain(', '.join(missing))}", icon=":material/link_off:")
    return [run for run in found.values() if run is not None]
