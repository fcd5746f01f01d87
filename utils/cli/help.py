"""What `--help` prints: every key with its value and its meaning, as they stand in configs/."""

import re
from collections.abc import Iterable
from dataclasses import Field, dataclass
from functools import cache
from pathlib import Path

import yaml

from utils.config import is_group, keys_of
from utils.recipes import RECIPES, Recipe

CONFIG_DIR = Path(__file__).resolve().parent.parent.parent / "configs"
_KEY = re.compile(r"(?P<name>[\w.]+): *(?P<value>.*?)(?: +# *(?P<meaning>.*))?")
_CHOICE = re.compile(r"  - (?P<name>\w+)[\w/]*(?:@\w+)?: *(?P<value>\w+)(?: +# *(?P<meaning>.*))?")
_ATTRIBUTE = re.compile(r"^ {8}(\w+): (.*?)(?=^ {8}\w+:|\Z)", re.DOTALL | re.MULTILINE)
_INTRODUCTION = "key=value sets any key below, which otherwise has the value shown; ??? stands for one that must be given."


@dataclass(frozen=True)
class Group:
    """A choice among the files of a folder in configs/, as a script's list of defaults has it.

    Attributes:
        entry: the folder, and where its values go: `text`, or `experiment/pretrain@_global_`. On a
            command line its first part is its name.
        default: what is chosen otherwise; None: nothing.
    """

    entry: str
    default: str | None

    @property
    def folder(self) -> Path:
        return CONFIG_DIR / self.entry.partition("@")[0]

    @property
    def options(self) -> list[str]:
        """The choices: the files of the folder, or the recipes."""
        return list(RECIPES) if self.entry == "recipe" else sorted(path.stem
                                                                   for path in self.folder.glob(
                                                                       "*.yaml"))


@cache
def groups_of(config: str) -> dict[str, Group]:
    """The groups that configs/`config`.yaml chooses from, by their names on a command line."""
    entries = yaml.safe_load((CONFIG_DIR / f"{config}.yaml").read_text())["defaults"]
    chosen = [item for entry in entries if isinstance(entry, dict) for item in entry.items()]
    return {entry.partition("@")[0].partition("/")[0]: Group(entry, value)
            for entry, value in chosen if not entry.startswith("override ")}


def help_text(config: str, schema: type, more: Iterable[str] = ()) -> str:
    """The keys of configs/`config`.yaml and of the groups that it chooses from, with values and
    meanings; `more`: further lines on top."""
    title, *lines = (CONFIG_DIR / f"{config}.yaml").read_text().splitlines()
    groups, keys = groups_of(config), keys_of(schema)
    by_recipe = _recipe_meanings(keys) if "recipe" in groups else {}
    text = [title.removeprefix("# "), _INTRODUCTION, *more, *_rows(lines, groups, by_recipe)]
    for name, group in groups.items():
        if group.entry == "recipe":
            rows = _recipe_rows({name: meaning for name, meaning in by_recipe.items()
                                 if f"\n{name}:" not in "\n".join(lines)})
            text += ["", f"set by recipe={' | '.join(RECIPES)}", *rows] if rows else []
        for option in group.options if group.entry != "recipe" else []:
            lines_of_option = (group.folder / f"{option}.yaml").read_text().splitlines()
            meaning = next(line.removeprefix("# ") for line in lines_of_option
                           if not line.startswith("# @"))
            inside = name in keys and is_group(keys[name])  # others set the keys above
            prefixed = [f"{name}.{line}" for line in lines_of_option
                        if _KEY.fullmatch(line)] if inside else []
            text += ["", f"{name}={option}: {meaning}", *_rows(prefixed, {}, {})]
    return "\n".join(text)


def _rows(lines: list[str], groups: dict[str, Group], meanings: dict[str, str]) -> list[str]:
    """Lines of a yaml file as lines of the help: its sections, and its keys in the form in which
    they are given.

    A key that says nothing itself has its meaning from `meanings`.
    """
    rows = []
    for line in lines:
        choice, found = _CHOICE.fullmatch(line), _KEY.fullmatch(line)
        if line == "defaults:":
            rows += ["", "choices"] if groups else []
        elif choice and choice["name"] in groups:
            options = " | ".join(groups[choice["name"]].options)
            rows.append(_row(f"{choice['name']}={choice['value']}",
                             f"[{options}] {choice['meaning'] or ''}"))
        elif found:
            rows.append(_row(f"{found['name']}={found['value']}",
                             found["meaning"] or meanings.get(found["name"], "")))
        elif line.startswith("# "):
            rows.append(line.removeprefix("# "))
        elif not line:
            rows.append("")
    return rows


def _recipe_meanings(keys: dict[str, Field]) -> dict[str, str]:
    """What those of `keys` that a recipe sets may be, and what they mean."""
    meanings = {name: " ".join(meaning.split())
                for name, meaning in _ATTRIBUTE.findall(Recipe.__doc__)}
    allowed = {name: " | ".join(str(choice).lower() for choice in keys[name].metadata["choices"])
               for name in meanings if name in keys}
    return {name: f"[{choices}] {meanings[name]}" for name, choices in allowed.items()}


def _recipe_rows(meanings: dict[str, str]) -> list[str]:
    """The keys that a recipe sets, with recipe=rose's value."""
    return [_row(f"{name}={str(getattr(RECIPES['rose'], name)).lower()}", meaning)
            for name, meaning in meanings.items()]


def _row(assignment: str, meaning: str) -> str:
    return f"  {assignment:<40} {meaning}".rstrip()
