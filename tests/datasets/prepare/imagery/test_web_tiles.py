"""Web map tiles in folders and archives give the pixels of the same imagery as GeoTIFF."""

import json

import numpy as np
import pytest
from PIL import Image
from rasterio.windows import Window

from datasets.bbox import BBox
from datasets.prepare.geo.raster_io import open_raster_file
from datasets.prepare.imagery import tile_sets
from datasets.prepare.imagery.mosaic import Mosaic, open_mosaic
from tests.datasets.prepare.places import pixels, write_raster
from tests.datasets.prepare.web_map import (
    COLUMNS,
    IMAGE,
    LEFT,
    PLACES,
    ROWS,
    SIDE,
    TOP,
    ZOOM,
    as_archive,
    as_geotiff,
    encoded,
    grid_at,
    write_mbtiles,
    write_tiles,
)

SUMMARY = f"12 web map tiles of zoom {ZOOM}, {SIDE} x {SIDE} pixels"


def read_all(path, **options):
    with open_mosaic(path, **options) as opened:
        mosaic = Mosaic.from_dict(json.loads(json.dumps(opened.to_dict())))
    with mosaic:
        return *mosaic.read(Window(0, 0, mosaic.width, mosaic.height)), mosaic


def notes_of(mosaic):
    return "\n".join(mosaic.warnings)


@pytest.mark.parametrize("name", [
    "{z}/{x}/{y}.png", "{z}/{x}/{y}.webp", "{z}/{x}/{y}@2x.png", "{z}/{x}/{y}.tiff",
    "OAM-{x}-{y}-{z}.png", "{z}_{x}_{y}.webp", "{x}-{y}-{z}.tif"])
def test_a_folder_equals_the_geotiff(tmp_path, name):
    folder = write_tiles(tmp_path / "tiles", name)
    wanted, _, reference = read_all(as_geotiff(tmp_path / "a.tif"))
    rgb, valid, mosaic = read_all(folder)
    np.testing.assert_array_equal(rgb, wanted)
    assert valid.all()
    assert mosaic.transform.almost_equals(reference.transform, 1e-6)
    assert mosaic.crs.to_epsg() == 3857
    assert mosaic.warnings == [f"{folder}: {SUMMARY}"]
    np.testing.assert_array_equal(mosaic.read(Window(37, 21, 100, 90))[0], wanted[21:111, 37:137])
    assert mosaic.thumbnail(50)[1].all()
    assert len(mosaic.files) == len(PLACES)


@pytest.mark.parametrize("ending", ["mbtiles", "pmtiles"])
def test_an_archive_equals_the_geotiff(tmp_path, ending):
    path = as_archive(tmp_path / f"city.{ending}")
    rgb, valid, mosaic = read_all(path)
    np.testing.assert_array_equal(rgb, IMAGE)
    assert valid.all()
    assert mosaic.transform.almost_equals(grid_at(ZOOM, LEFT, TOP), 1e-6)
    assert mosaic.files == [path]
    assert read_all(tmp_path)[2].warnings == [f"{path}: {SUMMARY}"]


def test_jpeg_tiles_are_their_decoded_pixels(tmp_path):
    write_tiles(tmp_path, "{z}/{x}/{y}.jpg")
    rgb, valid, _ = read_all(tmp_path)
    with open_raster_file(tmp_path / f"{ZOOM}/{LEFT + 1}/{TOP}.jpg") as picture:
        np.testing.assert_array_equal(rgb[:SIDE, SIDE:2 * SIDE],
                                      np.moveaxis(picture.read(), 0, -1))
    assert valid.all()


@pytest.mark.parametrize(("file", "content"), [
    ("metadata.json", {"scheme": "tms"}), ("tilejson.json", {"scheme": "tms"}),
    ("metadata.json", {"bounds": "15.83,50.086,15.85,50.0925"}),
    ("metadata.json", {"bounds": [15.83, 50.086, 15.85, 50.0925]}),
    ("tilemapresource.xml", '<TileMap><BoundingBox miny="50.086" maxy="50.0925"/></TileMap>'),
    ("tilemapresource.xml", '<TileMap><TileSets profile="mercator"/></TileMap>'),
])
def test_rows_from_the_south(tmp_path, file, content):
    folder = write_tiles(tmp_path, "{z}/{x}/{s}.png")
    (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))
    rgb, _, mosaic = read_all(folder)
    np.testing.assert_array_equal(rgb, IMAGE)
    assert f"counted from the south (TMS), as {file} says" in notes_of(mosaic)
    assert folder / file in mosaic.files


