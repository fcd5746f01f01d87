"""Ground on the Earth: boxes and points between coordinate reference systems (`crs.py`), and the
one way into vector files of any format (`vector_io.py`). It knows neither OSM nor targets."""
