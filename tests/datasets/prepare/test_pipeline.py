"""From a raster and OSM objects to a tile dataset."""

import hashlib
import json
from collections import namedtuple

import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch
from affine import Affine
from PIL import Image

from datasets import TileDataset
from datasets.keys import PREPARE
from datasets.prepare import bands
from datasets.prepare.settings import Settings
from datasets.prepare.text.hashed import HashText
from tests.datasets.prepare.places import (
    NORTH,
    UTM,
    WEST,
    contents,
    graph_of,
    prepare,
    square,
    write_raster,
)
from tests.robustness.remedies import commands_in, follow
from utils.cli.compose import read
from utils.errors import ConfigError, PrepareError

Usage = namedtuple("Usage", "total used free")
# a house, the road, half a building, the road and a house
TILES = ["c_0_0", "c_0_1", "c_1_0", "c_1_1"]


def meta_of(place) -> dict:
    return json.loads((place.folder / "out/cities/c/meta.json").read_text())


def test_tiles_and_counts(place):
    summary = prepare(place)
    tiles = TileDataset(place.folder / "out", image_size=64)
    assert tiles.names == TILES
    assert (summary.tiles, summary.nodes) == (4, 8)
    assert summary.skipped == {"partial tiles at the right or bottom edge": 6, bands.EMPTY: 2}
    assert summary.objects == {"amenity": 0, "building": 3, "landuse": 2, "leisure": 0,
                               "nature": 0, "road": 1}
    for words in ("tiles        4, 32 x 32 m each (0.5 m a pixel)",
        "6 (3 building, 2 landuse, 1 road); distinct tag values: 4",
                  "6 partial tiles at the right"):
        assert words in str(summary)
    # nothing of the work is left
    assert [path.name for path in (place.folder / "out").iterdir()] == ["cities"]


def test_no_step_is_silent(place, capsys):
    people = gpd.GeoDataFrame({"people": [10.0]}, geometry=[square(0, 0, 150)], crs=UTM)
    people.to_file(place.folder / "people.gpkg")
    prepare(place, progress=True, keep_empty=True, population=str(place.folder / "people.gpkg"))
    steps = [line.split("/")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert steps == [
        "opening", "checking", "encoding 4 tag values with text=hash",
        "recording the sources and their checksums", "joining the tiles",
        "listing tiles for training and test"]


def test_images_are_windows_of_the_raster(place):
    prepare(place)
    tiles = TileDataset(place.folder / "out", image_size=64)
    image = tiles.read(tiles.names.index("c_1_1"))[0]
    np.testing.assert_array_equal(image.permute(1, 2, 0), place.image[64:128, 64:128])


def test_both_layouts_hold_the_same_tensors(place):
    prepare(place, keep_empty=True)
    prepare(place, keep_empty=True, layout="release", out=place.folder / "files")
    compact, release = (TileDataset(place.folder / name, image_size=64)
                        for name in ("out", "files"))
    assert compact.names == release.names
    assert compact.label_names == release.label_names
    for (image, graph), (other_image, other) in zip(compact, release, strict=True):
        assert torch.equal(image, other_image)
        for name in ("x", "edge_index", "edge_attr"):
            assert torch.equal(graph[name], other[name])
            assert graph[name].dtype == other[name].dtype


def test_a_folder_has_one_layout(place):
    prepare(place, layout="release")
    message = r"holds a dataset of another kind, layout=release with c; .* Pass layout=release"
    with pytest.raises(PrepareError, match=f"out: {message}"):
        prepare(place, city="d")
    assert prepare(place, overwrite=True).tiles == 4  # the only city there, in the other layout
    assert [path.name for path in (place.folder / "out").iterdir()] == ["cities"]
    assert len(TileDataset(place.folder / "out", image_size=64)) == 4
    with pytest.raises(PrepareError, match="layout=compact with c"):
        prepare(place, city="d", layout="release")


def test_a_disk_that_is_too_small_is_refused_before_the_work(place, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10**6, 10**6, 10**3))
    message = r"out: the disk has 1 kB free, but 6 tiles need .* kB or more; free space"
    with pytest.raises(PrepareError, match=message):
        prepare(place)
    assert not (place.folder / "out").exists()


