"""Commands one after the other: each printed as it is typed, run in a process of its own, and
passed over where its results are there."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.cli.process import Ended
from utils.errors import RoseError

_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Step:
    """A command of the project.

    Attributes:
        what: it does, in words.
        script: such as train_rose.py, in the project's folder.
        overrides: key=value each.
        result: the file that the command writes last, which is there when it is done.
        work: a folder that is there until the command has ended; None: there is no such folder.
    """

    what: str
    script: str
    overrides: tuple[str, ...]
    result: Path
    work: Path | None = None

    @property
    def done(self) -> bool:
        """Whether the command has ended before."""
        return self.result.exists() and not (self.work and self.work.exists())

    @property
    def command(self) -> str:
        """The command as a shell takes it."""
        return shlex.join(["python", self.script, *self.overrides])

    def run(self) -> None:
        """Run the command.

        A signal that ends this process reaches the command first, which then saves what it has.

        Raises:
            RoseError: the command failed, or was stopped.
            KeyboardInterrupt, Ended: this process was asked to end.
        """
        arguments = [sys.executable, str(_ROOT / self.script), *self.overrides]
        process = subprocess.Popen(arguments)
        try:
            code = process.wait()
        except (KeyboardInterrupt, Ended) as request:
            # Ctrl-C reaches every process of the terminal; other signals this one alone
            if isinstance(request, Ended):
                process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        if code:
            raise RoseError(f"{self.script}: ended with exit code {code}, as it says above; mend "
                            "that, and the same command continues here")
        if not self.done:
            raise RoseError(f"{self.script}: was stopped before its end; the same command "
                            "continues there")


def run_steps(steps: Sequence[Step]) -> None:
    """Run the steps in order; print each command, and pass over those whose result is there."""
    for number, step in enumerate(steps, 1):
        done = step.done
        print(f"\n[{number}/{len(steps)}] {step.what}{': done before' if done else ''}\n"
              f"    {step.command}", flush=True)
        if not done:
            step.run()
