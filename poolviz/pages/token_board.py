"""What the sentence page looks at, and the token board that shows it; how each is saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st
from torch import Tensor

from poolviz.charts import tokens
from poolviz.charts.figure import Figure
from poolviz.charts.handout import Block, Component
from poolviz.charts.tokens import TokenSetting, TokenStage
from poolviz.inputs.encoder import Encoded, Encoder, Piece
from poolviz.pages import link
from poolviz.pages.components import mount_tokens
from poolviz.pages.handout import HOVER, component
from poolviz.pages.sentence_parameters import key

# picture of a kind, numbers as CSV, blocks of a handout
Files = tuple[Callable[[str], bytes], Callable[[], bytes], Callable[[], Sequence[Block]]]


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


def board_stage(subject: Subject, pieces: tuple[Piece, ...], hidden: Tensor, mask: Tensor, how: str) -> TokenStage:
    """Tokens (T, H) with what the subject's poolings read from them under `mask`, dimensions ordered by `how`."""
    order = tokens.dimension_order(hidden, mask, how)
    return TokenStage(subject.title, pieces, hidden, mask, tokens.read(hidden, mask, subject.setting), order)


def mount_board(stage: TokenStage, height: int) -> Component:
    """Show the board at the kept place, or where it is telling; its rows take `height` pixels. For a handout."""
    kept = st.session_state[key("place")]
    place = kept or tokens.telling_place(stage)
    bounded = (min(place[0], len(stage.pieces) - 1), min(place[1], stage.hidden.shape[1] - 1))
    if kept and bounded != kept:
        link.replace(key("place"), bounded)
    data = tokens.token_payload(stage, bounded, height)
    mount_tokens(data=data, key="tokens", on_place_change=_kept)
    return board_block(stage, data)


def board_block(stage: TokenStage, data: dict[str, Any] | None = None) -> Component:
    """The board of a handout, with what the page shows or where it is telling."""
    return component("tokens", stage.title, data or tokens.token_payload(stage, tokens.telling_place(stage)))


def _kept() -> None:
    token, dimension = st.session_state["tokens"]["place"].split(",")
    st.session_state[key("place")] = (int(token), int(dimension))


def stage_files(stage: TokenStage, board: Component | None = None) -> Files:
    """The board as a picture, its numbers, and itself: as the page mounts it, where it does."""

    def picture(kind: str) -> bytes:
        from poolviz.charts.pictures import render
        from poolviz.charts.token_picture import token_chart

        return render(token_chart(stage), kind)

    return picture, lambda: tokens.numbers_csv(stage).encode(), lambda: [HOVER, board or board_block(stage)]


def figure_files(figures: Sequence[Figure], title: str, blocks: Sequence[Block] | None = None) -> Files:
    """Charts as one picture under a caption, their numbers, and `blocks` for a handout, usually the charts."""
    from poolviz.charts import figure

    return (
        lambda kind: figure.picture(figures, title, kind),
        lambda: figure.numbers(figures, title).encode(),
        lambda: figures if blocks is None else blocks,
    )
