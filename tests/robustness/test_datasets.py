"""Datasets whose files are hostile, damaged, or well-formed and wrong: one line each, nothing
outside the folder that was asked for, no large allocation, no damage read as data."""

import json
import os
import random
import shutil
import struct
import traceback
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from datasets import TileDataset, collate
from datasets.labelled import read_list
from datasets.split_lists import SplitRules, write_splits
from datasets.stores.conversion import convert
from tests.processes import limited
from tests.random_tiles import contents, random_tile, write_compact, write_release
from tests.robustness.remedies import commands_in, follow
from utils.errors import RoseError, TileError

SIDE = 16
CITY = Path("cities/lima")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """One city in both layouts."""
    folder = tmp_path_factory.mktemp("made")
    tiles = [random_tile(f"lima_{n}_0", n, 2 * n, SIDE, targets=True) for n in range(1, 5)]
    write_compact(folder / "compact", tiles)
    write_release(folder / "release", tiles)
    return folder


@pytest.fixture
def compact(made, tmp_path) -> Path:
    return shutil.copytree(made / "compact", tmp_path / "compact")


@pytest.fixture
def release(made, tmp_path) -> Path:
    return shutil.copytree(made / "release", tmp_path / "release")


def read_all(root: Path) -> list:
    """Read everything that a dataset holds."""
    dataset = TileDataset(root, image_size=SIDE)
    return [dataset.describe(), dataset.names,
            *([*dataset.read(index), dataset.land_use(index), dataset.total(index, "pop"),
               dataset.total(index, "CO2")] for index in range(len(dataset)))]


def one_line(action: Callable[[], object], *parts: str) -> str:
    """Return the message of an action that fails; check that it is one line with these parts, and
    that no memory was taken for what a file only claims."""
    tracemalloc.start()
    try:
        with pytest.raises((RoseError, OSError)) as error:
            action()
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    message = str(error.value)
    assert "\n" not in message
    assert "\x1b" not in message
    assert [part for part in parts if part not in message] == []
    return message


def put(root: Path, file: str, content: np.ndarray | bytes) -> None:
    """Give a file of the compact layout another content, with the checksums that belong to it."""
    path = root / CITY / file
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    meta = json.loads((root / CITY / "meta.json").read_text())
    meta["store"]["bytes"][file] = path.stat().st_size
    if file in meta["store"]["crc32"]:
        meta["store"]["crc32"][file] = zlib.crc32(path.read_bytes())
    (root / CITY / "meta.json").write_text(json.dumps(meta))


# Names

BAD_NAMES = ["/abs/x_0_0", "../../x_0_0", "sub/dir_0_0", "a\0b_0_0", "x" * 300 + "_0_0", "", "..",
             ".hidden_0_0", "back\\slash_0_0", "a\x1b[31m_0_0", "a\x85_0_0", "a\u2028b_0_0"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_name_that_is_no_name_is_refused_by_every_reader(compact, tmp_path, name):
    names = (compact / CITY / "names.txt").read_text().splitlines()
    put(compact, "names.txt", "".join(f"{n}\n" for n in sorted([name, *names[1:]])).encode())
    before = contents(tmp_path)
    one_line(lambda: read_all(compact), "names.txt", "expected a name")
    one_line(lambda: convert(compact, tmp_path / "out", progress=False), "names.txt")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["a\nb_0_0", "x" * 249, "a\udcff_0_0"], ids=ascii)
def test_a_file_that_is_called_so_is_no_tile(release, name):
    (release / "img" / f"{name}.png").touch()
    one_line(lambda: read_all(release), "img", "has a tile called")


def test_a_city_that_is_called_so_is_no_city(compact):
    (compact / CITY).rename(compact / "cities" / "li\nma")
    one_line(lambda: read_all(compact), "has a city called")


@pytest.mark.parametrize("change", [lambda names: names[::-1], lambda names: names[:1] * 4,
                                    lambda names: names[:3]], ids=["order", "twice", "fewer"])
def test_names_are_sorted_and_differ(compact, change):
    names = (compact / CITY / "names.txt").read_text().splitlines()
    put(compact, "names.txt", "".join(f"{name}\n" for name in change(names)).encode())
    one_line(lambda: read_all(compact), "names.txt", "expected")


def test_numbers_in_names_beyond_all_counting(tmp_path):
    write_release(tmp_path, [random_tile(f"lima_{'9' * 30}_{n}", 1, 0, SIDE) for n in range(4)])
    one_line(lambda: write_splits(tmp_path, SplitRules()), "says nothing of its place")


