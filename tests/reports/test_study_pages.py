"""Pages that compare models: signs, matrices, intervals, differences, and folders of studies that
no page can be made of."""

import json
import re
import sys
from pathlib import Path

import pytest

import make_report
from reports.comparison import Compared, Estimate, comparison, matrices
from tests.reports.folders import HOSTILE, segmentation, square_grid, study, wide_study
from tests.reports.test_pages import page_of


def rows(markup: str) -> list[str]:
    """The texts of a table's rows."""
    return [" ".join(re.sub("<[^>]+>", " ", row).split()) for row in markup.split("<tr>")[1:]]


def models(*cells: tuple[str, str, float]) -> list[Compared]:
    return [Compared({"modality": modality, "ratio": ratio}, {"miou": Estimate(value)}, str(place))
            for place, (modality, ratio, value) in enumerate(cells, 1)]


def test_a_matrix_names_the_best_of_each_column():
    table = matrices(models(("image", "0", 0.5), ("image", "1", 0.4), ("fusion", "0", 0.6),
                            ("fusion", "1", 0.3)), [{}] * 4, ["miou"])
    assert rows(table) == ["modality 0 1", "image 0.5000 ★ 0.4000", "fusion ★ 0.6000 0.3000"]


def test_keys_that_change_together_are_one_axis_and_models_stand_below_each_other():
    found = [Compared({"train_file": f"list{size}", "train_tiles": size, "mode": mode},
                      {"r2": Estimate(value)}, "-")
             for size, mode, value in (("2", "finetune", 0.1), ("2", "scratch", 0.2),
                                       ("8", "finetune", 0.4), ("8", "scratch", 0.3))]
    assert rows(matrices(found, [{}] * 4, ["r2"])) == [
        "mode list2, 2 list8, 8", "finetune 0.1000 ★ 0.4000", "scratch ★ 0.2000 0.3000"]


@pytest.mark.parametrize("cells", [
    [("image", "0", 0.1), ("fusion", "0", 0.2)],
    [("image", "0", 0.1), ("image", "1", 0.2), ("fine", "2", 0.2), ("osm", "2", 0.2),
     ("osm", "2", 0.3)],  # two of the same keys
    []])
def test_there_is_no_matrix_of_other_models(cells):
    assert matrices(models(*cells), [{}] * len(cells), ["miou"]) is None


def test_lower_is_better_of_errors_and_undefined_figures_win_nothing():
    found = [Compared({"n": name}, {"mae": Estimate(value)}, name)
             for name, value in (("a", 3.0), ("b", float("nan")), ("c", 1.0), ("d", 1.0))]
    assert rows(comparison(found, [], ["mae"], "model"))[1:] == [
        "a a 3.000", "b b -", "c c ★ 1.000", "d d ★ 1.000"]


def test_a_wide_study_says_what_beats_rose_and_which_differences_are_real(tmp_path):
    text = page_of(wide_study(tmp_path / "run")).text
    for words in ("modality down, remove ratio across",
                  "osm_raster 0.4000 ± 0.0100 [0.3000, 0.5000] ▲ ★ 0.3500 ± 0.0100",
                  "fusion ★ 0.6000 ± 0.0100 [0.5000, 0.7000] 0.3000", "image - -",
                  "without a model: class prior 0.1000 ▲ ★ 0.5000",
                  "▲ better than Rose", "in brackets the 95 % interval",
                  "1 of 2 differences in mIoU are real",
                  "modality=osm_raster modality=fusion -0.2000 real [-0.3000, -0.1000]",
                  "modality=osm_raster modality=image - may be chance -",
                  "In F1", "+0.01000 may be chance", "lr=1e-4",
                  "of one model alone (modality fusion, remove ratio 0.5)"):
        assert words in text, words


