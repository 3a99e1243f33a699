"""Runs while they train: where each one stands, their curves, and what they get wrong now."""

from __future__ import annotations

import hashlib
import html

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from poolviz.charts.curves import AXES, MEASURES, Curve, colours, curves_figure
from poolviz.charts.figure import Figure
from poolviz.pages import guard
from poolviz.pages.parameters import bounds
from poolviz.pages.run_details import show_confusion, show_facts, show_mistakes
from poolviz.pages.show import plain, show_figure
from poolviz.pages.train_parameters import TASK_NAMES, colour_of, key
from poolviz.pooling import POOLINGS
from poolviz.runs import jobs
from poolviz.runs.store import Run
from poolviz.runs.summary import Standing, labels, result, standing

LOOK_EVERY = 1.0  # seconds
LONG_PILL, MOST_PILLS = 36, 120  # characters of a label, and of all: one row and some four of half a narrow page
ICONS = {
    "queued": ":material/hourglass_empty:",
    "running": ":material/play_circle:",
    "completed": ":material/check_circle:",
    "stopped": ":material/stop_circle:",
    "failed": ":material/error:",
}


def in_words(seconds: float) -> str:
    """A time as a visitor reads it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def watch(runs: list[Run]) -> list[Figure]:
    """Everything about `runs`; looks again by itself until all have ended. The figures that can be saved."""
    stands = _standings(runs)
    live = not all(stand.ended for stand in stands)  # one that cannot be read is nothing to wait for
    st.fragment(_live, run_every=LOOK_EVERY if live else None)(runs, live)
    return [_figure(stands)] if stands else []


def _standings(runs: list[Run]) -> list[Standing]:
    return [stand for stand in map(standing, runs) if stand is not None]


def _live(runs: list[Run], was_live: bool) -> None:
    stands = _standings(runs)
    if not stands:
        st.error("This run's folder cannot be read.", icon=":material/error:")
        return
    if len(stands) < len(runs):
        st.warning(f"{len(runs) - len(stands)} of these runs cannot be read.", icon=":material/broken_image:")
    told = _labels(stands)
    tasks = {TASK_NAMES[stand.config.task]: stand.config.task for stand in stands}
    if set(tasks.values()) != {st.session_state[key("task")]}:  # the heading above is of what would be started
        st.caption(f"These runs: {plain(', '.join(tasks))}")
    lines = st.container(gap="xxsmall")
    for stand, label, colour in zip(stands, told, _colours(stands), strict=True):
        with lines:
            _standing_line(stand, label, colour, [each.state for each in stands])
    live = not all(stand.ended for stand in stands)
    seeds = [stand.config.seed for stand in stands if stand.epochs]
    if not live and len(seeds) > 1 and len(set(seeds)) == 1:
        st.caption("One seed: a small difference may be chance. Other seeds show how large chance is.")
    with st.container(horizontal=True, vertical_alignment="center"):
        _choose_view(stands[0].config.is_text)
        if sum(not stand.ended for stand in stands) > 1 and guard.permitted():
            st.button("Stop all", icon=":material/stop:", key="stop all", on_click=_stop, args=(runs,))
    left, right = st.columns(2, gap="large")
    figure = _figure(stands)
    with left:
        if any(figure.datasets.values()):
            show_figure(figure)
        else:  # a chart of nothing has axes of nothing
            st.caption(
                f"{plain(figure.heading)}: the first points come with the first steps." if live else "No points."
            )
    if live:
        with right:
            shown = _leading(stands)
            st.caption(f"{ICONS[shown.state]} {plain(told[stands.index(shown)])}")
            show_mistakes(shown)
    else:
        _closely(stands, told, right)
    if was_live != live:
        st.rerun()  # the end shows more, and one that goes on is looked at again and again


def _choose_view(text: bool) -> None:
    measures = [name for name in MEASURES if name != "mcc" or text]
    if st.session_state[key("measure")] not in measures:  # of a link, or of the sentences that were watched before
        st.session_state[key("measure")] = measures[0]
    st.segmented_control(
        "Measure",
        measures,
        format_func=MEASURES.get,
        required=True,
        label_visibility="collapsed",
        wrap=True,
        **bounds(key("measure")),
    )
    st.segmented_control(
        "By",
        list(AXES),
        format_func=lambda axis: f"by {axis}",
        required=True,
        label_visibility="collapsed",
        wrap=True,
        **bounds(key("axis")),
    )


def _labels(stands: list[Standing]) -> list[str]:
    names = {name: pooling.label for name, pooling in POOLINGS.items()}
    return labels([stand.config for stand in stands], names)


def _colours(stands: list[Standing]) -> list[str]:
    return colours([colour_of(stand.config.pooling) for stand in stands])


def _stop(runs: list[Run]) -> None:
    try:
        guard.demand()
    except guard.NotPermittedError as error:
        _refuse(error)
        return
    for run in reversed(runs):  # those that wait first, so that none of them begins
        jobs.stop(run)


def _refuse(error: Exception) -> None:
    st.toast(plain(str(error)), icon=":material/error:", duration="long")


def _leading(stands: list[Standing]) -> Standing:
    """The run that trains now, else the last that has anything to show."""
    running = [stand for stand in stands if stand.state == "running"]
    begun = [stand for stand in stands if stand.epochs]
    return (running or begun or stands[:1])[-1]


def _standing_line(stand: Standing, label: str, colour: str, states: list[str]) -> None:
    # where all are completed there is nothing to press, and a narrow page has the room
    widths = [4, 14] if set(states) == {"completed"} else [4, 13, 1]
    name, middle, button = (*st.columns(widths, vertical_alignment="center"), None)[:3]
    name.html(f'<span style="color:{colour};font-size:1.3em">●</span> <b>{html.escape(label)}</b>')
    if stand.ended:
        middle.markdown(f"{ICONS[stand.state]} {_outcome(stand)}")
    else:
        bar, said = middle.columns([5, 6], vertical_alignment="center")
        bar.progress(stand.done)
        said.markdown(_progress(stand, states))
    if stand.state != "completed" and guard.permitted():
        _press(stand, label, button)


def _press(stand: Standing, label: str, button: DeltaGenerator) -> None:
    """What may be done with a run that is not completed: stop it, go on with it, or start it anew."""
    if not stand.ended:
        button.button(
            "",
            icon=":material/stop:",
            help=f"Stop {plain(label)}",
            key=f"stop {stand.run.name}",
            on_click=_stop,
            args=([stand.run],),
        )
    elif stand.run.weights("checkpoint").is_file():
        button.button(
            "",
            icon=":material/play_arrow:",
            help=f"Go on with {plain(label)} from its last epoch",
            key=f"go on {stand.run.name}",
            on_click=_go_on,
            args=(stand.run,),
        )
    elif button.button(
        "", icon=":material/replay:", help=f"Start {plain(label)} anew", key=f"anew {stand.run.name}"
    ) and _start_anew(stand):
        st.rerun()  # the page has another run to watch


def _go_on(run: Run) -> None:
    try:
        guard.demand()
        jobs.resume(run)
    except ValueError as error:
        _refuse(error)


def _start_anew(stand: Standing) -> bool:
    """The same configuration as a new run, in the old one's place; whether it was taken."""
    keep = bool(stand.run.job.get("keep_weights", True))
    try:
        guard.demand()
        (run,) = jobs.submit([stand.config], visitor=visitor(), keep_weights=keep)
    except (ValueError, OSError) as error:
        _refuse(error)
        return False
    names = st.session_state[key("runs")]
    st.session_state[key("runs")] = [run.name if name == stand.run.name else name for name in names]
    return True


