"""Join the parts of a city into the compact layout (compact_city.py): copy each tile's pieces to
where the order of names puts them."""

import json
import os
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from datasets.stores.city import repeated
from datasets.stores.compact_city import FORMAT, VERSION, checksum
from datasets.stores.parts import COVER, PIECES, Part
from datasets.stores.tile import GEOMETRY_WIDTH, TOTALS
from utils.errors import TileError
from utils.files import replacing

# compact_city.TILE_ARRAYS, as a part names them
_CHECKED = ("geometry", "text", "label", "edges", "codes", "newness", *COVER)
_FILES = {"images": "images.bin", "land_use": "land_use.bin", "text": "text_index.npy",
          **{name: f"{name}.npy" for name in _CHECKED if name != "text"}}


def join_parts(parts: Iterable[Path], folder: Path, text_table: np.ndarray, meta: dict) -> None:
    """Make a city's folder from the tiles in `parts`, in memory that does not grow with their
    content.

    The result depends on the tiles alone, not on how they were dealt to parts. The folder has no
    meta.json, so is no city, until all else is on disk.

    Args:
        parts: files of `write_part`; each tile is in one of them.
        folder: the folder to make, such as root/cities/CITY. Files in it are written over.
        text_table: float32 [values, width]; the tiles' `text` counts its rows.
        meta: what describes the city as a whole, as JSON; "label_names" lists tag values by label
            code.

    Raises:
        TileError: a part cannot be read, there is no tile, two have one name, or their sizes
            differ.
    """
    joint = _Joint([Path(part) for part in parts], Path(folder),
                   np.ascontiguousarray(text_table, np.float32))
    joint.folder.mkdir(parents=True, exist_ok=True)
    (joint.folder / "meta.json").unlink(missing_ok=True)
    joint.write_small()
    joint.write_large()
    joint.write_meta(meta)


