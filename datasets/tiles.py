"""A tile dataset on disk: an aerial image and an OSM graph per tile.

    root/img/NAME.png         RGB, 224 x 224
    root/node/NAME.tensor     float [n, 525]
    root/edge/NAME.tensor     int64 [2, e]
    root/edge_w/NAME.tensor   [e, 1]
    root/meta/CITY.json       optional; "label_names": the city's tag values, indexed by label code

NAME is `{city}_{col}_{row}`. This is the layout of the Rose authors' published data, and what prepare_dataset.py writes. Whatever is wrong
with a dataset ends as a TileError of one line: a file that a listing shows to be missing when the dataset is opened, the content of a
file when its tile is read.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from utils.errors import TileError, one_line
from utils.tensor_files import FileFault, load_tensors

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The last 13 columns of a node row, after its text embedding; lengths in tile units (tile side 1, x right, y down).
AREA = -13                  # clipped area / tile area
PERIMETER = -12             # clipped perimeter / tile perimeter
CORNERS = slice(-11, -3)    # x1 y1 .. x4 y4 of the minimum rotated box
CENTROID = slice(-3, -1)    # x y
LABEL = -1                  # integer code of the tag value

GRAPH_FOLDERS = ("node", "edge", "edge_w")
UNFINISHED = ".unfinished-"  # a file of this name and a city's: its tiles were being moved into place
MAKE = "prepare_dataset.py makes such a dataset from a raster and an OSM extract"
MAKE_AGAIN = "make the tile again with prepare_dataset.py, or copy it again from where it came"


class TileDataset(Dataset):
    """The tiles of a folder, sorted by name: `dataset[i] -> (image, graph)`.

    The image is float32 [3, image_size, image_size], normalised by ImageNet's mean and std. The graph is a PyG Data with `x` float32
    [n, node_width], `edge_index` int64 [2, e], `edge_attr` float32 [e, 1] and `name`; a tile without OSM objects has n = 0 and e = 0.

    Args:
        root: the dataset's folder.
        cities: keep only the tiles of these cities; None or empty keeps all.
        image_size: side of every image, in pixels.
        node_width: columns of every node table, label included.

    Attributes:
        names: the tiles' names, in the order of the index.
        label_names: city -> tag values indexed by label code, for the cities that have a meta file (the authors' data has none).

    Raises:
        TileError: the folder, one of its parts, a file of a tile or a city is missing, or a meta file cannot be read. Reading a tile
            raises it too, where a file of the tile is not as described above.
    """

    def __init__(self, root: str | Path, cities: Sequence[str] | None = None, image_size: int = 224, node_width: int = 525) -> None:
        self.root = Path(root)
        self.image_size = image_size
        self.node_width = node_width
        names = _list_tiles(self.root)
        self.names = _select_cities(names, cities, self.root) if cities else names
        _check_complete(self.root, self.names)
        self.label_names = _read_label_names(self.root, self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Data]:
        image, graph = self.read(index)
        return normalise(image), graph

    def read(self, index: int) -> tuple[Tensor, Data]:
        """Tile `index` with its image as stored, uint8 [3, image_size, image_size]: what augmentation starts from."""
        name = self.names[index]
        return read_image(self.root / "img" / f"{name}.png", self.image_size), self._read_graph(name)

    def _read_graph(self, name: str) -> Data:
        node_path, edge_path, weight_path = (self.root / folder / f"{name}.tensor" for folder in GRAPH_FOLDERS)
        nodes = _check_nodes(read_tensor(node_path), node_path, self.node_width)
        edges = _check_edges(read_tensor(edge_path), edge_path, len(nodes))
        weights = _check_weights(read_tensor(weight_path), weight_path, edges.shape[1])
        return Data(x=nodes, edge_index=edges, edge_attr=weights, name=name)


def collate(samples: Sequence[tuple[Tensor, Data]]) -> tuple[Tensor, Batch]:
    """Tiles to a batch: images [B, 3, H, W] and one PyG Batch of B graphs, empty ones included, whose `name` lists the tiles' names."""
    images, graphs = zip(*samples, strict=True)
    return torch.stack(images), Batch.from_data_list(list(graphs))


def normalise(image: Tensor) -> Tensor:
    """uint8 [..., 3, H, W] to float32 of the same shape, by ImageNet's mean and std."""
    return (image.float() / 255 - _channels(IMAGENET_MEAN, image)) / _channels(IMAGENET_STD, image)


def denormalise(image: Tensor) -> Tensor:
    """The inverse of `normalise`, for pictures: float [..., 3, H, W] to uint8 [..., H, W, 3], values outside the range clipped."""
    pixels = (image.float() * _channels(IMAGENET_STD, image) + _channels(IMAGENET_MEAN, image)) * 255
    return pixels.round().clamp(0, 255).to(torch.uint8).movedim(-3, -1)


def _channels(values: tuple[float, ...], image: Tensor) -> Tensor:
    return torch.tensor(values, device=image.device)[:, None, None]  # [3, 1, 1]


def city_of(name: str) -> str | None:
    """The city in a tile's name `{city}_{col}_{row}`; None for a name of another form."""
    parts = re.fullmatch(r"(.+)_\d+_\d+", name)
    return parts and parts[1]


def read_image(path: Path, size: int) -> Tensor:
    """An RGB image of size x size pixels as uint8 [3, size, size].

    Raises:
        TileError: the file cannot be decoded, or has another mode or size.
    """
    try:
        with Image.open(path) as image:
            _check_image(image, path, size)
            pixels = np.array(image)  # [H, W, 3]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises on damaged files
        raise TileError(f"{path}: cannot be read as an image ({one_line(error)}); the file is truncated or damaged; "
                        f"{MAKE_AGAIN}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _check_image(image: Image.Image, path: Path, size: int) -> None:
    if image.mode != "RGB":
        convert = f"""python -c "from PIL import Image; Image.open('{path}').convert('RGB').save('{path}')\""""
        raise TileError(f"{path}: the image has mode {image.mode}, expected 8-bit RGB; convert it with `{convert}`")
    if image.size != (size, size):
        raise TileError(f"{path}: the image has {image.width} x {image.height} pixels, expected {size} x {size}; re-tile with "
                        f"prepare_dataset.py, or, if the tile's ground is right, resize the image")


def read_tensor(path: Path) -> Tensor:
    """A dense tensor saved by `torch.save`. Nothing but tensors and plain containers is ever unpickled.

    Raises:
        TileError: the file is damaged, holds pickled objects, or something other than a dense tensor.
    """
    try:
        value = load_tensors(path)
    except FileFault as fault:
        remedy = ("expected a tensor; if you trust its source, load it where it was made and save it again with torch.save(tensor, path)"
                  if fault.refused else MAKE_AGAIN)
        raise TileError(f"{path}: {fault}; {remedy}") from fault
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        found = f"a {value.layout} tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise TileError(f"{path}: holds {found}, expected a dense tensor; save it again with torch.save(tensor, path)")
    return value.detach()


def _check_nodes(nodes: Tensor, path: Path, width: int) -> Tensor:
    if nodes.dim() != 2 or nodes.shape[1] != width:
        raise TileError(f"{path}: the node table has shape {list(nodes.shape)}, expected [n, {width}]; "
                        f"{MAKE_AGAIN}; another text embedding changes the width (graph_in_dim)")
    if not nodes.is_floating_point():
        raise TileError(f"{path}: the node table holds {nodes.dtype}, expected floating point; save it again as nodes.float()")
    nodes = nodes.float()
    finite = nodes.isfinite()
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        raise TileError(f"{path}: row {row}, column {column} is {nodes[row, column].item()}, expected finite values; {MAKE_AGAIN}")
    return nodes


def _check_edges(edges: Tensor, path: Path, num_nodes: int) -> Tensor:
    if edges.numel() == 0:
        return torch.empty(2, 0, dtype=torch.int64)
    if edges.dim() != 2 or edges.shape[0] != 2:
        raise TileError(f"{path}: the edge index has shape {list(edges.shape)}, expected [2, e]; {MAKE_AGAIN}")
    if edges.is_floating_point() or edges.is_complex() or edges.dtype is torch.bool:
        raise TileError(f"{path}: the edge index holds {edges.dtype}, expected int64; save it again as edges.long()")
    lowest, highest = edges.min().item(), edges.max().item()
    if lowest < 0 or highest >= num_nodes:
        raise TileError(f"{path}: an edge names node {lowest if lowest < 0 else highest}, expected 0 <= node < {num_nodes}, the rows of "
                        f"node/{path.name}; {MAKE_AGAIN}")
    return edges.long()


def _check_weights(weights: Tensor, path: Path, num_edges: int) -> Tensor:
    if weights.numel() != num_edges:
        raise TileError(f"{path}: the edge weights have shape {list(weights.shape)}, expected [{num_edges}, 1], a row for each edge of "
                        f"edge/{path.name}; {MAKE_AGAIN}")
    return weights.reshape(-1, 1).float()


def _list_tiles(root: Path) -> list[str]:
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise TileError(f"{root}: {found}, expected the folder of a dataset with img/, node/, edge/ and edge_w/; "
                        f"correct the path (data_path=...); {MAKE}")
    for marker in root.glob(f"{UNFINISHED}*"):
        city = marker.name.removeprefix(UNFINISHED)
        raise TileError(f"{root}: the preparation of {city} was interrupted and its tiles are incomplete, expected all of them; "
                        f"run prepare_dataset.py for it again")
    names = sorted(_stems(root / "img", ".png"))
    if not names:
        found = "has no tiles (img/*.png)" if (root / "img").is_dir() else "has no folder img"
        raise TileError(f"{root}: {found}, expected img/NAME.png, node/NAME.tensor, edge/NAME.tensor and edge_w/NAME.tensor for each tile; "
                        f"correct the path (data_path=...); {MAKE}")
    return names


def _stems(folder: Path, suffix: str) -> set[str]:
    """Names without suffix of the folder's files; hidden ones, such as the copies macOS leaves, are none of the dataset's."""
    if not folder.is_dir():
        return set()
    return {path.stem for path in folder.iterdir() if path.suffix == suffix and not path.name.startswith(".")}


def _cities(names: list[str]) -> list[str]:
    return sorted({city for city in map(city_of, names) if city})


def _select_cities(names: list[str], cities: Sequence[str], root: Path) -> list[str]:
    found = _cities(names)
    unknown = [city for city in cities if city not in found]
    if unknown:
        listing = ", ".join(found) or "none, for no tile's name has the form {city}_{col}_{row}"
        raise TileError(f"{root}: no tile of cities={','.join(unknown)}; the cities found are: {listing}; choose among them")
    return [name for name in names if city_of(name) in cities]


def _check_complete(root: Path, names: list[str]) -> None:
    for folder in GRAPH_FOLDERS:
        missing = sorted(set(names) - _stems(root / folder, ".tensor"))
        if missing:
            raise TileError(f"{root / folder / missing[0]}.tensor: missing, as for {len(missing)} of {len(names)} tiles; expected one for "
                            f"every img/NAME.png; {MAKE_AGAIN}, or remove its image")


def _read_label_names(root: Path, names: list[str]) -> dict[str, list[str]]:
    paths = {city: root / "meta" / f"{city}.json" for city in _cities(names)}
    read = {city: _read_meta(path).get("label_names") for city, path in paths.items() if path.is_file()}
    return {city: _check_labels(labels, paths[city]) for city, labels in read.items() if labels is not None}


def _check_labels(labels: object, path: Path) -> list[str]:
    if not (isinstance(labels, list) and all(isinstance(label, str) for label in labels)):
        raise TileError(f"{path}: label_names is {json.dumps(labels)[:60]}, expected a list of strings; {MAKE_AGAIN}")
    return labels


def _read_meta(path: Path) -> dict:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TileError(f"{path}: cannot be read as JSON ({one_line(error)}); {MAKE_AGAIN}, or remove the file") from error
    if not isinstance(meta, dict):
        raise TileError(f"{path}: holds a {type(meta).__name__}, expected an object with label_names; {MAKE_AGAIN}, or remove the file")
    return meta
