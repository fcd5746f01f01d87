"""predict_scene.py as a command: its messages, what it refuses, and how it resumes."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from inference import extract_features, map_scene
from inference.maps.geopackage import as_geopackage
from inference.pieces import Strips
from inference.scene import scene_name
from tests.inference.maps.scenes import (
    noise,
    pixels_of,
    predict,
    write_model,
    write_objects,
    write_raster,
)
from tests.pretrained import save_pretrained
from tests.random_tiles import contents
from utils.errors import RoseError

Usage = namedtuple("Usage", "total used free")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a scene, its OSM, and models."""
    folder = tmp_path_factory.mktemp("place")
    raster = write_raster(folder / "city.tif", noise(460, 500))
    write_objects(folder / "osm.gpkg", raster)
    write_objects(folder / "elsewhere.gpkg", raster, move=5)
    write_objects(folder / "zones.gpkg", raster)
    write_raster(folder / "nothing.tif", np.zeros((300, 300, 3), np.uint8), nodata=0)
    write_raster(folder / "small.tif", noise(90, 120))
    write_raster(folder / "tiny.tif", noise(15, 20))
    write_model(folder / "classes.safetensors")
    write_model(folder / "image.safetensors", modality="image")
    write_model(folder / "totals.safetensors", "regression")
    write_model(folder / "osm.safetensors", "regression", "osm")
    write_model(folder / "clip.safetensors", tiles={"text": {"name": "clip", "width": 512}})
    write_model(folder / "coarse.safetensors",
                tiles={"metres_per_pixel": [2.0, 2.0], "tile_px": 112})
    write_model(folder / "coarser.safetensors",
                tiles={"metres_per_pixel": [4.0, 4.0], "tile_px": 112})
    write_model(folder / "by_batch.safetensors", osm_norm_scope="batch")
    (folder / "evaluation/seed_3").mkdir(parents=True)
    write_model(folder / "evaluation/seed_3/best.safetensors")
    save_pretrained(folder / "pretrained/model_1.tar")
    (folder / "a_file").write_text("")
    return folder


