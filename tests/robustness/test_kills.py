"""Runs that are killed at any moment, whichever of their processes it is, end as undisturbed ones
when the same command is given again: nothing lost, nothing unequal."""

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import evaluation.job
import train_rose
import training.pretraining
import training.summary
from tests.robustness.soak.warm import Outcome, Running, run
from tests.robustness.tiny_runs import save_network, write_tiles

# forks of this process begin with these libraries
assert all((evaluation.job, train_rose, training.pretraining, training.summary))
PATIENCE_S = 90
COMMANDS = {
    "train": ["train_rose.py", "data_path=tiles", "save_root_dir=.", "save_dir=run",
              "image_encoder=test_vit", "total_epoch=3", "save_every=1", "log_every=1"],
    "evaluation": ["evaluate_pop_fusion.py", "data_root=tiles", "checkpoint=model_1.safetensors",
                   "save_path=run", "epochs=3", "target_scale=standard"],
}
SMALL = ["image_size=32", "batch_size=2", "num_workers=1", "accelerator=cpu"]
SAME = ("*.safetensors", "loss_record.txt", "attention.json", "reconstruction.json",
        "predictions.csv", "seed_0/*.csv", "seed_0/*.json")  # in every undisturbed run


def kill_and_continue(command: list[str], folder: Path, moment: Callable[[], bool],
                      whom: str) -> Outcome:
    """Start a script in `folder`, kill it, give the same command again, and return how it ended.

    Args:
        moment: becomes true when it is to be killed; asked often.
        whom: "main", "group" (all processes), or "worker" (one that loads tiles; without any, the
            main process).
    """
    running = Running(command, folder)
    deadline = time.monotonic() + PATIENCE_S
    while not moment() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    running.kill(whom, min)
    ended = running.wait(PATIENCE_S)
    assert ended.code is not None, "hung"
    assert not ended.traceback, ended.error
    return run(command, folder, PATIENCE_S)


def results(folder: Path) -> dict[str, str]:
    """The digest of every file that is equal in equal runs."""
    return {str(path.relative_to(folder)): hashlib.sha256(_content(path)).hexdigest()
            for pattern in SAME for path in sorted(folder.glob(pattern))}


def _content(path: Path) -> bytes:
    """A file's bytes; of weights without their description, whose order is any."""
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        return data
    return data[8 + int.from_bytes(data[:8], "little"):]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder with tiles and a network."""
    folder = tmp_path_factory.mktemp("kills") / "inputs"
    folder.mkdir()
    write_tiles(folder / "tiles")
    save_network(folder / "model_1.safetensors")
    return folder


@pytest.fixture(scope="module")
def undisturbed(inputs):
    """Job -> what it leaves."""
    left = {}
    for job, command in COMMANDS.items():
        folder = shutil.copytree(inputs, inputs.parent / job)
        done = run([*command, *SMALL], folder, PATIENCE_S)
        assert done.code == 0, done.error
        left[job] = results(folder / "run")
    return left


@pytest.mark.parametrize(("job", "whom", "file", "size"), [
    ("train", "worker", "loss_record.txt", 4),
    ("evaluation", "group", "seed_0/metrics.csv", 2)])
def test_killed_and_continued(inputs, undisturbed, tmp_path, job, whom, file, size):
    folder = shutil.copytree(inputs, tmp_path / "killed")
    record = folder / "run" / file

    def moment() -> bool:
        return record.exists() and record.read_text().count("\n") >= size

    done = kill_and_continue([*COMMANDS[job], *SMALL], folder, moment, whom)
    assert done.code == 0, done.error
    assert results(folder / "run") == undisturbed[job]
    assert not list(folder.rglob(".writing-*"))
    assert not list(folder.rglob(".lock*"))
