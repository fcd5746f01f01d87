"""The page: HTML of one run's folder or of several, which needs no other file and no network."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from reports.attention_study import attention_study_section, is_attention_study
from reports.benchmark import benchmark_section, is_benchmark
from reports.blocks import Block, Section
from reports.claims import claims_section, is_claims
from reports.evaluation import RESULTS, evaluation_section, is_evaluation
from reports.grid import FILE as GRID
from reports.grid import grid_section, is_grid
from reports.markup import Markup, element
from reports.pretraining import METRICS, RECORD, is_pretraining, pretraining_section
from reports.record import FEATURES, SCENE
from reports.scene import is_scene, scene_section
from reports.study import is_study, study_section, unfinished
from utils.errors import ReportError
from utils.files import replacing
from utils.progress import passing_bar
from utils.style import OBJECT_COLOUR, OSM_COLOUR

REPORT = "report.html"
_ASSETS = Path(__file__).parent / "assets"
_COLOURS = f":root {{ --osm-colour: {OSM_COLOUR}; --object-colour: {OBJECT_COLOUR}; }}"
_SCRIPTS = ("tabs.js", "sort.js", "attention.js", "map.js")
# a study's results have those of evaluations in them, so studies are asked first
_KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Section]], ...] = (
    (is_scene, scene_section), (is_evaluation, evaluation_section),
    (is_pretraining, pretraining_section))
_JOINING: tuple[tuple[Callable[[Path], bool], Callable[[Path, Path, str], Section]], ...] = (
    (is_benchmark, benchmark_section), (is_claims, claims_section), (is_study, study_section),
    (is_attention_study, attention_study_section),
    (is_grid, grid_section))  # their runs have pages of their own


def write_report(folders: Sequence[Path], path: Path, title: str | None = None) -> None:
    """Write a page of the runs in `folders`, which depends on their files alone.

    Raise ReportError if a folder holds no run, or one of its files cannot be read.

    Args:
        folders: of pretraining runs, evaluations, studies, grids or scenes; several make a page
            with contents.
        path: of the page; its folder is made if it is missing.
        title: of the page; None: the run's, or the number of runs.
    """
    sections = _distinct([section_of(Path(folder), path.parent)
                          for folder in passing_bar(folders, "reading", "run")])
    beside = [section.folder.resolve() for section in sections] == [path.parent.resolve()]
    page = report_page(sections, title, beside)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def section_of(folder: Path, page: Path) -> Section:
    """Return the section of the run in `folder` for a page in the folder `page`; raise ReportError
    if the folder holds no run, or one of its files cannot be read."""
    for is_kind, section in _JOINING:
        if is_kind(folder):
            return section(folder, page, REPORT)
    for is_kind, section in _KINDS:
        if is_kind(folder):
            return section(folder)
    if not folder.is_dir():
        raise ReportError(f"{folder}: no such folder, expected that of a run; see where "
                          "train_rose.py, an evaluation or predict_scene.py said that its "
                          "outputs are")
    if (folder / FEATURES).is_file():
        cities = sorted(path.parent.name for path in folder.glob(f"*/{SCENE}"))
        remedy = (f"give the folders of its cities in it, {', '.join(cities)}" if cities else
                  "extract_features.py makes one of patches of fused, where it is known where "
                  "the tiles lie")
        raise ReportError(f"{folder}: holds features but no picture of them, expected {SCENE}; "
                          f"{remedy}")
    if count := unfinished(folder):
        raise ReportError(f"{folder}: a study that is not finished, expected {RESULTS} beside "
                          f"the runs of its {count} model{'s' * (count > 1)}; give its command "
                          "again, which continues, or the folders of runs that are finished")
    above = folder.resolve().parent
    remedy = (f"this is one seed of {above}, give that folder" if is_evaluation(above) else
              "give the folder that a command named as its outputs")
    raise ReportError(f"{folder}: holds no run, expected {METRICS} and {RECORD} (pretraining), "
                      f"{RESULTS} (an evaluation or a study), {GRID} (a grid) "
                      f"or {SCENE} (a map); {remedy}")


def _distinct(sections: Sequence[Section]) -> list[Section]:
    """Return the sections with their folders' names in titles that are equal."""
    titles = [section.title for section in sections]
    return [replace(section, title=f"{section.title} ({section.folder.resolve().name})")
            if titles.count(section.title) > 1 else section for section in sections]


