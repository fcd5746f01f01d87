"""The account of a reading: what became of every feature of the sources, and of every tag.

Features: read = tagged + without a tag of the table + lost + unread (outside, says an index).
Tags of tagged features, layer by layer: read = kept + outside + left out.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datasets.prepare.geo.crs import Bounds
from datasets.prepare.osm.default_tags import REMEDIES as OF_DEFAULTS
from datasets.prepare.osm.osm_files import REMEDIES as OF_FILES
from datasets.prepare.osm.tags import LAYERS, Tagged
from utils.contents import Anything, Fields, Items, Table, Text, Whole

REMEDIES = OF_FILES | OF_DEFAULTS
_COUNT = Whole(least=0)
RULE = Fields({
    "read": _COUNT, "tagged": _COUNT, "without": _COUNT, "unread": _COUNT, "partial": _COUNT,
    "lost": Table(_COUNT), "repaired": _COUNT, "defaulted": _COUNT,
    "layers": Table(Fields({"read": _COUNT, "kept": _COUNT, "outside": _COUNT,
                            "left_out": Table(_COUNT)})),
}, optional={"extent": Anything(), "notes": Items(Text())})


@dataclass
class LayerCount:
    """The tags of one layer; each is an object or the reason why there is none."""

    read: int = 0
    kept: int = 0     # objects on the raster
    outside: int = 0  # of the raster
    left_out: Counter[str] = field(default_factory=Counter)  # by reason


@dataclass
class Census:
    """Counts of a reading, filled while `objects.read_objects` yields."""

    read: int = 0      # features of the sources
    tagged: int = 0    # of these, with a tag of the table
    without: int = 0   # without one
    unread: int = 0    # left out by a source's index, as they lie outside
    partial: int = 0   # tagged ones of which only a part could be built
    lost: Counter[str] = field(default_factory=Counter)  # that cannot be built, by reason
    defaulted: int = 0  # tagged ones without a tag of their own, by default_tags=
    repaired: int = 0  # objects whose geometry was invalid
    layers: dict[str, LayerCount] = field(
        default_factory=lambda: {name: LayerCount() for name in LAYERS})
    # of the whole sources in EPSG:4326; set when a reading ends without any object
    extent: Bounds | None = None
    sources: int = 0     # number of layers that have tags and features
    empty: bool = False  # no feature at all, like the answer to a query without results
    notes: list[str] = field(default_factory=list)  # files, layers and columns passed over

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Census":
        """Return the census that `to_dict` was called on."""
        layers = {name: LayerCount(**{**count, "left_out": Counter(count["left_out"])})
                  for name, count in values["layers"].items()}
        return cls(**{**values, "lost": Counter(values["lost"]), "layers": layers})

    def to_dict(self) -> dict[str, Any]:
        layers = {name: {**vars(count), "left_out": dict(+count.left_out)}
                  for name, count in self.layers.items()}
        return {**vars(self), "lost": dict(+self.lost), "layers": layers}

    @property
    def dropped(self) -> Counter[str]:
        """Features that cannot be built and tags left out, by reason."""
        return sum((count.left_out for count in self.layers.values()), +self.lost)

    @property
    def outside(self) -> int:
        """Features that an index left out, and tags of others, that lie outside the raster."""
        return self.unread + sum(count.outside for count in self.layers.values())

    @property
    def advice(self) -> list[str]:
        """Remedies of what was left out, a sentence each."""
        reasons: dict[str, list[str]] = {}
        for reason in self.dropped:
            if remedy := REMEDIES.get(reason):
                reasons.setdefault(remedy, []).append(reason)
        return [f"For {' and '.join(names)}, {remedy}." for remedy, names in reasons.items()]

    def add(self, tagged: Tagged, layer: np.ndarray) -> None:
        """Count the features of one chunk, and its tags, given their layers [tags], as read."""
        owners, lost = len(np.unique(tagged.owner)), tagged.dropped.total()
        self.read += tagged.read
        self.tagged += owners
        self.without += tagged.read - owners - lost
        self.partial += tagged.partial
        self.defaulted += tagged.defaulted
        self.lost.update(tagged.dropped)
        for counts, count in self._by_layer(layer):
            counts.read += count

    def keep(self, layer: np.ndarray) -> None:
        """Count tags, given their layers [n], as objects on the raster."""
        for counts, count in self._by_layer(layer):
            counts.kept += count

    def put_outside(self, layer: np.ndarray) -> None:
        """Count tags as outside the raster."""
        for counts, count in self._by_layer(layer):
            counts.outside += count

    def leave_out(self, layer: np.ndarray, reason: str) -> None:
        """Count tags as left out."""
        for counts, count in self._by_layer(layer):
            counts.left_out[reason] += count

    def withdraw(self, layer: np.ndarray) -> None:
        """Count objects that were kept as outside after all."""
        for counts, count in self._by_layer(layer):
            counts.kept -= count
            counts.outside += count

    def _by_layer(self, layer: np.ndarray) -> list[tuple[LayerCount, int]]:
        return [(self.layers[LAYERS[index]], count) for index, count in
                zip(*(column.tolist() for column in np.unique(layer, return_counts=True)),
                    strict=True)]
