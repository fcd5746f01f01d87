"""Datasets in the compact layout: a folder per city (compact_city.py) joined from its parts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor
from torch_geometric.data import Data

from datasets.stores.city import NO_CITY, check_cities, repeated
from datasets.stores.compact_city import CompactCity
from datasets.stores.join import join_parts
from datasets.stores.names import check_names
from datasets.stores.parts import write_part
from datasets.stores.release import MAKE
from utils.errors import TileError

__all__ = ["CITIES", "CompactCity", "CompactTiles", "join_parts", "write_part"]
CITIES = "cities"  # the folder of all cities' folders


class CompactTiles:
    """The tiles of a dataset in the compact layout, with the arguments and attributes of
    `release.ReleaseTiles`.

    Raises:
        TileError: there is no city, a requested one is missing, or one cannot be read; or a tile
            that is read is damaged or of another size than requested.
    """

    def __init__(self, root: Path, cities: Sequence[str] | None = None):
        present = sorted(path.name for path in (root / CITIES).iterdir() if path.is_dir()
                         and not path.name.startswith("."))
        if not present:
            raise TileError(f"{root}: has no city (cities/CITY/meta.json), expected one or more; "
                            f"correct the path; {MAKE}")
        check_names(present, root / CITIES, "city")
        if cities:
            check_cities(cities, [name for name in present if name != NO_CITY], root)
        self.cities = {name: CompactCity(root / CITIES / name) for name in present
                       if not cities or name in cities}
        self.label_names = {name: city.label_names for name, city in self.cities.items()
                            if city.label_names is not None}
        self.meta = {name: city.meta for name, city in self.cities.items()}
        stores = list(self.cities.values())
        names = [name for city in stores for name in city.names]
        order = sorted(range(len(names)), key=names.__getitem__)
        self.names = [names[index] for index in order]
        if name := repeated(self.names):
            raise TileError(f"{root}: tile {name} is in two folders of {CITIES}/, expected in "
                            "one; remove the copy")
        lengths = [len(city) for city in stores]
        self._city = np.repeat(np.arange(len(stores)), lengths)[order]                 # [tiles]
        self._index = np.concatenate([np.arange(length) for length in lengths])[order]  # [tiles]
        self._stores = stores

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int, size: int | None = None) -> Tensor:
        """Return uint8 [3, H, W]; raise if a given `size` is not its height and width."""
        city, index = self._find(index)
        if size is not None and city.image_shape[1:] != (size, size):
            height, width = city.image_shape[1:]
            raise TileError(f"{city.folder}: the images have {width} x {height} pixels, expected "
                            f"{size} x {size}; pass image_size={width}, or re-tile with "
                            f"prepare_dataset.py tile_px={size}")
        return city.image(index)

    def graph(self, index: int, node_width: int | None = None) -> Data:
        """Return x float32 [n, node_width], edge_index int64 [2, e], edge_attr float32 [e, 1] and
        name; raise if the nodes have another width than a given one."""
        city, index = self._find(index)
        if node_width not in (None, city.node_width):
            raise TileError(f"{city.folder}: the node tables have {city.node_width} columns, "
                            f"expected {node_width}; another text embedding changes the width: "
                            f"pass graph_in_dim={city.node_width - 1}, or make the city again "
                            "with prepare_dataset.py")
        return city.graph(index)

    def land_use(self, index: int) -> Tensor | None:
        """Return uint8 [H, W]; None if the tile has none."""
        city, index = self._find(index)
        return city.land_use(index)

    def total(self, index: int, name: str) -> float | None:
        """Return the tile's sum of `name`, "pop" or "CO2"; None if it has none."""
        city, index = self._find(index)
        return city.total(index, name)

    def newness(self, index: int) -> Tensor | None:
        """Return float32 [n], as `Tile.newness`; None if the city knows none."""
        city, index = self._find(index)
        return city.newness(index)

    def files(self) -> list[Path]:
        """Return every file of the cities."""
        return [path for city in self._stores for path in city.folder.iterdir() if path.is_file()]

    def _find(self, index: int) -> tuple[CompactCity, int]:
        return self._stores[self._city[index]], int(self._index[index])
