"""Augmentation: the nodes lie where the pixels lie, draws follow their probabilities and repeat
exactly."""

from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from PIL import Image
from shapely import affinity
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from datasets import AugmentedTiles, EpochSampler, TileDataset, collate
from datasets.augment import Drawn, apply_to_graph, apply_to_image, draw
from datasets.jitter import adjust_colours
from datasets.stores.tile import AREA, CENTROID, CORNERS, LABEL, PERIMETER
from utils.errors import ConfigError

SIZE = 224
TILE = shapely.box(0, 0, 1, 1)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in a loader's worker: images this small gain nothing from threads, and lose much where
    other processes keep the cores busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def geometric(crop: tuple[int, int, int, int] | None = None, flip: bool = False) -> Drawn:
    return Drawn(SIZE, crop, (), grey=False, flip=flip)


def drawn_by(seed: int) -> Drawn:
    return draw(torch.Generator().manual_seed(seed), SIZE)


def geometric_draws(count: int) -> list[Drawn]:
    """Random draws that crop, with and without flip, their colours left out."""
    drawn = [drawn_by(seed) for seed in range(4 * count)]
    return [geometric(one.crop, one.flip) for one in drawn if one.crop][:count]


def random_box(rng: np.random.Generator, upright: bool = False) -> shapely.Polygon:
    """A box whose centre is in the tile, parts of it perhaps outside."""
    x, y = rng.uniform(0.05, 0.95, 2)
    width, height = rng.uniform(0.04, 0.5, 2)
    box = shapely.box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return box if upright else affinity.rotate(box, rng.uniform(-90, 90))


def inner_box(rng: np.random.Generator, upright: bool = False) -> shapely.Polygon:
    """A box inside the tile."""
    while not TILE.contains(box := random_box(rng, upright)):
        pass
    return box


def corners_of(geometry: shapely.Geometry) -> np.ndarray:
    return shapely.get_coordinates(shapely.oriented_envelope(geometry))[:4]


def row(geometry: shapely.Geometry, code: int = 0) -> torch.Tensor:
    """The node row of an object, its text columns filled with the code."""
    clipped = geometry & TILE
    values = [clipped.area, clipped.length / 4, *corners_of(clipped).ravel(), clipped.centroid.x,
              clipped.centroid.y, code]
    return torch.cat([torch.full((512,), float(code)), torch.tensor(values, dtype=torch.float32)])


def graph_of(geometries: list, edges: list[tuple[int, int]] = ()) -> Data:
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).T
    codes = torch.arange(edge_index.shape[1]).float()[:, None] + 2
    x = torch.stack([row(g, code)
                     for code, g in enumerate(geometries)]) if geometries else torch.empty(0, 525)
    return Data(x=x, edge_index=edge_index, edge_attr=codes, name="lima_0_0")


def transformed(geometry: shapely.Geometry, drawn: Drawn) -> shapely.Geometry:
    """The object itself, clipped, stretched and mirrored: what the columns should describe."""
    top, left, height, width = drawn.crop or (0, 0, SIZE, SIZE)
    window = shapely.box(left / SIZE, top / SIZE, (left + width) / SIZE, (top + height) / SIZE)
    stretched = affinity.affine_transform(geometry & TILE & window,
                                          [SIZE / width, 0, 0, SIZE / height, -left / width,
                                           -top / height])
    return affinity.affine_transform(stretched, [-1, 0, 0, 1, 1, 0]) if drawn.flip else stretched


def draw_boxes(boxes: list[shapely.Polygon]) -> torch.Tensor:
    """Up to three boxes, one to each colour channel, drawn with edges one pixel soft: uint8 [3,
    SIZE, SIZE]."""
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    channels = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    for channel, box in zip(channels, boxes, strict=False):
        corners = shapely.get_coordinates(shapely.orient_polygons(box))[:4] * SIZE
        depth = np.full((SIZE, SIZE), np.inf)
        for (x, y), (dx, dy) in zip(corners, np.roll(corners, -1, axis=0) - corners, strict=True):
            depth = np.minimum(depth, (dx * (rows - y) - dy * (columns - x)) / np.hypot(dx, dy))
        channel[:] = torch.from_numpy((depth + 0.5).clip(0, 1) * 255).round()
    return channels


