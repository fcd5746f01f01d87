"""Population from points, tables and H3 cells: the same totals as from polygons."""

import json

import geopandas as gpd
import h3
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from pyproj import CRS

from datasets.prepare.geo.crs import box_in
from datasets.prepare.targets.points import Points
from datasets.prepare.targets.polygons import TargetPolygons
from datasets.prepare.targets.zonal import Zonal
from tests.datasets.prepare.places import NORTH, UTM, WEST, square, write_raster
from tests.datasets.prepare.targets.test_zonal import census, tiles_over
from utils.errors import PrepareError

SIDE = 40
BOUNDS = (WEST - 30, NORTH - 430, WEST + 430, NORTH + 30)
SQUARES = np.array([square(x, y, SIDE) for y in range(0, 400, SIDE) for x in range(0, 400, SIDE)])
PEOPLE = np.random.default_rng(0).integers(0, 500, len(SQUARES))
FAR = (WEST + 400_000, NORTH - 400_000)  # where UTM's grid is turned by 4 degrees


def points(crs=UTM, shapes=SQUARES) -> gpd.GeoDataFrame:
    centres = gpd.GeoSeries(shapely.centroid(shapes), crs=UTM).to_crs(crs)
    return gpd.GeoDataFrame({"people": PEOPLE}, geometry=centres)


def table(crs="EPSG:4326", names=("lon", "lat"), shapes=SQUARES) -> pd.DataFrame:
    places = points(crs, shapes).geometry
    return pd.DataFrame({names[0]: places.x, names[1]: places.y, "people": PEOPLE})


def totals(path, bounds=BOUNDS, imagery=UTM, columns=9, rows=7, **keys) -> np.ndarray:
    source = Zonal(path, "population", **keys)
    source.check(imagery, bounds)
    return source.totals_and_cover(tiles_over(bounds, columns, rows), imagery)[0]


@pytest.fixture(scope="module")
def by_polygons(tmp_path_factory) -> np.ndarray:
    return totals(census(tmp_path_factory.mktemp("polygons") / "p.gpkg", PEOPLE, SQUARES))


FILES = {
    "p.gpkg": lambda path: points().to_file(path),
    "p.geojson": lambda path: points(4326).to_file(path),
    "p.shp": lambda path: points().to_file(path),
    "p.fgb": lambda path: points(3857).to_file(path),
    "p.parquet": lambda path: points(4326).to_parquet(path),
    "many.geojson": lambda path: points(4326).set_geometry(
        shapely.multipoints(shapely.get_coordinates(points(4326).geometry)[:, None]), crs=4326
    ).to_file(path),
    "p.csv": lambda path: table().to_csv(path, index=False),
    "p.csv.gz": lambda path: table(names=("Longitude", "Latitude")).to_csv(path, index=False),
    "p.tsv": lambda path: table(names=("x", "y")).to_csv(path, sep="\t"),
    "bom.csv": lambda path: table(names=("lng", "lat")).assign(name='a "q", b\nc').to_csv(
        path, sep=";", index=False, encoding="utf-8-sig"),
    "crlf.txt": lambda path: table().to_csv(path, index=False, lineterminator="\r\n"),
    "table.parquet": lambda path: table().astype({"people": "int16"}).to_parquet(path),
    "texts.parquet": lambda path: table().astype(str).astype({"people": int}).to_parquet(path),
}


@pytest.mark.parametrize("name", FILES)
def test_centres_of_squares_are_shared_out_as_the_squares(tmp_path, by_polygons, name):
    FILES[name](tmp_path / name)
    result = totals(tmp_path / name, cell=str(SIDE))
    exact = name in ("p.gpkg", "p.shp")  # in the squares' CRS
    np.testing.assert_allclose(result, by_polygons, rtol=1e-9 if exact else 1e-3,
                               atol=1e-6 if exact else 0.1)
    assert np.nansum(result) == pytest.approx(PEOPLE.sum(), rel=1e-9)


FEET = "+proj=utm +zone=33 +datum=WGS84 +units=us-ft +type=crs"


@pytest.mark.parametrize("crs", [UTM, FEET, "EPSG:3035", "EPSG:2263"])
def test_a_table_in_another_system(tmp_path, by_polygons, crs):
    names = ("x_mp_40m", "y_mp_40m")
    table(crs, names).to_csv(tmp_path / "p.csv", index=False)
    result = totals(tmp_path / "p.csv", cell="40m", crs=crs)
    np.testing.assert_allclose(np.nansum(result), PEOPLE.sum(), rtol=1e-9)
    if crs in (UTM, FEET):
        np.testing.assert_allclose(result, by_polygons, rtol=1e-6, atol=1e-3)


