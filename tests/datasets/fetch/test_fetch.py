"""`python -m datasets.fetch` against a real server: what it brings, resumes and refuses."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import osmium
import pytest
import rasterio
import xyzservices
from xyzservices import TileProvider

from datasets.fetch.flow import fetch
from datasets.remote.http import RemoteError
from tests.datasets.fetch.places import PATIENCE, ZOOM, objects, whole
from tests.processes import environment, limited
from tests.robustness.remedies import ROOT, follow
from tests.servers import EVER, Fault
from utils.errors import ConfigError, PrepareError


def run(city, server, out, **keys):
    return fetch(city.keys(server, out, **keys), PATIENCE)


def extract(city, folder):
    """Return a folder with country.osm.pbf, the same objects as a PBF."""
    folder.mkdir()
    with osmium.SimpleWriter(str(folder / "country.osm.pbf")) as writer:
        for element in osmium.FileProcessor(str(whole(city, folder.parent))):
            writer.add(element)
    return folder


def fetched(server):
    return [path for path in server.paths() if path.startswith("/tiles/")]


def test_the_command_fetches_all_and_says_what_follows(city, server, tmp_path):
    """Tiles, objects and cells are those of the server; what it prints prepares them."""
    keys = vars(city.keys(server, "raw/my city", population=f"{server.url}/population.tif"))
    given = [f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}"
             for name, value in keys.items() if name in (
                 "bbox", "out", "zoom", "imagery", "osm", "overpass_url", "population")]
    command = [sys.executable, "-m", "datasets.fetch", *given]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          env=environment() | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    out = tmp_path / "raw" / "my city"
    assert sorted(path.name for path in out.iterdir()) == [
        "ATTRIBUTION.txt", "imagery", "osm.osm", "population.tif", "sources.json"]
    for address, content in city.tiles.items():
        assert (out / address.replace("/tiles", "imagery", 1)).read_bytes() == content
    assert len(objects(out / "osm.osm", city)) > 30
    assert objects(out / "osm.osm", city) == objects(whole(city, tmp_path), city)
    assert sorted(fetched(server)) == sorted(city.tiles)  # each once
    assert all("rose" in request.headers["User-Agent"] for request in server.requests)
    following = done.stdout.splitlines()[-1]
    assert "city=my_city" in following
    shutil.copy(ROOT / "prepare_dataset.py", tmp_path)
    made = follow(f"{following} tile_px=64 workers=1", tmp_path)
    assert "distinct tag values: 5" in made.stdout
    assert (tmp_path / "data" / "my_city").is_dir()


def test_a_second_run_asks_for_nothing_and_another_is_refused(city, server, tmp_path, capfd):
    out = tmp_path / "raw"
    run(city, server, out)
    asked, before = len(server.requests), (out / "sources.json").read_bytes()
    assert "there already" in run(city, server, out)
    assert (len(server.requests), (out / "sources.json").read_bytes()) == (asked, before)
    with pytest.raises(PrepareError, match=r"was fetched with zoom=17, expected 16.*overwrite="):
        run(city, server, out, zoom=16)
    box = [round(side + 0.001, 5) for side in city.box.bounds]
    with pytest.raises(PrepareError, match=r"imagery: was fetched with bbox=\[13.41"):
        run(city, server, out, bbox=box)
    assert len(server.requests) == asked
    # what is asked for besides comes to it; what is replaced goes
    run(city, server, out, population=f"{server.url}/population.tif")
    assert (out / "population.tif").is_file()
    assert not [path for path in server.paths()[asked:] if "population" not in path]
    (out / "imagery" / str(ZOOM)).rename(out / "imagery" / "lost")
    (out / "imagery" / "lost" / "extra").touch()  # no longer what was fetched
    run(city, server, out, osm=None)
    assert sorted(path.name for path in (out / "imagery").iterdir()) == [str(ZOOM)]
    again = run(city, server, out, overwrite=True, imagery=None, zoom=None)
    assert "raster=null" in again
    assert sorted(path.name for path in out.iterdir()) == [
        "ATTRIBUTION.txt", "osm.osm", "sources.json"]


def test_a_raster_by_url_is_copied_by_ranges_and_objects_cover_it(city, server, tmp_path):
    out = tmp_path / "raw"
    said = run(city, server, out, imagery=f"{server.url}/city.tif", zoom=None, osm=str(
        whole(city, tmp_path)))
    raster = out / "imagery" / re.search(r"raster=\S+/imagery/(\S+)", said)[1]
    with rasterio.open(raster) as copy, rasterio.open(city.image) as original:
        window = original.window(*copy.bounds).round_offsets().round_lengths()
        assert np.array_equal(copy.read(), original.read(window=window))
    assert any(request.range for request in server.requests if request.path == "/city.tif")
    record = json.loads((out / "sources.json").read_text())["items"]
    with rasterio.open(raster) as copy:  # its corners reach beyond the box
        west, _, east, _ = rasterio.warp.transform_bounds(copy.crs, "EPSG:4326", *copy.bounds)
    assert record["osm"]["area"][0] < west - 0.001 < city.box.west
    assert record["osm"]["area"][2] > east + 0.001 > city.box.east
    assert objects(out / "osm.osm.pbf", city) == objects(tmp_path / "whole.osm", city)


def test_an_extract_by_url_resumes_where_it_stopped(city, server, tmp_path):
    server.folder = extract(city, tmp_path / "files")
    size = (server.folder / "country.osm.pbf").stat().st_size
    server.fault("country", Fault(after=size // 2))
    run(city, server, tmp_path / "raw", imagery=None, osm=f"{server.url}/country.osm.pbf")
    ranges = [request.range for request in server.requests]
    assert ranges == [None, f"bytes={size // 2}-"]
    assert objects(tmp_path / "raw" / "osm.osm.pbf", city) == objects(
        server.folder / "country.osm.pbf", city)
    assert not list((tmp_path / "raw").glob(".*"))


def test_what_is_ready_waits_for_a_server_that_fails(city, server, tmp_path):
    """Imagery is kept when Overpass refuses, unseen, and is not asked for a second time."""
    out = tmp_path / "raw"
    server.fault("interpreter", Fault(429, 3, headers={"Retry-After": "0"}))
    with pytest.raises(RemoteError, match=r"interpreter: the server answers 429.*overpass_url="):
        run(city, server, out)
    assert [path.name for path in out.iterdir()] == [".fetch"]
    tiles = len(fetched(server))
    run(city, server, out)
    assert len(fetched(server)) == tiles == len(city.tiles)
    assert (out / "osm.osm").is_file()
    assert not (out / ".fetch").exists()


def test_a_killed_run_resumes(city, server, tmp_path):
    out, keys = tmp_path / "raw", city.keys(server, tmp_path / "raw", zoom=ZOOM)
    server.fault("tiles", Fault(times=EVER, wait_s=30, skip=2))
    program = (f"from datasets.fetch.flow import fetch\nfrom datasets.keys import FetchConfig\n"
               f"fetch(FetchConfig(**{vars(keys)!r}))")
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment(),
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.rglob("*.png"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (out / "imagery").exists()
    kept = {f"/tiles/{path.parent.parent.name}/{path.parent.name}/{path.name}"
            for path in out.rglob("*.png")}
    asked = len(server.requests)
    server._faults.clear()
    run(city, server, out)
    assert set(server.paths()[asked:]) == {*city.tiles, "/api/interpreter"} - kept
    assert len(kept) == 2


@pytest.fixture
def provider(city, server, monkeypatch):
    """A provider of xyzservices on the loopback interface that wants a key."""
    (south, north), (west, east) = ((city.box.south - 1, city.box.north + 1),
                                    (city.box.west - 1, city.box.east + 1))
    entry = TileProvider(
        name="Test.Imagery", url=server.url + "/{variant}/{z}/{x}/{y}.png?key={apikey}",
        variant="tiles", apikey="<insert your key here, from https://test/keys>", max_zoom=ZOOM,
        attribution="(C) Test & Co", bounds=[[south, west], [north, east]],
        html_attribution='&copy; <a href="https://test/terms">Test &amp; Co</a>')
    monkeypatch.setitem(xyzservices.providers, "Test", xyzservices.Bunch(Imagery=entry))
    return entry


def test_a_provider_by_name(city, server, provider, tmp_path, capfd):
    out = tmp_path / "raw"
    keys = {"imagery": "test.imagery", "imagery_key": "s3cret&", "zoom": None}
    assert "dry_run=true" in run(city, server, out, **keys, dry_run=True)
    lines = capfd.readouterr().out
    for words in ("4 web map tiles of Test.Imagery, zoom 17, pixels of 0.73 m, about 80 kB",
                  "owner: (C) Test & Co", "terms: https://test/terms", "0.08 km2"):
        assert words in lines
    assert (server.requests, out.exists()) == ([], False)
    run(city, server, out, **keys, osm=None)
    assert all(request.query["key"] == ["s3cret&"] for request in server.requests)
    assert "drawn map" not in capfd.readouterr().out
    texts = [path.read_text() for path in (out / "sources.json", out / "ATTRIBUTION.txt")]
    assert all("(C) Test & Co" in text and "https://test/terms" in text for text in texts)
    assert not any("s3cret" in text for text in texts)


@pytest.mark.parametrize(("keys", "words"), [
    ({"bbox": [13.42, 52.44, 13.41, 52.45]}, "bbox=[13.42,52.44,13.41,52.45]: west 13.42 is east"),
    ({"bbox": [13.41, 52.45, 13.42, 52.44]}, "south 52.45 is above north 52.44"),
    ({"bbox": [13.41, 52.44, 13.41, 52.45]}, "an empty box"),
    ({"bbox": [179.9, 52.44, -179.9, 52.45]}, "across the antimeridian"),
    ({"bbox": [13, 52, 14, 53]}, "bbox=[13,52,14,53]: 7,557 km2, expected 2,500 at most; pass a "
                                 "smaller box, or most_km2=7558"),
    ({"bbox": [13.3, 52.4, 13.6, 52.6], "zoom": 18}, "zoom=18: 52,800 tiles in 453.4 km2, expected "
     "10,000 at most, as providers forbid downloads in bulk; pass a smaller bbox=, zoom=16"),
    ({"imagery": None, "osm": None}, "imagery: no value given, nor osm= or population="),
    ({"imagery": "Esri.WorldImagry", "zoom": None}, "imagery=Esri.WorldImagry: no provider of this "
     "name; did you mean Esri.WorldImagery"),
    ({"imagery": "MapTiler.Satellite"}, "MapTiler.Satellite: wants a key of yours; get one from "
                                        "the provider, and pass imagery_key="),
    ({"imagery": "Esri.WorldImagery", "imagery_key": "k"}, "Esri.WorldImagery wants no key"),
    ({"imagery": "SwissFederalGeoportal.SWISSIMAGE"}, "nothing of bbox="),
    ({"imagery": "Esri.ArcticImagery"}, "its tiles are in EPSG:5936"),
    ({"imagery": "nlmaps.standaard", "bbox": [5, 52, 5.01, 52.01], "zoom": 20},
     "zoom=20: nlmaps.standaard has the zooms 6 to 19"),
    ({"imagery": "city.tif"}, "imagery=city.tif: a local raster needs no fetching"),
    ({"imagery": "https://host/{z}/{x}"}, "imagery=https://host/{z}/{x}: expected {z}, {x}"),
    ({"osm": "city.gpkg"}, "osm=city.gpkg: expected overpass, or the URL or path of an extract"),
    ({"population": "none.tif"}, "population=none.tif: no such file"),
    ({"overpass_url": "overpass"}, "overpass_url=overpass: not an address"),
])
def test_impossible_requests(city, server, tmp_path, keys, words):
    with pytest.raises((ConfigError, PrepareError)) as caught:
        run(city, server, tmp_path / "raw", **keys)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (server.requests, (tmp_path / "raw").exists()) == ([], False)


@pytest.mark.parametrize(("path", "fault", "words"), [
    ("tiles", Fault(403, EVER, b"no"), "tiles/17/"),
    ("tiles", Fault(200, EVER, b"<html>login", "text/html"), "a web page"),
    ("interpreter", Fault(504, EVER, b"<html>too busy", "text/html"), "504 Gateway Timeout (too"),
    ("interpreter", Fault(200, EVER, b"<html>Error: dispatcher", "text/html"), "a web page"),
    ("interpreter", Fault(200, EVER, after=700), "stops midway"),
    ("interpreter", Fault(200, EVER, b'<osm><node id="3" lat="1" lon="1"/>', "text/xml"),
     "the answer is no whole OpenStreetMap data (no element found"),
    ("interpreter", Fault(200, EVER, b"<osm><remark> runtime error: Query timed out in &quot;query&"
                                     b"quot; at line 4 after 180 seconds. </remark></osm>",
                          "text/xml"),
     "the server stopped with 'runtime error: Query timed out in \"query\" at line 4 after 180 "),
    ("interpreter", Fault(200, EVER, b"<osm></osm>", "text/xml"), "has no object with a key of"),
    ("interpreter", Fault(200, EVER, b'<!DOCTYPE x [<!ENTITY a "b">]><osm></osm>', "text/xml"),
     "declares a document type"),
    ("population", Fault(404, EVER), "population.tif: the server answers 404"),
])
def test_servers_that_fail(city, server, tmp_path, path, fault, words):
    server.fault(path, fault)
    with pytest.raises(PrepareError) as caught:
        run(city, server, tmp_path / "raw", population=f"{server.url}/population.tif")
    assert str(caught.value).startswith(server.url)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "raster=" not in str(caught.value)
    assert not [entry for entry in (tmp_path / "raw").iterdir() if not entry.name.startswith(".")]


def test_own_files_stay(city, server, tmp_path):
    out = tmp_path / "raw"
    out.mkdir()
    (out / "osm.osm").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(PrepareError, match=r"osm.osm: is there already, and was not fetched"):
            run(city, server, out, overwrite=overwrite)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("osm.osm", "mine")]


def test_a_full_disk_is_an_error_of_one_line(city, server, tmp_path):
    server.folder = extract(city, tmp_path / "files")
    for keys in ({"imagery": None, "osm": f"{server.url}/country.osm.pbf"}, {},
                 {"imagery": None, "osm": str(server.folder / "country.osm.pbf")}):
        with limited(1000), pytest.raises((OSError, PrepareError), match=r"(?i)too large"):
            run(city, server, tmp_path / "raw", **keys)
        assert not (tmp_path / "raw" / "sources.json").exists()
