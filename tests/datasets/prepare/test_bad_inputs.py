"""Every input that cannot be used ends in one line: the file, the value found, what was expected,
and a remedy."""

import sys

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint

from datasets.prepare.pipeline import prepare_tiles
from tests.datasets.prepare.places import UTM, WEST, grid, pixels, square, write_raster
from utils.errors import RoseError


def missing_raster(place):
    return {"raster": place.folder / "nope.tif"}


def raster_without_crs(place):
    return {"raster": write_raster(place.raster, place.image, crs=None)}


def raster_with_a_local_crs(place):
    return {"raster": write_raster(place.raster, place.image,
                                   crs='LOCAL_CS["site",UNIT["metre",1]]')}


def raster_with_control_points(place):
    points = [GroundControlPoint(row, col, WEST + col, 5.5e6 - row)
              for row, col in [(0, 0), (0, 100), (100, 0), (100, 90)]]
    return {"raster": write_raster(place.folder / "gcp.tif", place.image, Affine.identity(),
                                   gcps=points)}


def corrupt_raster(place):
    place.raster.write_bytes(b"II*\0 this is no tiff")
    return {}


def truncated_raster(place):
    place.raster.write_bytes(place.raster.read_bytes()[:40_000])
    return {}


def complex_raster(place):
    return {"raster": write_raster(place.raster, place.image.astype(np.complex64))}


def damaged_16_bits(place):
    write_raster(place.raster, place.image.astype(np.uint16))
    return truncated_raster(place)


def one_band(place):
    return {"raster": write_raster(place.raster, place.image[..., :1])}


def raster_without_geotransform(place):
    return {"raster": write_raster(place.raster, place.image, Affine.identity())}


def vrt_without_its_file(place):
    band = ('<VRTRasterBand dataType="Byte"><SimpleSource><SourceFilename relativeToVRT="1">'
            "gone.tif</SourceFilename></SimpleSource></VRTRasterBand>")
    (place.folder / "lost.vrt").write_text(
        f'<VRTDataset rasterXSize="9" rasterYSize="9"><SRS>{UTM}</SRS>'
        f"<GeoTransform>5e5,1,0,5e6,0,-1</GeoTransform>{3 * band}</VRTDataset>")
    return {"raster": place.folder / "lost.vrt"}


def small_raster(place):
    return {"raster": write_raster(place.raster, place.image[:50])}


def empty_raster_folder(place):
    (place.folder / "empty").mkdir()
    return {"raster": place.folder / "empty"}


def mixed_pixel_types(place):
    chips = place.folder / "chips"
    chips.mkdir()
    write_raster(chips / "a.tif", pixels(64, 64))
    write_raster(chips / "b.tif", pixels(64, 64).astype(np.uint16), grid(64))
    return {"raster": chips}


def no_imagery(place):
    return {"raster": write_raster(place.raster, np.zeros_like(place.image), nodata=0)}


def missing_osm(place):
    return {"osm": place.folder / "nope.gpkg"}


def corrupt_vector(place):
    place.osm.write_bytes(b"SQLite format 3\0 no more of it")
    return {}


def corrupt_shapefile(place):
    place.frame.iloc[:4].to_file(place.folder / "broken.shp")
    (place.folder / "broken.shp").write_bytes(b"junk" * 50)
    return {"osm": place.folder / "broken.shp"}


def unknown_key_in_the_layer_table(place):
    (place.folder / "mine.yaml").write_text("keys: {building: {layer: building, points: drop, "
                                            "lines: ring, color: red}}")
    return {"layers": place.folder / "mine.yaml"}


def text_as_vector(place):
    (place.folder / "notes.txt").write_text("no geometry here")
    return {"osm": place.folder / "notes.txt"}


def corrupt_pbf(place):
    (place.folder / "city.osm.pbf").write_bytes(b"")
    return {"osm": place.folder / "city.osm.pbf"}


def empty_osm_folder(place):
    (place.folder / "empty").mkdir()
    return {"osm": place.folder / "empty"}


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def vector_without_crs(place):
    frame = gpd.GeoDataFrame({"building": ["yes"]}, geometry=[square(0, 0, 9)])
    frame.to_file(place.folder / "plain.shp")
    return {"osm": place.folder / "plain.shp"}


def no_tag_column(place):
    gpd.GeoDataFrame({"fclass": ["yes"], "label": [3]}, geometry=[square(0, 0, 9)],
                     crs=UTM).to_file(place.folder / "other.gpkg")
    return {"osm": place.folder / "other.gpkg"}


def only_empty_layers(place):
    place.osm.unlink()
    for layer in ("building", "leisure"):
        gpd.GeoDataFrame({layer: np.array([], dtype=object)}, geometry=[],
                         crs=UTM).to_file(place.osm, layer=layer)
    return {}


