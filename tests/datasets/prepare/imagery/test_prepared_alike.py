"""A dataset of imagery of any kind is byte for byte that of the same pixels as GeoTIFF."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from datasets.prepare.pipeline import prepare_tiles
from tests.datasets.prepare.places import contents
from tests.datasets.prepare.web_map import (
    COLUMNS,
    IMAGE,
    LEFT,
    ROWS,
    SIDE,
    TOP,
    ZOOM,
    as_archive,
    as_geotiff,
    encoded,
    grid_at,
    write_tiles,
)

GRID = grid_at(ZOOM, LEFT, TOP)
TILE_PX = 48  # so that tiles of the dataset span several of the map


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """Return a folder with the OSM objects, and the dataset of the GeoTIFF."""
    folder = tmp_path_factory.mktemp("wanted")
    rng = np.random.default_rng(0)
    corners = rng.uniform((0, 0), (COLUMNS * SIDE - 9, ROWS * SIDE - 9), (120, 2))
    boxes = [shapely.box(*(GRID @ (x, y + 9)), *(GRID @ (x + 9, y))) for x, y in corners]
    gpd.GeoDataFrame({"building": ["yes"] * len(boxes)}, geometry=boxes,
                     crs="EPSG:3857").to_file(folder / "osm.gpkg")
    prepare(folder, as_geotiff(folder / "map.tif"), folder / "out")
    return folder


def prepare(folder, raster, out, **keys):
    return prepare_tiles(raster, folder / "osm.gpkg", out, "c", tile_px=TILE_PX, progress=False,
                         **keys)


def tiles_of(out):
    """Return the bytes of a dataset's files, without the record of its sources."""
    files = contents(out)
    assert len(files) > 3
    meta = json.loads(files.pop("cities/c/meta.json"))
    assert meta["counts"]["tiles"] == 20
    return {name: content for name, content in files.items() if name.startswith("cities")}


def with_world_files(folder):
    """Write the map as two PNG and their world files."""
    folder.mkdir()
    for number, columns in enumerate((slice(0, 100), slice(100, None))):
        path = folder / f"{number}.png"
        path.write_bytes(encoded(IMAGE[:, columns]))
        x, y = GRID @ (columns.start + 0.5, 0.5)
        path.with_suffix(".pgw").write_text(f"{GRID.a!r}\n0\n0\n{GRID.e!r}\n{x!r}\n{y!r}\n")
    return folder


KINDS = {
    "folder": lambda folder: write_tiles(folder / "tiles"),
    "flat": lambda folder: write_tiles(folder / "tiles", "OAM-{x}-{y}-{z}.tif"),
    "mbtiles": lambda folder: as_archive(folder / "map.mbtiles"),
    "pmtiles": lambda folder: as_archive(folder / "map.pmtiles"),
    "world files": lambda folder: with_world_files(folder / "pictures"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_are_byte_equal(tmp_path, wanted, kind):
    keys = {"raster_crs": "EPSG:3857"} if kind == "world files" else {}
    workers = 2 if kind in ("folder", "mbtiles") else 1
    prepare(wanted, KINDS[kind](tmp_path), tmp_path / "out", workers=workers, **keys)
    assert tiles_of(tmp_path / "out") == tiles_of(wanted / "out")


def test_a_stopped_run_resumes(tmp_path, wanted, monkeypatch, capsys):
    folder = write_tiles(tmp_path / "tiles")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("datasets.prepare.pipeline.join_parts", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(wanted, folder, tmp_path / "out")
    prepare_tiles(folder, wanted / "osm.gpkg", tmp_path / "out", "c", tile_px=TILE_PX)
    assert "resuming the work of a stopped run: 20 of 20 tiles" in capsys.readouterr().out
    assert tiles_of(tmp_path / "out") == tiles_of(wanted / "out")
