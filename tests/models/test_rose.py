"""What a caller of Rose may rely on."""

import copy

import pytest
import torch
from torch_geometric.data import Batch, Data

from models import Rose, build_regressor, build_rose, build_segmenter
from tests.models.conftest import SMALL, random_graphs, random_images, randomise
from utils.errors import ConfigError, ModelError


def test_shapes(rose):
    images, graphs = random_images(3, 64, 96), random_graphs([5, 0, 30])
    out = rose(images, graphs)
    assert out.image_pred.shape == (3, 24, 768)
    assert out.image_mask.shape == (3, 24)
    assert out.node_mask.shape == (35,)
    assert out.osm_pred.shape == (out.node_mask.sum(), 524)
    assert out.node_mask.sum() == 1 + int(0.15 * 30)
    assert out.loss == out.image_loss + out.osm_loss
    assert rose.encode_image(images).shape == (3, 25, 64)
    nodes, readout = rose.encode_osm(graphs)
    assert nodes.shape == (35, 128)
    assert readout.shape == (3, 256)
    assert rose.fuse(images, graphs, "global").shape == (3, 25, 64)
    assert rose.fuse(images, graphs, "fine").shape == (3, 24, 64)
    assert rose.osm_attention(images, graphs, torch.tensor([34, 2])).shape == (2, 8, 25)


def test_patches_and_images_are_inverse(rose):
    images = random_images(2, 32, 48)
    pixels = rose.patchify(images)
    torch.testing.assert_close(rose.unpatchify(pixels, (2, 3)), images)
    # row, column, channel last
    torch.testing.assert_close(pixels[1, 4, 3 * (16 * 2 + 5) + 1], images[1, 1, 16 + 2, 16 + 5])


def test_losses_are_the_mean_over_what_was_hidden(rose):
    images, graphs = random_images(2), random_graphs([5, 9])
    out = rose(images, graphs)
    pixels = rose.patchify(images)[out.image_mask]
    torch.testing.assert_close(out.image_loss,
                               (out.image_pred[out.image_mask] - pixels).square().mean())
    torch.testing.assert_close(out.osm_loss,
                               (out.osm_pred - graphs.x[out.node_mask, :524]).square().mean())


def test_forward_changes_none_of_its_inputs(rose):
    images, graphs = random_images(2), random_graphs([5, 9])
    before, graphs_before = images.clone(), copy.deepcopy(graphs)
    for call in (lambda: rose(images, graphs), lambda: rose.fuse(images, graphs, "fine"),
                 lambda: rose.osm_attention(images, graphs, [1])):
        call()
        assert torch.equal(images, before)
        for key in ("x", "edge_index", "edge_attr", "batch"):
            assert torch.equal(graphs[key], graphs_before[key])


@pytest.mark.parametrize("recipe", ["rose", "release", "rose with relations"])
@pytest.mark.parametrize("counts", [[0], [0, 0], [4, 0, 7], [0, 3], [1]])
def test_tiles_without_objects_forward_and_backward(counts, recipe):
    rose = randomise(build_rose(SMALL, recipe=recipe.split()[0],
                                relation_edges="relations" in recipe))
    images, graphs = random_images(len(counts)), random_graphs(counts)
    out = rose(images, graphs)
    out.loss.backward()
    for name, parameter in rose.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert out.loss.isfinite()
    if not sum(counts):
        assert out.osm_loss == 0
        assert out.osm_loss.requires_grad
    assert rose.fuse(images, graphs, "fine").isfinite().all()
    assert rose.fuse(images, graphs, "global").isfinite().all()


def test_an_empty_tile_reads_out_like_an_empty_graph_and_changes_no_other(rose):
    images = random_images(3)
    # one stream of numbers: the same 4 and 7 nodes
    mixed, alone = random_graphs([4, 0, 7]), random_graphs([4, 7])
    torch.testing.assert_close(rose.encode_osm(mixed)[1][[0, 2]], rose.encode_osm(alone)[1])
    torch.testing.assert_close(rose.encode_osm(mixed)[1][1:2],
                               rose.encode_osm(random_graphs([0]))[1])
    torch.testing.assert_close(rose.fuse(images, mixed, "fine")[[0, 2]],
                               rose.fuse(images[[0, 2]], alone, "fine"), atol=1e-5, rtol=1e-5)


def test_osm_norm_scope_decides_whether_tiles_see_each_other():
    for scope, independent in (("tile", True), ("batch", False)):
        rose = randomise(build_rose(SMALL, osm_norm_scope=scope))
        together, alone = rose.encode_osm(random_graphs([4, 7]))[0][:4], rose.encode_osm(
            random_graphs([4]))[0]
        assert torch.allclose(together, alone, atol=1e-5) == independent


