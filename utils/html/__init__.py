"""Reports: one self-contained HTML page of one run's folder or of several."""

from utils.html.page import REPORT, write_report

__all__ = ["REPORT", "write_report"]
