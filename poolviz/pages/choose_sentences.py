"""Sidebar of the sentence page: which sentences, which encoder and layer, which operators."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import streamlit as st

from poolviz.charts.tokens import TokenSetting
from poolviz.inputs import grammar, sentences
from poolviz.inputs.encoder import Encoded, Encoder, load_encoder
from poolviz.inputs.encoder_files import ENCODER
from poolviz.inputs.picture import InputError
from poolviz.pages import guard, link
from poolviz.pages.parameters import TEMPERATURES, bounds
from poolviz.pages.sentence_parameters import COLA_SENTENCES, MOST_OPERATORS, OPERATORS, SOURCES, key
from poolviz.pages.show import plain
from poolviz.pooling import POOLINGS

# One download at a time. What hangs on a dead network holds up those alone who ask for the same: the default encoder
# waits for nobody, and an answer of the Hub, a refusal too, holds for a minute.
FETCHING_MODEL, FETCHING_COLA = threading.Lock(), threading.Lock()
ASKED = "encoders_asked"  # session key: names that somebody typed here, or confirmed
SHOWN_AT_ONCE = 4  # sentences of CoLA, pairs of the grammar
FIRST_TEXT = "The bank of the river was steep.\nThe bank raised its rates.\nThe shore was steep."


class NotAskedError(ValueError):
    """An encoder that a link names and nobody here has asked for: following a link downloads nothing."""


@st.cache_resource(show_spinner="Loading the encoder …")
def _default_encoder() -> Encoder:
    return load_encoder(ENCODER)


@st.cache_resource(max_entries=2, show_spinner="Asking the Hugging Face Hub …")
def _hub_encoder(name: str) -> Encoder:
    guard.demand()  # what is here already is for everybody, also for who may not fetch
    if name not in st.session_state.get(ASKED, ()):
        raise NotAskedError(name)
    with FETCHING_MODEL:
        return load_encoder(name)


@st.cache_data(ttl=60, max_entries=256, show_spinner=False)
def _refusal(name: str) -> str:
    """Why there is no such encoder, in a sentence; empty where there is one."""
    try:
        _hub_encoder(name)
    except InputError as error:
        return str(error)
    return ""


@st.cache_data(max_entries=1024, max_size="64MB", show_spinner=False)
def _encoded(name: str, text: str, pad_to: int, masked: bool, _encoder: Encoder) -> Encoded:
    return _encoder.encode(text, pad_to, masked)


def encode(encoder: Encoder, text: str, pad_to: int = 0, masked: bool = True) -> Encoded:
    """A sentence after the encoder; worked out once for all visitors."""
    return _encoded(encoder.name, text, pad_to, masked, encoder)


Chosen = tuple[list[str], list[str]]  # sentences, and a judgement before each: "✓ ", "* " (not acceptable) or ""


def choose_sentences() -> Chosen:
    """Widgets for the sentences; what is unusable is told, and the sentences before it stay."""
    source = st.selectbox("Sentences", list(SOURCES), format_func=SOURCES.get, **bounds(key("source")))
    pickers = {"example": _example, "own": _own, "pairs": _pairs, "cola": _cola}
    previous = st.session_state.get("sentences_shown")
    try:
        chosen = pickers[source]()
    except InputError as error:
        st.error(plain(str(error)), icon=":material/error:")
        chosen = previous or _plain(next(iter(sentences.EXAMPLES.values())))
        st.caption("The sentences before stay on the page." if previous else "Shown until then: an example.")
    st.session_state["sentences_shown"] = chosen
    return chosen


def _plain(texts: Iterable[str]) -> Chosen:
    texts = list(texts)
    return texts, [""] * len(texts)


def _example() -> Chosen:
    name = st.selectbox(
        "Which", list(sentences.EXAMPLES), format_func=sentences.EXAMPLE_LABELS.get, **bounds(key("example"))
    )
    return _plain(sentences.EXAMPLES[name])


def _own() -> Chosen:
    if st.session_state[key("text")] is None:
        st.session_state[key("text")] = FIRST_TEXT
    text = st.text_area(
        "One sentence a line",
        height=170,
        help=f"Up to {sentences.MOST_SENTENCES} sentences. They stay on this server. Ctrl + Enter applies them.",
        **bounds(key("text")),
    )
    if len(text) > link.LONGEST_KEPT:
        st.caption("This text is too long for the address: a copied link will not hold it.")
    chosen, notices = sentences.read_lines(text)
    for notice in notices:
        st.warning(plain(notice), icon=":material/content_cut:")
    return _plain(chosen)


def _pairs() -> Chosen:
    phenomenon = st.selectbox(
        "Phenomenon", list(grammar.PHENOMENA), format_func=grammar.PHENOMENA.get, **bounds(key("phenomenon"))
    )
    st.button("Other pairs", on_click=_next_pairs, icon=":material/casino:", width="stretch", key="other_pairs")
    pairs = grammar.minimal_pairs(phenomenon, 3, int(st.session_state[key("pairs")]))
    st.caption("✓ acceptable, * not")
    texts = [sentence for pair in pairs for sentence in (pair.acceptable, pair.unacceptable)]
    return texts, ["✓ ", "* "] * len(pairs)


def _next_pairs() -> None:
    st.session_state[key("pairs")] = (int(st.session_state[key("pairs")]) + 1) % 1_000_000


def _cola() -> Chosen:
    try:
        known = sentences.cola("dev") + sentences.cola("train")
    except InputError:
        label = "Download it"
        if guard.gate(label, "download") and st.button(label, icon=":material/download:"):
            with st.spinner("Downloading …"), FETCHING_COLA:
                sentences.download_cola()
            st.rerun()
        raise
    last = max(0, min(len(known), COLA_SENTENCES) - SHOWN_AT_ONCE)
    link.clamp(key("cola"), last)
    first = int(st.number_input("Number of the first", 0, last, **bounds(key("cola"))))
    shown = known[first : first + SHOWN_AT_ONCE]
    st.caption(f"{SHOWN_AT_ONCE} sentences from there, judged by linguists: ✓ acceptable, * not.")
    return [each.text for each in shown], ["✓ " if each.acceptable else "* " for each in shown]


def choose_encoder() -> Encoder | None:
    """Widgets for the encoder; one that cannot be had is told, and the default stays; None without it."""
    wanted = (st.session_state[key("encoder")] or "").strip() or ENCODER
    with st.popover(plain(wanted), icon=":material/psychology:", width="stretch", key="encoder_popover"):
        st.caption(f"{ENCODER} comes with poolviz. With a network, any text encoder of the Hugging Face Hub does too.")
        typed = st.text_input(
            "Name on the Hub", placeholder=ENCODER, max_chars=120, on_change=_ask, **bounds(key("encoder"))
        )
    name = (typed or "").strip() or ENCODER
    if name != ENCODER:
        try:
            refused = _refusal(name)
            if not refused:
                return _hub_encoder(name)
        except guard.NotPermittedError:
            guard.gate("Ask the Hub", "encoder")
        except NotAskedError:
            about = "A link names this encoder. It is not loaded here: up to 2 GB are downloaded."
            st.button("Ask the Hub", icon=":material/download:", help=about, width="stretch", on_click=_ask)
        else:
            st.error(plain(refused), icon=":material/cloud_off:")
        st.caption(f"Still used: {ENCODER}.")
    try:
        return _default_encoder()
    except InputError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return None


def _ask() -> None:
    name = (st.session_state[key("encoder")] or "").strip()
    st.session_state[ASKED] = {*st.session_state.get(ASKED, ()), name}


def choose_layer(encoder: Encoder) -> int:
    """Slider from the embeddings, 0, to the last layer."""
    last, chosen = encoder.layers, key("layer")
    if st.session_state[chosen] is not None:
        link.clamp(chosen, last)
    # None is the last layer, of whichever encoder
    st.session_state["layer_slider"] = last if st.session_state[chosen] is None else st.session_state[chosen]
    words = "0: word, position and segment alone; every layer lets the tokens listen to one another once more."
    return int(st.slider("Layer", 0, last, help=words, key="layer_slider", on_change=_layer_moved, args=(last,)))


def _layer_moved(last: int) -> None:
    layer = int(st.session_state["layer_slider"])
    st.session_state[key("layer")] = None if layer == last else layer


def choose_reading() -> TokenSetting:
    """Widgets for everything that a `TokenSetting` holds."""
    names = st.multiselect(
        "Poolings, side by side",
        OPERATORS,
        format_func=lambda name: POOLINGS[name].label,
        max_selections=MOST_OPERATORS,
        placeholder="Choose at least one",
        **bounds(key("operators")),
    )
    training = False
    if any(POOLINGS[name].stochastic for name in names):
        words = {"test": "Test", "train": "Training"}
        mode = st.segmented_control(
            "Stochastic poolings behave as in",
            list(words),
            format_func=words.get,
            required=True,
            width="stretch",
            help="Training draws one token a dimension at random; test takes the expectation, the weighted sum.",
            **bounds(key("mode")),
        )
        training = mode == "train"
    if training:
        left, right = st.columns([2, 3], vertical_alignment="bottom")
        right.button("Draw again", on_click=draw_again, icon=":material/casino:", width="stretch", key="sentence_again")
        left.number_input("Seed", 0, 999_999, step=1, **bounds(key("seed")))
    if any("temperature" in POOLINGS[name].uses for name in names):
        temperature_slider()
    return TokenSetting(
        tuple(names), training, int(st.session_state[key("seed")]), float(st.session_state[key("temperature")])
    )


def draw_again() -> None:
    """The next seed, so that each draw can be had again."""
    st.session_state[key("seed")] = (int(st.session_state[key("seed")]) + 1) % 1_000_000


def temperature_slider() -> float:
    """Stops from max-like to average-like."""
    return st.select_slider(
        "Temperature (one token → all alike)",
        TEMPERATURES,
        format_func=lambda value: f"{value:g}",
        **bounds(key("temperature")),
    )
