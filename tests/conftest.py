"""What all tests share."""

import gc
import os
from pathlib import Path

import pytest
import torch

from datasets.sample_city.tiles import ensure_sample_tiles
from tests.pretrained import save_pretrained
from tests.processes import OF_ONE_RUN

torch.set_num_threads(1)  # the networks here are tiny: more threads only wait for each other

SHARED = Path(os.environ.get("ROSE_SHARED",
                             Path(__file__).resolve().parent.parent.parent / "shared"))

# Files that take longest, which begin first: at the end one would keep one core busy alone.
SLOWEST = ("tests/test_distributed.py", "tests/models/test_compiled.py", "tests/test_train.py",
           "tests/benchmarks/test_results.py", "tests/studies/test_grids.py",
           "tests/evaluation/test_results.py", "tests/utils/cli/test_grid.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files; without several workers the order is pytest's."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        return
    order = {name: number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


def pytest_collection_finish() -> None:
    """Leave what the imports made out of every later collection of garbage, of which a study makes
    one a cell."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def alone():
    """No test leaves a run of several processes behind: the next ones of this process would be
    part of it."""
    yield
    left = [name for name in OF_ONE_RUN if os.environ.pop(name, None) is not None]
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        left.append("a process group")
    assert not left


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of parity packs and real data; tests that need it are skipped where it is not."""
    if not (SHARED / "parity").is_dir():
        pytest.skip(f"no parity packs at {SHARED / 'parity'}; set ROSE_SHARED to the folder that "
                    "holds parity/ and data/")
    return SHARED


@pytest.fixture(scope="session")
def sample_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tile dataset of a sample city of 3 x 3 tiles."""
    root = tmp_path_factory.mktemp("city") / "tiles"
    ensure_sample_tiles(root, tiles=3)
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A network as a pretraining run leaves it."""
    torch.manual_seed(0)
    return save_pretrained(tmp_path_factory.mktemp("runs") / "pretrained" / "model_1.tar")
