"""Targets of tiles: land use, one class a pixel (`land_use.py`), and totals of population and CO2
(`zonal.py`), from rasters (`rasters.py`) or polygons (`polygons.py`) in any CRS. Tiles and OSM are
not known here: a target is asked for boxes."""
