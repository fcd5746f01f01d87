"""A scene as tiles: imagery and OSM objects of a whole raster, cut row by row when requested."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from affine import Affine
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Data

from datasets.prepare.bands import band_graphs, band_imagery
from datasets.prepare.grid import TileGrid
from datasets.prepare.imagery.placement import metres_per_pixel
from datasets.prepare.job import Job, open_job
from datasets.stores.tile import Tile


class SceneBand(NamedTuple):
    """Neighbouring tiles of one row, those without any imagery left out."""

    row: int            # of the grid
    cols: list[int]     # the n tiles' columns in the grid
    images: Tensor      # [n, 3, t, t] uint8, 0 where there is no imagery
    graphs: list[Data]  # n graphs like a TileDataset's; a tile without objects has no nodes
    valid: Tensor       # [n, t, t] bool, where there is imagery
    tiles: int          # number of tiles in the band, those left out included


class SceneTiles(Dataset):
    """The tiles of a scene, `scene[number] -> SceneBand`: bands row by row from the top left.

    `folder` holds a job described by `staging.build_job`, which each process opens for itself.
    Raise PrepareError when reading a band, if a source is damaged there."""

    def __init__(self, folder: str | Path):
        self.folder = str(Path(folder).resolve())

    @property
    def job(self) -> Job:
        return open_job(self.folder)

    @property
    def grid(self) -> TileGrid:
        return self.job.grid

    def __len__(self) -> int:
        return self.grid.bands

    def __getitem__(self, number: int) -> SceneBand:
        job = self.job
        band, side = job.grid.band(number), job.grid.tile_px
        count = band.last - band.first
        cuts = [cut for cut in band_imagery(job, band, np.ones(count, bool)) if cut[2].any()]
        if not cuts:
            empty = torch.empty(0, 3, side, side, dtype=torch.uint8)
            return SceneBand(band.row, [], empty, [], empty[:, 0].bool(), count)
        graphs = band_graphs(job, band)
        numbers, images, valid = zip(*cuts, strict=True)
        tiles = [Tile(name=job.name(band, number), image=np.moveaxis(image, -1, 0),
                      **graphs.of(number))
                 for number, image in zip(numbers, images, strict=True)]
        return SceneBand(
            band.row, [band.first + number for number in numbers],
            torch.from_numpy(np.stack([tile.image for tile in tiles])),
            [tile.graph(job.text) for tile in tiles], torch.from_numpy(np.stack(valid)), count,
        )

    @property
    def transform(self) -> Affine:
        """The raster's transform, as in rasterio."""
        return self.job.mosaic.transform

    @property
    def crs(self) -> str:
        """The raster's CRS, as WKT."""
        return self.job.crs

    @property
    def width(self) -> int:
        """The raster's width in pixels."""
        return self.grid.width

    @property
    def height(self) -> int:
        """The raster's height in pixels."""
        return self.grid.height

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """minx, miny, maxx, maxy of the raster."""
        return self.job.mosaic.bounds

    def pixel_area(self, top: int, rows: int) -> float:
        """Return the true area in square metres of a pixel in the middle of some rows of pixels.
        It changes with latitude in most CRSs."""
        mosaic = self.job.mosaic
        across, down = metres_per_pixel(mosaic.crs, mosaic.transform @ Affine.translation(0, top),
                                        self.width, rows)
        return across * down
