"""The commands of docs/your_own_city.md, run as they are written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from datasets import TileDataset

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "your_own_city.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """A folder with the project's scripts, so that what the commands write does not end up in the checkout."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("train_rose.py", "prepare_dataset.py", "evaluate_seg_fusion.py", "evaluate_pop_fusion.py", "datasets", "models", "utils",
                 "configs"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def test_the_page_has_four_commands_and_the_sample():
    scripts = [re.search(r"(\w+)(\.py)? ", command.removeprefix("python ").removeprefix("-m "))[1] for command in COMMANDS]
    assert scripts == ["sample_city", "prepare_dataset", "prepare_dataset", "train_rose", "evaluate_seg_fusion", "evaluate_pop_fusion",
                       "convert"]


def test_every_command_runs_as_written(elsewhere):
    for command in COMMANDS:
        arguments = shlex.split(command)
        assert arguments[0] == "python"
        run = subprocess.run([sys.executable, *arguments[1:]], cwd=elsewhere, capture_output=True, text=True, check=False,
                             env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert run.returncode == 0, f"{command}\n{run.stderr[-2000:]}"
    assert (elsewhere / "data/mycity/mycity_preview.png").stat().st_size > 10_000
    made, converted = TileDataset(elsewhere / "data/mycity"), TileDataset(elsewhere / "data/mycity_files")
    assert made.names == converted.names
    assert len(made) == 36
    assert made.total(0, "pop") == converted.total(0, "pop")
    assert {path.name for path in (elsewhere / "data/mycity").glob("*.txt")} >= {"val.txt", "test.txt", "osm-train-all.txt"}
    assert list((elsewhere / "runs/mycity").glob("model_*.safetensors"))
    for folder in ("seg_fusion_finetune", "co2_fusion_finetune"):
        assert (elsewhere / "runs" / folder / "seed_0" / "best.safetensors").is_file()


def test_the_python_of_the_page_runs(elsewhere):
    block = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    subprocess.run([sys.executable, "-c", block], cwd=elsewhere, check=True)
