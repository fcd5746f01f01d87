"""Which classes labels have and which class each of their values means: `classes=`, `label_map=`.

`classes=` says which classes there are, in the order of their numbers 0, 1 ...:

    classes=[residential,park,lake]                  a raster's numbers 0, 1, 2, or values of a
                                                     column, or names that the raster's file has
    'classes={11:forest,12:forest,21:town}'          the class of each value
    'classes={"#e6194b":town,"#3cb44b":forest}'      the class of each colour
    classes=all                                      every value inside the imagery: numbers
                                                     ascending, then names and colours by letter
    classes=mine.yaml                                such a list or map, in a yaml or json file

`label_map=` is a map like the second and third, to classes of a list in `classes=`. Without one it
maps to the paper's nine, by name or number; if it names others, the names in it are the classes.

Without both keys, names that a raster's file has for its values are the classes. Without those the
values must be the nine's numbers or names. `null`, 255, `unknown` and `ignore` are no class, in a
list too: classes=[unknown,town,forest] leaves the number 0 without one.
"""

import difflib
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets.targets import CLASSES, IGNORED, MOST_CLASSES, UNKNOWN
from utils.contents import Anything, ContentFault, parse_yaml
from utils.errors import PrepareError, one_line, printable
from utils.style import class_colours

ALL = "all"
LISTED = 12  # values or classes named in a message
EXAMPLE = "'label_map={11:residential,12:8}'"  # quoted, or bash splits it
EXAMPLES = {"label_map": f"a map such as {EXAMPLE}",
            "classes": "classes=[town,forest], 'classes={11:town,12:forest}' or classes=all"}