class _Joint:
    """A city that is being joined: what is known of every tile before the first is copied."""

    def __init__(self, parts: list[Path], folder: Path, text: np.ndarray):
        self.parts, self.folder, self.text = parts, folder, text
        names: list[str] = []
        shapes, labels, whole, dated, covered = set(), [0], True, False, False
        counts: dict[str, list[np.ndarray]] = {
            unit: [] for unit in ("images", "land_use", "nodes", "edges", "cover")}
        totals: dict[str, list[np.ndarray]] = {name: [] for name in TOTALS}
        for path in parts:
            with Part(path) as part:
                names += part.names
                shapes |= {part.image_shape} if part.names else set()
                for unit, lists in counts.items():
                    lists.append(part.counts[unit])
                for name, lists in totals.items():
                    lists.append(part.array(name))
                label = part.array("label")
                labels += [label.min(), label.max()] if len(label) else []
                dated, covered = dated or part.dated, covered or part.covered
                whole = whole and _are_bytes(part.array("codes"))
        if not names or len(shapes) > 1:
            problem = f"images of {len(shapes)} sizes" if names else "no tile"
            raise TileError(f"{folder}: the parts of the city hold {problem}, expected one tile or "
                            "more, all of one size")
        order = np.argsort(np.array(names, np.str_), kind="stable")
        self.names = [names[index] for index in order]
        if name := repeated(self.names):
            raise TileError(f"{folder}: the parts of the city hold tile {name} twice, expected "
                            "every tile once")
        self.index = np.empty(len(names), np.int64)     # in self.names, of each tile of the parts
        self.index[order] = np.arange(len(names))
        self.image_shape = shapes.pop()
        joined = {unit: np.concatenate(lists)[order] for unit, lists in counts.items()}
        self.starts = {unit: np.concatenate([[0], np.cumsum(count)])
                       for unit, count in joined.items()}
        self.totals = {name: np.concatenate(lists)[order] for name, lists in totals.items()}
        self.dtypes = {
            "geometry": np.dtype(np.float32), "text": np.min_scalar_type(max(len(text) - 1, 0)),
            "label": np.result_type(np.min_scalar_type(min(labels)),
                                    np.min_scalar_type(max(labels))),
            "edges": np.dtype(np.uint16 if joined["nodes"].max() <= 2**16 else np.uint32),
            "codes": np.dtype(np.uint8 if whole else np.float32), "images": np.dtype(np.uint8),
            "land_use": np.dtype(np.uint8), "newness": np.dtype(np.float32),
            "cover_counts": np.dtype(np.uint16), "cover_cell": np.dtype(np.uint16),
            "cover_share": np.dtype(np.uint8),
        }
        self.covered = covered
        left_out = {"land_use": not self.starts["land_use"][-1], "newness": not dated,
                    **dict.fromkeys(COVER, not covered)}
        self.kept = [name for name in PIECES if not left_out.get(name)]

    def write_small(self) -> None:
        """Write the files that are read whole when a dataset is opened."""
        lines = "".join(f"{name}\n" for name in self.names)
        (self.folder / "names.txt").write_text(lines, encoding="utf-8")
        arrays = {"text": self.text, "image_starts": self.starts["images"],
                  "node_starts": self.starts["nodes"], "edge_starts": self.starts["edges"]}
        if self.starts["land_use"][-1]:
            arrays["land_use_starts"] = self.starts["land_use"]
        if self.covered:
            arrays["cover_starts"] = self.starts["cover"]
        arrays |= {name: total for name, total in self.totals.items() if not np.isnan(total).all()}
        for name, array in arrays.items():
            np.save(self.folder / f"{name}.npy", array)
        self.small = ["names.txt", *(f"{name}.npy" for name in arrays), "checksums.npy"]

    def write_large(self) -> None:
        """Write the files that hold the tiles' content, part by part; each tile's piece goes where
        the order of names puts it."""
        checksums = np.zeros(len(self.names), np.uint32)
        same = _first_of_equal(self.text)
        with ExitStack() as stack:
            files = {name: stack.enter_context(self._scattered(name)) for name in self.kept}
            first = 0
            for path in self.parts:
                with Part(path) as part:
                    indices = self.index[first:first + len(part.names)].tolist()
                    first += len(part.names)
                    pieces = {name: [piece.astype(self.dtypes[name])
                                     for piece in part.pieces(name)] for name in self.kept
                              if name != "text"}
                    pieces["text"] = [same[piece].astype(self.dtypes["text"])
                                      for piece in part.pieces("text")]
                for name, file in files.items():
                    for index, piece in zip(indices, pieces[name], strict=True):
                        file.put(index, piece)
                for number, index in enumerate(indices):
                    checksums[index] = checksum([pieces[name][number] for name in _CHECKED
                                                if name in pieces])
        np.save(self.folder / "checksums.npy", checksums)
        self.large = [file.path.name for file in files.values()]

    def _scattered(self, name: str) -> "_ScatteredFile":
        unit, factor = PIECES[name]
        return _ScatteredFile(self.folder / _FILES[name], self.dtypes[name],
                              self.starts[unit] * factor,
                              columns=GEOMETRY_WIDTH if name == "geometry" else None)

    def write_meta(self, meta: dict) -> None:
        """Remove whatever else the folder holds, then write meta.json, which makes it a city."""
        files = sorted([*self.small, *self.large])
        for path in self.folder.iterdir():
            if path.is_file() and path.name not in files:
                path.unlink()
        store = {
            "tiles": len(self.names), "nodes": int(self.starts["nodes"][-1]),
            "edges": int(self.starts["edges"][-1]),
            **({"cover": int(self.starts["cover"][-1])} if self.covered else {}),
            "text_width": self.text.shape[1], "image_shape": list(self.image_shape),
            "bytes": {file: (self.folder / file).stat().st_size for file in files},
            "crc32": {file: zlib.crc32((self.folder / file).read_bytes())
                      for file in sorted(self.small)},
        }
        text = json.dumps({"format": FORMAT, "version": VERSION, "store": store, **meta}, indent=2,
                          ensure_ascii=False) + "\n"
        with replacing(self.folder / "meta.json") as temporary:
            temporary.write_text(text, encoding="utf-8")


class _ScatteredFile:
    """A file of one array, with numpy's header if it ends in .npy, written piece by piece in any
    order. `starts` [tiles + 1] is where the pieces begin, in elements or, with columns, in
    rows."""

    def __init__(self, path: Path, dtype: np.dtype, starts: np.ndarray,
                 columns: int | None = None):
        self.path, rows = path, int(starts[-1])
        self._file = path.open("wb")
        if path.suffix == ".npy":
            shape = (rows,) if columns is None else (rows, columns)
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False,
                      "shape": shape}
            np.lib.format.write_array_header_1_0(self._file, header)
        self._file.flush()
        self._begins = (self._file.tell() + starts * (dtype.itemsize * (columns or 1))).tolist()
        self._file.truncate(self._begins[-1])

    def __enter__(self) -> "_ScatteredFile":
        return self

    def __exit__(self, *error: object) -> None:
        os.fsync(self._file.fileno())
        self._file.close()

    def put(self, index: int, piece: np.ndarray) -> None:
        """Write the piece of tile `index`."""
        self._file.seek(self._begins[index])
        self._file.write(piece)


def _are_bytes(codes: np.ndarray) -> bool:
    """Tell whether float32 codes are whole numbers from 0 to 255, to the bit."""
    clipped = codes.clip(0, 255).astype(np.uint8).astype(np.float32)
    return clipped.tobytes() == codes.tobytes()


def _first_of_equal(table: np.ndarray) -> np.ndarray:
    """Return for each row the first row that is equal to it, to the bit: [rows]. Thus the stored
    index does not depend on who made the table."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(row.tobytes(), index) for index, row in enumerate(table)],
                    np.int64)
