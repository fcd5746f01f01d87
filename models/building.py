"""A Rose by its encoder and recipe, new or of stored arguments."""

from typing import Any

from models.rose import MODEL_KEYS, Rose
from utils.errors import ModelError
from utils.normalisation import IMAGENET_MEAN, IMAGENET_STD
from utils.recipes import resolve_recipe


def build_rose(image_encoder: str = "vit_base_patch16_224", pretrained: bool = False,
               recipe: str = "rose", **overrides: Any) -> Rose:
    """Return a Rose as the method describes it (`recipe="rose"`), as released ("release"), or with
    objects placed on the patches that they cover ("plus").

    Args:
        overrides: any argument of `Rose`; None keeps the recipe's value, or the default.

    Raises:
        ConfigError: unknown recipe, or a value that its keys do not take.
        ModelError: an argument that `Rose` refuses or does not know.
    """
    overrides = {key: value for key, value in overrides.items() if value is not None}
    chosen = resolve_recipe(recipe, **{key: overrides.pop(key, None) for key in MODEL_KEYS})
    if recipe == "release" and overrides.setdefault("image_positions", "rose") == "own":
        raise ModelError("image_positions=own: recipe=release has the authors' fixed positions; "
                         "leave image_positions out, or use recipe=rose")
    known = ("graph_in_dim", "graph_out_dim", "img_mask_ratio", "osm_mask_ratio",
             "image_positions", "image_mean", "image_std", "image_weights")
    for key in overrides:
        if key not in known:
            raise ModelError(f"{key}={overrides[key]}: build_rose knows no such argument; it "
                             f"takes {', '.join(known + MODEL_KEYS)}")
    return Rose(image_encoder, pretrained, **{key: getattr(chosen, key) for key in MODEL_KEYS},
                **overrides)


def rebuild_rose(build: dict[str, Any]) -> Rose:
    """Return `build_rose` of the arguments stored with some weights. If they state no mean and
    deviation, these are ImageNet's, whatever timm has come to say of the encoder."""
    return build_rose(**{"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD, **build})
