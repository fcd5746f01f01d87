"""The runs of a study in processes, and how long they took."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.keys import SegmentationConfig
from studies import units
from studies.benchmark_plan import Cell
from utils.errors import RoseError


class Deadly:
    """Ends the process that takes it."""

    def __reduce__(self):
        return os._exit, (1,)


def unit_of(tmp_path: Path, cells: list[Cell]) -> units.Unit:
    return units.Unit("missing", "two", tmp_path / "two", {}, 1.0, {}, cells=tuple(
        (cell, SegmentationConfig(data_root="x", save_path=str(tmp_path / cell.name)))
        for cell in cells))


def finish(cell: Cell, cfg: SegmentationConfig) -> None:
    """Leave what is read of a finished evaluation."""
    for folder in (Path(cfg.save_path), Path(cfg.save_path, "seed_0")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "results.json").touch()


def test_the_time_of_a_run_is_that_of_all_commands(tmp_path, monkeypatch):
    first, second = (replace(Cell("land_use", "fusion"), removed=share) for share in (0.5, 1.0))
    unit, asked = unit_of(tmp_path, [first, second]), []

    def stopped_once(row, cell, cfg):
        asked.append(cell)
        time.sleep(0.1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        finish(cell, cfg)
    monkeypatch.setattr(units, "_evaluate", stopped_once)
    with pytest.raises(KeyboardInterrupt):
        unit.work(None)
    assert unit.seconds() is None
    before = json.loads((unit.folder / "spent.json").read_text())
    killed = before["since"] + 30  # the last that was written before it was killed
    os.utime(unit.folder / "log.txt", (killed, killed))
    unit.work(None)
    assert 30.29 < unit.seconds() < 33  # 0.1 and 30 s of the first command, 0.2 s of the second
    times = unit.times()
    assert times.keys() == {tmp_path / first.name, tmp_path / second.name}
    assert 0.19 < times[tmp_path / first.name] < 3
    assert 0.09 < times[tmp_path / second.name] < 3
    assert not (unit.folder / "spent.json").exists()


def test_records_of_earlier_versions_stay_readable(tmp_path):
    cell = Cell("land_use", "fusion")
    for cells, times in (([cell], {tmp_path / cell.name: 7.5}),
                         ([cell, replace(cell, removed=1.0)], {})):
        unit = unit_of(tmp_path, cells)
        unit.folder.mkdir(exist_ok=True)
        (unit.folder / "run.json").write_text('{"seconds": 7.5, "request": {}}')
        for each in unit.cells:
            finish(*each)
        assert (unit.seconds(), unit.times()) == (7.5, times)


@pytest.mark.parametrize("lost", ["", "seed_0/"])
def test_a_run_that_lost_what_a_cell_left_is_made_again(tmp_path, monkeypatch, lost):
    first, second = (replace(Cell("land_use", "fusion"), removed=share) for share in (0.5, 1.0))
    unit = unit_of(tmp_path, [first, second])
    monkeypatch.setattr(units, "_evaluate", lambda row, cell, cfg: finish(cell, cfg))
    unit.work(None)
    record = unit.folder / "run.json"
    record.write_text(json.dumps({"seconds": 90, "request": {}, "cells": {
        first.name: 50, second.name: 40}}))
    assert unit.seconds() == 90
    (tmp_path / second.name / lost / "results.json").unlink()
    assert unit.seconds() is None
    unit.work(None)
    assert 90 < unit.seconds() < 99  # beside what it took before
    assert 40 < unit.times()[tmp_path / second.name] < 49


def test_a_run_that_lost_something_is_refused_with_other_keys(tmp_path):
    unit = replace(unit_of(tmp_path, [Cell("land_use", "fusion")]), request={"two": {"lr": 2}})
    unit.folder.mkdir()
    (unit.folder / "run.json").write_text('{"seconds": 7, "request": {"two": {"lr": 1}}}')
    with pytest.raises(RoseError, match=r"is of a run with other keys: lr=2 \(there 1\)"):
        unit.seconds()


def test_a_process_that_dies_is_said_with_a_remedy_and_what_is_done_stays(tmp_path):
    two = [units.Unit("x", name, tmp_path / name, {}, 1.0, defaults)
           for name, defaults in (("fine", {}), ("deadly", {"lr": Deadly()}))]
    assert units.run_units(two[:1], 2, "Working")["x"] > 0
    with pytest.raises(RoseError, match=r"workers=2: a process ended without a word.* workers=1"):
        units.run_units(two, 2, "Working")
    assert two[0].seconds() > 0
    assert two[1].seconds() is None
