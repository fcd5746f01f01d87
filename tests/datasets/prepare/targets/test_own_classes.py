"""Labels of one's own: lists, maps, colours, names in files, and what cannot be classes."""

import re
import shlex
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.shutil import copy

from datasets.keys import PREPARE
from datasets.prepare.targets.land_use import LandUse
from datasets.prepare.targets.legend import LegendKeys, as_key
from tests.datasets.prepare.places import NORTH, UTM, WEST, grid, square, write_raster
from tests.datasets.prepare.targets.test_land_use import (
    BOUNDS,
    QUARTERS,
    SIDE,
    coloured,
    polygons,
    tile_bounds,
    write_classes,
)
from utils.cli.compose import read
from utils.errors import PrepareError

NAMES = ("town", "park", "lake")
THIRDS = np.repeat([0, 1, 2, 255], 50)[None].repeat(200, 0).astype(np.uint8)  # columns of classes


def opened(path, **keys) -> LandUse:
    """Return labels that have been looked through."""
    source = LandUse(path, **keys)
    source.check(UTM, BOUNDS, grid())
    return source


def given(*overrides: str):
    """Return the keys of a command line, as its program reads them."""
    return read(PREPARE, "raster=r", "osm=o", "out=d", "city=c", "labels=l", *overrides)


def written(source: LandUse) -> np.ndarray:
    """Return the classes of the whole imagery, made as a worker makes them."""
    return LandUse(**source.arguments).tile(BOUNDS, UTM, 200)


def refusal(path, **keys) -> str:
    with pytest.raises(PrepareError) as raised:
        opened(path, **keys)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def pasted(message: str) -> dict:
    """Return classes= and colour_tolerance= that a message says, as a shell and Hydra read them."""
    line = re.search(r"(?:such as|classes:|none:) ('classes=.*?)(?: \(with| or classes=all|\.$)",
                     message)[1]
    keys = given(*shlex.split(line))
    return {"classes": keys.classes, "colour_tolerance": keys.colour_tolerance}


def test_a_colour_has_one_class(tmp_path):
    keys = given("""classes={"#4363d8":lake,"#3cb44b":park,"#4363D8":town}""")
    with pytest.raises(PrepareError, match="names the colour #4363d8 2 times, expected every"):
        LandUse(write_classes(tmp_path / "lu.tif", THIRDS), classes=keys.classes)


@pytest.mark.parametrize("nothing", ["unknown", "Ignore", None])
def test_a_place_of_a_list_may_be_left_to_no_class(tmp_path, nothing):
    path = write_classes(tmp_path / "lu.tif", np.minimum(THIRDS, 3), nodata=None)
    source = opened(path, classes=[nothing, "park", "lake", "sea"])
    assert source.legend.classes == ("park", "lake", "sea")
    np.testing.assert_array_equal(written(source), np.select([THIRDS == 1, THIRDS == 2,
                                                              THIRDS == 255], [0, 1, 2], 255))
    assert not [note for note in source.notes if "names" in note]
    mapped = opened(path, classes=[nothing, "park", "lake", "sea"],
                    label_map={0: "lake", 1: 3, 2: 1, 3: 0})
    assert list(mapped.legend.meaning.values()) == [1, 2, 0, 255]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64",
                                   "uint64", "float32", "float64"])
def test_a_list_names_the_numbers_of_a_raster_of_any_type(tmp_path, dtype):
    values = np.where(THIRDS == 255, 100, THIRDS).astype(dtype)
    source = opened(write_classes(tmp_path / "lu.tif", values, nodata=100), classes=[*NAMES])
    assert source.legend.classes == NAMES
    assert source.legend.colours == ()
    np.testing.assert_array_equal(written(source), THIRDS)


