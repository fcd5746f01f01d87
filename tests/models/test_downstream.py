"""Segmenters and regressors on every representation."""

import pytest
import torch
import torch.nn.functional as F

from models import build_regressor, build_rose, build_segmenter, registry
from models.downstream import build_decoder
from models.pyramid import PyramidDecoder, layer_indices
from tests.models.conftest import SMALL, random_graphs, random_images, randomise
from utils.errors import ModelError


@pytest.mark.parametrize(("modality", "decoder"), [
    (modality, decoder) for modality in registry.segmentation_modalities()
    for decoder in registry.decoder_names() if (modality, decoder) != ("osm", "pyramid")])
def test_segmenter(modality, decoder):
    segmenter = build_segmenter(randomise(build_rose(SMALL)), modality, decoder, num_classes=5)
    logits = segmenter(random_images(3, 64, 96), random_graphs([4, 0, 1]))
    assert logits.shape == (3, 5, 64, 96)
    logits.square().sum().backward()
    assert_trained_parts_get_gradients(segmenter)


@pytest.mark.parametrize("modality", registry.regression_modalities())
def test_regressor(modality):
    regressor = build_regressor(randomise(build_rose(SMALL)), modality)
    regressor.decoder.bias.data.fill_(100.0)  # away from the ReLU's zero
    estimates = regressor(random_images(2), random_graphs([4, 3]))
    assert estimates.shape == (2, 1)
    estimates.sum().backward()
    assert_trained_parts_get_gradients(regressor)


@pytest.mark.parametrize("modality", registry.MODALITIES)
def test_a_modality_gives_what_its_line_says(modality):
    line = registry.MODALITIES[modality]
    representation = registry.load(line.home)
    assert set(line.gives) == {name for name in ("tokens", "vector")
                               if getattr(representation, name) is not None}


def assert_trained_parts_get_gradients(module):
    """DDP waits for every trainable parameter; those off the path must be frozen."""
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in module.named_parameters()
                       if parameter.grad is not None}
    assert any(name.startswith("rose.") for name in trained)
    assert any(name.startswith("decoder.") for name in trained)


def test_linear_segmentation_by_hand():
    rose = randomise(build_rose(SMALL))
    segmenter = build_segmenter(rose, "image")
    images, graphs = random_images(1, 64, 96), random_graphs([2])
    scores = segmenter.decoder.head(rose.encode_image(images)[:, 1:]).reshape(1, 4, 6,
                                                                              9).permute(0, 3, 1,
                                                                                         2)
    torch.testing.assert_close(segmenter(images, graphs),
                               F.interpolate(scores, (64, 96), mode="bilinear",
                                             align_corners=False))


def test_a_regression_head_starts_as_a_sum_and_is_never_negative():
    regressor = build_regressor(build_rose(SMALL), "image")
    assert (regressor.decoder.weight == 1).all()
    assert (regressor.decoder.bias == 0).all()
    regressor.decoder.bias.data.fill_(-1e6)
    assert (regressor(random_images(2), random_graphs([1, 1])) == 0).all()


def test_mask_transformer_scores_are_normalised_over_the_classes():
    decoder = build_segmenter(build_rose(SMALL), "image", "mask_transformer").decoder.eval()
    scores = decoder(torch.randn(2, 7, 64))
    torch.testing.assert_close(scores.mean(-1), torch.zeros(2, 7), atol=1e-5, rtol=0)


@pytest.mark.parametrize("modality", ["image", "fusion", "fine"])
def test_layers_end_with_the_tokens_and_begin_in_the_encoder(modality):
    rose = randomise(build_rose(SMALL))
    images, graphs = random_images(2, 48, 32), random_graphs([4, 1])
    representation = registry.load(registry.MODALITIES[modality].home)
    layers = representation.layers(rose, images, graphs)
    torch.testing.assert_close(layers[-1], representation.tokens(rose, images, graphs))
    encoder = rose.image_encoder
    embedded = torch.cat([encoder.cls_token.expand(2, -1, -1), encoder.embed(images).tokens], 1)
    block_3 = encoder.blocks[:3](encoder.norm_pre(embedded))
    torch.testing.assert_close(layers[1], encoder.norm(block_3)[:, 1:])


def test_layers_are_evenly_spaced():
    assert [layer_indices(depth) for depth in (24, 12, 6, 3, 1)] == [
        [5, 11, 17, 23], [2, 5, 8, 11], [0, 2, 3, 5], [0, 0, 1, 2], [0, 0, 0, 0]]


def test_a_pyramid_reads_all_scales_and_answers_on_the_finest():
    torch.manual_seed(0)
    decoder = PyramidDecoder(64, 5)
    layers = torch.randn(2, 4, 15, 64, requires_grad=True)
    scores = decoder(layers, (3, 5))
    assert scores.shape == (2, 5, 12, 20)
    scores[:, :, 5, 9].sum().backward()
    used = layers.grad.norm(dim=-1)[0] > 0  # [4, L]
    # 3 x 3 pixels of each level's own scale, and those that they are interpolated from
    assert used.sum(1).tolist() == [1, 9, 12, 15]
    assert decoder(torch.randn(1, 4, 1, 64), (1, 1)).shape == (1, 5, 4, 4)


def test_a_pyramid_begins_without_a_checkerboard():
    for scale in PyramidDecoder(64, 5).scales[:2]:
        doubled = scale[0](torch.randn(1, 64, 2, 3))
        torch.testing.assert_close(doubled, F.interpolate(doubled[..., ::2, ::2], scale_factor=2))


def test_a_pyramid_of_a_modality_without_layers(monkeypatch):
    monkeypatch.setitem(registry.MODALITIES, "beside", registry.Modality(
        "tests.toys:BESIDE", ("tokens", "vector"), ("image", "osm")))
    with pytest.raises(ModelError, match="decoder=pyramid: reads layers of the image encoder, "
                                         "which modality=beside does not have; choose "
                                         "modality=image or modality=fusion or modality=fine"):
        build_segmenter(build_rose(SMALL), "beside", "pyramid")


def test_a_width_that_no_head_divides():
    with pytest.raises(ModelError, match="token width 96 is no multiple of 64"):
        build_decoder("mask_transformer", 96, 5)
