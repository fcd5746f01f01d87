"""The keys of predict_scene.py and extract_features.py."""

from dataclasses import dataclass

from datasets.keys import (
    MOST_TILE_PX,
    OSM,
    RASTER,
    TEXT,
    ImageryKeys,
    TextConfig,
    default_tags_key,
    in_how,
    in_inputs,
    in_outputs,
    in_tiles,
)
from training.keys import (
    SAMPLE,
    accelerator_key,
    in_network,
    precision_key,
    sample_key,
    workers_key,
)
from utils.cli.program import Choice, Program
from utils.config import key
from utils.recipes import recipe_key

RECIPE = Choice("recipe", None, "how OSM becomes graphs, rose (and plus) or release; null: as "
                                 "in training")


@dataclass
class SceneKeys(ImageryKeys):
    """Keys that say how a scene is read, beside `raster`; null where a checkpoint may know."""

    osm: str | None = in_inputs(None, f"{OSM}; null: none, every tile counts as one without "
                                      "objects",
                                result=False)
    layers: str | None = in_inputs(None, "your own table of which tags are which layer; null: "
                                         "configs/osm_layers.yaml", result=False)
    default_tags: str | None = default_tags_key()
    text: TextConfig = key(TextConfig())
    recipe: str | None = in_tiles(None, "set by the choice recipe=")
    relation_codes: str | None = recipe_key("relation_codes", None, "null: as in training",
                                            section="tiles")
    coordinates: str | None = recipe_key("coordinates", None, "null: as in training",
                                         section="tiles")
    overwrite: bool = in_outputs(False, "replace the results that out has", result=False)
    batch_size: int = in_how(16, "tiles that the network sees at a time: fewer need less memory",
                             least=1, most=1_000_000, result=False)
    num_workers: int = workers_key()
    accelerator: str = accelerator_key(result=True)
    precision: str = precision_key()


@dataclass
class PredictConfig(SceneKeys):
    """Keys of predict_scene.py."""

    raster: str | None = in_inputs(
        meaning=f"{RASTER}; null: none, for a model of OSM objects alone",
        why=f"{RASTER}; null for a model of OSM objects alone", result=False)
    checkpoint: str = in_inputs(
        meaning="a fine-tuned model: the best.safetensors of an evaluation, its folder, or "
                "hub:USER/REPO",
        why="a fine-tuned model: the best.safetensors of an evaluation, or its folder",
        result=False)
    zones: str | None = in_inputs(None, "for a model of people or CO2: polygons, such as "
                                        "districts, to sum up as well (GeoPackage, GeoParquet, "
                                        "GeoJSON, Shapefile)")
    out: str = in_outputs(meaning="the folder of the map", why="the folder of the map to make",
                          result=False)
    probabilities: bool = in_outputs(False, "for a model of land use: write each class's "
                                            "probability, too, as a Cloud-Optimised GeoTIFF")
    tile_px: int | None = in_tiles(None, "a tile's side in pixels; null: as in training", least=1,
                                   most=MOST_TILE_PX)
    overlap: float | None = in_tiles(None, "share of a tile's side that the next one covers "
                                           "again; null: 0.5; of people and CO2 always 0, or "
                                           "they would count twice", least=0, below=1)


@dataclass
class ExtractConfig(SceneKeys):
    """Keys of extract_features.py."""

    data_root: str | None = in_inputs(None, "folder of a tile dataset, in either layout",
                                      result=False)
    cities: list[str] | None = in_inputs(None, "of a dataset: only tiles of these cities; null: "
                                               "all", items=(1, 10_000))
    raster: str | None = in_inputs(None, f"a scene: {RASTER}", result=False)
    sample_tiles: int | None = sample_key()
    checkpoint: str | None = in_network(
        None, "a file of train_rose.py, the folder of its run, a best.safetensors, the "
              "authors', or hub:USER/REPO; null: the last run in save_root_dir", result=False)
    osm_norm_scope: str | None = recipe_key("osm_norm_scope", None, "null: as in pretraining",
                                            section="network")
    fine_input: str | None = recipe_key("fine_input", None, "null: as in pretraining",
                                        section="network")
    out: str = in_outputs(meaning="the folder of the features", result=False,
                          why="the folder of the features to make")
    representations: list[str] | None = in_outputs(
        None, "such as [rs,fused]. rs: of the image (remote sensing); osm: of the objects; fused: "
              "of both; null: all that there is", items=(1, 10))
    fusion: str = in_outputs("global", "of fused: global: the image meets one summary of all "
                                       "objects; fine: every object, the nearer ones more",
                             choices=("global", "fine"))
    tiles: bool = in_outputs(True, "a vector of each tile: tiles.parquet")
    patches: bool = in_outputs(True, "a vector of each patch: patches_*.tif; with fused also "
                                     "fused_pca.tif and pictures")
    save_root_dir: str = in_outputs("runs", "where pretraining runs lie", result=False)
    image_size: int = in_tiles(224, "side in pixels: of the dataset's tiles, or of those that a "
                                    "scene is cut to", least=1, most=MOST_TILE_PX)


PREDICT = Program("predict_scene", PredictConfig, "A map of a whole scene.",
                  "python predict_scene.py raster=R osm=O checkpoint=C out=D",
                  choices=(RECIPE, TEXT), folder=("", "out"))
EXTRACT = Program("extract_features", ExtractConfig, "Features of tiles and patches.",
                  "python extract_features.py data_root=D checkpoint=C out=F",
                  choices=(RECIPE, TEXT, SAMPLE), folder=("", "out"))
