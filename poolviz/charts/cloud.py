"""Draws of a sampled sentence vector: a cloud around its expectation, their cosines, and how their mean converges.

Draws are made by the operators themselves; each dimension draws its own token. The plane is that of the draws' first
two principal components (Pearson 1901; Jolliffe 2002, "Principal Component Analysis", ch. 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import altair as alt
import torch
import torch.nn.functional as F
from torch import Tensor

from poolviz.charts.figure import Figure
from poolviz.charts.tokens import TokenSetting
from poolviz.pooling import POOLINGS, draw_sequence

MOST_PAIRED = 200  # draws whose cosines to one another are counted: 19,900 pairs
BINS = 40
MARKS = ("mean", "max", "cls")  # where other operators stand in the plane of the draws


@dataclass(frozen=True)
class Cloud:
    """N draws of a vector of H numbers."""

    name: str
    draws: Tensor  # (N, H)
    expectation: Tensor  # (H,)
    variance: Tensor  # (H,) exact, of one draw
    marks: dict[str, Tensor]  # operator -> (H,)


def draw_cloud(hidden: Tensor, mask: Tensor, setting: TokenSetting, name: str, count: int) -> Cloud:
    """Draw the sentence hidden (T, H) `count` times with a stochastic operator."""
    tokens = hidden[mask]
    here = torch.ones(1, len(tokens), dtype=torch.bool)
    calm = replace(setting, training=False)
    expectation, odds = calm.pool(tokens[None], here, name, return_weights=True)
    variance = (odds[0] * (tokens - expectation) ** 2).sum(0)
    # a dimension without a positive token has no odds under Zeiler and Fergus' rule: it is always 0
    variance = torch.where(odds[0].sum(0) > 0, variance, 0.0)
    generator = torch.Generator().manual_seed(setting.seed)
    draws = draw_sequence(tokens, name, count, generator=generator, temperature=setting.temperature)
    marks = {mark: calm.pool(tokens[None], here, mark)[0] for mark in MARKS}
    return Cloud(name, draws, expectation[0], variance, marks)


def plane(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (H,), first two principal axes (2, H) and their shares of the variance (2,) of points (N, H)."""
    middle = points.double().mean(0)
    centred = points.double() - middle
    if len(points) < 2 or not bool((centred != 0).any()):
        return middle, torch.zeros(2, points.shape[1], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    # the small one of the two Gram matrices has the same positive eigenvalues
    if len(points) <= points.shape[1]:
        values, left = torch.linalg.eigh(centred @ centred.T)
        axes = (left[:, -2:].T @ centred).flip(0)
    else:
        values, right = torch.linalg.eigh(centred.T @ centred)
        axes = right[:, -2:].T.flip(0)
    return middle, F.normalize(axes, dim=-1), (values[-2:].flip(0) / values.clamp(min=0).sum()).clamp(min=0)


def cloud_rows(cloud: Cloud) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Tensor]:
    """Draws and marks in the plane of the draws, and how much of the variance its two axes hold."""
    middle, axes, shares = plane(cloud.draws)
    # an axis has no direction of its own: the mean stands to the right, max above, so that no slider mirrors the cloud
    for axis, mark in zip(axes, ("mean", "max"), strict=True):
        axis *= -1 if (cloud.marks[mark].double() - middle) @ axis < 0 else 1
    places = (cloud.draws.double() - middle) @ axes.T
    rows = [{"x": x, "y": y} for x, y in places.tolist()]
    named = {"expectation": cloud.expectation} | {POOLINGS[name].label: each for name, each in cloud.marks.items()}
    colours = {"expectation": POOLINGS[cloud.name].colour}
    colours |= {POOLINGS[name].label: POOLINGS[name].colour for name in cloud.marks}
    marks = []
    for label, each in named.items():
        x, y = ((each.double() - middle) @ axes.T).tolist()
        marks.append({"x": x, "y": y, "name": label, "colour": colours[label], "line": len(marks)})
    return rows, marks, shares


def distances(cloud: Cloud) -> dict[str, float]:
    """Mean Euclidean distance of a draw from each mark, in all dimensions, which a plane does not show."""
    return {POOLINGS[name].label: float((cloud.draws - mark).norm(dim=-1).mean()) for name, mark in cloud.marks.items()}