def test_targets_and_lists_come_with_the_tiles(place):
    use = np.repeat(np.arange(3, dtype=np.uint8), 70)[None, :, None].repeat(140, 0)
    labels = str(write_raster(place.folder / "use.tif", use, nodata=255))
    people = str(write_raster(place.folder / "people.tif", np.full((7, 11, 1), 3, np.float32),
                              Affine(10, 0, WEST, 0, -10, NORTH)))
    keys = {"labels": labels, "label_map": {0: "green", 1: 4}, "population": people,
            "split": {"guard": 0, "block": 1}}
    summary = prepare(place, keep_empty=True, **keys)
    tiles = TileDataset(place.folder / "out", image_size=64)
    assert tiles.land_use(0).unique().tolist() == [1]                    # x 0..63, value 0
    # values 1 and 2, of which the map has one
    assert tiles.land_use(tiles.names.index("c_2_0")).unique().tolist() == [4, 255]
    assert tiles.total(0, "pop") == pytest.approx(3 * 3.2**2, rel=1e-5)
    assert tiles.total(0, "CO2") is None
    assert summary.report.totals["pop"] == pytest.approx(6 * 3 * 3.2**2, rel=1e-5)
    listed = {path.name: path.read_text().split() for path in (place.folder / "out").glob("*.txt")}
    assert sorted(name for lines in listed.values()
                  for name in lines) == [f"{name}.png" for name in tiles.names]


@pytest.mark.parametrize("file", ["val.txt", "osm-train-all.txt"])
def test_lists_that_were_changed_by_hand_stay(place, file):
    use = str(write_raster(place.folder / "use.tif", np.zeros((140, 210, 1), np.uint8)))
    keys = {"keep_empty": True, "labels": use, "split": {"guard": 0, "block": 1}}
    out = place.folder / "out"

    def lists() -> dict[str, str]:
        return {path.name: path.read_text() for path in out.glob("*.txt")}

    prepare(place, **keys)
    assert "the lists stay" not in str(prepare(place, city="d", **keys))
    dealt = lists()
    assert "d_0_0.png" in "".join(dealt.values())
    (out / file).write_text("c_0_0.png\n")
    summary = str(prepare(place, city="e", **keys))
    assert f"the lists stay as they are: {file} was changed" in summary
    assert lists() == dealt | {file: "c_0_0.png\n"}
    [command] = commands_in(summary)
    follow(f"{command} split.guard=0 split.block=1", place.folder)
    assert "e_0_0.png" in "".join(lists().values())
    assert "the lists stay" not in str(prepare(place, city="f", **keys))


def test_lists_do_not_name_tiles_that_are_no_more(place):
    use = str(write_raster(place.folder / "use.tif", np.zeros((140, 210, 1), np.uint8)))
    prepare(place, keep_empty=True, labels=use, split={"guard": 0, "block": 1})
    prepare(place, overwrite=True)
    listed = [name for path in (place.folder / "out").glob("*.txt")
              for name in path.read_text().split()]
    assert sorted(listed) == [f"{name}.png" for name in TILES]


def test_a_tile_that_the_census_covers_in_part_is_counted(place):
    people = gpd.GeoDataFrame({"people": [10.0, 20.0]},
                              geometry=[square(0, 0, 32), square(32, 0, 16)], crs=UTM)
    people.to_file(place.folder / "people.gpkg")
    summary = prepare(place, keep_empty=True, population=str(place.folder / "people.gpkg"))
    assert (summary.report.partly["pop"], summary.report.without["pop"]) == (1, 4)
    assert ("pop          30.0 in all (4 tiles without a value; 1 tiles covered in part)"
            in str(summary))


def test_the_summary_calls_totals_what_they_are(place):
    people = gpd.GeoDataFrame({"people": [10.0]}, geometry=[square(0, 0, 210)], crs=UTM)
    people.to_file(place.folder / "people.gpkg")
    source = str(place.folder / "people.gpkg")
    keys = {"keep_empty": True, "population": source, "co2": source,
            "split": {"guard": 0, "block": 1}}
    said = str(prepare(place, population_what="thousand m3", **keys))
    assert " thousand m3 in all" in said
    assert "mean thousand m3  mean CO2" in said
    assert "mean pop" not in said
    assert "pop  " not in said
    said = str(prepare(place, city="d", overwrite=True, population_what="cars", co2_what="cars",
                       out=str(place.folder / "other"), **keys))
    assert said.count(" cars in all") == 2
    assert "mean pop  mean CO2" in said


def test_what_a_total_is_fits_in_a_line(place):
    with pytest.raises(ConfigError, match=r"population_what=m+\.\.\.: expected 200 characters or "
                                          "fewer"):
        prepare(place, population="people.gpkg", population_what="m" * 201)


def test_a_dry_run_makes_nothing_but_a_picture(place):
    forecast = prepare(place, keep_empty=True, dry_run=True)
    assert [path.name for path in (place.folder / "out").iterdir()] == ["c_preview.png"]
    made = prepare(place, keep_empty=True)
    assert (forecast.tiles, forecast.objects) == (made.tiles, made.objects)
    size = sum(path.stat().st_size for path in (place.folder / "out").rglob("*.bin"))
    assert size < forecast.bytes < 2 * size
    for words in ("nothing made (dry_run=true)", "6 of 3 x 2, 6 partial",
                  "6 (3 building, 2 landuse, 1 road)"):
        assert words in str(forecast)
    with Image.open(forecast.picture) as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 100  # the raster's noise, tinted by objects


