"""The page of a benchmark: its tables and curves, names that are text, and damaged records."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

import make_report
from tests.reports.folders import HOSTILE
from tests.reports.test_pages import page_of


def benchmark(folder: Path, name: str = "brno", **other) -> Path:
    """Write the record of a benchmark of one table and one figure, with `other` values."""
    (folder / "figures").mkdir(parents=True)
    Image.new("RGB", (40, 20), "#aa5533").save(folder / "figures" / "land_use_labels.png")
    (folder / "results.json").write_text(json.dumps({
        "benchmark": name, "head": [f"Made of {name} by `python -m studies.benchmark`."],
        "tables": [{"title": f"Land use of {name}", "note": "mIoU by number of labels.",
                    "header": ["model", "row", "all labels"],
                    "rows": [[name, "image", "0.300 [0.250, 0.350]"], ["plus", "plus", "0.400"]]}],
        "figures": ["land_use_labels"], "config": {"data": name, "folds": 5}} | other))
    return folder


def test_a_page_has_the_tables_and_the_curves(tmp_path):
    page = page_of(benchmark(tmp_path / "run"))
    for words in ("Benchmark: brno", "Land use of brno", "brno image 0.300 [0.250, 0.350]",
                  "Land use by number of labels", "mIoU by number of labels."):
        assert words in page.text, words
    assert len(page.of("img")) == 1


def test_names_of_a_benchmark_are_text(tmp_path):
    page = page_of(benchmark(tmp_path / "run", HOSTILE))
    assert len(page.of("script")) == 1
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert " ".join(HOSTILE.split()) in page.text


TABLE = {"title": "t", "note": "n", "header": ["a", "b"], "rows": [["1", "2"]]}


@pytest.mark.parametrize(("damage", "message"), [
    ({"tables": [TABLE | {"header": []}]}, "tables[0].header is [], expected"),
    ({"tables": [TABLE | {"rows": [["1", 2]]}]}, "tables[0].rows[0][1] is 2, expected"),
    ({"tables": [TABLE | {"rows": [["1"]]}]}, "tables[0].rows[0] is [\"1\"], expected 2 values"),
    ({"tables": [{"title": "t"}]}, "tables[0].note is missing"),
    ({"head": "text"}, "head is \"text\", expected a list"),
    ({"figures": ["../outside"]}, "figures[0] is \"../outside\""),
])
def test_a_damaged_record_ends_with_one_line(tmp_path, monkeypatch, capsys, damage, message):
    run = benchmark(tmp_path / "run", **damage)
    monkeypatch.setattr(sys, "argv", ["make_report.py", str(run), f"out={tmp_path}/page.html"])
    with pytest.raises(SystemExit) as stopped:
        make_report.main()
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "page.html").exists()
