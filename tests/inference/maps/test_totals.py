"""predict_scene.py with a model of totals: tiles, their raster, and zones."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import torch

from datasets import TileDataset, collate
from datasets.prepare.pipeline import prepare_tiles
from inference.maps.run import _make_strips
from models import build_rose
from models.decoders import TargetScale
from models.heads import RegressionHead
from models.network_file import NetworkFile, save_finetuned
from tests.inference.maps.scenes import (
    CRS,
    noise,
    pixels_of,
    predict,
    write_model,
    write_objects,
    write_raster,
)
from utils.errors import PrepareError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "best.safetensors", "regression")


@pytest.fixture(scope="module", params=CRS)
def mapped(request, model, tmp_path_factory):
    """A scene of 3 x 2 tiles and parts of tiles, the last column without imagery, with zones that
    share it out; and its map."""
    folder = tmp_path_factory.mktemp("mapped")
    pixels = noise(500, 900)
    pixels[:, 672:] = 0
    raster = write_raster(folder / "city.tif", pixels, request.param, nodata=0)
    with rasterio.open(raster) as file:
        left, bottom, right, top = file.bounds
    random = np.random.default_rng(3)
    points = shapely.multipoints(np.column_stack([random.uniform(left, right, 7),
                                                  random.uniform(bottom, top, 7)]))
    whole = shapely.box(left, bottom, right, top)
    zones = shapely.get_parts(shapely.voronoi_polygons(points, extend_to=whole))
    gpd.GeoDataFrame({"name": list("abcdefg")}, geometry=zones,
                     crs=request.param).to_crs(4326).to_file(folder / "zones.gpkg")
    osm = write_objects(folder / "osm.gpkg", raster, 30)
    return raster, osm, predict(raster, model, folder / "map", osm=osm,
                                zones=folder / "zones.gpkg")


def test_zones_that_share_out_the_scene_sum_to_its_tiles(mapped):
    _, _, out = mapped
    tiles, zones = gpd.read_file(out / "tiles.gpkg"), gpd.read_file(out / "zones.gpkg")
    assert list(zones.columns) == ["name", "population", "covered", "geometry"]
    assert zones.population.sum() == pytest.approx(tiles.population.sum(), rel=1e-3)
    assert tiles.population.sum() > 0


def test_the_report_names_no_more_zones_than_it_can_show(mapped, model, tmp_path, monkeypatch):
    raster, osm, out = mapped
    monkeypatch.setattr("inference.maps.totals.SHOWN_ZONES", 3)
    made = predict(raster, model, tmp_path / "map", osm=osm, zones=raster.parent / "zones.gpkg")
    (table,) = json.loads((made / "scene.json").read_text())["tables"]
    assert table["title"] == "Zones: population, the largest 3 of 7"
    zones = gpd.read_file(made / "zones.gpkg").sort_values("population", ascending=False)
    digits = max(0, 2 - int(np.log10(zones.population.max())))
    assert table["rows"][0][:2] == [zones.iloc[0, 0], f"{zones.population.max():,.{digits}f}"]
    assert [row[0] for row in table["rows"]] == zones.iloc[:3, 0].tolist()
    assert len(json.loads((out / "scene.json").read_text())["tables"][0]["rows"]) == 7


@pytest.mark.parametrize("edited", [None, "a total", "texts", "another kind"])
def test_zones_of_a_finished_map_need_the_network_no_more(mapped, model, tmp_path, monkeypatch,
                                                          edited):
    """As long as the table of its tiles is what was written."""
    raster, osm, out = mapped
    plain = predict(raster, model, tmp_path / "map", osm=osm)
    tiles = gpd.read_file(plain / "tiles.gpkg")
    if edited == "a total":
        tiles.loc[0, "population"] += 1
    if edited == "texts":
        tiles["row"] = "a"
    tiles.to_file(plain / "tiles.gpkg")  # its bytes change, as when a GIS opens it
    if edited == "another kind":  # which GDAL would follow to any place
        (plain / "tiles.gpkg").rename(tmp_path / "theirs.gpkg")
        (plain / "tiles.gpkg").write_text(
            f'<OGRVRTDataSource><OGRVRTLayer name="theirs"><SrcDataSource>{tmp_path}/theirs.gpkg'
            '</SrcDataSource><SrcLayer>tiles</SrcLayer></OGRVRTLayer></OGRVRTDataSource>')

    def make_strips(*arguments):
        assert edited, "the strips follow from the table"
        _make_strips(*arguments)
    with monkeypatch.context() as patched:
        patched.setattr("inference.maps.run._make_strips", make_strips)
        predict(raster, model, plain, osm=osm, zones=raster.parent / "zones.gpkg", overwrite=True)
    assert (plain / "totals.tif").read_bytes() == (out / "totals.tif").read_bytes()
    for name in ("tiles.gpkg", "zones.gpkg"):
        pd.testing.assert_frame_equal(gpd.read_file(plain / name), gpd.read_file(out / name))


def test_the_total_of_cut_tiles_is_given_apart(mapped):
    _, _, out = mapped
    tiles = gpd.read_file(out / "tiles.gpkg")
    lines = json.loads((out / "scene.json").read_text())["lines"]
    cut = tiles.population[tiles.imagery < 0.5].sum()
    assert lines[:2] == [f"{tiles.population.sum():,.0f} people on 9 tiles",
                         f"{cut:,.0f} of them where a tile has imagery on less than half of its "
                         "ground (3 of the tiles): there the model is least certain"]


def test_a_model_that_counts_objects_counts_those_of_the_scene(tmp_path):
    """By their tags, whose codes are others here than where it was trained."""
    head = RegressionHead("osm", "pop", TargetScale("standard", 0.0, 1.0),
                          counts=("road/service", "building/yes"))
    model = head.build(build_rose("test_vit"))
    weight = torch.zeros_like(model.counts.weight)
    weight[1] = 5.0
    model.counts.set_to(weight=weight)
    save_finetuned(tmp_path / "best.safetensors", model, head)
    raster = write_raster(tmp_path / "city.tif", noise(224, 448))
    osm = write_objects(tmp_path / "osm.gpkg", raster)
    out = predict(raster, tmp_path / "best.safetensors", tmp_path / "map", osm=osm)
    tiles, buildings = gpd.read_file(out / "tiles.gpkg"), gpd.read_file(osm)
    there = [buildings.to_crs(tiles.crs).intersects(tile).sum() for tile in tiles.geometry]
    assert tiles.population.tolist() == pytest.approx([5.0 * number for number in there])
    assert min(there) > 0


def test_a_total_is_called_what_the_dataset_counted(tmp_path):
    model = write_model(tmp_path / "best.safetensors", "regression", counted="m3 of building")
    raster = write_raster(tmp_path / "city.tif", noise(224, 448))
    area = shapely.box(*gpd.GeoSeries.from_file(write_objects(tmp_path / "o.gpkg", raster)
                                                ).total_bounds)
    gpd.GeoDataFrame({"name": ["a"]}, geometry=[area], crs=rasterio.open(raster).crs).to_file(
        tmp_path / "zones.gpkg")
    out = predict(raster, model, tmp_path / "map", zones=tmp_path / "zones.gpkg")
    record = json.loads((out / "scene.json").read_text())
    tiles = gpd.read_file(out / "tiles.gpkg")
    assert record["title"].startswith("M3 of building")
    assert record["lines"][0] == f"{tiles.total.sum():,.3g} m3 of building on 2 tiles"
    assert "m3 of building in 1 zones" in " ".join(record["lines"])
    assert "total" in gpd.read_file(out / "zones.gpkg")
    with rasterio.open(out / "totals.tif") as totals:
        assert totals.tags()["UNIT"] == "m3 of building a tile"
    assert not any(word in json.dumps(record).lower() for word in ("people", "population"))


def test_tiles_lie_where_the_raster_has_them(mapped):
    raster, _, out = mapped
    tiles, totals = gpd.read_file(out / "tiles.gpkg"), pixels_of(out / "totals.tif")[0]
    with rasterio.open(raster) as there, rasterio.open(out / "totals.tif") as here:
        assert here.crs == there.crs == tiles.crs
        assert here.transform == there.transform @ there.transform.scale(224)
        np.testing.assert_allclose(tiles.total_bounds,
                                   rasterio.windows.bounds(rasterio.windows.Window(0, 0, 672, 500),
                                                           there.transform))
        for tile in tiles.itertuples():
            x, y = here.transform @ (tile.column + 0.5, tile.row + 0.2)
            assert tile.geometry.contains(shapely.Point(x, y))
            assert totals[tile.row, tile.column] == np.float32(tile.population)
    assert totals.shape == (3, 5)
    assert np.isnan(totals[:, 3:]).all()
    assert len(tiles) == 9
    np.testing.assert_allclose(tiles.imagery, [1, 1, 1, 1, 1, 1, *[52 / 224] * 3])


def test_a_whole_tile_has_the_estimate_that_its_prepared_tile_has(mapped, model, tmp_path):
    raster, osm, out = mapped
    prepare_tiles(raster, osm, tmp_path / "tiles", "c", keep_empty=True, progress=False)
    dataset, network = TileDataset(tmp_path / "tiles"), NetworkFile(model).downstream()
    expected = network(*collate([dataset[index] for index in range(len(dataset))]))[:, 0].tolist()
    tiles = gpd.read_file(out / "tiles.gpkg")
    of_tile = {f"c_{tile.column}_{tile.row}": (tile.population, tile.objects)
               for tile in tiles.itertuples()}
    assert len(dataset) == 6
    assert [of_tile[name][0] for name in dataset.names] == pytest.approx(expected, rel=1e-5)
    objects = [len(dataset.read(index)[1].x) for index in range(6)]
    assert [of_tile[name][1] for name in dataset.names] == objects


def write_zones(path, raster, **columns):
    """Two zones that share out a raster; columns are of two values each."""
    with rasterio.open(raster) as file:
        left, bottom, right, top = file.bounds
        crs = file.crs
    middle = (left + right) / 2
    frame = gpd.GeoDataFrame(columns, geometry=[shapely.box(left, bottom, middle, top),
                                                shapely.box(middle, bottom, right, top)], crs=crs)
    if path.suffix == ".geojson":
        path.write_text(frame.to_crs(4326).to_json(drop_id=True))
    else:
        frame.to_parquet(path)
    return path


COLUMNS = {
    "repeated_fid": ({"fid": [7, 7], "a": [1, 2]}, {"fid": [7, 7], "a": [1, 2]}),
    "fid_of_texts": ({"fid": ["x", "y"]}, {"fid": ["x", "y"]}),
    "geom": ({"geom": [1, 2], "FID": [1, 1]}, {"geom": [1, 2], "FID": [1, 1]}),
    "capitals": ({"n": [1, 2], "N": ["a", "b"]}, {"n": [1, 2], "N_2": ["a", "b"]}),
    "lists": ({"tags": [["a", "ä"], ["c"]], "more": [{"b": [1, 2]}, {"b": [3]}]},
              {"tags": ['["a", "ä"]', '["c"]'], "more": ['{"b": [1, 2]}', '{"b": [3]}']}),
}


@pytest.mark.parametrize("suffix", [".geojson", ".parquet"])
@pytest.mark.parametrize("case", COLUMNS)
def test_zones_may_have_any_columns(model, tmp_path, case, suffix):
    given, expected = COLUMNS[case]
    raster = write_raster(tmp_path / "city.tif", noise(224, 224))
    out = predict(raster, model, tmp_path / "map",
                  zones=write_zones(tmp_path / f"zones{suffix}", raster, **given))
    zones, said = gpd.read_file(out / "zones.gpkg"), json.loads((out / "scene.json").read_text())
    assert zones.drop(columns=["geometry", "population", "covered"]).to_dict("list") == expected
    renamed = any("does not distinguish capitals" in line for line in said["lines"])
    assert renamed == (case == "capitals")
    assert zones.population.sum() == pytest.approx(
        gpd.read_file(out / "tiles.gpkg").population.sum(), rel=1e-3)


def test_two_geometry_columns_and_bytes(model, tmp_path):
    raster = write_raster(tmp_path / "city.tif", noise(224, 224))
    path = write_zones(tmp_path / "zones.parquet", raster, seal=[b"a", b"\xff"])
    frame = gpd.read_parquet(path)
    frame.assign(centre=frame.centroid).to_parquet(path)
    out = predict(raster, model, tmp_path / "map", zones=path)
    assert gpd.read_file(out / "zones.gpkg").seal.tolist() == ["61", "ff"]
    assert any("geometry column centre is left out" in line
               for line in json.loads((out / "scene.json").read_text())["lines"])


def test_zones_that_cannot_be_written_are_refused_before_any_work(model, tmp_path):
    raster = write_raster(tmp_path / "city.tif", noise(224, 224))
    path = write_zones(tmp_path / "zones.parquet", raster,
                       large=np.array([2**63 + 1, 1], np.uint64), name=["a", "b"])
    with pytest.raises(PrepareError) as raised:
        predict(raster, model, tmp_path / "map", zones=path)
    assert str(raised.value).startswith(f"{path}: a GeoPackage cannot hold its column large (")
    assert "disk" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "map").exists()


def test_an_exclamation_mark_in_the_path_of_results(model, tmp_path):
    raster = write_raster(tmp_path / "city.tif", noise(224, 224))
    zones = write_zones(tmp_path / "zones.parquet", raster, name=["a", "b"])
    out = predict(raster, model, tmp_path / "new!" / "map!", zones=zones)
    assert len(gpd.read_file((out / "zones.gpkg").read_bytes())) == 2