def test_overlapping_and_spaced_tiles(place):
    summary = prepare(place, stride=32, keep_empty=True)
    assert summary.tiles == 5 * 3
    tiles = TileDataset(place.folder / "out", image_size=64)
    image, graph = tiles.read(tiles.names.index("c_1_1"))
    np.testing.assert_array_equal(image.permute(1, 2, 0), place.image[32:96, 32:96])
    assert meta_of(place)["stride"] == 32
    assert len(graph.x) == 3  # the house in two layers, and the road
    assert prepare(place, stride=128, keep_empty=True, overwrite=True).tiles == 2


def test_the_defaults_of_the_command_line_are_those_of_python():
    cfg = read(PREPARE, "raster=r", "osm=o", "out=d", "city=c")
    settings = Settings.of(raster="r", osm="o", out="d", city="c")
    assert vars(settings) == {**vars(cfg), "stride": 224}


def test_graphs_and_what_the_metadata_say_of_them(place):
    prepare(place)
    meta = meta_of(place)
    assert meta["label_names"] == ["house", "yes", "grass", "residential", "residential"]
    assert meta["label_layers"] == ["building", "building", "landuse", "landuse", "road"]
    assert (meta["crs"], meta["tile_px"], meta["stride"],
            meta["stretch"]) == ("EPSG:32633", 64, 64, None)
    assert {source["file"] for source in meta["sources"]} == {"city.tif", "osm.gpkg",
                                                              "osm_layers.yaml"}
    assert meta["sources"][0] == {
        "file": "city.tif", "bytes": place.raster.stat().st_size,
        "sha256": hashlib.sha256(place.raster.read_bytes()).hexdigest(),
    }
    assert {"geos", "gdal", "shapely"} <= meta["versions"].keys()
    table = dict(zip(meta["text_values"], np.load(place.folder / "out/cities/c/text.npy"),
                     strict=True))
    np.testing.assert_array_equal(table["grass"], HashText().encode(["grass"])[0])

    node, edge, weight = graph_of(place, "c_0_0")
    assert (node.dtype, edge.dtype, weight.dtype) == (torch.float32, torch.int64, torch.float32)
    assert node.shape == (3, 525)
    assert node[:, 524].tolist() == [0, 1, 2]
    # the second is clipped to its western half
    np.testing.assert_allclose(node[:, 512], np.array([100, 4 * 8, 16]) / 32**2, rtol=1e-5)
    np.testing.assert_allclose(node[0, 522:524], [7 / 32, 7 / 32], rtol=1e-5)
    assert edge.tolist() == [[0, 2], [2, 0]]
    assert weight[:, 0].tolist() == [4, 5]

    node, edge, weight = graph_of(place, "c_1_1")
    assert node[:, 524].tolist() == [0, 3, 4]
    assert edge.tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    # equal geometries: the earlier contains the later; the road crosses both
    assert weight[:, 0].tolist() == [4, 3, 5, 3, 3, 3]
    same_value = node[1, :512], node[2, :512]
    assert torch.equal(*same_value)
    assert not torch.equal(node[0, :512], node[1, :512])


def test_label_codes_follow_the_sorted_values_of_each_layer(place):
    place.frame["building"] = ["yes", "house", None, "Barn", None]
    place.frame.to_file(place.osm, layer="objects")
    prepare(place)
    meta = meta_of(place)
    assert meta["label_names"] == ["Barn", "house", "yes", "grass", "residential", "residential"]
    assert graph_of(place, "c_0_0")[0][:, 524].tolist() == [2, 1, 3]


def test_clips_of_an_object_add_up_to_it(place):
    prepare(place, keep_empty=True, max_nodata=1)
    area = sum(graph_of(place, name)[0][:, 512].sum().item()
               for name in [*TILES, "c_2_0", "c_2_1"]) * 32**2
    road = 60 * 6 + np.pi * 9 / 2  # its round end outside the raster is cut off
    assert area == pytest.approx(100 + 64 + 16 + 2 * 100 + road, rel=0.01)


def test_objects_that_only_touch_a_tile_are_no_nodes(place):
    # fills tile (1, 0) and shares its edges with three others
    place.frame.loc[0, "geometry"] = square(32, 0, 32)
    place.frame.to_file(place.osm, layer="objects")
    summary = prepare(place)
    assert graph_of(place, "c_0_0")[0][:, 524].tolist() == [1, 2]
    # the edges and corners shared with the other five tiles
    assert summary.left_out[bands.FLAT_CLIPS] == 5


