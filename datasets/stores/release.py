"""The layout of the Rose authors' published data: some files per tile, which any program can read.

    root/img/NAME.png         RGB, 224 x 224
    root/node/NAME.tensor     float [n, 525]
    root/edge/NAME.tensor     int64 [2, e]
    root/edge_w/NAME.tensor   [e, 1]
    root/label/NAME.png       optional; land use, one byte a pixel
    root/pop/NAME.txt         optional; first line a number, the tile's sum; CO2/ the same way
    root/meta/CITY.json       optional; "label_names": the city's tag values, by label code
    root/meta/CITY.text.npy   optional; the city's text table, to make the compact layout again
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch_geometric.data import Data

from datasets.stores.city import check_cities, check_labels, cities_of, city_of, read_meta
from datasets.stores.tile import TOTALS, Tile
from utils.errors import TileError, one_line
from utils.files import failing_as
from utils.tensor_files import FileFault, load_tensors

GRAPH_FOLDERS = ("node", "edge", "edge_w")
TILE_FOLDERS = {"img": ".png", **dict.fromkeys(GRAPH_FOLDERS, ".tensor"), "label": ".png",
                **dict.fromkeys(TOTALS, ".txt")}
MAKE = "prepare_dataset.py makes such a dataset from a raster and an OSM extract"
MAKE_AGAIN = "make the tile again with prepare_dataset.py, or copy it again from where it came"
_COMPRESS_LEVEL = 1  # more gains nothing on aerial images, and takes two to five times as long
_DAMAGED = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # Pillow, damaged files


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
        self.meta = {city: read_meta(path, f"{MAKE_AGAIN}, or remove the file")
                     for city, path in self._meta_paths().items()}
        self.label_names = {city: meta["label_names"] for city, meta in self.meta.items()
                            if meta.get("label_names") is not None}
        for city, labels in self.label_names.items():
            check_labels(labels, self._meta_paths()[city])

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int, size: int | None = None) -> Tensor:
        """Return uint8 [3, H, W]; raise if a given `size` is not its height and width."""
        return read_image(self._path("img", index), size)

    def graph(self, index: int, node_width: int | None = None) -> Data:
        """Return x float32 [n, node_width], edge_index int64 [2, e], edge_attr float32 [e, 1] and
        name; raise if the nodes have another width than a given one."""
        node_path, edge_path, weight_path = (self._path(folder, index) for folder in GRAPH_FOLDERS)
        nodes = _check_nodes(read_tensor(node_path), node_path, node_width)
        edges = _check_edges(read_tensor(edge_path), edge_path, len(nodes))
        weights = _check_weights(read_tensor(weight_path), weight_path, edges.shape[1])
        return Data(x=nodes, edge_index=edges, edge_attr=weights, name=self.names[index])

    def land_use(self, index: int) -> Tensor | None:
        """Return uint8 [H, W]; None if the tile has none."""
        path = self._path("label", index)
        return read_land_use(path) if path.is_file() else None

    def total(self, index: int, name: str) -> float | None:
        """Return the tile's sum of `name`, one of TOTALS; None if it has none."""
        path = self._path(name, index)
        return read_total(path) if path.is_file() else None

    def files(self) -> list[Path]:
        """Return the files of all images and graphs."""
        return [self._path(folder, index) for folder in ("img", *GRAPH_FOLDERS)
                for index in range(len(self))]

    def text_table(self, city: str) -> np.ndarray | None:
        """Return a city's text vectors, float32 [values, width]; None if it has none."""
        path = _text_path(self.root, city)
        if not path.is_file():
            return None
        try:
            table = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise TileError(f"{path}: cannot be read ({one_line(error)}), expected the table of "
                            "text vectors; remove the file") from error
        if table.ndim != 2 or table.dtype != np.float32:
            raise TileError(f"{path}: holds {table.dtype} {list(table.shape)}, expected float32 "
                            "[values, width]; remove the file")
        return table

    def _path(self, folder: str, index: int) -> Path:
        return self.root / folder / f"{self.names[index]}{TILE_FOLDERS[folder]}"

    def _meta_paths(self) -> dict[str, Path]:
        paths = {city: self.root / "meta" / f"{city}.json" for city in cities_of(self.names)}
        return {city: path for city, path in paths.items() if path.is_file()}


def release_folders(root: Path) -> list[Path]:
    """Return the folders of a dataset's tiles and meta files, whether they exist or not."""
    return [Path(root) / folder for folder in (*TILE_FOLDERS, "meta")]


def write_release_tile(root: Path, tile: Tile, text_table: np.ndarray) -> None:
    """Write one tile into the folders of the dataset at `root`, made if missing; the tile's `text`
    counts rows of `text_table`, float32 [values, width]."""
    graph = tile.graph(text_table)
    for folder, tensor in zip(GRAPH_FOLDERS, (graph.x, graph.edge_index, graph.edge_attr),
                              strict=True):
        path = _made(root, folder, tile.name)
        with failing_as(path, RuntimeError):  # torch's, of a full disk
            torch.save(tensor, path)
    Image.fromarray(np.ascontiguousarray(tile.image.transpose(1, 2, 0))).save(
        _made(root, "img", tile.name), compress_level=_COMPRESS_LEVEL)
    if tile.land_use is not None:
        Image.fromarray(tile.land_use).save(_made(root, "label", tile.name),
                                            compress_level=_COMPRESS_LEVEL)
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
    (Path(root) / folder).mkdir(parents=True, exist_ok=True)
    return Path(root) / folder / f"{name}{TILE_FOLDERS[folder]}"


