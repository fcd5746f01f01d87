"""The marker that tells a generated city from a user's files: the generator writes only into a
folder that is empty, missing, or marked as its own."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from utils.contents import ContentFault, Fields, Flag, Items, Text, Whole, parse_json, read_json
from utils.errors import RoseError, TileError
from utils.files import replacing

MARKER = ".sample_city.json"
MOST_TILES = 1000  # a side
_SIZE = {"tiles": Whole(least=1), "seed": Whole(least=0)}
# what meta.json of a city says that was made before there was a marker
_BEFORE = Fields({"city": Text(("sample",)), "raster_size": Items(Whole(least=1), 2, 2),
                  "tile_px": Whole(least=1), "sources": Items(Fields({"file": Text()}))})


@dataclass(frozen=True)
class Marker:
    """Which city a folder is for: tiles a side, seed, and whether all of it is there.

    Raises:
        RoseError: `tiles` is no number of tiles.
    """

    tiles: int
    seed: int
    finished: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.tiles, int) or not 1 <= self.tiles <= MOST_TILES:
            raise RoseError(f"tiles={self.tiles}: a sample city needs a whole number of tiles "
                            f"along each side, at least 1 and at most {MOST_TILES}. Try tiles=12.")

    @property
    def size(self) -> str:
        """Name the city in words."""
        return f"{self.tiles} x {self.tiles} tiles with seed {self.seed}"

    def write(self, folder: Path) -> None:
        """Mark a folder, made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / MARKER, OSError) as temporary:
            temporary.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")


def marker_of(folder: Path, remedy: str) -> Marker | None:
    """Return the marker of a folder; None if the folder is empty or missing.

    Raises:
        TileError: the folder holds files and no marker, or the marker cannot be read; the message
            ends with `remedy`.
    """
    path = folder / MARKER
    if path.is_file():
        stated = read_json(path, Fields({**_SIZE, "finished": Flag()}), remedy, TileError)
        return Marker(stated["tiles"], stated["seed"], stated["finished"])
    if folder.exists() and not folder.is_dir():
        raise TileError(f"{folder}: is no folder, expected a new or an empty one for the sample "
                        f"city; {remedy}")
    if folder.is_dir() and any(folder.iterdir()):
        raise TileError(f"{folder}: holds files that the sample city's generator did not make, "
                        f"expected its own, or an empty or a new folder; {remedy}")
    return None


def marker_before(meta: Path, files: Sequence[str]) -> Marker | None:
    """Return what the marker of a dataset's city would say, if its meta.json shows for certain that
    it was generated from `files`, and before there were markers; else None."""
    try:
        stated = parse_json(meta.read_bytes(), _BEFORE)
    except (OSError, ContentFault):
        return None
    if not {*files} <= {source["file"] for source in stated["sources"]}:
        return None
    return Marker(stated["raster_size"][0] // stated["tile_px"], 0, finished=True)
