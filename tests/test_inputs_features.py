"""Edge and Gabor maps against scipy and the formulas written out; flat areas, polarity, small inputs."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from poolviz.inputs import features
from poolviz.inputs.images import InputError, Picture, digit, grid, photograph

torch.set_num_threads(1)


def picture_of(pixels: torch.Tensor) -> Picture:
    return Picture(pixels, tuple(f"channel {i}" for i in range(len(pixels))))


PICTURES = {
    "digit": digit(3),
    "grid": grid([[1, -2, 3, 4], [5, 6, -7, 8], [0, 0, 1e6, 1], [2, 3, 4, 5]]),
    "photograph": photograph("china", 40),
    "oblong": picture_of(torch.rand(1, 9, 21, generator=torch.Generator().manual_seed(0))),
}


def test_image_map_is_the_picture():
    picture = photograph("flower")
    result = features.image_map(picture)
    assert torch.equal(result.values, picture.pixels) and result.channels == picture.channels


def test_luminance_equals_pillows_709():
    colours = torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(1))
    truth = np.tensordot([0.2126, 0.7152, 0.0722], colours.numpy().astype(float), 1)
    assert np.allclose(features.luminance(picture_of(colours)), truth, atol=1e-6)
    assert torch.equal(features.luminance(picture_of(colours[:1])), colours[0])


@pytest.mark.parametrize("name", PICTURES)
def test_edges_equal_scipys_sobel(name):
    """scipy's Sobel, border replicated ("nearest"), for the four upright directions."""
    plane = features.luminance(PICTURES[name]).numpy().astype(np.float64)
    signed = features.edge_map(PICTURES[name], relu=False).values.numpy()
    tolerance = 1e-5 * np.abs(plane).max()
    across = ndimage.sobel(plane, axis=1, mode="nearest") / 4
    down = ndimage.sobel(plane, axis=0, mode="nearest") / 4
    truths = {0: across, 2: down, 4: -across, 6: -down}
    for channel, truth in truths.items():
        assert np.allclose(signed[channel], truth, atol=tolerance)
    diagonal = np.array([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]]) / 4
    assert np.allclose(signed[1], ndimage.correlate(plane, diagonal, mode="nearest"), atol=tolerance)
    assert np.allclose(signed[7], ndimage.correlate(plane, diagonal[::-1], mode="nearest"), atol=tolerance)
    assert np.allclose(signed[4:], -signed[:4], atol=tolerance)
    assert np.array_equal(features.edge_map(PICTURES[name]).values.numpy(), signed.clip(0))


@pytest.mark.parametrize(
    "turn, step", list(enumerate([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]))
)
def test_an_edge_is_strongest_in_the_channel_of_its_name(turn, step):
    y, x = torch.meshgrid(torch.arange(9.0) - 4, torch.arange(9.0) - 4, indexing="ij")
    plane = (step[0] * y + step[1] * x > 0).float()
    result = features.edge_map(picture_of(plane[None]))
    assert result.values[:, 4, 4].argmax() == turn
    name = features.EDGES[turn].split()  # in words, since "brighter" has a "right" in it
    assert ("below" in name, "above" in name) == (step[0] > 0, step[0] < 0)
    assert ("right" in name, "left" in name) == (step[1] > 0, step[1] < 0)


def gabor_written_out(wavelength: float, degrees: float) -> np.ndarray:
    """Petkov & Kruizinga's formula, cell by cell, with the envelope's share taken off."""
    sigma, gamma, theta = 0.56 * wavelength, 0.75, math.radians(degrees)
    radius = math.ceil(2.5 * sigma / gamma)
    wave, envelope = np.zeros((2, 2 * radius + 1, 2 * radius + 1))
    for row in range(2 * radius + 1):
        for column in range(2 * radius + 1):
            x, y = column - radius, row - radius
            across, along = (
                x * math.cos(theta) + y * math.sin(theta),
                -x * math.sin(theta) + y * math.cos(theta),
            )
            envelope[row, column] = math.exp(-(across**2 + gamma**2 * along**2) / (2 * sigma**2))
            wave[row, column] = envelope[row, column] * math.cos(2 * math.pi * across / wavelength)
    kernel = wave - wave.sum() / envelope.sum() * envelope
    return kernel / kernel[kernel > 0].sum()


@pytest.mark.parametrize("name", PICTURES)
def test_gabor_equals_scipys_correlation(name):
    plane = features.luminance(PICTURES[name]).numpy().astype(np.float64)
    result = features.gabor_map(PICTURES[name], relu=False)
    assert result.values.shape == (32, *plane.shape) and len(set(result.channels)) == 32
    for channel in range(0, 32, 5):
        wavelength, degrees = features.WAVELENGTHS[channel // 8], features.ORIENTATIONS[channel % 8]
        assert result.channels[channel] == f"{degrees:g}°, wavelength {wavelength}"
        truth = ndimage.correlate(plane, gabor_written_out(wavelength, degrees), mode="nearest")
        assert np.allclose(result.values[channel], truth, atol=2e-5 * np.abs(plane).max())
    rectified = features.gabor_map(PICTURES[name]).values
    assert torch.equal(rectified, result.values.relu())


def test_stripes_are_strongest_in_the_channel_of_their_name():
    x = torch.arange(64.0)
    for place, wavelength in enumerate(features.WAVELENGTHS):
        stripes = (0.5 + 0.5 * torch.cos(2 * math.pi * x / wavelength)).expand(64, 64)  # upright
        for angle, plane in ((0, stripes), (4, stripes.T)):  # 0 degrees and 90 degrees
            strength = features.gabor_map(picture_of(plane[None])).values[:, 20:44, 20:44].amax((1, 2))
            assert strength.argmax() == place * 8 + angle


@pytest.mark.parametrize("level", [0.0, 0.3, 16.0, -7.7, 1e6])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("relu", [True, False])
def test_a_flat_picture_gives_exactly_zero(level, bands, relu):
    flat = picture_of(torch.full((bands, 8, 8), level))
    assert not features.edge_map(flat, relu).values.any() and not features.gabor_map(flat, relu).values.any()


@pytest.mark.parametrize("bank", [features.edge_map, features.gabor_map])
def test_responses_stay_within_the_pictures_range(bank):
    values = bank(photograph("flower", 64), relu=False).values
    assert values.dtype == torch.float32 and values.abs().max() <= 1
    checks = (torch.rand(1, 30, 30, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    assert bank(picture_of(checks), relu=False).values.abs().max() <= 1 + 1e-6


@pytest.mark.parametrize("bank", [features.edge_map, features.gabor_map])
def test_the_picture_is_left_as_it_was(bank):
    picture = digit(5)
    before = picture.pixels.clone()
    bank(picture)
    assert torch.equal(picture.pixels, before)


@pytest.mark.parametrize("bank", [features.edge_map, features.gabor_map])
def test_two_channels_are_refused(bank):
    with pytest.raises(InputError, match=r"one or three channels.*\(2, 8, 8\)"):
        bank(picture_of(torch.zeros(2, 8, 8)))


def test_names_are_short():
    assert all(len(name) <= 24 for name in features.EDGES)
    assert all(len(name) <= 24 for name in features.gabor_map(digit(0)).channels)
