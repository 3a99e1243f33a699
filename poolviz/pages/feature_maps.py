"""The explorer: a feature map, the operators beside one another, one cell followed through all of them."""

from __future__ import annotations

import streamlit as st
import torch
from streamlit.delta_generator import DeltaGenerator
from torch import Tensor

from poolviz.charts.compare import Setting, compare, widest_difference
from poolviz.charts.stage import Stage, payload
from poolviz.lessons.facts import map_facts
from poolviz.pages import link
from poolviz.pages.choose_input import choose_channel, choose_map, choose_picture
from poolviz.pages.choose_pooling import choose_setting, choose_temperature, chosen_setting
from poolviz.pages.components import mount_stage
from poolviz.pages.downloads import download_menu, stage_menu
from poolviz.pages.facts import show_facts
from poolviz.pages.foot import foot
from poolviz.pages.frame import hand_out, tell
from poolviz.pages.handout import HOVER, Handout, component
from poolviz.pages.lenses import STAGE_LENSES
from poolviz.pages.parameters import LENSES, PARAMS, bounds
from poolviz.pages.share import view_link
from poolviz.pages.show import plain

STAGE, FACTS = "stage", "facts"  # keys of fragments
WHOLE = "maps_whole"  # session key: the page's last run came to its end
# what the stage alone depends on, beside the map that it was given
OF_THE_STAGE = {"kernel", "stride", "dilation", "ceil", "countpad", "seed", "temperature", "p", "mix", "palette"}
OWN = {"grid", "upload", "drawing"}  # inputs that the page learns from their widgets while it runs
# Visitors share the cores, and each script run is a new thread whose first parallel operation would start threads
# of its own: with the default, pooling a 56 x 56 map took five times as long on two cores.
torch.set_num_threads(1)


def page() -> None:
    """Draw the page once for the current widgets; the address is read first, the stage writes it."""
    link.restore(PARAMS)
    st.session_state[WHOLE] = False
    top = st.container()
    with st.sidebar:
        st.markdown("### poolviz  \nSee what pooling does.")
        picture, key, input_name = choose_picture()
        feature_map, map_name = choose_map(picture, key)
        channel = choose_channel(feature_map)
        st.divider()
        room = choose_setting(_alone)
        st.divider()
        palettes = ["viridis", "cividis", "grey"]
        st.segmented_control("Colours", palettes, required=True, width="stretch", on_change=_alone, **bounds("palette"))
        foot()
    values = feature_map.values
    title = f"{input_name}, {map_name}"
    if len(feature_map.channels) > 1:
        title += f", channel {channel} ({feature_map.channels[channel]})"
    lesson = st.session_state["frame.lesson"]  # its panel tells the page's figures: beside it nothing runs alone
    (_explore if lesson else _explore_alone)(values, channel, title, room)
    (_facts if lesson else _facts_alone)(values)
    link.tell_notices(top)
    st.session_state[WHOLE] = True


def _alone(*more: str) -> None:
    """Let the stage, and `more`, run without the rest of the page, unless more than the stage's numbers has changed.

    A browser draws anew what has run, which takes most of the time.
    """
    held = st.session_state
    if held["frame.lesson"] or held["input"] in OWN or not held[WHOLE]:
        return
    if link.changed(PARAMS) <= OF_THE_STAGE:
        st.rerun([STAGE, *more])


def _explore(values: Tensor, channel: int, title: str, room: DeltaGenerator) -> None:
    choose_temperature(room)
    setting, palette = chosen_setting(), st.session_state["palette"]
    _stage(values, channel, setting, title, palette)
    link.save(PARAMS, PARAMS)


def _facts(values: Tensor) -> None:
    setting = chosen_setting()
    try:
        grid = setting.grid(values)
    except ValueError:
        return  # the stage says why
    if setting.operators and not _drawing():
        show_facts(grid, setting)


_explore_alone = st.fragment(key=STAGE)(_explore)
_facts_alone = st.fragment(key=FACTS)(_facts)


def _drawing() -> bool:
    return st.session_state["lens"] == "answers" and st.session_state["input"] == "drawing"


