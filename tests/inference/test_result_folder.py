"""The folder of a map or of features: what its record says is checked before anything is done."""

import json
from pathlib import Path

import pytest

from inference.result_folder import ResultFolder
from tests.random_tiles import contents
from tests.robustness.remedies import commands_in, follow
from utils.contents import Text
from utils.errors import PrepareError

WHOLE = {"request": {"raster": "a"}, "title": "A map", "made": ["map.tif"],
         "files": [{"name": "map.tif", "what": "classes"}]}
WRONG = [
    {"request": [1]}, {"title": 3}, {"title": None}, {"made": "map.tif"}, {"made": ["/etc/passwd"]},
    {"made": ["../theirs"]}, {"made": [["map.tif"]]}, {"made": [{"a": 1}]}, {"files": {}},
    {"files": ["map.tif"]}, {"files": [{"name": "../theirs", "what": ""}]}, {"files": [{}]},
]
NO_JSON = [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b"1" * 5000]


def make(out: Path, overwrite: bool = True) -> dict | None:
    work = ResultFolder(out, "mapping", "mapping", "scene.json", {"title": Text()})
    with work.held():
        record = work.start({"raster": "b"}, overwrite)
        if record is None:
            (work.empty() / "map.tif").write_text("new")
            work.publish({**WHOLE, "request": {"raster": "b"}})
    return record


@pytest.mark.parametrize("text", [*(json.dumps({**WHOLE, **wrong}).encode() for wrong in WRONG),
                                  *NO_JSON], ids=range(len(WRONG) + len(NO_JSON)))
def test_a_record_that_is_not_ours_removes_nothing_and_its_remedy_works(tmp_path, text):
    out = tmp_path / "my map"
    out.mkdir()
    (tmp_path / "theirs").write_text("-")
    (out / "map.tif").write_text("old")
    (out / "scene.json").write_bytes(text)
    before = contents(tmp_path)
    with pytest.raises(PrepareError, match=r"scene\.json: .*; choose another out=") as raised:
        make(out)
    assert contents(tmp_path) == before
    follow(*commands_in(str(raised.value)), tmp_path)
    make(out)
    assert contents(tmp_path).keys() == {"theirs", "my map/map.tif", "my map/scene.json"}


def test_only_what_the_record_says_was_made_is_replaced(tmp_path):
    out = tmp_path / "map"
    out.mkdir()
    (out / "scene.json").write_text(json.dumps({**WHOLE, "made": ["map.tif", "map.qml"]}))
    for name in ("map.tif", "map.tif.aux.xml", "map.qml", "mine.txt"):
        (out / name).write_text("old")
    make(out)
    assert sorted(path.name for path in out.iterdir()) == ["map.tif", "mine.txt", "scene.json"]
    assert make(out)["title"] == "A map"


def test_a_record_of_an_earlier_version_names_its_files_elsewhere(tmp_path):
    record = {name: value for name, value in WHOLE.items() if name != "made"}
    (tmp_path / "scene.json").write_text(json.dumps({**record, "files": [
        {"name": name, "what": ""} for name in ("map.tif", "probabilities.tif")]}))
    (tmp_path / "probabilities.tif").write_text("old")
    make(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.tif", "scene.json"]
