"""The sample city: imagery, OpenStreetMap layers, land use, population and CO2, generated from a
seed.

Imagery and OSM complement each other: a campus and a business park look the same and differ in
their tags; trees, cars, crop rows and buildings that no mapper has drawn yet are in the image
alone. `write_sample_city` is loaded when it is asked for, as training has no use for it.
"""

from importlib import import_module


def __getattr__(name: str) -> object:
    if name != "write_sample_city":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("datasets.sample_city.write").write_sample_city
