"""The claims: verdicts, the rows they compare, the table in a page, and what is refused."""

import csv
import html
import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation.tallies import TALLIES, Tallies, write_tallies
from models.rose import MODEL_KEYS
from reports.claims import asked, shown
from studies import claims
from studies.association import attention_runs
from studies.benchmark_plan import ALL, MISSING, PARTS, SCRATCH, TASKS, Cell, measured_with, planned
from studies.benchmark_results import Result, blocks_in_words, difference, read_cells
from studies.claim_list import LAND_USE, VOLUME, Claim, Reason, cell_of
from studies.claim_list import claims as all_claims
from studies.claims_report import BEGIN, END, with_section
from studies.reasons import outdated, reasons
from studies.verdicts import (
    CHANCE,
    FAILS,
    HOLDS,
    LESS,
    UNKNOWN,
    Benchmark,
    read_benchmark,
    verdicts,
    verdicts_on_attention,
)
from tests.evaluation.tallying import estimated, names_of, segmented
from utils.errors import CheckpointError, ConfigError
from utils.outputs import write_csv, write_json
from utils.recipes import RECIPES

# title -> how large the difference should be; 0 of all others
AT_LEAST = {
    "Fusion beats an MLP on colours and OSM of each patch": 0.03,
    "plus beats rose's fusion": 0.08,
    "Fusion is far above the better modality": 0.05,
    "Pretraining is worth much with few labels": 0.05,
    "Fusion without any object is worth rose's image model": -0.01,
}
FOLDS = [names_of(8, 8), [f"lima_{col + 20}_{row}" for col in range(8) for row in range(8)]]


def benchmark(folder: Path, cells: dict[Cell, float], city: str = "lima") -> Path:
    """Write a benchmark of cells with their skill; two folds, two seeds."""
    for cell, skill in cells.items():
        for fold, names in enumerate(FOLDS, 1):
            for seed in (0, 1):
                _write(folder / "runs" / cell.task / cell.name / f"fold-{fold}_seed-{seed}", seed,
                       _run(cell.task, names, skill, seed), bare=cell.row == "statistics")
    write_json(folder / "results.json", {"benchmark": city})
    return folder


def _write(folder: Path, seed: int, tallies: Tallies, bare: bool) -> None:
    """Write a run, a `bare` one as an earlier version left it."""
    own = folder / f"seed_{seed}"
    own.mkdir(parents=True)
    write_json(own / "results.json", {} if bare else {
        "tallies_sha256": write_tallies(own / TALLIES, tallies)})
    figures = {name: float(value) for name, value in
               tallies.figures(tallies.moments.sum(0)).items()}
    write_json(folder / "results.json", {
        "per_seed": {str(seed): figures}, "baselines": {}, "tiles": {}, "reported": "test",
        "config": {}, "network": {}, "checkpoint": None})


def _run(task: str, names: list[str], skill: float, seed: int) -> Tallies:
    if task == LAND_USE:
        return segmented(names, skill, seed)
    noise = np.random.default_rng(seed).normal(size=len(names))
    return estimated(names, noise * 20 / (1 + skill))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Fusion beats the image, pretraining does not pay, fine is as good as global, statistics have
    no tallies."""
    return benchmark(tmp_path_factory.mktemp("benchmark"), {
        Cell(LAND_USE, "image"): 1, Cell(LAND_USE, "osm"): 0.5, Cell(LAND_USE, "fusion"): 2,
        Cell(LAND_USE, "fine"): 2.1, Cell(LAND_USE, "plus"): 4,
        Cell(LAND_USE, "fusion", labels="50"): 1,
        Cell(LAND_USE, "fusion", SCRATCH, "50"): 2,
        Cell(LAND_USE, "fusion", removed=1.0): 0.1,
        Cell(LAND_USE, "statistics", SCRATCH): 0,
        Cell(VOLUME, "image"): 1, Cell(VOLUME, "osm"): 3, Cell(VOLUME, "fusion"): 2})


PLUS = {key: getattr(RECIPES["plus"], key) for key in MODEL_KEYS}


def attention(folder: Path, lift: float, network: dict | None = None, city: str = "lima",
              message: str = "message", varies: float = 0.0) -> Path:
    """Write what an attention study of 64 tiles leaves; what a network of 2025 does not state is
    the method's."""
    folder.mkdir(parents=True)
    rows = [{"tile": name.replace("lima", city), "node": node, "box_share": 0.02,
             "attention_share": 0.02 * lift * (0.9 + 0.2 * (number % 2))}
            for number, name in enumerate(FOLDS[0]) for node in (0, 1)]
    rows.append({"tile": FOLDS[0][0], "node": 2, "box_share": 0, "attention_share": 0})
    write_csv(folder / "attention.csv", rows)
    write_csv(folder / "change.csv", [
        {"fusion": fusion, "tile": row["tile"], "node": row["node"], "box_share": row["box_share"],
         "change_share": row["box_share"]} for fusion in ("global", "fine") for row in rows])
    write_json(folder / "results.json", {
        "network": network or {"image_encoder": "test_vit"}, "cities": [city], "lift": lift,
        "fusions": {"global": {"lift": 1.0}, "fine": {"lift": 1.0}},
        "adds": {message: {"varies": varies, "norm_ratio": 0.125},
                 "fine": {"varies": 0.5, "norm_ratio": 0.25, "weights": [0.6, 2.0]}}})
    return folder


