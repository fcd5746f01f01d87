"""Preparation of real imagery and real OSM, where it is at hand."""

import os
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine

from datasets import TileDataset
from datasets.prepare.pipeline import prepare_tiles
from tests.conftest import SHARED

DATA = Path(os.environ.get("ROSE_REAL_DATA", SHARED / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; set "
                                                          "ROSE_REAL_DATA to the folder that "
                                                          "holds it")


def prepare(out: Path, raster: str, osm: str, **options) -> TileDataset:
    prepare_tiles(DATA / raster, DATA / osm, out, "city", progress=False, **options)
    return TileDataset(out)


def counts(tiles: TileDataset) -> tuple[int, int, int]:
    graphs = [tiles[index][1] for index in range(len(tiles))]
    return len(tiles), sum(len(graph.x) for graph in graphs), sum(graph.edge_index.shape[1]
                                                                  for graph in graphs)


@pytest.mark.parametrize(("raster", "osm", "expected"), [
    ("banepa_nepal/train/oam", "banepa_nepal/train/osm/osm_features_ac7e343eb1faacd2.geojson",
     (159, 1631, 200)),
    ("geolink_pairs/a702502933_US_21.tif", "geolink_pairs/a702502933_US_21.geojson", (1, 14, 38)),
    ("geolink_pairs/n4503852781_DE_.tif", "geolink_pairs/n4503852781_DE_.geojson", (1, 14, 30)),
])
def test_tiles_nodes_and_edges(tmp_path, raster, osm, expected):
    assert counts(prepare(tmp_path, raster, osm)) == expected


def test_chips_without_any_object_become_empty_tiles(tmp_path):
    tiles = prepare(tmp_path, "banepa_nepal/predict/oam",
                    "banepa_nepal/train/osm/osm_features_ac7e343eb1faacd2.geojson",
                    keep_empty=True)
    assert counts(tiles) == (81, 0, 0)


@pytest.fixture(scope="module")
def helsinki(tmp_path_factory) -> tuple[Path, gpd.GeoDataFrame]:
    """A plain raster of 2 m in Helsinki's own projection, its edges those of the 250 m census
    cells, and those cells."""
    cells = gpd.read_file(DATA / "helsinki_pop/helsinki_population_grid_2020.gpkg").to_crs(3879)
    west, south, east, north = cells.total_bounds.round(1)
    path = tmp_path_factory.mktemp("helsinki") / "plain.tif"
    width, height = round((east - west) / 2), round((north - south) / 2)
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=3,
                       dtype="uint8", crs="EPSG:3879", compress="deflate",
                       transform=Affine(2, 0, west, 0, -2, north)) as target:
        target.write(np.full((3, height, width), 128, np.uint8))
    return path, cells


def test_helsinki_from_pbf_with_its_population(tmp_path, helsinki):
    raster, cells = helsinki
    summary = prepare_tiles(
        raster, DATA / "helsinki_pop/Helsinki.osm.pbf", tmp_path, "helsinki", tile_px=125,
        keep_empty=True, progress=False,
        population=str(DATA / "helsinki_pop/helsinki_population_grid_2020.gpkg"),
    )
    tiles = TileDataset(tmp_path, image_size=125)
    people = [tiles.total(index, "pop") for index in range(len(tiles))]
    # a tile is a cell
    assert sum(filter(None, people)) == pytest.approx(cells["population"].sum(), rel=1e-3)
    assert summary.objects["building"] > 100
    assert summary.objects["road"] > 1000
