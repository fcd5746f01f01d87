"""Map services: a WMTS or WMS by its capabilities, or any service by a GDAL description file.

GDAL's drivers read the tiles. What a description may say is checked first: servers by http or
https alone, no local file, no cache of its own, and no element that is not known here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from pyproj import CRS
from pyproj.exceptions import CRSError

from datasets.bbox import BBox
from datasets.prepare.geo.crs import DEGREES, moved
from datasets.remote.http import USER_AGENT, Patience
from datasets.remote.pieces import RemoteRaster
from datasets.remote.urls import is_url, short_address
from utils.errors import ConfigError, PrepareError, one_line, printable
from utils.files import replacing

MOST_BYTES = 64 << 20
THREADS, CONNECTIONS = 2, 2  # connections of each thread
_SHOWN = 20
_CHOICE = re.compile(r",(layer|tilematrixset|style)=([^,]*)")
# of a GDAL_WMS description; in lower case, as GDAL does not mind
_ELEMENT_NAMES = """
gdal_wms service version serverurl srs crs imageformat layers styles bboxorder transparent
datawindow upperleftx upperlefty lowerrightx lowerrighty sizex sizey tilex tiley tilelevel
tilecountx tilecounty yorigin projection bandscount datatype blocksizex blocksizey overviewcount
overviews cache timeout maxconnections useragent referer zeroblockhttpcodes
zeroblockonserverexception additionalargs dataset format clamprequests advisedread
datavalues nodata min max userpwd overview tilesize
"""
_ELEMENTS = frozenset(_ELEMENT_NAMES.split())
_SERVICES = ("WMS", "WorldWind", "TileService", "TMS", "TiledWMS", "VirtualEarth", "AGS", "IIP")


@dataclass(frozen=True)
class Service:
    """A service whose description was checked."""

    url: str             # of the description, or its file
    content: bytes
    kind: str            # wms: a description of GDAL; WMTS or WMS: capabilities
    layers: list[str]
    attribution: str | None
    choice: dict[str, str]


def split_choice(raster: str) -> tuple[str, dict[str, str]]:
    """Return the address of capabilities, and the layer, tilematrixset and style that follow it,
    each after a comma."""
    return _CHOICE.sub("", raster).removeprefix("WMTS:").removeprefix("WMS:"), dict(
        _CHOICE.findall(raster))


def looks_like_service(content: bytes) -> bool:
    return bool(re.match(rb"(\xef\xbb\xbf)?\s*<(?!!doctype html|html)", content, re.IGNORECASE))


def read_service(content: bytes, source: str, choice: dict[str, str]) -> Service:
    """Return the service that a description describes; raise PrepareError if it is none, or
    names what is not fetched."""
    name = short_address(source)
    root = _parsed(content, name)
    tag = _tag(root).casefold()
    if tag == "gdal_wms":
        _check_description(root, name)
        return Service(source, content, "wms", [], None, choice)
    if tag == "capabilities":
        _check_addresses(root, name)
        layers = [_text(layer, "Identifier") for layer in _below(root, "Layer")]
        return Service(source, content, "WMTS", layers, _terms(root), choice)
    if tag in ("wms_capabilities", "wmt_ms_capabilities"):
        _check_addresses(root, name)
        layers = [_text(layer, "Name") for layer in _below(root, "Layer")]
        return Service(source, content, "WMS", [layer for layer in layers if layer], _terms(root),
                       choice)
    raise PrepareError(f"{name}: begins with <{printable(_tag(root), 60)}>, expected the "
                       "capabilities of a WMTS or WMS, or a <GDAL_WMS> description; look at the "
                       "address, which often ends with ?service=WMTS&request=GetCapabilities")


def open_service(service: Service, folder: Path, bbox: BBox, pixel_m: float | None,
                 crs: str | None, patience: Patience) -> RemoteRaster:
    """Return the raster of a service.

    Args:
        folder: for GDAL's copy of the description and for tiles on their way.
        pixel_m: of a WMS by its capabilities: metres of a pixel, in the middle of `bbox`.
        crs: of such a WMS; None: the UTM zone if it has that, else web mercator.

    Raises:
        PrepareError: the layer is not known, or the service has no such CRS.
        ConfigError: several layers and none chosen, or no size of a pixel.
    """
    file = folder / "service.xml"
    folder.mkdir(parents=True, exist_ok=True)
    content, path, driver = service.content, str(file.absolute()), "WMS"
    if service.kind == "WMTS":
        layer = _layer(service)
        more = "".join(f",{key}={value}" for key, value in service.choice.items()
                       if key != "layer")
        path, driver = f"WMTS:{path},layer={layer}{more}", "WMTS"
    elif service.kind == "WMS":
        content = _wms_description(service, bbox, pixel_m, crs).encode()
    with replacing(file) as temporary:
        temporary.write_bytes(content)
    options = {
        "CPL_VSIL_CURL_ALLOWED_FILENAME": "none", "GDAL_HTTP_USERAGENT": USER_AGENT,
        "GDAL_DEFAULT_WMS_CACHE_PATH": str((folder / "on-the-way").absolute()),
        "GDAL_HTTP_CONNECTTIMEOUT": max(1, round(patience.connect_s)),
        "GDAL_HTTP_TIMEOUT": max(1, round(patience.read_s)),
        "GDAL_MAX_CONNECTIONS": CONNECTIONS,
    }
    return RemoteRaster(service.url, lambda **more: rasterio.open(
        path, driver=driver, sharing=False, **more), options, patience)


def _parsed(content: bytes, name: str) -> ElementTree.Element:
    if b"<!ENTITY" in content.upper():
        raise PrepareError(f"{name}: the description holds entities, expected none; get it again, "
                           "or write it without")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise PrepareError(f"{name}: is no XML ({one_line(error)}), expected the description of a "
                           "map service; get it again") from error


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _below(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (element for element in root.iter() if _tag(element) == name)


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element if _tag(child) == name]


def _text(element: ElementTree.Element, name: str) -> str:
    """Return the text of an element's first child of a name, "" without one."""
    return next((child.text or "" for child in _children(element, name)), "").strip()


