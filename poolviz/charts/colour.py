"""Colour scales that colour-blind people can read, stated once for canvas, charts and downloads.

Viridis and cividis (matplotlib; Nunez, Anderton, Renslow 2018), PuOr (ColorBrewer; Brewer 2003). Evenly spaced
anchors, linear in sRGB between them.
"""

PALETTES = {
    "viridis": (
        "#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c",
        "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725",
    ),
    "cividis": (
        "#00224e", "#083370", "#35456c", "#4f576c", "#666970", "#7d7c78",
        "#948e77", "#aea371", "#c8b866", "#e5cf52", "#fee838",
    ),
    "grey": ("#000000", "#ffffff"),
}  # fmt: skip
DIVERGING = (
    "#2d004b", "#542788", "#8073ac", "#b2abd2", "#d8daeb", "#f7f7f7",
    "#fee0b6", "#fdb863", "#e08214", "#b35806", "#7f3b08",
)  # fmt: skip


def signed_range(*extremes: float) -> tuple[float, float]:
    """(-m, m) with m the largest magnitude: a diverging scale is centred on 0."""
    most = max((abs(value) for value in extremes), default=0.0)
    return (-most, most) if most > 0 else (-1.0, 1.0)
