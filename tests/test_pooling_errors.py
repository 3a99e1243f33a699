"""What is refused, and that the sentence says what was wrong and shows the shape."""

from math import inf, nan

import numpy as np
import pytest
import torch

from poolviz.pooling import Options, global_pool, pool1d, pool2d, pool3d, windows2d
from tests.test_pooling_reference import MAP_POOLINGS, POOL, STOCHASTIC, WINDOWED

X = torch.ones(2, 3, 8, 8)

MESSAGES = [
    # the message of design.md, letter by letter
    (lambda: pool2d(torch.ones(3, 28, 28), "max", 2), "pool2d: expected x of shape (N, C, H, W), got (3, 28, 28)"),
    (lambda: pool1d(X, "max", 2), "pool1d: expected x of shape (N, C, L), got (2, 3, 8, 8)"),
    (lambda: pool3d(X, "max", 2), "pool3d: expected x of shape (N, C, D, H, W), got (2, 3, 8, 8)"),
    (lambda: pool2d(X[:, :, :0], "max", 2), "pool2d: expected x of shape (N, C, H, W), got (2, 3, 0, 8)"),
    (lambda: windows2d(X[0], 2), "windows2d: expected x of shape (N, C, H, W), got (3, 8, 8)"),
    (
        lambda: global_pool(torch.ones(3, 4), "max"),
        "global_pool: expected x of shape (N, C, *spatial) with cells in it, got (3, 4)",
    ),
    (
        lambda: global_pool(X[..., :0], "max"),
        "global_pool: expected x of shape (N, C, *spatial) with cells in it, got (2, 3, 8, 0)",
    ),
    (
        lambda: pool2d(X.int(), "max", 2),
        "pool2d: expected floating-point x, got torch.int32 of shape (2, 3, 8, 8)",
    ),
    (
        lambda: global_pool(X.bool(), "max"),
        "global_pool: expected floating-point x, got torch.bool of shape (2, 3, 8, 8)",
    ),
    (
        lambda: pool2d(X, "max", 9),
        "pool2d: kernel_size 9 with dilation 1 spans 9 cells, but the input has 8 (+ 2 x 0 of padding); "
        "use a smaller kernel or a larger map",
    ),
    (
        lambda: pool2d(X, "max", 3, dilation=5),
        "pool2d: kernel_size 3 with dilation 5 spans 11 cells, but the input has 8 (+ 2 x 0 of padding); "
        "use a smaller kernel or a larger map",
    ),
    (
        lambda: pool2d(X, "max", 3, 1, 2),
        "pool2d: padding 2 is more than half of kernel_size 3, so a window could lie in the padding alone; "
        "use padding <= 1",
    ),
    (lambda: pool2d(X, "max", 0), "pool2d: kernel_size must be at least 1, got 0"),
    (lambda: pool2d(X, "max", 2, (1, 0)), "pool2d: stride must be at least 1, got (1, 0)"),
    (lambda: pool2d(X, "max", 2, 1, -1), "pool2d: padding must be at least 0, got -1"),
    (lambda: pool2d(X, "max", 2, 1, 0, 0), "pool2d: dilation must be at least 1, got 0"),
    (lambda: windows2d(X, 9), "windows2d: kernel_size 9 with dilation 1 spans 9 cells, but the input has 8"),
    (lambda: pool2d(X, "softpool", 2, temperature=0), "pool2d: temperature must be a positive finite number, got 0"),
    (lambda: global_pool(X, "lp", p=-1), "global_pool: p must be a positive finite number, got -1"),
    (lambda: pool2d(X, "mixed", 2, mix=2), "pool2d: mix must lie between 0 (average) and 1 (max), got 2"),
]


@pytest.mark.parametrize(("call", "message"), MESSAGES, ids=[message for _, message in MESSAGES])
def test_messages(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("setting", ["kernel_size", "stride", "padding", "dilation"])
@pytest.mark.parametrize("value", [2.5, "2", (1, 2, 3), True, (1, 1.0), (1, None), {"height": 1}], ids=str)
def test_a_setting_that_is_no_whole_number_is_named(setting, value):
    """Beyond what torch says: its own error is a TypeError about unpacking."""
    with pytest.raises(ValueError, match=f"^pool2d: expected {setting} as one whole number or 2 of them, got"):
        pool2d(X, "max", **{"kernel_size": 2, setting: value})


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("name", WINDOWED)
def test_every_operator_refuses_a_kernel_larger_than_the_map(name, dims):
    x = torch.ones(1, 1, *(4,) * dims)
    for training in (False, True):
        with pytest.raises(ValueError, match=f"pool{dims}d: kernel_size 5 .* but the input has 4"):
            POOL[dims](x, name, 5, training=training)


@pytest.mark.parametrize("call", [lambda x, name: pool2d(x, name, 2), global_pool])
def test_an_unknown_name_lists_the_known_ones(call):
    with pytest.raises(ValueError, match=r"unknown pooling 'maximum'; known for maps: ") as error:
        call(X, "maximum")
    listed = str(error.value).split("maps: ")[1].split(", ")
    assert listed == MAP_POOLINGS


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(TypeError, match="pool2d: unknown option temprature; options are training, generator, temp"):
        pool2d(X, "softpool", 2, temprature=1)


@pytest.mark.parametrize(
    ("option", "values"),
    [("temperature", (0, -1, inf, -inf, nan)), ("p", (0, -2, inf, nan)), ("mix", (-0.1, 1.1, nan, inf))],
)
def test_numbers_that_no_operator_could_use(option, values):
    for value in values:
        with pytest.raises(ValueError, match=f"^{option} must "):
            Options(**{option: value})


def test_only_average_counts_padding():
    for name in MAP_POOLINGS:
        if name == "average":
            pool2d(X, name, 3, 2, 1, count_include_pad=True)
            continue
        with pytest.raises(ValueError, match=f"pool2d: count_include_pad is for 'average'; .*'{name}'"):
            pool2d(X, name, 3, 2, 1, count_include_pad=True)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_generator_of_another_device_is_refused(name):
    elsewhere = torch.ones(1, 1, 4, 4, device="meta")
    with pytest.raises(ValueError, match="the generator lives on cpu, the input on meta; use one device"):
        global_pool(elsewhere, name, training=True, generator=torch.Generator())


def test_one_number_or_one_per_axis():
    """What is not refused: lists, one-tuples, an empty stride and torch's own sizes, as in torch."""
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    truth = pool2d(x, "max", (2, 2), (2, 2))
    for kernel in (2, (2,), [2, 2], torch.Size([2, 2])):
        for stride in (None, (), 2, [2]):
            assert torch.equal(pool2d(x, "max", kernel, stride), truth)
    assert np.array_equal(truth[0, 0], x[0, 0, 1::2, 1::2])
