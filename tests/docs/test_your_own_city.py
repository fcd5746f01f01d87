"""docs/your_own_city.md, run as it is written, but for the length of its trainings."""

import rasterio

from datasets import TileDataset
from tests.pages import Page

PAGE = Page("docs/your_own_city.md")
# the first makes the commands of the others, the second needs the network: tests of their own
APART = ["studies.city", "datasets.fetch"]
SHORT = {"train_rose.py": " total_epoch=1", "evaluate_seg_fusion.py": " epochs=2",
         "evaluate_pop_fusion.py": " epochs=2"}


def test_the_page_leads_from_raw_files_to_a_map(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert PAGE.scripts == [*APART, "datasets.sample_city", "prepare_dataset.py",
                            "prepare_dataset.py", "train_rose.py", "evaluate_seg_fusion.py",
                            "evaluate_pop_fusion.py", "predict_scene.py", "datasets.convert"]
    PAGE.run_commands(command + SHORT.get(script, "") for command, script
                      in list(zip(PAGE.commands, PAGE.scripts, strict=True))[len(APART):])
    names = PAGE.run_python()
    assert (tmp_path / "data/mycity/mycity_preview.png").stat().st_size > 10_000
    made, converted = TileDataset(tmp_path / "data/mycity"), TileDataset(
        tmp_path / "data/mycity_files")
    assert made.names == converted.names == names["tiles"].names
    assert len(made) == 36
    assert made.total(0, "pop") == converted.total(0, "pop")
    lists = {path.name for path in (tmp_path / "data/mycity").glob("*.txt")}
    assert lists >= {"val.txt", "test.txt", "osm-train-all.txt"}
    assert list((tmp_path / "runs/mycity").glob("model_*.safetensors"))
    for folder in ("seg_fusion_finetune", "co2_fusion_finetune"):
        assert (tmp_path / "runs" / folder / "seed_0" / "best.safetensors").is_file()
    for folder in ("runs/mycity", "runs/seg_fusion_finetune", "runs/co2_fusion_finetune",
                   "maps/mycity"):
        assert (tmp_path / folder / "report.html").is_file(), f"{folder} has no page"
    with rasterio.open(tmp_path / "maps/mycity/map.tif") as land_use, rasterio.open(
        tmp_path / "city/city.tif") as city:
        assert (land_use.transform, land_use.crs, land_use.shape) == (city.transform, city.crs,
                                                                      city.shape)
