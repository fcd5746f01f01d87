"""A scene by URL has the features of the same scene here."""

import numpy as np
import rasterio

from tests.datasets.prepare.places import grid, pixels, write_raster
from tests.inference.features.extracting import run
from tests.servers import Server


def test_features_of_imagery_by_url(checkpoint, tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    write_raster(folder / "city.tif", pixels(224, 224), grid(), tiled=True, blockxsize=256,
                 blockysize=256)
    here = run(checkpoint, tmp_path / "here", f"raster={folder / 'city.tif'}",
               "representations=[rs]")
    with Server(folder) as server:
        there = run(checkpoint, tmp_path / "there", f"raster={server.url}/city.tif?token=secret",
                    "representations=[rs]", f"imagery_cache={tmp_path / 'cache'}")
    with (rasterio.open(next((tmp_path / "here").rglob("patches_rs.tif"))) as own,
          rasterio.open(next((tmp_path / "there").rglob("patches_rs.tif"))) as other):
        np.testing.assert_array_equal(own.read(), other.read())
    assert any(f"imagery of {server.url}/city.tif?token=KEY" in note for note in there["notes"])
    assert here["notes"] != there["notes"]
    written = [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
    assert not any(b"secret" in path.read_bytes() for path in written)
