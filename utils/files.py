"""Files that are whole or absent: written under a temporary name, then renamed."""

import errno
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from utils.contents import ContentFault, InnerPath, Items, Table, Whole, parse_json

_TEMPORARY = ".writing-"
_CHUNK = 1 << 20  # bytes
_SEAL = Table(Items([Whole(), Whole()]), key=InnerPath())


@contextmanager
def replacing(path: Path, *errors: type[Exception]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` when the block ends well; on
    any failure `path` stays as it was.

    A process that is killed in the block leaves the temporary file; `remove_unfinished` clears it.

    Args:
        errors: that a library raises where it cannot write, re-raised as `failing_as` does.
    """
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    try:
        temporary.unlink(missing_ok=True)
        with failing_as(path, *errors):
            yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # some writers make their files private
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            error.filename = str(path)  # what a write raises names no file
        raise


@contextmanager
def failing_as(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Re-raise a library's write error as an OSError that names `path`, which every script prints
    as one line."""
    try:
        yield
    except errors as error:
        if isinstance(error, OSError) and error.errno:
            error.filename = error.filename or str(path)
            raise
        raise OSError(errno.EIO, f"cannot be written ({error}); is the disk full?",
                      str(path)) from error


def remove_unfinished(folder: Path) -> None:
    """Delete files that a killed process was writing in `folder`."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        path.unlink(missing_ok=True)


def seal(path: Path, names: Iterable[str]) -> None:
    """Write to `path` the size and CRC-32 of files in its folder, for `is_sealed`."""
    sealed = {name: size_and_crc32(path.parent / name) for name in sorted(names)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(sealed), encoding="utf-8")


def is_sealed(path: Path) -> bool:
    """Return whether `path` is there, and the files that it seals are as they were."""
    try:
        sealed = parse_json(path.read_bytes(), _SEAL)
        return all(size_and_crc32(path.parent / name) == known for name, known in sealed.items())
    except (OSError, ContentFault):
        return False


def size_and_crc32(path: Path) -> list[int]:
    """Return a file's bytes, and the CRC-32 of them."""
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return [size, crc]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 digest of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Return the SHA-256 digest, in hexadecimal, of bytes, or of any other value as JSON with
    sorted keys."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def states(paths: Iterable[Path]) -> dict[str, list[int]]:
    """Return size and time of change of each file by its path: equal as long as no file
    changes."""
    return {str(file): [file.stat().st_size, file.stat().st_mtime_ns]
            for file in sorted(_distinct(paths))}


def checksums(paths: Iterable[Path]) -> list[dict]:
    """Return name, bytes and SHA-256 of each file, sorted by name."""
    files = sorted(_distinct(paths), key=lambda file: (file.name, file))
    return [{"file": file.name, "bytes": file.stat().st_size, "sha256": sha256_of(file)}
            for file in files]


def _distinct(paths: Iterable[Path]) -> set[Path]:
    return {file.resolve() for path in paths for file in _files(path)}


def _files(path: Path) -> list[Path]:
    """Return a file with its companions: those of a Shapefile are .dbf, .shx, .prj of its name."""
    if path.suffix.lower() == ".shp":
        return [entry for entry in path.parent.iterdir() if entry.stem == path.stem
                and entry.is_file()]
    return [path]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
