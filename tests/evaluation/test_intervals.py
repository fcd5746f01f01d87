"""Intervals by a bootstrap over blocks of neighbouring tiles, and the record of tiles that they
come from."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from evaluation import job
from evaluation.intervals import (
    DRAWS,
    Blocks,
    blocks_of,
    bootstrap_of,
    intervals,
    sampled_figures,
)
from evaluation.metrics import (
    RegressionMetrics,
    SegmentationMetrics,
    regression_figures,
    regression_moments,
    tile_counts,
)
from evaluation.results import read_seed
from evaluation.tallies import NOWHERE, TALLIES, Tallies, places, read_tallies, write_tallies
from reports.figures import drawn_in_words, with_interval
from tests.evaluation.evaluating import configure, made, stored
from tests.evaluation.tallying import CLASSES, estimated, names_of, segmented
from utils.errors import CheckpointError
from utils.files import sha256_of


@pytest.mark.parametrize("protocol", ["honest", "release"])
def test_sums_over_tiles_give_the_figures_of_all_pixels(protocol):
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(3, (6, 5, 5), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.3] = 255
    target[4] = 255
    logits = torch.randn(6, 4, 5, 5, generator=generator)  # the fourth class is never true
    metrics = SegmentationMetrics((*CLASSES, "roof"), protocol)
    metrics.update(logits, target)
    counts = tile_counts(logits.argmax(1), target, 4)
    assert counts.shape == (6, 3, 4)
    assert counts[4].sum() == 0
    run = Tallies(tuple(names_of(6, 1)), np.zeros((6, 2), int),
                  {"counts": counts.int().numpy(), "calibration": np.zeros((6, 3, 15))},
                  (*CLASSES, "roof"), protocol)
    found = run.figures(run.moments.sum(0))
    assert {name: found[name].item() for name in metrics.compute()} == pytest.approx(
        metrics.compute(), rel=1e-12, nan_ok=True)


def test_sums_over_tiles_give_the_figures_of_all_totals():
    true = torch.rand(30, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 1e6
    estimate = true + torch.randn(30, generator=torch.Generator().manual_seed(3)) * 1e5
    metrics = RegressionMetrics()
    metrics.update(estimate[:, None], true)
    found = regression_figures(regression_moments(estimate, true).sum(0))
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        metrics.compute(), rel=1e-12)
    equal = regression_figures(regression_moments(estimate, torch.full_like(true, 0.1)).sum(0))
    assert math.isnan(equal["r2"])


def test_blocks_are_neighbours_of_one_city_as_large_as_leaves_enough():
    names = names_of(20, 20) + names_of(4, 4, "oslo")
    blocks = blocks_of(names, places(names, names))
    assert blocks.side == 4  # 25 and 1; with 5 there are 16 and 1
    cells = np.array([name.split("_")[1:] for name in names], int) // 4
    for number in range(len(blocks)):
        own = np.flatnonzero(blocks.of_tile == number)
        assert len(np.unique(cells[own], axis=0)) == 1
        assert len({names[index].split("_")[0] for index in own}) == 1
    assert [len(own) for own in blocks.cities] == [25, 1]
    assert blocks_of(names_of(3, 3), places(names_of(3, 3), names_of(3, 3))).side == 2
    wide = names_of(100, 100)
    assert blocks_of(wide, places(wide, wide)).side == 8


def test_tiles_without_a_place_are_blocks_of_their_own():
    names = ["one", "two", "x_0_0", "x_123456789_987654321"]  # the last two are on no grid
    cells = places(names, names)
    assert (cells == NOWHERE).all()
    blocks = blocks_of(names, cells)
    assert (len(blocks), blocks.side) == (4, 1)
    pixels = ["c_1000_2000", "c_1224_2224"]  # of an image
    assert places(pixels, pixels).tolist() == [[0, 0], [1, 1]]


def test_each_city_keeps_its_number_of_blocks_in_every_draw():
    blocks = Blocks(2, np.arange(7), [np.arange(4), np.arange(4, 7)])
    drawn = np.concatenate([*blocks.draws(0)])
    assert drawn.shape == (DRAWS, 7)
    assert (drawn[:, :4].sum(1) == 4).all()
    assert (drawn[:, 4:].sum(1) == 3).all()
    assert drawn.std(0).min() > 0.5


def test_neighbours_that_are_alike_make_an_interval_wider_than_tiles_one_by_one():
    """With errors that are one draw for each block of 4 x 4 tiles, the mean of 256 tiles varies as
    that of 16 numbers."""
    names, rng = names_of(20, 20), np.random.default_rng(0)
    of_block = rng.normal(size=(5, 5))
    error = np.array([of_block[row // 4, col // 4] for row in range(20) for col in range(20)])
    placed = estimated(names, 10 + error)
    scattered = estimated([f"tile{number}" for number in range(400)], 10 + error)
    low, high = intervals(sampled_figures([placed]))["mae"]
    narrow = intervals(sampled_figures([scattered]))["mae"]
    assert high - low == pytest.approx(2 * 1.96 * of_block.std() / 5, rel=0.1)
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.96 * of_block.std() / 20, rel=0.1)
    assert low < (10 + error).mean() < high


def test_the_same_tiles_are_drawn_alike_whatever_their_order():
    names = names_of(12, 12)
    run = segmented(names)
    order = np.random.default_rng(0).permutation(len(names))
    turned = Tallies(tuple(names[index] for index in order), run.cells[order],
                     {name: values[order] for name, values in run.values.items()}, CLASSES)
    samples, others = sampled_figures([run]), sampled_figures([turned])
    assert samples["miou"].tolist() == others["miou"].tolist()
    assert samples["miou"].tolist() == sampled_figures([run])["miou"].tolist()


def test_seeds_share_draws_and_folds_do_not():
    one, other = segmented(names_of(12, 12)), segmented(names_of(12, 12), seed=1)
    both = sampled_figures([one, other])["miou"]
    alone = [sampled_figures([run])["miou"] for run in (one, other)]
    chosen = [np.isclose(both, each) for each in (*alone, sum(alone) / 2)]
    assert np.any(chosen, 0).all()  # of the same tiles, one seed twice or both
    assert [each.mean() for each in chosen] == pytest.approx([0.25, 0.25, 0.5], abs=0.05)
    elsewhere = segmented(names_of(12, 12, "oslo"))  # the same pixels, other tiles
    apart = np.corrcoef(sampled_figures([one])["miou"], sampled_figures([elsewhere])["miou"])
    assert abs(apart[0, 1]) < 0.1
    assert bootstrap_of([one, other])["blocks"] == len(blocks_of(one.names, one.cells))
    assert bootstrap_of([one, elsewhere])["blocks"] == 2 * bootstrap_of([one])["blocks"]


def test_seeds_are_drawn_where_there_are_several():
    """Trainings whose errors are 4 and 6 on every tile: other tiles change nothing, others of them
    do, for each model on its own, and where no seed is known for each fold on its own."""
    names = names_of(12, 12)
    runs = [estimated(names, error) for error in (4.0, 6.0)]
    assert intervals(sampled_figures(runs[:1]))["mae"] == (4, 4)
    assert intervals(sampled_figures(runs))["mae"] == (4, 6)
    samples = sampled_figures(runs)["mae"]
    assert samples.tolist() == sampled_figures(runs[::-1])["mae"].tolist()
    other_model = sampled_figures([estimated(names, error) for error in (5.0, 7.0)])["mae"]
    assert abs(np.corrcoef(samples, other_model)[0, 1]) < 0.1
    fold = [estimated(names_of(12, 12, "oslo"), error) for error in (4.0, 6.0)]
    assert abs(np.corrcoef(samples, sampled_figures(fold)["mae"])[0, 1]) < 0.1
    assert sampled_figures([*runs, *fold])["mae"].std() == pytest.approx(0.5, abs=0.03)
    assert bootstrap_of([*runs, fold[0]])["seeds"] == [1, 2]


@pytest.mark.parametrize(("seeds", "deviation"), [
    ([(0, 1), (0, 1)], math.sqrt(0.5)),  # as that of one fold: the folds are not independent
    ([(0, 1), (1, 0)], 0.0),             # a fold's loss is the other's gain
    ([(0, 1), (2, 3)], 0.5),             # other seeds
    ([(0, 1), (None, None)], 0.5), ([(0, 0), (0, 0)], 0.5)])
def test_a_seed_is_drawn_once_for_all_folds(seeds, deviation):
    """Trainings whose errors are 4 and 6 in two folds, as where the pretraining of a seed decides
    and serves both."""
    runs = [dataclasses.replace(estimated(names_of(12, 12, city), error), seed=seed)
            for city, own in zip(("lima", "oslo"), seeds, strict=True)
            for error, seed in zip((4.0, 6.0), own, strict=True)]
    samples = sampled_figures(runs)["mae"]
    assert samples.std() == pytest.approx(deviation, abs=0.03)
    assert samples.mean() == pytest.approx(5, abs=0.05)
    assert samples == pytest.approx(sampled_figures(runs[::-1])["mae"])
    more = [dataclasses.replace(runs[0], seed=1), *runs[2:]]  # a fold with one seed alone
    assert np.unique(sampled_figures(more)["mae"]).tolist() == [4, 4.5, 5]
    one = [dataclasses.replace(run, seed=None) for run in runs[:2]]
    assert sampled_figures(one)["mae"].tolist() == sampled_figures(runs[:2])["mae"].tolist()


@pytest.mark.parametrize("cities", [("lima",), ("lima", "oslo")])
def test_trainings_that_are_measured_twice_are_drawn_once(cities):
    """Three trainings that are far apart, and each worse by as much where objects are removed: the
    same seeds are drawn for both, in whatever order, and the difference is sure."""
    errors = {"ca": 4.0, "ab": 5.0, "bc": 6.5}
    whole, removed = ([dataclasses.replace(estimated(names_of(12, 12, city), error + more),
                                           model=f"{model} {city}", seed=seed)
                       for city in cities for seed, (model, error) in enumerate(errors.items())]
                      for more in (0.0, 0.25))
    drop = sampled_figures(removed[::-1])["mae"] - sampled_figures(whole)["mae"]
    assert drop == pytest.approx(0.25)
    other = [dataclasses.replace(run, model=f"other {run.model}") for run in removed]
    assert (sampled_figures(other)["mae"] - sampled_figures(whole)["mae"]).std() > 0.5


@pytest.mark.parametrize(("seeds", "words"), [
    ([1], "over tiles; one seed"), ([2, 3], "over tiles and seeds"),
    ([1, 2], "over tiles and seeds, where there are several"), ([], "over tiles")])
def test_words_say_whether_seeds_were_drawn(seeds, words):
    how = {"draws": 2000, "blocks": 24, "side": [2, 3], "seeds": seeds}
    assert drawn_in_words(how) == ("2,000 draws of 24 blocks of 2 x 2 or 3 x 3 neighbouring tiles, "
                                   + words)


def test_a_single_block_has_no_interval_and_a_rare_figure_none_either():
    assert sampled_figures([estimated(names_of(2, 2))]) == {}
    assert intervals({}) == {}
    rare = np.where(np.arange(10) < 4, 1.0, np.nan)
    assert intervals({"iou_water": rare, "miou": np.ones(10)}) == {"miou": (1.0, 1.0)}
    assert "interval_width" not in intervals(sampled_figures(
        [estimated(names_of(8, 8), width=math.nan)]))


@pytest.mark.parametrize(("figure", "text"), [
    ((0.54321, None, (0.5, 0.6)), "0.5432 [0.5000, 0.6000]"),
    ((12345.6, 12.0, (12000.1, 13000.9)), "12346 ± 12 [12000, 13001]"),
    ((0.5, None, None), "0.5000"), ((1.5e-6, None, (1e-6, 2e-6)),
                                    "1.500e-06 [1.000e-06, 2.000e-06]")])
def test_a_figure_with_its_interval_in_writing(figure, text):
    assert with_interval(*figure) == text


def test_tallies_are_read_as_they_were_written(tmp_path):
    for run in (segmented(names_of(3, 2)), estimated(names_of(3, 2))):
        path = tmp_path / TALLIES
        again = read_tallies(path, write_tallies(path, run), "")
        assert (again.names, again.classes, again.protocol) == (run.names, run.classes, "honest")
        assert again.cells.tolist() == run.cells.tolist()
        assert all((again.values[name] == run.values[name]).all() for name in run.values)


def _other_arrays(path: Path) -> str:
    arrays = load_file(path)
    arrays["counts"] = arrays["counts"][:, :, :2].copy()
    return _saved(path, arrays)


def _without_bins(path: Path) -> str:
    arrays = load_file(path)
    del arrays["calibration"]
    return _saved(path, arrays)


def _without_names(path: Path) -> str:
    save_file(load_file(path), path, {"about": "{}"})
    return sha256_of(path)


def _saved(path: Path, arrays: dict[str, np.ndarray]) -> str:
    about = {"format": "rose-tiles-1", "problem": "segmentation", "protocol": "honest",
             "names": names_of(3, 2), "classes": CLASSES}
    save_file(arrays, path, {"about": json.dumps(about)})
    return sha256_of(path)


def _truncated(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:100])
    return sha256_of(path)


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda path: "0" * 64, "its SHA-256 is .*, expected 00000000..., which the result beside it"),
    (_truncated, "tiles.safetensors: .*; ask"),
    (_other_arrays, r"counts is int32 \[6, 3, 2\], expected int32 \[6, 3, 3\]; ask"),
    (_without_bins, "calibration is missing, expected it"),
    (_without_names, "format is missing, expected it"),
])
def test_a_record_of_tiles_that_is_damaged_is_refused_in_one_line(tmp_path, spoil, message):
    path = tmp_path / TALLIES
    write_tallies(path, segmented(names_of(3, 2)))
    with pytest.raises(CheckpointError, match=message) as error:
        read_tallies(path, spoil(path), "ask")
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def evaluated(tiny, tmp_path_factory) -> tuple[object, Path]:
    """Keys and folder of a segmentation of two seeds, tested on three tiles."""
    cfg = configure("seg", *tiny, "num_workers=0", "accelerator=cpu", "seeds=[0,1]", "epochs=1",
                    "test_file=osm-train-all.txt")
    return cfg, made(cfg, tmp_path_factory.mktemp("intervals") / "run")


def test_an_evaluation_has_intervals_and_its_seeds_too(evaluated):
    _, folder = evaluated
    found = stored(folder)
    runs = [read_seed(folder / f"seed_{seed}") for seed in (0, 1)]
    expected = intervals(sampled_figures(runs))
    assert found["intervals"] == {name: list(ends) for name, ends in expected.items()}
    assert {"miou", "f1"} <= found["intervals"].keys()
    assert "ece" not in found["intervals"]
    assert found["bootstrap"] == {"blocks": 2, "side": [2], "seeds": [2], "draws": DRAWS,
                                  "level": 0.95}
    of_seed = json.loads((folder / "seed_0" / "results.json").read_text())
    assert of_seed["intervals"] == {name: list(ends) for name, ends
                                    in intervals(sampled_figures(runs[:1])).items()}
    assert of_seed["figures"]["ece"] == of_seed["calibration"]["ece"]
    assert found["calibration"]["0"] == of_seed["calibration"]
    assert sum(of_seed["calibration"]["pixels"]) == sum(map(sum, of_seed["confusion"]))
    assert any("2 blocks of neighbours, expected 10 or more: the intervals are rough" in remark
               for remark in found["remarks"])


def test_results_from_before_there_were_intervals_are_read(evaluated, tmp_path, monkeypatch):
    cfg, folder = evaluated
    shutil.copytree(folder, tmp_path / "old")
    for seed in (0, 1):
        own = tmp_path / "old" / f"seed_{seed}"
        (own / TALLIES).unlink()
        record = json.loads((own / "results.json").read_text())
        for name in ("intervals", "calibration", "tallies_sha256"):
            del record[name]
        del record["figures"]["ece"], record["identity"]["fold"]
        (own / "results.json").write_text(json.dumps(record))
    monkeypatch.setattr(job, "fit", lambda run: pytest.fail("trained again"))
    found = stored(made(cfg, tmp_path / "old"))
    before = stored(folder)
    assert {**found["mean"], "ece": before["mean"]["ece"]} == before["mean"]
    assert found["intervals"] == {}
    assert any(remark.startswith("no intervals: seed 0, 1 has no tiles.safetensors")
               for remark in found["remarks"])


def test_a_seeds_tiles_say_which_weights_were_measured(evaluated, tmp_path):
    cfg, folder = evaluated
    assert [read_seed(folder / f"seed_{seed}").seed for seed in (0, 1)] == [0, 1]
    runs = [read_seed(folder / f"seed_{seed}").model for seed in (0, 1)]
    assert runs[0] != runs[1]
    best = folder / "seed_0" / "best.safetensors"
    again = made(dataclasses.replace(cfg, checkpoint=str(best), epochs=0, seeds=[0],
                                     remove_ratio=0.5), tmp_path / "again") / "seed_0"
    assert read_seed(again).model == runs[0]
    old = tmp_path / "old"
    shutil.copytree(folder / "seed_0", old)
    for own in (again, old):  # as an earlier version left them
        record = json.loads((own / "results.json").read_text())
        del record["weights_checksum"]
        (own / "results.json").write_text(json.dumps(record))
        assert read_seed(own).model == runs[0]
    (old / "best.safetensors").unlink()
    assert read_seed(old).model == ""


def test_a_damaged_record_of_tiles_is_named_with_its_remedy(evaluated, tmp_path):
    cfg, folder = evaluated
    shutil.copytree(folder, tmp_path / "run")
    damaged = tmp_path / "run" / "seed_1" / TALLIES
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"seed_1/tiles.safetensors: its SHA-256 is .*`rm "):
        made(cfg, tmp_path / "run")
    damaged.unlink()  # as the remedy says
    assert stored(made(cfg, tmp_path / "run"))["intervals"] == {}


def test_a_fold_is_part_of_a_runs_identity(evaluated, tmp_path):
    cfg, _ = evaluated
    assert dataclasses.replace(cfg, fold="1/5") != cfg
    root = Path(cfg.data_root)
    for file in ("osm-train-all.txt", "val.txt", "test.txt"):
        (root / "fold-1-of-3").mkdir(exist_ok=True)
        shutil.copyfile(root / file, root / "fold-1-of-3" / file)
    folder = made(dataclasses.replace(cfg, seeds=[0]), tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"another run: fold=1/3 \(there null\)"):
        made(dataclasses.replace(cfg, seeds=[0], fold="1/3"), folder)