def test_degrees_beside_coordinates_are_chosen_by_the_stated_system(tmp_path, by_polygons):
    frame = table().join(table(UTM, ("x", "y"))[["x", "y"]])
    frame.to_csv(tmp_path / "p.csv", index=False)
    for crs in (None, UTM):
        np.testing.assert_allclose(totals(tmp_path / "p.csv", cell="40", crs=crs), by_polygons,
                                   rtol=1e-3, atol=0.1)


def test_squares_of_a_turned_grid_are_turned(tmp_path):
    shapes = np.array([shapely.box(FAR[0] + x, FAR[1] + y, FAR[0] + x + SIDE, FAR[1] + y + SIDE)
                       for y in range(0, 400, SIDE) for x in range(0, 400, SIDE)])
    table(shapes=shapes).round(6).to_csv(tmp_path / "p.csv", index=False)
    bounds = (FAR[0] - 20, FAR[1] - 20, FAR[0] + 420, FAR[1] + 420)
    wanted = totals(census(tmp_path / "p.gpkg", PEOPLE, shapes), bounds, columns=21, rows=21)
    result = totals(tmp_path / "p.csv", bounds, columns=21, rows=21, cell=str(SIDE))
    np.testing.assert_allclose(result, wanted, atol=1)  # 4 degrees would be up to 15


def test_a_grid_of_degrees_is_shared_out_as_its_raster(tmp_path):
    step, west, north = 0.0005, 15.0, 49.65
    values = np.random.default_rng(1).gamma(1, 50, (10, 12))
    path = write_raster(tmp_path / "p.tif", values[..., None],
                        rasterio.Affine(step, 0, west, 0, -step, north), "EPSG:4326")
    rows, columns = np.indices(values.shape)
    pd.DataFrame({"X": (west + (columns + 0.5) * step).ravel(),
                  "Y": (north - (rows + 0.5) * step).ravel(), "Z": values.ravel()}).to_csv(
        tmp_path / "p.csv", index=False)
    bounds = box_in((west - step, north - 11 * step, west + 13 * step, north + step),
                    CRS(4326), CRS(UTM))
    result = totals(tmp_path / "p.csv", bounds, cell=f"{step}deg")
    np.testing.assert_allclose(result, totals(path, bounds), rtol=1e-3, atol=0.05)
    assert np.nansum(result) == pytest.approx(values.sum(), rel=1e-9)


