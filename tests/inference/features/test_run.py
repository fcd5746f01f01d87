"""extract_features.py: the vectors are those of the network, and where they are on the map is
exact."""

import json
import shutil
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import rasterio
import torch
from PIL import Image

from datasets import TileDataset, collate
from inference.features.areas import Area
from inference.features.pca import Moments
from inference.features.rasters import PatchRaster
from models.network_file import load_rose
from models.position import position_code
from tests.inference.features.extracting import UTM, run
from tests.inference.maps.scenes import write_objects
from tests.random_tiles import change_meta, random_tile, write_compact, write_release
from utils import progress
from utils.errors import RoseError

GRID = (14, 14)  # patches of a tile


@torch.inference_mode()
def expected(tiles: TileDataset, checkpoint: Path,
             fusion: str = "global") -> dict[str, np.ndarray]:
    """Return the network's vectors of each tile, in one batch."""
    rose = load_rose(checkpoint).eval()
    images, graphs = collate([tiles[index] for index in range(len(tiles))])
    tokens, fused = rose.encode_image(images), rose.fuse(images, graphs, fusion)
    of_tile = fused[:, 0] if fusion == "global" else fused.mean(1)
    vectors = {"rs": tokens[:, 0], "rs_patches": tokens[:, 1:],
               "osm": rose.encode_osm(graphs, GRID)[1], "fused": of_tile,
               "fused_patches": fused[:, -196:]}
    return {name: value.numpy() for name, value in vectors.items()}


def patches(path: Path, column: int, row: int) -> np.ndarray:
    """[L, D] of a tile, from a GeoTIFF."""
    with rasterio.open(path) as raster:
        window = ((14 * row, 14 * row + 14), (14 * column, 14 * column + 14))
        return raster.read(window=window).reshape(raster.count, -1).T


@pytest.mark.parametrize("fusion", ["global", "fine"])
def test_vectors_are_those_of_the_network(sample_tiles, checkpoint, whole, tmp_path, fusion):
    out = whole
    if fusion == "fine":
        out = tmp_path / "fine"
        run(checkpoint, out, f"data_root={sample_tiles}", "fusion=fine", "representations=[fused]")
    tiles = TileDataset(sample_tiles)
    truth = expected(tiles, checkpoint, fusion)
    table = gpd.read_parquet(out / "tiles.parquet").set_index("tile")
    assert sorted(table.index) == tiles.names
    for name in ("rs", "osm", "fused") if fusion == "global" else ("fused",):
        np.testing.assert_allclose(np.stack(table.loc[tiles.names, name]), truth[name], atol=1e-5)
        for tile, vectors in zip(tiles.names, truth.get(f"{name}_patches", ()), strict=False):
            cell = table.loc[tile, ["col", "row"]]
            np.testing.assert_allclose(patches(out / f"patches_{name}.tif", *cell), vectors,
                                       atol=1e-5)
    assert table.loc[tiles.names, "objects"].tolist() == [len(tiles[index][1].x)
                                                          for index in range(len(tiles))]


def test_patches_of_osm_are_means_weighted_by_nearness(sample_tiles, checkpoint, whole):
    """Against the formula of the fine fusion's weights, taken node by node."""
    tiles, rose = TileDataset(sample_tiles), load_rose(checkpoint).eval()
    _, graphs = collate([tiles[4]])
    with torch.inference_mode():
        nodes = rose.encode_osm(graphs, GRID)[0].double().numpy()
    grid = np.arange(14, dtype=np.float32)
    of_patches = position_code(64, torch.tensor(np.tile(grid, 14)),
                               torch.tensor(np.repeat(grid, 14))).double().numpy()
    summed, weights = np.zeros((196, 128)), np.zeros((196, 1))
    for node, (x, y) in zip(nodes, graphs.x[:, 522:524] * 14, strict=True):
        raw = of_patches @ position_code(64, x, y).double().numpy()
        weight = np.exp((raw - raw.min()) / (raw.max() - raw.min()) / 0.5)[:, None]
        summed, weights = summed + weight * node, weights + weight
    _, column, row = tiles.names[4].split("_")
    np.testing.assert_allclose(patches(whole / "patches_osm.tif", int(column), int(row)),
                               summed / weights, atol=1e-5)


