"""The generated place that several tests prepare."""

from pathlib import Path

import geopandas as gpd
import pytest

from tests.datasets.prepare.places import UTM, Place, metres, pixels, square, write_raster


@pytest.fixture
def place(tmp_path: Path) -> Place:
    frame = gpd.GeoDataFrame(
        {
            "building": ["house", "yes", None, "house", None],
            "landuse": [None, None, "grass", "residential", None],
            "highway": [None, None, None, None, "residential"],
        },
        geometry=[
            square(2, 2, 10),  # tile (0, 0)
            square(28, 4, 8),  # half in (0, 0), half in (1, 0)
            square(4, 4, 4),  # inside the house
            square(40, 40, 10),  # tile (1, 1), in two layers
            metres((0, 48), (60, 48)),  # through tiles (0, 1) and (1, 1)
        ],
        crs=UTM,
    )
    osm = tmp_path / "osm.gpkg"
    frame.to_file(osm, layer="objects")
    image = pixels(140, 210)
    return Place(tmp_path, write_raster(tmp_path / "city.tif", image), osm, image, frame)
