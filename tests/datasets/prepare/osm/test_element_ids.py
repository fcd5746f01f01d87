"""Which objects are the newest, by their ids in the source."""

import geopandas as gpd
import numpy as np
import pytest

from datasets import TileDataset
from datasets.prepare.osm.element_ids import UNKNOWN, element_key, newness
from tests.datasets.prepare.places import UTM, pixels, prepare_tiles, square, write_raster

WAY, NODE = ([element_key(kind, number) for number in (5, 9, 7)] for kind in "wn")
HOLED = square(60, 10, 9).difference(square(62, 12, 2))


def test_ranks_are_within_a_kind():
    assert newness(np.array([*WAY, *NODE[:2], UNKNOWN])).tolist() == pytest.approx(
        [1 / 3, 1, 2 / 3, 0.5, 1, np.nan], nan_ok=True)


def test_an_editors_new_objects_are_the_newest():
    assert newness(np.array([element_key("w", -1), WAY[1]])).tolist() == [1, 0.5]


COLUMNS = [  # columns, newness of four buildings of which the last one has a hole
    ({"osm_id": ["30", "10", "20", "1"]}, [1, 1 / 3, 2 / 3, 1]),
    ({"osm_id": [30, 10, 20, 1], "osm_type": ["way"] * 4}, [1, 0.5, 0.75, 0.25]),
    ({"@id": ["way/30", "way/10", "relation/20", "relation/1"]}, [1, 0.5, 1, 0.5]),
    ({"full_id": ["w30", "w10", "r20", None]}, [1, 0.5, 1, np.nan]),
    ({"osm_id": [None, None, None, "4"], "osm_way_id": ["30", "10", "20", None]},
     [1, 1 / 3, 2 / 3, 1]),
    ({"element": ["way"] * 4, "id": [30, 10, 20, 1]}, [1, 0.5, 0.75, 0.25]),
    ({"id": [30, 10, 20, 1]}, None),
    ({}, None),
]


@pytest.mark.parametrize(("columns", "expected"), COLUMNS,
                         ids=["-".join(columns) or "none" for columns, _ in COLUMNS])
def test_ids_of_columns_reach_the_tiles(tmp_path, columns, expected):
    shapes = [square(10, 10, 9), square(25, 10, 9), square(40, 10, 9), HOLED]
    gpd.GeoDataFrame({"building": ["yes"] * 4, **columns}, geometry=shapes, crs=UTM).to_file(
        tmp_path / "osm.gpkg")
    write_raster(tmp_path / "image.tif", pixels(224, 224))
    prepare_tiles(tmp_path / "image.tif", tmp_path / "osm.gpkg", tmp_path / "out", "lima",
                  progress=False, text="hash", workers=1)
    found = TileDataset(tmp_path / "out").newness(0)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found.tolist() == pytest.approx(expected, nan_ok=True)
