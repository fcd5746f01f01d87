"""Versions of the libraries that a result depends on."""

from importlib.metadata import PackageNotFoundError, version

import rasterio
import shapely


def versions() -> dict[str, str]:
    """Version by name, for metadata: geometry, projections and imagery, and the network's libraries."""
    found = {"geos": shapely.geos_version_string, "gdal": rasterio.__gdal_version__}
    for name in ("numpy", "shapely", "pyproj", "rasterio", "osmium", "torch", "open_clip_torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # an optional one
    return found
