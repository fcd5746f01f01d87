"""Targets of tiles: land use, one class a pixel (`land_use.py`), and totals of population and CO2
(`zonal.py`). They come from rasters (`rasters.py`), polygons (`polygons.py`), and rows with a place
and a value (`rows.py`): tables, points, H3 cells. All are in any CRS. Tiles and OSM are not known
here: a target is asked for boxes."""
