"""Which way a figure is better."""

from collections.abc import Callable

_BETTER = {"miou": max, "f1": max, "r2": max, "mae": min, "rmse": min, "image_loss": min,
           "osm_loss": min, "val_loss": min}


def better_of(name: str) -> Callable | None:
    """Return `max` or `min`, whichever chooses the better of two values of a figure; None for one
    of which this is not known."""
    return _BETTER.get(name)
