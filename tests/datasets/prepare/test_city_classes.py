"""The classes of a city's labels, from the keys to its record; one list for all cities."""

import json
import re
import shlex

import numpy as np
import pytest

from datasets import TileDataset
from datasets.keys import PREPARE
from datasets.prepare.pipeline import prepare_tiles
from tests.datasets.prepare.places import prepare, write_raster
from utils.cli.compose import read
from utils.errors import ConfigError, PrepareError


@pytest.mark.parametrize("kept", ["compact", "release"])
def test_a_second_city_has_the_classes_of_the_first(place, kept):
    thirds = np.repeat(np.arange(3, dtype=np.uint8), 70)[None, :, None].repeat(140, 0)
    labels = write_raster(place.folder / "use.tif", thirds)
    keys = {"labels": labels, "keep_empty": True, "layout": kept}
    prepare(place, classes=["town, old", "park", "lake"], **keys)
    with pytest.raises(PrepareError) as raised:
        prepare(place, city="d", **keys)
    message = str(raised.value)
    assert "c has the classes town, old, park, lake, and d would have water, green" in message
    line = shlex.split(re.search(r"with ('classes=.*?') \(", message)[1])[0]
    again = read(PREPARE, "raster=r", "osm=o", "out=d", "city=c", line).classes
    prepare(place, city="d", classes=again, **keys)
    tiles = TileDataset(place.folder / "out", image_size=64)
    assert tiles.classes == ("town, old", "park", "lake")
    assert [tiles.land_use(tiles.names.index(name)).unique().tolist()
            for name in ("c_0_0", "d_2_0")] == [[0], [1, 2]]
    # the city itself may be made again with others, once it is alone
    with pytest.raises(PrepareError, match="d has the classes"):
        prepare(place, overwrite=True, **keys)


def test_the_classes_come_with_colours_of_the_labels(place):
    halves = np.zeros((140, 210, 3), np.uint8)
    halves[:, 105:] = (230, 25, 75)
    labels = write_raster(place.folder / "use.tif", halves)
    prepare(place, labels=labels, keep_empty=True, classes={"#e6194b": "town", "#000000": "lake"})
    meta = json.loads((place.folder / "out/cities/c/meta.json").read_text())
    assert (meta["classes"], meta["class_colours"]) == (["town", "lake"], ["#e6194b", "#000000"])
    assert TileDataset(place.folder / "out", image_size=64).land_use_classes.own == (
        "#e6194b", "#000000")


def test_classes_need_labels():
    for key in ("classes=[a,b]", "colour_tolerance=3"):
        cfg = read(PREPARE, "raster=r", "osm=o", "out=d", "city=c", key)
        with pytest.raises(ConfigError, match="there is no labels= that it could describe"):
            prepare_tiles(**vars(cfg))
