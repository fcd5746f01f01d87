"""patch_input=statistics: how much and how finely the colours of a patch vary reaches its token."""

import pytest
import torch

from models import build_rose, build_segmenter
from models.heads import SegmentationHead
from models.patch_input import LEAST, PatchStatistics, patch_statistics
from models.tag_channels import ANY_TILE
from tests.models.conftest import SMALL, random_graphs, random_images, randomise, read_back
from utils.errors import ModelError


def test_statistics_are_those_of_each_channel_of_a_patch():
    pixels = torch.randn(2, 3, 8 * 8 * 3)
    colours = pixels.unflatten(-1, (8, 8, 3))
    across, down = (colours.diff(dim=axis).square().mean((2, 3)) for axis in (3, 2))
    expected = torch.cat([
        colours.mean((2, 3)),
        (colours.var((2, 3), correction=0) + LEAST).log() / 2,
        ((across + down) / 2 + LEAST).log() / 2], -1)
    torch.testing.assert_close(patch_statistics(pixels, 8), expected, atol=1e-5, rtol=1e-5)


def test_a_patch_of_one_pixel_has_none():
    with pytest.raises(ModelError, match="patches of 1 x 1 px do not vary, expected 2 x 2 or more"):
        PatchStatistics(64, 1)


def test_of_two_patches_of_one_colour_the_grained_one_is_known():
    board = (torch.arange(64).view(8, 8) + torch.arange(8)[:, None]) % 2 * 2.0 - 1    # fine
    halves = torch.ones(8, 8)
    halves[:, :4] = -1                                                                # coarse
    pixels = torch.stack([board, halves, torch.zeros(8, 8)])[..., None].expand(-1, -1, -1, 3)
    mean, deviation, step = patch_statistics(pixels.flatten(1)[None], 8)[0].unflatten(
        1, (3, 3)).unbind(1)
    assert mean.abs().max() < 1e-6
    torch.testing.assert_close(deviation[0], deviation[1])
    assert (step[0] > step[1] + 0.5).all()
    assert (deviation[2] < deviation[1] - 3).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_them_too(dtype):
    pixels = torch.randn(1, 4, 8 * 8 * 3).mul(0.01).add(2)
    exact = patch_statistics(pixels, 8)
    half = patch_statistics(pixels.to(dtype), 8)
    assert half.dtype == dtype
    assert half.isfinite().all()
    torch.testing.assert_close(half[..., :3].float(), exact[..., :3], atol=0.02, rtol=0.01)


def test_even_patches_have_finite_gradients():
    pixels = torch.zeros(1, 2, 8 * 8 * 3, requires_grad=True)
    patch_statistics(pixels, 8).sum().backward()
    assert pixels.grad.isfinite().all()


@pytest.mark.parametrize("modality", ["image", "fusion", "fine", "image_osm_raster"])
def test_a_model_begins_without_them_and_then_hears_of_them(modality):
    rose, images, graphs = randomise(build_rose(SMALL)), random_images(2), random_graphs([2, 0])
    plain = build_segmenter(rose, modality).represent(images, graphs)
    model = build_segmenter(rose, modality, statistics=True)
    assert torch.equal(model.represent(images, graphs), plain)
    torch.nn.init.normal_(model.statistics.proj.weight)
    assert not torch.allclose(model.represent(images, graphs), plain)


def test_the_token_of_a_patch_is_moved_by_its_own_statistics_alone():
    module = randomise(PatchStatistics(16, 8))
    pixels = torch.randn(1, 5, 8 * 8 * 3)
    other = pixels.clone()
    other[:, 2] *= 3
    before, after = module(pixels), module(other)
    moved = (before != after).any(-1)[0]
    assert moved.tolist() == [False, False, True, False, False]
    torch.testing.assert_close(after, module.proj(patch_statistics(other, 8)))


def test_the_rose_of_a_probe_stays_as_it_is_and_they_are_trained():
    model = build_segmenter(build_rose(SMALL), "image", statistics=True).freeze()
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == [
        "decoder.head.weight", "decoder.head.bias", "statistics.proj.weight",
        "statistics.proj.bias"]
    assert not model.fixed


@pytest.mark.parametrize("modality", ["osm", "osm_raster"])
def test_a_model_without_an_image_has_none(modality):
    with pytest.raises(ModelError, match=f"modality={modality}: reads no image"):
        build_segmenter(build_rose(SMALL), modality, statistics=True)


def test_a_file_keeps_them(tmp_path):
    head = SegmentationHead("fusion", "linear", ("a", "b"), channels=("road/*",), statistics=True)
    model = randomise(head.build(build_rose(SMALL)))
    read_back(tmp_path, model, head, {ANY_TILE: ["road/path"]}, random_graphs([3]))
