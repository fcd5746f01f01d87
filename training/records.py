"""The record of a pretraining run: loss_record.txt, metrics.csv, TensorBoard, progress bar."""

import csv
import math
import os
import shlex
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from training.board import Board
from training.image_tuning import RATES
from training.outlook import WATCHED_S, WORTH_SAYING_S, duration
from utils.errors import CheckpointError, one_line
from utils.files import failing_as
from utils.progress import progress_bar

LOSSES = ("image", "OSM", "contrast")  # the last only of a run with contrast=
COLUMNS = ("epoch", "step", "global_step", "image_loss", "osm_loss", "lr", "samples_per_second")
CONTRAST = ("contrast_loss",)


class Recorder:
    """The record of a run: a line per `log_every` steps, and for the rest of an epoch or run, each
    the mean over its steps.

    loss_record.txt has the release's format: `epoch [e/E]\\t Step [s/S]\\t Loss1: image\\t Loss2:
    osm`, with `\\t Loss3: contrast` behind it in a run that has one. The record can be put back to
    a checkpoint's position, so that a continued run leaves the same lines as one that was never
    stopped.

    Args:
        samples_per_step: tiles in a step, over all devices.
        enabled: False on all processes except the first: they write nothing.
        rates: names of columns of metrics.csv behind COLUMNS: of rates other than lr.
        contrast: whether each step has a third loss, in a column before these.

    Attributes:
        first, latest: the LOSSES of the first and the latest line; None before it.
    """

    def __init__(self, folder: Path, total_epoch: int, steps_per_epoch: int, log_every: int,
                 total_steps: int, samples_per_step: int, enabled: bool,
                 rates: Sequence[str] = (), contrast: bool = False):
        self.folder, self.total_epoch, self.steps_per_epoch = folder, total_epoch, steps_per_epoch
        self.log_every, self.total_steps = log_every, total_steps
        self.samples_per_step, self.enabled = samples_per_step, enabled
        self.columns = (*COLUMNS, *CONTRAST * contrast, *rates)
        self.zeros = [0.0] * (2 + contrast)
        self.sums, self.count, self.first, self.latest = self.zeros, 0, None, None

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the record, for a checkpoint."""
        sizes = {path.name: _size_on_disk(path) for path in self._files() if path.exists()}
        return {"sums": self.sums, "count": self.count, "first": self.first, "latest": self.latest,
                "sizes": sizes}

    def check(self, state: dict[str, Any]) -> None:
        """Raise ValueError if `state` is of a record with other losses."""
        for losses in (state["sums"], state["first"], state["latest"]):
            if losses is not None and len(losses) != len(self.zeros):
                raise ValueError(f"a record of {len(losses)} losses, not {len(self.zeros)}")

    def start(self, global_step: int, state: dict[str, Any] | None = None,
              keep_files: bool = False) -> None:
        """Open the record at `global_step`, put back to `state` if the run is continued.

        `keep_files` cuts the folder's files, which are those of `state`, back to its position;
        otherwise they are begun anew, as is one that is missing.

        Raises:
            CheckpointError: a file is not as it was at that position; nothing is cut then.
        """
        if state is not None:
            self.sums, self.count = list(state["sums"]), state["count"]
            self.first, self.latest = state["first"], state["latest"]
        if not self.enabled:
            return
        sizes = {path: state["sizes"].get(path.name, 0) if keep_files and path.exists() else 0
                 for path in self._files()}
        for path, size in sizes.items():
            _check_whole_lines(path, size)
        for path, size in sizes.items():
            with path.open("ab") as file:
                file.truncate(size)
        metrics = self._files()[1]
        if metrics.stat().st_size:
            read_metrics(self.folder)
        else:
            self._append(metrics, ",".join(self.columns) + "\r\n")
        self.clock = time.perf_counter()
        self.watched: tuple[float, int] | None = None  # when the first step ended, and its number
        self.board = Board(self.folder, global_step + 1 if global_step else None)
        self.bar = progress_bar(self.total_steps, global_step, "step")

    def step(self, epoch: int, step: int, global_step: int, losses: list[float],
             rates: dict[str, float]) -> None:
        """Add one step's LOSSES and its `rates`: lr, and those of the columns.

        `step` is counted from 1 within the epoch.
        """
        self.sums = [total + loss for total, loss in zip(self.sums, losses, strict=True)]
        self.count += 1
        if self.enabled:
            self.bar.set_description(f"epoch {epoch}/{self.total_epoch}", refresh=False)
            shown = ", ".join(f"{name} {loss:.5f}" if name == "OSM" else f"{name} {loss:.4f}"
                              for name, loss in zip(LOSSES, losses, strict=False))
            self.bar.set_postfix_str(f"{shown}, {self._rate():.1f} tiles/s", refresh=False)
            self.bar.update()
            self._say_duration(global_step)
        if (step % self.log_every == 0 or step == self.steps_per_epoch
                or global_step == self.total_steps):
            self._line(epoch, step, global_step, rates)

    def picture(self, name: str, image: Tensor, global_step: int) -> None:
        """Show a [H, W, 3] uint8 picture in TensorBoard."""
        if self.enabled:
            self.board.image(name, image, global_step)

    def close(self) -> None:
        """End the bar and flush TensorBoard; may be called twice."""
        if self.enabled:
            self.bar.close()
            self.board.close()

    def _line(self, epoch: int, step: int, global_step: int, rates: dict[str, float]) -> None:
        losses = [total / self.count for total in self.sums]
        rate = self._rate()
        self.first, self.latest = self.first or losses, losses
        self.sums, self.count = self.zeros, 0
        if not self.enabled:
            return
        self.clock = time.perf_counter()
        record, metrics = self._files()
        self._append(record, f"epoch [{epoch}/{self.total_epoch}]\t Step "
                             f"[{step}/{self.steps_per_epoch}]"
                             + "".join(f"\t Loss{number}: {loss:.6f}"
                                       for number, loss in enumerate(losses, start=1)) + "\n")
        (image, osm, *contrast), (lr, *others) = losses, rates.values()
        row = (epoch, step, global_step, image, osm, lr, round(rate, 3), *contrast, *others)
        self._append(metrics, ",".join(map(repr, row)) + "\r\n")
        named = {f"loss/{name.lower()}": loss for name, loss in zip(LOSSES, losses, strict=False)}
        self.board.scalars({**named, **rates, "samples_per_second": rate}, global_step)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self.enabled:
            tqdm.write(line)

    def _say_duration(self, global_step: int) -> None:
        """Say once how long the run takes, by its first steps without the very first."""
        now = time.perf_counter()
        if not self.watched:
            self.watched = now, global_step
        started, first = self.watched
        if started == math.inf or now - started < WATCHED_S:
            return
        self.watched = math.inf, first
        seconds = (now - started) / (global_step - first)
        left = self.total_steps - global_step
        if left * seconds > WORTH_SAYING_S:
            tqdm.write(f"{self.samples_per_step / seconds:.3g} tiles a second: about "
                       f"{duration(left * seconds)} for the {left:,} steps left")

    def _rate(self) -> float:
        """Return tiles a second since the last line."""
        if not self.enabled:
            return 0.0
        return self.count * self.samples_per_step / max(time.perf_counter() - self.clock, 1e-9)

    @staticmethod
    def _append(path: Path, text: str) -> None:
        with failing_as(path, OSError), path.open("a", newline="", encoding="utf-8") as file:
            file.write(text)

    def _files(self) -> tuple[Path, Path]:
        return self.folder / "loss_record.txt", self.folder / "metrics.csv"


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.csv; raise CheckpointError if it is not as it was written."""
    path = folder / "metrics.csv"
    try:
        header, *lines = csv.reader(path.read_text(encoding="utf-8").splitlines())
        rows = [dict(zip(header, map(float, line), strict=True)) for line in lines]
    except ValueError as error:  # no number, a column more or less, no UTF-8, no line
        raise _damaged(path, f"cannot be read ({one_line(error)})") from error
    headers = [[*COLUMNS, *contrast, *rates] for contrast in ((), CONTRAST)
               for rates in ((), RATES)]
    if header not in headers or not _are_steps(rows):
        raise _damaged(path, "its rows are no record of a run")
    return rows


