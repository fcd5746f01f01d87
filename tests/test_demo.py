"""The commands of `make demo` are such as the scripts take."""

import re
import shlex
import subprocess
from pathlib import Path

from evaluation.keys import RegressionConfig, SegmentationConfig
from inference.keys import ExtractConfig, PredictConfig
from reports.keys import MakeReportConfig
from training.keys import TrainConfig
from utils.cli.compose import read
from utils.cli.program import PROGRAMS

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = {"train_rose": TrainConfig, "evaluate_seg_fusion": SegmentationConfig,
           "evaluate_pop_fusion": RegressionConfig,
           "predict_scene": PredictConfig, "extract_features": ExtractConfig,
           "make_report": MakeReportConfig}


def test_every_command_is_understood_and_takes_what_one_before_it_made():
    said = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True,
                          check=True).stdout
    commands = [shlex.split(line)[1:] for line in said.splitlines()
                if re.match(r"\S*python \w+\.py ?", line)]
    assert {Path(script).stem for script, *_ in commands} == set(SCHEMAS)
    # where the first three say they write
    made = {"runs/sample", "runs/sample_seg_fusion_finetune", "runs/sample_pop_fusion_finetune"}
    for script, *arguments in commands:
        name = Path(script).stem
        runs = [argument for argument in arguments if "=" not in argument]
        keyed = [argument for argument in arguments
                 if "=" in argument] + ([f"runs=[{','.join(runs)}]"] if runs else [])
        cfg = read(PROGRAMS[name], *keyed)
        needed = {*runs,
                  *([cfg.checkpoint] if name in ("predict_scene", "extract_features") else [])}
        assert needed <= made, f"{script}: {needed - made}"
        if name in ("predict_scene", "extract_features"):
            made.add(cfg.out)
