"""What comes before the first tile: the OSM objects on disk, their values encoded once, and the
work described for whoever does it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from pyproj import CRS
from tqdm import tqdm

from datasets.prepare.geo.crs import uncut, utm_zone
from datasets.prepare.grid import TileGrid
from datasets.prepare.imagery.mosaic import Mosaic
from datasets.prepare.job import Job, TileRules, describe_job, open_job, spool_folder
from datasets.prepare.osm.objects import Census, OsmObjects, no_overlap_message, read_objects
from datasets.prepare.osm.spool import Spool, write_spool
from datasets.prepare.osm.tags import LayerTable
from datasets.prepare.text.registry import TextEncoder
from utils.errors import PrepareError
from utils.files import replacing

_HALF_TURN = 180  # degrees


@dataclass(frozen=True)
class Objects:
    """Where OSM objects come from, and what is made of their tags.

    Attributes:
        osm: a vector file or a folder of them (see `objects.read_objects`); None: there are no
            objects.
        without: what to do where none lies on the raster, the end of a message's last sentence;
            None: that is no fault.
    """

    osm: str | None
    layers: LayerTable
    encoder: TextEncoder
    without: str | None


def build_job(folder: Path, rules: TileRules, grid: TileGrid, mosaic: Mosaic, objects: Objects,
              sources: dict,
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
            part.write_text(json.dumps(objects.encoder.describe(), ensure_ascii=False),
                            encoding="utf-8")
        describe_job(folder, rules, grid, mosaic, np.asarray(vectors), sources)
    return open_job(str(folder.resolve()))


def _read_objects(spool: Path, grid: TileGrid, mosaic: Mosaic, objects: Objects,
                  progress: bool) -> None:
    spool.mkdir(parents=True, exist_ok=True)
    crs, census = _crs_of_objects(mosaic) if objects.osm is not None else None, Census()
    with tqdm(unit=" features", desc="OSM", leave=False, mininterval=0,
              disable=not progress or objects.osm is None) as bar:
        chunks = [] if objects.osm is None else read_objects(
            objects.osm, crs, mosaic.bounds, objects.layers, census, bar.update, scratch=spool)
        write_spool(spool, _without_wraps(chunks) if crs is not None and crs.is_geographic
                    else chunks, census, objects.layers.names, grid)
    if objects.osm is not None and objects.without is not None and not len(Spool(spool)):
        raise PrepareError(no_overlap_message(objects.osm, census, crs, mosaic.bounds,
                                              objects.without))


def _without_wraps(chunks: Iterable[OsmObjects]) -> Iterator[OsmObjects]:
    """Objects in degrees but for those that lie across the CRS's cut, on the far side of the
    Earth, and seem to go around it."""
    for chunk in chunks:
        west, _, east, _ = shapely.bounds(chunk.geometry).T
        kept = east - west < _HALF_TURN
        yield OsmObjects(chunk.layer[kept], chunk.value[kept], chunk.geometry[kept])


def _crs_of_objects(mosaic: Mosaic) -> CRS:
    """The raster's CRS, but for a cut at the antimeridian: a raster in degrees may go on beyond
    180, and objects begin anew at -180 there.

    Raises:
        PrepareError: the raster goes on beyond the end of a projected CRS.
    """
    crs = CRS.from_wkt(mosaic.crs.to_wkt())
    found = uncut(mosaic.bounds, crs)
    if found is None:
        west, south, east, north = mosaic.bounds
        zone = utm_zone((west + east) / 2, (south + north) / 2, crs)
        raise PrepareError(f"{mosaic.files[0]}: x from {west:.10g} to {east:.10g} goes beyond the "
                           f"end of {crs.name}, which has no place for OSM objects there. Warp "
                           f"the imagery to a CRS that goes on: `gdalwarp -t_srs {zone} "
                           f"{mosaic.files[0]} warped.tif`.")
    return found