def _check_description(root: ElementTree.Element, name: str) -> None:
    for element in root.iter():
        tag = _tag(element).casefold()
        if tag not in _ELEMENTS or (tag == "cache" and len(element)):
            what = "a cache of its own" if tag == "cache" else f"<{printable(_tag(element), 60)}>"
            raise PrepareError(f"{name}: holds {what}, which is not taken from a description; "
                               "remove it")
        if tag == "serverurl" and not is_url((element.text or "").strip()):
            raise PrepareError(f"{name}: names the server {printable(element.text or '')}, "
                               "expected http://... or https://...; write the server's address")
    services = [element.get("name", "") for element in root if _tag(element) == "Service"]
    if [service.casefold() for service in services] not in [
            [known.casefold()] for known in _SERVICES]:
        raise PrepareError(f"{name}: the service is {printable(', '.join(services) or 'missing')}, "
                           f"expected <Service name=...> one of {', '.join(_SERVICES)}")


def _check_addresses(root: ElementTree.Element, name: str) -> None:
    """Raise PrepareError if capabilities name a server by anything but http or https."""
    for element in root.iter():
        for key, value in element.attrib.items():
            address = key.rpartition("}")[2] in ("href", "template", "onlineResource")
            scheme = re.match(r"\s*([\w.+-]+):|\s*/vsi", value)
            if address and scheme and not is_url(value.strip()) and not value.startswith("urn:"):
                raise PrepareError(f"{name}: names the server {printable(value)}, expected "
                                   "http://... or https://...; nothing was opened")


def _terms(root: ElementTree.Element) -> str | None:
    """Return whose a service is and on which terms, as far as its capabilities say."""
    words = []
    for tag in ("ProviderName", "ContactOrganization", "AccessConstraints"):
        text = next((element.text or "" for element in _below(root, tag)), "").strip()
        if text and text.casefold() != "none":
            words.append(printable(" ".join(text.split()), 300))
    return "; ".join(words) or None


def _layer(service: Service) -> str:
    """Return the layer that is chosen, or the only one; raise ConfigError otherwise."""
    name, known = short_address(service.url), service.layers
    shown = ", ".join(printable(layer, 80) for layer in known[:_SHOWN])
    more = f" and {len(known) - _SHOWN} more" * (len(known) > _SHOWN)
    chosen = service.choice.get("layer")
    if chosen is None and len(known) == 1:
        return known[0]
    if chosen in known:
        return chosen
    if not known:
        raise PrepareError(f"{name}: the service has no layers, expected one of imagery; look at "
                           "the address")
    fault = (f"has {len(known)} layers ({shown}{more}), and none is chosen" if chosen is None else
             f"has no layer {printable(chosen)}, but {shown}{more}")
    raise ConfigError(f"raster={name}: the service {fault}; choose one after a comma, such as "
                      f"raster='{name},layer={printable(known[0], 80)}'")