def test_a_clip_in_several_parts_is_one_node(place):
    comb = shapely.union_all([square(2, 2, 4), square(2, 12, 4),
                              shapely.box(*square(0, 0, 1).bounds)]).union(square(34, 0, 20))
    place.frame.loc[:, "geometry"] = [comb] * 5
    place.frame.to_file(place.osm, layer="objects")
    prepare(place)
    buildings = graph_of(place, "c_0_0")[0]
    # in building, landuse and road
    assert buildings[:, 512].tolist() == pytest.approx([33 / 32**2] * 3)


def test_the_lines_of_a_clip_do_not_count(place):
    hook = shapely.union_all([place.frame.geometry[0],
                              shapely.box(*square(32, 8, 8).union(square(32, 20, 8)).bounds)])
    # enters tile (0, 0) and runs along its edge
    hook = hook.union(shapely.box(*square(11, 8, 4).union(square(30, 8, 4)).bounds))
    place.frame.loc[0, "geometry"] = hook
    place.frame.to_file(place.osm, layer="objects")
    prepare(place)
    house = graph_of(place, "c_0_0")[0][0]
    assert house[512] * 32**2 == pytest.approx(100 + 20 * 4)
    assert house[513] * 4 * 32 == pytest.approx(40 + 2 * 20)


def test_keep_empty_writes_empty_graphs(place):
    summary = prepare(place, keep_empty=True)
    assert summary.tiles == 6
    assert [tensor.shape for tensor in graph_of(place, "c_2_0")] == [(0, 525), (2, 0), (0, 1)]


def test_a_raster_without_any_osm_object_can_be_prepared_on_purpose(place):
    place.frame.translate(1e4).to_frame("geometry").assign(building="yes").to_file(place.osm,
                                                                                   layer="objects")
    summary = prepare(place, keep_empty=True)
    assert (summary.tiles, summary.nodes) == (6, 0)


def test_tiles_without_imagery_are_left_out(place):
    image = place.image.copy()
    image[:64, :8] = 0  # an eighth of tile (0, 0)
    write_raster(place.raster, image, nodata=0)
    assert prepare(place, max_nodata=0.12).skipped[bands.BLANK] == 1
    assert prepare(place, max_nodata=0.13, overwrite=True).skipped[bands.BLANK] == 0


def test_recipe_release_reaches_the_graphs(place):
    # the earlier node now lies within the later
    place.frame.loc[[0, 2], "geometry"] = place.frame.geometry.loc[[2, 0]].to_numpy()
    place.frame.to_file(place.osm, layer="objects")
    prepare(place)
    assert graph_of(place, "c_0_0")[2][:, 0].tolist() == [5, 4]
    prepare(place, recipe="release", overwrite=True)
    node, _, weight = graph_of(place, "c_0_0")
    assert weight[:, 0].tolist() == [3, 3]
    np.testing.assert_array_equal(node[:, 514:524] * 64 % 1, 0)  # whole pixels
    prepare(place, recipe="release", relation_codes="symmetric", overwrite=True)
    assert graph_of(place, "c_0_0")[2][:, 0].tolist() == [5, 4]


def test_a_second_run_writes_the_same_bytes(place):
    prepare(place)
    first = contents(place.folder / "out")
    prepare(place, overwrite=True)
    assert contents(place.folder / "out") == first


def test_existing_tiles_are_replaced_only_on_request_and_only_of_this_city(place):
    out = place.folder / "out"
    prepare(place, city="c_1")  # its tile names begin like those of c
    other = contents(out)
    prepare(place, keep_empty=True)
    before = contents(out)
    with pytest.raises(PrepareError,
                       match=r"out: already holds the city c, expected none. Pass overwrite=true"):
        prepare(place)
    assert contents(out) == before
    assert prepare(place, overwrite=True).tiles == 4
    after = contents(out)
    assert other.items() <= after.items()
    assert TileDataset(out, cities=["c"], image_size=64).names == TILES


def test_a_preview_stays_beside_the_tiles_that_it_shows_and_no_others(place, capsys):
    preview = place.folder / "out/c_preview.png"
    prepare(place, dry_run=True)
    prepare(place, keep_empty=True)
    assert preview.is_file()
    prepare(place, resolution=1, tile_px=32, overwrite=True, progress=True)
    assert not preview.exists()
    assert "c_preview.png shows another raster" in capsys.readouterr().out
    preview.write_bytes(b"an earlier version's")
    prepare(place, overwrite=True)
    assert not preview.exists()
