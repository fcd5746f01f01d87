"""The network against the method written out literally (direct.py): outputs, losses and
gradients."""

import pytest
import torch

from models import build_rose
from models.masking import draw_image_mask, draw_node_mask
from tests.models import direct
from tests.models.conftest import SMALL, random_graphs, random_images, randomise

CASES = {
    "three tiles": ([5, 9, 2], 3, (64, 64)),
    "one tile": ([7], 2, (64, 64)),
    "one node": ([1], 2, (48, 48)),
    "edgeless tiles": ([4, 3], 0, (64, 64)),
    "an empty tile between others": ([3, 0, 6], 2, (64, 64)),
    "not square": ([5, 4], 2, (48, 96)),
    "a crowd": ([40, 1, 17], 4, (64, 64)),
}


def batch_of(case: str):
    counts, edges, (height, width) = CASES[case]
    images, graphs = random_images(len(counts), height,
                                   width), random_graphs(counts, edges_per_node=edges)
    torch.manual_seed(3)
    image_mask = draw_image_mask(len(counts), height * width // 256, 0.75, images.device)
    return images, graphs, image_mask, draw_node_mask(graphs.batch, len(counts), 0.4, "tile")


def assert_close(found: torch.Tensor, expected: torch.Tensor, relative: float) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max().item() <= relative * max(expected.abs().max().item(),
                                                                   1) if found.numel() else True


def assert_same_gradients(rose: torch.nn.Module, found: torch.Tensor,
                          expected: torch.Tensor) -> None:
    names, parameters = zip(*rose.named_parameters(), strict=True)
    mine, theirs = (torch.autograd.grad(loss, parameters, allow_unused=True,
                                        materialize_grads=True) for loss in (found, expected))
    # where a gradient is 0 by its nature (a key's bias shifts all scores of a query alike) both
    # forms hold rounding noise
    noise = 1e-6 * torch.stack([gradient.norm() for gradient in theirs]).norm().item()
    for name, a, b in zip(names, mine, theirs, strict=True):
        assert (a - b).norm().item() <= 1e-4 * b.norm().item() + noise, name


@pytest.mark.parametrize("recipe", ["rose", "release"])
@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(case, recipe):
    rose = randomise(build_rose(SMALL, recipe=recipe))
    batch = batch_of(case)
    out = rose(*batch)
    image_loss, osm_loss, image_pred, osm_pred = direct.losses(rose, *batch)
    for found, expected in ((out.image_loss, image_loss), (out.osm_loss, osm_loss),
                            (out.image_pred, image_pred), (out.osm_pred, osm_pred)):
        assert_close(found, expected, 1e-5)
    assert_same_gradients(rose, out.loss, image_loss + osm_loss)


@pytest.mark.parametrize("fine_input", ["single", "double"])
@pytest.mark.parametrize("case", CASES)
def test_fine_fusion(case, fine_input):
    rose = randomise(build_rose(SMALL, fine_input=fine_input))
    images, graphs, *_ = batch_of(case)
    found, expected = rose.fuse(images, graphs, "fine"), direct.fuse_fine(rose, images, graphs)
    assert_close(found, expected, 1e-5)
    probe = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    assert_same_gradients(rose, (found * probe).sum(), (expected * probe).sum())


@pytest.mark.parametrize("case", CASES)
def test_global_fusion(case, rose):
    images, graphs, *_ = batch_of(case)
    grid = rose.image_encoder.grid(images)
    token = rose.graph_token_proj(rose.osm_encoder.read_out(direct.encode_osm(rose, graphs, grid),
                                                            graphs))[:, None]
    tokens = rose.token_proj(direct.encode_image(rose, images))
    expected = direct.block(rose.image_block, token, tokens, token,
                            direct.token_codes(rose.width, *grid))[1]
    assert_close(rose.fuse(images, graphs, "global"), expected, 1e-5)


def test_attention_in_any_order_of_nodes(rose):
    images, graphs, *_ = batch_of("three tiles")
    chosen = torch.tensor([11, 0, 7, 7, 15])
    grid = rose.image_encoder.grid(images)
    expected = direct.attend_image(rose, direct.encode_image(rose, images),
                                   direct.encode_osm(rose, graphs, grid), graphs, chosen, grid,
                                   direct.token_codes(rose.width, *grid))[2][:, :, 0]
    assert_close(rose.osm_attention(images, graphs, chosen), expected, 1e-5)


def test_half_precision_keeps_the_statistics_exact(rose):
    """Where a message nearly cancels a token, statistics in half precision would be far off
    (method: exact shortcuts)."""
    tokens = torch.randn(1, 8, rose.width).bfloat16()
    message = (-tokens[:, :3].float() + 0.02 * torch.randn(1, 3, rose.width)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scale = rose.osm_block._factors(tokens, message)[2]
    # [1, S, T, D], as LN2 meets them
    sums = tokens.double()[:, None] + message.double()[:, :, None]
    exact = (sums.var(-1, unbiased=False) + rose.osm_block.norm2.eps).rsqrt()
    assert ((scale - exact).abs() / exact).max() < 0.01
