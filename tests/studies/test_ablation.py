"""The ablation on a tiny city: what it trains, measures and keeps, and what it refuses."""

import csv
import json
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from studies import ablation, units
from studies.ablation_plan import CANDIDATES, cells_of, default_variants, variants_of
from studies.ablation_results import COLUMNS, merged, read_rows, source_of
from studies.keys import AblationConfig
from tests.studies.tiny_city import TILE, write_city
from utils.errors import RoseError
from utils.recipes import RECIPES

SMALL = ("folds=3", "on=[2]", "block=3", "seeds=[0]", f"tile_px={TILE}", "labels=[all]",
         "pretrain_epochs=1", "effort=0.08", "workers=1", "accelerator=cpu")
ASKED = "variants=[plus,plus:osm_loss=features:drop_graphs=0,plus:lr=1e-4]"
KEPT = dict(zip(COLUMNS, ("rose", "lr=3e-4", "scratch", "100", "1", "0", "0.2", "", "a loop"),
                strict=True))


def run(city: Path, out: Path, *overrides: str) -> None:
    """Run the command in this process."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("add_picture", "report"):  # pictures of pretraining, which take longer
            patched.setattr(f"training.summary.{name}", lambda run: None)
        patched.setattr(sys, "argv", ["ablation", f"data={city}", f"out={out}", *SMALL,
                                      *overrides])
        ablation.main()


def write_table(path: Path, *rows: dict[str, str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Path:
    return write_city(tmp_path_factory.mktemp("city") / "brno")


@pytest.fixture(scope="module")
def made(city, tmp_path_factory) -> Path:
    """The outputs of a small ablation, whose table had a row before."""
    folder = tmp_path_factory.mktemp("ablation")
    write_table(folder / "table.csv", KEPT)
    run(city, folder / "out", ASKED, f"table={folder / 'table.csv'}")
    return folder


def test_each_run_has_a_row_beside_the_earlier_ones(made):
    before, *rows = read_rows(made / "table.csv")
    assert before == KEPT
    names = ["plus", "plus:osm_loss=features:drop_graphs=0", "plus:lr=1e-4"]
    assert [(row["variant"], row["training"]) for row in rows] == [
        (name, training) for training in ("pretrained", "scratch") for name in names]
    assert "placement=coverage" in rows[1]["keys"]
    assert "osm_loss" not in rows[1]["keys"]
    assert rows[2]["keys"] == f"{rows[0]['keys']} lr=1e-4"
    page = (made / "out/ablations.md").read_text()
    assert "All seeds of a variant share one pretraining" in page
    assert page.count("| plus:lr=1e-4 ") == 2
    assert re.search(r"\| plus:lr=1e-4 .*\[.*\].*\| [01] of 1", page)


def test_val_alone_is_measured_once_and_models_are_those_of_the_last_epoch(made):
    val = (made / "out/tiles/fold-2-of-3/val.txt").read_text().split()
    folders = [*(made / "out/runs/land_use").glob("*/fold-2_seed-0")]
    assert len(folders) == 6
    for folder in folders:
        config = json.loads((folder / "results.json").read_text())["config"]
        assert config["test_file"] is None
        assert len([*(folder / "seed_0/predictions.csv").open()]) == 1 + len(val)
        assert len([*(folder / "seed_0/metrics.csv").open()]) == 2


def test_pretraining_and_training_have_the_variant_s_keys(made):
    def keys_of(name: str, training: str) -> dict:
        folder = made / f"out/runs/land_use/{name}_{training}_all/fold-2_seed-0"
        return json.loads((folder / "run.json").read_text())["request"][f"{name}_{training}_all"]

    pretraining = {path.parent.name: json.loads(path.read_text())["request"]["pretraining"]
                   for path in (made / "out/pretraining").glob("*/run.json")}
    other = "plus-osm-loss-features-drop-graphs-0"
    assert pretraining.keys() == {"plus_hash_seed-0", f"{other}_hash_seed-0"}
    plus = {key: value for key, value in asdict(RECIPES["plus"]).items()
            if key in pretraining["plus_hash_seed-0"]}
    assert pretraining["plus_hash_seed-0"].items() >= plus.items()
    assert pretraining[f"{other}_hash_seed-0"].items() >= {
        **plus, "osm_loss": "features", "drop_graphs": 0}.items()
    for training in ("pretrained", "scratch"):
        assert keys_of("plus", training)["placement"] == "coverage"
        assert keys_of("plus", training)["drop_graphs"] == RECIPES["plus"].drop_graphs
        assert keys_of(other, training)["drop_graphs"] == 0
        assert keys_of("plus-lr-1e-4", training)["lr"] == 1e-4


def test_finished_runs_are_only_read_and_the_table_stays(made, city, monkeypatch):
    before = (made / "table.csv").read_text()
    monkeypatch.setattr(units.Unit, "work", lambda *_: pytest.fail("is made again"))
    run(city, made / "out", ASKED, f"table={made / 'table.csv'}")
    assert (made / "table.csv").read_text() == before


def test_the_default_table_has_every_ingredient_both_ways():
    rose, plus = (asdict(RECIPES[name]) for name in ("rose", "plus"))
    names = default_variants()
    variants = variants_of(None)
    differing = [key for key in rose if rose[key] != plus[key] and key != "count_objects"]
    for key in differing:
        assert any(name.startswith(f"rose:{key}=") for name in names)
        assert any(name.startswith(f"plus:{key}=") for name in names)
    assert not any("count_objects" in name for name in names)  # of totals, not of land use
    assert len(variants) == 2 + 2 * len(differing) + sum(
        plus[key] != value for key, value in CANDIDATES.items())
    cells = cells_of(variants, ["scratch"], ["all"])
    assert {cell.row for cell in cells} >= {"plus", "rose", "plus-placement-tile"}
    assert "plus-contrast-1" not in {cell.row for cell in cells}


def test_a_reference_keeps_its_row_from_scratch():
    variants = variants_of(["plus:contrast=1", "plus"])
    assert [cell.row for cell in cells_of(variants, ["scratch"], ["all"])] == ["plus"]


def test_rows_of_another_experiment_stay():
    cfg = AblationConfig(data="brno")
    others = [replace(cfg, **keys) for keys in (
        {"folds": 3}, {"block": 4}, {"tile_px": 128}, {"effort": 2.0}, {"pretrain_epochs": 9},
        {"image_encoder": "vit"}, {"classes": "all"}, {"label_column": "use"}, {"seeds": [3]})]
    sources = [source_of(each, (), "brno") for each in (cfg, *others)]
    sources += [source_of(cfg, ("lr=1",), "brno"), source_of(cfg, (), "praha")]
    assert len(set(sources)) == len(sources)
    assert source_of(replace(cfg, seeds=[0], on=[1], variants=["plus"]), (), "brno") == sources[0]


def test_a_run_made_anew_replaces_its_row():
    new = {**KEPT, "miou": "0.3", "fold": 1}
    other = {**KEPT, "seed": "1"}
    assert merged([KEPT, other], [new]) == [new, other]


@pytest.mark.parametrize(("overrides", "message"), [
    (["variants=[minus]"], r"variants=\[minus\]: recipe=minus: unknown recipe; choose one of rose"),
    (["variants=[plus:neighbours]"], r"variants=\[plus:neighbours\]: neighbours is not of the "
                                     "form"),
    (["variants=[plus:neighbours=many]"], r"variants=\[plus:neighbours=many\]: neighbours=many: "
                                          "expected"),
    (["variants=[plus:neighbours=4:neighbours=8]"],
     r"variants=\[plus:neighbours=4:neighbours=8\]: neighbours is there twice, neighbours=4 and "
     r"neighbours=8, expected each key once; leave one out"),
    (["variants=[plus:lr=1:lr=1]"], r"lr is there twice, lr=1 and lr=1, expected"),
    (["variants=[plus:neighbors=4]"], r"variants=\[plus:neighbors=4\]: .*neighbors"),
    (["variants=[release]"], r"variants=\[release\]: relation_codes=release is a key of prepare"),
    (["variants=[plus:count_objects=false]"], r"variants=\[plus:count_objects=false\]: "
     r"count_objects is a key of evaluate_pop_fusion.py alone, and all variants are trained for "
     r"land use; leave it out"),
    (["variants=[plus:lr=1,plus:lr:1]"], r"lr is not of the form"),
    (["variants=[rose,rose]"], r"rose and rose have the same name of a folder"),
    (["on=[4]"], r"on=\[4\]: there is no fold 4 of folds=3; choose among 1 to 3"),
    (["trainings=[knn]"], r"trainings=\[knn\]: there is no knn; choose among pretrained, scratch"),
    (["labels=[few]"], r"labels=\[few\]: few is no number of tiles"),
    (["recipe=plus"], r"recipe=plus: the study sets recipe itself, from variants=; give that"),
    (["test_file=test.txt"], r"test_file=test.txt: the study sets test_file itself and has no key"),
    (["remove_ratio=0.5"], r"remove_ratio=0.5: the study sets remove_ratio itself and has no key"),
    (["checkpoint=runs/x"], r"checkpoint=runs/x: the study sets checkpoint itself"),
    (["variants=[plus:modality=image]"], r"variants=\[plus:modality=image\]: modality=image: the "
                                         "study sets modality itself and has no key for it"),
    (["variants=[plus:epochs=9]"], r"epochs=9: the study sets epochs itself, from effort=;"),
    (["variants=[plus:image_encoder=x]"], r"image_encoder=x: the study sets image_encoder itself"),
    (["learning=3"], r"learning"),
    (["protocol=release"], r"protocol=release: the study sets protocol itself and has no key"),
    (["labels=[05]"], r"labels=\[05\]: 05 is no number of tiles"),
    (["tile_px=40"], r"tile_px=40: no multiple of 16, the patch side of image_encoder=test_vit"),
    (["variants=[plus:freeze=99]"], r"freeze=99: expected none, image"),
    (["pretrained=true"], r"pretrained=true: is for mode=scratch"),
    (["table=."], r"^error: .: is a folder, expected a table of runs; name another table="),
    (["table=pyproject.toml"], r"pyproject.toml: is no table of runs .*; name another table="),
])
def test_impossible_keys(tmp_path, capsys, overrides, message):
    with pytest.raises(SystemExit):
        run(tmp_path, tmp_path / "out", *overrides)
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert re.search(message, error)


@pytest.mark.parametrize(("content", "message"), [
    (b"variant,miou\nrose,1\n", r"has the columns variant,miou, expected variant,keys"),
    (b"", r"has the columns , expected"),
    (",".join(COLUMNS).encode() + b"\nrose,1\n", r"line 2 has 2 values, expected 9"),
    (b"\xff\xfe\x00", r"is no table of runs"),
])
def test_a_table_that_is_none(tmp_path, content, message):
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(RoseError, match=message):
        read_rows(tmp_path / "table.csv")
