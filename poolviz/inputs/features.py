"""Feature maps from filters that need no training: the picture itself, compass edges, a Gabor bank.

Filters slide over the luminance by torch's conv2d (a correlation: the kernel is not flipped), keep H and W,
and are scaled so that the positive coefficients of a kernel sum to 1: a picture in 0..1 gives responses in
-1..1, in general within the picture's own range of values. All kernels sum to 0, so a flat area gives 0.

The border is padded by replication. It adds no edge of its own, as zeros would, and unlike reflection it
works for kernels wider than the picture (an 8x8 digit under a Gabor kernel of 31x31).

What this module does not know: where the picture came from, networks (models.py), pooling, pages and charts.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from poolviz.inputs.picture import InputError, Picture

REC_709 = (0.2126, 0.7152, 0.0722)  # luminance weights of R, G, B (ITU-R BT.709)

# where the picture gets brighter, turning clockwise by 45 degrees from one to the next
EDGES = (
    "brighter right",
    "brighter below right",
    "brighter below",
    "brighter below left",
    "brighter left",
    "brighter above left",
    "brighter above",
    "brighter above right",
)

ORIENTATIONS = tuple(22.5 * step for step in range(8))  # degrees
WAVELENGTHS = (3, 4, 6, 8)  # pixels, about half an octave apart; 2 would be beyond what the grid can carry
ASPECT = 0.75  # gamma: how much longer the envelope is along the stripes than across them, inverted
SIGMA = 0.56  # envelope's deviation over the wavelength: a bandwidth of one octave (Petkov & Kruizinga 1997)


@dataclass(frozen=True, eq=False)  # eq=False: comparing tensors gives no single truth value
class FeatureMap:
    """Channels of equal size, to be pooled."""

    values: Tensor  # (C, H, W) float32
    channels: tuple[str, ...]  # C names


def image_map(picture: Picture) -> FeatureMap:
    """The picture as its own feature map: the same (C, H, W) values and channel names."""
    return FeatureMap(picture.pixels, picture.channels)


def luminance(picture: Picture) -> Tensor:
    """(H, W) float32 in the picture's units: the only channel, or R, G, B weighted by Rec. 709.

    The weights are applied to the values as stored (gamma-encoded for photographs; strictly that is luma).
    Raises InputError for a picture of neither one nor three channels.
    """
    pixels = picture.pixels
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise InputError(f"A picture of one or three channels is needed here, not one of shape {tuple(pixels.shape)}.")
    if pixels.shape[0] == 1:
        return pixels[0]
    return (pixels * pixels.new_tensor(REC_709)[:, None, None]).sum(0)


def _filtered(plane: Tensor, kernels: Tensor) -> Tensor:
    """Plane (H, W), kernels (K, k, k) with odd k, each summing to 0 -> (K, H, W)."""
    # A constant does not change the response of a zero-sum kernel; taking the corner's value off makes a flat
    # picture exactly 0, where rounding would leave noise that a colour scale blows up into a pattern.
    centred = plane - plane[0, 0]
    margin = kernels.shape[-1] // 2
    padded = F.pad(centred[None, None], (margin,) * 4, mode="replicate")
    return F.conv2d(padded, kernels[:, None])[0]


@functools.lru_cache(maxsize=1)
def edge_kernels() -> Tensor:
    """The eight compass kernels (8, 3, 3) in the order of EDGES: Sobel's, its ring turned by 45 degrees.

    Robinson, "Edge detection by compass gradient masks", Computer Graphics and Image Processing 6 (1977).
    """
    ring = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))  # clockwise from the top left
    sobel = (-1, 0, 1, 2, 1, 0, -1, -2)  # along the ring: dark left, bright right
    kernels = torch.zeros(8, 3, 3)
    for turn in range(8):
        for place, value in enumerate(sobel):
            row, column = ring[(place + turn) % 8]
            kernels[turn, row, column] = value / 4  # positive part 1 + 2 + 1
    return kernels


def edge_map(picture: Picture, relu: bool = True) -> FeatureMap:
    """Edges in eight directions: (8, H, W), channel names in EDGES, values in the picture's units.

    relu: negatives to 0, so that each polarity has a channel of its own (channel i + 4 is channel i negated).
    Raises InputError for a picture of neither one nor three channels.
    """
    response = _filtered(luminance(picture), edge_kernels())
    return FeatureMap(response.relu() if relu else response, EDGES)


@functools.lru_cache(maxsize=8)
def gabor_kernels(wavelength: float) -> Tensor:
    """Eight even Gabor kernels (8, k, k) of one wavelength in pixels, in the order of ORIENTATIONS.

    g(x, y) = exp(-(x'^2 + gamma^2 y'^2) / (2 sigma^2)) cos(2 pi x' / wavelength)
    x' = x cos theta + y sin theta,  y' = -x sin theta + y cos theta,  y downwards

    theta is the direction across the stripes: 0 degrees has upright stripes. sigma = 0.56 wavelength, gamma =
    0.75, cut at 2.5 deviations of the longer axis. So that a flat area gives 0, the envelope is taken off in
    the share that makes the sum 0 (a plain mean would leave a step at the kernel's rim).

    Daugman, J. Opt. Soc. Am. A 2 (1985) 1160-1169; Petkov & Kruizinga, Biological Cybernetics 76 (1997)
    83-96.
    """
    sigma = SIGMA * wavelength
    radius = math.ceil(2.5 * sigma / ASPECT)
    line = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    theta = torch.deg2rad(torch.tensor(ORIENTATIONS, dtype=torch.float64))[:, None, None]
    across = x * theta.cos() + y * theta.sin()
    along = -x * theta.sin() + y * theta.cos()
    envelope = torch.exp(-(across**2 + (ASPECT * along) ** 2) / (2 * sigma**2))
    wave = envelope * torch.cos(2 * math.pi * across / wavelength)
    share = wave.sum((1, 2), keepdim=True) / envelope.sum((1, 2), keepdim=True)
    kernels = wave - share * envelope
    return (kernels / kernels.clamp(min=0).sum((1, 2), keepdim=True)).float()


def gabor_map(picture: Picture, relu: bool = True) -> FeatureMap:
    """Stripes of 8 orientations and 4 wavelengths: (32, H, W), by wavelength, in the picture's units.

    Channel names such as "22.5°, wavelength 4" (degrees across the stripes, pixels). relu: negatives to 0,
    which keeps the places where a bright stripe lies under the kernel's centre. Formula and source:
    `gabor_kernels`. Raises InputError for a picture of neither one nor three channels.
    """
    plane = luminance(picture)
    response = torch.cat([_filtered(plane, gabor_kernels(wavelength)) for wavelength in WAVELENGTHS])
    names = tuple(f"{angle:g}°, wavelength {length}" for length in WAVELENGTHS for angle in ORIENTATIONS)
    return FeatureMap(response.relu() if relu else response, names)
