"""Tiles to batches, without the copies and the generality that cost a loader most of its time beside decoding."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from torch_geometric.data import Batch, Data

_KEYS = {"x", "edge_index", "edge_attr", "name"}  # of a tile's graph


def batch_memory(shape: tuple[int, ...]) -> Tensor:
    """float32 of `shape`, not initialised; in a worker of a DataLoader in memory shared with the main process, which spares a copy."""
    if get_worker_info() is None:
        return torch.empty(shape)
    return torch.empty(0).set_(torch.UntypedStorage._new_shared(math.prod(shape) * 4), 0, shape)


def stack(images: Sequence[Tensor]) -> Tensor:
    """torch.stack; images that are all rows of one tensor, in order, are that tensor."""
    whole = images[0]._base
    if whole is None or whole.shape != (len(images), *images[0].shape):
        return torch.stack(images)
    in_place = all(image._base is whole and image.storage_offset() == i * image.numel() for i, image in enumerate(images))
    return whole if in_place else torch.stack(images)


def join_graphs(graphs: list[Data]) -> Batch:
    """PyG's `Batch.from_data_list(graphs)`; for graphs of a TileDataset in half its time."""
    if not all(set(graph.keys()) == _KEYS for graph in graphs):
        return Batch.from_data_list(graphs)
    nodes = torch.tensor([len(graph.x) for graph in graphs])
    edges = torch.tensor([graph.edge_index.shape[1] for graph in graphs])
    places, none = torch.arange(len(graphs) + 1), torch.zeros(len(graphs), dtype=torch.int64)
    ptr, edge_ptr = _starts(nodes), _starts(edges)
    edge_index = torch.cat([graph.edge_index for graph in graphs], dim=1)
    edge_index += ptr[:-1].repeat_interleave(edges)
    batch = Batch(
        _base_cls=Data, x=torch.cat([graph.x for graph in graphs]), edge_index=edge_index,
        edge_attr=torch.cat([graph.edge_attr for graph in graphs]), name=[graph.name for graph in graphs],
        batch=places[:-1].repeat_interleave(nodes), ptr=ptr,
    )
    # what to_data_list() and get_example() take the batch apart by
    batch._num_graphs = len(graphs)
    batch._slice_dict = {"x": ptr, "edge_index": edge_ptr, "edge_attr": edge_ptr, "name": places}
    batch._inc_dict = {"x": none, "edge_index": ptr[:-1], "edge_attr": none, "name": None}
    return batch


def _starts(counts: Tensor) -> Tensor:
    """[n] to where each begins and the last ends, [n + 1]."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
