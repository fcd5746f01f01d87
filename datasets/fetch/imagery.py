"""Imagery of an area: from a provider by name, web map tiles, a GeoTIFF, a STAC item or a map
service."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import CRS

from datasets.bbox import BBox
from datasets.fetch.providers import Provider, is_name, provider_of
from datasets.fetch.record import Made
from datasets.keys import FetchConfig
from datasets.prepare.imagery.placement import metres_per_pixel
from datasets.remote.geotiffs import remote_geotiff
from datasets.remote.http import Http, Patience
from datasets.remote.imagery import TIFF, localised
from datasets.remote.tiles import finest_zoom
from datasets.remote.urls import is_url, short_url, without_secrets
from utils.errors import ConfigError, PrepareError
from utils.tables import format_bytes

BYTES_PER_TILE = 20_000  # a JPEG of 256 x 256 pixels of a city


@dataclass
class ImageryItem:
    """The imagery that `imagery=` asks for.

    Attributes:
        address: as `localised` takes it.
        provider: of web map tiles; None: a raster, STAC item or map service.
        zoom: of its tiles.
    """

    address: str
    provider: Provider | None
    zoom: int | None
    resolution: float | None
    most_tiles: int
    name = "imagery"
    path = "imagery"

    @classmethod
    def of(cls, cfg: FetchConfig, box: BBox) -> "ImageryItem":
        """Return the item of a configuration.

        Raises:
            ConfigError: no such provider, a key that it needs or not, a zoom that it has not, or
                too many tiles.
        """
        imagery, provider, zoom = cfg.imagery, None, cfg.zoom
        if is_name(imagery):
            provider = provider_of(imagery, cfg.imagery_key, box)
        elif cfg.imagery_key:
            raise ConfigError("imagery_key=...: is for a provider by its name; an address holds "
                              "its key itself")
        elif "{" in imagery:
            provider = Provider(short_url(imagery), imagery)
        elif not is_url(imagery) and not imagery.lower().endswith((".json", ".xml")):
            raise ConfigError(f"imagery={imagery}: a local raster needs no fetching; pass it to "
                              f"prepare_dataset.py as raster={imagery} with bbox={box}")
        if provider:
            zoom = provider.zoom(zoom, box)
            _check_count(provider, zoom, box, cfg.most_tiles)
        return cls(provider.address if provider else imagery, provider, zoom,
                   cfg.resolution, cfg.most_tiles)

    @property
    def request(self) -> dict[str, Any]:
        return {"imagery": without_secrets(self.address), "zoom": self.zoom,
                "resolution": self.resolution}

    def forecast(self, box: BBox) -> list[str]:
        """Return what would be fetched, and whose it is, in lines for the user."""
        provider = self.provider
        if provider is None:
            return [f"imagery: {without_secrets(self.address)}, the pixels of the area"]
        count = len(box.tiles(self.zoom))
        lines = [f"imagery: {count:,} web map tiles of {provider.name}, zoom {self.zoom}, pixels "
                 f"of {provider.pixel_m(self.zoom, box):.2g} m, about "
                 f"{format_bytes(count * BYTES_PER_TILE * (provider.tile_px / 256) ** 2)}",
                 f"    owner: {provider.attribution or 'not stated'}"]
        lines += [f"    terms: {address}" for address in provider.terms] or [
            "    terms: not stated here; read those of the provider, as many forbid downloads in "
            "bulk or training on their tiles"]
        return lines + [f"    note: {note}" for note in provider.notes]

    def look(self, box: BBox, patience: Patience) -> list[str]:
        """Return the pixels and bytes of a GeoTIFF by URL, whose header is fetched, in lines for
        the user; none of other imagery."""
        if self.provider or not is_url(self.address):
            return []
        with Http(patience=patience) as http:
            if not http.start(self.address).startswith(TIFF):
                return []
            picture = remote_geotiff(self.address, http).look().picture
        if not picture.crs:
            return []
        crs, grid = rasterio.crs.CRS.from_wkt(picture.crs), picture.transform
        pixels = box.pixels(CRS.from_wkt(picture.crs), grid, picture.width, picture.height)
        if pixels is None:
            raise PrepareError(f"{short_url(self.address)}: has no imagery in bbox=[{box}]; look "
                               "at both")
        width, height = pixels[2] - pixels[0], pixels[3] - pixels[1]
        across, down = metres_per_pixel(crs, grid, picture.width, picture.height)
        size = width * height * sum(np.dtype(band.dtype).itemsize for band in picture.bands)
        return [f"    {width:,} x {height:,} pixels of {(across * down) ** 0.5:.2g} m, "
                f"{len(picture.bands)} bands, {format_bytes(size)} uncompressed"]

    def make(self, folder: Path, box: BBox, patience: Patience) -> Made:
        """Fetch into `folder` what it lacks."""
        with passed_as("imagery"):
            local = localised(self.address, box, self.zoom, self.resolution, cache=str(folder),
                              most_tiles=self.most_tiles, http=Http(patience=patience))
        raster = Path(local.raster)
        if not raster.is_relative_to(folder):
            raise PrepareError(f"{self.address}: stands for {raster}, which is here and needs no "
                               f"fetching; pass it to prepare_dataset.py as raster={raster} with "
                               f"bbox={box}")
        root = raster if raster.is_dir() else raster.parent
        return Made(root, without_secrets(self.address),
                    raster.relative_to(root).as_posix(),
                    (self.provider and self.provider.attribution) or local.attribution or "",
                    self.provider.terms if self.provider else (),
                    (*(self.provider.notes if self.provider else ()), *local.notes))


@contextmanager
def passed_as(key: str) -> Iterator[None]:
    """Name `key` in errors that speak of raster=."""
    try:
        yield
    except (ConfigError, PrepareError) as error:
        message = str(error).replace("raster=", f"{key}=")
        raise (ConfigError if isinstance(error, ConfigError) else PrepareError)(
            message) from error


def _check_count(provider: Provider, zoom: int, box: BBox, most: int) -> None:
    """Raise ConfigError if there are too many tiles."""
    count = len(box.tiles(zoom))
    if count <= most:
        return
    coarser = finest_zoom(box, zoom, most)
    raise ConfigError(f"zoom={zoom}: {count:,} tiles in {box.area_km2:,.1f} km2, expected {most:,} "
                      "at most, as providers forbid downloads in bulk; pass a smaller bbox=, "
                      f"zoom={coarser} (pixels of {provider.pixel_m(coarser, box):.2g} m), or "
                      f"most_tiles={count} if the terms of {provider.name} allow that")
