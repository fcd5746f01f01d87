"""Tiles with a target: land use by pixel, or a total such as population; and lists of tiles."""

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from datasets.batching import stack
from datasets.osm_degradation import OsmDegradation
from datasets.osm_degrader import OsmDegrader
from datasets.stores.city import check_cities, cities_of, city_of, repeated
from datasets.stores.names import is_name
from datasets.stores.release import TILE_FOLDERS, ReleaseTiles
from datasets.stores.tile_files import is_there
from datasets.targets import CLASSES, IGNORED, UNKNOWN
from datasets.tiles import TileDataset, collate
from utils.contents import MOST_BYTES
from utils.errors import TileError, one_line
from utils.progress import passing_bar

Target = Literal["land_use", "pop", "CO2"]
Key = int | tuple[int, int]  # a tile's index, or an epoch and an index
_SOURCE = {"land_use": "labels", "pop": "population", "CO2": "co2"}  # keys of prepare_dataset.py
_FOLDER = {"land_use": "label", "pop": "pop", "CO2": "CO2"}  # folders of the release's layout
_WRONG = -1  # below every class


class LabelledTiles(Dataset):
    """Chosen tiles of a dataset with their targets: `tiles[i]` or `tiles[epoch, i]` gives `(image,
    graph, target)`.

    Image, uint8 [3, image_size, image_size], and graph are those of the dataset's `read`, the
    graph degraded. The target is the land use, int64 [image_size, image_size] with values
    0..classes-1 and UNKNOWN, or the total, a float64 scalar in its own units.

    Args:
        dataset: all tiles.
        indices: indices of the chosen tiles, such as `read_list` returns.
        target: what to return with each tile.
        classes: number of land-use classes, below 255; with the nine of targets.py, 9 in a label
            is unknown, too.
        degradation: what is done to the OSM objects.

    Attributes:
        names: names of the chosen tiles.

    Raises:
        TileError: the degradation needs what the dataset does not know (`OsmDegrader`); reading a
            tile raises it if the tile is damaged or has no target, the label has another size than
            the image or a value that is no class, or the total is no number.
    """

    def __init__(self, dataset: TileDataset, indices: Sequence[int], target: Target,
                 classes: int = len(CLASSES),
                 degradation: OsmDegradation = OsmDegradation()) -> None:  # noqa: B008 - frozen
        self.dataset = dataset
        self.root = dataset.root
        self.indices = list(indices)
        self.names = [dataset.names[index] for index in self.indices]
        self.target = target
        self.classes = classes
        self.degradation = degradation
        self.degrade = OsmDegrader(dataset, degradation, self.indices)
        self._class_of = _class_table(classes)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> tuple[Tensor, Data, Tensor]:
        index = self.indices[index_of(key)]
        image, graph = self.dataset.read(index)
        return image, self.degrade(index, graph), self._target(index)

    def graphs(self) -> Iterator[Data]:
        """Yield the graphs of all chosen tiles, as `tiles[i]` has them, without their images."""
        for index in passing_bar(self.indices, "OSM objects", "tile"):
            yield self.degrade(index, self.dataset.graph(index))

    def class_counts(self) -> Tensor:
        """Count the known pixels of each class in all chosen tiles, int64 [classes]; reads and
        checks every label."""
        counts = torch.zeros(UNKNOWN + 1, dtype=torch.int64)
        for index in passing_bar(self.indices, "labels", "tile"):
            counts += self._land_use(index).flatten().bincount(minlength=len(counts))
        return counts[:self.classes]

    def totals(self) -> Tensor:
        """Return the totals of all chosen tiles, float64 [len(self)]."""
        totals = [self._total(index) for index in passing_bar(self.indices, "totals", "tile")]
        return torch.tensor(totals, dtype=torch.float64)

    def target_of(self, index: int) -> Tensor:
        """Return the target of a chosen tile, without its image and graph."""
        return self._target(self.indices[index])

    def _target(self, index: int) -> Tensor:
        if self.target == "land_use":
            return self._land_use(index)
        return torch.tensor(self._total(index), dtype=torch.float64)

    def _land_use(self, index: int) -> Tensor:
        label = self.dataset.land_use(index)
        if label is None:
            raise TileError(self._missing(index))
        size = self.dataset.image_size
        if label.shape != (size, size):
            height, width = label.shape
            raise TileError(f"{self._where(index)}: the label has {width} x {height} pixels, "
                            f"expected {size} x {size} as the image; make the tile again with "
                            "prepare_dataset.py labels=...")
        known = self._class_of.index_select(0, label.flatten().int()).view(size, size)
        if known.min() == _WRONG:
            raise TileError(self._wrong_value(index, label[known == _WRONG][0].item()))
        return known

    def _total(self, index: int) -> float:
        total = self.dataset.total(index, self.target)
        if total is None:
            raise TileError(self._missing(index))
        return total

    def _where(self, index: int) -> str:
        """Name the file of the tile's target in the release's layout, else dataset and tile."""
        name, folder = self.dataset.names[index], _FOLDER[self.target]
        if isinstance(self.dataset.store, ReleaseTiles):
            return f"{self.root / folder / name}{TILE_FOLDERS[folder]}"
        return f"{self.root}, tile {name}"

    def _missing(self, index: int) -> str:
        what = "land-use label" if self.target == "land_use" else f"total of {self.target}"
        return (f"{self._where(index)}: the tile has no {what}, expected one for every tile of a "
                f"list; make the tiles with prepare_dataset.py {_SOURCE[self.target]}=..., or "
                f"remove the line {self.dataset.names[index]}.png from its list")

    def _wrong_value(self, index: int, value: int) -> str:
        unknown = " or ".join(str(number) for number in _unknown_values(self.classes))
        return (f"{self._where(index)}: the label has the value {value}, expected a class from 0 "
                f"to {self.classes - 1}, or {unknown} for unknown; make the tiles again with "
                f"prepare_dataset.py 'label_map={{{value}:CLASS}}', which says what the value "
                "means")


