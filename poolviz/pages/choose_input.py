"""Sidebar: which picture, which feature map of it, which channel."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from poolviz.inputs import features, images, models
from poolviz.inputs.features import FeatureMap
from poolviz.inputs.images import InputError, Picture
from poolviz.pages.components import mount_pad
from poolviz.pages.parameters import INPUTS, MAPS, SIZES, bounds

FIRST_GRID = [[1, 3, 0, 2], [0, 9, 1, 4], [5, 2, 6, 0], [1, 0, 3, 8]]


@st.cache_resource(max_entries=128, show_spinner=False)
def _make(maker: str, *arguments: object) -> Picture:
    """Pictures are the same for every visitor; nobody writes into one."""
    return getattr(images, maker)(*arguments)


@st.cache_resource(max_entries=64, show_spinner="Computing the feature map …")
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
        "mnist": _mnist,
        "photo": _photo,
        "grid": _grid,
        "upload": _upload,
        "drawing": _drawing,
    }
    previous = st.session_state.get("picture")
    try:
        chosen = pickers[kind]()
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        chosen = previous or (images.digit(3), ("digit", 3), "handwritten digit")
        st.caption(f"Still showing: {chosen[2]}.")
    st.session_state["picture"] = chosen
    if chosen[0].note:
        st.caption(chosen[0].note)
    return chosen


def _digit() -> tuple[Picture, tuple, str]:
    index = _index(images.DIGIT_COUNT)
    label = images.digit_label(index)
    return _make("digit", index), ("digit", index), f"handwritten digit {label} (no. {index})"


def _mnist() -> tuple[Picture, tuple, str]:
    index = _index(10_000)
    picture = _make("mnist", index)
    return picture, ("mnist", index), f"MNIST digit {images.mnist_label(index)} (test no. {index})"


def _index(count: int) -> int:
    if st.session_state["index"] >= count:
        st.session_state["index"] = count - 1
    return int(st.number_input("Which one", 0, count - 1, step=1, **bounds("index")))


def _photo() -> tuple[Picture, tuple, str]:
    name = st.selectbox("Photograph", images.PHOTOGRAPHS, format_func=str.capitalize, **bounds("photo"))
    size = _size()
    return _make("photograph", name, size), ("photo", name, size), f"photograph of a {name}, {size} × {size}"


def _size() -> int:
    label = "Longer side, in cells"
    return int(st.select_slider(label, SIZES, format_func=lambda value: f"{value:g}", **bounds("size")))


def _grid() -> tuple[Picture, tuple, str]:
    rows = st.session_state["grid"] or FIRST_GRID
    side = st.number_input("Rows and columns", 4, 12, len(rows), step=1, help="New cells hold 0.")
    if side != len(rows):
        rows = [[rows[r][c] if r < len(rows) and c < len(rows[r]) else 0 for c in range(side)] for r in range(side)]
        st.session_state["grid"] = rows
    # The editor keeps the edits by itself; it starts anew only when its size changes.
    if st.session_state.get("grid_base_side") != side:
        st.session_state["grid_base"] = [[f"{cell:g}" for cell in row] for row in rows]
        st.session_state["grid_base_side"] = side
    columns = [str(number) for number in range(side)]
    import pandas as pd

    table = pd.DataFrame(st.session_state["grid_base"], columns=columns)
    config = {name: st.column_config.TextColumn(name, width=34) for name in columns}
    edited = st.data_editor(table, column_config=config, hide_index=True, num_rows="fixed", key=f"editor{side}")
    entered = edited.to_numpy(dtype=object).tolist()
    picture = images.grid(entered)
    st.session_state["grid"] = picture.pixels[0].double().tolist()
    return picture, ("grid", images.grid_to_text(entered)), f"number grid, {side} × {side}"


def _upload() -> tuple[Picture, tuple, str]:
    stored = st.file_uploader("Picture file", help="PNG, JPEG, WebP, BMP, GIF or TIFF; it stays on this server.")
    size = _size()
    if stored is None:
        st.caption("Until a picture is here, the previous input stays. A link cannot carry an upload.")
        kept = st.session_state.get("picture")
        return kept or (_make("digit", 3), ("digit", 3), "handwritten digit")
    data = stored.getvalue()
    return _make("upload", data, stored.name, size), ("upload", hash(data), size), f"upload {stored.name[:40]}"


def _drawing() -> tuple[Picture, tuple, str]:
    st.caption("Draw with the mouse, a pen or a finger.")
    kept = st.session_state["drawing"] or bytes(784)
    result = mount_pad(data={"levels": list(kept)}, key="pad", on_levels_change=lambda: None)
    if result.levels is not None:
        kept = bytes(result.levels)
        st.session_state["drawing"] = kept if any(kept) else None
    return images.drawing(kept), ("drawing", kept), "a drawing, 28 × 28"


def choose_map(picture: Picture, key: tuple) -> tuple[FeatureMap, str]:
    """Widgets for the feature map and what it is called; a network that is missing keeps the image itself."""
    kind = st.selectbox("Feature map", list(MAPS), format_func=MAPS.get, **bounds("map"))
    relu, model, layer = True, "", ""
    if kind in ("edges", "gabor"):
        relu = st.toggle("ReLU (keep what is above 0)", **bounds("relu"))
    if kind == "network":
        model, layer = _network()
        if not model:
            kind = "image"
    name = f"{model}, {layer}" if model else MAPS[kind].lower() + ("" if relu else ", signed")
    try:
        return _map(kind, relu, model, layer, picture, key), name
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        return _map("image", True, "", "", picture, key), MAPS["image"].lower()


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
        if st.button("Download the weights", icon=":material/download:"):
            with st.spinner("Downloading …"):
                models.download(model)
            st.rerun()
        return "", ""
    names = models.layers(model)
    if st.session_state["layer"] not in names:
        st.session_state["layer"] = names[min(2, len(names) - 1)]
    return model, st.selectbox("Layer", names, **bounds("layer"))


def choose_channel(feature_map: FeatureMap) -> int:
    """Widget for the channel; a number beyond the map falls back to its last."""
    count = len(feature_map.channels)
    if count == 1:
        return 0
    if st.session_state["channel"] >= count:
        st.session_state["channel"] = count - 1

    def label(number: int) -> str:
        return f"{number}: {feature_map.channels[number]}"

    return st.selectbox(f"Channel (of {count})", range(count), format_func=label, **bounds("channel"))
