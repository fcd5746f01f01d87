"""Steps before the first tile: spool the objects, encode their values once, describe the work."""

import json
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from pyproj import CRS
from tqdm import tqdm

from datasets.prepare.geo.crs import uncut, utm_zone
from datasets.prepare.grid import TileGrid
from datasets.prepare.imagery.bare import BareGround
from datasets.prepare.imagery.mosaic import Mosaic
from datasets.prepare.job import (
    Job,
    TileRules,
    describe_job,
    is_described,
    open_job,
    spool_folder,
)
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.objects import OsmObjects, no_overlap_message, read_objects
from datasets.prepare.osm.spool import Spool, write_spool
from datasets.prepare.osm.tags import LAYERS, LayerTable, listed
from datasets.prepare.targets.points import Points
from datasets.prepare.text.registry import TextEncoder
from utils.errors import PrepareError
from utils.files import is_sealed, replacing, seal

_SEAL = "seal.json"  # of the spool's files
_TEXTS = 4096        # encoded at a time


@dataclass(frozen=True)
class Objects:
    """The source of OSM objects, and how their tags are read."""

    osm: str | None      # as in `objects.read_objects`; None: no objects
    layers: LayerTable
    encoder: TextEncoder
    without: str | None  # the remedy if there are none, to end a sentence; None: no fault


def build_job(folder: Path, rules: TileRules, grid: TileGrid, mosaic: Mosaic | BareGround,
              objects: Objects, sources: dict, say: Callable[[Sequence[str]], None],
              progress: bool, points: dict[str, Points] | None = None) -> Job:
    """Read the objects and encode their values, unless a stopped run did, and describe the work.

    Args:
        folder: of the work.
        sources: as in `job.describe_job`.
        say: receives notes for the user.
        progress: show a progress bar, and name each step.
        points: as in `job.describe_job`.

    Raises:
        PrepareError: the objects cannot be read, or none lies on the raster.
    """
    spool = spool_folder(folder)
    if not is_sealed(spool / _SEAL):
        if Spool.finished(spool):
            say(["the OSM objects that a stopped run read are not whole, and are read again"])
        shutil.rmtree(spool, ignore_errors=True)
        (folder / "job.json").unlink(missing_ok=True)
        _read_objects(spool, grid, mosaic, objects, say, progress)
        say(_losses(objects.osm, Spool(spool).census))
        seal(spool / _SEAL, [path.name for path in spool.iterdir() if path.is_file()])
    if not is_described(folder):
        _encode(folder, Spool(spool).texts(), objects, progress)
        say(objects.encoder.notes)
        describe_job(folder, rules, grid, mosaic, sources, points or {})
    return open_job(str(folder.resolve()))


def announce(step: str, progress: bool) -> None:
    """Name the step that comes next, past any progress bar."""
    if progress:
        tqdm.write(step)


def _encode(folder: Path, texts: list[str], objects: Objects, progress: bool) -> None:
    """Write the vectors of texts to text.npy, a piece at a time, and how they were made to
    text.json."""
    encoder, how = objects.encoder, objects.layers.describe
    what = "tag values" if how == "value" else f"texts (text.describe={how})"
    announce(f"encoding {len(texts)} {what} with text={encoder.name}", progress and bool(texts))
    pieces = tqdm(range(0, len(texts), _TEXTS), unit_scale=_TEXTS, unit=" texts", leave=False,
                  desc="text", disable=not progress or len(texts) <= _TEXTS)
    with replacing(folder / "text.npy") as temporary, temporary.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(texts), encoder.width)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in pieces:
            vectors = encoder.encode(texts[start:start + _TEXTS])
            file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
    described = {**encoder.describe(), **({} if how == "value" else {"describe": how})}
    with replacing(folder / "text.json") as temporary:
        temporary.write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")


def _read_objects(spool: Path, grid: TileGrid, mosaic: Mosaic | BareGround, objects: Objects,
                  say: Callable[[Sequence[str]], None], progress: bool) -> None:
    spool.mkdir(parents=True, exist_ok=True)
    census = Census()
    if objects.osm is None:
        write_spool(spool, [], census, LAYERS, grid)
        return
    crs = _crs_of_objects(mosaic)
    with tqdm(unit=" features", desc="OSM", leave=False, mininterval=0,
              disable=not progress) as bar:
        chunks = read_objects(objects.osm, crs, mosaic.bounds, objects.layers, census, bar.update,
                              scratch=spool)
        if crs.is_geographic:
            chunks = _without_wraps(chunks, census)
        write_spool(spool, chunks, census, LAYERS, grid)
    say(census.notes)
    if objects.without is not None and not len(Spool(spool)):
        ground = "area" if isinstance(mosaic, BareGround) else "raster"
        raise PrepareError(no_overlap_message(objects.osm, census, crs, mosaic.bounds,
                                              objects.without, ground))


def _losses(osm: str | None, census: Census) -> list[str]:
    """Return a note on the features that cannot be built, if there are any."""
    if not census.lost and not census.partial:
        return []
    part = f", and {census.partial} ways only in part" if census.partial else ""
    return [f"{osm}: {census.lost.total()} of {census.read} features cannot be built: "
            f"{listed(census.lost)}{part}. {' '.join(census.advice)}".rstrip()]


def _without_wraps(chunks: Iterable[OsmObjects], census: Census) -> Iterator[OsmObjects]:
    """Yield objects in degrees, without those on the far side of the Earth that cross its cut,
    which `census` counts as outside."""
    for chunk in chunks:
        west, _, east, _ = shapely.bounds(chunk.geometry).T
        kept = east - west < 180
        census.withdraw(chunk.layer[~kept])
        elements = None if chunk.elements is None else chunk.elements[kept]
        yield OsmObjects(chunk.layer[kept], chunk.value[kept], chunk.text[kept],
                         chunk.geometry[kept], elements)


def _crs_of_objects(mosaic: Mosaic) -> CRS:
    """Return the raster's CRS without a cut at the antimeridian; a raster in degrees may reach
    beyond 180, where objects restart at -180. Raise PrepareError if it goes beyond a projection's
    end."""
    crs = CRS.from_wkt(mosaic.crs.to_wkt())
    whole = uncut(mosaic.bounds, crs)
    if whole is None:
        west, south, east, north = mosaic.bounds
        zone = utm_zone((west + east) / 2, (south + north) / 2, crs)
        raise PrepareError(f"{mosaic.files[0]}: x from {west:.10g} to {east:.10g} goes beyond the "
                           f"end of {crs.name}, which has no place for OSM objects there. Warp "
                           "the imagery to a CRS that continues: `rio warp "
                           f"{shlex.quote(str(mosaic.files[0]))} warped.tif --dst-crs {zone} "
                           "--resampling bilinear`, and pass raster=warped.tif.")
    return whole
