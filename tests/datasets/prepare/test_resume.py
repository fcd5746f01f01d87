"""Stopped in any way and started again: the same bytes as an undisturbed run; the same, too, whoever does the work."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datasets import TileDataset
from datasets.prepare.engine import make_bands
from tests.datasets.prepare.places import contents, prepare
from utils.errors import PrepareError, TileError

ROOT = Path(__file__).resolve().parents[3]
# Kills its own process when `name` of `module` is called for the `count`-th time: before that call does anything.
KILLER = """
import importlib, os, signal, sys
raster, osm, out, layout, module, name, count = sys.argv[1:]
from datasets.prepare.pipeline import prepare_tiles
owner = importlib.import_module(module)
original, calls = getattr(owner, name), []
def wrapped(*args, **keys):
    calls.append(1)
    if len(calls) == int(count):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **keys)
setattr(owner, name, wrapped)
prepare_tiles(raster, osm, out, "c", tile_px=64, layout=layout, keep_empty=True, workers=1, overwrite=True, progress=False)
"""


def kill(place, layout: str, module: str, name: str, count: int) -> None:
    """Prepare the place into out, and be killed there."""
    arguments = [str(place.raster), str(place.osm), str(place.folder / "out"), layout, module, name, str(count)]
    code = subprocess.run([sys.executable, "-c", KILLER, *arguments], cwd=ROOT, check=False).returncode
    assert code == -signal.SIGKILL


@pytest.fixture
def undisturbed(place):
    """Contents of the place's dataset, by layout."""
    for layout in ("compact", "release"):
        prepare(place, keep_empty=True, layout=layout, out=place.folder / layout)
    return {layout: contents(place.folder / layout) for layout in ("compact", "release")}


@pytest.mark.parametrize(("layout", "module", "name", "count"), [
    ("compact", "datasets.prepare.pipeline", "write_spool", 1),
    ("compact", "datasets.prepare.spool", "_index_rows", 1),
    ("compact", "datasets.prepare.pipeline", "describe_job", 1),
    ("compact", "datasets.prepare.engine", "make_band", 2),
    ("compact", "datasets.prepare.pipeline", "join_parts", 1),
    ("compact", "datasets.prepare.workplace", "_remove_city", 1),
    ("compact", "datasets.prepare.pipeline", "checksums", 1),
    ("release", "datasets.prepare.engine", "make_band", 2),
    ("release", "datasets.prepare.workplace", "_remove_city", 1),
])
def test_a_killed_run_goes_on(place, undisturbed, layout, module, name, count):
    kill(place, layout, module, name, count)
    prepare(place, keep_empty=True, layout=layout)
    assert contents(place.folder / "out") == undisturbed[layout]


@pytest.mark.parametrize(("layout", "moves"), [("release", 1), ("release", 5), ("release", 12), ("compact", 1)])
def test_a_kill_while_tiles_are_moved_leaves_a_dataset_that_is_refused_until_the_move_is_finished(place, undisturbed, layout, moves):
    kill(place, layout, "datasets.prepare.workplace", "_move", moves)
    with pytest.raises(TileError, match=r"the preparation of c was interrupted.*run prepare_dataset.py for it again"):
        TileDataset(place.folder / "out", image_size=64)
    prepare(place, keep_empty=True, layout=layout)
    assert contents(place.folder / "out") == undisturbed[layout]


def test_a_kill_after_the_move_leaves_a_whole_dataset(place, undisturbed):
    kill(place, "compact", "datasets.prepare.pipeline", "PrepareSummary", 1)
    assert len(TileDataset(place.folder / "out", image_size=64)) == 6
    assert prepare(place, keep_empty=True).tiles == 6
    assert contents(place.folder / "out") == undisturbed["compact"]


def test_the_work_of_another_request_is_not_gone_on_with(place):
    kill(place, "compact", "datasets.prepare.engine", "make_band", 2)
    assert prepare(place, keep_empty=True, max_nodata=0.5, recipe="release").tiles == 6
    assert not (place.folder / "out" / ".preparing-c").exists()


def test_a_changed_source_is_not_gone_on_with(place):
    kill(place, "compact", "datasets.prepare.pipeline", "join_parts", 1)
    place.frame.iloc[:1].to_file(place.osm, layer="objects")
    assert prepare(place, keep_empty=True).nodes == 1


def test_an_error_in_the_middle_keeps_the_work(place, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device", "somewhere")

    with monkeypatch.context() as patched:
        patched.setattr("datasets.prepare.bands.write_part", full)
        with pytest.raises(OSError, match="No space left"):
            prepare(place)
    assert [path.name for path in (place.folder / "out").iterdir()] == [".preparing-c"]
    assert prepare(place).tiles == 4


def test_processes_make_the_same_bytes(place, undisturbed):
    prepare(place, keep_empty=True, workers=2)
    assert contents(place.folder / "out") == undisturbed["compact"]


def test_a_dask_cluster_makes_the_same_bytes(place, undisturbed):
    distributed = pytest.importorskip("distributed", reason="scheduler= needs Dask: pip install 'dask[distributed]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster:
        prepare(place, keep_empty=True, scheduler=cluster.scheduler_address)
        assert contents(place.folder / "out") == undisturbed["compact"]
        (place.folder / "city.tif").write_bytes(b"II*\0 damaged")
        with pytest.raises(PrepareError, match=r"city\.tif: not a readable raster"):
            prepare(place, city="d", scheduler=cluster.scheduler_address)


def test_a_worker_that_dies_is_told(place, monkeypatch):
    from concurrent.futures.process import BrokenProcessPool

    class Broken:
        def __init__(self, *args, **keys):
            pass

        def submit(self, *args):
            raise BrokenProcessPool

        def shutdown(self, **keys):
            pass

    monkeypatch.setattr("datasets.prepare.engine.ProcessPoolExecutor", Broken)
    with pytest.raises(PrepareError, match=r"a worker process ended without a word, most likely for want of memory.*workers=2"):
        list(make_bands(place.folder, [0, 1, 2, 3], workers=4, scheduler=None))
