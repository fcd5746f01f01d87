"""GeoTIFFs of strips: whole, or not there, and with a bar where they take long."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rasterio import Affine

from inference.geotiff import Content, Ground, write_geotiff
from utils import progress

ROOT = Path(__file__).resolve().parent.parent.parent
FULL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from rasterio import Affine
from inference.geotiff import Content, Ground, write_geotiff
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
strips = [np.random.default_rng(0).integers(0, 255, (1, 1024, 1024), np.uint8)]
ground = Ground("EPSG:32633", Affine(1, 0, 0, 0, -1, 0), 1024, 1024)
try:
    write_geotiff(Path(sys.argv[1]), strips, ground, Content("uint8", 255, ["class"], {}),
                  sys.argv[2] == "cog")
except OSError as error:
    print(error.filename, error.strerror)
"""


@pytest.mark.parametrize("kind", ["plain", "cog"])
def test_a_full_disk_leaves_nothing_and_is_an_error_that_scripts_can_say(tmp_path, kind):
    """A file that may not grow stands for a disk that is full; GDAL itself reports nothing."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "map.tif"), kind]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(f"{tmp_path / 'map.tif'} cannot be written ("), ran.stderr
    assert list(tmp_path.iterdir()) == []


def slow_strips():
    """Four of 512 rows, which take a second."""
    for number in range(4):
        time.sleep(0.25)
        yield np.full((1, 512, 600), number, np.uint8)


def write_slowly(path: Path, cloud_optimised: bool) -> None:
    ground = Ground("EPSG:32633", Affine(1, 0, 0, 0, -1, 0), 600, 2048)
    write_geotiff(path, slow_strips(), ground, Content("uint8", 255, ["class"], {}),
                  cloud_optimised)


@pytest.mark.parametrize(("cloud_optimised", "last"),
                         [(False, "overviews"), (True, "laid out for a network")])
def test_on_a_terminal_a_bar_follows_the_rows_and_goes(tmp_path, monkeypatch, capsys,
                                                       cloud_optimised, last):
    monkeypatch.setattr(progress, "_DELAY_S", 0.1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    write_slowly(tmp_path / "map.tif", cloud_optimised)
    shown = [text.strip() for text in capsys.readouterr().err.split("\r")]
    assert [text[:13] for text in shown if "2048 [" in text] == [
        "map.tif:  25%", "map.tif:  50%", "map.tif:  75%", "map.tif: 100%", "map.tif: 100%"]
    assert last in [text for text in shown if text][-1]
    assert shown[-1] == ""                                            # the bar is gone


def test_files_that_are_written_at_once_have_no_bar(tmp_path, capsys):
    write_slowly(tmp_path / "map.tif", cloud_optimised=True)
    assert capsys.readouterr().err == ""
