"""docs/tour.md, run as it is written."""

import rasterio
import torch

from tests.pages import Page

PAGE = Page("docs/tour.md")


def test_the_tour_leads_from_raw_files_to_a_map_in_under_forty_lines(tmp_path, monkeypatch,
                                                                     capsys):
    assert len(PAGE.code) < 40
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = PAGE.run_python()
    shapes = {name: list(names[name].shape) for name in ("image", "tokens", "readout", "fused",
                                                         "classes")}
    assert shapes == {"image": [3, 224, 224], "tokens": [4, 197, 64], "readout": [4, 256],
                      "fused": [4, 197, 64], "classes": [1792, 1792]}
    assert names["nodes"].shape[1] == 128
    assert (len(names["train"]), len(names["test"])) == (18, 13)
    assert (tmp_path / "tour/tile.png").stat().st_size > 10_000
    labels, right = names["labels"], names["right"]
    guess = (labels == names["train"].class_counts().argmax())[labels != 255].float().mean()
    assert round(guess.item(), 2) == 0.23
    assert right[labels != 255].float().mean() > guess + 0.1
    assert "Land use of city.tif" in capsys.readouterr().out
    with rasterio.open("tour/map/map.tif") as land_use, rasterio.open(
        "tour/city/city.tif") as city:
        assert (land_use.transform, land_use.crs) == (city.transform, city.crs)
