"""Files of checkpoints: NAME.tar continues a run exactly, NAME.safetensors has a network alone.

NAME.tar is one dict that `torch.load(..., weights_only=True)` reads: tensors, numbers, text, lists
and dicts. NAME.safetensors has the weights and a description that is enough to build the network,
with checksums of both, which are compared when it is read. The authors' checkpoints are read, too,
and files from before there were checksums.
"""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from utils.contents import (
    Anything,
    ContentFault,
    Either,
    Fields,
    Items,
    Null,
    Number,
    Rule,
    Table,
    Text,
    Whole,
)
from utils.errors import CheckpointError, one_line
from utils.files import replacing
from utils.tensor_files import Dense, FileFault, Weights, is_finite, load_tensors, save_tensors

FORMAT = "rose-run-1"
FINETUNED_FORMAT = "rose-finetuned-1"
WEIGHTS_FORMAT = "rose-weights-1"
COPY_AGAIN = "copy it again, or choose another checkpoint"
_CHECKSUM = "checksum"  # in the metadata of NAME.safetensors
# of an empty file, and of new and old files of torch.save
_FIRST_BYTES = (b"", b"P", b"\x80")

# the state of a torch.optim.Optimizer
OPTIMIZER = Fields({
    "state": Table(Table(Either([Dense(), Number(), Null()])), key=Whole(0)),
    "param_groups": Items(Fields({"params": Items(Whole(0))}, {"lr": Number(0)}), least=1)})
# the state of Fabric's precision: empty, or that of a scaler of gradients
PRECISION = Table(Either([Number(), Null()]))
_LOSSES = Items(Number(), 2, 3)
_RECORD = Fields({"sums": _LOSSES, "count": Whole(0), "first": Either([Null(), _LOSSES]),
                  "latest": Either([Null(), _LOSSES]), "sizes": Table(Whole(0))})
_CONFIG = Fields({"batch_size": Whole(1)}, {"accumulate": Whole(1)})
_RUN = Fields({"model": Weights(), "build": Table(Anything()), "optimizer": OPTIMIZER,
               "precision": PRECISION, "epoch": Whole(1), "step": Whole(0),
               "global_step": Whole(0), "devices": Whole(1), "record": _RECORD,
               "config": _CONFIG, "tiles": Text()}, {"momentum": Weights()})


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a run's `state` to `path` (NAME.tar) and its weights alone to NAME.safetensors, each
    whole or not at all.

    Args:
        state: "model" (a Rose's state dict), "build" (the arguments of `build_rose`), if it is
            known "trained_on" (`TileDataset.describe`), and what else the run needs.

    Raises:
        CheckpointError: a weight is not finite; nothing is written.
        OSError: a file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(path.with_suffix(".safetensors"), state["model"], WEIGHTS_FORMAT,
                  {"build": state["build"], "tiles": state.get("trained_on", {})})
    save_tensors(path, {"format": FORMAT, **state})


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
    with contents_of(path, COPY_AGAIN):
        return _RUN.check(state, "")


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint of `folder` that is furthest in its run; None if there is none.

    Raises:
        CheckpointError: one of them is damaged.
    """
    return max([*folder.glob("model_*.tar"), *folder.glob("last.tar")], key=read_position,
               default=None)


def read_position(path: Path) -> int:
    """Return the number of steps of a checkpoint's run; -1 for bare weights."""
    with contents_of(path, COPY_AGAIN):
        return Whole(-1).check(read_tar(path, lazy=True).get("global_step", -1), "global_step")


def read_tar(path: Path, lazy: bool = False) -> dict[str, Any]:
    """Return the dict in a file of torch.save; with `lazy`, leave its tensors on disk if possible.

    Raises:
        CheckpointError: missing, damaged, or no dict.
    """
    check_exists(path)
    try:
        state = load_tensors(path, mmap=lazy)
    except FileFault as fault:
        with path.open("rb") as file:
            if file.read(1) not in _FIRST_BYTES:
                raise CheckpointError(f"{path}: is no checkpoint; expected a model_N.tar, last.tar "
                                      "or .safetensors. If it was one, it is damaged: "
                                      f"{COPY_AGAIN}") from fault
        remedy = ("where it was made, save the weights alone: models.save_rose(path, rose) for a "
                  "Rose of this program, torch.save(model.state_dict(), path) for the authors' "
                  "network" if fault.refused else COPY_AGAIN)
        raise CheckpointError(f"{path}: {fault}; {remedy}") from fault
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, expected a checkpoint's "
                              f"dict; {COPY_AGAIN}")
    return state


