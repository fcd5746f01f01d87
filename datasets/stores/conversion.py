"""Conversion of a dataset from one layout to the other, bit for bit."""

import os
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datasets.dealt_lists import DEALT, is_list, lists_in
from datasets.graph_cover import cover_of
from datasets.sample_city.marker import MARKER
from datasets.stores.city import NO_CITY, city_of
from datasets.stores.compact import CITIES, CompactTiles, join_parts, write_part
from datasets.stores.open import open_store
from datasets.stores.release import (
    ReleaseTiles,
    release_folders,
    write_release_meta,
    write_release_tile,
)
from datasets.stores.tile import GEOMETRY_WIDTH, TOTALS, Tile
from utils.errors import ConfigError, TileError
from utils.files import failing_as
from utils.progress import say_if_slow
from utils.tables import format_bytes
from utils.work_folder import WorkFolder

_PART = 512  # tiles in memory at once


def convert(src: str | Path, dst: str | Path, layout: str | None = None, overwrite: bool = False,
            progress: bool = True) -> str:
    """Convert the dataset `src` to the layout that it does not have; return what was made, in a
    line.

    Args:
        dst: folder to make; on any failure it stays as it was.
        layout: "compact" or "release", refused where it is the layout of `src`; None: the other
            one.
        overwrite: replace a dataset that `dst` holds.

    Raises:
        TileError: `src` cannot be read.
        ConfigError: `dst` or `layout` is impossible.
        PrepareError: `dst` cannot be written, or another run is making it.
    """
    src, dst = Path(src), Path(dst)
    with say_if_slow(f"opening {src}"):
        tiles = open_store(src)
    target = "release" if isinstance(tiles, CompactTiles) else "compact"
    if layout not in (None, target):
        raise ConfigError(f"layout={layout}: {src} has this layout already, expected "
                          f"layout={target}; or copy the folder as it is")
    _check_destination(src, dst, overwrite)
    place = Path(os.path.abspath(dst))  # a name without `..`
    name = place.name
    work = WorkFolder(place.parent, f"converting-{name}", f"making {name}", key="dst")
    with work.held(resumable=False):
        folder = work.empty() / name
        folder.mkdir()
        with tqdm(total=len(tiles), unit="tile", desc=f"to {target}", disable=not progress) as bar:
            if isinstance(tiles, CompactTiles):
                _write_release(tiles, folder, bar)
            else:
                _write_compact(tiles, folder, bar)
        with say_if_slow(f"putting {dst} in its place"):
            left_out = _copy_others(src, folder)
            work.install([name], replaced=[name])
            work.clear()
            return (f"{dst}: {len(tiles)} tiles in the {target} layout, "
                    f"{format_bytes(_size(dst))}; {src} has {format_bytes(_size(src))}{left_out}")


def _copy_others(src: Path, folder: Path) -> str:
    """Copy lists and other files in the root of a dataset; return what was left out, in words.

    Nothing but regular files: a link may lead to a file that is no part of the dataset.
    """
    left_out = []
    for path in [*sorted(src.iterdir()), *(path for path in lists_in(src) if path.parent != src)]:
        hidden = path.name.startswith(".") and path.name != DEALT
        if hidden or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file():
            left_out.append(f"{path.name!r}")
            continue
        copy = folder / path.relative_to(src)
        copy.parent.mkdir(exist_ok=True)
        with failing_as(copy, OSError):
            shutil.copyfile(path, copy)
    return f"; not copied, being links or no files: {', '.join(left_out)}" if left_out else ""


def _write_release(tiles: CompactTiles, folder: Path, bar: tqdm) -> None:
    for name, city in tiles.cities.items():
        for index in range(len(city)):
            write_release_tile(folder, city.tile(index), city.text)
            bar.update()
        if name != NO_CITY:
            write_release_meta(folder, name, city.meta, city.text)


def _write_compact(tiles: ReleaseTiles, folder: Path, bar: tqdm) -> None:
    indices: dict[str, list[int]] = {}
    for index, name in enumerate(tiles.names):
        indices.setdefault(city_of(name) or NO_CITY, []).append(index)
    for city, own in indices.items():
        table = TextTable(tiles.text_table(city))
        parts = []
        for first in range(0, len(own), _PART):
            parts.append(folder / f".part-{first}")
            write_part(parts[-1], (_read_tile(tiles, index, table, bar)
                                   for index in own[first:first + _PART]))
        with say_if_slow(f"joining the tiles of {city}"):
            join_parts(parts, folder / CITIES / city, table.vectors(), tiles.meta.get(city, {}))
        for part in parts:
            part.unlink()


