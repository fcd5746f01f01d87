"""Groups of one script's own, overrides that follow from others, and overrides handed on."""

import pytest
from omegaconf import OmegaConf

from tests.utils.cli.small_command import OTHER, sample_without_data, use_small_configs
from tests.utils.cli.small_command import probe as program
from utils.cli.command import command, guarded
from utils.cli.compose import read
from utils.errors import ConfigError, RoseError


@pytest.fixture(autouse=True)
def small_configs(tmp_path, monkeypatch):
    use_small_configs(tmp_path / "configs", monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the script with arguments: what its main received, its output, its errors and its exit
    code."""
    def _run(*arguments, **options):
        received, code = [], 0
        monkeypatch.setattr("sys.argv", ["probe.py", *arguments])
        try:
            command(program(**options))(lambda *given: received.append(given))()
        except SystemExit as stop:
            code = stop.code
        return received, *capsys.readouterr(), code
    return _run


def probe(*overrides, implied=None):
    return read(program(implied=implied), *overrides)


def test_a_group_of_a_script_is_known_by_its_first_part():
    assert (probe("data_root=D").task, probe("data_root=D").lr) == ("land", 2e-4)
    assert (probe("data_root=D", "task=land_sz").task,
            probe("data_root=D", "task=land_sz").lr) == ("land_sz", 3e-4)
    assert (probe("experiment=sample", "task=land_sz").data_root,
            probe("experiment=sample", "save_root_dir=R").data_root) == (
        "runs/city", "R/city")
    assert probe("experiment=sample", "lr=1").lr == 1


def test_no_recipe_leaves_its_keys_alone():
    cfg = probe("data_root=D")
    assert (cfg.recipe, cfg.protocol, cfg.fine_input) == (None, None, None)
    cfg = probe("data_root=D", "recipe=release", "protocol=honest")
    assert (cfg.recipe, cfg.protocol, cfg.fine_input) == ("release", "honest", "double")
    assert probe("data_root=D", "recipe=release", "recipe=null").recipe is None


@pytest.mark.parametrize(("override", "message"), [
    ("task=people", "task=people: choose one of land, land_sz"),
    ("task=a,b", "task=a,b: choose one of land, land_sz"),
    ("task=null", "task=null: choose one of"), ("task/seg=land", "task/seg=land: unknown key; "
                                                                 "did you mean task"),
    ("experiment=none", "experiment=none: choose one of sample"),
    ("recipe=paper", "recipe=paper: choose one of rose, release"),
    ("protocol=none", "protocol=none: choose one of honest, release"),
])
def test_what_a_group_does_not_have_is_one_line(override, message):
    with pytest.raises(ConfigError) as error:
        probe("data_root=D", override)
    assert str(error.value).startswith(message)


def test_implied_overrides_yield_to_the_command_line():
    assert probe(implied=sample_without_data).lr == 5e-4
    assert probe("lr=1", implied=sample_without_data).lr == 1
    assert probe("data_root=D", implied=sample_without_data).lr == 2e-4
    with pytest.raises(ConfigError, match="data_root: no value given"):
        probe("experiment=null", implied=sample_without_data)


def test_implied_overrides_follow_from_the_texts_as_they_were_typed(run):
    seen = []
    run("data_root=a,b", "+lr=1", implied=lambda given: seen.append(given) or [])
    assert seen == [{"data_root": "a,b", "lr": "1"}]


def test_values_shown_hold_what_is_implied(run):
    _, output, *_ = run("--cfg", "job", "lr=1", implied=sample_without_data)
    shown = OmegaConf.create(output)
    assert (shown.data_root, shown.lr, shown.task, "hydra" in shown) == ("runs/city", 1, "land",
                                                                         False)


def test_help_has_the_choices_of_this_script_and_says_each_key_once(run):
    _, output, errors, code = run("--help")
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert (errors, code) == ("", 0)
    assert "task=land [land | land_sz] what to learn" in lines
    assert "experiment=null [sample] sample: the generated city" in lines
    assert "task=land_sz: Land use in Suzhou." in lines
    assert "people" not in output
    assert any(line.startswith("protocol=null [honest | release] choose the epoch on val")
               for line in lines)
    assert [line for line in lines
            if line.startswith("fine_input=")] == [
                "fine_input=null [single | double] as pretrained"]
    assert "handed on" not in output
    _, output, *_ = run("--help", forward=(OTHER,))
    assert "--multirun" in output
    assert "handed on" in output


def test_other_keys_are_handed_on(run):
    [(cfg, rest)], *_ = run("data_root=D", "epochs=3", "+notes=a,b", "lr=1", "cities=[a,b]",
                            forward=(OTHER,))
    assert (cfg.lr, rest) == (1, ["epochs=3", "+notes='a,b'", "cities=[a,b]"])
    for argument in ("lr=x", "epochs", "~epochs=3"):
        received, _, errors, code = run("data_root=D", argument, forward=(OTHER,))
        assert (received, errors.count("\n"), code) == ([], 1, 2)
    received, _, errors, code = run("data_root=D", "epochs=3")
    assert errors.startswith("error: epochs=3: unknown key; the keys are accelerator, data_root, ")
    assert errors.count("recipe") == 1


@pytest.mark.parametrize(("argument", "meant"), [
    ("epoch=3", "epochs"), ("sed=3", "seed"), ("+note=3", "notes"), ("tsk=land", "task")])
def test_an_unknown_key_is_refused_at_once_with_the_nearest_of_all(run, argument, meant):
    received, output, errors, code = run("data_root=D", argument, forward=(OTHER,))
    assert (received, output, code) == ([], "", 2)
    assert errors == f"error: {argument.lstrip('+')}: unknown key; did you mean {meant}?\n"


@pytest.mark.parametrize(("error", "message", "code"), [
    (RoseError("a: b"), "error: a: b\n", 2), (OSError(28, "full", "/d"),
        "error: /d: full; free space, or give another path\n", 2),
    (KeyboardInterrupt(), "interrupted; ", 130)])
def test_a_guarded_action_ends_in_one_line(capsys, error, message, code):
    def action():
        raise error
    with pytest.raises(SystemExit) as stop:
        guarded(action)
    assert stop.value.code == code
    assert capsys.readouterr().err.startswith(message)
