"""The compact layout: a city's tiles in a few arrays that are read by memory map, so that many
processes share their pages. The files of root/cities/CITY/, tiles in the order of names.txt:

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
    land_use.bin        encoded labels, of the tiles that have one; land_use_starts.npy
    pop.npy, CO2.npy    float64 [tiles], nan for a tile without a total; only if some tile has one
    checksums.npy       uint32 [tiles], CRC-32 of a tile's geometry, text_index, label, edges, codes

Nothing damaged is read as data. Opening compares sizes, and checksums of the small files; reading
a tile compares its checksum, and images carry their own. meta.json is written last, so a folder
without it is unfinished.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data

from datasets.stores.city import check_labels, read_meta
from datasets.stores.codec import ImageFault, decode_image
from datasets.stores.tile import GEOMETRY_WIDTH, TOTALS, Tile
from utils.errors import TileError, one_line

FORMAT, VERSION = "rose-tiles", 1
TILE_ARRAYS = ("geometry", "text_index", "label", "edges", "codes")  # in a checksum's order
_MAKE_AGAIN = "make the city again with prepare_dataset.py, or copy it again from where it came"


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
        _check_files(self.folder, self._store)
        self.label_names: list[str] | None = self.meta.get("label_names")
        self.names = (self.folder / "names.txt").read_text(encoding="utf-8").splitlines()
        self.image_shape: tuple[int, int, int] = tuple(self._store["image_shape"])
        self.node_width: int = self._store["text_width"] + GEOMETRY_WIDTH + 1
        self._maps: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": {}}  # each process maps the files itself

    def __len__(self) -> int:
        return len(self.names)

    @property
    def text(self) -> np.ndarray:
        return self._map("text.npy")

    def image(self, index: int) -> torch.Tensor:
        """Return uint8 [3, H, W]."""
        return self._decode("image", "images.bin", index, self.image_shape)

    def land_use(self, index: int) -> torch.Tensor | None:
        """Return uint8 [H, W]; None if the tile has none."""
        if "land_use.bin" not in self._store["bytes"]:
            return None
        starts = self._map("land_use_starts.npy")
        if starts[index] == starts[index + 1]:
            return None
        return self._decode("land_use", "land_use.bin", index, (1, *self.image_shape[1:]))[0]

    def total(self, index: int, name: str) -> float | None:
        """Return the tile's sum of `name`, one of TOTALS; None if it has none."""
        if f"{name}.npy" not in self._store["bytes"]:
            return None
        value = float(self._map(f"{name}.npy")[index])
        return None if np.isnan(value) else value

    def graph(self, index: int) -> Data:
        """Return x float32 [n, node_width], edge_index int64 [2, e], edge_attr float32 [e, 1] and
        name."""
        geometry, text_index, label, edges, codes = self._pieces(index)
        x = np.empty((len(geometry), self.node_width), np.float32)
        x[:, :-GEOMETRY_WIDTH - 1] = self.text[text_index]
        x[:, -GEOMETRY_WIDTH - 1:-1] = geometry
        x[:, -1] = label
        return Data(x=torch.from_numpy(x),
                    edge_index=torch.from_numpy(edges.reshape(2, -1).astype(np.int64)),
                    edge_attr=torch.from_numpy(codes[:, None].astype(np.float32)),
                    name=self.names[index])

    def tile(self, index: int) -> Tile:
        """Return everything a tile has."""
        geometry, text_index, label, edges, codes = self._pieces(index)
        land_use = self.land_use(index)
        totals = {name: self.total(index, name) for name in TOTALS}
        return Tile(
            self.names[index], self.image(index).numpy(), geometry.copy(),
            text_index.astype(np.int64), label.astype(np.int64),
            edges.reshape(2, -1).astype(np.int64), codes.astype(np.float32),
            None if land_use is None else land_use.numpy(),
            {name: total for name, total in totals.items() if total is not None},
        )

    def _pieces(self, index: int) -> list[np.ndarray]:
        """Return the tile's pieces of TILE_ARRAYS, checked."""
        nodes, edges = (slice(*self._map(f"{unit}_starts.npy")[index:index + 2].tolist())
                        for unit in ("node", "edge"))
        both = slice(2 * edges.start, 2 * edges.stop)
        pieces = [self._map(f"{name}.npy")[piece]
                  for name, piece in zip(TILE_ARRAYS, (nodes, nodes, nodes, both, edges),
                                         strict=True)]
        if checksum(pieces) != self._map("checksums.npy")[index]:
            raise TileError(f"{self.folder}: the graph of tile {self.names[index]} does not have "
                            "its checksum, expected what was written; a file is damaged; "
                            f"{_MAKE_AGAIN}")
        return pieces

    def _decode(self, unit: str, file: str, index: int,
                shape: tuple[int, int, int]) -> torch.Tensor:
        first, last = self._map(f"{unit}_starts.npy")[index:index + 2].tolist()
        try:
            return torch.from_numpy(decode_image(self._map(file)[first:last], shape))
        except ImageFault as fault:
            raise TileError(f"{self.folder / file}: tile {self.names[index]} cannot be decoded "
                            f"({fault}), expected an image of {shape[2]} x {shape[1]} pixels; the "
                            f"file is damaged; {_MAKE_AGAIN}") from fault

    def _map(self, file: str) -> np.ndarray:
        if file not in self._maps:
            self._maps[file] = _open(self.folder / file)
        return self._maps[file]


