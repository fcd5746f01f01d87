"""Imagery by URL is the same, bit for bit, as the same imagery as a GeoTIFF here; and is fetched
once."""

import os
from pathlib import Path

import mercantile
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp

from datasets.bbox import BBox
from datasets.remote.http import USER_AGENT
from tests.datasets.prepare.places import contents, grid, pixels, prepare
from tests.datasets.remote.serving import (
    INSIDE,
    ZOOM,
    assert_same,
    capabilities,
    draw,
    fetched,
    item,
    pixels_of,
    serve_tiles,
    tiff,
    web_grid,
    web_picture,
    wms_capabilities,
)
from tests.servers import EVER, Fault, Server

HERE = BBox(15.0002, 49.65195, 15.0012, 49.6525)  # of `places`


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture
def picture(tmp_path) -> Path:
    """The GeoTIFF of `web_picture`."""
    path = tmp_path / "web.tif"
    path.write_bytes(tiff(web_picture(), web_grid(), "EPSG:3857"))
    return path


def tiles_of(folder: Path) -> dict[str, bytes]:
    """Return what a dataset holds, without its record of where it came from."""
    return {name: data for name, data in contents(folder).items() if not name.endswith("meta.json")}


@pytest.mark.parametrize("bbox", [None, HERE])
@pytest.mark.parametrize("profile", [
    {}, {"driver": "COG", "blocksize": 256, "compress": "deflate"}, {"compress": "lzw"},
    {"tiled": False, "blockysize": 7}, {"interleave": "band"}, {"nodata": 0},
])
def test_a_geotiff(server, tmp_path, profile, bbox):
    image = pixels(600, 700)
    image[:9, :11] = 0
    content = tiff(image, grid(), **profile)
    (tmp_path / "local.tif").write_bytes(content)
    server.files["/get"] = content  # an address without an ending, as signed ones have
    local = fetched(f"{server.url}/get?id=7&sig=secret", tmp_path, bbox)
    assert_same(local.raster, tmp_path / "local.tif", {"bbox": bbox}, {"bbox": bbox})
    assert {request.headers["User-Agent"] for request in server.requests} == {USER_AGENT}
    assert local.origin == f"{server.url}/get?id=7&sig=KEY"
    assert b"secret" not in b"".join(contents(tmp_path / "cache").values())


@pytest.mark.parametrize("kind", ["alpha", "mask", "palette", "uint16", "float"])
def test_what_a_geotiff_says_of_its_pixels(server, tmp_path, kind):
    count = {"alpha": 4, "palette": 1}.get(kind, 3)
    dtype = {"uint16": "uint16", "float": "float32"}.get(kind, "uint8")
    image = (pixels(300, 320, count).astype(dtype) * (100 if kind == "uint16" else 1))
    path = tmp_path / "plain.tif"
    with (rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
          rasterio.open(path, "w", driver="GTiff", width=320, height=300, count=count,
                        dtype=dtype, crs="EPSG:32633", transform=grid(), tiled=True,
                        blockxsize=128, blockysize=128) as file):
        if kind == "alpha":
            image[:40, :, 3] = 0
            file.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red,
                                ColorInterp.alpha]
        if kind == "palette":
            file.write_colormap(1, {value: (value, 255 - value, 7, 255) for value in range(256)})
        file.write(np.moveaxis(image, -1, 0))
        if kind == "mask":
            mask = np.full((300, 320), 255, np.uint8)
            mask[100:200, 50:90] = 0
            file.write_mask(mask)
    rasterio.shutil.copy(path, tmp_path / "local.tif", driver="COG", blocksize=128)
    server.folder = tmp_path
    assert_same(fetched(f"{server.url}/local.tif", tmp_path).raster, path)


def test_of_a_large_geotiff_only_the_window_is_fetched(server, tmp_path):
    server.files["/a.tif"] = tiff(pixels(3000, 3000), grid())
    local = fetched(f"{server.url}/a.tif", tmp_path, HERE)
    sizes = [int(request.range.partition("-")[2]) - int(request.range.split("=")[1].split("-")[0])
             for request in server.requests if request.range]
    assert sum(sizes) < len(server.files["/a.tif"]) * 0.6
    assert pixels_of(local.raster)[0].shape[:2] != (3000, 3000)
    assert all(request.range for request in server.requests if request.method == "GET")
    assert server.most_at_once <= 4


