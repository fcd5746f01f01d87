"""Which checkpoint to use, and whether it fits the tiles."""

import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from datasets import TileDataset
from datasets.stores.city import MODALITIES, in_words
from models.network_file import NetworkFile
from utils.checkpoint import newest_checkpoint
from utils.errors import CheckpointError, ConfigError, TileError

MAKE = ("make one with `make pretrain` (or python train_rose.py experiment=sample), or give "
        "checkpoint=PATH")


def find_checkpoint(checkpoint: str | None, save_root_dir: str) -> Path:
    """Return `checkpoint`, or the newest in it if it is a folder; if None, the last run's newest.

    Raise CheckpointError if there is none.
    """
    if checkpoint is not None and not Path(checkpoint).is_dir():
        return Path(checkpoint)
    folder = last_run(save_root_dir) if checkpoint is None else Path(checkpoint)
    if folder is None:
        raise CheckpointError(f"{save_root_dir}: holds no pretraining run whose network could be "
                              f"evaluated; {MAKE}")
    newest = newest_checkpoint(folder) or max(folder.glob("*.safetensors"),
                                              key=lambda file: file.stat().st_mtime, default=None)
    if newest is None and (finetuned := sorted(folder.glob("seed_*/best.safetensors"))):
        raise CheckpointError(f"{folder}: is an evaluation, whose fine-tuned model is "
                              f"{finetuned[0]}; give that file, or a pretraining run")
    if newest is None:
        raise CheckpointError(f"{folder}: holds no checkpoint (model_N.tar, last.tar or "
                              f".safetensors); {MAKE}")
    weights = newest.with_suffix(".safetensors")
    return weights if weights.is_file() else newest


def last_run(save_root_dir: str) -> Path | None:
    """Return the folder of the pretraining run, also of a grid, with the newest checkpoint."""
    files = [file for depth in ("*", "*/*") for name in ("model_*", "last.*")
             for file in Path(save_root_dir).glob(f"{depth}/{name}")
             if file.suffix in (".tar", ".safetensors")]
    return max(files, key=lambda file: file.stat().st_mtime).parent if files else None


def check_modalities(tiles: TileDataset, needed: Sequence[str], use: str, remedy: str) -> None:
    """Raise TileError unless the tiles have what a use of them reads.

    Args:
        needed: "image", "osm" or both.
        use: what reads them, and `remedy`: what to do else, for the message.
    """
    source = {"image": "raster", "osm": "osm"}
    for name in needed:
        if name not in tiles.modalities:
            raise TileError(f"{tiles.root}: its tiles, made with {source[name]}=null, have no "
                            f"{in_words([name])}, and {use} reads {in_words(needed)}; {remedy}")


def check_pretrainable(tiles: TileDataset) -> None:
    """Raise TileError unless the tiles have both modalities."""
    check_modalities(tiles, MODALITIES, "pretraining", "prepare them with raster= and osm=, or "
                     "leave pretraining out: an evaluation learns from tiles of one kind with "
                     "mode=scratch and modality=image or modality=osm")
    check_one_text(tiles)


def node_width(tiles: TileDataset) -> int:
    """Return the number of columns of the tiles' nodes, label included."""
    return tiles.store.graph(0).x.shape[1]


def check_node_width(checkpoint: Path, width: int, tiles: TileDataset) -> None:
    """Raise CheckpointError if the checkpoint's nodes of `width` columns are not the tiles'."""
    own = node_width(tiles)
    if own != width:
        raise CheckpointError(f"{checkpoint}: reads nodes of {width} columns, label included, and "
                              f"those of {tiles.root} have {own}; choose a checkpoint trained on "
                              "such tiles, or tiles made with the text embedding of its own")


def check_tiles_text(network: NetworkFile, tiles: TileDataset) -> None:
    """Raise CheckpointError if the network was trained on another encoder's text vectors."""
    check_text(network.path, network.tiles, tiles.describe().get("text"),
               "prepare the tiles with text={}, or choose another checkpoint")


def check_text(checkpoint: Path | str, known: dict[str, Any], here: dict[str, Any] | None,
               remedy: str) -> None:
    """Raise CheckpointError if `checkpoint` was trained with other text vectors than those `here`.

    Args:
        known: the tiles that it was trained on, as of `TileDataset.describe`.
        here: how the vectors are made, as `TextEncoder.describe` has it; None: not known.
        remedy: for the message, with {} for the keys that make vectors as it knows them.
    """
    trained = known.get("text")
    if trained and here and text_identity(trained) != text_identity(here):
        keys = text_keys(trained, here)
        raise CheckpointError(f"{checkpoint}: was trained on tiles with text={keys}, and here is "
                              f"text={text_keys(here, trained)}, whose vectors mean nothing to "
                              f"it; {remedy.format(keys)}")


def text_identity(text: dict[str, Any]) -> tuple[Any, ...]:
    """Return what two text vectors must have in common to be compared."""
    return text.get("name"), text.get("digest"), text.get("describe", "value")


def text_keys(text: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the values of text=, and of its keys that tell it from another, as a command line has
    them."""
    keys = [str(text.get("name"))]
    if text.get("digest") and text["digest"] != other.get("digest"):
        keys.append(shlex.quote(f"text.model={text.get('model')}"))
    if text.get("describe", "value") != other.get("describe", "value"):
        keys.append(f"text.describe={text.get('describe', 'value')}")
    return " ".join(keys)


def check_one_text(tiles: TileDataset) -> None:
    """Raise TileError if the tiles' cities differ in how tags became text vectors."""
    cities = [(city, meta["text"]) for city, meta in tiles.meta.items() if meta.get("text")]
    for (first, text), (city, other) in pairwise(cities):
        if text_identity(text) != text_identity(other):
            raise TileError(f"{tiles.root}: {first} has text={text_keys(text, other)}, and {city} "
                            f"text={text_keys(other, text)}, whose vectors do not mix; choose "
                            f"cities of one kind with cities={first}, or prepare {city} again")


def check_image_size(network: Path | str, patch: int, image_size: int) -> None:
    """Raise ConfigError if patches of `patch` pixels a side do not divide a dataset's images.

    `network` is its file, or image_encoder=NAME of one that is new.
    """
    kind = "an image encoder" if isinstance(network, str) else "a checkpoint"
    check_side("image_size", image_size, patch, network,
               f"prepare tiles of such a size (tile_px={{}}), or choose {kind} of another patch "
               "side")


def check_side(key: str, side: int, patch: int, network: Path | str, remedy: str) -> None:
    """Raise ConfigError if `patch` does not divide `side`; `remedy` has {} for the nearest fit."""
    if side % patch:
        fit = max(round(side / patch), 1) * patch
        raise ConfigError(f"{key}={side}: no multiple of {patch}, the patch side of {network}; "
                          f"{remedy.format(fit)}")
