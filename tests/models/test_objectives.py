"""What pretraining learns: image targets, errors of nodes, and the contrast."""

import math

import pytest
import torch
from torch_geometric.data import Batch

from models import build_rose, build_segmenter, load_rose, save_rose
from models.coverage import patch_shares
from models.objectives import (
    Contrast,
    grouped_error,
    latent_target,
    patch_norm,
    patch_pixels,
)
from models.stated import stated_keys
from tests.models.conftest import SMALL, random_graphs, random_images, randomise
from utils.errors import ConfigError
from utils.recipes import RECIPES

OBJECTIVES = {"image_target": "latent", "osm_loss": "groups", "contrast": 0.5}


def boxes_in_view(graphs: Batch) -> Batch:
    """Give the nodes boxes of a quarter of a tile's side at random places, and 3 label codes."""
    x, draw = graphs.x, torch.Generator().manual_seed(1)
    corner = 0.75 * torch.rand(len(x), 1, 2, generator=draw)
    square = torch.tensor([[0, 0], [0.25, 0], [0.25, 0.25], [0, 0.25]])
    x[:, -11:-3] = (corner + square).flatten(1)
    x[:, -3:-1] = corner[:, 0] + 0.125
    x[:, -1] = torch.arange(len(x)) % 3
    return graphs


def test_patches_are_normalised_as_by_mae_and_back():
    pixels = 5 + 3 * torch.randn(2, 7, 768)
    expected = (pixels - pixels.mean(-1, keepdim=True)) / (
        pixels.var(-1, keepdim=True) + 1e-6) ** 0.5
    assert torch.equal(patch_norm(pixels), expected)
    torch.testing.assert_close(patch_pixels(patch_norm(pixels), pixels), pixels)
    flat = torch.full((1, 1, 768), 4.0)
    assert torch.equal(patch_norm(flat), flat * 0)
    assert torch.equal(patch_pixels(torch.zeros(1, 1, 768), flat), flat)


def test_the_loss_of_normalised_patches():
    rose = randomise(build_rose(SMALL, image_target="patch_norm"))
    images = random_images(2)
    out = rose(images, random_graphs([5, 9]))
    target = patch_norm(rose.patchify(images))[out.image_mask]
    torch.testing.assert_close(out.image_loss,
                               (out.image_pred[out.image_mask] - target).square().mean())


def test_the_loss_of_latent_targets():
    rose = randomise(build_rose(SMALL, image_target="latent"))
    images, graphs = random_images(2), random_graphs([5, 9])
    latent = torch.randn(2, 16, 64)
    mask = rose(images, graphs).image_mask
    out = rose(images, graphs, mask, latent=latent)
    assert out.image_pred.shape == latent.shape
    distance = (out.image_pred - latent)[mask].abs()
    expected = torch.where(distance < 1, distance.square() / 2, distance - 0.5).mean()
    torch.testing.assert_close(out.image_loss, expected)
    # without a momentum encoder the network's own tokens
    own = latent_target(rose.encode_image(images)[:, 1:])
    assert not own.requires_grad
    torch.testing.assert_close(own.std(-1, unbiased=False), torch.ones(2, 16), atol=1e-4, rtol=0)
    torch.testing.assert_close(rose(images, graphs, mask).image_loss,
                               rose(images, graphs, mask, latent=own).image_loss)


def test_errors_of_nodes_by_groups():
    truth = torch.zeros(4, 14)
    truth[:3, :2] = torch.tensor([[2.0, 0], [0, 5], [3, 4]])
    truth[:, -1] = 0.5
    estimate = truth.clone()
    estimate[0, :2] *= 9     # the length of a text vector does not count
    estimate[1, :2] = torch.tensor([1.0, 0])  # at a right angle
    estimate[2, -12:] += 0.1
    estimate[3, :2] = 7      # of a tag without text nothing counts
    torch.testing.assert_close(grouped_error(estimate, truth), torch.tensor([0, 1, 0.1, 0]))


def test_the_loss_by_groups_is_a_mean_over_masked_nodes():
    rose = randomise(build_rose(SMALL, osm_loss="groups"))
    graphs = random_graphs([5, 9])
    out = rose(random_images(2), graphs)
    assert out.osm_pred.shape == (out.node_mask.sum(), 524)
    torch.testing.assert_close(
        out.osm_loss, grouped_error(out.osm_pred, graphs.x[out.node_mask, :524]).mean())


def test_the_contrast_is_infonce_of_objects_and_the_patches_under_them():
    torch.manual_seed(0)
    graphs, contrast = boxes_in_view(random_graphs([5, 0, 6])), Contrast(0.5, 64, 16)
    nodes, tokens = torch.randn(11, 16), torch.randn(3, 16, 64)
    shares = patch_shares(graphs, (4, 4))
    shares[3] = 0           # an object out of view
    graphs.x[4, :512] = graphs.x[9, :512]  # the same tag under two codes: of two cities
    taking = [n for n in range(11) if n != 3]
    a = {n: contrast.node_proj(nodes[n]) for n in taking}
    p = {n: contrast.token_proj((shares[n, :, None] * tokens[graphs.batch[n]]).sum(0)
                                / shares[n].sum()) for n in taking}

    def score(n: int, m: int) -> float:
        return torch.cosine_similarity(a[n], p[m], dim=0).item() / 0.1

    def of_a_kind(n: int, m: int) -> bool:
        return n % 3 == m % 3 or {n, m} == {4, 9}

    losses = []
    for n in taking:
        among = [m for m in taking if m == n or not of_a_kind(n, m)]
        losses.append(sum(math.log(sum(map(math.exp, scores))) - score(n, n) for scores in (
            [score(n, m) for m in among], [score(m, n) for m in among])) / 2)
    loss = contrast(nodes, tokens, graphs, shares)
    assert loss.item() == pytest.approx(0.5 * sum(losses) / len(losses), rel=1e-4)
    assert contrast(nodes[:0], tokens, random_graphs([0, 0, 0]), shares[:0]) == 0


