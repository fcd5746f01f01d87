"""Image encoders of every kind: what is computed is what timm computes."""

import pytest
import timm
import torch
from torch import Tensor, nn

from models import build_rose, linear, load_rose, registry, save_rose
from models.block import Block, EvaBlock
from models.compiled import compile_network
from models.image_encoder import ImageEncoder
from models.image_families import create_vit
from models.network_file import NetworkFile
from models.rose import Rose
from tests.models.conftest import random_graphs, random_images, randomise
from tests.small_vits import FAMILIES, LINES
from training.own_city import width_of
from utils.errors import CheckpointError, ModelError

GRID = (3, 5)  # rows and columns, of another shape than any was trained on


@pytest.fixture(autouse=True)
def small_vits(monkeypatch):
    """Registered, with products of any size by the functions that large networks use."""
    monkeypatch.setattr(linear, "FEWEST_PRODUCTS", 1)
    for name, line in LINES.items():
        monkeypatch.setitem(registry.IMAGE_ENCODERS, name, line)


def encoder_and_vit(name: str) -> tuple[ImageEncoder, nn.Module]:
    """An encoder with own positions, and timm's model with the same weights for images of GRID."""
    encoder, vit = randomise(ImageEncoder(name, positions="own")), create_vit(name).eval()
    theirs = dict(vit.named_parameters())
    with torch.no_grad():
        for key, parameter in encoder.named_parameters():
            key = key if key in theirs else {"reg_token": "dist_token"}.get(key, f"fc_{key}")
            theirs[key].copy_(parameter)
    vit.set_input_size(tuple(encoder.patch * count for count in GRID))
    return encoder, vit


def images_for(encoder: ImageEncoder) -> Tensor:
    return random_images(2, *(encoder.patch * count for count in GRID))


def timms_tokens(vit: nn.Module, images: Tensor, mask: Tensor | None = None) -> Tensor:
    """[B, prefix + L, D] after the norm, which timm applies to what it pools in some models."""
    tokens = vit.forward_features(images, attn_mask=mask)
    return vit.fc_norm(tokens) if isinstance(vit.norm, nn.Identity) else tokens


