"""Sentences as vectors: cosine similarity under each pooling, ranks, and the way of a vector through the layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import altair as alt
import torch
import torch.nn.functional as F
from torch import Tensor

from poolviz.charts.colour import DIVERGING
from poolviz.charts.figure import Figure
from poolviz.charts.tokens import TokenSetting
from poolviz.pooling import POOLINGS

MIDDLE = "#7d8590"  # an ink that both themes can show
# a colour a sentence, each dark enough for a white number
SENTENCES = ["#005F99", "#B34700", "#00735C", "#A0447D", "#7A5200", "#3D5AA8", "#545B66"]
SENTENCES += ["#7F3C8D", "#8C2D3B", "#2E6E2E", "#6F63C5", "#00707A"]


def operator_colours(operators: Sequence[str], legend: bool = True) -> alt.Color:
    """Every operator in its own colour, in every chart."""
    labels = [POOLINGS[name].label for name in operators]
    scale = alt.Scale(domain=labels, range=[POOLINGS[name].colour for name in operators])
    shown = alt.Legend(title=None, orient="top", columns=3, labelLimit=200, symbolStrokeWidth=3) if legend else None
    return alt.Color("operator:N", scale=scale, legend=shown)


def vectors(hidden: Sequence[Tensor], setting: TokenSetting, name: str) -> Tensor:
    """Pool sentences of (T_i, H) each -> (sentences, H or 2H), each as it is pooled alone, draws included."""
    alone = [torch.ones(1, len(each), dtype=torch.bool) for each in hidden]
    return torch.cat([setting.pool(each[None], mask, name) for each, mask in zip(hidden, alone, strict=True)])


def cosines(stacked: Tensor) -> Tensor:
    """(n, d) -> (n, n) cosine similarities."""
    unit = F.normalize(stacked.double(), dim=-1)
    return (unit @ unit.T).clamp(-1, 1)


def ranks(similarity: Tensor, pinned: int) -> Tensor:
    """(n,) rank of each sentence by its similarity to sentence `pinned`, 1 for the nearest; 0 for itself."""
    others = similarity[pinned].clone()
    others[pinned] = torch.inf
    return others.argsort(descending=True, stable=True).argsort()


def pair_figures(hidden: Sequence[Tensor], setting: TokenSetting, pinned: int) -> list[Figure]:
    """Similarity matrices under each operator side by side, and how the neighbours of one sentence change rank."""
    cells, places = [], []
    for name in setting.operators:
        label = POOLINGS[name].label
        similarity = cosines(vectors(hidden, setting, name))
        order = ranks(similarity, pinned)
        for a, row in enumerate(similarity.tolist()):
            cells += [{"operator": label, "a": a + 1, "b": b + 1, "cosine": value} for b, value in enumerate(row)]
        places += [
            {
                "operator": label,
                "sentence": other + 1,
                "rank": int(order[other]),
                "cosine": float(similarity[pinned, other]),
            }
            for other in range(len(hidden))
            if other != pinned
        ]
    count = len(hidden)
    return [
        Figure(
            f"Who is nearest to sentence {pinned + 1}?",
            "rank by cosine similarity under each pooling; a line that crosses another is a changed opinion",
            f"Rank of every other sentence by its similarity to sentence {pinned + 1}, a column a pooling",
            rank_chart,
            (setting.operators, count - 1),
            {"ranks": places},
        ),
        *(
            Figure(
                POOLINGS[name].label,
                "",
                f"Cosine similarity of every pair of sentences under {POOLINGS[name].label}",
                matrix_chart,
                (count,),
                {"cosines": [cell for cell in cells if cell["operator"] == POOLINGS[name].label]},
            )
            for name in setting.operators
        ),
    ]


def matrix_chart(count: int) -> alt.LayerChart:
    """Similarity of `count` sentences, in numbers where they fit. Data set `cosines`."""
    cell = max(34, min(52, 300 // count))
    quiet = {"title": None, "domain": False, "ticks": False, "labelOverlap": False}
    base = alt.Chart(alt.NamedData("cosines")).encode(
        x=alt.X("b:O", axis=alt.Axis(labelAngle=0, **quiet)), y=alt.Y("a:O", axis=alt.Axis(**quiet))
    )
    scale = alt.Scale(domain=[-1, 1], range=list(DIVERGING))
    squares = base.mark_rect().encode(color=alt.Color("cosine:Q", scale=scale, legend=None))
    words = base.mark_text(fontSize=13).encode(
        text=alt.Text("cosine:Q", format=".2f"),
        color=alt.condition("abs(datum.cosine) > 0.6", alt.value("#ffffff"), alt.value("#111111")),
    )
    return (squares + words).properties(width=cell * count, height=cell * count)


def rank_chart(operators: tuple[str, ...], others: int) -> alt.LayerChart:
    """A line a sentence from pooling to pooling. Data set `ranks`."""
    labels = [POOLINGS[name].label for name in operators]
    broken = alt.Axis(
        labelExpr="split(replace(datum.label, '-', '- '), ' ')",  # a word a line: names stand side by side on a phone
        labelAngle=0,
        labelOverlap=False,
        orient="top",
        ticks=False,
    )
    x = alt.X("operator:N", sort=labels, title=None, axis=broken)
    scale = alt.Scale(domain=[0.5, others + 0.5], reverse=True, nice=False)
    y = alt.Y(
        "rank:Q", scale=scale, title="rank", axis=alt.Axis(values=list(range(1, others + 1)), format="d", grid=False)
    )
    base = alt.Chart(alt.NamedData("ranks")).encode(x=x, y=y)
    known = alt.Scale(domain=list(range(1, len(SENTENCES) + 1)), range=SENTENCES)
    colour = alt.Color("sentence:N", scale=known, legend=None)
    lines = base.mark_line(strokeWidth=3, opacity=0.7).encode(color=colour)
    dots = base.mark_point(filled=True, size=520, opacity=1).encode(color=colour)
    numbers = base.mark_text(fontSize=14, fontWeight=600, color="#ffffff").encode(text="sentence:N")
    values = base.mark_text(dy=23, fontSize=13).encode(text=alt.Text("cosine:Q", format=".2f"))
    return alt.layer(lines, dots, numbers, values).properties(height=54 * others + 30)


def changed_ranks(hidden: Sequence[Tensor], setting: TokenSetting) -> dict[int, list[int]]:
    """Pinned sentence -> the others whose rank differs from one pooling to another, where there are any."""
    each = [cosines(vectors(hidden, setting, name)) for name in setting.operators]
    changed = {}
    for pinned in range(len(hidden)):
        places = torch.stack([ranks(similarity, pinned) for similarity in each])
        moved = (places != places[:1]).any(dim=0).nonzero()[:, 0].tolist()
        if moved:
            changed[pinned] = moved
    return changed


def strongest_dimension(hidden: Sequence[Tensor], setting: TokenSetting) -> tuple[int, str, float]:
    """The dimension, and the pooling, with the largest share of a mean vector's squared length; and that share."""
    best = (0, setting.operators[0], 0.0)
    for name in setting.operators:
        squares = vectors(hidden, setting, name).double().square().mean(dim=0)
        share, place = (squares / squares.sum().clamp(min=1e-30)).max(dim=0)
        if float(share) > best[2]:
            best = (int(place) % hidden[0].shape[1], name, float(share))
    return best


