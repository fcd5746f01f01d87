"""What cannot be evaluated is said in one line."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.evaluating import run
from tests.pretrained import save_pretrained
from utils.errors import RoseError

BAD = {
    "no checkpoint": ("seg", ["save_root_dir=EMPTY", "checkpoint=null"],
        "EMPTY: holds no pretraining run.*make pretrain"),
    "a folder without checkpoint": ("seg", ["checkpoint=EMPTY"], "EMPTY: holds no checkpoint"),
    "a file that is no checkpoint": ("seg", ["checkpoint=TILES/val.txt"],
                                     "val.txt: is no checkpoint"),
    "a missing file": ("seg", ["checkpoint=gone.tar"], "gone.tar: no such file"),
    "another encoder": ("seg", ["image_encoder=vit_tiny_patch16_224"],
        "was made with image_encoder=test_vit, not vit_tiny_patch16_224"),
    "another number of classes": ("seg", ["checkpoint=BEST", "classes=[a,b]"],
                                  r"classes=\[a,b\]: 2 names, but .* has 9 classes \(water,green"),
    "other names of classes": ("seg", ["checkpoint=BEST", "classes=[a,b,c,d,e,f,g,h,i]"],
                               r"fine-tuned for something else: classes=9 classes .*asked 9"),
    "another modality": ("seg", ["checkpoint=BEST", "modality=fine"],
                         r"modality=fusion \(asked fine\)"),
    "another problem": ("pop", ["checkpoint=BEST"], r"problem=segmentation \(asked regression\)"),
    "nothing to measure": ("seg", ["epochs=0"], "epochs=0: measures a fine-tuned model.*holds "
                                                "none"),
    "nothing to measure from scratch": ("seg", ["epochs=0", "mode=scratch"],
                                        "epochs=0: .*mode=scratch takes none"),
    "labels outside the classes": ("seg", ["classes=[a,b,c]", "data_root=BARE"],
                                   "lima_.*expected"),
    "no val list": ("seg", ["val_file=gone.txt"], "gone.txt: .*datasets.splits"),
    "no test list of that name": ("seg", ["test_file=tests.txt"], "tests.txt"),
    "no such data": ("seg", ["data_root=nowhere"], "nowhere: does not exist"),
    "timm's weights for a checkpoint": ("seg", ["pretrained=true"],
        "pretrained=true: is for mode=scratch, linear and knn; mode=finetune takes the weights"),
    "the same seed twice": ("seg", ["seeds=[1,1]"], r"seeds=\[1, 1\]: expected"),
    "no seed": ("seg", ["seeds=[]"], r"seeds=\[\]: a list of 0, expected"),
    "a seed too large": ("seg", ["seeds=[4294967296]"],
        "seeds=.*must be 0 or more and below 4294967296"),
    "the rates of another target": ("pop", ["task=sgp_pop", "target=co2"],
        "task=sgp_pop: its rates are made for another target than co2"),
    "a probe whose loss is not finite": ("pop", ["mode=linear", "linear_lr=1e30", "epochs=9"],
                                         r"the loss is not finite \(\w+\); .*lower lr"),
    "nodes of another width": ("seg", ["checkpoint=NARROW"], "narrow.safetensors: reads nodes of "
                                                             "101 columns.*have 525"),
    "text of another kind": ("seg", ["checkpoint=CLIP"], "clip.safetensors: was trained on tiles "
                                                         "with text=clip, and here is "
                                                         "text=hash.*; prepare the tiles with "
                                                         "text=clip, or choose another "
                                                         "checkpoint"),
    "one class": ("seg", ["classes=[a]"], "expected 2 to 254 different names"),
    "a decoder that does not exist": ("seg", ["decoder=cnn"], "decoder=cnn: choose one of "
                                                              "linear, mask_transformer"),
    "a modality of the other script": ("pop", ["modality=fine"], "modality=fine: choose one of "
                                                                 "image, osm, fusion"),
    "a task of the other script": ("seg", ["task=sz_pop"], "task=sz_pop: choose one of seg, "
                                                           "seg_ccg, seg_sgp, seg_sz"),
    "too many removed": ("seg", ["remove_ratio=1.5"], "remove_ratio=1.5: must be 0 or more and 1 "
                                                      "or less"),
    "a folder of another run": ("seg", ["save_path=WHOLE", "lr=0.5"],
                                r"results.json: belongs to another run: lr=0.5 \(there 0.001\)"),
    "a folder that is full": ("seg", ["save_path=WHOLE", "resume=never"],
                              "holds a run already, and resume=never"),
    "a loss that is not finite": ("seg", ["lr=1e30", "epochs=3"], "the loss is not finite .* on "
                                                                  "the tiles sample_.*lower lr"),
}

# networks, and what they know of their tiles
OTHERS = {"NARROW": ({"graph_in_dim": 100}, {}), "CLIP": ({}, {"text": {"name": "clip"}})}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(tiles, bare, checkpoint, whole, tmp_path, case):
    problem, overrides, message = BAD[case]
    (tmp_path / "EMPTY").mkdir()
    shutil.copytree(whole, tmp_path / "WHOLE")
    places = {"EMPTY": tmp_path / "EMPTY", "TILES": tiles, "WHOLE": tmp_path / "WHOLE",
              "BARE": bare,
              "BEST": whole / "seed_0" / "best.safetensors",
              **{name: tmp_path / f"{name.lower()}.safetensors" for name in OTHERS}}
    for name, (build, known) in OTHERS.items():
        if name in "".join(overrides):
            save_pretrained(tmp_path / f"{name.lower()}.tar", known, **build)
    for word, path in places.items():
        overrides = [override.replace(word, str(path)) for override in overrides]
    with pytest.raises(RoseError, match=message) as error:
        run(problem, f"data_root={tiles}", f"checkpoint={checkpoint}",
            f"save_path={tmp_path / 'run'}", *overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("change", "message"), [
    (lambda root: (root / "pop" / "lima_4_0.txt").write_text("many\n"),
        "lima_4_0.txt: the first line is 'many', expected a number"),
    (lambda root: (root / "pop" / "lima_0_0.txt").unlink(), "pop/lima_0_0.txt"),
    (lambda root: (root / "val.txt").write_text("\n"), "val.txt"),
    (lambda root: (root / "val.txt").write_text("oslo_1_1.png\n"), "val.txt.*oslo_1_1"),
])
def test_bad_targets_are_one_line(bare, tmp_path, change, message):
    root = tmp_path / "tiles"
    shutil.copytree(bare, root)
    change(root)
    with pytest.raises(RoseError, match=message):
        run("pop", f"data_root={root}", "mode=scratch", "image_encoder=test_vit",
            f"save_path={tmp_path / 'run'}")


@pytest.mark.parametrize(("pixels", "message"), [
    (np.full((224, 224), 12, np.uint8), "lima_0_0.png.*12"),
    (np.zeros((100, 224), np.uint8), "lima_0_0.png.*224 x 100"),
])
def test_bad_labels_are_one_line(bare, tmp_path, pixels, message):
    root = tmp_path / "tiles"
    shutil.copytree(bare, root)
    Image.fromarray(pixels).save(root / "label" / "lima_0_0.png")
    with pytest.raises(RoseError, match=message):
        run("seg", f"data_root={root}", "mode=scratch", "image_encoder=test_vit",
            f"save_path={tmp_path / 'run'}")


def test_lists_that_teach_or_measure_little_are_said_before_the_training(bare, tmp_path, capsys):
    root = tmp_path / "tiles"
    shutil.copytree(bare, root)
    for name in ("lima_3_0", "lima_1_0"):  # val.txt
        (root / "pop" / f"{name}.txt").write_text("0\n")
    found = run("pop", f"data_root={root}", "mode=scratch", "image_encoder=test_vit",
                f"save_path={tmp_path / 'run'}", "epochs=1")
    said = capsys.readouterr().out
    first, last = said.split("seed 0: building")
    for line in ("osm-train-all.txt has 3 tiles, expected 20 or more: a network learns little",
                 "val.txt has 2 tiles, expected 5 or more", "test.txt has 3 tiles, expected 5",
                 "val.txt has 0 as pop of all its 2 tiles: nothing tells a good network from a"):
        assert f"note: {line}" in first
        assert f"note: {line}" in last
    assert len(found["remarks"]) >= 4


def test_figures_that_are_not_finite_are_never_saved(tiles, checkpoint, tmp_path):
    for number, (problem, figure) in enumerate([("seg", "miou"), ("pop", "rmse nan")]):
        message = rf"the loss is not finite \(nan, {figure}.*, on the val tiles\)"
        folder = tmp_path / str(number)
        with pytest.raises(RoseError, match=f"^epoch 1, step 1: {message}.*lower lr") as error:
            run(problem, f"data_root={tiles}", f"checkpoint={checkpoint}", f"save_path={folder}",
                "epochs=1", "batch_size=16", "lr=1e30")
        assert "\n" not in str(error.value)
        assert not [path for path in folder.rglob("*") if path.is_file()]
