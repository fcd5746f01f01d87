"""One way into vector files: what every format states of its layers."""

from dataclasses import replace

import geopandas as gpd
import pytest
import shapely

from datasets.prepare.geo.vector_io import NUMBER, TEXT, checked_crs, open_layers
from datasets.prepare.targets.polygons import TargetPolygons
from utils.errors import PrepareError

FRAME = gpd.GeoDataFrame({"kind": ["a", "b"], "people": [1.5, 2.0]},
                         geometry=[shapely.box(0, 0, 1, 1), shapely.box(2, 3, 4, 5)], crs=4326)


def write(path, frame=FRAME):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp", "a.parquet"])
def test_a_layer_states_the_same_in_every_format(tmp_path, name):
    (layer,) = open_layers(write(tmp_path / name))
    assert layer.columns == {"kind": TEXT, "people": NUMBER}
    assert (layer.count, layer.polygonal, layer.bounds()) == (2, True, (0, 0, 4, 5))
    assert checked_crs(layer.path, layer.crs, "all").is_geographic


def test_bounds_that_a_parquet_file_does_not_state_are_read(tmp_path):
    (layer,) = open_layers(write(tmp_path / "a.parquet"))
    assert replace(layer, box=None).bounds() == (0, 0, 4, 5)


@pytest.mark.parametrize(("name", "reader"),
                         [("a.gpkg", "read_file"), ("a.parquet", "read_parquet")])
def test_the_remedy_of_a_missing_crs_reads_the_format(tmp_path, name, reader):
    with pytest.raises(PrepareError, match=rf"{name}: no coordinate .* all cannot .*g\.{reader}\("):
        checked_crs(tmp_path / name, None, "all")


def test_targets_too_refuse_a_path_that_gdal_takes_for_an_archive(tmp_path):
    write(tmp_path / "a.gpkg").rename(tmp_path / "a!b.gpkg")
    with pytest.raises(PrepareError, match=r"a!b\.gpkg: its path has a !.* Rename"):
        TargetPolygons(tmp_path / "a!b.gpkg", "labels", "label_column", "kind", list)
