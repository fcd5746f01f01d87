"""A kind of map: how outputs for tiles become strips, and strips become files."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch_geometric.data import Batch

from datasets.prepare.grid import TileGrid
from datasets.prepare.scene_tiles import SceneTiles
from inference.keys import PredictConfig
from inference.pieces import Strips
from inference.predict import Rows
from inference.scene import Scene
from models.downstream import Downstream
from models.heads import Head


@dataclass(frozen=True)
class WrittenMap:
    """What scene.json says of a map's files; `more` are entries beside those of `SceneRecord`."""

    lines: list[str]
    layers: list[dict[str, Any]]
    files: list[dict[str, str]]
    headline: Sequence[tuple[str, str, str]] = ()
    tables: Sequence[dict[str, Any]] = ()
    more: dict[str, Any] = field(default_factory=dict)


class MapKind(ABC):
    """A kind of map, made by networks with one kind of head, in strips from the top: one for each
    row of tiles. Each kind decides what a strip holds, and raises ConfigError for a key of
    another kind."""

    name: ClassVar[str]  # in scene.json
    edges: ClassVar[str]  # of the `TileGrid`
    afterwards: ClassVar[tuple[str, ...]] = ()  # keys that matter only when all strips are made
    title: str  # of the map
    overlap: float  # share of a tile's side that neighbours have in common

    def __init__(self, model: Downstream, head: Head, cfg: PredictConfig):
        self.model = model

    def check(self, scene: Scene) -> None:  # noqa: B027
        """Raise PrepareError if a source of the map's own cannot be used, before any work."""

    @abstractmethod
    def least_bytes(self, grid: TileGrid) -> float:
        """Return how many bytes the strips and files of a scene take at least."""

    @abstractmethod
    def network(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return the outputs [B, ...] for normalised images [B, 3, t, t] and their graphs."""

    def first_row(self, grid: TileGrid, strip: int) -> int:
        """Return the first row of tiles that the strip and those below it depend on."""
        return strip

    @abstractmethod
    def strips(self, grid: TileGrid, rows: Rows, first: int) -> Iterator[np.ndarray]:
        """Yield the strips from `first` on, of the rows of tiles from `first_row` on."""

    def strips_of(self, out: Path, record: dict[str, Any], grid: TileGrid) -> Iterator[np.ndarray]:
        """Yield the strips of the finished map in `out`, or none if they do not follow from its
        files."""
        return iter(())

    @abstractmethod
    def write(self, strips: Strips, tiles: SceneTiles, out: Path, title: str,
              shape: tuple[int, int]) -> WrittenMap | None:
        """Write the map's files, and return None if no tile has imagery; `shape` is height and
        width of the scene's pictures."""
