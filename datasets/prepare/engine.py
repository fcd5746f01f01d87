"""Make the bands, with the same bytes, in this process, in several, or on a Dask cluster."""

from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from datasets.prepare.bands import make_band
from datasets.workers import WorkerDied, by_workers
from utils.cores import usable_cores
from utils.errors import ConfigError, PrepareError, one_line

SMALL = 256  # up to this many tiles, starting processes costs more than it saves
CLUSTER_TIMEOUT_S = 20


def make_bands(folder: Path, bands: Sequence[int], workers: int,
               scheduler: str | None) -> Iterator[int]:
    """Make bands of the job in `folder`; yield each number when it is done, in any order.

    Args:
        workers: number of processes; with 1 this process does the work.
        scheduler: address of a Dask scheduler, whose workers then do the work. They must see
            `folder` and the sources under the same paths, and be started in this project's folder.

    Raises:
        PrepareError: a band cannot be made, a worker died, or the scheduler cannot be used.
    """
    job = str(folder.resolve())
    if scheduler:
        yield from _on_cluster(job, bands, scheduler)
    elif workers == 1:
        for band in bands:
            yield make_band(job, band)
    else:
        yield from _in_processes(job, bands, workers)


def check_scheduler(scheduler: str) -> None:
    """Raise ConfigError if Dask is not installed."""
    if not find_spec("distributed"):
        raise ConfigError(f"scheduler={scheduler}: needs Dask, which is not installed; pip "
                          "install -r requirements-optional.txt")


def default_workers(tiles: int) -> int:
    """Return the number of cores that this process may use, but 1 for a small area."""
    return 1 if tiles <= SMALL else usable_cores()


def _in_processes(job: str, bands: Sequence[int], workers: int) -> Iterator[int]:
    try:
        yield from by_workers(partial(make_band, job), bands, workers, make_band.__module__)
    except WorkerDied as error:
        raise PrepareError(f"workers={workers}: a worker process ended without a word, most "
                           "likely for want of memory; run the same command again, which resumes "
                           f"where it stopped, with workers={max(1, workers // 2)}") from error


def _on_cluster(job: str, bands: Sequence[int], scheduler: str) -> Iterator[int]:
    from distributed import Client, KilledWorker
    from distributed import as_completed as completed
    from distributed.comm import CommClosedError

    try:
        client = Client(scheduler, timeout=CLUSTER_TIMEOUT_S)
    except (OSError, ValueError, TimeoutError) as error:
        raise PrepareError(f"scheduler={scheduler}: no Dask scheduler answers there "
                           f"({one_line(error)}); start one with `dask scheduler` and workers "
                           f"with `dask worker {scheduler}` in this project's folder") from error
    with client:
        _check_cluster(client, job, scheduler)
        futures = client.map(make_band, [job] * len(bands), bands, pure=False)
        try:
            for done in completed(futures):
                yield done.result()
        except (KilledWorker, CommClosedError, CancelledError) as error:
            raise PrepareError(f"scheduler={scheduler}: workers died at their work, most likely "
                               "for want of memory, or the scheduler stopped; run the same "
                               "command again, which resumes, with fewer "
                               "workers a machine") from error
        finally:
            client.cancel(futures)


def _check_cluster(client, job: str, scheduler: str) -> None:
    """Raise PrepareError if a worker cannot import this project or does not see the job."""
    workers = client.run(_sees, job, on_error="return")
    if not workers:
        raise PrepareError(f"scheduler={scheduler}: has no workers; start some with `dask worker "
                           f"{scheduler}` in this project's folder")
    for name, answer in workers.items():
        if isinstance(answer, Exception):
            raise PrepareError(f"scheduler={scheduler}: worker {name} cannot import this project "
                               f"({one_line(answer)}); start it in the project's folder, with the "
                               "same requirements installed")
        if not answer:
            raise PrepareError(f"scheduler={scheduler}: worker {name} does not see {job}; workers "
                               "need the sources and out= under the same paths as this machine, "
                               "on a shared file system")


def _sees(job: str) -> bool:
    return (Path(job) / "job.json").is_file()
