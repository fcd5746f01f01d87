"""What `--help` prints: every key with its value and its meaning, as its room states them."""

import textwrap
from dataclasses import Field, fields
from typing import Any

import yaml

from utils.cli.overrides import written
from utils.cli.program import Choice, Program
from utils.config import SECTIONS, allowed, is_group, keys_of

WIDTH, INDENT = 100, 36  # of the text, and of the meanings in it
_INTRODUCTION = ("key=value sets any key below, which otherwise has the value shown; ??? stands "
                 "for one that must be given.")
_MANY = ("--multirun (or -m) makes one run of every combination of values given as key=a,b or "
         "key=range(0,3), or for a choice as key=* or key=b*; each has a folder of its own, and "
         "grid.csv beside them has the figures of all.")
_HYDRA = ("A Hydra program: --cfg job shows the values that a command would use, --info where "
          "they come from, --hydra-help the rest: docs/command_line.md.")
_FORWARDED = ("Keys that are not listed here are handed on to the script that makes the runs; its "
              "--help lists them.")


def help_text(program: Program) -> str:
    """Return the keys and choices of a program, with values and meanings."""
    keys = keys_of(program.schema)
    chosen = {choice.name for choice in program.choices}
    lines = [f"{program.title} {program.example}", _INTRODUCTION, _HYDRA,
             *[_MANY] * bool(program.folder), *[_FORWARDED] * bool(program.forward)]
    if program.choices:
        lines += ["", "choices", *(_choice_row(program, choice) for choice in program.choices)]
    for section in SECTIONS:
        rows = [_row(name, written(_default(item)), _meaning(item)) for name, item in keys.items()
                if "." not in name and item.metadata.get("section") == section
                and not is_group(item) and name not in chosen]
        lines += ["", *[section] * bool(section), *rows] if rows else []
    for choice in program.choices:
        lines += [line for option in program.options(choice)
                  for line in _option_lines(program, choice, option)]
    return "\n".join(line if line.startswith(" ") else textwrap.fill(line, WIDTH) for line in lines)


def _choice_row(program: Program, choice: Choice) -> str:
    options = " | ".join(program.options(choice))
    return _row(choice.name, written(choice.default), f"[{options}] {choice.meaning}")


def _option_lines(program: Program, choice: Choice, option: str) -> list[str]:
    """Return what an option is, and for a group the keys in it with their values."""
    if choice.name == "recipe":
        return []
    if choice.options is None:
        file = program.config_dir / choice.name / f"{option}.yaml"
        text = file.read_text(encoding="utf-8")
        title = next((line.removeprefix("# ") for line in text.splitlines()
                      if line.startswith("# ") and not line.startswith("# @")), "")
        values = yaml.safe_load(text)
        rows = [_row(name, written(value), "") for name, value in values.items()
                if name != choice.name]
        return ["", f"{choice.name}={option}: {title}", *rows]
    node = choice.options[option]
    rows = [_row(f"{choice.name}.{item.name}", written(getattr(node, item.name)), _meaning(item))
            for item in fields(node)]
    return ["", f"{choice.name}={option}", *rows]


def _default(item: Field) -> Any:
    return item.default_factory() if callable(item.default_factory) else item.default


def _meaning(item: Field) -> str:
    choices, meaning = allowed(item), item.metadata["meaning"]
    return f"[{' | '.join(choices)}] {meaning}".strip() if choices else meaning


def _row(name: str, value: str, meaning: str) -> str:
    """Return a key with its value, and its meaning wrapped beside it."""
    assignment = f"  {name}={value}"
    lines = textwrap.wrap(meaning, WIDTH - INDENT) or [""]
    if len(assignment) >= INDENT:
        return "\n".join([assignment, *(" " * INDENT + line for line in lines if line)])
    return "\n".join(f"{begin:<{INDENT}}{line}".rstrip() for begin, line in zip(
        [assignment, *[""] * (len(lines) - 1)], lines, strict=True))
