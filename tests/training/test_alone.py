"""One run at a time in a folder, of whatever kind; the next one is told which process is there."""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed as dist

import make_report
import train_rose
from studies import attention, modalities
from tests.evaluation import evaluating
from tests.processes import environment
from training.devices import alone
from training.keys import TRAIN
from utils.cli.compose import read
from utils.errors import RoseError
from utils.locks import alone_in

ROOT = Path(__file__).resolve().parents[2]


def train(folder: Path) -> None:
    train_rose.train(read(TRAIN, "data_path=gone", f"save_root_dir={folder.parent}",
                          f"save_dir={folder.name}"))


def evaluate(folder: Path) -> None:
    evaluating.run("seg", "data_root=gone", f"save_path={folder}")


def study(folder: Path) -> None:
    modalities.main.__wrapped__(read(modalities.MODALITIES, f"out={folder}"), ["data_root=gone"])


def look(folder: Path) -> None:
    attention.main.__wrapped__(read(attention.ATTENTION, "data_root=gone", f"save_path={folder}"))


RUNS = {"save_dir": train, "save_path": evaluate, "out": study, "save_path of a study": look}


@pytest.mark.parametrize("key", RUNS)
def test_a_folder_in_use_is_refused_before_anything_is_read_or_written(tmp_path, key):
    folder = tmp_path / "run"
    with alone_in(folder, "save_dir"):
        before = {path.name for path in folder.iterdir()}
        with pytest.raises(RoseError, match=(
                rf"^{re.escape(str(folder))}: another process \({os.getpid()}, since .*\) is "
                rf"at work there, expected none; .* or choose another {key.split()[0]}=$")):
            RUNS[key](folder)
        assert {path.name for path in folder.iterdir()} == before
    assert not folder.exists()  # nothing was written
    with pytest.raises(RoseError, match=r"gone|no pretraining run"):
        RUNS[key](folder)
    assert not folder.exists()


def test_a_page_is_written_by_one_process(tmp_path):
    cfg = read(make_report.MAKE_REPORT, "runs=[nowhere]", f"out={tmp_path / 'page.html'}")
    with (make_report.locked(tmp_path / ".lock-page.html", "writing it", ""),
          pytest.raises(RoseError, match=r"is writing .*page.html, .*; .*give another out=$")):
        make_report.main.__wrapped__(cfg)


KILLED = """
import os, sys, time; from multiprocessing import get_context; from pathlib import Path
from utils.locks import alone_in
def work():
    print(os.getpid(), flush=True)
    time.sleep(60)
with alone_in(Path(sys.argv[1]), "save_dir"):
    worker = get_context("fork").Process(target=work)
    worker.start()
    worker.join()
"""


def test_a_killed_run_frees_its_folder_though_a_worker_outlives_it(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "run")], cwd=ROOT,
                              stdout=subprocess.PIPE, env=environment())
    worker = int(killed.stdout.readline())  # it runs, so what it inherited is settled
    killed.kill()
    killed.wait(30)
    try:
        with alone_in(tmp_path / "run", "save_dir"):
            pass
        os.kill(worker, 0)  # it lives
    finally:
        os.kill(worker, 9)
    assert not (tmp_path / "run").exists()


def one_of_two(rank: int, folder: Path, said: Path) -> None:
    """Be a process of a run, and write down how it ended."""
    dist.init_process_group("gloo", init_method=f"file://{said / 'store'}", rank=rank,
                            world_size=2)
    fabric = SimpleNamespace(global_rank=rank, world_size=2, is_global_zero=rank == 0)
    try:
        with alone(fabric, folder, "save_dir"):
            ended = "went on"
    except (RoseError, SystemExit) as error:
        ended = f"{type(error).__name__} {error}"
    (said / str(rank)).write_text(ended)


@pytest.mark.parametrize("free", [True, False])
def test_of_several_processes_the_first_holds_the_folder_and_all_end(tmp_path, free):
    (tmp_path / "said").mkdir()
    with nullcontext() if free else alone_in(tmp_path / "run", "save_dir"):
        processes = [get_context("fork").Process(
            target=one_of_two, args=(rank, tmp_path / "run", tmp_path / "said"))
            for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
    first, other = ((tmp_path / "said" / str(rank)).read_text() for rank in range(2))
    if free:
        assert first == other == "went on"
    else:
        assert "is at work there, expected none" in first
        assert other == "SystemExit 2"
    assert not (tmp_path / "run").exists()