def test_a_list_names_the_values_of_a_column_in_its_order(tmp_path):
    shapes = [square(0, 0, 16), square(16, 0, 16), square(0, 16, 16), square(16, 16, 16)]
    path = polygons(tmp_path / "lu.gpkg", ["Lake", "park", " Town", "moor"], shapes)
    source = opened(path, classes=[*NAMES])
    tile = LandUse(**source.arguments).tile(tile_bounds(0, 0), UTM, SIDE)
    assert tile[::32, ::32].tolist() == [[2, 1], [0, 255]]
    (note,) = [note for note in source.notes if "unknown" in note]
    assert "1 polygons of values that classes does not name are unknown: moor (1); 25.00%" in note
    assert "25.00% of their area" in note


def test_a_map_numbers_names_by_first_mention_and_joins_values(tmp_path):
    values = np.choose(np.minimum(THIRDS, 3), [21, 11, 12, 99]).astype(np.uint8)
    path = write_classes(tmp_path / "lu.tif", values)
    for keys in ({"classes": {21: "town", 11: "forest", "12": "forest ", 99: None}},
                 {"label_map": {21: "town", 11: "forest", 12: "forest", 99: "unknown"}},
                 {"classes": ["town", "forest"],
                  "label_map": {21: 0, 11: 1, 12: "Forest", 99: 255}},
                 {"classes": "{21: town, 11: forest, 12: forest, 99: 255}"}):
        source = opened(path, **keys)
        assert source.legend.classes == ("town", "forest")
        np.testing.assert_array_equal(written(source), np.array([0, 1, 1, 255], np.uint8)[
            np.minimum(THIRDS, 3)])


def test_all_values_are_classes_numbers_before_names_in_order(tmp_path):
    path = write_classes(tmp_path / "lu.tif", np.where(THIRDS == 1, 100, THIRDS))
    source = opened(path, classes="all")
    assert source.legend.classes == ("0", "2", "100")  # 255 is no class
    shapes = [square(0, 0, 16), square(16, 0, 16), square(0, 16, 16)]
    path = polygons(tmp_path / "lu.gpkg", ["Rhine", "Altstadt, west", None], shapes)
    source = opened(path, classes="all")
    assert source.legend.classes == ("Altstadt, west", "Rhine")
    tile = LandUse(**source.arguments).tile(tile_bounds(0, 0), UTM, SIDE)
    assert tile[::32, ::32].tolist() == [[1, 0], [255, 255]]


def test_a_file_holds_a_list_or_a_map(tmp_path):
    path = write_classes(tmp_path / "lu.tif", THIRDS)
    (tmp_path / "list.yaml").write_text("- town\n- park\n- lake\n")
    (tmp_path / "map.yaml").write_text("0: town\n1: park\n2: lake\n")
    for name in ("list.yaml", "map.yaml"):
        source = opened(path, classes=str(tmp_path / name))
        assert source.legend.classes == NAMES
        assert tmp_path / name in source.files


