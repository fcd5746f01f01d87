"""Names of tiles and cities. Files are called by them, so each is checked where a dataset is read
or written: no name leads out of the dataset's folder."""

import json
import os
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from utils.errors import TileError

LONGEST = 255 - len(".tensor")  # bytes; a file's name has 255 on common disks
# no separators, control characters, line ends of any kind, or bytes that are no text; hidden files
# are no tiles, and `..` begins like one
_NAME = re.compile("[^./\\\\\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
                   "[^/\\\\\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]*")


def is_name(name: str) -> bool:
    """Return whether a file may be called by this name."""
    return (_NAME.fullmatch(name) is not None
            and (len(name) * 4 <= LONGEST or len(os.fsencode(name)) <= LONGEST))


def check_names(names: Iterable[str], where: Path | str, what: str = "tile") -> None:
    """Raise TileError, whose message begins with `where`, if one of the names is no plain name of a
    file."""
    for name in names:
        if not is_name(name):
            raise TileError(f"{where}: has a {what} called {json.dumps(name)[:60]}, expected a "
                            f"name of 1 to {LONGEST} bytes without /, \\, control characters or a "
                            "dot in front; rename it, or make the dataset again with "
                            "prepare_dataset.py")


def check_ascending(names: list[str], where: Path | str) -> None:
    """Raise TileError if names are not sorted, or one occurs twice."""
    for name, following in pairwise(names):
        if name >= following:
            raise TileError(f"{where}: names {following} after {name}, expected sorted names, each "
                            "once; make the city again with prepare_dataset.py")
