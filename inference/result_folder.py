"""A folder of results: refused where it holds something else, and filled at once when all is
ready."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from utils.errors import ConfigError, PrepareError, RoseError
from utils.files import replacing
from utils.outputs import write_json
from utils.progress import say
from utils.work_folder import WorkFolder, cannot_write

PARTS = "parts"  # folder of the work: what is done so far
_MADE, _MOVING = "made", "moving"
_DIGEST = re.compile("[0-9a-f]{64}")


class ResultFolder:
    """Results in the folder `work.out`, made in the work's own folder and moved when they are
    whole.

    Args:
        record: name of the JSON file that says what the results are, with "files", and by what
            "request" they were made; it is moved last, so where it is, all is there.

    Attributes:
        out: the folder.
        work: where the work goes on.
        made: a folder in it for what will be moved.
    """

    def __init__(self, work: WorkFolder, record: str):
        self.out, self.work, self.record = work.out, work, record
        self.made = work.folder / _MADE

    @contextmanager
    def held(self) -> Iterator[None]:
        """The folder alone, as long as the block goes on; a move in which a run was stopped is
        finished first.

        Raises:
            PrepareError: another run has it, or it cannot be written.
        """
        self.work.hold()
        try:
            if self._marker.exists():
                self._move()
            yield
        except RoseError:
            if not any(self.work.folder.glob(f"{PARTS}/*")):
                self.work.abandon()  # nothing is done that a later run could go on with
            raise
        except OSError as error:
            if error.filename is not None:
                raise
            raise cannot_write(self.out, error) from error
        finally:
            self.work.let_go()

    def begin(self, request: dict[str, Any], overwrite: bool,
              afterwards: Sequence[str] = ()) -> dict[str, Any] | None:
        """The record of the results, where they are there already; else None, and the work on them
        can go on in the work's folder.

        Args:
            request: all that the results depend on, as JSON knows it.
            overwrite: other results are to be replaced.
            afterwards: keys of the request that matter only when the work is done, so that it goes
                on with other values of them.

        Raises:
            ConfigError: `out` holds other results, or other files.
        """
        found = self._record()
        if found and (found["request"] == request or not overwrite):
            self._check_same(found["request"], request)
            gone = [name for name in found.get("made", []) if not (self.out / name).is_file()]
            if not gone:
                return found
            say([f"{self.out}: {', '.join(gone[:3])} is gone, so all is made again"])
        others = [] if found else sorted(path.name for path in self.out.iterdir()
                                         if not path.name.startswith("."))
        if others:
            raise ConfigError(f"{self.out}: holds other files ({', '.join(others[:3])}), expected "
                              "a new folder or an empty one; choose another out=")
        self.work.begin({key: value for key, value in request.items() if key not in afterwards})
        if self.work.discarded:
            say(["the work of a stopped run with other keys or other sources was thrown away"])
        return None

    def alike(self, request: dict[str, Any], afterwards: Sequence[str]) -> dict[str, Any] | None:
        """The record of results that are there, if they differ from those asked for in keys
        `afterwards` at most."""
        found = self._record()
        same = found and all(found["request"].get(key) == value for key, value in request.items()
                             if key not in afterwards)
        return found if same else None

    def _check_same(self, there: dict[str, Any], request: dict[str, Any]) -> None:
        differing = [words for key in request if there.get(key) != request[key]
                     for words in _difference(key, request[key], there.get(key))]
        if differing:
            raise ConfigError(f"{self.out}: holds other results: {', '.join(differing[:3])}; "
                              "choose another out=, or pass overwrite=true to replace them")

    def empty(self) -> Path:
        """`made`, with nothing in it."""
        shutil.rmtree(self.made, ignore_errors=True)
        self.made.mkdir()
        return self.made

    def publish(self, record: dict[str, Any]) -> None:
        """Move what was made to its place, instead of the results that are there, and `record`
        last."""
        made = sorted(path.relative_to(self.made).as_posix() for path in self.made.rglob("*")
                      if path.is_file())
        write_json(self.made / self.record, {**record, "made": made})
        before = (self._record() or {}).get("made", [])
        with replacing(self._marker) as temporary:
            temporary.write_text(json.dumps([name for name in before if name not in made]),
                                 encoding="utf-8")
        self._move()

    def _move(self) -> None:
        if (self.made / self.record).is_file():  # else it was moved, so all was
            # first: without it the rest is nobody's
            (self.out / self.record).unlink(missing_ok=True)
            for name in json.loads(self._marker.read_text(encoding="utf-8")):
                # a record may come from elsewhere
                if not Path(name).is_absolute() and ".." not in Path(name).parts:
                    (self.out / name).unlink(missing_ok=True)
            names = [path.relative_to(self.made) for path in self.made.rglob("*")
                     if path.is_file()]
            for name in sorted(names, key=lambda path: path == Path(self.record)):
                (self.out / name).parent.mkdir(parents=True, exist_ok=True)
                (self.made / name).replace(self.out / name)
        self.work.abandon()

    def _record(self) -> dict[str, Any] | None:
        path = self.out / self.record
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if "request" not in record:
                return None  # another command's
            return {**record, "request": dict(record["request"]), "files": list(record["files"])}
        except (ValueError, KeyError, TypeError) as error:
            raise PrepareError(f"{path}: does not say what the results are "
                               f"({type(error).__name__}); remove the folder, or choose another "
                               "out=") from error

    @property
    def _marker(self) -> Path:
        return self.work.folder / _MOVING


def _difference(key: str, asked: Any, there: Any) -> list[str]:
    """How a value of a request differs from that of the results which are there, in words; of
    files by their state, each file."""
    if not isinstance(asked, dict):
        return [f"{key}={_brief(asked)} (there {_brief(there)})"]
    there = there if isinstance(there, dict) else {}
    return [f"{name} has changed since" if name in asked and name in there else
        f"{name} was {'not ' * (name in asked)}read for them"
            for name in sorted({*asked, *there}) if asked.get(name) != there.get(name)]


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:8] if _DIGEST.fullmatch(text) else text if len(text) <= 40 else f"{text[:37]}..."
