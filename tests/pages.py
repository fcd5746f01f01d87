"""The pages of docs/ as tests run them: their commands by the scripts' own `main`, their Python as
one program, both in this process.

A page that is wrong fails at its own line: what it says is compiled with the page's name and line
numbers.
"""

import re
import shlex
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        language: after the fence, such as "sh" or "python".
        line: of the page, from 1, that the block's first line is.
    """

    language: str
    line: int
    text: str


class Page:
    """A page in Markdown.

    Args:
        path: below the project's folder, such as "docs/features.md".
    """

    def __init__(self, path: str) -> None:
        self.path = ROOT / path
        self.text = self.path.read_text(encoding="utf-8")
        self.blocks = [
            Block(found[1], self.text.count("\n", 0, found.start(2)) + 1, found[2])
            for found in re.finditer(r"^```(\w+)\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)
        ]

    @property
    def commands(self) -> list[str]:
        """The commands of its blocks of shell, without comments."""
        lines = [line.split(" #")[0].strip() for block in self.of("sh")
                 for line in joined(block.text).splitlines()]
        return [line for line in lines if line]

    @property
    def scripts(self) -> list[str]:
        """What each of its commands calls, such as "train_rose.py" or "datasets.convert"."""
        return [shlex.split(command.removeprefix("python ").removeprefix("-m "))[0]
                for command in self.commands]

    @property
    def code(self) -> list[str]:
        """The lines of its Python that are not empty."""
        return [line for block in self.of("python") for line in block.text.splitlines()
                if line.strip()]

    def of(self, language: str) -> list[Block]:
        """Its blocks in a language, in order."""
        return [block for block in self.blocks if block.language == language]

    def run_commands(self, commands: Iterable[str] | None = None) -> None:
        """Run its commands, or some of them, in order, in the folder where this process is."""
        for command in self.commands if commands is None else commands:
            run_command(command)

    def run_python(self, **names: Any) -> dict[str, Any]:
        """Run its blocks of Python in order, as one program in the folder where this process is;
        the names that it leaves.

        Args:
            names: what the page takes as known.
        """
        names["__name__"] = "__main__"
        for block in self.of("python"):
            exec(compile("\n" * (block.line - 1) + block.text, str(self.path), "exec"), names)
        return names


def joined(text: str) -> str:
    """Return the text with lines that a backslash continues on one line, as the shell does."""
    return re.sub(r"\\\n\s*", "", text)


def run_command(command: str) -> None:
    """Run `python SCRIPT.py key=value ...` or `python -m MODULE ...` as the shell would, but in
    this process: a start takes seconds."""
    python, *arguments = shlex.split(command)
    assert python == "python", f"{command}: expected a command of Python"
    if arguments[0] == "-m":
        arguments = arguments[1:]
    elif not (ROOT / arguments[0]).is_file():
        pytest.fail(f"{command}: the project has no {arguments[0]}")
    name = arguments[0].removesuffix(".py")
    main = import_module(f"{name}.__main__" if (ROOT / name.replace(".", "/")).is_dir()
                         else name).main
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", arguments)
        try:
            main()
        except SystemExit as stop:
            pytest.fail(f"{command}: ended with exit code {stop.code}; its message is on stderr")
