"""Tile datasets: what is read, how tiles are batched, and what is said of a dataset that cannot be
used."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from datasets import TileDataset, collate, denormalise, normalise
from utils.errors import TileError
from utils.normalisation import IMAGENET_MEAN, IMAGENET_STD

NAMES = ["lima_0_0", "lima_0_1", "new_york_0_0"]
NODES = {"lima_0_0": 3, "lima_0_1": 0, "new_york_0_0": 2}


def write_tile(root: Path, name: str, nodes: torch.Tensor, edges: torch.Tensor,
               weights: torch.Tensor) -> None:
    for folder, value in {"node": nodes, "edge": edges, "edge_w": weights}.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        torch.save(value, root / folder / f"{name}.tensor")
    (root / "img").mkdir(exist_ok=True)
    pixels = np.random.default_rng(len(name)).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "img" / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three tiles of two cities; the second has no OSM objects."""
    for name in reversed(NAMES):
        n = NODES[name]
        edges = torch.tensor([[0, 1], [1, 0]]) if n else torch.empty(0)
        write_tile(tmp_path, name, torch.rand(n, 525), edges, torch.tensor([[4], [5]]) if n
                   else torch.empty(0, 1))
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "lima.json").write_text(json.dumps({"label_names": ["school", "park"]}))
    return tmp_path


def test_tiles_have_the_documented_types_and_shapes(root):
    dataset = TileDataset(root)
    assert dataset.names == NAMES
    assert len(dataset) == 3
    for i, name in enumerate(NAMES):
        image, graph = dataset[i]
        edges = 2 if NODES[name] else 0
        assert (image.shape, image.dtype) == ((3, 224, 224), torch.float32)
        assert image.is_contiguous()
        assert (graph.x.shape, graph.x.dtype) == ((NODES[name], 525), torch.float32)
        assert (graph.edge_index.shape, graph.edge_index.dtype) == ((2, edges), torch.int64)
        assert (graph.edge_attr.shape, graph.edge_attr.dtype) == ((edges, 1), torch.float32)
        assert graph.name == name


def test_an_index_past_the_end_ends_iteration(root):
    assert sum(1 for _ in TileDataset(root)) == 3


