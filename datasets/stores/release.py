"""The layout of the Rose authors' published data: some files per tile, which any program can read.

    root/img/NAME.png         RGB, 224 x 224
    root/node/NAME.tensor     float [n, 525]
    root/edge/NAME.tensor     int64 [2, e]
    root/edge_w/NAME.tensor   [e, 1]
    root/label/NAME.png       optional; land use, one byte a pixel
    root/pop/NAME.txt         optional; first line a number, the tile's sum; CO2/ the same way
    root/newness/NAME.tensor  optional; float32 [n], as `Tile.newness`
    root/cover/NAME.tensor    optional; int32 [3, k], rows index, cell and share of a `Cover`
    root/meta/CITY.json       optional; "label_names": the city's tag values, by label code
    root/meta/CITY.text.npy   optional; the city's text table, to make the compact layout again
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch_geometric.data import Data

from datasets.arrays import read_array
from datasets.stores.city import META, check_cities, cities_of, city_of
from datasets.stores.cover import Cover
from datasets.stores.names import check_names
from datasets.stores.tile import TOTALS, Tile
from datasets.stores.tile_files import (
    MAKE_AGAIN,
    is_there,
    read_cover,
    read_edges,
    read_image,
    read_land_use,
    read_newness,
    read_nodes,
    read_total,
    read_weights,
)
from utils.contents import read_json
from utils.errors import TileError
from utils.files import failing_as

GRAPH_FOLDERS = ("node", "edge", "edge_w")
TILE_FOLDERS = {"img": ".png", **dict.fromkeys(GRAPH_FOLDERS, ".tensor"), "label": ".png",
                **dict.fromkeys(TOTALS, ".txt"), "newness": ".tensor", "cover": ".tensor"}
MAKE = "prepare_dataset.py makes such a dataset from a raster and an OSM extract"
_COMPRESS_LEVEL = 1  # more gains nothing on aerial images, and takes two to five times as long


class ReleaseTiles:
    """The tiles of a dataset in the release's layout, by their index in `names`.

    Args:
        cities: keep only the tiles of these cities; None or empty keeps all.

    Attributes:
        names: the tiles' names, sorted.
        label_names: city -> tag values by label code, for the cities that have a meta file.

    Raises:
        TileError: the folder, one of its parts, a file of a tile or a city is missing, or a file
            that is read, now or with a tile, is not as described above.
    """

    def __init__(self, root: Path, cities: Sequence[str] | None = None):
        self.root = root
        self.names = _list_tiles(root)
        if cities:
            check_cities(cities, cities_of(self.names), root)
            self.names = [name for name in self.names if city_of(name) in cities]
        _check_complete(root, self.names)
        self.meta = {city: read_json(path, META, f"{MAKE_AGAIN}, or remove the file", TileError)
                     for city, path in self._meta_paths().items()}
        self.label_names = {city: meta["label_names"] for city, meta in self.meta.items()
                            if meta.get("label_names") is not None}

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int, size: int | None = None) -> Tensor:
        """Return uint8 [3, H, W]; raise if a given `size` is not its height and width."""
        return read_image(self._path("img", index), size)

    def graph(self, index: int, node_width: int | None = None) -> Data:
        """Return x float32 [n, node_width], edge_index int64 [2, e], edge_attr float32 [e, 1],
        name and any cover; raise if the nodes have another width than a given one."""
        node_path, edge_path, weight_path = (self._path(folder, index) for folder in GRAPH_FOLDERS)
        nodes = read_nodes(node_path, node_width)
        edges = read_edges(edge_path, len(nodes))
        weights = read_weights(weight_path, edges.shape[1])
        cover = self._cover(index, len(nodes))
        return Data(x=nodes, edge_index=edges, edge_attr=weights, name=self.names[index],
                    **({} if cover is None else cover.tensors()))

    def land_use(self, index: int) -> Tensor | None:
        """Return uint8 [H, W]; None if the tile has none."""
        path = self._path("label", index)
        return read_land_use(path) if is_there(path) else None

    def total(self, index: int, name: str) -> float | None:
        """Return the tile's sum of `name`, one of TOTALS; None if it has none."""
        path = self._path(name, index)
        return read_total(path) if is_there(path) else None

    def newness(self, index: int) -> Tensor | None:
        """Return float32 [n], as `Tile.newness`; None if the tile has none."""
        path = self._path("newness", index)
        if not is_there(path):
            return None
        nodes = len(read_nodes(self._path("node", index), None))
        return read_newness(path, nodes)

    def _cover(self, index: int, nodes: int) -> Cover | None:
        path = self._path("cover", index)
        return read_cover(path, nodes) if is_there(path) else None

    def files(self) -> list[Path]:
        """Return the files of all images and graphs."""
        files = [self._path(folder, index) for folder in ("img", *GRAPH_FOLDERS)
                 for index in range(len(self))]
        covers = (self._path("cover", index) for index in range(len(self)))
        return files + [path for path in covers if is_there(path)]

    def text_table(self, city: str) -> np.ndarray | None:
        """Return a city's text vectors, float32 [values, width]; None if it has none."""
        path = _text_path(self.root, city)
        if not is_there(path):
            return None
        table = read_array(path, "f", (None, None), "remove the file", TileError)
        if table.dtype != np.float32 or not table.shape[1] or not np.isfinite(table).all():
            raise TileError(f"{path}: holds {table.dtype} {list(table.shape)}, expected the table "
                            "of text vectors, finite float32 [values, width]; remove the file")
        return table

    def _path(self, folder: str, index: int) -> Path:
        return self.root / folder / f"{self.names[index]}{TILE_FOLDERS[folder]}"

    def _meta_paths(self) -> dict[str, Path]:
        paths = {city: self.root / "meta" / f"{city}.json" for city in cities_of(self.names)}
        return {city: path for city, path in paths.items() if is_there(path)}