def test_a_coarser_resolution_is_served_by_an_overview(server, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(pixels(2048, 2048), grid(), driver="COG", blocksize=256,
                          overview_resampling="average"))
    server.folder = tmp_path
    local = fetched(f"{server.url}/a.tif", tmp_path, resolution=2.0)
    with rasterio.open(path, OVERVIEW_LEVEL=1) as overview:
        np.testing.assert_array_equal(pixels_of(local.raster)[0],
                                      np.moveaxis(overview.read(), 0, -1))
    assert sum(len(path.read_bytes()) for path in (tmp_path / "cache").rglob("*.tif")) < 2e6


def test_tiles(server, tmp_path, picture):
    serve_tiles(server, web_picture())
    address = f"{server.url}/tiles/{{z}}/{{x}}/{{y}}.png?key=1"
    local = fetched(address, tmp_path, INSIDE, zoom=ZOOM)
    assert_same(local.raster, picture, {"bbox": INSIDE, "zoom": ZOOM}, {"bbox": INSIDE})
    assert {request.query["key"][0] for request in server.requests} == {"1"}
    assert server.most_at_once <= 4
    before = len(server.requests)
    fetched(address.replace("=1", "=2"), tmp_path, INSIDE, zoom=ZOOM)
    assert len(server.requests) == before


@pytest.mark.parametrize("template", ["{z}/{x}/{-y}.png", "q/{q}.png"])
def test_other_addresses_of_tiles(server, tmp_path, picture, template):
    serve_tiles(server, web_picture())
    for path, content in list(server.files.items()):
        z, x, y = map(int, path[:-4].split("/")[2:])
        server.files[f"/tiles/q/{mercantile.quadkey(x, y, z)}.png"] = content
        server.files[f"/tms/{z}/{x}/{2**z - 1 - y}.png"] = content
    folder = "tiles" if "q" in template else "tms"
    local = fetched(f"{server.url}/{folder}/{template}", tmp_path, INSIDE, zoom=ZOOM)
    assert_same(local.raster, picture, {"bbox": INSIDE, "zoom": ZOOM}, {"bbox": INSIDE})


def test_tiles_that_a_server_lacks_are_gaps_and_not_asked_for_again(server, tmp_path):
    serve_tiles(server, web_picture())
    lacking = list(server.files)[4:6]
    for path in lacking:
        del server.files[path]
    address = f"{server.url}/tiles/{{z}}/{{x}}/{{y}}.png"
    local = fetched(address, tmp_path, INSIDE, zoom=ZOOM)
    assert any("no image for" in note and "gaps" in note for note in local.notes)
    before = len(server.requests)
    assert fetched(address, tmp_path, INSIDE, zoom=ZOOM) == local
    assert len(server.requests) == before


def test_tiles_that_are_there_keep_their_day(server, tmp_path):
    serve_tiles(server, web_picture())
    raster = f"{server.url}/tiles/{{z}}/{{x}}/{{y}}.png?key="
    fetched(f"{raster}1", tmp_path, INSIDE, zoom=ZOOM)
    before = len(server.requests)
    for column in (tmp_path / "cache").glob("*/tiles/*/*"):
        os.utime(column, (1e9, 1e9))
    other = fetched(f"{raster}2", tmp_path, INSIDE, zoom=ZOOM)
    assert (other.fetched[:7], len(server.requests)) == ("2001-09", before)


def test_a_stac_item(server, tmp_path, picture):
    server.files["/picture.tif"] = picture.read_bytes()
    server.files["/items/a"] = item({
        "thumbnail": {"href": "small.png", "type": "image/png", "roles": ["thumbnail"]},
        "visual": {"href": "../picture.tif", "type": "image/tiff; application=geotiff"}})
    local = fetched(f"{server.url}/items/a", tmp_path, INSIDE)
    assert_same(local.raster, picture, {}, {"bbox": INSIDE})
    assert local.attribution == "Survey; licence CC-BY-4.0"
    path = tmp_path / "item.json"
    path.write_bytes(server.files["/items/a"].replace(b"../picture.tif",
                                                      f"{server.url}/picture.tif".encode()))
    assert_same(fetched(str(path), tmp_path, INSIDE).raster, local.raster)


