"""Folders that no page can be made of: one line that names the file, what was expected and the
remedy, and exit code 2."""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import make_report
from tests.reports.folders import (
    attention_study,
    benchmark,
    claims,
    grid,
    pretraining,
    regression,
    scene,
    segmentation,
    study,
)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text)


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
    return change


@pytest.mark.parametrize(("make", "damage", "message"), [
    (scene, remove("scene.json"),
     ["holds no run", "scene.json", "results.json", "loss_record.txt"]),
    (scene, write("scene.json", '{"kind": "land_use"'),
     ["scene.json", "no JSON", "the layers of a scene", "again"]),
    (scene, write("scene.json", "[]"), ["scene.json", "the content is [], expected a table"]),
    (scene, write("scene.json", "{}"), ["scene.json", "size_metres"]),
    (scene, replace("scene.json", "400.0, 200.0", "0, 200.0"),
     ["scene.json", "size_metres 0 x 200"]),
    (scene, replace("scene.json", "#4a98d3", "red;background:url(x)"),
     ["scene.json", "not of the form #4a98d3"]),
    (scene, replace("scene.json", '["south", null, "1%"]', '["south"]'), ["scene.json", "Zones"]),
    (scene, remove("figures/map.png"), ["figures/map.png", "missing", "expected a picture"]),
    (pretraining, write("figures/loss.svg", "<svg>"),
     ["figures/loss.svg", "no <svg> with a viewBox", "expected a picture"]),
    (scene, write("figures/map.png", "no picture"),
     ["figures/map.png", "cannot identify image file", "expected a picture"]),
    (pretraining, remove("config.yaml"), ["config.yaml", "missing", "the keys of the run"]),
    (pretraining, write("config.yaml", "lr: [1"), ["config.yaml", "no YAML (line 1: "]),
    (pretraining, write("metrics.csv", "epoch,step\n1,2\n"), ["metrics.csv", "global_step"]),
    (pretraining, write("metrics.csv", "\x00"), ["metrics.csv"]),
    (pretraining, replace("attention.json", "rose-attention-1", "rose-attention-9"),
     ["attention.json", "format rose-attention-9"]),
    (pretraining, replace("attention.json", '"objects"', '"others"'),
     ["attention.json", "objects"]),
    (pretraining, write("reconstruction.json", "{}"), ["reconstruction.json", "tiles"]),
    (segmentation, replace("results.json", '"mean"', '"average"'),
     ["results.json", "mean", "the results of an evaluation"]),
    (segmentation, replace("results.json", '"remarks"', '"bootstrap": {"side": 2}, "remarks"'),
     ["results.json", "bootstrap.blocks is missing"]),
    (segmentation, remove("seed_1/results.json"), ["seed_1/results.json", "missing"]),
    (segmentation, replace("seed_0/results.json", ", [0, 0, 0]]", "]"),
     ["seed_0/results.json", "a confusion of 2 rows for 3 classes"]),
    (regression, write("seed_0/predictions.csv", "tile,true,estimate\na,1,many\n"),
     ["predictions.csv", "many"]),
    (study, replace("results.json", '"mean"', '"average"'),
     ["results.json", "cells[0].mean is missing", "the results of a study"]),
    (study, replace("results.json", '"train": 6', '"train": "six"'),
     ["results.json", 'cells[0].tiles.train is "six"']),
    (attention_study, replace("results.json", '"head": 0', '"head": -1'),
     ["results.json", "heads[0].head is -1"]),
    (claims, replace("results.json", '"interval": [-0.2, -0.05]', '"interval": [-0.2]'),
     ["results.json", "claims[0].interval is [-0.2], expected", "the verdicts on claims", "again"]),
    (claims, replace("results.json", '"difference": null', '"difference": "much"'),
     ["results.json", 'claims[1].difference is "much", expected']),
    (claims, replace("results.json", '"seeds": [1]', '"seeds": [0]'),
     ["results.json", "claims[0].seeds[0] is 0, expected a whole number of 1 or more"]),
    (claims, replace("results.json", '"measured"', '"others"'),
     ["results.json", "measured is missing"]),
    (benchmark, replace("results.json", '"rows": [["lima", ', '"rows": [[3, '),
     ["results.json", "tables[0].rows[0][0] is 3, expected", "the results of the benchmark"]),
    (benchmark, replace("results.json", '"rows": [["lima", ', '"rows": [['),
     ["results.json", 'tables[0].rows[0] is ["0.300 [0.250, 0.350]"], expected 2 values',
      "the results of the benchmark", "again"]),
    (benchmark, replace("results.json", '"header": ["model", "lima"]', '"header": []'),
     ["results.json", "tables[0].header is [], expected"]),
    (benchmark, replace("results.json", '"head": ["Made by `python -m lima`: lima"]',
                        '"head": "text"'), ["results.json", 'head is "text", expected a list']),
    (benchmark, replace("results.json", '"note"', '"notes"'),
     ["results.json", "tables[0].note is missing"]),
    (benchmark, replace("results.json", '["lima_labels"]', '["../lima_labels"]'),
     ["results.json", "figures[0] is", "../lima_labels"]),
    (benchmark, write("figures/lima_labels.png", "no picture"),
     ["figures/lima_labels.png", "cannot identify image file"]),
    (grid, write("run_1/.hydra/grid_row.json", "[" * 5000), ["grid_row.json", "too deeply"]),
    (grid, replace("run_1/.hydra/grid_row.json", '"number": 1', '"number": "x"'),
     ["grid_row.json", 'number is "x"', "make the grid again"]),
    (pretraining, write("config.yaml", "a: &a [*a]\n"), ["config.yaml", "repeats itself"]),
    (pretraining, write("config.yaml", "a: !!python/object/apply:os.mkdir [x]\n"),
     ["config.yaml", "could not determine a constructor"]),
    (pretraining, write("config.yaml", "[" * 5000), ["config.yaml", "nested too deeply"]),
    (pretraining, write("config.yaml", "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
        for before, name in pairwise("abcdefgh"))), ["config.yaml", "repeats itself"]),
    (pretraining, write("attention.json", "[" * 5000), ["attention.json", "nested too deeply"]),
    (scene, replace("scene.json", "400.0, 200.0", "NaN, 200.0"), ["scene.json", "size_metres"]),
    (scene, replace("scene.json", "400.0, 200.0", f"1{'0' * 400}, 200.0"), ["scene.json"]),
])
def test_damaged_folders_end_with_one_line(tmp_path, monkeypatch, capsys, make, damage, message):
    folder, page = make(tmp_path / "run"), tmp_path / "page.html"
    page.write_text("an older page")
    damage(folder)
    monkeypatch.setattr(sys, "argv", ["make_report.py", str(folder), f"out={page}"])
    with pytest.raises(SystemExit) as stopped:
        make_report.main()
    out, err = capsys.readouterr()
    assert stopped.value.code == 2
    assert out == "Loading libraries\n"
    assert err.startswith(f"error: {folder}")
    assert err.count("\n") == 1
    assert [words for words in message if words not in err] == []
    assert page.read_text() == "an older page"


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere"], "nowhere: no such folder"), (["{seed}"], "this is one seed of {run}"),
    (["runs=[]"], "no folder given"),
    ([], "runs: no value given"),
    (["{run}", "colour=red"], "colour=red: unknown key"),
    (["{vectors}"], "{vectors}: holds features but no picture of them, expected scene.json; "
                    "extract_features.py makes one"),
    (["{cities}"], "{cities}: holds features but no picture of them, expected scene.json; "
                   "give the folders of its cities in it, lima, oslo"),
])
def test_bad_commands_end_with_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    run = segmentation(tmp_path / "run")
    for folder in ("vectors", "cities"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "features.json").write_text("{}")
    for city in ("oslo", "lima"):
        scene(tmp_path / "cities" / city)
    names = {"run": run, "seed": run / "seed_0", "vectors": tmp_path / "vectors",
             "cities": tmp_path / "cities"}
    given = [argument.format(**names) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["make_report.py", *given, f"out={tmp_path / 'page.html'}"])
    with pytest.raises(SystemExit) as stopped:
        make_report.main()
    assert stopped.value.code == 2
    assert message.format(**names) in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
