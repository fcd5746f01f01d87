"""The compact layout: a city's tiles in a few arrays. The files of root/cities/CITY/, tiles in the
order of names.txt:

    meta.json           what the city's maker says of it, such as "label_names", and under "store"
                        what the files hold
    names.txt           the tiles' names, sorted, a line each
    images.bin          encoded images (codec.py), end to end; image_starts.npy [tiles + 1]
    geometry.npy        float32 [nodes, 12], a node row without its text and label;
                        node_starts.npy [tiles + 1]
    text_index.npy      unsigned [nodes], row of the text table
    label.npy           whole numbers [nodes], label codes
    text.npy            float32 [values, width], a text vector for every distinct value
    edges.npy           unsigned [2 * edges]: of each tile first the sources, then the targets,
                        counted from its first node
    codes.npy           [edges] uint8, or float32 if they are no bytes; edge_starts.npy [tiles + 1]
    newness.npy         float32 [nodes], as `Tile.newness`; only if it is known of some node
    cover_counts.npy    uint16 [nodes], entries of each node's cover (cover.py), which are in
                        cover_cell.npy uint16 and cover_share.npy uint8 [entries];
                        cover_starts.npy [tiles + 1]; only if some tile has a cover
    land_use.bin        encoded labels, of the tiles that have one; land_use_starts.npy
    pop.npy, CO2.npy    float64 [tiles], nan for a tile without a total; only if some tile has one
    checksums.npy       uint32 [tiles], CRC-32 of a tile's geometry, text_index, label, edges,
                        codes, newness and the three of the cover if there are any

Nothing damaged is read as data. Opening compares sizes, checksums of the small files, and what
all of them hold; reading a tile compares its checksum, and images carry their own. meta.json is
written last, so a folder without it is unfinished.
"""

import json
import zlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data

from datasets.arrays import read_array
from datasets.stores.city import META
from datasets.stores.codec import ImageFault, decode_image
from datasets.stores.cover import CELLS, Cover, fault_of
from datasets.stores.names import check_ascending, check_names
from datasets.stores.pieces import PieceFile, check_file, read_starts
from datasets.stores.tile import GEOMETRY_WIDTH, MOST_SIDE, MOST_TOTAL, TOTALS, Tile
from utils.contents import ContentFault, Fields, Items, Table, Text, Whole, read_json
from utils.errors import TileError

FORMAT, VERSION = "rose-tiles", 1
# What is read tile by tile, in a checksum's order -> the unit that it is counted in, and its kinds
# as of `read_array`.
TILE_ARRAYS = {"geometry": ("node", "f"), "text_index": ("node", "u"), "label": ("node", "iu"),
               "edges": ("edge", "u"), "codes": ("edge", "uf"), "newness": ("node", "f"),
               "cover_counts": ("node", "u"), "cover_cell": ("cover", "u"),
               "cover_share": ("cover", "u")}
_COVER = ("cover_counts", "cover_cell", "cover_share")
_OPTIONAL = ("newness", *_COVER)
_MAKE_AGAIN = "make the city again with prepare_dataset.py, or copy it again from where it came"
_ALWAYS = ("names.txt", "images.bin", "image_starts.npy", "node_starts.npy", "edge_starts.npy",
           "text.npy", "checksums.npy",
           *(f"{name}.npy" for name in TILE_ARRAYS if name not in _OPTIONAL))
# of each row, all files or none
_TOGETHER = (("land_use.bin", "land_use_starts.npy"),
             ("cover_starts.npy", *(f"{name}.npy" for name in _COVER)))
_SOMETIMES = (*(file for files in _TOGETHER for file in files), "newness.npy",
              *(f"{name}.npy" for name in TOTALS))
_FILE = Text((*_ALWAYS, *_SOMETIMES))
_STORE = Fields({
    "tiles": Whole(1, 2**32), "nodes": Whole(0, 2**40), "edges": Whole(0, 2**40),
    "text_width": Whole(1, 2**20),
    "image_shape": Items([Whole(3, 3), Whole(1, MOST_SIDE), Whole(1, MOST_SIDE)]),
    "bytes": Fields({file: Whole(0) for file in _ALWAYS}), "crc32": Table(Whole(0, 2**32 - 1)),
}, {"cover": Whole(0, 2**40)})


