"""Why claims hold or fail: what was measured of the networks that they are about."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from studies.association import Association

HEADER = ("network", "attention on the own box, times chance", "fusion",
          "length of what objects add, over a token's", "of that, differs between a tile's patches",
          "weights of objects in a patch, times their mean",
          "change of the own box by its object, times chance")


def measured(associations: Sequence[Association]) -> list[list[str]]:
    """Return the rows under HEADER, one a city, recipe and fusion; means over networks of one city
    and recipe, as of several seeds."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in associations:
        groups.setdefault((each.recipe, each.city), []).append(each.record)
    return [[f"{recipe}, {city}", _mean([record.get("lift") for record in records], "{:.2f}"),
             fusion, *_added([record.get("adds", {}).get(fusion, {}) for record in records]),
             _mean([record["fusions"].get(fusion, {}).get("lift") for record in records],
                   "{:.2f}")]
            for (recipe, city), records in groups.items() for fusion in records[0]["fusions"]]


def _added(records: Sequence[dict[str, Any]]) -> list[str]:
    weights = [record["weights"] for record in records if record.get("weights")]
    low, high = np.mean(weights, axis=0) if weights else (None, None)
    return [_mean([record.get("norm_ratio") for record in records], "{:.2f}"),
            _mean([record.get("varies") for record in records], "{:.1%}"),
            f"{low:.2f} to {high:.2f}" if weights else "-"]


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return form.format(np.mean(known)) if known else "-"
