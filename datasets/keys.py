"""The keys of datasets."""
from dataclasses import dataclass
from typing import Any

from utils.config import key, recipe_key


@dataclass
class TextConfig:
    """Keys of `text=`, a group: configs/text/."""

    name: str = key()
    model: str | None = key()
    weights: str | None = key()
    cache: str | None = key()


@dataclass
class SplitConfig:
    """Keys of the spatial split into training, validation and test tiles."""

    val: float = key(least=0, below=1)
    test: float = key(least=0, below=1)
    block: int = key(least=1)
    guard: int = key(least=0)
    seed: int = key(least=0, below=2**32)
    train_sizes: list[int] = key()


@dataclass
class PrepareConfig:
    """Keys of prepare_dataset.py."""

    raster: str = key(why="a GeoTIFF, a VRT, a folder of GeoTIFFs, or a quoted glob such as "
                          "'chips/*.tif'")
    osm: str = key(why="an .osm.pbf or .osm file, a GeoPackage, GeoParquet, GeoJSON or "
                       "Shapefile, or a folder of them")
    out: str = key(why="the folder of the tile dataset to make")
    city: str = key(why="the name that the tiles of this city begin with")
    overwrite: bool = key()
    bands: list[int] | None = key()
    raster_crs: str | None = key()
    resolution: float | None = key(above=0)
    stretch: list[float] = key()
    nodata: str = key()
    max_nodata: float = key(least=0, most=1)
    tile_px: int = key(least=1)
    stride: int | None = key(least=1)
    keep_empty: bool = key()
    layers: str | None = key()
    text: TextConfig = key()
    labels: str | None = key()
    label_map: Any = key()
    label_column: str | None = key()
    population: str | None = key()
    population_unit: str = key(choices=("count", "per_km2", "per_hectare", "per_m2"))
    population_column: str | None = key()
    co2: str | None = key()
    co2_unit: str = key(choices=("count", "per_km2", "per_hectare", "per_m2"))
    co2_column: str | None = key()
    split: SplitConfig = key()
    layout: str = key(choices=("compact", "release"))
    workers: int | None = key(least=1)
    scheduler: str | None = key()
    dry_run: bool = key()
    recipe: str = key()
    relation_codes: str = recipe_key("relation_codes")
    coordinates: str = recipe_key("coordinates")


@dataclass
class ConvertConfig:
    """Keys of `python -m datasets.convert SRC DST`."""

    src: str = key(why="the dataset to convert")
    dst: str = key(why="the folder of the dataset to make")
    layout: str | None = key(choices=("compact", "release"))
    overwrite: bool = key()


@dataclass
class SplitsConfig:
    """Keys of `python -m datasets.splits`."""

    data_path: str = key(why="the folder of a tile dataset")
    split: SplitConfig = key()


@dataclass
class SampleCityConfig:
    """Keys of `python -m datasets.sample_city`."""

    out: str = key(why="the folder that the city's files go to")
    tiles: int = key(least=1)
    seed: int = key(least=0, below=2**32)
    overwrite: bool = key()
