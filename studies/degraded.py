"""What the studies of OSM's quality have in common: models trained on tiles as they are and
measured on degraded ones, or trained anew for every degradation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.keys import EvaluateConfig
from models.registry import MODALITIES
from studies.command import IN_WORDS, QUESTIONS, chosen_modalities
from studies.keys import StudyConfig
from utils.errors import ConfigError
from utils.tables import format_number

if TYPE_CHECKING:
    from studies.grid import Cell, Outcome

_Value = float | str


@dataclass(frozen=True)
class OsmStudy:
    """What a study does to OSM objects, and what it is called.

    Attributes:
        column: of the table; each of its values is a degradation.
        whole: its value for tiles as they are.
        values: all that are asked for, in the order of the table.
        keys: value -> keys of the evaluation.
        folder: value -> what the name of a cell's folder has after the modality.
        one: what a value is, in a word.
        training: keys that degrade the training and validation tiles, too; None: models are
            trained on tiles as they are, and measured.
        subfolder: of the outputs, and of cells trained on degraded tiles.
        xlabel: what the plot's x are; bars stand there if they are `categorical`.
        also: value -> further columns of the table.
    """

    name: str
    title: str
    column: str
    one: str
    whole: _Value
    values: Sequence[_Value]
    keys: Callable[[Any], dict[str, Any]]
    folder: Callable[[Any], str]
    training: dict[str, Any] | None
    xlabel: str
    categorical: bool = False
    subfolder: str = ""
    also: Callable[[Any], dict[str, str]] = lambda value: {}

    def cells(self, base: EvaluateConfig, out: str, modality: str) -> list["Cell"]:
        """Return a modality's cells. One that reads no objects has a single cell."""
        reads = MODALITIES[modality].reads_osm
        if self.training is not None:
            values = self.values if reads else [self.whole]
            return [self._trained(base, out, modality, value) for value in values]
        trained = self._trained(base, out, modality, self.whole)
        return [trained, *(self._measured(trained, modality, value) for value in self.values
                           if reads and value != self.whole)]

    def _trained(self, base: EvaluateConfig, out: str, modality: str, value: _Value) -> "Cell":
        run = replace(base, modality=modality, save_path=str(Path(out, modality)))
        if value != self.whole:
            folder = Path(out, self.subfolder, f"{modality}_{self.folder(value)}")
            run = replace(run, save_path=str(folder), **self.keys(value), **self.training)
        return self._cell(modality, value, (run,))

    def _measured(self, trained: "Cell", modality: str, value: _Value) -> "Cell":
        run = trained.runs[0]
        runs = measuring(run, f"{run.save_path}_{self.folder(value)}", **self.keys(value))
        return self._cell(modality, value, runs, measures=run.mode != "knn")

    def _cell(self, modality: str, value: _Value, runs: tuple[EvaluateConfig, ...],
              measures: bool = False) -> "Cell":
        from studies.grid import Cell

        keys = {"modality": modality, self.column: value, **self.also(value)}
        return Cell(keys, runs, measures)


def measuring(trained: EvaluateConfig, folder: str, **keys: Any) -> tuple[EvaluateConfig, ...]:
    """Return the evaluations, with other `keys`, of the models that `trained` leaves, one for each
    seed; mode=knn leaves none, and looks neighbours up once more."""
    from models.network_file import BEST

    if trained.mode == "knn":
        return tuple(replace(trained, seeds=[seed], **keys,
                             save_path=str(Path(folder, f"model_of_seed_{seed}")))
                     for seed in trained.seeds)

    def best(seed: int) -> str | None:
        return (str(Path(trained.save_path, f"seed_{seed}", BEST)) if trained.epochs != 0
                else trained.checkpoint)

    return tuple(replace(trained, checkpoint=best(seed), mode="finetune", pretrained=False,
                         image_weights=None, freeze="none", layer_decay=1.0, epochs=0, seeds=[seed],
                         save_path=str(Path(folder, f"model_of_seed_{seed}")), **keys)
                 for seed in trained.seeds)


def split_modalities(cfg: Any, degraded: str, mode: str = "") -> tuple[list[str], list[str]]:
    """Return the study's modalities that read OSM objects, and the others; raise ConfigError if
    none could tell that objects are `degraded`."""
    modalities = chosen_modalities(cfg, mode)
    reading = [modality for modality in modalities if MODALITIES[modality].reads_osm]
    others = [modality for modality in modalities if modality not in reading]
    if not reading:
        raise ConfigError(f"modalities=[{','.join(others)}]: reads no OSM objects that could be "
                          f"{degraded}; add one that does, such as fusion")
    return reading, others


def conduct(study: OsmStudy, cfg: StudyConfig, rest: Sequence[str], base: EvaluateConfig) -> None:
    """Run the cells of all modalities, and write the outputs: a line, or bars, of each modality
    that reads OSM objects, and the scores of the others beside them."""
    from evaluation.setup import degradation_of
    from studies.grid import checked, over_folds, run_cells, set_up
    from studies.report import Report
    from utils.tables import with_std

    reading, others = split_modalities(cfg, "degraded", base.mode)
    trains = study.training is not None
    cells = checked(over_folds(cfg, base, lambda cfg, base: [
        cell for modality in chosen_modalities(cfg, base.mode)
        for cell in study.cells(base, cfg.out, modality)]))
    if not trains:  # now, before hours of training
        setup = set_up(replace(base, modality=reading[0], fold=cells[0].runs[0].fold))
        for value in (value for value in study.values if value != study.whole):
            setup.reported_tiles(degradation_of(replace(base, **study.keys(value)), 0))
    outcomes = run_cells(cells)
    where = "training and reported" if trains else outcomes[0].reported
    degraded = degraded_baselines(outcomes, study.column, QUESTIONS[cfg.problem].score)
    report = Report(study.name, study.title, IN_WORDS[base.mode],
                    Path(cfg.out, study.subfolder), cfg, rest, outcomes,
                    study.xlabel.format(tiles=f"{where} tiles"),
                    [f"{modality} reads no OSM objects: its figures hold for every {study.one}"
                     for modality in others], varying=degraded)
    report.write({modality: report.points(study.column, modality=modality)
                  for modality in reading}
                 | {f"no model: {label}": points for label, points in degraded.items()},
                 categorical=study.categorical,
                 reference={f"{modality} alone, {with_std(mean, std)}": mean for modality in others
                            for _, mean, std in report.points(study.column, modality=modality)})


def degraded_baselines(outcomes: Sequence["Outcome"], column: str,
                       score: str) -> dict[str, list[tuple[float | str, float, float]]]:
    """Return label -> points (x, score, nan) of the baselines that read OSM objects, too: those
    whose score differs between the values of `column`."""
    points: dict[str, dict[float | str, float]] = {}
    for outcome in outcomes:
        for label, figures in outcome.baselines.items():
            points.setdefault(label, {})[outcome.cell.keys[column]] = figures[score]
    return {label: [(x, value, math.nan) for x, value in scores.items()]
            for label, scores in points.items()
            if len({*map(format_number, scores.values())}) > 1}  # a mean is rounded