def test_rose_is_what_is_pretrained_where_anything_is(tmp_path):
    folder = study(tmp_path / "run")
    record = json.loads((folder / "results.json").read_text())
    for cell, mode in zip(record["cells"], ("finetune", "scratch"), strict=True):
        cell.update(modality="fusion", mode=mode, train_tiles=4)
    (folder / "results.json").write_text(json.dumps(record))
    assert "2 scratch ▲ ★ 0.5000 ± 0.0100" in page_of(folder).text


def test_a_study_finds_its_runs_wherever_it_lies_and_no_others(tmp_path):
    folder = study(tmp_path / "elsewhere" / "while_training")
    (tmp_path / "elsewhere" / "model").mkdir()
    (tmp_path / "outside").mkdir()
    for name in ("elsewhere/model", "outside"):
        (tmp_path / name / "report.html").write_text("a page")
    record = json.loads((folder / "results.json").read_text())
    record["cells"][0]["folders"] = ["runs/x/model"]                     # beside the study's
    record["cells"][1]["folders"] = ["../../outside", str(tmp_path / "outside")]
    (folder / "results.json").write_text(json.dumps(record))
    links = {link["href"] for link in page_of(folder).of("a") if link["href"][0] != "#"}
    assert links == {"../model/report.html"}


def test_a_study_over_folds_says_how_many_tiles_all_have_and_links_their_runs(tmp_path):
    folder = study(tmp_path / "run")
    record = json.loads((folder / "results.json").read_text())
    record["config"] |= {"seeds": [0], "folds": 2}
    record["how"] = "from scratch"
    for cell in record["cells"]:
        cell["reported_tiles"] = 5
        cell["evaluation"]["fold"] = "1/2"
        cell["folders"] = ["elsewhere/run/fold-1-of-2/model_0"]
    own = folder / "fold-1-of-2" / "model_0" / "report.html"
    own.parent.mkdir(parents=True)
    own.write_text("beside model_0, of a study without folds")
    (folder / "results.json").write_text(json.dumps(record))
    page = page_of(folder)
    for words in ("land use (from scratch), trained on 6 tiles, measured on 5 test tiles",
                  "standard deviation of 1 seed x 2 folds",
                  "tiles of fold 1/2"):
        assert words in page.text, words
    links = {link["href"] for link in page.of("a") if link["href"][0] != "#"}
    assert links == {"../run/fold-1-of-2/model_0/report.html"}


def test_a_grid_of_two_keys_has_a_matrix(tmp_path):
    text = page_of(square_grid(tmp_path / "grid")).text
    assert "lr 8 16 1 0.1000 ± 0.0100 0.2000 ± 0.0100 2 ★ 0.4000 ± 0.0100 ★ 0.3000" in text


def test_names_of_a_wide_study_are_text(tmp_path):
    page = page_of(wide_study(tmp_path / "run", HOSTILE))
    assert len(page.of("script")) == 1
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert " ".join(HOSTILE.split()) in page.text


def unfinished(folder: Path) -> Path:
    segmentation(folder / "fusion")
    (folder / "image" / "seed_0").mkdir(parents=True)
    return folder


def damaged(old: str, new: str):
    def make(folder: Path) -> Path:
        path = wide_study(folder) / "results.json"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        return folder
    return make


@pytest.mark.parametrize(("make", "message"), [
    (unfinished, "{run}: a study that is not finished, expected results.json beside the runs of "
                 "its 2 models; give its command again, which continues"),
    (damaged('"real": true', '"real": 1'),
     "differences[0].real is 1, expected true or false"),
    (damaged("[-0.3, -0.1]", "[-0.3]"), "differences[0].interval is [-0.3], expected"),
    (damaged('"f1": [0.4, 0.5]', '"f1": "wide"'),
     'intervals.f1 is "wide", expected a list or null'),
])
def test_a_study_that_no_page_can_be_made_of_ends_with_one_line(tmp_path, monkeypatch, capsys,
                                                                make, message):
    run = make(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["make_report.py", str(run), f"out={tmp_path}/page.html"])
    with pytest.raises(SystemExit) as stopped:
        make_report.main()
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message.format(run=run) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
