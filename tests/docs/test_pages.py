"""All pages: their commands have the keys that the scripts know, their links lead somewhere, and
the short pieces of Python run."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from models import build_rose
from models.heads import SegmentationHead
from models.network_file import save_finetuned
from tests.pages import ROOT, Page, joined, run_command
from utils.checkpoint import save_checkpoint

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = [path for folder in (ROOT, ROOT / "studies", ROOT / "datasets")
           for path in sorted(folder.glob("*.py"))]
SHOWING = ("--help", "--cfg", "--info")
COMMAND = re.compile(
    r"^(?:    )?(?:python|torchrun(?: --\S+)*) ((?:-m (?:datasets|studies)\.\w+|\w+\.py) .*)$",
    re.MULTILINE)


def commands_of(path: Path) -> list[str]:
    """Return the command lines in a page, or in a script's docstring."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    lines = [line.split(" #")[0].strip() for line in COMMAND.findall(joined(text))]
    return [line for line in lines if "..." not in line and "--config-dir" not in line]


SHOWN = {f"{path.relative_to(ROOT)}: {line}": line for path in (*PAGES, *SCRIPTS)
         for line in commands_of(path)}


@pytest.mark.parametrize("command", SHOWN.values(), ids=SHOWN.keys())
def test_a_command_has_keys_that_its_script_knows(command, capsys):
    if " --multirun" in command:  # the values of a grid are shown one run at a time
        command = re.sub(r" '\w+=\w+\(.*?'", "", command.replace("--multirun ", ""))
        command = re.sub(r"(=[^\[,\s]+),\S+", r"\1", command)
    shows = any(flag in command for flag in SHOWING)
    run_command(f"python {command}{'' if shows else ' --cfg job'}")
    assert capsys.readouterr().out or "--info" in command  # Hydra logs that


def test_enough_commands_are_found():
    assert len(SHOWN) > 60


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_python_of_readme_and_evaluation_runs(sample_tiles, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sample_tiles, "runs/sample_city_12/tiles")
    build = {"image_encoder": "test_vit"}
    rose = build_rose(**build)
    save_checkpoint(Path("runs/sample/model_44.tar"),
                    {"model": rose.state_dict(), "build": build, "global_step": 1})
    head = SegmentationHead("fusion", "linear", tuple(f"class {index}" for index in range(9)))
    save_finetuned("best.safetensors", head.build(rose), head)
    Path("runs/sample_seg_fusion_finetune/seed_0").mkdir(parents=True)
    Path("best.safetensors").rename("runs/sample_seg_fusion_finetune/seed_0/best.safetensors")
    names = Page("README.md").run_python()
    assert (names["logits"].shape, names["people"].shape) == ((4, 9, 224, 224), (4, 1))
    names = Page("docs/evaluation.md").run_python(images=names["images"], graphs=names["graphs"])
    assert names["logits"].shape == (4, 9, 224, 224)
