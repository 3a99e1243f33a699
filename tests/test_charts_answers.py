"""What networks say of a picture: who agrees, which channels are shown, and maps on one scale before and after."""

import base64
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from poolviz.charts.answers import SHOWN, Answer, answers_payload, strongest, verdict

CLASSES = ("a", "b", "c")


def answer(name="Max", pooling="max", shares=(0.1, 0.7, 0.2), channels=9, scale=1.0, seed=0) -> Answer:
    before = scale * torch.rand(channels, 6, 8, generator=torch.Generator().manual_seed(seed))
    after = before if pooling == "none" else F.max_pool2d(before, 2)
    return Answer(name, pooling, torch.tensor(shares), before, after)


def steps(strip) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(strip["levels"]), dtype=np.uint8)
    return flat.reshape(-1, strip["height"], strip["width"])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([], ""),
        ([("Max", "3")], "Max says 3"),
        ([("Max", "3"), ("Average", "3")], "All 2 networks say 3"),
        ([("Max", "3"), ("Average", "8")], "Max says 3; Average says 8"),
        ([("A", "8"), ("B", "3"), ("C", "3"), ("D", "3"), ("E", "5")], "B, C and D say 3; A says 8; E says 5"),
    ],
)
def test_who_says_what_in_one_line(said, told):
    assert verdict(said) == told


def test_a_card_a_network_with_its_likeliest_class():
    shown = answers_payload([answer(), answer("No pooling", "none", (0.96, 0.03, 0.01))], CLASSES, "viridis")
    json.dumps(shown, allow_nan=False)
    assert [(card["name"], card["answer"], card["pools"]) for card in shown["cards"]] == [
        ("Max", "b", True),
        ("No pooling", "a", False),
    ]
    assert shown["cards"][0]["shares"] == pytest.approx([0.1, 0.7, 0.2])
    assert shown["agreed"] is False and shown["verdict"] == "Max says b; No pooling says a"
    assert answers_payload([answer(), answer()], CLASSES, "viridis")["agreed"] is True
    assert answers_payload([], CLASSES, "viridis")["cards"] == []


def test_the_strongest_channels_are_those_of_numpys_means():
    before = answer(channels=40).before
    means = before.double().numpy().mean((1, 2))
    assert strongest(before).tolist() == np.argsort(-means)[:SHOWN].tolist()
    assert sorted(strongest(before[:3]).tolist()) == [0, 1, 2]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_both_strips_hold_the_same_channels_on_one_scale_a_network(scale):
    given, other = answer(scale=scale), answer("Average", "average", scale=7 * scale)
    card, _ = answers_payload([given, other], CLASSES, "grey")["cards"]
    assert card["high"] == pytest.approx(float(given.before[card["channels"]].max()))
    assert steps(card["before"]).max() == 255
    for strip, maps in ((card["before"], given.before), (card["after"], given.after)):
        shown = steps(strip) / 255 * card["high"]
        assert np.abs(shown - maps[card["channels"]].numpy()).max() <= 0.51 * card["high"] / 255


def test_maps_of_zeros_have_a_scale():
    card = answers_payload([answer(scale=0.0)], CLASSES, "viridis")["cards"][0]
    assert card["high"] > 0 and not steps(card["before"]).any() and not steps(card["after"]).any()
