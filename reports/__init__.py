"""Reports: one self-contained HTML page of one run's folder or of several."""

from reports.page import REPORT, write_report

__all__ = ["REPORT", "write_report"]
