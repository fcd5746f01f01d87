"""Preparation: a raster and OSM objects become the tiles of one city.

The flow is `pipeline.py`: sources (`imagery/`, `osm/`, `targets/`) -> a spool of objects and their
text vectors (`staging.py`, `text/`) -> bands of tiles, each with its graphs (`bands.py`,
`graph.py`), made by one or many processes (`engine.py`) -> one part on disk a band -> one dataset
(`city_folder.py`). Reading a finished dataset is `datasets.stores`, not here.
"""
