"""The classes of a dataset: kept by both layouts, of one list, and shown wherever labels are."""

import re

import pytest

from datasets import TileDataset
from datasets.split_lists import SplitRules, write_splits
from datasets.stores.conversion import convert
from datasets.targets import CLASSES
from tests.figures import laid_out
from tests.random_tiles import META, random_tile, write_compact, write_release
from utils.errors import TileError

OWN = [f"own {number}" for number in range(9)]
HUES = [f"#{number:02x}8040" for number in range(9)]
RECORD = {**META, "classes": OWN, "class_colours": HUES}


def write(root, layout, city="lima", **meta):
    """Write two labelled tiles of a city with values 0 to 8."""
    made = [random_tile(f"{city}_{n}_0", nodes=2, edges=1, side=32, targets=True) for n in (0, 1)]
    return layout(root, made, city, meta={**META, **meta})


@pytest.fixture(params=[write_compact, write_release])
def layout(request):
    return request.param


def test_both_layouts_keep_names_and_colours_and_the_plot_shows_them(tmp_path, layout):
    root = write(tmp_path / "tiles", layout, **RECORD)
    convert(root, tmp_path / "other", progress=False)
    for tiles in (TileDataset(root, image_size=32), TileDataset(tmp_path / "other", image_size=32)):
        assert tiles.classes == tuple(OWN)
        assert tiles.land_use_classes.colours == HUES
        legends = laid_out(tiles.plot(0)).axes[-1].get_legend().get_texts()
        assert [text.get_text() for text in legends] == OWN


def test_a_dataset_that_says_nothing_has_the_papers_nine(tmp_path, layout):
    tiles = TileDataset(write(tmp_path / "tiles", layout), image_size=32)
    assert (tiles.classes, tiles.land_use_classes.stated) == (CLASSES, False)


def test_cities_that_disagree_are_refused_and_one_alone_opens(tmp_path, layout):
    root = write(tmp_path / "tiles", layout, "lima", **RECORD)
    write(root, layout, "oslo", classes=["a", "b"])
    with pytest.raises(TileError, match=r"tiles: its cities have other classes.*lima has own 0, "
                                        r"own 1.*oslo has a, b; .*cities=\[lima\]"):
        TileDataset(root)
    assert TileDataset(root, ["oslo"], 32).classes == ("a", "b")
    write(root, layout, "oslo", keys={"labels": "made_before.tif"})  # of the nine
    with pytest.raises(TileError, match="oslo has water, green"):
        TileDataset(root)
    write(root, layout, "oslo", keys={"labels": None})  # nothing to disagree about
    assert TileDataset(root).classes == tuple(OWN)


@pytest.mark.parametrize(("record", "message"), [
    ({"classes": ["a", "a"]}, "names a class twice"),
    ({"classes": ["a", "b"], "class_colours": ["#000000"]}, "1 class_colours for 2 classes"),
    ({"classes": ["a", "b"], "class_colours": ["red", "#000000"]},
     r"class_colours\[0\] is \"red\""),
    ({"classes": ["a", "b\x1b[2J"]}, "expected a line of text without control characters"),
    ({"keys": {"population_what": "m3\nof building"}},
     r"keys.population_what is .*, expected a line of text"),
    ({"keys": {"co2_what": "t" * 201}}, "expected a text of 200 characters or fewer"),
    ({"classes": ["a"] * 255}, "a list of 2 to 254"), ({"classes": "ab"}, "expected a list")])
def test_a_damaged_record_is_one_line(tmp_path, record, message):
    with pytest.raises(TileError, match=message) as raised:
        TileDataset(write(tmp_path / "tiles", write_compact, **record))
    assert "\n" not in str(raised.value)


def test_many_classes_have_a_line_each_in_the_report_of_a_split(tmp_path):
    names = [f"a class of many {number}" for number in range(20)]
    made = [random_tile(f"lima_{n % 8}_{n // 8}", 2, 1, 32, targets=True) for n in range(64)]
    root = write_compact(tmp_path / "tiles", made, meta={**META, "classes": names})
    report = str(write_splits(root, SplitRules(guard=0)))
    lines = [line for line in report.splitlines() if line.strip().startswith("a class of many")]
    assert len(lines) == 20
    assert max(map(len, lines)) < 90
    assert [len(re.findall(r"[\d.]+%", line)) for line in lines] == [4] * 20
