"""Confusion matrix: which class is taken for which. What is right is calm, what is wrong leads the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from poolviz.charts.figure import Figure

RIGHT, WRONG = "#0072B2", "#D55E00"
PICK = "pick"  # the selection's name: fields truth and said, class numbers
CELL = {10: 27, 2: 94}  # pixels a class, by their number: with its names it fits into half a tablet


def confusion_rows(truth: Sequence[int], said: Sequence[int], classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row a pair of classes: numbers, names, count, and its share of the true class (or 0)."""
    counts = [[0] * len(classes) for _ in classes]
    for label, prediction in zip(truth, said, strict=True):
        counts[label][prediction] += 1
    return [
        {
            "truth": i,
            "said": j,
            "class": classes[i],
            "prediction": classes[j],
            "count": count,
            "share": count / max(1, sum(row)),
            "right": i == j,
        }
        for i, row in enumerate(counts)
        for j, count in enumerate(row)
    ]


def confusion_figure(rows: list[dict[str, Any]], classes: Sequence[str]) -> Figure:
    """The matrix; a click on a cell picks it."""
    wrong = sum(row["count"] for row in rows if not row["right"])
    total = sum(row["count"] for row in rows)
    return Figure(
        "What is taken for what",
        "a row a true class, a column what the network said; click a cell to see its examples",
        f"Confusion matrix of {total} examples, {wrong} of them wrong",
        confusion_chart,
        (tuple(classes),),
        {"confusion": rows},
    )


def confusion_chart(classes: tuple[str, ...]) -> alt.LayerChart:
    """Counts in cells. Data set `confusion`."""
    side = CELL.get(len(classes), 40) * len(classes)
    long = max(map(len, classes)) * len(classes) * 8 > side  # names that would run into one another
    names = list(classes)
    # Streamlit's theme sets labels beside their band's middle
    turned = {"labelAngle": -90, "labelAlign": "right"} if long else {"labelAngle": 0, "labelAlign": "center"}
    under = alt.Axis(labelLimit=160, ticks=False, domain=False, labelBaseline="middle" if long else "top", **turned)
    beside = alt.Axis(labelLimit=160, ticks=False, domain=False, labelBaseline="middle")
    base = alt.Chart(alt.NamedData("confusion")).encode(
        x=alt.X("prediction:N", sort=names, title="the network said", axis=under),
        y=alt.Y("class:N", sort=names, title="true class", axis=beside),
    )
    pick = alt.selection_point(name=PICK, fields=["truth", "said"], on="click", clear="dblclick", toggle=False)
    # an error of one in a hundred must be seen; the diagonal's high shares would drown it on one scale
    strength = "datum.count == 0 ? 0.04 : datum.right ? 0.12 + 0.4 * datum.share : 0.25 + 0.6 * sqrt(datum.share)"
    cells = (
        base.transform_calculate(strength=strength)
        .mark_rect(stroke="#7d8590", cornerRadius=2)
        .encode(
            color=alt.condition("datum.right", alt.value(RIGHT), alt.value(WRONG)),
            opacity=alt.Opacity("strength:Q", scale=None, legend=None),
            strokeWidth=alt.condition(pick, alt.value(2.5), alt.value(0.4), empty=False),
        )
        .add_params(pick)
    )
    words = (
        base.transform_filter("datum.count > 0")
        # four digits of a size that is read from the last row do not fit a cell
        .transform_calculate(shown="datum.count > 999 ? format(datum.count / 1000, '.1f') + 'k' : datum.count + ''")
        .mark_text(fontSize=13)
        .encode(text=alt.Text("shown:N", title="count"))
    )
    # the cells keep their size, whatever room their names take
    return (cells + words).properties(width=side, height=side, autosize=alt.AutoSizeParams(type="pad"))
