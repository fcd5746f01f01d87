"""The OSM objects of a city on disk, between their reading and the making of tiles.

Objects come in chunks, in the order of their source, and are asked for by row of tiles: no process
ever holds all of them.

    wkb.bin, ends.bin     geometries, and where each ends
    bounds.bin            minx, miny, maxx, maxy
    layer.bin, value.bin  index of the layer; index of the tag value in the order of first sight
    rows.bin, row_ends.bin    the objects of each row of tiles
    objects.json          values, label codes and counts; written last
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from datasets.prepare.grid import TileGrid
from datasets.prepare.osm.objects import Census, OsmObjects
from utils.files import replacing

_TYPES = {"ends": np.int64, "bounds": np.float64, "layer": np.uint8, "value": np.int32,
          "rows": np.int64, "row_ends": np.int64}
_INDEX = "objects.json"


@dataclass(frozen=True)
class Labels:
    """Distinct values of each layer, sorted, layers concatenated in order; a label code is a place
    in these lists.

    Attributes:
        layers, names: layer name and tag value of each code.
        values: the distinct tag values, sorted; each has one text vector.
        text: [codes] place of each code's value in `values`.
    """

    layers: list[str]
    names: list[str]
    values: list[str]
    text: np.ndarray


def write_spool(folder: Path, chunks: Iterable[OsmObjects], census: Census,
                layers: tuple[str, ...], grid: TileGrid) -> None:
    """Store objects as they come, and what their reading counted; a folder without `objects.json`
    is unfinished and is written anew."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: dict[str, int] = {}
    pairs: Counter = Counter()
    end = 0
    files = {name: (folder / f"{name}.bin").open("wb")
             for name in ("wkb", "ends", "bounds", "layer", "value")}
    try:
        for chunk in chunks:
            wkb = shapely.to_wkb(chunk.geometry)
            ends = end + np.cumsum([len(data) for data in wkb], dtype=np.int64)
            end = int(ends[-1]) if len(ends) else end
            value = np.array([seen.setdefault(name, len(seen)) for name in chunk.value],
                             dtype=np.int32)
            pairs.update(zip(chunk.layer.tolist(), value.tolist(), strict=True))
            files["wkb"].write(b"".join(wkb))
            for name, array in (("ends", ends), ("bounds", shapely.bounds(chunk.geometry)),
                                ("layer", chunk.layer), ("value", value)):
                files[name].write(array.astype(_TYPES[name]).tobytes())
    finally:
        for file in files.values():
            file.close()
    _index_rows(folder, grid)
    names = list(seen)
    distinct = sorted((layer, names[value]) for layer, value in pairs)
    counts = Counter(dict.fromkeys(layers, 0))
    for (layer, _), count in pairs.items():
        counts[layers[layer]] += count
    index = {"layers": list(layers), "values": names, "codes": distinct, "counts": counts,
             "repaired": census.repaired,
             "outside": census.outside,
             "dropped": {reason: int(count) for reason, count in census.dropped.items() if count}}
    with replacing(folder / _INDEX) as part:
        part.write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")


def _index_rows(folder: Path, grid: TileGrid) -> None:
    """For every row of tiles the objects whose bounds meet it, ascending."""
    bounds = _read(folder, "bounds").reshape(-1, 4)
    first, last = grid.rows_of(bounds[:, 1], bounds[:, 3])
    count = np.maximum(last - first + 1, 0)
    member = np.repeat(np.arange(len(bounds)), count)
    row = np.arange(len(member)) - np.repeat(np.cumsum(count) - count,
                                             count) + np.repeat(first, count)
    order = np.argsort(row, kind="stable")
    member[order].astype(_TYPES["rows"]).tofile(folder / "rows.bin")
    np.cumsum(np.bincount(row, minlength=grid.rows)).astype(_TYPES["row_ends"]).tofile(
        folder / "row_ends.bin")


def _read(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.bin"
    return np.memmap(path, dtype=_TYPES[name],
                     mode="r") if path.stat().st_size else np.empty(0, _TYPES[name])


class Spool:
    """A finished spool.

    Attributes:
        labels: the label codes of all objects.
        counts: number of objects by layer name.
        repaired, outside, dropped: what the reading counted.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        self.counts = index["counts"]
        self.repaired, self.outside, self.dropped = index["repaired"], index["outside"], Counter(
            index["dropped"])
        names = [name for _, name in index["codes"]]
        values = sorted(set(names))
        place = {value: number for number, value in enumerate(values)}
        text = np.array([place[name] for name in names], dtype=np.int64)
        self.labels = Labels([index["layers"][layer] for layer, _ in index["codes"]], names,
                             values, text)
        self._code = _code_table(index)
        self._arrays = {name: _read(folder, name) for name in _TYPES}
        self._bounds = self._arrays["bounds"].reshape(-1, 4)

    @staticmethod
    def finished(folder: Path) -> bool:
        return (folder / _INDEX).exists()

    def __len__(self) -> int:
        return len(self._bounds)

    def of_row(self, row: int, left: float, right: float) -> tuple[np.ndarray, np.ndarray]:
        """Geometries and label codes [n] of what may meet a row of tiles between two x, by layer
        and then as in the source."""
        ends = self._arrays["row_ends"]
        members = self._arrays["rows"][(ends[row - 1] if row else 0):ends[row]]
        bounds = self._bounds[members]
        members = members[(bounds[:, 0] <= right) & (bounds[:, 2] >= left)]
        layer = self._arrays["layer"][members]
        order = np.argsort(layer, kind="stable")
        members, layer = members[order], layer[order]
        return self.geometries(members), self._code[layer, self._arrays["value"][members]]

    def layers(self, members: np.ndarray) -> np.ndarray:
        """Index of the layer of objects by their place in the spool: [n]"""
        return self._arrays["layer"][members]

    def geometries(self, members: np.ndarray) -> np.ndarray:
        """Geometries by their place in the spool: [n]"""
        ends = self._arrays["ends"]
        with (self.folder / "wkb.bin").open("rb") as file:
            wkb = []
            for stop, start in zip(ends[members].tolist(),
                                   np.where(members > 0, ends[members - 1], 0).tolist(),
                                   strict=True):
                file.seek(start)
                wkb.append(file.read(stop - start))
        return np.asarray(shapely.from_wkb(wkb), dtype=object).reshape(-1)


def _code_table(index: dict) -> np.ndarray:
    """Label code by layer and value index: [layers, values]"""
    place = {name: number for number, name in enumerate(index["values"])}
    table = np.full((len(index["layers"]), len(place)), -1, dtype=np.int64)
    for code, (layer, name) in enumerate(index["codes"]):
        table[layer, place[name]] = code
    return table
