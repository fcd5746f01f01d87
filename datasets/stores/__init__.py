"""The two forms of a tile dataset on disk: the release's layout (release.py) and the compact one
(compact.py)."""
