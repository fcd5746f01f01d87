"""What the ablation compares: recipes without single ingredients, with one alone, and with more."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.keys import RegressionConfig, SegmentationConfig
from studies.benchmark_plan import FULLY, SCRATCH, Cell, Row
from studies.command import written
from training.keys import TrainConfig
from utils.config import keys_of
from utils.errors import ConfigError
from utils.recipes import RECIPES, Recipe, resolve_recipe

# ingredients that plus lacks, each of which is tried beside those it has
CANDIDATES: dict[str, Any] = {"neighbours": 4, "osm_layers": 2, "relation_edges": True,
                              "image_target": "latent", "contrast": 1.0}
BASE = "rose"                       # the recipe that `keys` of a variant are stated against
REFERENCES = ("plus", "rose")       # variants that the others are compared with
TRAININGS = (FULLY, SCRATCH)
_PRETRAINED = keys_of(Recipe).keys() & keys_of(TrainConfig).keys()
# an evaluation's key of the name `augment` is about its own training tiles
_EVALUATED = (keys_of(Recipe).keys() & keys_of(SegmentationConfig).keys()) - {"augment"}
# what the trainings for land use do not have
_OF_TOTALS = (keys_of(Recipe).keys() & keys_of(RegressionConfig).keys()) - _EVALUATED - _PRETRAINED


@dataclass(frozen=True)
class Variant:
    """A recipe with some keys changed.

    Attributes:
        name: as it is asked for, RECIPE:KEY=VALUE:...
        keys: key -> value that differ from recipe=rose, and those that no recipe has; the meaning
            of a variant stays with it when a recipe changes.
        row: the model.
    """

    name: str
    keys: dict[str, str]
    row: Row

    @property
    def folder(self) -> str:
        """Its name as that of a folder, and of its row."""
        return slug(self.name)

    @property
    def in_words(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.keys.items())


def default_variants() -> list[str]:
    """Return plus and rose; plus without, and rose with, each key in which they differ; and plus
    with each candidate."""
    rose, plus = (asdict(RECIPES[name]) for name in ("rose", "plus"))
    differing = [name for name in rose if rose[name] != plus[name] and name not in _OF_TOTALS]
    names = ["plus", "rose", *(f"plus:{name}={written(rose[name])}" for name in differing),
             *(f"rose:{name}={written(plus[name])}" for name in differing),
             *(f"plus:{name}={written(value)}" for name, value in CANDIDATES.items()
               if plus[name] != value)]
    return [*dict.fromkeys(names)]


def variants_of(names: Sequence[str] | None) -> list[Variant]:
    """Return the variants of some names; None: the default ones.

    Raises:
        ConfigError: a name is not RECIPE:KEY=VALUE:..., or has a key twice; two mean the same
            folder; or a recipe, key or value is impossible.
    """
    variants = [_variant(name) for name in names or default_variants()]
    folders: dict[str, str] = {}
    for variant in variants:
        if variant.folder in folders:
            raise ConfigError(f"variants=: {folders[variant.folder]} and {variant.name} have the "
                              "same name of a folder, expected different ones; leave one out")
        folders[variant.folder] = variant.name
    return variants


def cells_of(variants: Sequence[Variant], trainings: Sequence[str],
             labels: Sequence[str]) -> dict[Cell, None]:
    """Return the cells of some variants, in order. From scratch, variants that differ in nothing
    but pretraining are the same: the first of them has the cell, or a reference."""
    first: dict[frozenset[str], str] = {}
    for variant in sorted(variants, key=lambda variant: variant.name not in REFERENCES):
        first.setdefault(frozenset(variant.row.evaluation), variant.name)
    return {Cell("land_use", variant.folder, training, count): None
            for training in trainings for count in labels for variant in variants
            if training == FULLY or first[frozenset(variant.row.evaluation)] == variant.name}


def _variant(name: str) -> Variant:
    recipe, *pairs = name.split(":")
    given, others = {}, {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not (key and separator and value):
            raise ConfigError(f"variants=[{name}]: {pair} is not of the form KEY=VALUE, expected "
                              "RECIPE:KEY=VALUE:..., such as plus:neighbours=4:osm_layers=2")
        if key in given | others:
            raise ConfigError(f"variants=[{name}]: {key} is there twice, {key}="
                              f"{(given | others)[key]} and {pair}, expected each key once; leave "
                              "one out")
        (given if key in keys_of(Recipe) else others)[key] = value
    try:
        values = asdict(resolve_recipe(recipe, **given))
    except ConfigError as error:
        raise ConfigError(f"variants=[{name}]: {error}") from error
    base = asdict(RECIPES[BASE])
    if totals := [key for key in given if key in _OF_TOTALS]:
        raise ConfigError(f"variants=[{name}]: {totals[0]} is a key of evaluate_pop_fusion.py "
                          "alone, and all variants are trained for land use; leave it out")
    own = {key: written(value) for key, value in values.items()
           if value != base[key] and key not in _OF_TOTALS}
    if fixed := [key for key in own if key not in _PRETRAINED | _EVALUATED]:
        raise ConfigError(f"variants=[{name}]: {fixed[0]}={own[fixed[0]]} is a key of "
                          "prepare_dataset.py, expected keys of networks and trainings alone: all "
                          "variants share the tiles")
    pretrained = {key: value for key, value in own.items() if key in _PRETRAINED}
    changed = {key: written(values[key]) for key in given
               if key in _PRETRAINED and values[key] != asdict(RECIPES[recipe])[key]}
    evaluation = {key: value for key, value in own.items() if key in _EVALUATED} | others
    row = Row(name, "fusion", BASE, pretraining=tuple(pretrained.items()),
              evaluation=tuple(f"{key}={value}" for key, value in evaluation.items()),
              pretrained=slug(_named(recipe, changed)))
    return Variant(name, own | others, row)


def slug(name: str) -> str:
    """Return a variant's name as that of a folder."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name)


def _named(recipe: str, keys: Mapping[str, str]) -> str:
    return ":".join([recipe, *(f"{key}={value}" for key, value in keys.items())])
