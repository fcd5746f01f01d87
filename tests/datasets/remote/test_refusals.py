"""What cannot be fetched is one line that names the address, what was found and what to do."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets.bbox import BBox
from tests.datasets.prepare.places import grid, pixels, prepare
from tests.datasets.remote.serving import (
    IMPATIENT,
    INSIDE,
    PATIENT,
    ZOOM,
    capabilities,
    fetched,
    item,
    serve_tiles,
    tiff,
    web_picture,
    wms_capabilities,
)
from tests.servers import EVER, Fault, Server
from utils.errors import ConfigError, RoseError

ROOT = Path(__file__).resolve().parents[3]
PAGE = b"<!DOCTYPE html><title>Please sign in</title>"
TILES = "/tiles/{z}/{x}/{y}.png?key=secret"
RED = {"href": "a.tif", "type": "image/tiff", "eo:bands": [{"common_name": "red"}]}


@pytest.fixture
def server():
    with Server() as running:
        running.files["/a.tif"] = tiff(pixels(600, 600), grid())
        serve_tiles(running, web_picture())
        yield running


def message_of(raster: str, folder: Path, bbox: BBox | None, **keys) -> str:
    """Return the message of a raster that cannot be fetched: one line, without secrets."""
    with pytest.raises(RoseError) as error:
        fetched(raster, folder, bbox, **keys)
    text = str(error.value)
    assert "\n" not in text
    assert "secret" not in text
    return text


FAULTS = {
    "403": (Fault(403, EVER, b"<h1>No such key</h1>"), ["answers 403 Forbidden", "terms"]),
    "429": (Fault(429, EVER, b"slow down"), ["answers 429 Too Many Requests", "same command"]),
    "500": (Fault(500, EVER), ["answers 500 Internal Server Error", "fault of its own"]),
    "page": (Fault(200, EVER, PAGE, "text/html"), ["a web page (Please sign in)", "expected"]),
    "stops": (Fault(after=50, times=EVER), ["stops midway", "same command again"]),
    "slow": (Fault(wait_s=1, times=EVER), ["the server is slow", "same command again"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_server_of_tiles_that_fails(server, tmp_path, name):
    fault, words = FAULTS[name]
    server.fault("/tiles", fault)
    message = message_of(f"{server.url}{TILES}", tmp_path, INSIDE, zoom=ZOOM,
                         patience=IMPATIENT if name == "slow" else PATIENT)
    assert message.startswith(f"{server.url}/tiles/{ZOOM}/")
    for word in words:
        assert word in message
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("name", ["403", "429", "500", "page", "stops"])
@pytest.mark.parametrize("first", [0, 3])
def test_a_server_of_a_geotiff_that_fails(server, tmp_path, name, first):
    fault, words = FAULTS[name]
    server.fault("/a", Fault(**{**vars(fault), "skip": first}))
    message = message_of(f"{server.url}/a.tif?sig=secret", tmp_path, None)
    assert message.startswith(f"{server.url}/a.tif: ")
    for word in words[:1] if first == 0 or name != "stops" else ["same command again"]:
        assert word in message
    assert not list(tmp_path.rglob("*.tif"))


@pytest.mark.parametrize(("name", "words"), [
    ("403", ["answers 403 Forbidden"]), ("429", ["answers 429 Too Many"]),
    ("500", ["answers 500"]), ("page", ["same command again"])])
def test_a_map_service_that_fails(server, tmp_path, name, words):
    server.files["/wmts"] = capabilities(f"{server.url}/tiles")
    server.fault("/tiles", FAULTS[name][0])
    message = message_of(f"{server.url}/wmts?token=secret", tmp_path, INSIDE, zoom=ZOOM)
    assert message.startswith(f"{server.url}/wmts: ")
    for word in words:
        assert word in message
    assert not list(tmp_path.rglob("*.tif"))
    assert not list(tmp_path.rglob("on-the-way"))


def test_a_damaged_tile_is_not_kept(server, tmp_path):
    path = [name for name in server.files if name.startswith("/tiles")][4]
    server.files[path] = server.files[path][:2000]
    message = message_of(f"{server.url}{TILES}", tmp_path, INSIDE, zoom=ZOOM)
    assert "damaged or cut short" in message
    assert path in message
    assert not list(tmp_path.glob(f"cache/*{path}"))


@pytest.mark.parametrize(("raster", "bbox", "keys", "words"), [
    (TILES, None, {"zoom": ZOOM}, ["bbox: no value given", "add bbox="]),
    (TILES, INSIDE, {}, ["zoom: no value given", "17 (0.77 m pixels, 6 tiles)"]),
    (TILES, BBox(10, 45, 20, 55), {"zoom": 18}, ["zoom=18:", "expected 50,000 at most", "zoom=12"]),
    (TILES, BBox(20, 10, 20.001, 10.001), {"zoom": ZOOM}, ["none of the", "lower zoom="]),
    ("/{z}/{x}/{y}/{apikey}.png", INSIDE, {"zoom": ZOOM}, ["holds {apikey}", "your key"]),
    ("/{z}/{x}.png", INSIDE, {"zoom": ZOOM}, ["expected {z}, {x} and {y}"]),
    ("/a.tif", BBox(20, 10, 20.1, 10.1), {}, ["no imagery in bbox=[20,10,20.1,10.1]", "inside it"]),
    ("/a.tif", None, {"zoom": 3}, ["zoom=3", "resolution="]),
    ("/nothing.tif", None, {}, ["404 Not Found", "look at it"]),
    ("/text", None, {}, ["neither a GeoTIFF nor a STAC item", "download it"]),
    ("/half", None, {}, ["cannot be opened"]),
    ("/item", None, {}, ["no GeoTIFF in red, green and blue", "red (image/tiff)", "bands="]),
    ("/empty", None, {}, ["no GeoTIFF in red, green and blue", "no assets"]),
    ("/catalog", None, {}, ["is a STAC Catalog", "choose one"]),
    ("/json", None, {}, ["no STAC item (assets is missing"]),
    ("/s3", None, {}, ["s3://bucket/a.tif", "https://bucket.s3.amazonaws.com/a.tif"]),
    ("/file", None, {}, ["file:///etc/passwd", "expected http://"]),
    ("/broken", None, {}, ["https://[x/a.tif", "expected http://"]),
    ("/wms", BBox(10, 45, 20, 55), {"resolution": 0.1}, ["expected 3,276,800,000 at most"]),
    ("/grids", None, {}, ["its green has 300 x 300 pixels on another grid", "one grid"]),
    ("/wmts", None, {}, ["bbox: no value given"]),
    ("/layers", INSIDE, {"zoom": 17}, ["has 2 layers (ortho, map)", "layer=ortho"]),
    ("/layers,layer=x", INSIDE, {"zoom": 17}, ["has no layer x, but ortho, map"]),
    ("/wms", INSIDE, {}, ["resolution: no value given"]),
    ("/wms", INSIDE, {"resolution": 1, "crs": "EPSG:5514"}, ["raster_crs=EPSG:5514", "EPSG:3857"]),
    ("/xml", INSIDE, {}, ["begins with <kml>", "GetCapabilities"]),
    ("/entity", INSIDE, {}, ["entities"]),
    ("/local", INSIDE, {}, ["names the server file:///etc", "expected http://"]),
    ("/vsi", INSIDE, {}, ["names the server /vsicurl/", "expected http://"]),
    ("/cache", INSIDE, {}, ["a cache of its own"]),
    ("/minidriver", INSIDE, {}, ["the service is Arbitrary"]),
])
def test_what_is_no_imagery_or_asks_for_too_much(server, tmp_path, raster, bbox, keys, words):
    url = server.url
    gdal = ('<GDAL_WMS><Service name="{}"><ServerUrl>{}</ServerUrl></Service>{}</GDAL_WMS>')
    server.files |= {
        "/text": b"hello there", "/half": server.files["/a.tif"][:200],
        "/item": item({"red": RED, "data": {"href": "b.tif", "type": "image/tiff"}}),
        "/empty": item({}), "/catalog": b'{"type": "Catalog"}', "/json": b'{"type": "Feature"}',
        "/s3": item({"visual": {"href": "s3://bucket/a.tif", "type": "image/tiff"}}),
        "/file": item({"visual": {"href": "file:///etc/passwd", "type": "image/tiff"}}),
        "/broken": item({"visual": {"href": "https://[x/a.tif", "type": "image/tiff"}}),
        "/small.tif": tiff(pixels(300, 300, 1), grid()),
        "/a1.tif": tiff(pixels(600, 600, 1), grid()),
        "/grids": item({"red": {**RED, "href": "a1.tif"}, "green": {"href": "small.tif"},
                        "blue": {"href": "a1.tif"}}),
        "/wmts": capabilities(f"{url}/tiles"),
        "/layers": capabilities(f"{url}/tiles", ("ortho", "map")),
        "/wms": wms_capabilities(f"{url}/draw"), "/xml": b"<kml></kml>",
        "/entity": b'<!DOCTYPE a [<!ENTITY b "c">]><GDAL_WMS/>',
        "/local": capabilities("file:///etc"),
        "/vsi": gdal.format("TMS", f"/vsicurl/{url}/a.tif", "").encode(),
        "/cache": gdal.format("TMS", url, "<Cache><Path>/etc</Path></Cache>").encode(),
        "/minidriver": gdal.format("Arbitrary", url, "").encode(),
    }
    message = message_of(f"{url}{raster}", tmp_path, bbox, **keys)
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(("raster", "words"), [
    ("s3://bucket/a.tif", ["an address of a store", "download it"]),
    ("/vsicurl/http://x/a.tif", ["an address of a store"]),
    ("ftp://me:secret@host/a.tif", ["ftp://host/a.tif: an address of a store"]),
    ("https://[::1/a.tif?key=secret", ["not a valid address"]),
    ("missing.json", ["no such file"]),
    ("http://127.0.0.1:9/a.tif", ["refuses the connection", "network"]),
])
def test_an_address_that_is_not_fetched(tmp_path, raster, words):
    message = message_of(raster, tmp_path, None)
    for word in words:
        assert word in message
    assert "secret" not in message


def test_a_geotiff_of_a_huge_declared_size(server, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.remote.area.MOST_PIECES", 1)
    server.files["/wide.tif"] = tiff(pixels(300, 3000), grid())
    assert "in 2 pieces, expected 1 at most" in message_of(f"{server.url}/wide.tif", tmp_path, None)


def test_an_item_leaves_its_folder_for_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out.tif").write_bytes(tiff(pixels(50, 50), grid()))
    path = tmp_path / "in" / "item.json"
    path.write_bytes(item({"visual": {"href": "../out.tif"}}))
    assert "a path below the item" in message_of(str(path), tmp_path, None)


@pytest.mark.parametrize(("values", "words"), [
    ([15.002, 49.65, 15.0, 49.66], "west 15.002 is east of east 15"),
    ([179.9, -17, -179.9, -16], "across the antimeridian"),
    ([15.0, 49.65, 15.0, 49.66], "an empty box"),
])
def test_a_box_is_checked_before_anything_is_fetched(server, place, values, words):
    with pytest.raises(ConfigError, match=words):
        prepare(place, raster=f"{server.url}/a.tif", bbox=values)
    assert not server.requests


def test_a_killed_run_fetches_the_rest(server, tmp_path):
    server.fault("/tiles", Fault(times=EVER, wait_s=3, skip=3))
    fetch = (f"from datasets.bbox import BBox\nfrom datasets.remote.imagery import localised\n"
             f"localised({server.url + TILES!r}, BBox(*{INSIDE.bounds!r}), {ZOOM}, "
             f"cache={str(tmp_path / 'cache')!r}, progress=False)")
    run = subprocess.Popen([sys.executable, "-c", fetch], cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while len(list(tmp_path.rglob("[0-9]*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    there = len(list(tmp_path.rglob("[0-9]*.png")))
    assert there == 3
    server._faults.clear()
    before = len(server.requests)
    fetched(f"{server.url}{TILES}", tmp_path, INSIDE, zoom=ZOOM)
    assert len(server.requests) - before == 6 - there
