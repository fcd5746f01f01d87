"""The keys of prepare_dataset.py, `python -m datasets.convert`, `.splits` and `.sample_city`."""

from dataclasses import dataclass
from typing import Any

from datasets.prepare.text.registry import ENCODERS
from utils.cli.program import Choice, Program
from utils.config import key, recipe_key, section

in_inputs, in_outputs, in_imagery, in_tiles, in_targets, in_how = map(section, (
    "inputs", "outputs", "imagery", "tiles", "what there is to learn (optional)", "how"))

RASTER = "a GeoTIFF, a VRT, a folder of GeoTIFFs, or a quoted glob such as 'chips/*.tif'"
OSM = (".osm.pbf, .osm (.gz, .bz2, .xz), Overpass JSON, GeoPackage, GeoParquet, GeoJSON, "
       "FlatGeobuf, Shapefile, or a folder of them")
UNITS = ("count", "per_km2", "per_hectare", "per_m2")
LAYOUTS = ("compact", "release")
MOST_TILE_PX = 16_384  # a side; a tile is held in memory


@dataclass
class ImageryKeys:
    """Keys that say how imagery is read."""

    bands: list[int] | None = in_imagery(
        None, "the raster's bands for red, green and blue, from 1; null: by the file's colours, "
              "else the first three; [1,1,1] makes one band grey", least=1, most=65_536,
        items=(3, 3))
    raster_crs: str | None = in_imagery(None, "CRS of a raster that has none, such as EPSG:32648")
    resolution: float | None = in_imagery(None, "metres per pixel to resample to; null: as the "
                                                "raster is", least=0.001, most=100_000)
    stretch: list[float] = in_imagery([2, 98], "percentiles that become black and white, of "
                                               "imagery that is not 8-bit", least=0, most=100,
                                  items=(2, 2))
    nodata: str = in_imagery("file", "file: as the raster says; none: every pixel counts; a "
                                     "number: pixels of this value in all bands do not")


def default_tags_key() -> Any:
    """State the key `default_tags`."""
    return in_inputs(None, "tags of features without any in vector files, such as building=yes "
                           "for footprints; several: building=yes,highway=road, each for the "
                           "shapes that it suits")


@dataclass
class TextConfig:
    """Keys of `text=`: how tags become vectors."""

    name: str = key("hash", "set by the choice text=")
    model: str | None = key(None, "of open_clip; OpenAI's weights need its quickgelu form")
    weights: str | None = key(None, "a tag that open_clip downloads, or the path of a weights "
                                    "file")
    cache: str | None = key(None, "folder of the vectors already encoded; null: rose/text in "
                                  "the user's cache folder")


TEXTS = {name: TextConfig(name, encoder.defaults.get("model"), encoder.defaults.get("weights"))
         for name, encoder in sorted(ENCODERS.items())}
TEXT = Choice("text", "hash", "hash: words and letters, needs nothing; clip: CLIP's text tower "
                              "through open_clip, as the paper", options=TEXTS)


@dataclass
class SplitConfig:
    """Keys of the spatial split: square blocks of tiles, with tiles between them left out."""

    val: float = key(0.15, "share of the tiles", least=0, below=1)
    test: float = key(0.15, "share of the tiles", least=0, below=1)
    block: int = key(8, "tiles along a side of a block; a city of fewer than nine blocks is "
                        "dealt with the size that suits it best", least=1, most=10_000)
    guard: int = key(1, "tiles left out between training tiles and the others, on every side",
                     least=0, most=1000)
    seed: int = key(0, "another seed draws other blocks", least=0, below=2**32)
    train_sizes: list[int] = key(
        [50, 100, 200, 500, 1000], "osm-train50.txt ...: each inside the next; those larger than "
                                   "the training set are left out", least=1, items=(0, 100))


SPLIT = Choice("split", "blocks", "square blocks of tiles, drawn by seed",
               options={"blocks": SplitConfig()})


