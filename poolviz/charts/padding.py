"""What happens when padding is pooled as if it were words: every operator's vector with the mask and without it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import altair as alt
import torch
import torch.nn.functional as F
from torch import Tensor

from poolviz.charts.figure import Figure
from poolviz.charts.similarity import MIDDLE, operator_colours
from poolviz.charts.tokens import TokenSetting
from poolviz.pooling import POOLINGS


def forgotten(right: Tensor, wrong: Tensor, mask: Tensor, used: Tensor, setting: TokenSetting) -> list[dict[str, Any]]:
    """A row an operator: how far its vector lies from the right one when another mask is used.

    Args:
        right: (T, H) hidden states of an encoder that knew the padding.
        wrong: (T, H) those that are pooled without a mask; `right` itself where only the pooling forgets it.
        mask: (T,) False for padding.
        used: (T,) the mask that the pooling takes; all True where it is forgotten.
        setting: operators; stochastic ones take their expectation.
    """
    rows = _errors(right, wrong[None], mask, used[None], setting)
    return [{name: value for name, value in row.items() if name != "case"} for row in rows]


def by_padding(hidden: Tensor, mask: Tensor, setting: TokenSetting) -> list[dict[str, Any]]:
    """`forgotten` in the pooling alone, for 0, 1, 2, ... padded tokens at the end of hidden (T, H)."""
    count, longest = int(mask.sum()), len(mask)
    lengths = torch.arange(count, longest + 1)
    used = torch.arange(longest) < lengths[:, None]  # what lies beyond a length was never there
    rows = _errors(hidden, hidden.expand(len(lengths), -1, -1), mask, used, setting)
    return [row | {"padding": row.pop("case")} for row in rows]


def _errors(right: Tensor, wrong: Tensor, mask: Tensor, used: Tensor, setting: TokenSetting) -> list[dict[str, Any]]:
    """A row for each operator and each case of wrong (cases, T, H) under its mask used (cases, T)."""
    rows = []
    calm = replace(setting, training=False)
    for name in setting.operators:
        true = calm.pool(right[None], mask[None], name)
        false = calm.pool(wrong, used, name)
        errors = (false - true).norm(dim=-1) / true.norm(dim=-1)
        cosines = F.cosine_similarity(true, false, dim=-1)
        # a vector of zeros, as Zeiler and Fergus' rule may give, has no direction: two of them are the same
        same = (false == true).all(dim=-1)
        errors, cosines = torch.where(same, 0.0, errors.nan_to_num(posinf=1.0)), torch.where(same, 1.0, cosines)
        rows += [
            {"operator": POOLINGS[name].label, "case": case, "error": float(error), "cosine": float(cosine)}
            for case, (error, cosine) in enumerate(zip(errors, cosines, strict=True))
        ]
    return rows


def padding_figures(
    rows: list[dict[str, Any]], curve: list[dict[str, Any]], setting: TokenSetting, added: int, deaf: bool
) -> list[Figure]:
    """The error with `added` padded tokens, and how it grows with padding."""
    knows = "the encoder attends to the padding too" if deaf else "the encoder itself knows the mask"
    most = max(row["padding"] for row in curve)
    return [
        Figure(
            "How wrong each vector is",
            "‖forgotten − right‖ / ‖right‖, and the cosine between the two",
            "Relative error of each operator's vector when the mask is forgotten",
            error_chart,
            (setting.operators,),
            {"errors": rows},
        ),
        Figure(
            "Error by length of the padding",
            f"a line a pooling; {knows}",
            "Relative error of each operator against the number of padded tokens",
            padding_chart,
            (setting.operators, most),
            {"by_padding": curve, "here": [{"padding": added}]},
        ),
    ]


def error_chart(operators: tuple[str, ...]) -> alt.LayerChart:
    """A bar an operator. Data set `errors`."""
    labels = [POOLINGS[name].label for name in operators]
    y = alt.Y("operator:N", sort=labels, title=None, axis=alt.Axis(labelLimit=200, labelOverlap=False))
    base = alt.Chart(alt.NamedData("errors")).encode(y=y)
    x = alt.X("error:Q", title="relative error", axis=alt.Axis(format="~%"), scale=alt.Scale(domainMin=0))
    bars = base.mark_bar().encode(x=x, color=operator_colours(operators, legend=False))
    words = base.transform_calculate(
        words="format(datum.error, '.1%') + ', cos ' + format(datum.cosine, '.3f')"
    ).mark_text(align="left", dx=5, fontSize=13)
    return (bars + words.encode(x="error:Q", text="words:N")).properties(height=36 * len(operators) + 70)


def padding_chart(operators: tuple[str, ...], most: int) -> alt.LayerChart:
    """A line an operator; the chosen number is marked. Data sets `by_padding`, `here`."""
    scale = alt.Scale(domain=[0, most], nice=False)
    x = alt.X("padding:Q", title="padded tokens", axis=alt.Axis(tickMinStep=1), scale=scale)
    y = alt.Y("error:Q", title="relative error", axis=alt.Axis(format="~%"), scale=alt.Scale(domainMin=0))
    here = alt.Chart(alt.NamedData("here")).mark_rule(color=MIDDLE, strokeDash=[4, 4]).encode(x=x)
    lines = alt.Chart(alt.NamedData("by_padding")).mark_line(strokeWidth=2.5)
    colour = operator_colours(operators, legend=False)
    return alt.layer(here, lines.encode(x=x, y=y, color=colour)).properties(height=36 * len(operators) + 70)
