"""The classes of land use of a dataset: one list for all its cities, from what they record."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.stores.city import META
from datasets.targets import CLASSES
from utils.contents import read_json
from utils.errors import TileError
from utils.style import class_colours

_AGAIN = "make the city again with prepare_dataset.py, or get the file again"
_META = ("cities/*/meta.json", "meta/*.json")  # of a city, in either layout


@dataclass(frozen=True)
class LandUseClasses:
    """What the numbers 0, 1 ... of labels mean.

    Attributes:
        names: in the order of the numbers.
        own: a colour #rrggbb each, if the labels came with colours of their own; else empty.
        stated: whether the dataset records them; else they are taken to be the paper's nine.
    """

    names: tuple[str, ...] = CLASSES
    own: tuple[str, ...] = ()
    stated: bool = False

    @property
    def colours(self) -> list[str]:
        """A colour #rrggbb for each class."""
        return list(self.own) or class_colours(self.names)


def joint_classes(root: Path, metas: Mapping[str, Mapping[str, Any]],
                  cities: Iterable[str]) -> LandUseClasses:
    """Return the classes of some cities of the dataset at `root`, whose records are `metas`; raise
    TileError if they disagree."""
    lists = {city: named for city, meta in metas.items() if (named := _classes_of(meta))}
    if all(named == CLASSES for named in lists.values()):
        return LandUseClasses(stated=any(meta.get("classes") for meta in metas.values()))
    lists |= {city: CLASSES for city in cities if city not in metas}
    first, names = next(iter(lists.items()))
    for city, named in lists.items():
        if named != names:
            raise TileError(f"{root}: its cities have other classes of land use, expected one "
                            f"list: {first} has {_listing(names)}; {city} has {_listing(named)}; "
                            f"choose cities of one list, such as cities=[{first}], or make one of "
                            "them again with prepare_dataset.py classes=...")
    own = next((tuple(meta["class_colours"]) for meta in metas.values()
                if meta.get("class_colours")), ())
    if len({*names}) < len(names) or len(own) not in (0, len(names)):
        raise TileError(f"{root}: the record of {first} names a class twice, or has "
                        f"{len(own)} class_colours for {len(names)} classes; {_AGAIN}")
    return LandUseClasses(names, own, stated=True)


def classes_of_cities(root: Path) -> dict[str, tuple[str, ...]]:
    """Return the classes of each city with labels that a dataset at `root` records; none if there
    is no dataset. Raise TileError if a record cannot be read."""
    metas = {path.parent.name if path.name == "meta.json" else path.stem: path
             for pattern in _META for path in sorted(root.glob(pattern))}
    lists = {city: _classes_of(read_json(path, META, _AGAIN, TileError))
             for city, path in metas.items()}
    return {city: named for city, named in lists.items() if named}


def _classes_of(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the classes of a city: those recorded, the nine of a city made before that with
    labels or by others, or None without labels."""
    if meta.get("classes"):
        return tuple(meta["classes"])
    keys = meta.get("keys") or {}
    return None if "labels" in keys and not keys["labels"] else CLASSES


def _listing(names: tuple[str, ...]) -> str:
    return ", ".join(names[:12]) + f" and {len(names) - 12} more" * (len(names) > 12)
