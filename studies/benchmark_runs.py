"""The runs of the benchmark: pretraining, then a training of each cell, fold and seed with all that
measures its model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from evaluation.keys import EvaluateConfig
from studies.benchmark_data import list_of
from studies.benchmark_plan import (
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
from studies.units import PROBLEMS, Unit, loading
from training.compatibility import find_checkpoint
from training.keys import TRAIN
from utils.cli.compose import read
from utils.files import sha256_of

# keys that no result depends on: where a run works, in how many processes, and what an experiment
# is called, whose values are keys
_PLACES = ("save_path", "save_root_dir", "save_dir", "checkpoint", "accelerator", "data_root",
           "data_path", "num_workers", "experiment")
# the keys of an evaluation that `base_config` and `Bench` set -> the benchmark's own key for it
SET_HERE = {
    "data_root": "out", "save_path": "out", "image_size": "tile_px", "seeds": "seeds",
    "image_encoder": "image_encoder", "accelerator": "accelerator", "train_file": "labels",
    **dict.fromkeys(("fold", "val_file", "test_file"), "folds"),
    **dict.fromkeys(("modality", "recipe"), "rows"), "target": "tasks",
    **dict.fromkeys(("epochs", "val_every"), "effort"),
    **dict.fromkeys(("mode", "checkpoint", "remove_ratio", "remove_while_training", "osm_shift"),
                    "parts"),
    **dict.fromkeys(("experiment", "pictures", "devices"), "")}
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
                units[folder] = Unit(
                    "pretraining", f"pretraining {folder.name.replace('_', ' ')}", folder,
                    {"pretraining": _important(cfg)}, PRETRAIN_S * epochs * self.tiles,
                    _defaults(cfg), overrides)
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
        if cfg.checkpoint:  # where it lies is no part of the request, but what it holds is
            request["model" if cell.measures else "pretraining"] = {
                "sha256": _sha256(Path(cfg.checkpoint))}
        return Unit(kind, name, Path(cfg.save_path), request, cost, _defaults(cfg),
                    row=self.rows[cell.row], cells=tuple(cells))

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
        checkpoint = None if scratch else str(
            _newest(self.pretraining(row, cell.text, seed)))
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


def _newest(folder: Path) -> Path:
    """Return the weights of a pretraining; before it has any, their folder."""
    return find_checkpoint(str(folder), "") if any(folder.glob("model_*")) else folder


def _sha256(checkpoint: Path) -> str:
    return _hashed(checkpoint, checkpoint.stat().st_mtime_ns) if checkpoint.is_file() else ""


@lru_cache
def _hashed(path: Path, changed: int) -> str:
    """Return a file's SHA-256; of one that was made anew, and `changed` at another time, its
    own."""
    return sha256_of(path)


def _important(cfg: Any) -> dict[str, Any]:
    """Return the keys that a run is recognised by."""
    return {name: value for name, value in asdict(cfg).items() if name not in _PLACES}


def _defaults(cfg: Any) -> dict[str, Any]:
    return {item.name: item.default for item in fields(cfg) if item.default is not MISSING}
