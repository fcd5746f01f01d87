"""What a file may say of its network and of the tiles it was trained on."""

from models.image_encoder import POSITIONS
from models.rose import MODEL_KEYS
from utils.config import keys_of
from utils.contents import Either, Fields, Flag, Items, Null, Number, Rule, Text, Whole
from utils.recipes import RECIPES, Recipe

_WIDTH = Whole(1, 1 << 16)  # of a node or an embedding
_RATIO = Number(0, 1)
_METRES = Number(1e-6, 1e6)
_MEAN, _STD = Number(-100, 100), Number(1e-6, 100)  # of a channel of an image
_RECIPE_KEYS = keys_of(Recipe)


def _recipe_key(name: str) -> Rule:
    item = _RECIPE_KEYS[name]
    bounds = {bound: item.metadata[bound] for bound in ("least", "most")}
    return {bool: Flag(), str: Text(item.metadata["choices"]), int: Whole(**bounds),
            float: Number(**bounds)}[item.type]


# the arguments of `build_rose`
BUILD = Fields(
    {"image_encoder": Text(most=200)},
    {"recipe": Text(tuple(RECIPES)), "pretrained": Flag(), "graph_in_dim": _WIDTH,
     "graph_out_dim": _WIDTH, "img_mask_ratio": _RATIO, "osm_mask_ratio": _RATIO,
     "image_mean": Items([_MEAN] * 3), "image_std": Items([_STD] * 3),
     "image_positions": Text(POSITIONS),
     **{name: Either([_recipe_key(name), Null()]) for name in MODEL_KEYS}}, closed=True)
# what `TileDataset.describe` returns
TILES = Fields({}, {
    "tile_px": Whole(1, 1 << 20), "metres_per_pixel": Items([_METRES, _METRES]),
    "text": Fields({"name": Text(most=200)},
                   {"width": _WIDTH, "describe": Text(most=200), "digest": Text(most=200),
                    "model": Text(most=4096)}),
    "relation_codes": _recipe_key("relation_codes"), "coordinates": _recipe_key("coordinates")})