def _are_steps(rows: Sequence[dict[str, float]]) -> bool:
    """Whether rows are finite, and each later than the one before."""
    steps = [0.0, *(row["global_step"] for row in rows)]
    return all(last < step for last, step in pairwise(steps)) and all(
        row["epoch"] >= 1 and row["step"] >= 1 and all(map(math.isfinite, row.values()))
        for row in rows)


def _check_whole_lines(path: Path, size: int) -> None:
    """Raise CheckpointError if the first `size` bytes of a record are not whole lines."""
    if size == 0:
        return
    with path.open("rb") as file:
        file.seek(size - 1)
        if file.read(1) != b"\n":
            raise _damaged(path, f"has {path.stat().st_size} bytes, and its lines do not end at "
                                 f"{size}, as they did when the run was saved")


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: {what}, expected the lines of the steps done; put a copy of "
                           f"it back, or go on without these lines: `rm {shlex.quote(str(path))}` "
                           "and the same command again")


def _size_on_disk(path: Path) -> int:
    """Return the size of a file once all of it is safe from a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path.stat().st_size


def last_epoch_losses(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each column of a loss over the last epoch of `read_metrics`; nan of an
    empty record."""
    if not rows:
        return {"image_loss": math.nan, "osm_loss": math.nan}
    rows = [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
    ends = [0.0, *(row["step"] for row in rows)]
    steps = [end - start for start, end in pairwise(ends)]
    return {name: sum(row[name] * count for row, count in zip(rows, steps, strict=True)) / ends[-1]
            for name in ("image_loss", "osm_loss", *CONTRAST) if name in rows[0]}
