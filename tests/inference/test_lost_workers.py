"""A process that cuts tiles is killed, as the out-of-memory killer does it: one line, and the same
command goes on."""

import os
import signal
from pathlib import Path

import pytest

from datasets.prepare.scene_tiles import SceneTiles
from inference import extract_features, map_scene
from tests.inference.maps.scenes import noise, write_model, write_raster
from tests.pretrained import save_pretrained
from tests.processes import end_children
from tests.random_tiles import contents
from utils.errors import RoseError


def mapped(folder: Path, out: Path) -> None:
    map_scene(folder / "city.tif", folder / "best.safetensors", out, num_workers=2,
              accelerator="cpu", batch_size=2)


def extracted(folder: Path, out: Path) -> None:
    extract_features(folder / "rose.tar", out, raster=folder / "city.tif", num_workers=2,
                     accelerator="cpu", patches=False, batch_size=2)


@pytest.mark.parametrize("run", [mapped, extracted])
def test_a_killed_process_is_one_line_and_the_run_goes_on(tmp_path, monkeypatch, run):
    write_raster(tmp_path / "city.tif", noise(700, 230))
    write_model(tmp_path / "best.safetensors")
    save_pretrained(tmp_path / "rose.tar")
    cut, main = SceneTiles.__getitem__, os.getpid()

    def killed(scene, number):
        if number == 2 and os.getpid() != main:
            os.kill(os.getpid(), signal.SIGKILL)
        return cut(scene, number)
    with monkeypatch.context() as patched:
        patched.setattr(SceneTiles, "__getitem__", killed)
        with pytest.raises(RoseError, match=r"num_workers=2: .*was (killed by SIGKILL|lost).*"
                                            r"memory.*the same command continues") as raised:
            run(tmp_path, tmp_path / "out")
    end_children()
    assert "\n" not in str(raised.value)
    assert [name for name in contents(tmp_path / "out") if not name.startswith(".")] == []
    run(tmp_path, tmp_path / "out")
    run(tmp_path, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
