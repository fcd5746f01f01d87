"""A part of a city: the tiles of one band in one uncompressed .npz of concatenated arrays."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datasets.stores.codec import encode_image
from datasets.stores.cover import Cover, fault_of
from datasets.stores.names import check_names
from datasets.stores.tile import GEOMETRY_WIDTH, TOTALS, Tile
from utils.errors import TileError, one_line
from utils.files import replacing
from utils.remedies import removal

COVER = ("cover_counts", "cover_cell", "cover_share")  # of each node, of each entry
# Concatenated array -> the unit that its length is counted in, and its elements per unit.
PIECES = {"images": ("images", 1), "land_use": ("land_use", 1), "geometry": ("nodes", 1),
          "text": ("nodes", 1), "label": ("nodes", 1), "edges": ("edges", 2),
          "codes": ("edges", 1), "newness": ("nodes", 1), "cover_counts": ("nodes", 1),
          "cover_cell": ("cover", 1), "cover_share": ("cover", 1)}
# What stands for an array of PIECES that no tile of a part has.
_UNKNOWN = {"newness": np.float32(np.nan), **dict.fromkeys(COVER, np.uint8(0))}
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # numpy, damaged files


def write_part(path: Path, tiles: Iterable[Tile]) -> None:
    """Write tiles, in any order, to the file `path`, which is whole or absent; the same tiles make
    the same bytes. Raise ValueError if arrays of a tile disagree, or images differ in size."""
    tiles = list(tiles)
    check_names([tile.name for tile in tiles], path)
    for tile in tiles:
        _check(tile, tiles[0].image.shape)
    images = [encode_image(tile.image) for tile in tiles]
    land_use = [b"" if tile.land_use is None else encode_image(tile.land_use[None])
                for tile in tiles]
    arrays = {
        "names": np.array([tile.name for tile in tiles], np.str_),
        "image_shape": np.array(tiles[0].image.shape if tiles else (0, 0, 0)),
        "counts_images": _lengths(images), "counts_land_use": _lengths(land_use),
        "counts_nodes": _lengths([tile.geometry for tile in tiles]),
        "counts_edges": _lengths([tile.codes for tile in tiles]),
        "images": np.frombuffer(b"".join(images), np.uint8),
        "land_use": np.frombuffer(b"".join(land_use), np.uint8),
        "geometry": _joined([tile.geometry for tile in tiles],
                            np.float32).reshape(-1, GEOMETRY_WIDTH),
        "text": _joined([tile.text for tile in tiles], np.int64),
        "label": _joined([tile.label for tile in tiles], np.int64),
        "edges": _joined([tile.edges.ravel() for tile in tiles], np.uint32),
        "codes": _joined([tile.codes for tile in tiles], np.float32),
        **{name: np.array([tile.totals.get(name, np.nan) for tile in tiles], np.float64)
           for name in TOTALS},
    }
    if any(tile.newness is not None for tile in tiles):
        arrays["newness"] = _joined([tile.newness_or_nan() for tile in tiles], np.float32)
    if any(tile.cover is not None for tile in tiles):
        covers = [tile.cover or Cover.none() for tile in tiles]
        arrays |= {
            "counts_cover": _lengths([cover.cell for cover in covers]),
            "cover_counts": _joined([cover.counts(len(tile.geometry)) for cover, tile in
                                     zip(covers, tiles, strict=True)], np.uint16),
            "cover_cell": _joined([cover.cell for cover in covers], np.uint16),
            "cover_share": _joined([cover.share for cover in covers], np.uint8),
        }
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


class Part:
    """A file of `write_part` whose arrays are read on demand; TileError if it is missing or
    damaged.

    Attributes:
        names: the tiles' names.
        image_shape: (C, H, W) of every image; zeros in a part without tiles.
        counts: "images" and "land_use" (bytes), "nodes", "edges", "cover" (entries) -> int64
            [tiles].
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            self._arrays = np.load(self.path, allow_pickle=False)
        except _DAMAGED as error:
            raise _fault(self.path, error) from error
        self.names: list[str] = self.array("names").tolist()
        check_names(self.names, self.path)
        self.image_shape: tuple[int, ...] = tuple(self.array("image_shape").tolist())
        self.dated = "newness" in self._arrays  # whether newness of a tile is known
        self.covered = "counts_cover" in self._arrays  # whether a tile has cover
        self.counts = {unit: self.array(f"counts_{unit}")
                       for unit in ("images", "land_use", "nodes", "edges")}
        self.counts["cover"] = (self.array("counts_cover") if self.covered else
                                np.zeros_like(self.counts["nodes"]))

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *error: object) -> None:
        self._arrays.close()

    def array(self, name: str) -> np.ndarray:
        """Return one of the arrays that `write_part` wrote, whole."""
        try:
            return self._arrays[name]
        except _DAMAGED as error:
            raise _fault(self.path, error) from error

    def pieces(self, name: str) -> list[np.ndarray]:
        """Return each tile's piece of a concatenated array of PIECES."""
        if not self.names:
            return []
        unit, factor = PIECES[name]
        if name in _UNKNOWN and name not in self._arrays:
            return [np.full(count, _UNKNOWN[name]) for count in self.counts[unit]]
        return np.split(self.array(name), np.cumsum(self.counts[unit] * factor)[:-1])


def _fault(path: Path, error: Exception) -> TileError:
    return TileError(f"{path}: cannot be read as a part of a city ({one_line(error)}), expected a "
                     f"file that an earlier step wrote; {removal(path)}")


def _check(tile: Tile, image_shape: tuple[int, ...]) -> None:
    nodes, edges = len(tile.geometry), len(tile.codes)
    shapes = {"image": image_shape, "geometry": (nodes, GEOMETRY_WIDTH), "text": (nodes,),
              "label": (nodes,), "edges": (2, edges), "codes": (edges,)}
    if tile.newness is not None:
        shapes["newness"] = (nodes,)
    if tile.land_use is not None:
        shapes["land_use"] = image_shape[1:]
    for name, shape in shapes.items():
        if getattr(tile, name).shape != shape:
            raise ValueError(f"{tile.name}: {name} has shape {list(getattr(tile, name).shape)}, "
                             f"expected {list(shape)}")
    if edges and not 0 <= tile.edges.min() <= tile.edges.max() < nodes:
        raise ValueError(f"{tile.name}: an edge names a node outside 0..{nodes - 1}")
    if tile.cover is not None and (fault := fault_of(*tile.cover, nodes)):
        raise ValueError(f"{tile.name}: the cover {fault}")


def _lengths(pieces: list) -> np.ndarray:
    return np.array([len(piece) for piece in pieces], np.int64)


def _joined(pieces: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(pieces).astype(dtype) if pieces else np.empty(0, dtype)
