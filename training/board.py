"""What TensorBoard shows of a run.

Torch's SummaryWriter writes in a thread, which prints a traceback of its own when the disk is full;
here a write that fails is an OSError of the caller.
"""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard import summary

from utils.files import failing_as


class Board:
    """A file of events in `folder`, one a start of the run.

    Args:
        purge_step: TensorBoard forgets the earlier files' events from this step on; None: none.
    """

    def __init__(self, folder: Path, purge_step: int | None):
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        number = len(list(folder.glob(f"{name}.*")))
        self.path = folder / f"{name}.{number}"
        with failing_as(self.path, OSError):
            self._records = RecordWriter(self.path.open("xb"))
        self._write(Event(file_version="brain.Event:2", step=purge_step))
        if purge_step is not None:
            self._write(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to the curve of each name."""
        self._write(*(Event(step=step, summary=summary.scalar(name, value))
                      for name, value in values.items()))

    def image(self, name: str, image: Tensor, step: int) -> None:
        """Show a [H, W, 3] uint8 picture."""
        self._write(Event(step=step, summary=summary.image(name, image.numpy(), dataformats="HWC")))

    def close(self) -> None:
        """End the file; may be called twice, and after a write that failed."""
        if not self._records.closed:
            with failing_as(self.path, OSError):
                self._records.close()

    def _write(self, *events: Event) -> None:
        with failing_as(self.path, OSError):
            for event in events:
                event.wall_time = time.time()
                self._records.write(event.SerializeToString())
            self._records.flush()
