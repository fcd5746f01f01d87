"""The keys of prepare_dataset.py, `python -m datasets.convert`, `.splits`, `.sample_city` and
`.fetch`."""

from dataclasses import asdict, dataclass
from typing import Any

from datasets.prepare.text.describe import DESCRIPTIONS
from datasets.prepare.text.registry import ENCODERS
from utils.cli.program import Choice, Program
from utils.config import key, section
from utils.recipes import recipe_key

in_inputs, in_outputs, in_imagery, in_tiles, in_targets, in_how = map(section, (
    "inputs", "outputs", "imagery", "tiles", "what there is to learn (optional)", "how"))

RASTER = ("a GeoTIFF, a VRT, a picture with a world file, web map tiles (a folder z/x/y, MBTiles, "
          "PMTiles), a folder, or a quoted glob such as 'chips/*.tif'; or a URL: of a GeoTIFF, a "
          "STAC item, tiles 'https://.../{z}/{x}/{y}.jpg', or the capabilities of a WMTS or WMS")
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
    raster_crs: str | None = in_imagery(None, "CRS of a raster that has none, such as EPSG:32648; "
                                              "without a raster: of the tiles; null: the UTM zone")
    resolution: float | None = in_imagery(None, "metres per pixel to resample to; null: as the "
                                                "raster is, and 1 without one", least=0.001,
                                          most=100_000)
    bbox: list[float] | None = in_imagery(
        None, "only this area: [west,south,east,north] in degrees, to whole pixels; null: all; of "
              "web map tiles and map services by URL it must be given", least=-180, most=180,
        items=(4, 4))
    zoom: int | None = in_imagery(None, "of web map tiles: 0 is the Earth in one tile, 18 has "
                                        "pixels of about 0.5 m; null: the finest of a folder",
                                  least=0, most=30)
    imagery_cache: str | None = in_imagery(
        None, "folder of imagery fetched by URL; null: rose/imagery in the user's cache folder",
        result=False)
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
    model: str | None = key(None, "clip: of open_clip, whose quickgelu form OpenAI's weights "
                                  "need; sentence: a folder, or an id of the Hugging Face hub")
    weights: str | None = key(None, "a tag that open_clip downloads, or the path of a weights "
                                    "file")
    describe: str | None = key(
        None, "what is encoded. value: school, as the paper; key_value: building: school; tags: "
              "all tags of the object, a line each; null: value, or of a scene as in training",
        choices=DESCRIPTIONS)
    cache: str | None = key(None, "folder of the vectors already encoded; null: rose/text in "
                                  "the user's cache folder")


def text_of_result(text: TextConfig) -> dict[str, Any]:
    """Return the keys of `text` that results depend on; without describe=null, which earlier
    versions did not have."""
    values = asdict(text)
    return {name: value for name, value in values.items()
            if name != "describe" or value is not None}


TEXTS = {name: TextConfig(name, encoder.defaults.get("model"), encoder.defaults.get("weights"))
         for name, encoder in sorted(ENCODERS.items())}
TEXT = Choice("text", "hash", "hash: words and letters, needs nothing; clip: CLIP's text tower "
                              "through open_clip, as the paper; sentence: text.model= through "
                              "transformers", options=TEXTS)


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
    fold: str | None = key(None, "k/n, such as 1/5: the blocks become n folds; fold k is test, the "
                                 "next one val, the rest train (val= and test= do not matter), and "
                                 "fold-1-of-n/, fold-2-of-n/ ... hold the lists of all n")
    train_sizes: list[int] = key(
        [50, 100, 200, 500, 1000], "osm-train50.txt ...: each inside the next; those larger than "
                                   "the training set are left out", least=1, items=(0, 100))


SPLIT = Choice("split", "blocks", "square blocks of tiles, drawn by seed",
               options={"blocks": SplitConfig()})


