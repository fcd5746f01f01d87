"""A scene by URL has the features of the same scene here."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio

from tests.datasets.prepare.places import grid, pixels, write_raster
from tests.inference.features.extracting import run
from tests.processes import environment
from tests.servers import Server

ROOT = Path(__file__).parents[3]


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


def test_a_run_by_url_keeps_no_key(checkpoint, tmp_path):
    write_raster(tmp_path / "city.tif", pixels(224, 224), grid(), tiled=True, blockxsize=256,
                 blockysize=256)
    with Server(tmp_path) as server:
        subprocess.run(
            [sys.executable, ROOT / "extract_features.py", f"checkpoint={checkpoint}",
             f"raster='{server.url}/city.tif?token=secret'", f"out={tmp_path / 'out'}",
             "representations=[rs]", "num_workers=0", "accelerator=cpu",
             f"imagery_cache={tmp_path / 'cache'}"], env=environment(), check=True, timeout=300)
    assert "token=KEY" in (tmp_path / "out" / ".hydra" / "config.yaml").read_text()
    written = [path for folder in ("out", "cache") for path in (tmp_path / folder).rglob("*")
               if path.is_file()]
    assert not any(b"secret" in path.read_bytes() for path in written)
