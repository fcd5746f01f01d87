"""Text vectors of OSM tag values.

A text encoder turns tag values ("residential", "school") into the first columns of the node rows. Encoders are chosen by name (`text=`);
a new one is a class with the three members of `TextEncoder` and a line in `ENCODERS`.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from utils.errors import PrepareError


class TextEncoder(Protocol):
    """What the preparation needs of a text encoder.

    Attributes:
        name: its name in `ENCODERS`, recorded with the tiles.
        width: length of a text vector.
    """

    name: str
    width: int

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Text vectors of the values, not normalised: [len(values), width] float32."""
        ...


class HashText:
    """Words and letter trigrams hashed into fixed random directions: no download, and the same vector on every machine.

    Each word and trigram ("<sc", "sch" ...) owns one random direction of signs, the 512 bits of its BLAKE2b digest; a value is the sum of
    its directions. Values that share words or stems are close, all others nearly orthogonal, but meaning is not known: "grass" and
    "meadow" are strangers. The length is that of CLIP ViT-B/16 text vectors before normalisation, about 10, so that the loss weighs text
    against geometry as with CLIP.
    """

    name = "hash"
    width = 512
    length = 10.0

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Text vectors of the values: [len(values), 512] float32, each of L2 norm 10."""
        sums = np.array([self._sum_of_directions(value) for value in values], dtype=np.float64).reshape(-1, self.width)
        return (self.length * sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)

    @staticmethod
    def _sum_of_directions(value: str) -> np.ndarray:
        words = value.casefold().replace("_", " ").split() or [""]
        trigrams = [f"<{word}>"[start:start + 3] for word in words for start in range(len(word))]
        digests = b"".join(hashlib.blake2b(part.encode()).digest() for part in words + trigrams)
        bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8)).reshape(-1, HashText.width)
        return (2.0 * bits - 1.0).sum(axis=0)  # whole numbers: exact, whatever the order of summation


ENCODERS = {HashText.name: HashText}


def text_encoder(name: str) -> TextEncoder:
    """The text encoder called `name`.

    Raises:
        PrepareError: there is none of that name; the message lists those that exist.
    """
    if name not in ENCODERS:
        raise PrepareError(f"text={name}: unknown text encoder; choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name]()
