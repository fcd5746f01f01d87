"""Colours are adjusted as torchvision adjusts those of a float image."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from datasets.augment import JITTER
from datasets.jitter import adjust_colours

SIZE = 64
STRENGTHS = {"brightness": (0.0, 0.6, 1.0, 1.37), "contrast": (0.0, 0.62, 1.0, 1.4),
             "saturation": (0.0, 0.6, 1.0, 1.4),
             "hue": (-1 / 6, -0.1, -0.013, 0.0, 0.05, 0.1, 1 / 6)}


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    """Every kind of colour; greys and the ends of the range, with all ties between channels; few
    colours, as in a drawing."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (3, SIZE, SIZE), dtype=torch.uint8, generator=draw)
    values = torch.tensor([0, 1, 128, 254, 255], dtype=torch.uint8)
    ends = torch.cartesian_prod(*[values] * 3).T[:, :100].reshape(3, 10, 10)
    return [noise, ends, noise // 64 * 64]


def by_torchvision(image: Tensor, adjustments: Sequence[tuple[str, float]]) -> Tensor:
    """In grey values, not rounded."""
    from torchvision.transforms.v2 import functional as F

    image = image.double() / 255
    for name, strength in adjustments:
        image = getattr(F, f"adjust_{name}")(image, strength)
    return image * 255


def assert_rounded(adjusted: Tensor, exact: Tensor) -> None:
    assert (adjusted.dtype, adjusted.shape) == (torch.uint8, exact.shape)
    assert (adjusted - exact).abs().max() <= 0.501


@pytest.mark.parametrize("name", STRENGTHS)
def test_each_adjustment_is_torchvisions(images, name):
    for image, strength in itertools.product(images, STRENGTHS[name]):
        before = image.clone()
        assert_rounded(adjust_colours(image, ((name, strength),)),
                       by_torchvision(image, ((name, strength),)))
        assert torch.equal(image, before)


@pytest.mark.parametrize("order", list(itertools.permutations(JITTER)))
def test_chains_are_torchvisions(images, order):
    for which, image in enumerate(images):
        strengths = tuple((name, JITTER[name][which % 2] * 0.9) for name in order)
        assert_rounded(adjust_colours(image, strengths), by_torchvision(image, strengths))


def test_no_adjustment_changes_nothing(images):
    assert all(torch.equal(adjust_colours(image, ()), image) for image in images)
