"""The command from raw files to a page: which commands it makes, and how it runs them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets.keys import PREPARE
from inference.keys import PREDICT
from studies import city
from studies.city import _claim, city_steps
from studies.keys import CITY
from studies.steps import Step, run_steps
from tests.processes import environment
from utils.cli.compose import read
from utils.errors import ConfigError, RoseError


def steps_of(*keys: str, rest: tuple[str, ...] = ()) -> list[Step]:
    return city_steps(read(CITY, "raster=city.tif", "osm=osm.gpkg", "out=mine", *keys), rest)


def commands(steps: list[Step]) -> list[str]:
    return [step.command for step in steps]


def test_from_raw_files_to_the_page():
    made = commands(steps_of("labels=use.tif", "population=people.gpkg"))
    assert made == [
        "python prepare_dataset.py raster=city.tif osm=osm.gpkg labels=use.tif "
        "population=people.gpkg out=mine/tiles city=mine keep_empty=true",
        "python train_rose.py data_path=mine/tiles experiment=own_city save_root_dir=mine "
        "save_dir=pretraining",
        "python evaluate_seg_fusion.py data_root=mine/tiles checkpoint=mine/pretraining "
        "experiment=own_city save_path=mine/land_use_model",
        "python predict_scene.py raster=city.tif osm=osm.gpkg checkpoint=mine/land_use_model "
        "out=mine/land_use",
        "python evaluate_pop_fusion.py data_root=mine/tiles checkpoint=mine/pretraining "
        "target=pop experiment=own_city save_path=mine/population_model",
        "python predict_scene.py raster=city.tif osm=osm.gpkg checkpoint=mine/population_model "
        "out=mine/population",
        "python make_report.py mine/land_use mine/land_use_model mine/population "
        "mine/population_model mine/pretraining out=mine/report.html title=mine",
    ]


def test_without_labels_it_maps_features():
    assert [step.script for step in steps_of()] == [
        "prepare_dataset.py", "train_rose.py", "extract_features.py", "make_report.py"]


def test_keys_go_to_the_commands_that_have_them():
    rest = ("resolution=0.6", "population_unit=per_km2", "zones=d.gpkg", "probabilities=true",
            "tile_px=112", "split.val=0.2")
    prepare, train, learn, land_use, _, people, _ = commands(
        steps_of("labels=use.tif", "population=p.tif", rest=rest))
    assert prepare.endswith("resolution=0.6 population_unit=per_km2 tile_px=112 split.val=0.2 "
                            "keep_empty=true")
    assert train.endswith(" image_size=112")
    assert learn.endswith(" image_size=112")
    assert land_use.endswith(" out=mine/land_use resolution=0.6 probabilities=true")
    assert people.endswith(" out=mine/population resolution=0.6 zones=d.gpkg")


def test_commands_are_printed_as_they_are_typed():
    prepare, *_ = steps_of("labels=use.tif", rest=(
        "classes='{\"#e6194b\":town,\"#3cb44b\":wood}'",))
    assert prepare.command.endswith("""'classes={"#e6194b":town,"#3cb44b":wood}' keep_empty=true""")


def test_its_commands_are_of_their_programs():
    prepare, _, _, land_use, _ = steps_of("labels=use.tif", rest=("bands=[3,2,1]",))
    assert read(PREPARE, *prepare.overrides).bands == [3, 2, 1]
    assert read(PREDICT, *land_use.overrides).bands == [3, 2, 1]


@pytest.mark.parametrize(("keys", "rest", "message"), [
    ((), ("layout=release",), "layout=release: set by this command itself"),
    ((), ("resolution=0",), "resolution=0.0: must be"),
    (("osm=null",), (), "there is nothing to pretrain on"),
])
def test_refused(keys, rest, message):
    with pytest.raises(ConfigError, match=message):
        steps_of(*keys, rest=rest)


def test_a_key_of_no_step_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["city", "raster=r.tif", "osm=o.gpkg", "out=mine",
                                     "resolutoin=1"])
    with pytest.raises(SystemExit):
        city.main()
    assert capsys.readouterr().err == ("error: resolutoin=1: unknown key; did you mean "
                                       "resolution?\n")


def script(folder: Path, name: str, body: str) -> Step:
    path = folder / f"{name}.py"
    path.write_text("import pathlib, signal, sys, time\nresult = pathlib.Path(sys.argv[1])\n"
                    + body)
    result = folder / f"{name}.result"
    return Step(name, str(path), (str(result),), result)


def test_a_finished_step_is_passed_over(tmp_path, capfd):
    steps = [script(tmp_path, name, "result.write_text('x' if not result.exists() else 'again')")
             for name in ("one", "two")]
    steps[0].result.write_text("before")
    run_steps(steps)
    assert steps[0].result.read_text() == "before"
    assert steps[1].result.read_text() == "x"
    assert "[1/2] one: done before" in capfd.readouterr().out


@pytest.mark.parametrize(("body", "message"), [
    ("sys.exit(2)", "ended with exit code 2, as it says above"),
    ("pass", "was stopped before its end"),
])
def test_nothing_follows_a_step_that_did_not_end_well(tmp_path, body, message):
    last = script(tmp_path, "last", "result.touch()")
    with pytest.raises(RoseError, match=message):
        run_steps([script(tmp_path, "first", body), last])
    assert not last.result.exists()


def test_a_step_is_not_done_while_its_work_is_there(tmp_path):
    step = script(tmp_path, "step", "result.touch()")
    step.result.touch()
    work = tmp_path / "work"
    work.mkdir()
    assert not Step("", "", (), step.result, work).done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_running_command_save(tmp_path, number):
    step = script(tmp_path, "saving", (
        "def save(*_):\n    time.sleep(0.4)\n    result.with_suffix('.saved').touch()\n    "
        "sys.exit(0)\n"
        "signal.signal(signal.SIGINT, save)\nsignal.signal(signal.SIGTERM, save)\n"
        "result.with_suffix('.began').touch()\ntime.sleep(30)\n"))
    program = ("import sys\nfrom pathlib import Path\nfrom studies.steps import Step, run_steps\n"
               "from utils.cli.command import guarded\n"
               f"guarded(lambda: run_steps([Step('save', {step.script!r}, {step.overrides!r}, "
               f"Path({str(step.result)!r}))]))\n")
    process = subprocess.Popen([sys.executable, "-c", program], env=environment(),
                               cwd=Path(__file__).parents[2], start_new_session=True)
    while not step.result.with_suffix(".began").exists() and process.poll() is None:
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal sends it
    else:
        process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert step.result.with_suffix(".saved").exists()


def test_another_run_in_the_folder_is_refused(tmp_path):
    source = tmp_path / "city.tif"
    source.touch()
    cfg = read(CITY, f"raster={source}", "osm=o.gpkg", f"out={tmp_path}/mine")
    record = Path(cfg.out, "city.json")
    record.parent.mkdir()
    _claim(record, cfg, city_steps(cfg, ()))
    _claim(record, cfg, city_steps(cfg, ["resolution=2"]))  # nothing was made yet
    (record.parent / "pretraining").mkdir()
    with pytest.raises(RoseError, match=r"other commands \(resolution=2 there\); give"):
        _claim(record, cfg, city_steps(cfg, ()))
    source.write_text("other")
    with pytest.raises(RoseError, match=r"city.tif: has changed since .*mine was begun"):
        _claim(record, cfg, city_steps(cfg, ["resolution=2"]))
