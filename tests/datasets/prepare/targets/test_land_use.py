"""Land use classes of tiles, from rasters on any grid and from polygons."""

import json
import re
import shlex

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import yaml

from datasets.keys import PREPARE
from datasets.prepare.targets.land_use import LandUse
from datasets.targets import CLASSES
from tests.datasets.prepare.places import NORTH, PIXEL, UTM, WEST, grid, square, write_raster
from tests.robustness.remedies import commands_in, follow
from utils.cli.compose import read
from utils.errors import PrepareError

SIDE = 64
BOUNDS = (WEST, NORTH - 100, WEST + 100, NORTH)  # the imagery: 200 x 200 pixels of half a metre
# water, residential, transport, unknown
QUARTERS = np.kron([[0, 4], [8, 255]], np.ones((100, 100))).astype(np.uint8)


def tile_bounds(col: int, row: int) -> tuple[float, float, float, float]:
    step = SIDE * PIXEL
    return WEST + col * step, NORTH - (row + 1) * step, WEST + (col + 1) * step, NORTH - row * step


def write_classes(path, values, *args, **profile):
    return write_raster(path, np.asarray(values)[..., None], *args, **profile)


def polygons(path, values, shapes, crs=UTM, column="class", **options):
    frame = gpd.GeoDataFrame({column: values}, geometry=list(shapes), crs=UTM)
    frame = frame.to_crs(crs) if crs else frame.set_crs(None, allow_override=True)
    if path.suffix == ".parquet":
        frame.to_parquet(path, **options)
    else:
        frame.to_file(path, **options)
    return path


def test_a_raster_on_the_imagery_grid_is_copied(tmp_path):
    values = np.random.default_rng(0).integers(0, 10, (200, 200)).astype(np.uint8)
    source = LandUse(write_classes(tmp_path / "lu.tif", values))
    source.check(UTM, BOUNDS, grid())
    assert source.notes == []
    expected = np.where(values == 9, 255, values)
    for col, row in ((0, 0), (2, 1)):
        tile = source.tile(tile_bounds(col, row), UTM, SIDE)
        assert tile.dtype == np.uint8
        np.testing.assert_array_equal(tile,
                                      expected[row * SIDE:(row + 1) * SIDE,
                                               col * SIDE:(col + 1) * SIDE])


def test_a_tile_half_outside_the_raster_is_unknown_there(tmp_path):
    source = LandUse(write_classes(tmp_path / "lu.tif", np.full((200, 200), 3, np.uint8)))
    tile = source.tile((WEST - 16, NORTH - 32, WEST + 16, NORTH), UTM, SIDE)
    assert (tile[:, :32] == 255).all()
    assert (tile[:, 32:] == 3).all()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:25832"])
def test_another_grid_is_resampled_by_nearest_neighbour_with_a_note(tmp_path, crs):
    plain = write_classes(tmp_path / "plain.tif", QUARTERS)
    nearest = rasterio.enums.Resampling.nearest
    with (rasterio.open(plain) as source,
          rasterio.vrt.WarpedVRT(source, crs=crs, resampling=nearest) as warped):
        values, transform = warped.read(1), warped.transform
    assert set(np.unique(values)) <= {0, 4, 8, 255}
    land_use = LandUse(write_classes(tmp_path / "lu.tif", values, transform, crs, nodata=255))
    land_use.check(UTM, BOUNDS)
    assert any("lu.tif: on another grid than the imagery; resampled by nearest neighbour" in note
               for note in land_use.notes)
    # 32 m around the corner where the quarters meet
    centre = (WEST + 34, NORTH - 66, WEST + 66, NORTH - 34)
    tile = land_use.tile(centre, UTM, SIDE)
    expected = QUARTERS[68:132, 68:132]
    assert (tile == expected).mean() > 0.95   # the lines between the quarters may move by a pixel
    inner = np.s_[:28, :28], np.s_[:28, 36:], np.s_[36:, :28], np.s_[36:, 36:]
    assert [np.unique(tile[quarter]).tolist() for quarter in inner] == [[0], [4], [8], [255]]


def test_coarser_pixels_of_the_same_crs_are_said_where_the_grid_is_known(tmp_path):
    transform = rasterio.Affine(10, 0, WEST, 0, -10, NORTH)
    source = LandUse(write_classes(tmp_path / "lu.tif",
                                   np.arange(100).reshape(10, 10).astype(np.uint8) % 9, transform))
    source.check(UTM, BOUNDS, grid())
    assert len(source.notes) == 1
    tile = source.tile(tile_bounds(0, 0), UTM, SIDE)
    assert tile[0, 19] == 0
    assert tile[0, 20] == 1


