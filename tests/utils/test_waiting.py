"""Threads that wait sleep: OpenMP is told so before torch is loaded, whatever is imported first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# says how threads wait as soon as torch is about to be loaded
WATCH = """
import importlib, os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            os.write(1, os.environ.get("OMP_WAIT_POLICY", "not told").encode())
            os._exit(0)
sys.meta_path.insert(0, Watch())
module, name = sys.argv[1].split(":")
getattr(importlib.import_module(module), name)
importlib.import_module("torch")
"""
ENTRIES = ("datasets:TileDataset", "models:Rose", "inference:map_scene", "train_rose:main",
           "evaluate_seg_fusion:main", "predict_scene:main", "studies.modalities:main")


@pytest.mark.parametrize(("entry", "told"), [*((entry, None) for entry in ENTRIES),
                                             ("models:Rose", "ACTIVE")])
def test_threads_sleep_unless_the_user_says_otherwise(entry, told):
    others = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    run = subprocess.run([sys.executable, "-c", WATCH, entry], cwd=ROOT, capture_output=True,
                         text=True, check=True,
                         env=others | ({"OMP_WAIT_POLICY": told} if told else {}))
    assert run.stdout == (told or "PASSIVE"), run.stderr
