"""A scene as tiles: the imagery and the OSM objects of a whole raster, row of tiles by row of
tiles, cut when they are asked for."""

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
    """Neighbouring tiles of one row, those without any imagery left out.

    Attributes:
        row: of the grid.
        cols: of the grid, of the n tiles.
        images: [n, 3, t, t] uint8, 0 where there is no imagery.
        graphs: n graphs as a TileDataset has them; without nodes where there is no object.
        valid: [n, t, t] bool, where there is imagery.
        tiles: number of tiles in the band, those left out too.
    """

    row: int
    cols: list[int]
    images: Tensor
    graphs: list[Data]
    valid: Tensor
    tiles: int


class SceneTiles(Dataset):
    """The tiles of a scene, `scene[number] -> SceneBand`: bands row by row from the top left.

    Args:
        folder: a job that `staging.build_job` has described; each process opens it for itself.

    Raises:
        PrepareError: reading a band raises it where a source is damaged there.
    """

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
        found = [cut for cut in band_imagery(job, band, np.ones(count, bool)) if cut[2].any()]
        if not found:
            empty = torch.empty(0, 3, side, side, dtype=torch.uint8)
            return SceneBand(band.row, [], empty, [], torch.empty(0, side, side, dtype=torch.bool),
                             count)
        graphs = band_graphs(job, band)
        places, images, valid = zip(*found, strict=True)
        tiles = [Tile(name=job.name(band, place), image=np.moveaxis(image, -1, 0),
                      **graphs.of(place, job.spool.labels.text))
                 for place, image in zip(places, images, strict=True)]
        return SceneBand(
            band.row, [band.first + place for place in places],
            torch.from_numpy(np.stack([tile.image for tile in tiles])),
            [tile.graph(job.text) for tile in tiles], torch.from_numpy(np.stack(valid)), count,
        )

    @property
    def transform(self) -> Affine:
        """Of the raster, as in rasterio."""
        return self.job.mosaic.transform

    @property
    def crs(self) -> str:
        """Of the raster, as WKT."""
        return self.job.crs

    @property
    def width(self) -> int:
        """Of the raster, in pixels."""
        return self.grid.width

    @property
    def height(self) -> int:
        """Of the raster, in pixels."""
        return self.grid.height

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """minx, miny, maxx, maxy of the raster."""
        return self.job.mosaic.bounds

    def pixel_area(self, top: int, rows: int) -> float:
        """True area in square metres of a pixel in the middle of some rows of pixels: it changes
        with the latitude in most CRS."""
        mosaic = self.job.mosaic
        across, down = metres_per_pixel(mosaic.crs, mosaic.transform @ Affine.translation(0, top),
                                        self.width, rows)
        return across * down