def layer_rows(hidden: Tensor, mask: Tensor, setting: TokenSetting) -> list[dict[str, Any]]:
    """Cosine between each layer's pooled vector and the last layer's, hidden (L + 1, T, H)."""
    rows = []
    calm = replace(setting, training=False)
    for name in setting.operators:
        pooled = calm.pool(hidden, mask.expand(len(hidden), -1), name)
        to_last = F.cosine_similarity(pooled, pooled[-1:], dim=-1)
        norms = pooled.norm(dim=-1)
        before = F.cosine_similarity(pooled[1:], pooled[:-1], dim=-1).tolist()
        rows += [
            {
                "operator": POOLINGS[name].label,
                "layer": layer,
                "cosine": float(value),
                "norm": float(norm),
                "step": step,
            }
            for layer, (value, norm, step) in enumerate(zip(to_last, norms, [None, *before], strict=True))
        ]
    return rows


def layer_figures(hidden: Tensor, mask: Tensor, setting: TokenSetting, layer: int) -> list[Figure]:
    """How the pooled vectors turn, and how long they are, from the embeddings to the last layer."""
    rows, marks = layer_rows(hidden, mask, setting), [{"layer": layer}]
    return [
        Figure(
            "How near the vectors are to the last layer's",
            "cosine; layer 0 is the embeddings of word, position and segment; at the end it is 1 by construction",
            "Cosine of each layer's pooled vector to the last layer's, a line an operator",
            layer_chart,
            (setting.operators, "cosine", "cosine to the last layer"),
            {"layers": rows, "here": marks},
        ),
        Figure(
            "How far each layer turns them",
            "cosine to the same vector one layer before: the lower, the more the layer changed",
            "Cosine of each layer's pooled vector to that of the layer before, a line an operator",
            layer_chart,
            (setting.operators, "step", "cosine to the layer before"),
            {"layers": rows, "here": marks},
        ),
        Figure(
            "How long they are",
            "Euclidean length; cosine does not see it, a classifier does",
            "Length of each layer's pooled vector, a line an operator",
            layer_chart,
            (setting.operators, "norm", "‖vector‖"),
            {"layers": rows, "here": marks},
        ),
    ]


def layer_chart(operators: tuple[str, ...], measure: str, title: str) -> alt.LayerChart:
    """A line an operator; the chosen layer is marked. Data sets `layers`, `here`."""
    x = alt.X("layer:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d"))
    scale = alt.Scale(zero=False) if measure == "norm" else alt.Scale(zero=False, domainMax=1)
    y = alt.Y(f"{measure}:Q", title=title, scale=scale)
    here = alt.Chart(alt.NamedData("here")).mark_rule(color=MIDDLE, strokeDash=[4, 4]).encode(x="layer:Q")
    lines = alt.Chart(alt.NamedData("layers")).mark_line(strokeWidth=2.5, point={"filled": True, "size": 60})
    return alt.layer(here, lines.encode(x=x, y=y, color=operator_colours(operators))).properties(height=360)
