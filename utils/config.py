"""The keys of each script: their types and allowed values. The values, and what each key means,
stand in configs/*.yaml."""

import dataclasses
import operator
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from utils.errors import ConfigError
from utils.recipes import Recipe

_BOUNDS = (("above", "above {}", operator.gt), ("least", "{} or more", operator.ge),
           ("below", "below {}", operator.lt),
           ("most", "{} or less", operator.le))
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text",
               Any: "a path, or pairs such as {5:0,6:1}"}


def key(
    choices: tuple = (), above: float | None = None, least: float | None = None,
    below: float | None = None, most: float | None = None,
    why: str = "",
) -> Any:
    """A key without a default (the yaml has it) and with the values it may take; `above` and
    `below` exclude their bound."""
    return field(metadata={"choices": choices, "above": above, "least": least, "below": below,
                           "most": most, "why": why})


def is_group(item: dataclasses.Field) -> bool:
    """Whether a key is a group of keys, such as `text` of `text.model`."""
    return dataclasses.is_dataclass(item.type)


def keys_of(schema: type) -> dict[str, dataclasses.Field]:
    """The keys of a script by name, those of groups with a dot: `text` and `text.model`."""
    keys = {}
    for item in dataclasses.fields(schema):
        keys[item.name] = item
        if is_group(item):
            keys |= {f"{item.name}.{name}": inner for name, inner in keys_of(item.type).items()}
    return keys


def check_keys(values: dict[str, Any], schema: type) -> None:
    """Raises ConfigError for the first of `values`, keys of `schema` outside its groups, that is
    of another type or impossible."""
    keys = {item.name: item for item in dataclasses.fields(schema) if not is_group(item)}
    for name, value in values.items():
        try:
            OmegaConf.merge(OmegaConf.structured(schema), {name: value})
        except OmegaConfBaseException as error:
            raise ConfigError(f"{name}={value}: expected {type_name(keys[name])}") from error
        if value is not None:
            _check_value(name, value, keys[name].metadata)


def check_values(cfg: Any, prefix: str = "") -> None:
    """Raises ConfigError for the first key of `cfg`, or of a group in it, that is missing or has
    an impossible value."""
    for item in dataclasses.fields(cfg):
        name, value = f"{prefix}{item.name}", getattr(cfg, item.name)
        if is_group(item):
            check_values(value, f"{name}.")
        elif value == "":
            raise ConfigError(f"{name}=: no value given; write {name}=..., without spaces "
                              "around =")
        elif value is not None and item.metadata:
            _check_value(name, value, item.metadata)


def _check_value(name: str, value: Any, rule: dict) -> None:
    if rule["choices"] and value not in rule["choices"]:
        raise ConfigError(f"{name}={value}: choose one of {', '.join(rule['choices'])}")
    bounds = [(words.format(rule[bound]), holds(value, rule[bound]))
              for bound, words, holds in _BOUNDS if rule[bound] is not None]
    if not all(kept for _, kept in bounds):
        raise ConfigError(f"{name}={value}: must be {' and '.join(words for words, _ in bounds)}")


def type_name(item: dataclasses.Field) -> str:
    """What the values of a key are, in words."""
    inner = [part for part in get_args(item.type) if part is not type(None)]
    if inner and type(None) in get_args(item.type):
        return f"{_plain_type_name(inner[0])} or null"
    return _plain_type_name(item.type)


def _plain_type_name(hint: Any) -> str:
    if hint in _TYPE_NAMES:
        return _TYPE_NAMES[hint]
    return "a list such as " + {int: "[90,110]", float: "[2,98]"}.get(get_args(hint)[0], "[a,b]")


def recipe_key(name: str) -> Any:
    """A key that takes the values of the recipe's `name`."""
    return key(choices=get_args(get_type_hints(Recipe)[name]))


@dataclass
class MachineConfig:
    """Keys that every script which runs a network shares."""

    image_size: int = key(least=1)
    precision: str = key(choices=("32-true", "bf16-mixed", "16-mixed"))
    accelerator: str = key(choices=("auto", "cpu", "cuda", "gpu", "mps"))
    devices: str = key()
    num_nodes: int = key(least=1)
    strategy: str = key(choices=("auto", "ddp"))
    compile: bool = key()
    num_workers: int = key(least=0)


