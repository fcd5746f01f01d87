"""The two recipes: the method as the paper describes it, and the authors' code with its accidents.

Each accident of the released code is one key here, so that it can be chosen alone, on a command
line and in Python. (The log's first line of an epoch is always a true mean, whatever the recipe.)
"""

import re
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from utils.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """One behaviour per accident of the release; the defaults are the method as described.

    Attributes:
        osm_norm_scope: statistics of the OSM encoder's LayerNorm over each tile, or (release) over
            the whole batch, so that a tile's features depend on the other tiles.
        lr_decay: lr x0.1 from each milestone on, or (release) only during the milestone epochs.
        augment: crop and flip move the OSM nodes with the image, or (release) the image alone;
            `none` leaves both as they are.
        node_mask_scope: the OSM mask ratio holds for each tile, at least one node, or (release)
            for the batch as a whole.
        relation_codes: DE-9IM codes consistent in both directions, or (release) computed for i < j
            and mirrored.
        coordinates: node positions at sub-pixel precision, or (release) truncated to whole pixels.
        relation_edges: give the graph attention a one-hot of the relation; off in both recipes, as
            the release drops it silently.
        protocol: choose the best epoch on val and report test once, or (release) choose and report
            on the same val list.
        fine_input: patch tokens of the fine fusion pass the token projection once, as pretrained,
            or (release) twice.
    """

    osm_norm_scope: Literal["tile", "batch"] = "tile"
    lr_decay: Literal["persistent", "epoch_only"] = "persistent"
    augment: Literal["aligned", "image_only", "none"] = "aligned"
    node_mask_scope: Literal["tile", "batch"] = "tile"
    relation_codes: Literal["symmetric", "release"] = "symmetric"
    coordinates: Literal["subpixel", "integer"] = "subpixel"
    relation_edges: bool = False
    protocol: Literal["honest", "release"] = "honest"
    fine_input: Literal["single", "double"] = "single"




def meaning_of(name: str) -> str:
    """Return what a key of a recipe means, from the docstring of `Recipe`."""
    attribute = re.search(rf"^ {{8}}{name}: (.*?)(?=^ {{8}}\w+:|\Z)", Recipe.__doc__,
                          re.DOTALL | re.MULTILINE)
    return " ".join(attribute[1].split())


RECIPES = {
    "rose": Recipe(),
    "release": Recipe(
        osm_norm_scope="batch", lr_decay="epoch_only", augment="image_only",
        node_mask_scope="batch", relation_codes="release", coordinates="integer",
        relation_edges=False, protocol="release", fine_input="double",
    ),
}


def resolve_recipe(name: str = "rose", **overrides: Any) -> Recipe:
    """Return the recipe `name` with single keys replaced; None keeps the recipe's value.

    Raises:
        ConfigError: unknown recipe, key or value; the message names what is allowed.
    """
    if name not in RECIPES:
        raise ConfigError(f"recipe={name}: unknown recipe; choose one of {', '.join(RECIPES)}")
    chosen = {key: value for key, value in overrides.items() if value is not None}
    allowed = {field.name: (True, False) if field.type is bool else get_args(field.type)
               for field in fields(Recipe)}
    for key, value in chosen.items():
        if key not in allowed:
            raise ConfigError(f"{key}={value}: not a key of a recipe; the keys are "
                              f"{', '.join(allowed)}")
        if value not in allowed[key]:
            raise ConfigError(f"{key}={value}: choose one of {', '.join(map(str, allowed[key]))}")
    return replace(RECIPES[name], **chosen)