def no_overlap_and_an_empty_layer(place):
    gpd.GeoDataFrame({"leisure": np.array([], dtype=object)}, geometry=[],
                     crs=UTM).to_file(place.osm, layer="leisure")
    return no_overlap(place)


def no_overlap(place):
    place.frame.assign(geometry=place.frame.translate(5e4)).to_file(place.osm, layer="objects")
    return {}


def only_points(place):
    place.frame.assign(geometry=place.frame.centroid).to_file(place.osm, layer="objects")
    return {}


def out_is_a_file(place):
    (place.folder / "file").write_text("")
    return {"out": place.folder / "file"}


def cells(place, values) -> str:
    """Write four census cells over the raster, with these values."""
    shapes = [square(x, y, 40) for x in (0, 40) for y in (0, 40)]
    gpd.GeoDataFrame({"people": values}, geometry=shapes,
                     crs=UTM).to_file(place.folder / "cells.gpkg")
    return str(place.folder / "cells.gpkg")


def negative_population(place):
    return {"population": cells(place, [5.0, 3.0, -2.0, 1.0])}


def population_that_is_no_number(place):
    return {"population": cells(place, [5.0, 3.0, np.nan, 1.0])}


def negative_population_raster(place):
    people = -np.ones((4, 6, 1), np.float32)
    return {"population": str(write_raster(place.folder / "people.tif", people,
                                           Affine(20, 0, WEST, 0, -20, 5.5e6)))}


def land_use_without_a_map(place):
    return {"labels": str(write_raster(place.folder / "use.tif",
                                       np.full((140, 210, 1), 111, np.uint8)))}


def land_use_elsewhere(place):
    return {"labels": str(write_raster(place.folder / "use.tif", np.zeros((140, 210, 1), np.uint8),
                                       grid(10_000)))}


def below_a_file(place):
    return {"out": place.folder / "osm.gpkg" / "out"}