def test_relation_edges_reach_the_network_only_when_asked():
    for asked in (False, True):
        rose = randomise(build_rose(SMALL, relation_edges=asked))
        graphs, changed = random_graphs([6]), random_graphs([6])
        changed.edge_attr = 7 - changed.edge_attr
        assert torch.allclose(rose.encode_osm(graphs)[0], rose.encode_osm(changed)[0]) != asked
    graphs.edge_attr = graphs.edge_attr + 9
    with pytest.raises(ModelError, match=r"relation code 1[1-4].*2, 3, 4 or 5"):
        rose.encode_osm(graphs)


def test_fine_input_once_or_twice():
    images, graphs = random_images(1), random_graphs([6])
    torch.manual_seed(0)
    rose = build_rose(SMALL).eval()
    once = rose.fuse(images, graphs, "fine")
    rose.fine_input = "double"
    assert not torch.allclose(once, rose.fuse(images, graphs, "fine"), atol=1e-3)


def test_masked_nodes_are_hidden_but_keep_their_place(rose):
    images, graphs = random_images(1), random_graphs([6], edges_per_node=0)
    hidden = torch.tensor([True, False, False, False, False, False])
    image_mask = rose(images, graphs).image_mask
    before = rose(images, graphs, image_mask, hidden).osm_pred
    graphs.x[0, :522] += 1  # what it is
    torch.testing.assert_close(rose(images, graphs, image_mask, hidden).osm_pred, before)
    graphs.x[0, 522] += 0.3  # where it is
    assert not torch.allclose(rose(images, graphs, image_mask, hidden).osm_pred, before, atol=1e-3)


def test_the_label_code_is_never_read(rose):
    graphs = random_graphs([6])
    before = rose.encode_osm(graphs)[0]
    graphs.x[:, 524] = 99
    assert torch.equal(rose.encode_osm(graphs)[0], before)


@pytest.mark.parametrize(("encoder", "size", "tokens"), [
    ("vit_tiny_patch16_224", 32, 4), ("test_vit", 48, 9), ("vit_small_patch32_224", 64, 4),
])
def test_other_vits_patches_sizes_and_node_widths(encoder, size, tokens):
    rose = build_rose(encoder, graph_in_dim=32, graph_out_dim=16)
    out = rose(random_images(2, size, size), random_graphs([3, 5], width=33))
    out.loss.backward()
    assert out.image_pred.shape[:2] == (2, tokens)
    assert out.osm_pred.shape[1] == 32
    assert all(parameter.grad is not None for parameter in rose.parameters())


def test_one_seed_one_network():
    torch.manual_seed(5)
    first = build_rose(SMALL).state_dict()
    torch.manual_seed(5)
    assert all(torch.equal(value, first[name])
               for name, value in build_rose(SMALL).state_dict().items())


def test_initialisation():
    rose = build_rose(SMALL)
    for name, parameter in rose.named_parameters():
        if ".blocks." in name or "osm_encoder." in name:
            continue
        if name.endswith("bias"):
            assert not parameter.any() or "patch_embed" in name, name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        elif "token" in name and parameter.ndim == 3:
            assert 0.01 < parameter.std() < 0.03, name
        elif parameter.ndim == 2:
            bound = (6 / sum(parameter.shape)) ** 0.5
            assert 0.9 * bound < parameter.abs().max() <= bound, name


