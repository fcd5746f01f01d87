"""docs/features.md, run as it is written."""

import shutil
from pathlib import Path

import rasterio
import torch

from tests.pages import Page
from tests.pretrained import save_pretrained

PAGE = Page("docs/features.md")


def test_the_page_does_what_it_says(sample_tiles, tmp_path, monkeypatch, capsys):
    """On the sample city of 3 x 3 tiles, with lists of its own: it is too small to be split."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sample_tiles.parent / "raw", "city")
    shutil.copytree(sample_tiles, "data/mycity")
    for name, lines in {"osm-train-all.txt": "sample_0_0\nsample_1_0\nsample_2_0\n",
                        "test.txt": "sample_2_2\n"}.items():
        Path("data/mycity", name).write_text(lines)
    save_pretrained(Path("runs/mycity/model_1.tar"))
    assert PAGE.scripts == ["extract_features.py"] * 2
    PAGE.run_commands()
    assert Path("scene_features/tiles.parquet").is_file()
    assert len(PAGE.of("python")) == 4
    PAGE.run_python()
    output = capsys.readouterr().out
    assert "mean error, people a tile:" in output
    assert "9 tiles: ['tiles.parquet']" in output
    with rasterio.open("features/kinds.tif") as kinds, rasterio.open(
        "features/patches_fused.tif") as patches:
        assert (kinds.transform, kinds.crs, kinds.shape) == (patches.transform, patches.crs,
                                                             patches.shape)
        assert torch.from_numpy(kinds.read(1)).unique().tolist() == list(range(6))
