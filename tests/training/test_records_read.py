"""A record that is not as it was left is said in one line, whose remedy lets the run go on."""

import math
import re
import shutil

import pytest

import train_rose
from tests.random_tiles import random_tile, write_compact
from tests.robustness.remedies import commands_in, follow
from training.keys import TRAIN
from training.records import COLUMNS, last_epoch_losses, read_metrics
from utils.cli.compose import read
from utils.errors import CheckpointError

HEADER = ",".join(COLUMNS).encode() + b"\r\n"
ROW = b"1,2,2,1.5,2.5,0.1,9.0\r\n"
DAMAGED = {
    "no number": HEADER + b"1,2,2,many,2.5,0.1,9.0\r\n", "a column less": HEADER + b"1,2\r\n",
    "a column more": HEADER + ROW[:-2] + b",7\r\n", "no UTF-8": HEADER + b"\xff" + ROW,
    "nan": HEADER + b"1,2,2,nan,2.5,0.1,9.0\r\n", "nothing": b"", "other columns": b"a,b\r\n",
    "no header": ROW, "no step": HEADER + b"1,0,2,1.5,2.5,0.1,9.0\r\n",
    "steps that go back": HEADER + ROW + ROW, "NUL": bytes(100), "a quote": HEADER + b'"1,2\r\n',
    "huge": HEADER + b"1,2,1e999,1.5,2.5,0.1,9.0\r\n",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_metrics_that_are_no_record(tmp_path, case):
    (tmp_path / "metrics.csv").write_bytes(DAMAGED[case])
    with pytest.raises(CheckpointError, match=r"metrics\.csv: .*expected the lines of the steps"):
        read_metrics(tmp_path)


def test_no_rows_have_no_losses(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(HEADER)
    assert read_metrics(tmp_path) == []
    assert all(map(math.isnan, last_epoch_losses([]).values()))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The keys of a run of 4 steps, and its folder after 2 of them."""
    folder = tmp_path_factory.mktemp("a run")
    tiles = write_compact(folder / "tiles", [
        random_tile(f"lima_{n}_0", nodes=4, edges=3, side=32, targets=True) for n in range(4)])
    keys = [f"data_path={tiles}", "image_size=32", "batch_size=2", "image_encoder=test_vit",
            "num_workers=0", "accelerator=cpu", "log_every=1", "picture_every=99"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("training.summary.report", lambda _: None)
        train_rose.train(read(TRAIN, *keys, f"save_root_dir={folder}", "max_steps=2"))
    return keys, folder / "rose"


@pytest.mark.parametrize(("name", "damage"), [
    *((name, damage) for name in ("metrics.csv", "loss_record.txt") for damage in (
        lambda text: text[:-9], lambda text: b"", lambda text: b"a note\n" + text)),
    ("metrics.csv", lambda text: text.replace(b"1", b"\xff"))])
def test_a_run_goes_on_when_the_remedy_is_followed(stopped, tmp_path, monkeypatch, name, damage):
    monkeypatch.setattr("training.summary.report", lambda _: None)
    keys, left = stopped
    folder = shutil.copytree(left, tmp_path / "my run's" / "rose")
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    cfg = read(TRAIN, *keys, f"save_root_dir={folder.parent}", "max_steps=4")
    with pytest.raises(CheckpointError, match=re.escape(name)) as error:
        train_rose.train(cfg)
    assert {path.name: path.read_bytes()
            for path in folder.iterdir() if path.is_file()} == before
    [remedy] = commands_in(str(error.value))
    follow(remedy, tmp_path)
    train_rose.train(cfg)
    lines = (folder / "loss_record.txt").read_text().splitlines()
    assert len(lines) == (2 if name == "loss_record.txt" else 4)
    assert [row["global_step"] for row in read_metrics(folder)] == (
        [3, 4] if name == "metrics.csv" else [1, 2, 3, 4])
