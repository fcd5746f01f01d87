"""All tags of the features of a vector layer, for texts that are made of them
(`text.describe=tags`): every column of text is a tag, and columns of packed tags hold more."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from datasets.prepare.geo.vector_io import FLAG, TAGS, TEXT, TEXTS, Layer
from datasets.prepare.osm.class_tables import SOURCE_TAGS
from datasets.prepare.osm.tag_columns import (
    LABEL,
    PACKED,
    holds_text,
    tag_arrays,
    value_of,
    words_of,
)
from datasets.prepare.osm.tags import Pairs, label_pairs, packed_pairs

_SEVERAL = {LABEL: label_pairs, **dict.fromkeys((*PACKED, SOURCE_TAGS), packed_pairs)}


def columns_of_tags(layer: Layer) -> tuple[str, ...]:
    """Return the names of the columns that hold tags of any key."""
    return tuple(name for name, kind in layer.columns.items()
                 if kind in (TEXT, TEXTS, FLAG) or (kind == TAGS and name.casefold() in _SEVERAL))


def tags_of(batch: pa.RecordBatch, names: Sequence[str], features: np.ndarray) -> list[Pairs]:
    """Return all tags (key, value) of some rows of a batch, [m] indices, in the columns' order."""
    pairs: list[list[tuple[str, str]]] = [[] for _ in features]
    index = pa.array(features)
    for name in names:
        for row, tags in _column(name, batch.column(name).take(index)):
            pairs[row] += tags
    return pairs


def _column(name: str, column: pa.Array) -> Iterator[tuple[int, Pairs]]:
    """Yield rows of a column, and the tags of each."""
    arrays = tag_arrays(column, None)
    if arrays is not None:
        for key, values in arrays:
            if holds_text(values.type):
                yield from _rows(*words_of(values), lambda word, key=key: [(key, word)])
        return
    parse = _SEVERAL.get(name.casefold(), lambda word: [(name, word)])
    yield from _rows(*words_of(column), parse)


def _rows(codes: np.ndarray, words: Iterable[str], parse) -> Iterator[tuple[int, Pairs]]:
    tags = [_parsed(word, parse) for word in words]
    rows = np.flatnonzero(codes >= 0)
    yield from zip(rows.tolist(), map(tags.__getitem__, codes[rows].tolist()), strict=True)


def _parsed(word: str, parse) -> Pairs:
    try:
        return [(key, value_of(value)) for key, value in parse(word)]
    except ValueError:  # neither an hstore nor JSON, which the reader of the layers' tags counts
        return []
