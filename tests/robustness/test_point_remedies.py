"""Messages on tables, points and H3 cells: what was found, and a command that mends it, which is
run, and after which the file is read."""

import gzip
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import h3
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from datasets.prepare.settings import Settings
from datasets.prepare.targets.cell_size import CellSize
from datasets.prepare.targets.zonal import Zonal
from tests.datasets.prepare.places import UTM
from tests.datasets.prepare.reading import BOUNDS
from tests.robustness.remedies import commands_in, follow
from utils.errors import ConfigError, PrepareError, RoseError

LON, LAT = gpd.GeoSeries([shapely.box(*BOUNDS).centroid], crs=UTM).to_crs(4326)[0].coords[0]
CELL = h3.latlng_to_cell(LAT, LON, 9)
A, B = f"{LON:.6f},{LAT:.6f}", f"{LON + 1e-4:.6f},{LAT:.6f}"
SEMICOLONS = f"{A};10\n{B};20\n".replace(",", ";").replace(".", ",")


def text(content: str, encoding: str = "utf-8"):
    return lambda path: path.write_text(content, encoding=encoding)


def cells(*rows: object, name: str = "h3"):
    return text(f"{name},people\n" + "".join(f"{cell},{index + 1}\n"
                                             for index, cell in enumerate(rows)))


def frame(**columns) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(columns or {"people": [10, 20]}, crs=4326,
                            geometry=gpd.points_from_xy([LON, LON + 1e-4], [LAT, LAT]))


def crowd(path: Path) -> None:
    places = frame().set_geometry(shapely.multipoints([[(LON, LAT), (LON, LAT + 1e-5)]] * 2),
                                  crs=4326)
    places.to_file(path)


def grid(step_x: float, step_y: float):
    x, y = np.meshgrid(LON + step_x * np.arange(-5, 6), LAT + step_y * np.arange(-5, 6))
    return lambda path: pd.DataFrame({"lon": x.ravel(), "lat": y.ravel(), "people": 1}).to_csv(
        path, index=False)


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[Path], object]
    phrases: list[str]
    written: str | None = None  # the file that the command writes, if there is one
    cell: str | None = "0"
    keys: tuple[tuple[str, str], ...] = ()