def test_files_lie_where_the_raster_does(sample_tiles, whole):
    with rasterio.open(sample_tiles.parent / "raw" / "city.tif") as raster:
        corner, crs = raster.transform * (0, 0), raster.crs
        pixel, bounds = raster.transform.a, raster.bounds
    for name in ("patches_rs.tif", "patches_osm.tif", "patches_fused.tif", "fused_pca.tif"):
        with rasterio.open(whole / name) as raster:
            assert raster.crs == crs
            assert raster.transform * (0, 0) == corner
            assert (raster.transform.a, raster.shape) == (16 * pixel, (42, 42))
            assert raster.tags()["what"]
    table = gpd.read_parquet(whole / "tiles.parquet")
    assert table.crs == crs
    assert tuple(table.total_bounds) == tuple(bounds)
    assert table.area.unique().tolist() == [(224 * pixel) ** 2]
    top_left = table.set_index(["col", "row"]).loc[(0, 0), "geometry"].bounds
    assert (top_left[0], top_left[3]) == corner
    assert pq.ParquetFile(whole / "tiles.parquet").num_row_groups == 3


def test_table_is_for_other_readers_too(whole):
    if "Parquet" in pyogrio.list_drivers():
        assert len(pyogrio.read_dataframe(whole / "tiles.parquet")) == 9
    geo = json.loads(pq.read_schema(whole / "tiles.parquet").metadata[b"geo"])
    assert geo["primary_column"] == "geometry"
    table = gpd.read_parquet(whole / "tiles.parquet",
                             columns=["tile", "geometry", "fused_pca_1", "fused_pca_2",
                                      "fused_pca_3"])
    colours = table[["fused_pca_1", "fused_pca_2", "fused_pca_3"]]
    assert (colours.min().tolist(), colours.max().tolist()) == ([0] * 3, [1] * 3)


