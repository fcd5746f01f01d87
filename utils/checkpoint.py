"""Checkpoints: of a run, to continue it exactly, and of a network alone, to use it.

A run's checkpoint `NAME.tar` is one dict that `torch.load(..., weights_only=True)` reads: tensors, numbers, text, lists and dicts. Beside
it lies `NAME.safetensors`, the weights alone with what is needed to build the network. The authors' checkpoints are read too.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import build_rose
from models.rose import Rose
from utils.errors import CheckpointError, one_line
from utils.files import replacing
from utils.release import is_release_state_dict, load_release_state_dict, load_strictly
from utils.tensor_files import FileFault, load_tensors

__all__ = ["load_release_state_dict", "load_rose", "newest_checkpoint", "read_checkpoint", "rng_state", "save_checkpoint", "set_rng_state"]

FORMAT = "rose-run-1"
FINETUNED_FORMAT = "rose-finetuned-1"
_WEIGHTS_FORMAT = "rose-weights-1"
_FIRST_BYTES = (b"", b"P", b"\x80")  # of an empty file, and of those that torch.save writes now and wrote once
_RELEASE_ENCODERS = {192: "vit_tiny", 384: "vit_small", 768: "vit_base", 1024: "vit_large"}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a run's `state` to `path` (NAME.tar) and its weights alone to NAME.safetensors, each whole or not at all.

    Args:
        state: with "model" (a Rose's state dict), "build" (the arguments of `build_rose`), where it is known "trained_on" (as
            `TileDataset.describe` has it), and whatever else the run needs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"build": state["build"], "tiles": state.get("trained_on", {})}
    write_weights(path.with_suffix(".safetensors"), state["model"],
                  {"format": _WEIGHTS_FORMAT, **{name: json.dumps(value) for name, value in said.items()}})
    with replacing(path) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, on the CPU.

    Raises:
        CheckpointError: missing, damaged, or not a run's checkpoint.
    """
    state = _read_tar(Path(path))
    if state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: holds weights but no run (no optimiser, no position), so it cannot be continued; "
                              f"resume= takes a model_N.tar or last.tar that train_rose.py wrote")
    return state


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of `folder` that is furthest in its run; None where there is none.

    Raises:
        CheckpointError: one of them is damaged.
    """
    return max([*folder.glob("model_*.tar"), *folder.glob("last.tar")], key=read_position, default=None)


def read_position(path: Path) -> int:
    """Steps that the run of a checkpoint had done; -1 for bare weights."""
    return _read_tar(path, lazy=True).get("global_step", -1)


def trained_on(path: Path) -> dict[str, Any]:
    """What `TileDataset.describe` said of the tiles that the network of a checkpoint of any kind was trained on; empty if it is not known.

    Raises:
        CheckpointError: missing or damaged.
    """
    if path.suffix == ".safetensors":
        return json.loads(read_metadata(path).get("tiles", "{}"))
    return _read_tar(path, lazy=True).get("trained_on", {})


def load_rose(path: str | Path, image_encoder: str | None = None, **overrides: Any) -> Rose:
    """A Rose with the weights of a checkpoint of any kind: a run's NAME.tar, NAME.safetensors (of a fine-tuned model, too: its Rose), or
    the authors' bare state dict.

    Args:
        image_encoder: timm name; needed only for an authors' checkpoint whose ViT is not one of the four standard widths.
        overrides: arguments of `build_rose` that replace those stored with the weights, such as fine_input; for the authors' checkpoints,
            which store none, `recipe` is "release" unless given.

    Raises:
        CheckpointError: missing, damaged, of unknown kind, or not fitting the network.
    """
    weights, build = read_network(path, image_encoder, **overrides)
    rose = build_rose(**build)
    fill_rose(rose, weights, str(path))
    return rose


def read_network(path: str | Path, image_encoder: str | None = None, **overrides: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights that `load_rose` loads, and the arguments of `build_rose` for them. Arguments and errors as there."""
    path = Path(path)
    weights, build = _read_weights(path)
    if build is None:
        build = {"image_encoder": image_encoder or _guess_encoder(weights, path), "recipe": "release", **_release_widths(weights)}
    elif image_encoder not in (None, build["image_encoder"]):
        raise CheckpointError(f"{path}: was made with image_encoder={build['image_encoder']}, not {image_encoder}; leave image_encoder "
                              f"out, or give a checkpoint of that encoder")
    return weights, {**build, **overrides, "pretrained": False}


