"""The problems that a study can ask about, and the evaluation whose keys it takes."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from evaluation.keys import REGRESSION, SEGMENTATION, EvaluateConfig
from models.registry import MODALITIES
from studies.keys import StudyConfig
from utils.cli import overrides
from utils.cli.compose import read
from utils.cli.program import Program
from utils.config import choices_of, result_values
from utils.errors import ConfigError
from utils.locks import alone_in

IN_WORDS = {"finetune": "pretrained, fine-tuned", "linear": "pretrained, linear probe",
            "knn": "pretrained, nearest neighbours", "scratch": "from scratch"}
# the keys of an evaluation that every study sets -> the study's own key for it
_SET_BY_STUDY = {"target": "problem", "seeds": "seeds", "save_path": "out", "fold": "folds"}


@dataclass(frozen=True)
class Question:
    """A problem that all models of a study are evaluated on."""

    title: str                  # in words
    program: Program            # the evaluation that answers it
    overrides: tuple[str, ...]  # which of its answers is meant
    score: str                  # the figure that is plotted

    @property
    def modalities(self) -> tuple[str, ...]:
        """All that can be asked."""
        return choices_of(self.program.schema, "modality")


QUESTIONS = {
    "seg": Question("land use", SEGMENTATION, (), "miou"),
    "pop": Question("population", REGRESSION, ("target=pop",), "r2"),
    "co2": Question("CO2 emission", REGRESSION, ("target=co2",), "r2"),
}


def alone(study: Callable[..., None]) -> Callable[..., None]:
    """Let a study hold the folder of its outputs, so that no other writes there beside it."""
    @functools.wraps(study)
    def held(cfg: StudyConfig, rest: list[str]) -> None:
        with alone_in(Path(cfg.out), "out"):
            study(cfg, rest)
    return held


def base_config(study: StudyConfig, rest: Sequence[str], varied: dict[str, str]) -> EvaluateConfig:
    """Return the evaluation that all runs vary: its defaults and the command line's keys.

    Raise ConfigError for several devices, or a key that the study sets itself or the evaluation
    refuses.

    Args:
        rest: the overrides that are not the study's own.
        varied: the keys in which the runs differ -> the study's own key for it.
    """
    check_several("seeds", study.seeds)
    question = QUESTIONS[study.problem]
    check_not_set(rest, _SET_BY_STUDY | varied)
    cfg = read(question.program, *rest, *question.overrides)
    if ("TORCHELASTIC_RUN_ID" in os.environ or cfg.num_nodes != 1
            or cfg.devices not in ("auto", "1")):
        raise ConfigError(f"devices={cfg.devices} num_nodes={cfg.num_nodes}: a study makes its "
                          "runs one after the other in one process, on one device; start it "
                          "without torchrun, with devices=1 num_nodes=1 (CUDA_VISIBLE_DEVICES "
                          "chooses a GPU)")
    return replace(cfg, devices="1", seeds=list(study.seeds))


def check_not_set(rest: Sequence[str], own: Mapping[str, str]) -> None:
    """Raise ConfigError if an override is of a key that the study sets itself.

    Args:
        own: these keys of the evaluation -> the study's own key for it; "": it has none.
    """
    for override in rest:
        name = override.lstrip("+~").partition("=")[0]
        if name in own:
            instead = (f", from {own[name]}=; give that key instead" if own[name]
                       else " and has no key for it; leave it out")
            raise ConfigError(f"{override.lstrip('+~')}: the study sets {name} itself{instead}")


def chosen_modalities(study: Any, mode: str = "") -> list[str]:
    """Return the study's modalities, by default all that a `mode` of the evaluation takes; raise
    ConfigError if one is not known."""
    choices = QUESTIONS[study.problem].modalities
    if study.modalities is None:
        return [name for name in choices if mode != "knn" or not MODALITIES[name].draws_osm]
    check_several("modalities", study.modalities)
    wrong = [name for name in study.modalities if name not in choices]
    if wrong:
        raise ConfigError(f"modalities={_listed(study.modalities)}: problem={study.problem} has "
                          f"no {wrong[0]}; choose among {', '.join(choices)}")
    return study.modalities


def check_several(key: str, values: Sequence[Any]) -> None:
    """Raise ConfigError unless there are values, all different."""
    if not values or len(set(values)) != len(values):
        raise ConfigError(f"{key}={_listed(values)}: expected one or more different values")


def check_among(key: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise ConfigError unless there are values, all different and all allowed."""
    check_several(key, values)
    if wrong := [value for value in values if value not in allowed]:
        raise ConfigError(f"{key}={_listed(values)}: there is no {wrong[0]}; choose among "
                          f"{', '.join(allowed)}")


def check_labels(labels: Sequence[str]) -> None:
    """Raise ConfigError unless all are numbers of tiles, or all."""
    check_several("labels", labels)
    if wrong := [count for count in labels if count != "all" and not (
            count.isdecimal() and count == str(int(count)) and 0 < int(count) < 10**9)]:
        raise ConfigError(f"labels=[{','.join(labels)}]: {wrong[0]} is no number of tiles, "
                          "expected numbers such as 25, or all")


def given_keys(cfg: Any) -> list[str]:
    """Return the keys of a study that results depend on and that are not at their default, as
    `key=value`."""
    defaults = {item.name: item.default_factory() if item.default is MISSING else item.default
                for item in fields(cfg) if (item.default, item.default_factory) != (MISSING,) * 2}
    return [f"{name}={written(value)}" for name, value in result_values(cfg).items()
            if name not in defaults or value != defaults[name]]


def written(value: Any) -> str:
    """Return a value as it is given on a command line, a number without needless digits."""
    return f"{value:g}" if isinstance(value, float) else overrides.written(value)


def _listed(values: Sequence[Any]) -> str:
    return f"[{','.join(map(str, values))}]"
