"""Fetch the items of a request one by one; all of them appear in `out` when the last is ready.

An item that is ready waits in the hidden work folder, so a stopped or refused run resumes with what
is missing. What `out` has of the same request stays.
"""

import json
import math
import re
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np
from pyproj import CRS
from tqdm import tqdm

from datasets.bbox import BBox
from datasets.fetch.imagery import ImageryItem
from datasets.fetch.osm import OsmItem
from datasets.fetch.population import PopulationItem
from datasets.fetch.record import ATTRIBUTION, READY, SOURCES, Entry, Made, Record
from datasets.keys import FetchConfig
from datasets.prepare.geo.crs import DEGREES, box_in, mapped
from datasets.prepare.geo.raster_io import open_raster_file
from datasets.remote.http import Patience
from utils.contents import read_json
from utils.errors import ConfigError, PrepareError, printable
from utils.files import digest_of, replacing
from utils.progress import say
from utils.tables import format_bytes
from utils.work_folder import WorkFolder

MARGIN_M = 100       # around the imagery: objects there reach into it, and cells beyond its edge
_DEGREE_M = 110_000  # of latitude, at least
_WORK = {"fetch": 1}  # each part of the work tells by its name what it was made for


class Item(Protocol):
    """Something to fetch.

    Attributes:
        name: its key.
        path: what it is called in `out`.
        request: what its result depends on, beside the area.
    """

    name: str
    path: str
    request: dict[str, Any]

    def forecast(self, box: BBox) -> list[str]:
        """Return what would be fetched, in lines for the user."""

    def make(self, folder: Path, box: BBox, patience: Patience) -> Made:
        """Make the result in `folder`, with what a stopped run left there."""


def fetch(cfg: FetchConfig, patience: Patience | None = None) -> str:
    """Fetch what a configuration asks for, and return a summary.

    Args:
        patience: with servers.

    Raises:
        ConfigError: an impossible value.
        PrepareError: a server or file does not give what was asked for, or `out` holds something
            else.
    """
    box = BBox.of("bbox", cfg.bbox)
    if box.area_km2 > cfg.most_km2:
        raise ConfigError(f"bbox=[{box}]: {box.area_km2:,.0f} km2, expected {cfg.most_km2:,.10g} "
                          f"at most; pass a smaller box, or most_km2={box.area_km2 + 1:.0f} if "
                          "the servers' owners allow that much")
    items = _items(cfg, box)
    lines = [f"area: {box}, {box.area_km2:,.2f} km2"]
    for line in [*lines, *(line for item in items for line in item.forecast(box))]:
        tqdm.write(line)
    if cfg.dry_run:
        for item in items:
            if isinstance(item, ImageryItem):
                for line in item.look(box, patience or Patience()):
                    tqdm.write(line)
        return "Nothing was fetched: dry_run=true."
    return _Fetching(Path(cfg.out), box, items, cfg.overwrite,
                     patience or Patience()).run()


def _items(cfg: FetchConfig, box: BBox) -> list[Item]:
    items: list[Item] = []
    if cfg.imagery:
        items.append(ImageryItem.of(cfg, box))
    if cfg.osm:
        items.append(OsmItem.of(cfg.osm, cfg.overpass_url, cfg.layers))
    if cfg.population:
        items.append(PopulationItem.of(cfg.population))
    if not items:
        raise ConfigError("imagery: no value given, nor osm= or population=; expected one of them, "
                          "such as osm=overpass")
    return items


