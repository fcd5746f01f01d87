"""What a map service says of itself: the capabilities of a WMTS or WMS, or a description for GDAL.

GDAL's drivers read the tiles, so what a description may say is checked first: servers by http or
https alone, no local file, no cache of its own, and no element that is not known here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from datasets.remote.urls import CHOICE, is_url, short_url
from utils.errors import ConfigError, PrepareError, one_line, printable

MOST_BYTES = 64 << 20
_SHOWN = 20
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
    kind: str            # WMTS or WMS: capabilities; GDAL_WMS: a description for GDAL
    layers: list[str]
    attribution: str | None
    choice: dict[str, str]  # of layer, tilematrixset and style, as far as given

    def layer(self) -> str:
        """Return the layer that is chosen, or the only one; raise ConfigError if there is none."""
        name, known = short_url(self.url), self.layers
        shown = ", ".join(printable(layer, 80) for layer in known[:_SHOWN])
        more = f" and {len(known) - _SHOWN} more" * (len(known) > _SHOWN)
        chosen = self.choice.get("layer")
        if chosen is None and len(known) == 1:
            return known[0]
        if chosen in known:
            return chosen
        if not known:
            raise PrepareError(f"{name}: the service has no layers, expected one of imagery; look "
                               "at the address")
        fault = (f"has {len(known)} layers ({shown}{more}), and none is chosen" if chosen is None
                 else f"has no layer {printable(chosen)}, but {shown}{more}")
        raise ConfigError(f"raster={name}: the service {fault}; add one after a comma, such as "
                          f"raster='ADDRESS,layer={printable(known[0], 80)}'")


def split_choice(raster: str) -> tuple[str, dict[str, str]]:
    """Return the address of capabilities, and the layer, tilematrixset and style that follow it,
    each after a comma."""
    return CHOICE.sub("", raster).removeprefix("WMTS:").removeprefix("WMS:"), dict(
        CHOICE.findall(raster))


def looks_like_service(content: bytes) -> bool:
    return bool(re.match(rb"(\xef\xbb\xbf)?\s*<(?!!doctype html|html)", content, re.IGNORECASE))


def read_service(content: bytes, source: str, choice: dict[str, str]) -> Service:
    """Return the service that a description describes; raise PrepareError if it is none, or
    names what is not fetched."""
    name = short_url(source)
    root = parse_xml(content, name)
    tag = _tag(root).casefold()
    if tag == "gdal_wms":
        _check_description(root, name)
        return Service(source, content, "GDAL_WMS", [], None, choice)
    if tag == "capabilities":
        _check_addresses(root, name)
        layers = [text(layer, "Identifier") for layer in below(root, "Layer")]
        return Service(source, content, "WMTS", layers, _terms(root), choice)
    if tag in ("wms_capabilities", "wmt_ms_capabilities"):
        _check_addresses(root, name)
        layers = [text(layer, "Name") for layer in below(root, "Layer")]
        return Service(source, content, "WMS", [layer for layer in layers if layer], _terms(root),
                       choice)
    raise PrepareError(f"{name}: begins with <{printable(_tag(root), 60)}>, expected the "
                       "capabilities of a WMTS or WMS, or a <GDAL_WMS> description; look at the "
                       "address, which often ends with ?service=WMTS&request=GetCapabilities")


def parse_xml(content: bytes, name: str) -> ElementTree.Element:
    """Return the root of a description; raise PrepareError, which begins with `name`, if it is no
    XML."""
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


def below(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Yield the elements of a name, whatever their namespace, anywhere below."""
    return (element for element in root.iter() if _tag(element) == name)


def children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return the elements of a name right below."""
    return [child for child in element if _tag(child) == name]


def text(element: ElementTree.Element, name: str) -> str:
    """Return the text of an element's first child of a name, "" without one."""
    return next((child.text or "" for child in children(element, name)), "").strip()


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
        words_of = next((element.text or "" for element in below(root, tag)), "").split()
        if words_of and words_of != ["none"]:
            words.append(printable(" ".join(words_of), 300))
    return "; ".join(words) or None
