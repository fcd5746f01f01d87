"""The sample city: imagery, OpenStreetMap layers, land use, population and CO2, generated from a
seed.

Imagery and OSM complement each other: a campus and a business park look alike and differ in their
tags; trees, cars, crop rows and buildings that no mapper has drawn yet are in the image alone.
"""
