"""Commands in messages, quoted so that a shell takes them as they stand."""

import re
import shlex
from pathlib import Path


def python_command(program: str) -> str:
    """Return the shell command that runs a line of Python."""
    quoted = shlex.quote(program) if re.search(r'["$`\\!]', program) else f'"{program}"'
    return f"python -c {quoted}"


def removal(path: Path) -> str:
    """Return what to do about a damaged file or folder that a program makes again, to end a
    message."""
    recursive = "-r " if path.is_dir() else ""
    return (f"`rm {recursive}{shlex.quote(str(path))}` removes it; then run the same command "
            "again")
