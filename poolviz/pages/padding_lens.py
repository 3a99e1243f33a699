"""The padding lens: the commonest bug, shown. Padding is pooled as if it were words, and no error is raised."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st
import torch

from poolviz.pages import link
from poolviz.pages.choose_sentences import encode
from poolviz.pages.handout import HOVER
from poolviz.pages.parameters import bounds
from poolviz.pages.sentence_parameters import MOST_PADDING, key
from poolviz.pages.show import show_figure
from poolviz.pages.token_board import Files, Subject, board_stage, figure_files, mount_board, stage_files


def padding_lens(subject: Subject) -> Files:
    """The commonest bug: padding pooled as if it were words."""
    from poolviz.charts.padding import by_padding, forgotten, padding_figures

    count = len(subject.encoded.pieces)
    most = min(MOST_PADDING, subject.encoder.limit - count)
    if most < 1:
        st.info("This sentence fills the encoder; there is no room for padding. Choose a shorter one.")
        return stage_files(board_stage(subject, subject.encoded.pieces, subject.hidden, subject.encoded.mask, "index"))
    added, forget, deaf = _padding_controls(most)
    padded = encode(subject.encoder, subject.texts[subject.which], count + added)
    right = padded.hidden[subject.layer]
    wrong = right
    if deaf:
        wrong = encode(subject.encoder, subject.texts[subject.which], count + added, masked=False).hidden[subject.layer]
    mask = torch.ones_like(padded.mask) if forget else padded.mask
    stage = board_stage(subject, padded.pieces, wrong, mask, "winner")
    if not forget:
        st.success(
            "With the mask every vector is right, however much padding there is.", icon=":material/check_circle:"
        )
        board = mount_board(stage, height=300)
        return stage_files(replace(stage, title=f"{stage.title}, {added} padded tokens, masked"), board)
    subject = subject.calm
    rows = forgotten(right, wrong, padded.mask, mask, subject.setting)
    if deaf:
        curve = _deaf_curve(subject, count, most)
    else:
        longest = encode(subject.encoder, subject.texts[subject.which], count + most)
        curve = by_padding(longest.hidden[subject.layer], longest.mask, subject.setting)
    figures = padding_figures(rows, curve, subject.setting, added, deaf)
    for column, figure in zip(st.columns(2, gap="medium"), figures, strict=True):
        with column:
            show_figure(figure)
    board = mount_board(stage, height=300)
    forgot = "in the pooling and in the encoder" if deaf else "in the pooling"
    said = f"{added} padded tokens, the mask forgotten {forgot}"
    return figure_files(figures, f"{subject.title}, {said}", [said.capitalize(), *figures, HOVER, board])


def padding_errors(subject: Subject) -> dict[str, dict[str, float]]:
    """By pooling: how far the vector lies from the right one with the padding that is chosen, the mask forgotten."""
    from poolviz.charts.padding import forgotten

    count = len(subject.encoded.pieces)
    added = min(st.session_state[key("padding")], subject.encoder.limit - count)
    text, layer = subject.texts[subject.which], subject.layer
    right = encode(subject.encoder, text, count + added)
    heard = encode(subject.encoder, text, count + added, masked=False) if st.session_state[key("deaf")] else right
    used = torch.ones_like(right.mask)
    rows = forgotten(right.hidden[layer], heard.hidden[layer], right.mask, used, subject.calm.setting)
    return dict(zip(subject.setting.operators, rows, strict=True))


def _deaf_curve(subject: Subject, count: int, most: int) -> list[dict]:
    """The error where the encoder does not know the padding either: it has to run once for each number."""
    from poolviz.charts.padding import forgotten

    text, rows = subject.texts[subject.which], []
    for added in sorted({number for number in (0, 1, 2, 4, 8, 16, 32, most) if number <= most}):
        right = encode(subject.encoder, text, count + added)
        wrong = encode(subject.encoder, text, count + added, masked=False).hidden[subject.layer]
        used = torch.ones_like(right.mask)
        found = forgotten(right.hidden[subject.layer], wrong, right.mask, used, subject.setting)
        rows += [{**row, "padding": added} for row in found]
    return rows


def _padding_controls(most: int) -> tuple[int, bool, bool]:
    st.caption(
        "Sentences of one batch are padded to one length. The attention mask says which tokens are padding; a pooling "
        "that forgets it counts them as words, and raises no error."
    )
    link.clamp(key("padding"), most)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        added = int(st.slider("Padded tokens", 0, most, width=300, **bounds(key("padding")))) if most > 1 else 1
        forget = st.toggle("Forget the mask in the pooling", **bounds(key("forget")))
        deaf = st.toggle(
            "… and in the encoder",
            help="Then every token listens to the padding too, and even CLS changes.",
            disabled=not forget,
            **bounds(key("deaf")),
        )
    return added, forget, deaf and forget
