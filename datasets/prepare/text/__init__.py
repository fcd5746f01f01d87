"""Text encoders: tag values ("residential", "school") become the first columns of the node rows.

`registry.py` names them and is light to import. Each encoder is one file (`hashed.py`, `clip.py`)
and one line in `registry.ENCODERS`. `cache.py` keeps their vectors on disk between runs.
"""
