"""From a raster and OSM objects to the files of a tile dataset."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from PIL import Image

from datasets import TileDataset
from datasets.prepare import pipeline
from datasets.prepare.pipeline import prepare_tiles
from tests.datasets.prepare.places import square, write_raster
from utils.errors import PrepareError, TileError

TILES = ["c_0_0", "c_0_1", "c_1_0", "c_1_1"]  # a house, the road, half a building, the road and a house


def prepare(place, **keys):
    arguments = {"raster": place.raster, "osm": place.osm, "out": place.folder / "out", "city": "c", "tile_px": 64, "progress": False}
    return prepare_tiles(**{**arguments, **keys})


def load(place, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return tuple(torch.load(place.folder / "out" / part / f"{name}.tensor", weights_only=True) for part in ("node", "edge", "edge_w"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_files_and_counts(place):
    summary = prepare(place)
    out = place.folder / "out"
    assert sorted(path.name for path in out.iterdir()) == ["edge", "edge_w", "img", "meta", "node"]
    for part, suffix in (("img", ".png"), ("node", ".tensor"), ("edge", ".tensor"), ("edge_w", ".tensor")):
        assert sorted(path.name for path in (out / part).iterdir()) == [name + suffix for name in TILES]
    assert (summary.tiles, summary.nodes) == (4, 8)
    assert summary.skipped == {pipeline.PARTIAL: 6, pipeline.EMPTY: 2}
    assert summary.objects == {"amenity": 0, "building": 3, "landuse": 2, "leisure": 0, "nature": 0, "road": 1}
    for words in ("tiles        4", "6 (3 building, 2 landuse, 1 road); distinct tag values: 4", "6 partial tiles at the right"):
        assert words in str(summary)


def test_images_are_windows_of_the_raster(place):
    prepare(place)
    np.testing.assert_array_equal(np.array(Image.open(place.folder / "out/img/c_1_1.png")), place.image[64:128, 64:128])


def test_graphs_and_what_the_meta_file_says_of_them(place):
    prepare(place)
    meta = json.loads((place.folder / "out/meta/c.json").read_text())
    assert meta["label_names"] == ["house", "yes", "grass", "residential", "residential"]
    assert meta["label_layers"] == ["building", "building", "landuse", "landuse", "road"]
    assert (meta["crs"], meta["tile_px"], meta["osm_source"]) == ("EPSG:32633", 64, "osm.gpkg")
    assert meta["raster_files"] == ["city.tif"]

    node, edge, weight = load(place, "c_0_0")
    assert (node.dtype, edge.dtype, weight.dtype) == (torch.float32, torch.int64, torch.float32)
    assert node.shape == (3, 525)
    assert node[:, 524].tolist() == [0, 1, 2]
    np.testing.assert_allclose(node[:, 512], np.array([100, 4 * 8, 16]) / 32**2, rtol=1e-5)  # the second is clipped to its western half
    np.testing.assert_allclose(node[0, 522:524], [7 / 32, 7 / 32], rtol=1e-5)
    assert edge.tolist() == [[0, 2], [2, 0]]
    assert weight[:, 0].tolist() == [4, 5]

    node, edge, weight = load(place, "c_1_1")
    assert node[:, 524].tolist() == [0, 3, 4]
    assert edge.tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    assert weight[:, 0].tolist() == [4, 3, 5, 3, 3, 3]  # equal geometries: the earlier contains the later; the road crosses both
    same_value = node[1, :512], node[2, :512]
    assert torch.equal(*same_value)
    assert not torch.equal(node[0, :512], node[1, :512])


def test_label_codes_follow_the_sorted_values_of_each_layer(place):
    place.frame["building"] = ["yes", "house", None, "Barn", None]
    place.frame.to_file(place.osm, layer="objects")
    prepare(place)
    meta = json.loads((place.folder / "out/meta/c.json").read_text())
    assert meta["label_names"] == ["Barn", "house", "yes", "grass", "residential", "residential"]
    assert load(place, "c_0_0")[0][:, 524].tolist() == [2, 1, 3]


def test_clips_of_an_object_add_up_to_it(place):
    prepare(place, keep_empty=True, max_nodata=1)
    area = sum(load(place, name)[0][:, 512].sum().item() for name in [*TILES, "c_2_0", "c_2_1"]) * 32**2
    road = 60 * 6 + np.pi * 9 / 2  # its round end outside the raster is cut off
    assert area == pytest.approx(100 + 64 + 16 + 2 * 100 + road, rel=0.01)


def test_objects_that_only_touch_a_tile_are_no_nodes(place):
    place.frame.loc[0, "geometry"] = square(32, 0, 32)  # fills tile (1, 0) and shares its edges with three others
    place.frame.to_file(place.osm, layer="objects")
    summary = prepare(place)
    assert load(place, "c_0_0")[0][:, 524].tolist() == [1, 2]
    assert summary.dropped[pipeline.FLAT_CLIPS] == 5  # the edges and corners shared with the other five tiles


def test_a_clip_in_several_parts_is_one_node(place):
    comb = shapely.union_all([square(2, 2, 4), square(2, 12, 4), shapely.box(*square(0, 0, 1).bounds)]).union(square(34, 0, 20))
    place.frame.loc[:, "geometry"] = [comb] * 5
    place.frame.to_file(place.osm, layer="objects")
    prepare(place)
    buildings = load(place, "c_0_0")[0]
    assert buildings[:, 512].tolist() == pytest.approx([33 / 32**2] * 3)  # in building, landuse and road


def test_the_lines_of_a_clip_do_not_count(place):
    hook = shapely.union_all([place.frame.geometry[0], shapely.box(*square(32, 8, 8).union(square(32, 20, 8)).bounds)])
    hook = hook.union(shapely.box(*square(11, 8, 4).union(square(30, 8, 4)).bounds))  # enters tile (0, 0) and runs along its edge
    place.frame.loc[0, "geometry"] = hook
    place.frame.to_file(place.osm, layer="objects")
    prepare(place)
    house = load(place, "c_0_0")[0][0]
    assert house[512] * 32**2 == pytest.approx(100 + 20 * 4)
    assert house[513] * 4 * 32 == pytest.approx(40 + 2 * 20)


def test_keep_empty_writes_empty_graphs(place):
    summary = prepare(place, keep_empty=True)
    assert summary.tiles == 6
    assert [tensor.shape for tensor in load(place, "c_2_0")] == [(0, 525), (2, 0), (0, 1)]


def test_a_raster_without_any_osm_object_can_be_prepared_on_purpose(place):
    place.frame.translate(1e4).to_frame("geometry").assign(building="yes").to_file(place.osm, layer="objects")
    summary = prepare(place, keep_empty=True)
    assert (summary.tiles, summary.nodes) == (6, 0)


def test_tiles_without_imagery_are_left_out(place):
    image = place.image.copy()
    image[:64, :8] = 0  # an eighth of tile (0, 0)
    write_raster(place.raster, image, nodata=0)
    assert prepare(place, max_nodata=0.12).skipped[pipeline.BLANK] == 1
    assert prepare(place, max_nodata=0.13, overwrite=True).skipped[pipeline.BLANK] == 0


def test_recipe_release_reaches_the_graphs(place):
    place.frame.loc[[0, 2], "geometry"] = place.frame.geometry.loc[[2, 0]].to_numpy()  # the earlier node now lies within the later
    place.frame.to_file(place.osm, layer="objects")
    prepare(place)
    assert load(place, "c_0_0")[2][:, 0].tolist() == [5, 4]
    prepare(place, recipe="release", overwrite=True)
    node, _, weight = load(place, "c_0_0")
    assert weight[:, 0].tolist() == [3, 3]
    np.testing.assert_array_equal(node[:, 514:524] * 64 % 1, 0)  # whole pixels
    prepare(place, recipe="release", relation_codes="symmetric", overwrite=True)
    assert load(place, "c_0_0")[2][:, 0].tolist() == [5, 4]


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
    with pytest.raises(PrepareError, match=r"out: already holds 6 tiles of c, expected none. Pass overwrite=true"):
        prepare(place)
    assert contents(out) == before
    assert prepare(place, overwrite=True).tiles == 4
    after = contents(out)
    assert other.items() <= after.items()
    assert len(after) == len(other) + 4 * 4 + 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_stops_in_the_middle_leaves_nothing_behind(place, monkeypatch, error):
    out = place.folder / "out"
    prepare(place)
    before = contents(out)
    build, calls = pipeline.build_graph, []

    def stop_at_the_third(*args, **keys):
        calls.append(1)
        if len(calls) == 3:
            raise error
        return build(*args, **keys)

    monkeypatch.setattr(pipeline, "build_graph", stop_at_the_third)
    with pytest.raises(error):
        prepare(place, overwrite=True)
    assert contents(out) == before
    assert not (out / ".preparing-c").exists()


def test_what_a_killed_run_left_is_cleared(place):
    stale = place.folder / "out" / ".preparing-c" / "img"
    stale.mkdir(parents=True)
    (stale / "c_9_9.png").write_bytes(b"half")
    prepare(place)
    assert not list((place.folder / "out").rglob("*c_9_9*"))
    assert not stale.exists()


def test_a_kill_while_tiles_are_moved_leaves_a_dataset_that_is_refused_until_it_is_prepared_again(place, monkeypatch):
    out = place.folder / "out"
    prepare(place)
    before, replace, moved = contents(out), Path.replace, []

    def die_at_the_last_picture(path, target):
        moved.append(path)
        if len(moved) == len(before) - 1:
            raise KeyboardInterrupt  # as a kill would leave it: nothing after this runs but the cleaning
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die_at_the_last_picture)
        with pytest.raises(KeyboardInterrupt):
            prepare(place, overwrite=True)
    with pytest.raises(TileError, match=r"the preparation of c was interrupted.*run prepare_dataset.py for it again"):
        TileDataset(out)
    prepare(place)  # without overwrite: nothing there is of use
    assert contents(out) == before


def test_files_are_no_larger_than_their_tensors(place):
    prepare(place)
    for path in (place.folder / "out" / "node").iterdir():
        assert path.stat().st_size < torch.load(path, weights_only=True).nbytes + 2048
