"""No network learns from images or objects that its tiles do not have: what reads them is refused
in one line, and what it says to pass is taken."""

import re
from pathlib import Path

import pytest

import train_rose
from datasets import TileDataset
from inference.features.run import extract
from inference.keys import EXTRACT
from studies.attention_study import study_attention
from studies.keys import ATTENTION
from tests.evaluation.evaluating import run, stored, write_lists
from tests.pretrained import save_pretrained
from tests.random_tiles import change_meta, random_tile, write_compact
from training.keys import TRAIN
from utils.cli.compose import read
from utils.errors import RoseError, TileError

LISTS = {"osm-train-all.txt": range(3), "val.txt": [3], "test.txt": [4]}
SIDE = ["image_size=32", "num_workers=0", "accelerator=cpu"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Tiles of one modality each, called by it, and a pretrained network."""
    folder = tmp_path_factory.mktemp("one")
    for name, nodes in (("image", 0), ("osm", 5)):
        tiles = [random_tile(f"lima_{n}_0", nodes, nodes, side=32, targets=True) for n in range(5)]
        if name == "osm":
            for tile in tiles:
                tile.image[:] = 0
        write_lists(write_compact(folder / name, tiles, meta={"modalities": [name]}), LISTS)
    save_pretrained(folder / "model_1.tar")
    return folder


def evaluated(place: Path, problem: str, kind: str, *keys: str) -> dict:
    return run(problem, f"data_root={place / kind}", "image_size=32", "mode=scratch",
               "image_encoder=test_vit", "epochs=1", *keys)


REFUSED = [
    ("pop", "osm", "fusion", "raster=null, have no imagery, and modality=fusion reads imagery and "
                             "OSM objects; pass modality=osm or modality=osm_raster"),
    ("pop", "osm", "image", "have no imagery, and modality=image reads imagery; pass modality=osm"),
    ("pop", "osm", "image_osm_raster", "have no imagery, and modality=image_osm_raster reads "
                                       "imagery and OSM objects; pass modality=osm"),
    ("seg", "osm", "fusion", "have no imagery, .*; pass modality=osm or modality=osm_raster"),
    ("pop", "image", "fusion", "osm=null, have no OSM objects, and modality=fusion reads imagery "
                               "and OSM objects; pass modality=image"),
    ("pop", "image", "osm", "have no OSM objects, and modality=osm reads OSM objects; pass "
                            "modality=image"),
    ("seg", "image", "fine", "have no OSM objects, and modality=fine .*; pass modality=image"),
]


@pytest.mark.parametrize(("problem", "kind", "modality", "message"), REFUSED)
def test_an_evaluation_of_what_is_not_there_names_the_modality_that_is(
        place, tmp_path, problem, kind, modality, message):
    with pytest.raises(TileError, match=f"{kind}: its tiles, made with .*{message}") as raised:
        evaluated(place, problem, kind, f"modality={modality}", f"save_path={tmp_path / 'out'}")
    assert "\n" not in str(raised.value)
    remedies = re.search(r"pass (modality=.*)$", str(raised.value))[1].split(" or ")
    for remedy in remedies[:1 if modality == "image_osm_raster" else None]:
        evaluated(place, problem, kind, remedy, f"save_path={tmp_path / remedy}")
        assert stored(tmp_path / remedy)["remarks"] is not None


@pytest.mark.parametrize(("problem", "beside"), [
    ("pop", None), ("pop", "count_objects"), ("seg", "patch_mlp")])
def test_a_model_of_both_is_measured_on_tiles_without_objects(place, tmp_path, problem, beside):
    full = write_compact(tmp_path / "full", [
        random_tile(f"lima_{n}_0", 4, 3, side=32, targets=True) for n in range(5)])
    write_lists(full, LISTS)
    keys = ["modality=fusion", "image_size=32", "epochs=1", "mode=scratch",
            "image_encoder=test_vit"]
    run(problem, f"data_root={full}", f"save_path={tmp_path / 'fusion'}", *keys,
        *([f"{beside}=true"] if beside else []))
    best = tmp_path / "fusion/seed_0/best.safetensors"
    run(problem, f"data_root={place / 'image'}", f"checkpoint={best}", "modality=fusion",
        "epochs=0", "image_size=32", f"save_path={tmp_path / 'measured'}")
    [remark] = [line for line in stored(tmp_path / "measured")["remarks"] if "osm=null" in line]
    assert "sees every one as a tile without objects; expect less of it" in remark
    if beside:
        assert stored(tmp_path / "measured")["config"][beside] is True
    with pytest.raises(TileError, match="osm: its tiles, made with raster=null, have no imagery"):
        run(problem, f"data_root={place / 'osm'}", f"checkpoint={best}", "modality=fusion",
            "epochs=0", "image_size=32", f"save_path={tmp_path / 'never'}")


def pretrain(place: Path, kind: str, out: Path) -> None:
    train_rose.train(read(TRAIN, f"data_path={place / kind}", f"save_root_dir={out}",
                          "save_dir=run", "image_encoder=test_vit", *SIDE))


def attend(place: Path, kind: str, out: Path) -> None:
    study_attention(read(ATTENTION, f"data_root={place / kind}", f"save_path={out}",
                         f"checkpoint={place / 'model_1.safetensors'}", "image_size=32",
                         "accelerator=cpu"))


def features(place: Path, kind: str, out: Path, *keys: str) -> None:
    extract(read(EXTRACT, f"data_root={place / kind}", f"out={out}",
                 f"checkpoint={place / 'model_1.safetensors'}", *SIDE, *keys))


@pytest.mark.parametrize(("script", "message"), [
    (pretrain, "pretraining reads imagery and OSM objects; prepare them with raster= and osm=, or "
               "leave pretraining out: .* mode=scratch and modality=image or modality=osm"),
    (attend, "the attention of objects to the image reads imagery and OSM objects; choose"),
    (features, r"representations=\[rs,osm,fused\] reads imagery and OSM objects; pass "
               r"representations=\[(rs|osm)\]")])
@pytest.mark.parametrize(("kind", "lack"), [("image", "osm=null, have no OSM objects"),
                                            ("osm", "raster=null, have no imagery")])
def test_what_reads_both_refuses_tiles_of_one(place, tmp_path, kind, lack, script, message):
    with pytest.raises(TileError, match=f"{kind}: its tiles, made with {lack}, and {message}"):
        script(place, kind, tmp_path / "out")
    assert not (tmp_path / "out/run/loss_record.txt").exists()


@pytest.mark.parametrize(("kind", "representation"), [("image", "rs"), ("osm", "osm")])
def test_features_of_what_is_there_are_extracted(place, tmp_path, kind, representation):
    features(place, kind, tmp_path / "out", f"representations=[{representation}]")
    assert (tmp_path / "out/tiles.parquet").is_file()


def test_cities_copied_together_have_what_all_of_them_have(place, tmp_path):
    made = random_tile("rome_0_0", 2, 1, side=32)
    root = write_compact(tmp_path / "tiles", [made], "rome")
    write_compact(root, [random_tile("lima_0_0", 0, 0, side=32)], meta={"modalities": ["image"]})
    assert TileDataset(root, image_size=32).modalities == ("image",)
    assert TileDataset(root, ["rome"], image_size=32).modalities == ("image", "osm")
    change_meta(root / "cities/rome/meta.json", modalities=["osm"])
    assert TileDataset(root, image_size=32).modalities == ()
    with pytest.raises(RoseError, match="have no imagery"):
        pretrain(root.parent, root.name, tmp_path / "out")
