"""A STAC item: which of its assets is the picture, and whose it is.

The item's JSON is read by rules: the libraries of STAC bring twenty packages for these few fields.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from datasets.remote.urls import is_url, is_valid, short_url
from utils.contents import (
    Anything,
    ContentFault,
    Either,
    Fields,
    InnerPath,
    Items,
    Null,
    Table,
    Text,
    parse_json,
)
from utils.errors import PrepareError, printable

COLOURS = ("red", "green", "blue")
MOST_ITEM_BYTES = 16 << 20
_SHOWN = 20
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_NO_PICTURES = {"thumbnail", "overview", "metadata"}  # roles
_NAMES = Either([Items(Text()), Null()])
_BANDS = Either([Items(Table(Anything())), Null()])
_ASSET = Fields({"href": Text(most=4096)}, optional={
    "type": Either([Text(), Null()]), "roles": _NAMES, "eo:bands": _BANDS, "bands": _BANDS})
_ITEM = Fields({"type": Text(["Feature"]), "assets": Table(_ASSET)}, optional={
    "properties": Either([Table(Anything()), Null()])})


@dataclass(frozen=True)
class Asset:
    """An asset of one GeoTIFF, and the bands of red, green and blue in it, from 1; None: as the
    file says."""

    name: str
    href: str
    colours: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Item:
    """The picture of an item: one asset, or one a colour."""

    assets: tuple[Asset, ...]
    attribution: str | None

    @property
    def is_local(self) -> bool:
        return not any(is_url(asset.href) for asset in self.assets)


def looks_like_item(content: bytes) -> bool:
    return content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"


def read_item(content: bytes, source: str) -> Item:
    """Return the picture of an item.

    Args:
        source: the item's URL or file, where relative addresses begin.

    Raises:
        PrepareError: it is no item, it has no picture in red, green and blue, or the picture's
            address is not one that is fetched.
    """
    name = short_url(source)
    try:
        kind = json.loads(content).get("type")
        if kind in ("Collection", "Catalog", "FeatureCollection"):
            raise PrepareError(f"{name}: is a STAC {kind}, expected one item; choose one of its "
                               "items, and pass its address")
        item = parse_json(content, _ITEM)
    except (ContentFault, ValueError, AttributeError, RecursionError) as error:
        reason = error if isinstance(error, ContentFault) else "no JSON"
        raise PrepareError(f"{name}: is no STAC item ({reason}), expected its JSON; look at the "
                           "address") from error
    chosen = _chosen(item["assets"])
    if not chosen:
        raise PrepareError(f"{name}: the STAC item has no GeoTIFF in red, green and blue, expected "
                           "an asset visual, or red, green and blue; it has "
                           f"{_listed(item['assets'])}. Pass raster= the address of one of them, "
                           "and bands=")
    assets = tuple(Asset(asset.name, _located(asset, source), asset.colours) for asset in chosen)
    return Item(assets, _attribution(item.get("properties") or {}))


def _chosen(assets: Mapping[str, Mapping[str, Any]]) -> list[Asset]:
    pictures = {name: asset for name, asset in assets.items() if _is_picture(asset)}
    visual = [name for name, asset in pictures.items()
              if name == "visual" or "visual" in (asset.get("roles") or [])]
    if visual:
        name = "visual" if "visual" in visual else visual[0]
        return [Asset(name, pictures[name]["href"])]
    for name, asset in pictures.items():
        colours = _colours(asset)
        if set(COLOURS) <= set(colours):
            bands = tuple(colours.index(colour) + 1 for colour in COLOURS)
            return [Asset(name, asset["href"], bands)]
    single = {}
    for name, asset in pictures.items():
        colours = _colours(asset)
        colour = colours[0] if len(colours) == 1 else name.lower() if not colours else None
        single.setdefault(colour, Asset(name, asset["href"]))
    return [single[colour] for colour in COLOURS] if set(COLOURS) <= set(single) else []


def _is_picture(asset: Mapping[str, Any]) -> bool:
    kind = asset.get("type") or ""
    ending = Path(asset["href"].partition("?")[0]).suffix.lower()
    return ("tiff" in kind or (not kind and ending in (".tif", ".tiff"))) and not (
        _NO_PICTURES & set(asset.get("roles") or []))


def _colours(asset: Mapping[str, Any]) -> list[str]:
    """Return the colour of each band, "" of one without."""
    bands: Sequence[Mapping[str, Any]] = asset.get("bands") or asset.get("eo:bands") or []
    return [str(band.get("eo:common_name") or band.get("common_name") or band.get("name")
                or "").lower() for band in bands]


def _located(asset: Asset, source: str) -> str:
    """Return the address of an asset; raise PrepareError if it is not one that is fetched."""
    name = short_url(source)
    scheme = match[1].lower() if (match := _SCHEME.match(asset.href)) else ""
    if is_url(asset.href) and is_valid(asset.href):
        return asset.href
    if scheme == "s3":
        bucket, _, path = asset.href.removeprefix("s3://").partition("/")
        raise PrepareError(f"{name}: its asset {asset.name} lies at {printable(asset.href)}, which "
                           "wants an account of the store, expected https://...; if the bucket is "
                           f"public, pass raster=https://{printable(bucket)}.s3.amazonaws.com/"
                           f"{printable(path)}, else download it")
    if is_url(source) and not scheme and not asset.href.startswith("//"):
        return urljoin(source, asset.href)
    try:
        if scheme:
            raise ContentFault(scheme)
        path = Path(source).parent / InnerPath().check(asset.href, "href")
    except ContentFault as error:
        raise PrepareError(f"{name}: its asset {asset.name} lies at {printable(asset.href)}, "
                           "expected http://, https:// or a path below the item; download it, and "
                           "pass raster= the file") from error
    if not path.is_file():
        raise PrepareError(f"{name}: its asset {asset.name} is {path}, and there is no such file; "
                           "put it there, or pass the item's address on the web")
    return str(path)


def _listed(assets: Mapping[str, Mapping[str, Any]]) -> str:
    shown = [f"{printable(name, 40)} ({printable(asset.get('type') or 'no type', 60)})"
             for name, asset in list(assets.items())[:_SHOWN]]
    more = f" and {len(assets) - _SHOWN} more" if len(assets) > _SHOWN else ""
    return f"{', '.join(shown) or 'no assets'}{more}"


def _attribution(properties: Mapping[str, Any]) -> str | None:
    """Return whose the picture is, and its licence, as far as the item says."""
    providers = properties.get("providers")
    names = [str(provider["name"]) for provider in providers if isinstance(provider, dict)
             and "name" in provider] if isinstance(providers, list) else []
    licence = properties.get("license")
    words = [", ".join(names), f"licence {licence}" if isinstance(licence, str) else "",
             str(properties.get("attribution") or "")]
    return printable("; ".join(filter(None, words)), 500) or None
