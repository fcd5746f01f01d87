"""Drawn OSM objects: against shapely, and as a modality beside an image or alone."""

import pytest
import shapely
import torch
from torch_geometric.data import Batch

from models import build_rose, build_segmenter, registry
from models.decoders import TargetScale
from models.heads import RegressionHead, SegmentationHead, read_head
from models.osm_raster import OsmRaster
from models.tag_channels import (
    MOST_CHANNELS,
    OTHER,
    UNNAMED_OTHER,
    channel_table,
    choose_channels,
)
from tests.models.conftest import SMALL, random_graphs, random_images, randomise, read_back
from utils.contents import ContentFault
from utils.errors import ModelError

GRID = (14, 14)
CHANNELS = ("road/service", "building/house", "building/*")
BOXES = {"upright": shapely.box(0.25, 0.5, 0.75, 0.875),
         "turned": shapely.affinity.rotate(shapely.box(0.2, 0.4, 0.8, 0.5), 30),
         "beyond the tile": shapely.box(0.75, -0.5, 1.5, 0.25),
         "line": shapely.LineString([(0.1, 0.2), (0.6, 0.9)]),
         "point": shapely.Point(0.3, 0.7)}


def corners(shape: shapely.Geometry) -> torch.Tensor:
    """[4, 2], the ends of a line twice, a point four times."""
    at = shapely.get_coordinates(shape)
    order = {1: [0, 0, 0, 0], 2: [0, 1, 1, 0]}.get(len(at), range(4))
    return torch.tensor(at[list(order)], dtype=torch.float32)


def graphs_of(*tiles: list[tuple[shapely.Geometry, int]], city: str = "lima") -> Batch:
    """A batch with objects (shape, label code) per tile."""
    batch = random_graphs([len(tile) for tile in tiles], edges_per_node=0)
    objects = [one for tile in tiles for one in tile]
    for row, (shape, code) in enumerate(objects):
        batch.x[row, -11:-3], batch.x[row, -1] = corners(shape).flatten(), code
    batch.name = [f"{city}_{number}_0" for number in range(len(tiles))]
    return batch


def raster(**keys) -> OsmRaster:
    made = OsmRaster(build_rose(SMALL), CHANNELS, **keys)
    made.know_tags({"lima": ["road/service", "building/house", "building/hut", "park"],
                    "rome": ["building/house", "road/service"]})
    return made


def test_a_channel_holds_its_objects_coverage_and_nearness():
    drawn = raster().draw(graphs_of([(BOXES["upright"], 1), (BOXES["turned"], 1)], []), GRID)
    assert drawn.shape == (2, 6, 56, 56)
    assert not drawn[1].any()  # a tile without objects
    both = shapely.union_all([BOXES["upright"], BOXES["turned"]])
    assert drawn[0, 1].mean() == pytest.approx(both.area, abs=0.002)
    assert drawn[0, 4, 28, 28] == 1  # nearness inside
    away = shapely.distance(shapely.Point(0.5 / 56, 0.5 / 56), both)
    assert drawn[0, 4, 0, 0] == pytest.approx(max(1 - away / 0.5, 0), abs=1e-5)
    assert not drawn[0, [0, 2, 3, 5]].any()


def test_outlines_are_drawn_where_graphs_have_them():
    boxed = graphs_of([(BOXES["turned"], 1)], [(BOXES["upright"], 1), (BOXES["upright"], 1)])
    graphs = boxed.clone()
    graphs.cover_index = torch.tensor([1, 1, 2])  # of the second tile alone
    graphs.cover_cell = torch.tensor([0, 55, 55], dtype=torch.int16)
    graphs.cover_share = torch.tensor([51, 204, 255], dtype=torch.uint8)
    drawn, before = raster().draw(graphs, GRID), raster().draw(boxed, GRID)
    assert torch.equal(drawn[0], before[0])
    assert drawn[1, 1].nonzero().tolist() == [[0, 0], [0, 55]]
    assert drawn[1, 1, 0, [0, 55]].tolist() == pytest.approx([0.2, 1])  # no more than whole
    assert torch.equal(drawn[1, 4], before[1, 4])  # nearness is by boxes
    assert drawn[1, 1].mean() == pytest.approx(raster().draw(graphs, (16, 9))[1, 1].mean())