def cosine_rows(cloud: Cloud) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Histograms of the cosine between two draws, and between a draw and the expectation; and their means."""
    unit = F.normalize(cloud.draws[:MOST_PAIRED].double(), dim=-1)
    upper = torch.triu_indices(len(unit), len(unit), 1)
    between = (unit @ unit.T)[upper[0], upper[1]]
    to_expectation = F.cosine_similarity(cloud.draws.double(), cloud.expectation.double()[None], dim=-1)
    both = {"between two draws": between, "between a draw and the expectation": to_expectation}
    both = {name: values for name, values in both.items() if len(values)}
    low = min(float(values.min()) for values in both.values())
    low = min(low, 0.99)
    rows = []
    for name, values in both.items():
        counts = torch.histc(values.clamp(low, 1.0).float(), BINS, low, 1.0)
        step = (1 - low) / BINS
        rows += [
            {"cosine": low + step * i, "to": low + step * (i + 1), "share": float(n / counts.sum()), "pair": name}
            for i, n in enumerate(counts)
        ]
    return rows, {name: float(values.mean()) for name, values in both.items()}


def convergence_rows(cloud: Cloud) -> list[dict[str, Any]]:
    """Relative distance of the mean of N draws from the expectation, at log-spaced N, and the size to expect."""
    count = len(cloud.draws)
    means = cloud.draws.double().cumsum(0) / torch.arange(1, count + 1)[:, None]
    size = cloud.expectation.double().norm().clamp(min=1e-12)
    errors = (means - cloud.expectation.double()).norm(dim=-1) / size
    spread = cloud.variance.double().sum().sqrt() / size
    places = torch.logspace(0, torch.tensor(float(count)).log10().item(), 60).round().long().clamp(1, count).unique()
    return [
        {"draws": int(n), "error": max(float(errors[n - 1]), 1e-9), "expected": max(float(spread / n**0.5), 1e-9)}
        for n in places
    ]


def cloud_figures(cloud: Cloud) -> list[Figure]:
    """Cloud, cosines, convergence."""
    points, marks, shares = cloud_rows(cloud)
    histogram, means = cosine_rows(cloud)
    label = POOLINGS[cloud.name].label
    first, second = (round(100 * float(share)) for share in shares)
    return [
        Figure(
            f"{len(cloud.draws):,} draws in the plane where they differ most",
            f"principal components 1 and 2: {first} % and {second} % of the draws' variance; the rest is not seen here",
            f"Draws of {label} as a cloud around their expectation",
            cloud_chart,
            (cloud.name,),
            {"cloud": points, "marks": marks},
        ),
        Figure(
            "How alike draws are",
            "cosine " + ", ".join(f"{name}: {mean:.3f}" for name, mean in means.items()),
            "Histogram of cosines between draws and to the expectation",
            cosine_chart,
            (cloud.name,),
            {"alike": histogram},
        ),
        Figure(
            "Their mean finds the expectation",
            "line: distance of the mean of N draws; dashed: σ/√N, the size to expect",
            "Distance of the mean of N draws from the expectation against N",
            convergence_chart,
            (cloud.name,),
            {"means": convergence_rows(cloud)},
        ),
    ]


def cloud_chart(name: str) -> alt.LayerChart:
    """Draws and marks. Data sets `cloud`, `marks`."""
    x = alt.X("x:Q", title="component 1", scale=alt.Scale(zero=False, padding=45))
    y = alt.Y("y:Q", title="component 2", scale=alt.Scale(zero=False))
    draws = alt.Chart(alt.NamedData("cloud")).mark_circle(size=34, opacity=0.4, color=POOLINGS[name].colour)
    base = alt.Chart(alt.NamedData("marks"))
    colour = alt.Color("colour:N", scale=None)
    points = base.mark_point(filled=True, size=170, opacity=1, stroke="#ffffff", strokeWidth=1.5)
    # the expectation's name stands on the other side: the others often lie near it
    words = [
        base.transform_filter(f"datum.line {where} 0")
        .mark_text(align=align, dx=dx, dy=dy, fontSize=14, fontWeight=600)
        .encode(x="x:Q", y="y:Q", text="name:N")
        for where, align, dx, dy in (("===", "right", -12, 12), (">", "left", 12, -8))
    ]
    return alt.layer(
        draws.encode(x=x, y=y),
        points.encode(x="x:Q", y="y:Q", color=colour),
        *words,
    ).properties(height=360)


def cosine_chart(name: str) -> alt.Chart:
    """Two histograms on one axis. Data set `alike`."""
    pairs = ["between two draws", "between a draw and the expectation"]
    scale = alt.Scale(domain=pairs, range=[POOLINGS[name].colour, "#7d8590"])
    return (
        alt.Chart(alt.NamedData("alike"))
        .mark_bar(opacity=0.65)
        .encode(
            x=alt.X("cosine:Q", title="cosine", bin="binned", axis=alt.Axis(format=".3~f", tickCount=6)),
            x2="to:Q",
            y=alt.Y("share:Q", title="share", stack=None, axis=alt.Axis(format="%")),
            color=alt.Color(
                "pair:N", scale=scale, legend=alt.Legend(title=None, orient="top", columns=1, labelLimit=300)
            ),
        )
        .properties(height=300)
    )


def convergence_chart(name: str) -> alt.LayerChart:
    """Both axes logarithmic. Data set `means`."""
    x = alt.X(
        "draws:Q",
        scale=alt.Scale(type="log"),
        title="number of draws N",
        axis=alt.Axis(format="~s", values=[1, 10, 100, 1000]),
    )
    y = alt.Y("error:Q", scale=alt.Scale(type="log"), title="relative error", axis=alt.Axis(format=".3~%"))
    base = alt.Chart(alt.NamedData("means")).encode(x=x)
    line = base.mark_line(color=POOLINGS[name].colour, strokeWidth=2.5).encode(y=y)
    expected = base.mark_line(color="#7d8590", strokeDash=[6, 4], strokeWidth=2).encode(y="expected:Q")
    return (line + expected).properties(height=250)
