"""One band of tiles: clip OSM objects, build graphs, read imagery and targets, write a part."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.windows import Window

from datasets.prepare.graph import tile_graphs
from datasets.prepare.grid import Band
from datasets.prepare.job import Job, made_folder, open_job
from datasets.prepare.osm.objects import polygonal_part
from datasets.prepare.outlines import outline_cells
from datasets.prepare.targets.zonal import Zonal
from datasets.stores.compact import write_part
from datasets.stores.cover import Cover
from datasets.stores.release import write_release_tile
from datasets.stores.tile import Tile
from utils.contents import Either, Fields, Items, Null, Number, Table, Whole, read_json
from utils.errors import PrepareError
from utils.files import digest_of, replacing
from utils.remedies import removal

EMPTY, BLANK = "tiles without OSM object", "tiles with too little imagery"
FLAT_CLIPS = "clips without area (touching a tile's edge)"
_BYTES, _DIGEST = "bytes", "sha256"  # in a band's report: of its part, and of the rest
WHOLE = 0.99    # least fraction of a tile that counts as covered by a source
_RULES = {int: Whole(least=0), list[int]: Items(Whole(least=0)), Counter: Table(Number())}
CUT_FIRST = 64  # least vertices of an object that is cut to its band before it is cut to tiles


@dataclass
class BandReport:
    """Counts of a band."""

    tiles: int = 0                                     # written, as are nodes and edges
    nodes: int = 0
    edges: int = 0
    made: list[int] = field(default_factory=list)      # written tiles, row by row from the top left
    skipped: Counter = field(default_factory=Counter)  # tiles not written, by reason
    dropped: Counter = field(default_factory=Counter)  # clips left out, by reason
    totals: Counter = field(default_factory=Counter)   # sums over written tiles, by target
    partly: Counter = field(default_factory=Counter)   # tiles covered in part, by target
    without: Counter = field(default_factory=Counter)  # tiles without any value, by target

    def add(self, other: "BandReport") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @classmethod
    def read(cls, path: Path) -> "BandReport":
        """Read what `make_band` wrote; raise PrepareError if it is damaged."""
        values = _read_report(path)
        return cls(**{item.name: item.type(values[item.name]) for item in fields(cls)})


@dataclass(frozen=True)
class BandGraphs:
    """The graphs of a band's tiles."""

    clips: "_Clips"          # the nodes' geometries
    columns: np.ndarray      # [n, 12] float32, the nodes' geometry columns
    edges: np.ndarray        # [2, e] between rows of `columns`
    codes: np.ndarray        # [e]
    edge_starts: np.ndarray  # [tiles + 1] where each tile's edges begin
    cover: Cover             # of rows of `columns`

    def of(self, number: int) -> dict[str, np.ndarray | Cover | None]:
        """Return the graph's fields of the band's tile `number`."""
        nodes = slice(*self.clips.starts[number:number + 2])
        links = slice(*self.edge_starts[number:number + 2])
        newness = self.clips.newness
        return {"geometry": self.columns[nodes], "text": self.clips.text[nodes],
                "newness": None if newness is None else newness[nodes],
                "label": self.clips.code[nodes],
                "edges": self.edges[:, links] - nodes.start, "codes": self.codes[links],
                "cover": self.cover.of_nodes(nodes.start, nodes.stop)}


@dataclass(frozen=True)
class _Clips:
    """Objects clipped to the tiles of a band, tile by tile."""

    geometry: np.ndarray  # [n]
    code: np.ndarray      # [n] label codes
    text: np.ndarray      # [n] rows of the text table
    tile: np.ndarray      # [n]
    starts: np.ndarray    # [tiles + 1] where each tile's clips begin
    flat: int             # clips left out for want of area
    newness: np.ndarray | None = None  # [n] as `Tile.newness`


def is_made(job: Job, number: int) -> bool:
    """Return whether a band is finished; forget it where its files are not as they were
    written."""
    report = job.report(number)
    if not report.exists():
        return False
    try:
        if _read_report(report).get(_BYTES) in (None, _size(job.part(number))):
            return True
    except PrepareError:
        pass
    report.unlink()
    return False


def _read_report(path: Path) -> dict[str, Any]:
    rules = {item.name: _RULES[item.type] for item in fields(BandReport)}
    report = read_json(path, Fields(rules, {_BYTES: Either([Whole(), Null()])}), removal(path),
                       PrepareError)
    digest = report.pop(_DIGEST, None)  # an earlier version wrote none
    if digest not in (None, digest_of(report)):
        raise PrepareError(f"{path}: is not as it was written, expected the counts of a band; "
                           f"{removal(path)}")
    return report


def _size(part: Path) -> int | None:
    return part.stat().st_size if part.is_file() else None


def make_band(folder: str, number: int) -> int:
    """Make band `number` of the job in `folder`, unless its report exists; return the number.
    Raise PrepareError if a source cannot be read there."""
    job = open_job(folder)
    if not job.report(number).exists():
        band = job.grid.band(number)
        report = BandReport()
        tiles = _make_tiles(job, band, report)
        if job.rules.layout == "compact":
            write_part(job.part(number), tiles)
        else:
            for tile in tiles:
                write_release_tile(made_folder(job.folder), tile, job.text)
        described = {**vars(report), _BYTES: _size(job.part(number))}
        described[_DIGEST] = digest_of(described)
        with replacing(job.report(number)) as temporary:
            temporary.write_text(json.dumps(described), encoding="utf-8")
    return number