def test_a_raster_map_by_numbers_and_names_and_what_it_does_not_name(tmp_path):
    values = np.array([[11100, 12100], [23000, 0]], np.uint16).repeat(100, 0).repeat(100, 1)
    path = write_classes(tmp_path / "ua.tif", values, nodata=0)
    source = LandUse(path, {11100: "Residential", "12100": 7})
    source.check(UTM, BOUNDS, grid())
    tile = source.tile(BOUNDS, UTM, 200)
    assert (tile[0, 0], tile[0, 199], tile[199, 0], tile[199, 199]) == (4, 7, 255, 255)
    assert any("10000 pixels of values that label_map does not name are unknown: 23000 (10000)"
               in note for note in source.notes)
    assert any("10000 pixels without a value" in note for note in source.notes)


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_the_map_may_be_a_file(tmp_path, write):
    path = tmp_path / "map.txt"
    path.write_text(write({"5": 0, "6": "ignore", "7": None, "8": 9, "9": "transport"}))
    values = np.array([[5, 6, 7, 8, 9]], np.uint8).repeat(5, 0)
    raster = write_classes(tmp_path / "lu.tif", values,
                           rasterio.Affine(20, 0, WEST, 0, -20, NORTH))
    source = LandUse(raster, path)
    assert source.tile(BOUNDS, UTM, 5)[0].tolist() == [0, 255, 255, 255, 8]
    assert path in source.files
    assert raster in source.files


@pytest.mark.parametrize(("name", "crs", "options"), [
    ("lu.gpkg", UTM, {}), ("lu.geojson", "EPSG:4326", {}), ("lu.shp", "EPSG:3857", {}),
    ("lu.parquet", "EPSG:4326", {}),
    ("lu.parquet", UTM, {"write_covering_bbox": True}),
])
def test_polygons_of_any_format_by_pixel_centres(tmp_path, name, crs, options):
    shapes = [square(0, 0, 16), square(16, 0, 16), square(4, 4, 8)]  # the last lies in the first
    source = LandUse(polygons(tmp_path / name, ["forest", "houses", "pond"], shapes, crs,
                              **options),
                     {"Forest": "green", "houses": "residential", "pond": 0})
    source.check(UTM, BOUNDS)
    assert source.notes == []
    tile = source.tile(tile_bounds(0, 0), UTM, SIDE)
    expected = np.full((SIDE, SIDE), 255)
    expected[:32, :32], expected[:32, 32:], expected[8:24, 8:24] = 1, 4, 0
    if crs == UTM:
        np.testing.assert_array_equal(tile, expected)
    else:
        # outlines that went through another CRS may miss a pixel's centre
        assert (tile == expected).mean() > 0.97
    assert (source.tile(tile_bounds(1, 1), UTM, SIDE) == 255).all()


def test_later_polygons_lie_over_earlier_ones_whatever_the_index_answers(tmp_path):
    order = np.random.default_rng(1).permutation(9)
    shapes = [square(0, 0, 32)] * 9 + [square(i * 40, 900, 30) for i in range(200)]
    path = polygons(tmp_path / "lu.gpkg", [*order.tolist(), *[3] * 200], shapes)
    assert (LandUse(path).tile(tile_bounds(0, 0), UTM, SIDE) == order[-1]).all()


