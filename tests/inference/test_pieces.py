"""Pieces of a stopped run: damaged ones are made again, whole ones are read as they were."""

import random

import numpy as np
import pytest
import zstandard
from safetensors.numpy import save_file

from inference.pieces import Parts, Strips

STRIP = np.random.default_rng(0).integers(0, 9, (2, 30, 40), np.uint8)
ARRAYS = {"place": np.zeros((2, 3), np.int32), "rs": np.ones((2, 8), np.float32),
          "thumbnail": np.zeros((2, 0, 3), np.uint8)}


def write(folder, kind) -> None:
    pieces = kind(folder, 3)
    for number in range(3):
        if kind is Strips:
            pieces.write(number, STRIP)
        else:
            pieces.write(number, ["a_0_0", "a_1_0"] if number else [], ARRAYS if number else {})


@pytest.mark.parametrize("kind", [Strips, Parts])
def test_damaged_pieces_are_made_again(tmp_path, capsys, kind):
    write(tmp_path, kind)
    file = tmp_path / f"0000001{kind.suffix}"
    whole = file.read_bytes()
    assert kind(tmp_path, 3).missing() == []
    assert "damaged" not in capsys.readouterr().out
    places = random.Random(0).sample(range(len(whole)), 60)
    damages = [whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1:]
               for place in places] + [whole[:place] for place in places[:20]] + [b"", b"{" * 9999]
    for data in damages:
        file.write_bytes(data)
        pieces = kind(tmp_path, 3)
        if pieces.missing() == []:  # a byte that says nothing
            file.write_bytes(data)
            assert same(kind(tmp_path, 3), kind)
        else:
            assert pieces.missing() == [1]
            assert "1 of 3 pieces of a stopped run's work are damaged" in capsys.readouterr().out


def same(pieces, kind) -> bool:
    if kind is Strips:
        return all((strip == STRIP).all() for strip in pieces)
    return (list(pieces) == [(number, ["a_0_0", "a_1_0"]) for number in (1, 2)]
            and all((pieces.read(1, name) == array).all() for name, array in ARRAYS.items()))


def test_pieces_of_an_earlier_version_are_read(tmp_path):
    parts, strips = Parts(tmp_path, 1), Strips(tmp_path, 1)
    save_file(ARRAYS, tmp_path / "0000000.safetensors", {"names": '["a_0_0", "a_1_0"]'})
    np.save(tmp_path / "a.npy", STRIP)
    (tmp_path / "0000000.npy.zst").write_bytes(zstandard.compress(
        (tmp_path / "a.npy").read_bytes()))
    assert Parts(tmp_path, 1).missing() == Strips(tmp_path, 1).missing() == []
    assert list(parts) == [(0, ["a_0_0", "a_1_0"])]
    assert (next(iter(strips)) == STRIP).all()
