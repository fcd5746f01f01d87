"""What Hydra's users know works as they know it: flags, own configs, launchers and sweepers."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from evaluation.keys import SEGMENTATION
from training.keys import TRAIN
from utils.cli.command import command

ROOT = Path(__file__).resolve().parents[3]
PROBE = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
sys.path.insert(0, {root!r})
from utils.cli.command import command
from utils.cli.program import Scored, Program
from utils.config import key
from utils.errors import ConfigError

@dataclass
class ProbeConfig:
    lr: float = key(1.0, above=0)
    seed: int = key(0)
    wait: float = key(0.0)
    out: str = key("runs")

PROBE = Program("plain_probe", ProbeConfig, "A probe.", "python probe.py", folder=("", "out"))

@command(PROBE)
def main(cfg):
    done = Path(cfg.out, "done.txt")
    if cfg.seed == 3:
        raise ConfigError("seed=3: broken")
    if not done.exists():
        time.sleep(cfg.wait if cfg.seed == 2 else 0)
        done.write_text("done")
        print("worked", cfg.seed, flush=True)
    return Scored((cfg.lr - 1) ** 2, {{"error_of_lr": (cfg.lr - 1) ** 2}})

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def shown(monkeypatch, capsys, tmp_path):
    """Run a program's command line with a task that does nothing: its output and its errors."""
    monkeypatch.chdir(tmp_path)

    def _shown(program, *arguments, task=lambda cfg: None):
        monkeypatch.setattr("sys.argv", [f"{program.name}.py", *arguments])
        command(program)(lambda cfg: task(cfg))()
        return capsys.readouterr()
    return _shown


@pytest.fixture
def probe(tmp_path):
    """Run the probe's script in a process of its own."""
    (tmp_path / "probe.py").write_text(PROBE.format(root=str(ROOT)))

    def _probe(*arguments, **options):
        return subprocess.run([sys.executable, "probe.py", *arguments], cwd=tmp_path, text=True,
                              capture_output=True, check=False, timeout=120, **options)
    return _probe


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_cfg_shows_the_job_hydra_or_all(shown):
    job = OmegaConf.create(shown(TRAIN, "data_path=D", "lr=1", "--cfg", "job").out)
    assert (job.data_path, job.lr, "hydra" in job) == ("D", 1, False)
    assert OmegaConf.create(shown(TRAIN, "--cfg", "hydra").out).hydra.job.name == "train_rose"
    everything = OmegaConf.create(shown(TRAIN, "--cfg", "all").out)
    assert {"hydra", "lr"} <= set(everything)


def test_resolve_fills_in_what_values_refer_to(shown):
    arguments = ("experiment=sample", "save_root_dir=R", "--cfg", "job")
    assert "${save_root_dir}" in shown(TRAIN, *arguments).out
    assert OmegaConf.create(shown(TRAIN, *arguments, "--resolve").out).data_path == (
        "R/sample_city_12/tiles")
    assert shown(TRAIN, "lr=3", "--cfg", "job", "--package", "lr").out.split()[-1] == "3.0"


@pytest.mark.parametrize(("what", "text"), [
    ("defaults", "experiment/sample"), ("searchpath", str(ROOT / "configs" / "train_rose"))])
def test_info_says_where_values_come_from(what, text):
    done = subprocess.run(
        [sys.executable, "train_rose.py", "experiment=sample", "--info", what], cwd=ROOT,
        capture_output=True, text=True, check=True)
    assert text in done.stdout


def test_own_experiments_and_configs_come_from_a_folder_of_ones_own(shown, tmp_path):
    own = tmp_path / "own"
    (own / "experiment").mkdir(parents=True)
    (own / "experiment" / "fast.yaml").write_text("# @package _global_\nbatch_size: 3\nlr: 0.5\n")
    (own / "mine.yaml").write_text("defaults: [train_rose, _self_]\nbatch_size: 5\n")
    received = []
    shown(TRAIN, "data_path=D", "--config-dir", str(own), "experiment=fast", "lr=1",
          task=received.append)
    shown(TRAIN, "data_path=D", "--config-dir", str(own), "--config-name", "mine",
          task=received.append)
    assert [(cfg.batch_size, cfg.lr) for cfg in received] == [(3, 1.0), (5, None)]


