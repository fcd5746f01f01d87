"""placement=coverage and feed_forward=residual: objects reach the patches that they cover, in the
fusion and in "image from OSM", as the formulas of docs/recipes.md say."""

import pytest
import torch
import torch.nn.functional as F

from models import build_regressor, build_rose, build_segmenter, load_rose, save_rose
from models.coverage import patch_shares
from models.rose import Rose
from tests.models import direct
from tests.models.conftest import SMALL, random_graphs, random_images, randomise
from tests.models.test_objectives import boxes_in_view

COUNTS = [5, 0, 3]
KEYS = [{"placement": "coverage"}, {"feed_forward": "residual"},
        {"placement": "coverage", "feed_forward": "residual"}]


def network(**keys) -> Rose:
    torch.manual_seed(0)
    return randomise(build_rose(SMALL, **keys))


def placed(rose: Rose, graphs, grid: tuple[int, int]) -> torch.Tensor:
    """What the objects add to each token, [B, 1 + L, D], object by object."""
    shares, nodes = patch_shares(graphs, grid), direct.encode_osm(rose, graphs, grid)
    added = torch.zeros(graphs.num_graphs, 1 + shares.shape[1], rose.width)
    if rose.placement == "coverage":
        for node, tile in enumerate(graphs.batch.tolist()):
            added[tile, 1:] += shares[node, :, None] * rose.node_proj(nodes[node])
    return added


def block(rose: Rose, tokens: torch.Tensor, graphs, grid: tuple[int, int]) -> torch.Tensor:
    """K of the block [B, 1 + L, D], of all tokens before what the objects add."""
    token = rose.graph_token_proj(rose.osm_encoder.read_out(
        direct.encode_osm(rose, graphs, grid), graphs))[:, None]
    return direct.block(rose.image_block, token, tokens + placed(rose, graphs, grid), token,
                        direct.token_codes(rose.width, *grid))[1]


