"""Imagery as servers have it, made of one picture: web map tiles, GeoTIFFs, map services."""

import io
import json
import math
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from PIL import Image
from rasterio.windows import Window

from datasets.bbox import BBox
from datasets.prepare.imagery.mosaic import open_mosaic
from datasets.remote.http import Http, Patience
from datasets.remote.imagery import Local, localised
from tests.servers import Request, Server

# a busy machine answers late: only a test of slowness may be impatient. GDAL at times waits for
# this process's own server with Python's lock held, and only its patience ends that
PATIENT = Patience(attempts=4, pause_s=0, connect_s=10, read_s=3)
IMPATIENT = Patience(attempts=3, pause_s=0, connect_s=10, read_s=0.7)
HALF = math.pi * 6378137  # metres: half a side of the square of web map tiles
ZOOM, COLUMN, ROW, ACROSS, DOWN = 17, 70996, 44647, 4, 3  # tiles near 15 east, 49.65 north
INSIDE = BBox(14.9975, 49.6505, 15.0025, 49.6525)


def web_grid() -> Affine:
    """Return the grid of the picture that `web_picture` is, in EPSG:3857."""
    pixel = 2 * HALF / 256 / 2**ZOOM
    return Affine(pixel, 0, COLUMN * 256 * pixel - HALF, 0, -pixel, HALF - ROW * 256 * pixel)


def web_picture() -> np.ndarray:
    """Return noise that fills ACROSS x DOWN tiles: [h, w, 3] uint8."""
    return np.random.default_rng(1).integers(1, 255, (DOWN * 256, ACROSS * 256, 3), np.uint8)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def serve_tiles(server: Server, image: np.ndarray, folder: str = "tiles") -> None:
    """Serve the tiles of `web_picture` at /folder/z/x/y.png."""
    for x in range(ACROSS):
        for y in range(DOWN):
            server.files[f"/{folder}/{ZOOM}/{COLUMN + x}/{ROW + y}.png"] = png(
                image[y * 256:(y + 1) * 256, x * 256:(x + 1) * 256])


def fetched(raster: str, tmp_path: Path, bbox: BBox | None = None,
            patience: Patience = PATIENT, **keys) -> Local:
    """Fetch a raster as `localised`, without pauses between attempts."""
    return localised(raster, bbox, cache=str(tmp_path / "cache"), progress=False,
                     http=Http(patience=patience), **keys)


