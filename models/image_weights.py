"""Trained weights of an image encoder, from a file into the timm ViT that they fit.

The file is NAME.safetensors, or one of torch.save that holds weights alone. Its names are timm's
or those of the DINO repositories, whose checkpoints may wrap them; timm's own filter translates
them. Weights that do not fit entirely are refused.
"""

import io
import re
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import utils.torchvision_import  # noqa: F401  (first: timm imports torchvision)

# isort: split
import timm
import torch
from timm.models import eva, vision_transformer
from timm.models.eva import Eva
from torch import Tensor, nn

from models.release import differences_of, is_release_state_dict
from utils import checkpoint
from utils.checkpoint import contents_of
from utils.contents import fault
from utils.errors import CheckpointError, one_line
from utils.files import sha256_of
from utils.tensor_files import FileFault, Weights, load_tensors

_FORMATS = ("a .safetensors, or a file of torch.save with weights alone, in the names of timm or "
            "of the DINO repositories")
_REMEDY = "give another file, or copy it again"
# what training checkpoints keep weights in, and put in front of their names
_WRAPPERS = ("teacher", "model_ema", "model", "state_dict")
_PREFIXES = ("module.", "_orig_mod.", "teacher.", "backbone.")
# heads, decoders and fixed tables, which an encoder of tokens does not have
_NOT_READ = re.compile(r"(head|head_dist|attn_pool|dino_head|ibot_head|lm_head|pre_logits|decoder_"
                       r"|projectors|local_cls_norm|rope_embed\.periods|rope\.periods)|.*bias_mask$")
# of a ViT that timm built with its head, but Rose reads no further than its last norm
_MAY_LACK = ("attn_pool.", "head.", "rope.periods")


def check_image_weights(path: str) -> None:
    """Raise CheckpointError unless image_weights=`path` names a file."""
    kind = "is a folder" if Path(path).is_dir() else "no such file"
    if not Path(path).is_file():
        raise CheckpointError(f"image_weights={path}: {kind}; give {_FORMATS}")


def describe_image_weights(path: str | None) -> dict[str, str] | None:
    """Return path and SHA-256 of a file of weights, for the record of what started from it; None
    for none. Errors as of `check_image_weights`."""
    if path is None:
        return None
    check_image_weights(path)
    return {"path": path, "sha256": sha256_of(Path(path))}


def load_image_weights(vit: nn.Module, path: str, name: str) -> None:
    """Load the weights in a file into `vit`, which is timm's VisionTransformer or Eva `name`.

    Learned positions of another image size are resampled, as timm does.

    Raises:
        CheckpointError: the file is missing, damaged, holds pickled objects, numbers that are not
            finite, a whole Rose, or the weights of another encoder.
    """
    check_image_weights(path)
    state = _weights_of(path)
    _check_size(vit, state, path, name)
    state = _in_timms_names(vit, state, path, name)
    own, optional = vit.state_dict(), _MAY_LACK
    if not isinstance(vit.norm, nn.Identity):
        optional += ("fc_norm.",)
    state |= {key: value for key, value in own.items()
              if key not in state and key.startswith(optional)}
    if differing := differences_of(vit, state):
        raise CheckpointError(f"image_weights={path}: does not fit image_encoder={name} "
                              f"({differing}); choose the image_encoder= that these weights were "
                              "made for, or other weights")
    vit.load_state_dict(state)


def _weights_of(path: str) -> dict[str, Tensor]:
    """Return the weights of an encoder in a file, without wrappers, prefixes, and what is not
    read; all of them are finite."""
    state = _content(Path(path))
    for _ in _WRAPPERS:  # a hostile file may wrap itself
        inner = (state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping))
        state = next(inner, state)
    for prefix in _PREFIXES:
        if any(str(key).startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()
                     if str(key).startswith(prefix)}
    if _is_of_rose(state):
        raise CheckpointError(f"image_weights={path}: holds a whole Rose, expected the weights of "
                              "an image encoder alone; an evaluation starts from it with "
                              f"checkpoint={path}")
    # in DINOv2's training checkpoints blocks.0.7. is a block of the first part of the ViT
    state = {re.sub(r"^blocks\.\d+\.(\d+\.)", r"blocks.\1", str(key)): value
             for key, value in state.items() if not _NOT_READ.match(str(key))}
    with contents_of(Path(f"image_weights={path}"), _REMEDY):
        return Weights().check(state, "the content")


