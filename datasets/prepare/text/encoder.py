"""Text vectors of OSM tag values.

A text encoder turns tag values ("residential", "school") into the first columns of the node rows.
Encoders are chosen by name (`text=`); a new one is a class with the members of `TextEncoder`, a
line in `ENCODERS`, and a file in configs/text/.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datasets.prepare.text.cache import CachedText
from datasets.prepare.text.clip import MODEL, WEIGHTS, ClipText
from utils.errors import PrepareError


class TextEncoder(Protocol):
    """What the preparation needs of a text encoder.

    Attributes:
        name: its name in `ENCODERS`.
        width: length of a text vector.
        notes: what the user should know; encoding may add to it.
    """

    name: str
    width: int
    notes: list[str]

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Text vectors of the values, not normalised: [len(values), width] float32."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the metadata of a dataset says about its text vectors: name, width, and what else
        they depend on."""
        ...


class HashText:
    """Words and letter trigrams hashed into fixed random directions: no download, and the same
    vector on every machine.

    Each word and trigram ("<sc", "sch" ...) owns one random direction of signs, the 512 bits of
    its BLAKE2b digest; a value is the sum of its directions. Values that share words or stems are
    close, all others nearly orthogonal, but meaning is not known: "grass" and "meadow" are
    strangers. The length is that of CLIP ViT-B/16 text vectors before normalisation, about 10, so
    that the loss weighs text against geometry as with CLIP.
    """

    name = "hash"
    width = 512
    length = 10.0

    def __init__(self) -> None:
        self.notes: list[str] = []

    def describe(self) -> dict[str, Any]:
        """What the metadata of a dataset says about its text vectors."""
        return {"name": self.name, "width": self.width}

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Text vectors of the values: [len(values), 512] float32, each of L2 norm 10."""
        sums = np.array([self._sum_of_directions(value) for value in values],
                        dtype=np.float64).reshape(-1, self.width)
        return (self.length * sums / np.linalg.norm(sums, axis=1,
                                                    keepdims=True)).astype(np.float32)

    @staticmethod
    def _sum_of_directions(value: str) -> np.ndarray:
        words = value.casefold().replace("_", " ").split() or [""]
        trigrams = [f"<{word}>"[start:start + 3] for word in words for start in range(len(word))]
        digests = b"".join(hashlib.blake2b(part.encode()).digest() for part in words + trigrams)
        bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8)).reshape(-1, HashText.width)
        # whole numbers: exact, whatever the order of summation
        return (2.0 * bits - 1.0).sum(axis=0)


def _hash(model: str | None, weights: str | None, cache: Path | str | None) -> TextEncoder:
    for key, value in (("model", model), ("weights", weights)):
        if value is not None:
            raise PrepareError(f"text.{key}={value}: text=hash has no {key}; add text=clip, or "
                               "leave it out")
    return HashText()


def _clip(model: str | None, weights: str | None, cache: Path | str | None) -> TextEncoder:
    return CachedText(ClipText(model or MODEL, weights or WEIGHTS), cache)


ENCODERS = {"hash": _hash, "clip": _clip}


def text_encoder(
    name: str = "hash", model: str | None = None, weights: str | None = None,
    cache: Path | str | None = None,
) -> TextEncoder:
    """The text encoder called `name`. Nothing is loaded before the first value is encoded.

    Args:
        name: "hash", or "clip" (needs open_clip).
        model: clip: a model of open_clip; None: the paper's, ViT-B-16.
        weights: clip: a tag of the model, or the path of a file; None: OpenAI's.
        cache: clip: folder of the vectors already encoded; None: rose/text in the user's cache
            folder.

    Raises:
        PrepareError: there is none of that name, or no such model or weights; the message says
            what there is.
    """
    if name not in ENCODERS:
        raise PrepareError(f"text={name}: unknown text encoder; choose one of "
                           f"{', '.join(ENCODERS)}")
    return ENCODERS[name](model, weights, cache)
