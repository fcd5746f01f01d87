"""GeoTIFFs of strips: whole, or not there."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FULL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from rasterio import Affine
from utils.scene.geotiff import Content, Ground, write_geotiff
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
strips = [np.random.default_rng(0).integers(0, 255, (1, 1024, 1024), np.uint8)]
ground = Ground("EPSG:32633", Affine(1, 0, 0, 0, -1, 0), 1024, 1024)
try:
    write_geotiff(Path(sys.argv[1]), strips, ground, Content("uint8", 255, ["class"], {}), sys.argv[2] == "cog")
except OSError as error:
    print(error.filename, error.strerror)
"""


@pytest.mark.parametrize("kind", ["plain", "cog"])
def test_a_full_disk_leaves_nothing_and_is_an_error_that_scripts_can_say(tmp_path, kind):
    """A file that may not grow stands for a disk that is full; GDAL itself says nothing of it."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "map.tif"), kind]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(f"{tmp_path / 'map.tif'} cannot be written ("), ran.stderr
    assert list(tmp_path.iterdir()) == []
