"""Curves, patches and nesting: geometries that shapely does not take."""

import struct
from collections import Counter

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely

from datasets.prepare.geo.wkb import kinds_of, shapes_of, unusable
from datasets.prepare.targets.polygons import TargetPolygons
from inference.maps.zones import zone_totals
from tests.datasets.prepare.places import NORTH, UTM, WEST, square
from tests.datasets.prepare.reading import BOUNDS, read


def nested(kind: int, *parts: bytes) -> bytes:
    return struct.pack("<BIi", 1, kind, len(parts)) + b"".join(parts)


def disc(x: float) -> bytes:
    """Return a circle of 5 m as a CurvePolygon."""
    around = places((x, -5), (x + 5, 0), (x + 10, -5), (x + 5, -10), (x, -5))
    return nested(10, struct.pack("<BIi10d", 1, 8, 5, *around))


def places(*points: tuple[float, float]) -> list[float]:
    return (np.array(points) + np.array([WEST, NORTH])).ravel().tolist()


PATCHES = nested(16, struct.pack("<BIii8d", 1, 17, 1, 4, *places((60, 0), (60, -5), (65, -5),
                                                                 (60, 0))))
SHAPES = [disc(0), nested(12, disc(20)), nested(7, disc(40)), PATCHES,
          shapely.to_wkb(square(70, 0, 9))]


@pytest.mark.parametrize("kind", ["gpkg", "fgb"])
def test_curves_become_lines_for_every_reader(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    pyogrio.raw.write(path, np.array(SHAPES, object), [np.array([*"abcde"], object)],
                      ["building"], geometry_type="Unknown", crs=UTM)
    objects = read(path)
    assert sorted(objects.values) == ["a", "b", "e"]
    assert objects.census.dropped == {"whose geometry is a TIN": 1,
                                      "whose geometry is a collection with curves": 1}
    area = {value: shape.area for value, shape in zip(objects.values, objects.geometry,
                                                      strict=True)}
    assert [area[value] for value in "ab"] == pytest.approx([np.pi * 25] * 2, rel=1e-3)

    source = TargetPolygons(path, "labels", "label_column", "building", list)
    source.overlap(BOUNDS, source.crs)
    shapes, values = source.read(BOUNDS, source.crs)
    assert sorted(values) == ["a", "b", "e"]
    assert sorted(shapely.area(shapes))[:2] == pytest.approx([np.pi * 25] * 2, rel=1e-3)
    assert source.notes == [f"a.{kind}: 2 of 5 features near the imagery are no polygons and are "
                            "left out"]
    tiles = gpd.GeoDataFrame({"people": [10.0]}, geometry=[shapely.box(*BOUNDS)], crs=UTM)
    zones = zone_totals(path, tiles, "people")
    assert sorted(zones["building"]) == ["a", "b", "e"]
    assert zones.attrs["notes"] == [f"a.{kind}: 2 of 5 zones left out: no polygon, or none that "
                                    "can be placed"]


def test_kinds_with_heights_measures_and_either_order_of_bytes():
    point = shapely.Point(1, 2, 3)
    assert kinds_of([shapely.to_wkb(point), shapely.to_wkb(point, flavor="iso"),
                     shapely.to_wkb(point, byte_order=0), shapely.to_wkb(point, include_srid=True),
                     None, b"", b"\1\1", b"\7\1\0\0\0"]).tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert kinds_of([]).tolist() == []


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [4, 6, 7, 1007, 3006, 0x80000007])
def test_what_is_nested_so_deeply_that_it_would_crash_is_not_read(kind, order):
    head = struct.pack(f"{order}BIi", order == "<", kind, 1)
    deep, flat = head * 100_000, head * 3 + struct.pack(f"{order}BIi", order == "<", kind, 0)
    found, reasons = unusable([deep, flat])
    assert (found.tolist(), reasons) == ([True, False],
                                         Counter({"whose geometry is nested too deeply": 1}))
    assert shapes_of([deep])[0] is None


def test_a_large_multipolygon_is_not_taken_for_a_nested_one():
    many = shapely.MultiPolygon([shapely.box(x, 0, x + 0.5, 1) for x in range(6000)])
    assert shapes_of([shapely.to_wkb(many)])[0] == many