def _content(path: Path) -> dict[str, Any]:
    """Return what a file holds, checked as far as its kind allows."""
    if path.suffix == ".safetensors":
        return checkpoint.read_safetensors(path)[0]
    try:
        state = load_tensors(path)
    except FileFault as problem:
        remedy = ("where it was made, save the weights alone: torch.save(model.state_dict(), path)"
                  if problem.refused else _REMEDY)
        raise CheckpointError(f"image_weights={path}: {problem}; {remedy}") from problem
    with contents_of(Path(f"image_weights={path}"), f"give {_FORMATS}"):
        if not isinstance(state, dict):
            raise fault("the content", state, "weights by their names")
        return state


def _is_of_rose(state: Mapping[str, Any]) -> bool:
    """Whether the names are those of a Rose, a fine-tuned model, or the authors'."""
    return is_release_state_dict(state) or any(
        str(key).removeprefix("rose.").startswith("image_encoder.") for key in state)


def _check_size(vit: nn.Module, state: Mapping[str, Tensor], path: str, name: str) -> None:
    """Raise CheckpointError if weights are of another width, depth or patch than the ViT's, or in
    names that say nothing of it."""
    projection = state.get("patch_embed.proj.weight")
    blocks = {int(match[1]) for key in state if (match := re.match(r"blocks\.(\d{1,9})\.", key))}
    if projection is None or projection.ndim != 4 or not blocks:
        known = any(key.startswith("visual.") for key in state)  # of OpenCLIP: timm's filter knows
        if known:
            return
        raise CheckpointError(f"image_weights={path}: its names ({', '.join(list(state)[:3])}) are "
                              f"not those of a ViT in timm or the DINO repositories; give "
                              f"{_FORMATS}")
    own = (vit.embed_dim, len(vit.blocks), vit.patch_embed.patch_size[0])
    there = (projection.shape[0], max(blocks) + 1, projection.shape[-1])
    if own != there:
        words = "width {}, {} blocks and patches of {} px"
        raise CheckpointError(f"image_weights={path}: holds weights of another size or patch "
                              f"({words.format(*there)}) than image_encoder={name} "
                              f"({words.format(*own)}); choose the image_encoder= that these "
                              "weights were made for, or other weights")


def _in_timms_names(vit: nn.Module, state: dict[str, Tensor], path: str,
                    name: str) -> dict[str, Tensor]:
    """Return weights under the names that `vit` has in this version of timm."""
    if "register_tokens" in state:  # by the mask token timm's filter knows DINOv2's names
        state.setdefault("mask_token", torch.zeros(1, vit.embed_dim))
    if "storage_tokens" in state:
        _check_no_bias_is_lost(vit, state, path, name)
    family = eva if isinstance(vit, Eva) else vision_transformer
    try:
        with redirect_stdout(io.StringIO()):  # the filter prints what it passes over
            renamed = family.checkpoint_filter_fn(dict(state), vit)
    except Exception as error:  # on names it half knows it may raise anything
        raise CheckpointError(f"image_weights={path}: timm cannot bring its names into those of "
                              f"image_encoder={name} ({one_line(error)}); choose the "
                              "image_encoder= that these weights were made for") from error
    own = vit.state_dict()
    for norm, other in (("norm.", "fc_norm."), ("fc_norm.", "norm.")):
        # the last norm is before or after the pooling, which is left out here
        if f"{norm}weight" not in own and f"{other}weight" not in renamed:
            renamed = {re.sub(rf"^{re.escape(norm)}", other, key): value
                       for key, value in renamed.items()}
    renamed.pop("mask_token", None)
    return {key: value for key, value in renamed.items()
            if key in own or not _NOT_READ.match(key)}


def _check_no_bias_is_lost(vit: nn.Module, state: Mapping[str, Tensor], path: str,
                           name: str) -> None:
    """Raise CheckpointError if DINOv3's weights have biases of queries or values other than 0, and
    the ViT has none: timm's filter would drop them without a word."""
    if "blocks.0.attn.q_bias" in dict(vit.named_parameters()):
        return
    for key, value in state.items():
        if key.endswith("qkv.bias"):
            query, _, values = value.chunk(3)
            if query.any() or values.any():
                variant = f"{name.split('.')[0]}_qkvb"
                choice = f"image_encoder={variant}" if timm.is_model(variant) else "another encoder"
                raise CheckpointError(f"image_weights={path}: {key} is not 0, and "
                                      f"image_encoder={name} has no such biases; choose {choice}, "
                                      "which has")
