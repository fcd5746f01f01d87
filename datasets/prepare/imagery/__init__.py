"""Imagery: what `raster=` names (`sources.py`), as raster files (`files.py`, `sidecars.py`,
`stacks.py`) or web map tiles (`web_tiles.py`, `tile_sets.py`, `tile_folders.py`,
`tile_archives.py`), on one grid (`placement.py`), each seen as three bands of colour (`view.py`),
made 8-bit (`stretch.py`) and read window by window (`mosaic.py`). Tiles of a dataset, OSM and
targets are not known here."""
