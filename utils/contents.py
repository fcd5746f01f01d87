"""Check what a file says before anything uses it: types and bounds of JSON and of metadata.

A rule is an object with `check(value, at)`, which returns the value or raises ContentFault; `at`
is where in the file the value stands, such as `store.tiles`. Rules nest:

    SPLIT = Fields({"tiles": Whole(least=1), "names": Items(Text())}, optional={"seed": Whole()})
    split = read_json(path, SPLIT, "make it again with `python -m datasets.splits`", TileError)
"""

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import yaml

from utils.errors import RoseError, one_line, printable

MOST_BYTES = 256 << 20  # of a JSON file, which is read whole
MOST_DEPTH, MOST_VALUES = 50, 100_000  # of YAML
_SHOWN = 60  # characters of a value in a message


class ContentFault(Exception):
    """A file's content is not as expected; the message has the place, the value found and what
    was expected."""


class Unbounded(ContentFault):
    """YAML that would take too much memory to be looked at."""


class Rule(Protocol):
    """What a value must be."""

    def check(self, value: Any, at: str) -> Any:
        """Return the value; raise ContentFault if it breaks the rule."""


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds, both included."""

    least: int | None = None
    most: int | None = None

    def check(self, value: Any, at: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not _within(value, self):
            raise fault(at, value, f"a whole number{_bounds(self)}")
        return value


@dataclass(frozen=True)
class Number:
    """A number within bounds, both included; infinite or nan only if not `finite`."""

    least: float | None = None
    most: float | None = None
    finite: bool = True

    def check(self, value: Any, at: str) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        finite = number and abs(value) <= sys.float_info.max
        if not (finite if self.finite else number) or not _within(value, self):
            raise fault(at, value, f"a {'finite ' * self.finite}number{_bounds(self)}")
        return value


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, value: Any, at: str) -> bool:
        if not isinstance(value, bool):
            raise fault(at, value, "true or false")
        return value


@dataclass(frozen=True)
class Text:
    """A text; with `choices`, one of them; with `pattern`, one that matches it as a whole; with
    `line`, one that a line of a terminal may show as it is."""

    choices: Sequence[str] = ()
    most: int = 100_000  # characters
    pattern: str = ""
    line: bool = False

    def check(self, value: Any, at: str) -> str:
        if not isinstance(value, str) or len(value) > self.most:
            raise fault(at, value, f"a text of {self.most} characters or fewer")
        if self.choices and value not in self.choices:
            raise fault(at, value, f"one of {', '.join(self.choices)}")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise fault(at, value, f"a text of the form {self.pattern}")
        if self.line and printable(value, self.most) != value:
            raise fault(at, printable(value), "a line of text without control characters")
        return value


@dataclass(frozen=True)
class InnerPath:
    """A path, with / between names, that stays inside the folder it begins in."""

    def check(self, value: Any, at: str) -> str:
        path = PurePosixPath(Text(most=4096).check(value, at))
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in value:
            raise fault(at, value, "a path inside the folder")
        return value


@dataclass(frozen=True)
class Null:
    """Nothing."""

    def check(self, value: Any, at: str) -> None:
        if value is not None:
            raise fault(at, value, "null")


@dataclass(frozen=True)
class Anything:
    """Any value: one that is only shown or compared."""

    def check(self, value: Any, at: str) -> Any:
        return value


@dataclass(frozen=True)
class Either:
    """A value that one of the rules takes, the first of them that does."""

    rules: Sequence[Rule]

    def check(self, value: Any, at: str) -> Any:
        expected = []
        for rule in self.rules:
            try:
                return rule.check(value, at)
            except ContentFault as error:
                expected.append(str(error).partition("expected ")[2])
        raise fault(at, value, " or ".join(expected))


@dataclass(frozen=True)
class Items:
    """A list whose items follow one rule, or one rule each where `rule` is a sequence of them."""

    rule: Rule | Sequence[Rule]
    least: int = 0
    most: int | None = None

    def check(self, value: Any, at: str) -> list:
        if not isinstance(value, list | tuple):
            raise fault(at, value, "a list")
        rules = self.rule if isinstance(self.rule, Sequence) else [self.rule] * len(value)
        if len(rules) != len(value):
            raise fault(at, value, f"a list of {len(rules)}")
        if not self.least <= len(value) <= (math.inf if self.most is None else self.most):
            raise fault(at, value, f"a list of {self.least} items or more" if self.most is None
                        else f"a list of {self.least} to {self.most} items")
        return [rule.check(item, f"{at}[{number}]")
                for number, (rule, item) in enumerate(zip(rules, value, strict=True))]


@dataclass(frozen=True)
class Table:
    """A dict from names, each of which follows `key`, to values of one rule."""

    rule: Rule
    key: Rule = field(default_factory=Text)

    def check(self, value: Any, at: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise fault(at, value, "a table of names and values")
        return {self.key.check(name, f"a name in {at or 'the file'}"): self.rule.check(
            item, _inside(at, name)) for name, item in value.items()}


@dataclass(frozen=True)
class Fields:
    """A dict with these fields; fields of neither kind stay as they are.

    Args:
        required: name -> rule.
        optional: name -> rule, of fields that may be missing.
        closed: refuse fields of neither kind.
    """

    required: Mapping[str, Rule]
    optional: Mapping[str, Rule] = field(default_factory=dict)
    closed: bool = False

    def check(self, value: Any, at: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise fault(at, value, "a table of names and values")
        for name in self.required:
            if name not in value:
                raise ContentFault(f"{_inside(at, name)} is missing, expected it")
        rules = {**self.optional, **self.required}
        for name in value:
            if self.closed and name not in rules:
                raise fault(f"a name in {at or 'the content'}", name, f"one of {', '.join(rules)}")
        return {name: rules[name].check(item, _inside(at, name)) if name in rules else item
                for name, item in value.items()}


def fault(at: str, value: Any, expected: str) -> ContentFault:
    """Return the fault of a value that is not as expected."""
    try:
        shown = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        shown = type(value).__name__
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return ContentFault(f"{at or 'the content'} is {shown}, expected {expected}")


def parse_json(text: str | bytes, rule: Rule, at: str = "") -> Any:
    """Return the value that `text` holds; raise ContentFault if it is no JSON or breaks the
    rule."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of 5,000 digits, nesting
        reason = "nested too deeply" if isinstance(error, RecursionError) else one_line(error)
        raise ContentFault(f"{at or 'the content'} is no JSON ({reason}), expected JSON") from error
    return rule.check(value, at)