def _make_tiles(job: Job, band: Band, report: BandReport) -> list[Tile]:
    graphs = band_graphs(job, band)
    clips, bounds = graphs.clips, job.grid.bounds(band.row, np.arange(band.first, band.last))
    report.dropped[FLAT_CLIPS] += clips.flat
    kept = np.ones(len(bounds), bool) if job.rules.keep_empty else np.diff(clips.starts) > 0
    report.skipped[EMPTY] += int((~kept).sum())
    images = _images(job, band, kept, report)
    totals = {kind: _totals(source, kind, bounds[list(images)], job.crs, report)
              for kind, source in job.totals.items()} if images else {}
    tiles = []
    for index, (number, image) in enumerate(images.items()):
        land_use = None
        if job.land_use:
            land_use = job.land_use.tile(tuple(bounds[number]), job.crs, job.grid.tile_px)
        tiles.append(Tile(
            name=job.name(band, number), image=image, land_use=land_use,
            **graphs.of(number),
            totals={kind: float(values[index]) for kind, values in totals.items()
                    if not np.isnan(values[index])},
        ))
    report.made += [band.row * job.grid.columns + band.first + number for number in images]
    _count(report, tiles, job)
    return tiles


def band_graphs(job: Job, band: Band) -> BandGraphs:
    """Return the graphs of a band's tiles."""
    bounds = job.grid.bounds(band.row, np.arange(band.first, band.last))  # [tiles, 4]
    clips = _clip(job, band, bounds)
    columns, edges, codes = tile_graphs(clips.geometry, clips.tile, bounds, job.grid.tile_px,
                                        job.rules.recipe)
    edge_starts = np.searchsorted(clips.tile[edges[0]], np.arange(len(bounds) + 1))
    cover = outline_cells(clips.geometry, bounds[clips.tile])
    return BandGraphs(clips, columns, edges, codes, edge_starts, cover)


def band_imagery(job: Job, band: Band,
                 kept: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield number, RGB [side, side, 3] uint8 and valid [side, side] bool of the tiles that `kept`
    [tiles] marks, read at once."""
    numbers = np.flatnonzero(kept)
    if not len(numbers):
        return
    side, lefts = job.grid.tile_px, job.grid.lefts[band.first + numbers]
    offsets = (lefts - lefts[0]).tolist()
    window = Window(int(lefts[0]), int(job.grid.tops[band.row]), offsets[-1] + side, side)
    rgb, valid = job.mosaic.read(window)
    for number, offset in zip(numbers.tolist(), offsets, strict=True):
        yield number, rgb[:, offset:offset + side], valid[:, offset:offset + side]


def _totals(source: Zonal, kind: str, bounds: np.ndarray, crs: str,
            report: BandReport) -> np.ndarray:
    """Return the totals of tiles [m], nan without a value; count the tiles covered in part."""
    totals, cover = source.totals_and_cover(bounds, crs)
    report.partly[kind] += int(((cover > 0) & (cover < WHOLE)).sum())
    return totals


def _count(report: BandReport, tiles: list[Tile], job: Job) -> None:
    report.tiles += len(tiles)
    for tile in tiles:
        report.nodes += len(tile.label)
        report.edges += tile.edges.shape[1]
        report.totals.update(tile.totals)
        report.without.update(kind for kind in job.totals if kind not in tile.totals)


def _clip(job: Job, band: Band, bounds: np.ndarray) -> _Clips:
    """Return the band's objects cut to its tiles, ordered by tile, layer, and as in the source."""
    box = bounds[0, 0], bounds[0, 1], bounds[-1, 2], bounds[-1, 3]
    geometry, code, text, newness = job.spool.of_row(band.row, box[0], box[2])
    large = shapely.get_num_coordinates(geometry) >= CUT_FIRST
    geometry[large] = _cut(geometry[large], np.array(box))
    boxes = shapely.box(*bounds.T)
    tile, member = shapely.STRtree(geometry).query(boxes)
    order = np.lexsort((member, tile))
    tile, member = tile[order], member[order]
    clips = _cut(geometry[member], bounds[tile])
    solid = shapely.area(clips) > 0
    # of the others, some only share their boxes with the tile
    flat = shapely.intersects(geometry[member[~solid]], boxes[tile[~solid]])
    tile, clips, member = tile[solid], clips[solid], member[solid]
    starts = np.searchsorted(tile, np.arange(len(bounds) + 1))
    return _Clips(clips, code[member], text[member], tile, starts, int(flat.sum()),
                  None if newness is None else newness[member])


def _cut(geometry: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Cut polygons to boxes, and drop lines and points: [n] and [n, 4] or [4] -> [n]. Polygons
    inside their box stay unchanged."""
    own, cut = shapely.bounds(geometry), geometry.copy()
    bounds = np.broadcast_to(bounds, own.shape)
    crossing = ~((own[:, :2] >= bounds[:, :2]) & (own[:, 2:] <= bounds[:, 2:])).all(axis=1)
    boxes = shapely.box(*bounds[crossing].T)
    cut[crossing] = polygonal_part(shapely.intersection(geometry[crossing], boxes))
    return cut


def _images(job: Job, band: Band, kept: np.ndarray, report: BandReport) -> dict[int, np.ndarray]:
    """Return kept tiles' images [3, side, side] with enough imagery, by number, ascending."""
    images = {}
    for number, rgb, valid in band_imagery(job, band, kept):
        if 1 - valid.mean() > job.rules.max_nodata:
            report.skipped[BLANK] += 1
        else:
            images[number] = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    return images
