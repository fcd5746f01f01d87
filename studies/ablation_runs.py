"""The runs of the ablation: those of the benchmark, measured on val tiles alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from evaluation.keys import EvaluateConfig
from studies.ablation_plan import BASE, Variant
from studies.benchmark_plan import TASKS, Cell, Row
from studies.benchmark_runs import SET_HERE as SET_BY_BENCH
from studies.benchmark_runs import Bench, base_config
from studies.command import check_not_set
from utils.errors import ConfigError

# as the table of `Bench`: there are neither rows, tasks nor parts, and val is measured once
SET_HERE = SET_BY_BENCH | {"recipe": "variants", "mode": "trainings", "fold": "on"} | dict.fromkeys(
    ("modality", "target", "val_every", "val_file", "test_file", "checkpoint", "remove_ratio",
     "remove_while_training", "osm_shift"), "")


@dataclass(frozen=True)
class Ablation(Bench):
    """The runs of an ablation, whose `cfg` is an AblationConfig.

    The val tiles are reported, and measured after the last epoch alone, so that no figure is the
    best of several looks at them.
    """

    judged: ClassVar[int] = 1

    @property
    def folds(self) -> Sequence[int]:
        return self.cfg.on

    def pretraining(self, row: Row, text: str, seed: int) -> Path:
        return super().pretraining(row, text, self.cfg.seeds[0])  # one for all seeds

    def config(self, cell: Cell, fold: int, seed: int) -> EvaluateConfig:
        return replace(super().config(cell, fold, seed), test_file=None)


def check_variants(variants: Sequence[Variant], rest: Sequence[str], accelerator: str) -> None:
    """Raise ConfigError if the evaluation refuses a key, of all or of a variant, or if a variant
    changes one that the study sets."""
    base_config(TASKS["land_use"].problem, "", BASE, tuple(rest), accelerator)
    for variant in variants:
        try:
            check_not_set(variant.row.evaluation, SET_HERE)
            base_config(TASKS["land_use"].problem, "", BASE, (*rest, *variant.row.evaluation),
                        accelerator)
        except ConfigError as error:
            raise ConfigError(f"variants=[{variant.name}]: {error}") from error
