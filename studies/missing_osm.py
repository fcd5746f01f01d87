"""How figures suffer when OSM objects are missing (Rose section 5.5): a share of each tile's
objects is removed, from none to all.

    python -m studies.missing_osm                          # the last pretraining, the sample city
    python -m studies.missing_osm data_root=D checkpoint=C task=seg_sgp seeds=[0,1,2,3,4]
    python -m studies.missing_osm data_root=D problem=pop ratios=[0,0.5,1] modalities=[osm,image]
    python -m studies.missing_osm data_root=D while_training=true    # training tiles lack them too

A model is trained on whole tiles, once a modality and seed, and measured on reported tiles that
lack objects. `while_training=true` trains one for every ratio. `image` reads no objects: the
others must beat it. Every key of the evaluation can be given, too. The same command continues
after a stop, and only reads what is finished.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.keys import EvaluateConfig
from models.registry import MODALITIES
from studies.command import IN_WORDS, alone, base_config, check_several, chosen_modalities
from studies.keys import MISSING_OSM, MissingOsmConfig
from utils.cli.command import command
from utils.errors import ConfigError

if TYPE_CHECKING:
    from studies.grid import Cell


@command(MISSING_OSM)
@alone
def main(cfg: MissingOsmConfig, rest: list[str]) -> None:
    check_several("ratios", cfg.ratios)
    modalities = chosen_modalities(cfg)
    reading = [modality for modality in modalities if MODALITIES[modality].reads_osm]
    others = [modality for modality in modalities if modality not in reading]
    if not reading:
        raise ConfigError(f"modalities=[{','.join(others)}]: reads no OSM objects that could be "
                          "missing; add one that does, such as fusion")
    base = base_config(cfg, rest, {"modality": "modalities", "remove_ratio": "ratios",
                                   "remove_while_training": "while_training"})
    # these import torch and timm, for which --help and a mistyped key need not wait
    from studies.grid import checked, over_folds, run_cells
    from studies.report import Report
    from utils.tables import with_std

    cells_of = trained_cells if cfg.while_training else measured_cells
    outcomes = run_cells(checked(over_folds(cfg, base, lambda cfg, base: [
        cell for modality in modalities for cell in cells_of(cfg, base, modality)])))
    where = "training and reported" if cfg.while_training else outcomes[0].reported
    report = Report("missing_osm", "Missing OSM", IN_WORDS[base.mode],
                    Path(cfg.out, "while_training" if cfg.while_training else ""), cfg, rest,
                    outcomes, f"share of the OSM objects removed from the {where} tiles",
                    [f"{modality} reads no OSM objects: its figures hold for every ratio"
                     for modality in others])
    report.write({modality: report.points("remove_ratio", modality=modality)
                  for modality in reading},
                 reference={f"{modality} alone, {with_std(mean, std)}": mean for modality in others
                            for _, mean, std in report.points("remove_ratio", modality=modality)})


def measured_cells(cfg: MissingOsmConfig, base: EvaluateConfig, modality: str) -> list["Cell"]:
    """Return a modality's cells: one trains on whole tiles, others measure its models."""
    from studies.grid import Cell

    trained = trained_cell(cfg, base, modality, 0.0)
    ratios = sorted({*cfg.ratios} - {0}) if MODALITIES[modality].reads_osm else []
    return [trained, *(Cell({"modality": modality, "remove_ratio": ratio},
                            tuple(measuring(trained.runs[0], ratio, seed) for seed in cfg.seeds),
                            measures=base.mode != "knn") for ratio in ratios)]


def measuring(trained: EvaluateConfig, ratio: float, seed: int) -> EvaluateConfig:
    """Return the evaluation of the model that `trained` leaves for a seed, on reported tiles
    without a share of their objects; mode=knn leaves none, and looks neighbours up once more."""
    from models.network_file import BEST

    best = str(Path(trained.save_path, f"seed_{seed}", BEST))
    folder = str(Path(f"{trained.save_path}_removed_{ratio:g}", f"model_of_seed_{seed}"))
    if trained.mode == "knn":
        return replace(trained, remove_ratio=ratio, seeds=[seed], save_path=folder)
    return replace(trained, checkpoint=best if trained.epochs != 0 else trained.checkpoint,
                   mode="finetune", pretrained=False, epochs=0, remove_ratio=ratio, seeds=[seed],
                   save_path=folder)


def trained_cells(cfg: MissingOsmConfig, base: EvaluateConfig, modality: str) -> list["Cell"]:
    """Return a modality's cells, one for each ratio, whose training tiles lack the objects too."""
    ratios = sorted(cfg.ratios) if MODALITIES[modality].reads_osm else [0.0]
    return [trained_cell(cfg, base, modality, ratio) for ratio in ratios]


def trained_cell(cfg: MissingOsmConfig, base: EvaluateConfig, modality: str,
                 ratio: float) -> "Cell":
    """Return a cell that trains and reports on tiles without a share of their objects."""
    from studies.grid import Cell

    folder = Path(cfg.out, modality)
    if ratio:
        folder = Path(cfg.out, "while_training", f"{modality}_removed_{ratio:g}")
    run = replace(base, modality=modality, remove_ratio=ratio, remove_while_training=ratio > 0,
                  save_path=str(folder))
    return Cell({"modality": modality, "remove_ratio": ratio}, (run,))


if __name__ == "__main__":
    main()
