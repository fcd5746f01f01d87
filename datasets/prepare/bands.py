"""One band of tiles: clip the OSM objects, build the graphs, read the imagery and the targets,
write a part."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely
from rasterio.windows import Window

from datasets.prepare.graph import tile_graphs
from datasets.prepare.grid import Band
from datasets.prepare.job import Job, open_job
from datasets.prepare.osm.objects import polygonal_part
from datasets.prepare.targets.zonal import Zonal
from datasets.stores.compact import write_part
from datasets.stores.release import write_release_tile
from datasets.stores.tile import Tile
from utils.files import replacing

EMPTY, BLANK = "tiles without OSM object", "tiles with too little imagery"
FLAT_CLIPS = "clips without area (touching a tile's edge)"
WHOLE = 0.99    # share of a tile from which on a source covers it
CUT_FIRST = 64  # vertices from which on an object is cut to its band before it is cut to tiles


@dataclass
class BandReport:
    """Counts of what a band holds.

    Attributes:
        tiles, nodes, edges: written.
        skipped: tiles not written, by reason.
        dropped: clips left out, by reason.
        totals: sum of population and CO2 over the written tiles.
        partly: written tiles that a target's source covers only in part, by target.
        without: written tiles for which a target's source has no value, by target.
    """

    tiles: int = 0
    nodes: int = 0
    edges: int = 0
    skipped: Counter = field(default_factory=Counter)
    dropped: Counter = field(default_factory=Counter)
    totals: Counter = field(default_factory=Counter)
    partly: Counter = field(default_factory=Counter)
    without: Counter = field(default_factory=Counter)

    def add(self, other: "BandReport") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @classmethod
    def read(cls, path: Path) -> "BandReport":
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{name: Counter(value) if isinstance(value, dict) else value
                      for name, value in values.items()})


@dataclass(frozen=True)
class BandGraphs:
    """The graphs of a band's tiles.

    Attributes:
        clips: the nodes' geometries.
        columns: [n, 12] float32, the nodes' geometry columns.
        edges, codes: [2, e] between places in `columns`, and [e].
        edge_starts: [tiles + 1] where each tile's edges begin.
    """

    clips: "_Clips"
    columns: np.ndarray
    edges: np.ndarray
    codes: np.ndarray
    edge_starts: np.ndarray

    def of(self, number: int, text: np.ndarray) -> dict[str, np.ndarray]:
        """The fields of a `Tile` that are its graph's, of the band's tile `number`; `text` [codes]
        is the text row of each label code."""
        nodes, links = slice(*self.clips.starts[number:number + 2]), slice(
            *self.edge_starts[number:number + 2])
        label = self.clips.code[nodes]
        return {"geometry": self.columns[nodes], "text": text[label], "label": label,
                "edges": self.edges[:, links] - nodes.start,
                "codes": self.codes[links]}


@dataclass(frozen=True)
class _Clips:
    """Objects clipped to the tiles of a band, tile by tile: geometry, label code and tile of each
    [n], and where each tile begins."""

    geometry: np.ndarray
    code: np.ndarray
    tile: np.ndarray
    starts: np.ndarray  # [tiles + 1]
    flat: int


def make_band(folder: str, number: int) -> int:
    """Make band `number` of the job in `folder`, unless its report says that it is there.

    Returns:
        The band's number.

    Raises:
        PrepareError: a source cannot be read there.
    """
    job = open_job(folder)
    if not job.report(number).exists():
        band = job.grid.band(number)
        report = BandReport()
        tiles = _make_tiles(job, band, report)
        _write(job, number, tiles)
        with replacing(job.report(number)) as part:
            part.write_text(json.dumps(vars(report)), encoding="utf-8")
    return number


def _write(job: Job, number: int, tiles: list[Tile]) -> None:
    if job.rules.layout == "compact":
        write_part(job.part(number), tiles)
        return
    for tile in tiles:
        write_release_tile(job.release_root, tile, job.text)


def _make_tiles(job: Job, band: Band, report: BandReport) -> list[Tile]:
    graphs = band_graphs(job, band)
    clips, bounds = graphs.clips, job.grid.bounds(band.row, np.arange(band.first, band.last))
    report.dropped[FLAT_CLIPS] += clips.flat
    wanted = np.ones(len(bounds), bool) if job.rules.keep_empty else np.diff(clips.starts) > 0
    report.skipped[EMPTY] += int((~wanted).sum())
    images = _images(job, band, wanted, report)
    made = sorted(images)
    totals = {kind: _totals(source, kind, bounds[made], job.crs, report)
              for kind, source in job.totals.items()} if made else {}
    tiles = []
    for place, number in enumerate(made):
        tiles.append(Tile(
            name=job.name(band, number),
            image=images[number],
            **graphs.of(number, job.spool.labels.text),
            land_use=job.land_use.tile(tuple(bounds[number]), job.crs, job.grid.tile_px)
            if job.land_use else None,
            totals={kind: float(values[place]) for kind, values in totals.items()
                    if not np.isnan(values[place])},
        ))
    _count(report, tiles, job)
    return tiles


def band_graphs(job: Job, band: Band) -> BandGraphs:
    """The graphs of a band's tiles."""
    bounds = job.grid.bounds(band.row, np.arange(band.first, band.last))  # [tiles, 4]
    clips = _clip(job, band, bounds)
    columns, edges, codes = tile_graphs(clips.geometry, clips.tile, bounds, job.grid.tile_px,
                                        job.rules.recipe)
    return BandGraphs(clips, columns, edges, codes,
                      np.searchsorted(clips.tile[edges[0]], np.arange(len(bounds) + 1)))


