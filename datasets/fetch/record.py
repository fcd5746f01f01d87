"""What lies in a fetched folder and whose it is: `sources.json`, and `ATTRIBUTION.txt` for people.

The digest of a folder is that of the lines `SHA256  PATH` of its files, by path, as
`find -type f -printf '%P\\0' | sort -z | xargs -0 sha256sum | sha256sum` prints it in the folder.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from datasets.bbox import BBox
from utils.contents import Anything, Fields, InnerPath, Items, Number, Table, Text, Whole, read_json
from utils.errors import PrepareError
from utils.files import replacing, sha256_of
from utils.remedies import removal

SOURCES, ATTRIBUTION = "sources.json", "ATTRIBUTION.txt"
_ENTRY = Fields({"path": InnerPath(), "main": InnerPath(), "request": Anything(),
                 "source": Text(), "fetched": Text(), "files": Whole(least=1),
                 "bytes": Whole(least=0), "sha256": Text(), "attribution": Text(),
                 "terms": Items(Text()), "notes": Items(Text()),
                 "area": Items(Number(least=-180, most=180))})
READY = Fields({"root": InnerPath(), "entry": _ENTRY})  # of one that waits for the others
_RULE = Fields({"fetched_by": Text(), "bbox": Items(Number(least=-180, most=180)),
                "items": Table(_ENTRY)})


@dataclass(frozen=True)
class Made:
    """What was written, where it is from, and what its owner asks for.

    Attributes:
        root: the file or folder.
        main: the path in it that prepare_dataset.py reads, "." for itself.
        source: a URL without keys, or a path.
        terms: addresses at which the owner says what is allowed.
        notes: for the user, and for the record.
    """

    root: Path
    source: str
    main: str = "."
    attribution: str = ""
    terms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One thing that was fetched.

    Attributes:
        path: in the folder, of a file or a folder.
        main: the path that prepare_dataset.py reads: the same, or one inside.
        request: what it was made from; equal for equal results.
        fetched: time, ISO 8601.
        files, bytes, sha256: of what was written.
        area: west, south, east, north in degrees that it covers.
    """

    path: str
    main: str
    request: dict[str, Any]
    source: str
    fetched: str
    files: int
    bytes: int
    sha256: str
    attribution: str
    terms: list[str]
    notes: list[str]
    area: list[float]

    @classmethod
    def of(cls, made: Made, path: str, request: dict[str, Any], area: BBox) -> "Entry":
        """Describe what was just written, and is to be called `path`."""
        root, files = made.root, _files(made.root)
        digest = sha256_of(root) if root.is_file() else hashlib.sha256("".join(
            f"{sha256_of(file)}  {file.relative_to(root).as_posix()}\n" for file in files
        ).encode()).hexdigest()
        return cls(path, str(PurePosixPath(path, made.main)), request, made.source,
                   datetime.now(UTC).isoformat(timespec="seconds"), len(files),
                   sum(file.stat().st_size for file in files), digest, made.attribution,
                   list(made.terms), list(made.notes), list(area.bounds))

    def is_whole(self, root: Path) -> bool:
        """Return whether its files are in `root`, by their number and sizes."""
        files = _files(root)
        return (len(files), sum(file.stat().st_size for file in files)) == (self.files, self.bytes)


@dataclass
class Record:
    """What a folder holds, by name: imagery, osm, population."""

    bbox: list[float] = field(default_factory=list)
    items: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Return the record of a folder, an empty one if it has none; raise PrepareError if it is
        damaged."""
        path = folder / SOURCES
        if not path.is_file():
            return cls()
        values = read_json(path, _RULE, removal(path), PrepareError)
        return cls(values["bbox"], {name: Entry(**entry)
                                    for name, entry in values["items"].items()})

    def write(self, folder: Path) -> None:
        """Write both files."""
        values = {"fetched_by": "python -m datasets.fetch", "bbox": self.bbox,
                  "items": {name: asdict(entry) for name, entry in self.items.items()}}
        with replacing(folder / SOURCES) as temporary:
            temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n",
                                 encoding="utf-8")
        with replacing(folder / ATTRIBUTION) as temporary:
            temporary.write_text(self._attribution(), encoding="utf-8")

    def _attribution(self) -> str:
        lines = ["Whose data these are. Name their owners wherever you show the data or what you "
                 "made of them,", "and keep to their terms.", ""]
        for entry in self.items.values():
            lines += [f"{entry.path}: {entry.attribution or 'owner not stated by the source'}",
                      f"    from {entry.source}, {entry.fetched[:10]}",
                      *(f"    terms and licence: {address}" for address in entry.terms), ""]
        return "\n".join(lines)


def _files(path: Path) -> list[Path]:
    """Return a file, or all files of a folder by their path."""
    if path.is_dir():
        return sorted((file for file in path.rglob("*") if file.is_file()),
                      key=lambda file: file.relative_to(path).as_posix())
    return [path] if path.is_file() else []
