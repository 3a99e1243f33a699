"""The contact sheet: all channels of a map, small, on one colour scale; as plain data for its component."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from poolviz.charts import wire
from poolviz.charts.colour import DIVERGING, PALETTES
from poolviz.charts.stage import common_range

THUMBNAIL = 28  # cells of a thumbnail's longer side, at most


def sheet_payload(values: Tensor, chosen: int, palette: str) -> dict[str, Any]:
    """Channels (C, H, W) as JSON; larger maps are reduced by averages so that the sheet stays light."""
    scale = max(values.shape[-2:]) / THUMBNAIL
    if scale > 1:
        size = [max(1, round(length / scale)) for length in values.shape[-2:]]
        values = F.adaptive_avg_pool2d(values, size)
    low, high = common_range([values])
    return {
        "count": values.shape[0],
        "height": values.shape[1],
        "width": values.shape[2],
        "values": wire.floats(values),
        "range": [low, high],
        "ramp": list(DIVERGING if low < 0 else PALETTES[palette]),
        "chosen": chosen,
    }
