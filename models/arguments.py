"""What the arguments of a Rose may be, wherever they come from."""

from collections.abc import Sequence

from models.objectives import GEOMETRY
from utils.errors import ModelError
from utils.recipes import Recipe

_CHANNELS = 3  # of an image


def check_ratios(**ratios: float) -> None:
    """Raise ModelError unless each mask ratio lies between 0 and 1."""
    for key, ratio in ratios.items():
        if not 0 < ratio < 1:
            raise ModelError(f"{key}={ratio}: a mask ratio lies between 0 and 1, both excluded")


def check_node_width(graph_in_dim: int, recipe: Recipe) -> None:
    """Raise ModelError if nodes are too narrow for the geometry that keys of `recipe` read."""
    reads = {"placement=coverage": recipe.placement == "coverage",
             "osm_loss=groups": recipe.osm_loss == "groups",
             f"contrast={recipe.contrast:g}": recipe.contrast > 0}
    for key, needed in reads.items():
        if needed and graph_in_dim < GEOMETRY:
            raise ModelError(f"graph_in_dim={graph_in_dim}: {key} reads a node's last {GEOMETRY} "
                             f"columns, its size, corners and centroid; expected {GEOMETRY} or "
                             f"more, or leave {key.partition('=')[0]} out")


def check_colours(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise ModelError unless mean and deviation are a number for each channel of an image."""
    for key, values in (("image_mean", mean), ("image_std", std)):
        if len(values) != _CHANNELS or (key == "image_std" and min(values) <= 0):
            raise ModelError(f"{key}={list(values)}: expected a number for each of {_CHANNELS} "
                             "channels" + ", above 0" * (key == "image_std"))
