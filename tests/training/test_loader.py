"""What reaches the network: the same bits however tiles are dealt, and whoever reads them."""

import multiprocessing
from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import Dataset

from datasets import EpochSampler, TileDataset, normalise
from datasets.augment import AUGMENTS
from datasets.dropping import Dropping
from datasets.labelled import LabelledTiles, collate_labelled
from evaluation.probe_features import collate_features
from models.masking import visible_count
from tests.random_tiles import random_city, write_compact
from training.keys import TRAIN
from training.loader import DeviceLoader, PretrainingBatch, device_loader, pretraining_loader
from training.pretraining import PretrainingRun
from utils.cli.compose import read

SIDE, PATCH, TILES = 32, 8, 19
PATCHES = (SIDE // PATCH) ** 2
NOTHING_DROPPED = Dropping()
Dealt = dict[str, tuple[Tensor, ...]]  # tile's name -> image, nodes, image mask, node mask


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> TileDataset:
    return TileDataset(write_compact(tmp_path_factory.mktemp("feeding") / "tiles",
                                     random_city(count=TILES, side=SIDE)), image_size=SIDE)


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def loader_of(fabric: Fabric, tiles: TileDataset, sampler: EpochSampler, batch_size: int, *,
              seed: int = 4, augment: str = "aligned",
              scope: str = "tile", workers: int = 0,
              dropping: Dropping = NOTHING_DROPPED) -> DeviceLoader:
    return pretraining_loader(fabric, tiles, sampler, batch_size=batch_size, seed=seed,
                              augment=augment, patch=PATCH, img_mask_ratio=0.75,
                              osm_mask_ratio=0.4, node_mask_scope=scope, num_workers=workers,
                              normalise=normalise, dropping=dropping)


def taken_apart(batches: Iterator[PretrainingBatch]) -> Dealt:
    return {
        name: (image, nodes, image_mask, node_mask)
        for images, graphs, image_masks, node_masks in batches
        for name, image, nodes, image_mask, node_mask in zip(
            graphs.name, images, graphs.x.split(graphs.ptr.diff().tolist()), image_masks,
            node_masks.split(graphs.ptr.diff().tolist()),
            strict=True)
    }


def steps_of(fabric: Fabric, tiles: TileDataset, world_size: int, accumulate: int,
             global_batch: int = 8, **others: object) -> list[Dealt]:
    """What all processes together see in each step of an epoch."""
    size = global_batch // (world_size * accumulate)
    steps: list[Dealt] = []
    for rank in range(world_size):
        sampler = EpochSampler(tiles, size, 4, rank, world_size, accumulate=accumulate)
        sampler.set_position(epoch=2)
        batches = iter(loader_of(fabric, tiles, sampler, size, **others))
        steps += [{} for _ in range(sampler.steps_per_epoch - len(steps))]
        for step in steps:
            step |= taken_apart(islice(batches, accumulate))
        assert next(batches, None) is None
    return steps


def assert_same(one: Dealt, other: Dealt) -> None:
    assert one.keys() == other.keys()
    for name, parts in one.items():
        assert all(torch.equal(part, there)
                   for part, there in zip(parts, other[name], strict=True)), name


# however it is dealt

@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (4, 1), (1, 2), (2, 2), (1, 8)])
def test_a_step_is_the_same_on_any_number_of_devices_in_any_number_of_batches(fabric, tiles,
                                                                              world_size,
                                                                              accumulate):
    alone, dealt = steps_of(fabric, tiles, 1, 1), steps_of(fabric, tiles, world_size, accumulate)
    assert [len(step) for step in alone] == [8, 8]
    for one, other in zip(alone, dealt, strict=True):
        assert_same(one, other)


def test_what_is_dropped_does_not_depend_on_how_tiles_are_dealt(fabric, tiles):
    dropping = Dropping(objects=0.4, graphs=0.2)
    alone, dealt = (steps_of(fabric, tiles, *split, dropping=dropping)
                    for split in ((1, 1), (2, 2)))
    whole = steps_of(fabric, tiles, 1, 1)
    for one, other, step in zip(alone, dealt, whole, strict=True):
        assert_same(one, other)
        assert sum(len(nodes) for _, nodes, *_ in one.values()) < sum(
            len(nodes) for _, nodes, *_ in step.values())


@pytest.mark.parametrize(("keys", "left"), [
    ([], True), (["drop_objects=1"], False), (["drop_graphs=1"], False)])
def test_a_run_drops_the_objects_that_its_keys_say(fabric, tiles, tmp_path, keys, left):
    cfg = read(TRAIN, f"data_path={tiles.root}", f"save_root_dir={tmp_path}", "save_dir=run",
               f"image_size={SIDE}", "image_encoder=test_vit", "batch_size=4", "num_workers=0",
               "accelerator=cpu", "lr=1e-3", "total_epoch=1", *keys)
    with PretrainingRun(cfg, fabric) as run:
        assert any(len(batch.graphs.x) for batch in run.loader) is left


