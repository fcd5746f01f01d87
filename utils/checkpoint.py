"""Files of checkpoints: NAME.tar continues a run exactly, NAME.safetensors has a network alone.

NAME.tar is one dict that `torch.load(..., weights_only=True)` reads: tensors, numbers, text, lists
and dicts. NAME.safetensors has the weights and a description that is enough to build the network.
The authors' checkpoints are read, too.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from utils.errors import CheckpointError, one_line
from utils.files import failing_as, replacing
from utils.tensor_files import FileFault, load_tensors

FORMAT = "rose-run-1"
FINETUNED_FORMAT = "rose-finetuned-1"
WEIGHTS_FORMAT = "rose-weights-1"
# of an empty file, and of new and old files of torch.save
_FIRST_BYTES = (b"", b"P", b"\x80")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a run's `state` to `path` (NAME.tar) and its weights alone to NAME.safetensors, each
    whole or not at all.

    Args:
        state: "model" (a Rose's state dict), "build" (the arguments of `build_rose`), if it is
            known "trained_on" (`TileDataset.describe`), and what else the run needs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(path.with_suffix(".safetensors"), state["model"], WEIGHTS_FORMAT,
                  {"build": state["build"], "tiles": state.get("trained_on", {})})
    with replacing(path) as temporary, failing_as(path, RuntimeError):
        torch.save({"format": FORMAT, **state}, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state that `save_checkpoint` wrote, on the CPU.

    Raises:
        CheckpointError: missing, damaged, or not a run's checkpoint.
    """
    state = read_tar(path)
    if state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: holds weights but no run (no optimiser, no position), so "
                              "it cannot be continued; resume= takes a model_N.tar or last.tar "
                              "that train_rose.py wrote")
    return state


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint of `folder` that is furthest in its run; None if there is none.

    Raises:
        CheckpointError: one of them is damaged.
    """
    return max([*folder.glob("model_*.tar"), *folder.glob("last.tar")], key=read_position,
               default=None)


def read_position(path: Path) -> int:
    """Return the number of steps of a checkpoint's run; -1 for bare weights."""
    return read_tar(path, lazy=True).get("global_step", -1)


def read_tar(path: Path, lazy: bool = False) -> dict[str, Any]:
    """Return the dict in a file of torch.save; with `lazy`, leave its tensors on disk if possible.

    Raises:
        CheckpointError: missing, damaged, or no dict.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint (model_N.tar, "
                              "last.tar or .safetensors)")
    try:
        # torch.save's older files cannot be mapped
        state = load_tensors(path, mmap=lazy and zipfile.is_zipfile(path))
    except FileFault as fault:
        with path.open("rb") as file:
            if file.read(1) not in _FIRST_BYTES:
                raise CheckpointError(f"{path}: is no checkpoint; expected a model_N.tar, "
                                      "last.tar or .safetensors") from fault
        remedy = ("save its state_dict alone: torch.save(model.state_dict(), path)"
                  if fault.refused else "copy it again, or choose another checkpoint")
        raise CheckpointError(f"{path}: {fault}; {remedy}") from fault
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, expected a checkpoint's "
                              "dict")
    return state


def write_weights(path: Path, state_dict: dict[str, Tensor], format: str,
                  description: dict[str, Any]) -> None:
    """Write the weights of a module and their description, as JSON by name, to `path`, whole or
    not at all."""
    metadata = {name: json.dumps(value) for name, value in description.items()}
    weights = {name: value.detach().cpu().contiguous() for name, value in state_dict.items()}
    with replacing(path) as temporary, failing_as(path, SafetensorError):
        save_file(weights, temporary, {"format": format, **metadata})


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights in a file and their metadata.

    Raises:
        CheckpointError: missing or damaged.
    """
    metadata = read_metadata(path)
    try:
        return load_file(path), metadata
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_unreadable(path, error)) from error


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a file's weights; errors as of `read_safetensors`."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint (model_N.tar, "
                              "last.tar or .safetensors)")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    return f"{path}: cannot be read as safetensors ({one_line(error)}); copy it again"
