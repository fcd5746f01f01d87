"""The recipes: the method as the paper describes it, the authors' code with its accidents, and the
method with objects placed on the patches that they cover.

Each difference is one key here, so that it can be chosen alone, on a command line and in Python;
docs/recipes.md says why each exists.
"""

import re
from dataclasses import MISSING, dataclass, replace
from typing import Any

from utils.config import check_rule, check_type, key, keys_of
from utils.errors import ConfigError


@dataclass(frozen=True)
class Recipe:
    """One behaviour per key; the defaults are the method as described.

    Attributes:
        osm_norm_scope: statistics of the OSM encoder's LayerNorm over each tile, or (release) over
            the whole batch, so that a tile's features depend on the other tiles.
        lr_decay: lr x0.1 from each milestone on, or (release) only during the milestone epochs.
        augment: crop and flip move the OSM nodes with the image, or (release) the image alone;
            `none` leaves both as they are.
        node_mask_scope: the OSM mask ratio is per tile, at least one node, or (release) per batch.
        relation_codes: DE-9IM codes consistent in both directions, or (release) computed for i < j
            and mirrored.
        coordinates: node positions at sub-pixel precision, or (release) truncated to whole pixels.
        relation_edges: graph attention gets the relation's one-hot; the release drops it silently.
        protocol: choose the epoch on val and report test once, or (release) do both on val.
        fine_input: patch tokens of the fine fusion pass their projection once, or (release) twice.
        placement: all patches of a tile receive the same of OSM, or (plus) each patch also what
            the objects that cover it say.
        feed_forward: what the image block ends with: one linear map, or (plus) the two of a
            transformer, which can combine what image and objects say.
        image_skip: the fusion's output is the block's, or (plus) its sum with the image tokens.
        image_target: what masked patches are reconstructed to: pixels; patch_norm (plus): pixels
            normalised in each patch; latent: tokens of a momentum encoder.
        osm_loss: one squared error over all features of a node, or (plus) one loss for each group
            of them: the cosine of its text, L1 of its geometry.
        contrast: weight of the contrast between an object and the patches under it, 0: none.
        neighbours: edges of the OSM graph from so many nearest objects, beside intersections.
        osm_layers: layers of graph attention, the second one residual.
        drop_objects: mean share of a tile's OSM objects dropped while training, more of some tiles
            than of others.
        drop_graphs: share of tiles that lose all OSM objects while training.
        patch_input: what a downstream model makes an image token of: the pixels of its patch, or
            (plus) also their statistics, how much and how finely its colours vary.
        draw_objects: a downstream fusion's image encoder sees the OSM objects drawn (plus), beside
            what the graph says of them.
        count_objects: a downstream total is the network's alone, or (plus) what it adds to a linear
            model of how many OSM objects of each kind there are, and of their area.
        patch_mlp: scores are the network's, or (plus) pooled with an MLP's of colours and objects.
        class_weights: pixels of all classes count alike in the loss of a segmentation, or (plus,
            root) by the inverse square root of their class's share.
    """

    osm_norm_scope: str = key("tile", choices=("tile", "batch"))
    lr_decay: str = key("persistent", choices=("persistent", "epoch_only"))
    augment: str = key("aligned", choices=("aligned", "image_only", "none"))
    node_mask_scope: str = key("tile", choices=("tile", "batch"))
    relation_codes: str = key("symmetric", choices=("symmetric", "release"))
    coordinates: str = key("subpixel", choices=("subpixel", "integer"))
    relation_edges: bool = key(False)
    protocol: str = key("honest", choices=("honest", "release"))
    fine_input: str = key("single", choices=("single", "double"))
    placement: str = key("tile", choices=("tile", "coverage"))
    feed_forward: str = key("linear", choices=("linear", "residual"))
    image_skip: bool = key(False)
    image_target: str = key("pixels", choices=("pixels", "patch_norm", "latent"))
    osm_loss: str = key("features", choices=("features", "groups"))
    contrast: float = key(0.0, least=0, most=1000)
    neighbours: int = key(0, least=0, most=64)
    osm_layers: int = key(1, least=1, most=2)
    drop_objects: float = key(0.0, least=0, most=1)
    drop_graphs: float = key(0.0, least=0, most=1)
    patch_input: str = key("pixels", choices=("pixels", "statistics"))
    draw_objects: bool = key(False)
    count_objects: bool = key(False)
    patch_mlp: bool = key(False)
    class_weights: str = key("none", choices=("none", "root"))


RECIPES = {
    "rose": Recipe(),
    "release": Recipe(
        osm_norm_scope="batch", lr_decay="epoch_only", augment="image_only",
        node_mask_scope="batch", relation_codes="release", coordinates="integer",
        relation_edges=False, protocol="release", fine_input="double",
    ),
    "plus": Recipe(
        placement="coverage", feed_forward="residual", image_skip=True,
        image_target="patch_norm", osm_loss="groups", drop_objects=0.15, drop_graphs=0.1,
        patch_input="statistics", draw_objects=True, count_objects=True, patch_mlp=True,
        class_weights="root",
    ),
}


def meaning_of(name: str) -> str:
    """Return what a key of a recipe means, from the docstring of `Recipe`."""
    attribute = re.search(rf"^ {{8}}{name}: (.*?)(?=^ {{8}}\w+:|\Z)", Recipe.__doc__,
                          re.DOTALL | re.MULTILINE)
    return " ".join(attribute[1].split())


def recipe_key(name: str, default: Any = MISSING, meaning: str = "", **rules: Any) -> Any:
    """State a key that a recipe sets: its rule and meaning are the recipe's.

    Args:
        default: the value without a recipe; by default that of recipe=rose.
        rules: of `utils.config.key`; `by_recipe=False` if the choice recipe= leaves it alone.
    """
    item = keys_of(Recipe)[name]
    return key(item.default if default is MISSING else default, **{
        **item.metadata, "meaning": meaning or meaning_of(name), "by_recipe": True, **rules})


def resolve_recipe(name: str = "rose", **overrides: Any) -> Recipe:
    """Return the recipe `name` with single keys replaced; None keeps the recipe's value.

    Raises:
        ConfigError: unknown recipe, key or value; the message names what is allowed.
    """
    if name not in RECIPES:
        raise ConfigError(f"recipe={name}: unknown recipe; choose one of {', '.join(RECIPES)}")
    items, chosen = keys_of(Recipe), {}
    for key_name, value in overrides.items():
        if value is None:
            continue
        if key_name not in items:
            raise ConfigError(f"{key_name}={value}: not a key of a recipe; the keys are "
                              f"{', '.join(items)}")
        chosen[key_name] = check_type(Recipe, key_name, value)
        check_rule(key_name, chosen[key_name], items[key_name])
    return replace(RECIPES[name], **chosen)