def fill_rose(rose: Rose, weights: dict[str, Tensor], source: str) -> None:
    """Load `weights` of `read_network`; raises CheckpointError, which names their `source`, where they do not fit."""
    if is_release_state_dict(weights):
        load_release_state_dict(rose, weights)
    else:
        load_strictly(rose, weights, source)


def rng_state() -> dict[str, Any]:
    """The state of every random generator of this process."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put every random generator of this process back into a state of `rng_state`."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])


def _read_tar(path: Path, lazy: bool = False) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint (model_N.tar, last.tar or .safetensors)")
    try:
        state = load_tensors(path, mmap=lazy)
    except FileFault as fault:
        with path.open("rb") as file:
            if file.read(1) not in _FIRST_BYTES:
                raise CheckpointError(f"{path}: is no checkpoint; expected a model_N.tar, last.tar or .safetensors") from fault
        remedy = ("save its state_dict alone: torch.save(model.state_dict(), path)" if fault.refused
                  else "copy it again, or choose another checkpoint")
        raise CheckpointError(f"{path}: {fault}; {remedy}") from fault
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, expected a checkpoint's dict")
    return state


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The parameters in a checkpoint, and the arguments of `build_rose` where it stores them."""
    if path.suffix == ".safetensors":
        return _read_rose_safetensors(path)
    state = _read_tar(path)
    if state.get("format") == FORMAT:
        return state["model"], state["build"]
    for wrapper in ("state_dict", "model"):
        inner = state.get(wrapper)
        state = inner if isinstance(inner, dict) else state
    if not is_release_state_dict(state):
        raise CheckpointError(f"{path}: neither a checkpoint of train_rose.py nor a state dict of the release (no img_mask_token); "
                              f"its first names are {', '.join(map(str, list(state)[:3]))}")
    return state, None


def write_weights(path: Path, state_dict: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write the weights of a module to `path`, whole or not at all."""
    weights = {name: value.detach().cpu().contiguous() for name, value in state_dict.items()}
    with replacing(path) as temporary:
        save_file(weights, temporary, metadata)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights in a file and what is said of them.

    Raises:
        CheckpointError: missing or damaged.
    """
    metadata = read_metadata(path)
    try:
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_unreadable(path, error)) from error


def read_metadata(path: Path) -> dict[str, str]:
    """What is said of the weights in a file; errors as of `read_safetensors`."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint (model_N.tar, last.tar or .safetensors)")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    return f"{path}: cannot be read as safetensors ({one_line(error)}); copy it again"


def _read_rose_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    weights, metadata = read_safetensors(path)
    if metadata.get("format") not in (_WEIGHTS_FORMAT, FINETUNED_FORMAT):
        raise CheckpointError(f"{path}: safetensors without Rose's description of its network; expected a file that train_rose.py wrote")
    if metadata["format"] == FINETUNED_FORMAT:
        weights = {name.removeprefix("rose."): value for name, value in weights.items() if name.startswith("rose.")}
    return weights, json.loads(metadata["build"])


def _guess_encoder(release: dict[str, Tensor], path: Path) -> str:
    projection = _of_release(release, "img_encoder.patch_embed.proj.weight")
    if projection is None or projection.shape[0] not in _RELEASE_ENCODERS:
        width = "unknown" if projection is None else projection.shape[0]
        raise CheckpointError(f"{path}: a ViT of width {width} is none of {list(_RELEASE_ENCODERS)}; name it with image_encoder=")
    return f"{_RELEASE_ENCODERS[projection.shape[0]]}_patch{projection.shape[-1]}_224"


def _release_widths(release: dict[str, Tensor]) -> dict[str, int]:
    mask_token, norm = _of_release(release, "osm_mask_token"), _of_release(release, "osm_norm.weight")
    widths = {"graph_in_dim": mask_token, "graph_out_dim": norm}
    return {key: tensor.shape[-1] for key, tensor in widths.items() if tensor is not None}


def _of_release(release: dict[str, Tensor], name: str) -> Tensor | None:
    return release.get(name, release.get(f"module.{name}"))
