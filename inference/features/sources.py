"""The tiles whose features are extracted, of a dataset or a scene, in parts of whole batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import Dataset, Subset
from torch_geometric.data import Batch

from datasets import TileDataset, collate
from datasets.remote.urls import short_url, without_secrets
from datasets.sample_city.tiles import ensure_sample
from inference.features.areas import Area, areas_of
from inference.features.encode import REPRESENTATIONS, Selection
from inference.keys import ExtractConfig
from inference.predict import loaded_bands
from inference.scene import (
    BY_BATCH,
    Scene,
    check_lone_keys,
    depends_on_batch,
    open_scene,
    scene_name,
)
from models.network_file import NetworkFile
from models.rose import Rose
from training.compatibility import (
    check_modalities,
    check_node_width,
    check_tiles_text,
    node_width,
)
from training.loader import device_loader
from utils.errors import ConfigError
from utils.files import digest_of, states
from utils.progress import say_if_slow

PART_TILES = 64


class Chunk(NamedTuple):
    """A batch of B tiles on the device."""

    part: int             # that they belong to
    cells: np.ndarray     # int32 [B, 3], area, column and row on the area's grid
    images: Tensor        # [B, 3, H, W], normalised for the network
    graphs: Batch         # of B tiles, with their names
    valid: Tensor | None  # bool [B, H, W], where there is imagery; None: everywhere


class DatasetSource:
    """The tiles of a dataset, city by city and row by row.

    `notes` are what the user should know, `identity` is what distinguishes these tiles from
    others, `areas` are the cities; `parts` and `tiles` are counts.
    """

    def __init__(self, dataset: TileDataset, batch_size: int, by_batch: bool):
        self.dataset, self.batch_size = dataset, batch_size
        self.name, self.tiles = str(dataset.root), len(dataset)
        self.areas, cells = areas_of(dataset)
        self.notes = [f"it is not known where {area.name} lies: its outlines and patches are in "
                      "tiles, counted from the city's first, without a CRS"
                      for area in self.areas if area.crs is None] + [BY_BATCH] * by_batch
        order = np.lexsort((cells[:, 1], cells[:, 2], cells[:, 0]))
        self.cells = cells[order].astype(np.int32)
        self._pixels = _Pixels(dataset, order.tolist())
        self._tiles_of_part = max(1, PART_TILES // batch_size) * batch_size
        self.parts = -(-self.tiles // self._tiles_of_part)
        files = [dataset.names, dataset.meta, states(dataset.store.files())]
        self.identity = {"data_root": str(dataset.root.resolve()), "batch_size": batch_size,
                         "tiles_sha256": digest_of(files)}

    def prepare(self, folder: Path) -> None:
        """Nothing comes before the first tile."""

    def tiles_of(self, parts: Sequence[int]) -> int:
        """Return the number of tiles in some parts."""
        return sum(len(self._rows(part)) for part in parts)

    def chunks(self, parts: Sequence[int], rose: Rose, fabric: Fabric,
               num_workers: int) -> Iterator[Chunk]:
        """Yield the tiles of some parts, given in ascending order, batch by batch, normalised for
        `rose`."""
        rows = [row for part in parts for row in self._rows(part)]
        loader = device_loader(fabric, Subset(self._pixels, rows), self.batch_size, collate,
                               num_workers, rose.normalise)
        first = 0
        for images, graphs in loader:
            own = rows[first:first + len(images)]
            yield Chunk(own[0] // self._tiles_of_part, self.cells[own], images, graphs, None)
            first += len(images)

    def _rows(self, part: int) -> range:
        """Return the rows of `cells` that are in a part."""
        size = self._tiles_of_part
        return range(part * size, min((part + 1) * size, self.tiles))


class _Pixels(Dataset):
    """Tiles of a dataset as they are stored, in another order."""

    def __init__(self, dataset: TileDataset, order: list[int]):
        self.dataset, self.order = dataset, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, row: int) -> tuple:
        return self.dataset.read(self.order[row])


class SceneSource:
    """The tiles of a scene, with the attributes of a DatasetSource; a part is a band."""

    def __init__(self, scene: Scene, raster: str, batch_size: int):
        self.scene, self.batch_size = scene, batch_size
        self.name, self.notes = without_secrets(raster), scene.notes
        self.identity = scene.identity(batch_size)
        grid, mosaic = scene.grid, scene.mosaic
        self.areas = [Area(Path(scene_name(raster)).stem, mosaic.crs.to_string(),
                           mosaic.transform, grid.width, grid.height, grid.columns, grid.rows,
                           (0, 0), grid.tile_px, grid.stride, tuple(mosaic.metres_per_pixel))]
        self.parts, self.tiles = grid.bands, grid.tiles

    def prepare(self, folder: Path) -> None:
        """Read the OSM objects into `folder`, unless a stopped run did."""
        self._tiles = self.scene.tiles(folder)

    def tiles_of(self, parts: Sequence[int]) -> int:
        """Return the number of tiles in some parts, those without imagery included."""
        bands = map(self.scene.grid.band, parts)
        return sum(band.last - band.first for band in bands)

    def chunks(self, parts: Sequence[int], rose: Rose, fabric: Fabric,
               num_workers: int) -> Iterator[Chunk]:
        """Yield the tiles of some parts that have imagery, batch by batch, normalised for
        `rose`."""
        bands = loaded_bands(self._tiles, parts, self.batch_size, num_workers, fabric)
        for part, (band, batches) in zip(parts, bands, strict=True):
            first = 0
            for images, graphs in batches:
                own = slice(first, first + len(images))
                cells = np.array([[0, column, band.row] for column in band.cols[own]], np.int32)
                yield Chunk(part, cells, rose.normalise(images.to(fabric.device)),
                            graphs.to(fabric.device), band.valid[own].to(fabric.device))
                first += len(images)


def selection_of(cfg: ExtractConfig) -> Selection:
    """Return what is made of each tile; raise ConfigError if that is nothing, or unknown, or there
    is not one source that has it."""
    names = cfg.representations
    if names is None:
        objects = cfg.raster is None or cfg.osm is not None
        names = [name for name in REPRESENTATIONS if name != "osm" or objects]
    if not names or len(set(names)) != len(names) or not set(names) <= set(REPRESENTATIONS):
        raise ConfigError(f"representations=[{','.join(names)}]: expected one or more of "
                          f"{', '.join(REPRESENTATIONS)}, each once")
    if not cfg.tiles and not cfg.patches:
        raise ConfigError("tiles=false patches=false: nothing is left to be made; leave one of "
                          "them out")
    ordered = tuple(name for name in REPRESENTATIONS if name in names)
    _check_sources(cfg, ordered)
    return Selection(ordered, cfg.fusion, cfg.tiles, cfg.patches)


def _check_sources(cfg: ExtractConfig, representations: Sequence[str]) -> None:
    """Raise ConfigError unless there is one source, which has what is selected."""
    if cfg.data_root is None and cfg.raster is None:
        raise ConfigError("data_root= and raster=: neither is given; pass data_root= for a tile "
                          "dataset, raster= and osm= for a scene, or experiment=sample for the "
                          "sample city")
    if cfg.data_root is not None and cfg.raster is not None:
        raise ConfigError(f"data_root={cfg.data_root} and raster={short_url(cfg.raster)}: one of "
                          "them is enough; leave the other out")
    if cfg.raster is None and cfg.osm is not None:
        raise ConfigError(f"osm={cfg.osm}: a dataset has its own objects; leave it out, or pass "
                          "raster= instead of data_root=")
    check_lone_keys(cfg)
    if cfg.raster is not None and cfg.osm is None and "osm" in representations:
        raise ConfigError(f"representations=[{','.join(representations)}]: osm needs "
                          f"objects, and raster={short_url(cfg.raster)} comes without; pass osm=, "
                          "or leave osm out of representations")
    if cfg.raster is not None and cfg.cities:
        raise ConfigError(f"cities=[{','.join(cfg.cities)}]: a scene has none; leave it out, or "
                          "pass data_root= instead of raster=")


@contextmanager
def open_source(cfg: ExtractConfig, network: NetworkFile, rose: Rose, selection: Selection,
                fabric: Fabric) -> Iterator[DatasetSource | SceneSource]:
    """Open the tiles that `cfg` names; raise RoseError if the network cannot use them."""
    if cfg.raster is None:
        yield _open_dataset(cfg, network, rose, selection, fabric)
        return
    with open_scene(cfg, cfg.raster, network, rose, selection.reads_osm, cfg.image_size,
                    cfg.image_size, "exceed") as scene:
        yield SceneSource(scene, cfg.raster, cfg.batch_size)


def _open_dataset(cfg: ExtractConfig, network: NetworkFile, rose: Rose, selection: Selection,
                  fabric: Fabric) -> DatasetSource:
    ensure_sample(fabric, cfg.data_root, cfg.sample_tiles)
    with say_if_slow(f"opening {cfg.data_root}"):
        tiles = TileDataset(cfg.data_root, cfg.cities, cfg.image_size, rose.osm_encoder.in_dim + 1)
        given = "rs" if "image" in tiles.modalities else "osm"
        check_modalities(tiles, selection.reads,
                         f"representations=[{','.join(selection.representations)}]",
                         f"pass representations=[{given}]")
        if selection.reads_osm:
            check_node_width(network.path, tiles.node_width, tiles)
            check_tiles_text(network, tiles)
        else:
            tiles.node_width = node_width(tiles)  # the objects do not reach the network
        tiles.store.image(0, cfg.image_size)  # an image of another size is an error here
        return DatasetSource(tiles, cfg.batch_size, depends_on_batch(rose, selection.reads_osm))