@pytest.mark.parametrize("line", ["../x", "a\x1b[31m", "x" * 4000, "a\0b", "/etc/passwd"],
                         ids=ascii)
def test_a_list_names_tiles_alone(compact, line):
    (compact / "val.txt").write_text(f"lima_1_0.png\n{line}\n")
    one_line(lambda: read_list(TileDataset(compact), "val.txt"), "val.txt", "remove the line")


# Links and special files

def test_conversion_copies_files_alone(compact, release, tmp_path):
    (tmp_path / "secret").write_text("secret")
    for root in (compact, release):
        (root / "val.txt").write_text("lima_1_0.png\n")
        (root / "link.txt").symlink_to(tmp_path / "secret")
        (root / "broken").symlink_to("nowhere")
        os.mkfifo(root / "pipe")
        said = convert(root, tmp_path / "out", overwrite=True, progress=False)
        assert "not copied, being links or no files: 'broken', 'link.txt', 'pipe'" in said
        assert sorted(path.name for path in (tmp_path / "out").glob("*.txt")) == ["val.txt"]


@pytest.mark.parametrize("file", ["img/lima_1_0.png", "node/lima_1_0.tensor", "pop/lima_1_0.txt",
                                  "label/lima_1_0.png", "meta/lima.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link to nothing", "folder"])
def test_what_is_no_file_is_never_opened(release, file, kind):
    path = release / file
    path.unlink()
    {"pipe": lambda: os.mkfifo(path), "device": lambda: path.symlink_to("/dev/zero"),
     "link to nothing": lambda: path.symlink_to("nowhere"), "folder": path.mkdir}[kind]()
    one_line(lambda: read_all(release), str(path), "file")


def test_a_link_to_a_file_is_read_as_data_and_must_be_a_tile(release, tmp_path):
    image = release / "img" / "lima_1_0.png"
    before = read_all(release)[2][0]
    image.rename(tmp_path / "elsewhere.png")
    image.symlink_to(tmp_path / "elsewhere.png")
    assert torch.equal(read_all(release)[2][0], before)
    (tmp_path / "elsewhere.png").write_text("secret")
    one_line(lambda: convert(release, tmp_path / "out", progress=False), "lima_1_0.png", "no PNG")
    assert not (tmp_path / "out").exists()


def test_a_list_that_is_a_pipe(compact):
    os.mkfifo(compact / "val.txt")
    one_line(lambda: read_list(TileDataset(compact), "val.txt"), "no regular file")


# Well-formed and wrong, in the compact layout

def npz() -> bytes:
    from io import BytesIO

    file = BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


def huge_header() -> bytes:
    """The header of an array of 10^15 rows, and no row."""
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000, 512)}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()


ARRAYS = [f"{name}.npy" for name in (
    "image_starts", "node_starts", "edge_starts", "land_use_starts", "geometry", "text_index",
    "label", "text", "edges", "codes", "pop", "CO2", "checksums")]
WRONG = {"npz": npz(), "0-d": np.array(1), "empty": np.zeros(0), "text": np.array(["a"]),
         "complex": np.zeros(5, complex), "3-d": np.zeros((1, 1, 1)), "huge": huge_header(),
         "no bytes": b"", "noise": random.Random(0).randbytes(300),
         "magic": b"\x93NUMPY\1\0\xff\xff",
         "half a record": np.zeros(3, "i4,f8"), "objects": np.array([{}, []], object)}


@pytest.mark.parametrize("file", ARRAYS)
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_an_array_of_another_kind(compact, file, wrong):
    put(compact, file, wrong)
    one_line(lambda: read_all(compact), file, "expected", "prepare_dataset.py")


def starts(change: Callable[[np.ndarray], object]):
    def spoil(array: np.ndarray) -> np.ndarray:
        change(array)
        return array
    return spoil


