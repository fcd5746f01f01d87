"""The text encoders by the names of `text=`.

A new encoder is one file, with a class that has the members of `TextEncoder` and a function
`load(cache, **keys)`, and one line in `ENCODERS`. The files are imported only when used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils.errors import PrepareError


class TextEncoder(Protocol):
    """What the preparation needs of a text encoder."""

    name: str         # its name in `ENCODERS`
    width: int        # length of a text vector
    notes: list[str]  # what the user should know; encoding may add to it

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Return the text vectors of values, not normalised: [len(values), width] float32."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what a dataset records: name, width, and all else that the vectors depend on."""
        ...


@dataclass(frozen=True)
class EncoderFile:
    """Where an encoder lives, and which of the keys `model` and `weights` it has."""

    module: str  # has `load(cache, **keys) -> TextEncoder`
    # its own keys and their defaults; `load` is given all of them
    defaults: Mapping[str, str | None] = field(default_factory=dict)


ENCODERS = {
    "hash": EncoderFile("datasets.prepare.text.hashed"),
    "clip": EncoderFile("datasets.prepare.text.clip",  # the paper's: CLIP ViT-B/16
                        {"model": "ViT-B-16-quickgelu", "weights": "openai"}),
    "sentence": EncoderFile("datasets.prepare.text.sentence", {"model": None}),
}


def text_encoder(
    name: str = "hash", model: str | None = None, weights: str | None = None,
    cache: Path | str | None = None,
) -> TextEncoder:
    """Return the text encoder called `name`; it loads nothing before it encodes a value.

    Args:
        name: one of `ENCODERS`; "clip" needs open_clip, and "sentence" transformers.
        model: clip: a model of open_clip; sentence: a folder, or an id of the Hugging Face hub;
            None: the encoder's default.
        weights: clip: a tag of the model, or the path of a file; None: the encoder's default.
        cache: folder of the vectors already encoded; None: rose/text in the user's cache folder.

    Raises:
        PrepareError: no such encoder, key, model or weights; the message says what there is.
    """
    if name not in ENCODERS:
        raise PrepareError(f"text={name}: unknown text encoder; choose one of "
                           f"{', '.join(ENCODERS)}")
    file = ENCODERS[name]
    given = {key: value for key, value in (("model", model), ("weights", weights))
             if value is not None}
    for key, value in given.items():
        if key not in file.defaults:
            others = [other for other, entry in ENCODERS.items() if key in entry.defaults]
            raise PrepareError(f"text.{key}={value}: text={name} has no {key}; add "
                               f"text={' or text='.join(others)}, or leave it out")
    return import_module(file.module).load(cache, **{**file.defaults, **given})
