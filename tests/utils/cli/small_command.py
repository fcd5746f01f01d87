"""A program with choices in a folder of configs of its own, for tests of the command line."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from utils.cli.program import Choice, Program
from utils.config import key
from utils.recipes import recipe_key

FILES = {
    "probe/task/land.yaml": "# @package _global_\n# Land use.\ntask: land\nlr: 2.0e-4\n",
    "probe/task/land_sz.yaml": "# @package _global_\n# Land use in Suzhou.\ntask: land_sz\n"
                               "lr: 3.0e-4\n",
    "other/task/people.yaml": "# @package _global_\n# Of another script.\nlr: 4.0e-4\n",
    "probe/experiment/sample.yaml": "# @package _global_\n# The sample city.\n"
                                    "data_root: ${save_root_dir}/city\nlr: 5.0e-4\n",
}


@dataclass
class ProbeConfig:
    data_root: str = key(meaning="a dataset", why="a dataset")
    task: str = key("")
    lr: float = key(1e-4, "of a step", above=0)
    seed: int = key(0, least=0)
    modality: str = key("fusion", choices=("image", "fusion"))
    save_root_dir: str = key("runs")
    save_path: str | None = key(None, "null: by the task")
    devices: str = key("auto")
    num_nodes: int = key(1, least=1)
    accelerator: str = key("cpu")
    recipe: str | None = key(None)
    protocol: str | None = recipe_key("protocol", None)
    fine_input: str | None = recipe_key("fine_input", None, "as pretrained")


@dataclass
class OtherConfig:
    epochs: int = key(1, least=1)
    notes: str = key("")
    cities: str = key("")
    x: str = key("")


OTHER = Program("other", OtherConfig, "Another.", "python other.py")


def sample_without_data(given: dict[str, str]) -> list[str]:
    """Return the overrides that a command line implies: the sample city without data."""
    return [] if "data_root" in given else ["experiment=sample"]


def probe_folder(cfg: Any) -> str:
    """Return the folder of a run: `save_path`, or one by the task."""
    return cfg.save_path or f"{cfg.save_root_dir}/probe_{cfg.task}"


PROBE = Program(
    "probe", ProbeConfig, "A probe.", "python probe.py task=land",
    choices=(Choice("recipe", None, "null: the checkpoint's own"),
             Choice("task", "land", "what to learn"),
             Choice("experiment", None, "sample: the generated city")),
    folder=("", "save_path"), default_folder=probe_folder, named_by=("task",))


def probe(**changes: Any) -> Program:
    """Return the program with some of its attributes changed."""
    return replace(PROBE, **changes)


def use_small_configs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the files of `probe` into `folder`, and read them there."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr("utils.cli.program.CONFIG_DIR", folder)