# ---- the nodes lie where the pixels lie

@pytest.mark.parametrize("upright", [True, False])
def test_columns_agree_with_the_pixels(upright):
    """Area within 3 %, centroid within 1 pixel, and a box whose four sides all touch the coloured
    pixels."""
    rng = np.random.default_rng(5)
    compared = 0
    for drawn in [geometric(flip=True), *geometric_draws(20)]:
        boxes = [inner_box(rng, upright) for _ in range(3)]
        # [3, H, W] share of each pixel that is covered
        pixels = apply_to_image(draw_boxes(boxes), drawn).numpy() / 255
        graph = apply_to_graph(graph_of(boxes), drawn)
        for node in graph.x.double().numpy():
            covered = pixels[int(node[LABEL])]
            if covered.sum() < 150:                            # too small to be measured in pixels
                continue
            compared += 1
            assert node[AREA] * SIZE**2 == pytest.approx(covered.sum(), rel=0.03)
            rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
            centroid = np.array([(columns * covered).sum(),
                                 (rows * covered).sum()]) / covered.sum()
            assert np.abs(node[CENTROID] * SIZE - centroid).max() < 1
            check_box_fits(node[CORNERS].reshape(4, 2) * SIZE,
                           np.stack([columns, rows], -1)[covered > 0.5])
    assert compared > 50


def check_box_fits(corners: np.ndarray, points: np.ndarray) -> None:
    """All covered pixel centres lie in the box, and some lie near each of its sides, also where a
    side only meets a sharp tip."""
    box = shapely.Polygon(corners)
    assert shapely.contains_xy(box.buffer(1), points).all()
    for i in range(4):
        side = shapely.LineString([corners[i], corners[(i + 1) % 4]])
        assert shapely.distance(side, shapely.points(points)).min() < 3


def test_boxes_are_moved_exactly():
    """For rectangular objects nothing is estimated: every column equals that of the clipped and
    stretched object."""
    rng = np.random.default_rng(1)
    for drawn in geometric_draws(40):
        boxes = [inner_box(rng, upright=i % 2 == 0) for i in range(6)]
        graph = apply_to_graph(graph_of(boxes), drawn)
        kept = graph.x[:, LABEL].int().tolist()
        if kept != [0]:
            assert kept == [i for i, box in enumerate(boxes) if transformed(box, drawn).area > 0]
        for node in graph.x.double().numpy():
            expected = transformed(boxes[int(node[LABEL])], drawn)
            assert node[AREA] == pytest.approx(expected.area, rel=1e-4, abs=1e-6)
            assert node[PERIMETER] == pytest.approx(expected.length / 4, rel=1e-4, abs=1e-6)
            np.testing.assert_allclose(node[CENTROID],
                                       shapely.get_coordinates(expected.centroid)[0], atol=1e-5)
            moved = shapely.Polygon(node[CORNERS].reshape(4, 2))
            envelope = shapely.oriented_envelope(expected)
            assert moved.area == pytest.approx(envelope.area, rel=1e-4, abs=1e-6)
            assert moved.buffer(1e-5).contains(expected)


def test_an_uncut_object_of_any_shape_keeps_exact_area_and_centroid():
    triangle = shapely.Polygon([(0.3, 0.3), (0.6, 0.35), (0.4, 0.7)])
    for drawn in [geometric((11, 17, 200, 190)), geometric((11, 17, 200, 190), flip=True),
                  geometric((30, 40, 184, 184))]:
        node = apply_to_graph(graph_of([triangle]), drawn).x[0].double()
        expected = transformed(triangle, drawn)
        assert node[AREA].item() == pytest.approx(expected.area, rel=1e-5)
        centroid = [expected.centroid.x, expected.centroid.y]
        assert node[CENTROID].tolist() == pytest.approx(centroid, abs=1e-6)
        assert node[PERIMETER].item() == pytest.approx(expected.length / 4, rel=0.05)
        assert shapely.Polygon(node[CORNERS].reshape(4, 2).numpy()).buffer(1e-6).contains(expected)


