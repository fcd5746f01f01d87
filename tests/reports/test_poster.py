"""make_report.py picture=: all maps side by side."""

import sys

import numpy as np
import pytest
from PIL import Image

import make_report
from reports.poster import FORMATS, save_poster
from tests.reports.folders import pretraining, scene


def test_every_layer_has_a_panel_and_imagery_one(tmp_path):
    folders = [scene(tmp_path / "one"), scene(tmp_path / "other")]
    save_poster(folders, tmp_path / "maps.png")
    save_poster(folders[:1], tmp_path / "map.png")
    with Image.open(tmp_path / "maps.png") as several, Image.open(tmp_path / "map.png") as single:
        assert several.height > single.height
        assert several.width == single.width
        assert len(np.unique(np.asarray(several.convert("RGB")).reshape(-1, 3), axis=0)) > 10


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_that_is_offered_can_be_written(tmp_path, monkeypatch, ending):
    folder = scene(tmp_path / "map")
    monkeypatch.setattr(sys, "argv",
                        ["make_report.py", str(folder), f"out={tmp_path / 'page.html'}",
                         f"picture={tmp_path}/new/m{ending}"])
    make_report.main()
    assert (tmp_path / "new" / f"m{ending}").stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map", "new", "page.html"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"m{ending}"]


@pytest.mark.parametrize(("picture", "out", "message"), [
    ("maps.bmp", "page.html", "picture={tmp}/maps.bmp: no format that can be written, expected a "
                              "name that ends with .png, .jpg"),
    ("maps", "page.html", "picture={tmp}/maps: no format that can be written"),
    ("folder.png", "page.html", "picture={tmp}/folder.png: is a folder, expected the name of a "
                                "file"),
    ("file/maps.png", "page.html", "picture={tmp}/file/maps.png: {tmp}/file is no folder that "
                                   "can be written to"),
    ("maps.png", "folder.png", "out={tmp}/folder.png: is a folder, expected the name of a file; "
                               "give one in it, such as {tmp}/folder.png/"),
    ("maps.png", "file/page.html", "out={tmp}/file/page.html: {tmp}/file is no folder that can "
                                   "be written to"),
])
def test_a_path_that_cannot_be_written_is_refused_before_anything_is_written(
        tmp_path, monkeypatch, capsys, picture, out, message):
    folder = scene(tmp_path / "map")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "argv", ["make_report.py", str(folder), f"out={tmp_path / out}",
                                      f"picture={tmp_path / picture}"])
    with pytest.raises(SystemExit) as raised:
        make_report.main()
    error = capsys.readouterr().err
    assert raised.value.code == 2
    assert error.startswith(f"error: {message.format(tmp=tmp_path)}")
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png", "map"]


@pytest.mark.parametrize("failing", ["reports.poster.save_poster", "reports.page.write_report"])
def test_there_is_a_page_with_its_picture_or_neither(tmp_path, monkeypatch, failing):
    def full(*_):
        raise OSError(28, "No space left on device", "a file")
    folder = scene(tmp_path / "map")
    monkeypatch.setattr(failing, full)
    monkeypatch.setattr(sys, "argv",
                        ["make_report.py", str(folder), f"out={tmp_path / 'page.html'}",
                         f"picture={tmp_path / 'maps.png'}"])
    with pytest.raises(SystemExit):
        make_report.main()
    assert [path.name for path in tmp_path.iterdir()] == ["map"]


def test_a_picture_without_a_map_is_refused(tmp_path, monkeypatch, capsys):
    folder = pretraining(tmp_path / "run")
    monkeypatch.setattr(sys, "argv",
                        ["make_report.py", str(folder), f"out={tmp_path / 'page.html'}",
                         f"picture={tmp_path / 'maps.png'}"])
    with pytest.raises(SystemExit) as raised:
        make_report.main()
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert "maps.png: none of the runs is a map; give a folder of predict_scene.py" in error
    assert not (tmp_path / "page.html").exists()
