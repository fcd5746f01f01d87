"""extract_features.py and its folder: a stopped run goes on, results are known again, and what
cannot be used is said in one line."""

import json
import shutil
from pathlib import Path

import pytest

from inference.pieces import Parts
from inference.result_folder import ResultFolder
from tests.inference.features.extracting import run
from tests.pretrained import save_pretrained
from tests.random_tiles import contents, random_tile, write_release
from utils.errors import RoseError


class _Killed(BaseException):
    """Ends a run as a kill does: nothing catches it."""


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_killed_at_work_goes_on(sample_tiles, checkpoint, whole, tmp_path, monkeypatch,
                                      overwrite):
    out = tmp_path / "out"
    given = (checkpoint, out, f"data_root={sample_tiles}")
    if overwrite:
        run(*given, "patches=false")
    before = contents(out) if overwrite else {}
    written, write = [], Parts.write

    def killing(parts, number, *part):
        write(parts, number, *part)
        written.append(number)
        if len(written) == 2:
            raise _Killed
    monkeypatch.setattr(Parts, "write", killing)
    given = (*given, f"overwrite={overwrite}".lower())
    with pytest.raises(_Killed):
        run(*given)
    assert {name: data for name, data in contents(out).items()
            if not name.startswith(".")} == before
    run(*given)
    assert written == [0, 1, 2]
    assert_same(out, whole)


def test_a_run_killed_while_writing_goes_on(sample_tiles, checkpoint, whole, tmp_path,
                                            monkeypatch):
    def killing(*_):
        raise _Killed
    with monkeypatch.context() as patched:
        patched.setattr("inference.features.files.write_fused_colours", killing)
        with pytest.raises(_Killed):
            run(checkpoint, tmp_path / "out", f"data_root={sample_tiles}")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".extracting"]
    monkeypatch.setattr(Parts, "write", None)  # nothing is encoded again
    run(checkpoint, tmp_path / "out", f"data_root={sample_tiles}")
    assert_same(tmp_path / "out", whole)


@pytest.mark.parametrize("after", [1, 4, 8])
def test_a_run_killed_while_moving_goes_on(sample_tiles, checkpoint, whole, tmp_path, monkeypatch,
                                           after):
    out, moved, replace = tmp_path / "out", [], Path.replace

    def killing(path, target):
        if ".extracting" in str(path) and ".extracting" not in str(target):
            moved.append(path)
        if len(moved) > after:
            raise _Killed
        return replace(path, target)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killing)
        with pytest.raises(_Killed):
            run(checkpoint, out, f"data_root={sample_tiles}")
    monkeypatch.setattr(Parts, "write", None)  # nothing is encoded again
    run(checkpoint, out, f"data_root={sample_tiles}")
    assert_same(out, whole)


def test_finished_results_are_found_again(sample_tiles, checkpoint, whole, monkeypatch):
    monkeypatch.setattr(ResultFolder, "publish", None)
    assert run(checkpoint, whole,
               f"data_root={sample_tiles}") == json.loads((whole / "features.json").read_text())


def test_tiles_that_have_changed_are_others_and_results_beside_them_are_not(checkpoint, tmp_path,
                                                                            monkeypatch):
    tiles = write_release(tmp_path / "tiles", [random_tile("rio_0_0", nodes=2, edges=0)], "rio")
    given = (checkpoint, tiles / "features", f"data_root={tiles}", "patches=false")
    run(*given)
    with monkeypatch.context() as patched:
        patched.setattr(ResultFolder, "publish", None)
        run(*given)
    write_release(tiles, [random_tile("rio_0_0", nodes=2, edges=0, seed=1)], "rio")
    with pytest.raises(RoseError, match="features: holds other results: tiles_sha256="):
        run(*given)


@pytest.mark.parametrize("suffix", [".tar", ".safetensors"])
def test_a_scene_without_objects_has_vectors_of_the_image_and_notes_that_say_so(sample_tiles,
                                                                                tmp_path, capsys,
                                                                                suffix):
    save_pretrained(tmp_path / "known.tar", {"metres_per_pixel": [2.0, 2.0]})
    record = run(tmp_path / f"known{suffix}", tmp_path / "out",
                 f"raster={sample_tiles.parent / 'raw/city.tif'}", "patches=false")
    assert record["representations"] == ["rs", "fused"]
    shown = capsys.readouterr().out
    for note in ("no osm= is given: the model, which was trained with OSM",
                 "a pixel is 1 m here, and was 2 m where the model was trained"):
        assert note in shown
        assert any(note in line for line in record["notes"])


def assert_same(out: Path, whole: Path) -> None:
    """The same files, byte by byte, and nothing left over."""
    ours, theirs = contents(out), contents(whole)
    assert ours.keys() == theirs.keys()
    # which says where it lies
    assert [name for name in ours if ours[name] != theirs[name] and name != "report.html"] == []