def test_a_tile_with_an_object_without_outline_is_drawn_by_boxes():
    boxed = graphs_of([(BOXES["upright"], 1), (BOXES["turned"], 1)])
    graphs = boxed.clone()
    graphs.cover_index = torch.tensor([0])  # of the first object alone
    graphs.cover_cell = torch.tensor([0], dtype=torch.int16)
    graphs.cover_share = torch.tensor([255], dtype=torch.uint8)
    assert torch.equal(raster().draw(graphs, GRID), raster().draw(boxed, GRID))


def test_cities_with_other_codes_are_drawn_alike_and_unknown_tags_by_their_layer():
    here, there = (raster().draw(graphs_of([(BOXES["turned"], code)], city=city), GRID)
                   for city, code in (("lima", 1), ("rome", 0)))
    assert torch.equal(here, there)
    hut, park, none = (raster().draw(graphs_of([(BOXES["turned"], code)]), GRID)
                       for code in (2, 3, -1))
    assert torch.equal(hut[:, [2, 5]], here[:, [1, 4]])  # building/* has what is no house
    assert not park.any()  # no training tile had a park, so no weight knows it
    assert not none.any()


def test_codes_of_a_city_that_nobody_explained_are_refused():
    with pytest.raises(ModelError, match="tile 'oslo_0_0': nothing says what its label codes mean, "
                                         "and the model tells objects apart by their tags, such as "
                                         "road/service; choose tiles whose city"):
        raster().draw(graphs_of([(BOXES["turned"], 0)], city="oslo"), GRID)
    assert not raster().draw(graphs_of([], city="oslo"), GRID).any()


def test_tags_that_share_a_channel_explain_no_other_city():
    kinds = [f"kind{number}" for number in range(MOST_CHANNELS + 2)]
    made = OsmRaster(build_rose(SMALL), choose_channels(dict.fromkeys(kinds, 1)))
    assert made.channels[-1] == OTHER
    made.know_tags({"lima": kinds})
    with pytest.raises(ModelError, match="tile 'oslo_0_0': nothing says what"):
        made.draw(graphs_of([(BOXES["turned"], 0)], city="oslo"), GRID)


def test_a_city_without_names_has_a_channel_of_its_own_beside_one_with_names():
    tiles_with = {"road/path": 4, "road/service": 3, "park": 2, "tag 7": 1, "tag 900": 1, OTHER: 1}
    made = OsmRaster(build_rose(SMALL), choose_channels(tiles_with, most=2))
    assert made.channels == ("road/path", "road/service", OTHER, UNNAMED_OTHER)
    made.know_tags({"lima": ["road/path", "park"]})
    graphs = graphs_of(*[[(BOXES["upright"], code)] for code in (0, 7, 900, -1)], city="sgp")
    assert made.channel_of(graphs).tolist() == [3, 3, 3, 2]
    graphs.name = [f"lima_{number}_0" for number in range(4)]
    assert made.channel_of(graphs).tolist() == [0, 3, 3, 2]  # as tags are counted in training


def test_the_last_resort_is_one_channel_even_if_it_is_a_common_one():
    assert choose_channels({OTHER: 9, "road/path": 4, "park": 1}, most=2) == (OTHER, "road/path")


def test_codes_without_names_keep_their_numbers():
    made = OsmRaster(build_rose(SMALL), ("tag 7", "tag 2", OTHER))
    drawn = made.draw(graphs_of([(BOXES["upright"], 2)], [(BOXES["upright"], 7)],
                                [(BOXES["upright"], 300)], city="sgp"), GRID)
    assert drawn[:, :3].flatten(2).any(2).int().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


def test_the_commonest_tags_have_channels_of_their_own():
    tiles_with = {"road/path": 4, "road/service": 9, "building/hut": 1, "park": 1, "road/x": 1}
    channels = choose_channels(tiles_with, most=2)
    assert channels == ("road/service", "road/path", OTHER, "building/*", "road/*")
    assert channel_table(channels, ["road/path", "road/y", "park", "leisure/z"]) == [1, 4, 2, 2]
    assert channel_table(channels[:2], ["road/y"]) == [-1]
    assert choose_channels({}) == (OTHER,)


