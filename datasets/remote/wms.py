"""A layer of a WMS over a box, as a description for GDAL: a WMS has no pixels of its own, so their
size and their CRS are chosen."""

import math
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
from pyproj import CRS
from pyproj.exceptions import CRSError

from datasets.bbox import BBox
from datasets.prepare.geo.crs import DEGREES, moved, utm_zone
from datasets.remote.service_files import Service, below, children, parse_xml, text
from datasets.remote.urls import short_url
from utils.errors import ConfigError, printable

WEB_MERCATOR = "EPSG:3857"
BLOCK = 1024  # pixels of a side of a map that is asked for
_SHOWN = 20


def wms_description(service: Service, bbox: BBox, pixel_m: float | None, crs: str | None) -> str:
    """Return GDAL's description of a service's layer over a box.

    Args:
        pixel_m: metres of a pixel in the middle of the box.
        crs: of the maps; None: the UTM zone of the box if the layer has it, else web mercator.

    Raises:
        ConfigError: no size of pixels, or no such CRS.
    """
    name = short_url(service.url)
    if pixel_m is None:
        raise ConfigError(f"resolution: no value given; {name} draws pixels of any size: add "
                          "resolution= in metres, as fine as its imagery")
    root, layer = parse_xml(service.content, name), service.layer()
    chosen = _crs_of(root, layer, bbox, crs, name)
    pixel = pixel_m / _metres_per_unit(chosen, bbox)
    west, south, east, north = bbox.bounds_in(chosen)
    # on multiples of the pixel, so that neighbouring boxes share a grid
    left, bottom = math.floor(west / pixel), math.floor(south / pixel)
    across, down = math.ceil(east / pixel) - left, math.ceil(north / pixel) - bottom
    corners = (left * pixel, (bottom + down) * pixel, (left + across) * pixel, bottom * pixel)
    new = root.get("version", "1.3.0") >= "1.3"
    key = "CRS" if new else "SRS"
    order = "yxYX" if new and chosen.axis_info[0].direction == "north" else "xyXY"
    code = f"EPSG:{chosen.to_epsg()}"
    server, image = _request_of(root, service)
    window = "".join(f"<{tag}>{value!r}</{tag}>" for tag, value in zip(
        ("UpperLeftX", "UpperLeftY", "LowerRightX", "LowerRightY"), corners, strict=True))
    return (f'<GDAL_WMS><Service name="WMS"><Version>{"1.3.0" if new else "1.1.1"}</Version>'
            f"<ServerUrl>{escape(server)}</ServerUrl><{key}>{code}</{key}><ImageFormat>{image}"
            f"</ImageFormat><Layers>{escape(layer)}</Layers>"
            f"<Styles>{escape(service.choice.get('style', ''))}</Styles>"
            f"<BBoxOrder>{order}</BBoxOrder></Service><DataWindow>{window}<SizeX>{across}</SizeX>"
            f"<SizeY>{down}</SizeY></DataWindow><Projection>{code}</Projection>"
            f"<BandsCount>3</BandsCount><BlockSizeX>{BLOCK}</BlockSizeX>"
            f"<BlockSizeY>{BLOCK}</BlockSizeY><OverviewCount>0</OverviewCount></GDAL_WMS>")


def _request_of(root: ElementTree.Element, service: Service) -> tuple[str, str]:
    """Return the address that maps are asked of, and the format of their images."""
    formats, addresses = [], []
    for get_map in [*below(root, "GetMap"), *below(root, "Map")]:
        formats += [element.text for element in children(get_map, "Format")]
        addresses += [value for element in below(get_map, "OnlineResource")
                      for key, value in element.attrib.items() if key.endswith("href")]
    image = next((kind for kind in ("image/png", "image/jpeg") if kind in formats), "image/jpeg")
    return next(iter(addresses), service.url.partition("?")[0]), image


def _crs_of(root: ElementTree.Element, layer: str, bbox: BBox, crs: str | None,
            name: str) -> CRS:
    """Return the CRS that a layer is asked for; it has those of the layers around it, too."""
    known = {code for element in below(root, "Layer")
             if any(text(inner, "Name") == layer for inner in element.iter())
             for tag in ("CRS", "SRS") for child in children(element, tag)
             for code in (child.text or "").split()}
    west, south, east, north = bbox.bounds
    zone = utm_zone((west + east) / 2, (south + north) / 2, DEGREES)
    code = next((code for code in ([crs] if crs else [zone, WEB_MERCATOR]) if code in known), None)
    try:
        chosen = CRS.from_user_input(code) if code else None
    except CRSError:
        chosen = None
    if chosen is None or not chosen.is_projected or not chosen.to_epsg():
        shown = ", ".join(sorted(known)[:_SHOWN]) or "none"
        raise ConfigError(f"raster_crs={crs or 'null'}: {name} draws the layer "
                          f"{printable(layer, 80)} in {printable(shown, 400)}; pass raster_crs= "
                          "one of them that is in metres")
    return chosen


def _metres_per_unit(crs: CRS, bbox: BBox) -> float:
    """Return metres on the ground of a step of 1 north in a CRS, in the middle of a box."""
    west, south, east, north = bbox.bounds
    start = moved(np.array([(west + east) / 2, (south + north) / 2]), DEGREES, crs)
    ends = moved(np.stack([start, start + np.array([0, 1])]), crs, DEGREES)
    return float(DEGREES.get_geod().inv(*ends[0], *ends[1])[2])
