"""One process at a time in a folder, and the name of the one that is there."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from utils.contents import ContentFault, Fields, Text, Whole, parse_json
from utils.errors import RoseError

_HOLDER = Fields({"pid": Whole(least=1), "host": Text(), "since": Text(), "command": Text()})


@contextmanager
def locked(path: Path, doing: str, remedy: str,
           error: type[RoseError] = RoseError) -> Iterator[None]:
    """Hold the lock file `path` during the block. The system frees it when the process ends, in
    whatever way.

    Args:
        doing: what the holder does, for the message, such as "training in runs/sample".
        remedy: ends the message, such as "choose another save_dir=".
        error: what is raised.

    Raises:
        RoseError: of the class `error`: another process holds the lock; the message names it.
        OSError: the lock file cannot be written.
    """
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout as problem:
        raise error(f"{path.parent}: another process{_described(path)} is {doing}, expected "
                    f"none; wait for it to end, or stop it, or {remedy}") from problem
    holder = _holder_file(path)
    try:
        holder.write_text(json.dumps({
            "pid": os.getpid(), "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"), "command": " ".join(arg.partition("?")[0]
                for arg in sys.argv if "_key=" not in arg and "@" not in arg)[:300]}), "utf-8")
        yield
    finally:
        # while the lock is held: afterwards the files may be another process's
        holder.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def alone_in(folder: Path, key: str) -> Iterator[None]:
    """Hold a run's folder during the block, whatever kind of run it is: make the folder, keep
    other runs out of it, and remove it at the end if nothing was written.

    Args:
        key: of the command line, which names the folder.

    Raises:
        RoseError: another run holds the folder; the message names its process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / ".lock", "at work there", f"choose another {key}="):
            yield
    finally:
        with suppress(OSError):  # it holds the outputs, or another run's
            folder.rmdir()


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")


def _described(path: Path) -> str:
    """Return which process holds the lock, as far as it wrote that down."""
    try:
        holder = parse_json(_holder_file(path).read_bytes(), _HOLDER)
    except (OSError, ContentFault):
        return ""
    here = "" if holder["host"] == socket.gethostname() else f" on {holder['host']}"
    return f" ({holder['pid']}{here}, since {holder['since']}: {holder['command']})"
