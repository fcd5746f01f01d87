"""Every command that a message on a vector file prints is run on the file that it answers, and the
file that it writes is then read."""

import bz2
import gzip
import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from datasets.prepare.osm.tags import load_layers
from datasets.prepare.osm.vector_files import tagged_layers
from datasets.prepare.targets.polygons import TargetPolygons
from datasets.prepare.targets.zonal import Zonal
from inference.maps.zones import zone_totals
from tests.datasets.prepare.places import UTM, square, write_raster
from tests.datasets.prepare.reading import BOUNDS
from tests.robustness.remedies import commands_in, follow
from utils.errors import RoseError

SHAPES = [square(0, 0, 9), square(20, 0, 9)]
TILES = gpd.GeoDataFrame({"people": [10.0]}, geometry=[shapely.box(*BOUNDS)], crs=UTM)


def objects(path: Path) -> None:
    assert tagged_layers(path, load_layers()).layers


def labels(path: Path) -> None:
    TargetPolygons(path, "labels", "label_column", "kind", list).overlap(BOUNDS, UTM)


def population(path: Path) -> None:
    Zonal(path, "population").check(UTM, BOUNDS)


def zones(path: Path) -> None:
    zone_totals(path, TILES, "people")


def degrees(**columns) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(columns, geometry=SHAPES, crs=UTM).to_crs(4326)


def without_crs(name: str):
    def make(folder: Path) -> Path:
        frame = degrees(people=[1, 2]).set_crs(None, allow_override=True)
        (frame.to_parquet if name.endswith("parquet") else frame.to_file)(folder / name)
        return folder / name
    return make


def saved(name: str, *layers: str, **columns):
    def make(folder: Path) -> Path:
        for layer in layers or (None,):
            degrees(**columns).to_file(folder / name, layer=layer)
        return folder / name
    return make


def linked(folder: Path) -> Path:
    content = json.loads(degrees(building=["yes", "hut"]).to_json())
    content["crs"] = {"type": "link", "properties": {"href": "http://localhost/"}}
    (folder / "linked.geojson").write_text(json.dumps(content))
    return folder / "linked.geojson"


def encoded(folder: Path) -> Path:
    degrees(building=["yes", "hut"]).to_parquet(folder / "other.parquet",
                                                geometry_encoding="geoarrow")
    return folder / "other.parquet"


def packed(name: str, pack: Callable[[bytes], bytes], lines: bool = False):
    def make(folder: Path) -> Path:
        options = {"engine": "pyogrio", "driver": "GeoJSONSeq"} if lines else {}
        degrees(building=["yes", "hut"]).to_file(folder / "unpacked.geojson", **options)
        (folder / name).write_bytes(pack((folder / "unpacked.geojson").read_bytes()))
        return folder / name
    return make


def table(folder: Path) -> Path:
    frame = degrees(building=["yes", "hut"], area_in_meters=[81, 81])
    pd.DataFrame(frame).assign(geometry=frame.geometry.to_wkt()).to_csv(folder / "open.csv",
                                                                        index=False)
    return folder / "open.csv"


@dataclass(frozen=True)
class Case:
    make: Callable[[Path], Path]
    slot: Callable[[Path], None]
    message: str
    written: str  # the file that the command writes


CASES = {
    "no_crs": Case(without_crs("plain.gpkg"), population, "no coordinate ref", "plain_crs.gpkg"),
    "no_crs_of_parquet": Case(without_crs("bare.parquet"), population, "no coordinate reference",
                              "bare_crs.gpkg"),
    "encoding": Case(encoded, objects, "encoded as", "other_wkb.parquet"),
    "link": Case(linked, objects, "member crs is of the type 'link'", "linked_plain.geojson"),
    "ending": Case(saved("place.kml", building=["yes", "hut"]), objects,
                   "end in .kml are not read", "place.gpkg"),
    "gzip": Case(packed("city.geojson.gz", gzip.compress), objects,
                 "packed vector files are not read", "city.geojson"),
    "bzip2": Case(packed("a b.geojson.bz2", bz2.compress), objects,
                  "packed vector files are not read", "a b.geojson"),
    "footprints_by_line": Case(packed("part-1.csv.gz", gzip.compress, lines=True), objects,
                               "packed vector files are not read", "part-1.geojsonl"),
    "footprints_in_a_table": Case(table, objects, "tables of text are not read", "open.parquet"),
    "layers_of_labels": Case(saved("two.gpkg", "old ones", "new", kind=["a", "b"]), labels,
                             "2 layers have a column kind", "two_old_ones.gpkg"),
    "layers_of_zones": Case(saved("some.gpkg", "it's", "new"), zones,
                            "2 layers of polygons (it's, new)", "some_it_s.gpkg"),
    "column": Case(saved("taken.gpkg", People=[1, 2]), zones, "has a column People already",
                   "taken_renamed.gpkg"),
    "text": Case(saved("text.gpkg", value=["1", "2.5"]),
                 lambda path: Zonal(path, "population", column="value").check(UTM, BOUNDS),
                 "holds text, expected numbers", "text_numbers.gpkg"),
    "value": Case(saved("wrong.gpkg", **{'the "value"': [3.0, -1.0]}), population,
                  "is -1, as of 1 there", "wrong_known.gpkg"),
}


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> dict[str, tuple[str, Path]]:
    """The message of each case, and the folder in which all their commands were run."""
    folder = tmp_path_factory.mktemp("one's files")
    messages, programs = {}, []
    for name, case in CASES.items():
        with pytest.raises(RoseError) as raised:
            case.slot(case.make(folder))
        messages[name] = str(raised.value), folder
        (command,) = commands_in(messages[name][0])
        python, option, program = shlex.split(command)
        assert (python, option) == ("python", "-c")
        programs.append(program)
    follow(shlex.join(["python", "-c", "\n".join(programs)]), folder)  # one start for all
    return messages


@pytest.mark.parametrize("name", CASES)
def test_the_command_mends_the_file(followed, name):
    message, folder = followed[name]
    assert CASES[name].message in message
    assert "\n" not in message
    CASES[name].slot(folder / CASES[name].written)


def test_cells_that_mark_what_is_missing(tmp_path):
    values = np.ones((10, 10, 1), np.float32)
    values[3, 4] = 3.4e38
    path = write_raster(tmp_path / "the people.tif", values)
    with pytest.raises(RoseError, match=r"is 3\.39999995e\+38, expected population of") as raised:
        population(path)
    follow(*commands_in(str(raised.value)), tmp_path)
    population(path)


def test_an_archive_is_unpacked(tmp_path):
    (tmp_path / "the city").mkdir()
    degrees(building=["yes", "hut"]).to_file(tmp_path / "the city" / "a.shp")
    path = Path(shutil.make_archive(tmp_path / "my city.shp", "zip", tmp_path / "the city"))
    with pytest.raises(RoseError, match="archives are not read") as raised:
        objects(path)
    follow(*commands_in(str(raised.value)), tmp_path)
    objects(tmp_path / "my city.shp" / "a.shp")
