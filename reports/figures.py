"""Which way a figure is better, and a figure with its interval, and what this is of, in writing."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from utils.tables import format_number, with_std

_BETTER = {"miou": max, "f1": max, "r2": max, "mae": min, "rmse": min, "ece": min,
           "interval_width": min, "image_loss": min, "osm_loss": min,
           "contrast_loss": min, "val_loss": min}


def better_of(name: str) -> Callable | None:
    """Return `max` or `min`, whichever chooses the better of two values of a figure; None for one
    of which this is not known."""
    return _BETTER.get(name)


def with_interval(mean: float, std: float | None = None,
                  interval: Sequence[float] | None = None) -> str:
    """Return `mean ± std [low, high]`; without a std or an interval, without them. The ends have
    the digits of the mean."""
    text = with_std(mean, std)
    if not interval:
        return text
    shown = format_number(mean)
    digits = len(shown.partition(".")[2])
    low, high = (format_number(end) if "e" in shown else f"{end:.{digits}f}" for end in interval)
    return f"{text} [{low}, {high}]"


def drawn_in_words(how: Mapping[str, Any]) -> str:
    """Return how intervals come about, of the "bootstrap" of a results.json: one made by an earlier
    version drew tiles alone, and does not say of how many seeds."""
    sides = " or ".join(f"{side} x {side}" for side in how["side"])
    return (f"{how['draws']:,} draws of {how['blocks']} blocks of {sides} neighbouring tiles, "
            f"{over_in_words(how.get('seeds', ()))}")


def over_in_words(seeds: Collection[int]) -> str:
    """Return over what intervals are; `seeds` are the numbers of seeds on the same tiles, none if
    they were not drawn."""
    if not seeds:
        return "over tiles"
    if max(seeds) == 1:
        return "over tiles; one seed"
    return "over tiles and seeds" + ", where there are several" * (min(seeds) == 1)
