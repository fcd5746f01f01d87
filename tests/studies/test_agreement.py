"""Which runs in the folder of a benchmark are compared, and which are refused."""

import json
import re
from pathlib import Path

import pytest

from studies.benchmark_agreement import check_alike
from studies.benchmark_plan import FULLY, KNN, SCRATCH, Cell
from studies.benchmark_runs import base_config
from utils.errors import CheckpointError
from utils.outputs import write_json

IMAGE, FUSION, PLUS = (Cell("land_use", row) for row in ("image", "fusion", "plus"))
MLP, KNN_100 = Cell("land_use", "patch_mlp", SCRATCH), Cell("land_use", "fusion", KNN, "100")
FEW, VOLUME = Cell("land_use", "fusion", labels="25"), Cell("building_volume", "fusion")
WITHOUT = Cell("land_use", "fusion", removed=0.5)
EPOCHS = {IMAGE: 5, FUSION: 5, PLUS: 5, MLP: 5, KNN_100: 0, FEW: 24, VOLUME: 2, WITHOUT: 0}
RUNS = ("fold-1_seed-0", "fold-2_seed-0", "fold-1_seed-1")


def written(out: Path, cell: Cell, run: str, **changes) -> Path:
    """Write what a run says of its keys; `changes` are of the keys, or other names of the file."""
    problem, target = ("pop", "pop") if cell == VOLUME else ("seg", "")
    recipe = "plus" if cell == PLUS else "rose"
    base = base_config(problem, target, recipe, (), "cpu")
    config = {"batch_size": base.batch_size, "lr_multi": base.lr_multi,
              "drop_objects": base.drop_objects, "weight_decay": base.weight_decay,
              "image_size": 224, "epochs": EPOCHS[cell], "fold": f"{run[5]}/2"}
    statistics = cell == MLP
    made = {"reported": "test", "tiles": {"train": 25 if cell == FEW else 649},
            "network": {"image_encoder": "small_vit" if statistics else "test_vit"},
            "checkpoint": None if statistics else {
                "sha256": f"{'its model' if cell == WITHOUT else recipe} {run[-1]}"}}
    record = made | {"config": config | {key: value for key, value in changes.items()
                                         if key not in made}}
    path = out / "runs" / cell.task / cell.name / run / "results.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record | {key: value for key, value in changes.items() if key in made})
    return path.parent


@pytest.fixture
def folders(tmp_path) -> dict[Cell, list[Path]]:
    """Runs of one command, and the pretraining that they come from."""
    for name in ("rose_hash_seed-0", "plus_hash_seed-0", "plus_hash_seed-1"):
        (tmp_path / "pretraining" / name).mkdir(parents=True)
        write_json(tmp_path / "pretraining" / name / "run.json",
                   {"request": {"pretraining": {"total_epoch": 16}}})
    return {cell: [written(tmp_path, cell, run) for run in RUNS] for cell in EPOCHS}


def test_runs_of_one_command_are_alike(tmp_path, folders):
    """Cells differ in recipe, labels and task, and what follows from these; models without a
    network, and probes, have keys of their own."""
    written(tmp_path, MLP, RUNS[0], lr_multi=3.0)
    for run in RUNS:
        written(tmp_path, MLP, run, lr_multi=3.0)
        written(tmp_path, KNN_100, run, drop_objects=0.5)
    check_alike(tmp_path, folders)


def test_a_run_that_is_older_than_a_key_has_its_default(tmp_path, folders):
    path = folders[FUSION][0] / "results.json"
    record = json.loads(path.read_text())
    del record["config"]["drop_objects"]
    write_json(path, record)
    check_alike(tmp_path, folders)


@pytest.mark.parametrize(("cell", "changes", "message"), [
    (FUSION, {"lr_multi": 3.0}, "with lr_multi=100, and .* with lr_multi=3; expected the same"),
    (PLUS, {"lr_multi": 3.0}, "with lr_multi=100, and .* with lr_multi=3"),
    (PLUS, {"weight_decay": 0.01}, "with weight_decay=0, and .* with weight_decay=0.01"),
    (FUSION, {"batch_size": 16}, "with batch_size=8, and .* with batch_size=16"),
    (FUSION, {"drop_objects": 0.5}, "with drop_objects=0, and .* with drop_objects=0.5"),
    (MLP, {"image_size": 112}, "with image_size=224, and .* with image_size=112"),
    (FUSION, {"fold": "1/3"}, "with folds=2, and .* with folds=3"),
    (FUSION, {"network": {"image_encoder": "small_vit"}},
     "with image_encoder=test_vit, and .* with image_encoder=small_vit"),
    (FUSION, {"checkpoint": {"sha256": "another"}},
     "with the pretraining's SHA-256=rose 0, and .* with the pretraining's SHA-256=another"),
])
def test_cells_of_other_keys_are_refused(tmp_path, folders, cell, changes, message):
    for run in RUNS:
        written(tmp_path, cell, run, **changes)
    with pytest.raises(CheckpointError, match=message) as error:
        check_alike(tmp_path, folders)
    assert str(error.value).startswith(str(folders[IMAGE][0]))
    assert str(folders[cell][0]) in str(error.value)
    assert str(error.value).endswith("remove the folder of the one that is not meant, and the same "
                                     "benchmark makes it again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("cell", "epochs", "message"), [
    (FUSION, 2, "fusion_pretrained_25/fold-1_seed-0/results.json: .* for 24 epochs, which needs "
     "effort=0.978 or more, and .*/fusion_pretrained_all/.* for 2, of effort=0.531 or less; exp"),
    (FEW, 48, "fusion_pretrained_25/fold-1_seed-0/results.json: .* for 48 epochs"),
    (VOLUME, 4, "fusion_pretrained_all/fold-1_seed-0/results.json: .* for 4 epochs"),
])
def test_cells_of_another_effort_are_refused(tmp_path, folders, cell, epochs, message):
    for run in RUNS:
        written(tmp_path, cell, run, epochs=epochs)
    with pytest.raises(CheckpointError, match=message):
        check_alike(tmp_path, folders)


def test_pretrainings_of_other_lengths_are_refused(tmp_path, folders):
    path = tmp_path / "pretraining" / "plus_hash_seed-0" / "run.json"
    write_json(path, {"request": {"pretraining": {"total_epoch": 2}}})
    with pytest.raises(CheckpointError, match=f"rose_hash_seed-0/run.json: was made with "
                       f"total_epoch=16, and {re.escape(str(path))} with total_epoch=2"):
        check_alike(tmp_path, folders)


def test_figures_of_other_tiles_than_test_are_refused(tmp_path, folders):
    folder = written(tmp_path, Cell("land_use", "plus", FULLY), RUNS[0], reported="val")
    with pytest.raises(CheckpointError, match=f"{re.escape(str(folder))}/results.json: has figures "
                       "of val tiles, expected those of test tiles, as a benchmark measures"):
        check_alike(tmp_path, folders)
