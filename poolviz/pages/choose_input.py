"""Sidebar: which picture, which feature map of it, which channel."""

from __future__ import annotations

import threading
from collections.abc import Callable

import streamlit as st

from poolviz.inputs import features, images, models
from poolviz.inputs.features import FeatureMap
from poolviz.inputs.images import InputError, Picture
from poolviz.pages import guard, link
from poolviz.pages.components import mount_pad
from poolviz.pages.parameters import INPUTS, MAPS, SIZES, bounds
from poolviz.pages.show import plain
from poolviz.pooling import POOLINGS
from poolviz.runs import networks, store
from poolviz.runs.results import SHIPPED, origin
from poolviz.runs.store import Run

MAP_NAMES = {"image": "the image itself", "edges": "edge filters", "gabor": "Gabor filters"}
# One at a time: thirty large uploads decoded at once would fill the memory, thirty downloads the line. Two locks,
# because a download that hangs on a dead network must not hold up anybody's upload.
DECODING, DOWNLOADING = threading.Lock(), threading.Lock()
FIRST_GRID = [[1, 3, 0, 2], [0, 9, 1, 4], [5, 2, 6, 0], [1, 0, 3, 8]]


@st.cache_data(max_entries=256, max_size="64MB", show_spinner=False)
def _sample(maker: str, *arguments: object) -> Picture:
    """Pictures that are the same for every visitor."""
    return getattr(images, maker)(*arguments)


@st.cache_data(max_entries=64, max_size="64MB", show_spinner=False)
def _decoded(file_id: str, size: int, _data: bytes, _name: str) -> Picture | str:
    """The picture, or the sentence that says why there is none: neither is worked out twice."""
    with DECODING:
        try:
            return images.upload(_data, _name, size)
        except InputError as error:
            return str(error)


@st.cache_data(max_entries=256, max_size="64MB", show_spinner="Computing the feature map …")
def _map(kind: str, relu: bool, model: str, layer: str, _picture: Picture, picture_key: tuple) -> FeatureMap:
    if kind == "network":
        return models.model_map(_picture, model, layer)
    if kind == "image":
        return features.image_map(_picture)
    return (features.edge_map if kind == "edges" else features.gabor_map)(_picture, relu)


def choose_picture() -> tuple[Picture, tuple, str]:
    """Widgets for the picture; returns it with a hashable key and its name. Bad input keeps the previous picture."""
    kind = st.selectbox("Input", list(INPUTS), format_func=INPUTS.get, **bounds("input"))
    pickers: dict[str, Callable[[], tuple[Picture, tuple, str]]] = {
        "digit": _digit,
        "mnist": lambda: _idx_picture("mnist", "MNIST digit"),
        "fashion": lambda: _idx_picture("fashion-mnist", "Fashion-MNIST article"),
        "photo": _photo,
        "grid": _grid,
        "upload": _upload,
        "drawing": _drawing,
    }
    previous = st.session_state.get("picture")
    try:
        chosen = pickers[kind]()
    except InputError as error:
        st.error(plain(str(error)), icon=":material/error:")
        chosen = previous or (images.digit(3), ("digit", 3), "handwritten digit")
        st.caption(f"Still showing: {plain(chosen[2])}.")
    st.session_state["picture"] = chosen
    if len(chosen[0].pixels) == 3:
        st.image(chosen[0].pixels.permute(1, 2, 0).numpy(), width=112, caption="original", alt=chosen[2])
    if chosen[0].note:
        st.caption(plain(chosen[0].note))
    return chosen


def _digit() -> tuple[Picture, tuple, str]:
    index = _index(images.DIGIT_COUNT)
    label = images.digit_label(index)
    return _sample("digit", index), ("digit", index), f"handwritten digit {label} (no. {index})"


def _idx_picture(dataset: str, name: str) -> tuple[Picture, tuple, str]:
    label = "Download it"
    missing = images.mnist_root(dataset) is None
    if missing and guard.gate(label, "download") and st.button(label, icon=":material/download:"):
        with st.spinner("Downloading …"), DOWNLOADING:
            images.mnist(0, dataset, download=True)
    index = _index(10_000)
    picture = _sample("mnist", index, dataset)
    return picture, (dataset, index), f"{name} {images.mnist_label(index, dataset)} (test no. {index})"


