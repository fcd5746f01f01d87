"""Features that several test files look at."""

from pathlib import Path

import pytest

from inference.features import rasters, sources, table
from inference.features.run import in_words
from tests.inference.features.extracting import UTM, run
from tests.random_tiles import random_tile, write_compact


@pytest.fixture(autouse=True, scope="module")
def _several_parts():
    """Small pieces, so that nine tiles make several of each."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sources, "PART_TILES", 4)
        patched.setattr(table, "ROW_GROUP", 4)
        patched.setattr(rasters, "WINDOW", 20)  # no multiple of a tile's 14 patches
        yield


@pytest.fixture(scope="module")
def whole(sample_tiles, checkpoint, tmp_path_factory) -> Path:
    """Features of the sample city of 3 x 3 tiles."""
    out = tmp_path_factory.mktemp("features") / "whole"
    print(in_words(str(out), run(checkpoint, out, f"data_root={sample_tiles}")))
    return out


@pytest.fixture(scope="module")
def cities(tmp_path_factory) -> Path:
    """Three tiles of each of two cities that have different CRS; the first's are two in a row and
    one below, where there is no object."""
    root = tmp_path_factory.mktemp("two") / "tiles"
    for city, crs in (("oslo", "EPSG:32633"), ("lima", "EPSG:32718")):
        made = [random_tile(f"{city}_{place}", nodes=0 if place == "0_1" else 4,
                            edges=2 if place != "0_1" else 0)
                for place in ("0_0", "1_0", "0_1")]
        write_compact(root, made, city, meta={**UTM, "crs": crs})
    return root
