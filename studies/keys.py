"""The keys of the studies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets.dealt_lists import LEAST_FOLDS, MOST_FOLDS
from datasets.keys import OSM, PREPARE, RASTER, in_inputs, in_targets
from evaluation.keys import REGRESSION, SEGMENTATION, EvaluateConfig
from inference.keys import PREDICT
from training.keys import (
    SAMPLE,
    accelerator_key,
    in_data,
    in_network,
    in_outputs,
    in_schedule,
    sample_key,
    side_key,
)
from utils.cli.program import Program
from utils.config import choices_of, key, section

EVALUATIONS = (SEGMENTATION, REGRESSION)
MODES = choices_of(EvaluateConfig, "mode")
DEFAULT_LABELS = ["25", "50", "100", "200", "all"]
in_asked, in_drawn = section("what is asked"), section("what is drawn")


def out_key(study: str) -> Any:
    """State `out` of a study."""
    return in_outputs(f"runs/{study}_${{problem}}", "folder of the outputs: a table, a plot, and "
                                                    "a folder for each cell")


def osm_modalities_key() -> Any:
    """State `modalities` of a study of OSM objects."""
    return in_asked(None, "e.g. [image,fusion]; null: all that the problem has; image reads no "
                          "OSM, and is drawn as a reference", items=(1, 10))


@dataclass
class AttentionConfig:
    """Keys of `python -m studies.attention`."""

    checkpoint: str | None = in_network(
        None, "of a pretrained Rose: model_N.tar or .safetensors, the authors' model_120.tar, "
              "a run's folder, or hub:USER/REPO; null: the newest")
    data_root: str = in_data(meaning="a tile dataset, in either layout",
                             why="the folder of a tile dataset; prepare_dataset.py makes one")
    cities: list[str] | None = in_data(None, "only tiles of these cities, e.g. "
                                             "[singapore,chicago]; null: all",
                                      items=(1, 10_000))
    image_size: int = side_key()
    max_tiles: int | None = in_data(None, "for the number: how many tiles, evenly over the "
                                          "dataset; null: all", least=1)
    batch_size: int = in_data(16, "tiles at once", least=1, most=1_000_000)
    sample_tiles: int | None = sample_key()
    tile: str | None = in_drawn(None, "name of a tile; null: one with several large objects")
    nodes: list[int] | None = in_drawn(None, "row numbers of its objects, e.g. [0,7]; null: the "
                                          "largest of different tags, up to an eighth of the tile",
                                      least=0, items=(1, 100))
    accelerator: str = accelerator_key()
    save_root_dir: str = in_outputs("runs", "where pretraining runs lie")
    save_path: str = in_outputs("${save_root_dir}/attention", "folder of attention.csv, "
                                                              "results.json and figures/")


@dataclass
class StudyConfig:
    """Keys of the studies that train models; other keys go to the evaluations they make."""

    problem: str = in_asked("seg", "seg: land use; pop: population; co2: CO2 emission",
                            choices=("seg", "pop", "co2"))
    seeds: list[int] = in_asked([0, 1, 2], "a run each; the results are their mean and standard "
                                           "deviation", least=0, below=2**32, items=(1, 1000))
    out: str = in_outputs()
    folds: int | None = in_asked(
        None, "trains and measures every model once a fold, on the lists that `python -m "
              "datasets.splits split.fold=1/5` writes for 5; null: on the lists as they are",
        least=LEAST_FOLDS, most=MOST_FOLDS)


@dataclass
class LabelEfficiencyConfig(StudyConfig):
    """Keys of `python -m studies.label_efficiency`."""

    train_files: list[str] | None = in_asked(
        None, "lists of training tiles in data_root, e.g. [osm-train50.txt,osm-train-all.txt]; "
              "null: all osm-train*.txt", items=(1, 1000))
    modes: list[str] = in_asked(["finetune", "scratch"], f"how each is used: {', '.join(MODES)}",
                                items=(1, 10))
    out: str = out_key("label_efficiency")


@dataclass
class MissingOsmConfig(StudyConfig):
    """Keys of `python -m studies.missing_osm`."""

    modalities: list[str] | None = osm_modalities_key()
    ratios: list[float] = in_asked([0, 0.25, 0.5, 0.75, 1], "shares of the OSM objects removed "
                                                            "from each reported tile; 0 is "
                                                            "always there unless while_training",
                                   least=0, most=1, items=(1, 1000))
    what: str = in_asked("random", "which objects: random; smallest, these first; newest, of the "
                                   "city; layer:NAME, those of a layer or tag value; "
                                   "quarter:north_west, those of a quarter of the city. ratios "
                                   "are shares of them")
    while_training: bool = in_asked(False, "also from the training and validation tiles: a "
                                           "training for each ratio")
    out: str = out_key("missing_osm")


@dataclass
class MissingPartsConfig(StudyConfig):
    """Keys of `python -m studies.missing_parts`."""

    modalities: list[str] | None = osm_modalities_key()
    parts: list[str] | None = in_asked(
        None, "what is removed, each alone: e.g. [layer:road,quarter:north_west,smallest]; null: "
              "every layer, every quarter, the smallest objects, the newest where tiles "
              "know them, and as many at random",
        items=(1, 1000))
    share: float = in_asked(0.5, "share removed of the smallest objects, the newest, and at "
                                 "random; layers and quarters go whole", above=0, most=1)
    out: str = out_key("missing_parts")


@dataclass
class ShiftedOsmConfig(StudyConfig):
    """Keys of `python -m studies.shifted_osm`."""

    modalities: list[str] | None = osm_modalities_key()
    shifts: list[float] = in_asked([0, 5, 10, 15, 25], "metres; 0 is always there unless "
                                                       "while_training", least=0, most=1e6,
                                   items=(1, 1000))
    while_training: bool = in_asked(False, "also the objects of the training and validation tiles: "
                                           "a training for each shift")
    out: str = out_key("shifted_osm")


@dataclass
class OsmPartsConfig(StudyConfig):
    """Keys of `python -m studies.osm_parts`."""

    modalities: list[str] | None = osm_modalities_key()
    reads: list[str] = in_asked(["all", "geometry", "tags"], "what models read of OSM objects; a "
                                                             "training for each", items=(1, 3))
    out: str = out_key("osm_parts")


@dataclass
class TransferConfig(StudyConfig):
    """Keys of `python -m studies.transfer`."""

    train_cities: list[str] | None = in_asked(None, "cities to train on, each alone; null: all",
                                              items=(1, 1000))
    test_cities: list[str] | None = in_asked(None, "cities to report; null: all",
                                             items=(1, 1000))
    leave_one_out: bool = in_asked(True, "of three cities or more, also train on all but the "
                                         "reported one")
    out: str = out_key("transfer")


@dataclass
class ModalitiesConfig(StudyConfig):
    """Keys of `python -m studies.modalities`."""

    modalities: list[str] | None = in_asked(
        None, "e.g. [image,fusion]; null: all that the problem has", items=(1, 10))
    out: str = out_key("modalities")


@dataclass
class DifferencesConfig:
    """Keys of `python -m studies.differences`."""

    a: Any = in_asked(meaning="folder of a finished evaluation; several, as of folds: "
                              "[runs/f1,runs/f2]", items=(1, 100),
                      why="the folder of a finished evaluation")
    b: Any = in_asked(meaning="the same of the evaluation to compare it with", items=(1, 100),
                      why="the folder of a finished evaluation")
    out: str | None = in_outputs(None, "folder for differences.md and differences.json; null: they "
                                       "are printed alone")


@dataclass
class ClaimsConfig:
    """Keys of `python -m studies.claims`."""

    runs: list[str] = in_asked(meaning="folders of finished benchmarks, one a city, e.g. "
                                       "[runs/benchmark]", items=(1, 100),
                               why="folders of finished benchmarks, as a list")
    attention_runs: list[str] | None = in_asked(
        None, "folders of `python -m studies.attention`, for the claims about it, e.g. "
              "[runs/attention]; several of one city and recipe, as of seeds, are taken together",
        items=(1, 100))
    out: str = in_outputs("runs/claims", "folder of claims.md, claims.csv, results.json and a page")
    page: str | None = in_outputs(None, "a page in Markdown whose section of claims is written "
                                        "anew, e.g. docs/results.md; null: none")


@dataclass
class CityConfig:
    """Keys of `python -m studies.city`; keys of the preparation and of maps can be given, too."""

    raster: str | None = in_inputs(meaning=f"{RASTER}; null: OSM alone", why=RASTER)
    osm: str | None = in_inputs(meaning=f"{OSM}; null: imagery alone", why=OSM)
    labels: str | None = in_targets(None, "land use: a raster of classes, or polygons with a "
                                          "class column")
    population: str | None = in_targets(None, "a raster, polygons or points with a value")
    co2: str | None = in_targets(None, "as population")
    out: str = in_outputs(meaning="folder of everything: tiles, networks, maps and the page",
                          why="the folder to make")
    city: str | None = in_outputs(None, "what the tiles are called; null: as the folder")


@dataclass
class CityStudyConfig:
    """Keys of the studies that make everything from the raw files of a city."""

    data: str = in_inputs(meaning="folder of a city: ortho.* or city.*, osm.*, and of landuse.*, "
                                  "building_volume.*, height.* what there is",
                          why="the folder of a city's raw files")
    label_column: str = in_targets("class", "the column of landuse.* that names the class")
    classes: Any = in_targets(None, "as of prepare_dataset.py; null: every class of the file")
    labels: list[str] = in_asked(DEFAULT_LABELS, "training tiles of a fold",
                                 items=(1, 20))
    folds: int = in_asked(5, "each is test once, another val, the rest train", least=LEAST_FOLDS,
                          most=MOST_FOLDS)
    seeds: list[int] = in_asked([0, 1, 2], "a pretraining, and a run of each cell and fold, for "
                                           "each", least=0, below=2**32, items=(1, 100))
    block: int = in_asked(8, "tiles along a side of a block of the folds", least=1, most=10_000)
    tile_px: int = in_asked(224, "side of a tile; patches of 16 pixels must divide it", least=16,
                            most=4096)
    image_encoder: str = in_network("test_vit", "any VisionTransformer or Eva of timm")
    pretrain_epochs: int = in_schedule(16, "epochs over all tiles, without labels", least=1,
                                       most=1_000_000)
    effort: float = in_schedule(1.0, "times the tiles that a training sees: 120 times the root of "
                                     "its list, half of that for totals", above=0, most=1e6)
    workers: int | None = key(None, "processes, each makes the next run; null: as many as cores, "
                                    "and one on a GPU", section="machine", least=1, most=1024,
                              result=False)
    accelerator: str = accelerator_key()
    out: str = in_outputs(result=False)


@dataclass
class BenchmarkConfig(CityStudyConfig):
    """Keys of `python -m studies.benchmark`; keys of the evaluations can be given, too."""

    tasks: list[str] | None = in_asked(None, "of land_use, building_volume, trees; null: all whose "
                                             "file is there", items=(1, 3))
    parts: list[str] | None = in_asked(None, "of the table in studies/benchmark_plan.py: "
                                             "baselines, main, labels, scratch, totals, missing, "
                                             "probes, removal, text; null: all", items=(1, 9))
    rows: list[str] | None = in_asked(None, "models, e.g. [image,fusion]; null: all of the table",
                                      items=(1, 100))
    sentence_model: str | None = in_network(None, "folder of a sentence model, for part text; "
                                                  "null: the part is left out")
    out: str = in_outputs("runs/benchmark", "folder of everything: tiles, pretraining, runs, "
                                            "results.csv, results.json and the page", result=False)
    page: str | None = in_outputs(None, "where the page of tables goes, such as "
                                        "docs/results_real.md; null: results_real.md in out",
                                  result=False)


@dataclass
class AblationConfig(CityStudyConfig):
    """Keys of `python -m studies.ablation`; keys of the evaluation can be given, too."""

    variants: list[str] | None = in_asked(
        None, "RECIPE:KEY=VALUE:..., e.g. [plus,plus:neighbours=4,rose:placement=coverage]; null: "
              "the table in studies/ablation_plan.py", items=(1, 1000))
    trainings: list[str] = in_asked(["pretrained", "scratch"], "what runs start from",
                                    items=(1, 2))
    labels: list[str] = in_asked(["100", "all"], "training tiles of a fold", items=(1, 20))
    on: list[int] = in_asked([1, 2], "the folds that are trained, and measured on val", least=1,
                             most=MOST_FOLDS, items=(1, MOST_FOLDS))
    seeds: list[int] = in_asked([0, 1], "a run of each variant and fold for each; the one "
                                        "pretraining of a variant has the first",
                                least=0, below=2**32, items=(1, 100))
    pretrain_epochs: int = in_schedule(3, "epochs over all tiles, without labels", least=1,
                                       most=1_000_000)
    effort: float = in_schedule(0.25, "times the tiles that a training sees: 120 times the root "
                                      "of its list", above=0, most=1e6)
    out: str = in_outputs("runs/ablation", "folder of everything: tiles, pretraining, runs and "
                                           "ablations.md", result=False)
    table: str | None = in_outputs(None, "the table that gets a row a run, such as "
                                         "docs/ablations.csv; null: ablations.csv in out",
                                   result=False)


def study(name: str, schema: type, title: str) -> Program:
    """Return the program of a study that trains models; unknown keys go to the evaluations."""
    return Program(name, schema, title, f"python -m studies.{name} data_root=D checkpoint=C",
                   folder=("", "out"), forward=EVALUATIONS)


def _sample_without_tiles(given: Mapping[str, str]) -> list[str]:
    return [] if {"data_root", "experiment"} & given.keys() else ["experiment=sample"]


CITY = Program(
    "city", CityConfig, "Raster, OSM and labels to a map and a page, step by step.",
    "python -m studies.city raster=R osm=O labels=L out=D", forward=(PREPARE, PREDICT))
BENCHMARK = Program(
    "benchmark", BenchmarkConfig, "All claims on a real city, from raw files to a page.",
    "python -m studies.benchmark data=CITY", folder=("", "out"), forward=EVALUATIONS)
ABLATION = Program(
    "ablation", AblationConfig, "What each ingredient of a recipe is worth, on validation tiles.",
    "python -m studies.ablation data=CITY", folder=("", "out"), forward=EVALUATIONS)
DIFFERENCES = Program(
    "differences", DifferencesConfig, "Which differences between two evaluations are real.",
    "python -m studies.differences a=runs/x b=runs/y")
CLAIMS = Program(
    "claims", ClaimsConfig, "Which of the claims hold, with intervals, in one table.",
    "python -m studies.claims runs=[runs/benchmark]", folder=("", "out"))
ATTENTION = Program(
    "attention", AttentionConfig, "Where OSM objects look in the image, drawn and as one number.",
    "python -m studies.attention checkpoint=C data_root=D", choices=(SAMPLE,),
    implied=_sample_without_tiles,
    folder=("", "save_path"))
LABEL_EFFICIENCY = study("label_efficiency", LabelEfficiencyConfig,
                         "Train shares, pretrained and from scratch.")
MISSING_OSM = study("missing_osm", MissingOsmConfig, "Robustness to missing OSM objects.")
MISSING_PARTS = study("missing_parts", MissingPartsConfig,
                      "A layer, a quarter of the city or the smallest OSM objects missing.")
SHIFTED_OSM = study("shifted_osm", ShiftedOsmConfig, "Robustness to shifted OSM objects.")
OSM_PARTS = study("osm_parts", OsmPartsConfig, "Geometry or tags of OSM objects alone.")
TRANSFER = study("transfer", TransferConfig, "Train on one city, test on another.")
MODALITIES = study("modalities", ModalitiesConfig, "Modality comparison.")
