"""What comes before the first tile: the OSM objects on disk, their values encoded once, and the work described for whoever does it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyproj import CRS
from tqdm import tqdm

from datasets.prepare.grid import TileGrid
from datasets.prepare.job import Job, TileRules, describe_job, open_job, spool_folder
from datasets.prepare.objects import Census, no_overlap_message, read_objects
from datasets.prepare.raster import Mosaic
from datasets.prepare.spool import Spool, write_spool
from datasets.prepare.tags import LayerTable
from datasets.prepare.text import TextEncoder
from utils.errors import PrepareError
from utils.files import replacing


@dataclass(frozen=True)
class Objects:
    """Where OSM objects come from, and what is made of their tags.

    Attributes:
        osm: a vector file or a folder of them (see `objects.read_objects`); None: there are no objects.
        without: what to do where none lies on the raster, the end of a message's last sentence; None: that is no fault.
    """

    osm: str | None
    layers: LayerTable
    encoder: TextEncoder
    without: str | None


def build_job(folder: Path, rules: TileRules, grid: TileGrid, mosaic: Mosaic, objects: Objects, sources: dict,
              say: Callable[[Sequence[str]], None], progress: bool) -> Job:
    """Read the objects and encode their values, unless a stopped run did, and describe the work.

    Args:
        folder: of the work.
        sources: as of `job.describe_job`.
        say: is given notes for the user.
        progress: show a progress bar.

    Raises:
        PrepareError: the objects cannot be read, or none lies on the raster.
    """
    spool = spool_folder(folder)
    if not Spool.finished(spool):
        _read_objects(spool, grid, mosaic, objects, progress)
    if not (folder / "job.json").exists():
        vectors = objects.encoder.encode(Spool(spool).labels.values)
        say(objects.encoder.notes)
        with replacing(folder / "text.json") as part:
            part.write_text(json.dumps(objects.encoder.describe(), ensure_ascii=False), encoding="utf-8")
        describe_job(folder, rules, grid, mosaic, np.asarray(vectors), sources)
    return open_job(str(folder.resolve()))


def _read_objects(spool: Path, grid: TileGrid, mosaic: Mosaic, objects: Objects, progress: bool) -> None:
    spool.mkdir(parents=True, exist_ok=True)
    crs, census = CRS.from_wkt(mosaic.crs.to_wkt()), Census()
    with tqdm(unit=" features", desc="OSM", leave=False, mininterval=0, disable=not progress or objects.osm is None) as bar:
        chunks = [] if objects.osm is None else read_objects(
            objects.osm, crs, mosaic.bounds, objects.layers, census, bar.update, scratch=spool)
        write_spool(spool, chunks, census, objects.layers.names, grid)
    if objects.osm is not None and objects.without is not None and not len(Spool(spool)):
        raise PrepareError(no_overlap_message(objects.osm, census, crs, mosaic.bounds, objects.without))
