"""What `--help` prints: every key with its value and its meaning, as they stand in configs/."""

import re
from functools import cache
from pathlib import Path

import yaml

from utils.config import keys_of
from utils.recipes import RECIPES, Recipe

CONFIG_DIR = Path(__file__).resolve().parent.parent / "configs"
_KEY = re.compile(r"(?P<name>[\w.]+): *(?P<value>.*?)(?: +# *(?P<meaning>.*))?")
_ATTRIBUTE = re.compile(r"^ {8}(\w+): (.*?)(?=^ {8}\w+:|\Z)", re.DOTALL | re.MULTILINE)
_INTRODUCTION = "key=value sets any key below, which otherwise has the value shown; ??? stands for one that must be given."


@cache
def defaults_of(config: str) -> dict[str, str | None]:
    """The groups that configs/`config`.yaml chooses from, each with its choice; None: none is chosen."""
    entries = yaml.safe_load((CONFIG_DIR / f"{config}.yaml").read_text())["defaults"]
    groups = [entry for entry in entries if isinstance(entry, dict)]
    return {name: value for group in groups for name, value in group.items() if not name.startswith("override ")}


def options(group: str) -> list[str]:
    """The choices of a group: the files of configs/`group`/, or the recipes."""
    return list(RECIPES) if group == "recipe" else sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def help_text(config: str, schema: type) -> str:
    """The keys of configs/`config`.yaml and of the groups that it chooses from, with their values and meanings."""
    title, *lines = (CONFIG_DIR / f"{config}.yaml").read_text().splitlines()
    groups, keys = defaults_of(config), keys_of(schema)
    text = [title.removeprefix("# "), _INTRODUCTION, *_rows(lines, groups)]
    for group in groups:
        if group == "recipe":
            text += ["", f"set by recipe={' | '.join(RECIPES)}", *_recipe_rows(keys)]
        for option in options(group) if group != "recipe" else []:
            lines = (CONFIG_DIR / group / f"{option}.yaml").read_text().splitlines()
            meaning = next(line.removeprefix("# ") for line in lines if not line.startswith("# @"))
            prefixed = [f"{group}.{line}" for line in lines if _KEY.fullmatch(line)] if group in keys else []  # others set the keys above
            text += ["", f"{group}={option}: {meaning}", *_rows(prefixed, {})]
    return "\n".join(text)


def _rows(lines: list[str], groups: dict[str, str | None]) -> list[str]:
    """Lines of a yaml file as lines of the help: its sections, and its keys in the form in which they are given."""
    rows = []
    for line in lines:
        found = _KEY.fullmatch(line.removeprefix("  - "))
        name = found and found["name"]
        if name == "defaults":
            rows += ["", "choices"] if groups else []
        elif name in groups:
            rows.append(_row(f"{name}={found['value']}", f"[{' | '.join(options(name))}] {found['meaning'] or ''}"))
        elif found and not line.startswith(" "):
            rows.append(_row(f"{name}={found['value']}", found["meaning"] or ""))
        elif line.startswith("# "):
            rows.append(line.removeprefix("# "))
        elif not line:
            rows.append("")
    return rows


def _recipe_rows(keys: dict) -> list[str]:
    """Those of `keys` that a recipe sets, with recipe=rose's value and what they may be."""
    meanings = {name: " ".join(meaning.split()) for name, meaning in _ATTRIBUTE.findall(Recipe.__doc__)}
    rows = []
    for name in (name for name in meanings if name in keys):
        allowed = " | ".join(str(choice).lower() for choice in keys[name].metadata["choices"])
        rows.append(_row(f"{name}={str(getattr(RECIPES['rose'], name)).lower()}", f"[{allowed}] {meanings[name]}"))
    return rows


def _row(assignment: str, meaning: str) -> str:
    return f"  {assignment:<40} {meaning}".rstrip()
