"""The files of keys that docs/command_line.md shows."""

import re

import yaml

from tests.pages import Page, joined, run_command

TEXT = joined(Page("docs/command_line.md").text)


def test_a_user_s_own_files_work(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for file, content in re.findall(r"`mydir/(\S+\.yaml)`[^`]*?:\n\n((?:    .*\n)+)", TEXT):
        (tmp_path / "mydir" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mydir" / file).write_text(re.sub("^    ", "", content, flags=re.MULTILINE))
    shown = []
    for command in re.findall(r"^    (python .* --config-dir .*)$", TEXT, re.MULTILINE):
        run_command(f"{command} --cfg job")
        shown.append(yaml.safe_load(capsys.readouterr().out))
    experiment, config = shown
    assert (experiment["batch_size"], experiment["precision"]) == (16, "bf16-mixed")
    assert (config["data_path"], config["lr"]) == ("data/mycity", 1e-3)
