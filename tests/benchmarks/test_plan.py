"""What bounds a pretraining, and the figures of docs/scaling.md."""

import re
from pathlib import Path

import pytest

from benchmarks import cost, plan
from models import build_rose
from tests.pages import joined

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "scaling.md").read_text(
    encoding="utf-8")
MEASURED = ["--step", "500", "--worker", "100", "--stored", "100000"]


@pytest.mark.parametrize(("arguments", "name", "rate"), [
    ([], "step", 500),
    (["--workers", "4"], "decode", 400),
    (["--disk", "10"], "disk", 100),
    (["--gpus", "4", "--network", "1"], "network", 2 / 3 * 256 / (1.5 * 412_670_560 * 8 / 1e9)),
    (["--gpus", "1", "--network", "0.001"], "step", 500),
])
def test_the_least_of_all_binds(arguments, name, rate):
    read = plan.read(["--tiles", "1e6", "--gpus", "2", "--network", "100", *MEASURED, *arguments])
    assert plan.bound(read) == (name, pytest.approx(rate))
    assert plan.days(read) == pytest.approx(1e6 * 120 / (read.gpus * rate) / 86_400)


def test_no_rate_is_made_up(capsys):
    with pytest.raises(SystemExit):
        plan.read(["--tiles", "1e6", "--gpus", "2"])
    assert "required: --step, --worker, --stored" in capsys.readouterr().err


def test_the_parameters_are_those_of_the_network():
    assert sum(parameter.numel() for parameter in build_rose().parameters()) == plan.PARAMETERS


def test_the_page_shows_what_its_commands_print():
    outputs = re.findall(r"^    python benchmarks/plan.py (.*)\n\n((?:\|.*\n)+\n.*\n.*\n)",
                         joined(PAGE), re.MULTILINE)
    assert len(outputs) == 3
    for arguments, shown in outputs:
        assert shown == "\n".join(plan.lines(plan.read(arguments.split()))) + "\n", arguments


def test_the_page_shows_the_multiplications():
    parts = cost.forward_flops(cost.Encoder(), cost.Load())
    shown = [float(value) for value in re.findall(r"\| (\d+\.\d{3}) \| +\d", PAGE)]
    assert shown == [round(value / 1e9, 3) for value in [*parts.values(), sum(parts.values())]]
    assert f"{cost.training_flops(cost.Encoder(), cost.Load()) / 1e9:.1f} GFLOP a tile" in PAGE
