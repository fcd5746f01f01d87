"""Every kind of vector file, and every way in which it may name tags."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from datasets.prepare.osm import vector_files
from datasets.prepare.osm.objects import source_files
from datasets.prepare.osm.tags import load_layers
from tests.datasets.prepare.places import NORTH, UTM, WEST, metres, square
from tests.datasets.prepare.reading import BOUNDS, read, write
from utils.errors import PrepareError
from utils.files import checksums

KEYS = ["building", "landuse", "highway"]


def tags_of(row) -> dict[str, str]:
    return {key: row[key] for key in KEYS if isinstance(row[key], str)}


def with_one_column(frame, name: str, text):
    """Return the frame with its tags in one text column."""
    return gpd.GeoDataFrame({name: [text(tags_of(row)) for _, row in frame.iterrows()]},
                            geometry=frame.geometry, crs=frame.crs)


def hstore(tags: dict[str, str]) -> str:
    return ",".join(f'"{key}"=>"{value}"'
                    for key, value in {"name": 'A "B"'.replace('"', '\\"'), **tags}.items())


def to_gpkg(frame, folder):
    frame[["building", "geometry"]].to_file(folder / "a.gpkg", layer="buildings")
    frame.drop(columns="building").to_file(folder / "a.gpkg", layer="others")
    return folder / "a.gpkg"


def to_geojson(frame, folder):
    frame.to_crs(4326).to_file(folder / "a.geojson")
    return folder / "a.geojson"


def to_parquet(frame, folder):
    frame.assign(building=frame["building"].astype("category")).to_crs(3857).to_parquet(
        folder / "a.parquet")
    return folder / "a.parquet"


def to_shapefiles_of_several_crs(frame, folder):
    lines = frame.geometry.geom_type == "LineString"
    (folder / "shp").mkdir()
    frame[lines].to_crs(3857).to_file(folder / "shp" / "lines.shp")
    frame[~lines].to_crs(32632).to_file(folder / "shp" / "polygons.shp")
    return folder / "shp"


def to_label_column(frame, folder):
    def text(tags):
        return ";".join(["name:A: B", *(f"{key}:{value}" for key, value in tags.items())])

    with_one_column(frame, "label", text).to_crs(4326).to_file(folder / "label.geojson")
    return folder / "label.geojson"


def to_other_tags(frame, folder):
    """Write OSM like ogr2ogr: some keys are columns, the rest is an hstore."""
    rest = with_one_column(frame.assign(building=None), "other_tags", hstore)
    rest.assign(building=frame["building"]).to_file(folder / "ogr.gpkg")
    return folder / "ogr.gpkg"


def to_json_tags(frame, folder):
    features = [{"type": "Feature", "properties": {"osm_id": 1, "tags": tags_of(row)},
                 "geometry": shapely.geometry.mapping(row.geometry)}
                for _, row in frame.to_crs(4326).iterrows()]
    (folder / "hot.geojson").write_text(json.dumps({"type": "FeatureCollection",
                                                    "features": features}))
    return folder / "hot.geojson"


def to_the_layout_of_the_release(frame, folder):
    """Write Shapefiles called like the layers, whose f_tag names the column of the value."""
    (folder / "release").mkdir()
    for key, name, pointer in (("building", "building", "building"),
                               ("landuse", "landuse", "fclass"), ("highway", "road", "highway")):
        rows = frame[frame[key].notna()]
        layer = gpd.GeoDataFrame({pointer: rows[key], "f_tag": pointer, "name": "x"},
                                 geometry=rows.geometry, crs=frame.crs)
        layer.to_file(folder / "release" / f"{name}.shp")
    return folder / "release"


@pytest.mark.parametrize("written", [
    to_gpkg, to_geojson, to_parquet, to_shapefiles_of_several_crs, to_label_column, to_other_tags,
    to_json_tags,
    to_the_layout_of_the_release,
])
def test_every_kind_of_source_gives_the_same_objects(place, tmp_path, written):
    objects = read(written(place.frame, tmp_path))
    assert sorted(objects.listing) == [
        ("building", "house"), ("building", "house"), ("building", "yes"), ("landuse", "grass"),
        ("landuse", "residential"),
        ("road", "residential"),
    ]
    assert (objects.census.repaired, +objects.census.dropped, objects.census.outside) == (0, {}, 0)
    for value, row in (("grass", 2), ("residential", 3)):
        expected = place.frame.geometry.iloc[row]
        # GeoJSON keeps 7 decimals: 1 cm
        assert shapely.symmetric_difference(objects.one("landuse", value), expected).area < 1e-3
    assert objects.one("road", "residential").area == pytest.approx(60 * 6 + np.pi * 9, rel=0.02)


def test_the_other_names_of_natural_and_highway(tmp_path):
    columns = {"natural": [None, "wood", None], "nature": ["heath", None, None],
               "road": [None, None, "path"]}
    path = write(tmp_path / "a.gpkg", columns,
                 [square(0, 0, 5), square(9, 0, 5), metres((0, 20), (9, 20))])
    # in the source's order
    assert read(path).listing == [("nature", "heath"), ("nature", "wood"), ("road", "path")]


def test_a_label_column_of_numbers_is_no_tag_column(tmp_path):
    path = write(tmp_path / "a.gpkg", {"label": [1], "building": ["yes"]}, [square(0, 0, 5)])
    assert read(path).listing == [("building", "yes")]


def test_columns_of_keys_go_before_a_label_column(tmp_path):
    path = write(tmp_path / "a.gpkg", {"label": ["landuse:grass"], "building": ["yes"]},
                 [square(0, 0, 5)])
    assert read(path).listing == [("building", "yes")]


def test_a_pointer_to_nowhere_is_counted(tmp_path):
    columns = {"f_tag": ["building", "gone", "name"], "building": ["yes", None, None],
               "name": ["a", "b", "c"]}
    objects = read(write(tmp_path / "places.shp", columns,
                         [square(0, 0, 5), square(9, 0, 5), square(18, 0, 5)]))
    assert objects.listing == [("building", "yes")]
    assert objects.census.dropped == {"whose f_tag names no column": 1,
                                      "whose f_tag names no layer": 1}


def test_a_pointer_to_a_name_that_a_shapefile_cuts(tmp_path):
    columns = {"f_tag": ["building_kind"], "building_kind": ["hut"]}
    with pytest.warns(UserWarning, match="10 characters"):
        path = write(tmp_path / "building.shp", columns, [square(0, 0, 5)])
    assert read(path).listing == [("building", "hut")]


def chunked(monkeypatch, whole: int):
    monkeypatch.setattr(vector_files, "CHUNK", 2)
    monkeypatch.setattr(vector_files, "READ_WHOLE", whole)


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp", "parquet"])
@pytest.mark.parametrize("whole", [0, 100])
def test_the_size_of_chunks_and_windows_changes_nothing(tmp_path, monkeypatch, suffix, whole):
    geometry = [square(10 * index, 10, 5) for index in range(7)] + [square(0, 10, 5),
                                                                    square(900, 0, 5),
                                                                    square(30, 40, 9)]
    frame = gpd.GeoDataFrame({"building": [*"abcdefghij"]}, geometry=geometry, crs=UTM)
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    chunked(monkeypatch, whole)
    objects = read(path)
    assert sorted(objects.values) == [*"abcdefgj"]  # h is a again, i is outside
    assert objects.census.dropped == {"repeated in their layer": 1}
    assert objects.census.outside == 1


def test_a_window_does_not_hide_null_geometries_of_files_of_usual_size(tmp_path):
    path = write(tmp_path / "a.gpkg", {"building": ["yes", "hut"]}, [square(0, 0, 5), None])
    assert read(path).census.dropped == {"without geometry": 1}


def test_a_ring_of_two_points_is_counted_and_stops_nothing(tmp_path):
    path = write(tmp_path / "a.geojson", {"building": ["yes"]}, [square(0, 0, 5)], crs=UTM)
    broken = {"type": "Polygon", "coordinates": [[[WEST + 1, NORTH - 1], [WEST + 2, NORTH - 2]]]}
    collection = json.loads(path.read_text())
    collection["features"].append({"type": "Feature", "properties": {"building": "hut"},
                                   "geometry": broken})
    path.write_text(json.dumps(collection))
    objects = read(path)
    assert objects.listing == [("building", "yes")]
    assert objects.census.dropped == {"without geometry": 1}


def test_text_that_is_not_in_the_stated_encoding(tmp_path):
    path = tmp_path / "a.shp"
    gpd.GeoDataFrame({"building": ["häuser"]}, geometry=[square(0, 0, 5)],
                     crs=UTM).to_file(path, encoding="ISO-8859-1")
    path.with_suffix(".cpg").write_text("UTF-8")
    assert read(path).listing == [("building", "häuser")]


def test_a_lost_index_is_restored_on_request(tmp_path, monkeypatch):
    path = write(tmp_path / "a.shp", {"building": ["yes"]}, [square(0, 0, 5)])
    path.with_suffix(".shx").unlink()
    message = r"a\.shp: the Shapefile's index a\.shx is missing.*SHAPE_RESTORE_SHX=YES"
    with pytest.raises(PrepareError, match=message):
        read(path)
    monkeypatch.setenv("SHAPE_RESTORE_SHX", "YES")
    assert read(path).listing == [("building", "yes")]


def test_attributes_that_are_cut_off(tmp_path):
    path = write(tmp_path / "a.shp", {"building": ["yes"]}, [square(0, 0, 5)])
    path.with_suffix(".dbf").write_bytes(path.with_suffix(".dbf").read_bytes()[:70])
    with pytest.raises(PrepareError, match=r"a\.dbf: damaged: 70 bytes long, .* states \d+"):
        read(path)


def test_the_files_of_a_shapefile(tmp_path):
    path = write(tmp_path / "a.shp", {"building": ["yes"]}, [square(0, 0, 5)])
    recorded = {Path(entry["file"]).suffix for entry in checksums(source_files(path))}
    assert recorded == {".shp", ".shx", ".dbf", ".prj", ".cpg"}


@pytest.mark.parametrize(("name", "count"), [("a702502933_US_21", 42), ("n4503852781_DE_", 15)])
def test_real_label_columns(shared, name, count):
    objects = read(shared / f"data/geolink_pairs/{name}.geojson", "EPSG:3857",
                   (-2e7, -2e7, 2e7, 2e7))
    assert len(objects.listing) == count
    assert shapely.is_valid(objects.geometry).all()


@pytest.mark.parametrize(("name", "layers", "dropped"), [
    ("qgis_shapefile_broken/shapefile", {"leisure": 2, "landuse": 1, "nature": 31},
     {"without geometry": 6, "deleted or unreadable": 1}),
    ("a1085095888_S2_20", {"nature": 10}, {}),
])
def test_real_files_with_faults(shared, name, layers, dropped):
    objects = read(shared / "data/edgecases" / name, "EPSG:4326", (-180, -89, 180, 89))
    assert {layer: objects.layers.count(layer) for layer in layers} == layers
    assert objects.census.dropped == dropped


@pytest.mark.parametrize(("name", "found"), [
    ("farms_33S/farms_33S.shp", "AG_CAD_ID"),
    ("qgis_shapefile_broken/shapefile/rivers.shp", "waterway"),
])
def test_real_files_without_tags_say_what_they_have(shared, name, found):
    with pytest.raises(PrepareError,
                       match=rf"no column names OSM tags; columns found: .*{found}.*layers="):
        read(shared / "data/edgecases" / name, UTM, BOUNDS)


@pytest.mark.parametrize("name", ["a!b.gpkg", "a!b.geojson"])
def test_a_path_that_the_reader_takes_for_an_archive_is_refused_by_its_character(tmp_path, name):
    frame = gpd.GeoDataFrame({"building": ["yes"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326)
    frame.to_file(tmp_path / "plain.gpkg")
    (tmp_path / "plain.gpkg").rename(tmp_path / name)
    with pytest.raises(PrepareError, match=r"a!b\.\w+: its path has a !.* Rename"):
        vector_files.tagged_layers(tmp_path / name, load_layers())
    frame.to_parquet(tmp_path / "a!b.parquet")
    assert len(vector_files.tagged_layers(tmp_path / "a!b.parquet", load_layers())[0]) == 1
