"""make_report.py picture=: all maps side by side."""

import sys

import numpy as np
import pytest
from PIL import Image

import make_report
from tests.utils.html.folders import pretraining, scene
from utils.scene.poster import save_poster


def test_every_layer_has_a_panel_and_imagery_one(tmp_path):
    folders = [scene(tmp_path / "one"), scene(tmp_path / "other")]
    save_poster(folders, tmp_path / "maps.png")
    save_poster(folders[:1], tmp_path / "map.png")
    with Image.open(tmp_path / "maps.png") as several, Image.open(tmp_path / "map.png") as single:
        assert several.height > single.height
        assert several.width == single.width
        assert len(np.unique(np.asarray(several.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_a_picture_without_a_map_is_refused(tmp_path, monkeypatch, capsys):
    folder = pretraining(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["make_report.py", str(folder), f"out={tmp_path / 'page.html'}", f"picture={tmp_path / 'maps.png'}"])
    with pytest.raises(SystemExit) as raised:
        make_report.main()
    assert raised.value.code == 2
    assert "maps.png: none of the runs is a map; give a folder of predict_scene.py" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