def test_cut_objects_of_any_shape_stay_within_the_tile_and_change_continuously():
    rng = np.random.default_rng(3)
    shapes = [shapely.MultiPoint(rng.uniform(0, 1, (4, 2))).convex_hull for _ in range(30)]
    for drawn in geometric_draws(20):
        x = apply_to_graph(graph_of(shapes), drawn).x
        assert x.isfinite().all()
        assert (x[:, AREA] >= 0).all()
        assert (x[:, AREA] <= 1).all()
        assert (x[:, CENTROID] >= -1e-6).all()
        assert (x[:, CENTROID] <= 1 + 1e-6).all()
    triangle = shapely.Polygon([(0.1, 0.3), (0.8, 0.35), (0.4, 0.7)])
    left = triangle.bounds[0] * SIZE
    uncut, cut = (
        apply_to_graph(graph_of([triangle]),
                       Drawn(SIZE, (0, side, SIZE, SIZE - 22.3), (), False, False)).x[0, AREA:]
        for side in (left - 1e-3, left + 1e-3))
    torch.testing.assert_close(uncut, cut, atol=1e-4, rtol=1e-4)


def test_a_cut_object_keeps_the_share_of_its_box():
    """The box runs from 0.1 to 0.5 in x; the window keeps its last 0.125, and an object that fills
    a third of the box."""
    graph = graph_of([shapely.box(0.1, 0.2, 0.5, 0.8)])
    graph.x[0, AREA] /= 3
    graph.x[0, CENTROID] = torch.tensor([0.2, 0.3])
    node = apply_to_graph(graph, geometric((0, 84, 224, 140))).x[0]  # from 0.375 to 1 in x
    share = 0.125 / 0.4
    x, y = 0.4375 + share * (0.2 - 0.3), 0.5 + share * (0.3 - 0.5)
    assert node[AREA].item() == pytest.approx(0.4 * 0.6 / 3 * share / 0.625)
    assert node[PERIMETER].item() == pytest.approx((0.2 + 0.6) / 2)
    assert node[CENTROID].tolist() == pytest.approx([(x - 0.375) / 0.625, y])


def test_the_whole_tile_as_window_and_two_flips_change_nothing():
    rng = np.random.default_rng(2)
    graph = graph_of([random_box(rng, upright=i < 4) for i in range(12)], [(0, 1), (3, 2)])
    same = apply_to_graph(graph, geometric((0, 0, SIZE, SIZE)))
    torch.testing.assert_close(same.x, graph.x, atol=2e-6, rtol=0)
    assert torch.equal(same.edge_index, graph.edge_index)
    twice = apply_to_graph(apply_to_graph(graph, geometric(flip=True)), geometric(flip=True))
    torch.testing.assert_close(twice.x, graph.x, atol=1e-6, rtol=0)


def test_corners_keep_their_direction():
    """The preparation lists corners in one direction; where they start is arbitrary."""
    rng = np.random.default_rng(4)
    graph = graph_of([random_box(rng, upright=i < 4) for i in range(12)])
    for drawn in [geometric(flip=True), *geometric_draws(20)]:
        rows = apply_to_graph(graph, drawn).x[:, CORNERS].double().numpy()
        for corners in rows.reshape(-1, 4, 2):
            assert not shapely.LinearRing(corners).is_ccw


# ---- which nodes stay

def test_dropped_nodes_take_their_edges_and_the_rest_is_renumbered():
    boxes = [shapely.box(0, 0, 0.1, 0.1), shapely.box(0.4, 0.4, 0.6, 0.6),
             shapely.box(0.9, 0.9, 1, 1), shapely.box(0.5, 0.5, 0.8, 0.7)]
    graph = graph_of(boxes, [(0, 1), (1, 3), (3, 1), (2, 3), (3, 2)])
    cropped = apply_to_graph(graph, geometric((28, 28, 196, 196)))  # from 0.125 to 1 in x and y
    assert cropped.x[:, LABEL].tolist() == [1, 2, 3]
    assert cropped.x[:, 0].tolist() == [1, 2, 3]
    assert cropped.edge_index.tolist() == [[0, 2, 1, 2], [2, 0, 2, 1]]
    assert cropped.edge_attr.tolist() == [[3], [4], [5], [6]]
    assert (cropped.num_nodes, cropped.name) == (3, "lima_0_0")


