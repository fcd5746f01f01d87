"""Folds: every tile tested once, apart on the ground, balanced, and whole beside the lists."""

import dataclasses
import sys

import numpy as np
import pytest

from datasets import TileDataset, splits
from datasets.dealt_lists import changed_lists, fold_folder, is_list, lists_in
from datasets.split_lists import SplitRules, drop_missing, write_splits
from datasets.stores.conversion import convert
from tests.datasets.test_split_lists import SIDE, distance, read, write_city
from utils.errors import ConfigError, RoseError, TileError

RULES = SplitRules(block=3, guard=1, seed=0, train_sizes=(10, 1000), fold="2/5")
LISTS = ("osm-train-all.txt", "val.txt", "test.txt")


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr("datasets.folds.DRAWS", 12)


def of_fold(root, fold: int, folds: int = 5) -> list[list[str]]:
    return [read(root / fold_folder(fold, folds), name) for name in LISTS]


def four_classes(col: int, row: int) -> np.ndarray:
    """Land use in patches of 3 x 3 tiles, and a rare class in six of them."""
    patch = (col // 3, row // 3)
    rare = 8 if patch in ((0, 0), (4, 1), (2, 2), (1, 3), (3, 4), (4, 4)) else None
    return np.full((SIDE, SIDE), (patch[0] + 2 * patch[1]) % 3 if rare is None else rare, np.uint8)


@pytest.mark.parametrize("guard", [0, 1])
def test_every_tile_is_tested_once_and_apart_from_what_it_learnt(tmp_path, guard):
    root = write_city(tmp_path, columns=15, rows=15)
    write_splits(root, dataclasses.replace(RULES, guard=guard))
    tested = [name for fold in range(1, 6) for name in of_fold(root, fold)[2]]
    assert sorted(tested) == sorted(TileDataset(root).names)
    for fold in range(1, 6):
        train, val, test = of_fold(root, fold)
        assert min(distance(train, val), distance(train, test), distance(val, test)) > guard
        assert set(val) <= set(of_fold(root, fold % 5 + 1)[2])  # the next fold validates
        assert 0.1 < len(test) / 225 < 0.3
        if not guard:
            assert len(train) + len(val) + len(test) == 225


def test_the_datasets_own_lists_are_those_of_the_fold(tmp_path):
    root = write_city(tmp_path)
    summary = write_splits(root, RULES)
    assert [read(root, name) for name in LISTS] == of_fold(root, 2)
    assert read(root / "fold-2-of-5", "osm-train10.txt") == of_fold(root, 2)[0][:10]
    before = {path: path.read_bytes() for path in lists_in(root)}
    assert len(before) == 6 * 4
    write_splits(root, RULES)
    assert {path: path.read_bytes() for path in lists_in(root)} == before
    report = str(summary)
    for number in range(1, 6):
        sizes = ", ".join(f"{name} {len(names)}" for name, names
                          in zip(LISTS, of_fold(root, number), strict=True))
        assert f"  fold-{number}-of-5  {sizes}" in report


def test_every_list_of_every_fold_has_the_rare_class(tmp_path):
    root = write_city(tmp_path, columns=15, rows=15, land_use=four_classes)
    write_splits(root, dataclasses.replace(RULES, guard=0, fold="1/3"))
    for fold in range(1, 4):
        for names in of_fold(root, fold, 3):
            assert any(four_classes(*map(int, name.split("_")[1:]))[0, 0] == 8 for name in names)


def test_folds_of_totals_alone_are_balanced(tmp_path):
    root = write_city(tmp_path, columns=15, rows=15, land_use=None,
                      pop=lambda col, row: 1000.0 if col < 8 else 10.0)
    write_splits(root, RULES)
    shares = [np.mean([int(name.split("_")[1]) < 8 for name in of_fold(root, fold)[2]])
              for fold in range(1, 6)]
    assert max(shares) - min(shares) < 0.3


def test_lists_of_folds_go_with_those_of_the_split(tmp_path):
    """They are recorded as dealt, lose tiles that are no more, are copied with a dataset, and
    leave with the next split."""
    root = write_city(tmp_path / "city")
    write_splits(root, RULES)
    assert changed_lists(root) == []
    assert is_list(root / "fold-1-of-5")
    convert(root, tmp_path / "release")
    assert (tmp_path / "release" / "fold-3-of-5" / "val.txt").read_bytes() == (
        root / "fold-3-of-5" / "val.txt").read_bytes()
    gone = of_fold(root, 4)[2][0]
    kept = [name for name in TileDataset(root).names if name != gone]
    smaller = write_city(tmp_path / "smaller", cells=[tuple(map(int, name.split("_")[1:]))
                                                      for name in kept])
    write_splits(root, RULES)
    for path in lists_in(root):
        (smaller / path.relative_to(root)).parent.mkdir(exist_ok=True)
        (smaller / path.relative_to(root)).write_bytes(path.read_bytes())
    assert drop_missing(smaller) == 1
    assert gone not in of_fold(smaller, 4)[2]
    (root / "fold-1-of-5" / "val.txt").write_text("c_0_0.png\n")
    assert changed_lists(root) == ["fold-1-of-5/val.txt"]
    (root / "fold-9-of-9").mkdir()
    (root / "fold-9-of-9" / "notes.txt").write_text("mine")
    write_splits(root, dataclasses.replace(RULES, fold=None))
    assert sorted(path.name for path in root.glob("fold-*")) == ["fold-9-of-9"]
    assert not is_list(root / "fold-9-of-9")


def rare(tiles: int):
    """A city in which class 8 is known in as many tiles, far from each other."""
    places = [(1, 1), (13, 1), (7, 7), (1, 13), (13, 13)][:tiles]

    def land_use(col, row):
        return np.full((SIDE, SIDE), 8 if (col, row) in places else 3, np.uint8)
    return lambda root: write_city(root, columns=15, rows=15, land_use=land_use)


@pytest.mark.parametrize(("city", "changes", "kind", "parts"), [
    (write_city, {"fold": "6/5"}, ConfigError, ["split.fold=6/5: expected k/n, fold k from 1 to n "
                                                "of n from 3 to 20 folds"]),
    (write_city, {"fold": "1/2"}, ConfigError, ["split.fold=1/2", "n from 3"]),
    (write_city, {"fold": "0/5"}, ConfigError, ["split.fold=0/5"]),
    (write_city, {"fold": "../5"}, ConfigError, ["split.fold=../5"]),
    (lambda root: write_city(root, columns=2, rows=2), {}, TileError,
     ["split.fold=2/5: the 4 usable tiles of c make fewer than 5 blocks (split.block=3)",
      "expected one or more for each fold; "]),
    (lambda root: write_city(root, columns=8, rows=8), {"guard": 4}, TileError,
     ["leaves no tile for", "a guard of 4; "]),
    (rare(4), {}, TileError, ["fold ", " of 5 has no pixel of transport for ",
                              "which lies in 4 blocks; expected every class in every list; pass "
                              "split.fold=1/4, which does"]),
])
def test_folds_that_cannot_be_are_one_line(tmp_path, city, changes, kind, parts):
    root = city(tmp_path)
    with pytest.raises(RoseError) as raised:
        write_splits(root, dataclasses.replace(RULES, **changes))
    assert type(raised.value) in (kind, *kind.__subclasses__())
    for part in parts:
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not lists_in(root)


def test_the_remedy_of_folds_without_a_class_works(tmp_path):
    root = rare(4)(tmp_path)
    with pytest.raises(TileError) as raised:
        write_splits(root, RULES)
    assert "pass split.fold=1/4, which does" in str(raised.value)
    write_splits(root, dataclasses.replace(RULES, fold="1/4"))
    assert lists_in(root)


def test_a_class_of_one_tile_stops_no_folds(tmp_path):
    root = rare(1)(tmp_path)
    write_splits(root, RULES)
    assert len(of_fold(root, 1)[2]) > 20


def test_the_command(tmp_path, monkeypatch, capsys):
    root = write_city(tmp_path)
    monkeypatch.setattr(sys, "argv", ["splits.py", f"data_path={root}", "split.fold=1/4",
                                      "split.block=3"])
    splits.main()
    assert "  fold-4-of-4  osm-train-all.txt" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["splits.py", f"data_path={root}", "split.fold=5/4"])
    with pytest.raises(SystemExit) as stopped:
        splits.main()
    assert stopped.value.code == 2
    assert "error: split.fold=5/4: expected k/n" in capsys.readouterr().err
