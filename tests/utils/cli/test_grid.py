"""Grids: which runs a command line makes, where, and what becomes of their figures."""

import csv
import math
import os
import random
import signal

import pytest
import torch

from tests.utils.cli.small_command import OTHER, probe, sample_without_data, use_small_configs
from utils.cli.command import command
from utils.cli.program import Scored
from utils.errors import RoseError


@pytest.fixture(autouse=True)
def small_configs(tmp_path, monkeypatch):
    use_small_configs(tmp_path / "configs", monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name in ("TORCHELASTIC_RUN_ID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the script's --multirun with arguments: the configs its main received, its output, its
    errors and its exit code.
    """
    def _run(*arguments, main=None, flag="--multirun", **options):
        received, code = [], 0

        def record(*given):
            received.append(given if options.get("forward") else given[0])
            return main(*given) if main else None
        monkeypatch.setattr("sys.argv", ["probe.py", flag, *arguments])
        try:
            command(probe(**options))(record)()
        except SystemExit as stop:
            code = stop.code
        return received, *capsys.readouterr(), code
    return _run


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_combination_runs_in_order_and_in_a_folder_of_its_own(run):
    received, _, errors, code = run("data_root=D", "modality=image,fusion", "lr=1e-5,1e-4",
                                    "save_path=P", flag="-m")
    assert (errors, code) == ("", 0)
    assert [(cfg.modality, cfg.lr, cfg.save_path) for cfg in received] == [
        ("image", 1e-5, "P/modality=image,lr=1e-05"),
        ("image", 1e-4, "P/modality=image,lr=0.0001"),
        ("fusion", 1e-5, "P/modality=fusion,lr=1e-05"),
        ("fusion", 1e-4, "P/modality=fusion,lr=0.0001")]


@pytest.mark.parametrize(("argument", "key", "values"), [
    ("seed=range(0,3)", "seed", [0, 1, 2]), ("seed=range(4,0,-2)", "seed", [4, 2]),
    ("lr=range(1,2,0.5)", "lr", [1, 1.5]),
    ("modality=choice(image,fusion)", "modality", ["image", "fusion"]),
    ("seed=sort(3,1)", "seed", [1, 3]), ("++seed=5,6", "seed", [5, 6]),
    ("task=*", "task", ["land", "land_sz"]), ("task=*_*", "task", ["land_sz"]),
    ("task=glob(*,exclude=*_sz)", "task", ["land"]),
    ("task=l?nd,land_sz", "task", ["land", "land_sz"]),
    ("recipe=null,release", "recipe", [None, "release"]),
    ("experiment=null,sample", "lr", [2e-4, 5e-4]),
    ("data_root='a,b',c d", "data_root", ["a,b", "c d"]),
])
def test_values_are_given_in_hydras_grammar(run, argument, key, values):
    given = [] if "data_root" in argument else ["data_root=D"]
    received, _, errors, _ = run(*given, argument)
    assert [getattr(cfg, key) for cfg in received] == values, errors


def test_a_path_that_the_grammar_does_not_know_is_one_value(run):
    received, *_ = run("data_root=a (1),b/*.tif", "seed=0,1")
    assert [cfg.data_root for cfg in received] == ["a (1),b/*.tif"] * 2


def test_values_that_imply_different_overrides_are_refused(run):
    def implied(given):
        return [*sample_without_data(given),
                *(["task=land_sz"] if given["modality"] == "image" else [])]
    received, *_ = run("modality=image", "lr=1,2", implied=implied)
    assert [(cfg.task, cfg.data_root) for cfg in received] == [("land_sz", "runs/city")] * 2
    received, _, errors, code = run("modality=image,fusion", "lr=1", implied=implied)
    assert (received, code) == ([], 2)
    assert errors.startswith("error: modality=image,fusion: its values imply different "
                             "experiment=sample")


def test_each_run_receives_what_is_handed_on(run):
    received, *_ = run("data_root=D", "seed=3,4", "x=y", forward=(OTHER,))
    assert [(cfg.seed, rest) for cfg, rest in received] == [(3, ["x=y"]), (4, ["x=y"])]


def test_figures_of_all_runs_become_a_table(run, tmp_path):
    known = []

    def main(cfg):
        known.append(len(rows(tmp_path / "P" / "grid.csv")) if known else 0)
        return (Scored(0.5, {"miou": 0.1 + cfg.seed, "miou_std": 1.0, "f1": math.nan})
                if cfg.seed != 1 else None)
    _, output, *_ = run("data_root=D", "seed=0,1,2", "save_path=P", main=main)
    assert known == [0, 1, 2]  # the rows are there after every run
    assert rows(tmp_path / "P" / "grid.csv") == [
        {"seed": "0", "miou": "0.1", "miou_std": "1.0", "f1": "nan"},
        {"seed": "1", "miou": "", "miou_std": "", "f1": ""},
        {"seed": "2", "miou": "2.1", "miou_std": "1.0", "f1": "nan"}]
    lines = [line.replace(" ", "") for line in output.splitlines()]
    assert "Run1:seed=0" in lines
    assert lines[-6:] == ["|seed|mIoU|mIoUstd|F1|", "|---:|-----:|-------:|--:|",
                          "|0|0.1000|1.000|-|", "|1|-|-|-|", "|2|2.100|1.000|-|",
                          "Thefiguresofallruns:P/grid.csv"]


@pytest.mark.parametrize("content", ["", "[]", '{"grid": 1}', "[" * 100_000])
def test_a_damaged_row_of_an_earlier_grid_is_passed_over(run, tmp_path, content):
    row = tmp_path / "P" / "seed=7" / ".hydra" / "grid_row.json"
    row.parent.mkdir(parents=True)
    row.write_text(content)
    *_, code = run("data_root=D", "seed=0,1", "save_path=P",
                   main=lambda cfg: Scored(0.5, {"r2": 0.5}))
    assert code in (0, None)
    assert [row["seed"] for row in rows(tmp_path / "P" / "grid.csv")] == ["0", "1"]


@pytest.mark.parametrize(("arguments", "folder", "places"), [
    (["seed=0,1"], "save_path", ["runs/probe_land/seed=0", "runs/probe_land/seed=1"]),
    (["task=*"], "save_path", ["runs/task=land", "runs/task=land_sz"]),
    (["seed=0,1", "save_path=/a/b"], "save_path", ["/a/b/seed=0", "/a/b/seed=1"]),
    (["seed=0,1", "save_path=b"], "save_root_dir/save_path", ["b/seed=0", "b/seed=1"]),
    (["seed=0,1", "hydra.sweep.dir=H"], "save_path", ["H/seed=0", "H/seed=1"]),
    (["data_root=a/b,c", "save_path=P"], "save_path", ["P/data_root=a_b", "P/data_root=c"]),
])
def test_where_the_runs_go(run, arguments, folder, places):
    root, _, key = folder.rpartition("/")
    received, _, errors, _ = run("data_root=D", *arguments, folder=(root, key),
                                 **({"default_folder": None} if root else {}))
    assert [cfg.save_path for cfg in received] == places, errors


def test_a_long_name_is_cut_and_stays_one_of_its_own(run):
    received, *_ = run(f"data_root='{'ä' * 150}1','{'ä' * 150}2'")
    names = [cfg.save_path.rpartition("/")[2] for cfg in received]
    assert len(set(names)) == 2
    assert max(len(name.encode()) for name in names) <= 200


@pytest.mark.parametrize(("arguments", "message"), [
    (["seed=0,1", "lr=1,x"], "lr=x: expected a number"),
    (["seed=0,1", "lr=1,0"], "lr=0.0: must be above 0"),
    (["seed=0,1", "sead=3"], "sead=3: unknown key; did you mean seed?"),
    (["seed=0,1", "bad"], "bad: not of the form key=value"),
    (["task=land,people"], "task=people: choose one of land, land_sz"),
    (["task=x*"], "task=x*: stands for no value; the choices are land, land_sz"),
    (["seed=range(3,3)"], "seed=range(3,3): stands for no value"),
    (["lr=interval(0,1)"], "BasicSweeper"),
    (["data_root=glob(*)"], "data_root=glob(*): its values cannot be listed"),
    (["seed=1,1"], "--multirun: two runs would have the folder seed=1"),
    (["save_path=a,b"], "save_path=a,b: is where the folders of all runs go"),
    (["task=*", "save_path=${task}"], "save_path=${task}: the runs of a grid would go to several "
                                      "folders; give one folder for all with save_path="),
    (["seed=0,1", "--cfg", "job"], "Only one of --run, --multirun, --cfg, --info"),
    (["epochs=1,2"], "epochs=1,2: unknown key"),
    (["seed=0,1", "--fast"], "--fast: unknown option"),
])
def test_a_grid_is_checked_as_a_whole_before_it_starts(run, arguments, message):
    received, output, errors, code = run("data_root=D", *arguments)
    assert (received, code) == ([], 2)
    assert output.splitlines()[1:] == []  # Hydra's own sweeper says no after the first line
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1


def test_one_of_several_processes_makes_no_grid(run, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    received, _, errors, code = run("data_root=D", "seed=0,1")
    assert (received, errors.count("\n"), code) == ([], 1, 2)
    assert "torchrun" in errors


def test_a_program_without_folders_makes_a_grid_too(run):
    received, *_ = run("data_root=D", "seed=0,1", folder=None)
    assert [(cfg.seed, cfg.save_path) for cfg in received] == [(0, None), (1, None)]


@pytest.mark.parametrize("devices", ["devices='0,1'", "devices=2"])
def test_a_run_of_several_processes_would_start_the_grid_again(run, devices):
    received, _, errors, code = run("data_root=D", "seed=0,1", devices)
    assert (received, code) == ([], 2)
    assert "2 of 2 runs failed" in errors
    assert "add devices=1 num_nodes=1" in errors


@pytest.mark.parametrize("argument",
                         ["lr=1,2", "modality=image,fusion", "task=land,land_sz",
                          "seed=range(0,3)"])
def test_several_values_without_multirun_are_pointed_to_it(monkeypatch, capsys, argument):
    monkeypatch.setattr("sys.argv", ["probe.py", "data_root=D", argument])
    with pytest.raises(SystemExit):
        command(probe())(lambda cfg: None)()
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {argument}: ")
    assert "--multirun" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(("error", "message"), [
    (RoseError("a.tar: broken"), "a.tar: broken"),
    (OSError(28, "full", "/d"), "/d: full; free space, or give another path")])
def test_a_run_that_fails_is_named_and_loses_no_other(run, tmp_path, error, message):
    def main(cfg):
        if cfg.seed == 1 and cfg.lr == 1:
            raise error
        return Scored(0.5, {"r2": 0.5})
    received, _, errors, code = run("data_root=D", "seed=0,1", "lr=1,2", "save_path=P", main=main)
    assert (len(received), code) == (4, 2)
    assert errors.splitlines() == [
        f"Run 3 failed: {message}",
        f"error: 1 of 4 runs failed; the first of them seed=1,lr=1: {message}"]
    assert [(row["r2"], row["error"]) for row in rows(tmp_path / "P" / "grid.csv")] == [
        ("0.5", ""), ("0.5", ""), ("", message), ("0.5", "")]


def test_a_fault_of_the_program_leaves_a_row_and_its_traceback(run, tmp_path):
    def main(cfg):
        return Scored(1 / cfg.seed, {"r2": 1 / cfg.seed})
    with pytest.raises(ZeroDivisionError):
        run("data_root=D", "seed=0,1", "save_path=P", main=main)
    assert [row["error"] for row in rows(tmp_path / "P" / "grid.csv")] == [
        "ZeroDivisionError: division by zero", ""]


def test_a_run_that_ends_the_program_ends_the_grid(run):
    def main(cfg):
        raise SystemExit(0)  # as a run that was asked to stop does
    received, *_, code = run("data_root=D", "seed=0,1", main=main)
    assert (len(received), code) == (1, 0)


def test_every_run_finds_the_process_as_the_first_did(run, tmp_path):
    found, before = [], signal.getsignal(signal.SIGTERM)

    def main(cfg):
        found.append((torch.rand(1).item(), random.random(), os.environ.get("PL_GLOBAL_SEED"),
                      signal.getsignal(signal.SIGTERM),
                      torch.distributed.is_initialized()))
        os.environ["PL_GLOBAL_SEED"] = "3"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/{cfg.seed}",
                                             rank=0, world_size=1)
    *_, errors, code = run("data_root=D", "seed=0,1", main=main)
    assert (errors, code) == ("", 0)
    assert len(found) == 2
    assert found[0] == found[1]
    assert not found[0][-1]
    assert signal.getsignal(signal.SIGTERM) is before
