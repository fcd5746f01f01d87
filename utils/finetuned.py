"""Fine-tuned models on disk: `NAME.safetensors` with what is needed to build the Rose and what reads it."""

import json
from pathlib import Path
from typing import Any

from datasets import TileDataset
from models import build_regressor, build_rose, build_segmenter
from models.downstream import Downstream
from models.heads import TargetScale
from models.rose import Rose
from utils.checkpoint import FINETUNED_FORMAT, read_metadata, read_safetensors, write_weights
from utils.errors import CheckpointError
from utils.release import load_strictly


def save_finetuned(path: str | Path, model: Downstream, purpose: dict[str, Any], tiles: dict[str, Any] | None = None) -> None:
    """Write a model, whole or not at all.

    Args:
        purpose: what the model is for, as `build_downstream` takes it.
        tiles: what it was trained on, as `describe_tiles` has it.
    """
    said = {"build": model.rose.build, "purpose": purpose, "tiles": tiles or {}}
    write_weights(Path(path), model.state_dict(), {"format": FINETUNED_FORMAT} | {name: json.dumps(value) for name, value in said.items()})


def describe_tiles(dataset: TileDataset) -> dict[str, Any]:
    """How the tiles of a dataset were made, as far as it is known and the same for all its cities.

    Returns:
        "tile_px"; "metres_per_pixel", the least and the largest; "text", as `TextEncoder.describe` has it; "relation_codes" and
        "coordinates", as in a recipe.
    """
    metas = list(dataset.meta.values())
    metres = [side for meta in metas for side in meta.get("metres_per_pixel") or ()]
    said = [{"text": meta.get("text"), **{name: meta.get("keys", {}).get(name) for name in ("relation_codes", "coordinates")}}
            for meta in metas]
    alike = {name: value for name, value in (said[0] if said else {}).items() if value and all(one[name] == value for one in said)}
    return {"tile_px": dataset.image_size, **({"metres_per_pixel": [min(metres), max(metres)]} if metres else {}), **alike}


def tiles_of(path: Path) -> dict[str, Any]:
    """What `describe_tiles` said of the tiles that the model at `path` was fine-tuned on; empty where nobody said."""
    return json.loads(read_metadata(path).get("tiles", "{}")) if path.suffix == ".safetensors" else {}


def load_finetuned(path: str | Path) -> tuple[Downstream, dict[str, Any]]:
    """The model that `save_finetuned` wrote, in the state in which it is used, and its purpose.

    Raises:
        CheckpointError: missing, damaged, or no fine-tuned model.
    """
    path = Path(path)
    weights, metadata = read_safetensors(path)
    if metadata.get("format") != FINETUNED_FORMAT:
        raise CheckpointError(f"{path}: holds no fine-tuned model; expected the best.safetensors of an evaluation, such as "
                              f"evaluate_seg_fusion.py makes")
    purpose = json.loads(metadata["purpose"])
    model = build_downstream(build_rose(**json.loads(metadata["build"])), purpose)
    load_strictly(model, weights, str(path))
    return model.eval(), purpose


def purpose_of(path: Path) -> dict[str, Any] | None:
    """What the fine-tuned model at `path` is for; None for any other checkpoint."""
    if path.suffix != ".safetensors":
        return None
    metadata = read_metadata(path)
    return json.loads(metadata["purpose"]) if metadata.get("format") == FINETUNED_FORMAT else None


def build_downstream(rose: Rose, purpose: dict[str, Any]) -> Downstream:
    """An untrained model on `rose`.

    Args:
        purpose: {"problem": "segmentation", "modality", "decoder", "classes": names}, or {"problem": "regression", "modality", "target",
            "target_scale", "mean", "std"}, the last three of a `TargetScale`.
    """
    if purpose["problem"] == "segmentation":
        return build_segmenter(rose, purpose["modality"], purpose["decoder"], len(purpose["classes"]))
    return build_regressor(rose, purpose["modality"], TargetScale(purpose["target_scale"], purpose["mean"], purpose["std"]))


def fill_decoder(model: Downstream, path: Path) -> None:
    """Load the decoder of the fine-tuned model at `path` into another of the same purpose; raises CheckpointError where it does not fit."""
    weights, _ = read_safetensors(path)
    decoder = {name.removeprefix("decoder."): value for name, value in weights.items() if name.startswith("decoder.")}
    load_strictly(model.decoder, decoder, str(path))
