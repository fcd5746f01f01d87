"""A network on disk, of any kind."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from models.release import is_release_state_dict, load_release_state_dict, load_strictly
from models.rose import Rose, build_rose
from utils.checkpoint import (
    FINETUNED_FORMAT,
    FORMAT,
    WEIGHTS_FORMAT,
    read_metadata,
    read_safetensors,
    read_tar,
)
from utils.errors import CheckpointError

_RELEASE_ENCODERS = {192: "vit_tiny", 384: "vit_small", 768: "vit_base", 1024: "vit_large"}


def trained_on(path: Path) -> dict[str, Any]:
    """What `TileDataset.describe` said of the tiles that the network of a checkpoint of any kind
    was trained on; empty if it is not known.

    Raises:
        CheckpointError: missing or damaged.
    """
    if path.suffix == ".safetensors":
        return json.loads(read_metadata(path).get("tiles", "{}"))
    return read_tar(path, lazy=True).get("trained_on", {})


def load_rose(path: str | Path, image_encoder: str | None = None, **overrides: Any) -> Rose:
    """A Rose with the weights of a checkpoint of any kind: a run's NAME.tar, NAME.safetensors (of
    a fine-tuned model, too: its Rose), or the authors' bare state dict.

    Args:
        image_encoder: timm name; needed only for an authors' checkpoint whose ViT is not one of
            the four standard widths.
        overrides: arguments of `build_rose` that replace those stored with the weights, such as
            fine_input; for the authors' checkpoints, which store none, `recipe` is "release"
            unless given.

    Raises:
        CheckpointError: missing, damaged, of unknown kind, or not fitting the network.
    """
    weights, build = read_network(path, image_encoder, **overrides)
    rose = build_rose(**build)
    fill_rose(rose, weights, str(path))
    return rose


def read_network(path: str | Path, image_encoder: str | None = None,
                 **overrides: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights that `load_rose` loads, and the arguments of `build_rose` for them. Arguments
    and errors as there."""
    path = Path(path)
    weights, build = _read_weights(path)
    if build is None:
        build = {"image_encoder": image_encoder or _guess_encoder(weights, path),
                 "recipe": "release", **_release_widths(weights)}
    elif image_encoder not in (None, build["image_encoder"]):
        raise CheckpointError(f"{path}: was made with image_encoder={build['image_encoder']}, not "
                              f"{image_encoder}; leave image_encoder out, or give a checkpoint of "
                              "that encoder")
    return weights, {**build, **overrides, "pretrained": False}


def fill_rose(rose: Rose, weights: dict[str, Tensor], source: str) -> None:
    """Load `weights` of `read_network`; raises CheckpointError, which names their `source`, where
    they do not fit."""
    if is_release_state_dict(weights):
        load_release_state_dict(rose, weights)
    else:
        load_strictly(rose, weights, source)


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The parameters in a checkpoint, and the arguments of `build_rose` where it stores them."""
    if path.suffix == ".safetensors":
        return _read_rose_safetensors(path)
    state = read_tar(path)
    if state.get("format") == FORMAT:
        return state["model"], state["build"]
    for wrapper in ("state_dict", "model"):
        inner = state.get(wrapper)
        state = inner if isinstance(inner, dict) else state
    if not is_release_state_dict(state):
        raise CheckpointError(f"{path}: neither a checkpoint of train_rose.py nor a state dict of "
                              "the release (no img_mask_token); its first names are "
                              f"{', '.join(map(str, list(state)[:3]))}")
    return state, None


def _read_rose_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    weights, metadata = read_safetensors(path)
    if metadata.get("format") not in (WEIGHTS_FORMAT, FINETUNED_FORMAT):
        raise CheckpointError(f"{path}: safetensors without Rose's description of its network; "
                              "expected a file that train_rose.py wrote")
    if metadata["format"] == FINETUNED_FORMAT:
        weights = {name.removeprefix("rose."): value for name, value in weights.items()
                   if name.startswith("rose.")}
    return weights, json.loads(metadata["build"])


def _guess_encoder(release: dict[str, Tensor], path: Path) -> str:
    projection = _of_release(release, "img_encoder.patch_embed.proj.weight")
    if projection is None or projection.shape[0] not in _RELEASE_ENCODERS:
        width = "unknown" if projection is None else projection.shape[0]
        raise CheckpointError(f"{path}: a ViT of width {width} is none of "
                              f"{list(_RELEASE_ENCODERS)}; name it with image_encoder=")
    return f"{_RELEASE_ENCODERS[projection.shape[0]]}_patch{projection.shape[-1]}_224"


def _release_widths(release: dict[str, Tensor]) -> dict[str, int]:
    mask_token, norm = _of_release(release,
                                   "osm_mask_token"), _of_release(release, "osm_norm.weight")
    widths = {"graph_in_dim": mask_token, "graph_out_dim": norm}
    return {key: tensor.shape[-1] for key, tensor in widths.items() if tensor is not None}


def _of_release(release: dict[str, Tensor], name: str) -> Tensor | None:
    return release.get(name, release.get(f"module.{name}"))
