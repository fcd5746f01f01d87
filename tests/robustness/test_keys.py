"""Every key of every program with wrong values: one line that names key and value, or a value that
is within the key's bounds. Never another error."""

import math
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datasets.keys import CONVERT, PREPARE, SAMPLE_CITY, SPLITS
from evaluation.keys import REGRESSION, SEGMENTATION
from inference.keys import EXTRACT, PREDICT
from reports.keys import MAKE_REPORT
from studies.keys import ATTENTION, LABEL_EFFICIENCY, MISSING_OSM, MODALITIES
from tests.robustness.remedies import ROOT
from training.keys import TRAIN
from utils.cli.checks import check_all
from utils.cli.compose import composed_config, configured, read, typed
from utils.cli.overrides import quote
from utils.cli.program import PROGRAMS, Program
from utils.config import NOT_GIVEN, check_rule, check_type, is_group, keys_of
from utils.errors import ConfigError

ALL = {program.name: program for program in (
    PREPARE, CONVERT, SPLITS, SAMPLE_CITY, TRAIN, SEGMENTATION, REGRESSION, PREDICT, EXTRACT,
    MAKE_REPORT, ATTENTION, LABEL_EFFICIENCY, MISSING_OSM, MODALITIES)}
WRONG = (
    "", "[]", "{}", "[[1]]", "[[a]]", "[a,[b,[c]]]", "[null]", "['']", "{a:1}", "{a:{b:1}}",
    "null", "???", "true", "2", "-1", "0", "2.5", "1e20", "1e308", "1e400", str(10**30), "1e-320",
    "nan", "inf", "-inf", "9" * 5000, "x" * 5000, "a\tb", "a\nb", "a\x1b[31mb", "a\x7fb",
    "a\udcffb", "*", "'", '"', "a'b\"c", "{}", "{GUID}", "%s", "[1", "}", "a,b", "ä🌹", "[-1]",
    "[1e20]", "[nan]", "[0,0,0]", "[true]", "~", "!!python/object:os.system", "a=b", "\\", "()",
)
ROUNDS = 5  # each composes a whole config, which takes a twentieth of a second
REFERENCES = ("${", "${}", "${a", "${nope}", "${nope:1}", "${oc.env:HOME}", "${oc.env:NOT_THERE}",
              "${now:}", "${.}", "${..}", "${[}", "${oc.decode:'['}", "${oc.create:{a:1}}",
              "${hydra:job.name}", "${rose_folder:nope}", "a${nope}b", "[${nope}]", "${${nope}}")
SPECIAL = {"split.block": ["1e20"], "resolution": ["1e-320", "1e20"], "tile_px": ["1e20", "20000"],
           "graph_out_dim": ["1e20", "100000"], "epochs": ["1e20"], "schedule": ["[-1]", "[0]"],
           "seeds": ["[[1]]", "[]", "[-1]"], "cities": ["[[a]]", "[]"], "compile": ["2"],
           "bands": ["[0,1,2]", "[1]"], "out": ["a\tb"], "batch_size": ["0", "true", "2.0"],
           "num_workers": ["-1", "5000"], "log_every": ["0"], "stretch": ["[2,101]", "[nan,1]"]}


@pytest.fixture(autouse=True)
def programs():
    """A changed copy of a program takes its place among all; put them back."""
    yield
    PROGRAMS.update(ALL)


def complete(program: Program) -> list[str]:
    """Return overrides that give every key that must be given."""
    given = [f"{item.name}=[a]" if "list" in str(item.type) else f"{item.name}=a"
             for item in fields(program.schema)
             if item.default is NOT_GIVEN and not is_group(item)]
    return [*given, "out=a"] if "out=a" not in given and "out" in keys_of(program.schema) else given


def leaves(program: Program) -> list[str]:
    return [name for name, item in keys_of(program.schema).items()
            if not is_group(item) and not program.choice(name)]


def refusal(program: Program, composed: DictConfig) -> str:
    """Return why a program refuses its values, "" if it takes them."""
    try:
        typed(program, composed)
    except ConfigError as error:
        return str(error)
    return ""


def one_line_of(error: ConfigError, key: str) -> None:
    message = str(error)
    assert message.startswith(f"{key}=") or message.startswith(f"{key}: no value given"), message
    assert len(message.splitlines()) == 1
    assert message.isprintable() or "🌹" in message
    assert len(message) < 900


@pytest.mark.parametrize("name", ALL)
def test_every_wrong_value_of_every_key(name):
    program, accepted = ALL[name], {}
    for key in leaves(program):
        for value in WRONG:
            try:
                check_all(program, [quote(f"{key}={value}")])
            except ConfigError as error:
                one_line_of(error, key)
            else:
                accepted.setdefault(key, []).append(value)
    for turn in range(ROUNDS):  # all keys at once, each with another of its values
        overrides = [f"{key}={values[(turn + at) % len(values)]}"
                     for at, (key, values) in enumerate(accepted.items())]
        cfg = read(replace(program, implied=None), *complete(program), *overrides)
        for key in accepted:
            value = cfg
            for part in key.split("."):
                value = getattr(value, part)
            item = keys_of(program.schema)[key]
            check_rule(key, check_type(program.schema, key, value), item)
            numbers = value if isinstance(value, list) else [value]
            assert all(math.isfinite(number) for number in numbers
                       if isinstance(number, int | float))


@pytest.mark.parametrize("name", ALL)
def test_every_reference_works_or_is_one_line(name):
    program = ALL[name]
    base = composed_config(replace(program, implied=None), complete(program))
    for key in leaves(program):
        for value in REFERENCES:
            try:
                check_all(program, [quote(f"{key}={value}")])
                changed = OmegaConf.create(base)
                OmegaConf.update(changed, key, [value[1:-1]] if value[0] == "[" else value)
            except ConfigError as error:
                one_line_of(error, key)
                continue
            except OmegaConfBaseException:  # refused where it is set, as by Hydra
                continue
            if message := refusal(program, changed):
                assert f"{key}=" in message
                assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", ALL)
def test_values_that_were_once_let_through_are_refused(name):
    program = ALL[name]
    for key, values in SPECIAL.items():
        for value in values if key in keys_of(program.schema) else ():
            with pytest.raises(ConfigError) as refused:
                check_all(program, [quote(f"{key}={value}")])
            one_line_of(refused.value, key)


@pytest.mark.parametrize(("given", "value"), [
    ("1_000", "1_000"), ("1e20", "1e20"), ("true", "true"), ("007", "007"), ("\\${x}", "${x}"),
    ("${save_root_dir}/b", "runs/b"), ("{GUID}", "{GUID}"), ("{}/a", "{}/a"),
    ("[1].tif", "[1].tif")])
def test_text_stays_as_it_was_typed(given, value):
    assert read(TRAIN, "data_path=D", f"save_dir={given}").save_dir == value


def test_a_value_from_python_is_no_reference():
    assert configured(CONVERT, src="${x}", dst=Path("a${b")).dst == "a${b"


@pytest.mark.parametrize("argument", ["save_dir=a\tb", "lr=${oc.env:HOME}", "schedule=[[1]]",
                                      "seed=1e20", "save_dir=${oc.env:NOT_THERE}"])
def test_a_process_ends_with_one_line(argument, tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / "train_rose.py"), "data_path=D", argument],
                          cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"error: {argument.partition('=')[0]}=")
    assert list(tmp_path.iterdir()) == []
