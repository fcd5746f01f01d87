"""Imagery, OSM objects and population of a box of the Earth, from servers and files into a folder
that prepare_dataset.py reads."""
