"""OSM objects: from files of OpenStreetMap (`osm_files.py`) or vector files (`vector_files.py`)
with their tags (`tags.py`, `tag_columns.py`, `default_tags.py`), to valid polygons on the raster
(`objects.py`), kept on disk (`spool.py`). Neither imagery nor text vectors are known here."""
