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

    Attributes:
        kind: "land_use", "totals" or "features".
        title: of them all.
        headline: (what, figure, remark) of the numbers that matter most.
        lines: sentences.
        size_metres: width and height of the ground that the pictures show.
        layers: the pictures, the lowest first: "name", "file", and where they have them "opacity",
            "legend" of classes ("name", "colour", "share", "hectares"), "scale" of amounts ("low",
            "high", "colours", "unit").
        tables: "title", "columns" and "rows".
        files: the other files, "name" and "what" each holds.
    """

    kind: str
    title: str
    headline: Sequence[tuple[str, str, str]]
    lines: Sequence[str]
    size_metres: tuple[float, float]
    layers: Sequence[dict[str, Any]]
    tables: Sequence[dict[str, Any]]
    files: Sequence[dict[str, str]]

    def write(self, folder: Path, **more: Any) -> dict[str, Any]:
        """Write SCENE into `folder`, with `more` in it, and return what it holds."""
        record = {**asdict(self), **more}
        write_json(folder / SCENE, record)
        return record
