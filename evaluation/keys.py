"""The keys of evaluate_seg_fusion.py and evaluate_pop_fusion.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.osm_degradation import READS
from models.registry import decoder_names, regression_modalities, segmentation_modalities
from training.keys import (
    BY_TILES,
    BY_WIDTH,
    EXPERIMENT,
    HIGHEST_RATE,
    MachineKeys,
    freeze_key,
    image_weights_key,
    in_data,
    in_network,
    in_outputs,
    layer_decay_key,
    positions_key,
    workers_key,
)
from utils.cli.program import Choice, Program
from utils.config import section
from utils.recipes import meaning_of, recipe_key

in_trained, in_judged = section("what is trained"), section("how it is judged")
TASK = "the rates of the paper for each of its datasets"
RECIPE = Choice("recipe", None, "release: the authors' protocol and accidents; plus: drawn "
                                "objects, patch statistics, an MLP or counts beside the network, "
                                "thinned OSM in training, and with mode=scratch its network "
                                "(docs/recipes.md); null: the checkpoint's own, and the honest "
                                "protocol")


def network_key(name: str) -> Any:
    """State a key of the network that the weights need as they were trained: the choice recipe=
    leaves it to the checkpoint's build, or to the recipe of a network from scratch."""
    return recipe_key(name, None, f"null: as in pretraining, or as recipe= has it. "
                                  f"{meaning_of(name)}", section="network", by_recipe=False)


