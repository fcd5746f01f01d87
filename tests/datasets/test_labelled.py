"""Tiles with targets in both layouts, lists of tiles, and what is said of those that cannot be
used."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from datasets import EpochSampler, TileDataset
from datasets.labelled import LabelledTiles, collate_labelled, read_list
from datasets.osm_degradation import OsmDegradation
from datasets.stores.city import cities_of, city_of
from datasets.stores.tile import Tile
from tests.random_tiles import random_city, random_tile, write_compact, write_release
from utils.errors import TileError

SIDE = 32
LAYOUTS = {"compact": write_compact, "release": write_release}


def opened(root: Path, tiles: list[Tile], layout: str = "release",
           cities: Sequence[str] = ()) -> TileDataset:
    for city in cities_of(tile.name for tile in tiles):
        LAYOUTS[layout](root, [tile for tile in tiles if city_of(tile.name) == city], city)
    return TileDataset(root, cities, image_size=SIDE)


def a_tile(name: str = "lima_0_0", nodes: int = 6, **changes: object) -> Tile:
    """A tile with all targets, or with others instead."""
    return dataclasses.replace(random_tile(name, nodes, 9 if nodes else 0, SIDE, targets=True),
                               **changes)


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def dataset(tmp_path: Path, layout: str) -> TileDataset:
    """13 tiles, every other one with targets."""
    return opened(tmp_path / "tiles", random_city(side=SIDE), layout)


def places(dataset: TileDataset) -> list[int]:
    """The tiles that have targets, backwards."""
    return [index for index in range(len(dataset)) if dataset.land_use(index) is not None][::-1]


def assert_same_graph(one, other) -> None:
    assert one.name == other.name
    assert all(torch.equal(one[key], other[key]) for key in ("x", "edge_index", "edge_attr"))


# -------------------------------------------------------------------------------------------------
# tiles

def test_a_tile_is_the_datasets_and_its_land_use(dataset):
    tiles = LabelledTiles(dataset, places(dataset), "land_use")
    assert len(tiles) == 7
    assert tiles.names == [dataset.names[index] for index in places(dataset)]
    for (image, graph, target), index in zip(tiles, places(dataset), strict=True):
        assert torch.equal(image, dataset.read(index)[0])
        assert_same_graph(graph, dataset[index][1])
        assert (target.dtype, target.shape) == (torch.int64, (SIDE, SIDE))
        assert torch.equal(target, dataset.land_use(index).long())


@pytest.mark.parametrize("name", ["pop", "CO2"])
def test_totals_keep_all_their_digits(dataset, name):
    tiles = LabelledTiles(dataset, places(dataset), name)
    expected = [dataset.total(index, name) for index in places(dataset)]
    assert (tiles.totals().dtype, tiles.totals().tolist()) == (torch.float64, expected)
    assert [(target.dtype, target.shape, target.item())
            for _, _, target in tiles] == [(torch.float64, (), value) for value in expected]


def test_keys_of_a_sampler_and_plain_ones_mean_the_same(dataset):
    tiles = LabelledTiles(dataset, places(dataset), "pop")
    one, other = tiles[5, 2], tiles[2]
    assert torch.equal(one[0], other[0])
    assert_same_graph(one[1], other[1])
    assert one[2] == other[2]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("target", "shape", "dtype"),
                         [("land_use", (SIDE, SIDE), torch.int64), ("CO2", (), torch.float64)])
def test_loaders_make_batches(dataset, workers, target, shape, dtype):
    tiles = LabelledTiles(dataset, places(dataset), target, degradation=OsmDegradation(0.5))
    batches = list(DataLoader(tiles, 4, collate_fn=collate_labelled, num_workers=workers))
    assert [len(batch[0]) for batch in batches] == [4, 3]
    for images, graphs, targets in batches:
        assert images.shape[1:] == (3, SIDE, SIDE)
        assert (targets.shape[1:], targets.dtype) == (shape, dtype)
        for image, graph, value in zip(images, graphs.to_data_list(), targets, strict=True):
            alone = tiles[tiles.names.index(graph.name)]
            assert torch.equal(image, alone[0])
            assert_same_graph(graph, alone[1])
            assert torch.equal(value, alone[2])


def test_a_training_set_of_one_tile_makes_steps_of_one_tile(dataset):
    tiles = LabelledTiles(dataset, places(dataset)[:1], "land_use")
    loader = DataLoader(tiles, 16, sampler=EpochSampler(tiles, 16, seed=0, keep_last=True),
                        collate_fn=collate_labelled)
    (images, graphs, targets), = loader
    assert (len(images), graphs.num_graphs, len(targets)) == (1, 1, 1)


def test_values_for_no_class_are_unknown_and_known_pixels_are_counted(tmp_path, layout):
    land_use = np.zeros((SIDE, SIDE), np.uint8)
    land_use[:4], land_use[4:6], land_use[6] = 9, 255, 8
    nothing = np.full((SIDE, SIDE), 255, np.uint8)
    tiles = LabelledTiles(opened(tmp_path,
                                 [a_tile(land_use=land_use), a_tile("lima_0_1", land_use=nothing)],
                                 layout), [0, 1], "land_use")
    target = tiles[0][2]
    assert (target[:6] == 255).all()
    assert (target[6] == 8).all()
    assert tiles.class_counts().tolist() == [25 * SIDE, 0, 0, 0, 0, 0, 0, 0, SIDE]
    assert (tiles[1][2] == 255).all()
    assert LabelledTiles(tiles.dataset, [1], "land_use").class_counts().tolist() == [0] * 9


def test_other_numbers_of_classes_have_no_unknown_but_255(tmp_path):
    land_use = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 11
    land_use[0] = 255
    tiles = LabelledTiles(opened(tmp_path, [a_tile(land_use=land_use)]), [0], "land_use",
                          classes=11)
    assert torch.equal(tiles[0][2], torch.from_numpy(land_use).long())
    assert tiles.class_counts().sum() == (SIDE - 1) * SIDE


# -------------------------------------------------------------------------------------------------
# missing OSM objects

def test_a_tile_loses_the_same_objects_wherever_it_is_asked_for(dataset):
    chosen = places(dataset)
    tiles = LabelledTiles(dataset, chosen, "pop", degradation=OsmDegradation(0.5, seed=3))
    others = LabelledTiles(dataset, chosen[::-1], "land_use",
                           degradation=OsmDegradation(0.5, seed=3))
    in_reverse = [others[1, place] for place in range(7)][::-1]
    for one, other in zip(tiles, in_reverse, strict=True):
        assert_same_graph(one[1], other[1])
    whole = LabelledTiles(dataset, chosen, "pop")
    half = [len(graph.x) - round(len(graph.x) / 2) for _, graph, _ in whole]
    assert [len(graph.x) for _, graph, _ in tiles] == half


def test_a_tile_loses_the_same_objects_among_fewer_cities(tmp_path, layout):
    tiles = [a_tile("lima_0_0"), a_tile("oslo_0_0", nodes=40)]
    everywhere = opened(tmp_path, tiles, layout)
    alone = TileDataset(tmp_path, ["oslo"], image_size=SIDE)
    assert_same_graph(*(LabelledTiles(data, [index], "pop", degradation=OsmDegradation(0.5))[0][1]
                        for data, index in ((everywhere, 1), (alone, 0))))


def test_another_seed_removes_others_and_a_larger_ratio_those_and_more(dataset):
    def left(ratio: float, seed: int = 0) -> list[set]:
        return [set(map(tuple, graph.x.tolist()))
                for _, graph, _ in LabelledTiles(dataset, places(dataset), "pop", 9,
                                                 OsmDegradation(ratio, seed=seed))]

    assert left(0.5, 0) == left(0.5, 0)
    assert left(0.5, 0) != left(0.5, 1)
    assert all(more > fewer for more, fewer in zip(left(0.2), left(0.7), strict=True)
               if len(more) > 1)
    assert left(1.0) == [set()] * 7


def test_tiles_of_equal_size_do_not_all_lose_the_same_rows(tmp_path):
    same = a_tile(nodes=40)
    cities = [dataclasses.replace(same, name=f"lima_{n}_0") for n in range(3)]
    tiles = LabelledTiles(opened(tmp_path, cities), range(3), "pop",
                          degradation=OsmDegradation(0.5))
    first, *others = (graph.x for _, graph, _ in tiles)
    assert not any(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_a_tile_without_osm_objects_stays_one(tmp_path, layout, ratio):
    data = opened(tmp_path, [a_tile(nodes=0), a_tile("lima_0_1")], layout)
    tiles = LabelledTiles(data, [0, 1], "land_use", degradation=OsmDegradation(ratio))
    images, graphs, _ = collate_labelled(list(tiles))
    left = 6 - round(6 * ratio)
    assert graphs.ptr.tolist() == [0, 0, left]
    assert (graphs.x.shape, graphs.edge_index.shape[0],
            graphs.edge_attr.shape[1]) == ((left, 525), 2, 1)
    assert (images.dtype, images.shape) == (torch.uint8, (2, 3, SIDE, SIDE))


# -------------------------------------------------------------------------------------------------
# what cannot be used

def relabel(root: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(root / "label" / "lima_0_0.png")


def whole(value: int) -> np.ndarray:
    return np.full((SIDE, SIDE), value, np.uint8)


@pytest.mark.parametrize(("target", "classes", "spoil", "parts"), [
    ("land_use", 9, lambda root: relabel(root, whole(12)),
     ["label/lima_0_0.png", "value 12", "from 0 to 8", "9 or 255", "'label_map={12:CLASS}'"]),
    ("land_use", 5, lambda root: relabel(root, whole(9)),
     ["label/lima_0_0.png", "value 9", "from 0 to 4", "or 255 for unknown"]),
    ("land_use", 9, lambda root: relabel(root, whole(0)[:20]),
     ["label/lima_0_0.png", "32 x 20 pixels", "32 x 32", "prepare_dataset.py"]),
    ("land_use", 9, lambda root: relabel(root, np.zeros((SIDE, SIDE, 3), np.uint8)),
     ["label/lima_0_0.png", "mode RGB", "one byte"]),
    ("land_use", 9, lambda root: (root / "label" / "lima_0_0.png").write_bytes(b"no"),
     ["label/lima_0_0.png", "cannot be read"]),
    ("land_use", 9, lambda root: (root / "label" / "lima_0_0.png").unlink(),
     ["label/lima_0_0.png", "no land-use label", "every tile of a list", "labels=",
      "remove the line lima_0_0.png"]),
    ("pop", 9, lambda root: (root / "pop" / "lima_0_0.txt").unlink(),
     ["pop/lima_0_0.txt", "no total of pop", "prepare_dataset.py population=",
      "remove the line lima_0_0.png"]),
    ("CO2", 9, lambda root: (root / "CO2" / "lima_0_0.txt").unlink(),
     ["CO2/lima_0_0.txt", "no total of CO2", "prepare_dataset.py co2="]),
    ("pop", 9, lambda root: (root / "pop" / "lima_0_0.txt").write_text("many\n"),
     ["pop/lima_0_0.txt", "'many'", "expected a number"]),
    ("pop", 9, lambda root: (root / "pop" / "lima_0_0.txt").write_text(""),
     ["pop/lima_0_0.txt", "''", "expected a number"]),
    ("CO2", 9, lambda root: (root / "CO2" / "lima_0_0.txt").write_text("nan\n"),
     ["CO2/lima_0_0.txt", "'nan'", "expected a number"]),
])
def test_targets_that_cannot_be_used(tmp_path, target, classes, spoil: Callable[[Path], object],
                                     parts):
    tiles = LabelledTiles(opened(tmp_path, [a_tile(land_use=whole(3))]), [0], target, classes)
    assert len(tiles[0]) == 3
    spoil(tmp_path)
    check = tiles.class_counts if target == "land_use" else tiles.totals
    for read in (check, lambda: tiles[0]):
        assert_one_line(read, parts)


@pytest.mark.parametrize(("target", "changes", "parts"), [
    ("land_use", {"land_use": whole(77)},
     ["tile lima_0_0: the label has the value 77", "from 0 to 8"]),
    ("land_use", {"land_use": None}, ["tile lima_0_0: the tile has no land-use label", "labels="]),
    ("pop", {"totals": {}}, ["tile lima_0_0: the tile has no total of pop", "population="]),
    ("CO2", {"totals": {"pop": 3.0}}, ["tile lima_0_0: the tile has no total of CO2", "co2="]),
])
def test_targets_of_the_compact_layout_that_cannot_be_used(tmp_path, target, changes, parts):
    tiles = LabelledTiles(opened(tmp_path, [a_tile(**changes)], "compact"), [0], target)
    assert_one_line(lambda: tiles[0], [str(tmp_path), *parts])


def assert_one_line(read: Callable[[], object], parts: list[str]) -> None:
    with pytest.raises(TileError) as error:
        read()
    assert [part for part in [*parts, ";"] if part not in str(error.value)] == []
    assert "\n" not in str(error.value)


# -------------------------------------------------------------------------------------------------
# lists

CITIES = [a_tile(name) for name in ("lima_0_0", "lima_0_1", "lima_1_0", "oslo_0_0", "oslo_0_1")]


@pytest.mark.parametrize(("text", "names"), [
    ("lima_1_0.png\nlima_0_0.png\n", ["lima_1_0", "lima_0_0"]),
    ("oslo_0_1", ["oslo_0_1"]),
    ("\ufefflima_1_0\r\n\r\n  oslo_0_0.png \r\n\n", ["lima_1_0", "oslo_0_0"]),
])
def test_a_list_is_read_in_its_order(tmp_path, layout, text, names):
    dataset = opened(tmp_path, CITIES, layout)
    (tmp_path / "some.txt").write_text(text, encoding="utf-8")
    assert [dataset.names[index]
            for index in read_list(dataset, "some.txt", "train_file")] == names


def test_lines_of_cities_that_were_not_asked_for_are_skipped(tmp_path, layout):
    dataset = opened(tmp_path, CITIES, layout, cities=["oslo"])
    (tmp_path / "some.txt").write_text("lima_1_0\noslo_0_1\nlima_7_7\noslo_0_0\n")
    assert [dataset.names[index]
            for index in read_list(dataset, "some.txt", "val_file")] == ["oslo_0_1", "oslo_0_0"]


@pytest.mark.parametrize(("cities", "content", "parts"), [
    ([], None, ["missing", "NAME.png", "python -m datasets.splits data_path=ROOT", "val_file="]),
    ([], b"", ["names no tile", "NAME.png", "python -m datasets.splits data_path=ROOT",
               "val_file="]),
    ([], b"\n \n", ["names no tile"]),
    ([], b"\xff\xfe\x00", ["cannot be read", "val_file="]),
    ([], b"lima_0_0\nlima_9_9\nlima_0_1\nrome_0_0.png\n",
     ["names lima_9_9.png", "2 of 4 names", "such as lima_0_0.png",
      "python -m datasets.splits data_path=ROOT", "remove the lines"]),
    ([], b"lima_0_0.tif\n", ["names lima_0_0.tif.png", "1 of 1 names", "such as lima_0_0.png"]),
    (["oslo"], b"oslo_9_9\nlima_0_0\n",
     ["names oslo_9_9.png", "1 of 1 names", "such as oslo_0_0.png"]),
    ([], b"lima_0_1\nlima_0_0.png\nlima_0_1.png\n",
     ["names lima_0_1.png 2 times", "every tile once"]),
    (["oslo"], b"lima_0_0\nlima_0_1\n",
     ["none of its 2 tiles is of cities=oslo", "val_file=", "cities of the list: lima"]),
])
def test_lists_that_cannot_be_used(tmp_path, cities, content, parts):
    dataset = opened(tmp_path, CITIES, cities=cities)
    if content is not None:
        (tmp_path / "some.txt").write_bytes(content)
    assert_one_line(lambda: read_list(dataset, "some.txt", "val_file"),
                    [f"{tmp_path / 'some.txt'}: ",
                     *(part.replace("ROOT", str(tmp_path)) for part in parts)])

