"""The lens "Networks": what trained networks take a picture, or what is being drawn, for.

While a visitor draws, the pad takes the stage's place: the end of a stroke then runs this fragment alone.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from torch import Tensor

from poolviz.charts.answers import Answer, answers_payload
from poolviz.charts.colour import PALETTES
from poolviz.charts.compare import Setting
from poolviz.charts.handout import Block, Pictures
from poolviz.charts.handout import Picture as HandedOut
from poolviz.charts.pictures import Tile, picture_url
from poolviz.inputs import features, images
from poolviz.inputs.images import InputError, Picture
from poolviz.pages import link
from poolviz.pages.choose_input import drawing_pad, trained_networks
from poolviz.pages.components import mount_answers
from poolviz.pages.handout import component
from poolviz.pages.parameters import bounds
from poolviz.pages.show import plain
from poolviz.pages.train_parameters import TASK_NAMES
from poolviz.pooling import POOLINGS
from poolviz.runs import networks, store
from poolviz.runs.store import Run
from poolviz.runs.summary import labels
from poolviz.training.config import CLASSES, RunConfig

MOST_NETWORKS = 16  # asked at once
DRAWN = 200  # pixels of the drawing in a handout
OWN_TASK = {"mnist": "mnist", "digit": "digits", "fashion-mnist": "fashion-mnist"}  # whose pictures an input gives
WHITE = {"digits": 16.0, "mnist": 1.0, "fashion-mnist": 1.0}  # the greatest level of a data set's own pictures
NAMES = {name: pooling.label for name, pooling in POOLINGS.items()} | {"none": "No pooling"}  # "None says 3" misleads
Network = tuple[str, Run, RunConfig]  # its name among those that are asked


def answers_section(values: Tensor, channel: int, setting: Setting, cell: tuple[int, int]) -> list[Block]:
    """Every network of one task reads the picture, or what is drawn here and now. What a handout shows of it."""
    if st.session_state["input"] == "drawing":
        return _drawing_section()
    if asked := _choose_networks():
        if st.button("Draw a digit", on_click=_begin_to_draw, icon=":material/draw:"):
            st.rerun()  # the input is chosen outside of this fragment
        picture, key, _ = st.session_state["picture"]
        return _answers(asked, picture, native=OWN_TASK.get(key[0]) == asked[0][2].task)
    return []


def _drawing_section() -> list[Block]:
    answers: list[Block] = []
    with st.container(horizontal=True, gap="medium"):
        with st.container(width="content"):
            levels = _draw()
            asked = _choose_networks()
        with st.container(width="stretch"):
            if any(levels):
                answers = _answers(asked, images.drawing(levels), native=False)
            elif asked:
                _wait_for_a_stroke(asked)
    return [_as_drawn(levels), *answers] if any(levels) else ["Nothing is drawn yet."]


def _as_drawn(levels: bytes) -> Pictures:
    plane = images.drawing(levels).pixels[0]
    ramp = PALETTES[st.session_state["palette"]]
    return Pictures([HandedOut("as it was drawn", picture_url(Tile("", "", plane, (0.0, 1.0), ramp), DRAWN))])


def _begin_to_draw() -> None:
    st.session_state["input"] = "drawing"


def _draw() -> bytes:
    try:
        return drawing_pad("Draw a digit")
    except InputError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return b""


def _choose_networks() -> list[Network]:
    """Those of one task, which is asked for where there are several; MNIST's where they are here. Says if none is."""
    known = _at_hand(store.runs_folder())
    tasks = [task for task in OWN_TASK.values() if any(config.task == task for _, config in known)]
    if not tasks:
        st.info("No trained network is here. The page Train keeps the weights of a run where it is asked to.")
        return []
    if st.session_state["networks"] not in tasks:
        link.replace("networks", tasks[0])
    if len(tasks) > 1:
        st.segmented_control("Networks of", tasks, format_func=TASK_NAMES.get, required=True, **bounds("networks"))
    chosen = [pair for pair in known if pair[1].task == st.session_state["networks"]][:MOST_NETWORKS]
    names = labels([config for _, config in chosen], NAMES)
    return [(name, run, config) for name, (run, config) in zip(names, chosen, strict=True)]


@st.cache_resource(ttl=10, max_entries=4, show_spinner=False)
def _at_hand(folder: Path) -> list[tuple[Run, RunConfig]]:
    """Looked for every ten seconds at most: reading all the runs' folders takes as long as asking the networks."""
    return [(run, run.config) for run in trained_networks()]


def _wait_for_a_stroke(asked: list[Network]) -> None:
    """Say what to do, and load the networks meanwhile: the first stroke is answered as fast as the others."""
    st.info("Draw a digit from 0 to 9: each network answers when you lift the pen.", icon=":material/draw:")
    for _, run, _ in asked:
        try:
            networks.load(run)
        except ValueError:  # told with the first answer
            continue


def _answers(asked: list[Network], picture: Picture, native: bool) -> list[Block]:
    """The networks' answers; a `native` picture is one of their own data set and is taken as it is."""
    task = asked[0][2].task
    plane = features.luminance(picture)
    low, high = (0.0, WHITE[task]) if native else (float(plane.min()), float(plane.max()))
    image = (plane - low) / ((high - low) or 1.0)
    try:
        image = image if native else networks.as_digit(image, networks.IMAGE_SIDES.get(task, 28))
    except ValueError as error:  # no ink
        st.info(plain(str(error)))
        return []
    answers, faults = [], []
    for name, run, config in asked:
        try:
            answers.append(Answer(name, config.pooling, *networks.read(run, image)))
        except ValueError as error:  # damaged weights, or none any more
            faults.append(str(error))
    for fault in faults:
        st.info(plain(fault))
    if not answers:
        return []
    data = answers_payload(answers, CLASSES[task], st.session_state["palette"])
    mount_answers(data=data, key="answers")
    cut = "" if native else "The picture is cut to its ink, scaled and centred as the networks' own pictures are. "
    note = (
        f"{cut}Maps: the channels with the greatest mean before the network's last pooling, the same channels after "
        "it, on one colour scale a network. Stochastic poolings take their expectation, as at test time."
    )
    st.caption(note)
    return [component("answers", data["verdict"], data), note]
