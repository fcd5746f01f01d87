"""Text vectors on disk: each model encodes each value once, whatever the run and the city."""

import os
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from datasets.prepare.text.registry import TextEncoder
from utils.errors import one_line

_TABLE = """CREATE TABLE IF NOT EXISTS vectors (identity TEXT, value BLOB, vector BLOB,
    checksum INTEGER, PRIMARY KEY (identity, value))"""
_READ = "SELECT vector, checksum FROM vectors WHERE identity = ? AND value = ?"
_WRITE = "INSERT OR IGNORE INTO vectors VALUES (?, ?, ?, ?)"
_WAIT = 60  # seconds for another process to finish writing


class CachedText:
    """Look up the vectors of a text encoder; load its model only for a value never encoded before.

    A cache that cannot be used never stops a run: a damaged one is replaced, and without a
    writable one the vectors are encoded anew. `notes` says so, beside the encoder's own notes.

    Args:
        encoder: encodes the values that are not in the cache.
        identity: what its vectors depend on; keeps the vectors of several models apart.
        folder: of the cache; None: rose/text in the user's cache folder.
    """

    def __init__(self, encoder: TextEncoder, identity: str, folder: Path | str | None = None):
        self.name, self.width = encoder.name, encoder.width
        self.notes = list(encoder.notes)
        self._encoder, self._identity = encoder, identity
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        folder = Path(folder).expanduser() if folder else base / "rose" / "text"
        self._file = folder / "vectors.sqlite"
        self._usable = True
        self._memory: dict[str, np.ndarray] = {}  # in the place of a cache that cannot be used

    def describe(self) -> dict[str, Any]:
        """Return what a dataset records of its text vectors."""
        return self._encoder.describe()

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Return text vectors [len(values), width] float32; encode each distinct value once. Raise
        PrepareError if a value is new and the model cannot be loaded."""
        if not len(values):
            return np.empty((0, self.width), dtype=np.float32)
        known = self._look_up(values)
        if missing := [value for value in dict.fromkeys(values) if value not in known]:
            vectors = self._encoder.encode(missing)
            self._keep(missing, vectors)
            # another process may have been first: all continue with the same bytes
            known |= dict(zip(missing, vectors, strict=True)) | self._look_up(missing)
            if not self._usable:
                self._memory |= known
        return np.stack([known[value] for value in values])

    def _look_up(self, values: Sequence[str]) -> dict[str, np.ndarray]:
        known = {value: self._memory[value] for value in values if value in self._memory}

        def read(database: sqlite3.Connection) -> None:
            for value in dict.fromkeys(values):
                row = database.execute(_READ, (self._identity, _bytes(value))).fetchone()
                if row is None:
                    continue
                vector, checksum = row
                if (not isinstance(vector, bytes) or len(vector) != 4 * self.width
                        or checksum not in (self._checksum(value, vector), zlib.crc32(vector))):
                    raise sqlite3.DatabaseError(f"the vector of {value!r} is not what was written")
                known[value] = np.frombuffer(vector, dtype="<f4")
        self._with_database(read)
        return known

    def _keep(self, values: Sequence[str], vectors: np.ndarray) -> None:
        encoded = [vector.astype("<f4").tobytes() for vector in vectors]
        rows = [(self._identity, _bytes(value), data, self._checksum(value, data))
                for value, data in zip(values, encoded, strict=True)]

        def write(database: sqlite3.Connection) -> None:
            with database:  # one transaction: all of them, or none
                database.executemany(_WRITE, rows)
        self._with_database(write)

    def _checksum(self, value: str, vector: bytes) -> int:
        """Return the CRC-32 of a row: a damaged index would find another value's. Rows of version
        0.1 have that of the vector alone."""
        return zlib.crc32(vector, zlib.crc32(f"{self._identity}\0".encode() + _bytes(value)))

    def _with_database(self, use: Callable[[sqlite3.Connection], None]) -> None:
        """Read or write the cache; after a fault continue with a new cache, or without one."""
        if not self._usable:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=_WAIT)) as database:
                database.execute(_TABLE)
                use(database)
        # no such folder, read-only, locked for long, a full disk
        except (sqlite3.OperationalError, OSError) as error:
            self._usable = False
            self.notes.append(f"{self._file}: text vectors are not cached ({one_line(error)}); "
                              "text.cache=FOLDER names another place")
        except sqlite3.DatabaseError as error:
            self._set_aside(one_line(error))

    def _set_aside(self, reason: str) -> None:
        damaged = self._file.with_name(f"{self._file.name}.damaged")
        try:
            # a journal alone would spoil the next one
            self._file.with_name(f"{self._file.name}-journal").unlink(missing_ok=True)
            self._file.replace(damaged)
        except OSError as error:
            self._usable = False
            self.notes.append(f"{self._file}: was damaged ({reason}), and cannot be moved "
                              f"({one_line(error)}); text vectors are not cached")
        else:
            self.notes.append(f"{self._file}: the cache of text vectors was damaged ({reason}) "
                              f"and is made again; the damaged one is {damaged.name}")


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")
