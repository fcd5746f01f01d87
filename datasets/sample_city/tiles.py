"""The sample city as a tile dataset, made on first use."""

from pathlib import Path

from lightning_fabric import Fabric

from datasets.stores.open import UNFINISHED

CITY = "sample"
# Blocks in which a city of 12 x 12 tiles has every class in every list; the small lists are for
# studies of label efficiency.
SPLIT = {"val": 0.15, "test": 0.15, "block": 3, "guard": 1, "seed": 2,
         "train_sizes": (5, 10, 20, 50, 100, 200)}


def ensure_sample_tiles(root: Path | str, tiles: int, seed: int = 0) -> object | None:
    """Generate a city of tiles x tiles tiles and prepare it into `root` with all targets, tiles
    without OSM included, unless `root` holds it. The raw files (city.tif, osm.gpkg, ...) stay in
    the folder raw beside `root`.

    Returns:
        The summary of the preparation; None if `root` held the city.
    """
    from datasets.prepare.pipeline import prepare_tiles  # loads much that no other run needs
    from datasets.sample_city.write import write_sample_city

    root = Path(root)
    if (root / "cities" / CITY / "meta.json").exists() and not any(root.glob(f"{UNFINISHED}*")):
        return None
    raw = root.with_name("raw")
    print(f"Generating the sample city, {tiles} x {tiles} tiles, in {raw}")
    city = write_sample_city(raw, tiles, seed, progress=True, overwrite=True)
    return prepare_tiles(
        city.image, city.osm, root, CITY, keep_empty=True, labels=str(city.landuse),
        population=str(city.population), population_unit="per_km2", co2=str(city.co2),
        co2_unit="per_km2", split=SPLIT)


def ensure_sample(fabric: Fabric, root: str, tiles: int | None) -> None:
    """Make the sample city of tiles x tiles tiles at `root` by the first process, unless it exists;
    do nothing if `tiles` is None."""
    if tiles is not None:
        with fabric.rank_zero_first():
            ensure_sample_tiles(root, tiles)