@dataclass
class PrepareConfig(ImageryKeys):
    """Keys of prepare_dataset.py."""

    raster: str = in_inputs(meaning=RASTER, why=RASTER)
    osm: str = in_inputs(meaning=f"{OSM}, in any CRS", why=f"{OSM}")
    layers: str | None = in_inputs(None, "your own table of layers; null: configs/osm_layers.yaml")
    default_tags: str | None = default_tags_key()
    out: str = in_outputs(meaning="the dataset's folder; several cities may share one",
                          result=False, why="the folder of the tile dataset to make")
    city: str = in_outputs(meaning="tiles are called CITY_COL_ROW",
                           why="the name that the tiles of this city begin with")
    layout: str = in_outputs("compact", "compact: a few arrays; release: the files of the "
                                        "authors' code (python -m datasets.convert changes one "
                                        "into the other)", choices=LAYOUTS)
    overwrite: bool = in_outputs(False, "replace the tiles that out has of this city",
                                 result=False)
    max_nodata: float = in_imagery(0.1, "leave out tiles with a larger share of pixels without "
                                        "imagery", least=0, most=1)
    tile_px: int = in_tiles(224, "side in pixels", least=1, most=MOST_TILE_PX)
    stride: int | None = in_tiles(None, "pixels from one tile to the next; null: tile_px", least=1,
                                  most=MOST_TILE_PX)
    keep_empty: bool = in_tiles(False, "also make tiles without any OSM object")
    recipe: str = in_tiles("rose", "set by the choice recipe=")
    relation_codes: str = recipe_key("relation_codes", section="tiles")
    coordinates: str = recipe_key("coordinates", section="tiles")
    text: TextConfig = key(TextConfig())
    labels: str | None = in_targets(None, "land use: a raster of classes, or polygons with a "
                                          "class column -> label/")
    label_map: Any = in_targets(None, "from the source's values to 0..8, in quotes: "
                                   "'label_map={5:0,6:1}', or a yaml file; null: the values are "
                                      "the classes")
    label_column: str | None = in_targets(None, "the polygons' column; null: the only one of a "
                                                "usual name")
    population: str | None = in_targets(None, "a raster, or polygons with a value column -> pop/")
    population_unit: str = in_targets("count", "what a value is: a count, or a density",
                                      choices=UNITS)
    population_column: str | None = in_targets(None, "the polygons' column; null: the only one of "
                                                     "numbers")
    co2: str | None = in_targets(None, "a raster or polygons, as population -> CO2/")
    co2_unit: str = in_targets("count", "as population_unit", choices=UNITS)
    co2_column: str | None = in_targets(None, "as population_column")
    split: SplitConfig = key(SplitConfig(), result=False)
    workers: int | None = in_how(None, "processes; null: as many as there are cores, one for "
                                       "small areas", least=1, most=1024, result=False)
    scheduler: str | None = in_how(None, "tcp://HOST:PORT of a Dask scheduler that does the work "
                                         "instead", result=False)
    dry_run: bool = in_how(False, "say what would be made, and draw it, without making it",
                           result=False)


@dataclass
class ConvertConfig:
    """Keys of `python -m datasets.convert SRC DST`."""

    src: str = in_inputs(meaning="a dataset, in either layout", why="the dataset to convert")
    dst: str = in_outputs(meaning="folder of the dataset to make",
                          why="the folder of the dataset to make")
    layout: str | None = in_outputs(None, "null: the other one", choices=LAYOUTS)
    overwrite: bool = in_outputs(False, "replace a dataset that dst holds")


@dataclass
class SplitsConfig:
    """Keys of `python -m datasets.splits`."""

    data_path: str = in_inputs(meaning="a dataset, in either layout",
                               why="the folder of a tile dataset")
    split: SplitConfig = key(SplitConfig())


@dataclass
class SampleCityConfig:
    """Keys of `python -m datasets.sample_city`."""

    out: str = in_outputs(
        meaning="folder for city.tif, osm.gpkg, landuse.tif, population.tif, co2.tif and "
                "districts.gpkg", why="the folder that the city's files go to")
    tiles: int = in_outputs(12, "tiles of 224 m a side", least=1, most=200)
    overwrite: bool = in_outputs(False, "replace the files of a city that out holds")
    seed: int = in_outputs(0, "the same seed gives the same bytes", least=0, below=2**32)


PREPARE = Program(
    "prepare_dataset", PrepareConfig, "Tiles of a city: imagery and OSM objects.",
    "python prepare_dataset.py raster=R osm=O out=D city=C", choices=(
        Choice("recipe", "rose", "rose: the method as described; release: the authors' code with "
                                 "its accidents (utils/recipes.py)"), TEXT, SPLIT))
CONVERT = Program("convert", ConvertConfig, "One layout of a dataset into the other.",
                  "python -m datasets.convert SRC DST", positional=("src", "dst"))
SPLITS = Program(
    "splits", SplitsConfig, "New lists of training, validation and test tiles for a dataset.",
    "python -m datasets.splits data_path=D split.val=0.2", choices=(SPLIT,))
SAMPLE_CITY = Program(
    "sample_city", SampleCityConfig, "The sample city's raw files.",
    "python -m datasets.sample_city out=DIR tiles=12 seed=0", positional=("out",))
