"""The picture of a tile shows what is known of it, and no more."""

from dataclasses import replace

import numpy as np
import pytest

from datasets import TileDataset
from datasets.plot import STRIPES, label_colour, painted
from datasets.stores.tile import CORNERS
from datasets.targets import CLASSES, UNKNOWN
from tests.figures import laid_out
from tests.random_tiles import random_tile, write_compact, write_release
from utils.style import CLASS_COLOURS, class_colours, rgb

META = {"label_names": ["house", "residential", "residential",
                        *(f"tag_{code}" for code in range(3, 40))],
        "label_layers": ["building", "landuse", "road", *["amenity"] * 37]}


def tile(name: str, labels=(), **more):
    made = random_tile(name, len(labels), 0, side=32, targets=True)
    return replace(made, label=np.array(labels, np.int64), **more)


@pytest.fixture(params=[write_compact, write_release])
def tiles(request, tmp_path) -> TileDataset:
    land_use = np.full((32, 32), 255, np.uint8)
    land_use[:16] = 4
    cities = [
        tile("lima_0_0", [0, 0, 1, 2, 0], land_use=land_use, totals={"pop": 1234.5, "CO2": 0.0}),
        tile("lima_1_0", land_use=None, totals={}),
        tile("lima_2_0", range(30), totals={"pop": 3.0}),
        tile("lima_3_0", [39, 77]),
    ]
    root = request.param(tmp_path / "tiles", cities, meta=META)
    return TileDataset(root, image_size=32)


def drawn(tiles: TileDataset, index: int):
    """Return the picture of a tile, its panels by title, and the lines of its legends."""
    figure = laid_out(tiles.plot(index))
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    legends = [text.get_text() for axes in figure.axes if (legend := axes.get_legend())
               for text in legend.get_texts()]
    return figure, panels, legends


def test_all_that_is_known_is_shown(tiles):
    figure, panels, legends = drawn(tiles, 0)
    assert list(panels) == ["image", "5 OSM objects", "land use"]
    assert figure.get_suptitle() == "lima_0_0\n1,234 people, 0 t CO2 a year"
    assert legends == ["house 3", "residential (landuse) 1", "residential (road) 1", "residential",
                       "unknown"]
    image, graph = tiles.read(0)
    assert (panels["image"].images[0].get_array() == image.movedim(0, -1).numpy()).all()
    boxes = panels["5 OSM objects"].patches
    colours = [tuple(rgb([label_colour(code)])[0] / 255) for code in (0, 0, 1, 2, 0)]
    assert sorted(box.get_facecolor()[:3] for box in boxes) == sorted(colours)
    corners = graph.x[:, CORNERS].reshape(-1, 4, 2).numpy() * 32
    assert {tuple(box.get_xy()[0]) for box in boxes} == {tuple(corner) for corner in corners[:, 0]}
    picture = panels["land use"].images[0].get_array()
    assert (picture[:16] == rgb([CLASS_COLOURS[CLASSES[4]]])).all()
    assert len(np.unique(picture[16:])) == 2  # stripes


def test_a_tile_without_objects_land_use_and_totals(tiles):
    figure, panels, legends = drawn(tiles, 1)
    assert list(panels) == ["image", "no OSM object"]
    assert figure.get_suptitle() == "lima_1_0"
    assert legends == []


def test_of_many_tags_the_commonest_are_named(tiles):
    figure, panels, legends = drawn(tiles, 2)
    assert "30 OSM objects" in panels
    assert figure.get_suptitle() == "lima_2_0\n3 people"
    assert legends[10:12] == ["tag_10 1", "19 other tags 19"]


def test_tags_that_nobody_names_are_numbers(tiles):
    assert drawn(tiles, 3)[2][:2] == ["tag_39 1", "tag 77 1"]
    assert [tiles.tag(0, code) for code in (0, -1, 40)] == ["house", "tag -1", "tag 40"]


def test_a_city_without_names(tmp_path):
    tiles = TileDataset(write_release(tmp_path / "tiles", [tile("lima_0_0", [5])], meta={}),
                        image_size=32)
    assert drawn(tiles, 0)[2][0] == "tag 5 1"


def test_neighbouring_labels_differ():
    colours = [label_colour(code) for code in range(300)]
    assert len(set(colours)) > 200
    assert min(np.abs(rgb(colours[:-1]).astype(int) - rgb(colours[1:])).max(1)) > 60


def test_classes_are_painted_and_unknown_ones_striped():
    labels = np.full((56, 56), UNKNOWN, np.uint8)
    labels[:20], labels[20:30] = 0, 8
    picture = painted(labels, class_colours(CLASSES))
    assert (picture.shape, picture.dtype) == ((56, 56, 3), np.uint8)
    assert (picture[:20] == rgb([CLASS_COLOURS["water"]])).all()
    assert (picture[20:30] == rgb([CLASS_COLOURS["transport"]])).all()
    assert set(np.unique(picture[30:])) == set(STRIPES)