def _index(count: int) -> int:
    link.clamp("index", count - 1)
    return int(st.number_input("Which one", 0, count - 1, step=1, **bounds("index")))


def _photo() -> tuple[Picture, tuple, str]:
    name = st.selectbox("Photograph", images.PHOTOGRAPHS, format_func=str.capitalize, **bounds("photo"))
    size = _size()
    return _sample("photograph", name, size), ("photo", name, size), f"photograph “{name}”, {size} × {size}"


def _size() -> int:
    label = "Longer side, in cells"
    return int(st.select_slider(label, SIZES, format_func=lambda value: f"{value:g}", **bounds("size")))


def _grid() -> tuple[Picture, tuple, str]:
    import pandas as pd

    rows = st.session_state["grid"] or FIRST_GRID
    st.session_state.setdefault("grid_side", len(rows))
    help_side = "New cells hold 0."
    editor = st.container()  # above its size, on which the editor's floating tools would lie
    side = int(st.number_input("Rows and columns", 4, 12, step=1, help=help_side, **bounds("grid_side")))
    if side != len(rows):
        known = {(r, c): cell for r, row in enumerate(rows) for c, cell in enumerate(row)}
        rows = st.session_state["grid"] = [[known.get((r, c), 0) for c in range(side)] for r in range(side)]
    key = f"editor{side}"
    # The editor keeps its edits by itself while it is on the page: it gets new rows only when it appears.
    if key not in st.session_state:
        st.session_state["grid_shown"] = [[repr(float(cell)).removesuffix(".0") for cell in row] for row in rows]
    columns = [str(number) for number in range(len(rows[0]))]
    table = pd.DataFrame(st.session_state["grid_shown"], columns=columns)
    config = {name: st.column_config.TextColumn(name, width=34) for name in columns}
    edited = editor.data_editor(table, column_config=config, hide_index=True, num_rows="fixed", key=key)
    entered = edited.astype(object).where(edited.notna(), None).to_numpy().tolist()  # pandas' nan is a blank cell
    picture = images.grid(entered)
    text = images.grid_to_text(entered)
    st.session_state["grid"] = images.grid_from_text(text)
    return picture, ("grid", text), f"number grid, {side} × {len(columns)}"


def _upload() -> tuple[Picture, tuple, str]:
    stored = st.file_uploader("Picture file", help="PNG, JPEG, WebP, BMP, GIF or TIFF; it stays on this server.")
    size = _size()
    if stored is None:
        st.caption("Until a picture is here, the previous input stays. A link cannot carry an upload.")
        kept = st.session_state.get("picture")
        return kept or (_sample("digit", 3), ("digit", 3), "handwritten digit")
    picture = _decoded(stored.file_id, size, stored.getvalue(), stored.name)
    if isinstance(picture, str):
        raise InputError(picture)
    return picture, ("upload", stored.file_id, size), f"upload {stored.name[:40]}"


def _drawing() -> tuple[Picture, tuple, str]:
    shown = st.session_state["drawing"] or bytes(784)
    if st.session_state["lens"] != "answers":  # which has the pad itself, larger, beside its answers
        st.caption("Draw with the mouse, a pen or a finger.")
        shown = drawing_pad("Draw")
    return images.drawing(shown), ("drawing", shown), "a drawing, 28 × 28"


def drawing_pad(hint: str) -> bytes:
    """The pad and what is drawn on it: 28 x 28 levels 0..255; `hint` is read on an empty pad.

    Raises InputError for levels that are no drawing.
    """
    shown = st.session_state["drawing"] or bytes(784)
    result = mount_pad(data={"levels": list(shown), "hint": hint}, key="pad", on_levels_change=lambda: None)
    if result.levels is not None:
        images.drawing(result.levels)  # refuses what is no drawing, before it is kept
        # as the link carries it, so that whoever opens the link sees the same numbers
        shown = images.drawing_from_text(images.drawing_to_text(bytes(result.levels)))
        st.session_state["drawing"] = shown if any(shown) else None
    return shown


