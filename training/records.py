"""The record of a pretraining run: loss_record.txt, metrics.csv, TensorBoard, progress bar."""

import csv
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from utils.progress import progress_bar

COLUMNS = ("epoch", "step", "global_step", "image_loss", "osm_loss", "lr", "samples_per_second")


class Recorder:
    """The record of a run: a line per `log_every` steps, and for the rest of an epoch or run, each
    the mean over its steps.

    loss_record.txt has the release's format: `epoch [e/E]\\t Step [s/S]\\t Loss1: image\\t Loss2:
    osm`. The record can be put back to a checkpoint's position, so that a continued run leaves the
    same lines as one that was never stopped.

    Args:
        samples_per_step: tiles in a step, over all devices.
        enabled: False on all processes except the first: they write nothing.

    Attributes:
        first, latest: [image, OSM] losses of the first and the latest line; None before it.
    """

    def __init__(self, folder: Path, total_epoch: int, steps_per_epoch: int, log_every: int,
                 total_steps: int, samples_per_step: int, enabled: bool):
        self.folder, self.total_epoch, self.steps_per_epoch = folder, total_epoch, steps_per_epoch
        self.log_every, self.total_steps = log_every, total_steps
        self.samples_per_step, self.enabled = samples_per_step, enabled
        self.sums, self.count, self.first, self.latest = [0.0, 0.0], 0, None, None

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the record, for a checkpoint."""
        sizes = {path.name: path.stat().st_size for path in self._files() if path.exists()}
        return {"sums": self.sums, "count": self.count, "first": self.first, "latest": self.latest,
                "sizes": sizes}

    def start(self, global_step: int, state: dict[str, Any] | None = None,
              keep_files: bool = False) -> None:
        """Open the record at `global_step`, put back to `state` if the run is continued.

        `keep_files` cuts the folder's files, which are those of `state`, back to its position;
        otherwise they are begun anew.
        """
        if state is not None:
            self.sums, self.count = list(state["sums"]), state["count"]
            self.first, self.latest = state["first"], state["latest"]
        if not self.enabled:
            return
        for path in self._files():
            with path.open("ab") as file:
                size = state["sizes"].get(path.name, 0) if keep_files else 0
                file.truncate(min(size, path.stat().st_size))
        if not self._files()[1].stat().st_size:
            self._append_metrics(COLUMNS)
        self.clock = time.perf_counter()
        self.board = SummaryWriter(str(self.folder),
                                   purge_step=global_step + 1 if global_step else None)
        self.bar = progress_bar(self.total_steps, global_step, "step")

    def step(self, epoch: int, step: int, global_step: int, losses: list[float],
             lr: float) -> None:
        """Add one step's [image, OSM] losses; `step` is counted from 1 within the epoch."""
        self.sums = [total + loss for total, loss in zip(self.sums, losses, strict=True)]
        self.count += 1
        if self.enabled:
            self.bar.set_description(f"epoch {epoch}/{self.total_epoch}", refresh=False)
            self.bar.set_postfix_str(f"image {losses[0]:.4f}, OSM {losses[1]:.5f}, "
                                     f"{self._rate():.1f} tiles/s", refresh=False)
            self.bar.update()
        if (step % self.log_every == 0 or step == self.steps_per_epoch
                or global_step == self.total_steps):
            self._line(epoch, step, global_step, lr)

    def picture(self, name: str, image: Tensor, global_step: int) -> None:
        """Show a [H, W, 3] uint8 picture in TensorBoard."""
        if self.enabled:
            self.board.add_image(name, image, global_step, dataformats="HWC")

    def close(self) -> None:
        """End the bar and flush TensorBoard; may be called twice."""
        if self.enabled:
            self.bar.close()
            self.board.close()

    def _line(self, epoch: int, step: int, global_step: int, lr: float) -> None:
        image, osm = (total / self.count for total in self.sums)
        rate = self._rate()
        self.first, self.latest = self.first or [image, osm], [image, osm]
        self.sums, self.count = [0.0, 0.0], 0
        if not self.enabled:
            return
        self.clock = time.perf_counter()
        with self._files()[0].open("a") as file:
            file.write(f"epoch [{epoch}/{self.total_epoch}]\t Step "
                       f"[{step}/{self.steps_per_epoch}]\t Loss1: {image:.6f}\t Loss2: "
                       f"{osm:.6f}\n")
        self._append_metrics([epoch, step, global_step, image, osm, lr, round(rate, 3)])
        for name, value in {"loss/image": image, "loss/osm": osm, "lr": lr,
                            "samples_per_second": rate}.items():
            self.board.add_scalar(name, value, global_step)

    def _rate(self) -> float:
        """Return tiles a second since the last line."""
        if not self.enabled:
            return 0.0
        return self.count * self.samples_per_step / max(time.perf_counter() - self.clock, 1e-9)

    def _append_metrics(self, row: Any) -> None:
        with self._files()[1].open("a", newline="") as file:
            csv.writer(file).writerow(row)

    def _files(self) -> tuple[Path, Path]:
        return self.folder / "loss_record.txt", self.folder / "metrics.csv"


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.csv."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def last_epoch_losses(rows: Sequence[dict[str, float]]) -> tuple[float, float]:
    """Return the mean image and OSM loss over the last epoch of `read_metrics`."""
    rows = [row for row in rows if row["epoch"] == rows[-1]["epoch"]]
    ends = [0.0, *(row["step"] for row in rows)]
    steps = [end - start for start, end in pairwise(ends)]
    return tuple(sum(row[name] * count for row, count in zip(rows, steps, strict=True)) / ends[-1]
                 for name in ("image_loss", "osm_loss"))