HEAD, TWO = "lon,lat,people\n", f"{A},10\n{B},20\n"
CASES = {
    "no_cell": Case("p.csv", text(HEAD + TWO), ["holds points, but not the area", "cell=SIDE",
                                                "in metres", "cell=0"], cell=None),
    "no_cell_of_a_layer": Case("p.gpkg", frame().to_file, ["holds points", "cell=0"], cell=None),
    "grid": Case("p.csv", grid(3.46e-4, 2.248e-4), ["25 m apart", "cell=25 if each", "cell=0"],
                 cell=None),
    "grid_of_degrees": Case("p.csv", grid(1 / 1200, 1 / 1200), [
        "0.000833333333 degrees apart", "cell=0.000833333333deg if"], cell=None),
    "density": Case("p.csv", text(HEAD + TWO), ["population_unit=per_km2 with cell=0",
                                                "a point has no area"],
                    keys=(("unit", "per_km2"),)),
    "mixed": Case("mixed.csv", cells(CELL, h3.cell_to_parent(CELL), "", CELL), [
        "its H3 cells in h3 are of several resolutions (1 of resolution 8, 2 of resolution 9)",
        "count twice"], "mixed_resolution_9.csv", None),
    "mixed_numbers": Case("numbers.csv", cells(*map(h3.str_to_int, (
        CELL, CELL, h3.cell_to_parent(CELL, 7)))), ["1 of resolution 7, 2 of resolution 9"],
        "numbers_resolution_9.csv", None),
    "no_cell_number": Case("p.csv", cells(CELL, "89zz"), ["h3 of row 2 is '89zz', no H3 cell",
                                                          "15 hexadecimal digits"], cell=None),
    "rounded_cell": Case("p.csv", cells("6.17e+17"), ["h3 of row 1 is '6.17e+17'", "as text"],
                         cell=None),
    "cells_elsewhere": Case("p.csv", cells(h3.latlng_to_cell(10, 10, 9)), ["does not overlap"],
                            cell=None),
    "cells_with_crs": Case("p.csv", cells(CELL), ["population_crs=EPSG:3035", "Leave"],
                           cell=None, keys=(("crs", "EPSG:3035"),)),
    "no_names": Case("bare.csv", text(TWO), ["has no line of names", A], "bare_named.csv"),
    "one_column": Case("p.csv", text("people\n3\n"), ["'people' is one column", "commas"]),
    "bars": Case("bars.csv", text((HEAD + TWO).replace(",", "|")), [
        "'lon|lat|people' is one column", "If | separate"], "bars_commas.csv"),
    "spaces": Case("spaces.txt", text((HEAD + TWO).replace(",", " ")), ["If spaces separate"],
                   "spaces_commas.csv"),
    "swapped": Case("swapped.csv", text("lat,lon,people\n" + TWO), [
        "none of its points lies on the imagery", "2 of 2 would", "are swapped"],
        "swapped_swapped.csv"),
    "swapped_beyond_90": Case("p.csv", text("lat,lon,people\n139.7,35.6,3\n"), [
        "lat goes up to 139.7, expected 90", "are swapped"]),
    "swapped_layer": Case("turned.gpkg", frame().set_geometry(gpd.points_from_xy(
        [LAT, LAT], [LON, LON], crs=4326)).to_file, ["2 of 2 would with x and y exchanged"],
        "turned_swapped.gpkg"),
    "elsewhere": Case("p.csv", text(HEAD + "4.95,60.17,3\n"), ["does not overlap", "4.95000"]),
    "decimal_comma": Case("comma.csv", text("lon;lat;people\n" + SEMICOLONS), [
        f"lon of row 1 is '{LON:.6f}'".replace(".", ","), "a number with a comma",
        "thousands=','"], "comma_points.csv"),
    "commas_everywhere": Case("p.csv", text(HEAD + "15,0,49,6,3\n"), [
        "row 1 has 5 columns, the line of names 3", "decimal commas"]),
    "word": Case("p.csv", text(f"{HEAD}{TWO}{A},many\n"), ["people of row 3 is 'many'",
                                                           "expected a number"]),
    "bad_longitude": Case("p.csv", text(f"{HEAD}{TWO}east,49,3\n"), ["lon of row 3 is 'east'"]),
    "negative": Case("wrong.csv", text(f"{HEAD}{TWO}{A},-9\n"), [
        "people of row 3 is -9 (near the imagery, 1 of 3 rows", "0 or more"], "wrong_known.csv"),
    "missing": Case("gaps.csv", text(f"{HEAD}{TWO}{A},\n"), ["people of row 3 is missing"],
                    "gaps_known.csv"),
    "huge": Case("huge.gpkg", frame(people=[1.0, 1e30]).to_file, ["people of row 2 is 1e+30"],
                 "huge_known.gpkg"),
    "empty": Case("p.csv", text(""), ["is empty, expected a line of names"]),
    "no_rows": Case("p.csv", text(HEAD), ["has a line of names, but no rows"]),
    "no_places": Case("p.csv", text(HEAD + ",,3\nNA,NA,4\n"), ["none of its 2 rows has coord"]),
    "ambiguous": Case("p.csv", text(f"lon,lat,men,women\n{A},1,2\n"), [
        "several columns may hold the values (men, women)", "Pass population_column="]),
    "wrong_column": Case("p.csv", text(HEAD + TWO), ["no column pop", "found: lon, lat, people"],
                         keys=(("column", "pop"),)),
    "no_numbers": Case("p.csv", text(f"lon,lat,name\n{A},x\n"), ["cannot tell which column"]),
    "no_coordinates": Case("p.csv", text("name,people\nx,3\n"), [
        "has no columns of coordinates (found name, people)", "expected lon and lat"]),
    "several_pairs": Case("pairs.csv", text(f"lon,lat,lon_old,lat_old,people\n{A},{B},3\n"), [
        "several columns may hold the coordinates (lon, lat; lon_old, lat_old)"],
        "pairs_points.csv"),
    "wkt": Case("shapes.csv", text(f"WKT;people\nPOINT ({LON} {LAT});3\n"), [
        "found WKT, people"], "shapes.gpkg"),
    "no_degrees": Case("p.csv", text("x,y,people\n4321000,3210000,3\n"), [
        "x 4321000 and y 3210000 of row 1 are no degrees", "population_crs=EPSG:3035"]),
    "wrong_crs": Case("p.csv", text(HEAD + TWO), ["population_crs=EPSG:9", "expected one such"],
                      keys=(("crs", "EPSG:9"),)),
    "other_crs": Case("p.gpkg", frame().to_file, ["file says that it is in WGS 84"],
                      keys=(("crs", "EPSG:3035"),)),
    "twice": Case("p.csv", text(f"lon,lat,a,a\n{A},1,2\n"), ["two columns called a"]),
    "utf16": Case("wide.csv", text(HEAD + TWO, "utf-16"), ["UTF-16"], "wide_utf8.csv"),
    "binary": Case("p.csv", lambda path: path.write_bytes(b"PK\0\0"), ["is no table of text"]),
    "cut_short": Case("p.csv.gz", lambda path: path.write_bytes(gzip.compress(
        (HEAD + TWO * 99).encode())[:-20]), ["p.csv.gz: cannot be read", "Get the file again"]),
    "folder": Case("p.csv", Path.mkdir, ["is not a file"]),
    "crowd": Case("crowd.gpkg", crowd, ["row 1 has 2 places, expected one point"],
                  "crowd_centres.gpkg"),
    "text_values": Case("text.gpkg", frame(people=["1", "2"]).to_file, ["people holds text"],
                        "text_numbers.gpkg", keys=(("column", "people"),)),
    "times": Case("p.parquet", lambda path: pq.write_table(pa.table({
        "lon": [1.0], "lat": [2.0], "day": pa.array([0], pa.timestamp("s"))}), path),
        ["the column day holds values of another kind"], keys=(("column", "day"),)),
    "two_layers": Case("two.gpkg", lambda path: [frame().to_file(path, layer=layer)
                                                 for layer in ("a", "b")],
                       ["2 layers have points (a, b)"], "two_a.gpkg"),
}
MENDED = sorted(name for name, case in CASES.items() if case.written)


