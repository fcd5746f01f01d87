"""Random tiles of one city, and comparisons of two datasets."""

import json
from pathlib import Path

import numpy as np
import torch

from datasets import TileDataset
from datasets.stores.compact import CITIES, join_parts, write_part
from datasets.stores.release import write_release_meta, write_release_tile
from datasets.stores.tile import Tile

TEXT = np.random.default_rng(5).normal(size=(7, 512)).astype(np.float32)
META = {"label_names": ["school", "park", "Café"], "crs": "EPSG:32648"}


def random_tile(name: str, nodes: int, edges: int, side: int = 224, seed: int = 0,
                targets: bool = False) -> Tile:
    draw = np.random.default_rng([seed, *name.encode()])
    return Tile(
        name, draw.integers(0, 256, (3, side, side), dtype=np.uint8),
        draw.random((nodes, 12), dtype=np.float32),
        draw.integers(0, len(TEXT), nodes), draw.integers(0, 300, nodes),
        draw.integers(0, max(nodes, 1), (2, edges)),
        draw.integers(2, 6, edges).astype(np.float32),
        draw.integers(0, 9, (side, side), dtype=np.uint8) if targets else None,
        {"pop": float(draw.random()), "CO2": 1 / 3} if targets else {},
    )


def random_city(city: str = "lima", count: int = 13, side: int = 224) -> list[Tile]:
    """Return tiles in the order of bands of rows; the second has no node, the third no edge, every
    other one has targets."""
    sizes = [(n * n % 23 + 1, 3 * n % 17) for n in range(count)]
    sizes[1:3] = [(0, 0), (5, 0)]
    return [random_tile(f"{city}_{n % 12}_{n // 12}", *size, side, targets=n % 2 == 0)
            for n, size in enumerate(sizes)]


def write_compact(root: Path, tiles: list[Tile], city: str = "lima", dealt: int = 4,
                  meta: dict = META, text: np.ndarray = TEXT) -> Path:
    """Write a compact dataset of the tiles, dealt to parts of `dealt` tiles each."""
    root.mkdir(parents=True, exist_ok=True)
    parts = [root.with_name(f"{root.name}-{city}-{first}.part")
             for first in range(0, len(tiles), dealt)]
    for number, part in enumerate(parts):
        write_part(part, tiles[number * dealt:(number + 1) * dealt])
    join_parts(parts, root / CITIES / city, text, meta)
    for part in parts:
        part.unlink()
    return root


def write_release(root: Path, tiles: list[Tile], city: str = "lima", meta: dict = META) -> Path:
    """Write the tiles in the release's layout."""
    for tile in tiles:
        write_release_tile(root, tile, TEXT)
    write_release_meta(root, city, meta, TEXT)
    return root


def assert_same_tiles(one: TileDataset, other: TileDataset) -> None:
    """Check that names, tensors and targets are equal to the bit."""
    assert one.names == other.names
    assert one.label_names == other.label_names
    for index in range(len(one)):
        (image, graph), (image_there, graph_there) = one[index], other[index]
        assert torch.equal(image, image_there)
        for key in ("x", "edge_index", "edge_attr"):
            assert graph[key].dtype == graph_there[key].dtype
            assert graph[key].shape == graph_there[key].shape
            assert graph[key].numpy().tobytes() == graph_there[key].numpy().tobytes()
        assert graph.name == graph_there.name
        land_use, there = one.land_use(index), other.land_use(index)
        assert (land_use is None) == (there is None)
        assert land_use is None or torch.equal(land_use, there)
        for name in ("pop", "CO2"):
            assert one.total(index, name) == other.total(index, name)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file()}


def change_meta(path: Path, **changes: object) -> None:
    """Give keys of a JSON file other values."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
