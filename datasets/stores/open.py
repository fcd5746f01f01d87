"""Recognise the layout of a dataset, and open it."""

from collections.abc import Sequence
from pathlib import Path

from datasets.stores.compact import CITIES, CompactTiles
from datasets.stores.release import MAKE, ReleaseTiles
from utils.errors import TileError

UNFINISHED = ".unfinished-"  # begins the name of a marker: the city's tiles were being moved


def layout_of(root: Path) -> str:
    """Return "compact" or "release", by the folders of a dataset; raise TileError if it does not
    exist, its preparation was interrupted, or it has the folders of both layouts."""
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise TileError(f"{root}: {problem}, expected the folder of a dataset with {CITIES}/, or "
                        f"with img/, node/, edge/ and edge_w/; correct the path; {MAKE}")
    for marker in root.glob(f"{UNFINISHED}*"):
        city = marker.name.removeprefix(UNFINISHED)
        raise TileError(f"{root}: the preparation of {city} was interrupted and its tiles are "
                        "incomplete, expected all of them; run prepare_dataset.py for it again")
    compact, release = (root / CITIES).is_dir(), (root / "img").is_dir()
    if compact and release:
        raise TileError(f"{root}: has both {CITIES}/ (the compact layout) and img/ (the "
                        "release's), expected one of them; move one into a folder of its own, "
                        "and bring both to one layout with `python -m datasets.convert SRC DST`")
    return "compact" if compact else "release"


def open_store(root: Path, cities: Sequence[str] | None = None) -> CompactTiles | ReleaseTiles:
    """Open the dataset at `root` in its layout, or raise TileError; without `cities`, all."""
    store = CompactTiles if layout_of(root) == "compact" else ReleaseTiles
    return store(root, cities)
