"""Fine-tuned models on disk: `NAME.safetensors` with what is needed to build the Rose and what
reads it."""

import json
from pathlib import Path
from typing import Any

from models import build_regressor, build_rose, build_segmenter
from models.downstream import Downstream
from models.heads import TargetScale
from models.release import load_strictly
from models.rose import Rose
from utils.checkpoint import FINETUNED_FORMAT, read_metadata, read_safetensors, write_weights
from utils.errors import CheckpointError

BEST = "best.safetensors"
_EXPECTED = "the best.safetensors of an evaluation, such as evaluate_seg_fusion.py makes of a pretrained network"


def save_finetuned(path: str | Path, model: Downstream, purpose: dict[str, Any],
                   tiles: dict[str, Any] | None = None) -> None:
    """Write a model, whole or not at all.

    Args:
        purpose: what the model is for, as `build_downstream` takes it.
        tiles: what it was trained on, as `TileDataset.describe` has it.
    """
    said = {"build": model.rose.build, "purpose": purpose, "tiles": tiles or {}}
    write_weights(Path(path), model.state_dict(),
                  {"format": FINETUNED_FORMAT}
                  | {name: json.dumps(value) for name, value in said.items()})


def load_finetuned(path: str | Path) -> tuple[Downstream, dict[str, Any]]:
    """The model that `save_finetuned` wrote, in the state in which it is used, and its purpose.

    Raises:
        CheckpointError: missing, damaged, or no fine-tuned model.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected {_EXPECTED}")
    weights, metadata = read_safetensors(path) if path.suffix == ".safetensors" else ({}, {})
    if metadata.get("format") != FINETUNED_FORMAT:
        raise CheckpointError(f"{path}: holds no fine-tuned model; expected {_EXPECTED}")
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
        purpose: {"problem": "segmentation", "modality", "decoder", "classes": names}, or
            {"problem": "regression", "modality", "target", "target_scale", "mean", "std"}, the
            last three of a `TargetScale`.
    """
    if purpose["problem"] == "segmentation":
        return build_segmenter(rose, purpose["modality"], purpose["decoder"],
                               len(purpose["classes"]))
    return build_regressor(rose, purpose["modality"],
                           TargetScale(purpose["target_scale"], purpose["mean"], purpose["std"]))


def fill_decoder(model: Downstream, path: Path) -> None:
    """Load the decoder of the fine-tuned model at `path` into another of the same purpose; raises
    CheckpointError where it does not fit."""
    weights, _ = read_safetensors(path)
    decoder = {name.removeprefix("decoder."): value for name, value in weights.items()
               if name.startswith("decoder.")}
    load_strictly(model.decoder, decoder, str(path))

