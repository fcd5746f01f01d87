"""The objects' coverage in both layouts: nothing is lost, and no damage is read as data."""

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets import TileDataset
from datasets.stores.compact_city import TILE_ARRAYS, checksum
from datasets.stores.conversion import convert
from datasets.stores.cover import CELLS, KEYS, Cover
from datasets.stores.parts import write_part
from datasets.stores.tile import Tile
from tests.random_tiles import (
    change_meta,
    contents,
    random_city,
    random_tile,
    write_compact,
    write_release,
)
from utils.errors import TileError

SIDE = 8


def random_cover(nodes: int, seed: int = 0) -> Cover:
    draw = np.random.default_rng(seed)
    entries = np.unique(draw.integers(0, nodes * CELLS, 20 * nodes)) if nodes else np.empty(0, int)
    return Cover.of(entries // CELLS, entries % CELLS, draw.integers(1, 256, len(entries)))


def covered_city() -> list[Tile]:
    return [replace(tile, cover=random_cover(len(tile.label), seed))
            for seed, tile in enumerate(random_city(side=SIDE))]


def opened(root: Path) -> TileDataset:
    return TileDataset(root, image_size=SIDE)


def meta_of(city: Path) -> dict:
    return json.loads((city / "meta.json").read_text())


def seal(city: Path) -> None:
    """Write the checksums and sizes that a city of one tile would have."""
    arrays = [np.load(city / f"{name}.npy") for name in TILE_ARRAYS
              if (city / f"{name}.npy").exists()]
    np.save(city / "checksums.npy", np.array([checksum(map(np.ascontiguousarray, arrays))],
                                             np.uint32))
    store = meta_of(city)["store"]
    store["bytes"] = {file: (city / file).stat().st_size for file in store["bytes"]}
    store["crc32"]["checksums.npy"] = zlib.crc32((city / "checksums.npy").read_bytes())
    change_meta(city / "meta.json", store=store)


def test_both_layouts_give_what_was_written(tmp_path):
    tiles = covered_city()
    roots = (write_compact(tmp_path / "compact", tiles), write_release(tmp_path / "release", tiles))
    for dataset in map(opened, roots):
        covers = {tile.name: tile.cover for tile in tiles}
        for index, name in enumerate(dataset.names):
            for key, expected in zip(KEYS, covers[name], strict=True):
                found = dataset.graph(index)[key].numpy()
                assert found.dtype == expected.dtype
                np.testing.assert_array_equal(found, expected)
    assert any(path.parent.name == "cover" for path in opened(roots[1]).store.files())


def test_conversion_is_equal_in_bytes(tmp_path):
    write_compact(tmp_path / "one", covered_city())
    convert(tmp_path / "one", tmp_path / "there", progress=False)
    convert(tmp_path / "there", tmp_path / "back", progress=False)
    assert contents(tmp_path / "back") == contents(tmp_path / "one")


def test_bytes_do_not_depend_on_the_dealing(tmp_path):
    tiles = covered_city()
    first = contents(write_compact(tmp_path / "first", tiles, dealt=1))
    assert contents(write_compact(tmp_path / "second", tiles[::-1], dealt=5)) == first


def test_a_city_without_it_stays_as_it_was(tmp_path):
    dataset = opened(write_compact(tmp_path / "plain", random_city(side=SIDE)))
    assert not any(key in dataset.graph(3) for key in KEYS)
    assert "cover" not in "".join(contents(tmp_path / "plain"))
    assert b"cover" not in (tmp_path / "plain/cities/lima/meta.json").read_bytes()


def test_tiles_without_it_beside_others_have_no_entries(tmp_path):
    tiles = covered_city()
    tiles[0] = replace(tiles[0], cover=None)  # its part has no tile with cover
    dataset = opened(write_compact(tmp_path / "tiles", tiles, dealt=1))
    assert len(dataset.graph(dataset.names.index(tiles[0].name)).cover_index) == 0
    assert len(dataset.graph(dataset.names.index(tiles[3].name)).cover_index)


@pytest.mark.parametrize(("cover", "problem"), [
    (([2], [0], [1]), "names node 2, expected 0 <= node < 2"),
    (([-1], [0], [1]), "names node -1"),
    (([0], [CELLS], [1]), "names cell 3136, expected 0 <= cell < 3136"),
    (([0], [0], [0]), "names share 0, expected 1 <= share < 256"),
    (([1, 0], [5, 6], [9, 9]), "names cell 6 of node 0 out of order"),
    (([0, 0], [5, 5], [9, 9]), "names cell 5 of node 0 out of order"),
])
def test_a_cover_that_contradicts_its_tile_is_refused(tmp_path, cover, problem):
    tile = random_tile("lima_0_0", 2, 1, side=SIDE)
    path = write_release(tmp_path / "release", [tile]) / "cover" / "lima_0_0.tensor"
    path.parent.mkdir()
    torch.save(torch.tensor(cover), path)
    with pytest.raises(TileError, match=rf"lima_0_0.tensor: {problem}.*remove the file$"):
        opened(tmp_path / "release").graph(0)
    with pytest.raises(ValueError, match=f"lima_0_0: the cover {problem}"):
        write_part(tmp_path / "part", [replace(tile, cover=Cover.of(*map(np.array, cover)))])


@pytest.mark.parametrize("content", [torch.ones(3, 2), torch.ones(2, 3, dtype=torch.int32),
                                     torch.ones(3, dtype=torch.int32)])
def test_a_file_of_other_content_is_refused(tmp_path, content):
    tile = random_tile("lima_0_0", 2, 1, side=SIDE)
    write_release(tmp_path, [replace(tile, cover=random_cover(2))])
    torch.save(content, tmp_path / "cover" / "lima_0_0.tensor")
    with pytest.raises(TileError, match=r"holds torch.* expected whole numbers \[3, k\]"):
        opened(tmp_path).graph(0)


@pytest.mark.parametrize(("name", "change", "problem"), [
    ("cover_cell", lambda cells: cells + CELLS, "its cover names cell 3[0-9]{3}, expected 0 <= c"),
    ("cover_cell", lambda cells: cells[::-1], "out of order"),
    ("cover_share", lambda shares: shares * 0, "names share 0"),
    ("cover_counts", lambda counts: counts + 1, "counts 42 entries, expected 40"),
    ("cover_counts", lambda counts: counts * 0 + np.array(2**64 - 20, np.uint64),
     "counts 6274 entries, expected 40"),
])
def test_arrays_that_contradict_each_other_are_no_data(tmp_path, name, change: Callable, problem):
    tile = replace(random_tile("lima_0_0", 2, 1, side=SIDE), cover=random_cover(2))
    city = write_compact(tmp_path / "tiles", [tile]) / "cities" / "lima"
    np.save(city / f"{name}.npy", change(np.load(city / f"{name}.npy")))
    seal(city)
    with pytest.raises(TileError, match=rf"lima: tile lima_0_0: .*{problem}"):
        opened(tmp_path / "tiles").graph(0)


def test_damage_is_found(tmp_path):
    city = write_compact(tmp_path / "tiles", covered_city()) / "cities" / "lima"
    path = city / "cover_share.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    dataset = opened(tmp_path / "tiles")
    dataset.graph(0)
    with pytest.raises(TileError, match="does not have its checksum"):
        dataset.graph(len(dataset) - 1)


@pytest.mark.parametrize("file", ["cover_starts.npy", "cover_counts.npy"])
def test_files_belong_together(tmp_path, file):
    city = write_compact(tmp_path / "tiles", covered_city()) / "cities" / "lima"
    store = meta_of(city)["store"]
    del store["bytes"][file]
    change_meta(city / "meta.json", store=store)
    with pytest.raises(TileError, match=r"store.bytes has cover_.* alone, expected all or none of"):
        opened(tmp_path / "tiles")


def test_the_number_of_entries_belongs_to_them(tmp_path):
    city = write_compact(tmp_path / "tiles", covered_city()) / "cities" / "lima"
    store = meta_of(city)["store"]
    del store["cover"]
    change_meta(city / "meta.json", store=store)
    with pytest.raises(TileError, match="store has one of cover and bytes"):
        opened(tmp_path / "tiles")
