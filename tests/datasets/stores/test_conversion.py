"""One layout into the other and back: nothing is lost, and nothing appears half made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import TileDataset
from datasets.stores import compact, conversion
from tests.random_tiles import (
    assert_same_tiles,
    change_meta,
    contents,
    random_city,
    random_tile,
    write_compact,
    write_release,
)
from utils.errors import ConfigError, TileError

SIDE = 24


def run(src: Path, dst: Path, **options) -> str:
    return conversion.convert(src, dst, progress=False, **options)


def opened(root: Path, **options) -> TileDataset:
    return TileDataset(root, image_size=SIDE, **options)


def visible(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(root).items() if name != ".sample_city.json"}


@pytest.fixture
def cities(tmp_path) -> tuple[Path, Path]:
    """Two cities in both layouts, with lists beside them; one of the two has nothing said of
    it."""
    roots = tmp_path / "compact", tmp_path / "release"
    for city, meta in (("lima", {"label_names": ["school"]}), ("New York_2", {})):
        tiles = random_city(city, side=SIDE)
        write_compact(roots[0], tiles, city, meta=meta)
        write_release(roots[1], tiles, city, meta=meta)
    for root in roots:
        (root / "val.txt").write_text("lima_0_0.png\n")
        (root / ".sample_city.json").write_text("x")
    return roots


def test_compact_to_release_and_back_is_equal_in_bytes(cities, tmp_path):
    message = run(cities[0], tmp_path / "there")
    assert f"{tmp_path / 'there'}: 26 tiles in the release layout" in message
    assert_same_tiles(opened(tmp_path / "there"), opened(cities[0]))
    assert contents(tmp_path / "there") == visible(cities[1])
    run(tmp_path / "there", tmp_path / "back")
    assert contents(tmp_path / "back") == visible(cities[0])


def test_newness_survives_both_ways_and_is_optional(tmp_path):
    tiles = random_city("lima", side=SIDE)
    dated = [replace(tile, newness=np.linspace(0.1, 1, len(tile.label), dtype=np.float32))
             for tile in tiles]
    write_compact(tmp_path / "one", dated)
    write_compact(tmp_path / "plain", tiles)
    run(tmp_path / "one", tmp_path / "there")
    run(tmp_path / "there", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tmp_path / "one")
    one, there, plain = (opened(tmp_path / name) for name in ("one", "there", "plain"))
    assert_same_tiles(one, plain)
    for index, name in enumerate(one.names):
        expected = next(tile.newness for tile in dated if tile.name == name)
        assert np.array_equal(one.newness(index), expected)
        assert np.array_equal(there.newness(index), expected)
        assert plain.newness(index) is None
    assert "newness.npy" not in "".join(contents(tmp_path / "plain"))


def test_damaged_newness_is_found(tmp_path):
    tiles = [replace(tile, newness=np.ones(len(tile.label), np.float32))
             for tile in random_city("lima", side=SIDE)]
    write_compact(tmp_path / "compact", tiles)
    write_release(tmp_path / "release", tiles)
    path = next(tmp_path.glob("compact/cities/*/newness.npy"))
    last = max(tile.name for tile in tiles if len(tile.label))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    dataset = opened(tmp_path / "compact")
    with pytest.raises(TileError, match="does not have its checksum"):
        dataset.newness(dataset.names.index(last))
    path = next(tmp_path.glob("release/newness/*.tensor"))
    torch.save(torch.ones(99), path)
    dataset = opened(tmp_path / "release")
    with pytest.raises(TileError, match=r"holds torch.float32 \[99\], expected float32 \["):
        dataset.newness(dataset.names.index(path.stem))


def test_release_to_compact_and_back_is_equal_in_tensors(cities, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "_PART", 5)
    run(cities[1], tmp_path / "there")
    assert_same_tiles(opened(tmp_path / "there"), opened(cities[1]))
    run(tmp_path / "there", tmp_path / "back")
    assert_same_tiles(opened(tmp_path / "back"), opened(cities[1]))
    assert (tmp_path / "back" / "val.txt").read_text() == "lima_0_0.png\n"


def write_like_the_authors(root: Path) -> None:
    """No meta files, float64 nodes, empty one-dimensional edges, a palette image as label, a tile
    whose name has no city."""
    for name, nodes in {"hong_kong_2_10_3": 3, "hong_kong_2_9_3": 2, "hong_kong_2_9_4": 0,
                        "tile7": 1}.items():
        tile = random_tile(name, nodes, 0, side=SIDE, targets=True)
        write_release(root, [tile])
        x = torch.load(root / "node" / f"{name}.tensor", weights_only=True).double()
        torch.save(x, root / "node" / f"{name}.tensor")
        torch.save(torch.empty(0), root / "edge" / f"{name}.tensor")
        torch.save(torch.empty(0), root / "edge_w" / f"{name}.tensor")
        label = Image.fromarray(tile.land_use, "P")
        label.putpalette([7, 8, 9] * 256)
        label.save(root / "label" / f"{name}.png")
        (root / "pop" / f"{name}.txt").write_text(" 12.5 \r\nsecond line\n")
    for path in (root / "meta").iterdir():
        path.unlink()


def test_data_like_the_authors_converts(tmp_path):
    write_like_the_authors(tmp_path / "authors")
    run(tmp_path / "authors", tmp_path / "compact")
    tiles = opened(tmp_path / "compact")
    assert_same_tiles(tiles, opened(tmp_path / "authors"))
    assert tiles.total(0, "pop") == 12.5
    assert tiles.land_use(0).max() <= 8
    names = sorted(path.name for path in (tmp_path / "compact" / "cities").iterdir())
    assert names == ["@", "hong_kong_2"]
    assert opened(tmp_path / "compact", cities=["hong_kong_2"]).names == [
        "hong_kong_2_10_3", "hong_kong_2_9_3", "hong_kong_2_9_4"]
    with pytest.raises(TileError, match="the cities found are: hong_kong_2;"):
        opened(tmp_path / "compact", cities=["@"])
    run(tmp_path / "compact", tmp_path / "back")
    assert_same_tiles(opened(tmp_path / "back"), tiles)


def test_equal_text_vectors_are_stored_once(tmp_path):
    write_release(tmp_path / "release", random_city(side=SIDE))
    (tmp_path / "release" / "meta" / "lima.text.npy").unlink()
    run(tmp_path / "release", tmp_path / "compact")
    assert np.load(tmp_path / "compact" / "cities" / "lima" / "text.npy").shape == (7, 512)


def test_other_widths_and_sizes_convert(tmp_path):
    conversion.write_release_tile(tmp_path / "release", random_tile("lima_0_0", 2, 1, side=9),
                               np.eye(7, 3, dtype=np.float32))
    run(tmp_path / "release", tmp_path / "compact")
    image, graph = TileDataset(tmp_path / "compact", image_size=9, node_width=16)[0]
    assert (image.shape, graph.x.shape) == ((3, 9, 9), (2, 16))


def saved(value: object):
    return lambda path: torch.save(value, path)


def nodes_with(label: float) -> torch.Tensor:
    nodes = torch.zeros(3, 525)
    nodes[1, -1] = label
    return nodes


BAD_FILES = [  # file of the release layout, what is done to it, parts of the message
    ("node/lima_2_0.tensor", saved(nodes_with(0.5)), ["row 1", "is 0.5, expected a whole number"]),
    ("node/lima_2_0.tensor", saved(nodes_with(1e30)), ["row 1", "expected a whole number"]),
    ("node/lima_2_0.tensor", saved(torch.zeros(3, 526)),
     ["lima_2_0", "513 columns", "others of the city 512"]),
    ("label/lima_0_0.png", lambda path: Image.new("L", (9, 8)).save(path),
     ["9 x 8 pixels, expected 24 x 24", "img/lima_0_0.png"]),
    ("label/lima_0_0.png", lambda path: Image.new("RGB", (24, 24)).save(path),
     ["mode RGB", "expected one byte a pixel"]),
    ("label/lima_0_0.png", lambda path: path.write_bytes(b"x"), ["cannot be read as an image"]),
    ("pop/lima_0_0.txt", lambda path: path.write_text("many\n"), ["'many', expected a number"]),
    ("CO2/lima_0_0.txt", lambda path: path.write_text("nan\n"), ["'nan', expected a number"]),
    ("pop/lima_0_0.txt", lambda path: path.write_bytes(b""), ["'', expected a number"]),
    ("meta/lima.text.npy", lambda path: path.write_bytes(b"x"),
     ["is no .npy file", "remove the file"]),
    ("meta/lima.text.npy", lambda path: np.save(path, np.zeros(3)),
     ["holds float64 [3]", "expected an array [any, any]"]),
]


@pytest.mark.parametrize(("file", "spoil", "parts"), BAD_FILES,
                         ids=[f"{file}-{parts[0]}" for file, _, parts in BAD_FILES])
def test_a_bad_file_ends_it_and_leaves_nothing(tmp_path, file, spoil, parts):
    root = write_release(tmp_path / "release", random_city(side=SIDE))
    spoil(root / file)
    with pytest.raises(TileError) as error:
        run(root, tmp_path / "compact")
    message = str(error.value)
    assert "\n" not in message
    assert [part for part in (Path(file).stem.split(".")[0], *parts) if part not in message] == []
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


@pytest.mark.parametrize(("dst", "options", "parts"), [
    ("compact", {}, ["is, holds or lies in"]),
    ("compact/inside", {}, ["is, holds or lies in"]),
    (".", {}, ["is, holds or lies in"]),
    ("new", {"layout": "compact"},
     ["layout=compact", "has this layout already", "layout=release"]),
    ("release", {}, ["already holds a dataset", "overwrite=true"]),
    ("other", {"overwrite": True}, ["is no dataset", "choose another dst"]),
    ("file", {"overwrite": True}, ["is no dataset"]),
], ids=["itself", "inside", "around", "layout", "dataset", "no dataset", "file"])
def test_an_impossible_destination_is_refused(cities, tmp_path, dst, options, parts):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    before = contents(tmp_path)
    with pytest.raises(ConfigError) as error:
        run(cities[0], tmp_path / dst, **options)
    assert "\n" not in str(error.value)
    assert [part for part in parts if part not in str(error.value)] == []
    assert contents(tmp_path) == before


@pytest.mark.parametrize("other", ["notes.txt", "runs/best.safetensors", "img.zip"])
def test_overwrite_removes_nothing_but_a_dataset(cities, other):
    (cities[1] / other).parent.mkdir(exist_ok=True)
    (cities[1] / other).write_text("x")
    before = contents(cities[1])
    with pytest.raises(ConfigError, match=rf"holds other files than .* \({other.split('/')[0]}\)"):
        run(cities[0], cities[1], overwrite=True)
    assert contents(cities[1]) == before


@pytest.mark.parametrize("folder", ["img", "cities"])
def test_a_folder_of_pictures_is_no_dataset(cities, tmp_path, folder):
    (tmp_path / "mine" / folder).mkdir(parents=True)
    (tmp_path / "mine" / folder / "photo.jpg").write_text("x")
    with pytest.raises(TileError, match="mine"):
        run(cities[0], tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / folder / "photo.jpg").read_text() == "x"


def test_overwrite_replaces_a_dataset(cities, tmp_path):
    (cities[1] / "osm-train5.txt").write_text("x")
    run(cities[0], cities[1], overwrite=True, layout="release")
    assert not (cities[1] / "osm-train5.txt").exists()
    assert_same_tiles(opened(cities[1]), opened(cities[0]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compact", "release"]


def test_a_failure_leaves_the_old_dataset_as_it_was(cities, tmp_path):
    # other spaces, the same content: reading it is no fault
    change_meta(cities[0] / "cities" / "lima" / "meta.json")
    images = cities[0] / "cities" / "lima" / "images.bin"
    images.write_bytes(bytes(images.stat().st_size))
    before = contents(tmp_path)
    with pytest.raises(TileError, match="cannot be decoded"):
        run(cities[0], cities[1], overwrite=True)
    assert contents(tmp_path) == before


def test_what_a_killed_run_left_is_no_dataset_and_is_cleared(cities, tmp_path, monkeypatch):
    # as if nothing could clean up any more
    monkeypatch.setattr(conversion.shutil, "rmtree", lambda *args, **options: None)
    monkeypatch.setattr(conversion, "join_parts",
                        lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(cities[1], tmp_path / "made")
    assert (tmp_path / ".converting-made").is_dir()
    assert not (tmp_path / "made").exists()
    monkeypatch.undo()
    run(cities[1], tmp_path / "made")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compact", "made", "release"]
    assert_same_tiles(opened(tmp_path / "made"), opened(cities[0]))


def test_identical_vectors_of_a_table_are_one_to_the_tiles(tmp_path):
    """Two values may have one vector, as CLIP ignores capitals; the way there and back must not
    depend on which is meant."""
    table = np.ones((3, 4), np.float32)
    tile = replace(random_tile("lima_0_0", 3, 0, side=SIDE), text=np.array([2, 0, 1]))
    compact.write_part(tmp_path / "part", [tile])
    compact.join_parts([tmp_path / "part"], tmp_path / "compact" / "cities" / "lima", table, {})
    run(tmp_path / "compact", tmp_path / "release")
    run(tmp_path / "release", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(tmp_path / "compact")
