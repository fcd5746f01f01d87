"""Imports run downwards only, from room to room and without circles, imports inside functions
included."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RANKS = {
    "utils": 0, "models": 1, "datasets": 1, "reports": 1, "training": 2, "evaluation": 3,
    "inference": 3,
    "studies": 4, "benchmarks": 4,
}
SCRIPTS = 4  # the rank of the files at the top
NO_PRODUCT = {"tests", "configs", "docs"}


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of the product: its rooms, and the scripts at the
    top."""
    files = [*root.glob("*.py"), *(file for room in RANKS for file in (root / room).rglob("*.py"))]
    return {re.sub(r"\.__init__$", "",
                   ".".join(file.relative_to(root).with_suffix("").parts)): file for file in files}


def imports(name: str, file: Path, known: set[str], registered: bool) -> Iterator[str]:
    """Yield the modules of the product that a module's syntax tree imports anywhere.

    `import_module("a.b")` counts, too, and if `registered`, a registry's "a.b:attribute".
    """
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        candidates: list[str] = []
        if isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above * bool(node.level), *[node.module] * bool(node.module)])
            candidates = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base
                          for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            candidates = [argument.value for argument in node.args[:1]
                          if isinstance(argument, ast.Constant)]
        elif registered and isinstance(node, ast.Constant) and ":" in str(node.value):
            candidates = [str(node.value).partition(":")[0]]
        yield from (candidate for candidate in candidates if candidate in known)


def graph(root: Path, registered: bool = True) -> dict[str, set[str]]:
    """Return module -> the modules that it imports, those of its registry if `registered`."""
    found = modules(root)
    return {name: set(imports(name, file, set(found), registered)) - {name}
            for name, file in found.items()}


def rank(module: str) -> int:
    """Return the rank of a module's room; a script at the top is in none."""
    return RANKS.get(module.partition(".")[0], SCRIPTS)


def upward(arrows: dict[str, set[str]]) -> list[str]:
    """Return the imports that do not run downwards, as `a -> b`; a room may import itself."""
    room = {name: name.partition(".")[0] for name in arrows}
    return [f"{name} -> {other}" for name, others in sorted(arrows.items())
            for other in sorted(others)
            if room[name] != room[other] and rank(other) >= rank(name)]


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle of imports, the first one again at its end; empty where there
    is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name):], name]
        if name in done:
            return []
        for other in sorted(arrows[name]):
            if found := walk(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := walk(name, []))), [])


def test_imports_run_downwards():
    assert upward(graph(ROOT)) == []


def test_every_room_has_a_rank():
    rooms = {file.parent.name for file in ROOT.glob("*/*.py")}
    assert rooms - NO_PRODUCT == RANKS.keys()


def test_the_product_does_not_need_its_tests():
    lines = [f"{file}: {line}" for file in modules(ROOT).values()
             for line in file.read_text(encoding="utf-8").splitlines()
             if re.match(r"\s*(from|import) tests\b", line)]
    assert lines == []


def test_no_module_imports_itself_by_way_of_others():
    assert circle(graph(ROOT, registered=False)) == []  # what a registry names may use it


@pytest.mark.parametrize("room", RANKS)
def test_a_room_says_what_lives_in_it(room):
    text = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))
    said = " ".join((text or "").split())
    assert "may not" in said, "a paragraph on what lives in the room and what may not"


@pytest.mark.parametrize(("file", "line", "arrow"), [
    ("utils/files.py", "from models.rose import Rose", "utils.files -> models.rose"),
    ("reports/page.py", "def late():\n    from datasets import tiles",
     "reports.page -> datasets.tiles"),
    ("evaluation/run.py", "import inference.scene", "evaluation.run -> inference.scene"),
    ("models/rose.py", "DECODERS = {'linear': 'training.loader:Linear'}",
     "models.rose -> training.loader"),
    ("training/loader.py", "from importlib import import_module\nimport_module('train_rose')",
     "training.loader -> train_rose"),
])
def test_an_import_upwards_or_sidewards_is_found(tmp_path, file, line, arrow):
    for name in ("utils/files.py", "models/rose.py", "reports/page.py", "datasets/tiles.py",
                 "evaluation/run.py", "inference/scene.py",
                 "training/loader.py", "train_rose.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(line if name == file else "")
    assert upward(graph(tmp_path)) == [arrow]


def test_a_circle_is_found(tmp_path):
    for name, text in (("a", "from utils import b"), ("b", "def late():\n    from . import c"),
                       ("c", "import utils.a")):
        (tmp_path / "utils").mkdir(exist_ok=True)
        (tmp_path / "utils" / f"{name}.py").write_text(text)
    assert circle(graph(tmp_path)) == ["utils.a", "utils.b", "utils.c", "utils.a"]


def test_the_ground_floor_is_low():
    lines = sum(len(file.read_text(encoding="utf-8").splitlines())
                for file in (ROOT / "utils").rglob("*.py"))
    assert lines <= 3800
