"""Text vectors that are kept on disk: each value is encoded once by each model, whatever the run
and the city."""

import os
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from datasets.prepare.text.clip import ClipText
from utils.errors import one_line

_TABLE = "CREATE TABLE IF NOT EXISTS vectors (identity TEXT, value BLOB, vector BLOB, checksum INTEGER, PRIMARY KEY (identity, value))"
_READ = "SELECT vector, checksum FROM vectors WHERE identity = ? AND value = ?"
_WRITE = "INSERT OR IGNORE INTO vectors VALUES (?, ?, ?, ?)"
_WAIT = 60  # seconds for another process to finish writing


class CachedText:
    """A text encoder whose vectors are looked up first; the model behind it is loaded only for a
    value that nobody has encoded.

    A cache that cannot be used never stops a run: a damaged one is made again, one that cannot be
    written is done without. `notes` says so.

    Attributes:
        name, width: the encoder's.
        notes: what the user should know, the encoder's notes among them.
    """

    def __init__(self, encoder: ClipText, folder: Path | str | None = None):
        """Nothing is read or written yet.

        Args:
            encoder: what encodes a value that is not in the cache; its `identity` keeps the
                vectors of several models apart.
            folder: of the cache; None: rose/text in the user's cache folder.
        """
        self.name, self.width = encoder.name, encoder.width
        self.notes = list(encoder.notes)
        self._encoder = encoder
        self._file = (Path(folder).expanduser() if folder else default_folder()) / "vectors.sqlite"
        self._known: dict[str, np.ndarray] = {}
        self._usable = True

    def describe(self) -> dict[str, Any]:
        """What the metadata of a dataset says about its text vectors."""
        return self._encoder.describe()

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Text vectors of the values: [len(values), width] float32. Each distinct value is encoded
        once.

        Raises:
            PrepareError: a value is new and the model cannot be loaded.
        """
        self._look_up(values)
        missing = self._unknown(values)
        if missing:
            vectors = self._encoder.encode(missing)
            self._keep(missing, vectors)
            # another process may have been first: all go on with the same bytes
            self._look_up(missing)
            self._known = dict(zip(missing, vectors, strict=True)) | self._known
        if not len(values):
            return np.empty((0, self.width), dtype=np.float32)
        return np.stack([self._known[value] for value in values])

    def _unknown(self, values: Sequence[str]) -> list[str]:
        return [value for value in dict.fromkeys(values) if value not in self._known]

    def _look_up(self, values: Sequence[str]) -> None:
        def read(database: sqlite3.Connection) -> None:
            for value in self._unknown(values):
                row = database.execute(_READ, (self._encoder.identity, _bytes(value))).fetchone()
                if row is None:
                    continue
                vector, checksum = row
                if len(vector) != 4 * self.width or zlib.crc32(vector) != checksum:
                    raise sqlite3.DatabaseError(f"the vector of {value!r} is not what was written")
                self._known[value] = np.frombuffer(vector, dtype="<f4")
        self._with_database(read)

    def _keep(self, values: Sequence[str], vectors: np.ndarray) -> None:
        def write(database: sqlite3.Connection) -> None:
            with database:  # one transaction: all of them, or none
                encoded = [(value, vector.astype("<f4").tobytes())
                           for value, vector in zip(values, vectors, strict=True)]
                database.executemany(_WRITE,
                                     [(self._encoder.identity, _bytes(value), data,
                                       zlib.crc32(data)) for value, data in encoded])
        self._with_database(write)

    def _with_database(self, use: Callable[[sqlite3.Connection], None]) -> None:
        """Read or write the cache; after a fault the run goes on with a new cache, or without."""
        if not self._usable:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=_WAIT)) as database:
                database.execute(_TABLE)
                use(database)
        except (sqlite3.OperationalError,
                OSError) as error:  # no such folder, read-only, locked for long, a full disk
            self._usable = False
            self.notes.append(f"{self._file}: text vectors are not cached ({one_line(error)}); "
                              "text.cache=FOLDER names another place")
        except sqlite3.DatabaseError as error:
            self.notes.append(f"{self._file}: the cache of text vectors was damaged "
                              f"({one_line(error)}) and is made again")
            self._remove()

    def _remove(self) -> None:
        try:
            # a journal alone would spoil the next one
            for path in (self._file.with_name(f"{self._file.name}-journal"), self._file):
                path.unlink(missing_ok=True)
        except OSError as error:
            self._usable = False
            self.notes.append(f"{self._file}: cannot be removed ({error.strerror}); text vectors "
                              "are not cached")


def default_folder() -> Path:
    """rose/text in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "rose" / "text"


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")