@dataclass
class TrainConfig(MachineConfig):
    """Keys of train_rose.py."""

    strategy: str = key(choices=("auto", "ddp", "fsdp"))
    seed: int = key(least=0, below=2**32)
    data_path: str = key(why="the folder of a tile dataset; prepare_dataset.py makes one, and "
                             "experiment=sample needs none")
    cities: list[str] | None = key()
    batch_size: int = key(least=1)
    accumulate: int = key(least=1)
    checkpoint_activations: bool = key()
    total_epoch: int = key(least=1)
    max_steps: int | None = key(least=1)
    schedule: list[int] = key()
    lr: float | None = key(above=0)
    blr: float = key(above=0)
    cos: bool = key()
    weight_decay: float = key(least=0)
    recipe: str = key()
    osm_norm_scope: str = recipe_key("osm_norm_scope")
    node_mask_scope: str = recipe_key("node_mask_scope")
    augment: str = recipe_key("augment")
    lr_decay: str = recipe_key("lr_decay")
    relation_edges: bool = key()
    image_encoder: str = key()
    pretrained: bool = key()
    graph_in_dim: int = key(least=16)
    graph_out_dim: int = key(least=1)
    img_mask_ratio: float = key(above=0, below=1)
    osm_mask_ratio: float = key(above=0, below=1)
    save_root_dir: str = key()
    save_dir: str = key()
    resume: str = key()
    log_every: int = key(least=1)
    save_every: int = key(least=1)
    picture_every: int = key(least=1)
    sample_tiles: int | None = key(least=1)


@dataclass
class EvaluateConfig(MachineConfig):
    """Keys that evaluate_seg_fusion.py and evaluate_pop_fusion.py share."""

    task: str = key()
    data_root: str = key(why="the folder of a tile dataset with targets; prepare_dataset.py "
                             "makes one")
    cities: list[str] | None = key()
    train_file: str = key()
    val_file: str = key()
    test_file: str | None = key()
    checkpoint: str | None = key()
    mode: str = key(choices=("finetune", "linear", "scratch"))
    image_encoder: str | None = key()
    pretrained: bool = key()
    epochs: int = key(least=0)
    batch_size: int = key(least=1)
    lr: float = key(above=0)
    lr_multi: float = key(above=0)
    linear_lr: float = key(above=0)
    weight_decay: float = key(least=0)
    cache_features: bool = key()
    recipe: str | None = key()
    protocol: str = recipe_key("protocol")
    osm_norm_scope: str | None = recipe_key("osm_norm_scope")
    fine_input: str | None = recipe_key("fine_input")
    remove_ratio: float = key(least=0, most=1)
    remove_while_training: bool = key()
    seeds: list[int] = key()
    save_root_dir: str = key()
    save_path: str | None = key()
    resume: str = key(choices=("auto", "never"))
    sample_tiles: int | None = key(least=1)


@dataclass
class SegmentationConfig(EvaluateConfig):
    """Keys of evaluate_seg_fusion.py."""

    modality: str = key(choices=("image", "fusion", "fine"))
    decoder: str = key(choices=("linear", "mask_transformer"))
    classes: list[str] | None = key()


@dataclass
class RegressionConfig(EvaluateConfig):
    """Keys of evaluate_pop_fusion.py."""

    target: str = key(choices=("pop", "co2"))
    modality: str = key(choices=("image", "osm", "fusion"))
    target_scale: str = key(choices=("none", "standard", "log1p"))


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


@dataclass
class AttentionConfig:
    """Keys of `python -m studies.attention`."""

    checkpoint: str | None = key()
    data_root: str = key(why="the folder of a tile dataset; prepare_dataset.py makes one")
    cities: list[str] | None = key()
    image_size: int = key(least=1)
    max_tiles: int | None = key(least=1)
    batch_size: int = key(least=1)
    tile: str | None = key()
    nodes: list[int] | None = key()
    accelerator: str = key(choices=("auto", "cpu", "cuda", "gpu", "mps"))
    save_root_dir: str = key()
    save_path: str = key()
    sample_tiles: int | None = key(least=1)


@dataclass
class StudyConfig:
    """Keys that the studies which train models share; the evaluation's go on to it."""

    problem: str = key(choices=("seg", "pop", "co2"))
    seeds: list[int] = key()
    out: str = key()


@dataclass
class LabelEfficiencyConfig(StudyConfig):
    """Keys of `python -m studies.label_efficiency`."""

    train_files: list[str] | None = key()
    modes: list[str] = key()


@dataclass
class MissingOsmConfig(StudyConfig):
    """Keys of `python -m studies.missing_osm`."""

    modalities: list[str] | None = key()
    ratios: list[float] = key()
    while_training: bool = key()


@dataclass
class ModalitiesConfig(StudyConfig):
    """Keys of `python -m studies.modalities`."""

    modalities: list[str] | None = key()


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


@dataclass
class MakeReportConfig:
    """Keys of make_report.py."""

    runs: list[str] = key(why="folders of pretraining runs, evaluations or maps: python "
                              "make_report.py runs/sample maps/city")
    out: str = key()
    title: str | None = key()
    picture: str | None = key()
