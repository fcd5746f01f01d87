"""A run one of whose workers is killed, or meets a tile that is cut off, ends in one line; the same
command then ends it as if nothing had happened."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from datasets.labelled import LabelledTiles
from tests.processes import end_children
from tests.robustness.tiny_runs import evaluate, train, write_tiles
from training.loader import NoisyTiles
from utils.errors import RoseError

JOBS = {"train": (train, NoisyTiles), "evaluation": (partial(evaluate, "pop"), LabelledTiles)}


@pytest.fixture
def tiles(tmp_path) -> Path:
    return write_tiles(tmp_path / "tiles")


def refused(run: Callable[..., Any], tiles: Path, folder: Path, message: str) -> None:
    """Check that a run ends with an error, and leave no worker of it, as the end of a process."""
    with pytest.raises(RoseError, match=message):
        run(tiles, folder)
    end_children()


@pytest.mark.parametrize("job", JOBS)
def test_a_killed_worker(tiles, tmp_path, monkeypatch, job):
    run, kind = JOBS[job]
    whole = run(tiles, tmp_path / "whole")
    get, once = kind.__getitem__, tmp_path / "killed"

    def dying(self, key):
        index = key[1] if isinstance(key, tuple) else key
        if index == 2 and os.getpid() != parent and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return get(self, key)

    parent = os.getpid()
    monkeypatch.setattr(kind, "__getitem__", dying)
    refused(run, tiles, tmp_path / "run", r"num_workers=1: process \d+ of those that load")
    assert run(tiles, tmp_path / "run") == whole


def test_a_tile_that_is_cut_off_while_workers_read(tiles, tmp_path, monkeypatch):
    run, kind = JOBS["train"]
    whole = run(tiles, tmp_path / "whole")
    image = tiles / "img" / "lima_2_0.png"
    content, get = image.read_bytes(), kind.__getitem__

    def cut_off(self, key):
        if key[0] == 2:  # the second epoch
            image.write_bytes(content[:len(content) // 2])
        return get(self, key)

    with monkeypatch.context() as patched:
        patched.setattr(kind, "__getitem__", cut_off)
        refused(run, tiles, tmp_path / "run", r"lima_2_0\.png")
    image.write_bytes(content)
    assert run(tiles, tmp_path / "run") == whole