def visitor() -> str:
    """A browser, for the limit of runs a visitor: a school's computers may share one address."""
    known = st.context.cookies.get("_streamlit_xsrf") or st.context.ip_address or "this machine"
    return hashlib.sha256(str(known).encode()).hexdigest()[:16]


def _progress(stand: Standing, states: list[str]) -> str:
    if stand.run.asked_to_stop:
        return "stopping …"
    if stand.state == "queued":
        ahead = jobs.place(stand.run)
        if ahead:
            return f"waits: {ahead} more before it"
        return "next in line …" if "running" in states else "gets ready …"
    if not stand.start:
        return "loads its data and builds its network …"
    epoch = min(stand.last.get("epoch", 0) + 1, stand.config.epochs)
    said = f"epoch {epoch} of {stand.config.epochs}"
    if stand.seconds_left is not None:
        said += f" · about {in_words(stand.seconds_left)} left"
    return said


def _outcome(stand: Standing) -> str:
    told = result(stand)
    said = []
    for split in ("validation", "test"):
        error, mcc = told[f"{split}_error"], told[f"{split}_mcc"]
        if stand.config.is_text and mcc is not None:
            said.append(f"{split} MCC **{mcc:.3f}**")
        elif error is not None:
            said.append(f"{split} error **{error:.1%}**")
    if told["train_seconds"]:
        said.append(f"trained {in_words(told['train_seconds'])}")
    line = " · ".join([stand.state, *said])
    return line + (f"  \n{plain(stand.reason)}" if stand.reason else "")


def _figure(stands: list[Standing]) -> Figure:
    curves = [
        Curve(label, colour, stand.rows)
        for stand, label, colour in zip(stands, _labels(stands), _colours(stands), strict=True)
    ]
    return curves_figure(curves, st.session_state[key("measure")], st.session_state[key("axis")])


def _choose_one(told: list[str], name: str) -> int:
    if max(map(len, told)) > LONG_PILL or sum(map(len, told)) > MOST_PILLS:
        return st.selectbox("Look closely at", range(len(told)), format_func=told.__getitem__, key=name)
    shown = [plain(label) for label in told]
    return st.pills(
        "Look closely at",
        range(len(told)),
        format_func=shown.__getitem__,
        default=0,
        required=True,
        key=name,
        wrap=True,  # in a column they would run out of sight
    )


def _to_full_runs(task: str) -> None:
    """A link to the runs over several seeds, which these now stand among."""
    page = st.Page(_to_full_runs, title="Compare", url_path="compare")  # known by its address, as the frame has it
    st.page_link(
        page,
        label="Compare with full runs over several seeds",
        icon=":material/leaderboard:",
        query_params={"task": task},
    )


def _closely(stands: list[Standing], told: list[str], right: DeltaGenerator) -> None:
    """One ended run: its confusion matrix beside the curves, then its mistakes and everything about it."""
    with right:
        number = 0
        if len(stands) > 1:
            number = _choose_one(told, f"closely {stands[0].run.name} {len(stands)}")
        stand = stands[number or 0]
        pick = show_confusion(stand)
    show_mistakes(stand, pick, wide=True)
    _to_full_runs(stand.config.task)
    with st.expander(f"Settings, footprint, command, download: {plain(told[number or 0])}"):
        show_facts(stand)
