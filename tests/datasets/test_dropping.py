"""What training drops of OSM objects, and the augmentation of tiles with targets."""

import pytest
import torch

from datasets import AugmentedTiles, LabelledTiles, TileDataset
from datasets.augment import AugmentedLabels, Drawn, apply_to_image, apply_to_target
from datasets.dropping import Dropping
from tests.random_tiles import random_tile, write_compact

SIDE = 32


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> TileDataset:
    tiles = [random_tile(f"lima_{n}_0", nodes=12, edges=20, side=SIDE, targets=True)
             for n in range(8)]
    root = write_compact(tmp_path_factory.mktemp("dropping") / "tiles", tiles)
    return TileDataset(root, image_size=SIDE)


def kept(dataset: TileDataset, dropping: Dropping, tiles: int = 1000) -> torch.Tensor:
    """Shares of objects that are left of tiles."""
    graph = dataset.graph(0)
    return torch.tensor([len(dropping(graph, 0, 1, tile).x) / len(graph.x)
                         for tile in range(tiles)])


@pytest.mark.parametrize("share", [0.15, 0.5, 1.0])
def test_a_mean_share_of_objects_goes_more_of_some_tiles_than_of_others(dataset, share):
    left = kept(dataset, Dropping(objects=share))
    assert abs(left.mean() - (1 - share)) < 0.02
    expected = 0.5 ** (share / (1 - share)) if share < 1 else 0  # P(u ** (1/k) <= 1/2), k = p/(1-p)
    assert abs((left < 0.5).float().mean() - (1 - expected)) < 0.06


def test_a_share_of_tiles_loses_all(dataset):
    left = kept(dataset, Dropping(graphs=0.3))
    assert set(left.tolist()) == {0, 1}
    assert abs((left == 0).float().mean() - 0.3) < 0.03


def test_edges_go_with_their_objects_and_the_rest_stays(dataset):
    whole = dataset.graph(3)
    thin = next(graph for tile in range(99)
                if 3 < len((graph := Dropping(objects=0.5)(whole, 0, 1, tile)).x) < 10)
    rows = [next(row for row, node in enumerate(whole.x) if torch.equal(node, left))
            for left in thin.x]
    edges = [[*edge, code] for edge, code in zip(whole.edge_index.T.tolist(),
                                                 whole.edge_attr[:, 0].tolist(), strict=True)
             if {*edge} <= {*rows}]
    assert [[rows[i], rows[j], code] for (i, j), code in zip(
        thin.edge_index.T.tolist(), thin.edge_attr[:, 0].tolist(), strict=True)] == edges
    assert torch.equal(whole.x, dataset.graph(3).x)


def test_drawn_by_seed_epoch_and_tile_beside_the_augmentation(dataset):
    def tiles(seed: int, *shares: float) -> AugmentedTiles:
        return AugmentedTiles(dataset, "aligned", seed, Dropping(*shares))

    def sizes(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(len(tiles(seed, 0.5, 0.2)[epoch, index][1].x) for index in range(8))

    assert sizes(1, 1) == sizes(1, 1)
    assert len({sizes(seed, epoch) for seed in (1, 2) for epoch in (1, 2)}) == 4
    for index in range(8):
        assert torch.equal(tiles(1)[1, index][0], tiles(1, 0.5, 0.2)[1, index][0])


def test_nothing_changes_unless_asked(dataset):
    tiles = LabelledTiles(dataset, [4, 2], "land_use")
    image, graph, label = AugmentedLabels(tiles, "none", 0, Dropping())[3, 1]
    assert torch.equal(image, tiles[1][0])
    assert torch.equal(graph.x, tiles[1][1].x)
    assert torch.equal(label, tiles[1][2])


def test_a_label_moves_with_its_image():
    """Colours that say the class: image and label agree after crop and flip, but for the edges of
    classes, which the image blurs."""
    label = torch.arange(4).repeat_interleave(16).expand(64, 64) * 2 + (
        torch.arange(64)[:, None] >= 40)
    image = (label * 30).to(torch.uint8).expand(3, 64, 64)
    drawn = Drawn(64, (10, 5, 44, 50), (), False, True)
    moved, there = apply_to_image(image, drawn), apply_to_target(label, drawn)
    assert (there.dtype, there.shape) == (label.dtype, label.shape)
    assert set(there.unique().tolist()) <= set(label.unique().tolist())
    assert ((moved[0] / 30).round() == there).float().mean() > 0.9
    whole = Drawn(64, None, (), False, False)
    assert torch.equal(apply_to_target(label, whole), label)


def test_a_list_of_tiles_changes_nothing_and_totals_are_of_whole_tiles(dataset):
    long, short = (AugmentedLabels(LabelledTiles(dataset, tiles, "pop"), "aligned", 1, Dropping())
                   for tiles in ([0, 2, 4, 6], [4, 6]))
    for epoch in range(1, 20):
        image, graph, total = short[epoch, 0]
        same = long[epoch, 2]
        assert torch.equal(image, same[0])
        assert torch.equal(graph.x, same[1].x)
        assert total == dataset.total(4, "pop")
        areas = graph.x[:, 512]  # as a flip leaves them, and a crop does not
        assert torch.equal(areas, dataset.graph(4).x[:, 512])