def checksum(pieces: list[np.ndarray]) -> int:
    """Return the CRC-32 of the arrays' bytes, one after the other."""
    value = 0
    for piece in pieces:
        value = zlib.crc32(piece, value)
    return value


def _open(path: Path) -> np.ndarray:
    """Map a file as a plain array; numpy's memmap class would slow every slice."""
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        return np.memmap(path, np.uint8, mode="r").view(np.ndarray)
    except (OSError, ValueError) as error:
        raise TileError(f"{path}: cannot be read ({one_line(error)}), expected an array; "
                        f"{_MAKE_AGAIN}") from error


def _read_meta(path: Path) -> dict:
    if not path.is_file():
        raise TileError(f"{path}: missing, expected it in every city's folder; the city was not "
                        f"finished; {_MAKE_AGAIN}")
    meta = read_meta(path, _MAKE_AGAIN)
    if meta.get("format") != FORMAT:
        raise TileError(f"{path}: format is {json.dumps(meta.get('format'))[:60]}, expected "
                        f'"{FORMAT}"; {_MAKE_AGAIN}')
    if meta.get("version") != VERSION:
        raise TileError(f"{path}: version is {json.dumps(meta.get('version'))[:60]}, expected "
                        f"{VERSION}; read it with the version of Rose that wrote it, or make the "
                        "city again with prepare_dataset.py")
    _check_store(meta.get("store"), path)
    check_labels(meta.get("label_names"), path)
    return meta


def _check_store(store: object, path: Path) -> None:
    kinds = {"tiles": int, "nodes": int, "edges": int, "text_width": int, "image_shape": list,
             "bytes": dict, "crc32": dict}
    wrong = [key for key, kind in kinds.items()
             if not (isinstance(store, dict) and isinstance(store.get(key), kind))]
    if wrong:
        raise TileError(f"{path}: store.{wrong[0]} is missing or of another kind, expected what "
                        f"prepare_dataset.py wrote; {_MAKE_AGAIN}")


def _check_files(folder: Path, store: dict) -> None:
    for file, size in store["bytes"].items():
        path = folder / file
        if not path.is_file():
            raise TileError(f"{path}: missing, expected a file of {size} bytes; {_MAKE_AGAIN}")
        if (actual := path.stat().st_size) != size:
            raise TileError(f"{path}: has {actual} bytes, expected {size}; the file is truncated "
                            f"or was changed; {_MAKE_AGAIN}")
        if file in store["crc32"] and zlib.crc32(path.read_bytes()) != store["crc32"][file]:
            raise TileError(f"{path}: does not have its checksum, expected what was written; the "
                            f"file is damaged; {_MAKE_AGAIN}")
