"""The compact layout: the release's tensors to the bit, bytes that depend on the tiles alone, and
no damage that is read as data."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from datasets import TileDataset, collate
from datasets.stores.compact import CompactCity, join_parts, write_part
from datasets.stores.tile import Tile
from tests.random_tiles import (
    META,
    TEXT,
    assert_same_tiles,
    change_meta,
    contents,
    random_city,
    random_tile,
    write_compact,
    write_release,
)
from utils.errors import TileError


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> tuple[Path, Path]:
    """Two cities, whose tiles' names mix when sorted, in both layouts."""
    folder = tmp_path_factory.mktemp("stores")
    for city in ("lima", "lima_1"):
        tiles = random_city(city)
        write_compact(folder / "compact", tiles, city)
        write_release(folder / "release", tiles, city)
    return folder / "compact", folder / "release"


@pytest.fixture
def root(tmp_path) -> Path:
    return write_compact(tmp_path / "tiles", random_city(side=32))


def test_both_layouts_give_the_same_tensors(roots):
    compact, release = map(TileDataset, roots)
    assert compact.names == sorted(compact.names)
    assert compact.names.index("lima_10_0") < compact.names.index("lima_2_0")
    assert compact.names.index("lima_1_1_0") < compact.names.index("lima_2_0")
    assert_same_tiles(compact, release)
    assert compact.total(compact.names.index("lima_0_0"), "CO2") == 1 / 3
    assert_same_tiles(TileDataset(roots[0], cities=["lima"]),
                      TileDataset(roots[1], cities=["lima"]))


def test_a_city_gives_back_what_was_written(root):
    city = CompactCity(root / "cities" / "lima")
    tiles = {tile.name: tile for tile in random_city(side=32)}
    assert city.names == sorted(tiles)
    assert city.meta == META
    np.testing.assert_array_equal(city.text, TEXT)
    for index, name in enumerate(city.names):
        assert_equal(city.tile(index), tiles[name])


def assert_equal(one: Tile, other: Tile) -> None:
    for key, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert value.dtype == getattr(other, key).dtype
        np.testing.assert_array_equal(value, getattr(other, key))


def test_bytes_do_not_depend_on_the_dealing(tmp_path):
    tiles = random_city(side=32)
    first = contents(write_compact(tmp_path / "first", tiles, dealt=1))
    assert contents(write_compact(tmp_path / "second", tiles[::-1], dealt=5)) == first
    # over what was there
    assert contents(write_compact(tmp_path / "first", tiles[3:] + tiles[:3], dealt=99)) == first


def test_files_that_no_longer_belong_are_removed(tmp_path):
    tiles = random_city(side=32)
    write_compact(tmp_path / "a", tiles)
    bare = [replace(tile, land_use=None, totals={}) for tile in tiles]
    assert contents(write_compact(tmp_path / "a",
                                  bare)) == contents(write_compact(tmp_path / "b", bare))


def test_codes_and_labels_of_any_value_come_back(tmp_path):
    codes, label = np.array([0.5, -0.0, 255, 256], np.float32), np.array([-1, 0, 70000])
    tile = replace(random_tile("lima_0_0", 3, 4, side=32), codes=codes, label=label)
    city = CompactCity(write_compact(tmp_path / "tiles", [tile]) / "cities" / "lima")
    assert city.tile(0).codes.tobytes() == tile.codes.tobytes()
    np.testing.assert_array_equal(city.tile(0).label, tile.label)
    assert city.graph(0).x[:, -1].tolist() == [-1, 0, 70000]


def test_more_nodes_than_two_bytes_can_count(tmp_path):
    tile = random_tile("lima_0_0", 70_000, 1, side=8)
    tile = replace(tile, edges=np.array([[69_999], [65_536]]))
    city = CompactCity(write_compact(tmp_path / "tiles",
                                     [tile,
                                      random_tile("lima_0_1", 2, 1, side=8)]) / "cities" / "lima")
    assert city.graph(0).edge_index.tolist() == [[69_999], [65_536]]


def test_a_city_without_any_object(tmp_path):
    tiles = [random_tile(f"lima_0_{row}", 0, 0, side=32) for row in range(3)]
    dataset = TileDataset(write_compact(tmp_path / "tiles", tiles), image_size=32)
    assert dataset[2][1].x.shape == (0, 525)
    assert collate([dataset[i] for i in range(3)])[1].num_graphs == 3


