"""Population and CO2 of tiles: nothing is lost or counted twice, whatever the grid and the CRS."""

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from pyproj import CRS, Geod

from datasets.prepare.geo.crs import box_in
from datasets.prepare.targets import zonal
from datasets.prepare.targets.zonal import Zonal
from tests.datasets.prepare.places import NORTH, UTM, WEST, square, write_raster
from utils.errors import PrepareError

BOUNDS = (WEST, NORTH - 100, WEST + 100, NORTH)
CELLS = rasterio.Affine(10, 0, WEST, 0, -10, NORTH)  # 10 x 10 cells of 10 m


def write_cells(path, values, transform=CELLS, crs=UTM, **profile):
    return write_raster(path, np.asarray(values)[..., None], transform, crs, **profile)


def tiles_over(bounds, columns: int, rows: int) -> np.ndarray:
    """Boxes [columns * rows, 4] that cover `bounds`, row by row; neighbours share their edges."""
    x, y = np.linspace(bounds[0], bounds[2], columns + 1), np.linspace(bounds[3], bounds[1],
                                                                       rows + 1)
    return np.array([(x[c], y[r + 1], x[c + 1], y[r]) for r in range(rows)
                     for c in range(columns)])


def census(path, values, shapes, crs=UTM, column="people", **more):
    frame = gpd.GeoDataFrame({column: values, **more}, geometry=list(shapes), crs=UTM).to_crs(crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


def totals_of(source, bounds, crs):
    return source.totals_and_cover(bounds, crs)[0]


def test_a_cell_counts_by_the_share_that_lies_in_the_tile(tmp_path):
    source = Zonal(write_cells(tmp_path / "pop.tif", np.arange(100.0).reshape(10, 10)),
                   "population")
    source.check(UTM, BOUNDS)
    # metres east and south: left, top, right, bottom
    bounds = np.array([(0, 0, 25, 10), (5, 5, 15, 15), (42, 0, 44, 3)])
    bounds = np.stack([WEST + bounds[:, 0], NORTH - bounds[:, 3], WEST + bounds[:, 2],
                       NORTH - bounds[:, 1]], axis=1)
    total = totals_of(source, bounds, UTM)
    assert total.dtype == np.float64
    np.testing.assert_allclose(total, [0 + 1 + 2 / 2, (0 + 1 + 10 + 11) / 4, 4 * 6 / 100],
                               rtol=1e-6)


def test_tiles_of_any_size_and_crs_sum_to_the_raster(tmp_path):
    values = np.random.default_rng(0).gamma(1, 50, (10, 10))
    source = Zonal(write_cells(tmp_path / "pop.tif", values), "population")
    assert totals_of(source, tiles_over(BOUNDS, 7, 3),
                     UTM).sum() == pytest.approx(values.sum(), rel=1e-6)
    for crs in ("EPSG:4326", "EPSG:3857", "EPSG:25832"):
        around = box_in((WEST - 9, NORTH - 109, WEST + 109, NORTH + 9), CRS(UTM), CRS(crs))
        assert np.nansum(totals_of(source, tiles_over(around, 9, 8),
                                   crs)) == pytest.approx(values.sum(), rel=1e-6)


def test_cells_without_data_add_nothing_and_tiles_without_any_are_nan(tmp_path):
    values = np.full((10, 10), 3.0)
    values[:, 5:] = -9999
    source = Zonal(write_cells(tmp_path / "pop.tif", values, nodata=-9999), "population")
    source.check(UTM, BOUNDS)
    inside, half, outside, far = totals_of(
        source,
        [[WEST, NORTH - 10, WEST + 10, NORTH], [WEST + 40, NORTH - 10, WEST + 60, NORTH],
         [WEST + 60, NORTH - 50, WEST + 90, NORTH],
         [WEST + 5000, NORTH - 10, WEST + 5010, NORTH]], UTM,
    )
    assert (inside, half) == pytest.approx((3, 3))
    assert np.isnan(outside)
    assert np.isnan(far)
    assert totals_of(source, np.empty((0, 4)), UTM).shape == (0,)


def test_a_tile_that_reaches_beyond_the_raster_has_what_is_inside(tmp_path):
    values = np.full((10, 10), 2.0)
    bounds = [[WEST - 50, NORTH - 10, WEST + 10, NORTH + 70]]
    count = totals_of(Zonal(write_cells(tmp_path / "pop.tif", values), "population"), bounds, UTM)
    density = totals_of(Zonal(tmp_path / "pop.tif", "population", "per_m2"), bounds, UTM)
    assert count[0] == pytest.approx(2)
    assert density[0] == pytest.approx(200, rel=1e-3)


@pytest.mark.parametrize(("unit", "square_metres"),
                         [("per_km2", 1e6), ("per_hectare", 1e4), ("per_m2", 1)])
def test_a_density_is_multiplied_by_true_area_in_any_crs(tmp_path, unit, square_metres):
    for name, crs in (("utm.tif", UTM), ("mercator.tif", "EPSG:3857"),
                      ("degrees.tif", "EPSG:4326")):
        west, south, east, north = box_in((WEST - 500, NORTH - 600, WEST + 600, NORTH + 500),
                                          CRS(UTM), CRS(crs))
        grid = rasterio.transform.from_bounds(west, south, east, north, 20, 20)
        source = Zonal(write_cells(tmp_path / name, np.full((20, 20), 70, np.int32), grid, crs),
                       "population", unit)
        lon_lat = gpd.GeoSeries([shapely.box(*BOUNDS)], crs=UTM).to_crs(4326)[0]
        area = abs(Geod(ellps="WGS84").geometry_area_perimeter(lon_lat)[0])
        assert totals_of(source, [BOUNDS], UTM)[0] == pytest.approx(70 * area / square_metres,
                                                                    rel=1e-5)
        elsewhere = totals_of(source, [box_in(BOUNDS, CRS(UTM), CRS(3857))], "EPSG:3857")
        assert elsewhere[0] == pytest.approx(70 * area / square_metres, rel=1e-2)


def test_a_rotated_and_scaled_raster(tmp_path):
    values = np.random.default_rng(0).integers(0, 50, (10, 10)).astype(np.int16)
    turned = (rasterio.Affine.translation(WEST, NORTH) @ rasterio.Affine.rotation(30)
              @ rasterio.Affine.scale(10, -10))
    path = write_cells(tmp_path / "pop.tif", values, turned)
    with rasterio.open(path, "r+") as raster:
        raster.scales, raster.offsets = (0.5,), (1.0,)
    total = totals_of(Zonal(path, "population"),
                      tiles_over((WEST - 200, NORTH - 200, WEST + 200, NORTH + 200), 6, 5), UTM)
    assert np.nansum(total) == pytest.approx((values * 0.5 + 1).sum(), rel=1e-6)


def test_a_band_too_large_for_memory_is_read_in_pieces(tmp_path, monkeypatch):
    values = np.random.default_rng(0).random((10, 10))
    source, bounds = Zonal(write_cells(tmp_path / "pop.tif", values),
                           "population"), tiles_over(BOUNDS, 6, 1)
    whole, sizes = totals_of(source, bounds, UTM), []
    read = source._source.read
    monkeypatch.setattr(source._source,
                        "read", lambda window: sizes.append(window.width * window.height)
                        or read(window))
    monkeypatch.setattr(zonal, "MAX_CELLS", 25)
    np.testing.assert_allclose(totals_of(source, bounds, UTM), whole, rtol=1e-12)
    assert len(sizes) == 6
    assert max(sizes) <= 40


def test_a_description_that_speaks_of_a_density_is_pointed_out(tmp_path):
    path = write_cells(tmp_path / "pop.tif", np.ones((10, 10)))
    with rasterio.open(path, "r+") as raster:
        raster.set_band_description(1, "persons per square kilometre")
    for unit, notes in (("count", 1), ("per_km2", 0)):
        source = Zonal(path, "population", unit)
        source.check(UTM, BOUNDS)
        assert len(source.notes) == notes
        assert all("pass population_unit=per_km2" in note for note in source.notes)


def test_the_sample_city_sums_to_the_integral_of_its_rasters(tmp_path):
    from datasets.sample_city.write import write_sample_city

    city = write_sample_city(tmp_path, tiles=4)
    with rasterio.open(city.image) as image:
        bounds, crs = image.bounds, image.crs
    for path, name in ((city.population, "population"), (city.co2, "co2")):
        with rasterio.open(path) as raster:
            integral = raster.read(1).sum(dtype=np.float64) * 56 * 56 / 1e6
        source = Zonal(path, name, "per_km2")
        source.check(crs, bounds)
        assert totals_of(source, tiles_over(bounds, 4, 4),
                         crs).sum() == pytest.approx(integral, rel=1e-3)


@pytest.mark.parametrize(("name", "crs"),
                         [("pop.gpkg", UTM), ("pop.geojson", "EPSG:4326"),
                          ("pop.parquet", "EPSG:3857")])
def test_census_cells_are_shared_out_by_area(tmp_path, name, crs):
    shapes = [square(0, 0, 40), square(40, 0, 40), square(80, 0, 40)]
    source = Zonal(census(tmp_path / name, [100, 60, 0], shapes, crs, id=[1, 2, 3]), "population")
    source.check(UTM, BOUNDS)
    bounds = [[WEST, NORTH - 40, WEST + 40, NORTH], [WEST + 30, NORTH - 20, WEST + 50, NORTH],
              [WEST + 85, NORTH - 9, WEST + 90, NORTH],
              [WEST, NORTH - 90, WEST + 40, NORTH - 50]]
    total = totals_of(source, bounds, UTM)
    np.testing.assert_allclose(total[:3], [100, 100 / 8 + 60 / 8, 0], rtol=1e-4, atol=1e-3)
    assert np.isnan(total[3])
    around = totals_of(source, tiles_over((WEST - 5, NORTH - 45, WEST + 125, NORTH + 5), 9, 4),
                       UTM)
    assert around[0] > 0
    assert np.nansum(around) == pytest.approx(160, rel=1e-6)


def test_a_density_of_polygons(tmp_path):
    source = Zonal(census(tmp_path / "pop.gpkg", [5000.0], [square(0, 0, 80)]), "population",
                   "per_km2")
    assert totals_of(source, [[WEST, NORTH - 50, WEST + 20, NORTH]],
                     UTM)[0] == pytest.approx(5000 * 1000 / 1e6, rel=1e-3)


@pytest.mark.parametrize("unit", ["count", "per_km2"])
@pytest.mark.parametrize("kind", ["raster", "polygons"])
def test_the_share_of_a_tile_that_is_covered(tmp_path, monkeypatch, kind, unit):
    if kind == "raster":
        values = np.zeros((10, 10))
        values[:, 5:] = -9999
        path = write_cells(tmp_path / "pop.tif", values, nodata=-9999)
        monkeypatch.setattr(zonal, "MAX_CELLS", 5)
    else:
        path = census(tmp_path / "pop.gpkg", [0.0, 0.0], [square(0, 0, 50), square(0, 50, 50)])
    source = Zonal(path, "population", unit)
    east, south, side = np.array([(0, 0, 20), (40, 0, 20), (-30, 10, 40), (45, 80, 20),
                                  (70, 0, 10), (9000, 0, 10)]).T
    bounds = np.stack([WEST + east, NORTH - south - side, WEST + east + side, NORTH - south],
                      axis=1)
    totals, cover = source.totals_and_cover(bounds, UTM)
    np.testing.assert_allclose(cover, [1, 1 / 2, 1 / 4, 1 / 4, 0, 0], atol=1e-3)
    assert cover.dtype == np.float64
    assert cover.max() <= 1
    assert np.isnan(totals).tolist() == (cover == 0).tolist()
    assert source.totals_and_cover(np.empty((0, 4)), UTM)[1].shape == (0,)


def test_helsinki_cells(shared):
    path = shared / "data/helsinki_pop/helsinki_population_grid_2020.gpkg"
    if not path.exists():
        pytest.skip(f"no {path}")
    cells = gpd.read_file(path)
    source = Zonal(path, "population")
    for crs, bounds in (("EPSG:4326", cells.total_bounds),
                        ("EPSG:3879", cells.to_crs(3879).total_bounds)):
        margin = 0.01 * (bounds[2:] - bounds[:2])
        around = (*(bounds[:2] - margin), *(bounds[2:] + margin))
        source.check(crs, around)
        assert np.nansum(totals_of(source, tiles_over(around, 11, 9),
                                   crs)) == pytest.approx(cells.population.sum(), rel=1e-3)
    metric = cells.to_crs(3879)
    # a cell, and strips of its neighbours
    wide = metric.geometry.iloc[20].buffer(5, join_style="mitre").bounds
    share = metric.intersection(shapely.box(*wide)).area / metric.area
    assert totals_of(source, [wide],
                     "EPSG:3879")[0] == pytest.approx((share * cells.population).sum(), rel=1e-3)


def spoilt(value, nodata=None):
    values = np.ones((10, 10), np.float32)
    values[3, 4] = value
    return lambda t: {"path": write_cells(t / "pop.tif", values, nodata=nodata)}


def people(values, **more):
    shapes = [square(0, 0, 9), square(20, 0, 9)][:len(values)]
    return lambda t: {"path": census(t / "pop.gpkg", values, shapes, **more)}


def text_file(tmp_path):
    (tmp_path / "pop.tif").write_text("many")
    return {"path": tmp_path / "pop.tif"}


PLACE = "longitude 15.00062, latitude 49.65"
CASES = {
    "missing": (lambda t: {"path": t / "nope.tif"},
                ["nope.tif", "no such file", "Pass population="]),
    "text_file": (text_file, ["pop.tif", "neither as a raster nor as polygons"]),
    "no_crs": (lambda t: {"path": write_cells(t / "pop.tif", np.ones((9, 9)), crs=None)},
               ["pop.tif", "no coordinate", "rio edit-info --crs"]),
    "bands": (lambda t: {"path": write_raster(t / "pop.tif", np.ones((9, 9, 2)), CELLS)},
              ["pop.tif", "2 bands", "rio stack --bidx 1"]),
    "elsewhere": (lambda t: {"path": write_cells(t / "pop.tif", np.ones((9, 9)),
                                                 CELLS @ CELLS.translation(9999, 0))},
                  ["pop.tif", "does not overlap", "16.38", "15.00000, 49.65", "EPSG:4326"]),
    "negative": (spoilt(-200),
                 ["pop.tif", PLACE, "is -200", "0 or more", "rio edit-info --nodata -200"]),
    "negative_beside_nodata": (spoilt(-1.5, -9999), ["pop.tif", PLACE, "is -1.5", "0 or more"]),
    "nan": (spoilt(np.nan), ["pop.tif", PLACE, "is nan", "rio edit-info --nodata nan"]),
    "nan_beside_nodata": (spoilt(np.nan, -9999), ["pop.tif", PLACE, "is nan"]),
    "infinite": (spoilt(np.inf), ["pop.tif", PLACE, "is inf"]),
    "census_negative": (people([3, -1]), ["pop.gpkg", "people of the polygon at longitude 15.0003",
                                          "is -1", "0 or more"]),
    "census_null": (people([3.5, None]),
                    ["pop.gpkg", "people of the polygon at longitude 15.0003", "is missing"]),
    "census_text": (lambda t: {**people(["many", "few"])(t), "column": "people"},
                    ["pop.gpkg", "people holds text", "population_column="]),
    "no_number": (people(["many", "few"]),
                  ["pop.gpkg", "cannot tell", "columns found: people", "population_column="]),
    "two_columns": (people([3, 4], area=[1, 2]),
                    ["pop.gpkg", "several columns", "people, area", "population_column="]),
    "wrong_column": (lambda t: {**people([3, 4])(t), "column": "pop"},
                     ["pop.gpkg", "no column pop", "columns found: people"]),
    "census_elsewhere": (lambda t: {"path": census(t / "pop.gpkg", [3], [square(5e4, 0, 9)])},
                         ["pop.gpkg", "does not overlap", "15.69"]),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("case", CASES)
def test_message(tmp_path, case):
    make, phrases = CASES[case]
    arguments = make(tmp_path)
    with pytest.raises(PrepareError) as raised:
        Zonal(name="population", **arguments).check(UTM, BOUNDS)
    message = str(raised.value)
    for phrase in phrases:
        assert phrase in message
    assert "\n" not in message


@pytest.mark.parametrize("case", ["negative", "nan", "census_null"])
def test_a_worker_that_was_spared_the_check_says_it_too(tmp_path, case):
    make, phrases = CASES[case]
    with pytest.raises(PrepareError) as raised:
        totals_of(Zonal(name="population", **make(tmp_path)), [BOUNDS], UTM)
    assert all(phrase in str(raised.value) for phrase in phrases)


def test_nan_that_is_the_nodata_value_is_fine(tmp_path):
    source = Zonal(**spoilt(np.nan, np.nan)(tmp_path), name="population")
    source.check(UTM, BOUNDS)
    assert totals_of(source, [BOUNDS], UTM)[0] == pytest.approx(99)


def test_a_large_file_without_index_is_pointed_out(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.prepare.targets.polygons._SLOW_BYTES", 10)
    for name, notes in (("pop.geojson", 1), ("pop.gpkg", 0)):
        source = Zonal(census(tmp_path / name, [3], [square(0, 0, 9)]), "population")
        source.check(UTM, BOUNDS)
        assert len(source.notes) == notes
