"""The districts of the sample city, for statistics: the quarters between its main roads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import shapely
from pyogrio.raw import write

from datasets.sample_city.osm import clip, constant_date
from datasets.sample_city.plan import Plan


def write_districts(path: Path, plan: Plan, west: float, south: float, crs: str) -> None:
    """Write the quarters, cut to the city, which they share out among them, each with a name such
    as `terraces 3`."""
    seen: Counter[str] = Counter()
    names = []
    for quarter in plan.quarters:
        seen[quarter.kind] += 1
        names.append(f"{quarter.kind} {seen[quarter.kind]}")
    rings = np.array([shapely.Polygon(plan.warp(np.array(quarter.ring)[:, :2]))
                      for quarter in plan.quarters], object)
    geometry, _, names = clip(rings, names, names, plan.side, west, south)
    with constant_date():
        write(path, shapely.to_wkb(geometry), [np.array(names, dtype=object)], ["district"],
              layer="districts", driver="GPKG",
              geometry_type="Polygon", crs=crs)
