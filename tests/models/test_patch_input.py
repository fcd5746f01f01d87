"""patch_input=statistics: a token hears how much and how finely its patch's colours vary."""

import pytest
import torch

from models import build_rose, load_rose, save_rose
from models.image_encoder import ImageEncoder
from models.image_families import create_vit
from models.patch_input import LEAST, patch_statistics
from tests.models.conftest import SMALL, random_graphs, random_images, randomise


def test_statistics_are_those_of_each_channel_of_a_patch():
    pixels = torch.randn(2, 3, 8 * 8 * 3)
    colours = pixels.unflatten(-1, (8, 8, 3))
    across, down = (colours.diff(dim=axis).square().mean((2, 3)) for axis in (3, 2))
    expected = torch.cat([
        colours.mean((2, 3)),
        (colours.var((2, 3), correction=0) + LEAST).log() / 2,
        ((across + down) / 2 + LEAST).log() / 2], -1)
    torch.testing.assert_close(patch_statistics(pixels, 8), expected, atol=1e-5, rtol=1e-5)


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


def test_the_token_of_a_patch_is_moved_by_its_own_statistics_alone():
    encoder = randomise(build_rose(SMALL, patch_input="statistics")).image_encoder
    statistics = patch_statistics(encoder.patchify(images := random_images(1)), encoder.patch)
    moved, encoder.statistics, added = (encoder.embed(images).tokens, None,
                                        encoder.statistics.proj(statistics))
    torch.testing.assert_close(moved - encoder.embed(images).tokens, added, atol=1e-5, rtol=1e-5)


def test_it_says_nothing_at_first_beside_trained_weights(tmp_path):
    torch.save(create_vit(SMALL, False).state_dict(), tmp_path / "vit.pt")
    trained = ImageEncoder(SMALL, weights=tmp_path / "vit.pt", statistics=True)
    assert not trained.statistics.proj.weight.any()
    assert ImageEncoder(SMALL, statistics=True).statistics.proj.weight.any()


def test_a_file_states_it_and_brings_it_back(tmp_path):
    assert "patch_input" not in build_rose(SMALL).build
    rose, images = randomise(build_rose(SMALL, patch_input="statistics")), random_images(2)
    save_rose(tmp_path / "rose.safetensors", rose)
    loaded, graphs = load_rose(tmp_path / "rose.safetensors"), random_graphs([2, 0])
    assert loaded.build["patch_input"] == "statistics"
    torch.testing.assert_close(loaded.eval().fuse(images, graphs), rose.eval().fuse(images, graphs))
