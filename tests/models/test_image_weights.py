"""image_weights=: files in timm's names and the DINO repositories' load entirely or not at all."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from timm.layers import SwiGLUPacked
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from models import build_rose, save_rose
from models.image_encoder import ImageEncoder
from models.image_weights import load_image_weights
from utils.errors import CheckpointError

SIZES = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2,
         "num_classes": 0}


def dinov2(**changes):
    return VisionTransformer(**SIZES | {
        "reg_tokens": 4, "no_embed_class": True, "init_values": 0.1, "mlp_layer": SwiGLUPacked,
        **changes})


def dinov3_without_biases():
    return dinov3(qkv_bias=False)


def dinov3(**changes):
    return Eva(**SIZES | {
        "use_abs_pos_emb": False, "use_rot_pos_emb": True, "rope_type": "dinov3",
        "num_reg_tokens": 4, "init_values": 0.1, "qkv_fused": True, "qkv_bias": True,
        "global_pool": "", **changes})


def drawn(vit):
    """The ViT with every weight drawn anew, none left at 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    for parameter in vit.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator) + 0.1
    return vit


def in_dinov2_names(vit):
    """A state dict as DINOv2's training writes it: blocks in parts, CLS without its position."""
    state = {**vit.state_dict(), "mask_token": torch.zeros(1, 64)}
    state["register_tokens"] = state.pop("reg_token")
    own = torch.rand(1, 1, 64)
    state["cls_token"] = state["cls_token"] - own
    state["pos_embed"] = torch.cat([own, state["pos_embed"]], 1)
    return {key.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1.")
            .replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): value
            for key, value in state.items()}


def in_dinov3_names(vit):
    state = {}
    for key, value in vit.state_dict().items():
        if key.endswith("q_bias"):
            bias = torch.cat([value, torch.rand(64), vit.state_dict()[key.replace("q_", "v_")]])
            state[key.replace("q_bias", "qkv.bias")] = bias
            state[key.replace("q_bias", "qkv.bias_mask")] = torch.full([192], torch.nan)
        elif not key.endswith("v_bias"):
            state[key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma")
                  .replace("reg_token", "storage_tokens")] = value
            if key.endswith("qkv.weight"):  # the ViT may have no biases, the file does, of 0
                state.setdefault(key.replace("weight", "bias"), torch.zeros(192))
    return {**state, "mask_token": torch.zeros(1, 64),
            "rope_embed.periods": torch.ones(8, dtype=torch.bfloat16)}


@pytest.mark.parametrize(("make", "renamed", "wrapped"), [
    (dinov2, dict, lambda state: state),
    (dinov2, in_dinov2_names, lambda state: {"teacher": {
        **{f"backbone.{key}": value for key, value in state.items()},
        "dino_head.mlp.0.weight": torch.ones(3)}, "iteration": 7}),
    (dinov3, dict, lambda state: {"model": state}),
    (dinov3, in_dinov3_names, lambda state: {"state_dict": {
        f"module.{key}": value for key, value in state.items()}}),
    (dinov3_without_biases, in_dinov3_names, dict),
], ids=["timm's VisionTransformer", "DINOv2's", "timm's Eva", "DINOv3's", "without biases"])
def test_weights_arrive_whatever_their_names(tmp_path, capsys, make, renamed, wrapped):
    vit, expected = make(), drawn(make())
    torch.save(wrapped(renamed(expected) if renamed is not dict else expected.state_dict()),
               tmp_path / "weights.pth")
    load_image_weights(vit, str(tmp_path / "weights.pth"), "a_vit")
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(vit.state_dict()[name], value)
    assert capsys.readouterr().out == ""  # timm's filter prints


def test_safetensors_start_a_rose_with_its_own_positions(tmp_path):
    path = tmp_path / "weights.safetensors"
    trained = drawn(ImageEncoder("test_vit", positions="own"))
    save_file({key: value.contiguous() for key, value in trained.state_dict().items()}
              | {"head.weight": torch.ones(5, 64)}, path)
    rose = build_rose("test_vit", image_weights=path)
    assert rose.build["image_positions"] == "own"
    assert str(path) not in str(rose.build)
    for name, value in trained.state_dict().items():
        assert torch.equal(rose.image_encoder.state_dict()[name], value)
    paper = build_rose("test_vit", image_weights=path, image_positions="rose").image_encoder
    assert torch.equal(paper.patch_embed.proj.weight, trained.patch_embed.proj.weight)
    assert paper.pos_embed is None


