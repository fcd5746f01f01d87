"""What is done to a tile's OSM objects before a network sees them, to learn what their quality is
worth: objects removed, all of them shifted, or read in part.

A tile always meets the same fate, whatever the list, batch, epoch or worker; a larger share removes
the same objects and more, a larger shift goes in the same direction.

    removed   `remove_ratio` of the objects that `remove_what` names go, with their edges; of a
              tile's objects, but the newest are those of the city
    shifted   by `shift` metres in one direction for a city and seed, as OSM lies beside imagery
              that is placed wrongly: the offset is nearly constant over an image (Vargas-Munoz et
              al., ISPRS Journal 147, 2019). What leaves the tile is cut or dropped
              (graph_window.py); nothing enters, so strips along two sides are left empty
    read      geometry alone: the text vector is 0, the label code NO_LABEL. Tags alone: every
              object is as if it filled the tile, and relations, which follow from geometry, are
              gone
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from datasets.graph_window import graph_in_window, keep_nodes
from datasets.osm_degradation import LAYER, NEWEST, QUARTER, SMALLEST, OsmDegradation
from datasets.sampler import keyed_generator
from datasets.stores.city import NO_CITY, city_of, grid_cells
from datasets.stores.cover import KEYS
from datasets.stores.tile import AREA, CENTROID, CORNERS, GEOMETRY_WIDTH, LABEL, NO_LABEL, PERIMETER
from datasets.tiles import TileDataset
from utils.errors import ConfigError, TileError

_FULL_BOX = (0, 0, 1, 0, 1, 1, 0, 1)  # corners of the tile


class OsmDegrader:
    """A degradation of the tiles of a dataset: `degrader(index, graph)` returns the graph that a
    network sees; the given one is not changed.

    Args:
        dataset: all tiles.
        degradation: what happens to them.
        indices: those of the tiles that will be asked for.

    Raises:
        TileError: the dataset does not know what the degradation needs of these tiles: a layer or
            tag of that name, their place, or the size of a pixel.
        ConfigError: the shift is no smaller than a tile.
    """

    def __init__(self, dataset: TileDataset, degradation: OsmDegradation,
                 indices: Sequence[int]) -> None:
        self.dataset, self.degradation = dataset, degradation
        kind, name = degradation.selected
        self._codes = _codes_of(dataset, name) if kind == LAYER else {}
        self._quarter = _tiles_in(dataset, name) if kind == QUARTER else None
        if kind == NEWEST:
            for index in indices:
                self._newness(index)
        cities = {city_of(dataset.names[index]) for index in indices} if degradation.shift else ()
        self._offsets = {city: self._offset(city) for city in sorted(cities, key=str)}

    def __call__(self, index: int, graph: Data) -> Data:
        """Return the graph of the tile `index`, degraded."""
        degradation = self.degradation
        if degradation.remove_ratio and degradation.selected[0] == NEWEST:
            newest = self._newness(index) > 1 - degradation.remove_ratio
            graph = remove_nodes(graph, newest.nonzero()[:, 0], 1.0)
        elif degradation.remove_ratio:
            graph = remove_nodes(graph, self._order(index, graph), degradation.remove_ratio)
        if degradation.shift:
            offset = self._offsets[city_of(graph.name)]
            graph = graph_in_window(graph, -offset, 1 - offset, keep_one=False)
        return _READERS[degradation.reads](graph)

    def reaches(self, index: int) -> bool:
        """Return whether objects of a tile may be degraded: not outside the quarter."""
        return self._quarter is None or index in self._quarter

    def _order(self, index: int, graph: Data) -> Tensor:
        """Return the nodes [k] that may go, the first ones first."""
        kind = self.degradation.selected[0]
        if kind == SMALLEST:
            return graph.x[:, AREA].argsort(stable=True)
        drawn = torch.randperm(len(graph.x), generator=keyed_generator(
            self.degradation.seed, *graph.name.encode()))
        if kind == LAYER:
            return drawn[torch.isin(graph.x[drawn, LABEL].long(),
                                    self._codes[city_of(graph.name) or NO_CITY])]
        return drawn if self.reaches(index) else drawn[:0]

    def _newness(self, index: int) -> Tensor:
        """Return `TileDataset.newness` of a tile, or raise TileError if it has none."""
        newness = self.dataset.newness(index)
        if newness is None:
            raise TileError(f"{self.dataset.root}: the tile {self.dataset.names[index]} does not "
                            "say when its objects were mapped, expected that for "
                            f"remove_what={NEWEST}; make the tiles again with "
                            "prepare_dataset.py from a source with ids of OpenStreetMap (.osm.pbf, "
                            ".osm, a column osm_id), or remove something else")
        return newness

    def _offset(self, city: str | None) -> np.ndarray:
        """Return the shift of a city's objects, x and y in tile units."""
        metres, root = self.degradation.shift, self.dataset.root
        pixel = self.dataset.meta.get(city or NO_CITY, {}).get("metres_per_pixel")
        if not pixel or not min(pixel):
            raise TileError(f"{root}: does not say how large a pixel of {city or 'its tiles'} is "
                            f"(metres_per_pixel), expected that for osm_shift={metres:g}; make the "
                            "tiles with prepare_dataset.py, or leave osm_shift= out")
        side = np.array(pixel) * self.dataset.image_size                              # [2] metres
        if metres >= side.min():
            raise ConfigError(f"osm_shift={metres:g}: a shift beyond the tile; tiles of "
                              f"{city or root} are {side.min():.4g} m wide, and their objects can "
                              "be shifted by less")
        angle = 2 * math.pi * torch.rand(1, generator=keyed_generator(
            self.degradation.seed, *(city or NO_CITY).encode()), dtype=torch.float64).item()
        return metres * np.array([math.cos(angle), math.sin(angle)]) / side