@pytest.mark.parametrize("keys", KEYS)
def test_the_global_fusion_is_its_direct_form(keys):
    rose, images, graphs = network(**keys), random_images(3), boxes_in_view(random_graphs(COUNTS))
    expected = block(rose, rose.token_proj(direct.encode_image(rose, images)), graphs, (4, 4))
    torch.testing.assert_close(rose.fuse(images, graphs), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("keys", KEYS)
def test_hidden_patches_are_reconstructed_from_the_objects_on_them(keys):
    rose, images, graphs = network(**keys), random_images(3), boxes_in_view(random_graphs(COUNTS))
    out = rose(images, graphs)
    tokens = rose.image_mask_token.repeat(3, 17, 1)
    shown = F.pad(~out.image_mask, (1, 0), value=True)
    tokens[shown] = rose.token_proj(
        direct.encode_image(rose, images, out.image_mask)).flatten(0, 1)
    keys = block(rose, tokens, graphs, (4, 4)) + direct.token_codes(rose.width, 4, 4)
    expected = rose.image_pred(rose.image_decoder_norm(
        direct.vit_block(rose.image_decoder, keys)[:, 1:]))
    torch.testing.assert_close(out.image_pred, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("mode", "first"), [("global", 0), ("fine", 1)])
def test_with_the_skip_the_image_tokens_are_added_to_the_fusion(mode, first):
    images, graphs = random_images(3), random_graphs(COUNTS)
    rose, skipping = network(), network(image_skip=True)
    torch.testing.assert_close(
        skipping.fuse(images, graphs, mode),
        rose.fuse(images, graphs, mode) + rose.encode_image(images)[:, first:])


def test_the_skip_is_not_seen_by_pretraining_and_stated_by_a_file(tmp_path):
    images, graphs = random_images(3), random_graphs(COUNTS)
    losses = []
    for keys in ({}, {"image_skip": True}):
        rose = network(**keys)
        torch.manual_seed(1)
        losses.append(rose(images, graphs).loss)
    assert losses[0] == losses[1]
    save_rose(tmp_path / "rose.safetensors", rose)
    assert load_rose(tmp_path / "rose.safetensors").image_skip
    assert not load_rose(tmp_path / "rose.safetensors", image_skip=False).image_skip


def test_the_feed_forward_is_a_transformers():
    rose = network(feed_forward="residual")
    mlp, x = rose.image_block.mlp, torch.randn(2, 7, rose.width)
    assert mlp.fc1.out_features == 2 * rose.width
    torch.testing.assert_close(mlp(x), x + mlp.fc2(F.gelu(mlp.fc1(x))))


def test_an_object_speaks_to_the_patches_that_it_covers_alone():
    rose, graphs = network(placement="coverage"), random_graphs([1])
    graphs.x[:, -11:-3] = torch.tensor([0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 0.25, 0.75])
    added = rose.placed_message(graphs, (4, 4))
    assert added.shape == (1, 16, rose.width)
    assert (added.abs().sum(-1) > 1e-3).nonzero().tolist() == [[0, 2 * 4 + 1]]  # row 2, column 1
    assert network().placed_message(graphs, (4, 4)) is None


def test_without_objects_it_is_the_papers_fusion():
    images, graphs = random_images(2), random_graphs([0, 0])
    placing, paper = network(placement="coverage"), network()
    paper.load_state_dict(placing.state_dict(), strict=False)  # without osm_block.near
    torch.testing.assert_close(placing.fuse(images, graphs), paper.fuse(images, graphs))


def test_a_tile_does_not_depend_on_the_others():
    rose, images, graphs = network(recipe="plus"), random_images(3), random_graphs(COUNTS)
    alone = boxes_in_view(graphs).from_data_list([graphs[2]])
    torch.testing.assert_close(rose.fuse(images[2:], alone), rose.fuse(images, graphs)[2:],
                               atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("counts", [COUNTS, [0], [1]])
def test_every_parameter_of_the_third_recipe_gets_a_gradient(counts):
    rose = network(recipe="plus")
    rose(random_images(len(counts)), random_graphs(counts)).loss.backward()
    assert all(weight.grad.isfinite().all() for weight in rose.parameters())


@pytest.mark.parametrize("build", [build_segmenter, build_regressor])
def test_what_places_objects_is_trained_with_the_fusion(build):
    for placement in ("coverage", "tile"):
        model = build(network(placement=placement), "fusion")
        model(random_images(3), boxes_in_view(random_graphs(COUNTS))).sum().backward()
        trained = {name for name, weight in model.rose.named_parameters() if weight.requires_grad}
        assert ("node_proj.weight" in trained) == (placement == "coverage")
        assert all((weight.grad is not None) == weight.requires_grad
                   for weight in model.parameters())


def test_a_file_of_the_third_recipe_is_read_back(tmp_path):
    rose = network(recipe="plus")
    save_rose(tmp_path / "rose.safetensors", rose)
    back = load_rose(tmp_path / "rose.safetensors").eval()
    assert (back.placement, back.build) == ("coverage", rose.build)
    images, graphs = random_images(3), boxes_in_view(random_graphs(COUNTS))
    assert torch.equal(back.fuse(images, graphs), rose.fuse(images, graphs))


def test_an_objects_attention_leans_towards_the_patches_that_it_covers():
    rose, images, graphs = network(placement="coverage"), random_images(3), boxes_in_view(
        random_graphs(COUNTS))
    near, nodes = torch.linspace(-1, 3, 8), torch.arange(graphs.num_nodes)
    with torch.no_grad():
        rose.osm_block.near.zero_()
        plain = rose.osm_attention(images, graphs, nodes)
        rose.osm_block.near.copy_(near)
        leaning = rose.osm_attention(images, graphs, nodes)
    shares = F.pad(patch_shares(graphs, (4, 4)), (1, 0))                            # [N, 1 + L]
    bias = near[:, None] * (shares / shares.amax(1, keepdim=True))[:, None]         # [N, h, 1 + L]
    expected = (plain.log() + bias).softmax(-1)
    torch.testing.assert_close(leaning, expected, atol=1e-5, rtol=1e-4)


def test_heads_begin_from_those_that_look_anywhere_to_those_that_look_at_the_object():
    near = build_rose(SMALL, placement="coverage").osm_block.near
    torch.testing.assert_close(near.detach(), torch.linspace(0, 4, 8))


def test_an_object_counts_more_in_the_fine_fusion_where_it_is():
    graphs = boxes_in_view(random_graphs(COUNTS))
    plain, placing = (network(**keys).nearness(graphs, (4, 4))
                      for keys in ({}, {"placement": "coverage"}))
    torch.testing.assert_close(placing, plain * (1 + 16 * patch_shares(graphs, (4, 4))))
