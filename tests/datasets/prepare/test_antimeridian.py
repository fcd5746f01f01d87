"""Imagery across the antimeridian, where longitudes go from 180 to -180: it has the objects and
the people that it has elsewhere."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
import shapely.affinity
from affine import Affine
from pyproj import CRS, Transformer

from datasets import TileDataset
from datasets.prepare.geo.crs import box_in, outlines
from datasets.prepare.pipeline import prepare_tiles
from datasets.prepare.targets.zonal import Zonal
from tests.datasets.prepare.places import pixels, write_raster
from tests.robustness.remedies import commands_in, follow
from utils.errors import PrepareError

LATITUDE, SIDE = -17.0, 64
COLUMNS = [-13, -12, -3, -2]  # of a node: area, perimeter, centroid
STEP = 5e-6  # degrees of a pixel, about half a metre
ELSEWHERE = {"EPSG:4326": ("EPSG:4326", 170), "EPSG:4167": ("EPSG:4167", 170),
             "EPSG:32760": ("EPSG:32759", 174),
             "EPSG:3832": ("EPSG:3832", 170)}  # the same ground as at 180 degrees in each


def write_scene(path, crs: str, longitude: float):
    """Write imagery of 2 x 1 tiles that meet at a longitude; in degrees it continues beyond 180."""
    x, y = point_at(longitude, crs)
    pixel = STEP if CRS(crs).is_geographic else 0.5
    return write_raster(path, pixels(SIDE, 2 * SIDE),
                        Affine(pixel, 0, x - SIDE * pixel, 0, -pixel, y), crs)


def point_at(longitude: float, crs: str) -> tuple[float, float]:
    """Return x, y in `crs` of a longitude at LATITUDE; longitudes of a geographic CRS stay."""
    if CRS(crs).is_geographic:
        return longitude, LATITUDE
    return Transformer.from_crs(4326, crs, always_xy=True).transform(longitude, LATITUDE)


def wrapped(longitude):
    return (np.asarray(longitude) + 180) % 360 - 180


def write_osm(path, longitude: float, crs: str = "EPSG:4326"):
    """Write three buildings and a tree on each side, in -180 .. 180, and a road on one side that
    ends on the line."""
    def at(east, south):
        return float(wrapped(longitude + east * STEP)), LATITUDE - south * STEP

    def box(east, south):
        return shapely.box(*at(east, south + 6), *at(east + 6, south))
    places = [(-50, 10), (-30, 10), (-12, 30), (7, 10), (25, 30), (40, 12)]
    shapes = [box(*place) for place in places] + [shapely.Point(at(east, 45))
                                                  for east in (-20, 20)]
    shapes.append(shapely.LineString([at(10, 50), at(30, 50)]))
    frame = gpd.GeoDataFrame({"building": ["yes"] * 6 + [None] * 3,
                              "natural": [None] * 6 + ["tree"] * 2 + [None],
                              "highway": [None] * 8 + ["path"]}, geometry=shapes,
                             crs=4326).to_crs(crs)
    frame.to_file(path)
    return path


def graphs(folder, raster, osm):
    """Return the graphs of the two tiles, west and east."""
    prepare_tiles(raster, osm, folder, "c", tile_px=SIDE, keep_empty=True, progress=False)
    tiles = TileDataset(folder, image_size=SIDE)
    return [tiles.read(tiles.names.index(name))[1] for name in ("c_0_0", "c_1_0")]


@pytest.mark.parametrize("osm_crs", ["EPSG:4326", "EPSG:3857", "EPSG:32701"])
@pytest.mark.parametrize("crs", ELSEWHERE)
def test_a_scene_has_the_objects_of_both_sides(tmp_path, crs, osm_crs):
    crossing = graphs(tmp_path / "there", write_scene(tmp_path / "there.tif", crs, 180),
                      write_osm(tmp_path / "there.gpkg", 180, osm_crs))
    other, longitude = ELSEWHERE[crs]
    expected = graphs(tmp_path / "here", write_scene(tmp_path / "here.tif", other, longitude),
                      write_osm(tmp_path / "here.gpkg", longitude))
    assert [len(graph.x) for graph in crossing] == [4, 5]
    for graph, same in zip(crossing, expected, strict=True):
        np.testing.assert_allclose(graph.x[:, COLUMNS], same.x[:, COLUMNS], atol=2e-3)
        assert graph.edge_index.tolist() == same.edge_index.tolist()


@pytest.mark.parametrize("middle", [-180, 190, 180])
def test_degrees_may_go_on_in_either_direction(tmp_path, middle):
    west, east = graphs(tmp_path / "c", write_scene(tmp_path / "c.tif", "EPSG:4326", middle),
                        write_osm(tmp_path / "osm.gpkg", middle))
    assert (len(west.x), len(east.x)) == (4, 5)


def test_an_object_that_crosses_the_line_is_in_one_piece(tmp_path):
    """In a CRS that is not cut there; imagery up to 180 degrees must not see it as an object
    around the Earth."""
    to_utm = Transformer.from_crs(4326, 32760, always_xy=True).transform
    box = shapely.box(180 - 10 * STEP, LATITUDE - 30 * STEP, 180 + 10 * STEP, LATITUDE - 20 * STEP)
    shape = shapely.transform(box, to_utm, interleaved=False)
    gpd.GeoDataFrame({"building": ["yes"]}, geometry=[shape],
                     crs=32760).to_file(tmp_path / "osm.gpkg")
    for width, shares in ((2 * SIDE, [100 / SIDE ** 2] * 2), (SIDE, [100 / SIDE ** 2])):
        raster = write_raster(tmp_path / f"{width}.tif", pixels(SIDE, width),
                              Affine(STEP, 0, 180 - SIDE * STEP, 0, -STEP, LATITUDE),
                              "EPSG:4326")
        prepare_tiles(raster, tmp_path / "osm.gpkg", tmp_path / str(width), "c", tile_px=SIDE,
                      keep_empty=True, progress=False)
        tiles = TileDataset(tmp_path / str(width), image_size=SIDE)
        areas = [float(tiles.read(index)[1].x[0, -13]) for index in range(len(tiles))]
        np.testing.assert_allclose(areas, shares, rtol=1e-3)


def test_an_object_on_the_far_side_does_not_reach_around_the_earth(tmp_path):
    path, south = write_osm(tmp_path / "osm.gpkg", 180), LATITUDE - 30 * STEP
    house = shapely.box(-STEP, south, STEP, south + 5 * STEP)  # on Greenwich
    gpd.GeoDataFrame({"building": ["yes"]}, geometry=[house],
                     crs=4326).to_file(path, layer="osm", mode="a")
    west, east = graphs(tmp_path / "c", write_scene(tmp_path / "c.tif", "EPSG:4326", 180), path)
    assert (len(west.x), len(east.x)) == (4, 5)


def test_a_raster_beyond_the_end_of_a_projection_is_refused_with_a_remedy(tmp_path):
    raster = write_scene(tmp_path / "my mercator.tif", "EPSG:3857", 180)
    given = (write_osm(tmp_path / "osm.gpkg", 180), tmp_path / "out", "c")
    with pytest.raises(PrepareError) as raised:
        prepare_tiles(raster, *given, tile_px=SIDE, progress=False)
    assert "mercator.tif: x from 2003747" in str(raised.value)
    assert "\n" not in str(raised.value)
    follow(*commands_in(str(raised.value)), tmp_path)
    assert prepare_tiles(tmp_path / "warped.tif", *given, tile_px=SIDE // 2,
                         progress=False).nodes > 0


def tiles_at_180(crs: str) -> np.ndarray:
    """Return the bounds of 4 x 2 tiles of about 1 km around 180 degrees."""
    x, y = point_at(180, crs)
    side = 0.01 if CRS(crs).is_geographic else 1000
    return np.array([(x + (c - 1.5) * side, y - r * side, x + (c - 0.5) * side, y + (1 - r) * side)
                     for r in (0, 1) for c in range(4)])


def people_of(source: Zonal, bounds: np.ndarray, crs: str) -> np.ndarray:
    source.check(crs, (*bounds[:, :2].min(0), *bounds[:, 2:].max(0)))
    return source.totals_and_cover(bounds, crs)


@pytest.mark.parametrize("source_crs", ["EPSG:4326", "EPSG:3857", "EPSG:32701"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32760"])
def test_census_polygons_of_both_sides_are_shared_out(tmp_path, crs, source_crs):
    corners = [(180 + 0.005 * column, LATITUDE + 0.005 * row) for column in range(-12, 12)
               for row in range(-8, 8)]
    # none crosses the line
    cells = np.array([shapely.box(lon, lat, lon + 0.005, lat + 0.005) for lon, lat in corners])
    given = [shapely.affinity.translate(cell, -360 if lon >= 180 else 0)
             for cell, (lon, _) in zip(cells, corners, strict=True)]
    frame = gpd.GeoDataFrame({"people": np.random.default_rng(0).random(len(cells)) * 100},
                             geometry=given, crs=4326)
    frame.to_crs(source_crs).to_file(tmp_path / "people.gpkg")
    bounds = tiles_at_180(crs)
    totals, cover = people_of(Zonal(tmp_path / "people.gpkg", "population"), bounds, crs)
    np.testing.assert_allclose(cover, 1, atol=2e-3)
    outline = outlines(bounds)
    if not CRS(crs).is_geographic:
        lon, lat = Transformer.from_crs(crs, 4326,
                                        always_xy=True).transform(outline[..., 0], outline[..., 1])
        outline = np.stack([lon % 360, lat], -1)
    shared = shapely.area(shapely.intersection(shapely.polygons(outline)[:, None], cells[None]))
    np.testing.assert_allclose(totals, (shared / 0.005 ** 2 * frame.people.to_numpy()).sum(1),
                               rtol=2e-3)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32760"])
def test_census_polygons_of_the_far_side_alone_are_found_and_checked(tmp_path, crs):
    gpd.GeoDataFrame({"people": [5.0]}, geometry=[shapely.box(-180, -17.5, -179.5, -16.5)],
                     crs=4326).to_file(tmp_path / "people.gpkg")
    _, cover = people_of(Zonal(tmp_path / "people.gpkg", "population"), tiles_at_180(crs), crs)
    np.testing.assert_allclose(cover.reshape(2, 4), [[0, 0.5, 1, 1]] * 2, atol=0.02)
    gpd.GeoDataFrame({"people": [-5.0]}, geometry=[shapely.box(-180, -17.5, -179.5, -16.5)],
                     crs=4326).to_file(tmp_path / "wrong.gpkg")
    message = r"people of the polygon at longitude -179\..* is -5, .* expected 0 or more"
    with pytest.raises(PrepareError, match=message):
        people_of(Zonal(tmp_path / "wrong.gpkg", "population"), tiles_at_180(crs), crs)


@pytest.mark.parametrize("west", [-180, 0])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32760"])
def test_a_raster_of_the_whole_earth_is_read_on_both_sides(tmp_path, crs, west):
    """Longitudes from -180 to 180 or from 0 to 360: the totals are those of the same values and
    tiles six degrees to the west."""
    values = np.random.default_rng(0).random((20, 36_000)).astype(np.float32)
    grid = Affine(0.01, 0, west, 0, -0.01, LATITUDE + 0.1)
    write_raster(tmp_path / "people.tif", values[..., None], grid, "EPSG:4326")
    write_raster(tmp_path / "moved.tif", np.roll(values, -600, axis=1)[..., None], grid,
                 "EPSG:4326")
    bounds = tiles_at_180(crs)
    totals, cover = people_of(Zonal(tmp_path / "people.tif", "population"), bounds, crs)
    moved, moved_crs = (bounds, "EPSG:32759") if crs == "EPSG:32760" else (bounds - (6, 0, 6, 0),
                                                                           crs)
    np.testing.assert_allclose(totals,
                               Zonal(tmp_path / "moved.tif",
                                     "population").totals_and_cover(moved, moved_crs)[0],
                               rtol=1e-5)
    np.testing.assert_allclose(cover, 1, atol=1e-6)


def test_a_raster_that_is_cut_inside_the_imagery_is_refused(tmp_path):
    width = 2 * 20_037_508.342789244
    write_raster(tmp_path / "people.tif", np.ones((40, 400, 1), np.float32),
                 Affine(width / 400, 0, -width / 2, 0, -width / 400, 2e6),
                 "EPSG:3857")
    with pytest.raises(PrepareError, match=r"people.tif: its CRS, .*, is cut inside the imagery"):
        people_of(Zonal(tmp_path / "people.tif", "population"), tiles_at_180("EPSG:32760"),
                  "EPSG:32760")


def test_the_box_of_a_place_that_a_crs_cuts_reaches_from_end_to_end():
    x, y = Transformer.from_crs(4326, 32760, always_xy=True).transform(180, LATITUDE)
    box = (x - 500, y, x + 500, y + 1000)
    west, south, east, north = box_in(box, CRS(32760), CRS(4326))
    assert (west, east) == (-180, 180)
    assert LATITUDE - 1e-4 < south < north < LATITUDE + 0.01
    west, _, east, _ = box_in(box, CRS(32760), CRS(3857))
    assert west <= -20_037_508
    assert east >= 20_037_508
