"""Web map tiles that cannot be read end in one line: the file, the value found, a remedy."""

import gzip
import io
import sqlite3

import pytest
from pmtiles.tile import (
    Entry,
    TileType,
    deserialize_header,
    serialize_directory,
    serialize_header,
    write_varint,
    zxy_to_tileid,
)
from rasterio.windows import Window

from datasets.bbox import BBox
from datasets.prepare.imagery.mosaic import open_mosaic
from tests.datasets.prepare.web_map import (
    IMAGE,
    LEFT,
    SIDE,
    TOP,
    ZOOM,
    as_archive,
    encoded,
    write_mbtiles,
    write_pmtiles,
    write_tiles,
)
from tests.robustness.remedies import commands_in, follow
from utils.errors import RoseError

TILE = encoded(IMAGE[:SIDE, :SIDE])
JPEG = encoded(IMAGE[:SIDE, :SIDE], "jpg")
ONE = f"{ZOOM}/{LEFT + 1}/{TOP + 1}"
HERE = 15.8315, 50.0895, 15.8325, 50.0905


def read_all(path, **options):
    with open_mosaic(path, **options) as mosaic:
        return mosaic.read(Window(0, 0, mosaic.width, mosaic.height))


def tiles_with(content, name=f"{ONE}.png"):
    def make(folder):
        write_tiles(folder)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        return folder
    return make


def mbtiles_of(content):
    return lambda folder: write_mbtiles(folder / "a.mbtiles", [(ZOOM, LEFT, TOP, content)])


def damaged_mbtiles(folder):
    path = as_archive(folder / "a.mbtiles")
    path.write_bytes(path.read_bytes()[:40_000])
    return path


def empty_mbtiles(folder):
    return write_mbtiles(folder / "a.mbtiles", [])


def mbtiles_beyond(folder):
    path = mbtiles_of(TILE)(folder)
    with sqlite3.connect(path) as archive:
        archive.execute("UPDATE tiles SET tile_column = 900000")
    archive.close()
    return path


def file_of(name, content):
    def make(folder):
        (folder / name).write_bytes(content)
        return folder / name
    return make


def pmtiles_with(start, values):
    """Make an archive of which some bytes are others."""
    def make(folder):
        path = as_archive(folder / "a.pmtiles")
        content = path.read_bytes()
        path.write_bytes(content[:start] + values + content[start + len(values):])
        return path
    return make


def cut_pmtiles(folder):
    path = as_archive(folder / "a.pmtiles")
    path.write_bytes(path.read_bytes()[:40_000])
    return path


def pmtiles_of(directory):
    """Make an archive with another root directory, of entries or of bytes."""
    def make(folder):
        path = as_archive(folder / "a.pmtiles")
        root = directory if isinstance(directory, bytes) else serialize_directory(directory)
        header = deserialize_header(path.read_bytes()[:127]) | {
            "root_offset": 127, "root_length": len(root), "tile_data_offset": 127 + len(root),
            "leaf_directory_offset": 127}
        path.write_bytes(serialize_header(header) + root + bytes(1000))
        return path
    return make


def number(value):
    stream = io.BytesIO()
    write_varint(stream, value)
    return stream.getvalue()


def vector_pmtiles(folder):
    return write_pmtiles(folder / "a.pmtiles", [(ZOOM, LEFT, TOP, TILE)], TileType.MVT)