def test_at_least_one_node_stays_flat_against_the_window():
    boxes = [shapely.box(0, 0.2, 0.05, 0.3), shapely.box(0.02, 0.4, 0.1, 0.5)]
    cropped = apply_to_graph(graph_of(boxes, [(0, 1), (1, 0)]), geometric((0, 28, 224, 196)))
    node = cropped.x[0]
    assert cropped.x[:, LABEL].tolist() == [1]
    assert cropped.edge_index.shape == (2, 0)
    assert cropped.edge_attr.shape == (0, 1)
    assert node[AREA] == 0
    assert node[CENTROID].tolist() == pytest.approx([0, 0.45])
    xs, ys = node[CORNERS].reshape(4, 2).T.tolist()
    assert xs == pytest.approx([0] * 4, abs=1e-6)
    assert sorted(ys) == pytest.approx([0.4, 0.4, 0.5, 0.5])


def test_a_box_that_only_touches_the_window_is_outside():
    boxes = [shapely.box(0, 0, 32 / SIZE, 1), shapely.box(32 / SIZE, 0, 64 / SIZE, 1)]
    assert apply_to_graph(graph_of(boxes),
                          geometric((0, 32, 224, 192))).x[:, LABEL].tolist() == [1]


@pytest.mark.parametrize(("corners", "stays"), [
    ([(0.5, 0.5)] * 4, True),                                                # a point inside
    ([(0.02, 0.5)] * 4, False),                                              # a point outside
    ([(1, 0.5)] * 4, True),                 # a point on the tile's border, which the window shares
    ([(0.2, 0.1), (0.2, 0.1), (0.2, 0.9), (0.2, 0.9)], True),                # lines: inside
    ([(0.0, 0.6), (0.0, 0.6), (0.9, 0.6), (0.9, 0.6)], True),                # cut
    ([(0.05, 0.1), (0.05, 0.1), (0.05, 0.9), (0.05, 0.9)], False),           # outside
    ([(0.5, 1), (0.5, 1), (0.9, 1), (0.9, 1)], True),                     # along the tile's border
    ([(0.0, 0.6), (0.0, 0.6 + 1e-7), (0.9, 0.6 + 1e-7), (0.9, 0.6)], True),  # a sliver
    ([(1.2, 1.2), (1.2, 1.4), (1.4, 1.4), (1.4, 1.2)], True),   # a broken box: its centroid speaks
])
def test_degenerate_boxes_stay_finite_and_are_not_lost(corners, stays):
    """Truncated coordinates (coordinates=integer) press small boxes to lines and points."""
    graph = graph_of([shapely.box(0.4, 0.4, 0.6, 0.6), shapely.box(0.1, 0.1, 0.2, 0.2)])
    graph.x[1, CORNERS] = torch.tensor(corners).flatten()
    graph.x[1,
            CENTROID] = torch.tensor(corners).mean(0) if max(corners)[0] <= 1 else torch.tensor(
                [0.5, 0.5])
    graph.x[1, [AREA, PERIMETER]] = torch.tensor([1e-4, 1e-2])
    x = apply_to_graph(graph, geometric((0, 28, 224, 196))).x
    assert x[:, LABEL].tolist() == ([0, 1] if stays else [0])
    assert x.isfinite().all()
    if stays:
        assert 0 < x[1, AREA] <= 1e-4 * 224 / 196 * 1.0001
        assert 0 < x[1, PERIMETER] <= 1e-2 * 224 / 196 * 1.0001
        assert (x[1, CENTROID] >= 0).all()


def test_a_cut_line_loses_the_share_of_its_length():
    graph = graph_of([shapely.box(0.1, 0.1, 0.2, 0.2)])
    graph.x[0, CORNERS] = torch.tensor([0.0, 0.6, 0.0, 0.6, 0.5, 0.6, 0.5, 0.6])
    graph.x[0, CENTROID] = torch.tensor([0.25, 0.6])
    graph.x[0, AREA] = 0.01
    node = apply_to_graph(graph, geometric((0, 56, 224, 168))).x[0]  # from 0.25 to 1 in x
    assert node[AREA].item() == pytest.approx(0.01 * 0.5 / 0.75)
    assert node[CENTROID].tolist() == pytest.approx([0.125 / 0.75, 0.6])


