"""Errors that a user can mend. Each message is one line: the file or key, the value found, what
was expected and the remedy."""

import errno
import os
import unicodedata
from typing import Any

_HIDDEN = {"Cc", "Cs", "Zl", "Zp"}  # categories of characters that a line must not hold
_LONGEST = 4000                     # characters of a message
_MEMORY_WORDS = ("out of memory", "can't allocate memory")  # in torch's RuntimeErrors
_OTHER = "give another path, or mend this one"
_REMEDIES = {
    errno.ENOSPC: "free space, or give another path",
    errno.EDQUOT: "free space, or give another path",
    errno.EACCES: "change its permissions, or give another path",
    errno.EPERM: "change its permissions, or give another path",
    errno.EROFS: "give a path that can be written",
    errno.ENOENT: "see whether it was moved or removed, or give another path",
    errno.EISDIR: "give the path of a file",
    errno.ENOTDIR: "give a path whose folders are folders",
    errno.EEXIST: "remove it, or give another path",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.ELOOP: "give a path without links in a circle",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or lower num_workers=",
    errno.ENFILE: "end other programs that hold files open",
    errno.ENOMEM: "lower batch_size= or num_workers=, or end other programs that hold memory",
    errno.EPIPE: "a process that it worked with has ended; start the command again",
    errno.EIO: "look at the disk, or give another path",
    errno.ESTALE: "look at the network drive, and start again",
    errno.ETXTBSY: "end the program that uses it",
}


class RoseError(Exception):
    """Base of every error that a script prints as one line, without a traceback, before it exits
    with code 2."""


class ConfigError(RoseError):
    """A key of the command line or of a config file is unknown, has the wrong type or an
    impossible value."""


class TileError(RoseError):
    """A tile dataset, or one file of it, cannot be used."""


class PrepareError(RoseError):
    """A raster or vector source cannot be made into tiles."""


class CheckpointError(RoseError):
    """A checkpoint cannot be read, or does not fit the network or the run."""


class ModelError(RoseError, ValueError):
    """A network cannot be built as asked, or was given a batch that it cannot take."""


class ReportError(RoseError):
    """A folder holds no run that a report could be made of, or a file of it cannot be read."""


def one_line(error: Exception) -> str:
    """What an error of a library or the system says, in one short line; of the system's, without
    the number and the file, which the message around it names."""
    said = str(getattr(error, "strerror", None) or error)
    line = next((line.strip() for line in said.splitlines() if line.strip()),
                type(error).__name__)
    missing = line.startswith(os.strerror(errno.ENOENT))
    return "no such file or folder" if missing else line[:160]


def printable(value: Any, most: int = 100) -> str:
    """Return a value as a line of a terminal may show it: control characters and bytes that are
    no UTF-8 as escapes, cut after `most` characters."""
    text = str(value)
    shown = "".join(letter if unicodedata.category(letter) not in _HIDDEN
                    else letter.encode("unicode_escape", "backslashreplace").decode()
                    for letter in text[:most])
    return shown + "..." * (len(text) > most)


def message_of(error: Exception) -> str:
    """Return what `error` says, in one line.

    It is a RoseError, or a fault of the machine: of the system, or of memory.
    """
    if isinstance(error, OSError):
        what = error.filename or "input or output"
        remedy = _REMEDIES.get(error.errno, _OTHER)
        return printable(f"{what}: {one_line(error)}; {remedy}", _LONGEST)
    if is_memory_fault(error):
        return (f"out of memory ({printable(one_line(error))}); lower batch_size= or the side of "
                "the tiles, or end other programs that hold memory")
    # an error from a data loading process carries that process's traceback before its own line
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    message = lines[-1] if "Traceback" in lines[0] or "Caught" in lines[0] else " ".join(lines)
    name = f"{type(error).__module__}.{type(error).__qualname__}: "
    return printable(message.removeprefix(name), _LONGEST)


def is_mendable(error: BaseException) -> bool:
    """Return whether a script ends with one line over `error`, not with a traceback."""
    return isinstance(error, RoseError | OSError) or is_memory_fault(error)


def is_memory_fault(error: BaseException) -> bool:
    """Return whether memory, of the machine or of a GPU, was exhausted."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(
        words in str(error) for words in _MEMORY_WORDS))