def test_a_config_of_ones_own_implies_nothing_and_has_the_programs_folders(shown, tmp_path):
    (tmp_path / "mine.yaml").write_text("defaults: [evaluate_seg_fusion, _self_]\ndata_root: D\n")
    (tmp_path / "bare.yaml").write_text("data_root: D\ntask: own\nsave_path: B\n")
    received = []
    for name in ("mine", "bare"):
        shown(SEGMENTATION, "--config-dir", str(tmp_path), "--config-name", name,
              task=received.append)
    assert [(cfg.data_root, cfg.batch_size, cfg.epochs) for cfg in received] == [("D", 16, 30)] * 2
    assert [cfg.save_path for cfg in received] == [None, "B"]
    assert Path("runs/seg_fusion_finetune/.hydra/config.yaml").is_file()
    assert Path("B/.hydra/config.yaml").is_file()
    shown(SEGMENTATION, "--config-dir", "B/.hydra", "--config-name", "config",
          task=received.append)
    assert received[2] == received[1]


def test_an_experiment_without_its_package_is_one_line(capsys, monkeypatch, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "fast.yaml").write_text("lr: 1\n")
    monkeypatch.setattr("sys.argv", ["train_rose.py", "data_path=D", "experiment=fast",
                                     "--config-dir", str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        command(TRAIN)(lambda cfg: pytest.fail("ran"))()
    assert capsys.readouterr().err == (
        "error: experiment/fast: has no `# @package _global_`; add it as the first line\n")


@pytest.mark.parametrize(("text", "message"), [
    ("bath_size: 3\n", "experiment/fast: bath_size=...: unknown key; did you mean batch_size?"),
    ("batch_size: many\n", "{file}: batch_size=many: expected a whole number"),
    ("batch_size: 0\n", "batch_size=0: must be 1 or more"),
    ("batch_size: [\n", "{file}: the content is no YAML (line 3: "),
    ("compile: 2\n", "{file}: compile=2: expected true or false"),
    ("save_dir: 2024-01-01\n", "{file}: save_dir=2024-01-01: expected text"),
    ("schedule: [[1]]\n", "{file}: schedule=[[1]]: expected a list"),
    ("- a\n", "{file}: the content is [\"a\"], expected null or a table"),
    ("lr: ${nope}\n", "lr=${nope}: cannot be used (Interpolation key 'nope' not found)"),
    ("1: 2\n", "experiment/fast: 1=...: unknown key"),
    ("lr: \xe4\n".encode("latin-1"), "{file}: the content is no text in UTF-8"),
    (b"\x00\xff\xfe", "{file}: the content is no text in UTF-8"),
    ("lr: !!python/object/apply:os.mkdir [made]\n",
     "{file}: the content is no YAML (line 2: could not determine"),
    ("hydra: {job_logging: {handlers: {x: {(): os.mkdir, path: made}}}}\n",
     "{file}: (): os.mkdir would run code"),
    ("x: {_target_: os.mkdir}\n", "{file}: _target_: os.mkdir would run code"),
    ("x: &a os.mkdir\ny: &b _target_\n? *b\n: *a\n", "{file}: _target_: os.mkdir would run code"),
    ("lr: " + "[" * 5000 + "\n", "{file}: the content is nested too deeply"),
    ("lr: &a [*a]\n",
     "{file}: the content is nested too deeply or repeats itself"),
    ("lr: '" + "a" * 2_000_000 + "'\n", "{file}: is larger than 1048576 bytes"),
    ("defaults: [/experiment: fast]\n", "the config files refer to one another without end"),
])
def test_what_is_wrong_in_an_own_experiment_is_one_line(capsys, monkeypatch, tmp_path, text,
                                                        message):
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "fast.yaml"
    text = text if isinstance(text, bytes) else text.encode()
    file.write_bytes(b"# @package _global_\n" + text)
    monkeypatch.setattr("sys.argv", ["train_rose.py", "data_path=D", "experiment=fast",
                                     "--config-dir", str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        command(TRAIN)(lambda cfg: pytest.fail("ran"))()
    errors = capsys.readouterr().err
    assert (stop.value.code, errors.count("\n")) == (2, 1), errors
    assert errors.startswith(f"error: {message}".replace("{file}", str(file)))
    assert not (tmp_path / "made").exists()


def test_code_in_any_file_of_the_folder_is_refused(capsys, monkeypatch, tmp_path):
    (tmp_path / "hydra" / "job_logging").mkdir(parents=True)
    (tmp_path / "hydra" / "job_logging" / "x.yaml").write_text("{a: {class: os.mkdir}}\n")
    monkeypatch.setattr("sys.argv", ["train_rose.py", "data_path=D", "--config-dir",
                                     str(tmp_path)])
    with pytest.raises(SystemExit):
        command(TRAIN)(lambda cfg: pytest.fail("ran"))()
    assert "class: os.mkdir would run code" in capsys.readouterr().err


def test_shell_completion_is_installed_and_asked(shown, monkeypatch):
    assert "complete " in shown(TRAIN, "-sc", "install=bash").out
    monkeypatch.setenv("COMP_LINE", "python train_rose.py experiment=s")
    monkeypatch.setenv("COMP_POINT", "33")
    assert "experiment=sample" in shown(TRAIN, "-sc", "query=bash").out


def test_keys_are_added_forced_and_removed_in_hydras_way(shown):
    received = []
    shown(TRAIN, "data_path=D", "++lr=0.5", "~batch_size", task=received.append)
    shown(SEGMENTATION, "data_root=D", "~task", task=received.append)
    assert (received[0].lr, received[0].batch_size) == (0.5, 64)
    assert received[1].task == "own"


def test_the_folder_of_a_run_holds_hydras_record_of_it(shown):
    received = []
    shown(TRAIN, "data_path=D", "lr=0.5", "save_dir=mine", task=received.append)
    folder = Path("runs/mine/.hydra")
    assert OmegaConf.load(folder / "config.yaml").lr == 0.5
    assert OmegaConf.load(folder / "overrides.yaml") == ["data_path=D", "lr=0.5", "save_dir=mine"]
    assert OmegaConf.load(folder / "hydra.yaml").hydra.job.name == "train_rose"
    shown(TRAIN, "data_path=D", "hydra.run.dir=else/where", task=received.append)
    assert (received[1].save_root_dir, Path(received[1].save_dir)) == ("runs",
                                                                       Path("else/where").resolve())
    assert Path("else/where/.hydra/config.yaml").is_file()


def test_a_refused_run_leaves_the_record_of_the_run_before(probe, tmp_path):
    assert probe("seed=1", "out=R").returncode == 0
    assert probe("seed=3", "out=R").returncode == 2
    assert OmegaConf.load(tmp_path / "R" / ".hydra" / "config.yaml").seed == 1
    assert probe("seed=3", "out=new").returncode == 2
    assert not (tmp_path / "new").exists()


def test_the_working_folder_stays(shown, tmp_path):
    folders = []
    shown(TRAIN, "data_path=D", task=lambda cfg: folders.append(os.getcwd()))
    assert folders == [str(tmp_path)]


@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_grid_runs_with_any_launcher(probe, tmp_path, launcher):
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher",
                            reason="pip install -r requirements-optional.txt")
    done = probe("--multirun", "seed=1,3,4", f"hydra/launcher={launcher}", "out=G")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: 1 of 3 runs failed; the first of them seed=3: seed=3: broken")
    assert [(row["seed"], row["error_of_lr"], row["error"]) for row in rows(
        tmp_path / "G" / "grid.csv")] == [("1", "0.0", ""), ("3", "", "seed=3: broken"),
                                          ("4", "0.0", "")]
    assert (tmp_path / "G" / "seed=4" / ".hydra" / "config.yaml").is_file()


def test_hydras_mode_makes_a_grid_as_multirun_does(probe, tmp_path):
    assert probe("hydra.mode=MULTIRUN", "seed=1,3", "out=M").returncode == 2
    assert [row["seed"] for row in rows(tmp_path / "M" / "grid.csv")] == ["1", "3"]


def test_a_sweeper_optimises_the_score(probe, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper",
                        reason="pip install -r requirements-optional.txt")
    done = probe("--multirun", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3",
                 "hydra.sweeper.sampler.seed=0", "lr=interval(0.5,2)", "out=O")
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "O" / "grid.csv")
    best = min(found, key=lambda row: float(row["error_of_lr"]))
    results = OmegaConf.load(tmp_path / "O" / "optimization_results.yaml")
    assert len(found) == 3
    assert results.best_params.lr == pytest.approx(float(best["lr"]))


def test_a_killed_grid_continues_where_it_was(probe, tmp_path):
    arguments = ["--multirun", "seed=1,2", "wait=60", "out=K"]
    (tmp_path / "probe.py").write_text(PROBE.format(root=str(ROOT)))
    process = subprocess.Popen([sys.executable, "probe.py", *arguments], cwd=tmp_path,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "K" / "seed=2").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [row["seed"] for row in rows(tmp_path / "K" / "grid.csv")] == ["1"]
    done = probe("--multirun", "seed=1,2", "wait=0", "out=K")
    assert "worked 1" not in done.stdout
    assert "worked 2" in done.stdout
    assert [row["seed"] for row in rows(tmp_path / "K" / "grid.csv")] == ["1", "2"]


@pytest.mark.parametrize("arguments", [("--help",), ("bath_size=3",), ("batch_size=many",)])
def test_the_command_line_answers_without_the_networks_libraries(arguments):
    code = (f"import runpy, sys; sys.argv = ['train_rose.py', *{arguments!r}]\n"
            "try:\n    runpy.run_path('train_rose.py', run_name='__main__')\n"
            "except SystemExit:\n    pass\n"
            "print([name for name in ('torch', 'timm', 'torch_geometric', 'rasterio', 'geopandas', "
            "'matplotlib', 'pandas') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.splitlines()[-1] == "[]"