def test_images_are_normalised_by_imagenet_and_back(root):
    image, _ = TileDataset(root)[0]
    stored = np.array(Image.open(root / "img" / f"{NAMES[0]}.png"))
    expected = (stored[7, 9] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(image[:, 7, 9], expected, rtol=1e-5)
    np.testing.assert_array_equal(denormalise(image), stored)
    batch = torch.from_numpy(stored).permute(2, 0, 1).expand(2, 3, 224, 224)
    assert denormalise(normalise(batch)).shape == (2, 224, 224, 3)


def test_cities_filter_keeps_their_tiles_only(root):
    assert TileDataset(root, cities=["new_york"]).names == ["new_york_0_0"]
    assert TileDataset(root, cities=["new_york", "lima"]).names == NAMES
    assert TileDataset(root, cities=[]).names == NAMES
    # a fault of another city is no fault of the selection
    (root / "node" / "lima_0_0.tensor").unlink()
    assert len(TileDataset(root, cities=["new_york"])) == 1


def test_label_names_come_from_meta_where_present(root):
    assert TileDataset(root).label_names == {"lima": ["school", "park"]}
    assert TileDataset(root, cities=["new_york"]).label_names == {}
    (root / "meta" / "lima.json").write_text("{}")
    assert TileDataset(root).label_names == {}


def test_names_of_another_form_are_read_but_belong_to_no_city(root):
    write_tile(root, "tile7", torch.rand(1, 525), torch.empty(2, 0, dtype=torch.int64),
               torch.empty(0))
    assert TileDataset(root).names == [*NAMES, "tile7"]
    with pytest.raises(TileError, match="the cities found are: lima, new_york;"):
        TileDataset(root, cities=["tile7"])


def test_hidden_and_foreign_files_are_no_tiles(root):
    for name in ("._lima_0_0.png", "lima_0_0.png.aux.xml", "Thumbs.db"):
        (root / "img" / name).write_bytes(b"x")
    assert TileDataset(root).names == NAMES


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_nodes_of_other_precision_become_float32(root, dtype):
    stored = torch.rand(3, 525).to(dtype)
    torch.save(stored, root / "node" / "lima_0_0.tensor")
    graph = TileDataset(root)[0][1]
    assert graph.x.dtype == torch.float32
    assert torch.equal(graph.x, stored.float())


@pytest.mark.parametrize("edges", [torch.empty(0), torch.empty(2, 0, dtype=torch.int64),
                                   torch.empty(0, dtype=torch.int32)])
@pytest.mark.parametrize("weights",
                         [torch.empty(0), torch.empty(0, 1), torch.empty(1, 0, dtype=torch.int64)])
def test_every_empty_shape_is_no_edge(root, edges, weights):
    write_tile(root, "lima_0_1", torch.empty(0, 525), edges, weights)
    graph = TileDataset(root)[1][1]
    assert (graph.num_nodes, graph.edge_index.shape, graph.edge_attr.shape) == (0, (2, 0), (0, 1))


def test_other_sizes_and_widths(root):
    write_tile(root, "lima_0_0", torch.rand(2, 77), torch.empty(0), torch.empty(0))
    Image.new("RGB", (64, 64)).save(root / "img" / "lima_0_0.png")
    image, graph = TileDataset(root, image_size=64, node_width=77)[0]
    assert image.shape == (3, 64, 64)
    assert graph.x.shape == (2, 77)


@pytest.mark.parametrize("counts", [[3, 0, 2], [0, 3], [3, 0], [0, 0], [0], [1]])
def test_batches_with_empty_tiles(counts):
    def sample(n: int) -> tuple[torch.Tensor, Data]:
        edges = torch.tensor([[0], [n - 1]]) if n else torch.empty(2, 0, dtype=torch.int64)
        return torch.zeros(3, 8, 8), Data(x=torch.rand(n, 525), edge_index=edges,
                                          edge_attr=torch.ones(edges.shape[1], 1), name=f"n{n}")

    images, graphs = collate([sample(n) for n in counts])
    assert images.shape == (len(counts), 3, 8, 8)
    assert graphs.num_graphs == len(counts)
    assert graphs.name == [f"n{n}" for n in counts]
    assert graphs.x.shape == (sum(counts), 525)
    assert graphs.batch.dtype == torch.int64
    assert graphs.batch.tolist() == [i for i, n in enumerate(counts) for _ in range(n)]
    assert graphs.edge_index.shape == (2, sum(n > 0 for n in counts))
    assert graphs.edge_attr.shape == (sum(n > 0 for n in counts), 1)
    if sum(counts):
        assert graphs.edge_index.max() == sum(counts) - 1


class Anything:
    """An object that only an unsafe load would bring back."""


def image_of(mode: str, size: tuple[int, int] = (224, 224)):
    return lambda path: Image.new(mode, size).save(path)


def saved(value: object):
    return lambda path: torch.save(value, path)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def nodes_with(value: float, row: int, column: int) -> torch.Tensor:
    nodes = torch.rand(3, 525)
    nodes[row, column] = value
    return nodes


NODE, EDGE, WEIGHT = (f"{folder}/lima_0_0.tensor" for folder in ("node", "edge", "edge_w"))
IMAGE = "img/lima_0_0.png"
BAD_FILES = [  # file, what is done to it, parts of the message beside the file
    (NODE, Path.unlink, ["missing", "1 of 3 tiles", "prepare_dataset.py", "remove its image"]),
    (EDGE, Path.unlink, ["missing"]),
    (WEIGHT, Path.unlink, ["missing"]),
    (NODE, truncated, ["cannot be read", "truncated or damaged", "prepare_dataset.py"]),
    (EDGE, truncated, ["cannot be read"]),
    (NODE, lambda path: path.write_bytes(b""), ["empty file"]),
    (NODE, lambda path: path.write_text("hello"), ["cannot be read", "truncated or damaged"]),
    (NODE, lambda path: path.write_bytes(b"\0" * 999), ["cannot be read", "truncated or damaged"]),
    (NODE, saved(Anything()),
     ["pickled Python objects", "refused for safety", "torch.save(tensor, path)"]),
    (WEIGHT, saved(np.zeros((2, 1))), ["pickled Python objects", "torch.save(tensor, path)"]),
    (NODE, lambda path: path.write_bytes(pickle.dumps(Anything())),
     ["pickled Python objects", "torch.save(tensor, path)"]),
    (NODE, saved([1.0, 2.0]),
     ["holds a list", "expected a dense tensor", "torch.save(tensor, path)"]),
    (NODE, saved(torch.rand(3, 525).to_sparse()), ["torch.sparse_coo", "expected a dense tensor"]),
    (NODE, saved(torch.rand(3, 524)), ["shape [3, 524]", "expected [n, 525]", "graph_in_dim"]),
    (NODE, saved(torch.rand(525)), ["shape [525]", "expected [n, 525]"]),
    (NODE, saved(torch.rand(1, 3, 525)), ["shape [1, 3, 525]", "expected [n, 525]"]),
    (NODE, saved(torch.ones(3, 525, dtype=torch.int64)),
     ["torch.int64", "expected floating point"]),
    (NODE, saved(nodes_with(float("nan"), 1, 513)),
     ["row 1, column 513 is nan", "expected finite"]),
    (NODE, saved(nodes_with(float("-inf"), 2, 0)), ["row 2, column 0 is -inf"]),
    (NODE, saved(nodes_with(0, 0, 0).double() * 1e300), ["row 0, column 1 is inf"]),
    (EDGE, saved(torch.tensor([[0, 1], [1, 3]])),
     ["names node 3", "0 <= node < 3", "node/lima_0_0.tensor"]),
    (EDGE, saved(torch.tensor([[0, -1], [1, 0]])), ["names node -1", "0 <= node < 3"]),
    (EDGE, saved(torch.tensor([[0.0, 1.0], [1.0, 0.0]])),
     ["torch.float32", "expected int64", "edges.long()"]),
    (EDGE, saved(torch.tensor([[True, False], [False, True]])), ["torch.bool", "expected int64"]),
    (EDGE, saved(torch.tensor([[0, 1], [1, 0], [2, 1]])), ["shape [3, 2]", "expected [2, e]"]),
    (EDGE, saved(torch.tensor([0, 1])), ["shape [2]", "expected [2, e]"]),
    (WEIGHT, saved(torch.ones(3, 1)), ["shape [3, 1]", "expected [2, 1]", "edge/lima_0_0.tensor"]),
    (WEIGHT, saved(torch.empty(0)), ["shape [0]", "expected [2, 1]"]),
    (IMAGE, truncated, ["cannot be read as an image", "truncated", "prepare_dataset.py"]),
    (IMAGE, lambda path: path.write_bytes(b""), ["cannot be read as an image"]),
    (IMAGE, lambda path: path.write_text("hello"), ["cannot be read as an image"]),
    (IMAGE, image_of("RGBA"), ["mode RGBA", "expected 8-bit RGB", ".convert('RGB')"]),
    (IMAGE, image_of("L"), ["mode L", ".convert('RGB')"]),
    (IMAGE, image_of("RGB", (256, 200)),
     ["256 x 200", "expected 224 x 224", "re-tile with prepare_dataset.py"]),
    ("meta/lima.json", truncated, ["is no JSON", "remove the file"]),
    ("meta/lima.json", lambda path: path.write_text("[1]"), ["is [1]", "expected a table"]),
    ("meta/lima.json", lambda path: path.write_text('{"label_names": {"0": "school"}}'),
     ["label_names is", "expected a list"]),
]


@pytest.mark.parametrize(("file", "spoil", "parts"), BAD_FILES,
                         ids=[f"{file}-{parts[0]}" for file, _, parts in BAD_FILES])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bad_file_is_named_with_what_was_found_expected_and_the_remedy(root, file, spoil, parts):
    spoil(root / file)
    with pytest.raises(TileError) as error:
        TileDataset(root)[0]
    check_message(str(error.value), [str(root / file), *parts])


def check_message(message: str, parts: list[str]) -> None:
    assert "\n" not in message
    assert [part for part in parts if part not in message] == []


LAYOUT = "expected img/NAME.png, node/NAME.tensor, edge/NAME.tensor and edge_w/NAME.tensor"


@pytest.mark.parametrize(("make", "parts"), [
    (lambda path: None, ["does not exist", "correct the path", "prepare_dataset.py makes"]),
    (lambda path: path.write_text("x"),
     ["is a file", "correct the path", "prepare_dataset.py makes"]),
    (lambda path: path.mkdir(), ["has no folder img", LAYOUT, "prepare_dataset.py makes"]),
    (lambda path: (path / "img").mkdir(parents=True),
     ["has no tiles", LAYOUT, "prepare_dataset.py makes"]),
], ids=["missing", "file", "no img", "no tiles"])
def test_a_folder_that_is_no_dataset(tmp_path, make, parts):
    make(tmp_path / "tiles")
    with pytest.raises(TileError) as error:
        TileDataset(tmp_path / "tiles")
    check_message(str(error.value), [str(tmp_path / "tiles"), *parts])


def test_missing_graph_files_are_found_on_opening(root):
    (root / "edge" / "lima_0_1.tensor").unlink()
    with pytest.raises(TileError, match=r"edge/lima_0_1.tensor: missing"):
        TileDataset(root)


def test_an_unknown_city_lists_the_cities_found(root):
    with pytest.raises(TileError) as error:
        TileDataset(root, cities=["lima", "paris"])
    check_message(str(error.value), [str(root), "cities=paris", "lima, new_york"])


def test_an_object_in_a_tensor_file_is_never_run(root):
    class Trap:
        def __reduce__(self):
            return Path.write_text, (root / "trap", "sprung")

    (root / NODE).write_bytes(b"")
    torch.save(Trap(), root / NODE)
    with pytest.raises(TileError, match="refused for safety"):
        TileDataset(root)[0]
    assert not (root / "trap").exists()


def test_normalising_is_the_formula_to_the_bit():
    pixels = torch.arange(256, dtype=torch.uint8).expand(3, 256, 256)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.equal(normalise(pixels), (pixels.float() / 255 - mean) / std)
    assert pixels[0, 0].tolist() == list(range(256))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_gives_the_tiles_in_batches(root, num_workers):
    dataset = TileDataset(root)
    batches = list(DataLoader(dataset, batch_size=2, collate_fn=collate, num_workers=num_workers))
    images = torch.cat([images for images, _ in batches])
    graphs = [graph for _, graphs in batches for graph in graphs.to_data_list()]
    for (image, graph), loaded, loaded_graph in zip(dataset, images, graphs, strict=True):
        assert torch.equal(image, loaded)
        assert all(torch.equal(graph[key], loaded_graph[key])
                   for key in ("x", "edge_index", "edge_attr"))


def test_targets_are_read_where_a_tile_has_them(root):
    for folder in ("label", "pop", "CO2"):
        (root / folder).mkdir()
    Image.fromarray(np.full((224, 224), 255, np.uint8)).save(root / "label" / "lima_0_1.png")
    (root / "pop" / "lima_0_1.txt").write_text("1e3\n")
    dataset = TileDataset(root)
    assert dataset.land_use(0) is None
    assert dataset.total(0, "pop") is None
    assert torch.equal(dataset.land_use(1), torch.full((224, 224), 255, dtype=torch.uint8))
    assert (dataset.total(1, "pop"), dataset.total(1, "CO2")) == (1000.0, None)
