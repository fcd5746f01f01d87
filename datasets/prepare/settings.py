"""What one preparation is asked to do."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets.keys import TEXTS, PrepareConfig, TextConfig, text_of_result
from datasets.prepare.targets.cell_size import CellSize
from datasets.remote.urls import without_secrets
from datasets.split_lists import SplitRules
from datasets.stores.city import CAPTION, MODALITIES
from utils.config import check_type, check_values, is_group, keys_of, result_values
from utils.errors import ConfigError, printable
from utils.recipes import resolve_recipe

_PATHS = ("raster", "osm", "out", "labels", "population", "co2", "layers")
# Keys that say more of another.
_LONE = {"bands": "raster", "zoom": "raster", "layers": "osm", "default_tags": "osm",
         "classes": "labels", "label_map": "labels", "label_column": "labels",
         "colour_tolerance": "labels", "population_column": "population",
         "population_crs": "population", "population_what": "population", "co2_column": "co2",
         "co2_crs": "co2", "co2_cell": "co2", "co2_what": "co2"}


@dataclass
class Settings(PrepareConfig):
    """The keys of prepare_dataset.py, resolved and checked; raise ConfigError for an impossible
    value.

    In the place of a text encoder's or the split's keys, its name or a dict is welcome."""

    def __post_init__(self) -> None:
        self.text = _text_keys(self.text)
        if isinstance(self.split, dict):
            self.split = SplitRules(**self.split)
        self.stride = self.tile_px if self.stride is None else self.stride
        for name in _PATHS:
            if getattr(self, name) is not None:
                setattr(self, name, str(getattr(self, name)))
        if not self.modalities:
            raise ConfigError("raster=null osm=null: nothing is left to make tiles of; give one of "
                              "them, or both")
        if self.osm is None:
            self.keep_empty = True  # no tile has an object
        if not re.fullmatch(r"[\w-]+", self.city):
            raise ConfigError(f"city={self.city!r}: expected letters, digits, _ and - only, no "
                              "spaces, as it begins the name of every tile")
        if self.scheduler and self.workers:
            raise ConfigError(f"scheduler={self.scheduler} with workers={self.workers}: the "
                              "cluster has workers of its own; leave one out")
        for lone, source in _LONE.items():
            if getattr(self, lone) not in (None, 0) and not getattr(self, source):
                raise ConfigError(f"{lone}={getattr(self, lone)}: there is no {source}= that it "
                                  "could describe; add one, or leave this out")
        if self.cell is not None and not (self.population or self.co2):
            raise ConfigError(f"cell={self.cell}: there is no population= or co2= that it could "
                              "describe; add one, or leave this out")
        for name in ("population_what", "co2_what"):
            if len(str(getattr(self, name))) > CAPTION.most:
                raise ConfigError(f"{name}={printable(getattr(self, name))}: expected "
                                  f"{CAPTION.most} characters or fewer")
        for name in ("cell", "co2_cell"):
            if getattr(self, name) is not None:
                setattr(self, name, str(CellSize.of(name, str(getattr(self, name)))))
        for name, item in keys_of(PrepareConfig).items():
            if "." not in name and not is_group(item):
                check_type(PrepareConfig, name, getattr(self, name))
        check_values(self)

    @classmethod
    def of(cls, recipe: str = "rose", **keys: Any) -> "Settings":
        """Return the settings of `keys`, and of a recipe where they do not say otherwise."""
        names = ("relation_codes", "coordinates")
        chosen = resolve_recipe(recipe, **{name: keys.pop(name, None) for name in names})
        return cls(recipe=recipe, **{name: getattr(chosen, name) for name in names}, **keys)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the tiles have, of stores.city.MODALITIES."""
        sources = zip(MODALITIES, (self.raster, self.osm), strict=True)
        return tuple(name for name, source in sources if source is not None)

    @property
    def folder(self) -> Path:
        """The dataset's folder."""
        return Path(self.out)

    def of_result(self) -> dict[str, Any]:
        """Return the keys that the tiles depend on, without what is secret in an address."""
        return {**result_values(self), "raster": self.raster and without_secrets(self.raster),
                "text": text_of_result(self.text)}


def _text_keys(text: str | dict[str, Any] | TextConfig) -> TextConfig:
    if isinstance(text, TextConfig):
        return text
    given = {"name": text} if isinstance(text, str) else text
    return TextConfig(**{**asdict(TEXTS.get(given.get("name"), TextConfig())), **given})
