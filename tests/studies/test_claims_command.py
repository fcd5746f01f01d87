"""The command of the claims: the table in a page, and what is refused."""

import csv
import html
import sys

import pytest

from studies import claims
from studies.benchmark_plan import Cell
from studies.claim_list import LAND_USE
from studies.claims_report import BEGIN, END, with_section
from studies.verdicts import CHANCE, FAILS, HOLDS, LESS, UNKNOWN
from tests.studies.claiming import PLUS, attention, benchmark, changed


def run(*arguments: str) -> None:
    sys.argv = ["claims", *arguments]
    claims.main()


def test_command_leaves_the_table_and_rewrites_the_marked_section_alone(folder, tmp_path, capsys):
    page = tmp_path / "results.md"
    page.write_text(f"# Results\n\n{BEGIN}\nold\n{END}\n\n## Kept\n")
    rose = attention(tmp_path / "rose", 1.2)
    plus = attention(tmp_path / "plus", 6.0, PLUS)
    run(f"runs=[{folder}]", f"attention_runs=[{rose},{plus}]", f"out={tmp_path / 'out'}",
        f"page={page}")
    text = page.read_text()
    assert text.startswith(f"# Results\n\n{BEGIN}\n## What is claimed")
    assert text.endswith(f"{END}\n\n## Kept\n")
    assert "\nold\n" not in text
    assert "| rose, lima" in text
    assert "holds: 1.20 [" in text.split("Objects look")[1].split("\n")[0]
    assert "hold; intervals over tiles and seeds, where there are several." in text
    assert text.index("| rose, lima") < text.index("| plus, lima")
    why = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    assert ["", "rose, lima", "1.20", "fine: the message to each patch", "0.25", "50.0%",
            "0.60 to 2.00", "1.00", ""] in why
    assert "- rose, lima: no measured reason: Fusion beats OSM alone: Building volume (R²)" in text
    assert "; Pretraining pays with few labels: Land use (mIoU), 50 labels; " in text
    assert "earlier version" not in text
    with (tmp_path / "out" / "claims.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["verdict"] for row in rows} == {HOLDS, LESS, FAILS, CHANCE, UNKNOWN}
    far = [row for row in rows if row["at_least"] == "2.0"]
    assert [(row["recipe"], row["verdict"]) for row in far] == [("rose", LESS), ("plus", HOLDS)]
    report = (tmp_path / "out" / "report.html").read_text()
    assert html.escape("Fusion beats its own recipe's image model") in report
    assert "Why claims fail" in report
    assert "no less" in report.partition("Fine is at least equal to global<")[2].split("</tr>")[0]
    assert "of being at least equal if the difference is 0 or more" in report
    assert "claims hold" in capsys.readouterr().out
    lacking = text.split("Not measured, and so not counted: ")[1].split("\n")[0]
    assert "rose on lima: " in lacking
    assert "plus on lima: " in lacking
    assert lacking.count("Land use, 25 labels") == 2  # nothing was trained on 25 tiles
    assert html.escape(lacking) in report
    run(f"runs=[{folder}]", f"attention_runs=[{rose},{plus}]", f"out={tmp_path / 'out'}",
        f"page={page}")
    assert page.read_text() == text


def test_two_benchmarks_of_one_city_are_refused(tmp_path, capsys):
    cells = {Cell(LAND_USE, "image"): 1, Cell(LAND_USE, "fusion"): 2}
    a, b = (benchmark(tmp_path / name, cells) for name in "ab")
    with pytest.raises(SystemExit) as end:
        run(f"runs=[{a},{b}]", f"out={tmp_path / 'out'}")
    assert end.value.code == 2
    assert (f"{a} and {b} are both of the city lima, expected one benchmark a city; leave one "
            "out") in capsys.readouterr().err


def test_results_of_another_command_are_not_written_over(folder, capsys):
    before = (folder / "results.json").read_bytes()
    with pytest.raises(SystemExit) as end:
        run(f"runs=[{folder}]", f"out={folder}")
    assert end.value.code == 2
    assert (f"out={folder}: its results.json is of another command, expected a folder of its own "
            "for the claims; give another out=") in capsys.readouterr().err
    assert (folder / "results.json").read_bytes() == before


def test_a_benchmark_without_a_claim_says_what_is_missing(tmp_path, capsys):
    benchmark(tmp_path / "b", {Cell(LAND_USE, "image"): 1})
    with pytest.raises(SystemExit):
        run(f"runs=[{tmp_path / 'b'}]", f"out={tmp_path / 'out'}")
    assert "b]: has no two cells that a claim compares" in capsys.readouterr().err


def test_section_goes_below_the_title_of_a_page_without_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nText\n")
    assert with_section(page, "new\n") == f"# Title\n\n{BEGIN}\nnew\n{END}\n\nText\n"


@pytest.mark.parametrize(("behind", "kept"), [
    ("\nText\n", "Text\n"), (" \nText\n", " \nText\n"), (" and more\nText", " and more\nText"),
    ("\n\nText\n", "\nText\n"), ("", "")])
def test_what_stands_behind_the_section_is_kept(tmp_path, behind, kept):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n{BEGIN}\nold\n{END}{behind}")
    assert with_section(page, "new\n") == f"# Title\n{BEGIN}\nnew\n{END}\n{kept}"


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda at: (at / "b" / "results.json").unlink(), "results.json: cannot be read"),
    (lambda at: (at / "b" / "results.json").write_text("{}"), "benchmark is missing"),
    (lambda at: next(at.glob("b/runs/*/*/*/results.json")).write_text("{}"),
     "reported is missing, expected it; remove the folder"),
    (lambda at: changed(next(at.glob("b/runs/*/*/*/results.json")), reported="val"),
     "results.json: has figures of val tiles, expected those of test tiles"),
    (lambda at: changed(next(at.glob("b/runs/*/*/*/results.json")), config={"batch_size": 99}),
     "batch_size=99"),
    (lambda at: (at / "a" / "attention.csv").write_text("tile\nlima_0_0\n"),
     "attention.csv: cannot be read as a table of objects"),
    (lambda at: (at / "a" / "results.json").write_text("{}"), "network is missing"),
    (lambda at: (at / "page.md").write_text(f"# T\n{BEGIN}\n"), "expected one of each or none"),
    (lambda at: (at / "page.md").write_text(f"# T\n{END}\nText\n{BEGIN}\n"),
     f"page.md: the mark {END} stands above {BEGIN}, expected it below"),
    (lambda at: (at / "page.md").unlink(), "page.md: cannot be read as Markdown"),
])
def test_bad_inputs_end_with_one_line_and_write_nothing(tmp_path, capsys, spoil, message):
    benchmark(tmp_path / "b", {Cell(LAND_USE, "image"): 1, Cell(LAND_USE, "fusion"): 2})
    attention(tmp_path / "a", 1.2)
    (tmp_path / "page.md").write_text("# T\n")
    spoil(tmp_path)
    with pytest.raises(SystemExit) as end:
        run(f"runs=[{tmp_path / 'b'}]", f"attention_runs=[{tmp_path / 'a'}]",
            f"out={tmp_path / 'out'}", f"page={tmp_path / 'page.md'}")
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out" / "results.json").exists()
