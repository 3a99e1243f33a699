"""Sentences: word pieces through a pretrained encoder, and what each pooling of them takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st
import torch

from poolviz.charts import tokens
from poolviz.charts.handout import Block
from poolviz.lessons.lesson import Facts
from poolviz.pages import link
from poolviz.pages.choose_sentences import choose_encoder, choose_layer, choose_reading, choose_sentences, encode
from poolviz.pages.downloads import download_menu
from poolviz.pages.foot import foot
from poolviz.pages.frame import hand_out, tell
from poolviz.pages.handout import Handout
from poolviz.pages.parameters import bounds
from poolviz.pages.sentence_lenses import SENTENCE_LENSES
from poolviz.pages.sentence_parameters import LENSES, PARAMS, key
from poolviz.pages.share import view_link
from poolviz.pages.show import plain
from poolviz.pages.token_board import Subject
from poolviz.pooling import POOLINGS

# Visitors share the cores, as on the feature-map page: one thread a script run.
torch.set_num_threads(1)

SYMBOLS = (
    "h is a token's embedding and n the number of tokens; H is the number of dimensions and T the temperature. "
    "Where a and R stand, every dimension is pooled by itself: R are its values a in all tokens; l is the "
    "token that is drawn, with probability p."
)
LONGEST_HEAD = 80  # characters of a lone sentence in the page's head


def page() -> None:
    """Draw the page once for the current widgets; the address is read first and written last."""
    link.restore(PARAMS)
    top = st.container()
    with st.sidebar:
        st.markdown("### poolviz  \nA sentence is cut into tokens, each becomes a list of numbers, pooling leaves one.")
        texts, judgements = choose_sentences()
        encoder = choose_encoder()
        if encoder is not None:
            layer = choose_layer(encoder)
            st.divider()
            setting = choose_reading()
        st.divider()
        foot()
    if encoder is None:
        st.info("Without an encoder there is nothing to show here; the message in the sidebar says how to get one.")
    elif not setting.operators:
        st.info("Choose a pooling in the sidebar: CLS, mean, max, …", icon=":material/arrow_back:")
    else:
        head, menu = st.columns([4, 1], vertical_alignment="center")
        with head:
            labels = [
                f"{number + 1}: {mark}{text}" for number, (mark, text) in enumerate(zip(judgements, texts, strict=True))
            ]
            which = _choose_sentence(texts, labels)
        encoded = encode(encoder, texts[which])
        subject = Subject(texts, labels, which, encoder, encoded, layer, setting)
        st.markdown(_facts(subject))
        lens = st.segmented_control(
            "Look at",
            list(LENSES),
            format_func=LENSES.get,
            required=True,
            label_visibility="collapsed",
            **bounds(key("lens")),
        )
        tell(lambda _: _told(subject))
        picture, numbers, view = SENTENCE_LENSES[lens](subject)
        handout = _handout(subject, lens, view)
        hand_out(handout)
        with menu:
            download_menu(picture, numbers, [handout.file()])
        _show_formulas(subject)
    link.tell_notices(top)
    link.save(PARAMS, PARAMS)


def _handout(subject: Subject, lens: str, view: Callable[[], Sequence[Block]]) -> Handout:
    """The lens as a file."""
    setting = subject.setting
    return Handout(
        f"{LENSES[lens]} of “{subject.texts[subject.which][:LONGEST_HEAD]}”",
        subject.title,
        str(setting.seed),
        view_link(link.address(PARAMS, PARAMS)),
        view,
        setting.operators,
        SYMBOLS,
    )


def _told(subject: Subject) -> Facts:
    """What a lesson may ask about this sentence."""
    from poolviz.lessons.facts import sentence_facts
    from poolviz.pages.padding_lens import padding_errors

    words = [piece.text or piece.piece for piece in subject.encoded.pieces]
    readings = tokens.read(subject.hidden, subject.encoded.mask, subject.setting)
    return sentence_facts(readings, words, padding_errors(subject))


def _choose_sentence(texts: list[str], labels: list[str]) -> int:
    link.follow(key("which"), labels)
    if len(texts) == 1:
        st.markdown(f"**{plain(texts[0][:LONGEST_HEAD])}**" + (" …" if len(texts[0]) > LONGEST_HEAD else ""))
        return 0
    return st.selectbox(
        "Sentence",
        range(len(texts)),
        format_func=labels.__getitem__,
        label_visibility="collapsed",
        **bounds(key("which")),
    )


def _facts(subject: Subject) -> str:
    encoded, encoder = subject.encoded, subject.encoder
    count = len(encoded.pieces)
    trained = f" (trained with {encoder.trained_with} pooling)" if encoder.trained_with else ""
    said = f"{count} tokens × {encoded.hidden.shape[-1]} dimensions · {plain(encoder.name)}{trained}"
    said += f" · layer {subject.layer} of {encoder.layers}"
    if encoded.left_out:
        said += (
            f"  \n:material/content_cut: **Cut:** this encoder reads {encoder.limit} tokens; the last "
            f"{encoded.left_out:,} were left out, and no pooling can hear them."
        )
    return said


def _show_formulas(subject: Subject) -> None:
    with st.expander("The poolings: formula and source"):
        for name in subject.setting.operators:
            pooling = POOLINGS[name]
            st.markdown(f"**{pooling.label}** · {pooling.paper}")
            st.latex(pooling.formula)
        st.caption(SYMBOLS)
