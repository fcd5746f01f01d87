"""Segmenters and regressors on every representation."""

import pytest
import torch
import torch.nn.functional as F

from models import build_regressor, build_rose, build_segmenter, registry
from models.downstream import build_decoder
from tests.models.conftest import SMALL, random_graphs, random_images, randomise
from utils.errors import ModelError


@pytest.mark.parametrize("decoder", ["linear", "mask_transformer"])
@pytest.mark.parametrize("modality", ["image", "fusion", "fine"])
def test_segmenter(modality, decoder):
    segmenter = build_segmenter(randomise(build_rose(SMALL)), modality, decoder, num_classes=5)
    logits = segmenter(random_images(3, 64, 96), random_graphs([4, 0, 1]))
    assert logits.shape == (3, 5, 64, 96)
    logits.square().sum().backward()
    assert_trained_parts_get_gradients(segmenter)


@pytest.mark.parametrize("modality", ["image", "fusion", "osm"])
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


def test_a_width_that_no_head_divides():
    with pytest.raises(ModelError, match="token width 96 is no multiple of 64"):
        build_decoder("mask_transformer", 96, 5)
