"""Arrays on disk are what they state, or one line says what they are."""

import numpy as np
import pytest

from datasets.arrays import read_array
from utils.errors import TileError

RIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "a.npy", RIGHT)
    return tmp_path / "a.npy"


def read(path, kinds="f", shape=(2, None), mmap=False):
    return read_array(path, kinds, shape, "remedy", TileError, mmap)


@pytest.mark.parametrize("mmap", [False, True])
def test_what_is_right_is_returned(path, mmap):
    array = read(path, mmap=mmap)
    assert type(array) is np.ndarray
    assert array.tolist() == RIGHT.tolist()


def archive(path):
    np.savez(path.open("wb"), a=RIGHT)


def objects(path):
    np.save(path, np.array([{}, []], dtype=object), allow_pickle=True)


def longer(path):
    path.write_bytes(path.read_bytes() + b"0")


def shorter(path):
    path.write_bytes(path.read_bytes()[:-1])


def header(path):
    path.write_bytes(path.read_bytes().replace(b"(2, 3)", b"(2,-3)"))


def huge(path):
    path.write_bytes(path.read_bytes().replace(b"(2, 3), }      ", b"(2, 3000000), }"))


@pytest.mark.parametrize(("damage", "message"), [
    (lambda path: path.unlink(), r"cannot be read \(no such file"),
    (lambda path: path.write_bytes(b""), "is no .npy file"),
    (archive, "is no .npy file"),
    (objects, "cannot be read"),
    (longer, "has 153 bytes, expected 152"),
    (shorter, "cannot be read"),
    (header, "cannot be read|holds"),
    (huge, "cannot be read"),
    (lambda path: np.save(path, np.float32(1)), r"holds float32 \[\], expected an array \[2, any"),
    (lambda path: np.save(path, RIGHT.astype(int)), r"holds int64 \[2, 3\], .* of numbers; remedy"),
    (lambda path: np.save(path, RIGHT.T), r"holds float32 \[3, 2\], expected an array \[2, any\]"),
])
@pytest.mark.parametrize("mmap", [False, True])
def test_what_is_wrong_is_one_line(path, damage, message, mmap):
    damage(path)
    with pytest.raises(TileError, match=message) as caught:
        read(path, mmap=mmap)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; remedy")