def test_an_image_with_drawn_objects_begins_as_the_image_alone_and_then_sees_them():
    rose = randomise(build_rose(SMALL))
    images, graphs = random_images(2), random_graphs([4, 3])
    alone = build_segmenter(rose, "image").represent(images, graphs)
    both = build_segmenter(rose, "image_osm_raster")
    assert torch.equal(both.represent(images, graphs), alone)
    torch.nn.init.normal_(both.extra.proj.weight)
    assert not torch.allclose(both.represent(images, graphs), alone)
    drawn = build_segmenter(rose, "osm_raster")
    assert torch.equal(drawn.represent(images, graphs), drawn.represent(-images, graphs))


@pytest.mark.parametrize("modality", ["fusion", "fine"])
def test_a_fusion_may_see_objects_drawn_beside_its_graph(modality):
    rose = randomise(build_rose(SMALL))
    images, graphs = random_images(2), random_graphs([4, 3])
    alone = build_segmenter(rose, modality).represent(images, graphs)
    both = build_segmenter(rose, modality, channels=(OTHER,))
    assert torch.equal(both.represent(images, graphs), alone)
    torch.nn.init.normal_(both.extra.proj.weight)
    assert not torch.allclose(both.represent(images, graphs), alone)


@pytest.mark.parametrize("modality", ["image", "osm"])
def test_what_is_no_fusion_has_no_drawn_objects(modality):
    with pytest.raises(ModelError, match=rf"modality={modality}: cannot have drawn objects "
                                         r"\(channels=1\), expected none, or one of fusion"):
        build_segmenter(build_rose(SMALL), modality, channels=(OTHER,))


def test_half_precision_draws_the_same():
    graphs = graphs_of([(shape, 1) for shape in BOXES.values()])
    made = raster()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.draw(graphs, GRID), raster().draw(graphs, GRID))
        assert made(graphs, GRID).isfinite().all()


def test_a_patch_gets_its_own_cells():
    made = raster()
    torch.nn.init.ones_(made.proj.weight)
    patches = made(graphs_of([(shapely.box(0.5, 0.25, 0.51, 0.26), 0)]), (2, 4))  # [1, 8, D]
    assert patches[0, :, 0].argmax() == 2  # row 0, column 2


def test_a_graph_of_patches_is_defined_for_tiles_without_objects():
    tokens = build_segmenter(randomise(build_rose(SMALL)), "osm").represent(
        random_images(3), random_graphs([4, 0, 1]))
    assert tokens.isfinite().all()
    assert not tokens[1].any()
    assert tokens[0].any()


@pytest.mark.parametrize("modality", ["osm_raster", "image_osm_raster"])
def test_a_file_keeps_the_channels(tmp_path, modality):
    head = SegmentationHead(modality, "linear", ("a", "b"), channels=CHANNELS)
    model = randomise(head.build(build_rose(SMALL)))
    read_back(tmp_path, model, head, {"lima": ["road/service", "building/house"]},
              graphs_of([(BOXES["turned"], 1)]))


SEG = SegmentationHead("osm_raster", "linear", ("a", "b"), channels=CHANNELS).describe()
POP = RegressionHead("image", "pop", TargetScale()).describe()


@pytest.mark.parametrize(("stored", "message"), [
    (SEG | {"osm_channels": []}, r"osm_channels is \[\], expected a list of 1 to 1000"),
    (SEG | {"osm_channels": ["a", "a"]}, "osm_channels has 2 names, expected different names"),
    ({name: value for name, value in SEG.items() if name != "osm_channels"},
     "osm_channels has 0 names, expected different names, one or more, for modality=osm_raster"),
    (SEG | {"patch_input": "statistics"}, "patch_input is statistics, expected none: "
                                          "modality=osm_raster cannot have them"),
    (SEG | {"patch_input": "pixels"}, "patch_input"),
    (POP | {"osm_channels": ["a"]}, "osm_channels has 1 names, expected none, for modality=image"),
])
def test_channels_that_do_not_suit_the_modality_are_refused(stored, message):
    with pytest.raises(ContentFault, match=message):
        read_head(stored)


@pytest.mark.parametrize("modality", registry.MODALITIES)
def test_only_modalities_that_draw_do_so_without_being_asked(modality):
    model = build_segmenter(build_rose(SMALL), modality)
    assert (model.extra is not None) == registry.MODALITIES[modality].draws_osm
