"""The keys of make_report.py."""

from dataclasses import dataclass

from utils.cli.program import Program
from utils.config import key


@dataclass
class MakeReportConfig:
    """Keys of make_report.py."""

    runs: list[str] = key(
        meaning="folders of pretraining runs, evaluations, features or maps, one after the other "
                "without a key, or runs=[runs/rose,maps/city]",
        why="folders of pretraining runs, evaluations or maps: python make_report.py runs/sample "
            "maps/city")
    out: str = key("report.html", "the page to write, complete in one file; one that is there is "
                                  "replaced")
    title: str | None = key(None, "heading of the page; null: the run's own, or the number of "
                                  "runs")
    picture: str | None = key(None, "also all maps among the runs side by side, as a picture such "
                                    "as maps.jpg")


MAKE_REPORT = Program(
    "make_report", MakeReportConfig, "One page for the browser of one or several runs.",
    'python make_report.py RUN RUN ... out=report.html title="My city"', positional=("runs",))
