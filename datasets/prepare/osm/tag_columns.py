"""How the columns of a vector layer name the tags of its features.

A layer does it in one of these ways, tried in this order:
- a text column `f_tag` (the release's Shapefiles) that names, row by row, the column of the value,
and the OSM key unless the file does;
- columns called like OSM keys (text, lists of text, or true for yes), and the rest in a column
`other_tags`, `all_tags` or `tags` (hstore, JSON, or Arrow's maps, structs and lists);
- the classes of Overture's files, and the text column `fclass` of Geofabrik's (see
`class_tables.py`);
- one text column `label` of `key:value;key:value`.
"""

import functools
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets.prepare.geo.vector_io import (
    FLAG,
    KEY_NAMES,
    TAGS,
    TEXT,
    TEXTS,
    VALUE_NAMES,
    Layer,
)
from datasets.prepare.osm.class_tables import ClassTable, class_table
from datasets.prepare.osm.tags import LayerTable, Pairs, label_pairs, packed_pairs, tag_rows

POINTER, LABEL, PACKED = "f_tag", "label", ("other_tags", "all_tags", "tags")
_SHAPEFILE_NAME = 10  # letters of a column's name that a Shapefile keeps
# the first of several values that a list was written as: ['a', 'b'] or ["a", "b"]
_LIST = re.compile(r"""\[\s*(["'])(.*?)\1\s*[,\]]""", re.DOTALL)
_FLAGS = {"true": "yes", "false": ""}

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # [tags] each, as of `tags.tag_rows`
Lost = dict[str, np.ndarray]  # reason -> rows [n] whose tags cannot be read for it


@dataclass(frozen=True)
class TagColumns:
    """The columns of one layer that hold its tags.

    Attributes:
        names: of the columns to be read.
        read: a batch with them -> its tags, in pieces; fills the second argument.
    """

    names: tuple[str, ...]
    read: Callable[[pa.RecordBatch, Lost], Iterator[Rows]]


NO_COLUMNS = TagColumns((), lambda batch, lost: iter(()))


def tag_columns(layer: Layer, table: LayerTable) -> TagColumns | None:
    """Return the columns of a layer that hold tags of `table`; None if there is none."""
    text = [name for name, kind in layer.columns.items() if kind == TEXT]
    if pointer := _named(text, POINTER):
        name = layer.name or layer.path.stem
        return TagColumns(tuple(text), functools.partial(_pointed, text, pointer, name, table))
    keyed = {name: key for name, kind in layer.columns.items()
             if kind in (TEXT, TEXTS, FLAG) and (key := _key_of(name, layer, table))}
    packed = [name for name, kind in layer.columns.items()
              if kind in (TEXT, TAGS) and name.casefold() in PACKED]
    if keyed or packed:
        return TagColumns((*keyed, *packed), functools.partial(_keyed, keyed, packed, table))
    if classes := class_table(layer):
        others = {name.casefold(): name for name in text if name.casefold() in classes.references}
        columns = filter(None, classes.columns)
        return TagColumns((*columns, *classes.packed, *others.values()),
                          functools.partial(_classed, classes, others, table))
    if label := _named(text, LABEL):
        return TagColumns((label,), functools.partial(_labelled, label, table))
    return None


def unread_columns(layer: Layer, columns: TagColumns, table: LayerTable) -> list[str]:
    """Return what the columns are that are called like those with tags and cannot be read, in
    words."""
    known = {*table.rule_of_key, *PACKED}
    return [f"{name} holds {kind}" for name, kind in layer.columns.items()
            if name.casefold() in known and name not in columns.names]


def _pointed(text: Sequence[str], pointer: str, name: str, table: LayerTable,
             batch: pa.RecordBatch, lost: Lost) -> Iterator[Rows]:
    """Yield the tags of rows whose column `pointer` names the column of their value. If it names
    no OSM key, the file's name does."""
    codes, words = words_of(batch.column(pointer))
    for code, word in enumerate(words):
        column = _named(text, word) or _named(text, word[:_SHAPEFILE_NAME])
        key = table.key_for(word) or table.key_for(name)
        if column is None or key is None:
            lacking = "column" if column is None else "layer"
            reason = f"whose {POINTER} names no {lacking}"
            lost[reason] = lost.get(reason, False) | (codes == code)
            continue
        values, texts = words_of(batch.column(column))
        yield _tagged(key, np.where(codes == code, values, -1), texts, table)


def _key_of(name: str, layer: Layer, table: LayerTable) -> str | None:
    """Return the key of `table` that a column is called like; a Shapefile cuts its name."""
    name = name.casefold()
    if name in table.rule_of_key:
        return name
    if len(name) < _SHAPEFILE_NAME or layer.path.suffix.lower() != ".shp":
        return None
    keys = [key for key in table.rule_of_key
            if re.sub(r"\W", "_", key)[:_SHAPEFILE_NAME] == name]
    return keys[0] if len(keys) == 1 else None


def _keyed(keyed: Mapping[str, str], packed: Sequence[str], table: LayerTable,
           batch: pa.RecordBatch, lost: Lost) -> Iterator[Rows]:
    """Yield the tags of columns of one key each, and of columns of packed tags."""
    for name, key in keyed.items():
        yield _tagged(key, *words_of(batch.column(name)), table)
    for name in packed:
        arrays = tag_arrays(batch.column(name), table.rule_of_key)
        if arrays is None:
            yield _packed(name, batch.column(name), table, lost)
            continue
        for key, values in arrays:
            if holds_text(values.type):
                yield _tagged(key, *words_of(values), table)