CASES = {
    "an empty file": (tiles_with(b""), {}, f"{ONE}.png: is empty, expected a picture.*`find "),
    "a web page": (tiles_with(b"<!DOCTYPE html>"), {},
                   f"{ONE}.png: begins with b'<!DOCTYPE html>', expected a picture.*or remove it"),
    "a PNG cut short": (tiles_with(TILE[:5000]), {}, f"{ONE}.png: the raster is damaged"),
    "a JPEG cut short": (tiles_with(JPEG[:2000]), {}, f"{ONE}.png: the JPEG ends before"),
    "no square": (tiles_with(encoded(IMAGE[:SIDE, :SIDE - 9])), {},
                  f"has {SIDE - 9} x {SIDE} pixels, expected a square"),
    "16 bits among 8": (tiles_with(encoded(IMAGE[:SIDE, :SIDE, :1].astype("uint16"))), {},
                        "the pixels are uint16, but those of .* are uint8"),
    "a column beyond the zoom": (tiles_with(TILE, f"{ZOOM}/131072/3.png"), {},
                                 "131072/3.png: column 131072 and row 3, but zoom 17 ends at "
                                 "131071"),
    "zoom 31": (lambda folder: write_tiles(folder, zoom=31), {}, "31: zoom 31, expected at most"),
    "a vector tile": (tiles_with(b"\x1a", f"{ONE}.pbf"), {}, f"{ONE}.pbf: a vector tile"),
    "a zoom that is not there": (write_tiles, {"zoom": 3}, "zoom=3, but it has zoom 17. Pass"),
    "a zoom of no tiles": (file_of("a.png", TILE), {"zoom": 3},
                           "a.png: zoom=3, but it holds no web map tiles"),
    "another CRS": (write_tiles, {"raster_crs": "EPSG:4326"},
                    "raster_crs=EPSG:4326: web map tiles have EPSG:3857"),
    "a box elsewhere": (write_tiles, {"bbox": BBox(1, 2, 3, 4)},
                        r"bbox=\[1,2,3,4\] lies outside the imagery.*\[15.83129883,50.0"),
    "another grid": (tiles_with(b'<TileSets profile="global-geodetic">', "tilemapresource.xml"),
                     {}, "tilemapresource.xml: says that the tiles are of another grid"),
    "broken metadata": (tiles_with(b"{", "metadata.json"), {}, "metadata.json: .*no JSON"),
    "an empty MBTiles": (empty_mbtiles, {}, "a.mbtiles: holds no tile"),
    "no MBTiles": (file_of("a.mbtiles", b"junk" * 99), {}, "a.mbtiles: not a readable MBTiles"),
    "MBTiles of nothing": (file_of("a.mbtiles", b""), {}, "no such table: tiles"),
    "a damaged MBTiles": (damaged_mbtiles, {}, "a.mbtiles.*malformed"),
    "MBTiles of vector tiles": (mbtiles_of(b"\x1f\x8b\x08"), {}, "a.mbtiles: holds vector tiles"),
    "MBTiles of a web page": (mbtiles_of(b"<html>"), {},
                              f"a.mbtiles, tile {ZOOM}/{LEFT}/{TOP}: begins with b'<html>'"),
    "MBTiles of text": (mbtiles_of("text"), {}, "is empty, expected a picture"),
    "an MBTiles tile beyond its zoom": (mbtiles_beyond, {}, "at zoom 17, column 900000"),
    "no PMTiles": (file_of("a.pmtiles", b"junk" * 99), {}, "a.pmtiles: not a readable PMTiles"),
    "PMTiles of version 2": (file_of("a.pmtiles", b"PM\2\0" * 99), {}, "an early version"),
    "PMTiles of vector tiles": (vector_pmtiles, {}, "a.pmtiles: holds vector tiles"),
    "PMTiles of AVIF": (pmtiles_with(99, b"\5"), {}, "holds AVIF pictures"),
    "PMTiles of no kind": (pmtiles_with(99, b"\x63"), {}, "99 is not a valid TileType"),
    "PMTiles packed with zstd": (pmtiles_with(97, b"\4"), {}, "packed with zstd"),
    "PMTiles cut short": (cut_pmtiles, {}, "damaged .a tile at byte .* but the file has 40,000"),
    "a damaged directory": (pmtiles_with(140, b"\xff" * 20), {}, "the PMTiles archive is damaged"),
    "a directory of endless tiles": (
        pmtiles_of([Entry(zxy_to_tileid(20, 0, 0), 0, 10, 2**39)]), {},
        "lists 549,755,813,888 tiles, expected 4,000,000 at most"),
    "a directory that unpacks without end": (
        pmtiles_of(gzip.compress(bytes(64 << 20), 1)), {}, "cut short or too large"),
    "a directory of 2^60 entries": (pmtiles_of(gzip.compress(number(2**60) + b"\1" * 99)), {},
                                    "the PMTiles archive is damaged"),
    "a directory in itself": (pmtiles_of([Entry(1, 0, 100, 0)]), {}, "refer to each other"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_message(tmp_path, case):
    make, options, message = CASES[case]
    with pytest.raises(RoseError, match=message) as caught:
        read_all(make(tmp_path), **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_remedy_of_empty_tiles(tmp_path):
    folder = tiles_with(b"", f"{ONE}.png")(tmp_path)
    (folder / f"{ZOOM}/{LEFT}/{TOP}.png").write_bytes(b"")
    with pytest.raises(RoseError, match=", as 1 tile more,") as caught:
        read_all(folder)
    (command,) = commands_in(str(caught.value))
    follow(command, tmp_path)
    assert read_all(folder)[1].sum() == 10 * SIDE**2


def test_a_box_on_the_other_hemisphere_says_how_rows_may_be_counted(tmp_path):
    folder = write_tiles(tmp_path, "{z}/{x}/{s}.png")
    with pytest.raises(RoseError, match="counted from the south") as caught:
        read_all(folder, bbox=BBox(*HERE))
    content, path = '{"scheme": "tms"}', folder / "metadata.json"
    assert f"write {content} to the file {path}." in str(caught.value)
    path.write_text(content)
    assert read_all(folder, bbox=BBox(*HERE))[1].all()


def test_tiles_one_folder_deeper_are_pointed_at(tmp_path):
    tiles = write_tiles(tmp_path / "map")
    with pytest.raises(RoseError, match=f"but {tiles} holds web map tiles. Pass raster={tiles}"):
        read_all(tmp_path)


def test_damage_is_named_at_its_file_even_if_it_was_not_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.prepare.imagery.tile_sets.LOOKED_TILES", 1)
    monkeypatch.setattr("datasets.prepare.imagery.voids.SAMPLED_FILES", 1)
    for content, message in ((b"<html>", "expected a picture"),
                             (encoded(IMAGE[:SIDE, :SIDE, :1].astype("uint16")), "uint16")):
        with open_mosaic(tiles_with(content)(tmp_path)) as mosaic:
            assert mosaic.read(Window(0, 0, SIDE, SIDE))[1].all()
            with pytest.raises(RoseError, match=f"{ONE}.png: .*{message}"):
                mosaic.read(Window(SIDE, SIDE, SIDE, SIDE))