def with_names(path, categories=(), rows=()):
    """Write GDAL's names of categories, or an attribute table, beside a raster."""
    root = ElementTree.Element("PAMDataset")
    band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
    if categories:
        names = ElementTree.SubElement(band, "CategoryNames")
        for name in categories:
            ElementTree.SubElement(names, "Category").text = name
    if rows:
        table = ElementTree.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
        for index, (title, kind, use) in enumerate([("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6),
                                                    ("Green", 0, 7), ("Blue", 0, 8)]):
            column = ElementTree.SubElement(table, "FieldDefn", index=str(index))
            for tag, text in (("Name", title), ("Type", str(kind)), ("Usage", str(use))):
                ElementTree.SubElement(column, tag).text = text
        for index, row in enumerate(rows):
            line = ElementTree.SubElement(table, "Row", index=str(index))
            for cell in row:
                ElementTree.SubElement(line, "F").text = str(cell)
    ElementTree.ElementTree(root).write(f"{path}.aux.xml")
    return path


def test_names_of_categories_are_the_classes_without_any_key(tmp_path):
    path = with_names(write_classes(tmp_path / "lu.tif", THIRDS), NAMES)
    source = opened(path)
    assert source.legend.classes == NAMES
    assert source.notes == ["lu.tif: 3 classes, by the legend in lu.tif: 0 town, 1 park, 2 lake",
                            "lu.tif: 10000 pixels of values that the legend in lu.tif does not "
                            "name are unknown: 255 (10000); 25.00% of all pixels"]
    np.testing.assert_array_equal(written(source), THIRDS)
    source = opened(path, classes=["lake", "town"])  # by name, whatever the numbers
    np.testing.assert_array_equal(written(source)[0, ::50], [1, 255, 0, 255])
    source = opened(path, label_map={"town": "residential", "lake": 0})
    np.testing.assert_array_equal(written(source)[0, ::50], [4, 255, 0, 255])
    assert opened(path, classes="all").legend.classes == NAMES


def test_names_that_are_the_papers_mean_its_nine_and_numbers_no_names(tmp_path):
    path = with_names(write_classes(tmp_path / "lu.tif", THIRDS), ("Water", "Unclassified",
                                                                  "residential"))
    source = opened(path)
    assert not source.legend.own
    np.testing.assert_array_equal(written(source)[0, ::50], [0, 255, 4, 255])
    with_names(path, ("0", "1", "2"))
    np.testing.assert_array_equal(written(opened(path)), THIRDS)


def test_an_attribute_table_names_and_colours_values(tmp_path):
    values = np.choose(np.minimum(THIRDS, 3), [11, 21, 42, 0]).astype(np.int16)
    path = with_names(write_classes(tmp_path / "lu.tif", values), rows=[
        (11, "open water", 70, 107, 159), (21, "town", 222, 197, 197), (42, "wood", 28, 95, 44)])
    source = opened(path)
    assert source.legend.classes == ("open water", "town", "wood")
    assert source.legend.colours == ("#466b9f", "#dec5c5", "#1c5f2c")
    np.testing.assert_array_equal(written(source), THIRDS)


def test_names_in_other_formats_are_read_and_control_characters_are_not(tmp_path):
    path = tmp_path / "lu.img"
    with rasterio.open(with_names(write_classes(tmp_path / "lu.tif", THIRDS), NAMES)) as file:
        copy(file, path, driver="HFA")
    assert opened(path).legend.classes == NAMES
    beside = tmp_path / "lu.tif.aux.xml"
    beside.write_text(beside.read_text().replace("town", "to&#1;n"))
    assert opened(tmp_path / "lu.tif").legend.classes == ("ton", "park", "lake")


def test_the_names_in_our_own_maps_are_read(tmp_path):
    path = write_classes(tmp_path / "map.tif", THIRDS, nodata=255)
    with rasterio.open(path, "r+") as file:
        file.update_tags(**{f"CLASS_{number}": name for number, name in enumerate(NAMES)})
    assert opened(path).legend.classes == NAMES


def palette(path, values, colours):
    write_classes(path, values)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {index: (*bytes.fromhex(colour[1:]), 255)
                                   for index, colour in enumerate(colours)})
    return path


COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#ffffff")


