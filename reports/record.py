"""The records that pages are made of: their names, and scene.json of every command."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.outputs import write_json

SCENE = "scene.json"
FEATURES = "features.json"              # beside it, or above those of several cities
ATTENTION = "attention.json"            # training/attention.py
ATTENTION_FORMAT = "rose-attention-1"
RECONSTRUCTION = "reconstruction.json"  # training/summary.py


@dataclass(frozen=True)
class SceneRecord:
    """A scene's maps.

    Each layer has "name" and "file", and where it has them "opacity", "legend" of classes ("name",
    "colour", "share", "hectares") and "scale" of amounts ("low", "high", "colours", "unit").
    """

    kind: str  # "land_use", "totals" or "features"
    title: str  # of all maps
    headline: Sequence[tuple[str, str, str]]  # (what, figure, remark) of numbers that matter most
    lines: Sequence[str]  # sentences
    size_metres: tuple[float, float]  # width and height of the ground that the pictures show
    layers: Sequence[dict[str, Any]]  # the pictures, the lowest first
    tables: Sequence[dict[str, Any]]  # "title", "columns" and "rows"
    files: Sequence[dict[str, str]]  # the other files: "name" and "what" each holds

    def write(self, folder: Path, **more: Any) -> dict[str, Any]:
        """Write SCENE into `folder`, with `more` in it, and return what it holds."""
        record = {**asdict(self), **more}
        write_json(folder / SCENE, record)
        return record
