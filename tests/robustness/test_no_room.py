"""A disk that is full, at any file: one line, nothing half-written, and the same command goes on.

A limit on the size of files stands for the full disk: beyond it the system refuses to write.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import geopandas as gpd
import pytest

from inference import extract_features
from tests.datasets.prepare.places import UTM, Place, pixels, prepare, square
from tests.datasets.prepare.places import write_raster as write_place
from tests.inference.maps.scenes import noise, predict, write_model, write_objects, write_raster
from tests.pretrained import save_pretrained
from tests.processes import limited
from tests.random_tiles import contents
from tests.robustness.tiny_runs import evaluate, train, write_tiles
from utils.errors import RoseError, message_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    frame = gpd.GeoDataFrame({"building": ["house"]}, geometry=[square(2, 2, 10)], crs=UTM)
    frame.to_file(folder / "objects.gpkg", layer="objects")
    write_place(folder / "place.tif", pixels(140, 210))
    raster = write_raster(folder / "city.tif", noise(230, 300))
    write_objects(folder / "osm.gpkg", raster)
    write_objects(folder / "zones.gpkg", raster)
    write_model(folder / "classes.safetensors")
    write_model(folder / "totals.safetensors", "regression")
    save_pretrained(folder / "rose.tar")
    return folder


def tiles(folder: Path, out: Path, layout: str) -> None:
    place = Place(folder, folder / "place.tif", folder / "objects.gpkg", None, None)
    prepare(place, out=out, layout=layout, keep_empty=True)


def scene(folder: Path, out: Path, model: str, **keys) -> None:
    predict(folder / "city.tif", folder / f"{model}.safetensors", out, osm=folder / "osm.gpkg",
            **keys)


def features(folder: Path, out: Path) -> None:
    extract_features(folder / "rose.tar", out, raster=folder / "city.tif", num_workers=0,
                     osm=folder / "osm.gpkg", accelerator="cpu")


# what is done, and limits in bytes
JOBS: dict[str, tuple[Callable[[Path, Path], None], list[int]]] = {
    "compact": (lambda folder, out: tiles(folder, out, "compact"), [0, 300, 3_000, 30_000]),
    "release": (lambda folder, out: tiles(folder, out, "release"), [0, 1_000, 3_000, 10_000]),
    "classes": (lambda folder, out: scene(folder, out, "classes", probabilities=True),
                [300, 8_000, 60_000]),
    "totals": (lambda folder, out: scene(folder, out, "totals", zones=folder / "zones.gpkg"),
               [300, 60_000, 100_000]),
    "features": (features, [10_000, 500_000]),
}


@pytest.mark.parametrize("job", JOBS)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(folder, tmp_path, job):
    run, limits = JOBS[job]
    run(folder, tmp_path / "whole")
    for limit in limits:
        out = tmp_path / str(limit)
        with limited(limit), pytest.raises((RoseError, OSError)) as raised:
            run(folder, out)
        message = message_of(raised.value)
        assert re.fullmatch(".*(File too large|is the disk full).*", message), message
        assert [name for name in contents(out) if not name.startswith(".")] == [], message
        run(folder, out)
        assert contents(out) == contents(tmp_path / "whole"), limit


# what is too large -> the largest size of a file, which other files of the run do not reach
EVALUATE = partial(evaluate, "pop")
LIMITS = {
    "events": (train, 20_000, "events.out.tfevents"),
    "checkpoint": (train, 3_200_000, "model_1.tar"),
    "weights of an evaluation": (EVALUATE, 1_000_000, "best.safetensors"),
    "state": (EVALUATE, 3_500_000, "state.tar"),
}


@pytest.fixture(scope="module")
def wholes() -> dict:
    """Run -> what it gives undisturbed."""
    return {}


@pytest.mark.parametrize("case", LIMITS)
def test_a_run_names_the_file_that_it_cannot_write_and_goes_on(tmp_path, wholes, case):
    job, size, file = LIMITS[case]
    tiles = write_tiles(tmp_path / "tiles")
    run = partial(job, tiles, more=["num_workers=0", *["picture_every=1"] * (job is train)])
    if job not in wholes:
        wholes[job] = run(tmp_path / "whole")
    with limited(size), pytest.raises(OSError, match=r".") as error:
        run(tmp_path / "run")
    message = message_of(error.value)
    assert f"/{file}" in message.split(": ")[0]
    assert "\n" not in message
    assert not list(tmp_path.rglob(".writing-*"))
    assert run(tmp_path / "run") == wholes[job]
