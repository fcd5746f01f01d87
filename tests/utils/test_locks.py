"""A lock keeps another process out, names it, and is free as soon as that process has ended."""

import subprocess
import sys

import pytest

from utils.errors import CheckpointError
from utils.locks import locked

HOLD = """
import sys; from pathlib import Path; from utils.locks import locked
with locked(Path(sys.argv[1]), "training", ""):
    print("held", flush=True); sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def hold(path):
    with locked(path, "training", "choose another save_dir=", CheckpointError):
        pass


def test_the_message_names_the_process_that_holds_it(tmp_path, holder):
    with pytest.raises(CheckpointError, match=(
            rf"another process \({holder.pid}, since 20.*: -c {tmp_path}/lock\) is training, "
            "expected none; wait for it to end, or stop it, or choose another save_dir=$")):
        hold(tmp_path / "lock")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"pid": "x"}'])
def test_what_it_wrote_of_itself_need_not_be_readable(tmp_path, holder, content):
    (tmp_path / "lock.holder").write_bytes(content)
    with pytest.raises(CheckpointError, match="another process is training, expected none"):
        hold(tmp_path / "lock")


def test_the_message_shows_no_key_of_its_command(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prepare", "raster=https://h/a.tif?sig=secret", "city=a",
                                      "imagery_key=secret", "osm=https://me:secret@h/o.pbf"])
    with locked(tmp_path / "lock", "training", ""), pytest.raises(CheckpointError) as error:
        hold(tmp_path / "lock")
    assert "prepare raster=https://h/a.tif city=a)" in str(error.value)
    assert "secret" not in str(error.value)


def test_a_killed_process_holds_nothing(tmp_path, holder):
    holder.kill()
    holder.wait()
    hold(tmp_path / "lock")
    assert not list(tmp_path.iterdir())