def test_colours_are_the_principal_components(whole):
    with rasterio.open(whole / "patches_fused.tif") as raster:
        vectors = raster.read().reshape(64, -1).T.astype(np.float64)
    centred = vectors - vectors.mean(0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    projected = centred @ axes[:3].T * np.sign(axes[np.arange(3), np.abs(axes[:3]).argmax(1)])
    low, high = np.percentile(projected, (2, 98), axis=0)
    with rasterio.open(whole / "fused_pca.tif") as raster:
        painted = raster.read().reshape(4, -1).T
        assert [item.name for item in raster.colorinterp] == ["red", "green", "blue", "alpha"]
    np.testing.assert_allclose(painted[:, :3], 255 * ((projected - low) / (high - low)).clip(0, 1),
                               atol=1.5)
    assert (painted[:, 3] == 255).all()
    record = json.loads((whole / "features.json").read_text())
    np.testing.assert_allclose(record["fused_pca_explained"], (values**2 / (values**2).sum())[:3],
                               rtol=1e-6)


def test_pictures_show_the_same_ground(sample_tiles, whole):
    imagery = Image.open(whole / "figures/imagery.jpg")
    colours = Image.open(whole / "figures/fused_pca.png")
    assert imagery.size == colours.size == (672, 672)  # 42 patches of all their 16 pixels
    with rasterio.open(sample_tiles.parent / "raw" / "city.tif") as raster:
        truth = raster.read().transpose(1, 2, 0).astype(float)
    assert np.abs(np.asarray(imagery) - truth).mean() < 6
    with rasterio.open(whole / "fused_pca.tif") as raster:
        assert (np.asarray(colours)[8::16, 8::16] == raster.read().transpose(1, 2, 0)).all()
    scene = json.loads((whole / "scene.json").read_text())
    assert scene["kind"] == "features"
    assert (whole / "report.html").stat().st_size > 10_000
    assert all((whole / file["name"]).is_file()
               for file in json.loads((whole / "features.json").read_text())["files"])


def test_a_scene_gives_the_same_as_its_tiles(sample_tiles, checkpoint, whole, tmp_path):
    raw = sample_tiles.parent / "raw"
    run(checkpoint, tmp_path / "scene", f"raster={raw / 'city.tif'}", f"osm={raw / 'osm.gpkg'}",
        "num_workers=1")
    ours, theirs = (
        gpd.read_parquet(folder / "tiles.parquet").set_index(["col", "row"]).sort_index()
        for folder in (tmp_path / "scene", whole))
    assert ours.crs == theirs.crs
    assert ours.geometry.geom_equals(theirs.geometry).all()
    for name in ("rs", "osm", "fused"):
        np.testing.assert_allclose(np.stack(ours[name]), np.stack(theirs[name]), atol=1e-5)
        with (rasterio.open(tmp_path / "scene" / f"patches_{name}.tif") as one,
              rasterio.open(whole / f"patches_{name}.tif") as other):
            assert (one.transform, one.crs) == (other.transform, other.crs)
            np.testing.assert_allclose(one.read(), other.read(), atol=1e-5)


def test_a_scene_may_end_within_a_tile_and_within_a_patch(checkpoint, tmp_path):
    draw = np.random.default_rng(0)
    with rasterio.open(tmp_path / "odd.tif", "w", driver="GTiff", width=300, height=250, count=3,
                       dtype="uint8", crs="EPSG:32633",
                       transform=rasterio.Affine(2, 0, 400000, 0, -2, 5800000)) as raster:
        raster.write(draw.integers(1, 255, (3, 250, 300), dtype=np.uint8))
    run(checkpoint, tmp_path / "out", f"raster={tmp_path / 'odd.tif'}", "representations=[rs]")
    with rasterio.open(tmp_path / "out" / "patches_rs.tif") as raster:
        assert raster.shape == (16, 19)
        assert tuple(raster.transform)[:6] == (32, 0, 400000, 0, -32, 5800000)
        assert not np.isnan(raster.read()).any()
    assert len(gpd.read_parquet(tmp_path / "out" / "tiles.parquet")) == 4


@pytest.fixture(scope="module")
def northern(checkpoint, tmp_path_factory) -> Path:
    """Features of a scene in degrees at 60 degrees north, of 60 x 80 patches, 4 patches across the
    north-west of which have no imagery."""
    folder = tmp_path_factory.mktemp("north")
    pixels = np.random.default_rng(0).integers(1, 255, (3, 960, 1280), dtype=np.uint8)
    pixels[:, :80, :72] = 0                        # 5 patches down, 4.5 across: the fifth has some
    with rasterio.open(folder / "city.tif", "w", driver="GTiff", width=1280, height=960, count=3,
                       dtype="uint8", crs="EPSG:4326",
                       transform=rasterio.Affine(1e-5, 0, 10.7, 0, -1e-5, 60.0048),
                       nodata=0) as raster:
        raster.write(pixels)
    objects = write_objects(folder / "osm.gpkg", folder / "city.tif")
    run(checkpoint, folder / "out", f"raster={folder / 'city.tif'}", f"osm={objects}",
        "representations=[rs,fused]")
    return folder / "out"


def test_patches_without_imagery_have_no_vector(northern):
    hidden = np.zeros((60, 80), bool)
    hidden[:5, :4] = True
    for name in ("rs", "fused"):
        with rasterio.open(northern / f"patches_{name}.tif") as raster:
            np.testing.assert_array_equal(np.isnan(raster.read()),
                                          np.broadcast_to(hidden, (raster.count, 60, 80)))
    with rasterio.open(northern / "fused_pca.tif") as raster:
        np.testing.assert_array_equal(raster.read(4) == 0, hidden)


def test_a_scene_in_degrees_is_shown_in_the_shape_of_its_ground(northern):
    size = json.loads((northern / "scene.json").read_text())["size_metres"]
    assert size == pytest.approx([1280 * 0.558, 960 * 1.114], rel=2e-3)
    assert f"--ratio:{size[0] / size[1]:.4f}" in (northern / "report.html").read_text()


def test_colours_of_many_patches_have_overviews_that_hide_no_edge(tmp_path):
    """An overview's pixel is the mean of those of its four patches that have colours."""
    components = np.random.default_rng(0).random((20, 700, 3)).astype(np.float32)
    components[:, 301:] = np.nan
    np.save(tmp_path / "components.npy", components)
    area = Area("town", "EPSG:32633", rasterio.Affine(1, 0, 0, 0, -1, 0), 16 * 700, 16 * 20, 50, 2,
                (0, 0), 224, 224, (1, 1))
    raster = PatchRaster(area, area.patches(16))
    raster.write_colours(tmp_path / "colours.tif", tmp_path / "components.npy",
                         (np.zeros(3), np.ones(3)), {})
    with rasterio.open(tmp_path / "colours.tif") as file:
        assert [file.overviews(band) for band in (1, 2, 3, 4)] == [[2, 4]] * 4
    with rasterio.open(tmp_path / "colours.tif", overview_level=0) as file:
        shown = file.read().transpose(1, 2, 0)
    means = np.nanmean(components[:, :302].reshape(10, 2, 151, 2, 3), axis=(1, 3))
    np.testing.assert_allclose(shown[:, :151, :3], 255 * means, atol=1.5)
    np.testing.assert_array_equal(shown[:, :, 3] > 0,
                                  np.broadcast_to(np.arange(350) < 151, (10, 350)))


def test_on_a_terminal_a_bar_names_the_file_that_is_written(sample_tiles, checkpoint, tmp_path,
                                                            monkeypatch, capsys):
    add = Moments.add

    def slowly(moments, vectors):
        time.sleep(0.15)
        add(moments, vectors)
    monkeypatch.setattr(Moments, "add", slowly)
    monkeypatch.setattr(progress, "_DELAY_S", 0.1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(checkpoint, tmp_path / "out", f"data_root={sample_tiles}", "representations=[fused]")
    assert "patches_fused.tif:  44%" in capsys.readouterr().err


def test_bands_have_names(northern):
    for name in ("rs", "fused"):
        with rasterio.open(northern / f"patches_{name}.tif") as raster:
            assert list(raster.descriptions) == [f"{name}_{number}" for number in range(64)]


def test_several_cities_have_a_table_together_and_a_folder_each(cities, checkpoint, tmp_path):
    run(checkpoint, tmp_path / "out", f"data_root={cities}")
    table = gpd.read_parquet(tmp_path / "out" / "tiles.parquet")
    assert table.crs == "EPSG:4326"
    assert table.city.tolist() == ["lima"] * 3 + ["oslo"] * 3
    oslo = table[table.city == "oslo"].to_crs("EPSG:32633").set_index("tile").geometry["oslo_1_0"]
    np.testing.assert_allclose(oslo.bounds, (400112, 5799888, 400224, 5800000), atol=1e-3)
    for city, crs in (("oslo", "EPSG:32633"), ("lima", "EPSG:32718")):
        with rasterio.open(tmp_path / "out" / city / "patches_osm.tif") as raster:
            assert raster.crs == crs
            assert raster.shape == (32, 44)                       # as the raster, beyond the tiles
            known = ~np.isnan(raster.read(1))
        assert known[:14, :28].all()
        assert known.sum() == 14 * 28                                # not the tile without objects
        with rasterio.open(tmp_path / "out" / city / "fused_pca.tif") as raster:
            assert (raster.read(4) > 0).sum() == 14 * 14 * 3
    assert (tmp_path / "out" / "report.html").is_file()
    truth = expected(TileDataset(cities), checkpoint)
    np.testing.assert_allclose(np.stack(table.sort_values("tile").osm), truth["osm"], atol=1e-5)


def test_a_city_is_not_mistaken_for_one_whose_name_begins_as_its_own(checkpoint, tmp_path):
    for city in ("york", "york new"):
        write_compact(tmp_path / "tiles", [random_tile(f"{city}_0_0", nodes=2, edges=0)], city,
                      meta=UTM)
    run(checkpoint, tmp_path / "out", f"data_root={tmp_path / 'tiles'}")
    for city in ("york", "york new"):
        record = json.loads((tmp_path / "out" / city / "scene.json").read_text())
        assert all((tmp_path / "out" / city / file["name"]).is_file() for file in record["files"])


def test_tiles_of_unknown_place_are_on_their_own_grid(checkpoint, tmp_path):
    """As the authors' published tiles, whose names count pixels."""
    made = [random_tile(f"sz_{x}_{y}", nodes=3, edges=1)
            for x, y in ((2240, 4480), (2464, 4480), (2688, 4704))]
    write_release(tmp_path / "tiles", made, "sz", meta={"label_names": []})
    record = run(checkpoint, tmp_path / "out", f"data_root={tmp_path / 'tiles'}")
    assert "not known where sz lies" in record["notes"][0]
    table = gpd.read_parquet(tmp_path / "out" / "tiles.parquet").set_index("tile")
    assert table.crs is None
    assert table.geometry["sz_2688_4704"].bounds == (2, -2, 3, -1)
    with rasterio.open(tmp_path / "out" / "patches_rs.tif") as raster:
        assert raster.crs is None
        assert raster.bounds == (0, -2, 3, 0)
    assert not (tmp_path / "out" / "scene.json").exists()
    # there is no report of what has no place
    assert all((tmp_path / "out" / file["name"]).is_file() for file in record["files"])
    assert (tmp_path / "out" / "figures" / "fused_pca.png").is_file()


def test_overlapping_tiles_have_vectors_of_tiles_alone(cities, checkpoint, tmp_path):
    shutil.copytree(cities, tmp_path / "tiles")
    change_meta(tmp_path / "tiles/cities/oslo/meta.json", stride=112)
    with pytest.raises(RoseError, match="patches=true: the tiles of oslo are 224 pixels wide and "
                                        "112 apart"):
        run(checkpoint, tmp_path / "out", f"data_root={tmp_path / 'tiles'}", "cities=[oslo]")
    run(checkpoint, tmp_path / "out", f"data_root={tmp_path / 'tiles'}", "cities=[oslo]",
        "patches=false")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["features.json", "tiles.parquet"]
    table = gpd.read_parquet(tmp_path / "out" / "tiles.parquet").set_index("tile")
    assert table.geometry["oslo_1_0"].bounds == (400056, 5799888, 400168, 5800000)