@pytest.mark.parametrize("kind", ["palette", "bands", "png"])
def test_colours_of_labels_are_those_of_the_classes(tmp_path, kind):
    indices = np.minimum(THIRDS, 3)
    path = tmp_path / "lu.tif"
    if kind == "bands":
        table = np.array([list(bytes.fromhex(colour[1:])) for colour in COLOURS], np.uint8)
        write_raster(path, table[indices])
    elif kind == "palette":
        palette(path, indices, COLOURS)
    else:  # a picture with a world file; its CRS stands beside it
        path = tmp_path / "lu.png"
        picture = Image.fromarray(indices, "P")
        picture.putpalette(bytes.fromhex("".join(colour[1:] for colour in COLOURS)))
        picture.save(path)
        step, turn, turn2, down, left, top = (0.5, 0, 0, -0.5, WEST + 0.25, NORTH - 0.25)
        path.with_suffix(".pgw").write_text(f"{step}\n{turn}\n{turn2}\n{down}\n{left}\n{top}\n")
        path.with_suffix(".png.aux.xml").write_text(
            f"<PAMDataset><SRS>{UTM}</SRS></PAMDataset>")
    named = dict(zip(COLOURS, [*NAMES, None], strict=True))
    source = opened(path, classes=named)
    assert (source.legend.classes, source.legend.colours) == (NAMES, COLOURS[:3])
    np.testing.assert_array_equal(written(source), THIRDS)
    if kind != "bands":  # the numbers of a palette have its colours, too
        source = opened(path, classes={0: "town", 1: "park", 2: "lake", 3: None})
        assert source.legend.colours == COLOURS[:3]
        np.testing.assert_array_equal(written(source), THIRDS)
    else:
        assert opened(path, classes="all").legend.classes == tuple(sorted(COLOURS))


def test_numbers_of_a_palette_that_pass_for_the_nine_are_pointed_out(tmp_path):
    source = opened(palette(tmp_path / "lu.tif", np.minimum(THIRDS, 3), COLOURS))
    assert not source.legend.own
    assert any("its numbers are taken for the paper's classes" in note for note in source.notes)


def jpeg(tmp_path):
    """Write coloured quarters as a JPEG does them: near to the colours, but not equal."""
    noise = np.random.default_rng(0).integers(-3, 4, (200, 200, 3))
    with rasterio.open(coloured(tmp_path / "exact.tif")) as file:
        image = np.moveaxis(file.read(), 0, -1)
    return write_raster(tmp_path / "lu.tif", np.clip(image + noise, 0, 255).astype(np.uint8))


def test_colours_that_are_nearly_named_ones_are_pointed_out_and_the_tolerance_counts_them(tmp_path):
    path = jpeg(tmp_path)
    named = {"#0000ff": "sea", "#e6194b": "town", "#808080": "road", "#ffffff": None}
    source = opened(path, classes=named)
    (note,) = [note for note in source.notes if "are unknown" in note]
    assert "nearly a colour that is named, as JPEG" in note
    tolerance = int(note.rpartition("colour_tolerance=")[2].split()[0])
    assert tolerance == 3
    source = opened(path, classes=named, colour_tolerance=tolerance)
    assert not [note for note in source.notes if "are unknown" in note]
    expected = np.select([QUARTERS == 0, QUARTERS == 4, QUARTERS == 8], [0, 1, 2], 255)
    np.testing.assert_array_equal(written(source), expected)


def test_colours_that_are_all_nearly_named_are_an_error_that_says_so(tmp_path):
    message = refusal(write_raster(tmp_path / "lu.tif", np.full((200, 200, 3), 100, np.uint8)),
                      classes={"#646466": "town", "#ff0000": "park"})
    assert "#646464 is 2 of 255 from #646466" in message
    assert "colour_tolerance=2" in message


def test_the_line_for_colours_of_a_jpeg_can_be_pasted(tmp_path):
    path = jpeg(tmp_path)
    message = refusal(path)
    keys = pasted(message)
    assert 3 <= keys["colour_tolerance"] <= 24
    assert '"#ffffff": unknown' in keys["classes"]  # the commonest one, as of a background
    source = opened(path, **keys)
    assert source.legend.classes == ("class1", "class2", "class3")
    np.testing.assert_array_equal(written(source) == 255, QUARTERS == 255)


def test_all_colours_nearly_named_ones_are_classes_with_a_tolerance(tmp_path):
    path = write_raster(tmp_path / "lu.tif", np.full((200, 200, 3), 100, np.uint8))
    source = opened(path, classes={"#646466": "town", "#ff0000": "park"}, colour_tolerance=2)
    assert (written(source) == 0).all()