def tag_arrays(column: pa.Array,
               keys: Container[str] | None) -> list[tuple[str, pa.Array]] | None:
    """Return the keys (None: all) that a column of tags has, and each row's value, null where it
    has none: [n]. Return None for a column of text, that is neither structs nor maps nor lists of
    keys and values."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if pa.types.is_struct(column.type):
        parts = zip(column.type, column.flatten(), strict=True)
        return [(field.name, part) for field, part in parts
                if keys is None or field.name.strip().casefold() in keys]
    kind = column.type
    if pa.types.is_map(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        texts = not pa.types.is_map(kind) and not pa.types.is_struct(kind.value_type)
        return None if texts else _entries(column, keys)
    return None


def _packed(name: str, column: pa.Array, table: LayerTable, lost: Lost) -> Rows:
    """Return the tags in a column of hstores or JSON."""
    codes, words = words_of(column)
    broken = []

    def parse(word: str) -> Pairs:
        try:
            return [(key, value_of(value)) for key, value in packed_pairs(word)]
        except ValueError:
            broken.append(word)
            return []
    rows = tag_rows(codes, words, parse, table)
    if broken:
        lost[f"whose {name} are neither an hstore nor JSON"] = np.isin(
            codes, [words.index(word) for word in broken])
    return rows


def _classed(classes: ClassTable, others: dict[str, str], table: LayerTable,
             batch: pa.RecordBatch, lost: Lost) -> Iterator[Rows]:
    """Yield the tags that the rows hand on, and of the others those that their classes mean."""
    bare = np.ones(len(batch), bool)
    for rows in _keyed({}, classes.packed, table, batch, lost):
        bare[rows[0]] = False
        yield rows
    columns = [words_of(batch.column(name)) if name else (np.full(len(batch), -1), [])
               for name in classes.columns]
    kinds, kind = np.unique([codes for codes, _ in columns], axis=1, return_inverse=True)
    kind = np.where(bare, kind.reshape(-1), -1)
    for number, codes in enumerate(kinds.T.tolist()):
        names = [words[code] if code >= 0 else "" for code, (_, words) in
                 zip(codes, columns, strict=True)]
        key, value = classes.tag_of(*names) or (None, "")
        if key is None:
            continue
        rows = kind == number
        if value.startswith("@") and (other := others.get(value[1:])):
            values, texts = words_of(batch.column(other))
            blank = np.array([not text.strip() for text in texts] + [True])[values]
            yield _tagged(key, np.where(rows & ~blank, values, -1), texts, table)
            rows = rows & blank
        yield _tagged(key, np.where(rows, 0, -1), ["yes" if value[0] == "@" else value], table)


def _labelled(label: str, table: LayerTable, batch: pa.RecordBatch,
              lost: Lost) -> Iterator[Rows]:
    yield tag_rows(*words_of(batch.column(label)), label_pairs, table)


def _tagged(key: str, codes: np.ndarray, words: list[str], table: LayerTable) -> Rows:
    """Return the tags of rows whose values of one key are `words[codes]`; a group of QuackOSM
    states the key once more."""
    def parse(word: str) -> Pairs:
        return [(key, value_of(word.removeprefix(f"{key}=")))]
    return tag_rows(codes, words, parse, table)


def value_of(text: str) -> str:
    """Return the value that a text means: the first of a list, yes for true, "" for false."""
    listed = _LIST.match(text.strip())
    text = listed[2] if listed else text
    return _FLAGS.get(text.strip().casefold(), text)


def _entries(column: pa.Array, keys: Container[str] | None) -> list[tuple[str, pa.Array]]:
    """Return the keys in a column of maps, or of lists of keys and values, that are in `keys`
    (None: all), and each row's value of that key, null where it has none: [n]."""
    if pa.types.is_map(column.type):
        names, values = column.keys, column.items
    else:
        fields = {field.name.casefold(): index for index, field in
                  enumerate(column.type.value_type)}
        names, values = (column.values.flatten()[next(fields[name] for name in either
                                                      if name in fields)]
                         for either in (KEY_NAMES, VALUE_NAMES))
    offsets = column.offsets.to_numpy()
    size = np.where(column.is_valid().to_numpy(zero_copy_only=False), np.diff(offsets), 0)
    owner = np.repeat(np.arange(len(column)), size)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
    index = np.repeat(offsets[:-1], size) + within                             # [entries]
    if not holds_text(names.type):
        return []
    codes, words = words_of(names.take(pa.array(index)))
    entries = []
    for code, word in enumerate(words):
        if keys is None or word.strip().casefold() in keys:
            places = np.full(len(column), -1)
            places[owner[codes == code]] = index[codes == code]
            entries.append((word, values.take(pa.array(places, mask=places < 0))))
    return entries


def holds_text(kind: pa.DataType) -> bool:
    while pa.types.is_dictionary(kind) or pa.types.is_list(kind):
        kind = kind.value_type
    return any(check(kind) for check in (pa.types.is_string, pa.types.is_large_string,
                                         pa.types.is_string_view, pa.types.is_boolean))


def words_of(column: pa.Array) -> tuple[np.ndarray, list[str]]:
    """Return each row's index [n] in the column's distinct texts (-1: none), and those texts: of a
    list its first, and yes for true. Text that is no UTF-8 is read as Latin-1."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        first = column.offsets.to_numpy()[:-1]
        some = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False) > 0
        return words_of(column.values.take(pa.array(first, mask=~some)))
    if pa.types.is_boolean(column.type):
        column = pc.if_else(column, "yes", None)
    coded = column.cast(pa.large_binary()).dictionary_encode()
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    return codes, [_decoded(word) for word in coded.dictionary.to_pylist()]


def _decoded(word: bytes) -> str:
    try:
        return word.decode()
    except UnicodeDecodeError:
        return word.decode("latin-1")


def _named(columns: Sequence[str], name: str) -> str | None:
    return next((column for column in columns if column.casefold() == name.casefold()), None)
