"""Geometries as well-known binary: which of them have a shape that shapely takes.

GEOS has no curves and no surfaces of patches; shapely raises for the first wherever it meets them.
It reads nested geometries by recursion, and some 10,000 levels overflow the stack.
"""

import re
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
_MULTI = (4, 5, 6, COLLECTION)
# the head of one of _MULTI, with Z, M or both, in either order of bytes
_MULTI_HEAD = re.compile(
    rb"\x01(?:[\x04-\x07]\x00|[\xec-\xef]\x03|[\xd4-\xd7]\x07|[\xbc-\xbf]\x0b)\x00[\x00-\xe0]"
    rb"|\x00[\x00-\xe0]\x00(?:\x00[\x04-\x07]|\x03[\xec-\xef]|\x07[\xd4-\xd7]|\x0b[\xbc-\xbf])")
_DEEPEST = 5000


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
    return _curved(wkb, kinds, _too_deep(wkb, kinds))


def _curved(wkb: Sequence[bytes | None], kinds: np.ndarray, deep: np.ndarray) -> np.ndarray:
    found = np.isin(kinds, _CURVES)
    for index in np.flatnonzero((kinds == COLLECTION) & ~deep):
        found[index] = _has_curve(wkb[index])
    return found


def _too_deep(wkb: Sequence[bytes | None], kinds: np.ndarray) -> np.ndarray:
    """Return which geometries [n] may be nested so deeply that reading them would crash."""
    found = np.zeros(len(kinds), bool)
    for index in np.flatnonzero(np.isin(kinds, _MULTI)):
        if len(wkb[index]) > 9 * _DEEPEST:
            heads = sum(1 for _ in _MULTI_HEAD.finditer(wkb[index]))
            found[index] = heads > _DEEPEST
    return found


def unusable(wkb: Sequence[bytes | None]) -> tuple[np.ndarray, Counter[str]]:
    """Return which geometries are of a kind without a shape here, [n] bool, and their number by
    reason. A missing geometry is none of them."""
    kinds, present = kinds_of(wkb), np.array([bool(item) for item in wkb], bool)
    deep = _too_deep(wkb, kinds)
    found = present & (~np.isin(kinds, _SIMPLE) | _curved(wkb, kinds, deep) | deep)
    return found, Counter(_reason(kind, nested) for kind, nested in
                          zip(kinds[found].tolist(), deep[found].tolist(), strict=True))


def _reason(kind: int, deep: bool) -> str:
    if deep:
        return "whose geometry is nested too deeply"
    if kind == COLLECTION:
        return "whose geometry is a collection with curves"
    return (f"whose geometry is a {_NAMES[kind]}" if kind in _NAMES
            else "whose geometry cannot be read")


def shapes_of(wkb: Sequence[bytes | None]) -> np.ndarray:
    """Return shapely geometries [n]; None where there is none, or none that shapely takes."""
    wkb = np.array([*wkb, None], dtype=object)[:-1]  # one dimension, whatever the items
    wkb[unusable(wkb)[0]] = None
    with np.errstate(invalid="ignore"):  # coordinates that are not finite
        return shapely.from_wkb(wkb, on_invalid="ignore")


def _has_curve(wkb: bytes) -> bool:
    parts = np.array([shapely.from_wkb(wkb, on_invalid="ignore")])
    try:
        while np.isin(shapely.get_type_id(parts), COLLECTION).any():
            parts = shapely.get_parts(parts)
    except NotImplementedError:
        return True
    return False
