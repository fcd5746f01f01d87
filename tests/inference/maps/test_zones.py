"""Totals of zones: nothing is lost or counted twice, whatever the two CRSs, and notes say what a
total leaves out."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from pyproj import CRS, Transformer

from datasets.prepare.geo.crs import box_in
from datasets.prepare.targets.area_weighting import area_weighted_sums
from inference.maps.zones import zone_totals
from utils.errors import PrepareError

UTM = "EPSG:32633"
WEST, NORTH = 500_000.0, 6_600_000.0  # at 59.5 degrees, where a degree is far from square
SIDE, COLUMNS, ROWS = 900.0, 5, 4


def tiles_in(crs: str, totals=None, cut: float = 0.4) -> gpd.GeoDataFrame:
    """A grid of 5 x 4 tiles of `crs` with totals of people, the last column and row cut off by the
    raster's edge."""
    west, south, east, north = box_in((WEST, NORTH - ROWS * SIDE, WEST + COLUMNS * SIDE, NORTH),
                                      CRS(UTM), CRS(crs))
    wide, high = (east - west) / COLUMNS, (north - south) / ROWS
    boxes = [shapely.box(west + c * wide, max(north - (r + 1) * high, south + cut * high),
                         min(west + (c + 1) * wide, east - cut * wide),
                         north - r * high) for r in range(ROWS) for c in range(COLUMNS)]
    people = np.random.default_rng(0).gamma(1, 300, len(boxes)) if totals is None else totals
    return gpd.GeoDataFrame({"people": people}, geometry=boxes, crs=crs)


def write_zones(path, shapes, crs=UTM, **columns):
    frame = gpd.GeoDataFrame({"name": [f"zone {n}" for n in range(len(shapes))], **columns},
                             geometry=list(shapes), crs=crs)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path)
    return path


def partition(bounds, count: int = 12) -> list[shapely.Polygon]:
    """Voronoi cells of random points, which cover `bounds` and more without overlapping."""
    west, south, east, north = bounds
    shares = np.random.default_rng(1).random((count, 2))
    points = shares * (east - west, north - south) + (west, south)
    around = shapely.box(*bounds).buffer(0.1 * max(east - west, north - south))
    return list(shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(points),
                                                           extend_to=around)))


@pytest.mark.parametrize("crs", ["EPSG:4326", UTM, "EPSG:3857", "EPSG:3035"])
@pytest.mark.parametrize("zone_crs", ["EPSG:4326", UTM])
def test_zones_that_divide_the_scene_sum_to_its_total(tmp_path, crs, zone_crs):
    tiles = tiles_in(crs)
    cells = partition(box_in(tuple(tiles.total_bounds), CRS(crs), CRS(zone_crs)))
    zones = zone_totals(write_zones(tmp_path / "zones.gpkg", cells, zone_crs), tiles, "people")
    assert zones.people.sum() == pytest.approx(tiles.people.sum(), rel=1e-6)
    assert zones.crs == CRS(zone_crs)
    metric = zones.to_crs(6933).area
    assert (zones.covered * metric).sum() == pytest.approx(tiles.to_crs(6933).area.sum(), rel=1e-3)
    assert "overlap" not in "".join(zones.attrs["notes"])


def test_a_tile_counts_by_the_share_that_lies_in_the_zone(tmp_path):
    tiles = tiles_in(UTM, np.arange(20.0), cut=0)
    shapes = [shapely.box(WEST + x, NORTH - y - high, WEST + x + wide, NORTH - y)
              for x, y, wide, high in ((0, 0, 900, 900), (900, 0, 1350, 900), (450, 450, 900, 900),
                                       (-900, 0, 1800, 900))]
    zones = zone_totals(write_zones(tmp_path / "zones.geojson",
                                    gpd.GeoSeries(shapes, crs=UTM).to_crs(4326), 4326), tiles,
                        "people")
    np.testing.assert_allclose(zones.people, [0, 1 + 2 / 2, (0 + 1 + 5 + 6) / 4, 0], rtol=2e-3,
                               atol=2e-3)
    # they overlap, and each counts in full
    np.testing.assert_allclose(zones.covered, [1, 1, 1, 1 / 2], atol=2e-3)


def test_zones_that_hold_more_than_the_scene_are_said_to_overlap(tmp_path):
    tiles = tiles_in(UTM)
    half = shapely.box(*tiles.total_bounds[:3], tiles.total_bounds[1::2].mean())
    zones = zone_totals(write_zones(tmp_path / "zones.gpkg", [half] * 3, UTM), tiles, "people")
    assert zones.attrs["notes"] == ["zones.gpkg: zones overlap, and each counts in full, so "
                                    "together they have more than there is"]
    assert zone_totals(write_zones(tmp_path / "zones.gpkg", [half] * 2, UTM), tiles,
                       "people").attrs["notes"] == []


