"""Geometries as well-known binary: which of them have a shape that shapely takes.

GEOS has no curves and no surfaces of patches; shapely raises for the first wherever it meets them.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import shapely

COLLECTION = 7
_SIMPLE = range(1, COLLECTION + 1)  # Point to GeometryCollection
_CURVES = range(8, 15)
_NAMES = {8: "CircularString", 9: "CompoundCurve", 10: "CurvePolygon", 11: "MultiCurve",
          12: "MultiSurface", 13: "Curve", 14: "Surface", 15: "PolyhedralSurface", 16: "TIN",
          17: "Triangle"}
_NO_HEAD = bytes(5)


def kinds_of(wkb: Sequence[bytes | None]) -> np.ndarray:
    """Return the number of each geometry's kind without Z and M, 0 where there is none: [n]."""
    heads = [item[:5] if item and len(item) >= 5 else _NO_HEAD for item in wkb]
    data = np.frombuffer(b"".join(heads), np.dtype([("order", "u1"), ("code", "V4")]))
    code = data["code"].view("<u4")
    code = np.where(data["order"] == 0, code.byteswap(), code)
    return np.where(data["order"] <= 1, (code & 0x1FFFFFFF) % 1000, 0)


def curved(wkb: Sequence[bytes | None]) -> np.ndarray:
    """Return which geometries are curves, or collections with one: [n] bool."""
    kinds = kinds_of(wkb)
    found = np.isin(kinds, _CURVES)
    for index in np.flatnonzero(kinds == COLLECTION):
        found[index] = _has_curve(wkb[index])
    return found


def unusable(wkb: Sequence[bytes | None]) -> tuple[np.ndarray, Counter[str]]:
    """Return which geometries are of a kind without a shape here, [n] bool, and their number by
    reason. A missing geometry is none of them."""
    kinds = kinds_of(wkb)
    found = (~np.isin(kinds, _SIMPLE) | curved(wkb)) & np.array([bool(item) for item in wkb], bool)
    return found, Counter(f"whose geometry is a {_NAMES[kind]}" if kind in _NAMES
                          else "whose geometry cannot be read" if kind != COLLECTION
                          else "whose geometry is a collection with curves"
                          for kind in kinds[found].tolist())


def shapes_of(wkb: Sequence[bytes | None]) -> np.ndarray:
    """Return shapely geometries [n]; None where there is none, or none that shapely takes."""
    wkb = np.array([*wkb, None], dtype=object)[:-1]  # one dimension, whatever the items
    wkb[unusable(wkb)[0]] = None
    return shapely.from_wkb(wkb, on_invalid="ignore")


def _has_curve(wkb: bytes) -> bool:
    parts = np.array([shapely.from_wkb(wkb, on_invalid="ignore")])
    try:
        while np.isin(shapely.get_type_id(parts), COLLECTION).any():
            parts = shapely.get_parts(parts)
    except NotImplementedError:
        return True
    return False