# a spawned one takes seconds to import torch
@pytest.mark.parametrize(("context", "count"), [("fork", 2), ("spawn", 1)])
def test_workers_give_the_same_batches(roots, context, count):
    dataset = TileDataset(roots[0])
    dataset[0]  # the maps are open
    assert len(pickle.dumps(dataset)) < 20_000
    alone = list(DataLoader(dataset, batch_size=4, collate_fn=collate))
    workers = list(DataLoader(dataset, batch_size=4, collate_fn=collate, num_workers=count,
                              multiprocessing_context=context))
    assert len(alone) == len(workers) == 7
    for (images, graphs), (images_there, graphs_there) in zip(alone, workers, strict=True):
        assert torch.equal(images, images_there)
        assert graphs.name == graphs_there.name
        assert all(torch.equal(graphs[key], graphs_there[key])
                   for key in ("x", "edge_index", "edge_attr", "batch", "ptr"))


def test_batches_of_the_loader_are_the_tiles(roots):
    dataset = TileDataset(roots[0])
    loader = DataLoader(dataset, batch_size=4, collate_fn=collate)
    for number, (images, graphs) in enumerate(loader):
        for index, graph in enumerate(graphs.to_data_list()):
            image, expected = dataset[4 * number + index]
            assert torch.equal(images[index], image)
            assert all(torch.equal(graph[key], expected[key])
                       for key in ("x", "edge_index", "edge_attr"))


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def spoiled(path: Path) -> None:
    """Another byte in the middle, the size as it was."""
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


def other_meta(**changes: object):
    return lambda path: change_meta(path, **changes)


def read_all(dataset: TileDataset) -> None:
    for index in range(len(dataset)):
        dataset[index], dataset.land_use(index)


ARRAYS = ("geometry.npy", "text_index.npy", "label.npy", "edges.npy", "codes.npy")
SMALL = ("text.npy", "names.txt", "image_starts.npy", "node_starts.npy", "edge_starts.npy",
         "land_use_starts.npy", "checksums.npy",
         "pop.npy", "CO2.npy")
BAD_FILES = [  # file, what is done to it, parts of the message
    *[(file, Path.unlink, ["missing", "expected a file of"])
      for file in (*ARRAYS, *SMALL, "images.bin", "land_use.bin")],
    *[(file, truncated, ["bytes, expected", "truncated"])
      for file in (*ARRAYS, *SMALL, "images.bin", "land_use.bin")],
    *[(file, spoiled, ["does not have its checksum", "damaged"]) for file in SMALL],
    ("meta.json", Path.unlink, ["missing", "was not finished"]),
    ("meta.json", truncated, ["is no JSON"]),
    ("meta.json", lambda path: path.write_text("[1]"), ["is [1]", "expected a table"]),
    ("meta.json", lambda path: path.write_text("{}"), ["format is null", 'expected "rose-tiles"']),
    ("meta.json", other_meta(version=2),
     ["version is 2, expected 1", "version of Rose that wrote it"]),
    ("meta.json", other_meta(store={"tiles": 3}), ["store.nodes is missing"]),
    ("meta.json", other_meta(label_names=[1]),
     ["label_names[0] is 1", "expected a text"]),
]


@pytest.mark.parametrize(("file", "spoil", "parts"), BAD_FILES,
                         ids=[f"{file}-{parts[0]}" for file, _, parts in BAD_FILES])
def test_a_bad_file_is_found_on_opening(root, file, spoil, parts):
    spoil(root / "cities" / "lima" / file)
    with pytest.raises(TileError) as error:
        TileDataset(root, image_size=32)
    check_message(error, [str(root / "cities" / "lima" / file), *parts, "prepare_dataset.py"])


@pytest.mark.parametrize("file", [*ARRAYS, "images.bin", "land_use.bin"])
def test_a_damaged_tile_is_found_when_it_is_read(root, file):
    spoiled(root / "cities" / "lima" / file)
    dataset = TileDataset(root, image_size=32)
    with pytest.raises(TileError) as error:
        read_all(dataset)
    check_message(error, [str(root / "cities" / "lima"), "tile lima_", "expected", "damaged",
                          "prepare_dataset.py"])
    if file.endswith(".bin"):
        assert file in str(error.value)


