"""Rasters that are hostile, damaged or odd: one line, or the pixels that they hold."""

import http.server
import threading
from html import escape

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from datasets.prepare.imagery.mosaic import open_mosaic
from datasets.prepare.targets.land_use import LandUse
from datasets.prepare.targets.rasters import open_raster
from tests.datasets.prepare.places import UTM, grid, pixels, write_raster
from utils.errors import PrepareError, RoseError

IMAGE = pixels(64, 64)


@pytest.fixture
def server():
    """A loopback server; `requests` are the paths that were asked for."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests.append(self.path)
            self.send_error(404)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def vrt(name="a.tif", *, relative=1, srs=UTM, head="", band="", inside="", attributes="", end=""):
    """Return a VRT of three bands of one file."""
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{number}" {band}><SimpleSource><SourceFilename '
        f'relativeToVRT="{relative}">{name}</SourceFilename><SourceBand>{number}</SourceBand>'
        f"</SimpleSource>{inside}</VRTRasterBand>" for number in (1, 2, 3))
    transform = ", ".join(map(str, grid().to_gdal()))
    return (f'{head}<VRTDataset rasterXSize="64" rasterYSize="64" {attributes}><SRS>{srs}</SRS>'
            f"<GeoTransform>{transform}</GeoTransform>{bands}{end}</VRTDataset>")


WMS = ('<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/t/${{z}}/${{x}}/${{y}}.png</ServerUrl>'
       "</Service><DataWindow><UpperLeftX>500000</UpperLeftX><UpperLeftY>5500000</UpperLeftY>"
       "<LowerRightX>500032</LowerRightX><LowerRightY>5499968</LowerRightY><TileLevel>0"
       "</TileLevel><SizeX>64</SizeX><SizeY>64</SizeY></DataWindow><Projection>EPSG:32633"
       "</Projection><BandsCount>3</BandsCount></GDAL_WMS>")
PYTHON = ("<PixelFunctionType>run</PixelFunctionType><PixelFunctionLanguage>Python"
          "</PixelFunctionLanguage><PixelFunctionCode>\nimport pathlib\n"
          "pathlib.Path('{mark}').touch()\ndef run(*rest): pass\n</PixelFunctionCode>")
FETCHED = "/vsicurl/{url}/a.tif"
META = '<Metadata domain="{domain}"><MDI key="{key}">{url}/o.tif</MDI></Metadata>'
# file -> content; the first file is the one that is opened
HOSTILE = {
    "curl": {"h.vrt": vrt(FETCHED, relative=0)},
    "curl said to be relative": {"h.vrt": vrt(FETCHED)},
    "url": {"h.vrt": vrt("{url}/a.tif", relative=0)},
    "in gzip": {"h.vrt": vrt("/vsigzip/" + FETCHED, relative=0)},
    "service": {"h.vrt": vrt("WCS:{url}/a", relative=0)},
    "inline service": {"h.vrt": vrt(escape(WMS), relative=0)},
    "service as a VRT": {"h.vrt": WMS},
    "service as a GeoTIFF": {"h.tif": WMS},
    "VRT as a GeoTIFF": {"h.tif": vrt(FETCHED, relative=0)},
    "tile index as a PNG": {"h.png": "<GDALTileIndexDataset><IndexDataset>/vsicurl/{url}/i.gpkg"
                                     "</IndexDataset></GDALTileIndexDataset>"},
    "VRT of a VRT": {"h.vrt": vrt("in.vrt"), "in.vrt": vrt(FETCHED, relative=0)},
    "VRT of a service": {"h.vrt": vrt("in.tif"), "in.tif": WMS},
    "overviews": {"h.tif": None, "h.tif.ovr": vrt(FETCHED, relative=0)},
    "mask": {"h.tif": None, "h.tif.msk": vrt(FETCHED, relative=0)},
    "overviews of a source": {"h.vrt": vrt("in.tif"), "in.tif": None, "in.tif.ovr": WMS},
    "overviews by metadata": {"h.tif": None, "h.tif.aux.xml": "<PAMDataset>" + META.format(
        domain="OVERVIEWS", key="OVERVIEW_FILE", url="/vsicurl/{url}") + "</PAMDataset>"},
    "metadata of a VRT": {"h.vrt": vrt(end=META.format(domain="GEOLOCATION", key="X_DATASET",
                                                       url="{url}"))},
    "CRS": {"h.vrt": vrt(srs="{url}/crs")},
    "CRS beside": {"h.tif": None, "h.tif.aux.xml": "<PAMDataset><SRS>{url}/crs</SRS></PAMDataset>"},
    "attribute": {"h.vrt": vrt(band='SourceFilename="{url}/a.tif"')},
    "entity": {"h.vrt": vrt("&x;", head='<!DOCTYPE v [<!ENTITY x "{url}/a.tif">]>')},
    "split name": {"h.vrt": vrt("a<!-- -->.tif")},
    "warped": {"h.vrt": vrt(attributes='subClass="VRTWarpedDataset"', end=(
        '<GDALWarpOptions><SourceDataset relativeToVRT="0">{url}/w.tif</SourceDataset>'
        "</GDALWarpOptions>"))},
    "code": {"h.vrt": vrt(band='subClass="VRTDerivedRasterBand"', inside=PYTHON)},
    "code in small letters": {"h.vrt": vrt(band='subClass="VRTDerivedRasterBand"',
                                           inside=PYTHON.lower())},
    "any file": {"h.vrt": vrt("/etc/passwd", relative=0)},
    "itself": {"h.vrt": vrt("h.vrt")},
    "bytes": {"h.vrt": "\x00\x01<VRTDataset"},
    "deep": {"h.vrt": "<VRTDataset>" * 5000},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_is_fetched_or_run(tmp_path, server, case, monkeypatch):
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    url, mark = f"http://127.0.0.1:{server.server_port}", tmp_path / "executed"
    write_raster(tmp_path / "a.tif", IMAGE)
    for name, content in HOSTILE[case].items():
        if content is None:
            write_raster(tmp_path / name, IMAGE)
        else:
            text = content.replace("{url}", url).replace("{mark}", str(mark)).replace("${{",
                                                                                      "${")
            (tmp_path / name).write_text(text)
    path = tmp_path / next(iter(HOSTILE[case]))
    for use in (look_at, look_at_target, look_at_labels):
        with pytest.raises(PrepareError) as raised:
            use(path)
        assert "\n" not in str(raised.value)
        assert str(tmp_path) in str(raised.value)
    assert server.requests == []
    assert not mark.exists()


def look_at(path):
    with open_mosaic(path) as mosaic:
        mosaic.thumbnail(16)
        return mosaic.read(Window(0, 0, 64, 64))


def look_at_target(path):
    return open_raster(path, "population").read(Window(0, 0, 64, 64))


def look_at_labels(path):
    classes = LandUse(path)
    classes.check(UTM, (5e5, 5.5e6 - 32, 5e5 + 32, 5.5e6))
    return classes.tile((5e5, 5.5e6 - 32, 5e5 + 32, 5.5e6), UTM, 64)


def test_usual_kinds_of_vrt_are_read(tmp_path):
    source = write_raster(tmp_path / "a.tif", IMAGE)
    with rasterio.open(source) as dataset:
        rasterio.shutil.copy(dataset, tmp_path / "copy.vrt", driver="VRT")
        with WarpedVRT(dataset, crs=UTM, transform=grid(), width=64, height=64) as warped:
            rasterio.shutil.copy(warped, tmp_path / "warped.vrt", driver="VRT")
    (tmp_path / "nested.vrt").write_text(vrt("copy.vrt", head='<?xml version="1.0"?><!-- mine -->'))
    (tmp_path / "absolute.vrt").write_text(vrt(str(source), relative=0))
    (tmp_path / "real.vrt").write_text(vrt(
        band='subClass="VRTDerivedRasterBand"',
        inside="<PixelFunctionType>real</PixelFunctionType>"))
    panchromatic = write_raster(tmp_path / "p.tif", IMAGE[..., :1])
    spectral = "".join(f'<SpectralBand dstBand="{band}"><SourceFilename relativeToVRT="1">a.tif'
                       f"</SourceFilename><SourceBand>{band}</SourceBand></SpectralBand>"
                       for band in (1, 2, 3))
    (tmp_path / "sharp.vrt").write_text(
        '<VRTDataset subClass="VRTPansharpenedDataset"><PansharpeningOptions><PanchroBand>'
        f'<SourceFilename relativeToVRT="1">{panchromatic.name}</SourceFilename><SourceBand>1'
        f"</SourceBand></PanchroBand>{spectral}</PansharpeningOptions></VRTDataset>")
    for name in ("copy", "warped", "nested", "absolute", "real"):
        rgb, valid = look_at(tmp_path / f"{name}.vrt")
        np.testing.assert_array_equal(rgb, IMAGE, err_msg=name)
        assert valid.all()
    assert look_at(tmp_path / "sharp.vrt")[1].all()


NAMES = ["{}", "{GUID}", "%s", "a b'c", 'say "x"', "a[1]", "a&<>", "ünï☃", "new\nline", "a#b?c",
         "$HOME`x`", " a ", "a:b", "http:x", "GTIFF_DIR:1:x", "\x01"]


@pytest.mark.parametrize("name", NAMES)
def test_any_path_is_read_as_it_is(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    path = write_raster(folder / f"{name}.tif", IMAGE)
    (folder / "v.vrt").write_text(vrt(escape(path.name, quote=False)))
    for each in (path, folder, folder / "v.vrt"):
        if each.suffix == ".vrt" and name in (" a ", "http:x", "GTIFF_DIR:1:x", "\x01"):
            with pytest.raises(PrepareError):  # no names in XML, or of another meaning there
                look_at(each)
            continue
        np.testing.assert_array_equal(look_at(each)[0], IMAGE)
    with open_mosaic(path, resolution=1) as mosaic:
        mosaic.read(Window(0, 0, 9, 9))
    with pytest.raises(PrepareError, match="3 bands"):
        open_raster(path, "population")


def sample(folder, kind):
    """Write a raster of one kind, without letting its pixels repeat."""
    options = {"deflate": {"compress": "deflate", "tiled": True, "blockxsize": 32,
                           "blockysize": 32}, "jpeg": {"compress": "jpeg", "photometric": "YCbCr"},
               "masked": {"compress": "lzw"}, "plain": {}}
    if kind == "png":
        path = folder / "a.png"
        with rasterio.open(path, "w", driver="PNG", width=64, height=64, count=3, dtype="uint8",
                           crs=UTM, transform=grid()) as dataset:
            dataset.write(np.moveaxis(IMAGE, -1, 0))
    else:
        path = write_raster(folder / "a.tif", IMAGE, **options.get(kind, {}))
    if kind == "masked":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(np.ones((64, 64), bool))
    if kind == "vrt":
        path = folder / "a.vrt"
        path.write_text(vrt())
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["plain", "deflate", "jpeg", "masked", "png", "vrt"])
def test_damage_is_one_line_or_leaves_the_shape(tmp_path, kind):
    path = sample(tmp_path, kind)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    expected = look_at(path)[0]
    damaged = [whole[:int(length)] for length in np.linspace(0, len(whole) - 1, 6)]
    for place in np.concatenate([np.arange(0, min(300, len(whole)), 25),
                                 rng.integers(0, len(whole), 8)]):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(flipped))
    messages = []
    for content in damaged:
        path.write_bytes(content)
        for use in (look_at, look_at_labels):
            try:
                found = use(path)
            except RoseError as error:
                messages.append(str(error))
            else:
                assert use is not look_at or found[0].shape == expected.shape
    assert len(messages) > 6
    assert all(str(tmp_path) in message and "\n" not in message for message in messages)


@pytest.mark.parametrize("options", [{}, {"resolution": 1}], ids=["own", "resampled"])
def test_a_source_of_a_vrt_that_goes_is_named(tmp_path, options):
    write_raster(tmp_path / "a.tif", IMAGE)
    (tmp_path / "h.vrt").write_text(vrt())
    with open_mosaic(tmp_path / "h.vrt", **options) as mosaic:
        (tmp_path / "a.tif").unlink()
        with pytest.raises(PrepareError, match=r"h.vrt: the VRT names .*a.tif"):
            mosaic.read(Window(0, 0, 9, 9))


@pytest.mark.parametrize(("transform", "crs"), [
    (Affine(np.nan, 0, 5e5, 0, -1, 5e6), UTM), (Affine(1, 0, np.inf, 0, -1, 5e6), UTM),
    (Affine(1e-320, 0, 5e5, 0, -1e-320, 5e6), UTM), (Affine(1e-12, 0, 5e5, 0, -1e-12, 5e6), UTM),
    (Affine(1e20, 0, 5e5, 0, -1e20, 5e6), UTM), (Affine(1e308, 0, 5e5, 0, -1e308, 5e6), UTM),
    (Affine(0.5, 0.5, 5e5, 0.5, 0.5, 5e6), UTM), (Affine(1, 0, 1e30, 0, -1, 5e6), UTM),
    (Affine(0.01, 0, 400, 0, -0.01, 200), "EPSG:4326"), (grid(), "EPSG:4326"),
    (grid(), "IAU_2015:30100"), (grid(), "EPSG:4978"), (grid(), "+proj=tpers +h=1e3"),
])
@pytest.mark.filterwarnings("ignore")
def test_no_place_on_earth(tmp_path, transform, crs):
    path = write_raster(tmp_path / "a.tif", IMAGE, transform, crs)
    for options in ({}, {"resolution": 0.8}):
        with pytest.raises(PrepareError, match=r"a.tif: .*(no geotransform|no place on Earth|"
                                               "no coordinate reference system)"):
            open_mosaic(path, **options)
    write_raster(path, IMAGE[..., :1] % 9, transform, crs)
    with pytest.raises(PrepareError) as raised:
        look_at_labels(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("resolution", [1e-320, 1e-9])
def test_more_pixels_than_can_be(tmp_path, resolution):
    with pytest.raises(RoseError, match=r"resolution=1e-.*pixels along a side"):
        open_mosaic(write_raster(tmp_path / "a.tif", IMAGE), resolution=resolution)


def test_a_raster_of_a_million_pixels_a_side_opens_at_once(tmp_path):
    side = 10**6
    for dtype, options in (("uint8", {"nodata": 0}), ("uint16", {})):
        path = tmp_path / f"{dtype}.tif"
        with rasterio.open(path, "w", driver="GTiff", width=side, height=side, count=3,
                           dtype=dtype, crs=UTM, transform=grid(), tiled=True, blockxsize=4096,
                           blockysize=4096, interleave="pixel", SPARSE_OK=True, BIGTIFF="YES",
                           **options):
            pass
        with open_mosaic(path) as mosaic:
            assert (mosaic.width, mosaic.height) == (side, side)