def report_page(sections: Sequence[Section], title: str | None, beside: bool) -> str:
    """Return the page as text; `beside`: it will lie in the folder that it shows."""
    title = title or (sections[0].title if len(sections) == 1
                      else f"Report of {len(sections)} runs")
    style = Markup(f"{_COLOURS}\n{(_ASSETS / 'page.css').read_text(encoding='utf-8')}")
    code = Markup("\n".join((_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS))
    digest = b64encode(hashlib.sha256(code.encode()).digest()).decode()
    # A browser then loads nothing and runs no other script, whatever came into the page.
    policy = ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
              f"script-src 'sha256-{digest}'")
    head = element(
        "head", element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"), element("title", title),
        element("link", rel="icon", href="data:,"), element("style", style),
        element("noscript", element("style", Markup(".needs-script{display:none!important}"))))
    headed = len(sections) > 1 or sections[0].title != title
    names = [element("code", section.folder.resolve().name) for section in sections]
    listed = [[", " if index else "", name] for index, name in enumerate(names)]
    body = element(
        "body", element("a", "to the content", href="#content", class_="skip"),
        element("header", element("p", _rose(), "Rose", class_="brand"), element("h1", title),
                _contents(sections), class_="top"),
        element("main", [_section(number, section, headed)
                         for number, section in enumerate(sections, 1)], id="content"),
        element("footer", element("p", "Made by Rose from the files ",
                                  "beside it" if beside else ["of ", listed],
                                  ". This page is complete: it loads nothing, and can be kept or "
                                  "sent as it is.")),
        element("script", code))
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def _contents(sections: Sequence[Section]) -> Markup:
    """Return links to the sections; of a single section to its blocks."""
    if len(sections) == 1:
        links = [element("li", element("a", block.title, href=f"#{_anchor(1, block)}"))
                 for block in sections[0].blocks]
        return element("nav", element("ul", links, class_="parts"), aria_label="contents")
    entries = []
    for number, section in enumerate(sections, 1):
        figures = "; ".join(f"{what} {figure}" for what, figure, _ in section.headline)
        entries.append(element("li", element("span", section.kind, class_="kind"),
                               element("a", section.title, href=f"#s{number}"),
                               element("small", figures)))
    return element("nav", element("ol", entries, class_="contents"), aria_label="contents")


def _section(number: int, section: Section, headed: bool) -> Markup:
    lines = [element("p", line, class_="lead") for line in section.lines]
    stats = [element("div", element("dt", what), element("dd", figure, element("small", remark)))
             for what, figure, remark in section.headline]
    blocks = [element("section", element("h3", block.title), block.content,
                      id=_anchor(number, block), class_="block") for block in section.blocks]
    return element("article", element("p", section.kind, class_="kind"),
                   element("h2", section.title) if headed else None, lines,
                   element("dl", stats, class_="stats") if stats else None, blocks,
                   id=f"s{number}")


def _anchor(number: int, block: Block) -> str:
    words = "".join(letter if letter.isalnum() else "-" for letter in block.title.lower())
    return f"s{number}-{words}"


def _rose() -> Markup:
    """Return a wind rose, the page's mark."""
    star = element("path", d="M12 1l2.2 8.6L23 12l-8.8 2.4L12 23l-2.2-8.6L1 12l8.8-2.4z")
    return element("svg", star, element("circle", cx=12, cy=12, r=2.1), viewBox="0 0 24 24",
                   width=24, height=24, aria_hidden="true")
