"""Paired differences between models, as a command and in a study's report; studies over folds."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.intervals import intervals, sampled_figures
from evaluation.tallies import TALLIES, Tallies
from studies import differences, modalities
from studies.differences import differences_of, mean_figures
from tests.evaluation.evaluating import write_lists
from tests.evaluation.tallying import estimated, evaluation_folder, names_of, segmented
from tests.pretrained import save_pretrained
from tests.random_tiles import random_tile, write_compact


def tell(monkeypatch, *overrides: str) -> None:
    monkeypatch.setattr(sys, "argv", ["differences.py", *overrides])
    differences.main()


def test_what_two_models_have_in_common_cancels():
    """Quarters that are hard for both make each interval wide, and not that of the difference."""
    names = names_of(16, 16)
    hard = np.array([10.0 * (number % 16 // 4 + number // 64) for number in range(256)])
    one, other = estimated(names, 5 + hard), estimated(names, 4 + hard)
    alone = intervals(sampled_figures([one]))["mae"]
    (found,), ends = differences_of({"a": [one], "b": [other]}, {"a": 5.0, "b": 4.0}, "mae", min)
    assert (found.cell, found.minus, found.figure) == ("b", "a", "mae")  # the better one first
    assert found.difference == -1
    assert found.interval == pytest.approx((-1, -1))
    assert found.real
    assert alone[1] - alone[0] > 5
    assert ends["a"]["mae"] == alone


def test_equal_models_do_not_differ_really_and_few_cells_are_all_compared():
    names = names_of(16, 16)
    runs = {cell: [segmented(names, 1.0, seed)] for seed, cell in enumerate("abc")}
    means = {cell: mean_figures(own)["miou"] for cell, own in runs.items()}
    found, _ = differences_of(runs, means, "miou")
    assert len(found) == 3
    assert not any(each.real for each in found)
    runs |= {"d": [segmented(names, 4.0)], "e": [segmented(names, 0.0)]}
    means = {cell: mean_figures(own)["miou"] for cell, own in runs.items()}
    found, _ = differences_of(runs, means, "miou")
    assert [(each.cell, each.minus) for each in found] == [("d", other) for other in "abce"]
    assert all(each.real and each.difference > 0 for each in found)


def test_cells_on_other_tiles_are_not_compared():
    here, there = (segmented(names_of(8, 8, city)) for city in ("lima", "oslo"))
    found, ends = differences_of({"a": [here], "b": [there]}, {"a": 0.5, "b": 0.6}, "miou")
    assert found == []
    assert ends.keys() == {"a", "b"}


def test_the_command(tmp_path, monkeypatch, capsys):
    names = names_of(12, 12)
    a = evaluation_folder(tmp_path / "a", segmented(names, 3.0), segmented(names, 3.0, seed=1))
    b = evaluation_folder(tmp_path / "b", segmented(names, 1.0))
    tell(monkeypatch, f"a={a}", f"b=[{b}]", f"out={tmp_path}/out")
    shown = capsys.readouterr().out
    assert ("a less b on the same 144 tiles; intervals over tiles and seeds, where there are "
            "several") in shown
    record = json.loads((tmp_path / "out" / "differences.json").read_text())
    (miou,) = [each for each in record["differences"] if each["figure"] == "miou"]
    assert miou["difference"] == pytest.approx(record["means"]["a"]["miou"]
                                               - record["means"]["b"]["miou"])
    assert miou["interval"][0] < miou["difference"] < miou["interval"][1]
    assert miou["real"]
    assert f"| mIoU      | +{miou['difference']:.4f} [" in shown
    assert (tmp_path / "out" / "differences.md").read_text().strip() in shown


def test_a_class_in_one_mean_alone_is_named(tmp_path, monkeypatch, capsys):
    names = names_of(12, 12)

    def run(seen: int) -> Tallies:
        """Tiles without roads, of which a model sees `seen` pixels in each."""
        made = segmented(names)
        counts = np.array([[8, 8 - seen, 0], [8, 8, 0], [8, 8 - seen, seen]], dtype=np.int32)
        return dataclasses.replace(made, values={
            **made.values, "counts": np.broadcast_to(counts, (len(names), 3, 3)).copy()})
    a = evaluation_folder(tmp_path / "a", run(0), run(2))
    b = evaluation_folder(tmp_path / "b", run(0))
    tell(monkeypatch, f"a={a}", f"b={b}")
    assert ("Note: IoU road is in the means of 50% of a's runs, and of 0% of b's: where no tile "
            "has the class, it is 0 for a model that predicts it") in capsys.readouterr().out
    tell(monkeypatch, f"a={b}", f"b={b}")
    assert "Note" not in capsys.readouterr().out


def _other_totals(tmp_path: Path) -> Path:
    run = estimated(names_of(6, 6))
    values = {name: value + 1 for name, value in run.values.items()}
    return evaluation_folder(tmp_path / "b", Tallies(run.names, run.cells, values))


def _other_protocol(tmp_path: Path) -> Path:
    run = dataclasses.replace(segmented(names_of(6, 6)), protocol="release")
    return evaluation_folder(tmp_path / "b", run)


def _other_places(tmp_path: Path) -> Path:
    run = segmented(names_of(6, 6))
    return evaluation_folder(tmp_path / "b", dataclasses.replace(run, cells=run.cells + 1))


def _made_before(tmp_path: Path) -> Path:
    folder = evaluation_folder(tmp_path / "b", estimated(names_of(6, 6)))
    (folder / "seed_0" / TALLIES).unlink()
    return folder


def _unfinished(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    return tmp_path / "b"


def _damaged(tmp_path: Path) -> Path:
    folder = evaluation_folder(tmp_path / "b", estimated(names_of(6, 6)))
    (folder / "seed_0" / TALLIES).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: evaluation_folder(path / "b", estimated(names_of(6, 5))),
     "b: measured other tiles: 36 and 30, 30 of them the same, expected the same; measure both"),
    (lambda path: evaluation_folder(path / "b", segmented(names_of(6, 6))),
     "are a regression of totals, and a segmentation of water, green, road, expected the same"),
    (_other_totals, "b: the tiles have other totals, expected the same target="),
    (_made_before, "b: seed 0 has no record of its tiles, as one made by an earlier version; run"),
    (_unfinished, "b/results.json: cannot be read (no such file or folder); give the folder"),
    (_damaged, "b/seed_0/tiles.safetensors: its SHA-256 is 2d711642..., expected "),
])
def test_what_cannot_be_compared_is_one_line(tmp_path, monkeypatch, capsys, make, message):
    a = evaluation_folder(tmp_path / "a", estimated(names_of(6, 6)))
    with pytest.raises(SystemExit) as end:
        tell(monkeypatch, f"a={a}", f"b={make(tmp_path)}")
    assert end.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert message in errors[0]


@pytest.mark.parametrize(("make", "message"), [
    (_other_protocol, "b: were judged with protocol=honest and release, which define IoU and F1"),
    (_other_places, "b: the same tiles lie in other places of their cities' grids"),
])
def test_segmentations_that_cannot_be_compared(tmp_path, monkeypatch, capsys, make, message):
    a = evaluation_folder(tmp_path / "a", segmented(names_of(6, 6)))
    with pytest.raises(SystemExit):
        tell(monkeypatch, f"a={a}", f"b={make(tmp_path)}")
    assert message in capsys.readouterr().err


def test_a_hard_fold_with_more_seeds_makes_no_difference():
    """Models that are equally good on every fold do not differ, whatever their numbers of seeds."""
    easy, hard = estimated(names_of(8, 8)), estimated(names_of(8, 8, "oslo"), 9.0)
    runs = {"a": [easy, hard, hard], "b": [easy, hard]}
    means = {name: mean_figures(own) for name, own in runs.items()}
    assert means["a"]["mae"] == pytest.approx(means["b"]["mae"]) == pytest.approx(5)
    one, other = (sampled_figures(own)["mae"] for own in runs.values())
    assert one == pytest.approx(other)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of modalities on twelve tiny tiles, which three folds divide."""
    root = write_compact(tmp_path / "tiles", [
        random_tile(f"lima_{n % 4}_{n // 4}", nodes=4, edges=3, side=32, targets=True)
        for n in range(12)])
    for fold in range(3):
        folder = root / f"fold-{fold + 1}-of-3"
        folder.mkdir()
        parts = [[4 * ((fold + shift) % 3) + n for n in range(4)] for shift in range(3)]
        write_lists(root, {f"{folder.name}/{name}": part for name, part in zip(
            ("test.txt", "val.txt", "osm-train-all.txt"), parts, strict=True)})
    torch.manual_seed(0)
    checkpoint = save_pretrained(tmp_path / "model_1.tar")
    for drawing in ("evaluation.results.save_pictures", "evaluation.job.write_report"):
        monkeypatch.setattr(drawing, lambda *_: None)

    def run(*overrides: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["modalities", f"data_root={root}", "image_size=32",
                                          f"checkpoint={checkpoint}", f"out={tmp_path}/out",
                                          "epochs=1", "batch_size=4", "num_workers=0",
                                          "accelerator=cpu", "seeds=[0]",
                                          "modalities=[image,fusion]", *overrides])
        modalities.main()
        return tmp_path / "out"
    return run


