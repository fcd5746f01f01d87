"""The keys of inference."""
from dataclasses import dataclass

from datasets.keys import TextConfig
from utils.config import key, recipe_key


@dataclass
class SceneKeys:
    """Keys that say how a scene is read, beside `raster`; as in PrepareConfig, with null where a
    checkpoint may know."""

    osm: str | None = key()
    bands: list[int] | None = key()
    raster_crs: str | None = key()
    resolution: float | None = key(above=0)
    stretch: list[float] = key()
    nodata: str = key()
    layers: str | None = key()
    text: TextConfig = key()
    recipe: str | None = key()
    relation_codes: str | None = recipe_key("relation_codes")
    coordinates: str | None = recipe_key("coordinates")


@dataclass
class PredictConfig(SceneKeys):
    """Keys of predict_scene.py."""

    raster: str = key(why="a GeoTIFF, a VRT, a folder of GeoTIFFs, or a quoted glob such as "
                          "'chips/*.tif'")
    checkpoint: str = key(why="a fine-tuned model: the best.safetensors of an evaluation, or its "
                              "folder")
    out: str = key(why="the folder of the map to make")
    overwrite: bool = key()
    tile_px: int | None = key(least=1)
    overlap: float | None = key(least=0, below=1)
    probabilities: bool = key()
    zones: str | None = key()
    batch_size: int = key(least=1)
    num_workers: int = key(least=0)
    accelerator: str = key(choices=("auto", "cpu", "cuda", "gpu", "mps"))
    precision: str = key(choices=("32-true", "bf16-mixed", "16-mixed"))


@dataclass
class ExtractConfig(SceneKeys):
    """Keys of extract_features.py."""

    data_root: str | None = key()
    cities: list[str] | None = key()
    raster: str | None = key()
    checkpoint: str | None = key()
    osm_norm_scope: str | None = recipe_key("osm_norm_scope")
    fine_input: str | None = recipe_key("fine_input")
    out: str = key(why="the folder of the features to make")
    overwrite: bool = key()
    representations: list[str] | None = key()
    fusion: str = key(choices=("global", "fine"))
    tiles: bool = key()
    patches: bool = key()
    image_size: int = key(least=1)
    batch_size: int = key(least=1)
    num_workers: int = key(least=0)
    accelerator: str = key(choices=("auto", "cpu", "cuda", "gpu", "mps"))
    precision: str = key(choices=("32-true", "bf16-mixed", "16-mixed"))
    save_root_dir: str = key()
    sample_tiles: int | None = key(least=1)