def _looked() -> None:
    """The pad moves from the sidebar to its answers and back: the whole page runs."""
    if st.session_state["input"] == "drawing":
        st.rerun()


def _stage(values: Tensor, channel: int, setting: Setting, title: str, palette: str) -> None:
    if not setting.operators:
        st.info("Choose an operator in the sidebar: max, average, stochastic, …", icon=":material/arrow_back:")
        return
    try:
        stage = compare(values[channel], setting, f"{title}\n{setting.describe()}", palette)
    except ValueError as error:
        reason = str(error).removeprefix("pool2d: ").replace("kernel_size", "kernel size")
        st.warning(f"This setting is impossible: {reason}.", icon=":material/block:")
        return
    drawing = _drawing()
    head, menu = st.columns([4, 1], vertical_alignment="center")
    shown = "**Draw a digit** · networks trained with each pooling answer"
    head.markdown(shown if drawing else f"**{plain(title[0].upper() + title[1:])}** · {setting.describe()}")
    lens = st.segmented_control(
        "Look at",
        list(LENSES),
        format_func=LENSES.get,
        required=True,
        label_visibility="collapsed",
        on_change=_looked,
        **bounds("lens"),
    )
    telling = _telling_cell(stage)
    if drawing:  # the pad takes the stage's place: a stroke runs the section alone
        handout = Handout("Draw a digit", shown.replace("**", ""), str(setting.seed), "", list)
        with menu:
            download_menu(None, None, [handout.file()])
        _section(lens, values, channel, setting, telling, handout)
        return
    if lens in STAGE_LENSES:
        stage = STAGE_LENSES[lens](stage, setting)
    below = lens not in STAGE_LENSES and lens != "outputs"
    cell = _mount(stage, telling, compact=below)
    handout = _handout(stage, setting, cell)
    hand_out(handout)
    with menu:
        stage_menu(stage, [handout.file()])
    tell(lambda chosen: map_facts(stage, setting, chosen or cell))
    if below:
        _section(lens, values, channel, setting, cell, handout)


@st.fragment
def _section(
    lens: str,
    values: Tensor,
    channel: int,
    setting: Setting,
    cell: tuple[int, int],
    handout: Handout | None = None,
) -> None:
    from poolviz.pages.sections import SECTIONS

    blocks = SECTIONS[lens](values, channel, setting, cell)
    if handout is not None:  # its menu stands outside of this fragment
        handout.below, handout.link = blocks, view_link(link.address(PARAMS, PARAMS))
    link.save(PARAMS, PARAMS)


def _handout(stage: Stage, setting: Setting, cell: tuple[int, int]) -> Handout:
    """The stage in full as a file, also where the page shows it small."""
    title, _, _ = stage.title.partition("\n")
    return Handout(
        title[0].upper() + title[1:],
        setting.describe(),
        str(setting.seed),
        view_link(link.address(PARAMS, PARAMS)),
        lambda: [HOVER, component("stage", stage.title, payload(stage, cell))],
        setting.operators,
    )


def _mount(stage: Stage, telling: tuple[int, int], compact: bool) -> tuple[int, int]:
    rows, columns = stage.grid.output_size
    wanted = st.session_state["cell"] or telling
    cell = (min(wanted[0], rows - 1), min(wanted[1], columns - 1))
    if cell != wanted:
        link.replace("cell", cell)
    mount_stage(data=payload(stage, cell, compact), key="stage", on_cell_change=_pinned)
    return cell


def _telling_cell(stage: Stage) -> tuple[int, int]:
    """The cell to begin with, until one is chosen: where the first two operators disagree most."""
    alike = len(stage.outputs) > 1 and stage.outputs[0].values.shape == stage.outputs[1].values.shape
    rows, columns = stage.grid.output_size
    return widest_difference(stage, 0, 1) if alike else (rows // 2, columns // 2)


def _pinned() -> None:
    row, column = st.session_state["stage"]["cell"].split(",")
    st.session_state["cell"] = (int(row), int(column))
