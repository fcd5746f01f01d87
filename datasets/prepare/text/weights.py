"""Read the text tower from a file of CLIP weights without running code that is not OpenAI's."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from utils.contents import ContentFault, Table
from utils.errors import one_line
from utils.tensor_files import Dense, FileFault, load_tensors

_OTHERS = ("visual.", "logit_scale", "logit_bias", "input_resolution", "context_length",
           "vocab_size", "attn_mask")
_FLOATS = Dense((torch.float32, torch.float16, torch.bfloat16, torch.float64))


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
    try:
        return {name: _FLOATS.check(tensor, f"the weight {name[:200]}")
                for name, tensor in state.items() if not name.startswith(_OTHERS)}
    except ContentFault as fault:
        raise TextWeightsFault(f"{fault}; get the file again, or give the weights of a CLIP "
                               "model") from fault


def _text_name(name: str) -> str:
    return name.removeprefix("module.").removeprefix("text.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()  # noqa: SIM118
                    if not _text_name(name).startswith(_OTHERS)}
    except (SafetensorError, OSError) as error:
        raise TextWeightsFault(f"cannot be read as safetensors ({one_line(error)}): the file is "
                               "truncated or damaged; get it again") from error


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = load_tensors(path)
    except FileFault as error:
        remedy = ("give the weights as safetensors or as a state dict" if error.refused
                  else "get the file again")
        raise TextWeightsFault(f"{error}; {remedy}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    try:
        if content:
            return Table(Dense()).check(content, "")
    except ContentFault as fault:
        raise TextWeightsFault(f"holds no state dict ({fault}); give the weights of a CLIP "
                               "model") from fault
    raise TextWeightsFault("holds no state dict; give the weights of a CLIP model")


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError):  # damaged, which reading it as a state dict says
        return False


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        # of torch.jit as a whole; OpenAI published no other form
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(path, map_location="cpu").state_dict()