@dataclass
class EvaluateConfig(MachineKeys):
    """Keys that both evaluations share."""

    data_root: str = in_data(
        meaning="folder of a tile dataset with targets; if not given, the sample city",
        why="the folder of a tile dataset with targets; prepare_dataset.py makes one",
        result=False)
    cities: list[str] | None = in_data(None, "only tiles of these cities; null: all",
                                      items=(1, 10_000))
    train_file: str = in_data("osm-train-all.txt", "the lists in data_root, a line NAME.png for "
                                                   "each tile; osm-train100.txt: fewer labels")
    val_file: str = in_data("val.txt", "chooses the epoch")
    test_file: str | None = in_data("test.txt", "measured once, at the end; may be absent")
    train_cities: list[str] | None = in_data(
        None, "train, and choose the epoch, on the tiles of these cities alone; null: of all",
        items=(1, 10_000))
    test_cities: list[str] | None = in_data(None, "report the test tiles of these cities alone; "
                                                  "null: of all", items=(1, 10_000))
    fold: str | None = in_data(None, "k/n, such as 1/5: the lists in fold-1-of-5/, which `python "
                                     "-m datasets.splits split.fold=1/5` writes; null: those in "
                                     "data_root")
    checkpoint: str | None = in_network(
        None, "of train_rose.py, the authors', a best.safetensors, a run's folder, or "
              "hub:USER/REPO; null: the last run in save_root_dir", result=False)
    mode: str = in_network("finetune", "finetune: all is trained; linear: the head alone; knn: "
                                       "nothing, the nearest training patches or tiles answer; "
                                       "scratch: all, from random weights",
                           choices=("finetune", "linear", "knn", "scratch"))
    osm_reads: str = in_network("all", "what is read of OSM objects, in training and reporting. "
                                       "geometry: without tags; tags: without place, size and "
                                       "relations", choices=READS)
    image_encoder: str | None = in_network(
        None, "null: the checkpoint's; with mode=scratch and no checkpoint vit_base_patch16_224")
    pretrained: bool = in_network(False, "mode=scratch, linear, knn: start the ViT from timm's "
                                      "weights")
    image_weights: str | None = image_weights_key("mode=scratch, linear, knn: ")
    image_positions: str | None = positions_key(
        "null: the checkpoint's; with pretrained=true or image_weights= own")
    osm_norm_scope: str | None = recipe_key("osm_norm_scope", None, "null: as in pretraining",
                                            section="network")
    fine_input: str | None = recipe_key("fine_input", None, "null: as in pretraining",
                                        section="network")
    placement: str | None = network_key("placement")
    feed_forward: str | None = network_key("feed_forward")
    image_skip: bool | None = network_key("image_skip")
    relation_edges: bool | None = network_key("relation_edges")
    neighbours: int | None = network_key("neighbours")
    osm_layers: int | None = network_key("osm_layers")
    task: str = in_trained("own", "set by the choice task=; without one (~task) the rates here "
                                  "hold")
    batch_size: int = in_trained(16, "tiles per device and step", least=1, most=1_000_000)
    lr: float | None = in_trained(2e-5, f"of the encoders, decaying step by step; {BY_WIDTH}",
                                  above=0, most=HIGHEST_RATE)
    lr_multi: float = in_trained(100, "the head's rate is lr times this", above=0, most=1e12)
    linear_lr: float = in_trained(0.02, "the head's rate with mode=linear", above=0,
                                  most=HIGHEST_RATE)
    weight_decay: float = in_trained(0.01, "of Adam", least=0, most=HIGHEST_RATE)
    freeze: str = freeze_key(in_trained)
    drop_objects: float = recipe_key("drop_objects", section="what is trained")
    drop_graphs: float = recipe_key("drop_graphs", section="what is trained")
    patch_input: str = recipe_key("patch_input", section="what is trained")
    draw_objects: bool = recipe_key("draw_objects", section="what is trained")
    augment: str = in_trained("none", "aligned: crop, flip and colours of the training tiles, "
                                      "objects and labels with the image; no crop where totals "
                                      "are learned", choices=("none", "aligned"))
    layer_decay: float = layer_decay_key(in_trained)
    epochs: int | None = in_trained(30, "0: measure a fine-tuned checkpoint as it is; null: by the "
                                        "number of training tiles (training/own_city.py)", least=0,
                                    most=1_000_000)
    val_every: int = in_trained(1, "epochs from one measuring on val to the next, which can choose "
                                   "the epoch; the last is always measured", least=1,
                                most=1_000_000)
    knn_k: int = in_trained(5, "mode=knn: how many neighbours answer", least=1, most=10_000)
    num_workers: int | None = workers_key(f"; {BY_TILES}")
    cache_features: bool = in_trained(True, "mode=linear: run the frozen network once instead of "
                                            "in every epoch; the figures are the same",
                                      result=False)
    recipe: str | None = in_judged(None, "set by the choice recipe=")
    protocol: str = recipe_key("protocol", section="how it is judged")
    remove_ratio: float = in_judged(0.0, "share of the OSM objects removed from each reported "
                                         "tile (noise study)", least=0, most=1)
    remove_what: str = in_judged("random", "which objects: random; smallest, these first; newest, "
                                           "of the city; layer:NAME, those of a layer or tag "
                                           "value; quarter:north_west, those of a quarter of the "
                                           "city")
    remove_while_training: bool = in_judged(False, "also from the training and validation tiles")
    osm_shift: float = in_judged(0.0, "metres by which the OSM objects of the reported tiles are "
                                      "shifted, in one direction for a city and seed", least=0,
                                 most=1e6)
    shift_while_training: bool = in_judged(False, "also those of the training and validation "
                                                  "tiles")
    seeds: list[int] = in_judged([0], "a run each; several give mean and standard deviation",
                                 least=0, below=2**32, items=(1, 1000), result=False)
    save_root_dir: str = in_outputs("runs", "where the outputs go", result=False)
    save_path: str | None = in_outputs(None, "folder of the outputs; null: by task, modality and "
                                             "mode in save_root_dir", result=False)
    pictures: bool = in_outputs(True, "draw the figures of each seed, and write report.html",
                                result=False)
    resume: str = in_outputs("auto", "auto: continue what is in the folder, report what is "
                                     "finished; never: refuse it", choices=("auto", "never"),
                             result=False)


@dataclass
class SegmentationConfig(EvaluateConfig):
    """Keys of evaluate_seg_fusion.py."""

    modality: str = in_trained("fusion", "fusion: the global one; fine: every object, the nearer "
                                         "ones more; *_raster: objects drawn as an image",
                               choices=segmentation_modalities)
    decoder: str = in_trained("linear", "what makes classes of tokens", choices=decoder_names)
    patch_mlp: bool = recipe_key("patch_mlp", section="what is trained")
    class_weights: str = recipe_key("class_weights", section="what is trained")
    classes: list[str] | None = in_trained(None, "other names for the dataset's classes, in the "
                                                 "order of the labels' values; null: as the "
                                                 "dataset says, else the nine of land use",
                                           items=(1, 255))


