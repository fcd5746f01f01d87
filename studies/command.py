"""What the studies' commands share: the evaluation whose keys they take, and what a study may be
asked."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.defaults import implied
from evaluation.keys import EvaluateConfig, RegressionConfig, SegmentationConfig
from models.registry import regression_modalities, segmentation_modalities
from studies.keys import StudyConfig
from utils.cli.command import read_config
from utils.config import keys_of
from utils.errors import ConfigError

MODES = keys_of(EvaluateConfig)["mode"].metadata["choices"]
IN_WORDS = {"finetune": "pretrained, fine-tuned", "linear": "pretrained, linear probe",
            "scratch": "from scratch"}
# Keys of an evaluation that every study sets, and what says so in its place.
_SET_BY_STUDY = {"target": "problem", "seeds": "seeds", "save_path": "out"}


@dataclass(frozen=True)
class Question:
    """What a study asks of each of its models.

    Attributes:
        title: in words.
        script: the evaluation that answers it, whose keys `schema` has; `overrides` say which of
            its answers is meant.
        score: the figure that is plotted.
        modalities: returns all that can be asked for.
    """

    title: str
    script: str
    schema: type[EvaluateConfig]
    overrides: tuple[str, ...]
    score: str
    modalities: Callable[[], tuple[str, ...]]


QUESTIONS = {
    "seg": Question("land use", "evaluate_seg_fusion", SegmentationConfig, (), "miou",
                    segmentation_modalities),
    "pop": Question("population", "evaluate_pop_fusion", RegressionConfig, ("target=pop",), "r2",
                    regression_modalities),
    "co2": Question("CO2 emission", "evaluate_pop_fusion", RegressionConfig, ("target=co2",),
                    "r2", regression_modalities),
}


def base_config(study: StudyConfig, rest: Sequence[str], varied: dict[str, str]) -> EvaluateConfig:
    """The evaluation that all runs of a study vary: its defaults, and what the command line says
    of it.

    Args:
        rest: the overrides that are not the study's own.
        varied: the keys that its runs differ in -> the study's key that says how.

    Raises:
        ConfigError: a key that the study sets itself, or one that the evaluation does not have or
            cannot take; several devices.
    """
    check_several("seeds", study.seeds)
    question = QUESTIONS[study.problem]
    for override in rest:
        name = override.lstrip("+").partition("=")[0]
        instead = (_SET_BY_STUDY | varied).get(name)
        if instead:
            raise ConfigError(f"{override.lstrip('+')}: the study sets {name} itself, from "
                              f"{instead}=; give that key instead")
    cfg = read_config(question.script, question.schema, [*rest, *question.overrides], implied)
    if "TORCHELASTIC_RUN_ID" in os.environ or cfg.num_nodes != 1 or cfg.devices not in ("auto",
                                                                                        "1"):
        raise ConfigError(f"devices={cfg.devices} num_nodes={cfg.num_nodes}: a study makes its "
                          "runs one after the other in one process, on one device; start it "
                          "without torchrun, with devices=1 num_nodes=1 (CUDA_VISIBLE_DEVICES "
                          "chooses a GPU)")
    return replace(cfg, devices="1", seeds=list(study.seeds))


def chosen_modalities(study: Any) -> list[str]:
    """Those asked for; null: all that the problem has. Raises ConfigError for one that it does not
    have."""
    choices = QUESTIONS[study.problem].modalities()
    if study.modalities is None:
        return list(choices)
    check_several("modalities", study.modalities)
    wrong = [name for name in study.modalities if name not in choices]
    if wrong:
        raise ConfigError(f"modalities={_listed(study.modalities)}: problem={study.problem} has "
                          f"no {wrong[0]}; choose among {', '.join(choices)}")
    return study.modalities


def check_several(key: str, values: Sequence[Any]) -> None:
    """Raises ConfigError unless there are values, all different."""
    if not values or len(set(values)) != len(values):
        raise ConfigError(f"{key}={_listed(values)}: expected one or more different values")


def check_modes(modes: Sequence[str]) -> None:
    """Raises ConfigError for ways of training that an evaluation does not know."""
    check_several("modes", modes)
    wrong = [mode for mode in modes if mode not in MODES]
    if wrong:
        raise ConfigError(f"modes={_listed(modes)}: no mode {wrong[0]}; choose among "
                          f"{', '.join(MODES)}")


def _listed(values: Sequence[Any]) -> str:
    return f"[{','.join(map(str, values))}]"
