"""What tiles are labelled with: the nine classes of land use, the value of unknown pixels, and the
units of totals."""

CLASSES = ("water", "green", "farmland", "undeveloped", "residential", "commercial", "institution",
           "industrial", "transport")
UNKNOWN = 255
IGNORED = (9, UNKNOWN)  # values that label files use for "no class"; we write UNKNOWN alone

UNITS = {"pop": "people a tile", "co2": "tonnes of CO2 a tile"}
