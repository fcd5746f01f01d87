"""The sample city: imagery, OpenStreetMap layers, land use, population and CO2, generated from a
seed.

Imagery and OSM complement each other: a campus and a business park look the same and differ in
their tags; trees, cars, crop rows and buildings that no mapper has drawn yet are in the image
alone. `write_sample_city` is loaded when it is asked for, as training has no use for it.
"""

from utils.on_demand import on_demand

__getattr__ = on_demand(__name__, {"write_sample_city": "write"})