def pixels_of(raster: str | Path, **keys) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Return the colours of all imagery at `raster`, where there is any, and its grid."""
    with open_mosaic(raster, **keys) as mosaic:
        rgb, valid = mosaic.read(Window(0, 0, mosaic.width, mosaic.height))
        return rgb, valid, list(mosaic.transform)[:6]


def assert_same(raster: str | Path, other: str | Path, keys: dict | None = None,
                other_keys: dict | None = None) -> None:
    """Compare the pixels and the grids of imagery at two places bit for bit."""
    for own, its in zip(pixels_of(raster, **(keys or {})), pixels_of(other, **(other_keys or {})),
                        strict=True):
        np.testing.assert_array_equal(own, its)


def item(assets: dict[str, dict], **more) -> bytes:
    """Return the JSON of a STAC item."""
    return json.dumps({"type": "Feature", "stac_version": "1.0.0", "id": "a", "links": [],
                       "geometry": None, "properties": {
                           "license": "CC-BY-4.0", "providers": [{"name": "Survey"}]},
                       "assets": assets, **more}).encode()


def tiff(image: np.ndarray, transform: Affine, crs: str = "EPSG:32633", **profile) -> bytes:
    """Return a GeoTIFF of an image [h, w, bands] as a file."""
    file = io.BytesIO()
    height, width, bands = image.shape
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": 256, "blockysize": 256, **profile}
    with rasterio.open(file, "w", height=height, width=width, count=bands, dtype=image.dtype,
                       crs=crs, transform=transform, **profile) as dataset:
        dataset.write(np.moveaxis(image, -1, 0))
    return file.getvalue()


def capabilities(url: str, layers: tuple[str, ...] = ("ortho",)) -> bytes:
    """Return the capabilities of a WMTS whose tiles lie at url/z/x/y.png."""
    layer = """<Layer><ows:Identifier>{}</ows:Identifier><ows:WGS84BoundingBox><ows:LowerCorner>14.9
        49.6</ows:LowerCorner><ows:UpperCorner>15.1 49.7</ows:UpperCorner></ows:WGS84BoundingBox>
        <Style isDefault="true"><ows:Identifier>default</ows:Identifier></Style>
        <Format>image/png</Format>
        <TileMatrixSetLink><TileMatrixSet>G</TileMatrixSet></TileMatrixSetLink>
        <ResourceURL format="image/png" resourceType="tile"
         template="{}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.png"/></Layer>"""
    matrix = """<TileMatrix><ows:Identifier>{}</ows:Identifier><ScaleDenominator>{!r}
        </ScaleDenominator><TopLeftCorner>{!r} {!r}</TopLeftCorner><TileWidth>256</TileWidth>
        <TileHeight>256</TileHeight><MatrixWidth>{}</MatrixWidth><MatrixHeight>{}</MatrixHeight>
        </TileMatrix>"""
    matrices = "".join(matrix.format(zoom, 2 * HALF / 256 / 2**zoom / 0.00028, -HALF, HALF,
                                     2**zoom, 2**zoom) for zoom in range(14, ZOOM + 1))
    return f"""<?xml version="1.0"?><Capabilities xmlns="http://www.opengis.net/wmts/1.0"
        xmlns:ows="http://www.opengis.net/ows/1.1" version="1.0.0"><ows:ServiceProvider>
        <ows:ProviderName>Survey</ows:ProviderName></ows:ServiceProvider><Contents>
        {"".join(layer.format(name, url) for name in layers)}<TileMatrixSet>
        <ows:Identifier>G</ows:Identifier>
        <ows:SupportedCRS>urn:ogc:def:crs:EPSG::3857</ows:SupportedCRS>{matrices}
        </TileMatrixSet></Contents></Capabilities>""".encode()


def wms_capabilities(url: str, version: str = "1.3.0") -> bytes:
    """Return the capabilities of a WMS that draws maps at `url`."""
    tag, key = (("WMS_Capabilities", "CRS") if version == "1.3.0"
                else ("WMT_MS_Capabilities", "SRS"))
    return f"""<?xml version="1.0"?><{tag} version="{version}"
        xmlns:xlink="http://www.w3.org/1999/xlink"><Service><Name>WMS</Name>
        <AccessConstraints>none</AccessConstraints></Service><Capability><Request><GetMap>
        <Format>image/png</Format><DCPType><HTTP><Get><OnlineResource xlink:href="{url}?"/></Get>
        </HTTP></DCPType></GetMap></Request><Layer><{key}>EPSG:3857</{key}>
        <Layer><Name>ortho</Name><{key}>EPSG:4326</{key}></Layer></Layer></Capability></{tag}>
        """.encode()


def draw(request: Request) -> tuple[bytes, str]:
    """Answer GetMap with colours that say which pixel of `web_grid` each is."""
    query = {key.upper(): values[0] for key, values in request.query.items()}
    west, _, east, north = map(float, query["BBOX"].split(","))
    across, down = int(query["WIDTH"]), int(query["HEIGHT"])
    step = (east - west) / across
    columns = np.floor((west + (np.arange(across) + 0.5) * step + HALF) / step).astype(np.int64)
    rows = np.floor((HALF - north + (np.arange(down) + 0.5) * step) / step).astype(np.int64)
    image = np.stack(np.broadcast_arrays((columns % 250)[None], (rows % 250)[:, None],
                                         ((columns // 250) % 250)[None]), axis=-1)
    return png(image.astype(np.uint8)), "image/png"