def with_cls(vit: nn.Module, tokens: Tensor, patches: Tensor) -> Tensor:
    cls = patches.mean(1, keepdim=True) if vit.cls_token is None else tokens[:, :1]
    return torch.cat([cls, patches], 1)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_the_whole_pass_is_timms(name):
    encoder, vit = encoder_and_vit(name)
    images = images_for(encoder)
    tokens = timms_tokens(vit, images)
    patches = tokens[:, vit.num_prefix_tokens:]
    torch.testing.assert_close(encoder.encode(encoder.embed(images))[0],
                               with_cls(vit, tokens, patches), atol=1e-5, rtol=1e-5)
    for found, theirs in zip(
            encoder.layers(images, [1, 0]),
            reversed(vit.forward_intermediates(images, [0, 1], norm=True, output_fmt="NLC",
                                               intermediates_only=True)), strict=True):
        theirs = vit.fc_norm(theirs) if isinstance(vit.norm, nn.Identity) else theirs
        torch.testing.assert_close(found, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_the_masked_pass_is_timms_with_only_visible_keys(name):
    encoder, vit = encoder_and_vit(name)
    images, prefix = images_for(encoder), vit.num_prefix_tokens
    shown = torch.tensor([[0, 3, 7, 11, 14], [1, 2, 4, 9, 13]])
    keys = torch.zeros(2, prefix + 15, dtype=torch.bool)
    keys[:, :prefix] = True
    keys.scatter_(1, shown + prefix, True)
    tokens = timms_tokens(vit, images, keys[:, None, None].expand(-1, -1, prefix + 15, -1))
    patches = torch.stack([row[index + prefix] for row, index in zip(tokens, shown, strict=True)])
    embedded = encoder.embed(images)
    masked, whole = encoder.encode(embedded.take(shown), embedded)
    torch.testing.assert_close(masked, with_cls(vit, tokens, patches), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole, encoder.encode(embedded)[0])


@pytest.mark.parametrize("positions", ["rose", "own"])
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_every_parameter(name, positions):
    rose = randomise(build_rose(name, image_positions=positions)).train()
    rose.checkpoint_activations = name == "mixed_rope"
    out = rose(images_for(rose.image_encoder), random_graphs([4, 9]))
    out.loss.backward()
    assert [key for key, parameter in rose.named_parameters()
            if parameter.grad is None or not parameter.grad.any()] == []


@pytest.mark.parametrize("name", ["mixed_rope", "registers"])
def test_recomputed_activations_change_nothing(name):
    rose, found = randomise(build_rose(name, image_positions="own")), []
    images, graphs = images_for(rose.image_encoder), random_graphs([4, 9])
    masks = torch.arange(15).expand(2, -1) % 3 != 0, torch.arange(13) % 4 == 0
    for recompute in (False, True):
        rose.checkpoint_activations = recompute
        rose.zero_grad()
        rose(images, graphs, *masks).loss.backward()
        found.append([parameter.grad.clone() for parameter in rose.parameters()])
    torch.testing.assert_close(*found)


def test_blocks_that_only_have_other_names_take_our_kernels():
    kinds = {name: type(ImageEncoder(name).blocks[0]) for name in FAMILIES}
    theirs = {"rms_swiglu", "eva02", "eva_post_norm", "sapiens"}
    assert {name for name, kind in kinds.items() if not issubclass(kind, Block)} == theirs
    assert {name for name, kind in kinds.items() if kind is EvaBlock} == {
        "dinov3", "mixed_rope", "perception", "rope_registers"}


def test_rotary_blocks_compile():
    encoder = randomise(ImageEncoder("dinov3", positions="own"))
    embedded = encoder.embed(images_for(encoder))
    both = embedded.take(torch.tensor([[0, 3, 7], [1, 2, 14]])), embedded
    expected = encoder.encode(*both)
    compile_network(encoder, backend="eager")
    torch.testing.assert_close(encoder.encode(*both), expected)


def test_rose_has_positions_cls_and_norm_of_its_own():
    rose = build_rose("dinov3")
    names = {key for key, _ in rose.image_encoder.named_parameters() if ".blocks" not in f".{key}"}
    assert names == {"patch_embed.proj.weight", "patch_embed.proj.bias", "cls_token",
                     "norm.weight", "norm.bias"}
    assert "image_positions" not in rose.build
    own = build_rose("dinov3", pretrained=True)
    assert own.build["image_positions"] == "own"
    assert own.image_encoder.reg_token.shape == (1, 4, 64)


def test_training_scales_no_rotary_positions():
    """timm draws a scale in training; then a tile's features would depend on the draw."""
    encoder = randomise(ImageEncoder("dinov3", positions="own")).train()
    images = images_for(encoder)
    found = [encoder.encode(encoder.embed(images))[0] for _ in range(2)]
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_a_table_made_for_inference_serves_training():
    encoder = ImageEncoder("eva02", positions="own")
    with torch.inference_mode():
        encoder.encode(encoder.embed(images_for(encoder)))
    encoder.encode(encoder.embed(images_for(encoder)))[0].sum().backward()


@pytest.mark.parametrize("name", ["dinov3", "registers", "mixed_rope"])
def test_a_file_keeps_them(name, tmp_path):
    rose = randomise(build_rose(name, image_positions="own", graph_in_dim=32))
    path = tmp_path / "rose.safetensors"
    save_rose(path, rose)
    loaded = load_rose(path).eval()
    images = images_for(loaded.image_encoder)
    assert torch.equal(loaded.encode_image(images), rose.encode_image(images))
    assert NetworkFile(path).build["image_positions"] == "own"
    assert load_rose(path, image_positions="own").build == rose.build
    with pytest.raises(CheckpointError, match=r"rose\.safetensors: was made with "
                                              "image_positions=own, not rose; leave image_pos"):
        load_rose(path, image_positions="rose")


def test_a_file_that_says_nothing_has_roses(tmp_path):
    save_rose(tmp_path / "rose.safetensors", build_rose("registers", graph_in_dim=32))
    with pytest.raises(CheckpointError, match="image_positions=rose, not own"):
        load_rose(tmp_path / "rose.safetensors", image_positions="own")
    assert load_rose(tmp_path / "rose.safetensors").image_encoder.positions == "rose"


def test_the_tag_of_weights_goes_to_timm(monkeypatch):
    asked, vit = [], registry.load(LINES["dinov3"])(pretrained=False)

    def create(name: str, pretrained: bool, num_classes: int) -> nn.Module:
        asked.append((name, pretrained))
        return vit

    monkeypatch.setattr(timm, "create_model", create)
    name = "vit_large_patch16_dinov3.sat493m"
    rose: Rose = build_rose(name, pretrained=True)
    assert (asked[-1], rose.build["image_encoder"]) == ((name, True), name)


def test_the_width_of_todays_encoders_is_known():
    assert [width_of(name) for name in ("vit_large_patch16_dinov3.sat493m",
                                        "vit_small_patch14_reg4_dinov2",
                                        "vit_base_patch16_siglip_224")] == [1024, 384, 768]


@pytest.mark.parametrize(("build", "message"), [
    ({"image_encoder": "resnet18", "pretrained": True},
     "image_encoder=resnet18: ResNet is no plain ViT, .*such as vit_base_patch16_224, vit_small"),
    ({"image_encoder": "swin_tiny_patch4_window7_224"}, "SwinTransformer is no plain ViT"),
    ({"image_encoder": "hiera_tiny_224"}, "Hiera is no plain ViT"),
    ({"image_encoder": "mvitv2_tiny"}, "MultiScaleVit is no plain ViT"),
    ({"image_encoder": "vit_small_r26_s32_224"},
     "VisionTransformer over HybridEmbed is no plain ViT"),
    ({"image_encoder": "narrow"}, "image_encoder=narrow: has the width 72; .* a multiple of 16"),
    ({"image_encoder": "plain", "image_positions": "learned"},
     "image_positions=learned: choose one of rose, own"),
    ({"image_encoder": "plain", "image_positions": "own", "recipe": "release"},
     "image_positions=own: recipe=release has the authors' fixed positions; leave"),
])
def test_what_cannot_be_an_encoder_is_refused(build, message, monkeypatch):
    monkeypatch.setitem(registry.IMAGE_ENCODERS, "narrow", "tests.models.test_encoders:narrow")
    with pytest.raises(ModelError, match=message):
        build_rose(**build)


def narrow(pretrained: bool) -> nn.Module:
    return registry.load(LINES["plain"])(pretrained, embed_dim=72)


@pytest.mark.parametrize("indices", [[], [2], [-1, 0]])
def test_layers_of_blocks_that_there_are(indices):
    with pytest.raises(ModelError, match="expected numbers of the encoder's 2 blocks, 0 to 1"):
        ImageEncoder("plain").layers(random_images(1), indices)
