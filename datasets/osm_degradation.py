"""What is done to a tile's OSM objects before a network sees them, as keys say it. It loads no
library; osm_degrader.py does it."""

from dataclasses import dataclass

from utils.errors import ConfigError

READS = ("all", "geometry", "tags")
QUARTERS = ("north_west", "north_east", "south_west", "south_east")
LAYER, QUARTER = "layer", "quarter"
RANDOM, SMALLEST, NEWEST = _ORDERS = ("random", "smallest", "newest")


@dataclass(frozen=True)
class OsmDegradation:
    """How OSM objects are made worse; by default they are not.

    Attributes:
        remove_ratio: share of the objects named by `remove_what` to remove, from 0 to 1.
        remove_what: `random`; `smallest`, these first, by area in the tile; `newest`, that share of
            the city's objects that was mapped last; `layer:NAME`, objects of a layer or tag value;
            `quarter:NAME`, objects of the tiles in a quarter of the city.
        shift: metres by which all objects are moved.
        reads: one of READS.
        seed: of what is drawn, >= 0.

    Raises:
        ConfigError: `remove_what` names nothing that can be removed, or removes no share of it.
    """

    remove_ratio: float = 0.0
    remove_what: str = "random"
    shift: float = 0.0
    reads: str = "all"
    seed: int = 0

    def __post_init__(self) -> None:
        kind, name = self.selected
        if kind == QUARTER and name not in QUARTERS:
            raise ConfigError(f"remove_what={self.remove_what}: no quarter {name or 'is named'}; "
                              f"choose among {', '.join(f'{QUARTER}:{one}' for one in QUARTERS)}")
        if kind not in (*_ORDERS, QUARTER, LAYER) or bool(name) == (kind in _ORDERS):
            raise ConfigError(f"remove_what={self.remove_what}: choose one of "
                              f"{', '.join(_ORDERS)}, {LAYER}:NAME (such as {LAYER}:building), "
                              f"or {QUARTER}:NAME (such as {QUARTER}:north_west)")
        if self.remove_what != "random" and not self.remove_ratio:
            raise ConfigError(f"remove_what={self.remove_what}: removes nothing with "
                              "remove_ratio=0; pass remove_ratio=1, or the share of them to remove")

    @property
    def selected(self) -> tuple[str, str]:
        """Kind and name of `remove_what`; an order has no name."""
        kind, _, name = self.remove_what.partition(":")
        return kind, name

    @property
    def is_drawn(self) -> bool:
        """Whether other seeds degrade otherwise."""
        return bool(self.shift or (self.remove_ratio and self.remove_what not in _ORDERS[1:]))

    def in_words(self) -> dict[str, str]:
        """Return what happens to the objects of tiles: removed, shifted, read -> a phrase."""
        kind, name = self.selected
        which = {LAYER: f" of {name}", QUARTER: f" in the {name.replace('_', ' ')}"}.get(kind, "")
        first = f", the {kind} first" if kind in (SMALLEST, NEWEST) else ""
        phrases = {
            "removed": f"{self.remove_ratio:.0%} of their OSM objects{which} removed{first}",
            "shifted": f"their OSM objects shifted by {self.shift:g} m",
            "read": f"of their OSM objects the {self.reads} alone",
        }
        happens = {"removed": self.remove_ratio, "shifted": self.shift,
                   "read": self.reads != "all"}
        return {effect: phrase for effect, phrase in phrases.items() if happens[effect]}
