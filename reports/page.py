"""A report: one HTML page of one run's folder or of several, which needs no other file and no
network."""

import hashlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from reports.evaluation import RESULTS, evaluation_section, is_evaluation
from reports.markup import Markup, element, joined
from reports.parts import Block, Section
from reports.pretraining import METRICS, RECORD, is_pretraining, pretraining_section
from reports.record import FEATURES, SCENE
from reports.scene import is_scene, scene_section
from utils.errors import ReportError
from utils.files import replacing
from utils.style import IMAGE_COLOUR, OBJECT_COLOUR, OSM_COLOUR

REPORT = "report.html"
_ASSETS = Path(__file__).parent / "assets"
_COLOURS = f":root {{ --image-colour: {IMAGE_COLOUR}; --osm-colour: {OSM_COLOUR}; --object-colour: {OBJECT_COLOUR}; }}"
_SCRIPTS = ("tabs.js", "chart.js", "confusion.js", "attention.js", "map.js")
_KINDS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Section]], ...] = (
    (is_scene, scene_section), (is_evaluation, evaluation_section),
    (is_pretraining, pretraining_section))


def write_report(folders: Sequence[Path], path: Path, title: str | None = None) -> None:
    """Write a page of the runs in `folders`, built from their files alone: the same files give the
    same page.

    Args:
        folders: of pretraining runs, evaluations or scenes; several make a page with a table of
            contents.
        path: of the page; its folder is made where it is missing.
        title: of the page; None: the run's, or how many runs there are.

    Raises:
        ReportError: a folder is none of these, or one of its files cannot be read.
    """
    sections = [section_of(Path(folder)) for folder in folders]
    page = report_page(_told_apart(sections), title,
                       beside=[path.parent.resolve()]
                       == [section.folder.resolve() for section in sections])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def section_of(folder: Path) -> Section:
    """What a page says of the run in `folder`.

    Raises:
        ReportError: it is no run's, or one of its files cannot be read.
    """
    for is_kind, section in _KINDS:
        if is_kind(folder):
            return section(folder)
    if not folder.is_dir():
        raise ReportError(f"{folder}: no such folder, expected that of a run; see where "
                          "train_rose.py, an evaluation or predict_scene.py said that its "
                          "outputs are")
    if (folder / FEATURES).is_file():
        cities = sorted(path.parent.name for path in folder.glob(f"*/{SCENE}"))
        raise ReportError(f"{folder}: holds features but no picture of them, expected {SCENE}; "
                          + (
            f"give the folders of its cities in it, {', '.join(cities)}" if cities else
            "extract_features.py makes one of patches of fused, where it is known where the "
            "tiles lie"))
    above = folder.resolve().parent
    seed = f"; this is one seed of {above}, give that folder" if is_evaluation(above) else ""
    raise ReportError(f"{folder}: holds no run, expected {METRICS} and {RECORD} (pretraining), "
                      f"{RESULTS} (an evaluation) or {SCENE} (a "
                      f"map){seed or '; give the folder that a command named as its outputs'}")


def _told_apart(sections: Sequence[Section]) -> list[Section]:
    """Sections whose titles are all different: of those that are equal, each with its folder."""
    titles = [section.title for section in sections]
    return [replace(section, title=f"{section.title} ({section.folder.resolve().name})")
            if titles.count(section.title) > 1 else section
            for section in sections]


def report_page(sections: Sequence[Section], title: str | None = None,
                beside: bool = False) -> str:
    """The page as text; `beside`: it will lie in the folder that it is of, whatever that is called
    then."""
    title = title or (sections[0].title if len(sections) == 1
                      else f"Report of {len(sections)} runs")
    style = Markup(f"{_COLOURS}\n{(_ASSETS / 'page.css').read_text(encoding='utf-8')}")
    code = Markup("\n".join((_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS))
    digest = b64encode(hashlib.sha256(code.encode()).digest()).decode()
    # by which a browser loads nothing and runs no other script, whatever came into the page
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element(
        "head", element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"), element("title", title),
        element("link", rel="icon", href="data:,"),
        element("style", style),
        element("noscript", element("style", Markup(".needs-script{display:none!important}"))))
    headed = len(sections) > 1 or sections[0].title != title
    body = element(
        "body", element("a", "to the content", href="#content", class_="skip"),
        element("header", element("p", _rose(), "Rose", class_="brand"), element("h1", title),
                _contents(sections), class_="top"),
        element("main",
                [_section(place, section, headed) for place, section in enumerate(sections, 1)],
                id="content"),
        element("footer", element("p", "Made by Rose from the files ",
                                  "beside it" if beside else ["of ", _listed(sections)],
                                  ". This page is complete: it loads nothing, and can be kept or "
                                  "sent as it is.")),
        element("script", code))
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def _contents(sections: Sequence[Section]) -> Markup:
    """Links to the sections and their parts; of a single section to its parts."""
    if len(sections) == 1:
        links = [element("li", element("a", block.title, href=f"#{_anchor(1, block)}"))
                 for block in sections[0].blocks]
        return element("nav", element("ul", links, class_="parts"), aria_label="contents")
    entries = []
    for place, section in enumerate(sections, 1):
        numbers = "; ".join(f"{what} {figure}" for what, figure, _ in section.headline)
        entries.append(element("li", element("span", section.kind, class_="kind"),
                               element("a", section.title, href=f"#s{place}"),
                               element("small", numbers)))
    return element("nav", element("ol", entries, class_="contents"), aria_label="contents")


def _section(place: int, section: Section, headed: bool) -> Markup:
    lines = [element("p", line, class_="lead") for line in section.lines]
    stats = [element("div", element("dt", what), element("dd", figure, element("small", remark)))
             for what, figure, remark in section.headline]
    blocks = [element("section", element("h3", block.title), block.content,
                      id=_anchor(place, block), class_="block")
              for block in section.blocks]
    return element("article", element("p", section.kind, class_="kind"),
                   element("h2", section.title) if headed else None, lines,
                   element("dl", stats, class_="stats") if stats else None, blocks, id=f"s{place}")


def _anchor(place: int, block: Block) -> str:
    return f"s{place}-{''.join(letter if letter.isalnum() else '-' for letter in block.title.lower())}"


def _listed(sections: Sequence[Section]) -> Markup:
    parts = [element("code", section.folder.resolve().name) for section in sections]
    return joined([[", " if place else "", part] for place, part in enumerate(parts)])


def _rose() -> Markup:
    """A wind rose, the page's mark."""
    star = element("path", d="M12 1l2.2 8.6L23 12l-8.8 2.4L12 23l-2.2-8.6L1 12l8.8-2.4z")
    return element("svg", star, element("circle", cx=12, cy=12, r=2.1), viewBox="0 0 24 24",
                   width=24, height=24, aria_hidden="true")
