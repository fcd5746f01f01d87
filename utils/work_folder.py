"""Results that are whole or absent: made in a hidden folder, then moved to their place."""

import errno
import json
import shlex
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from utils.contents import Fields, InnerPath, Items, read_json
from utils.errors import PrepareError, RoseError, one_line
from utils.files import replacing
from utils.locks import locked
from utils.remedies import removal
from utils.tables import format_bytes

_REQUEST, _PLAN, _REPLACED = "request.json", "moves.json", "replaced"
_MUCH = 1e9  # bytes
_MOVES = Fields({"moves": Items(InnerPath()), "replaced": Items(InnerPath())})


class WorkFolder:
    """Work on results that appear in `out` when all of them are ready.

    `held` locks the work, `begin` resumes or discards what a stopped run left, and the run makes
    its results in `made`. `install` writes a plan of all moves before the first one: where a run
    is killed among them, the next run finds the plan and completes it. `clear` removes the rest.

    Args:
        out: folder of the results.
        name: of the work, in the names of its hidden files.
        doing: what a run does, for messages, such as "preparing amsterdam".
        key: key of the command line that names `out`.

    Attributes:
        folder: of the work; stays when a run is stopped.
        parts: folder in it of finished parts, which a later run need not make again.
        made: folder in it of the results, laid out as in `out`.
        finished: name of `folder` once its results are in their place.
        discarded: the work of another request was thrown away.
    """

    def __init__(self, out: Path, name: str, doing: str, key: str = "out"):
        self.out, self.doing, self.key = out, doing, key
        self.folder, self.finished = out / f".{name}", out / f".finished-{name}"
        self.parts, self.made = self.folder / "parts", self.folder / "made"
        self.discarded = False
        self._fresh = False
        self._lock = out / f".lock-{name}"

    @property
    def worth_keeping(self) -> bool:
        """Whether a part is finished."""
        return any(self.parts.glob("*"))

    @property
    def remedy(self) -> str:
        """What to do where the work of a stopped run is damaged, to end a message."""
        return removal(self.folder)

    @property
    def size(self) -> int:
        """Bytes of the work so far."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def check_space(self, needed: float, what: str, remedy: str) -> list[str]:
        """Raise PrepareError if the disk lacks room; return a note if the work takes much.

        Args:
            needed: the least bytes that are still to be written.
            what: is made, a plural such as "6 tiles".
            remedy: ends the message.
        """
        free = shutil.disk_usage(self.out).free
        if free < needed:
            raise PrepareError(f"{self.out}: the disk has {format_bytes(free)} free, but {what} "
                               f"need {format_bytes(needed)} or more; free space, choose another "
                               f"{self.key}=, or {remedy}")
        if needed < _MUCH:
            return []
        return [f"{what} need {format_bytes(needed)} or more, and the disk of {self.out} has "
                f"{format_bytes(free)} free"]

    @contextmanager
    def held(self, resumable: bool = True) -> Iterator[None]:
        """Hold the lock during the block; first complete the moves of a run that was killed.

        New work without a finished part does not outlive an error. Without `resumable`, no work
        outlives the block.

        Raises:
            PrepareError: another run holds the lock, or `out` cannot be written.
        """
        try:
            with self._locked():
                try:
                    _refuse_links([self.folder, self.finished, *self.folder.rglob("*")],
                                  "what a stopped run left")
                    if self._plan.is_file():
                        self._move()
                    yield
                except RoseError:
                    if self._fresh and not self.worth_keeping:
                        self.abandon()
                    raise
                finally:
                    if not resumable:
                        self.abandon()
        except OSError as error:
            if error.filename is not None or error.errno == errno.EPIPE:  # of the output's reader
                raise
            kept = "; it keeps what is done" if resumable else ""
            raise PrepareError(f"{self.out}: cannot be written ({one_line(error)}). Free "
                               f"space there and run the same command again{kept}.") from error
        finally:
            if self.out.is_dir() and not any(self.out.iterdir()):
                self.out.rmdir()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
                _refuse_links([self._lock, self._lock.with_name(f"{self._lock.name}.holder")],
                              "a file of its own")
                stack.enter_context(locked(self._lock, self.doing, f"pass another {self.key}=",
                                           PrepareError))
            except OSError as error:
                raise cannot_write(self.out, error, self.key) from error
            yield

    def begin(self, request: dict) -> bool:
        """Make the folder ready for a request; return True where work of the same request is
        resumed."""
        # "moving": an earlier version was stopped among its moves, and left no plan of them
        if self.asked(self.folder, request) and not (self.folder / "moving").exists():
            return True
        self.discarded, self._fresh = self.worth_keeping, True
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            with replacing(self.folder / _REQUEST) as temporary:
                temporary.write_text(_text_of(request), encoding="utf-8")
        except OSError as error:
            raise cannot_write(self.out, error, self.key) from error
        return False

    def asked(self, folder: Path, request: dict) -> bool:
        """Return whether the work in `folder` is that of a request."""
        path = folder / _REQUEST
        return path.is_file() and path.read_bytes() == _text_of(request).encode()

    def empty(self) -> Path:
        """Return `made` with nothing in it."""
        shutil.rmtree(self.made, ignore_errors=True)
        self.made.mkdir(parents=True, exist_ok=True)
        return self.made

    def install(self, moves: Sequence[str], replaced: Sequence[str]) -> None:
        """Move results to their place.

        Args:
            moves: paths in `made`, which they get in `out`; moved in this order, so that a record
                which says that all is there comes last. A path may be a whole folder.
            replaced: paths in `out` to remove first, in this order; missing ones are passed over.
                A folder that is moved must be among them where it exists.
        """
        with replacing(self._plan) as temporary:
            temporary.write_text(json.dumps({"moves": moves, "replaced": replaced}),
                                 encoding="utf-8")
        self._move()

    def abandon(self) -> None:
        """Remove the work, unless its results are on their way to their place."""
        if not self._plan.is_file():
            shutil.rmtree(self.folder, ignore_errors=True)

    def clear(self) -> None:
        """Remove what is left of work whose results are in their place."""
        shutil.rmtree(self.finished, ignore_errors=True)

    @property
    def _plan(self) -> Path:
        return self.folder / _PLAN

    def _move(self) -> None:
        """Carry out the plan, or what a killed run left of it."""
        plan = read_json(self._plan, _MOVES, self.remedy, PrepareError)
        folders = {self.out / folder for path in [*plan["moves"], *plan["replaced"]]
                   for folder in Path(path).parents}
        _refuse_links(folders - {self.out}, f"a folder, as nothing is written outside {self.out}")
        waiting = [path for path in plan["moves"] if (self.made / path).exists()]
        moved = {*plan["moves"]}.difference(waiting)
        _put_away(self.out, [path for path in plan["replaced"] if path not in moved],
                  self.folder / _REPLACED)
        for path in waiting:
            _move_file(self.made / path, self.out / path)
        self.clear()  # of earlier results, whose run was killed before it did
        self.folder.rename(self.finished)


def cannot_write(out: Path, error: OSError, key: str = "out") -> PrepareError:
    """Return the error of a folder that cannot be made or written."""
    if out.is_file():
        return PrepareError(f"{out}: is a file, expected a folder, or none yet. Pass another "
                            f"{key}=.")
    return PrepareError(f"{out}: cannot be written ({one_line(error)}). Pass {key}= a "
                        "folder that you may write to, or free space there.")


def _text_of(request: dict) -> str:
    """Return text that is equal for equal requests."""
    return json.dumps(request, sort_keys=True, default=str)


def _refuse_links(paths: Iterable[Path], expected: str) -> None:
    """Raise PrepareError if one of the paths is a link, which may lead anywhere."""
    if links := sorted(path for path in paths if path.is_symlink()):
        raise PrepareError(f"{links[0]}: is a link, expected {expected}; "
                           f"`rm {shlex.quote(str(links[0]))}` removes the link alone; then run "
                           "the same command again")


def _put_away(out: Path, paths: Sequence[str], replaced: Path) -> None:
    """Move paths in `out`, and folders that become empty, out of the readers' way: a rename takes
    no time, and whole folders go at once."""
    for path in paths:
        if (out / path).exists():
            (replaced / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).rename(replaced / path)
    for folder in sorted({(out / path).parent for path in paths} - {out}, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _move_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
