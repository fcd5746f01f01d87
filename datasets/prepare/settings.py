"""What one preparation is asked to do."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datasets.keys import PrepareConfig
from datasets.splits import SplitRules
from utils.config import check_keys
from utils.errors import ConfigError
from utils.recipes import resolve_recipe

# Keys that change who does the work, where it goes, or the lists made in the end, not the tiles.
_OTHER = ("out", "overwrite", "workers", "scheduler", "dry_run", "split")
_GROUPS, _PATHS = ("text", "split"), ("raster", "osm", "out", "labels", "population", "co2",
                                      "layers")

# Keys that say more of another.
_LONE = {"label_map": "labels", "label_column": "labels", "population_column": "population",
         "co2_column": "co2"}


@dataclass(frozen=True)
class Settings:
    """The keys of prepare_dataset.py; what each means stands in configs/prepare_dataset.yaml,
    whose values are the defaults here.

    Raises:
        ConfigError: an impossible value.
    """

    raster: str
    osm: str
    out: str
    city: str
    overwrite: bool = False
    bands: list[int] | None = None
    raster_crs: str | None = None
    resolution: float | None = None
    stretch: list[float] = field(default_factory=lambda: [2, 98])
    nodata: str = "file"
    max_nodata: float = 0.1
    tile_px: int = 224
    stride: int | None = None
    keep_empty: bool = False
    layers: str | None = None
    text: str | dict[str, Any] = "hash"
    labels: str | None = None
    label_map: Any = None
    label_column: str | None = None
    population: str | None = None
    population_unit: str = "count"
    population_column: str | None = None
    co2: str | None = None
    co2_unit: str = "count"
    co2_column: str | None = None
    split: dict[str, Any] = field(default_factory=lambda: asdict(SplitRules()))
    layout: str = "compact"
    workers: int | None = None
    scheduler: str | None = None
    dry_run: bool = False
    recipe: str = "rose"
    relation_codes: str | None = None
    coordinates: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-]+", self.city):
            raise ConfigError(f"city={self.city!r}: expected letters, digits, _ and - only, no "
                              "spaces, as it begins the name of every tile")
        if self.scheduler and self.workers:
            raise ConfigError(f"scheduler={self.scheduler} with workers={self.workers}: the "
                              "cluster has workers of its own; leave one out")
        for lone, source in _LONE.items():
            if getattr(self, lone) is not None and not getattr(self, source):
                raise ConfigError(f"{lone}={getattr(self, lone)}: there is no {source}= that it "
                                  "could describe; add one, or leave this out")
        chosen = resolve_recipe(self.recipe, relation_codes=self.relation_codes,
                                coordinates=self.coordinates)
        resolved = {
            "relation_codes": chosen.relation_codes, "coordinates": chosen.coordinates,
            "stride": self.tile_px if self.stride is None else self.stride,
            "text": {"name": self.text} if isinstance(self.text, str) else self.text,
            **{name: str(value) for name in _PATHS if (value := getattr(self, name)) is not None},
        }
        for name, value in resolved.items():
            object.__setattr__(self, name, value)
        check_keys({name: value for name, value in vars(self).items()
                    if name not in _GROUPS + _PATHS}, PrepareConfig)
        SplitRules(**self.split)

    @property
    def folder(self) -> Path:
        return Path(self.out)

    def of_result(self) -> dict[str, Any]:
        """The keys that the tiles depend on."""
        return {name: value for name, value in asdict(self).items() if name not in _OTHER}
