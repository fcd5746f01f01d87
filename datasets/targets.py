"""What tiles are labelled with: classes of land use, the value of unknown pixels, and the units of
totals."""

CLASSES = ("water", "green", "farmland", "undeveloped", "residential", "commercial", "institution",
           "industrial", "transport")  # the paper's nine, of a dataset that says nothing else
MOST_CLASSES = 254   # of other names
UNKNOWN = 255
IGNORED = (9, UNKNOWN)  # values that label files use for "no class"; we write UNKNOWN alone

UNITS = {"pop": "people a tile", "co2": "tonnes of CO2 a tile"}