def test_columns_stay_and_the_order_too(tmp_path):
    shapes = partition(tiles_in(UTM).total_bounds)
    path = write_zones(tmp_path / "zones.parquet", shapes, code=range(12), mayor=["ä"] * 12)
    zones = zone_totals(path, tiles_in(UTM), "people")
    assert list(zones.columns) == ["name", "code", "mayor", "geometry", "people", "covered"]
    assert zones.code.tolist() == list(range(12))
    assert shapely.equals(zones.geometry.to_numpy(), shapes).all()


def test_unknown_tiles_and_zones_elsewhere(tmp_path):
    tiles = tiles_in(UTM, np.array([10.0] * 10 + [np.nan] * 9 + [np.inf]), cut=0)
    high, low = (shapely.box(WEST, NORTH - row * SIDE - 2 * SIDE, WEST + 5 * SIDE,
                             NORTH - row * SIDE) for row in (0, 2))
    both, away = high.union(low), shapely.box(0, 0, 9, 9)
    beside = shapely.transform(high, lambda points: points - (5 * SIDE, 0))
    zones = zone_totals(write_zones(tmp_path / "zones.gpkg", [high, low, both, away, beside]),
                        tiles, "people")
    np.testing.assert_allclose(zones.people, [100, np.nan, 100, np.nan, np.nan], rtol=1e-6)
    np.testing.assert_allclose(zones.covered, [1, 0, 0.5, 0, 0], atol=1e-4)
    assert "zones.gpkg: 3 of 5 zones have no tile, and so no total" in zones.attrs["notes"]
    tiles["people"] = np.nan
    zones = zone_totals(tmp_path / "zones.gpkg", tiles, "people")
    assert zones[["people", "covered"]].isna().sum().tolist() == [5, 0]


def test_a_zone_much_larger_or_much_smaller_than_the_scene(tmp_path):
    tiles = tiles_in("EPSG:3857")
    country, house = shapely.box(5, 50, 25, 70), shapely.box(15.01, 59.52, 15.0102, 59.5201)
    zones = zone_totals(write_zones(tmp_path / "zones.gpkg", [country, house], "EPSG:4326"), tiles,
                        "people")
    assert zones.people[0] == pytest.approx(tiles.people.sum(), rel=1e-6)
    assert 0 < zones.covered[0] < 1e-4
    assert zones.attrs["notes"] == [
        "zones.gpkg: the tiles cover less than half of 1 of 2 zones, of one "
        f"{100 * zones.covered[0]:.2g} %, and their totals count that part alone (column covered)"]
    assert 0 < zones.people[1] < 1
    assert zones.covered[1] == pytest.approx(1)


def test_what_is_no_zone_is_left_out_and_what_is_broken_is_repaired(tmp_path):
    x, y = WEST, NORTH - SIDE
    # two triangles that meet in the tile's middle
    bow = shapely.Polygon([(x, y), (x + SIDE, y + SIDE), (x + SIDE, y), (x, y + SIDE)])
    shapes = [None, bow, shapely.Point(x, y), shapely.Polygon(),
              shapely.box(x, y, x + SIDE, y + SIDE)]
    zones = zone_totals(write_zones(tmp_path / "zones.gpkg", shapes),
                        tiles_in(UTM, np.full(20, 8.0)), "people")
    assert zones.name.tolist() == ["zone 1", "zone 4"]
    np.testing.assert_allclose(zones.people, [4, 8], rtol=1e-3)
    assert zones.is_valid.all()
    assert zones.attrs["notes"] == [
        "zones.gpkg: 3 of 5 zones left out: no polygon, or none that can be placed",
        "zones.gpkg: 1 of 5 zones repaired: an outline that crosses itself",
    ]


def unreadable(path):
    path.write_text("no map")
    return path


def two_layers(path):
    frame = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs=UTM)
    for layer in ("old", "new"):
        frame.to_file(path, layer=layer)
    return path