@pytest.mark.parametrize("bands", ["eo:bands", "bands"])
def test_a_stac_item_of_three_files(server, tmp_path, picture, bands):
    image, assets = web_picture(), {}
    for band, (name, colour) in enumerate([("B02", "blue"), ("B03", "green"), ("B04", "red")]):
        server.files[f"/{name}.tif"] = tiff(image[..., 2 - band:3 - band], web_grid(), "EPSG:3857")
        known = {"common_name": colour} if bands == "eo:bands" else {"eo:common_name": colour}
        assets[name] = {"href": f"{name}.tif", "type": "image/tiff", bands: [known]}
    server.files["/a.json"] = item(assets)
    assert_same(fetched(f"{server.url}/a.json", tmp_path, INSIDE).raster, picture, {},
                {"bbox": INSIDE})


def test_a_stac_item_that_names_the_bands_of_its_file(server, tmp_path, picture):
    image = web_picture()
    stacked = np.concatenate([image[..., :1], image[..., ::-1]], axis=-1)  # infrared, b, g, r
    server.files["/all.tif"] = tiff(stacked, web_grid(), "EPSG:3857")
    names = [{"common_name": name} for name in ("nir", "blue", "green", "red")]
    server.files["/a.json"] = item({"image": {"href": "all.tif", "type": "image/tiff",
                                              "eo:bands": names}})
    assert_same(fetched(f"{server.url}/a.json", tmp_path).raster, picture)


def test_a_stac_item_whose_picture_is_here(tmp_path, picture):
    (tmp_path / "a.json").write_bytes(item({"visual": {"href": "web.tif"}}))
    assert fetched(str(tmp_path / "a.json"), tmp_path).raster == str(picture)


@pytest.mark.parametrize("form", ["url", "file", "driver"])
def test_a_wmts(server, tmp_path, picture, form):
    serve_tiles(server, web_picture())
    content = capabilities(f"{server.url}/tiles", ("ortho", "map") if form == "driver" else
                           ("ortho",))
    server.files["/wmts"] = content
    (tmp_path / "wmts.xml").write_bytes(content)
    address = f"{server.url}/wmts?request=GetCapabilities&token=secret"
    raster = {"url": address, "file": str(tmp_path / "wmts.xml"),
              "driver": f"WMTS:{address},layer=ortho"}[form]
    local = fetched(raster, tmp_path, INSIDE, zoom=ZOOM)
    own, its = pixels_of(local.raster), pixels_of(picture, bbox=INSIDE)
    np.testing.assert_array_equal(own[0], its[0])
    assert own[2] == pytest.approx(its[2])
    assert local.attribution == "Survey"
    assert {request.headers["User-Agent"] for request in server.requests} == {USER_AGENT}
    assert server.most_at_once <= 4
    assert not list(tmp_path.glob("**/on-the-way"))
    assert not list((tmp_path / "cache").glob("**/service.xml"))


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_a_wms(server, tmp_path, version):
    server.files["/draw"] = draw
    server.files["/wms"] = wms_capabilities(f"{server.url}/draw", version)
    local = fetched(f"{server.url}/wms?request=GetCapabilities", tmp_path, INSIDE, zoom=ZOOM)
    rgb, valid, place = pixels_of(local.raster)
    column, row = (round((place[2] + 20037508.342789244) / place[0]),
                   round((20037508.342789244 - place[5]) / place[0]))
    assert valid.all()
    np.testing.assert_array_equal(rgb[0, :, 0], np.arange(column, column + rgb.shape[1]) % 250)
    np.testing.assert_array_equal(rgb[:, 0, 1], np.arange(row, row + rgb.shape[0]) % 250)
    west, _, east, north = INSIDE.bounds_in("EPSG:3857")
    assert place[2] <= west < place[2] + 2 * place[0]
    assert place[5] >= north > place[5] - 2 * place[0]
    assert place[0] * rgb.shape[1] == pytest.approx(east - west, abs=2 * place[0])


def test_a_description_for_gdal(server, tmp_path, picture):
    serve_tiles(server, web_picture())
    (tmp_path / "tms.xml").write_text(f"""<GDAL_WMS><Service name="TMS">
        <ServerUrl>{server.url}/tiles/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service><DataWindow>
        <UpperLeftX>-20037508.342789244</UpperLeftX><UpperLeftY>20037508.342789244</UpperLeftY>
        <LowerRightX>20037508.342789244</LowerRightX><LowerRightY>-20037508.342789244</LowerRightY>
        <TileLevel>{ZOOM}</TileLevel><TileCountX>1</TileCountX><TileCountY>1</TileCountY>
        <YOrigin>top</YOrigin></DataWindow><Projection>EPSG:3857</Projection>
        <BlockSizeX>256</BlockSizeX><BlockSizeY>256</BlockSizeY><BandsCount>3</BandsCount>
        <Cache/></GDAL_WMS>""")
    local = fetched(str(tmp_path / "tms.xml"), tmp_path, INSIDE)
    own, its = pixels_of(local.raster), pixels_of(picture, bbox=INSIDE)
    np.testing.assert_array_equal(own[0], its[0])


