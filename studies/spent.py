"""How long a piece of work took, over all the commands that worked on it."""

import time
from collections.abc import Mapping
from pathlib import Path

from utils.contents import Fields, Number, Table, read_json
from utils.errors import RoseError
from utils.outputs import write_json
from utils.remedies import removal

UNFINISHED = "spent.json"  # of work that is not done
RUN_RECORD = "run.json"    # of a run that is done: written last
_RULE = Fields({"seconds": Number(least=0), "since": Number(), "parts": Table(Number(least=0))})


class Spent:
    """The time that the work in a folder has taken, kept there until it is done.

    A command that was killed wrote nothing at its end: it counts until the last change of a file
    in the folder.

    Args:
        seconds, parts: of the same work, if it was done before and some of it is made again.

    Attributes:
        parts: name -> seconds of parts of the work, see `part`.

    Raises:
        RoseError: what an earlier command left cannot be read.
    """

    def __init__(self, folder: Path, seconds: float = 0.0,
                 parts: Mapping[str, float] | None = None):
        self._path = folder / UNFINISHED
        self.parts = {**(parts or {})}
        self._before, self._start = seconds, time.monotonic()
        if self._path.is_file():
            left = read_json(self._path, _RULE, removal(self._path), RoseError)
            last = max((path.stat().st_mtime for path in folder.rglob("*")), default=0)
            self._before = left["seconds"] + max(last - left["since"], 0)
            self.parts = left["parts"]
        self._write()

    @property
    def seconds(self) -> float:
        """Those of all commands together, until now."""
        return self._before + time.monotonic() - self._start

    def part(self, name: str, seconds: float) -> None:
        """Add what a part took, beside what earlier commands spent on it."""
        self.parts[name] = self.parts.get(name, 0) + seconds
        self._write()

    def end(self) -> None:
        """Forget it: the work is done, and its record says how long it took."""
        self._path.unlink()

    def _write(self) -> None:
        write_json(self._path, {"seconds": self.seconds, "since": time.time(),
                                "parts": self.parts})