def test_learned_positions_of_another_image_size_are_resampled(tmp_path):
    torch.save(drawn(dinov2(img_size=64)).state_dict(), tmp_path / "weights.pt")
    vit = dinov2()
    load_image_weights(vit, str(tmp_path / "weights.pt"), "a_vit")
    assert vit.pos_embed.shape == (1, 16, 64)
    assert vit.pos_embed.min() > 0.05


class Harm:
    def __reduce__(self):
        return print, ("harm",)


def write(path, state):
    torch.save(state, path)


def one_changed(name, value):
    def make(path):
        write(path, dinov2().state_dict() | {name: value})
    return make


def write_pickle(path):
    path.write_bytes(pickle.dumps(Harm()))


def wrapped_in_itself(path):
    state = {}
    state["model"] = state
    write(path, state)


BAD = {
    "no file": (lambda path: None, "no such file; give a .safetensors, or a file of torch.save"),
    "a folder": (lambda path: path.mkdir(), "is a folder; give"),
    "empty": (lambda path: path.touch(), r"cannot be read \(empty file\)"),
    "code": (write_pickle, r"holds pickled Python objects, refused .*torch\.save\(model\.state"),
    "a list": (lambda path: write(path, [1]), r"the content is \[1\], expected weights by their"),
    "nothing": (lambda path: write(path, {}), "expected a network's weights by their names"),
    "itself": (wrapped_in_itself, "the weight model is .*expected a tensor"),
    "a number": (one_changed("norm.weight", 3), r"the weight norm\.weight is 3, expected a tensor"),
    "not finite": (one_changed("norm.weight", torch.full([64], torch.nan)),
                   r"the weight norm\.weight is not finite"),
    "other names": (lambda path: write(path, {"layer.0.weight": torch.ones(1)}),
                    r"its names \(layer\.0\.weight\) are not those of a ViT in timm"),
    "another width": (lambda path: write(path, dinov2(embed_dim=96).state_dict()),
                      r"another size or patch \(width 96, 2 blocks and patches of 8 px\) than "
                      r"image_encoder=a_vit \(width 64, 2 blocks and patches of 8 px\)"),
    "another depth": (lambda path: write(path, dinov2(depth=3).state_dict()), "width 64, 3 blocks"),
    "another patch": (lambda path: write(path, dinov2(patch_size=16).state_dict()),
                      r"another size or patch .*patches of 16 px.*choose the image_encoder="),
    "another family": (lambda path: write(path, dinov3().state_dict()),
                       r"does not fit image_encoder=a_vit \(missing: .*unexpected: .*"),
    "no registers": (lambda path: write(path, dinov2(reg_tokens=0).state_dict()),
                     r"missing: reg_token\)"),
    "one shape": (one_changed("norm.weight", torch.ones(5)),
                  r"wrong shape: norm\.weight \[5\] instead of \[64\]"),
    "huge block number": (one_changed(f"blocks.{'9' * 4000}.x", torch.ones(1)), "unexpected"),
}


@pytest.mark.parametrize("case", BAD)
def test_other_files_are_refused_in_one_line(tmp_path, case):
    make, message = BAD[case]
    path = tmp_path / "weights.pth"
    make(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_image_weights(dinov2(), str(path), "a_vit")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"image_weights={path}: ")


def test_biases_are_not_lost_without_a_word(tmp_path):
    path = tmp_path / "weights.pth"
    write(path, in_dinov3_names(drawn(dinov3())))
    with pytest.raises(CheckpointError, match=r"qkv\.bias is not 0, and image_encoder=vit_small_"
                                              r"patch16_dinov3 has no .*dinov3_qkvb"):
        load_image_weights(dinov3(qkv_bias=False), str(path), "vit_small_patch16_dinov3")


@pytest.mark.parametrize("file", ["rose.safetensors", "rose.pth"])
def test_a_whole_rose_is_no_image_encoder(tmp_path, file):
    rose = build_rose("test_vit")
    if file.endswith("pth"):
        write(tmp_path / file, {"model": rose.state_dict()})
    else:
        save_rose(tmp_path / file, rose)
    with pytest.raises(CheckpointError, match=rf"holds a whole Rose.*checkpoint=.*{file}"):
        build_rose("test_vit", image_weights=tmp_path / file)
