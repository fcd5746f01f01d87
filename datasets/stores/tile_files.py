"""Read the files of one tile in the release's layout, each with all its checks."""

import math
import os
import stat
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.stores.cover import Cover, fault_of
from datasets.stores.tile import GEOMETRY_WIDTH, MOST_SIDE, MOST_TOTAL
from utils.errors import TileError, one_line
from utils.remedies import python_command
from utils.tensor_files import FileFault, load_tensors

MAKE_AGAIN = "make the tile again with prepare_dataset.py, or copy it again from where it came"
_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_CONVERTIBLE = ("1", "L", "LA", "P", "RGBA", "CMYK")  # modes of eight bits or fewer a channel


def is_there(path: Path, remedy: str = MAKE_AGAIN) -> bool:
    """Return whether a file is there; raise TileError if it is a broken link, a folder, a pipe or
    a device, which are never opened."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError as error:
        if not path.is_symlink():
            return False
        raise TileError(f"{path}: is a link to nothing, expected a file; {remedy}") from error
    except OSError as error:
        raise TileError(f"{path}: cannot be read ({one_line(error)}), expected a file; {remedy}"
                        ) from error
    if not regular:
        raise TileError(f"{path}: is no regular file, expected one; {remedy}")
    return True


def _check_there(path: Path) -> None:
    if not is_there(path):
        raise TileError(f"{path}: missing, expected it since the dataset was opened; {MAKE_AGAIN}")


def read_image(path: Path, size: int | None = None) -> Tensor:
    """Read an RGB image as uint8 [3, H, W]; raise TileError if the file cannot be decoded, has
    another mode, or not size x size pixels."""
    with _opened(path) as image:
        if image.mode != "RGB":
            raise TileError(f"{path}: the image has mode {image.mode}, expected 8-bit RGB; "
                            f"{_remedy_of_mode(path, image.mode)}")
        if size is not None and image.size != (size, size):
            raise TileError(f"{path}: the image has {image.width} x {image.height} pixels, "
                            f"expected {size} x {size}; re-tile with prepare_dataset.py, or, if "
                            "the tile's ground is right, resize the image")
        pixels = _pixels(path, image)  # [H, W, 3]
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def read_land_use(path: Path) -> Tensor:
    """Read a label image, grey or with a palette, as the stored bytes: uint8 [H, W]; raise
    TileError if the file cannot be decoded, or has another mode."""
    with _opened(path) as image:
        if image.mode not in ("L", "P"):
            raise TileError(f"{path}: the label has mode {image.mode}, expected one byte a pixel "
                            f"(L or P), a land-use class from 0 to 8 or 255; {MAKE_AGAIN}")
        return torch.from_numpy(_pixels(path, image))


def _opened(path: Path) -> Image.Image:
    """Return an image whose pixels are not decoded yet, in a PNG of which every byte is checked."""
    _check_there(path)
    try:
        content = path.read_bytes()
        # by its content, Pillow would take a file for any format, and run a program for some
        with Image.open(BytesIO(content), formats=["PNG"]) as image:
            image.verify()  # compares the checksums, which decoding passes over
        return Image.open(BytesIO(content), formats=["PNG"])
    except Exception as error:  # Pillow may raise anything on a damaged file
        raise _damaged(path, error) from error


def _pixels(path: Path, image: Image.Image) -> np.ndarray:
    if max(image.size) > MOST_SIDE:
        raise TileError(f"{path}: the image has {image.width} x {image.height} pixels, expected "
                        f"{MOST_SIDE} or fewer a side; {MAKE_AGAIN}")
    try:
        return np.array(image)
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> TileError:
    why = "it is no PNG" if isinstance(error, Image.UnidentifiedImageError) else one_line(error)
    return TileError(f"{path}: cannot be read as an image ({why}), expected a PNG; the file is "
                     f"truncated or damaged; {MAKE_AGAIN}")


def _remedy_of_mode(path: Path, mode: str) -> str:
    if mode not in _CONVERTIBLE:  # convert() would cut off what is above 255
        return MAKE_AGAIN
    code = (f"from PIL import Image; Image.open({str(path)!r}).convert('RGB')"
            f".save({str(path)!r})")
    return f"convert it with `{python_command(code)}`"


def read_total(path: Path) -> float:
    """Read the number on a file's first line; raise TileError if it is no sum."""
    _check_there(path)
    with path.open("rb") as file:
        line = file.read(200).decode("utf-8", errors="replace").partition("\n")[0].strip()
    try:
        value = float(line)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MOST_TOTAL:
        raise TileError(f"{path}: the first line is {line[:40]!r}, expected a number, the sum "
                        f"over the tile, from 0 to {MOST_TOTAL:g}; {MAKE_AGAIN}, or remove the "
                        "file")
    return value