VALUES = {  # file, what is done to its array, part of the message
    "not upwards": ("node_starts.npy", starts(lambda a: a.__setitem__(2, 9)), "node_starts.npy"),
    "from -1": ("image_starts.npy", starts(lambda a: a.__setitem__(0, -1)), "image_starts.npy"),
    "beyond": ("edge_starts.npy", starts(lambda a: a.__setitem__(4, 2**62)), "edge_starts.npy"),
    "text": ("text.npy", lambda a: a * np.nan, "text.npy"),
    "columns": ("geometry.npy", np.asfortranarray, "geometry.npy"),
    "width": ("geometry.npy", lambda a: a[:, :5].copy(), "geometry.npy"),
    "pop": ("pop.npy", lambda a: -a, "pop.npy"), "CO2": ("CO2.npy", lambda a: a * 1e300, "CO2.npy"),
    "pop inf": ("pop.npy", lambda a: a / 0, "pop.npy"),
    # of a tile's own arrays, whose checksum is made to fit
    "text row": ("text_index.npy", lambda a: a + 200, "text_index.npy names row"),
    "node": ("edges.npy", lambda a: a + 60000, "edges.npy names node"),
    "area": ("geometry.npy", lambda a: a * np.inf, "geometry.npy holds a value that is not"),
    "code": ("codes.npy", lambda a: a * np.float32("nan"), "codes.npy holds a value that is not"),
}


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value", "ignore:overflow")
@pytest.mark.parametrize(("file", "change", "part"), VALUES.values(), ids=VALUES)
def test_values_that_cannot_be(compact, file, change, part):
    put(compact, file, change(np.load(compact / CITY / file)))
    arrays = [np.load(compact / CITY / f"{name}.npy") for name in (
        "geometry", "text_index", "label", "edges", "codes")]
    nodes, edges = (np.load(compact / CITY / f"{unit}_starts.npy") for unit in ("node", "edge"))
    sums = np.zeros(4, np.uint32)
    for tile in range(4 if file.removesuffix(".npy") in ("text_index", "edges", "geometry",
                                                         "codes") else 0):
        bounds = (nodes, nodes, nodes, 2 * edges, edges)
        for array, bound in zip(arrays, bounds, strict=True):
            sums[tile] = zlib.crc32(np.ascontiguousarray(array[bound[tile]:bound[tile + 1]]),
                                    sums[tile])
    put(compact, "checksums.npy", sums)
    one_line(lambda: read_all(compact), part, "expected")


def deep(depth: int = 100_000) -> str:
    return "[" * depth + "]" * depth


def store(**changes: object) -> Callable[[dict], object]:
    return lambda meta: meta["store"].update(changes)


METAS = {
    "no store": lambda meta: meta.pop("store"), "store": lambda meta: meta.update(store=[]),
    "tiles": store(tiles=-1), "tiles text": store(tiles="4"), "tiles huge": store(tiles=10**30),
    "nodes": store(nodes=1.5), "edges": store(edges=True), "width": store(text_width=10**9),
    "width 0": store(text_width=0), "shape": store(image_shape=[3, 0, 0]),
    "shape of 4": store(image_shape=[4, SIDE, SIDE]),
    "shape huge": store(image_shape=[3, 10**9, 9]),
    "shape of 2": store(image_shape=[3, 9]), "bytes": store(bytes={}),
    "crc32": store(crc32={"names.txt": "x"}), "crc32 list": store(crc32=[]),
    "a file elsewhere": lambda meta: meta["store"]["bytes"].update({"../../x": 3}),
    "half": lambda meta: meta["store"]["bytes"].pop("land_use.bin"),
    "labels": lambda meta: meta.update(label_names=[None]),
    "layers": lambda meta: meta.update(label_layers={"a": 1}),
    "transform": lambda meta: meta.update(transform=[1, 2]),
    "nan": lambda meta: meta.update(transform=[float("nan")] * 6),
    "metres": lambda meta: meta.update(metres_per_pixel=["1", 2]),
    "stride": lambda meta: meta.update(stride=0), "tile_px": lambda meta: meta.update(tile_px="9"),
    "keys": lambda meta: meta.update(keys=[]), "text": lambda meta: meta.update(text="hash"),
    "crs": lambda meta: meta.update(crs=4326), "size": lambda meta: meta.update(raster_size=[0, 9]),
}


@pytest.mark.parametrize("change", METAS.values(), ids=METAS)
def test_a_meta_file_that_says_what_cannot_be(compact, change):
    path = compact / CITY / "meta.json"
    meta = json.loads(path.read_text())
    change(meta)
    path.write_text(json.dumps(meta))
    one_line(lambda: read_all(compact), "meta.json", "expected")


@pytest.mark.parametrize("text", [deep(), '{"a":' * 9000, "null", "[]", "{", "\udcff", "9" * 5000],
                         ids=["deep", "open", "null", "list", "half", "no text", "digits"])
@pytest.mark.parametrize("layout", ["compact", "release"])
def test_a_meta_file_that_is_no_record(request, layout, text):
    root = request.getfixturevalue(layout)
    path = root / (CITY / "meta.json" if layout == "compact" else "meta/lima.json")
    path.write_text(text, errors="surrogateescape")
    one_line(lambda: read_all(root), path.name, "expected")


# Well-formed and wrong, in the release's layout

def picture(**options: object) -> Callable[[Path], None]:
    return lambda path: Image.new("RGB", (SIDE, SIDE)).save(path, **options)


