"""The folder of a map or of features: recognised by its record, refused with other files."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.contents import Anything, Fields, InnerPath, Items, Rule, Table, Text, read_json
from utils.errors import ConfigError, PrepareError
from utils.outputs import write_json
from utils.progress import say
from utils.work_folder import WorkFolder

_DIGEST = re.compile("[0-9a-f]{64}")
# files that a GIS writes beside one that it opens, and that would be read with its successor
_BESIDE = (".aux.xml", ".ovr", ".msk", "-wal", "-shm", "-journal")
FILES = Items(Fields({"name": InnerPath(), "what": Text()}))


class ResultFolder(WorkFolder):
    """The work on results that have a record; `out`, `name` and `doing` as in WorkFolder.

    `record` names the JSON file that says what the results are ("files") and by which "request"
    they were made. It is moved last: where it is, all is there. `fields` are the rules of what
    else the record must say.
    """

    def __init__(self, out: Path, name: str, doing: str, record: str, fields: dict[str, Rule]):
        super().__init__(out, name, doing)
        self.record = record
        self._rule = Fields({**fields, "request": Table(Anything()), "files": FILES},
                            {"made": Items(InnerPath())})

    @property
    def remedy(self) -> str:
        return (f"choose another out=, or `rm -r {shlex.quote(str(self.out))}` removes what is "
                "there; then run the same command again")

    def start(self, request: dict[str, Any], overwrite: bool,
              afterwards: Sequence[str] = ()) -> dict[str, Any] | None:
        """Return the record of the results if they are there, else make the work's folder ready.

        Raise ConfigError if `out` holds other results, or other files.

        Args:
            request: all that the results depend on, as JSON holds it.
            overwrite: replace results of another request.
            afterwards: keys that the work in `parts` does not depend on, which is resumed anyway.
        """
        self.clear()
        record = self._read_record()
        if record and (record["request"] == request or not overwrite):
            self._check_same(record["request"], request)
            gone = [name for name in record.get("made", []) if not (self.out / name).is_file()]
            if not gone:
                return record
            say([f"{self.out}: {', '.join(gone[:3])} is gone, so all is made again"])
        others = [] if record else sorted(path.name for path in self.out.iterdir()
                                          if not path.name.startswith("."))
        if others:
            raise ConfigError(f"{self.out}: holds other files ({', '.join(others[:3])}), expected "
                              "a new folder or an empty one; choose another out=")
        self.begin({key: value for key, value in request.items() if key not in afterwards})
        if self.discarded:
            say(["the work of a stopped run with other keys or other sources was thrown away"])
        return None

    def similar(self, request: dict[str, Any], afterwards: Sequence[str]) -> dict[str, Any] | None:
        """Return the record of the results that are there if their request differs from this one
        in the keys `afterwards` at most."""
        record = self._read_record()
        same = record and all(record["request"].get(key) == value
                              for key, value in request.items() if key not in afterwards)
        return record if same else None

    def publish(self, record: dict[str, Any]) -> None:
        """Replace the results that are there by those in `made`, and write their record."""
        made = sorted(path.relative_to(self.made).as_posix() for path in self.made.rglob("*")
                      if path.is_file())
        write_json(self.made / self.record, {**record, "made": made})
        there = self._read_record() or {"files": []}
        before = there.get("made", [file["name"] for file in there["files"]])
        beside = [f"{name}{suffix}" for name in before for suffix in _BESIDE]
        self.install([*(name for name in made if name != self.record), self.record],
                     [self.record, *before, *beside])
        self.clear()

    def _check_same(self, there: dict[str, Any], request: dict[str, Any]) -> None:
        differences = [words for key in request if there.get(key) != request[key]
                       for words in _differences(key, request[key], there.get(key))]
        if differences:
            raise ConfigError(f"{self.out}: holds other results: {', '.join(differences[:3])}; "
                              "choose another out=, or pass overwrite=true to replace them")

    def _read_record(self) -> dict[str, Any] | None:
        path = self.out / self.record
        if not path.is_file():
            return None
        if "request" not in read_json(path, Table(Anything()), self.remedy, PrepareError):
            return None  # another command's
        return read_json(path, self._rule, self.remedy, PrepareError)


def _differences(key: str, requested: Any, there: Any) -> list[str]:
    """Return how a value differs from that of the results, in words, one entry for each file."""
    if not isinstance(requested, dict):
        return [f"{key}={_brief(requested)} (there {_brief(there)})"]
    there = there if isinstance(there, dict) else {}
    return [f"{name} has changed since" if name in requested and name in there else
            f"{name} was {'not ' * (name in requested)}read for them"
            for name in sorted({*requested, *there}) if requested.get(name) != there.get(name)]


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if _DIGEST.fullmatch(text):
        return text[:8]
    return text if len(text) <= 40 else f"{text[:37]}..."