def test_labels_of_which_the_background_alone_is_named_are_an_error(tmp_path):
    message = refusal(coloured(tmp_path / "lu.tif"),
                      classes={"#ffffff": None, "#010203": "town", "#0000f9": "sea"})
    assert "gives a class to none of the values" in message
    assert "town, sea. Of them 25.0% of all pixels" in message
    assert "#0000ff is 6 of 255 from #0000f9" in message


def test_a_class_that_a_raster_declares_as_nodata_is_named_with_what_mends_it(tmp_path):
    path = write_classes(tmp_path / "lu.tif", QUARTERS, nodata=0)
    (note,) = [note for note in opened(path).notes if "declares" in note]
    assert "its value 0 as nodata, so that water is unknown" in note
    command = shlex.split(re.search("`(.*)`", note)[1])
    assert command[:2] == ["rio", "edit-info"]
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = None
    source = opened(path)
    assert not [note for note in source.notes if "declares" in note]
    np.testing.assert_array_equal(written(source), QUARTERS)


@pytest.mark.parametrize(("values", "classes"), [
    ([11, 21, 300], ("class11", "class21", "class300")),
    ([-7, 7, 300], ("class-7", "class7", "class300")),
    (["Wald", "Acker, gross", "Fluß's \"Ufer\""], ("Acker, gross", "Fluß's \"Ufer\"", "Wald")),
    (["yes", "no", "null"], ("no", "null", "yes")),
])
def test_the_line_for_values_that_are_not_the_papers_can_be_pasted(tmp_path, values, classes):
    shapes = [square(0, 0, 30), square(30, 0, 10), square(40, 0, 10)]
    path = polygons(tmp_path / "lu.gpkg", values, shapes)
    message = refusal(path)
    assert f"{values[0]} (81.8%)".casefold() in message.casefold()
    assert "classes=all" in message
    source = opened(path, **pasted(message))
    assert source.legend.classes == classes
    assert not [note for note in source.notes if "unknown" in note]


@pytest.mark.parametrize(("shift", "line"), [
    (1, "'classes={1:town,2:park,3:lake}'"), (7, "'classes={7:town,8:park,9:lake}'")])
def test_a_list_whose_numbers_do_not_begin_at_zero_gets_the_line_that_is_meant(
    tmp_path, shift, line):
    path = write_classes(tmp_path / "lu.tif", np.where(THIRDS == 255, 255, THIRDS + shift))
    message = refusal(path, classes=[*NAMES])
    assert line in message
    assert "the numbers 0 to 2" in message
    np.testing.assert_array_equal(written(opened(path, **pasted(message))), THIRDS)


def test_a_class_that_never_occurs_is_pointed_out(tmp_path):
    source = opened(write_classes(tmp_path / "lu.tif", THIRDS), classes=[*NAMES, "moor"])
    assert any("no pixel inside the imagery is of moor" in note for note in source.notes)


def many(tmp_path):
    values = (np.arange(40_000) % 300).reshape(200, 200).astype(np.uint16)
    return write_classes(tmp_path / "lu.tif", values)


def plain(tmp_path):
    return write_classes(tmp_path / "lu.tif", THIRDS)


def picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    return write_raster(tmp_path / "lu.tif", noise)