def test_a_study_over_folds_says_which_differences_are_real(study, capsys):
    out = study("folds=3")
    results = json.loads((out / "results.json").read_text())
    assert [cell["modality"] for cell in results["cells"]] == ["image", "fusion"]
    image = results["cells"][0]
    assert list(image["per_seed"]) == [f"0, fold {fold}/3" for fold in (1, 2, 3)]
    assert image["mean"]["miou"] == pytest.approx(
        np.mean([figures["miou"] for figures in image["per_seed"].values()]))
    assert image["reported_tiles"] == 12
    assert image["folders"] == [str(out / f"fold-{fold}-of-3" / "image") for fold in (1, 2, 3)]
    low, high = image["intervals"]["miou"]
    assert low <= image["mean"]["miou"] <= high
    (difference,) = results["differences"]
    assert difference.keys() == {"cell", "minus", "figure", "difference", "interval", "real"}
    assert {difference["cell"], difference["minus"]} == {"modality=image", "modality=fusion"}
    header, first, *_ = (out / "modalities.csv").read_text().splitlines()
    assert header.startswith("modality,fold,seed,epoch,miou")
    assert first.startswith("image,1/3,0,1,")
    text = (out / "modalities.md").read_text()
    assert "12 test tiles, mean ± std of 1 seed x 3 folds" in text
    assert "Which differences are real: those whose 95% interval, over tiles; one seed," in text
    assert results["seeds_drawn"] == [1]
    assert text.strip().splitlines()[-1].split("|")[-2].strip() in ("yes", "no")
    assert "difference [95% interval]" in capsys.readouterr().out


@pytest.mark.parametrize(("overrides", "message"), [
    (["folds=4"], "modality=image: fold=1/4: .* has no folder fold-1-of-4 with the fold's lists; "
                  "write those of all folds with `python -m datasets.splits data_path=.*tiles "
                  "split.fold=1/4`"),
    (["folds=2"], "folds=2: must be 3 or more and 20 or less"),
    (["fold=1/3"], "fold=1/3: the study sets fold itself, from folds=; give that key instead"),
])
def test_folds_that_are_not_there_are_one_line(study, capsys, overrides, message):
    with pytest.raises(SystemExit):
        study(*overrides)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert re.search(f"^error: {message}", errors[0])
