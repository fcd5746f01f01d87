"""Stopped in any way and started again: the same bytes as an undisturbed run; the same, too,
whoever does the work."""

import numpy as np
import pytest
from filelock import FileLock

from datasets import TileDataset
from datasets.prepare.engine import make_bands
from tests.datasets.prepare.killing import kill
from tests.datasets.prepare.places import contents, prepare, write_raster
from utils.errors import PrepareError, TileError


@pytest.fixture
def undisturbed(place):
    """Contents of the place's dataset, by layout."""
    for layout in ("compact", "release"):
        prepare(place, keep_empty=True, layout=layout, out=place.folder / layout)
    return {layout: contents(place.folder / layout) for layout in ("compact", "release")}


@pytest.mark.parametrize(("layout", "module", "name", "count"), [
    ("compact", "datasets.prepare.staging", "write_spool", 1),
    ("compact", "datasets.prepare.osm.spool", "_index_rows", 1),
    ("compact", "datasets.prepare.staging", "describe_job", 1),
    ("compact", "datasets.prepare.engine", "make_band", 2),
    ("compact", "datasets.prepare.pipeline", "join_parts", 1),
    ("compact", "utils.work_folder", "_put_away", 1),
    ("compact", "datasets.prepare.pipeline", "checksums", 1),
    ("release", "datasets.prepare.engine", "make_band", 2),
    ("release", "utils.work_folder", "_put_away", 1),
])
def test_a_killed_run_goes_on(place, undisturbed, layout, module, name, count):
    kill(place, layout, module, name, count)
    prepare(place, keep_empty=True, layout=layout)
    assert contents(place.folder / "out") == undisturbed[layout]


@pytest.mark.parametrize(("layout", "moves"),
                         [("release", 1), ("release", 5), ("release", 12), ("compact", 1)])
def test_a_kill_while_tiles_are_moved_leaves_a_dataset_that_is_refused_until_the_move_is_finished(
    place, undisturbed, layout, moves):
    kill(place, layout, "utils.work_folder", "_move_file", moves)
    with pytest.raises(TileError, match=r"the preparation of c was interrupted.*run "
                                        r"prepare_dataset.py for it again"):
        TileDataset(place.folder / "out", image_size=64)
    prepare(place, keep_empty=True, layout=layout)
    assert contents(place.folder / "out") == undisturbed[layout]


@pytest.mark.parametrize(("before", "layout"), [("compact", "release"), ("release", "compact"),
                                                ("release", "release")])
def test_a_kill_while_a_city_is_replaced_leaves_nothing_of_the_old_one(place, undisturbed, before,
                                                                       layout):
    prepare(place, layout=before)
    kill(place, layout, "utils.work_folder", "_move_file", 1)
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


def test_a_full_disk_keeps_the_work(place, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("datasets.prepare.bands.write_part", full)
        with pytest.raises(PrepareError,
                           match=r"out: cannot be written \(No space left on device\). Free "
                                 r"space there and run the same command again; it keeps"):
            prepare(place)
    assert [path.name for path in (place.folder / "out").iterdir()] == [".preparing-c"]
    assert prepare(place).tiles == 4


def test_a_failed_call_leaves_nothing_to_a_later_one(place):
    write_raster(place.raster, np.zeros_like(place.image), nodata=0)
    with pytest.raises(PrepareError, match="no tile can be made"):
        prepare(place)
    assert not (place.folder / "out").exists()
    assert prepare(place, max_nodata=1.0).tiles == 4


def test_traces_of_a_finished_run_do_not_answer_for_another_request(place, undisturbed):
    kill(place, "compact", "datasets.prepare.pipeline", "PrepareSummary", 1)
    with pytest.raises(PrepareError, match="already holds the city c"):
        prepare(place, keep_empty=True, bands=[3, 3, 3])
    assert contents(place.folder / "out") == undisturbed["compact"]


def test_a_move_that_was_stopped_does_not_let_layouts_mix(place):
    prepare(place, city="b")
    kill(place, "compact", "utils.work_folder", "_move_file", 1)
    with pytest.raises(PrepareError, match="holds a dataset of another kind, layout=compact with "
                                           "b"):
        prepare(place, keep_empty=True, layout="release")


def test_other_lists_do_not_cost_the_work(place, capsys):
    kill(place, "compact", "datasets.prepare.pipeline", "join_parts", 1)
    prepare(place, keep_empty=True, split={"seed": 1}, progress=True)
    resumed = "resuming the work of a stopped run: 6 of 6 tiles are done"
    assert resumed in capsys.readouterr().out
    kill(place, "compact", "datasets.prepare.pipeline", "join_parts", 1)
    prepare(place, keep_empty=True, max_nodata=0.9, overwrite=True, progress=True)
    discarded = "the work of a stopped run with other keys or other sources was thrown away"
    assert discarded in capsys.readouterr().out


def test_two_runs_of_one_city_do_not_meet(place):
    out = place.folder / "out"
    out.mkdir()
    with FileLock(out / ".lock-preparing-c"), pytest.raises(
            PrepareError, match="out: another process is preparing c, expected none; wait"):
        prepare(place)
    assert prepare(place).tiles == 4


def test_processes_make_the_same_bytes(place, undisturbed):
    prepare(place, keep_empty=True, workers=2)
    assert contents(place.folder / "out") == undisturbed["compact"]


def test_a_dask_cluster_makes_the_same_bytes(place, undisturbed):
    distributed = pytest.importorskip("distributed", reason="scheduler= needs Dask: pip install "
                                                            "'dask[distributed]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0",
                                  silence_logs=50) as cluster:
        prepare(place, keep_empty=True, scheduler=cluster.scheduler_address)
        assert contents(place.folder / "out") == undisturbed["compact"]
        prepare(place, keep_empty=True, scheduler=cluster.scheduler_address, bands=[3, 3, 3],
                overwrite=True)  # not the work they know
        image = TileDataset(place.folder / "out", image_size=64).read(0)[0]
        assert (image[0] == image[2]).all()
        (place.folder / "city.tif").write_bytes(b"II*\0 damaged")
        with pytest.raises(PrepareError, match=r"city\.tif: not a readable raster"):
            prepare(place, city="d", scheduler=cluster.scheduler_address)


def test_a_cluster_whose_workers_die_is_told(place, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="scheduler= needs Dask: pip install "
                                                            "'dask[distributed]'")

    class Client:
        def __init__(self, *args, **keys):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def run(self, *args, **keys):
            return {"a worker": True}

        def map(self, *args, **keys):
            return []

        def cancel(self, futures):
            pass

    def die(futures):
        raise distributed.KilledWorker("make_band", None, 3)

    monkeypatch.setattr(distributed, "Client", Client)
    monkeypatch.setattr(distributed, "as_completed", die)
    with pytest.raises(PrepareError, match=r"scheduler=tcp://there:1: workers died at their "
                                           r"work.*resumes"):
        list(make_bands(place.folder, [0], workers=1, scheduler="tcp://there:1"))
