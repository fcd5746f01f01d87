"""The tile folder on disk: img/NAME.png, node/NAME.tensor, edge/NAME.tensor, edge_w/NAME.tensor and meta/CITY.json.

A city is written in a hidden folder inside its destination and moved into place when it is complete. While it is moved, a marker says so:
a process killed just then leaves a dataset that is refused until it is prepared again.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch_geometric.data import Data

from datasets.tiles import GRAPH_FOLDERS, UNFINISHED
from utils.errors import PrepareError


class CityStage:
    """The unfinished tiles of one city."""

    def __init__(self, folder: Path, city: str):
        self.folder, self.city = folder, city

    def write_tile(self, col: int, row: int, rgb: np.ndarray, graph: Data) -> None:
        """Store the image [h, w, 3] uint8 and the graph of one tile."""
        name = f"{self.city}_{col}_{row}"
        Image.fromarray(rgb).save(self.folder / "img" / f"{name}.png")
        for part, tensor in zip(GRAPH_FOLDERS, (graph.x, graph.edge_index, graph.edge_attr), strict=True):
            torch.save(tensor, self.folder / part / f"{name}.tensor")

    def write_meta(self, meta: dict) -> None:
        """Store what describes the city as a whole."""
        text = json.dumps(meta, indent=2, ensure_ascii=False) + "\n"
        (self.folder / "meta" / f"{self.city}.json").write_text(text, encoding="utf-8")


def refuse_existing(out: Path, city: str) -> None:
    """Raises PrepareError where `out` already holds tiles of the city."""
    if (out / f"{UNFINISHED}{city}").exists():
        return  # half moved: nothing that anybody has used
    if existing := [path for path in _files_of(out, city) if path.suffix == ".png"]:
        raise PrepareError(f"{out}: already holds {len(existing)} tiles of {city}, expected none. "
                           f"Pass overwrite=true to replace them, or choose another city= or out=.")


@contextmanager
def staged_city(out: Path, city: str) -> Iterator[CityStage]:
    """Write a city's tiles, which replace those that `out` has of this city when the block ends well; else `out` stays as it was.

    Raises:
        PrepareError: the folder cannot be made.
    """
    folder, new = out / f".preparing-{city}", not out.exists()
    try:
        shutil.rmtree(folder, ignore_errors=True)  # what a killed run left behind
        for part in ("img", "meta", *GRAPH_FOLDERS):
            (folder / part).mkdir(parents=True)
    except OSError as error:
        raise PrepareError(f"{out}: cannot be written ({error.strerror}). Pass out= a folder that you may write to.") from error
    try:
        yield CityStage(folder, city)
        _put_in_place(folder, out, city)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if new and not any(out.iterdir()):
            out.rmdir()


def _put_in_place(folder: Path, out: Path, city: str) -> None:
    marker = out / f"{UNFINISHED}{city}"
    marker.touch()
    for path in _files_of(out, city):
        path.unlink()
    for part in (*GRAPH_FOLDERS, "meta", "img"):
        (out / part).mkdir(exist_ok=True)
        for path in sorted((folder / part).iterdir()):
            path.replace(out / part / path.name)
    marker.unlink()


def _files_of(out: Path, city: str) -> list[Path]:
    """Every file of the city in `out`, pictures first."""
    name = re.compile(rf"{re.escape(city)}_\d+_\d+")
    folders = [out / part for part in ("img", *GRAPH_FOLDERS) if (out / part).is_dir()]
    tiles = [path for folder in folders for path in folder.iterdir() if name.fullmatch(path.stem)]
    return tiles + [path for path in [out / "meta" / f"{city}.json"] if path.exists()]