def test_masks_have_their_share_and_differ_between_tiles_epochs_and_seeds(fabric, tiles):
    def masks(epoch: int, seed: int) -> Dealt:
        sampler = EpochSampler(tiles, 1, 9)
        sampler.set_position(epoch)
        return taken_apart(iter(loader_of(fabric, tiles, sampler, 1, seed=seed, augment="none")))

    first = masks(0, 4)
    assert len(first) == TILES
    for _, nodes, image_mask, node_mask in first.values():
        assert image_mask.sum() == PATCHES - visible_count(PATCHES, 0.75)
        assert node_mask.sum() == min(len(nodes), max(1, int(0.4 * len(nodes))))
    assert len({tuple(image_mask.tolist()) for _, _, image_mask, _ in first.values()}) > TILES / 2
    for other in (masks(1, 4), masks(0, 5)):
        for part in (2, 3):
            assert not all(torch.equal(parts[part], other[name][part])
                           for name, parts in first.items())


def test_the_releases_node_mask_is_a_share_of_the_batch(fabric, tiles):
    for _, _, _, node_mask in loader_of(fabric, tiles, EpochSampler(tiles, 6, 0), 6,
                                        scope="batch"):
        assert node_mask.sum() == int(0.4 * len(node_mask))


# whoever reads it

def equal(one: PretrainingBatch, other: PretrainingBatch) -> bool:
    parts = [(batch.images, batch.graphs.x, batch.graphs.edge_index, batch.graphs.edge_attr,
              batch.graphs.batch, batch.graphs.ptr,
              batch.image_mask, batch.node_mask) for batch in (one, other)]
    return one.graphs.name == other.graphs.name and all(torch.equal(a, b)
                                                        for a, b in zip(*parts, strict=True))


def processes() -> set[int]:
    return {child.pid for child in multiprocessing.active_children()}


def test_workers_change_nothing_and_serve_every_epoch_from_the_samplers_position(fabric, tiles):
    sampler = EpochSampler(tiles, 2, 1, accumulate=2)
    alone, workers = (loader_of(fabric, tiles, sampler, 2, workers=count) for count in (0, 2))
    before, children = torch.get_rng_state(), processes()
    started = set()
    # the first is left in its middle
    for epoch, start, taken in ((0, 0, 3), (0, 1, 99), (3, 2, 99), (1, 0, 99)):
        sampler.set_position(epoch, start)
        one, other = (list(islice(loader, taken)) for loader in (alone, workers))
        assert len(one) == len(other) == min(taken, (sampler.steps_per_epoch - start) * 2)
        assert all(map(equal, one, other))
        started |= processes() - children
    assert len(started) == 2  # no worker was started again
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("augment", AUGMENTS)
def test_workers_ship_bytes(fabric, tiles, augment):
    loader = loader_of(fabric, tiles, EpochSampler(tiles, 4, 1), 4, augment=augment, workers=1)
    shipped, received = next(iter(loader.loader)), next(iter(loader))
    assert isinstance(shipped, PretrainingBatch)
    assert shipped.images.is_shared()
    assert (shipped.images.dtype, received.images.dtype) == (torch.uint8, torch.float32)


def test_images_are_normalised_as_the_dataset_does(fabric, tiles):
    seen = taken_apart(iter(loader_of(fabric, tiles, EpochSampler(tiles, 4, 1), 4,
                                      augment="none")))
    assert len(seen) == 16
    assert all(torch.equal(image, tiles[tiles.names.index(name)][0])
               for name, (image, *_) in seen.items())


def test_tiles_with_targets_are_fed_the_same_way(fabric, tiles):
    chosen = [index for index in range(TILES) if tiles.land_use(index) is not None]
    labelled = LabelledTiles(tiles, chosen, "land_use")
    images, graphs, targets = next(iter(device_loader(fabric, labelled, 4, collate_labelled,
                                                      num_workers=1, normalise=normalise)))
    for place in range(4):
        image, graph = tiles[chosen[place]]
        assert torch.equal(images[place], image)
        assert torch.equal(graphs[place].x, graph.x)
        assert torch.equal(targets[place], labelled.target_of(place))


class Features(Dataset):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.full((5,), float(index)), torch.tensor(index)


def test_what_is_no_image_stays_as_it_is(fabric):
    loader = device_loader(fabric, Features(), 2, collate_features, num_workers=0,
                           normalise=normalise)
    (features, targets), (last, _) = loader
    assert len(loader) == 2
    assert features.tolist() == [[0.0] * 5, [1.0] * 5]
    assert last.tolist() == [[2.0] * 5]
    assert targets.tolist() == [0, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_gpu_is_fed_the_same_batches(fabric, tiles, workers):
    gpu = Fabric(accelerator="cuda", devices=1)
    here, there = (loader_of(place, tiles, EpochSampler(tiles, 2, 1), 2, workers=workers)
                   for place in (fabric, gpu))
    assert next(iter(there.loader)).images.is_pinned()
    batches = list(there)  # kept, while later copies go on
    for one, other in zip(here, batches, strict=True):
        assert other.images.device.type == other.graphs.x.device.type == "cuda"
        torch.testing.assert_close(other.images.cpu(), one.images)
        assert equal(one, PretrainingBatch(one.images, other.graphs.cpu(), other.image_mask.cpu(),
                                           other.node_mask.cpu()))
