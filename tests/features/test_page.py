"""docs/features.md: its commands have the keys that it says, and its Python runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import rasterio
import torch

from models import build_rose
from utils.checkpoint import save_checkpoint
from utils.cli import read_config
from utils.config import ExtractConfig
from utils.features.job import extract

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")


def test_the_page_does_what_it_says(sample_tiles, tmp_path, monkeypatch):
    """On the sample city of 3 x 3 tiles, with lists of its own: it is too small to be split."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sample_tiles.parent / "raw", "city")
    shutil.copytree(sample_tiles, "data/mycity")
    for name, lines in {"osm-train-all.txt": "sample_0_0\nsample_1_0\nsample_2_0\n", "test.txt": "sample_2_2\n"}.items():
        Path("data/mycity", name).write_text(lines)
    save_checkpoint(Path("runs/mycity/model_1.tar"), {
        "model": build_rose("test_vit").state_dict(), "build": {"image_encoder": "test_vit"}, "global_step": 1})
    commands = [shlex.split(line) for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert [command[:2] for command in commands] == [["python", "extract_features.py"]] * 2
    for command in commands:
        extract(read_config("extract_features", ExtractConfig, [*command[2:], "accelerator=cpu", "num_workers=0"]))
    assert Path("scene_features/tiles.parquet").is_file()
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert "mean error, people a tile:" in done.stdout
    with rasterio.open("features/kinds.tif") as kinds, rasterio.open("features/patches_fused.tif") as patches:
        assert (kinds.transform, kinds.crs, kinds.shape) == (patches.transform, patches.crs, patches.shape)
        assert torch.from_numpy(kinds.read(1)).unique().tolist() == list(range(6))
