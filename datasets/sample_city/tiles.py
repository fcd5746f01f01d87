"""The sample city as a tile dataset, made on first use."""

from pathlib import Path

from lightning_fabric import Fabric

from datasets.sample_city.marker import MARKER, Marker, marker_before, marker_of
from datasets.stores.open import UNFINISHED
from utils.errors import TileError
from utils.locks import locked

CITY = "sample"
# Blocks in which a city of 12 x 12 tiles has every class in every list; the small lists are for
# studies of label efficiency.
SPLIT = {"val": 0.15, "test": 0.15, "block": 3, "guard": 1, "seed": 2,
         "train_sizes": (5, 10, 20, 50, 100, 200)}
SOURCES = ("city.tif", "osm.gpkg", "landuse.tif", "population.tif", "co2.tif")
_REMEDY = "pass sample_tiles=null to use the tiles that are there, or name a new folder"


def ensure_sample_tiles(root: Path | str, tiles: int, seed: int = 0) -> object | None:
    """Generate a city of tiles x tiles tiles and prepare it into `root` with all targets, tiles
    without OSM included, unless `root` holds it. The raw files (city.tif, osm.gpkg, ...) stay in
    the folder raw beside `root`.

    Both folders must be empty, missing, or marked as the generator's own (marker.py). What a
    stopped run left there is completed.

    Returns:
        The summary of the preparation; None if `root` held the city.

    Raises:
        TileError: a folder holds other files, or a city of another size, or another process is
            generating a city there.
    """
    root = Path(root)
    if root.name in ("", ".."):
        root = root.resolve()
    asked = Marker(tiles, seed, finished=True)
    if _holds(root, asked):
        return None
    raw = root.with_name("raw" if root.name != "raw" else "raw_city")
    root.parent.mkdir(parents=True, exist_ok=True)
    with locked(root.parent / ".lock-sample-city", "generating a sample city",
                "name a folder elsewhere", TileError):
        return None if _holds(root, asked) else _make(root, raw, asked)


def _make(root: Path, raw: Path, asked: Marker) -> object:
    from datasets.prepare.pipeline import prepare_tiles  # loads much that no other run needs
    from datasets.sample_city.write import FILES, write_sample_city

    made = marker_of(raw, "name a dataset's folder elsewhere: the city's raw files go to raw "
                          "beside it")
    _check_size(raw, made, asked)
    started = Marker(asked.tiles, asked.seed)
    started.write(root)
    paths = {name: raw / file for name, file in FILES.items()}
    if made is None or not made.finished or not all(path.is_file() for path in paths.values()):
        print(f"Generating the sample city, {asked.tiles} x {asked.tiles} tiles, in {raw}")
        write_sample_city(raw, asked.tiles, asked.seed, progress=True, overwrite=True)
    summary = prepare_tiles(
        paths["image"], paths["osm"], root, CITY, keep_empty=True, labels=str(paths["landuse"]),
        population=str(paths["population"]), population_unit="per_km2", co2=str(paths["co2"]),
        co2_unit="per_km2", split=SPLIT, overwrite=True)
    asked.write(root)
    return summary


def _holds(root: Path, asked: Marker) -> bool:
    """Return whether `root` holds the city, whole; raise TileError if it holds anything else."""
    meta = root / "cities" / CITY / "meta.json"
    whole = meta.is_file() and not any(root.glob(f"{UNFINISHED}*"))
    before = marker_before(meta, SOURCES) if whole and not (root / MARKER).exists() else None
    marker = before or marker_of(root, _REMEDY)
    _check_size(root, marker, asked)
    if marker is None or (whole and marker.finished):
        return marker is not None
    others = [path.name for path in (*root.glob("cities/[!.]*"), *root.glob("img"))
              if path.name != CITY]
    if others:
        raise TileError(f"{root}: holds {others[0]} beside an unfinished sample city, expected "
                        f"the sample city alone; {_REMEDY}")
    return False


def _check_size(folder: Path, marker: Marker | None, asked: Marker) -> None:
    if marker and (marker.tiles, marker.seed) != (asked.tiles, asked.seed):
        raise TileError(f"{folder}: holds a sample city of {marker.size}, expected one of "
                        f"{asked.size}; pass sample_tiles={marker.tiles} to use it, or name a "
                        "folder elsewhere")


def ensure_sample(fabric: Fabric, root: str, tiles: int | None) -> None:
    """Make the sample city of tiles x tiles tiles at `root` by the first process, unless it exists;
    do nothing if `tiles` is None."""
    if tiles is not None:
        with fabric.rank_zero_first():
            ensure_sample_tiles(root, tiles)
