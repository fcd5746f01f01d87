"""An evaluation takes names and colours of classes from its dataset, and hands them on."""

import pytest
import torch

from models.network_file import NetworkFile
from tests.evaluation.evaluating import configure, made, run, stored, write_lists
from tests.pretrained import save_pretrained
from tests.random_tiles import META, random_tile, write_compact
from utils.errors import ConfigError
from utils.style import class_colours

OWN = ["town", "forest", "lake", "moor", "road", "quarry", "field", "port", "rail yard"]
HUES = [f"#{number:02x}8040" for number in range(9)]


def keys(folder, **meta) -> list[str]:
    """Return the keys of tiles with own classes, and of a network pretrained on nothing."""
    root = write_compact(folder / "tiles", [
        random_tile(f"lima_{n}_0", nodes=4, edges=3, side=32, targets=True) for n in range(5)],
        meta={**META, "classes": OWN, **meta})
    write_lists(root, {"osm-train-all.txt": range(3), "val.txt": [3], "test.txt": [4]})
    torch.manual_seed(0)
    return [f"data_root={root}", f"checkpoint={save_pretrained(folder / 'model_1.tar')}",
            "image_size=32", f"save_path={folder / 'run'}"]


def test_names_and_colours_go_to_results_model_and_page(tmp_path):
    given = keys(tmp_path, class_colours=HUES)
    summary = run("seg", *given, "epochs=1", pictures=True)
    assert [f"iou_{name}" in summary["mean"] for name in OWN] == [True] * 9
    result = stored(tmp_path / "run")
    assert (result["classes"], result["class_colours"]) == (OWN, HUES)
    head = NetworkFile(tmp_path / "run" / "seed_0" / "best.safetensors").head
    assert (head.classes, head.colours) == (tuple(OWN), HUES)
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(name in page for name in OWN)
    assert HUES[3] in page


def test_classes_renames_those_of_the_dataset_and_only_as_many(tmp_path):
    given = keys(tmp_path)
    with pytest.raises(ConfigError, match=r"classes=\[a,b\]: 2 names, but .*tiles has 9 classes "
                                          r"\(town,forest,.*leave classes= out"):
        run("seg", *given, "classes=[a,b]")
    cfg = configure("seg", *given, "epochs=1", "num_workers=0", "accelerator=cpu",
                    "classes=[a,b,c,d,e,f,g,h,i]")
    made(cfg, tmp_path / "renamed")
    result = stored(tmp_path / "renamed")
    assert result["classes"] == list("abcdefghi")
    assert result["class_colours"] == class_colours("abcdefghi")
