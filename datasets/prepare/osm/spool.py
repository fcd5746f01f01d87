"""The OSM objects of a city on disk, written while they are read and read while tiles are made.

Objects come in chunks, in source order, and are read by row of tiles: no process holds all.

    wkb.bin, ends.bin     geometries, and where each ends
    bounds.bin            minx, miny, maxx, maxy
    layer.bin, value.bin  index of the layer; index of the tag value in the order of first sight
    text.bin, texts.json  index of the text, and the distinct texts in the order of first sight;
                          only if texts are not the tag values
    newness.bin           as `element_ids.newness`; only if ids of OSM are known
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
from datasets.prepare.osm.census import RULE, Census
from datasets.prepare.osm.element_ids import UNKNOWN, newness
from datasets.prepare.osm.objects import OsmObjects
from utils.contents import Fields, Flag, Items, Table, Text, Whole, read_json
from utils.errors import PrepareError
from utils.files import replacing

_TYPES = {"ends": np.int64, "bounds": np.float64, "layer": np.uint8, "value": np.int32,
          "text": np.int32, "newness": np.float32, "rows": np.int64, "row_ends": np.int64}
_SOMETIMES = ("text", "newness")
_INDEX, _TEXTS = "objects.json", "texts.json"
_RULE = Fields({"layers": Items(Text()), "values": Items(Text()), "counts": Table(Whole(least=0)),
                "codes": Items(Items([Whole(least=0), Text()])), "census": RULE},
               {"texts": Whole(least=0), "dated": Flag()})


@dataclass(frozen=True)
class Labels:
    """Distinct values of each layer, sorted, in layer order; label codes are indices into them."""

    layers: list[str]  # layer name of each code
    names: list[str]   # tag value of each code
    values: list[str]  # the distinct tag values, sorted
    value: np.ndarray  # [codes] index of each code's value in `values`


def write_spool(folder: Path, chunks: Iterable[OsmObjects], census: Census,
                layers: tuple[str, ...], grid: TileGrid) -> None:
    """Store objects chunk by chunk, and the counts of their reading. A folder without
    `objects.json` is unfinished and is written anew."""
    folder.mkdir(parents=True, exist_ok=True)
    seen: dict[str, int] = {}
    texts: dict[str, int] = {}
    described = False  # whether a text is not its tag value
    pairs: Counter = Counter()
    elements = [np.empty(0, np.int64)]  # of each chunk
    end = 0
    files = {name: (folder / f"{name}.bin").open("wb")
             for name in ("wkb", "ends", "bounds", "layer", "value", "text")}
    try:
        for chunk in chunks:
            wkb = shapely.to_wkb(chunk.geometry)
            ends = end + np.cumsum([len(data) for data in wkb], dtype=np.int64)
            end = int(ends[-1]) if len(ends) else end
            value, text = (np.array([known.setdefault(name, len(known)) for name in names],
                                    dtype=np.int32)
                           for known, names in ((seen, chunk.value), (texts, chunk.text)))
            described = described or bool((chunk.text != chunk.value).any())
            elements.append(np.full(len(chunk), UNKNOWN) if chunk.elements is None
                            else chunk.elements)
            pairs.update(zip(chunk.layer.tolist(), value.tolist(), strict=True))
            files["wkb"].write(b"".join(wkb))
            for name, array in (("ends", ends), ("bounds", shapely.bounds(chunk.geometry)),
                                ("layer", chunk.layer), ("value", value), ("text", text)):
                files[name].write(array.astype(_TYPES[name]).tobytes())
    finally:
        for file in files.values():
            file.close()
    shares = newness(np.concatenate(elements))
    _index_rows(folder, grid)
    names = list(seen)
    distinct = sorted((layer, names[value]) for layer, value in pairs)
    counts = Counter(dict.fromkeys(layers, 0))
    for (layer, _), count in pairs.items():
        counts[layers[layer]] += count
    index = {"layers": list(layers), "values": names, "codes": distinct, "counts": counts,
             "census": census.to_dict()}
    if not np.isnan(shares).all():
        index["dated"] = True
        shares.astype(_TYPES["newness"]).tofile(folder / "newness.bin")
    if described:
        index["texts"] = len(texts)
        _write_json(folder / _TEXTS, list(texts))
    else:
        (folder / "text.bin").unlink()
    _write_json(folder / _INDEX, index)


def _write_json(path: Path, content: list | dict) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _index_rows(folder: Path, grid: TileGrid) -> None:
    """Write the objects whose bounds meet each row of tiles, ascending."""
    bounds = _read(folder, "bounds").reshape(-1, 4)
    first, last = grid.rows_of(bounds[:, 1], bounds[:, 3])
    count = np.maximum(last - first + 1, 0)
    member = np.repeat(np.arange(len(bounds)), count)
    within = np.arange(len(member)) - np.repeat(np.cumsum(count) - count, count)
    row = within + np.repeat(first, count)
    member[np.argsort(row, kind="stable")].astype(_TYPES["rows"]).tofile(folder / "rows.bin")
    ends = np.cumsum(np.bincount(row, minlength=grid.rows))
    ends.astype(_TYPES["row_ends"]).tofile(folder / "row_ends.bin")


def _again(folder: Path) -> str:
    return f"remove {folder} and run the command again"


def _read(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.bin"
    if not path.stat().st_size:  # cannot be mapped
        return np.empty(0, _TYPES[name])
    return np.memmap(path, dtype=_TYPES[name], mode="r")


class Spool:
    """A finished spool.

    Attributes:
        labels: the label codes of all objects.
        counts: number of objects by layer name.
        census: of its reading.
        bounds: minx, miny, maxx, maxy of each object, [n, 4].
        text_count: number of distinct texts.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        index = read_json(folder / _INDEX, _RULE, _again(folder), PrepareError)
        self.counts, self.census = index["counts"], Census.of(index["census"])
        names = [name for _, name in index["codes"]]
        values, value = np.unique(np.array(names, dtype=object), return_inverse=True)
        self.labels = Labels([index["layers"][layer] for layer, _ in index["codes"]], names,
                             values.tolist(), value)
        self._described = "texts" in index
        self.text_count = index.get("texts", len(values))
        self._code = _code_table(index)
        left_out = {name for name, held in zip(
            _SOMETIMES, (self._described, index.get("dated", False)), strict=True) if not held}
        self._arrays = {name: _read(folder, name) for name in _TYPES if name not in left_out}
        self.bounds = self._arrays["bounds"].reshape(-1, 4)

    @staticmethod
    def finished(folder: Path) -> bool:
        return (folder / _INDEX).exists()

    def __len__(self) -> int:
        return len(self.bounds)

    def texts(self) -> list[str]:
        """Return the distinct texts, in the order of their indices; each has one text vector."""
        if not self._described:
            return self.labels.values
        return read_json(self.folder / _TEXTS, Items(Text()), _again(self.folder), PrepareError)

    def of_row(self, row: int, left: float,
               right: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Return geometries, label codes, indices of the texts, and newness if known, [n] each, of
        objects that may meet a row between two x, ordered by layer, then as in the source."""
        ends = self._arrays["row_ends"]
        members = self._arrays["rows"][(ends[row - 1] if row else 0):ends[row]]
        bounds = self.bounds[members]
        members = members[(bounds[:, 0] <= right) & (bounds[:, 2] >= left)]
        layer = self._arrays["layer"][members]
        order = np.argsort(layer, kind="stable")
        members, layer = members[order], layer[order]
        code = self._code[layer, self._arrays["value"][members]]
        text = (self._arrays["text"][members].astype(np.int64) if self._described
                else self.labels.value[code])
        shares = self._arrays["newness"][members] if "newness" in self._arrays else None
        return self.geometries(members), code, text, shares

    def layers(self, members: np.ndarray) -> np.ndarray:
        """Return the layer index of objects given by their index in the spool: [n]."""
        return self._arrays["layer"][members]

    def geometries(self, members: np.ndarray) -> np.ndarray:
        """Return the geometries of objects given by their index in the spool: [n]."""
        ends = self._arrays["ends"]
        starts = np.where(members > 0, ends[members - 1], 0)
        with (self.folder / "wkb.bin").open("rb") as file:
            wkb = []
            for start, stop in zip(starts.tolist(), ends[members].tolist(), strict=True):
                file.seek(start)
                wkb.append(file.read(stop - start))
        return np.asarray(shapely.from_wkb(wkb), dtype=object).reshape(-1)


def _code_table(index: dict) -> np.ndarray:
    """Return the label code of each layer and value index: [layers, values]."""
    column = {name: number for number, name in enumerate(index["values"])}
    table = np.full((len(index["layers"]), len(column)), -1, dtype=np.int64)
    for code, (layer, name) in enumerate(index["codes"]):
        table[layer, column[name]] = code
    return table