def read_tensor(path: Path) -> Tensor:
    """Read a dense tensor saved by `torch.save`; only tensors and plain containers are unpickled.
    Raise TileError if the file is damaged, or holds pickled objects or anything but a dense
    tensor."""
    _check_there(path)
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
    # a few bytes may claim to be a table of any size
    if value.device.type != "cpu" or value.untyped_storage().nbytes() < (
            value.numel() * value.element_size()):
        raise TileError(f"{path}: holds a tensor {list(value.shape)} of which not every value is "
                        "stored, expected a dense tensor; save it again with "
                        "torch.save(tensor.contiguous(), path)")
    return value.detach()


def read_nodes(path: Path, width: int | None) -> Tensor:
    """Return the node table, float32 [n, width]; without a width, of any that has a text."""
    nodes = read_tensor(path)
    least = GEOMETRY_WIDTH + 2
    if nodes.dim() != 2 or width not in (None, nodes.shape[1]) or nodes.shape[1] < least:
        raise TileError(f"{path}: the node table has shape {list(nodes.shape)}, expected [n, "
                        f"{width or f'{least} or more'}]; {MAKE_AGAIN}; another text embedding "
                        "changes the width (graph_in_dim)")
    if not nodes.is_floating_point():
        raise TileError(f"{path}: the node table holds {nodes.dtype}, expected floating point; "
                        "save it again as nodes.float()")
    nodes = nodes.float()
    _check_finite(nodes, path)
    return nodes


def read_edges(path: Path, num_nodes: int) -> Tensor:
    """Return the edge index, int64 [2, e]."""
    edges = read_tensor(path)
    if edges.numel() == 0:
        return torch.empty(2, 0, dtype=torch.int64)
    if edges.dim() != 2 or edges.shape[0] != 2:
        raise TileError(f"{path}: the edge index has shape {list(edges.shape)}, expected [2, e]; "
                        f"{MAKE_AGAIN}")
    if edges.dtype not in _WHOLE:
        raise TileError(f"{path}: the edge index holds {edges.dtype}, expected int64; save it "
                        "again as edges.long()")
    lowest, highest = edges.min().item(), edges.max().item()
    if lowest < 0 or highest >= num_nodes:
        raise TileError(f"{path}: an edge names node {lowest if lowest < 0 else highest}, "
                        f"expected 0 <= node < {num_nodes}, the rows of node/{path.name}; "
                        f"{MAKE_AGAIN}")
    return edges.long()


def read_weights(path: Path, num_edges: int) -> Tensor:
    """Return the edges' weights, float32 [num_edges, 1]."""
    weights = read_tensor(path)
    if weights.numel() != num_edges:
        raise TileError(f"{path}: the edge weights have shape {list(weights.shape)}, expected "
                        f"[{num_edges}, 1], a row for each edge of edge/{path.name}; {MAKE_AGAIN}")
    if not weights.is_floating_point() and weights.dtype not in (*_WHOLE, torch.bool):
        raise TileError(f"{path}: the edge weights hold {weights.dtype}, expected floating point; "
                        "save them again as weights.float()")
    weights = weights.reshape(-1, 1).float()
    _check_finite(weights, path)
    return weights


def read_newness(path: Path, num_nodes: int) -> Tensor:
    """Return the nodes' newness, float32 [num_nodes]."""
    newness = read_tensor(path)
    if newness.shape != (num_nodes,) or newness.dtype != torch.float32:
        raise TileError(f"{path}: holds {newness.dtype} {list(newness.shape)}, expected float32 "
                        f"[{num_nodes}], a number for each row of node/{path.name}; {MAKE_AGAIN}, "
                        "or remove the file")
    return newness


def read_cover(path: Path, num_nodes: int) -> Cover:
    """Return the cover of a tile's nodes."""
    entries = read_tensor(path)
    if entries.dim() != 2 or entries.shape[0] != 3 or entries.dtype not in _WHOLE:
        raise TileError(f"{path}: holds {entries.dtype} {list(entries.shape)}, expected whole "
                        "numbers [3, k], node, cell and share of each entry; "
                        f"{MAKE_AGAIN}, or remove the file")
    if fault := fault_of(*entries.long().numpy(), num_nodes):
        raise TileError(f"{path}: {fault}; {MAKE_AGAIN}, or remove the file")
    return Cover.of(*entries.numpy())


def _check_finite(table: Tensor, path: Path) -> None:
    finite = table.isfinite()
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        raise TileError(f"{path}: row {row}, column {column} is {table[row, column].item()}, "
                        f"expected finite values; {MAKE_AGAIN}")
