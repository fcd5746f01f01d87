"""Which way a figure is better, and a figure with its interval in writing."""

from collections.abc import Callable, Sequence

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