def parse_yaml(text: str | bytes, rule: Rule, at: str = "") -> Any:
    """Return the value of YAML; raise ContentFault if it is none, is nested or repeats itself
    beyond what a table of values does, or breaks the rule."""
    try:
        text = text.decode() if isinstance(text, bytes) else text
        if not _is_bounded(text):
            raise Unbounded(f"{at or 'the content'} is nested too deeply or repeats itself too "
                            "often, expected keys and values")
        value = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise ContentFault(f"{at or 'the content'} is no text in UTF-8, expected YAML") from error
    # YAML's makers of numbers, flags and dates raise errors of their own
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError,
            RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = f"line {mark.line + 1}: {error.problem}" if mark else one_line(error)
        raise ContentFault(f"{at or 'the content'} is no YAML ({reason}), expected keys and values"
                           ) from error
    return rule.check(value, at)


def _is_bounded(text: str) -> bool:
    """Return whether the values of YAML, references to others written out, are at most MOST_VALUES
    in lists and tables of at most MOST_DEPTH, and none refers to itself."""
    sizes: dict[str, int] = {}  # anchor -> values below it
    open_: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            sizes[event.anchor] = MOST_VALUES + 1  # until it ends: what it holds may not be itself
            open_.append((event.anchor, 1))
            size = 0
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
            sizes[anchor] = size
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor, 1)
        else:
            size = 1
        open_[-1] = open_[-1][0], open_[-1][1] + size
        if len(open_) > MOST_DEPTH or open_[-1][1] > MOST_VALUES:
            return False
    return True


def read_json(path: Path, rule: Rule, remedy: str, error: type[RoseError] = RoseError) -> Any:
    """Return the value in a JSON file.

    Args:
        remedy: ends the message, such as "remove the folder".
        error: what is raised.

    Raises:
        RoseError: of the class `error`: the file is missing, larger than MOST_BYTES, no JSON, or
            what it says breaks the rule.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ContentFault(f"the file has {size} bytes, expected a record of {MOST_BYTES} at "
                               "most")
        with path.open("rb") as file:
            return parse_json(file.read(size), rule)  # as many are allocated as are asked for
    except (ContentFault, OSError) as problem:
        message = (f"cannot be read ({one_line(problem)})" if isinstance(problem, OSError)
                   else str(problem))
        raise error(f"{path}: {message}; {remedy}") from problem


def _inside(at: str, name: object) -> str:
    shown = str(name)[:_SHOWN]
    return f"{at}.{shown}" if at else shown


def _within(value: float, rule: Whole | Number) -> bool:
    return ((rule.least is None or value >= rule.least)
            and (rule.most is None or value <= rule.most))


def _bounds(rule: Whole | Number) -> str:
    if rule.least is not None and rule.most is not None:
        return f" from {rule.least} to {rule.most}"
    if rule.least is not None:
        return f" of {rule.least} or more"
    return "" if rule.most is None else f" of {rule.most} or less"
