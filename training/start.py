"""The network of a pretraining run as it is before a step: random, from trained weights of the
image encoder, or built to take a checkpoint's."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from models import build_rose
from models.building import rebuild_rose
from models.described import BUILD
from models.image_weights import describe_image_weights
from models.release import load_strictly
from models.rose import MODEL_KEYS, Rose
from models.stated import stated_keys, stated_positions
from training.keys import TrainConfig
from utils.checkpoint import COPY_AGAIN, contents_of
from utils.contents import Either, Fields, Null, Text

# arguments of `build_rose` that follow from the weights that a run started from
_OF_THE_WEIGHTS = ("image_positions", "image_mean", "image_std")
_RULE = Fields({"build": BUILD}, {"image_weights": Either([Null(), Fields({"path": Text(),
                                                                          "sha256": Text()})])})


def new_rose(cfg: TrainConfig) -> tuple[Rose, dict[str, Any], dict[str, str] | None]:
    """Return the network of a new run, the arguments of `build_rose` to store with its weights, and
    path and sha256 of the file image_weights=, if any.

    Raise RoseError if it cannot be built so.
    """
    build = _arguments(cfg) | stated_positions(cfg.image_positions, cfg.pretrained, cfg.recipe,
                                               cfg.image_weights)
    image_weights = describe_image_weights(cfg.image_weights)
    rose = build_rose(**build, pretrained=cfg.pretrained, image_weights=cfg.image_weights)
    return rose, build | _of_the_weights(rose.build), image_weights


def continued_rose(cfg: TrainConfig, checkpoint: dict[str, Any],
                   path: Path) -> tuple[Rose, dict[str, Any], dict[str, str] | None]:
    """Return the same of a run that goes on from a `checkpoint`, read from `path`, with its
    weights; what the run once started from is not needed."""
    with contents_of(path, COPY_AGAIN):
        stated = _RULE.check({key: checkpoint[key] for key in ("build", "image_weights")
                              if key in checkpoint}, "")
    build = _arguments(cfg) | _of_the_weights(stated["build"])
    rose = rebuild_rose(build)
    load_strictly(rose, checkpoint["model"], str(path))
    return rose, build, stated.get("image_weights")


def _arguments(cfg: TrainConfig) -> dict[str, Any]:
    values = asdict(cfg)
    keys = ("image_encoder", "recipe", "graph_in_dim", "graph_out_dim", "img_mask_ratio",
            "osm_mask_ratio")
    return {key: values[key] for key in keys} | stated_keys(
        cfg.recipe, **{key: values[key] for key in MODEL_KEYS if key in values})


def _of_the_weights(build: dict[str, Any]) -> dict[str, Any]:
    return {key: build[key] for key in _OF_THE_WEIGHTS if key in build}
