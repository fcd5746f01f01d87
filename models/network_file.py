"""A network on disk, of any kind."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from models.downstream import Downstream
from models.heads import Head, read_head
from models.release import convert_release_state_dict, is_release_state_dict, load_strictly
from models.rose import Rose, build_rose
from utils import checkpoint
from utils.errors import CheckpointError
from utils.files import sha256_of

BEST = "best.safetensors"
_EXPECTED = ("expected the best.safetensors of an evaluation, such as evaluate_seg_fusion.py "
             "makes of a pretrained network")
_RELEASE_ENCODERS = {192: "vit_tiny", 384: "vit_small", 768: "vit_base", 1024: "vit_large"}


class NetworkFile:
    """A file with a network: a run's NAME.tar or NAME.safetensors, a fine-tuned model's
    best.safetensors, or the authors' state dict.

    Everything is read when first asked for, and kept; the description without the weights.

    Args:
        image_encoder: timm name; needed only for an authors' file whose ViT is not one of the four
            standard widths.
        overrides: arguments of `build_rose` that replace those stored with the weights, such as
            fine_input. The authors' files store none; for them `recipe` is "release" unless given.

    Raises:
        CheckpointError: from every attribute and method, if the file is missing, damaged or of
            unknown kind.
    """

    def __init__(self, path: str | Path, image_encoder: str | None = None, **overrides: Any):
        self.path = Path(path)
        self._image_encoder, self._overrides = image_encoder, overrides

    @cached_property
    def build(self) -> dict[str, Any]:
        """The arguments of `build_rose` for the network.

        Raise CheckpointError if the file's image encoder is another one than asked for, or unknown.
        """
        build = self._description.get("build")
        if build is None:
            build = _release_build(self.weights, self._image_encoder, self.path)
        elif self._image_encoder not in (None, build["image_encoder"]):
            raise CheckpointError(f"{self.path}: was made with image_encoder="
                                  f"{build['image_encoder']}, not {self._image_encoder}; leave "
                                  "image_encoder out, or give a checkpoint of that encoder")
        return {**build, **self._overrides, "pretrained": False}

    @cached_property
    def head(self) -> Head | None:
        """What the network was fine-tuned for; None for a pretrained one."""
        purpose = self._description.get("purpose")
        return purpose and read_head(purpose)

    @property
    def tiles(self) -> dict[str, Any]:
        """What `TileDataset.describe` gave of the tiles trained on; empty if not known."""
        return self._description.get("tiles", {})

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The parameters under the names they have in the file, on the CPU."""
        if self.path.suffix == ".safetensors":
            if not self._description:
                raise CheckpointError(f"{self.path}: safetensors without Rose's description of "
                                      "its network; expected a file that train_rose.py wrote")
            return checkpoint.read_safetensors(self.path)[0]
        state = checkpoint.read_tar(self.path)
        if state.get("format") == checkpoint.FORMAT:
            return state["model"]
        for wrapper in ("state_dict", "model"):
            inner = state.get(wrapper)
            state = inner if isinstance(inner, dict) else state
        if not is_release_state_dict(state):
            raise CheckpointError(f"{self.path}: neither a checkpoint of train_rose.py nor a state "
                                  "dict of the release (no img_mask_token); its first names are "
                                  f"{', '.join(map(str, list(state)[:3]))}")
        return state

    @cached_property
    def sha256(self) -> str:
        """Of the file."""
        return sha256_of(self.path)

    def rose(self) -> Rose:
        """Return the Rose, also a fine-tuned model's; raise CheckpointError if it does not fit."""
        rose, weights = build_rose(**self.build), self.weights
        if is_release_state_dict(weights):
            weights = convert_release_state_dict(weights)
        elif self.head is not None:
            weights = {name.removeprefix("rose."): value for name, value in weights.items()
                       if name.startswith("rose.")}
        load_strictly(rose, weights, str(self.path))
        return rose

    def downstream(self) -> Downstream:
        """Return the fine-tuned model, in evaluation mode; raise CheckpointError if none fits."""
        if not self.path.is_file():
            raise CheckpointError(f"{self.path}: no such file; {_EXPECTED}")
        if self.path.suffix != ".safetensors" or self.head is None:
            raise CheckpointError(f"{self.path}: holds no fine-tuned model; {_EXPECTED}")
        model = self.head.build(build_rose(**self.build))
        load_strictly(model, self.weights, str(self.path))
        return model.eval()

    @cached_property
    def _description(self) -> dict[str, Any]:
        """What the file says of its network, without the weights; empty if nothing is known."""
        if self.path.suffix == ".safetensors":
            metadata = checkpoint.read_metadata(self.path)
            formats = (checkpoint.WEIGHTS_FORMAT, checkpoint.FINETUNED_FORMAT)
            if metadata.get("format") not in formats:
                return {}
            return {name: json.loads(metadata[name]) for name in ("build", "purpose", "tiles")
                    if name in metadata}
        state = checkpoint.read_tar(self.path, lazy=True)
        if state.get("format") != checkpoint.FORMAT:
            return {}
        return {"build": state["build"], "tiles": state.get("trained_on", {})}


def load_rose(path: str | Path, image_encoder: str | None = None, **overrides: Any) -> Rose:
    """Return the Rose in a file; arguments and errors as of `NetworkFile`."""
    return NetworkFile(path, image_encoder, **overrides).rose()


def save_finetuned(path: str | Path, model: Downstream, head: Head,
                   tiles: dict[str, Any] | None = None) -> None:
    """Write a fine-tuned model that `head` built, whole or not at all.

    `tiles` is what it was trained on, as of `TileDataset.describe`.
    """
    checkpoint.write_weights(
        Path(path), model.state_dict(), checkpoint.FINETUNED_FORMAT,
        {"build": model.rose.build, "purpose": head.describe(), "tiles": tiles or {}})


def _release_build(weights: dict[str, Tensor], image_encoder: str | None,
                   path: Path) -> dict[str, Any]:
    """Return the arguments of `build_rose` as far as the shapes of the authors' weights tell."""
    def shape(name: str) -> tuple[int, ...] | None:
        tensor = weights.get(name, weights.get(f"module.{name}"))
        return None if tensor is None else tensor.shape

    if image_encoder is None:
        projection = shape("img_encoder.patch_embed.proj.weight")
        if projection is None or projection[0] not in _RELEASE_ENCODERS:
            width = "unknown" if projection is None else projection[0]
            raise CheckpointError(f"{path}: a ViT of width {width} is none of "
                                  f"{list(_RELEASE_ENCODERS)}; name it with image_encoder=")
        image_encoder = f"{_RELEASE_ENCODERS[projection[0]]}_patch{projection[-1]}_224"
    widths = {"graph_in_dim": shape("osm_mask_token"), "graph_out_dim": shape("osm_norm.weight")}
    return {"image_encoder": image_encoder, "recipe": "release",
            **{key: size[-1] for key, size in widths.items() if size is not None}}