def test_many_tiles_are_served_by_few_reads_and_nothing_is_missing_at_the_edges_of_a_read(
        tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    shapes = [shapely.Point(WEST + x, NORTH - y).buffer(rng.uniform(3, 30))
              for x, y in rng.uniform((0, 0), (980, 160), (300, 2))]
    classes = rng.integers(0, 9, 300).tolist()
    path = polygons(tmp_path / "lu.gpkg", classes, shapes)
    source, reads = LandUse(path), []

    # on no round coordinates, so that windows read at once end inside tiles
    def tile_bounds(col, row):
        x, y = WEST + 20 + col * 32, NORTH - 17 - row * 32
        return x, y - 32, x + 32, y

    read = source._source.read
    monkeypatch.setattr(source._source, "read", lambda *args: reads.append(args) or read(*args))
    tiles = {(col, row): source.tile(tile_bounds(col, row), UTM, SIDE) for row in range(4)
             for col in range(30)}
    assert len(reads) <= 6
    for col, row in tiles:
        everything = rasterio.features.rasterize(
            zip(shapes, classes, strict=True), (SIDE, SIDE), fill=255,
            transform=rasterio.transform.from_bounds(*tile_bounds(col, row), SIDE, SIDE),
            dtype="uint8",
        )
        np.testing.assert_array_equal(tiles[col, row], everything)


def test_polygons_without_class_and_of_unnamed_classes_are_counted(tmp_path):
    shapes = [square(0, 0, 16), square(16, 0, 16), square(0, 16, 16)]
    source = LandUse(polygons(tmp_path / "lu.gpkg", ["park", None, "quarry"], shapes,
                              column="landuse"), {"park": 1})
    source.check(UTM, BOUNDS)
    assert any("1 polygons of values that label_map does not name are unknown: quarry (1)" in note
               for note in source.notes)
    assert any("1 polygons without a value" in note for note in source.notes)
    assert np.unique(source.tile(tile_bounds(0, 0), UTM, SIDE)).tolist() == [1, 255]


def test_names_of_classes_need_no_map_and_broken_outlines_are_mended(tmp_path):
    bow = shapely.Polygon([(WEST, NORTH), (WEST + 32, NORTH - 32), (WEST + 32, NORTH),
                           (WEST, NORTH - 32)])
    assert not bow.is_valid
    tile = LandUse(polygons(tmp_path / "lu.gpkg", ["Farmland"], [bow])).tile(tile_bounds(0, 0),
                                                                             UTM, SIDE)
    assert tile[32, 2] == CLASSES.index("farmland")
    assert tile[2, 32] == 255


def test_the_sample_city_keeps_its_classes(tmp_path):
    from datasets.sample_city.write import write_sample_city

    city = write_sample_city(tmp_path, tiles=2)
    with rasterio.open(city.landuse) as raster, rasterio.open(city.image) as image:
        expected, bounds, crs = raster.read(1), image.bounds, image.crs
    source = LandUse(city.landuse)
    source.check(crs, bounds)
    np.testing.assert_array_equal(source.tile(tuple(bounds), crs, 448), expected)


COLOURS = {0: "#0000ff", 4: "#e6194b", 8: "#808080", 255: "#ffffff"}


def coloured(path, crs=UTM, transform=None, **profile):
    """Write QUARTERS as colours."""
    image = np.zeros((200, 200, 3), np.uint8)
    for value, colour in COLOURS.items():
        image[value == QUARTERS] = list(bytes.fromhex(colour[1:]))
    return write_raster(path, image, transform, crs, **profile)


MAP = {"#0000ff": "water", "#E6194B": "residential", "#808080": 8, "#ffffff": None}


def test_colours_are_classes(tmp_path):
    path = coloured(tmp_path / "lu.tif")
    source = LandUse(path, MAP)
    source.check(UTM, BOUNDS, grid())
    assert source.notes == []
    np.testing.assert_array_equal(source.tile(BOUNDS, UTM, 200), QUARTERS)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_mask(QUARTERS != 0)
    source = LandUse(path, MAP)
    source.check(UTM, BOUNDS, grid())
    assert any("10000 pixels without a value" in note for note in source.notes)
    np.testing.assert_array_equal(source.tile(BOUNDS, UTM, 200),
                                  np.where(QUARTERS == 0, 255, QUARTERS))


def test_colours_of_a_palette_are_classes(tmp_path):
    values = np.where(QUARTERS == 255, 3, QUARTERS // 4)  # 0, 1, 2, 3
    path = write_classes(tmp_path / "lu.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {index: (*bytes.fromhex(colour[1:]), 255)
                                   for index, colour in enumerate(COLOURS.values())})
    np.testing.assert_array_equal(LandUse(path, MAP).tile(BOUNDS, UTM, 200), QUARTERS)


def test_a_colour_that_the_map_does_not_name_is_named_with_its_share(tmp_path):
    source = LandUse(coloured(tmp_path / "lu.tif"), {"#0000ff": 0, "#808080": 8})
    source.check(UTM, BOUNDS)
    assert any("20000 pixels" in note and "#e6194b (10000)" in note and "50.00% of all" in note
               for note in source.notes)


def test_the_remedy_of_colours_works_on_the_command_line(tmp_path):
    path = coloured(tmp_path / "lu.tif")
    with pytest.raises(PrepareError) as raised:
        LandUse(path)
    given = shlex.split(re.search(r"'classes=.*?'", str(raised.value))[0])[0]
    assert set(COLOURS.values()) == set(re.findall("#......", given))
    keys = read(PREPARE, "raster=r", "osm=o", "out=d", "city=c", given)
    source = LandUse(path, classes=keys.classes)
    source.check(UTM, BOUNDS)
    assert source.legend.classes == ("class1", "class2", "class3", "class4")
    assert len(source.notes) == 1
    spaced = read(PREPARE, "raster=r", "osm=o", "out=d", "city=c",
                  """label_map={"#0000ff": water, '#e6194b': residential, #808080:8}""")
    tile = LandUse(path, spaced.label_map).tile(BOUNDS, UTM, 200)
    np.testing.assert_array_equal(tile, QUARTERS)


def test_a_file_may_map_colours(tmp_path):
    (tmp_path / "map.yaml").write_text("# mine\n'#0000ff': water\n#e6194b: residential\n"
                                       '"#808080": transport  # roads\n')
    tile = LandUse(coloured(tmp_path / "lu.tif"), tmp_path / "map.yaml").tile(BOUNDS, UTM, 200)
    np.testing.assert_array_equal(tile, QUARTERS)


@pytest.mark.parametrize("nodata", [-9999, None, float("nan"), -3.4028234663852886e38])
def test_whole_numbers_of_a_float_raster_are_classes(tmp_path, nodata):
    values = np.where(QUARTERS == 255, np.float32(nodata or 9), QUARTERS)
    path = write_classes(tmp_path / "my lu.tif", values, nodata=nodata)
    source = LandUse(path)
    source.check(UTM, BOUNDS, grid())
    np.testing.assert_array_equal(source.tile(BOUNDS, UTM, 200), QUARTERS)
    values[0, 0] += 0.25
    write_classes(path, values, nodata=nodata)
    with pytest.raises(PrepareError, match=r"row 0, column 0 is 0\.25") as raised:
        LandUse(path).check(UTM, BOUNDS)
    (command,) = commands_in(str(raised.value))
    follow(command, tmp_path)
    source = LandUse(tmp_path / "classes.tif")
    source.check(UTM, BOUNDS)
    np.testing.assert_array_equal(source.tile(BOUNDS, UTM, 200), QUARTERS)


def raster(tmp_path, values=QUARTERS, **profile):
    return {"path": write_classes(tmp_path / "lu.tif", values, **profile)}


def two_layers(tmp_path):
    for layer in ("a", "b"):
        polygons(tmp_path / "lu.gpkg", [1], [square(0, 0, 9)], layer=layer)
    return {"path": tmp_path / "lu.gpkg"}


def two_usual_columns(tmp_path):
    gpd.GeoDataFrame({"class": [1], "code": [2]}, geometry=[square(0, 0, 9)],
                     crs=UTM).to_file(tmp_path / "lu.gpkg")
    return {"path": tmp_path / "lu.gpkg"}


def text_file(tmp_path, name="lu.tif"):
    (tmp_path / name).write_text("no map at all")
    return {"path": tmp_path / name}


def truncated(tmp_path):
    noise = np.random.default_rng(0).integers(0, 9, (200, 200), dtype=np.uint8)
    path = write_classes(tmp_path / "lu.tif", noise, compress="deflate", tiled=True, blockxsize=16,
                         blockysize=16)
    path.write_bytes(path.read_bytes()[:9000])
    return {"path": path}


def map_file(tmp_path, text):
    (tmp_path / "map.yaml").write_text(text)
    return {**raster(tmp_path), "label_map": tmp_path / "map.yaml"}


CASES = {
    "missing": (lambda t: {"path": t / "nope.tif"}, ["nope.tif", "no such file", "Pass labels="]),
    "no_crs": (lambda t: raster(t, crs=None),
               ["lu.tif", "no coordinate reference system", "rio edit-info --crs EPSG:"]),
    "bands": (lambda t: {"path": write_raster(t / "lu.tif", np.zeros((9, 9, 3), np.uint8))},
              ["lu.tif", "3 bands", "#000000 (100.0%)", """'classes={"#000000": class1}'"""]),
    "two_bands": (lambda t: {"path": write_raster(t / "lu.tif", np.zeros((9, 9, 2), np.uint8))},
                  ["lu.tif", "2 bands", "rio stack --bidx 1"]),
    "floats": (lambda t: raster(t, np.full((9, 9), 3.5, np.float32)),
               ["lu.tif", "row 0, column 0 is 3.5", "whole numbers", "rio calc --not-masked"]),
    "map_of_colours": (lambda t: {**raster(t), "label_map": {"#000000": 0}},
                       ["lu.tif", "names colours", "1 band(s) of uint8"]),
    "elsewhere": (lambda t: raster(t, transform=grid(1e5)),
                  ["lu.tif", "does not overlap", "15.69", "15.00000, 49.65", "EPSG:4326"]),
    "values": (lambda t: raster(t, QUARTERS // 2 + 17),
               ["lu.tif", "17 (25.0%), 19 (25.0%), 21 (25.0%), 144 (25.0%)",
                "0..8 (water, green", "'label_map={17:green}'",
                "'classes={17:class17,19:class19,21:class21,144:class144}'"]),
    "damaged": (truncated, ["lu.tif", "damaged", "Get the file again"]),
    "text_file": (text_file, ["lu.tif", "neither as a raster nor as polygons", "GeoPackage"]),
    "parquet": (lambda t: text_file(t, "lu.parquet"),
                ["lu.parquet", "neither as a raster nor as polygons", "GeoParquet"]),
    "map_class": (lambda t: {**raster(t), "label_map": {0: "forrest"}},
                  ["label_map", "0: forrest", "no class", "farmland", "255"]),
    "map_number": (lambda t: {**raster(t), "label_map": {0: 12}}, ["0: 12", "no class", "0..8"]),
    "map_is_text": (lambda t: {**raster(t), "label_map": t / "no.yaml"},
                    ["no.yaml", "no such file", "'label_map={11:residential,12:8}'",
                     "yaml or json"]),
    "map_split_by_the_shell": (lambda t: {**raster(t), "label_map": "5:water"},
                               ["label_map=5:water: ", "shell splits braces",
                                "in quotes: 'label_map={11:residential,12:8}'"]),
    "map_is_list": (lambda t: map_file(t, "- 1\n- 2"),
                    ["map.yaml", "[1, 2]", "'label_map={11:residential,12:8}'"]),
    "map_is_broken": (lambda t: map_file(t, "{1: [2"),
                      ["map.yaml", "cannot be read as yaml or json"]),
    "map_yes": (lambda t: map_file(t, "yes: 2"), ["map.yaml", "read as True", "quotes"]),
    "map_of_nothing": (lambda t: {**raster(t), "label_map": {77: 1}},
                       ["lu.tif", "gives a class to none", "0 (25.0%), 4 (25.0%)", "names 77"]),
    "no_column": (lambda t: {"path": polygons(t / "lu.gpkg", [1], [square(0, 0, 9)],
                                              column="kind")},
                  ["lu.gpkg", "cannot tell", "columns found: kind", "label_column="]),
    "wrong_column": (lambda t: {"path": polygons(t / "lu.gpkg", [1], [square(0, 0, 9)]),
                                "column": "klass"},
                     ["lu.gpkg", "no column klass", "columns found: class"]),
    "two_columns": (two_usual_columns,
                    ["lu.gpkg", "several columns", "class, code", "label_column="]),
    "two_layers": (two_layers, ["lu.gpkg", "2 layers have a column class"]),
    "points": (lambda t: {"path": polygons(t / "lu.gpkg", [1], [shapely.Point(WEST, NORTH)])},
               ["lu.gpkg", "no layer of polygons"]),
    "polygons_no_crs": (lambda t: {"path": polygons(t / "lu.shp", [1], [square(0, 0, 9)],
                                                    crs=None)},
                        ["lu.shp", "no coordinate reference system", "set_crs"]),
    "polygons_elsewhere": (lambda t: {"path": polygons(t / "lu.gpkg", [1], [square(5e4, 0, 9)])},
                           ["lu.gpkg", "does not overlap", "15.69", "15.00000, 49.65"]),
    "no_polygon": (lambda t: {"path": polygons(t / "lu.gpkg", [], [], geometry_type="Polygon")},
                   ["lu.gpkg", "does not overlap", "unknown"]),
    "words": (lambda t: {"path": polygons(t / "lu.gpkg", ["forest"], [square(0, 0, 9)])},
              ["lu.gpkg", "forest", "'label_map={forest:green}'"]),
}


@pytest.mark.filterwarnings("ignore:'crs' was not provided",
                            "ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("case", CASES)
def test_message(tmp_path, case):
    make, phrases = CASES[case]
    arguments = make(tmp_path)
    with pytest.raises(PrepareError) as raised:
        LandUse(**arguments).check(UTM, BOUNDS)
    message = str(raised.value)
    for phrase in phrases:
        assert phrase in message
    assert "\n" not in message