class CompactCity:
    """The tiles of one city, by their index in `names`.

    Attributes:
        meta: what the city's maker says of it.
        text: float32 [values, width], the text table.
        label_names: tag values by label code; None if the maker does not say.
        image_shape: (3, H, W) of every image.
        node_width: columns of a node row, label included.

    Raises:
        TileError: a file is missing, damaged, or of another version; or a tile is damaged, when
            read.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        meta = _read_meta(self.folder / "meta.json")
        self._store = meta["store"]
        self.meta = {key: value for key, value in meta.items()
                     if key not in ("format", "version", "store")}
        for file, size in self._store["bytes"].items():
            check_file(self.folder / file, size, self._store["crc32"].get(file), _MAKE_AGAIN)
        self.label_names: list[str] | None = self.meta.get("label_names")
        self.names = self._read_names()
        self.image_shape: tuple[int, int, int] = tuple(self._store["image_shape"])
        self.node_width: int = self._store["text_width"] + GEOMETRY_WIDTH + 1
        self._small  # noqa: B018 - what the files say is checked when a city is opened
        self._large = self._open_large()

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key != "_small"}

    @property
    def dated(self) -> bool:
        """Whether it knows the newness of nodes."""
        return "newness" in self._large

    @property
    def covered(self) -> bool:
        """Whether it knows the outlines of nodes."""
        return "cover_counts" in self._large

    def __len__(self) -> int:
        return len(self.names)

    @property
    def text(self) -> np.ndarray:
        return self._small["text"]

    def image(self, index: int) -> torch.Tensor:
        """Return uint8 [3, H, W]."""
        return self._decode("image", "images", index, self.image_shape)

    def land_use(self, index: int) -> torch.Tensor | None:
        """Return uint8 [H, W]; None if the tile has none."""
        starts = self._small.get("land_use_starts")
        if starts is None or starts[index] == starts[index + 1]:
            return None
        return self._decode("land_use", "land_use", index, (1, *self.image_shape[1:]))[0]

    def total(self, index: int, name: str) -> float | None:
        """Return the tile's sum of `name`, one of TOTALS; None if it has none."""
        if name not in self._small:
            return None
        value = float(self._small[name][index])
        return None if np.isnan(value) else value

    def graph(self, index: int) -> Data:
        """Return x float32 [n, node_width], edge_index int64 [2, e], edge_attr float32 [e, 1],
        name and any cover."""
        pieces = self._pieces(index)
        x = np.empty((len(pieces["geometry"]), self.node_width), np.float32)
        x[:, :-GEOMETRY_WIDTH - 1] = self.text[pieces["text_index"]]
        x[:, -GEOMETRY_WIDTH - 1:-1] = pieces["geometry"]
        x[:, -1] = pieces["label"]
        cover = self._cover(index, pieces)
        return Data(x=torch.from_numpy(x),
                    edge_index=torch.from_numpy(pieces["edges"].reshape(2, -1).astype(np.int64)),
                    edge_attr=torch.from_numpy(pieces["codes"][:, None].astype(np.float32)),
                    name=self.names[index], **({} if cover is None else cover.tensors()))

    def tile(self, index: int) -> Tile:
        """Return everything a tile has."""
        pieces = self._pieces(index)
        land_use = self.land_use(index)
        totals = {name: self.total(index, name) for name in TOTALS}
        return Tile(
            self.names[index], self.image(index).numpy(), pieces["geometry"].copy(),
            pieces["text_index"].astype(np.int64), pieces["label"].astype(np.int64),
            pieces["edges"].reshape(2, -1).astype(np.int64), pieces["codes"].astype(np.float32),
            None if land_use is None else land_use.numpy(),
            {name: total for name, total in totals.items() if total is not None},
            pieces["newness"].copy() if self.dated else None, self._cover(index, pieces),
        )

    def newness(self, index: int) -> torch.Tensor | None:
        """Return float32 [n], as `Tile.newness`; None if the city knows none."""
        return torch.from_numpy(self._pieces(index)["newness"].copy()) if self.dated else None

    def _cover(self, index: int, pieces: dict[str, np.ndarray]) -> Cover | None:
        """Return the tile's cover, checked; None if the city has none."""
        if not self.covered:
            return None
        counts, cell, share = (pieces[name] for name in _COVER)
        counts = counts.clip(max=CELLS + 1).astype(np.int64)  # more are no cells of a node
        if counts.sum() != len(cell):
            raise self._fault(index, f"cover_counts.npy counts {counts.sum()} entries, expected "
                                     f"{len(cell)}, those of cover_cell.npy")
        nodes = np.arange(len(counts)).repeat(counts)
        if fault := fault_of(nodes, cell, share, len(counts)):
            raise self._fault(index, f"its cover {fault}")
        return Cover.of(nodes, cell, share)

    def _pieces(self, index: int) -> dict[str, np.ndarray]:
        """Return the tile's pieces of the arrays of TILE_ARRAYS that there are, checked."""
        rows = {unit: self._small[f"{unit}_starts"][index:index + 2].tolist()
                for unit in ("node", "edge", *(("cover",) if self.covered else ()))}
        pieces = {}
        for name, (unit, _) in TILE_ARRAYS.items():
            if name in self._large:
                both = 2 if name == "edges" else 1
                pieces[name] = self._large[name].read(*(both * row for row in rows[unit]))
        if checksum(pieces.values()) != self._small["checksums"][index]:
            raise self._fault(index, "the graph of the tile does not have its checksum, expected "
                                     "what was written; a file is damaged")
        geometry, text_index, sources, codes = (
            pieces[name] for name in ("geometry", "text_index", "edges", "codes"))
        if len(text_index) and text_index.max() >= len(self.text):
            raise self._fault(index, f"text_index.npy names row {text_index.max()}, expected a "
                                     f"row of text.npy, fewer than {len(self.text)}")
        if len(sources) and sources.max() >= len(geometry):
            raise self._fault(index, f"edges.npy names node {sources.max()}, expected 0 <= node < "
                                     f"{len(geometry)}")
        for name, values in (("geometry", geometry), ("codes", codes)):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise self._fault(index, f"{name}.npy holds a value that is not finite, expected "
                                         "finite values")
        return pieces

    def _fault(self, index: int, problem: str) -> TileError:
        return TileError(f"{self.folder}: tile {self.names[index]}: {problem}; {_MAKE_AGAIN}")

    def _decode(self, unit: str, file: str, index: int,
                shape: tuple[int, int, int]) -> torch.Tensor:
        first, last = self._small[f"{unit}_starts"][index:index + 2].tolist()
        try:
            return torch.from_numpy(decode_image(self._large[file].read(first, last), shape))
        except ImageFault as fault:
            raise TileError(f"{self.folder / file}.bin: tile {self.names[index]} cannot be decoded "
                            f"({fault}), expected an image of {shape[2]} x {shape[1]} pixels; the "
                            f"file is damaged; {_MAKE_AGAIN}") from fault

    def _read_names(self) -> list[str]:
        path = self.folder / "names.txt"
        try:
            names = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise TileError(f"{path}: is no text, expected a tile's name a line; {_MAKE_AGAIN}"
                            ) from error
        if len(names) != self._store["tiles"]:
            raise TileError(f"{path}: has {len(names)} lines, expected {self._store['tiles']}, a "
                            f"tile each; {_MAKE_AGAIN}")
        check_names(names, path)
        check_ascending(names, path)
        return names

    @cached_property
    def _small(self) -> dict[str, np.ndarray]:
        """The arrays that are read whole, by name; each process reads them itself."""
        store, sizes = self._store, self._store["bytes"]
        tiles = store["tiles"]
        ends = {"image": sizes["images.bin"], "node": store["nodes"], "edge": store["edges"]}
        if "land_use.bin" in sizes:
            ends["land_use"] = sizes["land_use.bin"]
        if "cover" in store:
            ends["cover"] = store["cover"]
        arrays = {f"{unit}_starts": read_starts(self.folder / f"{unit}_starts.npy", tiles, end,
                                                _MAKE_AGAIN) for unit, end in ends.items()}
        shapes = {"text": ("f", (None, store["text_width"])), "checksums": ("u", (tiles,)),
                  **{name: ("f", (tiles,)) for name in TOTALS if f"{name}.npy" in sizes}}
        for name, (kinds, shape) in shapes.items():
            arrays[name] = read_array(self.folder / f"{name}.npy", kinds, shape, _MAKE_AGAIN,
                                      TileError)
        if not np.isfinite(arrays["text"]).all():
            raise TileError(f"{self.folder / 'text.npy'}: holds a value that is not finite, "
                            f"expected finite values; {_MAKE_AGAIN}")
        for name in arrays.keys() & {*TOTALS}:
            wrong = (arrays[name] < 0) | (arrays[name] > MOST_TOTAL)  # nan: the tile has none
            if wrong.any():
                raise TileError(f"{self.folder / name}.npy: holds {arrays[name][wrong][0]}, "
                                f"expected sums from 0 to {MOST_TOTAL:g}; {_MAKE_AGAIN}")
        return arrays

    def _open_large(self) -> dict[str, PieceFile]:
        """Open the files that are read tile by tile, by name."""
        rows = {"node": self._store["nodes"], "edge": self._store["edges"],
                "cover": self._store.get("cover")}
        files = {}
        for name, (unit, kinds) in TILE_ARRAYS.items():
            if f"{name}.npy" in self._store["bytes"]:
                shape = {"geometry": (rows[unit], GEOMETRY_WIDTH),
                         "edges": (2 * rows[unit],)}.get(name, (rows[unit],))
                files[name] = PieceFile(self.folder / f"{name}.npy", kinds, shape, _MAKE_AGAIN)
        for name in ("images", "land_use"):
            files[name] = PieceFile(self.folder / f"{name}.bin", "u", (None,), _MAKE_AGAIN)
        return files