@dataclass
class RegressionConfig(EvaluateConfig):
    """Keys of evaluate_pop_fusion.py."""

    target: str = in_trained("pop", "people, or tonnes of CO2", choices=("pop", "co2"))
    modality: str = in_trained("fusion", "image, OSM objects, or both; *_raster: objects drawn as "
                                         "an image",
                               choices=regression_modalities)
    target_scale: str = in_trained(
        "none", "units of training. none: the target's (the release); standard: mean 0, "
                "deviation 1; log1p: the same, of its logarithm",
        choices=("none", "standard", "log1p"))
    count_objects: bool = recipe_key("count_objects", section="what is trained")
    drop_objects: float = recipe_key(
        "drop_objects", meaning=f"{meaning_of('drop_objects')} A total is a sum over objects, so "
                                "recipe= leaves it alone", section="what is trained",
        by_recipe=False)
    lr: float | None = in_trained(1e-5, f"of the encoders, decaying step by step; {BY_WIDTH}",
                                  above=0, most=HIGHEST_RATE)
    lr_multi: float = in_trained(1e5, "the head's rate is lr times this; made for "
                                      "target_scale=none",
                                 above=0, most=1e12)
    linear_lr: float = in_trained(1.0, "the head's rate with mode=linear; made for "
                                       "target_scale=none",
                                  above=0, most=HIGHEST_RATE)
    batch_size: int = in_trained(4, "tiles per device and step", least=1, most=1_000_000)


_SAMPLE_TILES = ["sample_tiles=12",
                 "data_root='${save_root_dir}/sample_city_${sample_tiles}/tiles'", "num_workers=0"]


def implied(given: Mapping[str, str]) -> list[str]:
    """Return the overrides that follow from the keys given, and from those not given.

    Without tiles: the sample city, with rates that suit it unless a task is given. For CO2 without
    a task: the rates of a CO2 task.
    """
    overrides = []
    if "data_root" not in given:
        overrides += _SAMPLE_TILES if "task" in given else ["experiment=sample"]
    if given.get("target") == "co2" and "task" not in given:
        overrides.append("task=co2")
    return overrides


NAMED_BY = ("task", "target", "modality", "decoder", "mode", "epochs", "protocol", "remove_ratio",
            "remove_what", "remove_while_training", "osm_shift", "shift_while_training",
            "osm_reads", "train_cities", "test_cities", "fold")


def default_folder(cfg: Any) -> str:
    """Return the folder of an evaluation: `save_path`, or what is evaluated and how."""
    if cfg.save_path is not None:
        return cfg.save_path
    target = getattr(cfg, "target", "")
    decoder = "linear" if cfg.mode == "knn" else getattr(cfg, "decoder", "linear")
    mode = "measured" if cfg.epochs == 0 and cfg.mode != "knn" else cfg.mode
    parts = [
        cfg.task, "" if cfg.task.endswith(target) else target, cfg.modality,
        "" if decoder == "linear" else decoder, mode,
        "" if cfg.protocol == "honest" else cfg.protocol,
        f"removed_{cfg.remove_ratio:g}" if cfg.remove_ratio else "",
        "" if cfg.remove_what == "random" else cfg.remove_what.replace(":", "_"),
        f"shifted_{cfg.osm_shift:g}" if cfg.osm_shift else "",
        "while_training" if cfg.remove_while_training or cfg.shift_while_training else "",
        "" if cfg.osm_reads == "all" else f"{cfg.osm_reads}_alone",
        *(f"{role}_{'-'.join(cities)}" for role, cities in (
            ("from", cfg.train_cities), ("on", cfg.test_cities)) if cities),
        f"fold_{cfg.fold.replace('/', '_of_')}" if cfg.fold else "",
    ]
    return str(Path(cfg.save_root_dir, "_".join(part for part in parts if part)))


SEGMENTATION = Program("evaluate_seg_fusion", SegmentationConfig, "Land-use segmentation.",
                       "python evaluate_seg_fusion.py data_root=D checkpoint=C",
                       choices=(RECIPE, Choice("task", "seg", TASK), EXPERIMENT), implied=implied,
                       folder=("", "save_path"), default_folder=default_folder, named_by=NAMED_BY,
                       direction="maximize")
REGRESSION = Program("evaluate_pop_fusion", RegressionConfig, "Population and CO2 of tiles.",
                     "python evaluate_pop_fusion.py data_root=D target=co2",
                     choices=(RECIPE, Choice("task", "pop", TASK), EXPERIMENT), implied=implied,
                     folder=("", "save_path"), default_folder=default_folder, named_by=NAMED_BY)
