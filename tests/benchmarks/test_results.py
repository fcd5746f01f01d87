"""Every benchmark runs, on tiny networks and cities, and its tables have every row."""

import importlib
import sys
from pathlib import Path

import pytest

from benchmarks import all as everything
from benchmarks import gpu, step_time
from benchmarks.machine import about_machine

ROOT = Path(__file__).resolve().parent.parent.parent
ROWS = {
    "step_time": ["plain ViT, fp32", "Rose's kernels", "plain ViT, bf16", "Rose, 10 nodes, fp32",
                  "Rose, 60 nodes, fp32",
                  "Rose, 60 nodes, bf16", "Rose, 60 nodes, fp32, compiled",
                  "Rose, 60 nodes, bf16, compiled", "activations again",
                  "land use, global fusion, 60 nodes", "land use, fine fusion, 60 nodes",
                  "population, global fusion, 60 nodes"],
    "encoders": ["plain pass, s", "step, own", "test_vit2"],
    "cost": ["ViT, whole image", "forward and backward", "PyTorch's count",
             "to the device, a tile", "AdamW's two moments", "64 GPUs"],
    "loader": ["compact", "release"],
    "prepare": ["relations of 400 objects", "1 process", "2 processes", "A tile of 4 x 4"],
    "scene": ["classes, overlap 0.5", "classes, overlap 0, probabilities", "totals", "features",
              "500 x 125", "500 x 500"],
    "accel": ["torch-scatter"],
    "sample_run": ["32-true", "bf16-mixed"],
    "threads": ["test_vit", "spin", "sleep"],
    "fine_fusion": ["land use, fine fusion, 60 nodes"],
    "linear_probe": ["times faster"],
    "gpu": [*(row.name for row in gpu.ROWS), "matrix peak measured", "calls a step"],
}


@pytest.fixture(autouse=True)
def compiled(monkeypatch) -> list:
    """The networks that a benchmark would compile; compiling them takes longer than all the
    rest."""
    networks: list = []
    monkeypatch.setattr("models.compiled.compile_network", networks.append)
    monkeypatch.setattr(gpu, "compile_network", networks.append)
    step_time.rose_of.cache_clear()
    return networks


@pytest.mark.parametrize("name", ROWS)
def test_a_trial_has_every_row(name, compiled):
    text = "\n".join(importlib.import_module(f"benchmarks.{name}").results(True))
    for row in ROWS[name]:
        assert row in text, f"{name}: no {row!r} in\n{text}"
    assert bool(compiled) == (name in ("step_time", "gpu"))


def test_the_page_is_made_of_all_sections():
    assert set(everything.SECTIONS) <= set(ROWS)
    sections = {name: [f"what {name} found"] for name in everything.SECTIONS}
    page = everything.document(about_machine(), sections, quick=False)
    assert page.startswith("# Results of the benchmarks\n")
    for name, heading in everything.SECTIONS.items():
        assert f"## {heading}\n\n`python benchmarks/{name}.py`\n\nwhat {name} found\n" in page
    assert "mean nothing" not in page
    assert "mean nothing" in everything.document([], sections, quick=True)


def test_the_machine_is_described_without_its_name():
    described = "\n".join(about_machine())
    for fact in ("Processor: ", " cores", "Memory: ", "GPU: ", "Python 3.", "torch 2.",
                 "torch_geometric 2."):
        assert fact in described
    assert str(ROOT) not in described
    assert "/" not in described


def test_the_gpu_benchmark_says_when_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match=(r"^benchmarks/gpu.py: no CUDA GPU is available; "
                                          r".* pass --device cpu ")):
        gpu.main()
