"""Versions of the libraries that a result depends on."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import rasterio
import shapely


def versions(more: Sequence[str] = ()) -> dict[str, str]:
    """Version by name, for metadata: geometry, projections and imagery, torch, and `more`
    libraries by the names that pip has for them."""
    versions_by_name = {"geos": shapely.geos_version_string, "gdal": rasterio.__gdal_version__}
    for name in ("numpy", "shapely", "pyproj", "rasterio", "osmium", "torch", "open_clip_torch",
                 *more):
        try:
            versions_by_name[name] = version(name)
        except PackageNotFoundError:
            continue  # an optional one
    return versions_by_name
