"""Providers of web map tiles by name, from the list of xyzservices: address, limits and terms."""

import difflib
import html
import math
import re
import warnings
from dataclasses import dataclass
from urllib.parse import quote

import xyzservices
from xyzservices import TileProvider

from datasets.bbox import BBox
from datasets.remote.tiles import pixel_metres
from utils.errors import ConfigError, printable

WANTED_M = 0.5  # metres of a pixel, as Rose's cities have
_NEEDS = "<insert your"  # in values that xyzservices has in place of a key
_PHOTOGRAPHS = re.compile(r"imager|satell|ortho|aerial|luchtfoto|swissimage|landsat|sentinel"
                          r"|truecolor|bluemarble", re.IGNORECASE)
_LINK = re.compile(r"""href\s*=\s*["'](https?://[^"'<>\s]+)""", re.IGNORECASE)
_MERCATOR = ("EPSG:3857", "EPSG:900913")


@dataclass(frozen=True)
class Provider:
    """A server of web map tiles.

    Attributes:
        name: "" of an address that the user gives.
        address: with {z}, {x} and {y}, a key included.
        attribution: that the provider asks for, "" if unknown.
        terms: addresses at which it says what is allowed.
        notes: for the user.
        zooms: the least and the most that it has.
        tile_px: side of a tile in pixels.
    """

    name: str
    address: str
    attribution: str = ""
    terms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    zooms: tuple[int, int] = (0, 30)
    tile_px: int = 256

    def pixel_m(self, zoom: int, box: BBox) -> float:
        """Return metres of a pixel on the ground in the middle of a box."""
        return pixel_metres(box, zoom, self.tile_px)

    def zoom(self, wanted: int | None, box: BBox) -> int:
        """Return `wanted`, or the zoom whose pixels are nearest to WANTED_M, as far as the
        provider has it; raise ConfigError if it does not have `wanted`."""
        least, most = self.zooms
        if wanted is None:
            best = round(math.log2(self.pixel_m(0, box) / WANTED_M))
            return max(least, min(most, best))
        if not least <= wanted <= most:
            raise ConfigError(f"zoom={wanted}: {self.name} has the zooms {least} to {most}, "
                              f"expected one of these, or null for the one whose pixels are "
                              f"nearest to {WANTED_M:g} m")
        return wanted


def is_name(imagery: str) -> bool:
    """Return whether `imagery` could only be a provider's name: no address and no path."""
    return not re.search(r"[/\\{}]|\.(json|xml|tiff?|vrt)$", imagery, re.IGNORECASE)


def provider_of(name: str, key: str | None, box: BBox) -> Provider:
    """Return the provider of a name, which may be in any case.

    Raises:
        ConfigError: no such provider, it wants a key, its tiles are not those of web maps, or it
            has none of the box.
    """
    known = xyzservices.providers.flatten()
    try:
        entry = xyzservices.providers.query_name(name)
    except ValueError:
        raise ConfigError(f"imagery={printable(name)}: no provider of this name; "
                          f"{_near(name, known)}") from None
    title = entry.get("name", name)
    crs = str(entry.get("crs", _MERCATOR[0]))
    if crs not in _MERCATOR:
        raise ConfigError(f"imagery={title}: its tiles are in {crs}, expected those of web maps "
                          f"(EPSG:3857); choose another provider")
    _check_bounds(title, entry, box)
    return Provider(
        title, _address(title, entry, key), _plain(entry.get("attribution", "")),
        tuple(dict.fromkeys(_LINK.findall(entry.get("html_attribution", "")))),
        tuple(_notes(title, entry)),
        (int(entry.get("min_zoom", 0)), int(entry.get("max_zoom", 30))),
        int(entry.get("tileSize", 256)))


def _near(name: str, known: dict[str, TileProvider]) -> str:
    """Return what was meant, or what there is."""
    lower = {other.lower(): other for other in known}
    ends = {other.rpartition(".")[2].lower(): other for other in known}
    close = [*(lower[match] for match in difflib.get_close_matches(name.lower(), lower, 3)),
             *(ends[match] for match in difflib.get_close_matches(name.lower(), ends, 3))]
    if close:
        return f"did you mean {' or '.join(dict.fromkeys(close))}?"
    return ("expected one of xyzservices, such as Esri.WorldImagery, or an address with {z}, {x} "
            "and {y}")


def _address(title: str, entry: TileProvider, key: str | None) -> str:
    """Return the address of a provider's tiles with the key that it wants."""
    missing = [name for name, value in entry.items() if _NEEDS in str(value)
               and f"{{{name}}}" in entry["url"]]
    if missing and key is None:
        told = re.search(r"https?://[^\s>]+", entry[missing[0]])
        where = f" (from {told[0]})" if told else ""
        raise ConfigError(f"imagery={title}: wants a key of yours; get one from the provider"
                          f"{where}, and pass imagery_key=...")
    if not missing and key is not None:
        raise ConfigError(f"imagery_key=...: {title} wants no key; leave it out")
    row = "{-y}" if entry.get("tms") else "{y}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of CartoDB's key, which is handled here
        return entry.build_url(y=row, fill_subdomain=True,
                               **dict.fromkeys(missing, quote(key or "", safe="")))


def _check_bounds(title: str, entry: TileProvider, box: BBox) -> None:
    """Raise ConfigError if a provider has nothing of the box."""
    if not (corners := entry.get("bounds")):
        return
    (south, north), (west, east) = (sorted(side) for side in zip(*corners, strict=True))
    if box.east <= west or box.west >= east or box.north <= south or box.south >= north:
        raise ConfigError(f"imagery={title}: covers longitudes {west:g} to {east:g} and latitudes "
                          f"{south:g} to {north:g}, and nothing of bbox=[{box}]; choose a provider "
                          "that does")


def _notes(title: str, entry: TileProvider) -> list[str]:
    notes = []
    if not _PHOTOGRAPHS.search(f"{title} {entry.get('variant', '')} {entry['url']}"):
        notes.append(f"{title} is a drawn map by its name, not imagery; a provider of imagery is "
                     "Esri.WorldImagery")
    if entry.get("status") == "broken":
        notes.append(f"xyzservices lists {title} as broken; it may answer with errors")
    if title.startswith("Gaode"):
        notes.append("Gaode's tiles are moved by 100 to 700 m from where OpenStreetMap has things "
                     "(GCJ-02)")
    return notes


def _plain(text: str) -> str:
    """Return an attribution without markup: `(C) OpenStreetMap contributors`."""
    text = re.sub(r"!?\[[^\]]*\]\([^)]*\)|<[^>]*>", " ", html.unescape(text))
    return printable(" ".join(text.split()), 1000)
