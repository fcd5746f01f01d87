"""A disk that is full ends a run in one line, leaves nothing half-written under a final name, and
the same command ends the run once there is space."""

from functools import partial

import pytest

from tests.robustness.tiny_runs import evaluate, limited, train, write_tiles
from utils.errors import message_of

# what is too large -> the largest size of a file, which other files of the run do not reach
EVALUATE = partial(evaluate, "pop")
LIMITS = {
    "events": (train, 20_000, "events.out.tfevents"),
    "checkpoint": (train, 3_200_000, "model_1.tar"),
    "weights of an evaluation": (EVALUATE, 1_000_000, "best.safetensors"),
    "state": (EVALUATE, 3_500_000, "state.tar"),
}


@pytest.fixture(scope="module")
def wholes() -> dict:
    """Job -> what it gives undisturbed."""
    return {}


@pytest.mark.parametrize("case", LIMITS)
def test_a_full_disk(tmp_path, wholes, case):
    job, size, file = LIMITS[case]
    tiles = write_tiles(tmp_path / "tiles")
    run = partial(job, tiles, more=["num_workers=0", *["picture_every=1"] * (job is train)])
    if job not in wholes:
        wholes[job] = run(tmp_path / "whole")
    with limited(size), pytest.raises(OSError, match=r".") as error:
        run(tmp_path / "run")
    message = message_of(error.value)
    assert f"/{file}" in message.split(": ")[0]
    assert "\n" not in message
    assert not list(tmp_path.rglob(".writing-*"))
    assert run(tmp_path / "run") == wholes[job]
