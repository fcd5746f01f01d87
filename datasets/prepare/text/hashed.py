"""Text vectors from hashed words: no download, no meaning."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


class HashText:
    """Hash words and letter trigrams into fixed random directions, without a download.

    Each word and trigram ("<sc", "sch" ...) owns one random direction of signs, the 512 bits of
    its BLAKE2b digest; a value is the sum of its directions. Values that share words or stems are
    close, all others nearly orthogonal, but meaning is not known: "grass" and "meadow" are
    strangers. The length is that of CLIP ViT-B/16 text vectors before normalisation, about 10, so
    that the loss weighs text against geometry as with CLIP."""

    name = "hash"
    width = 512
    length = 10.0

    def __init__(self) -> None:
        self.notes: list[str] = []

    def describe(self) -> dict[str, Any]:
        """Return what a dataset records of its text vectors."""
        return {"name": self.name, "width": self.width}

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Return the text vectors of values: [len(values), 512] float32, each of L2 norm 10."""
        sums = np.array([self._sum_of_directions(value) for value in values],
                        dtype=np.float64).reshape(-1, self.width)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        return (self.length * sums / norms).astype(np.float32)

    @staticmethod
    def _sum_of_directions(value: str) -> np.ndarray:
        words = value.casefold().replace("_", " ").split() or [""]
        trigrams = [f"<{word}>"[start:start + 3] for word in words for start in range(len(word))]
        digests = b"".join(hashlib.blake2b(text.encode()).digest() for text in words + trigrams)
        bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8)).reshape(-1, HashText.width)
        # whole numbers: exact, whatever the order of summation
        return (2.0 * bits - 1.0).sum(axis=0)


def load(cache: Path | str | None) -> HashText:
    """Return the encoder; hashing is faster than a cache."""
    return HashText()
