"""Training, validation and test lists: apart on the ground, balanced, nested, and whole or
unchanged."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import TileDataset, splits
from datasets.dealt_lists import DEALT, changed_lists
from datasets.spatial_blocks import near
from datasets.split_lists import SplitRules, drop_missing, write_splits
from datasets.stores.join import join_parts
from datasets.stores.parts import write_part
from datasets.stores.tile import Tile
from datasets.targets import CLASSES
from utils.errors import ConfigError, RoseError, TileError

RULES = SplitRules(val=0.15, test=0.15, block=3, guard=1, seed=0, train_sizes=(10, 20, 40, 1000))
SIDE = 4


def quarters(col: int, row: int) -> np.ndarray:
    """Land use in patches of 3 x 3 tiles."""
    return np.full((SIDE, SIDE), (col // 3 + 2 * (row // 3)) % 5, np.uint8)


def write_city(root: Path, city="c", columns=12, rows=12, land_use=quarters, pop=None, stride=SIDE,
               cells=None) -> Path:
    """A compact city; `land_use(col, row)` and `pop(col, row)` give what a tile has, or None."""
    empty = {"geometry": np.zeros((0, 12), np.float32), "text": np.zeros(0, np.int64),
             "label": np.zeros(0, np.int64),
             "edges": np.zeros((2, 0), np.int64), "codes": np.zeros(0, np.float32)}
    tiles = [
        Tile(f"{city}_{col}_{row}", np.zeros((3, SIDE, SIDE), np.uint8), **empty,
             land_use=land_use(col, row) if land_use else None,
             totals={"pop": value} if pop and (value := pop(col, row)) is not None else {})
        for col, row in cells or [(col, row) for row in range(rows) for col in range(columns)]
    ]
    (root / "cities").mkdir(parents=True, exist_ok=True)
    write_part(root / "part", tiles)
    join_parts([root / "part"], root / "cities" / city, np.zeros((1, 16), np.float32),
               {"tile_px": SIDE, "stride": stride})
    (root / "part").unlink()
    return root


def read(root: Path, name: str) -> list[str]:
    lines = (root / name).read_text().splitlines()
    assert all(line.endswith(".png") for line in lines)
    return [line.removesuffix(".png") for line in lines]


def cells(names: list[str]) -> np.ndarray:
    return np.array([name.split("_")[-2:] for name in names], int)


def distance(names: list[str], others: list[str]) -> int:
    """Columns or rows between the nearest tiles of two lists."""
    return int(np.abs(cells(names)[:, None] - cells(others)[None]).max(-1).min())


@pytest.mark.parametrize("guard", [0, 1, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lists_are_apart_by_more_than_the_guard(tmp_path, guard, seed):
    root = write_city(tmp_path, columns=16, rows=16)
    summary = write_splits(root, dataclasses.replace(RULES, guard=guard, seed=seed))
    train, val, test = (read(root, name) for name in ("osm-train-all.txt", "val.txt", "test.txt"))
    assert min(distance(train, val), distance(train, test), distance(val, test)) > guard
    assert sorted(train + val + test + summary.guarded) == sorted(TileDataset(root).names)
    assert (not summary.guarded) == (guard == 0)
    assert 0.07 < len(val) / 256 < 0.23
    assert 0.07 < len(test) / 256 < 0.23


def test_no_more_tiles_are_left_out_than_the_guard_asks_for(tmp_path):
    root = write_city(tmp_path)
    guarded = write_splits(root, RULES).guarded
    held_out = read(root, "val.txt") + read(root, "test.txt")
    assert all(distance([name], held_out) == 1 for name in guarded)


def test_lists_are_blocks_and_not_single_tiles(tmp_path):
    root = write_city(tmp_path)
    write_splits(root, dataclasses.replace(RULES, guard=0))
    test = cells(read(root, "test.txt"))
    neighbours = (np.abs(test[:, None] - test[None]).sum(-1) == 1).sum(1)
    assert neighbours.min() >= 1
    assert neighbours.mean() > 2


def test_training_lists_are_nested_and_those_too_long_are_left_out(tmp_path):
    root = write_city(tmp_path)
    write_splits(root, RULES)
    everything = read(root, "osm-train-all.txt")
    assert sorted(path.name for path in root.glob("*.txt")) == [
        "osm-train-all.txt", "osm-train10.txt", "osm-train20.txt", "osm-train40.txt", "test.txt",
        "val.txt"]
    for size in (10, 20, 40):
        assert read(root, f"osm-train{size}.txt") == everything[:size]
    assert len(set(everything)) == len(everything)


def test_short_training_lists_know_all_classes_and_keep_their_shares(tmp_path):
    def rare(col, row):
        return np.full((SIDE, SIDE), 7 if (col * 5 + row) % 30 == 0 else (col + row) % 2, np.uint8)

    root = write_city(tmp_path, columns=20, rows=20, land_use=rare)
    write_splits(root, RULES)

    def shares(name):
        return np.bincount([rare(*cell)[0, 0] for cell in cells(read(root, name))],
                           minlength=8)[[0, 1, 7]]

    assert shares("osm-train10.txt").min() >= 1
    everything, some = shares("osm-train-all.txt"), shares("osm-train40.txt")
    np.testing.assert_allclose(some / 40, everything / everything.sum(), atol=0.05)


def test_the_draw_balances_classes_better_than_chance(tmp_path, monkeypatch):
    root = write_city(tmp_path, columns=18, rows=18)

    def imbalance(seed=0):
        summary = write_splits(root, dataclasses.replace(RULES, seed=seed))
        share = {words: pixels / pixels.sum() for words, pixels in summary.classes.items()}
        return sum(np.abs(share[words] - share["all"]).sum() / 2
                   for words in ("training", "validation", "test"))

    best = imbalance()
    monkeypatch.setattr("datasets.spatial_blocks.DRAWS", 1)
    assert best < 0.8 * np.mean([imbalance(seed) for seed in range(8)])


def test_population_is_balanced_where_there_is_no_land_use(tmp_path):
    root = write_city(tmp_path, columns=16, rows=16, land_use=None, pop=lambda col, row: 1000.0
                      if col < 8 else 10.0)
    summary = write_splits(root, RULES)
    means = [summary.means[words]["pop"] for words in ("training", "validation", "test")]
    assert min(means) > 250
    assert max(means) < 760
    assert summary.classes == {}
    assert {summary.lists["osm-train10.txt"][n].split("_")[1] < "8" for n in range(2)}


def test_the_same_seed_gives_the_same_lists_and_another_others(tmp_path):
    root = write_city(tmp_path)
    first = write_splits(root, RULES).lists
    assert write_splits(root, RULES).lists == first
    assert write_splits(root, dataclasses.replace(RULES, seed=1)).lists != first


def test_cities_are_dealt_each_on_its_own(tmp_path):
    root = write_city(tmp_path, "a_town")
    alone = {file: set(names) for file, names in write_splits(root, RULES).lists.items()}
    write_city(root, "b", columns=9, rows=14)
    both = write_splits(root, RULES).lists
    for file in ("val.txt", "test.txt", "osm-train-all.txt"):
        assert {name for name in both[file] if name.startswith("a_town")} == alone[file]
        assert any(name.startswith("b_") for name in both[file])


@pytest.mark.parametrize(("stride", "guard"), [(2, 1), (3, 1), (1, 3)])
def test_overlapping_tiles_never_share_pixels_between_lists(tmp_path, stride, guard):
    root = write_city(tmp_path, columns=16, rows=16, stride=stride)
    summary = write_splits(root, dataclasses.replace(RULES, guard=0))
    train, val, test = (read(root, name) for name in ("osm-train-all.txt", "val.txt", "test.txt"))
    assert min(distance(train, val), distance(train, test), distance(val, test)) * stride >= SIDE
    assert f"c: guard {guard}, because neighbouring tiles overlap" in str(summary)


def test_only_tiles_with_every_target_are_listed(tmp_path):
    def land_use(col, row):
        return None if col == 0 else np.full((SIDE, SIDE), 255 if row == 0 else 3, np.uint8)

    root = write_city(tmp_path, land_use=land_use, pop=lambda col, row: None if col == 11 else 5.0)
    summary = write_splits(root, RULES)
    listed = cells([name for names in summary.lists.values() for name in names])
    assert listed[:, 0].min() == 1
    assert listed[:, 0].max() == 10
    assert listed[:, 1].min() == 1
    assert summary.incomplete == {"pop": 12, "known land use": 12 + 11}
    assert "12 without pop, 23 without known land use" in str(summary)


def test_a_dataset_without_targets_is_dealt_by_place_alone(tmp_path):
    lists = write_splits(write_city(tmp_path, land_use=None), RULES).lists
    assert len(lists["osm-train-all.txt"]) > 60
    assert min(len(lists["val.txt"]), len(lists["test.txt"])) > 8


def test_a_city_smaller_than_a_block_is_cut_by_the_blocks_borders(tmp_path):
    lists = write_splits(write_city(tmp_path, columns=6, rows=6),
                         dataclasses.replace(RULES, block=40)).lists
    assert distance(lists["osm-train-all.txt"], lists["val.txt"] + lists["test.txt"]) == 2
    assert len(lists["osm-train-all.txt"]) >= 9


@pytest.mark.parametrize("block", [3, 4, 6, 100])
def test_a_small_city_is_dealt_by_the_size_of_blocks_that_suits_it(tmp_path, block):
    root = write_city(tmp_path, columns=6, rows=6, land_use=None)
    summary = write_splits(root, dataclasses.replace(RULES, block=block))
    report, used = str(summary), summary.block["c"]
    assert 2 < used <= 6
    assert f"blocks of {used} x {used} tiles, guard 1" in report
    reason = f"c: blocks of {used} x {used} tiles, since split.block={block} makes only a few"
    assert (reason in report) == (used != block)
    assert "100 x 100" not in report
    assert len(summary.guarded) <= 12
    assert len(summary.lists["osm-train-all.txt"]) >= 14
    assert min(len(read(root, "val.txt")), len(read(root, "test.txt"))) >= 3


def test_the_report_says_what_comes_closer(tmp_path):
    root = write_city(tmp_path, columns=24, rows=24)
    poor = write_splits(root, dataclasses.replace(RULES, block=2))
    (line,) = [line for line in str(poor).splitlines() if line.startswith("  shares ")]
    assert (f"left out {len(poor.guarded) / 576:.0%}; asked were 15% and 15%; split.block=6 comes "
            "closer: ") in line
    better = write_splits(root, dataclasses.replace(RULES, block=6))
    val, test = len(better.lists["val.txt"]) / 576, len(better.lists["test.txt"]) / 576
    assert line.endswith(f"{val:.0%} and {test:.0%}, left out {len(better.guarded) / 576:.0%}")
    assert len(better.guarded) < len(poor.guarded) / 2
    assert "  shares " not in str(better)


def test_the_report_says_that_overlap_leaves_many_out(tmp_path):
    report = str(write_splits(write_city(tmp_path, columns=14, rows=14, stride=1), RULES))
    assert "tiles that do not overlap (stride=tile_px) need a smaller guard" in report


def test_the_report_says_which_classes_a_list_lacks(tmp_path):
    def land_use(col: int, row: int) -> np.ndarray:
        return np.full((SIDE, SIDE), 3 if col + row == 0 else 4, np.uint8)

    summary = write_splits(write_city(tmp_path, land_use=land_use), RULES)
    (line,) = [line for line in str(summary).splitlines() if line.startswith("  classes ")]
    for words in ("training", "validation", "test"):
        assert (f"absent in {words}: {CLASSES[3]}" in line) == (summary.classes[words][3] == 0)
    assert CLASSES[4] not in line
    assert CLASSES[5] not in line


def test_an_empty_list_leaves_the_columns_in_line(tmp_path):
    root = write_city(tmp_path, pop=lambda col, row: float(col + 1))
    lines = str(write_splits(root, dataclasses.replace(RULES, test=0, guard=0))).splitlines()
    first_cells = ("", "all", "training", "validation", "test", "left out")
    table = [line for line in lines if line[2:13].strip() in first_cells]
    assert len({len(line) for line in table}) == 1
    assert [line.split()[-1] for line in table[-2:]] == ["-", "-"]
    assert table[-1].split()[2:] == ["0", "0.0%", *["-"] * 10]
    assert not any("absent in test" in line for line in lines)


def test_lines_of_tiles_that_are_gone_are_dropped(tmp_path):
    root = write_city(tmp_path)
    write_city(root, "other", columns=6, rows=6)
    write_splits(root, RULES)
    before = {path.name: path.read_text().splitlines() for path in root.glob("*.txt")}
    (root / "osm-train-mine.txt").write_text("other_5_5.png\n\n")
    (root / "notes.txt").write_text("other_5_5.png\n")
    write_city(root, "other", columns=3, rows=6)
    gone = {f"other_{col}_{row}.png" for col in (3, 4, 5) for row in range(6)}
    listed = {line for lines in before.values() for line in lines}
    assert drop_missing(root) == len((listed & gone) | {"other_5_5.png"})
    assert not (root / "osm-train-mine.txt").exists()
    assert (root / "notes.txt").read_text() == "other_5_5.png\n"
    after = {path.name: path.read_text().splitlines() for path in root.glob("*.txt")
             if path.name != "notes.txt"}
    assert after == {name: [line for line in lines if line not in gone]
                     for name, lines in before.items()}


def test_lists_without_missing_tiles_are_not_touched(tmp_path):
    root = write_city(tmp_path)
    assert drop_missing(root) == 0
    write_splits(root, RULES)
    (root / "val.txt").write_text("c_0_0.png\r\n\n", newline="")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
              for path in root.glob("*.txt")}
    assert drop_missing(root) == 0
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
            for path in root.glob("*.txt")} == before


def test_gaps_and_far_corners_are_fine(tmp_path):
    cells = [(1000 + col, 500 + row) for row in range(12) for col in range(12) if (col + row) % 5]
    write_splits(write_city(tmp_path, cells=cells), RULES)
    assert len(read(tmp_path, "osm-train-all.txt")) > 30


def test_names_that_count_pixels_count_tiles_too(tmp_path):
    """The authors' names do, such as singapore_22176_12992; otherwise every tile would be a block
    of its own, far from all others."""
    cells = [(22_176 + 224 * col, 12_992 + 224 * row) for row in range(12) for col in range(12)]
    root = write_city(tmp_path, land_use=None, cells=cells)
    write_splits(root, RULES)
    train, val, test = (read(root, name) for name in ("osm-train-all.txt", "val.txt", "test.txt"))
    assert min(distance(train, val), distance(train, test), distance(val, test)) > 224


def test_what_an_earlier_split_left_is_removed_and_other_files_stay(tmp_path):
    root = write_city(tmp_path)
    write_splits(root, RULES)
    (root / "notes.txt").write_text("mine")
    write_splits(root, dataclasses.replace(RULES, test=0, train_sizes=(7,)))
    assert sorted(path.name for path in root.glob("*.txt")) == [
        "notes.txt", "osm-train-all.txt", "osm-train7.txt", "val.txt"]


def test_a_failure_while_writing_leaves_the_old_lists(tmp_path, monkeypatch):
    root = write_city(tmp_path)
    write_splits(root, RULES)
    before = {path.name: path.read_bytes() for path in root.glob("*.txt")}
    write = Path.write_bytes

    def full(path, data):
        if path.name.endswith("test.txt"):
            raise OSError(28, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_splits(root, dataclasses.replace(RULES, seed=5, train_sizes=(7,)))
    assert {path.name: path.read_bytes() for path in root.glob("*.txt")} == before
    assert sorted(path.name for path in root.iterdir()) == sorted([
        *before, "cities", ".splits.json"])


def test_a_kill_between_two_lists_leaves_none_of_another_split(tmp_path, monkeypatch):
    root = write_city(tmp_path)
    write_splits(root, RULES)
    rename, renamed = Path.replace, []

    def killed(path, target):
        if len(renamed) == 2:
            raise KeyboardInterrupt
        renamed.append(rename(path, target).name)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_splits(root, dataclasses.replace(RULES, seed=5))
    assert [DEALT, *(path.name for path in root.glob("*.txt"))] == renamed
    assert changed_lists(root) == []


def test_blocks_and_guards_beyond_the_city_mean_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.spatial_blocks.DRAWS", 20)
    root = write_city(tmp_path)
    lists = [write_splits(root, dataclasses.replace(RULES, block=block, guard=0)).lists
             for block in (12, 10**20)]
    assert lists[0] == lists[1]
    with pytest.raises(TileError, match=r"Lower split\.guard"):
        write_splits(root, dataclasses.replace(RULES, guard=10**20))


def test_lists_that_teach_or_measure_little_are_pointed_out(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.spatial_blocks.DRAWS", 20)
    few = str(write_splits(write_city(tmp_path / "few", columns=6, rows=4),
                           dataclasses.replace(RULES, block=1)))
    assert "note         osm-train-all.txt has" in few
    assert "tiles, expected 20 or more" in few
    empty = str(write_splits(write_city(tmp_path / "empty", pop=lambda col, row: 0.0), RULES))
    for name in ("osm-train-all.txt", "val.txt", "test.txt"):
        assert f"{name} has 0 as pop of all its" in empty
    one = str(write_splits(write_city(tmp_path / "one", land_use=lambda *_: np.full(
        (SIDE, SIDE), 3, np.uint8)), RULES))
    assert "val.txt has pixels of one class alone, undeveloped" in one
    assert "note" not in str(write_splits(write_city(tmp_path / "well"), RULES))


def test_the_report(tmp_path):
    root = write_city(tmp_path, pop=lambda col, row: float(col + 1))
    report = str(write_splits(root, RULES))
    lines = {line.split()[0]: line for line in report.splitlines()}
    for words in ("blocks of 3 x 3 tiles, guard 1, seed 0", "osm-train-all.txt",
                  "osm-train lists of 1000: more than there are", *CLASSES):
        assert words in report
    assert lines["all"].split()[1:3] == ["144", "100.0%"]
    assert lines["all"].split()[-1] == "6.500"
    tiles = [int(next(word for word in lines[name].split() if word.isdigit()))
             for name in ("training", "validation", "test", "left")]
    assert sum(tiles) == 144


def test_near():
    line = np.array([[0, 0], [3, 0], [5, 0], [5, 9]])
    chosen = np.array([False, True, False, False])
    assert near(line, chosen, 0).tolist() == [False, True, False, False]
    assert near(line, chosen, 2).tolist() == [False, True, True, False]
    assert near(line, chosen, 9).all()
    assert not near(line, ~chosen & chosen, 9).any()


def narrow(root):
    return write_city(root, columns=3, rows=1), RULES


def small(root):
    return write_city(root, columns=2, rows=2), RULES


def wide_guard(root):
    return write_city(root), dataclasses.replace(RULES, guard=9)


def forced_guard(root):
    return write_city(root, stride=1, columns=4, rows=4), RULES


def other_names(root):
    return write_city(root, cells=[(0, "x"), (1, "y")], land_use=None), RULES


def nothing_complete(root):
    write_city(root, "labelled")
    return write_city(root, "counted", land_use=None, pop=lambda col, row: 1.0), RULES


def far_apart(root):
    return write_city(root, cells=[(0, 0), (90_000, 90_000), (1, 7)]), RULES


CASES = [
    (lambda root: (root / "nope", RULES), TileError, ["nope"]),
    (small, TileError, ["4 usable tiles of c, on 2 x 2 places",
                        "split.block=3", "guard of 1", "Lower split.guard (now 1)"]),
    (narrow, TileError, ["3 usable tiles of c, on 3 x 1 places", "Lower split.guard (now 1), or "
                         "set split.val=0, or set split.test=0"]),
    (wide_guard, TileError, ["guard of 9", "split.guard (now 9)"]),
    (forced_guard, TileError,
     ["guard of 3 (neighbouring tiles overlap)", "do not overlap (stride=tile_px)"]),
    (other_names, TileError, ["c_0_x", "CITY_COL_ROW"]),
    (nothing_complete, TileError,
     ["no tile has every target", "144 without pop, 144 without known land use"]),
    (far_apart, TileError, ["90001 columns", "counting tiles"]),
    (lambda root: (root, dataclasses.replace(RULES, val=0.6, test=0.4)), ConfigError,
     ["split.val=0.6, split.test=0.4", "below 1"]),
    (lambda root: (root, dataclasses.replace(RULES, val=-0.1)), ConfigError,
     ["split.val=-0.1", "0 or more"]),
    (lambda root: (root, dataclasses.replace(RULES, block=0)), ConfigError,
     ["split.block=0", "1 or more"]),
    (lambda root: (root, dataclasses.replace(RULES, train_sizes=(5, 0))), ConfigError,
     ["split.train_sizes: 0", "1 or more"]),
]


@pytest.mark.parametrize(("spoil", "kind", "parts"), CASES,
                         ids=[parts[0][:24] for _, _, parts in CASES])
def test_message(tmp_path, spoil, kind, parts):
    with pytest.raises(RoseError) as raised:
        write_splits(*spoil(tmp_path))
    assert type(raised.value) is kind
    for part in parts:
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("*.txt"))


def test_the_command(tmp_path, monkeypatch, capsys):
    root = write_city(tmp_path)
    monkeypatch.setattr(sys, "argv", ["splits.py", f"data_path={root}", "split.val=0.2",
                                      "split.block=3", "split.train_sizes=[5]"])
    splits.main()
    assert "blocks of 3 x 3 tiles" in capsys.readouterr().out
    assert len(read(root, "osm-train5.txt")) == 5
    monkeypatch.setattr(sys, "argv", ["splits.py", f"data_path={root}", "split.guard=40"])
    with pytest.raises(SystemExit) as stopped:
        splits.main()
    assert stopped.value.code == 2
    assert "split.guard (now 40)" in capsys.readouterr().err
