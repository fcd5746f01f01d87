"""The cache of text vectors: whatever happens to its file, the vectors are those of the model."""

import sqlite3
import zlib
from contextlib import closing

import numpy as np
import pytest

from datasets.prepare.text import cache
from datasets.prepare.text.cache import CachedText
from tests.processes import limited

VALUES = [f"value {number}" for number in range(60)]


class Toy:
    """A text encoder that counts what it is asked for."""

    name, width = "toy", 16

    def __init__(self) -> None:
        self.notes, self.asked = [], 0

    def encode(self, values):
        self.asked += len(values)
        return np.array([np.random.default_rng(zlib.crc32(value.encode())).random(self.width)
                         for value in values], dtype=np.float32)


def encode(folder, values=VALUES) -> tuple[np.ndarray, int, str]:
    """Vectors, the number of values encoded anew, and the notes."""
    toy = Toy()
    cached = CachedText(toy, "toy 1", folder)
    return cached.encode(values), toy.asked, " ".join(cached.notes)


@pytest.fixture
def filled(tmp_path):
    encode(tmp_path)
    return tmp_path / "vectors.sqlite"


def test_a_damaged_file_never_gives_other_vectors(filled, tmp_path):
    whole, expected, random = filled.read_bytes(), Toy().encode(VALUES), np.random.default_rng(0)
    damages = [(place, bytes([whole[place] ^ 1 << int(random.integers(8))]))
               for place in random.integers(len(whole), size=60)]
    damages += [(place, random.bytes(200)) for place in random.integers(len(whole) - 200, size=20)]
    for place, damage in damages:
        filled.write_bytes(whole[:place] + damage + whole[place + len(damage):])
        assert (encode(tmp_path)[0] == expected).all(), place
    for length in range(0, len(whole), len(whole) // 20):
        filled.write_bytes(whole[:length])
        assert (encode(tmp_path)[0] == expected).all(), length


@pytest.mark.parametrize("change", [
    "UPDATE vectors SET value = x'00' || value WHERE rowid = 1",       # a row is lost
    "UPDATE vectors SET vector = (SELECT vector FROM vectors WHERE rowid = 2), checksum = (SELECT "
    "checksum FROM vectors WHERE rowid = 2) WHERE rowid = 1",        # an index that finds another
    "UPDATE vectors SET vector = NULL", "UPDATE vectors SET vector = 'text'",
    "UPDATE vectors SET checksum = NULL", "DROP TABLE vectors", "ALTER TABLE vectors RENAME TO a"])
def test_a_database_with_other_contents_is_not_believed(filled, tmp_path, change):
    with closing(sqlite3.connect(filled)) as database, database:
        database.execute(change)
    vectors, _, _ = encode(tmp_path)
    assert (vectors == Toy().encode(VALUES)).all()
    assert encode(tmp_path)[1:] == (0, "")  # the next run finds all


def test_rows_of_version_0_1_are_read(filled, tmp_path):
    with closing(sqlite3.connect(filled)) as database, database:
        database.create_function("crc", 1, zlib.crc32)
        database.execute("UPDATE vectors SET checksum = crc(vector)")
    vectors, asked, notes = encode(tmp_path)
    assert (vectors == Toy().encode(VALUES)).all()
    assert (asked, notes) == (0, "")


def test_what_was_in_the_place_of_the_cache_is_kept(tmp_path):
    (tmp_path / "vectors.sqlite").write_text("my notes on vectors, not a database" * 9)
    _, asked, notes = encode(tmp_path)
    assert asked == len(VALUES)
    assert "is made again; the damaged one is vectors.sqlite.damaged" in notes
    assert (tmp_path / "vectors.sqlite.damaged").read_text().startswith("my notes")


def test_a_cache_that_another_process_holds_is_left_alone(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_WAIT", 0.05)
    with closing(sqlite3.connect(filled)) as other:
        other.execute("BEGIN EXCLUSIVE")
        vectors, asked, notes = encode(tmp_path)
    assert (vectors == Toy().encode(VALUES)).all()
    assert asked == len(VALUES)
    assert "text vectors are not cached (database is locked)" in notes
    assert encode(tmp_path)[1:] == (0, "")


def test_a_full_disk_costs_the_cache_alone(tmp_path):
    with limited(9000):
        vectors, _, notes = encode(tmp_path)
    assert (vectors == Toy().encode(VALUES)).all()
    assert "text vectors are not cached" in notes
    assert encode(tmp_path)[0].tobytes() == vectors.tobytes()
