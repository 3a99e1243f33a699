"""The lenses of the sentence page: each shows its view of a sentence and returns how to save it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from poolviz.charts import tokens
from poolviz.charts.handout import Table
from poolviz.charts.tokens import ORDERS, TokenStage
from poolviz.inputs.encoder import Piece
from poolviz.pages.choose_sentences import draw_again, temperature_slider
from poolviz.pages.components import mount_speech
from poolviz.pages.handout import component
from poolviz.pages.padding_lens import padding_lens
from poolviz.pages.pairs_lens import pairs_lens
from poolviz.pages.parameters import bounds
from poolviz.pages.sentence_parameters import DRAW_COUNTS, STOCHASTIC, key
from poolviz.pages.show import plain, show_figure
from poolviz.pages.token_board import Files, Subject, board_stage, figure_files, mount_board, stage_files
from poolviz.pooling import POOLINGS


def tokens_lens(subject: Subject) -> Files:
    """Tokens by dimensions."""
    how = st.segmented_control(
        "Order of dimensions",
        list(ORDERS),
        format_func=ORDERS.get,
        required=True,
        label_visibility="collapsed",
        **bounds(key("order")),
    )
    stage = board_stage(subject, subject.encoded.pieces, subject.hidden, subject.encoded.mask, how)
    board = mount_board(stage, height=400)
    st.caption(
        "Orange is above 0, purple below; the winning token has the largest number, so dark purple never wins. "
        "Point at a cell to follow its token and its dimension; a click keeps it, arrow keys move it. Right: the "
        f"dimension in numbers, and what each token weighs in it, a full bar being 1. {_outlier(stage)}"
    )
    return stage_files(stage, board)


def _outlier(stage: TokenStage) -> str:
    """What the colours cannot show."""
    token, dimension = divmod(int(stage.hidden.abs().argmax()), stage.hidden.shape[1])
    value, end = float(stage.hidden[token, dimension]), stage.value_range[1]
    if abs(value) < 1.5 * end:
        return ""
    name = plain(stage.pieces[token].text or stage.pieces[token].piece)
    return f"Colours end at ±{end:.2g}; the largest number is {value:.3g}, of {name} in dimension {dimension}."


SPEECH = {"weight": "Share of the weight", "vector": "Share of the vector"}
SPEECH_NOTES = {
    "weight": "Who gets how much weight, in per cent. Under max that is the share of dimensions in which a token is "
    "the largest; under mean all are alike, whatever they say; softmax chooses more sharply at a lower temperature.",
    "vector": "What each token really brings, in per cent: its weighted part along the pooled vector. A token with "
    "large numbers brings more than its weight, and one that points away takes something from it (below 0).",
}


def speech_lens(subject: Subject) -> Files:
    """Who speaks: highlighted words."""
    from poolviz.charts.speech import speech_figure

    measure = st.segmented_control(
        "Measure",
        list(SPEECH),
        format_func=SPEECH.get,
        required=True,
        label_visibility="collapsed",
        **bounds(key("measure")),
    )
    st.caption(SPEECH_NOTES[measure])
    readings = tokens.read(subject.hidden, subject.encoded.mask, subject.setting)
    data = tokens.speech_payload(subject.encoded.pieces, readings, measure)
    mount_speech(data=data, key="speech")
    figures = [speech_figure(subject.encoded.pieces, readings)]
    return figure_files(figures, subject.title, [SPEECH_NOTES[measure], component("speech", subject.title, data)])


def pieces_lens(subject: Subject) -> Files:
    """What the tokenizer made of the sentence."""
    from poolviz.charts.speech import piece_rows, pieces_figure

    for sentence in _explain(subject):
        st.markdown(sentence)
    rows = piece_rows(subject.encoded.pieces)
    st.dataframe(rows, hide_index=True, width="stretch", height=min(38 + 35 * len(rows), 560))
    return figure_files([pieces_figure(subject.encoded.pieces)], subject.title, [Table("Pieces", rows)])


def _explain(subject: Subject) -> list[str]:
    encoded, encoder = subject.encoded, subject.encoder
    special = [piece.piece for piece in encoded.pieces if piece.kind == "special"]
    words = sum(piece.kind == "word" for piece in encoded.pieces)
    inside = sum(piece.kind == "inside" for piece in encoded.pieces)
    counted = [f"{words} word{'s' if words != 1 else ''} and marks"] + (
        [f"{inside} further piece{'s' if inside > 1 else ''} of words"] if inside else []
    )
    if special:
        several = "s" if len(special) > 1 else ""
        counted.append(f"{len(special)} special token{several} ({', '.join(plain(each) for each in special)})")
    said = [f"**{len(encoded.pieces)} tokens**: {', '.join(counted)}. All are pooled, the special ones too."]
    if special:
        said[0] += " Special tokens mark where a text begins and ends; the encoder was trained with them."
    lowered = next((p for p in encoded.pieces if p.piece != p.text and p.piece == p.text.lower()), None)
    if lowered:
        said.append(f"It reads no capitals: “{plain(lowered.text)}” becomes “{plain(lowered.piece)}”.")
    groups: list[list[Piece]] = []
    for piece in encoded.pieces:
        if piece.kind == "word":
            groups.append([piece])
        elif piece.kind == "inside":
            groups[-1].append(piece)
    split = [group for group in groups if len(group) > 1]
    if split:
        longest = max(split, key=len)
        whole = plain("".join(piece.text for piece in longest))
        parts = " + ".join(plain(piece.piece) for piece in longest)
        said.append(
            f"“{whole}” is not among the {len(encoder.tokenizer):,} pieces that this encoder knows, so it is spelt "
            f"{parts}: {len(longest)} tokens, and under mean {len(longest)} votes."
        )
    if encoded.unknown:
        shown = ", ".join(plain(each) for each in dict.fromkeys(encoded.unknown))
        said.append(f"It has no piece at all for {shown}: they become one and the same unknown token.")
    if encoded.left_out:
        said.append(
            f"It reads {encoder.limit} tokens at most. The last **{encoded.left_out:,}** of this text were left out."
        )
    return said


def layers_lens(subject: Subject) -> Files:
    """The pooled vectors through the layers."""
    from poolviz.charts.similarity import layer_figures

    subject = subject.calm
    figures = layer_figures(subject.encoded.hidden, subject.encoded.mask, subject.setting, subject.layer)
    said = "Stochastic poolings are shown by their expectation."
    if subject.encoded.pieces[0].kind == "special":
        first = plain(subject.encoded.pieces[0].piece)
        said += f" At layer 0 {first} has not listened to any word yet: it is the same for every sentence."
    st.caption(said)
    columns = st.columns(2, gap="medium")
    for number, figure in enumerate(figures):
        with columns[number % 2]:
            show_figure(figure)
    return figure_files(figures, subject.title)


def draws_lens(subject: Subject) -> Files:
    """Sampled vectors around their expectation."""
    from poolviz.charts.cloud import cloud_figures, distances, draw_cloud

    setting = subject.setting
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.selectbox(
            "Draw with", STOCHASTIC, format_func=lambda n: POOLINGS[n].label, width=230, **bounds(key("with"))
        )
        count = st.select_slider(
            "Number of draws", DRAW_COUNTS, format_func=lambda n: f"{n:,.0f}", width=260, **bounds(key("draws"))
        )
        shown = any("temperature" in POOLINGS[other].uses for other in setting.operators)
        if "temperature" in POOLINGS[name].uses and not shown:
            temperature_slider()
        if not setting.training:
            st.button("Draw again", on_click=draw_again, icon=":material/casino:", key="cloud_again")
    # the slider above may be this lens' own
    setting = replace(setting, training=True, temperature=float(st.session_state[key("temperature")]))
    cloud = draw_cloud(subject.hidden, subject.encoded.mask, setting, name, int(count))
    figures = cloud_figures(cloud)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        show_figure(figures[0])
        far = ", ".join(f"{label} {value:.3g}" for label, value in distances(cloud).items())
        said = "Every dimension draws a token of its own, so a draw is no token's vector but a mosaic of all. "
        if "temperature" in POOLINGS[name].uses:
            said += "Cold draws gather at max, hot ones around the mean. "
        st.caption(f"{said}In all dimensions a draw is this far away on average: {far}.")
    with right:
        for figure in figures[1:]:
            show_figure(figure)
    words = replace(setting, operators=(name,)).describe()
    caption = f"{subject.encoded.text}\n{subject.encoder.name}, layer {subject.layer}, {count:,.0f} draws, {words}"
    return figure_files(figures, f"{caption}, {POOLINGS[name].label}")


SENTENCE_LENSES: dict[str, Callable[[Subject], Files]] = {
    "tokens": tokens_lens,
    "speech": speech_lens,
    "pieces": pieces_lens,
    "layers": layers_lens,
    "padding": padding_lens,
    "draws": draws_lens,
    "pairs": pairs_lens,
}