@pytest.mark.parametrize(("keys", "message"), [
    ({"checkpoint": "missing.safetensors"}, "missing.safetensors: no such file"),
    ({"checkpoint": "pretrained"}, "pretrained: holds no fine-tuned model "
                                   ".*evaluate_seg_fusion.py"),
    ({"checkpoint": "pretrained/model_1.safetensors"},
     "model_1.safetensors: holds no fine-tuned model; expected the best.safetensors"),
    ({"checkpoint": "pretrained/model_1.tar"},
     "model_1.tar: holds no fine-tuned model; expected the best.safetensors of an evaluation"),
    ({"checkpoint": "city.tif"}, "city.tif: holds no fine-tuned model; expected the "
                                 "best.safetensors of an evaluation"),
    ({"zones": "osm.gpkg"}, "zones=.*osm.gpkg: .*classes.safetensors finds "
                            "classes.*evaluate_pop_fusion.py, or leave zones= out"),
    ({"checkpoint": "totals.safetensors", "probabilities": True},
     "probabilities=true: .* estimates totals.*evaluate_seg_fusion.py"),
    ({"checkpoint": "totals.safetensors", "overlap": 0.5},
     "overlap=0.5: .*would count twice; leave overlap= out"),
    ({"checkpoint": "totals.safetensors", "zones": "missing.gpkg"},
     "missing.gpkg: no such file. Pass zones="),
    ({"checkpoint": "totals.safetensors", "zones": "elsewhere.gpkg"},
     "elsewhere.gpkg: does not overlap"),
    ({"checkpoint": "osm.safetensors", "osm": None}, "osm.safetensors: reads OSM alone, and "
                                                     "there is no osm="),
    ({"checkpoint": "clip.safetensors"}, "clip.safetensors: was trained on tiles with text=clip, "
                                         "and here is text=hash.*pass text=clip"),
    ({"osm": "elsewhere.gpkg"}, "elsewhere.gpkg: no usable OSM object overlaps the raster.*or "
                                "leave osm= out, to do without OSM"),
    ({"osm": "missing.gpkg"}, "missing.gpkg: no such file"),
    ({"raster": "missing.tif"}, "missing.tif"),
    ({"raster": "nothing.tif", "osm": None}, "nothing.tif: no pixel has imagery.*nodata=none"),
    ({"raster": "tiny.tif", "osm": None}, "tiny.tif: has 20 x 15 pixels, expected more than the "
                                          "16 x 16 of a patch.*finer resolution="),
    ({"out": "a_file"}, "a_file: is a file, expected a folder"),
    ({"out": "/proc/map"}, "/proc/map: cannot be written"),
    ({"tile_px": 100}, "tile_px=100: no multiple of 16, the patch side of .*; pass tile_px=96, "
                       "or leave it out"),
    ({"overlap": 1.0}, "overlap=1.0: must be 0 or more and below 1"),
    ({"batch": 3}, "batch"),
])
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(place, tmp_path, keys, message):
    paths = {name: place / value if isinstance(value, str) and name != "text" else value
             for name, value in keys.items()}
    arguments = {"raster": place / "city.tif", "checkpoint": place / "classes.safetensors",
                 "out": tmp_path / "map",
                 "osm": place / "osm.gpkg", **paths}
    with pytest.raises(RoseError, match=message) as raised:
        predict(**arguments)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize(("keys", "message"), [
    ({"osm": None}, "no osm= is given: the model, which was trained with OSM, sees every tile as "
                    "one without objects"),
    ({"checkpoint": "image.safetensors"}, "the model looks at the image alone, so .*osm.gpkg is "
                                          "not read"),
    ({"raster": "small.tif", "osm": None}, "the raster, 120 x 90 pixels, is smaller than a tile "
                                           "of 224 x 224"),
    ({"checkpoint": "coarse.safetensors"},
     r"a pixel is 0.5 m here, and was 2 m where the model was trained.*resolution=2 "),
    ({"checkpoint": "coarser.safetensors"},
     r"and was 4 m.*; the whole raster would be 58 pixels of that size, and a tile has 112"),
    ({"checkpoint": "by_batch.safetensors"},
     r"osm_norm_scope=batch\): what it says of a tile depends on batch_size"),
    ({"checkpoint": "evaluation"}, None),
])
def test_what_a_user_should_know_is_said_and_written_down(place, tmp_path, capsys, keys, message):
    paths = {name: place / value if value else value for name, value in keys.items()}
    made = map_scene(**{"raster": place / "city.tif", "checkpoint": place / "classes.safetensors",
                        "osm": place / "osm.gpkg", **paths},
                     out=tmp_path / "map", num_workers=0)
    raster = paths.get("raster", place / "city.tif")
    assert pixels_of(made.files["map.tif"]).shape[1:] == pixels_of(raster).shape[1:]
    shown = capsys.readouterr()
    if message:
        assert re.search(message, shown.out + shown.err)
        assert re.search(message, str(made))


def test_a_scene_is_called_by_its_file_or_the_folder_of_its_files():
    assert [scene_name(raster) for raster in ("a/city.tif", "a/chips/*.tif", "*.tif", "a/chips/",
                                              "a/", ".")] == [
        "city.tif", "chips", "scene", "chips", "a", Path.cwd().name]


STOPPED = {"classes": {"probabilities": True, "overlap": 0.75}, "totals": {"tile_px": 112}}


