"""Carry out what an error message advises, as its reader would: paste the command, run it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PROGRAMS = {"python": sys.executable}


def commands_in(message: str) -> list[str]:
    """Return the commands between backticks, in their order."""
    return re.findall(r"`([^`]+)`", message)


def follow(command: str, folder: Path) -> subprocess.CompletedProcess:
    """Run a command of a message in `folder`, with the programs beside this Python; fail if it
    fails."""
    words = shlex.split(command)
    words[0] = _PROGRAMS.get(words[0], words[0])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done
