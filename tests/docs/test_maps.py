"""docs/maps.md, run as it is written."""

import shutil
from pathlib import Path

import geopandas as gpd
import pytest
import torch

from datasets.targets import CLASSES
from models import build_rose
from models.decoders import TargetScale
from models.heads import RegressionHead, SegmentationHead
from models.network_file import save_finetuned
from tests.pages import Page

PAGE = Page("docs/maps.md")
HEADS = {
    "seg_fusion_finetune": SegmentationHead("fusion", "linear", tuple(CLASSES)),
    "co2_fusion_finetune": RegressionHead("fusion", "co2", TargetScale("standard", 9.0, 3.0)),
}


def test_the_page_does_what_it_says(sample_tiles, tmp_path, monkeypatch, capsys):
    """On the sample city of 3 x 3 tiles, with models of random weights."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sample_tiles.parent / "raw", "city")
    torch.manual_seed(0)
    for name, head in HEADS.items():
        model = head.build(build_rose("test_vit"))
        torch.nn.init.normal_(next(model.decoder.parameters()), std=0.3)
        Path("runs", name, "seed_0").mkdir(parents=True)
        save_finetuned(Path("runs", name, "seed_0/best.safetensors"), model, head)
    assert PAGE.scripts == ["predict_scene.py"] * 2
    PAGE.run_commands()
    files = {path.name for folder in ("landuse", "co2") for path in Path("maps", folder).iterdir()
             if path.is_file()}
    assert files == {name for name in files
                     if f"| `{name}` |" in PAGE.text}, "a file is missing in the table"
    written = Path("maps/landuse/map.tif").stat().st_mtime_ns
    names = PAGE.run_python()
    assert Path("maps/landuse/map.tif").stat().st_mtime_ns == written, "the map was made again"
    name = names["names"][names["classes"][100, 200]]
    assert f"at row 100, column 200: {name}" in capsys.readouterr().out
    residential = gpd.read_file("maps/residential.gpkg")
    assert residential.area.sum() == pytest.approx(
        (names["classes"] == CLASSES.index("residential")).sum())  # a pixel is a square metre
    assert residential.crs == gpd.read_file("maps/co2/tiles.gpkg").crs