def band_imagery(job: Job, band: Band,
                 wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Place in the band, RGB [side, side, 3] uint8 and valid [side, side] bool of each tile that
    is wanted [tiles]; one read for all."""
    numbers = np.flatnonzero(wanted)
    if not len(numbers):
        return
    side, lefts = job.grid.tile_px, job.grid.lefts[band.first + numbers]
    top = int(job.grid.tops[band.row])
    rgb, valid = job.mosaic.read(Window(int(lefts[0]), top, int(lefts[-1] - lefts[0]) + side,
                                        side))
    for number, across in zip(numbers.tolist(), (lefts - lefts[0]).tolist(), strict=True):
        yield number, rgb[:, across:across + side], valid[:, across:across + side]


def _totals(source: Zonal, kind: str, bounds: np.ndarray, crs: str,
            report: BandReport) -> np.ndarray:
    """Totals of tiles [m], nan where the source has no value; the tiles that it covers in part are
    counted."""
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
    """The band's objects cut to its tiles, in the order of tiles, then of layers, then of their
    source."""
    box = bounds[0, 0], bounds[0, 1], bounds[-1, 2], bounds[-1, 3]
    geometry, code = job.spool.of_row(band.row, box[0], box[2])
    large = shapely.get_num_coordinates(geometry) >= CUT_FIRST
    geometry[large] = _cut(geometry[large], np.array(box))
    boxes = shapely.box(*bounds.T)
    tile, member = shapely.STRtree(geometry).query(boxes)
    order = np.lexsort((member, tile))
    tile, member = tile[order], member[order]
    clips = _cut(geometry[member], bounds[tile])
    solid = shapely.area(clips) > 0
    # of the others only their boxes meet
    flat = shapely.intersects(geometry[member[~solid]], boxes[tile[~solid]])
    tile, clips, code = tile[solid], clips[solid], code[member[solid]]
    return _Clips(clips, code, tile, np.searchsorted(tile, np.arange(len(bounds) + 1)),
                  int(flat.sum()))


def _cut(geometry: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Polygons cut to boxes, their lines and points dropped: [n] and [n, 4] or [4] -> [n]; what
    lies inside its box stays as it is."""
    own, cut = shapely.bounds(geometry), geometry.copy()
    bounds = np.broadcast_to(bounds, own.shape)
    crossing = ~((own[:, :2] >= bounds[:, :2]) & (own[:, 2:] <= bounds[:, 2:])).all(axis=1)
    cut[crossing] = polygonal_part(shapely.intersection(geometry[crossing],
                                                        shapely.box(*bounds[crossing].T)))
    return cut


def _images(job: Job, band: Band, wanted: np.ndarray, report: BandReport) -> dict[int, np.ndarray]:
    """Image [3, side, side] of each wanted tile of the band that has enough imagery, by place in
    the band."""
    images = {}
    for number, rgb, valid in band_imagery(job, band, wanted):
        if 1 - valid.mean() > job.rules.max_nodata:
            report.skipped[BLANK] += 1
        else:
            images[number] = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    return images
