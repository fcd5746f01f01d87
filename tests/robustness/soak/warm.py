"""Run scripts in forks of this process, which has loaded their libraries: a case costs its own
work alone."""

import importlib
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_LIBRARIES = (
    "datasets.prepare.pipeline", "datasets.sample_city.write", "datasets.stores.conversion",
    "datasets.split_lists", "evaluation.job", "evaluation.results", "inference.features.run",
    "inference.maps.run", "models.rose", "training.pretraining", "training.summary")
_PAUSE_S = 0.02


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `code` is None where it had to be killed after its time."""

    code: int | None
    out: str
    error: str
    seconds: float

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.error + self.out

    @property
    def refusal(self) -> str | None:
        """The line that refuses an input, after any progress bars and notes; None if there is
        none, or more after it."""
        lines = [line for line in self.error.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        return errors[0] if self.code == 2 and errors == lines[-1:] else None


def load_libraries() -> None:
    """Import what the scripts need, on one thread: forks of threads would stand still."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path.insert(0, str(ROOT))
    for name in _LIBRARIES:
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)


class Running:
    """A script started with arguments in `folder`, the first process of a group of its own."""

    def __init__(self, arguments: Sequence[str], folder: Path):
        self.folder, self.started = folder, time.monotonic()
        self._out, self._error = folder / ".stdout", folder / ".stderr"
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._become(list(arguments))

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it runs."""
        if not hasattr(self, "code"):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return getattr(self, "code", None)

    def wait(self, timeout: float) -> Outcome:
        """Return how it ended; kill its group if it has not after `timeout` seconds."""
        while self.poll() is None and time.monotonic() - self.started < timeout:
            time.sleep(_PAUSE_S)
        code = self.poll()
        seconds = time.monotonic() - self.started
        self.kill_group()
        while self.poll() is None:
            time.sleep(_PAUSE_S)
        texts = (path.read_text(encoding="utf-8", errors="replace")
                 for path in (self._out, self._error))
        return Outcome(code, *texts, seconds)

    def kill(self, whom: str, pick: Callable[[list[int]], int]) -> None:
        """Kill what is running: "main", "group" (all its processes) or "worker" (the one below
        it that `pick` chooses; without any, the main process)."""
        if self.poll() is not None:
            return
        workers = self.children()
        victims = {"group": [*workers, self.pid],
                   "worker": [pick(workers)] if workers else [self.pid]}.get(whom, [self.pid])
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_group(self) -> None:
        """Kill all processes that it started and that stayed in its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def children(self) -> list[int]:
        """Return the processes below it."""
        below, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            try:
                found = [int(child) for task in Path(f"/proc/{pid}/task").iterdir()
                         for child in (task / "children").read_text().split()]
            except OSError:
                continue
            below += found
            waiting += found
        return below

    def _become(self, arguments: list[str]) -> None:
        """Be the script, in the fork; never return."""
        code = 1
        try:
            os.setsid()
            os.chdir(self.folder)
            for path, number in ((self._out, 1), (self._error, 2)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False)
                                      for number in (1, 2))
            code = _run(arguments)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)


def run(arguments: Sequence[str], folder: Path, timeout: float = 120) -> Outcome:
    """Run a script to its end."""
    folder.mkdir(parents=True, exist_ok=True)
    return Running(arguments, folder).wait(timeout)


def _run(arguments: list[str]) -> int:
    sys.argv = arguments
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv[0] = str(ROOT / arguments[0])
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
