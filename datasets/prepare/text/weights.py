"""Read the text tower from a file of CLIP weights without running code that is not OpenAI's."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from utils.errors import one_line
from utils.tensor_files import FileFault, load_tensors

_OTHERS = ("visual.", "logit_scale", "logit_bias", "input_resolution", "context_length",
           "vocab_size", "attn_mask")


class TextWeightsFault(Exception):
    """A file holds no weights of a text tower; the message says why and the remedy, not where."""


def read_text_weights(path: Path, trusted: bool = False) -> dict[str, Tensor]:
    """Return the text tower's weights under the names of open_clip's TextTransformer, or raise
    TextWeightsFault if the file is damaged or holds something else.

    Args:
        path: safetensors, a state dict of torch.save (alone or as "state_dict" of a checkpoint),
            or a TorchScript archive.
        trusted: the file is known to be OpenAI's. A TorchScript archive is a program and is opened
            only then.
    """
    if path.suffix == ".safetensors":
        state = _read_safetensors(path)
    elif _is_torchscript(path):
        if not trusted:
            raise TextWeightsFault("a TorchScript archive that is not one of OpenAI's own, "
                                   "refused for safety since it is a program; give the weights "
                                   "as safetensors")
        state = _read_torchscript(path)
    else:
        state = _read_state_dict(path)
    state = {_text_name(name): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in state.items() if not name.startswith(_OTHERS)}


def _text_name(name: str) -> str:
    return name.removeprefix("module.").removeprefix("text.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()  # noqa: SIM118
                    if not _text_name(name).startswith(_OTHERS)}
    except (SafetensorError, OSError) as error:
        raise TextWeightsFault(f"cannot be read as safetensors ({one_line(error)}); get the file "
                               "again") from error


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = load_tensors(path)
    except FileFault as error:
        raise TextWeightsFault(f"{error}; give the weights as safetensors or as a state "
                               "dict") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    tensors = content.values() if isinstance(content, dict) else []
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise TextWeightsFault("holds no state dict; give the weights of a CLIP model")
    return content


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        # of torch.jit as a whole; OpenAI published no other form
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(path, map_location="cpu").state_dict()
