"""What several networks say of one picture: a row a network, a column a class, the darker the surer."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from poolviz.charts.figure import Figure, Rows

COLOUR = "#0072B2"
TOLD = 0.05  # least probability that is written into its cell


def answers_figure(answers: Sequence[tuple[str, Sequence[float]]], classes: Sequence[str]) -> Figure:
    """`answers`: each network's name and its probabilities, one a class."""
    rows = [row for place, (name, shares) in enumerate(answers) for row in _rows(name, place, shares, classes)]
    said = [f"{row['network']} {row['class']}" for row in rows if row["first"]]
    return Figure(
        "What the networks say",
        "a row a network, by the pooling that it was trained with; the darker, the surer; framed: its answer",
        f"Answers: {', '.join(said)}",
        answers_chart,
        (tuple(classes),),
        {"answers": rows},
    )


def _rows(name: str, place: int, shares: Sequence[float], classes: Sequence[str]) -> Rows:
    best = max(range(len(shares)), key=shares.__getitem__)
    return [
        {
            "network": name,
            "place": place,
            "class": label,
            "probability": float(share),
            "told": f"{share:.0%}" if share >= TOLD else "",
            "dark": share > 0.6,
            "first": number == best,
        }
        for number, (label, share) in enumerate(zip(classes, shares, strict=True))
    ]


def answers_chart(classes: tuple[str, ...]) -> alt.LayerChart:
    """Data set `answers`."""
    beside = alt.Axis(title=None, labelLimit=300, ticks=False, domain=False, labelPadding=8, labelBaseline="middle")
    under = alt.Axis(title=None, orient="top", ticks=False, domain=False, labelAngle=0, labelPadding=6)
    base = alt.Chart(alt.NamedData("answers")).encode(
        x=alt.X("class:N", sort=list(classes), axis=under),
        y=alt.Y("network:N", sort=alt.EncodingSortField("place", op="min"), axis=beside),
    )
    told = [alt.Tooltip("network:N"), alt.Tooltip("class:N"), alt.Tooltip("probability:Q", format=".2%")]
    cells = base.mark_rect(color=COLOUR, cornerRadius=4, stroke="#7d8590").encode(
        opacity=alt.Opacity("probability:Q", scale=alt.Scale(domain=[0, 1], range=[0.05, 1]), legend=None),
        strokeWidth=alt.value(0.3),
        tooltip=told,
    )
    frame = base.transform_filter("datum.first").mark_rect(
        filled=False, stroke="#D55E00", strokeWidth=2.5, cornerRadius=4
    )
    pale = base.transform_filter("!datum.dark").mark_text(fontSize=13).encode(text="told:N")
    on_dark = base.transform_filter("datum.dark").mark_text(fontSize=13, color="#ffffff").encode(text="told:N")
    return (cells + frame + pale + on_dark).properties(height=alt.Step(34))
