"""Where the tiles come from whose features are extracted: a dataset. Batches never cross the parts
that are written of them."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import Dataset, Subset
from torch_geometric.data import Batch

from datasets import TileDataset, collate, normalise
from datasets.prepare.scene_tiles import SceneTiles
from datasets.sample_city.tiles import ensure_sample
from inference.features.areas import Area, areas_of
from inference.features.encode import REPRESENTATIONS, Wanted
from inference.keys import ExtractConfig
from inference.predict import band_loader
from inference.scene import BY_BATCH, Reader, identity_of, open_scene, scene_name
from models.network_file import NetworkFile
from models.rose import Rose
from training.compatibility import check_node_width, check_tiles_text, node_width
from training.loader import device_loader
from utils.errors import ConfigError
from utils.files import states

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
        # parts are made of whole batches
        return {"data_root": str(self.dataset.root.resolve()), "batch_size": self.batch_size,
                "tiles_sha256": hashlib.sha256(json.dumps(said,
                                                          sort_keys=True).encode()).hexdigest()}

    def tiles_of(self, parts: Sequence[int]) -> int:
        """Number of tiles in some parts."""
        return sum(len(self._places(part)) for part in parts)

    def chunks(self, parts: Sequence[int], fabric: Fabric, num_workers: int) -> Iterator[Chunk]:
        """The tiles of some parts, given in ascending order, batch by batch."""
        places = [place for part in parts for place in self._places(part)]
        loader = device_loader(fabric, Subset(self._pixels, places), self.batch_size, collate,
                               num_workers)
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
        self.areas = [Area(name, mosaic.crs.to_string(), scene.transform, scene.width,
                           scene.height, grid.columns, grid.rows, (0, 0),
                           grid.tile_px, grid.stride, tuple(mosaic.metres_per_pixel))]
        self.parts, self.tiles = len(scene), grid.tiles

    def tiles_of(self, parts: Sequence[int]) -> int:
        """Number of tiles in some parts, those without imagery too."""
        bands = map(self.scene.grid.band, parts)
        return sum(band.last - band.first for band in bands)

    def chunks(self, parts: Sequence[int], fabric: Fabric, num_workers: int) -> Iterator[Chunk]:
        """The tiles of some parts that have imagery, batch by batch."""
        for part, (band, batches) in zip(parts, band_loader(self.scene, parts, self.batch_size,
                                                            num_workers, fabric), strict=True):
            first = 0
            for images, graphs in batches:
                own = slice(first, first + len(images))
                place = np.array([[0, column, band.row] for column in band.cols[own]], np.int32)
                yield Chunk(part, place, normalise(images.to(fabric.device)),
                            graphs.to(fabric.device), band.valid[own].to(fabric.device))
                first += len(images)


def patches_seen(valid: Tensor, patch: int) -> Tensor:
    """bool [B, L], whether a patch has any imagery, of valid [B, H, W]."""
    return torch.nn.functional.max_pool2d(valid[:, None].float(), patch).flatten(1) > 0


@dataclass(frozen=True)
class Ready:
    """Tiles whose features can be extracted.

    Attributes:
        name: of where they come from.
        identity: what tells them from others.
        notes: what the user should know.
        prepare: does in a folder what must come before the first tile, unless it is done, and
            gives the tiles.
    """

    name: str
    identity: dict[str, Any]
    notes: list[str]
    prepare: Callable[[Path], DatasetSource | SceneSource]


def wanted_of(cfg: ExtractConfig) -> Wanted:
    """What is made of each tile; raises ConfigError where nothing is, or it is not known how."""
    asked = cfg.representations
    if asked is None:
        asked = [name for name in REPRESENTATIONS if name != "osm" or cfg.raster is None
                 or cfg.osm is not None]
    if not asked or len(set(asked)) != len(asked) or not set(asked) <= set(REPRESENTATIONS):
        raise ConfigError(f"representations=[{','.join(asked)}]: expected one or more of "
                          f"{', '.join(REPRESENTATIONS)}, each once")
    if not cfg.tiles and not cfg.patches:
        raise ConfigError("tiles=false patches=false: nothing is left to be made; leave one of "
                          "them out")
    ordered = tuple(name for name in REPRESENTATIONS if name in asked)
    return Wanted(ordered, cfg.fusion, cfg.tiles, cfg.patches)


def check_sources(cfg: ExtractConfig, wanted: Wanted) -> None:
    """Raises ConfigError unless there is one source, with what is wanted of it."""
    if cfg.data_root is None and cfg.raster is None:
        raise ConfigError("data_root= and raster=: neither is given; pass data_root= for a tile "
                          "dataset, raster= and osm= for a scene, or experiment=sample for the "
                          "sample city")
    if cfg.data_root is not None and cfg.raster is not None:
        raise ConfigError(f"data_root={cfg.data_root} and raster={cfg.raster}: one of them is "
                          "enough; leave the other out")
    if cfg.raster is None and cfg.osm is not None:
        raise ConfigError(f"osm={cfg.osm}: a dataset has its own objects; leave it out, or pass "
                          "raster= instead of data_root=")
    if cfg.raster is not None and cfg.osm is None and "osm" in wanted.representations:
        raise ConfigError(f"representations=[{','.join(wanted.representations)}]: osm needs "
                          f"objects, and raster={cfg.raster} comes without; pass osm=, or leave "
                          "osm out of representations")
    if cfg.raster is not None and cfg.cities:
        raise ConfigError(f"cities=[{','.join(cfg.cities)}]: a scene has none; leave it out, or "
                          "pass data_root= instead of raster=")


@contextmanager
def open_source(cfg: ExtractConfig, rose: Rose, network: NetworkFile, wanted: Wanted,
                fabric: Fabric) -> Iterator[Ready]:
    """The tiles that `cfg` names.

    Raises:
        RoseError: they cannot be used, or the network cannot take them.
    """
    reader = Reader.of(rose, network, wanted.osm)
    if cfg.raster is None:
        yield _dataset(cfg, rose, network, reader, fabric)
        return
    with open_scene(cfg, cfg.raster, reader, cfg.image_size, cfg.image_size, "exceed") as opening:
        name = Path(scene_name(cfg.raster)).stem
        yield Ready(cfg.raster, identity_of(opening.files, reader, cfg.batch_size), opening.notes,
                    lambda folder: SceneSource(opening.prepare(folder), name, cfg.batch_size))


def _dataset(cfg: ExtractConfig, rose: Rose, network: NetworkFile, reader: Reader,
             fabric: Fabric) -> Ready:
    ensure_sample(fabric, cfg.data_root, cfg.sample_tiles)
    tiles = TileDataset(cfg.data_root, cfg.cities, cfg.image_size, rose.osm_encoder.in_dim + 1)
    if reader.takes_osm:
        check_node_width(network.path, tiles.node_width, tiles)
        check_tiles_text(network, tiles)
    else:
        tiles.node_width = node_width(tiles)  # the objects do not reach the network
    tiles.store.image(0, cfg.image_size)  # of another size it is an error now, in one line
    source = DatasetSource(tiles, cfg.batch_size)
    notes = [f"it is not known where {area.name} lies: its outlines and patches are in tiles, "
             "counted from the city's first, without a CRS"
             for area in source.areas if area.crs is None]
    if reader.by_batch:
        notes.append(BY_BATCH)
    return Ready(str(tiles.root), source.identity(), notes, lambda folder: source)
