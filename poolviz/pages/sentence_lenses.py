"""The lenses of the sentence page: each shows its view of a sentence and returns how to save it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import streamlit as st
import torch
from torch import Tensor

from poolviz.charts import tokens
from poolviz.charts.tokens import ORDERS, TokenSetting, TokenStage
from poolviz.inputs.encoder import Encoded, Encoder, Piece
from poolviz.pages import link
from poolviz.pages.choose_sentences import draw_again, encode, temperature_slider
from poolviz.pages.components import mount_speech, mount_tokens
from poolviz.pages.parameters import bounds
from poolviz.pages.sentence_parameters import DRAW_COUNTS, MOST_PADDING, STOCHASTIC, key
from poolviz.pages.show import plain, show_figure
from poolviz.pooling import POOLINGS

Files = tuple[Callable[[str], bytes], Callable[[], bytes]]  # picture of a kind, numbers as CSV


@dataclass(frozen=True)
class Subject:
    """What the page looks at."""

    texts: list[str]
    labels: list[str]  # how a list names them: number, judgement, text
    which: int
    encoder: Encoder
    encoded: Encoded
    layer: int
    setting: TokenSetting

    @property
    def hidden(self) -> Tensor:
        """(T, H) at the chosen layer."""
        return self.encoded.hidden[self.layer]

    @property
    def calm(self) -> Subject:
        """The same with expectations in the place of draws."""
        return replace(self, setting=replace(self.setting, training=False))

    @property
    def title(self) -> str:
        """Caption of downloads."""
        return f"{self.encoded.text}\n{self.encoder.name}, layer {self.layer}, {self.setting.describe()}".rstrip(", ")


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
    stage = _stage(subject, subject.encoded.pieces, subject.hidden, subject.encoded.mask, how)
    _mount(stage, height=400)
    st.caption(
        "Orange is above 0, purple below; the winning token has the largest number, so dark purple never wins. "
        "Point at a cell to follow its token and its dimension; a click keeps it, arrow keys move it. Right: the "
        f"dimension in numbers, and what each token weighs in it, a full bar being 1. {_outlier(stage)}"
    )
    return _stage_files(stage)


def _stage(subject: Subject, pieces: tuple[Piece, ...], hidden: Tensor, mask: Tensor, how: str) -> TokenStage:
    order = tokens.dimension_order(hidden, mask, how)
    return TokenStage(subject.title, pieces, hidden, mask, tokens.read(hidden, mask, subject.setting), order)


def _outlier(stage: TokenStage) -> str:
    """What the colours cannot show."""
    token, dimension = divmod(int(stage.hidden.abs().argmax()), stage.hidden.shape[1])
    value, end = float(stage.hidden[token, dimension]), stage.value_range[1]
    if abs(value) < 1.5 * end:
        return ""
    name = plain(stage.pieces[token].text or stage.pieces[token].piece)
    return f"Colours end at ±{end:.2g}; the largest number is {value:.3g}, of {name} in dimension {dimension}."


def _mount(stage: TokenStage, height: int) -> None:
    kept = st.session_state[key("place")]
    place = kept or tokens.telling_place(stage)
    bounded = (min(place[0], len(stage.pieces) - 1), min(place[1], stage.hidden.shape[1] - 1))
    if kept and bounded != kept:
        link.replace(key("place"), bounded)
    mount_tokens(data=tokens.token_payload(stage, bounded, height), key="tokens", on_place_change=_kept)


def _kept() -> None:
    token, dimension = st.session_state["tokens"]["place"].split(",")
    st.session_state[key("place")] = (int(token), int(dimension))


def _stage_files(stage: TokenStage) -> Files:
    def picture(kind: str) -> bytes:
        from poolviz.charts.pictures import render
        from poolviz.charts.token_picture import token_chart

        return render(token_chart(stage), kind)

    return picture, lambda: tokens.numbers_csv(stage).encode()


def _figure_files(figures: list, title: str) -> Files:
    from poolviz.charts import figure

    return lambda kind: figure.picture(figures, title, kind), lambda: figure.numbers(figures, title).encode()


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
    mount_speech(data=tokens.speech_payload(subject.encoded.pieces, readings, measure), key="speech")
    return _figure_files([speech_figure(subject.encoded.pieces, readings)], subject.title)


def pieces_lens(subject: Subject) -> Files:
    """What the tokenizer made of the sentence."""
    from poolviz.charts.speech import piece_rows, pieces_figure

    for sentence in _explain(subject):
        st.markdown(sentence)
    rows = piece_rows(subject.encoded.pieces)
    st.dataframe(rows, hide_index=True, width="stretch", height=min(38 + 35 * len(rows), 560))
    return _figure_files([pieces_figure(subject.encoded.pieces)], subject.title)


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
    return _figure_files(figures, subject.title)


def padding_lens(subject: Subject) -> Files:
    """The commonest bug: padding pooled as if it were words."""
    from poolviz.charts.padding import by_padding, forgotten, padding_figures

    count = len(subject.encoded.pieces)
    most = min(MOST_PADDING, subject.encoder.limit - count)
    if most < 1:
        st.info("This sentence fills the encoder; there is no room for padding. Choose a shorter one.")
        return _stage_files(_stage(subject, subject.encoded.pieces, subject.hidden, subject.encoded.mask, "index"))
    added, forget, deaf = _padding_controls(most)
    padded = encode(subject.encoder, subject.texts[subject.which], count + added)
    right = padded.hidden[subject.layer]
    wrong = right
    if deaf:
        wrong = encode(subject.encoder, subject.texts[subject.which], count + added, masked=False).hidden[subject.layer]
    mask = torch.ones_like(padded.mask) if forget else padded.mask
    stage = _stage(subject, padded.pieces, wrong, mask, "winner")
    if not forget:
        st.success(
            "With the mask every vector is right, however much padding there is.", icon=":material/check_circle:"
        )
        _mount(stage, height=300)
        return _stage_files(replace(stage, title=f"{stage.title}, {added} padded tokens, masked"))
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
    _mount(stage, height=300)
    forgot = "in the pooling and in the encoder" if deaf else "in the pooling"
    return _figure_files(figures, f"{subject.title}, {added} padded tokens, the mask forgotten {forgot}")


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
    return _figure_files(figures, f"{caption}, {POOLINGS[name].label}")


def pairs_lens(subject: Subject) -> Files:
    """Similarity of sentences under each pooling."""
    from poolviz.charts.similarity import changed_ranks, pair_figures, strongest_dimension

    texts, labels, setting = subject.texts, subject.labels, subject.setting
    if len(texts) < 2:
        st.info("Pairs need two sentences or more: choose another example, or write them in the sidebar, one a line.")
        return _stage_files(_stage(subject, subject.encoded.pieces, subject.hidden, subject.encoded.mask, "index"))
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
    return _figure_files(figures, f"{caption}\n{listed}")


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


SENTENCE_LENSES: dict[str, Callable[[Subject], Files]] = {
    "tokens": tokens_lens,
    "speech": speech_lens,
    "pieces": pieces_lens,
    "layers": layers_lens,
    "padding": padding_lens,
    "draws": draws_lens,
    "pairs": pairs_lens,
}
