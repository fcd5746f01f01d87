"""What an evaluation reads of its own earlier work is checked; where it is wrong, one line says so,
and the evaluation goes on when its remedy is followed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.evaluation.evaluating import SMALL, configure, made, stopped_after_an_epoch, stored
from tests.robustness.remedies import commands_in, follow
from utils.errors import CheckpointError


@pytest.fixture(scope="module")
def cfg(tiny) -> Any:
    return configure("pop", *SMALL, *tiny, "modality=image", "target_scale=standard")


@pytest.fixture(scope="module")
def left(cfg, tmp_path_factory) -> dict[str, Path]:
    """The folders of a run stopped after an epoch and of a finished one."""
    folder = tmp_path_factory.mktemp("left")
    stopped_after_an_epoch(cfg, folder / "stopped")
    return {"state.tar": folder / "stopped", "results.json": made(cfg, folder / "finished")}


def inside(content: Any, path: tuple, value: Any) -> None:
    """Put `value` at `path` of nested dicts and lists; remove what is there if it is `...`."""
    for name in path[:-1]:
        content = content[name]
    if value is ...:
        del content[path[-1]]
    else:
        content[path[-1]] = value


def refused(cfg: Any, there: Path, name: str, tmp_path: Path, change) -> None:
    """Check that the evaluation refuses its changed file, changes nothing, and ends as one that
    nothing disturbed once the remedy is followed."""
    folder = shutil.copytree(there, tmp_path / "my evaluation's")
    file = folder / "seed_0" / name
    change(file)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError) as error:
        made(cfg, folder)
    assert str(error.value).startswith(f"{file}: ") or ".safetensors: missing" in str(error.value)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    [remedy] = commands_in(str(error.value).rpartition("; ")[2])
    follow(remedy, tmp_path)
    assert not file.exists()


WRONG_STATES = {
    ("format",): ["rose-run-1", ...], ("identity",): [[]], ("rows",): [[], [{"epoch": "1"}], ...],
    ("best",): [None, {"epoch": 2, "score": 1.0}, {"epoch": 1}],
    ("epoch",): [1, 2.0, 10**30], ("step",): [-1, 1], ("global_step",): [3],
    ("loss_sum",): [float("nan")],
    ("model",): [{}, {"decoder.head.weight": torch.zeros(3)}, ...],
    ("optimizer",): [None, {"state": {}, "param_groups": []}],
    ("optimizer", "state", 0, "exp_avg"): [torch.zeros(3), 1, ...],
    ("optimizer", "state", 99): [{"exp_avg": torch.zeros(3)}],
    ("optimizer", "param_groups", 0, "params"): [[0]],
    ("rng",): [[], [{}]], ("rng", 0, "torch"): [torch.zeros(3)],
    ("rng", 0, "numpy"): [["MT19937", torch.zeros(3), 0, 0, 0.0]],
    ("rng", 0, "python"): [[3, [1], None]], ("precision",): [[]],
}


@pytest.mark.parametrize("path", WRONG_STATES, ids=str)
def test_a_state_that_says_something_wrong(cfg, left, tmp_path, path):
    for number, value in enumerate(WRONG_STATES[path]):
        def change(file, value=value):
            state = torch.load(file, weights_only=True)
            inside(state, path, value)
            torch.save(state, file)
        refused(cfg, left["state.tar"], "state.tar", tmp_path / str(number), change)


BYTES = {"nothing": lambda data: b"", "half": lambda data: data[:len(data) // 2],
         "text": lambda data: b"hello\n", "NUL": lambda data: bytes(100),
         "deep": lambda data: b"[" * 100_000, "a list": lambda data: b"[1]"}


@pytest.mark.parametrize("name", ["state.tar", "results.json"])
@pytest.mark.parametrize("bad", BYTES)
def test_bytes_that_are_none_of_its_own(cfg, left, tmp_path, name, bad):
    refused(cfg, left[name], name, tmp_path,
            lambda file: file.write_bytes(BYTES[bad](file.read_bytes())))


def test_a_state_without_the_best_weights(cfg, left, tmp_path):
    refused(cfg, left["state.tar"], "state.tar", tmp_path,
            lambda file: file.with_name("best.safetensors").unlink())


WRONG_RESULTS = {
    ("seed",): [1, "0"], ("epoch",): [-1, None], ("figures",): [{}, ...],
    ("figures", "rmse"): ["1", True], ("val",): [[], {}, ...], ("val", "r2"): ["1"],
    ("estimates",): [[1], [None, 1], ...], ("identity",): [[], ...],
}


@pytest.mark.parametrize("path", WRONG_RESULTS, ids=str)
def test_a_result_that_says_something_wrong(cfg, left, tmp_path, path):
    for number, value in enumerate(WRONG_RESULTS[path]):
        def change(file, value=value):
            result = json.loads(file.read_text())
            inside(result, path, value)
            file.write_text(json.dumps(result))
        refused(cfg, left["results.json"], "results.json", tmp_path / str(number), change)


@pytest.mark.parametrize("name", ["state.tar", "results.json"])
def test_after_the_remedy_the_results_are_the_same(cfg, left, tmp_path, name):
    refused(cfg, left[name], name, tmp_path, lambda file: file.write_bytes(b"hello\n"))
    again = made(cfg, tmp_path / "my evaluation's")
    assert stored(again)["per_seed"] == stored(left["results.json"])["per_seed"]
