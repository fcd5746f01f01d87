"""Raster + OSM -> tiles: imagery windows, OSM objects, text vectors, tile graphs, and the files of
the release's layout."""