@pytest.mark.parametrize("crop", [None, (10, 20, 190, 200)])
@pytest.mark.parametrize("flip", [False, True])
def test_the_given_graph_is_not_changed(crop, flip):
    rng = np.random.default_rng(0)
    graph = graph_of([random_box(rng) for _ in range(9)], [(0, 1), (4, 8)])
    before = graph.clone()
    apply_to_graph(graph, geometric(crop, flip))
    assert graph.keys() == before.keys()
    assert all(torch.equal(graph[key], before[key]) for key in ("x", "edge_index", "edge_attr"))


@pytest.mark.parametrize("crop", [None, (10, 20, 190, 200)])
def test_an_empty_graph_stays_empty(crop):
    graph = apply_to_graph(graph_of([]), geometric(crop, flip=True))
    assert (graph.x.shape, graph.edge_index.shape,
            graph.edge_attr.shape) == ((0, 525), (2, 0), (0, 1))


# ---- what is drawn

def test_draws_follow_their_probabilities_and_ranges():
    draws = [drawn_by(seed) for seed in range(2000)]

    def share(holds) -> float:
        return sum(map(holds, draws)) / len(draws)

    assert share(lambda drawn: drawn.crop is not None) == pytest.approx(0.5, abs=0.04)
    assert share(lambda drawn: drawn.jitter != ()) == pytest.approx(0.5, abs=0.04)
    assert share(lambda drawn: drawn.grey) == pytest.approx(0.2, abs=0.03)
    assert share(lambda drawn: drawn.flip) == pytest.approx(0.5, abs=0.04)
    both = share(lambda drawn: drawn.flip and drawn.crop is not None)
    assert both == pytest.approx(0.25, abs=0.04)

    crops = np.array([drawn.crop for drawn in draws if drawn.crop])
    top, left, height, width = crops.T
    assert (crops >= 0).all()
    assert (top + height <= SIZE).all()
    assert (left + width <= SIZE).all()
    assert 0.66 < (height * width / SIZE**2).min() < 0.69
    assert 0.74 < (width / height).min() < 0.80
    assert 1.25 < (width / height).max() < 1.34
    # log-uniform: wide as often as tall
    assert (width > height).mean() == pytest.approx(0.5, abs=0.04)

    jitters = [drawn.jitter for drawn in draws if drawn.jitter]
    assert len({tuple(name for name, _ in jitter) for jitter in jitters}) == 24
    for name, (low, high) in {"brightness": (0.6, 1.4), "contrast": (0.6, 1.4),
                              "saturation": (0.6, 1.4), "hue": (-0.1, 0.1)}.items():
        strengths = [dict(jitter)[name] for jitter in jitters]
        assert low <= min(strengths) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < max(strengths) <= high


def test_crops_are_torchvisions():
    """The windows have the distribution of RandomResizedCrop, which only offers the global
    stream."""
    from torchvision.transforms.v2 import RandomResizedCrop

    torch.manual_seed(0)
    transform = RandomResizedCrop(SIZE, scale=(0.67, 1.0))
    image = torch.zeros(3, SIZE, SIZE)
    theirs = [transform.make_params([image]) for _ in range(1500)]
    theirs = np.array([[params[key] for key in ("top", "left", "height", "width")]
                       for params in theirs])
    ours = np.array([drawn.crop for drawn in map(drawn_by, range(3000)) if drawn.crop])
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        np.testing.assert_allclose(np.quantile(ours, quantile, axis=0),
                                   np.quantile(theirs, quantile, axis=0), atol=5)