def test_claims_compare_the_rows_they_name(folder):
    judged = {(each.recipe, each.title, each.task, each.case, each.aim): each
              for each in verdicts(read_benchmark(folder), all_claims())}
    beats = judged["rose", "Fusion beats its own recipe's image model", "Land use", "", False]
    assert (beats.a, beats.b, beats.verdict, beats.runs) == ("fusion", "image", HOLDS, 4)
    assert beats.difference == pytest.approx(beats.a_value - beats.b_value)
    assert beats.interval[0] <= beats.difference <= beats.interval[1]
    few = judged["rose", "Pretraining pays with few labels", "Land use", "50 labels", False]
    assert few.verdict == FAILS
    fine = judged["rose", "Fine fusion helps segmentation most", "Land use", "", False]
    assert (fine.b, fine.verdict) == ("fusion", HOLDS)   # the better of fusion and image
    empty = judged["rose", "Fusion without OSM objects beats its own recipe's image model",
                   "Land use", "100% removed", False]
    assert empty.verdict == FAILS
    both = judged["rose", "Fusion is far above the better modality", "Building volume", "", True]
    assert (both.b, both.verdict) == ("osm", FAILS)
    assert (both.seeds, both.hears) == ([2], "")
    bare = judged["rose", "Fusion beats a linear model of statistics", "Land use", "", True]
    assert (bare.verdict, bare.interval) == (UNKNOWN, None)
    assert bare.difference == pytest.approx(bare.a_value - bare.b_value)
    plus = judged["plus", "Fusion beats rose's image model", "Land use", "", True]
    assert (plus.a, plus.b) == ("plus", "image")
    own = "Fusion beats its own recipe's image model"
    assert ("plus", own, "Land use", "", False) not in judged  # there is no row plus_image
    assert not any(title == "plus beats rose's fusion" and recipe == "rose"
                   for recipe, title, *_ in judged)


def test_claims_ask_for_differences_of_these_sizes():
    asked_for = {(claim.title, claim.at_least) for claim in all_claims()}
    assert asked_for == {(title, AT_LEAST.get(title, 0.0)) for title, _ in asked_for}
    assert AT_LEAST.keys() <= {title for title, _ in asked_for}


def test_the_benchmark_has_all_cells_of_all_claims():
    labels = ["25", "50", "100", "200", ALL]
    trained = planned([*PARTS, MISSING], [*TASKS], None, labels, sentence=False)
    there = {*trained, *(other for cell in trained for other in measured_with(cell, labels))}
    compared = [(claim, *claim.b, claim.a, *_cells(claim.reason)) for claim in all_claims()]
    assert {cell_of(cell, recipe) for claim, *cells in compared for recipe in claim.recipes
            for cell in cells} <= there


def _cells(reason: Reason | None) -> list[Cell]:
    return [reason.better, reason.worse] if reason else []


