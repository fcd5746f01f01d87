"""Imagery: one raster file or many (`files.py`) on one grid (`placement.py`), each seen as three
bands of colour (`view.py`), made 8-bit (`stretch.py`) and read window by window (`mosaic.py`).
Tiles, OSM and targets are not known here."""
