"""Digests of files, of bytes and of values."""

import hashlib

from utils.files import digest_of, sha256_of


def test_digests_are_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"rose")
    assert sha256_of(tmp_path / "file") == digest_of(b"rose") == hashlib.sha256(b"rose").hexdigest()


def test_equal_values_have_equal_digests():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