def test_a_claim_about_other_tiles_has_no_difference(tmp_path):
    """Of the better image model only one fold is finished: its mean is of other tiles."""
    benchmark(tmp_path, {Cell(LAND_USE, "image"): 1, Cell(LAND_USE, "osm"): 0.5,
                         Cell(LAND_USE, "statistics", SCRATCH): 0, Cell(LAND_USE, "fusion"): 2})
    for row in ("image_pretrained_all", "statistics_scratch_all"):
        for run in (tmp_path / "runs" / LAND_USE / row).glob("fold-2_*"):
            shutil.rmtree(run)
    a, *rivals = (Cell(LAND_USE, row) for row in ("fusion", "image", "osm", "statistics"))
    judged = verdicts(read_benchmark(tmp_path), [
        Claim("is better", a, own, recipes=("rose",)) for own in (
            rivals[:1], rivals[1:2], rivals[:2], rivals[2:])])
    assert [each.verdict for each in judged] == [UNKNOWN, HOLDS, UNKNOWN, UNKNOWN]
    assert [math.isnan(each.difference) for each in judged] == [True, False, True, True]
    assert shown(judged[0].record) == "no interval: -"


@pytest.mark.parametrize("copy", ["fold-1_seed-0_old", "fold-1_seed-0 (copy)", "fold-01_seed-0",
                                  "fold-1_seed-00", "fold-_seed-"])
def test_copies_of_runs_are_left_out(tmp_path, copy):
    benchmark(tmp_path, {Cell(LAND_USE, "image"): 1})
    runs = tmp_path / "runs" / LAND_USE / "image_pretrained_all"
    shutil.copytree(runs / "fold-1_seed-0", runs / copy)
    result, = read_cells(tmp_path).values()
    assert [(run["fold"], run["seed"]) for run in result.runs] == [
        ("1", 0), ("1", 1), ("2", 0), ("2", 1)]


def test_words_about_intervals_are_of_the_seeds_of_all_cells(tmp_path):
    benchmark(tmp_path, {Cell(LAND_USE, "image"): 1, Cell(LAND_USE, "fusion"): 2})
    for seed_1 in (tmp_path / "runs" / LAND_USE / "image_pretrained_all").glob("*_seed-1"):
        shutil.rmtree(seed_1)
    both = [*read_cells(tmp_path).values()]
    words = sorted(blocks_in_words(results).partition(" neighbouring tiles, ")[2]
                   for results in (both[:1], both[1:], both))
    assert words == ["over tiles and seeds", "over tiles and seeds, where there are several",
                     "over tiles; one seed"]


def test_seeds_that_both_models_have_are_compared(tmp_path):
    """The fusion's second seed is far off, and the image has none: it moves no difference."""
    cells = [Cell(LAND_USE, row) for row in ("fusion", "image", "osm")]
    benchmark(tmp_path, dict.fromkeys(cells, 1.0))
    runs = tmp_path / "runs" / LAND_USE
    for fold in (1, 2):
        shutil.rmtree(runs / f"image_pretrained_all/fold-{fold}_seed-1")
        shutil.rmtree(runs / f"osm_pretrained_all/fold-{fold}_seed-0")
    alone = difference(read_cells(tmp_path), *cells[:2])
    for fold in (1, 2):
        spoil(runs / f"fusion_pretrained_all/fold-{fold}_seed-1")
    results = read_cells(tmp_path)
    assert results[cells[0]].means["miou"] < 0.8 * results[cells[1]].means["miou"]
    both = difference(results, *cells[:2])
    assert (both.difference, both.interval) == (alone.difference, alone.interval)
    judged, other = verdicts(Benchmark("lima", results), [
        Claim("is better", cells[0], cells[1:2], recipes=("rose",)),
        Claim("is better", cells[1], cells[2:], recipes=("rose",))])
    assert (judged.difference, judged.runs, judged.seeds) == (both.difference, 2, [1])
    assert judged.a_value - judged.b_value == pytest.approx(both.difference)
    assert other.verdict == UNKNOWN  # of other seeds


def spoil(run: Path) -> None:
    """Make a run that of a model that knows nothing."""
    made = _run(LAND_USE, FOLDS["fold-2" in run.name], -3.0, 1)
    shutil.rmtree(run)
    _write(run, 1, made, bare=False)