def read(path: Path, case: Case) -> None:
    Zonal(path, "population", cell=case.cell, **dict(case.keys)).check(UTM, BOUNDS)


def message_of(folder: Path, case: Case) -> str:
    case.make(folder / case.name)
    with pytest.raises(RoseError) as raised:
        read(folder / case.name, case)
    return str(raised.value)


@pytest.mark.parametrize("name", CASES)
def test_message(tmp_path, name):
    message = message_of(tmp_path, CASES[name])
    for phrase in CASES[name].phrases:
        assert phrase in message
    assert "\n" not in message
    assert CASES[name].name in message or "population_" in message


@pytest.fixture(scope="module")
def mended(tmp_path_factory) -> Path:
    """The folder in which the commands of all messages were run."""
    folder, programs = tmp_path_factory.mktemp("one's files"), []
    for name in MENDED:
        (command,) = commands_in(message_of(folder, CASES[name]))
        python, option, program = shlex.split(command)
        assert (python, option) == ("python", "-c")
        programs.append(program)
    follow(shlex.join(["python", "-W", "ignore", "-c", "\n".join(programs)]), folder)
    return folder


@pytest.mark.parametrize("name", MENDED)
def test_the_command_mends_the_file(mended, name):
    read(mended / CASES[name].written, CASES[name])


@pytest.mark.parametrize("value", ["abc", "-1", "1e9", "11deg", "250 km", ""])
def test_a_cell_that_is_no_size(value):
    with pytest.raises(ConfigError, match="expected the side of a square in metres"):
        CellSize.of("cell", value)


@pytest.mark.parametrize(("keys", "phrase"), [
    ({"cell": 250}, "cell=250: there is no population= or co2="),
    ({"co2_cell": 250, "population": "p.csv"}, "co2_cell=250: there is no co2="),
    ({"population_crs": "EPSG:3035"}, "population_crs=EPSG:3035: there is no population="),
    ({"population": "p.csv", "cell": "wide"}, "cell=wide: expected the side"),
])
def test_keys_without_their_target(keys, phrase):
    with pytest.raises(ConfigError, match=phrase):
        Settings.of(raster="r.tif", osm="o.gpkg", out="d", city="c", **keys)


def test_a_file_that_vanishes_between_check_and_reading(tmp_path):
    (tmp_path / "p.csv").write_text(HEAD + TWO)
    source = Zonal(tmp_path / "p.csv", "population", cell="0")
    (tmp_path / "p.csv").unlink()
    with pytest.raises(PrepareError, match=r"p\.csv: cannot be read"):
        source.check(UTM, BOUNDS)
