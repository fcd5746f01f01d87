"""A process that loads tiles and is lost ends the run in one line, and the run can go on."""

import os
import re
import signal
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tests.processes import end_children
from training.workers import batches_of
from utils.errors import RoseError, TileError


def die(number):
    os.kill(os.getpid(), number)
    time.sleep(60)


def fail(error):
    raise error


class Faulty(Dataset):
    """Eight items; reading the item 5 has an effect."""

    def __init__(self, effect, *arguments):
        self.effect, self.arguments = effect, arguments

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            self.effect(*self.arguments)
        return torch.tensor(index)


@pytest.fixture(autouse=True)
def end_workers():
    yield
    end_children()


FAULTS = {
    "killed": (die, signal.SIGKILL, r"process \d+ of those that load tiles was "
                                    r"(killed by SIGKILL|lost), probably because memory ran out"),
    "a bus error": (die, signal.SIGBUS, "probably because (/dev/shm is full|memory)"),
    "an exit": (os._exit, 1, r"process \d+ of those that load tiles was lost, probably"),
    "no memory": (fail, MemoryError(), r"memory ran out while tiles were loaded \(MemoryError\)"),
    "no memory for a tensor": (fail, RuntimeError("DefaultCPUAllocator: can't allocate memory"),
                               r"memory ran out .*DefaultCPUAllocator: can't allocate memory\)"),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("case", FAULTS)
def test_a_lost_worker_is_one_line(case, workers):
    effect, argument, message = FAULTS[case]
    before = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(RoseError, match=f"^num_workers={workers}: .*{message}") as error:
        list(batches_of(DataLoader(Faulty(effect, argument), 2, num_workers=workers)))
    assert re.search("use fewer num_workers= or a smaller batch_size=, and the same command "
                     "continues$", str(error.value))
    assert "\n" not in str(error.value)
    assert signal.getsignal(signal.SIGCHLD) is before


def test_one_that_is_lost_between_two_batches_is_told_at_the_next():
    loader = DataLoader(Faulty(int), 1, num_workers=1, persistent_workers=True)
    batches = batches_of(loader)
    next(batches)
    [worker] = loader._iterator._workers
    worker.kill()
    worker.join()  # nothing happens in the middle of what is done here
    with pytest.raises(RoseError, match=f"process {worker.pid} of those"):
        list(batches)


def test_without_workers():
    with pytest.raises(RoseError, match=r"^num_workers=0: memory ran out .*; use a smaller batch"):
        list(batches_of(DataLoader(Faulty(fail, MemoryError()), 2)))
    assert torch.cat(list(batches_of(DataLoader(Faulty(int), 3)))).tolist() == list(range(8))


@pytest.mark.parametrize("error", [TileError("a.png: truncated"), RuntimeError("a fault")])
@pytest.mark.parametrize("workers", [0, 1])
def test_other_errors_stay_what_they_are(error, workers):
    with pytest.raises(type(error), match=str(error)):
        list(batches_of(DataLoader(Faulty(fail, error), 2, num_workers=workers)))
