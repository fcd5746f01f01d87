"""What a stopped run left behind is damaged, cut off, gone or wrong: the next run makes it again,
or says in one line what to do; it never gives other results."""

import json
import random
import re
import shutil
from pathlib import Path

import geopandas as gpd
import pytest

from datasets.prepare.pipeline import prepare_tiles
from tests.datasets.prepare.killing import kill
from tests.datasets.prepare.places import UTM, Place, contents, pixels, square, write_raster
from tests.robustness.remedies import commands_in, follow
from utils.errors import RoseError
from utils.files import seal as write_seal


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    """A small place whose preparation was killed when all its bands were made."""
    folder = tmp_path_factory.mktemp("my place")
    frame = gpd.GeoDataFrame({"building": ["house", "yes", "barn"]}, crs=UTM,
                             geometry=[square(2, 2, 10), square(28, 4, 8), square(40, 40, 10)])
    frame.to_file(folder / "osm.gpkg", layer="objects")
    image = pixels(140, 210)
    made = Place(folder, write_raster(folder / "city.tif", image), folder / "osm.gpkg", image,
                 frame)
    kill(made, "compact", "datasets.prepare.pipeline", "join_parts", 1)
    prepare(made, folder / "whole")
    return made


def prepare(place: Place, out: Path) -> None:
    prepare_tiles(place.raster, place.osm, out, "c", tile_px=64, keep_empty=True, workers=1,
                  overwrite=True, progress=False)


def end_of(place: Place, out: Path) -> str:
    """Return the line that a preparation ends with, nothing if it succeeds."""
    try:
        prepare(place, out)
    except RoseError as error:
        return str(error)
    return ""


def flipped(data: bytes, seed: int) -> bytes:
    place = random.Random(seed).randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << seed % 8]) + data[place + 1:]


DAMAGES = {
    "gone": lambda data: None, "half": lambda data: data[:len(data) // 2],
    "a list": lambda data: b"[]",
    **{f"flip {seed}": lambda data, seed=seed: flipped(data, seed) for seed in range(2)},
}
FILES = ["request.json", "job.json", "job.seal.json", "text.json", "text.npy",
         "parts/0000001.part", "reports/0000001.json", "objects/objects.json", "objects/wkb.bin",
         "objects/bounds.bin", "objects/value.bin", "objects/row_ends.bin", "objects/seal.json"]


@pytest.mark.parametrize("name", FILES)
def test_damaged_work_of_a_preparation(place, tmp_path, name):
    for damage, change in DAMAGES.items():
        out = tmp_path / damage
        shutil.copytree(place.folder / "out/.preparing-c", out / ".preparing-c")
        file = out / ".preparing-c" / name
        data = change(file.read_bytes())
        file.unlink()
        if data is not None:
            file.write_bytes(data)
        if message := end_of(place, out):
            assert re.search(r"0000001\.part: cannot be read .*; then run the same command again$",
                             message), damage
            [command] = commands_in(message)
            follow(command, tmp_path)
            prepare(place, out)
        assert contents(out) == contents(place.folder / "whole"), damage


WRONG = [("job.json", key, value) for key, value in [
    ("rules", None), ("rules", {"city": 1}), ("grid", []), ("grid", {"width": -1}),
    ("grid", {"transform": ["a"] * 6}), ("mosaic", {}), ("mosaic", {"crs": "nowhere"}),
    ("mosaic", {"sources": [1]}), ("sources", {"label": {"path": []}}), ("sources", {"x": {}}),
]] + [("objects/objects.json", key, value) for key, value in [
    ("layers", None), ("values", {}), ("codes", [[9, "x"]]), ("codes", [1])]]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_work_that_is_sealed_and_says_what_is_wrong(place, tmp_path, case):
    """Nobody but a stranger writes it, and nothing may follow but a line whose remedy works."""
    name, key, value = WRONG[case]
    out = tmp_path / "my out"
    shutil.copytree(place.folder / "out/.preparing-c", out / ".preparing-c")
    file = out / ".preparing-c" / name
    described = json.loads(file.read_text())
    mixed = isinstance(value, dict) and isinstance(described[key], dict) and key != "sources"
    described[key] = {**described[key], **value} if mixed and value else value
    file.write_text(json.dumps(described))
    seal = file.with_name("job.seal.json" if name == "job.json" else "seal.json")
    write_seal(seal, json.loads(seal.read_text()))
    message = end_of(place, out)
    assert re.fullmatch(r".*/(job|objects)\.json: .*again", message)
    for command in commands_in(message) or [f"rm -r '{file.parent}'"]:  # or it says so in words
        follow(command, tmp_path)
    prepare(place, out)
    assert contents(out) == contents(place.folder / "whole")


def test_counts_that_are_damaged_while_the_run_goes_on(place, tmp_path, monkeypatch):
    out = tmp_path / "my out"
    shutil.copytree(place.folder / "out/.preparing-c", out / ".preparing-c")
    (out / ".preparing-c/reports/0000001.json").write_text("{}")
    with monkeypatch.context() as patched:
        patched.setattr("datasets.prepare.pipeline.is_made", lambda job, number: True)
        message = end_of(place, out)
    assert "0000001.json: tiles is missing, expected it; " in message
    follow(*commands_in(message), tmp_path)
    prepare(place, out)
    assert contents(out) == contents(place.folder / "whole")
