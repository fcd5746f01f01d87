"""The two layouts of a tile dataset on disk: the release's (release.py) and the compact one
(compact.py). A store reads and writes tiles as they are; what a tile means to a network (targets,
normalisation, lists) may not live here."""