@dataclass
class _Fetching:
    out: Path
    box: BBox
    items: list[Item]
    overwrite: bool
    patience: Patience

    def __post_init__(self) -> None:
        self.work = WorkFolder(self.out, "fetch", f"fetching {self.box}")
        self.fresh: dict[str, Path] = {}  # where items lie that `out` does not have yet

    def run(self) -> str:
        with self.work.held():
            before = Record.read(self.out)
            missing = [item for item in self.items if not self._is_there(item, before)]
            self._check_out(before, missing)
            record = before
            if missing:
                record = Record(list(self.box.bounds),
                                {} if self.overwrite else dict(before.items))
                self.work.begin(_WORK)
                try:
                    self._fetch(record, missing)
                    self._install(record, before)
                finally:
                    self._tidy()
                self.work.clear()
        say([note for name, entry in record.items.items() if name in self.fresh
             for note in entry.notes])
        return self._summary(record)

    def _is_there(self, item: Item, record: Record) -> bool:
        """Return whether `out` has an item; raise PrepareError if it is another one."""
        entry = record.items.get(item.name)
        if self.overwrite or entry is None:
            return False
        before = {"bbox": record.bbox, **entry.request}
        now = {"bbox": list(self.box.bounds), **item.request}
        if other := [name for name in now if now[name] != before.get(name)]:
            shown = printable(json.dumps(before.get(other[0])))
            raise PrepareError(f"{self.out / entry.path}: was fetched with {other[0]}={shown}, "
                               f"expected {printable(json.dumps(now[other[0]]))}. Pass "
                               "overwrite=true to replace it, or another out=.")
        return entry.is_whole(self.out / entry.path)

    def _check_out(self, record: Record, missing: list[Item]) -> None:
        """Raise PrepareError if `out` holds files that were not fetched."""
        own = {entry.path for entry in record.items.values()}
        if record.items and tuple(record.bbox) != self.box.bounds and not self.overwrite:
            entry = next(iter(record.items.values()))
            raise PrepareError(f"{self.out / entry.path}: was fetched for another bbox=, "
                               f"{','.join(f'{side:.10g}' for side in record.bbox)}, expected "
                               f"{self.box}. Pass overwrite=true to replace it, or another out=.")
        names = [item.path for item in missing] + ([] if own else [SOURCES, ATTRIBUTION])
        for name in names:
            if name not in own and (self.out / name).exists():
                raise PrepareError(f"{self.out / name}: is there already, and was not fetched by "
                                   "this command. Pass another out=.")

    def _fetch(self, record: Record, missing: list[Item]) -> None:
        """Make the items that are missing, and put them into `record`.

        OSM objects and population cover the imagery, which comes first, and a margin; those that
        were fetched before and do not are made anew.
        """
        self.work.parts.mkdir(exist_ok=True)
        for item in self.items:
            area = self.box if item.name == "imagery" else self._area(record)
            if item in missing or not _within(area, record.items[item.name].area):
                record.items[item.name], self.fresh[item.name] = self._made(item, area)

    def _area(self, record: Record) -> BBox:
        """Return the ground of the imagery, or the box if there is none, with MARGIN_M around."""
        if (imagery := record.items.get("imagery")) is None:
            return _grown(self.box)
        root = self.fresh.get("imagery", self.out / imagery.path)
        return _grown(_extent(root / PurePath(imagery.main).relative_to(imagery.path), self.box))

    def _made(self, item: Item, area: BBox) -> tuple[Entry, Path]:
        """Return an item and where it lies, made now or by a stopped run."""
        folder = self.work.parts / f"{item.name}-{digest_of([item.request, area.bounds])[:24]}"
        ready = folder / "ready.json"
        if ready.is_file():
            known = read_json(ready, READY, self.work.remedy, PrepareError)
            entry, root = Entry(**known["entry"]), folder / known["root"]
            if entry.is_whole(root):
                return entry, root
        made = item.make(folder, area, self.patience)
        entry = Entry.of(made, item.path, item.request, area)
        with replacing(ready) as temporary:
            root = made.root.relative_to(folder).as_posix()
            temporary.write_text(json.dumps({"root": root, "entry": asdict(entry)}), "utf-8")
        return entry, made.root

    def _install(self, record: Record, before: Record) -> None:
        target = self.work.empty()
        moves = [record.items[name].path for name in self.fresh]
        for name, root in self.fresh.items():
            root.rename(target / record.items[name].path)
        record.write(target)
        kept = {entry.path for name, entry in record.items.items() if name not in self.fresh}
        old = {entry.path for entry in before.items.values()} - kept
        self.work.install([*moves, ATTRIBUTION, SOURCES], sorted(old))

    def _tidy(self) -> None:
        """Remove empty folders of work that was refused, so that no work stays of nothing."""
        for path in [*self.work.parts.glob("*"), self.work.parts]:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    def _summary(self, record: Record) -> str:
        lines = []
        for name, entry in record.items.items():
            files = f"{entry.files:,} files, " if entry.files > 1 else ""
            there = "" if name in self.fresh else ", there already"
            lines.append(f"{self.out / entry.path}: {files}{format_bytes(entry.bytes)}{there}")
        lines.append(f"{self.out / ATTRIBUTION}: whose data these are; name the owners wherever "
                     "you show them")
        return "\n".join([*lines, "", "Next:", next_command(self.out, record)])


def next_command(out: Path, record: Record) -> str:
    """Return the command that prepares what was fetched."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", out.resolve().name).strip("_") or "city"
    items = record.items
    pairs = {"raster": out / items["imagery"].main if "imagery" in items else "null",
             "osm": out / items["osm"].main if "osm" in items else "null",
             "bbox": ",".join(f"{side:.10g}" for side in record.bbox)}
    if "population" in items:
        pairs["population"] = out / items["population"].main
    pairs |= {"out": Path("data", name), "city": name}
    return "python prepare_dataset.py " + " ".join(
        shlex.quote(f"{key}={value}") for key, value in pairs.items())


def _extent(raster: Path, box: BBox) -> BBox:
    """Return the box and the extent, in degrees, of the imagery that is cropped to it."""
    if raster.is_dir():  # web map tiles, whose sides are meridians and parallels
        return box
    with open_raster_file(raster) as dataset:
        crs = CRS.from_wkt(dataset.crs.to_wkt()) if dataset.crs else DEGREES
        pixels = box.pixels(crs, dataset.transform, dataset.width, dataset.height)
        if pixels is None:
            return box
        left, top, right, bottom = pixels
        corners = mapped(dataset.transform, np.array([(left, top), (right, top), (left, bottom),
                                                      (right, bottom)], float))
    extent = box_in((*corners.min(0), *corners.max(0)), crs, DEGREES) or box.bounds
    return BBox(min(extent[0], box.west), min(extent[1], box.south),
                max(extent[2], box.east), max(extent[3], box.north))


def _within(box: BBox, area: list[float]) -> bool:
    west, south, east, north = area
    return (west <= box.west and south <= box.south and east >= box.east
            and north >= box.north)


def _grown(box: BBox) -> BBox:
    """Return a box with MARGIN_M around it."""
    high = MARGIN_M / _DEGREE_M
    wide = high / max(math.cos(math.radians(max(abs(box.south), abs(box.north)))), 0.01)
    return BBox(max(box.west - wide, -180), max(box.south - high, -90),
                min(box.east + wide, 180), min(box.north + high, 90))
