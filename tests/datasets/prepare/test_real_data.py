"""Preparation of real imagery and real OSM, where it is at hand."""

import os
from pathlib import Path

import pytest

from datasets import TileDataset
from datasets.prepare.pipeline import prepare_tiles
from tests.conftest import SHARED

DATA = Path(os.environ.get("ROSE_REAL_DATA", SHARED / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; set ROSE_REAL_DATA to the folder that holds it")


def prepare(out: Path, raster: str, osm: str, **options) -> TileDataset:
    prepare_tiles(DATA / raster, DATA / osm, out, "city", progress=False, **options)
    return TileDataset(out)


def counts(tiles: TileDataset) -> tuple[int, int, int]:
    graphs = [tiles[index][1] for index in range(len(tiles))]
    return len(tiles), sum(len(graph.x) for graph in graphs), sum(graph.edge_index.shape[1] for graph in graphs)


@pytest.mark.parametrize(("raster", "osm", "expected"), [
    ("banepa_nepal/train/oam", "banepa_nepal/train/osm/osm_features_ac7e343eb1faacd2.geojson", (159, 1631, 200)),
    ("geolink_pairs/a702502933_US_21.tif", "geolink_pairs/a702502933_US_21.geojson", (1, 14, 38)),
    ("geolink_pairs/n4503852781_DE_.tif", "geolink_pairs/n4503852781_DE_.geojson", (1, 14, 30)),
])
def test_tiles_nodes_and_edges(tmp_path, raster, osm, expected):
    assert counts(prepare(tmp_path, raster, osm)) == expected


def test_chips_without_any_object_become_empty_tiles(tmp_path):
    tiles = prepare(tmp_path, "banepa_nepal/predict/oam", "banepa_nepal/train/osm/osm_features_ac7e343eb1faacd2.geojson", keep_empty=True)
    assert counts(tiles) == (81, 0, 0)
