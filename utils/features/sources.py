"""Where the tiles come from whose features are extracted: a dataset. Batches never cross the parts that are written of them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import Dataset, Subset
from torch_geometric.data import Batch

from datasets import TileDataset, collate, normalise
from datasets.prepare.sources import states
from datasets.scene import SceneTiles
from utils.features.areas import Area, areas_of
from utils.feeding import device_loader
from utils.scene.inference import band_loader

PART_TILES = 64


class Chunk(NamedTuple):
    """A batch of B tiles on the device.

    Attributes:
        part: that they belong to.
        place: int32 [B, 3], area, column and row on the area's grid.
        images: [B, 3, H, W] normalised.
        graphs: of B tiles, with their names.
        valid: bool [B, H, W], where there is imagery; None: everywhere.
    """

    part: int
    place: np.ndarray
    images: Tensor
    graphs: Batch
    valid: Tensor | None


class DatasetSource:
    """The tiles of a dataset, city by city and row by row.

    Attributes:
        areas: the cities.
        parts: how many parts the tiles make, each of whole batches, but for the last.
        tiles: how many there are.
    """

    def __init__(self, dataset: TileDataset, batch_size: int):
        self.dataset, self.batch_size = dataset, batch_size
        self.areas, place = areas_of(dataset)
        order = np.lexsort((place[:, 1], place[:, 2], place[:, 0]))
        self.place, self._pixels = place[order].astype(np.int32), _Pixels(dataset, order.tolist())
        self.tiles = len(dataset)
        self._of_part = max(1, PART_TILES // batch_size) * batch_size
        self.parts = -(-self.tiles // self._of_part)

    def identity(self) -> dict:
        """What tells these tiles from others."""
        said = [self.dataset.names, self.dataset.meta, states(self.dataset.store.files())]
        return {"data_root": str(self.dataset.root.resolve()), "batch_size": self.batch_size,  # parts are made of whole batches
                "tiles_sha256": hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()}

    def tiles_of(self, parts: Sequence[int]) -> int:
        """Number of tiles in some parts."""
        return sum(len(self._places(part)) for part in parts)

    def chunks(self, parts: Sequence[int], fabric: Fabric, num_workers: int) -> Iterator[Chunk]:
        """The tiles of some parts, given in ascending order, batch by batch."""
        places = [place for part in parts for place in self._places(part)]
        loader = device_loader(fabric, Subset(self._pixels, places), self.batch_size, collate, num_workers)
        first = 0
        for images, graphs in loader:
            own = places[first:first + len(images)]
            yield Chunk(own[0] // self._of_part, self.place[own], images, graphs, None)
            first += len(images)

    def _places(self, part: int) -> range:
        return range(part * self._of_part, min((part + 1) * self._of_part, self.tiles))


class _Pixels(Dataset):
    """Tiles of a dataset as they are stored, in an order of their own."""

    def __init__(self, dataset: TileDataset, order: list[int]):
        self.dataset, self.order = dataset, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> tuple:
        return self.dataset.read(self.order[place])


class SceneSource:
    """The tiles of a scene; a part is a band of it.

    Attributes: as of DatasetSource.
    """

    def __init__(self, scene: SceneTiles, name: str, batch_size: int):
        self.scene, self.batch_size = scene, batch_size
        grid, mosaic = scene.grid, scene.job.mosaic
        self.areas = [Area(name, mosaic.crs.to_string(), scene.transform, scene.width, scene.height, grid.columns, grid.rows, (0, 0),
                           grid.tile_px, grid.stride, tuple(mosaic.metres_per_pixel))]
        self.parts, self.tiles = len(scene), grid.tiles

    def tiles_of(self, parts: Sequence[int]) -> int:
        """Number of tiles in some parts, those without imagery too."""
        bands = map(self.scene.grid.band, parts)
        return sum(band.last - band.first for band in bands)

    def chunks(self, parts: Sequence[int], fabric: Fabric, num_workers: int) -> Iterator[Chunk]:
        """The tiles of some parts that have imagery, batch by batch."""
        for part, (band, batches) in zip(parts, band_loader(self.scene, parts, self.batch_size, num_workers, fabric), strict=True):
            first = 0
            for images, graphs in batches:
                own = slice(first, first + len(images))
                place = np.array([[0, column, band.row] for column in band.cols[own]], np.int32)
                yield Chunk(part, place, normalise(images.to(fabric.device)), graphs.to(fabric.device), band.valid[own].to(fabric.device))
                first += len(images)


def patches_seen(valid: Tensor, patch: int) -> Tensor:
    """bool [B, L], whether a patch has any imagery, of valid [B, H, W]."""
    return torch.nn.functional.max_pool2d(valid[:, None].float(), patch).flatten(1) > 0
