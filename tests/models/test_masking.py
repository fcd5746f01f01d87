"""Masks: how many, where, and how filled tokens come back."""

import pytest
import torch

from models.masking import (
    MaskFill,
    check_image_mask,
    draw_image_mask,
    draw_node_mask,
    image_mask_of,
    node_mask_of,
    split_mask,
    take_tokens,
)
from utils.errors import ModelError


def test_image_mask_masks_equally_many_and_differs_between_images():
    mask = draw_image_mask(4, 196, 0.75, torch.device("cpu"))
    assert mask.sum(1).tolist() == [147] * 4
    assert not torch.equal(mask[0], mask[1])


@pytest.mark.parametrize(("patches", "ratio", "masked"),
                         [(4, 0.99, 3), (4, 0.01, 1), (16, 0.5, 8)])
def test_image_mask_leaves_one_of_each(patches, ratio, masked):
    assert draw_image_mask(2, patches, ratio, torch.device("cpu")).sum(1).tolist() == [masked] * 2


def test_every_patch_is_masked_equally_often():
    share = torch.cat([draw_image_mask(100, 16, 0.75, torch.device("cpu"))
                       for _ in range(20)]).float().mean(0)
    assert (share - 0.75).abs().max() < 0.05


def test_tile_scope_masks_a_share_of_every_tile_and_at_least_one():
    batch = torch.repeat_interleave(torch.arange(4), torch.tensor([20, 0, 1, 9]))
    for _ in range(20):
        mask = draw_node_mask(batch, 4, 0.15, "tile")
        assert torch.bincount(batch[mask], minlength=4).tolist() == [3, 0, 1, 1]


def test_batch_scope_masks_a_share_of_the_batch():
    batch = torch.repeat_interleave(torch.arange(3), torch.tensor([20, 1, 9]))
    counts = torch.stack([torch.bincount(batch[draw_node_mask(batch, 3, 0.15, "batch")],
                                         minlength=3) for _ in range(50)])
    assert (counts.sum(1) == 4).all()  # int(30 * 0.15)
    assert (counts == 0).any()         # some tile is left whole now and then


def test_those_with_the_least_noise_are_masked():
    noise = torch.tensor([0.9, 0.1, 0.5, 0.3, 0.7, 0.2])
    batch = torch.tensor([0, 0, 0, 2, 2, 2])
    assert node_mask_of(noise, batch, 3, 0.34, "tile").nonzero().flatten().tolist() == [1, 5]
    assert node_mask_of(noise, batch, 3, 0.67, "tile").nonzero().flatten().tolist() == [1, 2, 3, 5]
    assert node_mask_of(noise, batch, 3, 0.5, "batch").nonzero().flatten().tolist() == [1, 3, 5]


def test_a_tiles_masks_depend_on_its_own_noise_alone():
    sizes = [7, 0, 12, 1, 30]
    noise, patch_noise = [torch.rand(size, dtype=torch.float64)
                          for size in sizes], torch.rand(5, 16)
    noise[4][3:20] = noise[4][2]  # ties, too

    def node_masks(order: list[int]) -> dict[int, torch.Tensor]:
        counts = torch.tensor([sizes[tile] for tile in order])
        batch = torch.arange(len(order)).repeat_interleave(counts)
        mask = node_mask_of(torch.cat([noise[tile] for tile in order]), batch, len(order), 0.4,
                            "tile")
        return dict(zip(order, mask.split(counts.tolist()), strict=True))

    whole, image_masks = node_masks([0, 1, 2, 3, 4]), image_mask_of(patch_noise, 0.75)
    for order in ([4, 3, 2, 1, 0], [2], [4], [1, 3], [0, 4, 2]):
        assert all(torch.equal(mask, whole[tile]) for tile, mask in node_masks(order).items())
        assert torch.equal(image_mask_of(patch_noise[order], 0.75), image_masks[order])


def test_masks_are_drawn_as_they_are_made_of_noise():
    batch = torch.repeat_interleave(torch.arange(3), torch.tensor([20, 1, 9]))
    for scope in ("tile", "batch"):
        torch.manual_seed(3)
        drawn = draw_node_mask(batch, 3, 0.15, scope)
        torch.manual_seed(3)
        assert torch.equal(drawn, node_mask_of(torch.rand(30, dtype=torch.float64), batch, 3, 0.15,
                                               scope))


def test_no_node_no_mask():
    for scope in ("tile", "batch"):
        assert draw_node_mask(torch.empty(0, dtype=torch.long), 2, 0.15, scope).shape == (0,)


def test_filled_tokens_are_the_visible_ones_in_place_and_the_mask_token_elsewhere():
    mask = draw_image_mask(2, 9, 0.6, torch.device("cpu"))
    tokens, mask_token, linear = torch.randn(2, 9, 4), torch.randn(1, 1, 4), torch.nn.Linear(4, 5)
    index, hidden = split_mask(mask, check_image_mask(mask, 2, 9))
    assert mask.gather(1, hidden).all()
    fill = MaskFill(mask_token, index, 9)
    expected = torch.where(mask[..., None], mask_token, tokens)
    torch.testing.assert_close(fill(take_tokens(tokens, index)), expected)
    torch.testing.assert_close(fill(take_tokens(tokens, index), linear), linear(expected))


@pytest.mark.parametrize(("mask", "message"), [
    (torch.zeros(2, 9), "float32.*expected bool"),
    (torch.zeros(2, 8, dtype=torch.bool), r"\[2, 8\]; expected bool of shape \[2, 9\]"),
    (torch.eye(2, 9).bool() | (torch.arange(2)[:, None] == 0), "equally many"),
    (torch.ones(2, 9, dtype=torch.bool), "0 of 9 patches visible"),
    (torch.zeros(2, 9, dtype=torch.bool), "9 of 9 patches visible"),
])
def test_refused_masks(mask, message):
    with pytest.raises(ModelError, match=message):
        check_image_mask(mask, 2, 9)
