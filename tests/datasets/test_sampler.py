"""The order of tiles: the same whoever shares it, whole global batches, resumable in the
middle."""

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
    ranks = [list(EpochSampler(tiles(37), size, seed=3, rank=rank, world_size=world_size))
             for rank in range(world_size)]
    for step in range(4):
        shared = [key for rank in ranks for key in rank[step * size:(step + 1) * size]]
        assert sorted(shared) == sorted(single[step * 8:(step + 1) * 8])
    assert {len(rank) for rank in ranks} == {32 // world_size}


@pytest.mark.parametrize(("world_size", "accumulate"), [(1, 2), (2, 2), (1, 8), (4, 2)])
def test_a_step_of_several_batches_has_the_tiles_of_one(world_size, accumulate):
    one = EpochSampler(tiles(37), batch_size=8, seed=3)
    size = 8 // (world_size * accumulate)
    ranks = [EpochSampler(tiles(37), size, 3, rank, world_size, accumulate=accumulate)
             for rank in range(world_size)]
    assert {sampler.steps_per_epoch for sampler in ranks} == {one.steps_per_epoch} == {4}
    single, several = list(one), [list(sampler) for sampler in ranks]
    per_step = size * accumulate
    assert {len(keys) for keys in several} == {4 * per_step}
    for step in range(4):
        shared = [key for keys in several for key in keys[step * per_step:(step + 1) * per_step]]
        assert sorted(shared) == sorted(single[step * 8:(step + 1) * 8])
    for sampler, whole in zip(ranks, several, strict=True):
        sampler.set_position(epoch=0, start_step=3)
        assert list(sampler) == whole[3 * per_step:]
        assert len(sampler) == per_step


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


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 3, 8, 37])
def test_with_the_last_batch_all_tiles_are_used_and_ranks_have_equally_many(world_size, count):
    """Whatever shares a global batch of 8, its tiles are the same but for those that fill up the
    last one."""
    single = [index for _, index in EpochSampler(tiles(count), 8, seed=3, keep_last=True)]
    assert sorted(single) == list(range(count))
    size = 8 // world_size
    samplers = [EpochSampler(tiles(count), size, 3, rank, world_size, keep_last=True)
                for rank in range(world_size)]
    ranks = [[index for _, index in sampler] for sampler in samplers]
    assert {len(rank) for rank in ranks} == {-(-count // world_size)}
    assert {len(sampler) for sampler in samplers} == {-(-count // world_size)}
    assert {sampler.steps_per_epoch for sampler in samplers} == {-(-count // 8)}
    shared = [index for step in range(samplers[0].steps_per_epoch)
              for index in _of_step(ranks, step, size)]
    assert shared[:count] == single
    assert shared[count:] == (single * world_size)[:len(shared) - count]


def _of_step(ranks: list[list[int]], step: int, size: int) -> list[int]:
    """A global batch in the order of the epoch: the ranks by turns."""
    return [index for turn in zip(*(rank[step * size:(step + 1) * size] for rank in ranks),
                                  strict=True) for index in turn]


def test_an_epoch_with_its_last_batch_continues_in_its_middle():
    sampler = EpochSampler(tiles(9), batch_size=2, seed=5, rank=1, world_size=2, keep_last=True)
    whole = list(sampler)
    assert len(whole) == 5
    for step in range(4):
        sampler.set_position(epoch=0, start_step=step)
        assert (len(sampler), list(sampler)) == (max(0, 5 - 2 * step), whole[2 * step:])


def test_no_tile_is_too_few_for_the_last_batch_too():
    with pytest.raises(TileError, match="some/tiles has 0 tiles"):
        EpochSampler(tiles(0), batch_size=1, seed=0, keep_last=True)


@pytest.mark.parametrize("start_step", [-1, 4])
def test_a_step_outside_the_epoch_is_refused(start_step):
    with pytest.raises(ValueError, match="an epoch has 3 steps"):
        EpochSampler(tiles(12), batch_size=4, seed=0).set_position(0, start_step)


@pytest.mark.parametrize(("batch_size", "world_size", "parts"), [
    (64, 1, ["batch_size=64", "some/tiles has 12 tiles", "use batch_size<=12"]),
    (64, 4, ["batch_size=64 on each of 4 devices", "needs 256 tiles", "some/tiles has 12 tiles",
             "use batch_size<=3"]),
    (1, 16, ["batch_size=1 on each of 16 devices", "use at most 12 devices"]),
])
def test_too_few_tiles(batch_size, world_size, parts):
    with pytest.raises(TileError) as error:
        EpochSampler(tiles(12), batch_size, seed=0, world_size=world_size)
    assert [part for part in parts if part not in str(error.value)] == []


@pytest.mark.parametrize(("batch_size", "world_size", "parts"), [
    (8, 1, ["batch_size=8 in 4 batches a step needs 32 tiles", "use batch_size<=3"]),
    (1, 4, ["batch_size=1 in 4 batches a step on each of 4 devices needs 16 tiles",
            "use batch_size * accumulate * devices <= 12"]),
])
def test_too_few_tiles_for_the_batches_of_a_step(batch_size, world_size, parts):
    with pytest.raises(TileError) as error:
        EpochSampler(tiles(12), batch_size, seed=0, world_size=world_size, accumulate=4)
    assert [part for part in parts if part not in str(error.value)] == []


def test_streams_of_neighbouring_keys_are_unrelated():
    keys = [(seed, epoch, index) for seed in range(4) for epoch in range(5)
            for index in range(20)] + [(0,), (0, 0)]
    streams = torch.stack([torch.randn(64, generator=keyed_generator(*key)) for key in keys])
    correlation = torch.corrcoef(streams).fill_diagonal_(0)
    assert correlation.abs().max() < 0.7
    assert streams.mean().abs() < 0.03
