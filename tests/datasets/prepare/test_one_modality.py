"""Tiles of OSM objects alone (raster=null) and of imagery alone (osm=null)."""

import json
from pathlib import Path

import geopandas as gpd
import osmium
import pytest
import shapely
import torch
from affine import Affine
from pyproj import Transformer

from datasets import TileDataset
from datasets.keys import PREPARE
from datasets.prepare.area import bare_ground
from datasets.prepare.imagery.bare import DARK_GROUND
from datasets.prepare.osm.objects import extent_of
from datasets.prepare.osm.tags import load_layers
from datasets.prepare.preview import _picture
from datasets.stores.conversion import convert
from tests.datasets.prepare.places import (
    NORTH,
    UTM,
    WEST,
    contents,
    pixels,
    prepare,
    square,
    write_raster,
)
from utils.cli.compose import read
from utils.errors import ConfigError, PrepareError, TileError
from utils.style import LAYER_COLOURS, rgb

BARE = {"raster": None, "raster_crs": UTM, "resolution": 0.5}
OBJECTS = shapely.box(WEST, NORTH - 52, WEST + 62, NORTH)  # around all of the place's


def in_degrees(*bounds: float) -> list[float]:
    """Return a box around `bounds` of UTM in degrees."""
    return list(Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform_bounds(*bounds))


@pytest.fixture
def targets(place) -> dict[str, str]:
    """Targets that cover the ground of all tiles."""
    left, right = square(-200, -200, 230), shapely.box(WEST + 30, NORTH - 300, WEST + 400,
                                                       NORTH + 200)
    frame = gpd.GeoDataFrame({"people": [7.0, 11.0], "class": [1, 3]}, geometry=[left, right],
                             crs=UTM)
    paths = {key: str(place.folder / f"{key}.gpkg") for key in ("population", "labels")}
    frame[["people", "geometry"]].to_file(paths["population"])
    frame[["class", "geometry"]].to_file(paths["labels"])
    return paths


def opened(root: Path) -> TileDataset:
    return TileDataset(root, image_size=64)


def meta_of(root: Path) -> dict:
    return json.loads((root / "cities/c/meta.json").read_text())


def assert_same_graphs_and_targets(one: TileDataset, other: TileDataset) -> None:
    assert one.names == other.names
    assert len(one) > 4
    for index in range(len(one)):
        graphs = [tiles.read(index)[1] for tiles in (one, other)]
        for name in ("x", "edge_index", "edge_attr"):
            assert torch.equal(*(graph[name] for graph in graphs))
        assert torch.equal(one.land_use(index), other.land_use(index))
        assert one.total(index, "pop") == other.total(index, "pop")


def test_without_a_raster_graphs_and_targets_are_those_of_a_raster_there(place, targets):
    bare, full = place.folder / "bare", place.folder / "full"
    prepare(place, out=bare, keep_empty=True, bbox=in_degrees(WEST, NORTH - 100, WEST + 150, NORTH),
            **BARE, **targets)
    meta = meta_of(bare)
    width, height = meta["raster_size"]
    raster = write_raster(place.folder / "there.tif", pixels(height, width),
                          Affine(*meta["transform"]))
    prepare(place, raster=raster, out=full, keep_empty=True, **targets)
    assert_same_graphs_and_targets(opened(bare), opened(full))
    for name in ("crs", "transform", "raster_size", "metres_per_pixel", "counts", "label_names"):
        assert meta[name] == meta_of(full)[name], name
    assert opened(bare).modalities == ("osm",)
    assert opened(full).modalities == ("image", "osm")
    assert not opened(bare).read(0)[0].any()
    assert (bare / "cities/c/images.bin").stat().st_size < 40 * len(opened(bare))