def test_a_dataset_of_imagery_by_url_is_that_of_the_file(server, tmp_path, place):
    server.folder = place.folder
    cache = {"imagery_cache": str(tmp_path / "cache"), "bbox": list(HERE.bounds)}
    prepare(place, **cache, tile_px=32)
    prepare(place, **cache, tile_px=32, raster=f"{server.url}/city.tif?token=secret",
            out=place.folder / "remote")
    own, its = tiles_of(place.folder / "remote"), tiles_of(place.folder / "out")
    assert own == its
    assert own
    record = (place.folder / "remote" / "cities" / "c" / "meta.json").read_text()
    assert "secret" not in record
    assert f"{server.url}/city.tif?token=KEY" in record


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    server.files["/a.tif"] = tiff(pixels(600, 600), grid())
    local = fetched(f"{server.url}/a.tif", tmp_path)
    before = len(server.requests)
    again = fetched(f"{server.url}/a.tif", tmp_path)
    assert (again.raster, len(server.requests)) == (local.raster, before)
    assert "`rm -r" in again.notes[0]
    Path(local.raster).unlink()
    assert_same(fetched(f"{server.url}/a.tif", tmp_path).raster, again.raster)


@pytest.mark.parametrize("etags", [True, False])
def test_pieces_of_a_file_that_has_changed_are_not_mixed(server, tmp_path, etags):
    server.etags = etags
    first, second = BBox(15.0, 49.651, 15.001, 49.6525), BBox(15.0, 49.651, 15.0012, 49.6525)
    server.files["/a.tif"] = tiff(pixels(600, 600), grid())
    old = fetched(f"{server.url}/a.tif", tmp_path, first)
    (tmp_path / "b.tif").write_bytes(tiff(255 - pixels(600, 600)[:, :, ::-1], grid(),
                                          compress=None if etags else "lzw"))
    server.files["/a.tif"] = (tmp_path / "b.tif").read_bytes()
    assert_same(fetched(f"{server.url}/a.tif", tmp_path, second).raster, tmp_path / "b.tif",
                other_keys={"bbox": second})
    assert fetched(f"{server.url}/a.tif", tmp_path, first).raster == old.raster


def test_a_server_that_takes_no_head(server, tmp_path):
    server.files["/a.tif"] = tiff(pixels(600, 600), grid())
    (tmp_path / "a.tif").write_bytes(server.files["/a.tif"])
    server.head = 403
    assert_same(fetched(f"{server.url}/a.tif", tmp_path).raster, tmp_path / "a.tif")


def test_a_layer_is_a_source_of_its_own(server, tmp_path):
    serve_tiles(server, web_picture())
    serve_tiles(server, 255 - web_picture(), "other")
    server.files["/wmts"] = capabilities(f"{server.url}/tiles", ("ortho", "map")).replace(
        b"/tiles/", b"/other/", 1)
    address = f"{server.url}/wmts?token=secret"
    ortho, drawn = (pixels_of(fetched(f"{address},layer={layer}", tmp_path, INSIDE,
                                      zoom=ZOOM).raster)[0] for layer in ("ortho", "map"))
    np.testing.assert_array_equal(ortho, 255 - drawn)


def test_a_stopped_copy_fetches_the_rest(server, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.remote.pieces._SIDE", 256)
    server.files["/a.tif"] = tiff(pixels(1000, 1000), grid())
    server.fault("/a", Fault(500, EVER, skip=20))
    with pytest.raises(Exception, match="500 Internal Server Error"):
        fetched(f"{server.url}/a.tif", tmp_path)
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*_*.tif")}
    assert 0 < len(there) < 16
    server._faults.clear()
    before = len(server.requests)
    local = fetched(f"{server.url}/a.tif", tmp_path)
    np.testing.assert_array_equal(pixels_of(local.raster)[0], pixels(1000, 1000))
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert len(server.requests) > before
