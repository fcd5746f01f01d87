"""The account of a preparation adds up: for the features of all sources, and for each layer."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from datasets.prepare.account import objects_in_tiles
from datasets.prepare.grid import TileGrid
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.objects import OsmObjects
from datasets.prepare.osm.osm_files import INCOMPLETE_WAYS
from datasets.prepare.osm.spool import Spool, write_spool
from datasets.prepare.osm.tags import LAYERS
from tests.datasets.prepare.places import NORTH, UTM, WEST, Place, grid, metres, prepare, square


def write_mixed(place: Place) -> None:
    """Write objects of every fate into two files of a folder."""
    (place.folder / "mixed").mkdir()
    place.osm = place.folder / "mixed"
    frame = gpd.GeoDataFrame(
        {"building": ["in", "strip", "far", "in", None, "point", None, "no"],
         "leisure": [None, None, "park", None, "track", None, None, None]},
        geometry=[square(2, 2, 5), square(98, 2, 5), square(900, 2, 5), square(2, 2, 5),
                  metres((3, 3), (9, 9)), shapely.Point(WEST + 1, NORTH - 1), square(9, 9, 3),
                  square(20, 20, 3)], crs=UTM)
    frame.to_file(place.osm / "a.gpkg")
    corners = gpd.GeoSeries([square(40, 40, 5)], crs=UTM).to_crs(4326)[0].exterior.coords
    nodes = "".join(f'<node id="{number}" lon="{x:.7f}" lat="{y:.7f}"/>'
                    for number, (x, y) in enumerate(corners[:4], 1))
    inside = "".join(f'<nd ref="{number}"/>' for number in (1, 2, 3, 4, 1))
    tag = '<tag k="building" v="shed"/><tag k="highway" v="service"/>'
    (place.osm / "b.osm").write_text(
        f'<osm version="0.6">{nodes}<way id="1">{inside}{tag}</way>'
        f'<way id="2"><nd ref="8"/><nd ref="9"/>{tag}</way></osm>')


def test_every_feature_and_every_tag_is_accounted_for(place):
    write_mixed(place)
    summary = prepare(place)
    (meta,) = [json.loads(path.read_text()) for path in (place.folder / "out").rglob("*.json")
               if '"counts"' in path.read_text()]
    features, layers = meta["counts"]["features"], meta["counts"]["layers"]
    assert features == {"read": 11, "tagged": 8, "without_tag": 2, "outside_by_index": 0,
                        "in_part": 0, "by_default": 0, "lost": {INCOMPLETE_WAYS: 1}}
    assert layers["building"] == {
        "read": 6, "in_tiles": 2, "in_no_tile": 1, "outside": 1,
        "left_out": {"points": 1, "repeated in their layer": 1}}
    assert layers["leisure"] == {"read": 2, "in_tiles": 0, "in_no_tile": 0, "outside": 1,
                                 "left_out": {"lines": 1}}
    assert layers["road"]["in_tiles"] == layers["road"]["read"] == 1
    for count in layers.values():
        assert count["read"] == (count["in_tiles"] + count["in_no_tile"] + count["outside"]
                                 + sum(count["left_out"].values()))
    assert meta["counts"]["objects"] == summary.objects == {
        name: count["in_tiles"] for name, count in layers.items()}
    text = str(summary)
    assert "11 read: 8 with tags of the table, 2 without, 1 that cannot be built" in text
    assert "building               6           2           1           1           2" in text
    assert f"remedy       For {INCOMPLETE_WAYS}, cut the extract with complete ways" in text


def test_objects_of_a_tile_that_was_not_made_are_in_no_tile(place):
    """The only object of a tile without imagery."""
    place.image[64:128, 64:128] = 0
    import rasterio

    with rasterio.open(place.raster, "r+") as raster:
        raster.write(np.moveaxis(place.image, -1, 0))
        raster.nodata = 0
    summary = prepare(place, max_nodata=0.5)
    assert summary.skipped["tiles with too little imagery"] == 1
    assert summary.account.in_no_tile["landuse"] == 1  # that of tile (1, 1)
    assert summary.objects["landuse"] == 1
    assert summary.objects["road"] == 1  # also goes through tile (0, 1)


@pytest.mark.parametrize("stride", [32, 64, 80])
def test_objects_in_tiles_agree_with_a_search_of_all_tiles(tmp_path, stride):
    rng = np.random.default_rng(0)
    corners = rng.uniform(-5, 110, (200, 2))
    triangles = np.array([shapely.transform(shapely.Polygon([(0, 0), (side, 0), (0, side / 2)]),
                                            lambda xy, at=at: xy * [1, -1] + at * [1, -1]
                                            + [WEST, NORTH])
                          for at, side in zip(corners, rng.uniform(0.1, 40, 200), strict=True)])
    tiles = TileGrid(tuple(grid())[:6], 210, 140, 64, stride)
    names = np.array(["x"] * 200, object)
    write_spool(tmp_path, [OsmObjects(np.zeros(200, np.int64), names, names, triangles)], Census(),
                LAYERS, tiles)
    made = rng.random((tiles.rows, tiles.columns)) < 0.6
    boxes = [shapely.box(*bounds) for row in range(tiles.rows)
             for bounds in tiles.bounds(row, np.flatnonzero(made[row]))]
    expected = [any(shape.intersection(box).area > 0 for box in boxes) for shape in triangles]
    assert objects_in_tiles(Spool(tmp_path), tiles, made).tolist() == expected
