"""What a file states of a network: the arguments of `build_rose` that differ from the method's, so
that networks from before a key existed keep their description."""

from pathlib import Path
from typing import Any

from utils.recipes import RECIPES

FIRST_KEYS = ("osm_norm_scope", "node_mask_scope", "relation_edges", "fine_input")


def stated_keys(recipe: str = "rose", **values: Any) -> dict[str, Any]:
    """Return the `values` of keys of a recipe that are stated: all FIRST_KEYS, and those of younger
    keys that are not the method's, or not those of the `recipe` stated beside them."""
    method, chosen = vars(RECIPES["rose"]), vars(RECIPES[recipe])
    return {key: value for key, value in values.items()
            if key in FIRST_KEYS or not value == method[key] == chosen[key]}


def stated_positions(image_positions: str | None = None, pretrained: bool = False,
                     recipe: str = "rose", image_weights: str | Path | None = None,
                     **build: Any) -> dict[str, str]:
    """Return {"image_positions": "own"} if arguments of `build_rose` make such a network, else {}:
    what is said of a network says nothing of the paper's positions.

    The encoder's own are kept by default where it starts from trained weights, except by
    recipe=release.
    """
    own = (pretrained or image_weights is not None) and recipe != "release"
    chosen = image_positions or ("own" if own else "rose")
    return {} if chosen == "rose" else {"image_positions": chosen}