@pytest.mark.parametrize("unit", ["per_km2", "count"])
def test_squares_and_cells_take_densities(tmp_path, unit):
    points().to_file(tmp_path / "p.gpkg")
    wanted = totals(census(tmp_path / "q.gpkg", PEOPLE, SQUARES), unit=unit)
    np.testing.assert_allclose(totals(tmp_path / "p.gpkg", unit=unit, cell="40"), wanted,
                               rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ending", ["csv", "gpkg"])
def test_a_point_counts_once_wherever_it_lies(tmp_path, ending):
    """Also on edges and corners of tiles: a tile has its west and north edge."""
    places = [(x, y) for x in range(0, 90, 10) for y in range(0, 90, 10)] + [(5, 5), (5, 5)]
    x, y = (np.array(places) * (1, -1) + (WEST, NORTH)).T
    people = np.arange(len(places)) + 0.25
    if ending == "csv":
        pd.DataFrame({"x": x, "y": y, "people": people}).to_csv(tmp_path / "p.csv", index=False)
    else:
        gpd.GeoDataFrame({"people": people}, geometry=gpd.points_from_xy(x, y), crs=UTM).to_file(
            tmp_path / "p.gpkg")
    source = Zonal(tmp_path / f"p.{ending}", "population", cell="0",
                   crs=UTM if ending == "csv" else None)
    bounds = (WEST, NORTH - 90, WEST + 90, NORTH)
    source.check(UTM, bounds)
    assert "1 of the points on the imagery lie where another one does" in source.notes[1]
    total, cover = source.totals_and_cover(tiles_over(bounds, 9, 9), UTM)
    assert np.nansum(total) == people.sum()
    assert (total[0], total[1], total[9]) == (0.25 + 81.25 + 82.25, 9.25, 1.25)
    assert cover[40] == pytest.approx(1)
    assert source.totals_and_cover(np.empty((0, 4)), UTM)[0].shape == (0,)


def test_no_point_means_nobody_inside_the_file_and_nothing_outside(tmp_path):
    pd.DataFrame({"lon": [15, 15.01, 15, 15.01], "lat": [49.6, 49.6, 49.61, 49.61],
                  "people": [1, 2, 3, 4]}).to_csv(tmp_path / "p.csv", index=False)
    tiles = np.array([(15.004, 49.604, 15.006, 49.606), (15.009, 49.609, 15.011, 49.611),
                      (15.02, 49.6, 15.03, 49.61)])
    source = Zonal(tmp_path / "p.csv", "population", cell="0")
    source.check("EPSG:4326", (14.99, 49.59, 15.03, 49.62))
    total, cover = source.totals_and_cover(tiles, "EPSG:4326")
    np.testing.assert_array_equal(total, [0, 4, np.nan])
    np.testing.assert_allclose(cover, [1, 0.25, 0], atol=1e-6)


# H3

CELLS = sorted(h3.grid_disk(h3.latlng_to_cell(49.648, 15.003, 10), 4))
COUNTS = np.random.default_rng(2).integers(0, 99, len(CELLS))


def outline(cell: str) -> shapely.Polygon:
    return shapely.Polygon([(lon, lat) for lat, lon in h3.cell_to_boundary(cell)])


def numbered(**more) -> pd.DataFrame:
    return pd.DataFrame({"h3": [h3.str_to_int(cell) for cell in CELLS], "people": COUNTS, **more})


def written(path, cells=CELLS, counts=COUNTS, geometry=None):
    features = [{"type": "Feature", "geometry": geometry,
                 "properties": {"h3_index": cell, "people": int(count)}}
                for cell, count in zip(cells, counts, strict=True)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


H3_FILES = {
    "text.csv": lambda path: pd.DataFrame({"h3_cell": CELLS, "people": COUNTS}).to_csv(
        path, index=False),
    "capitals.tsv": lambda path: pd.DataFrame({"hex_id": [cell.upper() for cell in CELLS],
                                               "people": COUNTS}).to_csv(path, sep="\t"),
    "numbers.csv": lambda path: numbered(lat=1, lon=2).to_csv(path, index=False),
    "numbers.parquet": lambda path: numbered().to_parquet(path),
    "text.parquet": lambda path: pd.DataFrame({"h3_10": CELLS, "people": COUNTS}).to_parquet(path),
    "none.geojson": written,
    "points.geojson": lambda path: written(path, geometry={"type": "Point",
                                                           "coordinates": [0, 0]}),
}


@pytest.mark.parametrize("name", H3_FILES)
def test_h3_cells_are_shared_out_as_their_outlines(tmp_path, name):
    H3_FILES[name](tmp_path / name)
    shapes = [outline(cell) for cell in CELLS]
    bounds = gpd.GeoSeries(shapes, crs=4326).to_crs(UTM).buffer(20).total_bounds
    frame = gpd.GeoDataFrame({"people": COUNTS}, geometry=shapes, crs=4326)
    frame.to_file(tmp_path / "p.gpkg")
    result = totals(tmp_path / name, bounds)
    np.testing.assert_allclose(result, totals(tmp_path / "p.gpkg", bounds), rtol=1e-9, atol=1e-9)
    assert np.nansum(result) == pytest.approx(COUNTS.sum(), rel=1e-9)


def test_a_side_of_squares_says_nothing_of_h3_cells(tmp_path):
    path = tmp_path / "p.csv"
    pd.DataFrame({"h3": CELLS, "people": COUNTS}).to_csv(path, index=False)
    source = Zonal(path, "population", cell="250")  # of co2= points beside it
    source.check(UTM, BOUNDS)
    assert not source.sized
    assert not [note for note in source.notes if "spreads" in note]


@pytest.mark.parametrize("place", [(-16.8, 180.0), (-16.8, -179.999), "pentagon"])
def test_h3_cells_at_the_antimeridian_and_around_a_pentagon(tmp_path, place):
    resolution = 8
    if place == "pentagon":
        place = h3.cell_to_latlng(h3.get_pentagons(resolution)[3])
    cells = sorted(h3.grid_disk(h3.latlng_to_cell(*place, resolution), 3))
    counts = np.arange(len(cells)) + 1
    pd.DataFrame({"h3": cells, "people": counts}).to_csv(tmp_path / "p.csv", index=False)
    south, west = place[0] - 0.08, place[1] - 0.08
    for crs, bounds in (("EPSG:4326", (west, south, west + 0.16, south + 0.16)),
                        ("EPSG:32701" if place[1] < -170 or place[1] == 180 else "EPSG:4326",
                         None)):
        bounds = bounds or box_in((west, south, west + 0.16, south + 0.16), CRS(4326), CRS(crs))
        assert np.nansum(totals(tmp_path / "p.csv", bounds, crs)) == pytest.approx(
            counts.sum(), rel=1e-9)


def test_points_at_the_antimeridian(tmp_path):
    frame = pd.DataFrame({"lon": [179.95, -179.95, 180.05], "lat": [-16.8, -16.81, -16.82],
                          "people": [1, 2, 4]})
    frame.to_csv(tmp_path / "p.csv", index=False)
    around = (179.9, -16.9, 180.1, -16.7)
    for crs in ("EPSG:4326", "EPSG:32760"):
        bounds = around if crs == "EPSG:4326" else box_in((179.9, -16.9, 179.999, -16.7),
                                                          CRS(4326), CRS(crs))
        if crs == "EPSG:32760":
            bounds = (bounds[0], bounds[1], bounds[2] + 11_000, bounds[3])
        for cell in ("0", "100", "0.01deg"):
            assert np.nansum(totals(tmp_path / "p.csv", bounds, crs, cell=cell)) == (
                pytest.approx(7, rel=1e-9))


# what a worker sees, and what the user is told

def test_what_is_near_the_imagery_is_kept_and_the_file_not_opened_again(tmp_path, by_polygons):
    table().to_csv(tmp_path / "p.csv", index=False)
    source = Zonal(tmp_path / "p.csv", "population", cell="40")
    source.check(UTM, BOUNDS)
    described = json.loads(json.dumps(source.points.save(tmp_path / "p.npy")))
    (tmp_path / "p.csv").unlink()
    again = Zonal(tmp_path / "p.csv", "population", cell="40",
                  points=Points.opened(tmp_path / "p.npy", described, "make it again"))
    tiles = tiles_over(BOUNDS, 9, 7)
    for own, other in zip(source.totals_and_cover(tiles, UTM), again.totals_and_cover(tiles, UTM),
                          strict=True):
        np.testing.assert_array_equal(own, other)
    np.testing.assert_allclose(again.totals_and_cover(tiles, UTM)[0], by_polygons, rtol=1e-3,
                               atol=0.1)
    (tmp_path / "p.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(PrepareError, match="make it again"):
        Points.opened(tmp_path / "p.npy", described, "make it again")


def test_every_row_is_accounted_for(tmp_path):
    (tmp_path / "p.csv").write_text("lon,lat,people\n15.001,49.649,100\n,49.649,7\nNA,n/a,5\n"
                                    "15.001,49.649,20\n\n16,49.649,1e30\n16,49.64,3\n")
    source = Zonal(tmp_path / "p.csv", "population", cell="0")
    source.check(UTM, BOUNDS)
    assert source.notes == [
        "p.csv: 6 points, population 135 in all; on the imagery 2, 120; outside 2, 3",
        "p.csv: 2 rows have no coordinates and are left out, the first of them row 2, population "
        "12 in all",
        "p.csv: 1 of the points on the imagery lie where another one does; their values add up"]


def test_features_that_are_no_points_are_counted(tmp_path):
    frame = points(4326)
    frame.loc[3, "geometry"] = shapely.LineString([(15, 49), (16, 49)])
    frame.loc[5, "geometry"] = None
    frame.to_file(tmp_path / "p.geojson")
    source = Zonal(tmp_path / "p.geojson", "population", cell="100")
    source.check(UTM, BOUNDS)
    assert "2 rows have no coordinates, or are no points (1) and are left out" in source.notes[1]
    assert "the points lie 40 m apart, but cell=100" in source.notes[2]


@pytest.mark.parametrize("name", ["p.gpkg", "p.geojson", "p.parquet", "mixed.geojson"])
def test_labels_need_polygons(tmp_path, name):
    frame = points(4326)
    if name.startswith("mixed"):
        frame.loc[0, "geometry"] = shapely.LineString([(15, 49), (16, 50)])
    (frame.to_parquet if name.endswith("parquet") else frame.to_file)(tmp_path / name)
    with pytest.raises(PrepareError, match=r"no layer of polygons.*Pass polygons, or a raster"):
        TargetPolygons(tmp_path / name, "labels", "label_column", "people", list).overlap(
            BOUNDS, CRS(UTM))