def test_a_claim_says_what_it_asks_and_a_lift_is_shown_whole(folder):
    claim = {"figure": "miou", "at_least": 0.03, "difference": 0.0721, "interval": [0.047, 0.093],
             "verdict": LESS}
    assert (asked(claim), shown(claim)) == (
        "by 0.03 or more", "real, but less: +0.072 [+0.047, +0.093]")
    assert asked({**claim, "at_least": -0.01}) == "a loss of 0.01 allowed"
    lift = {**claim, "figure": "times chance", "at_least": 2.0, "difference": 4.929,
            "interval": [4.592, 5.317], "verdict": HOLDS}
    assert (asked(lift), shown(lift)) == ("3 times or more", "holds: 5.93 [5.59, 6.32]")


@pytest.mark.parametrize("order", [("image", "osm"), ("osm", "image")])
def test_a_rival_without_a_figure_is_not_the_best(order):
    def result(cell, value):
        return Result(cell, [{"fold": "1", "seed": 0, "miou": value}], [], {}, 5)

    a, *rivals = (Cell(LAND_USE, row) for row in ("fusion", *order))
    results = {(cell := Cell(LAND_USE, row)): result(cell, value)
               for row, value in (("fusion", 0.5), ("image", math.nan), ("osm", 0.2))}
    judged, = verdicts(Benchmark("lima", results),
                       [Claim("is better", a, tuple(rivals), recipes=("rose",))])
    assert (judged.b, judged.verdict) == ("osm", UNKNOWN)
    assert judged.difference == pytest.approx(0.3)


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


def test_several_networks_of_one_recipe_are_one_column(tmp_path):
    both = [str(attention(tmp_path / str(lift), lift)) for lift in (1.0, 3.0)]
    first = verdicts_on_attention(attention_runs(both))[0]
    assert (first.runs, first.a_value) == (2, pytest.approx(2.0, rel=0.01))


@pytest.mark.parametrize(("again", "message"), [
    ("a", "a,.*/a]: .*/a is there twice, expected different folders; leave one out"),
    ("b/../a", "is there twice"),
    ("b", "a and .*/b are of one network of recipe=rose in lima, whose checkpoint has the SHA-256 "
     "00000000..., expected one of another seed; leave one out"),
])
def test_a_network_counts_once_as_a_seed(tmp_path, again, message):
    """Of other cities, and unstated by an earlier version, it may be there again."""
    for name, city, sha256 in (("a", "lima", "0" * 64), ("b", "lima", "0" * 64),
                               ("c", "oslo", "0" * 64), ("d", "lima", None), ("e", "lima", None)):
        record = attention(tmp_path / name, 1.0, city=city) / "results.json"
        _changed(record, **({"checkpoint_sha256": sha256} if sha256 else {}))
    folders = [str(tmp_path / name) for name in ("a", "c", "d", "e")]
    assert len(attention_runs(folders)) == 4
    with pytest.raises(ConfigError, match=message):
        attention_runs([*folders, str(tmp_path / again)])


@pytest.mark.parametrize(("network", "recipe"), [
    ({}, "rose"), ({"fine_input": "single", "placement": "tile"}, "rose"), (PLUS, "plus")])
def test_a_network_is_of_the_recipe_that_its_keys_say(tmp_path, network, recipe):
    study, = attention_runs([str(attention(tmp_path / "a", 1.0, network))])
    assert study.recipe == recipe


@pytest.mark.parametrize(("network", "message"), [
    ({"placement": "coverage"}, r"a/results.json: its network has placement=coverage, expected "
     r"placement=tile, as of recipe=rose: .*; leave this folder out of attention_runs="),
    ({key: getattr(RECIPES["release"], key) for key in MODEL_KEYS},
     r"has osm_norm_scope=batch, .*fine_input=double, expected osm_norm_scope=tile"),
    ({"image_encoder": "test_vit", "recipe": "release"}, "has osm_norm_scope=batch, "),  # theirs
    ({**PLUS, "osm_layers": 2}, "has osm_layers=2, expected osm_layers=1, as of recipe=plus"),
])
def test_a_network_of_another_recipe_is_refused(tmp_path, network, message):
    with pytest.raises(CheckpointError, match=message):
        attention_runs([str(attention(tmp_path / "a", 1.0, network))])


