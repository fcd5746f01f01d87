"""The files that a dataset was made from: told apart quickly while it is made, by checksum in its metadata."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def states(paths: Iterable[Path]) -> dict[str, list[int]]:
    """Size and time of change of each file by its path: equal as long as nobody touched them."""
    return {str(file): [file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(_distinct(paths))}


def checksums(paths: Iterable[Path]) -> list[dict]:
    """Name, bytes and SHA-256 of each file, sorted by name."""
    files = sorted(_distinct(paths), key=lambda file: (file.name, file))
    return [{"file": file.name, "bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files]


def _distinct(paths: Iterable[Path]) -> set[Path]:
    return {file.resolve() for path in paths for file in _files(path)}


def _files(path: Path) -> list[Path]:
    """A file with its companions (of the same name: a Shapefile's .dbf, .shx, .prj)."""
    if path.suffix.lower() == ".shp":
        return [entry for entry in path.parent.iterdir() if entry.stem == path.stem and entry.is_file()]
    return [path]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
