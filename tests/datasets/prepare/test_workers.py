"""Processes that are killed, at any moment: one line, no hang, and the same command resumes."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from datasets.prepare.engine import make_bands
from tests.datasets.prepare.killing import kill
from tests.datasets.prepare.places import contents, prepare
from utils.errors import PrepareError

ROOT = Path(__file__).resolve().parents[3]
END = re.compile("^made 2$|^workers=2: a worker process ended without a word.*with workers=1$")


@pytest.fixture
def job(place) -> Path:
    """The folder of a job of two bands, none of which is made."""
    kill(place, "compact", "datasets.prepare.engine", "make_band", 1)
    return place.folder / "out/.preparing-c"


@pytest.fixture
def at_most():
    """Return a function that fails the test if it goes on for so many seconds."""
    def hang(*_):
        raise TimeoutError("hung")
    before = signal.signal(signal.SIGALRM, hang)
    yield signal.alarm
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def end_of(job: Path) -> str:
    """Return how the making of both bands ends."""
    try:
        return f"made {len(list(make_bands(job, [0, 1], workers=2, scheduler=None)))}"
    except PrepareError as error:
        return str(error)


@pytest.mark.parametrize("whom", [0, 1])
def test_a_worker_killed_as_it_starts_never_hangs_the_run(place, job, monkeypatch, at_most, whom):
    start, started, later = ForkServerProcess.start, [], [0.0]

    def killing(process):
        start(process)
        started.append(process)
        if len(started) == whom + 1:
            timer = threading.Timer(later[0], os.kill, (process.pid, signal.SIGKILL))
            timer.daemon = True
            timer.start()
    at_most(60)
    with monkeypatch.context() as patched:
        patched.setattr(ForkServerProcess, "start", killing)
        for milliseconds in range(0, 20, 2):
            later[0] = milliseconds / 1000
            for report in (job / "reports").glob("*"):
                report.unlink()
            started.clear()
            assert END.search(end_of(job))
            assert not any(process.is_alive() for process in started)
    assert prepare(place, keep_empty=True).tiles == 6


def test_the_server_of_workers_is_killed(place, job, monkeypatch, at_most):
    start = ForkServerProcess.start

    def killing(process):
        start(process)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
    at_most(60)
    with monkeypatch.context() as patched:
        patched.setattr(ForkServerProcess, "start", killing)
        assert END.search(end_of(job))
    assert prepare(place, keep_empty=True).tiles == 6


def test_workers_end_when_their_parent_is_killed(place, job):
    code = ("import sys\nfrom pathlib import Path\n"
            "from functools import partial\n"
            "from datasets.prepare.bands import make_band\n"
            "from datasets.workers import _Worker, _context\n"
            "if __name__ == '__main__':\n"
            "    work = partial(make_band, sys.argv[1])\n"
            "    workers = [_Worker(_context(make_band.__module__), work) for _ in range(2)]\n"
            "    print(*(worker._process.pid for worker in workers), flush=True)\n"
            "    sys.stdin.read()\n")
    script = place.folder / "parent.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, script, job], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, cwd=ROOT,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert all(map(_runs, children))
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 10
    while any(map(_runs, children)) and time.monotonic() < until:
        time.sleep(0.02)
    assert len(children) == 2
    assert not any(map(_runs, children))


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.is_file() and not re.search(r"^State:\s*[ZX]", status.read_text(), re.MULTILINE)


def test_what_a_band_fails_with_is_what_the_run_fails_with(place, job, at_most):
    at_most(60)
    whole = place.raster.read_bytes()
    place.raster.write_bytes(b"II*\0 damaged")
    with pytest.raises(PrepareError, match=r"city\.tif"):
        list(make_bands(job, [0, 1], workers=2, scheduler=None))
    place.raster.write_bytes(whole)
    assert sorted(make_bands(job, [0, 1], workers=3, scheduler=None)) == [0, 1]
    assert list(make_bands(job, [], workers=2, scheduler=None)) == []


def test_the_work_of_killed_workers_gives_the_same_bytes(place, job):
    prepare(place, keep_empty=True, out=place.folder / "whole")
    (job / "parts/.writing-0000000.part").write_bytes(b"half")
    prepare(place, keep_empty=True, workers=2)
    assert contents(place.folder / "out") == contents(place.folder / "whole")