def test_two_benchmarks_of_one_city_are_refused(tmp_path, capsys):
    cells = {Cell(LAND_USE, "image"): 1, Cell(LAND_USE, "fusion"): 2}
    a, b = (benchmark(tmp_path / name, cells) for name in "ab")
    with pytest.raises(SystemExit) as end:
        run(f"runs=[{a},{b}]", f"out={tmp_path / 'out'}")
    assert end.value.code == 2
    assert (f"{a} and {b} are both of the city lima, expected one benchmark a city; leave one "
            "out") in capsys.readouterr().err


def test_a_failing_claim_names_the_number_that_explains_it(tmp_path):
    """What the global fusion adds hardly differs between patches; where a fifth of it does, that is
    no reason. A study of an earlier version did not measure it so."""
    benchmark(tmp_path / "b", {Cell(LAND_USE, "image"): 4, Cell(LAND_USE, "fusion"): 1,
                               Cell(LAND_USE, "image_osm_raster"): 4})
    judged = verdicts(read_benchmark(tmp_path / "b"), all_claims())
    for name, message, varies, why in (
            *((name, "message", varies, f"of what objects add in the global fusion, {varies:.1%} "
               "differs between a tile's patches; the rest is the same everywhere. Therefore "
               "these fail")
              for name, varies in (("a", 0.0), ("little", 0.04))),
            ("much", "message", 0.2, "no measured reason"),
            ("old", "global", 0.0, "no measured reason")):
        studies = attention_runs([str(attention(tmp_path / name, 1.0, message=message,
                                                varies=varies))])
        assert reasons(judged, studies) == [f"rose, lima: {why}: " + "; ".join(
            f"{title}: Land use (mIoU)" for title in (
                "Fusion beats its own recipe's image model", "Fusion beats rose's image model",
                "Fusion beats rose's image beside drawn objects"))]
        assert outdated(studies) == ([str(tmp_path / "old")] if name == "old" else [])


def test_a_failing_claim_names_the_cells_that_explain_it(tmp_path):
    """Without objects, a fusion that was trained without half of them is better; alone, the graph
    says less of volumes than linear statistics, and no more than by chance in one benchmark."""
    beats = "Fusion without OSM objects beats its own recipe's image model: Land use"
    for name, trained, graph, found in (("a", 3, 0.2, True), ("b", 0.1, 5, False)):
        benchmark(tmp_path / name, {
            Cell(LAND_USE, "image"): 4, Cell(LAND_USE, "fusion", removed=1.0): 0.1,
            Cell(LAND_USE, "fusion", removed=1.0, trained_with_removal=0.5): trained,
            Cell(VOLUME, "osm"): graph, Cell(VOLUME, "fusion"): 0.2,
            Cell(VOLUME, "statistics", SCRATCH): 5})
        for run in (tmp_path / name / "runs" / VOLUME / "statistics_scratch_all").iterdir():
            shutil.rmtree(run)
            fold, seed = (int(part.split("-")[1]) for part in run.name.split("_"))
            _write(run, seed, _run(VOLUME, FOLDS[fold - 1], 5, seed), bare=False)
        lines = reasons(verdicts(read_benchmark(tmp_path / name), all_claims()), [])
        removed, = (line for line in lines if beats in line)
        total, = (line for line in lines if "a linear model of statistics: Building" in line)
        assert ("the same fusion, trained with half of the objects removed, against trained with "
                "all: mIoU 0." in removed) is found
        assert ("the linear model of the objects against their graph alone: R² 0." in total
                ) is found
        assert ("]. Therefore these fail: " in removed) is found
        assert ("no measured reason: " in total) is not found


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


def _changed(path: Path, **changes) -> None:
    write_json(path, json.loads(path.read_text()) | changes)


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
    (lambda at: _changed(next(at.glob("b/runs/*/*/*/results.json")), reported="val"),
     "results.json: has figures of val tiles, expected those of test tiles"),
    (lambda at: _changed(next(at.glob("b/runs/*/*/*/results.json")), config={"batch_size": 99}),
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
