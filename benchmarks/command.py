"""Options of the benchmarks' command lines: one for each field of a NamedTuple."""

import argparse
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints

Settings = TypeVar("Settings", bound=NamedTuple)


def parse(page: str, kind: type[Settings], defaults: Mapping[str, Any],
          arguments: Sequence[str] | None = None) -> Settings:
    """Return the settings that a command line gives.

    Args:
        page: docstring of the program, shown by `--help`.
        kind: the NamedTuple; its docstring is shown, too. A field `a_b` is the option `--a-b`, a
            tuple takes several values, a bool none.
        defaults: values of the fields; a field without one is required.
        arguments: the command line; None takes this process's.
    """
    parser = argparse.ArgumentParser(description=page, epilog=inspect.getdoc(kind),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, hint in get_type_hints(kind).items():
        option, default = f"--{name.replace('_', '-')}", defaults.get(name)
        if hint is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default)
            continue
        parser.add_argument(option, type=next(iter(get_args(hint)), hint), default=default,
                            nargs="+" if isinstance(default, tuple) else None,
                            required=name not in defaults)
    values = vars(parser.parse_args(arguments)).items()
    return kind(**{name: tuple(value) if isinstance(value, list) else value
                   for name, value in values})
