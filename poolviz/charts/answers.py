"""What several networks say of one picture, and what each one's pooling makes of it; plain data for its component."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from poolviz.charts.colour import DIVERGING, PALETTES
from poolviz.charts.stage import common_range
from poolviz.charts.wire import base64_of
from poolviz.pooling import POOLINGS

SHOWN = 6  # channels of a network
LEVELS = 255  # steps of a colour scale: a byte a cell is all that a picture needs


@dataclass(frozen=True, eq=False)  # eq=False: comparing tensors gives no single truth value
class Answer:
    """One network's reading of a picture."""

    name: str
    pooling: str  # registry key
    probabilities: Tensor  # (classes,)
    before: Tensor  # (C, H, W), what its pooling is given
    after: Tensor  # (C, h, w), what its pooling gives


def answers_payload(answers: Sequence[Answer], classes: Sequence[str], palette: str) -> dict[str, Any]:
    """The answers as JSON: a card a network, and one line on how far they agree."""
    said = [(answer.name, classes[int(answer.probabilities.argmax())]) for answer in answers]
    return {
        "verdict": verdict(said),
        "agreed": len({label for _, label in said}) <= 1,
        "classes": list(classes),
        "cards": [
            {"name": name, "answer": label, **_card(answer, palette)}
            for (name, label), answer in zip(said, answers, strict=True)
        ],
    }


def verdict(said: Sequence[tuple[str, str]]) -> str:
    """Who says what, in one line: pairs of a network's name and its answer, the commonest answer first; "" of none."""
    by_answer: dict[str, list[str]] = {}
    for name, label in said:
        by_answer.setdefault(label, []).append(name)
    if len(by_answer) == 1 and len(said) > 1:
        return f"All {len(said)} networks say {said[0][1]}"
    groups = sorted(by_answer.items(), key=lambda group: -len(group[1]))
    return "; ".join(f"{_listed(names)} {'say' if len(names) > 1 else 'says'} {label}" for label, names in groups)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def strongest(before: Tensor, count: int = SHOWN) -> Tensor:
    """Indices of the channels of maps (C, H, W) with the greatest mean, the greatest first; at most `count`."""
    return before.mean(dim=(1, 2)).topk(min(count, len(before))).indices


def _card(answer: Answer, palette: str) -> dict[str, Any]:
    pooling = POOLINGS[answer.pooling]
    channels = strongest(answer.before)
    before, after = answer.before[channels], answer.after[channels]
    low, high = common_range([before, after])  # one scale: what is darker after pooling is smaller
    return {
        "colour": pooling.colour,
        "pools": not pooling.keeps_cells,
        "shares": answer.probabilities.tolist(),
        "channels": channels.tolist(),
        "before": _strip(before, low, high),
        "after": _strip(after, low, high),
        "high": high,
        "ramp": list(DIVERGING if low < 0 else PALETTES[palette]),
    }


def _strip(maps: Tensor, low: float, high: float) -> dict[str, Any]:
    """Maps (C, H, W) as steps of the scale from low to high."""
    steps = ((maps - low) / (high - low) * LEVELS).round().clamp(0, LEVELS).to(torch.uint8)
    return {"height": maps.shape[1], "width": maps.shape[2], "levels": base64_of(steps)}
