"""The sample city as a tile dataset, made on first use."""

from pathlib import Path

from datasets.prepare.pipeline import PrepareSummary, prepare_tiles
from datasets.sample_city import write_sample_city


def ensure_sample_tiles(root: Path | str, tiles: int, seed: int = 0) -> PrepareSummary | None:
    """Generate a city of tiles x tiles tiles beside `root` and prepare it into `root`, unless that exists.

    The user's files (city.tif, osm.gpkg, landuse.tif, ...) are left in the parent folder of `root`. Tiles without OSM are kept.

    Returns:
        What was prepared; None if it was there.
    """
    root = Path(root)
    if root.exists():
        return None
    print(f"Generating the sample city, {tiles} x {tiles} tiles, in {root.parent}")
    city = write_sample_city(root.parent, tiles, seed, progress=True)
    return prepare_tiles(city.image, city.osm, root, "sample", keep_empty=True)