def large_png(path: Path) -> None:
    """A PNG that claims 100,000 x 100,000 pixels."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_of = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + sum_of

    path.write_bytes(b"\x89PNG\r\n\x1a\n"
                     + chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))


def saved(value: object) -> Callable[[Path], None]:
    return lambda path: torch.save(value, path)


def written(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


NODE, EDGE, WEIGHT = (f"{folder}/lima_2_0.tensor" for folder in ("node", "edge", "edge_w"))
IMAGE, LABEL, POP = "img/lima_2_0.png", "label/lima_2_0.png", "pop/lima_2_0.txt"
FILES = {
    "a JPEG": (IMAGE, picture(format="JPEG"), "no PNG"),
    "PostScript": (IMAGE, written("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "no PNG"),
    "a huge image": (IMAGE, large_png, "image"), "a huge label": (LABEL, large_png, "image"),
    "16 bits": (IMAGE, lambda path: Image.new("I;16", (SIDE, SIDE)).save(path),
                "make the tile again"),
    "a grey image": (IMAGE, lambda path: Image.new("L", (SIDE, SIDE)).save(path), "`python -c"),
    "bits": (LABEL, lambda path: Image.new("1", (SIDE, SIDE)).save(path), "one byte a pixel"),
    "a view": (NODE, saved(torch.zeros(1, 1).expand(10**9, 525)), "not every value is stored"),
    "nowhere": (NODE, saved(torch.zeros(3, 525, device="meta")), "not every value is stored"),
    "few columns": (NODE, saved(torch.zeros(2, 5)), "shape [2, 5]"),
    "unsigned edges": (EDGE, saved(torch.zeros(2, 4, dtype=torch.uint64)), "expected int64"),
    "edges of bits": (EDGE, saved(torch.zeros(2, 4, dtype=torch.bool)), "expected int64"),
    "nan": (WEIGHT, saved(torch.full((4, 1), torch.nan)), "expected finite"),
    "complex": (WEIGHT, saved(torch.zeros(4, 1, dtype=torch.complex64)), "torch.complex64"),
    "a dict": (WEIGHT, saved({"a": torch.zeros(4, 1)}), "holds a dict"),
    "nan people": (POP, written("nan\n"), "'nan'"), "inf": (POP, written("inf\n"), "'inf'"),
    "fewer than none": (POP, written("-3\n"), "'-3', expected a number"),
    "all": (POP, written("1e300\n"), "'1e300'"), "words": (POP, written("x" * 10**6), "expected"),
    "labels": ("meta/lima.json", written('{"label_names": [1]}'), "label_names[0] is 1"),
    "layers": ("meta/lima.json", written('{"label_layers": "road"}'), "label_layers"),
    "metres": ("meta/lima.json", written('{"metres_per_pixel": 3}'), "metres_per_pixel"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("file", "spoil", "part"), FILES.values(), ids=FILES)
def test_a_tiles_file_that_holds_something_else(release, tmp_path, file, spoil, part):
    spoil(release / file)
    one_line(lambda: read_all(release), str(release / file), "expected", part)
    one_line(lambda: convert(release, tmp_path / "out", progress=False), str(release / file))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [*WRONG.values(), np.full((7, 512), np.nan, np.float32)],
                         ids=[*WRONG, "nan"])
def test_a_text_table_of_another_kind(release, tmp_path, wrong):
    path = release / "meta" / "lima.text.npy"
    path.write_bytes(wrong) if isinstance(wrong, bytes) else np.save(path, wrong)
    one_line(lambda: convert(release, tmp_path / "out", progress=False), "lima.text.npy")


# Damage

def files_of(layout: str) -> list[str]:
    if layout == "compact":
        return ["names.txt", "images.bin", "land_use.bin", *ARRAYS]
    return [IMAGE, LABEL, NODE, EDGE, WEIGHT]


CASES = [(layout, file) for layout in ("compact", "release") for file in files_of(layout)]


@pytest.mark.parametrize(("layout", "file"), CASES)
@pytest.mark.parametrize("count", [1, 200])
def test_random_bytes_are_never_read_as_data(request, layout, file, count):
    root = request.getfixturevalue(layout)
    path = root / (CITY if layout == "compact" else "") / file
    before, content = comparable(root), path.read_bytes()
    draw = random.Random(file)
    for _ in range(4):
        spoiled = bytearray(content)
        for place in draw.sample(range(len(spoiled)), min(count, len(spoiled))):
            spoiled[place] ^= draw.randrange(1, 256)
        path.write_bytes(spoiled)
        assert comparable(root, before) == before
    path.write_bytes(content)
    assert comparable(root) == before


def comparable(root: Path, refused: bytes = b"") -> bytes:
    """Return all data of a dataset as bytes; `refused` where it is refused with one line."""
    parts = []
    try:
        tiles = read_all(root)[2:]
    except TileError as error:
        assert "\n" not in str(error)  # noqa: PT017 - bytes that mean nothing may differ
        return refused
    for tile in tiles:
        image, graph, land_use, *totals = tile
        parts += [image, graph.x, graph.edge_index, graph.edge_attr, land_use,
                  torch.tensor(totals)]
    return b"".join(part.numpy().tobytes() for part in parts)


@pytest.mark.parametrize(("layout", "file"), CASES)
def test_a_part_of_a_file_is_no_file(request, layout, file):
    root = request.getfixturevalue(layout)
    path = root / (CITY if layout == "compact" else "") / file
    before, content = comparable(root), path.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 20):
        path.write_bytes(content[:length])
        one_line(lambda: read_all(root), path.name, "expected" if layout == "compact" else "")
    path.write_bytes(content[:-1])  # the last byte of a PNG is no pixel's
    assert comparable(root, before) == before


@pytest.mark.parametrize(("layout", "file", "workers"), [
    ("compact", "images.bin", 0), ("compact", "geometry.npy", 0), ("compact", "images.bin", 1),
    ("release", IMAGE, 0), ("release", NODE, 1)])
def test_a_file_that_shrinks_while_it_is_read(request, layout, file, workers):
    root = request.getfixturevalue(layout)
    dataset = TileDataset(root, image_size=SIDE)
    dataset[3]  # what is opened once is open
    os.truncate(root / (CITY if layout == "compact" else "") / file, 60)
    loader = DataLoader(dataset, batch_size=1, collate_fn=collate, num_workers=workers)
    with pytest.raises(TileError, match=Path(file).name) as error:
        list(loader)
    traceback.clear_frames(error.tb)  # ends the worker now, not in the middle of another test


# Disks

@pytest.mark.parametrize("layout", ["compact", "release"])
@pytest.mark.parametrize("most", [0, 200, 1500, 4000])
def test_a_full_disk_while_converting(request, tmp_path, layout, most):
    root = request.getfixturevalue(layout)
    before = contents(tmp_path)
    with limited(most):
        one_line(lambda: convert(root, tmp_path / "out", progress=False), str(tmp_path))
    assert contents(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [layout]


def test_a_full_disk_while_splitting(tmp_path):
    root = write_compact(tmp_path / "tiles", [random_tile(f"lima_{n % 12}_{n // 12}", 1, 0, SIDE)
                                              for n in range(144)])
    write_splits(root, SplitRules())
    before = contents(root)
    with limited(100):
        message = one_line(lambda: write_splits(root, SplitRules(seed=1)))
    assert "File too large" in message
    assert contents(root) == before


# Remedies

def test_lists_are_written_where_they_help(tmp_path):
    root = tmp_path / "my tiles"
    tiles = [random_tile(f"lima_{n % 12}_{n // 12}", 1, 0, SIDE, targets=True) for n in range(144)]
    write_compact(root, tiles)
    commands = set()
    for content in ("", "lima_99_99.png\n", None):
        (root / "val.txt").unlink(missing_ok=True)
        if content is not None:
            (root / "val.txt").write_text(content)
        message = one_line(lambda: read_list(TileDataset(root), "val.txt"), "val.txt")
        commands.add(*commands_in(message))
    follow(*commands, tmp_path)
    assert read_list(TileDataset(root), "val.txt")


def test_lists_do_not_help_where_no_tile_has_a_target(tmp_path):
    root = write_compact(tmp_path / "tiles", [
        random_tile(f"lima_{n % 12}_{n // 12}", 1, 0, SIDE) for n in range(144)])
    message = one_line(lambda: read_list(TileDataset(root), "val.txt"),
                       "no tile of the dataset has a target", "prepare_dataset.py labels=")
    assert commands_in(message) == []
    assert "no tile has a target" in str(write_splits(root, SplitRules()))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_an_image_of_another_mode_is_converted(release, tmp_path, mode):
    root = release.rename(tmp_path / "it's mine")
    picture = Image.new("RGB", (SIDE, SIDE), (200, 100, 50)).convert(mode)
    picture.save(root / IMAGE) if mode != "CMYK" else picture.convert("LA").save(root / IMAGE)
    follow(*commands_in(one_line(lambda: read_all(root), "expected 8-bit RGB")), tmp_path)
    assert len(read_all(root)) == 6
