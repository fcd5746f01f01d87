"""What a list of tiles cannot teach or measure, in words: said wherever a list is made or used."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from utils.tables import format_number

FEW_TO_LEARN, FEW_TO_MEASURE = 20, 5  # tiles


def shortcomings_of(name: str, tiles: int, learnt: bool, totals: Mapping[str, ArrayLike],
                    classes: ArrayLike | None = None, names: Sequence[str] = ()) -> list[str]:
    """Return a sentence for each reason why figures of a list say little.

    Args:
        name: of the list.
        learnt: the list is for training, not for measuring.
        totals: name of a total -> its value for each tile of the list.
        classes: known pixels of each class in the list; None if its tiles have no land use.
        names: of the classes.
    """
    lines = []
    few = FEW_TO_LEARN if learnt else FEW_TO_MEASURE
    if tiles < few:
        why = "a network learns little from so few" if learnt else "figures are left to chance"
        lines.append(f"{name} has {tiles} tile{'s' * (tiles != 1)}, expected {few} or more: {why}; "
                     "give more tiles, or a smaller split.guard or split.block")
    elif classes is not None and np.count_nonzero(classes) == 1:
        only = int(np.argmax(classes))
        lines.append(f"{name} has pixels of one class alone, "
                     f"{names[only]}: nothing tells a good "
                     "network from a poor one; try another split.seed")
    for total, values in totals.items():
        values = np.asarray(values, np.float64)
        if len(values) > 1 and (values == values[0]).all():
            lines.append(f"{name} has {format_number(values[0])} as {total} of all its {tiles} "
                         "tiles: nothing tells a good network from a poor one; try another "
                         "split.seed, or check the source")
    return lines