def choose_map(picture: Picture, key: tuple) -> tuple[FeatureMap, str]:
    """Widgets for the feature map and what it is called; a network that is missing keeps the image itself."""
    kind = st.selectbox("Feature map", list(MAPS), format_func=MAPS.get, **bounds("map"))
    if kind == "trained":
        return _trained_map(picture, key)
    relu, model, layer = True, "", ""
    if kind in ("edges", "gabor"):
        relu = st.toggle("ReLU (keep what is above 0)", **bounds("relu"))
    try:
        if kind == "network":
            model, layer = _network()
            kind = kind if model else "image"
        name = f"{model}, {layer}" if model else MAP_NAMES[kind] + ("" if relu else ", signed")
        return _map(kind, relu, model, layer, picture, key), name
    except InputError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return _map("image", True, "", "", picture, key), MAP_NAMES["image"]


def _trained_map(picture: Picture, key: tuple) -> tuple[FeatureMap, str]:
    """A layer of a CNN that a run has trained; the image itself where none is here or the picture is too small."""
    known = {run.name: run for run in trained_networks()}
    if not known:
        st.info("No trained CNN is here; the image itself is shown. The page Train keeps weights where it is asked to.")
        return _map("image", True, "", "", picture, key), MAP_NAMES["image"]
    if st.session_state["trained"] not in known:
        link.replace("trained", next(iter(known)))
    name = st.selectbox(
        "Trained with", list(known), format_func=lambda each: network_name(known[each]), **bounds("trained")
    )
    stage = st.selectbox("Layer", list(networks.LAYERS), format_func=networks.LAYERS.get, **bounds("conv"))
    try:
        made = known[name].weights("best").stat().st_mtime_ns
        told = f"{network_name(known[name])}, {networks.LAYERS[stage].lower()}"
        return _trained(name, made, stage, picture, key), told
    except (InputError, ValueError, OSError) as error:
        st.error(plain(str(error)), icon=":material/error:")
        return _map("image", True, "", "", picture, key), MAP_NAMES["image"]


def trained_networks() -> list[Run]:
    """Those that are at hand: shipped ones first, by task, their poolings in the order of the registry."""
    order = list(POOLINGS)

    def place(run: Run) -> tuple[bool, str, int]:
        known = run.config.pooling in order
        return origin(run) != SHIPPED, run.config.task, order.index(run.config.pooling) if known else len(order)

    return sorted(networks.at_hand(), key=place)


def network_name(run: Run) -> str:
    """What a trained network is, in a few words."""
    pooling = POOLINGS[run.config.pooling].label if run.config.pooling in POOLINGS else run.config.pooling
    return f"{pooling}, {run.config.task}, seed {run.config.seed}"


@st.cache_data(max_entries=256, max_size="64MB", show_spinner=False)
def _trained(name: str, made_ns: int, stage: str, _picture: Picture, picture_key: tuple) -> FeatureMap:
    run = store.find(name)
    if run is None:
        raise InputError(f"The run {name} is not here (any more).")
    plane = features.luminance(_picture)
    low, high = float(plane.min()), float(plane.max())
    values = networks.layer_map(run, (plane - low) / ((high - low) or 1.0), stage)  # what it was trained on is 0..1
    return FeatureMap(values, tuple(f"channel {number}" for number in range(len(values))))


def _network() -> tuple[str, str]:
    known = models.MODELS
    here = models.weights_at_hand()
    if st.session_state["model"] not in known:
        st.session_state["model"] = here[0] if here else known[0]
    model = st.selectbox(
        "Network",
        known,
        format_func=lambda name: name if name in here else f"{name} (not downloaded)",
        **bounds("model"),
    )
    if model not in here:
        st.info("The weights of this network are not on this machine; the image itself is shown.")
        label = "Download the weights"
        if guard.gate(label, "weights") and st.button(label, icon=":material/download:"):
            with st.spinner("Downloading …"), DOWNLOADING:
                models.download(model)
            st.rerun()
        return "", ""
    names = models.layers(model)
    if st.session_state["layer"] not in names:
        link.replace("layer", names[min(2, len(names) - 1)])
    return model, st.selectbox("Layer", names, **bounds("layer"))


def choose_channel(feature_map: FeatureMap) -> int:
    """Widget for the channel; a number beyond the map falls back to its last."""
    count = len(feature_map.channels)
    labels = [f"{number}: {name}" for number, name in enumerate(feature_map.channels)]
    link.follow("channel", labels)
    if count == 1:
        return 0
    return st.selectbox(f"Channel (of {count})", range(count), format_func=labels.__getitem__, **bounds("channel"))