CASES = [
    (missing_raster, ["nope.tif", "no such file", "Pass raster="]),
    (raster_without_crs,
     ["city.tif", "no coordinate reference system", "rio edit-info --crs EPSG:"]),
    (raster_with_a_local_crs,
     ["city.tif", "no coordinate reference system", "rio edit-info --crs EPSG:"]),
    (raster_with_control_points, ["gcp.tif", "4 ground control points", "rio warp", "--dst-crs"]),
    (raster_without_geotransform,
     ["city.tif", "no geotransform", "(1.0, 0.0, 0.0", "rio edit-info"]),
    (corrupt_raster, ["city.tif", "not a readable raster", "Get the file again"]),
    (truncated_raster, ["city.tif", "damaged", "Get the file again"]),
    (damaged_16_bits, ["city.tif", "damaged", "Get the file again"]),
    (vrt_without_its_file, ["lost.vrt", "gone.tif", "no such file"]),
    (complex_raster, ["city.tif", "complex64", "uint16", "rio convert"]),
    (one_band, ["city.tif", "1 band", "red, green and blue", "bands=[1,1,1]"]),
    (lambda place: {"bands": [1, 2, 4]}, ["city.tif", "bands=[1,2,4]", "3 band(s)", "1..3"]),
    (lambda place: {"raster_crs": "EPSG:4326"},
     ["city.tif", "raster_crs=EPSG:4326", "has EPSG:32633 itself", "Leave it out"]),
    (lambda place: {"nodata": "black"}, ["nodata=black", "file, none, or a number"]),
    (lambda place: {"stretch": [98, 2]}, ["stretch=[98.0, 2.0]", "rising percentiles"]),
    (small_raster, ["city.tif", "210 x 50", "64 x 64", "larger raster"]),
    (empty_raster_folder, ["empty", "holds no GeoTIFF", "Pass raster="]),
    (mixed_pixel_types, ["b.tif", "uint16", "a.tif are uint8", "two cities"]),
    (no_imagery, ["city.tif", "no tile can be made", "4 tiles with too little imagery",
                  "max_nodata"]),
    (missing_osm, ["nope.gpkg", "no such file", "Pass osm="]),
    (corrupt_vector,
     ["osm.gpkg", "not a readable vector file", "GeoPackage", "Get the file again"]),
    (corrupt_shapefile, ["broken.shp", "not a readable vector file", "Get the file again"]),
    (unknown_key_in_the_layer_table,
     ["mine.yaml", "unknown name 'color' in keys.building", "layer, points, lines"]),
    (text_as_vector, ["notes.txt", "not a readable vector file", "GeoPackage"]),
    (corrupt_pbf, ["city.osm.pbf", "not a readable OpenStreetMap file", "get the file again"]),
    (empty_osm_folder, ["empty", "no vector file", ".shp"]),
    (vector_without_crs, ["plain.shp", "no coordinate reference system", ".set_crs(4326"]),
    (no_tag_column, ["other.gpkg", "columns found: fclass, label", "highway", "Rename"]),
    (only_empty_layers, ["osm.gpkg", "holds no feature", "keep_empty=true"]),
    (no_overlap_and_an_empty_layer, ["osm.gpkg", "15.69", "EPSG:4326"]),
    (no_overlap, ["osm.gpkg", "15.69", "15.00000, 49.65", "EPSG:4326", "keep_empty=true"]),
    (only_points, ["osm.gpkg", "no usable OSM object", "points", "keep_empty=true"]),
    (out_is_a_file, ["file: is a file, expected a folder", "Pass another out="]),
    (below_a_file, ["out", "cannot be written", "Pass out="]),
    (negative_population, ["cells.gpkg", "people", "-2", "expected 0 or more"]),
    (population_that_is_no_number, ["cells.gpkg", "people", "expected 0 or more"]),
    (negative_population_raster, ["people.tif", "-1", "rio edit-info --nodata"]),
    (land_use_without_a_map, ["use.tif", "111", "label_map="]),
    (land_use_elsewhere, ["use.tif", "does not overlap", "EPSG:4326"]),
    (lambda place: {"label_map": {1: 2}}, ["label_map={1: 2}", "no labels="]),
    (lambda place: {"population": "gone.tif"}, ["gone.tif", "no such file"]),
    (lambda place: {"scheduler": "tcp://127.0.0.1:9", "workers": 2},
     ["scheduler=tcp://127.0.0.1:9", "workers=2", "leave one out"]),
    (lambda place: {"split": {"val": 0.6, "test": 0.5}}, ["split.val=0.6", "below 1"]),
    (lambda place: {"text": "clip9"}, ["text=clip9", "unknown text encoder", "hash"]),
    (lambda place: {"city": "a/b"}, ["city='a/b'", "letters, digits"]),
    (lambda place: {"city": ""}, ["city=''", "letters, digits"]),
    (lambda place: {"max_nodata": 1.5}, ["max_nodata=1.5", "0 or more and 1 or less"]),
    (lambda place: {"tile_px": 0}, ["tile_px=0", "1 or more"]),
    (lambda place: {"tile_px": 22.5}, ["tile_px=22.5", "a whole number"]),
    (lambda place: {"stride": 0}, ["stride=0", "1 or more"]),
    (lambda place: {"workers": -1}, ["workers=-1", "1 or more"]),
    (lambda place: {"layout": "zip"}, ["layout=zip", "compact, release"]),
    (lambda place: {"population": "p.tif", "population_unit": "per_mile"},
     ["population_unit=per_mile", "per_km2"]),
    (lambda place: {"recipe": "roze"}, ["recipe=roze", "rose, release"]),
]


@pytest.mark.filterwarnings("ignore:'crs' was not provided",
                            "ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("spoil", "phrases"), CASES, ids=[
    f"{case.__name__.strip('<>')}-{phrases[0]}" for case, phrases in CASES])
def test_message(place, spoil, phrases):
    arguments = {"raster": place.raster, "osm": place.osm, "out": place.folder / "out",
                 "city": "c", "tile_px": 64, **spoil(place)}
    with pytest.raises(RoseError) as raised:
        prepare_tiles(**arguments, progress=False)
    message = str(raised.value)
    for phrase in phrases:
        assert phrase in message
    assert "\n" not in message
    assert not list(place.folder.rglob(".preparing-*"))
    assert not list(place.folder.rglob("*.png"))


def test_the_script_prints_the_message_and_exits_with_2(place, monkeypatch, capsys):
    import prepare_dataset

    arguments = [f"raster={place.folder}/nope.tif", f"osm={place.osm}", f"out={place.folder}/out",
                 "city=c"]
    monkeypatch.setattr(sys, "argv", ["prepare_dataset.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        prepare_dataset.main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "nope.tif: no such file" in error
    assert error.count("\n") == 1


def test_the_script_prepares_and_prints_a_summary(place, monkeypatch, capsys):
    import prepare_dataset

    arguments = [f"raster={place.raster}", f"osm={place.osm}", f"out={place.folder}/out", "city=c",
                 "tile_px=64", "recipe=release"]
    monkeypatch.setattr(sys, "argv", ["prepare_dataset.py", *arguments])
    prepare_dataset.main()
    assert "tiles        4" in capsys.readouterr().out
    assert '"relation_codes": "release"' in (place.folder / "out/cities/c/meta.json").read_text()