def test_an_image_is_jittered_then_grey_then_flipped():
    from torchvision.transforms.v2 import functional as F

    image = torch.randint(256, (3, SIZE, SIZE), dtype=torch.uint8)
    jitter = (("hue", 0.07), ("contrast", 1.3), ("brightness", 0.7), ("saturation", 0.6))
    jittered = apply_to_image(image, Drawn(SIZE, None, jitter, grey=False, flip=False))
    assert torch.equal(jittered, adjust_colours(image, jitter))
    both = apply_to_image(image, Drawn(SIZE, None, jitter, grey=True, flip=True))
    assert torch.equal(both, F.rgb_to_grayscale(jittered, 3).flip(-1))


# ---- the dataset of augmented tiles

@pytest.fixture
def dataset(tmp_path: Path) -> TileDataset:
    """Eight tiles, the third without OSM objects."""
    rng = np.random.default_rng(6)
    for folder in ("img", "node", "edge", "edge_w"):
        (tmp_path / folder).mkdir()
    for i in range(8):
        graph = graph_of([] if i == 2 else [random_box(rng) for _ in range(5)],
                         [] if i == 2 else [(0, 1), (1, 0)])
        for folder, value in {"node": graph.x, "edge": graph.edge_index,
                              "edge_w": graph.edge_attr}.items():
            torch.save(value, tmp_path / folder / f"lima_0_{i}.tensor")
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3),
                                     dtype=np.uint8)).save(tmp_path / "img" / f"lima_0_{i}.png")
    return TileDataset(tmp_path)


def same(one: tuple[torch.Tensor, Data], other: tuple[torch.Tensor, Data]) -> tuple[bool, bool]:
    """Tell whether images and graphs are equal."""
    equal_graphs = all(torch.equal(one[1][key], other[1][key])
                       for key in ("x", "edge_index", "edge_attr"))
    return torch.equal(one[0], other[0]), equal_graphs


def test_modes_change_what_they_say(dataset):
    plain = [dataset.read(i) for i in range(8)]

    def changed(augment: str) -> list[tuple[bool, bool]]:
        tiles = AugmentedTiles(dataset, augment, seed=0)
        return [same(tiles[epoch, i], plain[i]) for epoch in range(2) for i in range(8)]

    assert set(changed("none")) == {(True, True)}
    assert set(changed("image_only")) == {(True, True), (False, True)}
    assert set(changed("aligned")) == {(True, True), (False, True), (False, False)}


def test_modes_draw_the_same_images(dataset):
    aligned, image_only = (AugmentedTiles(dataset, augment, seed=3)
                           for augment in ("aligned", "image_only"))
    assert all(torch.equal(aligned[4, i][0], image_only[4, i][0]) for i in range(8))


def test_an_unknown_mode_is_refused(dataset):
    with pytest.raises(ConfigError, match="augment=align: choose one of aligned, image_only, "
                                          "none"):
        AugmentedTiles(dataset, "align", seed=0)


def test_tiles_depend_on_seed_epoch_and_index_alone(dataset):
    tiles = AugmentedTiles(dataset, "aligned", seed=1)
    first = {(epoch, i): tiles[epoch, i] for epoch in range(3) for i in range(8)}
    torch.manual_seed(99)
    assert all(same(tiles[key], tile) == (True, True) for key, tile in reversed(first.items()))
    assert not all(torch.equal(first[0, i][0], first[1, i][0]) for i in range(8))
    other = AugmentedTiles(dataset, "aligned", seed=2)
    assert not all(torch.equal(first[0, i][0], other[0, i][0]) for i in range(8))


def test_workers_and_resumption_change_nothing(dataset):
    tiles = AugmentedTiles(dataset, "aligned", seed=1)

    def batches(num_workers: int, start_step: int = 0) -> list:
        sampler = EpochSampler(dataset, batch_size=2, seed=1)
        sampler.set_position(epoch=5, start_step=start_step)
        return list(DataLoader(tiles, batch_size=2, sampler=sampler, num_workers=num_workers,
                               collate_fn=collate))

    alone, workers, resumed = batches(0), batches(2), batches(0, start_step=1)
    assert len(alone) == len(workers) == 4
    assert all(same(one, other) == (True, True) for one, other in zip(alone, workers, strict=True))
    assert all(same(one, other) == (True, True)
               for one, other in zip(alone[1:], resumed, strict=True))
    assert [batch[1].name for batch in alone] == [batch[1].name for batch in workers]
