"""The pairs lens: which sentences are near to one another, and under which pooling that changes."""

from __future__ import annotations

import streamlit as st
import torch

from poolviz.inputs.encoder import Encoder
from poolviz.pages import link
from poolviz.pages.choose_sentences import encode
from poolviz.pages.parameters import bounds
from poolviz.pages.sentence_parameters import key
from poolviz.pages.show import plain, show_figure
from poolviz.pages.token_board import Files, Subject, board_stage, figure_files, stage_files
from poolviz.pooling import POOLINGS


def pairs_lens(subject: Subject) -> Files:
    """Similarity of sentences under each pooling."""
    from poolviz.charts.similarity import changed_ranks, pair_figures, strongest_dimension

    texts, labels, setting = subject.texts, subject.labels, subject.setting
    if len(texts) < 2:
        st.info("Pairs need two sentences or more: choose another example, or write them in the sidebar, one a line.")
        return stage_files(board_stage(subject, subject.encoded.pieces, subject.hidden, subject.encoded.mask, "index"))
    link.follow(key("pinned"), labels)
    hidden = [encode(subject.encoder, text).hidden[subject.layer] for text in texts]
    dimension, loud, share = strongest_dimension(hidden, setting)
    left, right = st.columns([2, 3], gap="large")
    with left:
        pinned = int(
            st.selectbox(
                "Compare everything with", range(len(texts)), format_func=labels.__getitem__, **bounds(key("pinned"))
            )
        )
        st.markdown("  \n".join(plain(_short(label)) for label in labels))
        without = st.toggle(f"Leave out dimension {dimension}, the strongest", **bounds(key("without")))
        st.caption(
            f"Compare ranks, not levels: under {POOLINGS[loud].label} dimension {dimension} alone makes {share:.0%} of "
            f"the squared length. {_trained(subject.encoder)}"
        )
    if without:
        hidden = [torch.cat([each[:, :dimension], each[:, dimension + 1 :]], dim=1) for each in hidden]
    figures = pair_figures(hidden, setting, pinned)
    with right:
        show_figure(figures[0])
        st.markdown(_who_changed(changed_ranks(hidden, setting), pinned))
    st.markdown("**Cosine similarity of every pair**  \none matrix a pooling; dark brown is 1, white 0, purple below")
    with st.container(horizontal=True, gap="medium"):
        for figure in figures[1:]:
            with st.container(width="content"):
                show_figure(figure, width="content")
    listed = "\n".join(_short(label) for label in labels)
    caption = f"{subject.encoder.name}, layer {subject.layer}, {setting.describe()}".rstrip(", ")
    caption += f", without dimension {dimension}" if without else ""
    return figure_files(figures, f"{caption}\n{listed}", [f"{caption}\n{listed}", *figures])


def _trained(encoder: Encoder) -> str:
    if not encoder.trained_with:
        return ""
    return f"This encoder was trained with {encoder.trained_with} pooling; what others make of it was never asked for."


def _who_changed(changed: dict[int, list[int]], pinned: int) -> str:
    """Which sentences the poolings rank differently, or where to look for some."""
    if pinned in changed:
        moved = changed[pinned]
        listed = ", ".join(str(number + 1) for number in moved)
        return f"The poolings disagree on the rank of {'sentences' if len(moved) > 1 else 'sentence'} **{listed}**."
    if not changed:
        return "The poolings agree on every rank, whichever sentence is compared."
    listed = ", ".join(str(number + 1) for number in changed)
    return (
        f"The poolings agree on all ranks here. They disagree when everything is compared with sentence **{listed}**."
    )


def _short(text: str, most: int = 120) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