def collate_labelled(
    samples: Sequence[tuple[Tensor, Data, Tensor]],
) -> tuple[Tensor, Batch, Tensor]:
    """Join tiles to a batch: images uint8 [B, 3, H, W], the Batch of `collate`, targets int64
    [B, H, W] or float64 [B]."""
    images, graphs, targets = zip(*samples, strict=True)
    return *collate(list(zip(images, graphs, strict=True))), stack(targets)


def read_list(dataset: TileDataset, file: str, key: str = "file", cities_key: str = "cities",
              cities: Sequence[str] | None = None) -> list[int]:
    """Return the indices in `dataset` of the tiles that a list names, in the list's order.

    Each line is `NAME.png` or `NAME`. Blank lines are skipped, and so are tiles of other cities if
    the dataset was opened with some cities only, or `cities` are given.

    Args:
        file: the list, below the dataset's folder.
        key, cities_key: the configuration's keys that name the list and the cities, for messages.
        cities: of which tiles are taken; None: all that the dataset was opened with.

    Raises:
        TileError: the list is missing, empty, names a missing tile or one twice, or has none of
            the cities; or one of the cities is not in the dataset.
    """
    path = dataset.root / file
    names = _read_names(path, _lists_remedy(dataset, key))
    _check_distinct(path, names)
    if dataset.cities:
        names = _of_cities(path, names, dataset.cities, key, "cities")
    if cities:
        check_cities(cities, cities_of(dataset.names), dataset.root, cities_key)
        names = _of_cities(path, names, cities, key, cities_key)
    indices = {name: index for index, name in enumerate(dataset.names)}
    if absent := [name for name in names if name not in indices]:
        raise TileError(f"{path}: names {absent[0]}.png, which is no tile of {dataset.root} "
                        f"({len(absent)} of {len(names)} names are not), expected names such as "
                        f"{dataset.names[0]}.png; write the lists again with "
                        f"{splits_command(dataset.root)}, or remove the lines")
    return [indices[name] for name in names]


def _of_cities(path: Path, names: list[str], cities: Sequence[str], key: str,
               cities_key: str) -> list[str]:
    """Return the names of tiles of some cities; raise TileError if there is none."""
    chosen = [name for name in names if city_of(name) in cities]
    if not chosen:
        present = sorted({city_of(name) or name for name in names})
        raise TileError(f"{path}: none of its {len(names)} tiles is of "
                        f"{cities_key}={','.join(cities)}, expected one or more; name another list "
                        f"with {key}=..., or choose among the cities of the list: "
                        f"{', '.join(present[:5])}")
    return chosen


def _lists_remedy(dataset: TileDataset, key: str) -> str:
    """Return what helps where a list is missing: lists are of no use without targets."""
    if not any(dataset.has_target(index) for index in range(len(dataset))):
        return ("no tile of the dataset has a target: make it again with prepare_dataset.py "
                "labels=..., population=... or co2=..., which writes lists as well")
    return f"write lists with {splits_command(dataset.root)}, or name another with {key}=..."


def splits_command(root: Path, **split: str) -> str:
    """Return the command that deals the tiles of the dataset at `root` to lists, with these keys
    of `split`."""
    keys = [f"data_path={root}", *(f"split.{name}={value}" for name, value in split.items())]
    return f"`python -m datasets.splits {shlex.join(keys)}`"


def _read_names(path: Path, remedy: str) -> list[str]:
    try:
        if not is_there(path, remedy):
            raise TileError(f"{path}: missing, expected a list of tiles, a line NAME.png each; "
                            f"{remedy}")
        with path.open("rb") as file:
            lines = file.read(min(path.stat().st_size, MOST_BYTES)).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TileError(f"{path}: cannot be read ({one_line(error)}), expected a list of tiles, a "
                        f"line NAME.png each; {remedy}") from error
    names = [line.strip().removesuffix(".png") for line in lines if line.strip()]
    if not names:
        raise TileError(f"{path}: names no tile, expected one or more, a line NAME.png each; "
                        f"{remedy}")
    if wrong := next((name for name in names if not is_name(name)), None):
        raise TileError(f"{path}: has the line {json.dumps(wrong)[:60]}, which no tile can be "
                        "called, expected lines NAME.png; remove the line")
    return names


def _check_distinct(path: Path, names: list[str]) -> None:
    if name := repeated(sorted(names)):
        raise TileError(f"{path}: names {name}.png {names.count(name)} times, expected every "
                        "tile once; remove the other lines")


def index_of(key: Key) -> int:
    """Return the index of a key, with its epoch or without."""
    return key[1] if isinstance(key, tuple) else key


def _unknown_values(classes: int) -> tuple[int, ...]:
    return IGNORED if classes == len(CLASSES) else (UNKNOWN,)


def _class_table(classes: int) -> Tensor:
    """Return what each value of a label means, int64 [256]: a class, UNKNOWN, or _WRONG."""
    table = torch.full((256,), _WRONG)
    table[:classes] = torch.arange(classes)
    table[list(_unknown_values(classes))] = UNKNOWN
    return table
