"""From the rows of a file to the points near the imagery, with an account of all rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely
from pyproj import CRS

from datasets.prepare.geo.crs import DEGREES, Bounds, box_in, moved, no_overlap, uncut
from datasets.prepare.targets import h3_cells
from datasets.prepare.targets.cell_size import CellSize
from datasets.prepare.targets.lattice import local_metres, middle_of, spacing, turn
from datasets.prepare.targets.points import Points, around
from datasets.prepare.targets.rows import Places, Rows
from utils.errors import PrepareError

MOST = 1e15       # people, or tonnes, of a cell: larger numbers mark cells without data
_TRUE = 0.01      # fraction that units of a projected CRS may be off metres on the ground
_CHUNK = 100_000  # points whose hull is found at once
_HAIR = 1e-6      # units of a CRS by which the extent of points is widened, to have an area
_APART = 0.1      # fraction that the spacing of points may be off the side of their squares


def place(rows: Rows, bounds: Bounds, crs: CRS, cell: CellSize | None,
          cell_key: str) -> tuple[Points, list[str]]:
    """Return the points of a file near the imagery, and what the user should know.

    Raises:
        PrepareError: none is near, a row cannot be understood, a value near the imagery is
            negative, beyond MOST or missing, or it is not known what area a point stands for.
    """
    places = _in_one_piece(rows.read(), bounds, crs)
    located = np.isfinite(places.points[:, 0])
    reach = _reach(places, cell)
    near = located & _within(places.points, box_in(bounds, crs, places.crs), reach, places.crs)
    inside = near.copy()
    inside[near] = _inside(places.points[near], places.crs, bounds, crs)
    if not (near if reach else inside).any():
        raise _no_overlap(rows, places, located, bounds, crs)
    if cell is None and places.resolution is None:
        raise _no_cell(rows, _spacing(places, bounds, crs), cell_key)
    _check_values(rows, places, near)
    points = _points(places, near, cell, bounds, crs)
    return points, _account(rows, places, located, inside, cell, bounds, crs)


def impossible(values: np.ndarray) -> np.ndarray:
    """Return where values are negative, beyond MOST or not a number."""
    values = np.asarray(values, dtype=np.float64)
    return ~((values >= 0) & (values <= MOST))


def _in_one_piece(places: Places, bounds: Bounds, crs: CRS) -> Places:
    """Return the places with longitudes that do not leap near the imagery."""
    if not places.crs.is_geographic:
        return places
    middle = np.array([(bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2])
    longitude = moved(middle, crs, DEGREES)[0]
    return replace(places, points=around(places.points, longitude))


def _reach(places: Places, cell: CellSize | None) -> float:
    """Return metres from a point to the farthest corner of what it stands for."""
    if places.resolution is not None:
        return h3_cells.radius(places.resolution)
    if cell is None:
        return 0.0
    return cell.side * (1 if cell.unit == "m" else np.radians(1) * h3_cells.EARTH)


def _within(points: np.ndarray, box: Bounds | None, reach: float, crs: CRS) -> np.ndarray:
    """Return which points lie in a box of their CRS, or up to about `reach` metres around: [n]."""
    if box is None:
        return np.zeros(len(points), bool)
    if crs.is_geographic:
        up = np.degrees(reach / h3_cells.EARTH)
        pole = min(max(abs(box[1]), abs(box[3])) + up, 89.9)
        aside = up / np.cos(np.radians(pole))
    else:
        up = aside = 4 * reach / _metres_per_unit(crs)  # no map of a city stretches it more
    if crs.is_geographic and box[2] - box[0] > 180:  # cut inside the box
        aside = 360
    low, high = np.array([box[0] - aside, box[1] - up]), np.array([box[2] + aside, box[3] + up])
    return ((points >= low) & (points <= high)).all(1)


def _inside(points: np.ndarray, own: CRS, bounds: Bounds, crs: CRS) -> np.ndarray:
    x, y = moved(points, own, uncut(bounds, crs) or crs).T
    return (x >= bounds[0]) & (x < bounds[2]) & (y > bounds[1]) & (y <= bounds[3])


def _metres_per_unit(crs: CRS) -> float:
    return crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0


def _points(places: Places, near: np.ndarray, cell: CellSize | None, bounds: Bounds,
            crs: CRS) -> Points:
    points, values = places.points[near], places.values[near]
    home, side, hull = places.crs, 0.0, ()
    if places.resolution is not None:
        home = local_metres(bounds, crs)
    elif not cell.side:
        home = uncut(bounds, crs) or crs
        hull = _hull(places)
    elif cell.unit == "deg":
        home, side = (DEGREES if places.crs.is_projected else places.crs), cell.side
    else:
        metric = places.crs.is_projected and _is_true(places.crs, bounds, crs)
        home = places.crs if metric else local_metres(bounds, crs)
        side = cell.side / _metres_per_unit(home)
    points = moved(points, places.crs, home)
    finite = np.isfinite(points).all(1)
    points, values = points[finite], values[finite]
    turned = 0.0
    if side and cell.unit == "m" and home != places.crs:
        turned = turn(moved(_around(places, bounds, crs), places.crs, home), side)
    order = np.lexsort((values, points[:, 0], points[:, 1]))
    table = np.stack([*points[order].T, values[order]])
    return Points(table, home.to_wkt(), side, turned, places.resolution, hull)


def _hull(places: Places) -> tuple[tuple[float, float], ...]:
    """Return the corners of the convex hull of all points of a file, in degrees."""
    located = places.points[np.isfinite(places.points[:, 0])]
    hulls = [shapely.convex_hull(shapely.multipoints(located[start:start + _CHUNK]))
             for start in range(0, len(located), _CHUNK)]
    corners = shapely.get_coordinates(shapely.convex_hull(shapely.union_all(
        [shapely.multipoints(shapely.get_coordinates(hull)) for hull in hulls])))
    if places.crs.is_projected:
        corners = moved(corners, places.crs, DEGREES)
        corners = around(corners, float(np.median(corners[:, 0])))
    return tuple(map(tuple, corners[np.isfinite(corners).all(1)].tolist()))


def _is_true(own: CRS, bounds: Bounds, crs: CRS) -> bool:
    """Return whether units of a projected CRS are true metres (or feet) around the imagery."""
    box = box_in(bounds, crs, own)
    if box is None:
        return False
    local = local_metres(bounds, crs)
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    step = 100 / _metres_per_unit(own)
    ends = moved(middle + np.array([(0, 0), (step, 0), (0, step)]), own, local)
    return bool((np.abs(np.hypot(*(ends[1:] - ends[0]).T) / 100 - 1) < _TRUE).all())


def _check_values(rows: Rows, places: Places, near: np.ndarray) -> None:
    wrong = np.flatnonzero(near & impossible(places.values))
    if not len(wrong):
        return
    value = places.values[wrong[0]]
    word = "missing" if np.isnan(value) else f"{value:.9g}"
    command = rows.program(f"f[f[{rows.column!r}].between(0, {MOST:g})]", "known")
    raise PrepareError(f"{rows.path}: {rows.column} of row {wrong[0] + 1} is {word} (near the "
                       f"imagery, {len(wrong)} of {int(near.sum())} rows are such), expected "
                       f"{rows.key} of 0 or more, {MOST:g} at most. Set the values of such rows, "
                       f"or leave them out: `{command}`.")


def _no_cell(rows: Rows, apart: CellSize | None, cell_key: str) -> PrepareError:
    words = "points" if apart is None else f"points that lie {_text(apart)} apart"
    size = apart or "SIDE"
    metres = "" if apart else " (in metres)"
    return PrepareError(f"{rows.path}: holds {words}, but not the area that each stands for. Pass "
                        f"{cell_key}={size}{metres} if each is the centre of a square, over which "
                        f"its {rows.key} is spread, or {cell_key}=0 if it counts wholly where it "
                        "lies, such as an address.")


def _spacing(places: Places, bounds: Bounds, crs: CRS) -> CellSize | None:
    """Return how far apart the points around the imagery are, if they lie on a regular grid."""
    points = _around(places, bounds, crs)
    metres = moved(points, places.crs, local_metres(bounds, crs))
    return spacing(points if places.crs.is_geographic else None, metres)


def _around(places: Places, bounds: Bounds, crs: CRS) -> np.ndarray:
    """Return some of the points nearest the imagery, in the CRS of the file: [m, 2]."""
    box = box_in(bounds, crs, places.crs)
    return places.points[:0] if box is None else middle_of(places.points, box)


def _text(size: CellSize) -> str:
    return f"{size.side:.10g} {'degrees' if size.unit == 'deg' else 'm'}"


def _no_overlap(rows: Rows, places: Places, located: np.ndarray, bounds: Bounds,
                crs: CRS) -> PrepareError:
    points = places.points[located]
    if not len(points):
        return PrepareError(f"{rows.path}: none of its {len(located)} rows has coordinates, "
                            f"expected {rows.key} with a place. Get the file again.")
    extent = (*(points.min(0) - _HAIR).tolist(), *(points.max(0) + _HAIR).tolist())
    error = no_overlap(rows.path, rows.key, extent, places.crs, bounds, crs)
    swapped = _within(points[:, ::-1], box_in(bounds, crs, places.crs), 0, places.crs)
    if places.resolution is None and swapped.any():
        command = rows.swapped()
        return PrepareError(f"{rows.path}: none of its points lies on the imagery, but "
                            f"{int(swapped.sum())} of {len(points)} would with x and y exchanged: "
                            f"its columns of longitude and latitude are swapped. Write a copy: "
                            f"`{command}`.")
    return error


def _account(rows: Rows, places: Places, located: np.ndarray, inside: np.ndarray,
             cell: CellSize | None, bounds: Bounds, crs: CRS) -> list[str]:
    """Return notes: how much of the file lies on the imagery, and what is odd."""
    name, known = rows.path.name, ~impossible(places.values)
    word = "points" if places.resolution is None else (
        f"H3 cells of resolution {places.resolution}")
    parts = {"on the imagery": inside, "outside": located & ~inside}
    listing = "".join(f"; {where} {int(members.sum()):,}, {_sum(places.values, members & known)}"
                      for where, members in parts.items() if members.any())
    notes = [f"{name}: {len(located):,} {word}, {rows.key} {_sum(places.values, known)} in all"
             f"{listing}"]
    if len(lost := np.flatnonzero(~located)):
        others = f", or are no points ({rows.others})" if rows.others else ""
        notes.append(f"{name}: {len(lost)} rows have no {'cell' if rows.cells else 'coordinates'}"
                     f"{others} and are left out, the first of them row {lost[0] + 1}, {rows.key} "
                     f"{_sum(places.values, known & ~located)} in all")
    on = places.points[inside]
    if same := len(on) - len(np.unique(on, axis=0)):
        notes.append(f"{name}: {same} of the {word} on the imagery lie where another one does; "
                     "their values add up")
    squares = places.resolution is None and cell and cell.side
    if squares and (apart := _spacing(places, bounds, crs)):
        side = apart.side / cell.side
        if apart.unit == cell.unit and abs(side - 1) > _APART:
            notes.append(f"{name}: the points lie {_text(apart)} apart, but cell={cell} spreads "
                         f"each over {_text(cell)}")
    return notes


def _sum(values: np.ndarray, members: Sequence[bool] | np.ndarray) -> str:
    total = float(values[members].sum())
    return f"{total:.6g}" if total < 1000 else f"{total:,.1f}".removesuffix(".0")