@pytest.mark.parametrize(("make", "options", "parts"), [
    (lambda root: None, {"image_size": 224},
     ["32 x 32 pixels, expected 224 x 224", "image_size=32"]),
    (lambda root: None, {"node_width": 77}, ["525 columns, expected 77", "graph_in_dim=524"]),
    (lambda root: None, {"cities": ["lima", "paris"]},
     ["cities=paris", "the cities found are: lima;"]),
    (lambda root: (root / ".unfinished-rome").touch(), {},
     ["preparation of rome was interrupted", "prepare_dataset.py"]),
    (lambda root: (root / "img").mkdir(), {}, ["both cities/", "img/", "datasets.convert"]),
    (lambda root: (root / "cities" / "rome").mkdir(), {},
     ["rome/meta.json: missing", "not finished"]),
    (lambda root: (root / "cities" / "lima").rename(root / "cities" / ".lima"), {},
     ["has no city", "correct the path"]),
    (lambda root: write_compact(root, random_city(side=32), "copy"), {},
     ["tile lima_0_0 is in two folders", "remove the copy"]),
], ids=["image size", "node width", "unknown city", "unfinished", "both layouts", "no meta",
        "no city", "copied city"])
def test_a_dataset_that_cannot_be_read_as_asked(root, make, options, parts):
    make(root)
    with pytest.raises(TileError) as error:
        TileDataset(root, **{"image_size": 32} | options)[0]
    check_message(error, [str(root), *parts])


def test_a_fault_of_another_city_is_no_fault_of_the_selection(root):
    (root / "cities" / "rome").mkdir()
    assert len(TileDataset(root, cities=["lima"], image_size=32)) == 13


def check_message(error: pytest.ExceptionInfo, parts: list[str]) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert [part for part in parts if part not in message] == []


@pytest.mark.parametrize(("parts", "found"), [
    ([], "no tile"), ([[]], "no tile"),
    ([[random_tile("a_0_0", 1, 0, side=8)], [random_tile("a_0_1", 1, 0, side=9)]],
     "images of 2 sizes"),
    ([[random_tile("a_0_0", 1, 0, side=8)], [random_tile("a_0_0", 2, 0, side=8)]],
     "tile a_0_0 twice"),
], ids=["no part", "empty part", "two sizes", "twice"])
def test_parts_that_make_no_city(tmp_path, parts, found):
    for number, tiles in enumerate(parts):
        write_part(tmp_path / f"{number}.part", tiles)
    with pytest.raises(TileError, match=found):
        join_parts([tmp_path / f"{number}.part" for number in range(len(parts))],
                   tmp_path / "city", TEXT, {})
    assert not (tmp_path / "city").exists()


@pytest.mark.parametrize("spoil", [Path.unlink, truncated, lambda path: path.write_bytes(b"")],
                         ids=["missing", "truncated", "empty"])
def test_a_bad_part_is_named(tmp_path, spoil):
    write_part(tmp_path / "0.part", random_city(side=8))
    spoil(tmp_path / "0.part")
    with pytest.raises(TileError) as error:
        join_parts([tmp_path / "0.part"], tmp_path / "city", TEXT, {})
    check_message(error,
                  [str(tmp_path / "0.part"), "cannot be read as a part",
                   "run the same command again"])


@pytest.mark.parametrize("change", [
    {"label": np.zeros(3, np.int64)},
    {"edges": np.array([[0], [2]]), "codes": np.ones(1, np.float32)},
    {"land_use": np.zeros((3, 3), np.uint8)},
], ids=["length", "edge", "label size"])
def test_a_tile_that_contradicts_itself_is_not_written(tmp_path, change):
    with pytest.raises(ValueError, match="lima_0_0"):
        write_part(tmp_path / "0.part", [replace(random_tile("lima_0_0", 2, 0, side=8), **change)])
    assert list(tmp_path.iterdir()) == []


def test_empty_parts_change_nothing(tmp_path):
    tiles = random_city(side=8)
    write_part(tmp_path / "0.part", [])
    write_part(tmp_path / "1.part", tiles)
    join_parts([tmp_path / "0.part", tmp_path / "1.part"], tmp_path / "city", TEXT, META)
    root = write_compact(tmp_path / "tiles", tiles)
    assert contents(tmp_path / "city") == contents(root / "cities" / "lima")
    assert json.loads((tmp_path / "city" / "meta.json").read_text())["store"]["tiles"] == 13
