"""A hidden folder in which a piece of work goes on until all of it is done: what a stopped run
leaves there the same command takes up."""

import json
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from utils.errors import PrepareError
from utils.files import replacing

_REQUEST = "request.json"


class WorkFolder:
    """The work on one thing inside a folder of results.

    Args:
        out: folder of the results.
        name: of the thing, in file names.
        doing: what a run does with it, for a message, such as "preparing amsterdam".

    Attributes:
        folder: of the work; stays when the work is stopped.
        discarded: work that a stopped run of another request left was thrown away.
    """

    def __init__(self, out: Path, name: str, doing: str):
        self.out, self.doing = out, doing
        self.folder = out / f".{name}"
        self._lock = FileLock(out / f".lock-{name}")
        self.discarded = False

    @property
    def worth_keeping(self) -> bool:
        """Some of the work is done: `folder` holds more than its request."""
        return self.folder.is_dir() and any(path.name != _REQUEST
                                            for path in self.folder.iterdir())

    def hold(self) -> None:
        """Have the work alone until `let_go`, or until the process ends, in whatever way.

        Raises:
            PrepareError: another run has it, or `out` cannot be written.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise PrepareError(f"{self.out}: another run is {self.doing} there; wait for it to "
                               "end, or stop it.") from error
        except OSError as error:
            raise cannot_write(self.out, error) from error

    def let_go(self) -> None:
        """Another run may have the work now; `out` is removed if there is nothing in it."""
        # while it is held: afterwards it may be another run's
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()
        if self.out.is_dir() and not any(self.out.iterdir()):
            self.out.rmdir()

    def begin(self, request: dict) -> bool:
        """Make the folder ready for a request; True where a stopped run of the same request left
        work to go on with.

        Raises:
            PrepareError: `out` cannot be written.
        """
        text = request_text(request)
        if self.asked(self.folder) == text:
            return True
        self.discarded = self.worth_keeping
        try:
            shutil.rmtree(self.folder, ignore_errors=True)  # what another request left
            self.folder.mkdir(parents=True)
            with replacing(self.folder / _REQUEST) as part:
                part.write_text(text, encoding="utf-8")
        except OSError as error:
            raise cannot_write(self.out, error) from error
        return False

    def abandon(self) -> None:
        """Remove the work: nothing there is worth going on with, or all of it is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def asked(folder: Path) -> str | None:
        """The request whose work a folder holds, as `request_text` has it."""
        path = folder / _REQUEST
        return path.read_text(encoding="utf-8") if path.is_file() else None


def request_text(request: dict) -> str:
    """What is asked for, as text that is equal for equal requests."""
    return json.dumps(request, sort_keys=True, default=str)


def cannot_write(out: Path, error: OSError) -> PrepareError:
    if out.is_file():
        return PrepareError(f"{out}: is a file, expected a folder, or none yet. Pass another "
                            "out=.")
    return PrepareError(f"{out}: cannot be written ({error.strerror or error}). Pass out= a "
                        "folder that you may write to, or free space there.")