BAD = {
    "no source": ([], "data_root= and raster=: neither is given"),
    "two sources": (["data_root=TILES", "raster=RAW/city.tif"],
                    "data_root=.* and raster=.*: one of them is enough"),
    "objects for a dataset": (["data_root=TILES", "osm=RAW/osm.gpkg"],
                              "osm=.*: a dataset has its own objects"),
    "osm of nothing": (["raster=RAW/city.tif", "representations=[osm]"],
                       r"representations=\[osm\]: osm needs objects"),
    "tags without objects": (["raster=RAW/city.tif", "default_tags=building=yes"],
                             "default_tags=building=yes: there is no osm= that it could describe"),
    "layers of a dataset": (["data_root=TILES", "layers=mine.yaml"],
                            "layers=mine.yaml: there is no osm= that it could describe"),
    "cities of a scene": (["raster=RAW/city.tif", "osm=RAW/osm.gpkg", "cities=[oslo]"],
                          r"cities=\[oslo\]: a scene has none"),
    "nothing to make": (["data_root=TILES", "tiles=false", "patches=false"],
                        "tiles=false patches=false: nothing is left"),
    "an unknown representation": (["data_root=TILES", "representations=[rs,sar]"],
                                  r"representations=\[rs,sar\]: expected one or more"),
    "no representation": (["data_root=TILES", "representations=[]"],
                          r"representations=\[\]: a list of 0, expected"),
    "an unknown fusion": (["data_root=TILES", "fusion=late"],
                          "fusion=late: choose one of global, fine"),
    "no checkpoint": (["data_root=TILES", "checkpoint=gone.tar"], "gone.tar: no such file"),
    "no run": (["data_root=TILES", "checkpoint=null", "save_root_dir=EMPTY"],
               "EMPTY: holds no pretraining run"),
    "nodes of another width": (["data_root=TILES", "checkpoint=NARROW"],
                               "narrow.safetensors: reads nodes of 101 columns.*have 525"),
    "text of another width": (["raster=RAW/city.tif", "osm=RAW/osm.gpkg", "checkpoint=NARROW"],
                              "narrow.*: reads text vectors of 88"),
    "no such dataset": (["data_root=EMPTY/gone"], "gone: does not exist"),
    "no such raster": (["raster=EMPTY/gone.tif", "osm=RAW/osm.gpkg"], "gone.tif"),
    "no such city": (["data_root=TILES", "cities=[oslo]"],
                     "no tile of cities=oslo; the cities found are: sample"),
    "another image size": (["data_root=TILES", "image_size=256"],
                           "images have 224 x 224 pixels, expected 256 x 256; pass "
                           "image_size=224"),
    "no multiple of the patch": (["data_root=TILES", "image_size=225"],
                                 "image_size=225: no multiple of 16.*prepare tiles of such a "
                                 "size"),
    "no multiple of the patch, a scene": (
        ["raster=RAW/city.tif", "osm=RAW/osm.gpkg", "image_size=225"],
        "image_size=225: no multiple of 16.*; pass image_size=224, or leave it out"),
    "a city that names no folder": (["data_root=STRANGE"],
                                    r"strange: the city 'Rio:' in its tiles' names cannot name a "
                                    "folder"),
    "other results": (["data_root=TILES", "out=WHOLE", "fusion=fine"],
                      r"WHOLE: holds other results: fusion=fine \(there global\)"),
    "other files": (["data_root=TILES", "out=RAW"],
                    r"raw: holds other files \(.*city.tif.*\), expected a new folder"),
    "a file for a folder": (["data_root=TILES", "out=RAW/city.tif"],
                            "city.tif: is a file, expected a folder"),
    "text of another kind": (["raster=RAW/city.tif", "osm=RAW/osm.gpkg", "checkpoint=CLIP"],
                             "was trained on tiles with text=clip, and here"),
    "no place to write": (["data_root=TILES", "out=/proc/features"],
                          "/proc/features: cannot be written"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(sample_tiles, checkpoint, whole, tmp_path, case):
    overrides, message = BAD[case]
    (tmp_path / "EMPTY").mkdir()
    places = {"TILES": sample_tiles, "RAW": sample_tiles.parent / "raw",
              "EMPTY": tmp_path / "EMPTY", "WHOLE": tmp_path / "WHOLE",
              "STRANGE": tmp_path / "strange", "NARROW": tmp_path / "narrow.safetensors",
              "CLIP": tmp_path / "clip.tar"}
    if "out=WHOLE" in overrides:
        shutil.copytree(whole, tmp_path / "WHOLE")
    if "data_root=STRANGE" in overrides:
        write_release(tmp_path / "strange", [random_tile("Rio_0_0", nodes=2, edges=0),
                                             random_tile("Rio:_0_0", nodes=2, edges=0)], "Rio")
    if "checkpoint=CLIP" in overrides:
        save_pretrained(tmp_path / "clip.tar", {"text": {"name": "clip", "width": 512}})
    if "checkpoint=NARROW" in overrides:
        save_pretrained(tmp_path / "narrow.tar", graph_in_dim=100)
    for word, path in places.items():
        overrides = [override.replace(word, str(path)) for override in overrides]
    with pytest.raises(RoseError, match=message) as error:
        run(checkpoint, tmp_path / "out", *overrides)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
