"""A script with groups of its own in a folder of configs of its own, for tests of the command
line."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from utils.cli import command as cli
from utils.cli import help as cli_help
from utils.config import key, recipe_key

FILES = {
    "probe.yaml": """# A probe. python probe.py task=land
defaults:
  - probe_schema
  - _self_
  - recipe: null               # null: the checkpoint's own
  - task/seg@_global_: land    # what to learn
  - experiment/seg@_global_: null    # sample: the generated city

data_root: ???                 # a dataset
lr: 1.0e-4                     # of a step
seed: 0
modality: fusion
save_root_dir: runs
save_path: null                # null: by the task
devices: auto
num_nodes: 1
accelerator: cpu

protocol: null
fine_input: null               # as pretrained
""",
    "task/seg/land.yaml": "# Land use.\nlr: 2.0e-4\n",
    "task/seg/land_sz.yaml": "# Land use in Suzhou.\nlr: 3.0e-4\n",
    "task/pop/people.yaml": "# Of another script.\nlr: 4.0e-4\n",
    "experiment/seg/sample.yaml": "# The sample city.\ndata_root: ${save_root_dir}/city\nlr: "
                                  "5.0e-4\n",
}


@dataclass
class ProbeConfig:
    task: str = key()
    data_root: str = key(why="a dataset")
    lr: float = key(above=0)
    seed: int = key(least=0)
    modality: str = key(choices=("image", "fusion"))
    save_root_dir: str = key()
    save_path: str | None = key()
    devices: str = key()
    num_nodes: int = key(least=1)
    accelerator: str = key()
    recipe: str | None = key()
    protocol: str | None = recipe_key("protocol")
    fine_input: str | None = recipe_key("fine_input")


def use_small_configs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `probe` of ProbeConfig the only script there is, with its configs in `folder`."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for module in (cli, cli_help):
        monkeypatch.setattr(module, "CONFIG_DIR", folder)
    cli_help.groups_of.cache_clear()


def sample_without_data(given: dict[str, str]) -> list[str]:
    """Overrides implied by a command line: the sample city where no data are named."""
    return [] if "data_root" in given else ["experiment=sample"]
