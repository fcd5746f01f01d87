"""The backbone: what timm's feature extractors, heads, rates and configurations take of it."""

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from timm.models._features import FeatureGetterNet
from timm.optim.optim_factory import param_groups_layer_decay

from models import build_rose, registry
from tests.models.conftest import SMALL, random_graphs, random_images, randomise
from tests.small_vits import LINES
from utils.errors import ModelError

EVERY = ("image", "fusion", "fine")


def batch(height: int = 64, width: int = 96):
    return random_images(2, height, width), random_graphs([4, 3])


@pytest.fixture
def twins():
    """A timm ViT, and the backbone of a Rose that has its weights, positions and all."""
    torch.manual_seed(0)
    vit = randomise(timm.create_model(SMALL, num_classes=0))
    rose = build_rose(SMALL, image_positions="own").eval()
    encoder = rose.image_encoder

    encoder.load_state_dict(vit.state_dict())
    return vit, rose.as_backbone()


def test_with_own_positions_it_is_timms_vit(twins):
    vit, backbone = twins
    images = random_images(2, 160, 160)
    torch.testing.assert_close(backbone.forward_features(images), vit.forward_features(images),
                               atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(backbone(images), vit(images), atol=1e-5, rtol=1e-5)
    for asked in ({}, {"indices": 2, "norm": True}, {"indices": [-1, 1], "output_fmt": "NLC"},
                  {"indices": [0], "stop_early": True},
                  {"indices": [1, 3], "return_prefix_tokens": True}):
        for ours, theirs in zip(backbone.forward_intermediates(images, **asked),
                                vit.forward_intermediates(images, **asked), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_it_describes_itself_as_timms_vit_does(twins):
    vit, backbone = twins
    for name in ("num_features", "embed_dim", "head_hidden_size", "num_prefix_tokens",
                 "num_reg_tokens", "num_classes"):
        assert getattr(backbone, name) == getattr(vit, name), name
    assert backbone.patch_embed.grid_size == vit.patch_embed.grid_size
    ours, theirs = (resolve_model_data_config(model) for model in (backbone, vit))
    assert [ours[name] for name in ("mean", "std", "input_size")] == [
        theirs[name] for name in ("mean", "std", "input_size")]
    for mine, timms in zip(backbone.feature_info, vit.feature_info, strict=True):
        assert mine == timms | {"module": f"rose.image_encoder.{timms['module']}"}
        assert backbone.get_submodule(mine["module"]) is backbone.blocks[
            int(mine["module"].rpartition(".")[2])]


@pytest.mark.parametrize("modality", EVERY)
def test_a_feature_getter_reads_maps_of_every_modality(modality):
    images, graphs = batch()
    backbone = randomise(build_rose(SMALL)).as_backbone(modality)
    backbone.graphs = graphs
    getter = FeatureGetterNet(backbone, out_indices=(1, 3, 5), norm=True)
    maps = getter(images)
    assert [tuple(each.shape) for each in maps] == [(2, 64, 4, 6)] * 3
    assert getter.feature_info.channels() == [64, 64, 64]
    assert getter.feature_info.reduction() == [16, 16, 16]
    last = backbone.forward_features(images)[:, backbone.num_prefix_tokens:]
    torch.testing.assert_close(maps[-1].flatten(2).transpose(1, 2), last)
    inner = backbone.rose.image_encoder.layers(images, [1])[0]
    torch.testing.assert_close(maps[0].flatten(2).transpose(1, 2), inner)


@pytest.mark.parametrize("modality", EVERY)
def test_features_are_those_of_the_rose(modality):
    images, graphs = batch()
    rose = randomise(build_rose(SMALL))
    expected = {"image": lambda: rose.encode_image(images),
                "fusion": lambda: rose.fuse(images, graphs, "global"),
                "fine": lambda: rose.fuse(images, graphs, "fine")}[modality]()
    backbone = rose.as_backbone(modality)
    torch.testing.assert_close(backbone.forward_features(images, graphs), expected)
    vector = expected.mean(1) if modality == "fine" else expected[:, 0]
    torch.testing.assert_close(backbone(images, graphs), vector)
    final, (layer,) = backbone.forward_intermediates(images, 1, graphs=graphs, output_fmt="NLC")
    torch.testing.assert_close(final, expected)
    if modality != "image":  # whose last layer is before its norm
        torch.testing.assert_close(layer, expected[:, backbone.num_prefix_tokens:])


@pytest.mark.parametrize("modality", EVERY)
def test_every_trainable_parameter_gets_a_gradient(modality):
    backbone = randomise(build_rose(SMALL)).as_backbone(modality, num_classes=3).train()
    backbone.set_grad_checkpointing()
    assert backbone.rose.checkpoint_activations
    logits = backbone(*batch())
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    trained = {name for name, each in backbone.named_parameters() if each.requires_grad}
    assert trained == {name for name, each in backbone.named_parameters()
                       if each.grad is not None}
    assert {"head.weight", "rose.image_encoder.blocks.0.mlp.fc1.weight"} <= trained


def test_the_head_is_replaced_and_pools_as_asked():
    images, _ = batch()
    backbone = randomise(build_rose(SMALL)).as_backbone(num_classes=3, global_pool="avg")
    tokens = backbone.forward_features(images)
    torch.testing.assert_close(backbone.forward_head(tokens, pre_logits=True),
                               tokens[:, 1:].mean(1))
    assert backbone.get_classifier().out_features == 3
    backbone.reset_classifier(0, "")
    torch.testing.assert_close(backbone(images), tokens)


def test_rates_fall_from_the_head_to_the_patches():
    backbone = build_rose(SMALL).as_backbone("fusion", num_classes=3)
    groups = param_groups_layer_decay(
        backbone, 0.05, backbone.no_weight_decay(), layer_decay=0.5)
    scales = {id(each): group["lr_scale"] for group in groups for each in group["params"]}
    named = dict(backbone.named_parameters())
    trained = [name for name, each in named.items() if each.requires_grad]
    assert {id(named[name]) for name in trained} == scales.keys()
    assert [scales[id(named[name])] for name in (
        "head.weight", "rose.token_proj.weight", "rose.image_encoder.blocks.5.norm1.weight",
        "rose.image_encoder.blocks.0.norm1.weight",
        "rose.image_encoder.patch_embed.proj.weight")] == [1, 1, 0.5, 0.5**6, 0.5**7]
    decayed = next(group for group in groups if any(
        each is named["rose.image_encoder.cls_token"] for each in group["params"]))
    assert decayed["weight_decay"] == 0


def test_learned_rotary_frequencies_learn_with_the_patches_and_do_not_decay(monkeypatch):
    monkeypatch.setitem(registry.IMAGE_ENCODERS, "mixed_rope", LINES["mixed_rope"])
    backbone = build_rose("mixed_rope", image_positions="own").as_backbone()
    groups = param_groups_layer_decay(
        backbone, 0.05, backbone.no_weight_decay(), layer_decay=0.5)
    group, = (group for group in groups if any(
        each is backbone.rose.image_encoder.rope.freqs for each in group["params"]))
    assert (group["lr_scale"], group["weight_decay"]) == (0.5**3, 0)


@pytest.mark.parametrize(("call", "message"), [
    (lambda rose: rose.as_backbone("osm"), "modality=osm: .* choose one of image, fusion, fine"),
    (lambda rose: rose.as_backbone("fine", global_pool="token"),
     "global_pool=token: .* has no CLS"),
    (lambda rose: rose.as_backbone("image", global_pool="max"), "global_pool=max: choose one of"),
    (lambda rose: rose.as_backbone("fusion")(random_images(1)),
     "modality=fusion: .* no graphs were given, .* call backbone"),
    (lambda rose: rose.as_backbone("fusion")(random_images(1), random_graphs([1, 1])), "2"),
    (lambda rose: rose.as_backbone()(torch.zeros(1, 4, 64, 64)), "expected .B, 3, H, W."),
    (lambda rose: rose.as_backbone().forward_intermediates(random_images(1), [0, 99]),
     "indices=.0, 99.: expected numbers of the encoder's 6 blocks, -6 to 5"),
    (lambda rose: rose.as_backbone().forward_intermediates(random_images(1), output_fmt="NHWC"),
     "output_fmt=NHWC: choose NCHW or NLC"),
])
def test_what_it_cannot_do_is_said(call, message):
    with pytest.raises(ModelError, match=message):
        call(build_rose(SMALL))
