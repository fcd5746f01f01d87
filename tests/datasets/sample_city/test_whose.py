"""The sample city is written only where nothing is, or where its own marker says that it was made:
a user's files stay as they are."""

import json
import shutil
from pathlib import Path

import pytest

from datasets.sample_city import tiles as sample
from datasets.sample_city.marker import MARKER, Marker
from datasets.sample_city.tiles import ensure_sample_tiles
from datasets.sample_city.write import write_sample_city
from tests.random_tiles import contents, random_city, write_compact, write_release
from utils.errors import RoseError, TileError
from utils.locks import locked


@pytest.fixture
def made(sample_tiles, tmp_path) -> Path:
    """A dataset with its raw files, of 3 x 3 tiles."""
    for name in (sample_tiles.name, "raw"):
        shutil.copytree(sample_tiles.parent / name, tmp_path / "city" / name)
    return tmp_path / "city" / sample_tiles.name


def no_meta(root: Path) -> None:
    (root / "cities" / "sample").mkdir(parents=True)
    (root / "cities" / "sample" / "mine.txt").write_text("x")


def other_sample(root: Path) -> None:
    """A city that the user calls sample."""
    write_compact(root, random_city("sample", side=16), "sample")


USERS = {
    "compact": lambda root: write_compact(root, random_city(side=16)),
    "release": lambda root: write_release(root, random_city(side=16)),
    "sample": other_sample, "no meta": no_meta,
    "a file": lambda root: root.write_text("x"),
    "other files": lambda root: (root.mkdir(), (root / "thesis.tex").write_text("x")),
    "a marker that says nothing": lambda root: (root.mkdir(), (root / MARKER).write_text("{}")),
}


@pytest.mark.parametrize("write", USERS.values(), ids=USERS)
def test_a_users_dataset_stays_as_it_is(tmp_path, write):
    root = tmp_path / "mine" / "tiles"
    root.parent.mkdir()
    write(root)
    refused(tmp_path, lambda: ensure_sample_tiles(root, 1), str(root), "sample_tiles=null")


def test_users_imagery_beside_a_new_dataset_stays_as_it_is(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "city.tif").write_text("mine")
    refused(tmp_path, lambda: ensure_sample_tiles(tmp_path / "new", 1), str(tmp_path / "raw"),
            "folder elsewhere")
    refused(tmp_path, lambda: write_sample_city(tmp_path / "raw", 1, overwrite=True),
            str(tmp_path / "raw"), "out= a new folder")


def refused(folder: Path, action, *parts: str) -> None:
    """Check that an action fails with one line, and changes nothing."""
    before = contents(folder)
    with pytest.raises(RoseError) as error:
        action()
    assert "\n" not in str(error.value)
    assert [part for part in parts if part not in str(error.value)] == []
    assert contents(folder) == before


def test_another_size_is_said(made):
    refused(made.parent, lambda: ensure_sample_tiles(made, 4), "3 x 3", "sample_tiles=3")
    refused(made.parent, lambda: ensure_sample_tiles(made.with_name("b"), 4), "raw", "3 x 3")
    assert ensure_sample_tiles(made, 3) is None


def test_a_city_made_before_the_marker_is_recognised(made):
    (made / MARKER).unlink()
    refused(made.parent, lambda: ensure_sample_tiles(made, 2), "3 x 3 tiles", "sample_tiles=3")
    assert ensure_sample_tiles(made, 3) is None
    meta = made / "cities" / "sample" / "meta.json"
    said = json.loads(meta.read_text())
    meta.write_text(json.dumps({**said, "sources": said["sources"][1:]}))
    refused(made.parent, lambda: ensure_sample_tiles(made, 3), "did not make")


def test_a_stopped_generation_is_completed(tmp_path, monkeypatch):
    root = tmp_path / "tiles"
    monkeypatch.setattr("datasets.prepare.pipeline.write_splits", stop)
    with pytest.raises(KeyboardInterrupt):
        ensure_sample_tiles(root, 1)
    monkeypatch.setattr("datasets.sample_city.write.write_layers", stop)  # raw is not made again
    monkeypatch.setattr("datasets.prepare.pipeline.write_splits", lambda *_: "lists")
    assert ensure_sample_tiles(root, 1) is not None
    assert ensure_sample_tiles(root, 1) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw", "tiles"]
    Marker(1, 0).write(root)  # stopped after its tiles were in their place
    write_compact(root, random_city(side=16))
    refused(tmp_path, lambda: ensure_sample_tiles(root, 1), "lima", "sample_tiles=null")


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_two_first_runs_at_once(tmp_path, monkeypatch):
    with locked(tmp_path / ".lock-sample-city", "busy", "wait"), \
            pytest.raises(TileError, match=r"another process \(\d+.*generating a sample city"):
        ensure_sample_tiles(tmp_path / "tiles", 1)
    assert list(tmp_path.iterdir()) == []
    # the other process finished between the look and the lock
    answers = iter([False, True])
    monkeypatch.setattr(sample, "_holds", lambda *_: next(answers))
    assert ensure_sample_tiles(tmp_path / "tiles", 1) is None


@pytest.mark.parametrize("name", ["raw", "."])
def test_folders_of_unlucky_names(tmp_path, monkeypatch, name):
    (tmp_path / "raw").mkdir()
    monkeypatch.chdir(tmp_path / "raw")
    monkeypatch.setattr("datasets.sample_city.write.write_sample_city", stop)
    with pytest.raises(KeyboardInterrupt):
        ensure_sample_tiles(Path(name), 1)
    assert {path.name for path in tmp_path.iterdir()} <= {"raw", "raw_city"}