def _read_tile(tiles: ReleaseTiles, index: int, table: "TextTable", bar: tqdm) -> Tile:
    graph, name, image = tiles.graph(index), tiles.names[index], tiles.image(index).numpy()
    x = graph.x.numpy()
    with np.errstate(invalid="ignore"):
        label = x[:, -1].astype(np.int64)
    if not (label == x[:, -1]).all():
        row = int((label != x[:, -1]).argmax())
        raise TileError(f"{tiles.root}/node/{name}.tensor: row {row}, the last column is "
                        f"{x[row, -1]}, expected a whole number, the label code; make the tile "
                        "again with prepare_dataset.py")
    land_use = tiles.land_use(index)
    if land_use is not None and land_use.shape != image.shape[1:]:
        raise TileError(f"{tiles.root}/label/{name}.png: the label has {land_use.shape[1]} x "
                        f"{land_use.shape[0]} pixels, expected {image.shape[2]} x "
                        f"{image.shape[1]}, those of img/{name}.png; make the tile again with "
                        "prepare_dataset.py")
    newness = tiles.newness(index)
    totals = {quantity: tiles.total(index, quantity) for quantity in TOTALS}
    bar.update()
    text, geometry = np.split(x[:, :-1], [x.shape[1] - 1 - GEOMETRY_WIDTH], axis=1)
    return Tile(name, image, geometry, table.index(text, name), label, graph.edge_index.numpy(),
                graph.edge_attr[:, 0].numpy(), None if land_use is None else land_use.numpy(),
                {key: total for key, total in totals.items() if total is not None},
                None if newness is None else newness.numpy(), cover_of(graph))


class TextTable:
    """Text vectors that differ in any bit, in the order of their first appearance after `start`,
    float32 [values, width]."""

    def __init__(self, start: np.ndarray | None = None):
        self._rows: dict[bytes, int] = {}
        self._width = None if start is None else start.shape[1]
        # a vector that `start` holds twice keeps both rows, and is known by the first
        self._stored = [] if start is None else [row.tobytes() for row in start]
        for number, row in enumerate(self._stored):
            self._rows.setdefault(row, number)

    def index(self, text: np.ndarray, name: str) -> np.ndarray:
        """Return the table's rows, int64 [n], for vectors [n, width] of tile `name`; add new ones.
        Raise TileError if the vectors have another width than those before."""
        if self._width not in (None, text.shape[1]):
            raise TileError(f"tile {name}: its text vectors have {text.shape[1]} columns, others "
                            f"of the city {self._width}, expected one width; make the city again "
                            "with prepare_dataset.py")
        self._width = text.shape[1]
        rows = []
        for vector in map(np.ndarray.tobytes, text):
            rows.append(self._rows.setdefault(vector, len(self._stored)))
            if rows[-1] == len(self._stored):
                self._stored.append(vector)
        return np.array(rows, np.int64)

    def vectors(self) -> np.ndarray:
        """Return the table, float32 [values, width]."""
        return np.frombuffer(b"".join(self._stored), np.float32).reshape(-1, self._width)


def _check_destination(src: Path, dst: Path, overwrite: bool) -> None:
    one, other = src.resolve(), dst.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise ConfigError(f"dst={dst}: is, holds or lies in src={src}, expected a folder beside "
                          "it; choose another dst")
    if not dst.exists() or (dst.is_dir() and not any(dst.iterdir())):
        return
    if not any((dst / folder).is_dir() for folder in (CITIES, "img")):
        raise ConfigError(f"dst={dst}: exists and is no dataset, expected a new folder; choose "
                          "another dst, or remove it yourself")
    if not overwrite:
        raise ConfigError(f"dst={dst}: already holds a dataset, expected none; pass "
                          "overwrite=true to replace it, or choose another dst")
    parts = {CITIES, MARKER, *(folder.name for folder in release_folders(dst))}
    others = sorted(path.name for path in dst.iterdir()
                    if path.name not in parts and not is_list(path))
    if others:
        raise ConfigError(f"dst={dst}: holds other files than a dataset's ({', '.join(others[:3])})"
                          ", which overwrite=true would remove; move them, or choose another dst")
    open_store(dst)  # what is no dataset is not ours to replace


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
