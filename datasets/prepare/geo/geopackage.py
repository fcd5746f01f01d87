"""GeoPackages with the same bytes whenever they are written."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyogrio import set_gdal_config_options


@contextmanager
def constant_date() -> Iterator[None]:
    """Give GeoPackages written meanwhile bytes that depend on their content alone."""
    set_gdal_config_options({"OGR_CURRENT_DATE": "2024-06-01T12:00:00.000Z"})
    try:
        yield
    finally:
        set_gdal_config_options({"OGR_CURRENT_DATE": None})
