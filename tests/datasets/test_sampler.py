"""The order of tiles: the same whoever shares it, whole global batches, resumable in the middle."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from datasets.sampler import EpochSampler, keyed_generator
from utils.errors import TileError


class Tiles(SimpleNamespace):
    """A dataset of which only length and root matter."""

    def __len__(self) -> int:
        return self.count


def tiles(count: int) -> Tiles:
    return Tiles(count=count, root=Path("some/tiles"))


def test_an_epoch_is_a_permutation_without_the_incomplete_rest():
    sampler = EpochSampler(tiles(23), batch_size=5, seed=1)
    keys = list(sampler)
    assert (sampler.steps_per_epoch, len(sampler), len(keys)) == (4, 20, 20)
    assert {epoch for epoch, _ in keys} == {0}
    assert len({index for _, index in keys} & set(range(23))) == 20
    assert [index for _, index in keys] != sorted(index for _, index in keys)


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[tuple[int, int]]:
        sampler = EpochSampler(tiles(40), batch_size=4, seed=seed)
        sampler.set_position(epoch)
        torch.rand(3)  # the global stream is of no matter
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert [i for _, i in order(1, 2)] != [i for _, i in order(1, 3)]
    assert [i for _, i in order(1, 2)] != [i for _, i in order(2, 2)]


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_each_global_batch(world_size):
    """However many devices share a global batch of 8, its tiles are the same."""
    single = list(EpochSampler(tiles(37), batch_size=8, seed=3))
    size = 8 // world_size
    ranks = [list(EpochSampler(tiles(37), size, seed=3, rank=rank, world_size=world_size)) for rank in range(world_size)]
    for step in range(4):
        shared = [key for rank in ranks for key in rank[step * size:(step + 1) * size]]
        assert sorted(shared) == sorted(single[step * 8:(step + 1) * 8])
    assert {len(rank) for rank in ranks} == {32 // world_size}


@pytest.mark.parametrize("rank", [0, 1])
def test_an_epoch_continues_in_its_middle(rank):
    sampler = EpochSampler(tiles(50), batch_size=4, seed=5, rank=rank, world_size=2)
    sampler.set_position(epoch=7)
    whole = list(sampler)
    sampler.set_position(epoch=7, start_step=2)
    assert len(sampler) == len(whole) - 8
    assert list(sampler) == whole[8:]
    sampler.set_position(epoch=7, start_step=sampler.steps_per_epoch)
    assert list(sampler) == []
    sampler.set_position(epoch=8)
    assert len(sampler) == len(whole)


@pytest.mark.parametrize("start_step", [-1, 4])
def test_a_step_outside_the_epoch_is_refused(start_step):
    with pytest.raises(ValueError, match="an epoch has 3 steps"):
        EpochSampler(tiles(12), batch_size=4, seed=0).set_position(0, start_step)


@pytest.mark.parametrize(("batch_size", "world_size", "parts"), [
    (64, 1, ["batch_size=64", "some/tiles has 12 tiles", "use batch_size<=12"]),
    (64, 4, ["batch_size=64 on each of 4 devices", "needs 256 tiles", "some/tiles has 12 tiles", "use batch_size<=3"]),
    (1, 16, ["batch_size=1 on each of 16 devices", "use at most 12 devices"]),
])
def test_too_few_tiles(batch_size, world_size, parts):
    with pytest.raises(TileError) as error:
        EpochSampler(tiles(12), batch_size, seed=0, world_size=world_size)
    assert [part for part in parts if part not in str(error.value)] == []


def test_streams_of_neighbouring_keys_are_unrelated():
    keys = [(seed, epoch, index) for seed in range(4) for epoch in range(5) for index in range(20)] + [(0,), (0, 0)]
    streams = torch.stack([torch.randn(64, generator=keyed_generator(*key)) for key in keys])
    correlation = torch.corrcoef(streams).fill_diagonal_(0)
    assert correlation.abs().max() < 0.7
    assert streams.mean().abs() < 0.03