def checksum(pieces: Iterable[np.ndarray]) -> int:
    """Return the CRC-32 of the arrays' bytes, one after the other."""
    value = 0
    for piece in pieces:
        value = zlib.crc32(piece, value)
    return value


def _read_meta(path: Path) -> dict:
    if not path.is_file():
        raise TileError(f"{path}: missing, expected it in every city's folder; the city was not "
                        f"finished; {_MAKE_AGAIN}")
    meta = read_json(path, META, _MAKE_AGAIN, TileError)
    if meta.get("format") != FORMAT:
        raise TileError(f"{path}: format is {json.dumps(meta.get('format'))[:60]}, expected "
                        f'"{FORMAT}"; {_MAKE_AGAIN}')
    if meta.get("version") != VERSION:
        raise TileError(f"{path}: version is {json.dumps(meta.get('version'))[:60]}, expected "
                        f"{VERSION}; read it with the version of Rose that wrote it, or make the "
                        "city again with prepare_dataset.py")
    try:
        store = _STORE.check(meta.get("store"), "store")
        Table(Whole(0), key=_FILE).check(store["bytes"], "store.bytes")
        for files in _TOGETHER:
            if len(present := [file for file in files if file in store["bytes"]]) % len(files):
                raise ContentFault(f"store.bytes has {', '.join(present)} alone, expected all or "
                                   f"none of {', '.join(files)}")
        if ("cover" in store) != ("cover_starts.npy" in store["bytes"]):
            raise ContentFault("store has one of cover and bytes.cover_starts.npy, expected both "
                               "or none")
    except ContentFault as problem:
        raise TileError(f"{path}: {problem}; {_MAKE_AGAIN}") from problem
    return {**meta, "store": store}