def test_objects_without_text_are_of_a_kind_by_their_code_alone():
    graphs, contrast = boxes_in_view(random_graphs([2])), Contrast(1, 64, 16)
    graphs.x[:, :512] = 0
    batch = torch.randn(2, 16), torch.randn(1, 16, 64)
    assert contrast(*batch, graphs, patch_shares(graphs, (4, 4))) > 0
    graphs.x[:, -1] = 7
    assert contrast(*batch, graphs, patch_shares(graphs, (4, 4))).item() == pytest.approx(0)


def test_codes_are_compared_within_a_city_and_texts_across():
    torch.manual_seed(0)
    graphs, contrast = boxes_in_view(random_graphs([1, 1])), Contrast(1, 64, 16)
    graphs.x[:, -1] = 7     # of another tag in the other city
    batch = torch.randn(2, 16), torch.randn(2, 16, 64)
    shares = patch_shares(graphs, (4, 4))
    graphs.name = ["lima_0_0", "new_york_0_1"]
    assert contrast(*batch, graphs, shares) > 0
    graphs.name = ["new_york_0_0", "new_york_0_1"]
    assert contrast(*batch, graphs, shares).item() == pytest.approx(0)
    graphs.name, graphs.x[1, :512] = ["lima_0_0", "new_york_0_1"], graphs.x[0, :512]
    assert contrast(*batch, graphs, shares).item() == pytest.approx(0)


def test_the_contrast_is_as_precise_as_its_network():
    graphs, contrast = boxes_in_view(random_graphs([5, 6])), Contrast(1, 64, 16)
    batch, shares = (torch.randn(11, 16), torch.randn(2, 16, 64)), patch_shares(graphs, (4, 4))
    exact = contrast.double()(*(values.double() for values in batch), graphs, shares)
    assert exact.dtype == torch.float64
    assert exact.item() == pytest.approx(contrast.float()(*batch, graphs, shares).item())


def test_of_very_many_objects_every_kth_takes_part(monkeypatch):
    torch.manual_seed(0)
    graphs, contrast = boxes_in_view(random_graphs([4, 4])), Contrast(1, 64, 16)
    nodes, tokens, shares = torch.randn(8, 16), torch.randn(2, 16, 64), patch_shares(graphs, (4, 4))
    some = boxes_in_view(random_graphs([4, 4]))
    shares_of_some = shares.clone()
    shares_of_some[[1, 2, 4, 5, 7]] = 0
    expected = contrast(nodes, tokens, some, shares_of_some)
    monkeypatch.setattr("models.objectives.MOST_OBJECTS", 3)
    torch.testing.assert_close(contrast(nodes, tokens, graphs, shares), expected)


@pytest.mark.parametrize("counts", [[0], [4, 0, 7], [1]])
def test_every_parameter_gets_a_gradient(counts):
    rose = randomise(build_rose(SMALL, **OBJECTIVES))
    out = rose(random_images(len(counts)), random_graphs(counts))
    assert torch.equal(out.loss, out.image_loss + out.osm_loss + out.contrast_loss)
    out.loss.backward()
    for name, parameter in rose.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert out.cpu().contrast_loss == out.contrast_loss


def test_in_bf16_the_contrast_stays_precise():
    rose = randomise(build_rose(SMALL, **OBJECTIVES))
    images, graphs = random_images(3), boxes_in_view(random_graphs([5, 0, 9]))
    exact = rose(images, graphs)
    with torch.autocast("cpu", torch.bfloat16):
        out = rose(images, graphs, exact.image_mask, exact.node_mask)
    for name in ("image_loss", "osm_loss", "contrast_loss"):
        value = getattr(out, name)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, getattr(exact, name), rtol=0.05, atol=0)


def test_a_file_states_the_objectives_that_are_not_the_methods(tmp_path):
    assert not OBJECTIVES.keys() & build_rose(SMALL).build.keys()
    rose = build_rose(SMALL, **OBJECTIVES)
    save_rose(tmp_path / "rose.safetensors", rose)
    back = load_rose(tmp_path / "rose.safetensors")
    assert {key: back.build[key] for key in OBJECTIVES} == OBJECTIVES
    assert torch.equal(back.contrast.node_proj.weight, rose.contrast.node_proj.weight)
    model = build_segmenter(back, "image")
    assert not any(p.requires_grad for p in back.contrast.parameters())
    assert model(random_images(1), random_graphs([3])).shape == (1, 9, 64, 64)


def test_beside_another_recipe_its_own_keys_are_stated_too():
    methods = {"osm_loss": "features", "image_target": "pixels"}
    assert stated_keys("rose", **methods) == {}
    assert RECIPES["plus"].osm_loss != "features"
    assert stated_keys("plus", **methods)["osm_loss"] == "features"
    assert stated_keys("rose", fine_input="single") == {"fine_input": "single"}


@pytest.mark.parametrize(("overrides", "message"), [
    ({"contrast": -1}, r"contrast=-1.0: must be 0 or more"),
    ({"contrast": "strong"}, r"contrast=strong: expected a number"),
    ({"image_target": "edges"}, r"image_target=edges: choose one of pixels, patch_norm, latent"),
    ({"osm_loss": "huber"}, r"osm_loss=huber: choose one of features, groups"),
])
def test_impossible_objectives(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build_rose(SMALL, **overrides)