def release_folders(root: Path) -> list[Path]:
    """Return the folders of a dataset's tiles and meta files, whether they exist or not."""
    return [Path(root) / folder for folder in (*TILE_FOLDERS, "meta")]


def write_release_tile(root: Path, tile: Tile, text_table: np.ndarray) -> None:
    """Write one tile into the folders of the dataset at `root`, made if missing; the tile's `text`
    counts rows of `text_table`, float32 [values, width]."""
    graph = tile.graph(text_table)
    tensors = dict(zip(GRAPH_FOLDERS, (graph.x, graph.edge_index, graph.edge_attr), strict=True))
    if tile.newness is not None:
        tensors["newness"] = torch.from_numpy(np.array(tile.newness, np.float32))
    if tile.cover is not None:
        tensors["cover"] = torch.from_numpy(np.stack(tile.cover).astype(np.int32))
    for folder, tensor in tensors.items():
        path = _made(root, folder, tile.name)
        with failing_as(path, OSError, RuntimeError):
            torch.save(tensor, path)
    images = {"img": np.ascontiguousarray(tile.image.transpose(1, 2, 0)), "label": tile.land_use}
    for folder, pixels in images.items():
        if pixels is not None:
            path = _made(root, folder, tile.name)
            with failing_as(path, OSError):
                Image.fromarray(pixels).save(path, compress_level=_COMPRESS_LEVEL)
    for name, total in tile.totals.items():
        _made(root, name, tile.name).write_text(f"{float(total)!r}\n", encoding="utf-8")


def write_release_meta(root: Path, city: str, meta: dict, text_table: np.ndarray) -> None:
    """Write what describes a city as a whole: its text table, and its meta file unless empty."""
    path = _text_path(root, city)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.ascontiguousarray(text_table, np.float32))
    if meta:
        text = json.dumps(meta, indent=2, ensure_ascii=False) + "\n"
        (path.parent / f"{city}.json").write_text(text, encoding="utf-8")


def _text_path(root: Path, city: str) -> Path:
    return Path(root) / "meta" / f"{city}.text.npy"


def _made(root: Path, folder: str, name: str) -> Path:
    check_names([name], root)
    (Path(root) / folder).mkdir(parents=True, exist_ok=True)
    return Path(root) / folder / f"{name}{TILE_FOLDERS[folder]}"


def _list_tiles(root: Path) -> list[str]:
    names = sorted(_stems(root / "img", ".png"))
    if not names:
        lack = "tiles (img/*.png)" if (root / "img").is_dir() else "folder img"
        raise TileError(f"{root}: has no {lack}, expected img/NAME.png, node/NAME.tensor, "
                        "edge/NAME.tensor and edge_w/NAME.tensor for each tile (or "
                        f"cities/CITY/meta.json, the compact layout); correct the path; {MAKE}")
    check_names(names, root / "img")
    return names


def _stems(folder: Path, suffix: str) -> set[str]:
    """Return the names without suffix of the folder's files, but not of hidden ones, such as the
    copies that macOS leaves."""
    if not folder.is_dir():
        return set()
    return {path.stem for path in folder.iterdir() if path.suffix == suffix
            and not path.name.startswith(".")}


def _check_complete(root: Path, names: list[str]) -> None:
    for folder in GRAPH_FOLDERS:
        missing = sorted(set(names) - _stems(root / folder, ".tensor"))
        if missing:
            raise TileError(f"{root / folder / missing[0]}.tensor: missing, as for {len(missing)} "
                            f"of {len(names)} tiles; expected one for every img/NAME.png; "
                            f"{MAKE_AGAIN}, or remove its image")