def test_without_objects_images_and_targets_are_those_of_tiles_with_objects(place, targets):
    plain, full = place.folder / "plain", place.folder / "full"
    summary = prepare(place, osm=None, out=plain, **targets)
    prepare(place, out=full, keep_empty=True, **targets)
    for name in ("images.bin", "land_use.bin", "pop.npy", "names.txt"):
        files = [root / "cities/c" / name for root in (plain, full)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    tiles = opened(plain)
    assert tiles.modalities == ("image",)
    assert all(len(tiles.read(index)[1].x) == 0 for index in range(len(tiles)))
    assert "OSM objects  none (osm=null): the tiles are for modality=image" in str(summary)
    assert "nodes" not in str(summary)


@pytest.mark.parametrize("keys", [BARE, {"osm": None}], ids=["bare", "plain"])
def test_both_layouts_keep_what_tiles_have(place, targets, keys):
    roots = [place.folder / name for name in ("compact", "files", "there", "back")]
    prepare(place, out=roots[0], **keys, **targets)
    prepare(place, out=roots[1], layout="release", **keys, **targets)
    convert(roots[0], roots[2], progress=False)
    convert(roots[2], roots[3], progress=False)
    kinds = {opened(root).modalities for root in roots}
    assert len(kinds) == 1
    assert len(kinds.pop()) == 1
    for root in roots[1:]:
        assert_same_tiles(opened(roots[0]), opened(root))
    assert contents(roots[0] / "cities") == contents(roots[3] / "cities")


def assert_same_tiles(one: TileDataset, other: TileDataset) -> None:
    assert one.names == other.names
    for index in range(len(one)):
        (image, graph), (image_2, graph_2) = one.read(index), other.read(index)
        assert torch.equal(image, image_2)
        assert torch.equal(graph.x, graph_2.x)
        assert torch.equal(graph.edge_index, graph_2.edge_index)


def test_the_area_of_bbox_is_cut_to_whole_pixels_of_the_utm_zone(place):
    box = in_degrees(*OBJECTS.bounds)
    ground = bare_ground(str(place.osm), load_layers(), box)
    assert ground.crs.to_string() == UTM
    assert ground.transform.a == -ground.transform.e == 1
    west, south, east, north = ground.bounds
    assert all(side == round(side) for side in ground.bounds)
    for low, high, own in ((west, OBJECTS.bounds[0], 2), (OBJECTS.bounds[2], east, 2),
                           (south, OBJECTS.bounds[1], 2), (OBJECTS.bounds[3], north, 2)):
        assert 0 <= high - low <= own
    [note] = ground.warnings
    assert "the area of bbox=" in note
    assert "pixels of 1 m (EPSG:32633)" in note


def test_without_bbox_the_area_is_the_extent_of_the_objects(place):
    ground = bare_ground(str(place.osm), load_layers(), raster_crs=UTM, resolution=0.5)
    assert shapely.box(*ground.bounds).covers(shapely.box(*place.frame.total_bounds))
    assert ground.width <= 2 * 64
    assert ground.height <= 2 * 56


def test_pixels_in_degrees_and_feet_have_the_resolution_on_the_ground(place):
    for crs in ("EPSG:4326", "EPSG:2225"):
        box = in_degrees(*OBJECTS.bounds) if crs == "EPSG:4326" else [-122.01, 40, -122, 40.01]
        ground = bare_ground(str(place.osm), load_layers(), box, crs, 0.3)
        assert ground.metres_per_pixel == pytest.approx((0.3, 0.3), rel=1e-3)


def write_osm(path: Path, box: osmium.osm.Box | None = None) -> Path:
    """Write two tagged nodes as a file of OpenStreetMap."""
    header = osmium.io.Header()
    if box is not None:
        header.add_box(box)
    with osmium.SimpleWriter(str(path), header=header) as writer:
        for number, place in enumerate([(13.1, 52.1), (13.3, 52.2)], 1):
            writer.add_node(osmium.osm.mutable.Node(id=number, version=1, location=place,
                                                    tags={"amenity": "pub"}))
    return path


def test_a_file_of_openstreetmap_states_its_extent_or_is_read_for_it(tmp_path):
    stated = osmium.osm.Box(13.0, 52.0, 13.5, 52.5)
    table = load_layers()
    assert extent_of(write_osm(tmp_path / "a.osm.pbf", stated), table) == (13.0, 52.0, 13.5, 52.5)
    for name in ("b.osm.pbf", "c.osm"):
        assert extent_of(write_osm(tmp_path / name), table) == pytest.approx((13.1, 52.1, 13.3,
                                                                              52.2))


@pytest.mark.parametrize(("keys", "words", "colours"), [
    (BARE, ["area         121 x 96 pixels", "imagery      none (raster=null)", "2 building"],
     {DARK_GROUND, LAYER_COLOURS["building"]}),
    ({"osm": None}, ["raster       210 x 140 pixels", "OSM objects  none (osm=null)",
                     "tiles        6 of 3 x 2"], set())], ids=["bare", "plain"])
def test_a_dry_run_says_and_draws_what_would_be_made(place, keys, words, colours, monkeypatch):
    drawn = []

    def draw(path, ground, grid, spool, *_):
        drawn.append({tuple(colour) for colour in _picture(ground, spool).reshape(-1, 3).tolist()})

    monkeypatch.setattr("datasets.prepare.forecast.draw_preview", draw)
    text = str(prepare(place, dry_run=True, **keys))
    for part in words:
        assert part in text
    assert drawn[0] >= set(map(tuple, rgb(sorted(colours)).tolist()))
    bright = tuple(rgb([LAYER_COLOURS["building"]])[0].tolist())
    assert (bright in drawn[0]) == bool(colours)


def test_cities_of_one_dataset_have_the_same_kind_of_tiles(place):
    prepare(place)
    meta = place.folder / "out/cities/c/meta.json"
    old = {key: value for key, value in json.loads(meta.read_text()).items()
           if key != "modalities"}
    meta.write_text(json.dumps(old))  # as an earlier version wrote it
    assert opened(place.folder / "out").modalities == ("image", "osm")
    for keys, kind in ((BARE, "OSM objects"), ({"osm": None}, "imagery")):
        with pytest.raises(PrepareError, match=r"the tiles of c there have imagery and OSM "
                                               rf"objects, and those of d would have {kind}; one "
                                               r"folder .* Choose another out="):
            prepare(place, city="d", **keys)
        prepare(place, city="d", out=place.folder / kind, **keys)
        with pytest.raises(PrepareError, match=f"d there have {kind}, and those of c would have "
                                               "imagery and OSM objects"):
            prepare(place, out=place.folder / kind)
    prepare(place, overwrite=True, osm=None)  # the only city may become another kind
    assert opened(place.folder / "out").modalities == ("image",)


def test_a_stopped_run_resumes_to_the_same_bytes(place, monkeypatch):
    prepare(place, out=place.folder / "whole", **BARE)
    with monkeypatch.context() as patched:
        patched.setattr("datasets.prepare.pipeline._total", lambda job: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(place, out=place.folder / "stopped", **BARE)
    prepare(place, out=place.folder / "stopped", **BARE)
    assert contents(place.folder / "stopped") == contents(place.folder / "whole")


FAR = [15.0, -50.0, 15.1, -49.9]
WRONG = {
    "both": ({"raster": None, "osm": None}, "raster=null osm=null: nothing is left"),
    "bands": ({**BARE, "bands": [1, 2, 3]}, r"bands=\[1, 2, 3\]: there is no raster="),
    "zoom": ({**BARE, "zoom": 18}, "zoom=18: there is no raster="),
    "tags": ({"osm": None, "default_tags": "building=yes"},
             "default_tags=building=yes: there is no osm="),
    "layers": ({"osm": None, "layers": "mine.yaml"}, "layers=mine.yaml: there is no osm="),
    "swapped": ({**BARE, "bbox": [15, 50, 14, 51]}, r"bbox=\[15,50,14,51\]: west 15 is east"),
    "small": ({**BARE, "tile_px": 448}, r"osm.gpkg: the area is 121 x 96 pixels, smaller than "
                                        r"one tile of 448 x 448. Pass a larger bbox="),
    "planet": ({**BARE, "raster_crs": "IAU_2015:30100"},
               "raster_crs=IAU_2015:30100: .* has no such place as the extent of .*osm.gpkg"),
    "elsewhere": ({**BARE, "raster_crs": "+proj=gnom +lat_0=-50 +lon_0=-165"},
                  "raster_crs=.proj=gnom .* has no such place .* Pass a CRS that covers it"),
    "wide": ({"raster": None, "bbox": [0, 50, 20, 51]},
             "the area of bbox=, .*, spans 20 degrees of longitude, expected 12 at most in one "
             r"UTM zone. Pass bbox="),
    "pixels": ({"raster": None, "bbox": [14, 40, 16, 60], "resolution": 0.001},
               "resolution=0.001: the area would have .* pixels along a side"),
    "far": ({**BARE, "bbox": FAR, "raster_crs": None},
            "no usable OSM object overlaps the area. Extent of the OSM data .*, of the area "
            "15.0.* Pass the OSM data of the area's place, or pass keep_empty=true"),
}


@pytest.mark.parametrize(("keys", "message"), WRONG.values(), ids=WRONG)
def test_impossible_sources_are_refused_in_one_line(place, keys, message):
    with pytest.raises((ConfigError, PrepareError), match=message) as raised:
        prepare(place, **keys)
    assert "\n" not in str(raised.value)
    assert not (place.folder / "out/cities").exists()


def test_a_target_elsewhere_is_said_to_be_beside_the_area(place, targets, capsys):
    box = in_degrees(WEST + 50_000, NORTH, WEST + 50_300, NORTH + 300)
    with pytest.raises(PrepareError, match=r"population.gpkg: does not overlap the area\. Extent "
                                           r"of population .*, of the area .* Pass population= "
                                           r"data of the area's place"):
        prepare(place, **BARE, bbox=box, population=targets["population"], progress=True)
    assert "population.gpkg against the area" in capsys.readouterr().out


def test_an_empty_source_has_no_area(place):
    empty = place.folder / "empty.gpkg"
    place.frame[:0].to_file(empty)
    with pytest.raises(PrepareError, match=r"empty.gpkg: holds no feature, expected the OSM .* "
                                           r"bbox= and keep_empty=true"):
        prepare(place, **BARE | {"osm": empty})
    summary = prepare(place, **BARE | {"osm": empty}, keep_empty=True,
                      bbox=in_degrees(*OBJECTS.bounds))
    assert summary.tiles > 0
    assert summary.nodes == 0


def test_null_must_be_written(place):
    with pytest.raises(ConfigError, match=r"raster: no value given; add raster=.* null for tiles "
                                          r"of OSM objects alone"):
        read(PREPARE, f"osm={place.osm}", "out=o", "city=c")
    with pytest.raises(ConfigError, match=r"osm: no value given; add osm=.* null for tiles of "
                                          r"imagery alone"):
        read(PREPARE, f"raster={place.raster}", "out=o", "city=c")
    cfg = read(PREPARE, f"raster={place.raster}", "osm=null", "out=o", "city=c")
    assert cfg.osm is None


def test_a_damaged_record_of_what_tiles_have_is_refused(place):
    prepare(place)
    meta = place.folder / "out/cities/c/meta.json"
    for wrong in (["sound"], [], "image"):
        meta.write_text(json.dumps({**json.loads(meta.read_text()), "modalities": wrong}))
        with pytest.raises(TileError, match=r"meta.json: .*modalities.*expected"):
            opened(place.folder / "out")


def test_a_picture_of_a_tile_shows_what_it_has(place, targets):
    prepare(place, **BARE, **targets)
    prepare(place, osm=None, out=place.folder / "plain", **targets)
    titles = [[axes.get_title() for axes in opened(root).plot(0).axes if axes.get_title()]
              for root in (place.folder / "out", place.folder / "plain")]
    assert titles[0][0].endswith("OSM object") or titles[0][0].endswith("OSM objects")
    assert titles[0][1:] == ["land use"]
    assert titles[1] == ["image", "land use"]