@pytest.mark.parametrize(("call", "message"), [
    (lambda rose: rose(torch.zeros(1, 3, 60, 64), random_graphs([2])),
     "64 x 60 px.*multiples of the patch side 16"),
    (lambda rose: rose(torch.zeros(1, 4, 64, 64), random_graphs([2])),
     r"\[1, 4, 64, 64\]; expected \[B, 3, H, W\]"),
    (lambda rose: rose(random_images(2), random_graphs([2])), "1 graphs for 2 images"),
    (lambda rose: rose(random_images(1), random_graphs([2], width=300)),
     r"\[2, 300\]; expected \[N, 525\]"),
    (lambda rose: rose(random_images(1), Data(x=torch.zeros(1, 525))),
     "Data; expected a torch_geometric Batch"),
    (lambda rose: rose(random_images(1), random_graphs([2]), node_mask=torch.zeros(3).bool()),
     r"\[3\]; expected bool of shape \[2\]"),
    (lambda rose: rose.fuse(random_images(1), random_graphs([2]), "both"),
     "mode=both: choose global or fine"),
    (lambda rose: rose.osm_attention(random_images(1), random_graphs([2]), [2]),
     "the batch has 2 nodes"),
    (lambda rose: build_rose("vit_nonesuch"), "image_encoder=vit_nonesuch: timm knows no such "
                                              "model"),
    (lambda rose: build_rose("test_vit.nosuch"), "image_encoder=test_vit.nosuch: timm cannot "
                                                 "build it"),
    (lambda rose: rose.encode_osm(random_graphs([2], width=100)),
     r"\[2, 100\]; expected \[N, 525\]"),
    (lambda rose: build_regressor(rose, "osm")(random_images(2), random_graphs([2])),
     "1 graphs for 2 images"),
    (lambda rose: build_rose("resnet18"), "image_encoder=resnet18: ResNet is no plain ViT"),
    (lambda rose: build_rose(SMALL, img_mask_ratio=1.0), "img_mask_ratio=1.0: a mask ratio lies "
                                                         "between"),
    (lambda rose: Rose(SMALL, image_mean=[0.5]), r"image_mean=\[0.5\]: expected a number for each"),
    (lambda rose: rose(random_images(1), random_graphs([2]), latent=torch.zeros(1, 16, 64)),
     "latent: image_target=pixels learns no tokens; leave latent out"),
    (lambda rose: build_rose(SMALL, image_target="latent")(
        random_images(1), random_graphs([2]), latent=torch.zeros(1, 17, 64)),
     r"latent: shape \[1, 17, 64\]; expected \[1, 16, 64\], a token of each patch"),
    (lambda rose: build_rose(SMALL, image_target="latent")(
        random_images(1), random_graphs([2]), latent=torch.zeros(16, 64)),
     r"latent: shape \[16, 64\]; expected \[1, 16, 64\]"),
    (lambda rose: Rose(SMALL, graph_in_dim=8, placement="coverage"),
     "graph_in_dim=8: placement=coverage reads a node's last 12 columns, .*; expected 12 or more, "
     "or leave placement out"),
    (lambda rose: Rose(SMALL, graph_in_dim=8, osm_loss="groups"), "=8: osm_loss=groups reads a"),
    (lambda rose: Rose(SMALL, graph_in_dim=8, contrast=0.1), "=8: contrast=0.1 reads a"),
    (lambda rose: build_rose(SMALL, graph_in_dim=522)(random_images(1),
                                                      random_graphs([2], width=523)),
     "width=522.*divisible by 4"),
    (lambda rose: build_rose(SMALL, mask_ratio=0.5), "mask_ratio=0.5: build_rose knows no such "
                                                     "argument; it takes graph_in_dim"),
    (lambda rose: build_segmenter(rose, "text"), "modality=text: choose one of image, osm, fusion, "
                                                 "fine, osm_raster, image_osm_raster"),
    (lambda rose: build_segmenter(rose, "image", "unet"), "decoder=unet: choose one of linear, "
                                                          "mask_transformer"),
    (lambda rose: build_regressor(rose, "fine"), "modality=fine: choose one of image, osm, fusion"),
])
def test_what_does_not_fit_is_refused(call, message, rose):
    with pytest.raises(ModelError, match=message):
        call(rose)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"recipe": "paper"}, "recipe=paper: unknown recipe; choose one of rose, release"),
    ({"osm_norm_scope": "node"}, "osm_norm_scope=node: choose one of tile, batch"),
])
def test_unknown_recipes_and_values(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_rose(SMALL, **arguments)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"osm_layers": 3}, "osm_layers=3: must be 1 or more and 2 or less"),
    ({"feed_forward": "foo"}, "feed_forward=foo: choose one of linear, residual"),
    ({"placement": "foo"}, "placement=foo: choose one of tile, coverage"),
    ({"image_target": "foo"}, "image_target=foo: choose one of pixels"),
    ({"contrast": -1}, "contrast=-1.0: must be 0 or more"),
    ({"neighbours": -1}, "neighbours=-1: must be 0 or more"),
    ({"image_skip": "maybe"}, "image_skip=maybe: expected true or false"),
])
def test_a_rose_takes_what_its_keys_take(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Rose(SMALL, **arguments)


def test_the_narrowest_nodes_that_have_a_geometry():
    rose = Rose(SMALL, graph_in_dim=12, placement="coverage", osm_loss="groups", contrast=0.1)
    rose(random_images(1), random_graphs([3], width=13)).loss.backward()
    assert rose.osm_pred.weight.grad.isfinite().all()


def test_a_batch_of_graphs_survives_a_device_move(rose):
    graphs = Batch.from_data_list(random_graphs([3, 2]).to_data_list()).to("cpu")
    assert rose.encode_osm(graphs)[0].shape == (5, 128)