def _wms_description(service: Service, bbox: BBox, pixel_m: float | None, crs: str | None) -> str:
    """Return GDAL's description of a layer of a WMS over a box."""
    name = short_address(service.url)
    if pixel_m is None:
        raise ConfigError(f"resolution: no value given; {name} draws pixels of any size: add "
                          "resolution= in metres, as fine as its imagery")
    root, layer = _parsed(service.content, name), _layer(service)
    chosen = _crs_of(root, layer, bbox, crs, name)
    bounds = bbox.bounds_in(chosen)
    middle = bbox.bounds[0] + bbox.bounds[2], bbox.bounds[1] + bbox.bounds[3]
    pixel = pixel_m / _metres_per_unit(chosen, middle[0] / 2, middle[1] / 2)
    west, south = (int(side // pixel) * pixel for side in bounds[:2])
    across, down = (int(-(-(end - start) // pixel)) for start, end in
                    ((west, bounds[2]), (south, bounds[3])))
    version = root.get("version", "1.3.0")
    new = version >= "1.3"
    code = f"EPSG:{chosen.to_epsg()}"
    flipped = new and chosen.axis_info[0].direction == "north"
    formats = [element.text for get in _below(root, "GetMap") for element in
               _children(get, "Format")]
    image = next((kind for kind in ("image/png", "image/jpeg") if kind in formats), "image/jpeg")
    server = next((value for get in _below(root, "GetMap") for element in
                   _below(get, "OnlineResource") for key, value in element.attrib.items()
                   if key.endswith("href")), service.url.partition("?")[0])
    return (f'<GDAL_WMS><Service name="WMS"><Version>{"1.3.0" if new else "1.1.1"}</Version>'
            f"<ServerUrl>{escape(server)}</ServerUrl><{'CRS' if new else 'SRS'}>{code}"
            f"</{'CRS' if new else 'SRS'}><ImageFormat>{image}</ImageFormat>"
            f"<Layers>{escape(layer)}</Layers><Styles>{escape(service.choice.get('style', ''))}"
            f"</Styles><BBoxOrder>{'yxYX' if flipped else 'xyXY'}</BBoxOrder></Service>"
            f"<DataWindow><UpperLeftX>{west!r}</UpperLeftX><UpperLeftY>{south + down * pixel!r}"
            f"</UpperLeftY><LowerRightX>{west + across * pixel!r}</LowerRightX><LowerRightY>"
            f"{south!r}</LowerRightY><SizeX>{across}</SizeX><SizeY>{down}</SizeY></DataWindow>"
            f"<Projection>{code}</Projection><BandsCount>3</BandsCount><BlockSizeX>1024"
            "</BlockSizeX><BlockSizeY>1024</BlockSizeY><OverviewCount>0</OverviewCount>"
            "</GDAL_WMS>")


def _crs_of(root: ElementTree.Element, layer: str, bbox: BBox, crs: str | None,
            name: str) -> CRS:
    """Return the CRS that a layer of a WMS is asked for: `crs`, the UTM zone, or web mercator."""
    known = set()
    for element in _below(root, "Layer"):  # a layer has the CRSs of those around it
        if any(_text(inner, "Name") == layer for inner in element.iter()):
            for tag in ("CRS", "SRS"):
                known |= {code for child in _children(element, tag)
                          for code in (child.text or "").split()}
    west, south, east, north = bbox.bounds
    zone = f"EPSG:{32600 if north + south >= 0 else 32700}"[:-2] + (
        f"{int((west + east) / 2 + 180) // 6 % 60 + 1:02d}")
    for code in [crs] if crs else [zone, "EPSG:3857"]:
        if code in known:
            try:
                return CRS.from_user_input(code)
            except CRSError as error:
                raise ConfigError(f"raster_crs={code}: not a known coordinate reference system"
                                  ) from error
    shown = ", ".join(sorted(known)[:_SHOWN]) or "none"
    raise ConfigError(f"raster_crs={crs or 'null'}: {name} draws the layer {printable(layer, 80)} "
                      f"in {shown}; pass raster_crs= one of them, in metres")


def _metres_per_unit(crs: CRS, longitude: float, latitude: float) -> float:
    """Return metres on the ground of a step of 1 in a CRS near a point."""
    start = moved(np.array([longitude, latitude]), DEGREES, crs)
    ends = moved(np.stack([start, start + np.array([0, 1])]), crs, DEGREES)
    return float(DEGREES.get_geod().inv(*ends[0], *ends[1])[2])