def remove_nodes(graph: Data, order: Tensor, ratio: float) -> Data:
    """Return the graph without the first share `ratio` of the nodes `order` [k] and the edges that
    touch them; the given graph is not changed.

    The remaining nodes keep their order; edges are renumbered. `round(ratio * k)` nodes go: with
    all nodes in `order` and 1, a tile without OSM is left.
    """
    removed = order[:round(ratio * len(order))]
    if not len(removed):
        return graph
    keep = np.ones(len(graph.x), dtype=bool)
    keep[removed] = False
    return keep_nodes(graph, keep)


def _geometry_alone(graph: Data) -> Data:
    read = graph.clone()
    read.x[:, :-GEOMETRY_WIDTH - 1] = 0
    read.x[:, LABEL] = NO_LABEL
    return read


def _tags_alone(graph: Data) -> Data:
    read = graph.clone()
    read.x[:, AREA], read.x[:, PERIMETER] = 1, 1
    read.x[:, CORNERS] = torch.tensor(_FULL_BOX, dtype=read.x.dtype)
    read.x[:, CENTROID] = 0.5
    read.edge_index, read.edge_attr = graph.edge_index[:, :0], graph.edge_attr[:0]
    for key in KEYS:
        if key in read:
            del read[key]
    return read


_READERS: dict[str, Callable[[Data], Data]] = {
    "all": lambda graph: graph, "geometry": _geometry_alone, "tags": _tags_alone}


def layers_of(dataset: TileDataset) -> list[str]:
    """Return the layers of all cities, in the order of their label codes."""
    return list(dict.fromkeys(layer for meta in dataset.meta.values()
                              for layer in meta.get("label_layers") or () if layer))


def _codes_of(dataset: TileDataset, name: str) -> dict[str, Tensor]:
    """Return the label codes of a layer or, if there is none of that name, of a tag value, by city.
    Raise TileError if no city has it."""
    codes: dict[str, list[int]] = {}
    for names in ({city: meta.get("label_layers") or [] for city, meta in dataset.meta.items()},
                  dataset.label_names):
        codes = {city: [code for code, one in enumerate(of_city) if one == name]
                 for city, of_city in names.items()}
        if any(codes.values()):
            break
    else:
        layers = ", ".join(layers_of(dataset))
        why = (f"choose a layer ({layers}) or a tag value, as `label_names` of meta.json lists them"
               if layers else "the dataset does not say what its label codes mean; make the tiles "
                              "with prepare_dataset.py")
        raise TileError(f"{dataset.root}: remove_what={LAYER}:{name}: no layer and no tag has that "
                        f"name; {why}")
    cities = {city_of(tile) or NO_CITY for tile in dataset.names}
    return {city: torch.tensor(codes.get(city, []), dtype=torch.long) for city in cities}


def _tiles_in(dataset: TileDataset, quarter: str) -> frozenset[int]:
    """Return the indices of the tiles in a quarter of their city: of the rectangle of its tiles,
    north up as in the imagery. Raise TileError if a tile's name does not say its place."""
    members: dict[str, list[int]] = {}
    for index, name in enumerate(dataset.names):
        if (city := city_of(name)) is None:
            raise TileError(f"{dataset.root}: the tile {name} says nothing of its place, expected "
                            f"names CITY_COL_ROW for remove_what={QUARTER}:{quarter}; rename the "
                            "tiles, or remove something else")
        members.setdefault(city, []).append(index)
    vertical, horizontal = quarter.split("_")
    inside: list[int] = []
    for indices in members.values():
        cells = grid_cells([dataset.names[index] for index in indices])               # [n, 2]
        low, high = cells.min(0), cells.max(0)
        west, north = (2 * (cells - low) < high - low + 1).T                          # [n] each
        chosen = (west == (horizontal == "west")) & (north == (vertical == "north"))
        inside += np.array(indices)[chosen].tolist()
    return frozenset(inside)
