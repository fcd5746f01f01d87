"""The keys of reports."""
from dataclasses import dataclass

from utils.config import key


@dataclass
class MakeReportConfig:
    """Keys of make_report.py."""

    runs: list[str] = key(why="folders of pretraining runs, evaluations or maps: python "
                              "make_report.py runs/sample maps/city")
    out: str = key()
    title: str | None = key()
    picture: str | None = key()