_MOST_LETTERS = 100  # of a class's name
_NO_CLASS = ("", "unknown", "ignore", str(UNKNOWN))
# names for "no class" in the legends of other programs
_NO_NAMES = (*_NO_CLASS, "ignored", "nodata", "no data", "unclassified", "unlabelled", "unlabeled")
_ALIKE = 0.85  # of two names of which one is a slip of the other
_PLAIN = re.compile(r"(?!(?:yes|no|on|off|true|false|null|none|y|n|nan|inf)$)[A-Za-z_][\w-]*",
                    re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Legend:
    """Classes, and the class of each value.

    Attributes:
        classes: names in the order of their numbers.
        meaning: value as `value_text` writes it -> a class's number, or UNKNOWN.
        key: what says so, for messages; "" for the paper's nine.
        colours: #rrggbb of each class as the labels have them; empty if they have none.
        positions: the numbers are positions in a list, which names all of them.
    """

    classes: tuple[str, ...]
    meaning: Mapping[str, int]
    key: str = ""
    colours: tuple[str, ...] = field(default=())
    positions: bool = False

    @property
    def own(self) -> bool:
        """Whether the classes are others than the paper's nine."""
        return self.classes != CLASSES

    @property
    def coloured(self) -> bool:
        """Whether values are colours."""
        return any(value.startswith("#") for value in self.meaning)

    def refuses(self, value: str) -> bool:
        """Return whether labels must not hold a value; others without a class are unknown."""
        if not value or value in self.meaning:
            return False
        return not self.key or (self.positions and is_number(value))

    def known_as(self, names: Mapping[str, str]) -> "Legend":
        """Return the legend with the values, too, whose names in the labels' file it has."""
        by_name = {value: self.meaning[name.casefold()] for value, name in names.items()
                   if name.casefold() in self.meaning and value != name.casefold()}
        if not by_name:
            return self
        kept = {value: number for value, number in self.meaning.items()
                if not (self.positions and is_number(value))}
        return replace(self, meaning=kept | by_name, positions=False)

    def coloured_by(self, colours: Mapping[str, str]) -> "Legend":
        """Return the legend with colours of its values, if its classes are own ones and no two of
        them have the same colour; classes without any get one of ours."""
        chosen: dict[int, str] = {}
        for value, number in self.meaning.items():
            if number != UNKNOWN and value in colours:
                chosen.setdefault(number, colours[value])
        if not self.own or not chosen or len(set(chosen.values())) < len(chosen):
            return self
        ours = class_colours(self.classes)
        return replace(self, colours=tuple(chosen.get(number, colour)
                                           for number, colour in enumerate(ours)))


NINE = Legend(CLASSES, {str(number): number for number in range(len(CLASSES))}
              | {name: number for number, name in enumerate(CLASSES)}
              | {str(value): UNKNOWN for value in IGNORED})


@dataclass(frozen=True)
class LegendKeys:
    """The content of both keys, as far as it can be checked without the labels.

    Attributes:
        classes: ALL, a list of names, a map, or None.
        label_map: a map, or None.
        where: key -> the file that it was read from, or the key, for messages.
        files: those files.
    """

    classes: Any
    label_map: Mapping | None
    where: Mapping[str, str]
    files: tuple[Path, ...]

    @classmethod
    def of(cls, classes: Any, label_map: Any) -> "LegendKeys":
        """Read the keys; raise PrepareError if they cannot be used, or contradict each other."""
        contents = {"classes": classes, "label_map": label_map}
        where = {key: str(content) if _is_path(content) else key
                 for key, content in contents.items()}
        names, mapped = (_content(key, content) for key, content in contents.items())
        for key, content, kinds in (("label_map", mapped, Mapping),
                                    ("classes", names, Mapping | list)):
            given = contents[key] is not None and content != ALL
            if given and (not isinstance(content, kinds) or not content):
                raise PrepareError(f"{where[key]}: found {_brief(content)}, expected "
                                   f"{EXAMPLES[key]} or, in a file, lines such as "
                                   "`11: residential`.")
        if mapped is not None and (names == ALL or isinstance(names, Mapping)):
            raise PrepareError(f"label_map={_brief(label_map)} with classes={_brief(classes)}: "
                               "both say what the values mean, expected one of them; leave "
                               "label_map= out, or pass in classes= the list of the names that "
                               "it maps to.")
        files = tuple(Path(content) for content in contents.values() if _is_path(content))
        return cls(names, mapped, where, files)

    @property
    def coloured(self) -> bool:
        """Whether they name colours."""
        named = [*(self.label_map or ()), *(() if self.classes in (None, ALL) else self.classes)]
        return any(re.fullmatch("#[0-9a-f]{6}", value_text(value)) for value in named)

    def legend(self, names: Mapping[str, str], path: Path) -> Legend | None:
        """Return the legend of labels whose file at `path` has `names` for values; None if it
        follows from the values inside the imagery. Raise PrepareError if the keys cannot be
        used."""
        if self.classes == ALL:
            return None
        if isinstance(self.classes, Mapping):
            return own_legend(self.classes, "classes", self.where["classes"]).known_as(names)
        if self.label_map is None:
            return (_of_list(self.classes, self.where["classes"]).known_as(names)
                    if self.classes else _of_file(names, path))
        where = self.where["label_map"]
        if self.classes is None:
            return _of_label_map(self.label_map, where).known_as(names)
        listed = _of_list(self.classes, self.where["classes"])
        meaning = {value: _number(where, value, name, listed)
                   for value, name in _entries(self.label_map, where)}
        return Legend(listed.classes, meaning, "label_map").known_as(names)


def own_legend(named: Mapping, key: str, where: str) -> Legend:
    """Return the legend of a map from values to names, numbered in the order of first mention;
    `where` begins a message."""
    entries = _entries(named, where)
    names = check_names(dict.fromkeys(str(name).strip() for _, name in entries
                                      if value_text(name) not in _NO_CLASS), where)
    numbers = {name: number for number, name in enumerate(names)}
    return Legend(names, {value: UNKNOWN if value_text(name) in _NO_CLASS
                          else numbers[str(name).strip()] for value, name in entries}, key)


def legend_of_all(values: Iterable[str], names: Mapping[str, str], path: Path) -> Legend:
    """Return the legend in which every value is a class: of its name in the labels, or of itself.

    Values of one name are one class. Raise PrepareError for fewer than two or too many."""
    kept = {value: names.get(value, value) for value in in_order(values)
            if value not in _NO_CLASS and names.get(value, value).casefold() not in _NO_NAMES}
    first: dict[str, str] = {}
    kept = {value: first.setdefault(name.casefold(), name) for value, name in kept.items()}
    if not 2 <= len(first) <= MOST_CLASSES:
        raise PrepareError(f"{path}: classes=all finds {len(first):,} values inside the imagery "
                           f"({listing(list(kept))}), expected 2 to {MOST_CLASSES} classes. Say "
                           "which values make one class, as in "
                           "'classes={11:forest,12:forest,21:town}', or in a yaml file.")
    return own_legend(kept, "classes", "classes")


def check_names(names: Iterable[str], key: str) -> tuple[str, ...]:
    """Return the names of classes; raise PrepareError if they cannot all be."""
    names = tuple(names)
    for name in names:
        if not name or len(name) > _MOST_LETTERS or not name.isprintable():
            raise PrepareError(f"{key}: found the name {json.dumps(name)[:60]}, expected 1 to "
                               f"{_MOST_LETTERS} printable letters; give the class another name.")
    spelled: dict[str, str] = {}
    for name in names:
        if (other := spelled.setdefault(name.casefold(), name)) != name or names.count(name) > 1:
            raise PrepareError(f"{key}: two classes have one name, {other} and {name}; give one "
                               "of them another name, or map the values of both to one spelling.")
    if not 2 <= len(names) <= MOST_CLASSES:
        raise PrepareError(f"{key}: names {len(names)} class{'es' * (len(names) != 1)} "
                           f"({listing(names)}), expected 2 to {MOST_CLASSES}: one class alone "
                           "cannot be learned, and a label is one byte; name more, or put "
                           "several values into one.")
    return names


def value_text(value: Any) -> str:
    """Return a value like a legend's: 12, 12.0, "12" are one, as are "A" and "a"; "" is none."""
    if value is None or value != value:  # nan
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()


def is_number(value: str) -> bool:
    """Return whether a value is a whole number."""
    return re.fullmatch("-?[0-9]+", value) is not None


def in_order(values: Iterable[str]) -> list[str]:
    """Return values with numbers ascending, before others by letter."""
    return sorted(values, key=lambda value: (not is_number(value),
                                             int(value) if is_number(value) else 0, value))


def listing(values: Sequence[str]) -> str:
    """Return the first values of a list in words."""
    more = f" and {len(values) - LISTED:,} more" if len(values) > LISTED else ""
    return ", ".join(map(printable, values[:LISTED])) + more


def as_key(key: str, value: Sequence[str] | Mapping[str, str | None]) -> str:
    """Return `key=` with names, or a map of values to names, as a shell and Hydra read it."""
    if isinstance(value, Mapping):
        entries = [(name if is_number(name) else _quoted(name),
                    "null" if item is None else _quoted(item)) for name, item in value.items()]
        colon = ": " if any('"' in text for entry in entries for text in entry) else ":"  # YAML's
        return shlex.quote(f"{key}={{{','.join(map(colon.join, entries))}}}")
    return shlex.quote(f"{key}=[{','.join(map(_quoted, value))}]")


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _of_list(names: Sequence[Any], where: str) -> Legend:
    """Return the legend of a list: its names are values, and so are their positions unless one of
    them is a number or a colour. A place of the list may be left to no class."""
    for name in names:
        if isinstance(name, bool | list | Mapping):
            raise PrepareError(f"{where}: found the name {_brief(name)}, expected a text; write "
                               "it in quotes, such as 'yes' or 'no'.")
    texts = ["unknown" if name is None else
             value_text(name) if isinstance(name, float) else str(name).strip() for name in names]
    classes = check_names((text for text in texts
                           if not text or text.casefold() not in _NO_CLASS), where)
    numbers = {name: number for number, name in enumerate(classes)}
    codes = [numbers.get(text, UNKNOWN) for text in texts]
    meaning = dict(zip(map(str.casefold, texts), codes, strict=True))
    positions = not any(is_number(value) or value.startswith("#") for value in meaning)
    if positions:
        meaning |= {str(position): code for position, code in enumerate(codes)}
    return Legend(classes, {str(UNKNOWN): UNKNOWN} | meaning, "classes", positions=positions)


def _of_label_map(mapped: Mapping, where: str) -> Legend:
    """Return the legend of a map to the nine, or to others if it names others."""
    entries = _entries(mapped, where)
    strange = [(value, name) for value, name in entries if _of_nine(name) is None]
    if not strange:
        return Legend(CLASSES, {value: _of_nine(name) for value, name in entries}, "label_map")
    named = {value_text(name) for _, name in entries} - {*_NO_CLASS}
    for value, name in strange:
        text = value_text(name)
        meant = difflib.get_close_matches(text, CLASSES, 1, _ALIKE)
        if is_number(text) or meant or len(named) == 1:
            meant = f"did you mean {meant[0]}? " if meant else ""
            raise PrepareError(f"{where}: {value}: {printable(str(name))} is no class of land use; "
                               f"{meant}Choose among 0..8 ({', '.join(CLASSES)}), or 255 for "
                               "unknown; or name classes of your own with classes= in place of "
                               "label_map=.")
    if numbers := [name for _, name in entries if is_number(value_text(name))
                   and value_text(name) != str(UNKNOWN)]:
        raise PrepareError(f"{where}: names classes of its own "
                           f"({listing([str(name) for _, name in strange])}) beside the number "
                           f"{numbers[0]} of the nine; name every class.")
    return own_legend(mapped, "label_map", where)


def _of_nine(name: Any) -> int | None:
    """Return the number of one of the nine, UNKNOWN for no class, or None for another."""
    return UNKNOWN if value_text(name) in _NO_CLASS else NINE.meaning.get(value_text(name))


def _number(where: str, value: str, name: Any, listed: Legend) -> int:
    """Return the number of a listed class that label_map maps a value to."""
    text = value_text(name)
    if text in _NO_CLASS:
        return UNKNOWN
    if text in listed.meaning:
        return listed.meaning[text]
    if is_number(text) and 0 <= int(text) < len(listed.classes):  # of names that are numbers
        return int(text)
    raise PrepareError(f"{where}: {value}: {printable(str(name))} is no class of classes=; "
                       f"choose among {listing(listed.classes)}, their places in it from 0, or "
                       "255 for unknown.")


def _of_file(names: Mapping[str, str], path: Path) -> Legend:
    """Return the legend of a file's own names for values; the nine's if it has none, or those."""
    key = f"the legend in {path.name}"
    if all(is_number(name) for name in names.values()):
        return NINE
    named = {value: None if name.casefold() in _NO_NAMES else name
             for value, name in names.items()}
    if all(name is None or name.casefold() in CLASSES for name in named.values()):
        return Legend(CLASSES, {value: UNKNOWN if name is None else NINE.meaning[name.casefold()]
                                for value, name in named.items()}, key)
    try:
        return own_legend(named, key, key)
    except PrepareError as error:
        raise PrepareError(f"{path}: {error} Or pass classes=all for the values inside the "
                           "imagery, or 'classes={11:forest,12:town}' with names of your "
                           "own.") from error


def _entries(named: Mapping, key: str) -> list[tuple[str, Any]]:
    """Return values and names of a map; raise PrepareError for one that says nothing."""
    for value, name in named.items():
        if isinstance(value, bool):
            raise PrepareError(f"{key}: a value is read as {value}; write it in quotes, such as "
                               "'yes' or 'no'.")
        if isinstance(name, bool | list | Mapping):
            raise PrepareError(f"{key}: {value}: {_brief(name)} is no class's name; write it in "
                               "quotes, such as 'yes' or 'no'.")
        if isinstance(name, str) and not name.strip():
            raise PrepareError(f"{key}: {value}: found an empty name; give the class a name, or "
                               "write null for no class.")
    return [(value_text(value), name) for value, name in named.items()]


def _is_path(content: Any) -> bool:
    """Return whether a key's value names a file: not `all`, and no list or map in a text, as the
    command line gives those with colours."""
    return (isinstance(content, str | Path) and content != ALL
            and not str(content).lstrip().startswith(("{", "[")))


def _content(key: str, content: Any) -> Any:
    if _is_path(content):
        return _load(key, Path(content))
    if isinstance(content, str) and content != ALL:
        return _parsed(content, f"{key}={content}")
    return list(content) if isinstance(content, tuple) else content


def _load(key: str, path: Path) -> Any:
    try:
        return _parsed(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError) as error:
        if re.fullmatch(r"[^:/\\]+:[^:/\\.]+", str(path)):
            raise PrepareError(f"{key}={path}: no such file; the shell splits braces; write "
                               f"it in quotes: {EXAMPLE.replace('label_map', key)}.") from error
        reason = one_line(error)
        raise PrepareError(f"{path}: {reason}. Pass {EXAMPLES[key]}, or {key}= a yaml or json "
                           "file of one.") from error


def _parsed(text: str, where: str) -> Any:
    """Return the list or map that yaml or json says; `#` before six hexadecimal digits begins a
    colour, not a comment, and a number's colon needs no space after it, as in Hydra's grammar."""
    text = re.sub(r"""(['"]?)(#[0-9A-Fa-f]{6})\1[ \t]*:(?=[^\n])""", r'"\2": ', text)
    text = re.sub(r"([{,]\s*-?\d+):(?=\S)", r"\1: ", text)
    colours = Counter(colour.lower() for colour in re.findall(r'"(#[0-9A-Fa-f]{6})": ', text))
    if twice := next((colour for colour, count in colours.items() if count > 1), None):
        raise PrepareError(f"{where}: names the colour {twice} {colours[twice]} times, expected "
                           "every colour once; leave the others out.")
    try:
        return parse_yaml(text, Anything())
    except ContentFault as error:
        raise PrepareError(f"{where}: cannot be read as yaml or json: {error}, such as "
                           "`11: residential`.") from error


def _brief(value: Any) -> str:
    text = printable(str(value))
    return text if len(text) <= 80 else f"{text[:77]}..."