def read_image(path: Path, size: int | None = None) -> Tensor:
    """Read an RGB image as uint8 [3, H, W]; raise TileError if the file cannot be decoded, has
    another mode, or not size x size pixels."""
    try:
        with Image.open(path) as image:
            _check_image(image, path, size)
            pixels = np.array(image)  # [H, W, 3]
    except _DAMAGED as error:
        raise TileError(f"{path}: cannot be read as an image ({one_line(error)}); the file is "
                        f"truncated or damaged; {MAKE_AGAIN}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _check_image(image: Image.Image, path: Path, size: int | None) -> None:
    if image.mode != "RGB":
        raise TileError(f"{path}: the image has mode {image.mode}, expected 8-bit RGB; convert it "
                        'with `python -c "from PIL import Image; '
                        f"Image.open('{path}').convert('RGB').save('{path}')\"`")
    if size is not None and image.size != (size, size):
        raise TileError(f"{path}: the image has {image.width} x {image.height} pixels, expected "
                        f"{size} x {size}; re-tile with prepare_dataset.py, or, if the tile's "
                        "ground is right, resize the image")


def read_land_use(path: Path) -> Tensor:
    """Read a label image, grey or with a palette, as the stored bytes: uint8 [H, W]; raise
    TileError if the file cannot be decoded, or has another mode."""
    try:
        with Image.open(path) as image:
            if image.mode not in ("L", "P"):
                raise TileError(f"{path}: the label has mode {image.mode}, expected one byte a "
                                "pixel (L or P), a land-use class from 0 to 8 or 255; "
                                f"{MAKE_AGAIN}")
            return torch.from_numpy(np.array(image))
    except _DAMAGED as error:
        raise TileError(f"{path}: cannot be read as an image ({one_line(error)}); the file is "
                        f"truncated or damaged; {MAKE_AGAIN}") from error


def read_total(path: Path) -> float:
    """Read the number on a file's first line; raise TileError if it is no finite number."""
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    try:
        value = float(first)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TileError(f"{path}: the first line is {first[:40]!r}, expected a number, the sum "
                        f"over the tile; {MAKE_AGAIN}, or remove the file")
    return value


def read_tensor(path: Path) -> Tensor:
    """Read a dense tensor saved by `torch.save`; only tensors and plain containers are unpickled.
    Raise TileError if the file is damaged, or holds pickled objects or anything but a dense
    tensor."""
    try:
        value = load_tensors(path)
    except FileFault as fault:
        remedy = ("expected a tensor; if you trust its source, load it where it was made and "
                  "save it again with torch.save(tensor, path)"
                  if fault.refused else MAKE_AGAIN)
        raise TileError(f"{path}: {fault}; {remedy}") from fault
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        kind = f"{value.layout} tensor" if isinstance(value, Tensor) else type(value).__name__
        raise TileError(f"{path}: holds a {kind}, expected a dense tensor; save it again with "
                        "torch.save(tensor, path)")
    return value.detach()


def _check_nodes(nodes: Tensor, path: Path, width: int | None) -> Tensor:
    if nodes.dim() != 2 or width not in (None, nodes.shape[1]):
        raise TileError(f"{path}: the node table has shape {list(nodes.shape)}, expected [n, "
                        f"{width or 'width'}]; {MAKE_AGAIN}; another text embedding changes the "
                        "width (graph_in_dim)")
    if not nodes.is_floating_point():
        raise TileError(f"{path}: the node table holds {nodes.dtype}, expected floating point; "
                        "save it again as nodes.float()")
    nodes = nodes.float()
    finite = nodes.isfinite()
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        raise TileError(f"{path}: row {row}, column {column} is {nodes[row, column].item()}, "
                        f"expected finite values; {MAKE_AGAIN}")
    return nodes


def _check_edges(edges: Tensor, path: Path, num_nodes: int) -> Tensor:
    if edges.numel() == 0:
        return torch.empty(2, 0, dtype=torch.int64)
    if edges.dim() != 2 or edges.shape[0] != 2:
        raise TileError(f"{path}: the edge index has shape {list(edges.shape)}, expected [2, e]; "
                        f"{MAKE_AGAIN}")
    if edges.is_floating_point() or edges.is_complex() or edges.dtype is torch.bool:
        raise TileError(f"{path}: the edge index holds {edges.dtype}, expected int64; save it "
                        "again as edges.long()")
    lowest, highest = edges.min().item(), edges.max().item()
    if lowest < 0 or highest >= num_nodes:
        raise TileError(f"{path}: an edge names node {lowest if lowest < 0 else highest}, "
                        f"expected 0 <= node < {num_nodes}, the rows of node/{path.name}; "
                        f"{MAKE_AGAIN}")
    return edges.long()


def _check_weights(weights: Tensor, path: Path, num_edges: int) -> Tensor:
    if weights.numel() != num_edges:
        raise TileError(f"{path}: the edge weights have shape {list(weights.shape)}, expected "
                        f"[{num_edges}, 1], a row for each edge of edge/{path.name}; {MAKE_AGAIN}")
    return weights.reshape(-1, 1).float()


def _list_tiles(root: Path) -> list[str]:
    names = sorted(_stems(root / "img", ".png"))
    if not names:
        lack = "tiles (img/*.png)" if (root / "img").is_dir() else "folder img"
        raise TileError(f"{root}: has no {lack}, expected img/NAME.png, node/NAME.tensor, "
                        "edge/NAME.tensor and edge_w/NAME.tensor for each tile (or "
                        f"cities/CITY/meta.json, the compact layout); correct the path; {MAKE}")
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
