"""Imagery with one file a band: which files are red, green and blue of one place, by their
names."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from affine import Affine

from datasets.prepare.geo.raster_io import RASTER_ERRORS, reopen_raster_file
from datasets.prepare.imagery.files import RasterFile, Reading, TooFewBands, inspect
from utils.errors import PrepareError

Grid = tuple[Affine, int, int]
_WORDS = {"red": 0, "green": 1, "blue": 2, "r": 0, "g": 1, "b": 2}
# of Sentinel-2 and of Landsat 8 and 9; of Landsat 1 to 7
_BANDS = {"b4": 0, "b3": 1, "b2": 2, "b04": 0, "b03": 1, "b02": 2}
_OLD_BANDS = {"b3": 0, "b2": 1, "b1": 2}
_OLD_LANDSAT = re.compile(r"l[tem]0?[1-7]", re.IGNORECASE)
_NUMBERS = {"1": 0, "2": 1, "3": 2}
_COLOURS = ("red", "green", "blue")


def inspect_all(paths: Sequence[Path],
                reading: Reading) -> tuple[list[RasterFile], Reading, list[str]]:
    """Return what `inspect` knows of files, in their order; of files of one band each that are
    parts of one picture, return the pictures instead.

    Returns:
        the files; the reading, with `stacks` if there are any; and notes for the user.

    Raises:
        PrepareError: as `inspect`, or only some files have three bands, so the others are no
            imagery; or bands of one picture do not say which they are, or differ in their grid.
    """
    files, too_few = [], None
    for path in paths:
        try:
            files.append(inspect(path, reading))
        except TooFewBands as error:
            too_few = too_few or (path, error)
        if files and too_few:
            raise PrepareError(f"{too_few[0]}: has too few bands for red, green and blue, but "
                               f"{files[0].path} has them; raster= also matches files that are no "
                               "imagery. Narrow it to the imagery by a quoted glob that only its "
                               "names match.") from too_few[1]
    if not too_few:
        return files, reading, []
    grids = {path: _grid_of_one_band(path) for path in paths}
    if None in grids.values() or len(set(grids.values())) == len(paths):
        raise too_few[1]
    stacks, others = stacked(paths)
    if not stacks:
        raise _unnamed(paths, grids) from too_few[1]
    if reading.bands is not None:
        raise PrepareError(f"{too_few[0]}: bands={list(reading.bands)}, but the files have one "
                           "band each, and their names say which is red, green and blue. Leave "
                           "bands= out.") from too_few[1]
    for stack in stacks:
        _check_grids(stack, grids)
    named = {str(stack[0].absolute()): [str(path.absolute()) for path in stack]
             for stack in stacks}
    reading = replace(reading, stacks=named)
    return [_of_stack(stack, reading) for stack in stacks], reading, _notes(stacks, others)


def stacked(paths: Sequence[Path]) -> tuple[list[tuple[Path, ...]], list[Path]]:
    """Return the files of red, green and blue of each picture, by words or band numbers in their
    names, or by the numbers 1, 2, 3 at their ends; and files of other bands. Return no picture if
    the names of one do not say it."""
    for roles in (_by_token, _by_number):
        pictures: dict[str, dict[int, Path]] = {}
        others = []
        for path in paths:
            found = roles(path)
            if found is None:
                others.append(path)
            elif pictures.setdefault(found[0], {}).setdefault(found[1], path) != path:
                return [], []
        if pictures and all(len(bands) == 3 for bands in pictures.values()):
            return [tuple(bands[band] for band in range(3)) for bands in pictures.values()], others
    return [], []


def _by_token(path: Path) -> tuple[str, int] | None:
    """Return the picture that a file belongs to and which colour it is, by a part of its name."""
    bands = _WORDS | (_OLD_BANDS if _OLD_LANDSAT.match(path.stem) else _BANDS)
    parts = re.split(r"([^A-Za-z0-9]+)", path.stem)
    for index in reversed(range(0, len(parts), 2)):
        if (colour := bands.get(parts[index].casefold())) is not None:
            rest = [*parts[:index], "*", *parts[index + 1:]]
            return str(path.with_name("".join(rest))), colour
    return None


def _by_number(path: Path) -> tuple[str, int] | None:
    found = re.fullmatch(r"(.*?)0*(\d)", path.stem)
    if not found or found[2] not in _NUMBERS:
        return None
    return str(path.with_name(found[1])), _NUMBERS[found[2]]


def _grid_of_one_band(path: Path) -> Grid | None:
    """Return where the pixels of a file are; None if it has not one band."""
    try:
        with reopen_raster_file(path) as dataset:
            return ((dataset.transform, dataset.width, dataset.height) if dataset.count == 1
                    else None)
    except RASTER_ERRORS:
        return None


def _unnamed(paths: Sequence[Path], grids: Mapping[Path, Grid]) -> PrepareError:
    """Return the error of bands that do not say which they are."""
    first = next(path for path in paths if list(grids.values()).count(grids[path]) > 1)
    together = [path for path in paths if grids[path] == grids[first]]
    names = " ".join(shlex.quote(str(path)) for path in (together * 3)[:3])
    return PrepareError(f"{first}: has one band, and lies on the ground of {together[1]}, as one "
                        "file a band, but the names do not say which is red, green and blue (such "
                        "as _B04, _B03, _B02 or _red, _green, _blue). Stack them in this order, "
                        f"such as `rio stack {names} rgb.tif`, and pass raster=rgb.tif.")


def _check_grids(stack: Sequence[Path], grids: Mapping[Path, Grid]) -> None:
    """Raise PrepareError if the bands of one picture lie on different grids."""
    finest = min(stack, key=lambda path: abs(grids[path][0].determinant))
    for path in stack:
        if grids[path] != grids[finest]:
            (transform, width, height), (other, *size) = grids[path], grids[finest]
            name, kept = shlex.quote(str(path)), shlex.quote(f"{path}.original")
            raise PrepareError(
                f"{path}: its pixels ({width} x {height} of {transform.a:g}) lie on another grid "
                f"than those of {finest} ({size[0]} x {size[1]} of {other.a:g}), and both are "
                f"bands of one picture. Put it on that grid: `mv {name} {kept}`, then `rio warp "
                f"{kept} {name} --like {shlex.quote(str(finest))}`.")


def _of_stack(stack: Sequence[Path], reading: Reading) -> RasterFile:
    """Return three files of one band as one raster."""
    grey = replace(reading, bands=(1, 1, 1), stacks={})
    bands = [inspect(path, grey) for path in stack]
    other = next((band for band in bands if band.crs != bands[0].crs), None)
    if other:
        raise PrepareError(f"{other.path}: its coordinate reference system is not that of "
                           f"{stack[0]}, and both are bands of one picture. Get the files again.")
    dtype = str(np.result_type(*(band.dtype for band in bands)))
    nodata = {band.nodata for band in bands}
    return replace(bands[0], dtype=dtype, nodata=nodata.pop() if len(nodata) == 1 else None,
                   files=tuple(dict.fromkeys(file for band in bands for file in band.files)),
                   opaque=all(band.opaque for band in bands))


def _notes(stacks: Sequence[Sequence[Path]], others: Sequence[Path]) -> list[str]:
    named = ", ".join(f"{colour} {path.name}"
                      for colour, path in zip(_COLOURS, stacks[0], strict=True))
    more = f", and {len(stacks) - 1} more pictures in the same way" if len(stacks) > 1 else ""
    notes = [f"{stacks[0][0].parent}: one file a band, stacked by name: {named}{more}"]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        notes.append(f"{others[0]}{more}: of none of these colours, so not read")
    return notes