TWO = {"#e6194b": "town", "#e61955": "park"}
CASES = {
    "one_name": (plain, {"classes": ["town", " Town", "lake"]},
                 ["classes", "two classes have one name", "town and Town"]),
    "one_name_in_a_map": (plain, {"classes": {0: "town", 1: "Town", 2: "lake"}},
                          ["two classes have one name", "one spelling"]),
    "too_many": (many, {"classes": "all"}, ["lu.tif", "299 values", "2 to 254", "classes={11:"]),
    "too_many_names": (plain, {"classes": [f"c{i}" for i in range(255)]},
                       ["names 255 classes", "2 to 254"]),
    "one": (plain, {"classes": ["town"]}, ["names 1 class (town)", "cannot be learned"]),
    "empty": (plain, {"classes": ["town", ""]}, ['found the name ""', "printable"]),
    "empty_in_a_map": (plain, {"classes": {0: "town", 1: " "}}, ["1: found an empty name", "null"]),
    "control": (plain, {"classes": ["town", "park\x1b[2J"]}, ["\\u001b", "printable"]),
    "flag": (plain, {"classes": ["town", True]}, ["the name True", "in quotes"]),
    "both": (plain, {"classes": {0: "a", 1: "b"}, "label_map": {0: 1}},
             ["label_map={0: 1}", "with classes=", "both say"]),
    "all_with_a_map": (plain, {"classes": "all", "label_map": {0: 1}}, ["both say"]),
    "other_names": (plain, {"classes": ["town", "park"], "label_map": {0: "town", 1: "moor"}},
                    ["label_map: 1: moor is no class of classes=", "town, park"]),
    "slip": (plain, {"label_map": {0: "residental", 1: "park"}},
             ["0: residental", "did you mean residential?", "classes="]),
    "mixed": (plain, {"label_map": {0: "town", 1: 3}}, ["classes of its own (town)", "number 3"]),
    "no_file": (plain, {"classes": "classes.yaml"}, ["classes.yaml", "no such file", "all"]),
    "number": (plain, {"classes": "{5"}, ["classes={5", "cannot be read"]),
    "empty_list": (plain, {"classes": []}, ["classes: found []", "classes=all"]),
    "no_value": (plain, {"classes": ["moor", "heath"], "label_map": {77: "moor"}},
                 ["label_map gives a class to none", "0 (25.0%)", "moor, heath"]),
    "colours_of_numbers": (plain, {"classes": TWO}, ["lu.tif", "names colours", "uint8"]),
    "tolerance_without_colours": (plain, {"classes": [*NAMES], "colour_tolerance": 5},
                                  ["colour_tolerance=5", "names a colour"]),
    "tolerance": (lambda t: coloured(t / "lu.tif"), {"classes": TWO, "colour_tolerance": 5},
                  ["colour_tolerance=5", "10 of 255 apart", "expected 4 or less"]),
    "picture": (picture, {"classes": TWO}, ["lu.tif", "a picture", "colours of classes"]),
}


@pytest.mark.parametrize("case", CASES)
def test_message(tmp_path, case):
    make, keys, phrases = CASES[case]
    path = make(tmp_path)
    if case == "picture":
        pytest.MonkeyPatch().setattr("datasets.prepare.targets.land_use.MOST_COLOURS", 1000)
    message = refusal(path, **keys)
    for phrase in phrases:
        assert phrase in message


def test_too_many_names_in_a_file_leave_all_that_occur(tmp_path):
    path = with_names(write_classes(tmp_path / "lu.tif", THIRDS), [f"n{i}" for i in range(300)])
    assert "classes=all for the values inside" in refusal(path)
    assert opened(path, classes="all").legend.classes == ("n0", "n1", "n2")


def test_keys_as_the_command_line_gives_them():
    assert given("classes=[town,park]").classes == ["town", "park"]
    assert given("classes=all").classes == "all"
    assert given("classes={11:forest,12:forest}").classes == {11: "forest", 12: "forest"}
    names = ["a b", "c,d", "it's", 'say "x"', "yes", "Ærø", "12", "#e6194b", "a:b", "[x]", "{y}"]
    keys = given(*shlex.split(as_key("classes", names)))
    assert [*map(str, LegendKeys.of(keys.classes, None).classes)] == names
    named = dict(zip(names, [*names[1:], None], strict=True))
    keys = given(*shlex.split(as_key("classes", named)))
    assert {str(value): name for value, name in
            LegendKeys.of(keys.classes, None).classes.items()} == named
    loose = LegendKeys.of('{11:forest, "#e6194b":town, -3: "a, b"}', None).classes
    assert loose == {11: "forest", "#e6194b": "town", -3: "a, b"}