@dataclass
class PrepareConfig(ImageryKeys):
    """Keys of prepare_dataset.py."""

    raster: str | None = in_inputs(
        meaning=f"{RASTER}; null: none, for tiles of OSM objects alone",
        why=f"{RASTER}; null for tiles of OSM objects alone")
    osm: str | None = in_inputs(
        meaning=f"{OSM}, in any CRS; null: none, for tiles of imagery alone",
        why=f"{OSM}; null for tiles of imagery alone")
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
    classes: Any = in_targets(None, "your own: names [town,forest] in the order of a raster's "
                                    "numbers or as a column has them; in quotes, from values or "
                                    "colours to names: 'classes={11:town,12:town,21:forest}'; a "
                                    "yaml file of either; all: every value. null: label_map's, "
                                    "the file's own names, or the paper's nine")
    label_map: Any = in_targets(None, "from the source's values to classes=, or to the nine 0..8, "
                                      "in quotes: 'label_map={5:0,6:1}', or a yaml file; null: "
                                      "the values are the classes")
    colour_tolerance: int = in_targets(0, "labels of colours: the largest difference of a channel, "
                                          "of 255, to a named colour that counts as it (JPEG, "
                                          "smoothed edges)", least=0, most=127)
    label_column: str | None = in_targets(None, "the polygons' column; null: the only one of a "
                                                "usual name")
    population: str | None = in_targets(None, "a raster; polygons, points or H3 cells with a value "
                                              "column; or a CSV table of them -> pop/")
    population_unit: str = in_targets("count", "what a value is: a count, or a density",
                                      choices=UNITS)
    population_what: str | None = in_targets(None, "what is counted where it is no people, such as "
                                                   "'thousand m3 of building'; pages call it so")
    population_column: str | None = in_targets(None, "the column of values; null: the only one of "
                                                     "numbers")
    population_crs: str | None = in_targets(None, "CRS of a table's x and y that are no degrees, "
                                                  "such as EPSG:3035")
    cell: str | None = in_targets(None, "of points: 250, the side in metres of the square that "
                                        "each is the centre of; 0.1deg, in degrees; 0: each "
                                        "counts in the tile that it lies in")
    co2: str | None = in_targets(None, "a raster, a file or a table, as population -> CO2/")
    co2_unit: str = in_targets("count", "as population_unit", choices=UNITS)
    co2_what: str | None = in_targets(None, "as population_what, where it is no CO2")
    co2_column: str | None = in_targets(None, "as population_column")
    co2_crs: str | None = in_targets(None, "as population_crs")
    co2_cell: str | None = in_targets(None, "as cell; null: the same")
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


@dataclass
class FetchConfig:
    """Keys of `python -m datasets.fetch`."""

    bbox: list[float] = in_inputs(
        meaning="the area: west,south,east,north in degrees", least=-180, most=180, items=(4, 4),
        why="the area as west,south,east,north in degrees, such as 15.74,50.03,15.79,50.05")
    imagery: str | None = in_inputs(
        None, "a URL of web map tiles 'https://.../{z}/{x}/{y}.jpg', of a GeoTIFF, of a STAC item "
              "or of the capabilities of a WMTS or WMS; or the name of a provider such as "
              "Esri.WorldImagery; null: none")
    imagery_key: str | None = in_inputs(None, "what a provider that wants a key gave you; it is "
                                              "not stored", result=False)
    osm: str | None = in_inputs(None, "overpass, or the URL or path of an extract (.osm.pbf), "
                                      "which is cut to the area; null: none")
    overpass_url: str = in_inputs("https://overpass-api.de/api/interpreter", "another server of "
                                  "the Overpass API is https://overpass.kumi.systems/api/"
                                  "interpreter", result=False)
    layers: str | None = in_inputs(None, "your own table of layers, whose OSM keys are asked for; "
                                         "null: configs/osm_layers.yaml")
    population: str | None = in_inputs(None, "the URL or path of a GeoTIFF; null: none")
    out: str = in_outputs(meaning="folder for the files", result=False,
                          why="the folder that the files go to")
    overwrite: bool = in_outputs(False, "replace what out has of another request", result=False)
    zoom: int | None = in_imagery(None, "of web map tiles: 0 is the Earth in one tile; null: the "
                                        "one whose pixels are nearest to 0.5 m, as far as the "
                                        "provider has it", least=0, most=30)
    resolution: float | None = in_imagery(
        None, "metres per pixel of a map service; of a raster by URL, its overview that "
              "suffices; null: as it is", least=0.001, most=100_000)
    most_tiles: int = in_how(10_000, "refuse to fetch more web map tiles; providers forbid "
                                     "downloads in bulk", least=1, most=10**9, result=False)
    most_km2: float = in_how(2500, "refuse a larger area", above=0, most=6e8, result=False)
    dry_run: bool = in_how(False, "say what would be fetched, and whose it is, without fetching "
                                  "it", result=False)


PREPARE = Program(
    "prepare_dataset", PrepareConfig, "Tiles of a city: imagery and OSM objects.",
    "python prepare_dataset.py raster=R osm=O out=D city=C", choices=(
        Choice("recipe", "rose", "rose: the method as described, plus makes the same tiles; "
                                 "release: the authors' code with its accidents "
                                 "(docs/recipes.md)"), TEXT, SPLIT))
CONVERT = Program("convert", ConvertConfig, "One layout of a dataset into the other.",
                  "python -m datasets.convert SRC DST", positional=("src", "dst"))
SPLITS = Program(
    "splits", SplitsConfig, "New lists of training, validation and test tiles for a dataset.",
    "python -m datasets.splits data_path=D split.val=0.2", choices=(SPLIT,))
SAMPLE_CITY = Program(
    "sample_city", SampleCityConfig, "The sample city's raw files.",
    "python -m datasets.sample_city out=DIR tiles=12 seed=0", positional=("out",))
FETCH = Program(
    "fetch", FetchConfig, "Imagery, OSM objects and population of an area, for prepare_dataset.py.",
    "python -m datasets.fetch bbox=15.74,50.03,15.79,50.05 imagery=Esri.WorldImagery "
    "osm=overpass out=raw/mycity")
