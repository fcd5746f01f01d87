"""A dataset whose population comes from a table of points."""

import numpy as np
import pandas as pd
import pytest

from datasets import TileDataset
from tests.datasets.prepare.places import NORTH, UTM, WEST, contents, prepare
from utils.errors import ConfigError

TILES = [f"c_{column}_{row}" for row in range(2) for column in range(3)]


@pytest.fixture
def census(place):
    """A point with 1, 2, 4, ... people in the middle of each tile of 32 m, and one elsewhere."""
    x = [*(WEST + 16 + 32 * column for row in range(2) for column in range(3)), WEST + 500]
    y = [*(NORTH - 16 - 32 * row for row in range(2) for column in range(3)), NORTH - 500]
    pd.DataFrame({"x": x, "y": y, "people": 2.0 ** np.arange(7)}).to_csv(
        place.folder / "census.csv", index=False)
    return {"population": place.folder / "census.csv", "population_crs": UTM, "keep_empty": True}


def test_totals_reach_the_tiles_and_workers_need_no_table(place, census, capsys):
    prepare(place, **census, cell=0, workers=2, progress=True)
    assert ("note: census.csv: 7 points, population 127 in all; on the imagery 6, 63; outside 1, "
            "64") in capsys.readouterr().out
    tiles = TileDataset(place.folder / "out", image_size=64)
    assert {name: tiles.total(tiles.names.index(name), "pop") for name in TILES} == {
        name: 2.0**index for index, name in enumerate(TILES)}
    prepare(place, **census, cell="0", workers=1, out=place.folder / "alone")
    files, alone = (contents(place.folder / name / "cities" / "c") for name in ("out", "alone"))
    assert {name: data for name, data in files.items() if name != "meta.json"} == {
        name: data for name, data in alone.items() if name != "meta.json"}


def test_two_targets_with_cells_of_their_own(place, census):
    prepare(place, **census, cell=32, co2=census["population"], co2_crs=UTM, co2_cell=0)
    tiles = TileDataset(place.folder / "out", image_size=64)
    for kind in ("pop", "CO2"):
        totals = [tiles.total(tiles.names.index(name), kind) for name in TILES]
        np.testing.assert_allclose(totals, 2.0 ** np.arange(6), rtol=1e-5)  # sides are straight


def test_a_cell_that_nothing_uses(place, census):
    with pytest.raises(ConfigError, match="cell=32: says what points stand for, and no target"):
        prepare(place, labels=None, cell=32, keep_empty=True, population=_squares(place))
    with pytest.raises(ConfigError, match="co2_cell=32: says what points stand for"):
        prepare(place, **census, cell=0, co2=_squares(place), co2_cell=32)


def _squares(place):
    frame = place.frame.iloc[:4][["geometry"]].assign(people=1.0)
    frame.to_file(place.folder / "squares.gpkg")
    return place.folder / "squares.gpkg"