@pytest.fixture
def stopped(monkeypatch):
    """Return a function that runs a map until its fourth strip is to be written, and returns the
    numbers of all strips that are written, then and afterwards."""
    def run(**keys) -> list[int]:
        write, made = Strips.write, []

        def stop_at_the_fourth(self, number, strip):
            made.append(number)
            if len(made) == 4:
                raise KeyboardInterrupt
            write(self, number, strip)

        monkeypatch.setattr(Strips, "write", stop_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            predict(**keys)
        assert [path.name for path in keys["out"].iterdir() if not path.name.startswith(".")] == []
        return made
    return run


@pytest.mark.parametrize("model", STOPPED)
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(place, tmp_path, stopped, capsys, model):
    keys = {"raster": place / "city.tif", "checkpoint": place / f"{model}.safetensors",
            "osm": place / "osm.gpkg", **STOPPED[model]}
    whole = predict(out=tmp_path / "whole", **keys)
    made = stopped(out=tmp_path / "map", **keys)
    out = predict(out=tmp_path / "map", **keys)
    assert made == [0, 1, 2, 3, *range(3, len(set(made)))]
    assert len(set(made)) > 4
    assert "resuming the work of a stopped run: 3 of" in capsys.readouterr().out
    assert contents(out) == contents(whole)
    if model == "totals":
        tiles = gpd.read_file(out / "tiles.gpkg")
        first = as_geopackage(tiles, "tiles")
        time.sleep(0.01)  # which a GeoPackage would show
        assert as_geopackage(tiles, "tiles") == first


@pytest.mark.parametrize(("model", "keys", "first"), [
    ("classes", {"overlap": 0.5}, 0),
    ("totals", {"nodata": "none"}, 0),
    ("totals", {"batch_size": 1}, 3),
    ("totals", {"zones": "zones.gpkg"}, 3),
    ("totals", {"raster": "same.tif"}, 3),
])
def test_a_stopped_run_is_gone_on_with_where_its_work_is_the_same(place, tmp_path, stopped,
                                                                  monkeypatch, model, keys, first):
    given = {"raster": place / "city.tif", "checkpoint": place / f"{model}.safetensors",
             "out": tmp_path / "map", **STOPPED[model]}
    made = stopped(**given)
    monkeypatch.chdir(place)
    Path("same.tif").unlink(missing_ok=True)
    Path("same.tif").symlink_to("city.tif")
    predict(**given | keys)
    assert made[4] == first


def test_statistics_that_a_gis_writes_beside_a_raster_change_nothing(place, tmp_path, stopped):
    raster = shutil.copy(place / "city.tif", tmp_path / "city.tif")
    given = {"raster": raster, "checkpoint": place / "totals.safetensors", "out": tmp_path / "map",
             **STOPPED["totals"]}
    made = stopped(**given)
    beside = tmp_path / "city.tif.aux.xml"
    band = ("<PAMDataset><PAMRasterBand band=\"1\">{}<Metadata><MDI key=\"STATISTICS_MEAN\">127"
            "</MDI></Metadata></PAMRasterBand></PAMDataset>")
    beside.write_text(band.format(""))
    predict(**given)
    assert made[4] == 3
    beside.write_text(band.format("<NoDataValue>7</NoDataValue>"))
    with pytest.raises(RoseError, match=r"holds other results: .*city.tif.aux.xml was not read "
                                        "for them; choose another out="):
        predict(**given)


def test_a_run_that_is_killed_leaves_no_file_under_a_final_name(place, tmp_path):
    """Killed while map.tif is written, as the out-of-memory killer does it."""
    paths = [str(path) for path in (place / "city.tif", place / "classes.safetensors",
                                    tmp_path / "map")]
    code = ("import os, signal\n"
            "from inference import geotiff, map_scene\n"
            "geotiff._in_blocks = lambda strips: os.kill(os.getpid(), signal.SIGKILL)\n"
            f"map_scene(*{paths!r}, num_workers=2)")
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True,
                            check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -9, killed.stderr
    assert not (tmp_path / "map/map.tif").exists()
    out = predict(place / "city.tif", place / "classes.safetensors", tmp_path / "map",
                  num_workers=2, batch_size=16)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["figures", "map.qml", "map.tif", "map.tif.aux.xml", "report.html",
                     "scene.json"]


def test_a_finished_map_is_known_again_and_replaced_only_when_asked(place, tmp_path, monkeypatch,
                                                                    capsys):
    keys = {"raster": place / "city.tif", "checkpoint": place / "classes.safetensors",
            "out": tmp_path / "map"}
    first = predict(probabilities=True, **keys) / "map.tif"
    before = first.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr(Strips, "write", None)
        predict(probabilities=True, **keys)
    assert first.stat().st_mtime_ns == before
    with pytest.raises(RoseError, match=r"map: holds other results: probabilities=false \(there "
                                        "true.*overwrite=true"):
        predict(**keys)
    with pytest.raises(RoseError, match=r"map: holds other results: .*osm.gpkg was not read for "
                                        "them.*overwrite=true"):
        predict(probabilities=True, osm=place / "osm.gpkg", **keys)
    with pytest.raises(RoseError, match=r"other results: checkpoint_sha256=[0-9a-f]{8} \(there "
                                        r"[0-9a-f]{8}\)"):
        predict(probabilities=True, **keys | {"checkpoint": place / "by_batch.safetensors"})
    predict(overwrite=True, **keys)
    assert not (tmp_path / "map/probabilities.tif").exists()
    assert first.stat().st_mtime_ns > before
    first.unlink()
    predict(**keys)
    assert first.is_file()
    assert "map.tif is gone, so all is made again" in capsys.readouterr().out


def test_a_folder_of_features_is_no_folder_of_maps(place, tmp_path):
    extract_features(place / "pretrained", tmp_path / "map", raster=place / "city.tif",
                     representations=["rs"], num_workers=0)
    with pytest.raises(RoseError, match=r"map: holds other files .*expected a new folder"):
        predict(place / "city.tif", place / "classes.safetensors", tmp_path / "map",
                overwrite=True)


@pytest.mark.parametrize(("problem", "remark"), [
    ("segmentation", "every pixel is water, of 3 classes: unless the place is so, the model has "
                     "not learned to tell them apart"),
    ("regression", "every tile has the same estimate: the model has not learned"),
])
def test_a_network_that_says_the_same_everywhere_is_pointed_out(place, tmp_path, problem, remark):
    model = write_model(tmp_path / "best.safetensors", problem, weight=0.0)
    made = map_scene(place / "city.tif", model, tmp_path / "map", num_workers=0)
    assert remark in str(made)
    assert remark in (tmp_path / "map/report.html").read_text()


def test_outputs_that_are_not_finite_are_refused(place, tmp_path):
    model = write_model(tmp_path / "best.safetensors")
    with safe_open(model, "pt") as file:
        about = {name: text for name, text in file.metadata().items() if name != "checksum"}
    save_file({name: value * 1e30 for name, value in load_file(model).items()}, model, about)
    message = r"outputs for the tile \S+ are not finite, though its weights are"
    with pytest.raises(RoseError, match=message):
        predict(place / "city.tif", model, tmp_path / "map")
    with pytest.raises(RoseError, match=message):
        extract_features(model, tmp_path / "out", raster=place / "city.tif", num_workers=0)
    assert not (tmp_path / "map").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_with_weights_that_are_not_finite_is_refused(place, tmp_path, value):
    model = write_model(tmp_path / "best.safetensors")
    with safe_open(model, "pt") as file:
        about = {name: text for name, text in file.metadata().items() if name != "checksum"}
    weights = load_file(model)
    weights["decoder.head.bias"][0] = value
    save_file(weights, model, about)  # as an earlier version would have written it
    with pytest.raises(RoseError, match=r"best\.safetensors: .*finite"):
        predict(place / "city.tif", model, tmp_path / "map")
    with pytest.raises(RoseError, match=r"best\.safetensors: .*finite"):
        extract_features(model, tmp_path / "out", raster=place / "city.tif", num_workers=0)
    assert not (tmp_path / "map").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", STOPPED)
def test_a_disk_that_is_too_small_for_a_map_is_refused_before_the_work(place, tmp_path, model,
                                                                     monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(0, 0, 100))
    monkeypatch.setattr(Strips, "write", None)
    with pytest.raises(RoseError, match=r"map: the disk has 100 bytes free, but a map of 500 x 460 "
                                        r"pixels and its parts need .* or more; free space"):
        predict(place / "city.tif", place / f"{model}.safetensors", tmp_path / "map")
    assert not (tmp_path / "map").exists()
