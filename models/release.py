"""The authors' parameter names, and strict loading of their checkpoints into our modules."""

import re

import torch
from torch import Tensor, nn

from utils.errors import CheckpointError

# (pattern in the release, our name or None for what our network need not have); first match wins
_ROSE = [
    (r"(cross_)?img_pos_embed", None),                              # fixed tables, recomputed here
    (r"img_encoder\.(cls_token|pos_embed|norm\..*)", None),             # of timm's ViT, never used
    (r"patch_embed\..*", None),                                  # alias of img_encoder.patch_embed
    # attention to a single key
    (r"osm_cross_modal_encoder\.0\.(self_attn|cross_attn_token_to_image)\.[qk]_proj\..*", None),
    (r"img_cross_modal_encoder\.0\.cross_attn_image_to_token\.[qk]_proj\..*", None),
    (r"osm_encoder\.gcn1\.lin_dst\.weight", None),            # older PyG: a second name of lin_src
    (r"osm_encoder\.gcn1\.lin(?:_src)?\.weight", "osm_encoder.conv.lin.weight"),
    (r"osm_encoder\.gcn1\.(.*)", r"osm_encoder.conv.\1"),
    (r"cls_token", "image_encoder.cls_token"),
    (r"img_mask_token", "image_mask_token"),
    (r"osm_mask_token", "osm_encoder.mask_token"),
    (r"img_encoder\.(.*)", r"image_encoder.\1"),
    (r"img_norm\.(.*)", r"image_encoder.norm.\1"),
    (r"osm_norm\.(.*)", r"osm_encoder.norm.\1"),
    (r"osm_read_out\.(.*)", r"osm_encoder.readout.\1"),
    (r"img_decoder_mlp\.(.*)", r"token_proj.\1"),
    (r"osm_decoder_mlp\.(.*)", r"graph_token_proj.\1"),
    (r"osm_node_decoder_mlp\.(.*)", r"node_proj.\1"),
    (r"img_cross_modal_decoder\.0\.(.*)", r"image_decoder.\1"),
    (r"img_decoder_norm\.(.*)", r"image_decoder_norm.\1"),
    (r"img_decoder_pred\.(.*)", r"image_pred.\1"),
    (r"osm_decoder_norm\.(.*)", r"osm_decoder_norm.\1"),
    (r"osm_decoder_pred\.(.*)", r"osm_pred.\1"),
    *((rf"{theirs}_cross_modal_encoder\.0\.{part}(.*)", rf"{ours}_block.{name}\1")
      for theirs, ours in (("img", "image"), ("osm", "osm"))
      for part, name in ((r"cross_attn_token_to_image\.", "q2k_attn."),
                         (r"cross_attn_image_to_token\.", "k2q_attn."), ("", ""))),
]

_LISTED = 8  # names in a message


def our_name(release_name: str) -> str | None:
    """Return our name for the authors' parameter; None for one that influences no output."""
    if release_name.startswith("decoder."):
        return release_name
    for pattern, ours in _ROSE:
        match = re.fullmatch(pattern, release_name)
        if match:
            return ours and match.expand(ours)
    return release_name  # unknown: reported as unexpected by the strict loading


def convert_release_state_dict(release: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the authors' state dict under our names, less `module.` and what we lack."""
    if all(name.startswith("module.") for name in release):
        release = {name.removeprefix("module."): value for name, value in release.items()}
    renamed = {our_name(name): value for name, value in release.items()}
    renamed.pop(None, None)
    return renamed


def is_release_state_dict(state: dict) -> bool:
    """Whether the names are the authors'."""
    return any(str(key).removeprefix("module.") == "img_mask_token" for key in state)


def load_release_state_dict(module: nn.Module, release_dict: dict[str, Tensor]) -> None:
    """Load the authors' parameters into a Rose, or (names `decoder.`) a segmenter or regressor.

    Parameters that cannot influence any output (projections of attention to a single key, the
    ViT's own cls_token, pos_embed and norm) are dropped by name. Any other difference is an error.

    Raises:
        CheckpointError: a missing, unexpected or wrongly shaped name; all are listed.
    """
    converted = convert_release_state_dict(release_dict)
    if hasattr(module, "rose"):
        converted = {name if name.startswith("decoder.") else f"rose.{name}": value
                     for name, value in converted.items()}
    load_strictly(module, converted, "release checkpoint")


def load_strictly(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Call `module.load_state_dict(state)`, unless `check_fit` refuses it; `module` is then
    unchanged."""
    check_fit(module, state, source)
    with torch.no_grad():
        module.load_state_dict(state)


def check_fit(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Raise CheckpointError for a missing, unexpected or wrongly shaped name, in one line that
    lists all of them (the first few of many)."""
    if differing := differences_of(module, state):
        raise CheckpointError(f"{source}: does not fit the network ({differing}); build the "
                              "network with the checkpoint's own image_encoder, graph_in_dim, "
                              "graph_out_dim, keys of a recipe (docs/recipes.md) and "
                              "decoder")


def differences_of(module: nn.Module, state: dict[str, Tensor]) -> str:
    """Return in words which names of `state` are missing, unexpected or of another shape than the
    module's; "" if none is."""
    own = module.state_dict()
    faults = {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
        "wrong shape": [f"{name} {list(state[name].shape)} instead of {list(own[name].shape)}"
                        for name in own if name in state and state[name].shape != own[name].shape],
    }
    return "; ".join(f"{fault}: {_first(names)}" for fault, names in faults.items() if names)


def _first(names: list[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
