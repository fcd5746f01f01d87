"""What a benchmark goes on from when some of its folder was removed, or was made otherwise."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from studies import benchmark_runs
from tests.studies.tiny_city import run, write_city

ASKED = ("rows=[fusion]", "parts=[main,missing]", "tasks=[land_use]")
DEGRADED = {"removed": (1.0,), "shifted": (5.0,)}
RUNS = "runs/land_use/fusion_pretrained_all"


@pytest.fixture(scope="module")
def city(tmp_path_factory) -> Path:
    return write_city(tmp_path_factory.mktemp("city") / "brno")


@pytest.fixture(scope="module")
def finished(city, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bench") / "out"
    run(city, out, *ASKED, **DEGRADED)
    return out


@pytest.fixture
def made(finished, tmp_path) -> Path:
    """The outputs of a small benchmark."""
    return shutil.copytree(finished, tmp_path / "out")


@pytest.fixture
def worked(monkeypatch) -> list[Path]:
    """The folders of the runs that are made from now on."""
    folders, work = [], benchmark_runs.Unit.work

    def noted(unit, threads):
        folders.append(unit.folder)
        work(unit, threads)
    monkeypatch.setattr(benchmark_runs.Unit, "work", noted)
    return folders


def refused(city: Path, out: Path, capsys) -> str:
    """Run the command, and return the line that ends it."""
    with pytest.raises(SystemExit) as end:
        run(city, out, *ASKED, **DEGRADED)
    assert end.value.code == 2
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    return error


def test_runs_on_tiles_of_other_files_are_refused(made, city, tmp_path, capsys):
    other = shutil.copytree(city, tmp_path / "changed" / city.name)
    with (other / "ortho.tif").open("ab") as file:
        file.write(b" ")
    assert refused(other, made, capsys).endswith(
        f"name another out=, or `rm -r {shlex.quote(str(made))}`: all of it was made with those")
    shutil.rmtree(made / "tiles")
    error = refused(other, made, capsys)
    assert "pretraining/rose_hash_seed-0/run.json: is of a run with other keys: sources of" in error
    shutil.rmtree(made / "pretraining")
    assert "is of a run with other keys: " in (error := refused(other, made, capsys))
    assert "sources of the tiles=" in error


def test_tiles_are_made_again_from_the_same_files(made, city, worked):
    shutil.rmtree(made / "tiles")
    run(city, made, *ASKED, **DEGRADED)
    assert not worked


def test_records_that_do_not_say_what_tiles_are_of_stay(made, city, worked):
    for path in made.rglob("run.json"):
        record = json.loads(path.read_text())
        assert record["request"].pop("tiles")["sources"]
        path.write_text(json.dumps(record))
    run(city, made, *ASKED, **DEGRADED)
    assert not worked


def test_a_city_of_another_name_has_the_same_tiles(made, city, tmp_path, worked):
    other = shutil.copytree(city, tmp_path / "praha")
    run(other, made, *ASKED, **DEGRADED)
    assert not worked
    assert [path.name for path in (made / "tiles/cities").iterdir()] == [city.name]


def test_a_dataset_of_another_command_is_not_written_into(made, city, capsys):
    meta = made / "tiles/cities" / city.name / "meta.json"
    before = meta.read_bytes()
    (made / "tiles/city.json").unlink()
    error = refused(city, made, capsys)
    assert f"{made / 'tiles'}: holds a dataset of {city.name} that this study did not make" in error
    assert meta.read_bytes() == before
    for name in ("runs", "pretraining"):  # as studies.city has it
        shutil.rmtree(made / name)
    (made / "pretraining").mkdir()
    (made / "pretraining/report.html").touch()
    assert f"out={made}: holds figures, pretraining, " in refused(city, made, capsys)
    assert meta.read_bytes() == before


def test_an_unfinished_dataset_is_made_again(made, city, worked):
    (made / "tiles/city.json").unlink()
    (made / "tiles/spent.json").write_text('{"seconds": 99, "since": 0, "parts": {}}')
    run(city, made, *ASKED, **DEGRADED)
    assert not worked
    assert json.loads((made / "tiles/city.json").read_text())["seconds"] > 99


def test_a_measuring_that_lost_one_of_its_folders_is_made_again(made, city, worked, capsys):
    first, lost = (made / f"{RUNS}_{name}/fold-2_seed-0" for name in ("removed-1", "shifted-5"))
    assert (first / "run.json").is_file()
    (lost / "results.json").write_text("{")
    assert f"remove the folder {lost}, and the same command makes it again" in refused(
        city, made, capsys)
    shutil.rmtree(lost)
    run(city, made, *ASKED, **DEGRADED)
    assert worked == [first]
    assert (lost / "results.json").is_file()


def test_lost_weights_of_a_pretraining_are_made_again(made, city, worked):
    pretraining = made / "pretraining/rose_hash_seed-0"
    for path in pretraining.glob("model_*"):
        path.unlink()
    run(city, made, *ASKED, **DEGRADED)
    assert worked == [pretraining]
    assert (pretraining / "model_1.safetensors").is_file()


def test_results_of_a_model_that_was_removed_stay(made, city, worked):
    (made / f"{RUNS}/fold-1_seed-0/seed_0/best.safetensors").unlink()
    run(city, made, *ASKED, **DEGRADED)
    assert not worked