def test_a_box_says_that_rows_are_counted_from_the_north_after_all(tmp_path):
    folder = write_tiles(tmp_path)
    (folder / "tilemapresource.xml").write_text('<BoundingBox miny="50.086" maxy="50.0925"/>')
    rgb, _, mosaic = read_all(folder)
    np.testing.assert_array_equal(rgb, IMAGE)
    assert mosaic.transform.f > 0


def test_pictures_of_several_kinds_in_one_folder(tmp_path):
    """Grey, grey with opacity, palette and RGBA beside RGB, as programs write that save bytes."""
    folder = write_tiles(tmp_path)
    grey, faint, palette, opacity = (folder / f"{ZOOM}/{x}/{y}.png" for x, y in PLACES[:4])
    grey.write_bytes(encoded(IMAGE[:SIDE, :SIDE, :1]))
    with_opacity = IMAGE[:SIDE, :SIDE, :2].copy()
    with_opacity[..., 1] = np.where(np.arange(SIDE) < 20, 0, 255)
    faint.write_bytes(encoded(with_opacity))
    picture = Image.fromarray(IMAGE[:SIDE, :SIDE]).quantize(16)
    picture.save(palette)
    rgba = np.dstack([IMAGE[:SIDE, :SIDE], np.full((SIDE, SIDE), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    opacity.write_bytes(encoded(rgba))
    rgb, valid, _ = read_all(folder)
    tiles = [rgb[:SIDE, i * SIDE:(i + 1) * SIDE] for i in range(4)]
    shown = [valid[:SIDE, i * SIDE:(i + 1) * SIDE] for i in range(4)]
    np.testing.assert_array_equal(tiles[0], IMAGE[:SIDE, :SIDE, :1].repeat(3, 2))
    np.testing.assert_array_equal(tiles[1][:, 20:], IMAGE[:SIDE, 20:SIDE, :1].repeat(3, 2))
    np.testing.assert_array_equal(tiles[2], np.array(picture.convert("RGB")))
    np.testing.assert_array_equal(tiles[3][10:], IMAGE[10:SIDE, :SIDE])
    assert (shown[0] & shown[2]).all()
    np.testing.assert_array_equal(shown[1], with_opacity[..., 1] > 0)
    np.testing.assert_array_equal(shown[3], rgba[..., 3] > 0)
    assert valid[SIDE:].all()
    assert read_all(folder, resolution=3)[1][SIDE + 4:].all()


def test_a_missing_tile_is_no_imagery(tmp_path):
    folder = write_tiles(tmp_path)
    (folder / f"{ZOOM}/{LEFT + 1}/{TOP + 2}.png").unlink()
    lacking = folder / f"{ZOOM}/{LEFT + 2}/{TOP}.png"
    lacking.unlink()
    lacking.mkdir()  # a folder is no tile
    _, valid, mosaic = read_all(folder)
    assert (f"2 tiles missing of the 12 of its rectangle, such as {ZOOM}/{LEFT + 2}/{TOP}: there "
            "is no imagery there") in notes_of(mosaic)
    assert not valid[:SIDE, 2 * SIDE:3 * SIDE].any()
    assert valid.sum() == 10 * SIDE**2


def test_tiles_of_another_size_are_resampled(tmp_path):
    folder = write_tiles(tmp_path)
    x, y = PLACES[5]
    twice = IMAGE[SIDE:2 * SIDE, SIDE:2 * SIDE].repeat(2, 0).repeat(2, 1)
    (folder / f"{ZOOM}/{x}/{y}.png").write_bytes(encoded(twice))
    rgb, valid, mosaic = read_all(folder)
    np.testing.assert_array_equal(rgb, IMAGE)
    assert valid.all()
    assert (f"1 of 12 tiles looked at with {2 * SIDE} x {2 * SIDE} pixels: resampled to "
            f"{SIDE} x {SIDE}") in notes_of(mosaic)


def with_zooms(folder):
    """Write a zoom of all the ground, the half of its ground finer, and a coarse basemap."""
    write_tiles(folder)
    write_tiles(folder, image=pixels(4 * SIDE, 4 * SIDE), zoom=ZOOM + 1, left=2 * LEFT,
                top=2 * TOP)
    return write_tiles(folder, image=pixels(4 * SIDE, 4 * SIDE), zoom=5, left=0, top=0)


def test_the_finest_zoom_that_covers_the_ground_is_read(tmp_path):
    folder = with_zooms(tmp_path)
    rgb, _, mosaic = read_all(folder)
    np.testing.assert_array_equal(rgb, IMAGE)
    assert "it also has zooms 5, 18" in notes_of(mosaic)
    assert "zoom 18 is not read, as its 16 tiles cover only 33.3%" in notes_of(mosaic)
    assert read_all(folder, zoom=18)[0].shape == (4 * SIDE, 4 * SIDE, 3)
    assert read_all(folder / "18")[0].shape == (4 * SIDE, 4 * SIDE, 3)
    box = BBox(15.8315, 50.0905, 15.8335, 50.0915)
    assert "tiles of zoom 18 in bbox" in notes_of(read_all(folder, bbox=box)[2])


def test_the_zoom_of_an_archive(tmp_path):
    tiles = [(ZOOM, x, y, encoded(IMAGE[:SIDE, :SIDE])) for x, y in PLACES[:4]]
    coarser = [(ZOOM - 1, LEFT // 2 + i, TOP // 2, encoded(IMAGE[:SIDE, :SIDE])) for i in (0, 1)]
    path = write_mbtiles(tmp_path / "a.mbtiles", tiles + coarser)
    assert read_all(path)[0].shape == (SIDE, 4 * SIDE, 3)
    assert read_all(path, zoom=ZOOM - 1)[0].shape == (SIDE, 2 * SIDE, 3)


def test_of_two_files_for_a_tile_the_commoner_kind_stays(tmp_path):
    folder = write_tiles(tmp_path)
    (folder / f"{ZOOM}/{LEFT}/{TOP}.jpg").write_bytes(encoded(IMAGE[:SIDE, :SIDE], "jpg"))
    rgb, _, mosaic = read_all(folder)
    np.testing.assert_array_equal(rgb, IMAGE)
    assert f"{TOP}.jpg not read, as {TOP}.png is of the same tile" in notes_of(mosaic)


def test_dates_are_no_tiles_and_a_georeference_comes_first(tmp_path):
    for day in (17, 18):
        write_raster(tmp_path / f"scan-2023-11-{day}.tif", IMAGE, grid_at(ZOOM, LEFT + day, TOP),
                     "EPSG:3857")
    assert "web map" not in notes_of(read_all(tmp_path)[2])


def test_few_of_many_tiles_are_opened_and_only_those_in_the_box(tmp_path, monkeypatch):
    folder = write_tiles(tmp_path)
    monkeypatch.setattr(tile_sets, "LOOKED_TILES", 3)
    looked = []
    inspect_tile = tile_sets.inspect_tile
    monkeypatch.setattr(tile_sets, "inspect_tile",
                        lambda path, *rest: looked.append(path) or inspect_tile(path, *rest))
    with open_mosaic(folder):
        assert len(looked) == 3
    for path in (folder / f"{ZOOM}/{LEFT + COLUMNS - 1}").iterdir():
        path.write_bytes(b"<html>")
    west, south = np.array([15.8314, 50.0874])
    with open_mosaic(folder, bbox=BBox(west, south, west + 0.004, south + 0.004)) as mosaic:
        assert len(mosaic.sources) == 2 * ROWS
        assert mosaic.read(Window(0, 0, mosaic.width, mosaic.height))[1].all()
