"""A network on disk, of any kind."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from models.building import rebuild_rose
from models.described import BUILD, TILES
from models.downstream import Downstream
from models.heads import Head, has_beside, read_head
from models.hub import local_file
from models.release import (
    check_fit,
    convert_release_state_dict,
    differences_of,
    is_release_state_dict,
    load_strictly,
)
from models.rose import MODEL_KEYS, Rose
from utils import checkpoint
from utils.checkpoint import COPY_AGAIN, contents_of
from utils.cli.overrides import written
from utils.contents import Anything, ContentFault, Fields, parse_json
from utils.errors import CheckpointError, ConfigError, ModelError
from utils.files import sha256_of
from utils.recipes import RECIPES
from utils.tensor_files import Weights

BEST = "best.safetensors"
_EXPECTED = ("expected the best.safetensors of an evaluation, such as evaluate_seg_fusion.py "
             "makes of a pretrained network")
_NOT_DESCRIBED = "give a file that train_rose.py or an evaluation wrote"
_Network = TypeVar("_Network", bound=nn.Module)
_RELEASE_ENCODERS = {192: "vit_tiny", 384: "vit_small", 768: "vit_base", 1024: "vit_large"}


class NetworkFile:
    """A file with a network: a run's NAME.tar or NAME.safetensors, a fine-tuned model's
    best.safetensors, or the authors' state dict.

    The description is read without the weights when first asked for, and kept. The weights are
    read, and checked, whenever they are asked for: those of a large file are not kept in memory.

    Args:
        path: or an address of the hub, as of `models.hub`.
        image_encoder: timm name; needed only for an authors' file whose ViT is not one of the four
            standard widths.
        overrides: arguments of `build_rose` that replace those stored with the weights, such as
            fine_input. The authors' files store none; for them `recipe` is "release" unless given.

    Raises:
        CheckpointError: from every attribute and method, if the file is missing, damaged or of
            unknown kind.
    """

    def __init__(self, path: str | Path, image_encoder: str | None = None, **overrides: Any):
        self.path = local_file(path)
        self._image_encoder, self._overrides = image_encoder, overrides

    @cached_property
    def build(self) -> dict[str, Any]:
        """The arguments of `build_rose` for the network.

        Raise CheckpointError if the file's image encoder is another one than asked for, or unknown.
        """
        build = self._stored
        if self._image_encoder not in (None, build["image_encoder"]):
            raise CheckpointError(f"{self.path}: was made with image_encoder="
                                  f"{build['image_encoder']}, not {self._image_encoder}; leave "
                                  "image_encoder out, or give a checkpoint of that encoder")
        given, there = self._overrides.get("image_positions"), build.get("image_positions", "rose")
        if given not in (None, there):
            raise CheckpointError(f"{self.path}: was made with image_positions={there}, not "
                                  f"{given}; leave image_positions out, or give a checkpoint made "
                                  "so")
        if ":" in build["image_encoder"] and self._image_encoder is None:
            raise CheckpointError(f"{self.path}: its image_encoder={build['image_encoder']} is "
                                  "described by files elsewhere, expected one of timm's own; if "
                                  "you trust it, pass image_encoder= with this value")
        chosen = {name: value for name, value in self._overrides.items()
                  if name != "image_positions"}
        return {**build, **chosen, "pretrained": False}

    @cached_property
    def head(self) -> Head | None:
        """What the network was fine-tuned for; None for a pretrained one."""
        if "purpose" not in self._description:
            return None
        with contents_of(self.path, COPY_AGAIN):
            return read_head(self._description["purpose"])

    @property
    def tiles(self) -> dict[str, Any]:
        """What `TileDataset.describe` gave of the tiles trained on; empty if not known."""
        return self._description.get("tiles", {})

    @property
    def weights(self) -> dict[str, Tensor]:
        """The parameters under the names they have in the file, on the CPU; all are finite."""
        if self.path.suffix == ".safetensors":
            if not self._description:
                raise CheckpointError(f"{self.path}: safetensors without Rose's description of "
                                      f"its network, or damaged; {_NOT_DESCRIBED}")
            return checkpoint.read_safetensors(self.path)[0]
        state = checkpoint.read_tar(self.path)
        if state.get("format") == checkpoint.FORMAT:
            state = state.get("model")
        else:
            state = self._release_weights(state)
        with contents_of(self.path, COPY_AGAIN):
            return Weights().check(state, "model")

    @cached_property
    def sha256(self) -> str:
        """Of the file."""
        return sha256_of(self.path)

    @property
    def notes_on_rose(self) -> list[str]:
        """What a user of `rose` alone should know of a fine-tuned model's Rose."""
        if self.head is None or not (self.head.channels or self.head.statistics
                                     or has_beside(self.head)):
            return []
        return [f"{self.path} is of a fine-tuned model that also reads drawn objects, statistics "
                "of patches, or numbers of objects, or has an MLP of patches beside it; they are "
                "left out here, so expect less of it than of a pretrained network"]

    def rose(self) -> Rose:
        """Return the Rose, also a fine-tuned model's; raise CheckpointError if it does not fit."""
        weights = self.weights
        if is_release_state_dict(weights):
            weights = convert_release_state_dict(weights)
        elif self.head is not None:
            weights = {name.removeprefix("rose."): value for name, value in weights.items()
                       if name.startswith("rose.")}
        return self._built(rebuild_rose, weights)

    def downstream(self) -> Downstream:
        """Return the fine-tuned model, in evaluation mode; raise CheckpointError if none fits."""
        if not self.path.is_file():
            raise CheckpointError(f"{self.path}: no such file; {_EXPECTED}")
        if self.path.suffix != ".safetensors" or self.head is None:
            raise CheckpointError(f"{self.path}: holds no fine-tuned model; {_EXPECTED}")
        return self._built(lambda build: self.head.build(rebuild_rose(build)), self.weights).eval()

    def _built(self, make: Callable[[dict[str, Any]], _Network],
               weights: dict[str, Tensor]) -> _Network:
        """Return what `make` makes of `build`, with the weights; take no memory for a network that
        they do not fit."""
        def outline(build: dict[str, Any]) -> _Network:
            with torch.device("meta"):
                return make(build)

        try:
            made = outline(self.build)
            if differences_of(made, weights):
                self._check_overrides(lambda build: not differences_of(outline(build), weights))
            check_fit(made, weights, str(self.path))
            network = make(self.build)
        except (ModelError, ConfigError) as error:
            raise CheckpointError(f"{self.path}: its network cannot be built: {error}") from error
        load_strictly(network, weights, str(self.path))
        return network

    def _check_overrides(self, fits: Callable[[dict[str, Any]], bool]) -> None:
        """Raise CheckpointError for keys of a recipe that are not as the network was made, and
        without which it fits."""
        there = {**vars(RECIPES[self._stored.get("recipe", "rose")]), **self._stored}
        wrong = [key for key, value in self._overrides.items() if key in MODEL_KEYS
                 and value != there[key] and not fits({**self._stored, key: value})]
        if wrong and fits(self._stored):
            made, asked = (",".join(f"{key}={written(values[key])}" for key in wrong)
                           for values in (there, self._overrides))
            raise CheckpointError(f"{self.path}: was made with {made}, not {asked}; leave "
                                  f"{', '.join(f'{key}=' for key in wrong)} out, or give a "
                                  "checkpoint made so")

    @cached_property
    def _stored(self) -> dict[str, Any]:
        """The arguments of `build_rose` that the file states, or its weights tell."""
        build = self._description.get("build")
        if build is None:
            return _release_build(self.weights, self._image_encoder, self.path)
        return {**_unstated(build), **build}

    @cached_property
    def _description(self) -> dict[str, Any]:
        """What the file says of its network, without the weights; empty if nothing is known."""
        if self.path.suffix != ".safetensors":
            state = checkpoint.read_tar(self.path, lazy=True)
            if state.get("format") != checkpoint.FORMAT:
                return {}
            with contents_of(self.path, COPY_AGAIN):
                return Fields({"build": BUILD}, {"tiles": TILES}).check(
                    {ours: state[theirs] for ours, theirs in (("build", "build"),
                                                              ("tiles", "trained_on"))
                     if theirs in state}, "")
        metadata = checkpoint.read_metadata(self.path)
        rules = {"build": BUILD, "tiles": TILES, "purpose": Anything()}
        required = {checkpoint.WEIGHTS_FORMAT: ["build"],
                    checkpoint.FINETUNED_FORMAT: ["build", "purpose"]}.get(metadata.get("format"))
        if required is None:
            return {}
        with contents_of(self.path, COPY_AGAIN):
            for name in required:
                if name not in metadata:
                    raise ContentFault(f"{name} is missing, expected it")
            return {name: parse_json(metadata[name], rule, name) for name, rule in rules.items()
                    if name in metadata}

    def _release_weights(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the authors' state dict, which may be in another dict; raise CheckpointError if
        it is none of theirs."""
        for wrapper in ("state_dict", "model"):
            inner = state.get(wrapper)
            state = inner if isinstance(inner, dict) else state
        if is_release_state_dict(state):
            return state
        if any(str(name).removeprefix("rose.") == "image_mask_token" for name in state):
            raise CheckpointError(f"{self.path}: holds the weights of a Rose, but not what it was "
                                  "built with; build it as it was, load them into it, and write "
                                  "it with models.save_rose(path, rose)")
        raise CheckpointError(f"{self.path}: neither a checkpoint of train_rose.py nor a state "
                              "dict of the release (no img_mask_token); its first names are "
                              f"{', '.join(str(name)[:80] for name in list(state)[:3])}; "
                              f"{_NOT_DESCRIBED}")


def load_rose(path: str | Path, image_encoder: str | None = None, **overrides: Any) -> Rose:
    """Return the Rose in a file; arguments and errors as of `NetworkFile`."""
    return NetworkFile(path, image_encoder, **overrides).rose()


def save_rose(path: str | Path, rose: Rose, tiles: dict[str, Any] | None = None) -> None:
    """Write a Rose to `path` (NAME.safetensors) for `load_rose`; `tiles` and errors as of
    `save_finetuned`."""
    checkpoint.write_weights(Path(path), rose.state_dict(), checkpoint.WEIGHTS_FORMAT,
                             {"build": rose.build, "tiles": tiles or {}})


def save_finetuned(path: str | Path, model: Downstream, head: Head,
                   tiles: dict[str, Any] | None = None) -> None:
    """Write a fine-tuned model that `head` built, whole or not at all.

    `tiles` is what it was trained on, as of `TileDataset.describe`. Raise CheckpointError if a
    weight is not finite, OSError if the file cannot be written.
    """
    checkpoint.write_weights(
        Path(path), model.state_dict(), checkpoint.FINETUNED_FORMAT,
        {"build": model.rose.build, "purpose": head.describe(), "tiles": tiles or {}})


def _unstated(build: dict[str, Any]) -> dict[str, Any]:
    """Return the keys that the file of a network of recipe=plus may leave out: they are the
    method's, whatever plus has come to be since."""
    if build.get("recipe") != "plus":
        return {}
    return {key: getattr(RECIPES["rose"], key) for key in MODEL_KEYS}


def _release_build(weights: dict[str, Tensor], image_encoder: str | None,
                   path: Path) -> dict[str, Any]:
    """Return the arguments of `build_rose` as far as the shapes of the authors' weights tell."""
    def shape(name: str) -> tuple[int, ...] | None:
        tensor = weights.get(name, weights.get(f"module.{name}"))
        return tensor.shape if tensor is not None and tensor.ndim else None

    if image_encoder is None:
        projection = shape("img_encoder.patch_embed.proj.weight")
        if projection is None or len(projection) != 4 or projection[0] not in _RELEASE_ENCODERS:
            width = "unknown" if projection is None else projection[0]
            raise CheckpointError(f"{path}: a ViT of width {width} is none of "
                                  f"{list(_RELEASE_ENCODERS)}; name it with image_encoder=")
        image_encoder = f"{_RELEASE_ENCODERS[projection[0]]}_patch{projection[-1]}_224"
    widths = {"graph_in_dim": shape("osm_mask_token"), "graph_out_dim": shape("osm_norm.weight")}
    return {"image_encoder": image_encoder, "recipe": "release",
            **{key: size[-1] for key, size in widths.items() if size is not None}}