BOX = shapely.box(WEST, NORTH - SIDE, WEST + SIDE, NORTH)
CASES = {
    "missing": (lambda t: t / "no.gpkg", ["no.gpkg: no such file", "Pass zones="]),
    "no_map": (lambda t: unreadable(t / "a.gpkg"),
               ["a.gpkg: cannot be read as polygons", "Pass zones="]),
    "no_parquet": (lambda t: unreadable(t / "a.parquet"),
                   ["a.parquet: cannot be read as polygons"]),
    "no_crs": (lambda t: write_zones(t / "a.gpkg", [BOX], None),
               ["a.gpkg: no coordinate reference system", "set_crs"]),
    "lines": (lambda t: write_zones(t / "a.gpkg", [BOX.boundary]),
              ["a.gpkg: holds no polygons", "zones="]),
    "points_of_parquet": (lambda t: write_zones(t / "a.parquet", [BOX.centroid]),
                          ["a.parquet: holds no polygons"]),
    "empty": (lambda t: write_zones(t / "a.parquet", []), ["a.parquet: holds no polygons"]),
    "layers": (lambda t: two_layers(t / "a.gpkg"), ["a.gpkg: holds 2 layers of polygons (old, "
                                                    "new), expected one"]),
    "column": (lambda t: write_zones(t / "a.gpkg", [BOX], People=[1]),
               ["a.gpkg: has a column People already", "People_before"]),
    "covered": (lambda t: write_zones(t / "a.gpkg", [BOX], covered=[1]),
                ["a.gpkg: has a column covered already"]),
    "elsewhere": (lambda t: write_zones(t / "a.gpkg", [shapely.box(0, 0, 1, 1)], "EPSG:4326"),
                  ["a.gpkg: does not overlap the imagery", "zones 0.00000, 0.00000, 1.00000",
                   "15.0"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_said_in_one_line(tmp_path, case):
    make, parts = CASES[case]
    path = make(tmp_path)
    with pytest.raises(PrepareError) as raised:
        zone_totals(path, tiles_in(UTM), "people")
    assert all(part in str(raised.value) for part in parts), raised.value
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("crs", ["EPSG:32760", "EPSG:32701"])
def test_a_scene_on_the_antimeridian_is_in_one_piece(tmp_path, crs):
    """Tiles on both sides of 180 degrees, whose zones are given in their CRS and, cut there, in
    degrees."""
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(180, -17)
    boxes = [shapely.box(x + 500 * column, y, x + 500 * (column + 1), y + 500)
             for column in range(-2, 2)]
    tiles = gpd.GeoDataFrame({"people": [10.0] * 4}, geometry=boxes, crs=crs)
    gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.box(*tiles.total_bounds).buffer(10)],
                     crs=crs).to_file(tmp_path / "whole.gpkg")
    sides = [shapely.box(179.9, -17.1, 180, -16.9), shapely.box(-180, -17.1, -179.9, -16.9)]
    gpd.GeoDataFrame({"id": [1, 2]}, geometry=sides, crs=4326).to_file(tmp_path / "sides.gpkg")
    whole, halves = (zone_totals(tmp_path / f"{name}.gpkg", tiles, "people")
                     for name in ("whole", "sides"))
    assert whole["people"].tolist() == pytest.approx([40])
    assert halves["people"].sum() == pytest.approx(40)
    assert halves["people"].tolist() == pytest.approx([20, 20], rel=0.01)


def test_columns_that_a_geopackage_cannot_hold_are_renamed_or_left_out(tmp_path):
    path = tmp_path / "zones.parquet"
    frame = gpd.GeoDataFrame({"n": [1], "N": [2], "n_2": [3], "fid": ["a"], "geom": [4],
                              "Geometry": [5]}, geometry=[BOX], crs=UTM)
    frame.assign(centre=frame.centroid).to_parquet(path)
    zones = zone_totals(path, tiles_in(UTM), "people")
    assert zones.drop(columns=["geometry", "people", "covered"]).iloc[0].to_dict() == {
        "n": 1, "N_3": 2, "n_2": 3, "fid": "a", "geom": 4, "Geometry": 5}
    assert zones.attrs["notes"] == [
        "zones.parquet: its geometry column centre is left out: a GeoPackage holds one",
        "zones.parquet: its column N is called N_3: a GeoPackage does not distinguish "
        "capitals, and there is one of that name already",
    ]


def test_the_index_of_a_table_is_a_column(tmp_path):
    frame = gpd.GeoDataFrame({"code": [1]}, geometry=[BOX], crs=UTM, index=["north"])
    frame.rename_axis("district").to_parquet(tmp_path / "zones.parquet")
    zones = zone_totals(tmp_path / "zones.parquet", tiles_in(UTM), "people")
    assert list(zones.columns) == ["district", "code", "geometry", "people", "covered"]


def test_tiles_inside_a_zone_count_as_if_they_were_cut(tmp_path):
    random = np.random.default_rng(2)
    x, y = np.meshgrid(np.arange(40.0), np.arange(30.0))
    sources = shapely.box(x.ravel(), y.ravel(), x.ravel() + 1, y.ravel() + 1)
    angle = np.linspace(0, 2 * np.pi, 700, endpoint=False)
    star = np.column_stack([np.cos(angle), np.sin(angle)]) * (9 + 3 * np.sin(9 * angle))[:, None]
    middle = np.array([18, 15])
    whole = shapely.Polygon(middle + star, [middle + 0.3 * star])
    targets = np.array([whole, shapely.box(3, 3, 9, 7), shapely.box(4.2, 4.2, 4.7, 4.6),
                        shapely.box(-9, -9, -1, -1), sources[5]])
    values, per = random.random(len(sources)), shapely.area(sources)
    shared = shapely.area(shapely.intersection(targets[:, None], sources[None]))
    for case in (slice(None), slice(None, None, -1)):
        sums, covered = area_weighted_sums(targets, sources[case], values[case], per[case])
        np.testing.assert_allclose(sums, (shared * values).sum(1), rtol=1e-12)
        np.testing.assert_allclose(covered, shared.sum(1), rtol=1e-12)
    copies = shapely.from_wkb(shapely.to_wkb(targets))
    one, other = (area_weighted_sums(shapes, sources, values, per) for shapes in (targets, copies))
    assert [array.tobytes() for array in one] == [array.tobytes() for array in other]
    # sources that hold several targets whole
    turned, _ = area_weighted_sums(sources, targets, np.ones(len(targets)), 1.0)
    np.testing.assert_allclose(turned, shared.sum(0), rtol=1e-12)


def test_only_what_a_border_crosses_is_cut(monkeypatch):
    x, y = np.meshgrid(np.arange(50.0), np.arange(50.0))
    sources, cut = shapely.box(x.ravel(), y.ravel(), x.ravel() + 1, y.ravel() + 1), []
    intersection = shapely.intersection
    monkeypatch.setattr(shapely, "intersection", lambda a, b: cut.append(len(a))
                        or intersection(a, b))
    area_weighted_sums(np.array([shapely.Point(25, 25).buffer(20)]), sources, np.ones(2500), 1.0)
    assert sum(cut) < 200  # of some 1,300 that the zone meets


def test_a_scene_in_degrees_may_go_on_beyond_the_antimeridian(tmp_path):
    boxes = [shapely.box(180 + 0.01 * column, -17, 180 + 0.01 * (column + 1), -16.99)
             for column in range(-2, 2)]
    tiles = gpd.GeoDataFrame({"people": [1.0, 2, 3, 4]}, geometry=boxes, crs=4326)
    shapes = [shapely.box(179.9, -17.1, 180, -16.9), shapely.box(-180, -17.1, -179.99, -16.9)]
    zones = zone_totals(write_zones(tmp_path / "zones.gpkg", shapes, 4326), tiles, "people")
    np.testing.assert_allclose(zones.people, [3, 3], rtol=1e-6)


def test_zones_around_the_earth_from_a_scene_near_the_antimeridian(tmp_path):
    """A country on Greenwich does not reach the scene, and the whole Earth does."""
    boxes = [shapely.box(-176.7 + 0.01 * column, 51.8, -176.69 + 0.01 * column, 51.81)
             for column in range(4)]
    tiles = gpd.GeoDataFrame({"people": [1.0, 2, 3, 4]}, geometry=boxes, crs=4326)
    country = shapely.Polygon([(-5, 50), (1.5, 51), (0.5, 53), (-3, 58), (-6, 56)])
    shapes = [country, shapely.box(-180, -90, 180, 90), shapely.box(-180, 50, -170, 60)]
    zones = zone_totals(write_zones(tmp_path / "zones.gpkg", shapes, 4326), tiles, "people")
    np.testing.assert_allclose(zones.people, [np.nan, 10, 10], rtol=1e-6)
    assert zones.covered[0] == 0


def test_a_long_edge_is_straight_in_the_zones_own_crs(tmp_path):
    """Also where that CRS is cut inside the scene, as degrees are."""
    x, y = Transformer.from_crs(4326, 32760, always_xy=True).transform(180, -17)
    boxes = [shapely.box(x + 1000 * column, y - 3000, x + 1000 * (column + 1), y + 3000)
             for column in range(-2, 2)]
    tiles = gpd.GeoDataFrame({"people": [1.0, 2, 3, 4]}, geometry=boxes, crs=32760)
    corner = shapely.Polygon([(160, -37), (180, -17), (180, -37)])
    zones = zone_totals(write_zones(tmp_path / "zones.gpkg", [corner, corner.segmentize(0.001)],
                                    4326), tiles, "people")
    assert zones.people[0] == pytest.approx(zones.people[1], rel=1e-5)


@pytest.mark.parametrize("name", ["a!b.gpkg", "a!b.geojson", "a!b.shp"])
def test_a_path_that_the_reader_takes_for_an_archive_is_refused_by_its_character(tmp_path, name):
    write_zones(tmp_path / "zones.gpkg", [BOX]).rename(tmp_path / name)
    with pytest.raises(PrepareError, match=r"a!b\.\w+: its path has a !.* Rename"):
        zone_totals(tmp_path / name, tiles_in(UTM), "people")
