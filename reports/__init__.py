"""Reports: one HTML page of a run's folder or of several, complete in itself, and posters of maps.

Here live the readers of the runs' files, the sections of pages, their style and their scripts. A
page shows the figures that the run drew and may not draw them again. This room knows runs by their
files alone: it may import utils, and may not import models, datasets or the rooms above them.
"""

from utils.on_demand import on_demand

__all__ = ["REPORT", "write_report"]

__getattr__ = on_demand(__name__, dict.fromkeys(__all__, "page"))
