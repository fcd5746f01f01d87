"""The runs of the benchmark: pretraining, then a training of each cell, fold and seed with all that
measures its model."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch

from evaluation.checks import check_keys, check_thinned
from evaluation.keys import EvaluateConfig
from evaluation.patch_models import SIDE
from models.image_encoder import ImageEncoder
from studies.benchmark_data import list_of, made_of
from studies.benchmark_plan import (
    ALL,
    FULLY,
    JUDGED,
    KNN,
    MEASURED,
    MODES,
    ROWS,
    SCRATCH,
    TASKS,
    Cell,
    Row,
    epochs_of,
    measured_with,
)
from studies.degraded import measuring
from studies.keys import CityStudyConfig
from studies.units import CHECKSUM, PROBLEMS, Unit, loading, weights_of
from training.compatibility import check_side
from training.image_tuning import check_freeze
from training.keys import TRAIN
from utils.checkpoint import checksum_in
from utils.cli.compose import read
from utils.errors import ConfigError
from utils.files import sha256_of

# keys that no result depends on: where a run works, in how many processes, and what an experiment
# is called, whose values are keys
_PLACES = ("save_path", "save_root_dir", "save_dir", "checkpoint", "accelerator", "data_root",
           "data_path", "num_workers", "experiment")
# keys under which a run would be of other tiles, or judged otherwise, than the page says
_WHOLE = ("protocol", "cities", "train_cities", "test_cities", "sample_tiles", "resume")
# the keys of an evaluation that `base_config` and `Bench` set -> the benchmark's own key for it
SET_HERE = {
    "data_root": "out", "save_path": "out", "image_size": "tile_px", "seeds": "seeds",
    "image_encoder": "image_encoder", "accelerator": "accelerator", "train_file": "labels",
    **dict.fromkeys(("fold", "val_file", "test_file"), "folds"),
    **dict.fromkeys(("modality", "recipe"), "rows"), "target": "tasks",
    **dict.fromkeys(("epochs", "val_every"), "effort"),
    **dict.fromkeys(("mode", "checkpoint", "remove_ratio", "remove_while_training", "osm_shift"),
                    "parts"),
    **dict.fromkeys(("experiment", "pictures", "devices", *_WHOLE), "")}
# a probe is of what was pretrained: nothing beside it, each tile once, the loss of all rows
_PROBED = {"drop_objects": 0.0, "drop_graphs": 0.0, "draw_objects": False, "count_objects": False,
           "patch_mlp": False, "patch_input": "pixels", "class_weights": "none"}
# seconds of a core, of test_vit, as measured: for the forecast alone
STEP_S, MEASURE_S, PRETRAIN_S, REST_S = 0.022, 0.006, 0.033, 2.0
BASELINE_S = 10.0


@dataclass(frozen=True)
class Bench:
    """What all units have in common.

    Attributes:
        lists: labels -> number of tiles of the first fold.
        rest: overrides of the evaluations.
        roots: text -> folder of the tiles.
        rows: the models, by what cells call them.
    """

    cfg: CityStudyConfig
    rest: tuple[str, ...]
    roots: dict[str, Path]
    lists: dict[str, int]
    tiles: int
    rows: Mapping[str, Row] = field(default_factory=lambda: ROWS)
    judged: ClassVar[int] = JUDGED  # times that val is measured in a training

    @property
    def folds(self) -> Sequence[int]:
        """The folds that are run, counted from 1."""
        return range(1, self.cfg.folds + 1)

    @property
    def out(self) -> Path:
        return Path(self.cfg.out)

    @cached_property
    def made_of(self) -> dict[str, str]:
        """Text -> a digest of what its tiles were made from."""
        return {text: made_of(root) for text, root in self.roots.items()}

    def check(self, cells: Iterable[Cell]) -> None:
        """Raise ConfigError if the evaluation of a cell would refuse its keys."""
        for cell in cells:
            cfg = self.config(cell, self.folds[0], self.cfg.seeds[0])
            if self.rows[cell.row].statistics:
                self._check_statistics(cell, cfg)
            try:
                check_keys(cfg)
                check_thinned(cfg)
                check_freeze(cfg.freeze, cfg.epochs, "epochs")
            except ConfigError as error:
                raise ConfigError(f"{error}; the study has such a training in {cell.name} of "
                                  f"{cell.task}, and sets mode= and checkpoint= there") from error

    def _check_statistics(self, cell: Cell, cfg: EvaluateConfig) -> None:
        """Raise ConfigError if a model of patches' statistics would read other pixels or objects
        than the networks."""
        leave = "leave such rows out with rows=, or the part baselines with parts="
        if cfg.osm_reads != "all":
            raise ConfigError(f"osm_reads={cfg.osm_reads}: the row {cell.row} reads all of an "
                              f"object; {leave}")
        check_side("tile_px", self.cfg.tile_px, SIDE, f"the row {cell.row}",
                   f"pass tile_px={{}}, or {leave}")

    def pretraining(self, row: Row, text: str, seed: int) -> Path:
        """Return the folder of the pretraining that a run of a row starts from."""
        name = row.pretrained or row.recipe
        return self.out / "pretraining" / f"{name}_{text}_seed-{seed}"

    def pretrainings(self, cells: Mapping[Cell, int | None]) -> list[Unit]:
        """Return those that cells start from; `cells` are as of `planned`."""
        epochs, units = self.cfg.pretrain_epochs, {}
        for seed in self.cfg.seeds:
            for cell, first in cells.items():
                row = self.rows[cell.row]
                folder = self.pretraining(row, cell.text, seed)
                if cell.training == SCRATCH or seed not in self.seeds(first) or folder in units:
                    continue
                keys = {"data_path": self.roots[cell.text], "experiment": "own_city",
                        "recipe": row.recipe, **dict(row.pretraining),
                        "image_encoder": self.cfg.image_encoder, "total_epoch": epochs,
                        "image_size": self.cfg.tile_px,
                        "save_every": epochs, "picture_every": epochs, "seed": seed,
                        "num_workers": loading(self.cfg.accelerator), "devices": 1,
                        "accelerator": self.cfg.accelerator,
                        "save_root_dir": folder.parent, "save_dir": folder.name}
                overrides = tuple(f"{name}={value}" for name, value in keys.items())
                cfg = read(TRAIN, *overrides)
                units[folder] = self._of_tiles(cell.text, Unit(
                    "pretraining", f"pretraining {folder.name.replace('_', ' ')}", folder,
                    {"pretraining": _important(cfg)}, PRETRAIN_S * epochs * self.tiles,
                    _defaults(cfg), overrides))
        return [*units.values()]

    def seeds(self, first: int | None) -> list[int]:
        """Return the first seeds; None: all."""
        return self.cfg.seeds[:first]

    def trainings(self, cells: Mapping[Cell, int | None]) -> list[Unit]:
        """Return the trainings of cells, all of the first seed before those of the next."""
        units = []
        for cell, fold, seed in self._runs(cells):
            tiles = self.lists[cell.labels]
            seen = tiles * epochs_of(tiles, cell, self.cfg.effort)
            stepping = 0.0 if cell.training == KNN else STEP_S * seen
            kind = "training" if cell.training in (FULLY, SCRATCH) else "probes"
            cost = stepping + self._measuring_s(self.judged + 1)
            if self.rows[cell.row].statistics:
                kind, cost = "baselines", BASELINE_S
            units.append(self._unit(kind, [(cell, self.config(cell, fold, seed))], cost))
        return units

    def measurings(self, cells: Mapping[Cell, int | None]) -> list[Unit]:
        """Return the measuring of cells' models, which must be there, on degraded objects."""
        units = []
        for cell, fold, seed in self._runs(cells):
            measured = [(other, self._measuring(cell, other, fold, seed))
                        for other in measured_with(cell, [*self.lists])
                        if seed in self.seeds(MEASURED[cell.row])]
            if measured:
                units.append(self._unit("missing", measured, len(measured) * self._measuring_s(1)))
        return units

    def _runs(self, cells: Mapping[Cell, int | None]) -> Iterator[tuple[Cell, int, int]]:
        """Yield each cell with each of its folds and seeds."""
        for seed in self.cfg.seeds:
            for cell, first in cells.items():
                if seed in self.seeds(first):
                    yield from ((cell, fold, seed) for fold in self.folds)

    def _measuring_s(self, times: int) -> float:
        return REST_S + MEASURE_S * times * self.tiles / self.cfg.folds

    def _unit(self, kind: str, cells: list[tuple[Cell, EvaluateConfig]], cost: float) -> Unit:
        cell, cfg = cells[0]
        name = f"{cell.task}, {cell.name.replace('_', ' ')}, fold {cfg.fold}, seed {cfg.seeds[0]}"
        request = {other.name: _important(config) for other, config in cells}
        # where it lies is no part of the request, but what it holds is, as long as it is there
        if cfg.checkpoint and (checkpoint := Path(cfg.checkpoint)).is_file():
            request["model" if cell.measures else "pretraining"] = _digests(
                checkpoint, checkpoint.stat().st_mtime_ns)
        return self._of_tiles(cell.text, Unit(
            kind, name, Path(cfg.save_path), request, cost, _defaults(cfg),
            row=self.rows[cell.row], cells=tuple(cells)))

    def _of_tiles(self, text: str, unit: Unit) -> Unit:
        """Return a unit whose request says what its tiles were made from. Records that are older
        than this count as of the same tiles."""
        tiles = {"sources": self.made_of[text]}
        return replace(unit, request={**unit.request, "tiles": tiles},
                       defaults={**unit.defaults, **tiles})

    def folder(self, cell: Cell, fold: int, seed: int) -> Path:
        """Return the folder of a cell's evaluation."""
        return self.out / "runs" / cell.task / cell.name / f"fold-{fold}_seed-{seed}"

    def config(self, cell: Cell, fold: int, seed: int) -> EvaluateConfig:
        """Return the evaluation that trains a cell's model."""
        row, task = self.rows[cell.row], TASKS[cell.task]
        base = base_config(task.problem, task.target, row.recipe,
                           (*self.rest, *row.evaluation), self.cfg.accelerator)
        epochs = epochs_of(self.lists[cell.labels], cell, self.cfg.effort)
        scratch = cell.training == SCRATCH
        probed = {} if cell.training in (FULLY, SCRATCH) else {
            key: off for key, off in _PROBED.items() if hasattr(base, key)}
        pretraining = self.pretraining(row, cell.text, seed)
        checkpoint = None if scratch else str(weights_of(pretraining) or pretraining)
        return replace(
            base, data_root=str(self.roots[cell.text]), image_size=self.cfg.tile_px,
            fold=f"{fold}/{self.cfg.folds}",
            train_file=list_of(cell.labels), seeds=[seed], modality=row.modality,
            mode=MODES[cell.training], checkpoint=checkpoint, epochs=epochs,
            image_encoder=self.cfg.image_encoder if scratch else None,
            val_every=-(-epochs // self.judged), remove_ratio=cell.trained_with_removal,
            remove_while_training=bool(cell.trained_with_removal),
            save_path=str(self.folder(cell, fold, seed)), **probed)

    def _measuring(self, trained: Cell, cell: Cell, fold: int, seed: int) -> EvaluateConfig:
        run, = measuring(self.config(trained, fold, seed), "", remove_ratio=cell.removed,
                         osm_shift=cell.shifted, remove_while_training=False, val_every=1)
        return replace(run, save_path=str(self.folder(cell, fold, seed)))


def most_labels(labels: Sequence[str]) -> dict[str, int]:
    """Return labels -> tiles, as of `Bench.lists`, before there are lists: where only these say
    how many, 1, with which no training has fewer epochs than it will have."""
    return {count: 1 if count == ALL else int(count) for count in labels}


def check_encoder(cfg: CityStudyConfig) -> None:
    """Raise an error if there is no such image encoder, or its patches do not divide the tiles."""
    with torch.device("meta"):
        patch = ImageEncoder(cfg.image_encoder).patch
    check_side("tile_px", cfg.tile_px, patch, f"image_encoder={cfg.image_encoder}",
               "pass tile_px={}, or an image encoder of another patch side")


@lru_cache
def base_config(problem: str, target: str, recipe: str, rest: tuple[str, ...],
                accelerator: str) -> EvaluateConfig:
    """Return the keys that all evaluations of a task and a recipe share; raise ConfigError if one
    of `rest` is refused."""
    program = PROBLEMS[problem][0]
    chosen = [f"recipe={recipe}"] * (recipe != "rose") + [f"target={target}"] * bool(target)
    return read(program, "data_root=tiles", "experiment=own_city",
                f"num_workers={loading(accelerator)}", *rest, *chosen,
                "pictures=false", "devices=1", f"accelerator={accelerator}")


@lru_cache
def _digests(path: Path, changed: int) -> dict[str, str]:
    """Return what weights are recognised by: the file's SHA-256, and the checksum in it if there
    is one; of a file that was made anew, and `changed` at another time, its own."""
    inside = checksum_in(path) if path.suffix == ".safetensors" else ""
    return {"sha256": sha256_of(path), CHECKSUM: inside}


def _important(cfg: Any) -> dict[str, Any]:
    """Return the keys that a run is recognised by."""
    return {name: value for name, value in asdict(cfg).items() if name not in _PLACES}


def _defaults(cfg: Any) -> dict[str, Any]:
    return {item.name: item.default for item in fields(cfg) if item.default is not MISSING}