def read_state(path: Path, format: str, rule: Rule, remedy: str) -> dict[str, Any]:
    """Return a state that `save_tensors` wrote, with its `format`.

    Args:
        rule: what it must hold besides.
        remedy: ends each message.

    Raises:
        CheckpointError: damaged, of another format, or what it says breaks the rule.
    """
    try:
        with contents_of(path, remedy):
            return Fields({"format": Text([format])}).check(
                rule.check(load_tensors(path), ""), "")
    except FileFault as fault:
        raise CheckpointError(f"{path}: {fault}; {remedy}") from fault


def write_weights(path: Path, state_dict: dict[str, Tensor], format: str,
                  description: dict[str, Any]) -> None:
    """Write the weights of a module and their description, as JSON by name, to `path`, whole or
    not at all.

    Raises:
        CheckpointError: a weight is not finite.
        OSError: the file cannot be written.
    """
    metadata = {"format": format,
                **{name: json.dumps(value) for name, value in description.items()}}
    weights = {name: value.detach().cpu().contiguous() for name, value in state_dict.items()}
    for name, value in weights.items():
        if not is_finite(value):
            raise CheckpointError(f"{path}: a weight is not finite ({name}), so it was not saved; "
                                  "lower the learning rate (blr of a training; lr, lr_multi or "
                                  "linear_lr of an evaluation), or use precision=32-true")
    metadata[_CHECKSUM] = f"{_checksum_of(metadata)} {_checksum_of_weights(weights)}"
    with replacing(path, SafetensorError, OSError) as temporary:
        save_file(weights, temporary, metadata)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the weights in a file, mapped from it, and their metadata.

    Raises:
        CheckpointError: missing, damaged, or without finite weights.
    """
    metadata = read_metadata(path)
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_unreadable(path, error)) from error
    expected = metadata.pop(_CHECKSUM, None)
    if expected and _checksum_of_weights(weights) != expected.split()[-1]:
        raise CheckpointError(_damaged(path))
    with contents_of(path, COPY_AGAIN):
        return Weights().check(weights, "the content"), metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a file's weights; errors as of `read_safetensors`."""
    check_exists(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_unreadable(path, error)) from error
    described = {name: value for name, value in metadata.items() if name != _CHECKSUM}
    if _CHECKSUM in metadata and _checksum_of(described) != metadata[_CHECKSUM].split(" ")[0]:
        raise CheckpointError(_damaged(path))
    return metadata


def checksum_in(path: Path) -> str:
    """Return the checksum that `write_weights` left in a file, the same for the same content; "" if
    it left none. Errors as of `read_safetensors`."""
    return read_metadata(path).get(_CHECKSUM, "")


def check_exists(path: Path) -> None:
    """Raise CheckpointError if there is no file `path`."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint (model_N.tar, "
                              "last.tar or .safetensors)")


@contextmanager
def contents_of(path: Path, remedy: str) -> Iterator[None]:
    """Re-raise a ContentFault as a CheckpointError that names `path` and the remedy."""
    try:
        yield
    except ContentFault as fault:
        raise CheckpointError(f"{path}: {fault}; {remedy}") from fault


def _checksum_of(metadata: dict[str, str]) -> str:
    return f"{zlib.crc32(json.dumps(metadata, sort_keys=True).encode()):08x}"


def _checksum_of_weights(weights: dict[str, Tensor]) -> str:
    """Return the CRC-32 of names, types, shapes and bytes, in hexadecimal; it takes a quarter of
    the time of SHA-256's."""
    value = 0
    for name, tensor in sorted(weights.items()):
        value = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), value)
    return f"{value:08x}"


def _damaged(path: Path) -> str:
    return f"{path}: its checksum is not that of its content: the file is damaged; {COPY_AGAIN}"


def _unreadable(path: Path, error: Exception) -> str:
    return (f"{path}: cannot be read as safetensors ({one_line(error)}): the file is truncated or "
            f"damaged; {COPY_AGAIN}")
