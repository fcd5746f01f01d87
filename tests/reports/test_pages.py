"""Pages of each kind: what they say, that they need nothing else, and that no name becomes
markup."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

import make_report
from reports import write_report
from reports.markup import script_json
from reports.read import LARGE, picture
from tests.reports.folders import (
    HOSTILE,
    SVG,
    attention_study,
    benchmark,
    claims,
    grid,
    pretraining,
    regression,
    scene,
    segmentation,
    study,
)

KINDS = {"pretraining": pretraining, "segmentation": segmentation, "regression": regression,
         "scene": scene, "study": study, "attention_study": attention_study, "grid": grid,
         "claims": claims, "benchmark": benchmark}
VOID = {"img", "input", "meta", "link", "br"}


class Page(HTMLParser):
    """The elements, attributes and texts of a page; fails where an element is not closed as it was
    opened."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(*folders: Path, title: str | None = None) -> Page:
    path = folders[0].parent / "page" / "report.html"
    write_report(folders, path, title)
    return Page(path)


@pytest.mark.parametrize(("kind", "texts"), [
    ("pretraining", ["6 steps. The record ends in epoch 1.", "25.0 with the mean colour",
                     "18.0% 9.0% 2.00 x", "house",
                     "25% by always the commonest of 7"]),
    ("segmentation", ["0.4000 ± 0.0100", "class prior", "best baseline 0.1000",
                      "85% of 100 pixels right", "absent", "seed 1", "ab" * 32]),
    ("regression", ["R² -0.5000", "training mean", "town_0_1 4.000 9.000 town_0_0 3.000 1.000",
                    "no better than the mean"]),
    ("scene", ["0.08 km²", "people 1,234 on water", "25.0% 2.0 ha", "310.5", "100 m", "south -",
               "map.tif"]),
    ("study", ["2 models of land use, trained on 6 tiles, measured on 2 test tiles",
               "mean ± standard deviation of 2",
               "mIoU 0.5000 ± 0.0100 the best: modality fusion; without a model 0.1000",
               "1 image 0.4000 ± 0.0100", "2 fusion ★ 0.5000 ± 0.0100",
               "without a model: class prior 0.1000 ★ 0.5000", "1: modality image seed epoch",
               "0 2 0.4000 0.5000 1 3 0.4000 0.5000", "6 train, 2 val, 2 test",
               "a note", "a class is absent", "IoU water", "seeds"]),
    ("attention_study", ["5 OSM objects of 2 tiles", "1.500 1 is chance", "house 5 1.500 1.100"]),
    ("grid", ["3 runs, which differ in lr; 1 of them failed.", "mIoU 0.7000 the best, run 2: lr=2",
              "1 1e-3 0.5000 2 2 ★ 0.7000", "Failed runs run lr error 3 3 lr=3: 1e-3"]),
])
def test_a_page_says_what_its_folder_holds(tmp_path, kind, texts):
    page = page_of(KINDS[kind](tmp_path / "run"))
    assert [words for words in texts if words not in page.text] == []


def test_a_page_says_what_a_run_has_not_learned(tmp_path):
    folder = pretraining(tmp_path / "run")
    file = folder / "reconstruction.json"
    record = json.loads(file.read_text())
    write_report([folder], folder / "report.html")
    assert "too little" not in Page(folder / "report.html").source
    file.write_text(json.dumps(record | {"remark": "It has learned too little: <b>try</b>."}))
    write_report([folder], folder / "report.html")
    assert "It has learned too little: <b>try</b>." in Page(folder / "report.html").texts


def test_maps_of_the_same_title_are_told_apart_by_their_folders(tmp_path):
    page = page_of(*(scene(tmp_path / name) for name in ("with", "without")),
                   scene(tmp_path / "other", title="Population of city.tif"))
    assert [title in page.text for title in ("Land use of city.tif (with)",
                                             "Land use of city.tif (without)",
                                             "city.tif (other)")] == [
        True, True, False]
    assert "from the files of with , without , other ." in page.text


def test_a_page_among_its_files_does_not_name_their_folder(tmp_path):
    folder = scene(tmp_path / "made")  # which may be moved when it is whole
    write_report([folder], folder / "report.html")
    text = Page(folder / "report.html").text
    assert "from the files beside it" in text
    assert "made" not in text.lower().replace("made by rose", "")


def test_figures_in_writing_stand_to_the_right_as_numbers_do(tmp_path):
    cells = page_of(scene(tmp_path / "map")).of("td")
    assert [cell.get("class") for cell in cells[:4]] == ["number"] * 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_needs_nothing_else(tmp_path, kind):
    page = page_of(KINDS[kind](tmp_path / "run"))
    sources = [value for _, attributes in page.elements for name, value in attributes.items()
               if name in ("src", "href", "data", "poster", "srcset")]
    links = [source for source in sources if not source.startswith(("data:", "#"))]
    assert all((tmp_path / "page" / link).is_file() for link in links)  # of runs, if asked for
    code = re.sub(r'"data:[^"]*"', "", page.source)
    assert re.findall(
        r"https?:|url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(|sendBeacon|WebSocket",
        code) == []
    policy = next(meta["content"] for meta in page.of("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_described_links_lead_somewhere_and_ids_are_given_once(tmp_path, kind):
    page = page_of(KINDS[kind](tmp_path / "run"), KINDS[kind](tmp_path / "again"))
    assert all(image["alt"] for image in page.of("img"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.of("a") if link["href"][0] == "#"} <= set(ids)
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.of("svg"))


def test_names_never_become_markup(tmp_path):
    folders = [pretraining(tmp_path / "a", HOSTILE, HOSTILE),
               segmentation(tmp_path / "b", HOSTILE), regression(tmp_path / "c", HOSTILE),
               scene(tmp_path / "d", HOSTILE, HOSTILE), claims(tmp_path / "e", HOSTILE),
               benchmark(tmp_path / "f", HOSTILE)]
    page = page_of(*folders, title=HOSTILE)
    plain = page_of(*(make(tmp_path / f"plain{number}")
                      for number, make in enumerate((pretraining, segmentation, regression,
                                                     scene, claims, benchmark))), title="plain")
    assert [name for name, _ in page.elements] == [name for name, _ in plain.elements]
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert HOSTILE in page.text


def test_claims_and_a_benchmark_have_pages(tmp_path):
    text = page_of(claims(tmp_path / "claims")).text
    for words in ("Rose on lima: 0 of 2 claims hold, 1 of 1 aims hold; intervals over tiles and "
                  "seeds, where there are several.",
                  "-0.100 more [-0.200, -0.050] 1", "no interval fusion less lima",
                  "5.50 3 times or more [5.00, 6.00] 1 or 2",
                  "Why claims fail rose, lima: no reason"):
        assert words in text, words
    page = page_of(benchmark(tmp_path / "benchmark"))
    for words in ("Benchmark: lima", "lima 0.300 [0.250, 0.350]", "Of lima."):
        assert words in page.text, words
    assert [image["alt"] for image in page.of("img")] == ["Lima by number of labels"]


def test_the_same_files_give_the_same_page(tmp_path):
    folder = segmentation(tmp_path / "run")
    assert page_of(folder).source == page_of(folder).source


def test_several_runs_have_a_table_of_contents(tmp_path):
    page = page_of(pretraining(tmp_path / "a"), regression(tmp_path / "b"), title="My city")
    assert "My city" in page.text
    assert {link["href"] for link in page.of("a")} == {"#content", "#s1", "#s2"}
    assert "RMSE 4.000" in page.text[: page.text.index("Rose learned")]


def test_a_run_without_what_later_versions_write_has_a_page(tmp_path):
    folder = pretraining(tmp_path / "run")
    for name in ("attention.json", "reconstruction.json", "figures/reconstruction_osm.png"):
        (folder / name).unlink()
    page = page_of(folder)
    assert "Losses" in page.text
    assert "Where OSM objects look" not in page.text


def test_a_model_measured_without_training_has_no_curves(tmp_path):
    folder = regression(tmp_path / "run")
    (folder / "seed_0" / "metrics.csv").unlink()
    results = folder / "results.json"
    results.write_text(results.read_text().replace('"epochs": 3', '"epochs": 0'))
    page = page_of(folder)
    assert "without training" in page.text
    assert "validation" not in page.text


def test_a_page_shows_the_figures_that_suit_its_ground_and_those_of_older_runs(tmp_path):
    folder = pretraining(tmp_path / "run")
    page = page_of(folder)
    new, *older = page.of("img")[:3]
    assert new["src"].startswith("data:image/svg+xml,")
    assert unquote(new["src"]).endswith(SVG)
    assert (new["width"], new["height"]) == ("40", "20")
    assert all(image["src"].startswith("data:image/png;base64,") for image in older)
    assert [figure["class"] for figure in page.of("figure")] == ["picture", *["picture card"] * 2]
    (folder / "figures" / "loss.svg").unlink()
    assert page_of(folder).of("figure")[0]["class"] == "picture card"


def test_large_pictures_are_packed_and_keep_their_transparency(tmp_path):
    path, noise = tmp_path / "noise.png", Image.effect_noise((500, 500), 60)
    Image.merge("RGBA",
                [noise, noise, noise, Image.linear_gradient("L").resize((500, 500))]).save(path)
    assert path.stat().st_size > LARGE
    uri, *size = picture(path)
    assert uri.startswith("data:image/webp;base64,")
    assert len(uri) < path.stat().st_size
    assert size == [500, 500]


def test_data_cannot_end_the_script_that_holds_it():
    assert script_json({"name": HOSTILE}).count("<") == 2


def test_the_command_joins_folders(tmp_path, monkeypatch, capsys):
    folders = [pretraining(tmp_path / "a,b=c"), scene(tmp_path / "map")]
    monkeypatch.setattr(sys, "argv", ["make_report.py", *map(str, folders),
                                      f"out={tmp_path / 'new' / 'page.html'}", "title=My city"])
    make_report.main()
    page = Page(tmp_path / "new" / "page.html")
    assert "2 runs" in capsys.readouterr().out
    assert "Land use of city.tif" in page.text
    assert "My city" in page.text


def test_studies_and_grids_link_to_the_pages_of_their_runs(tmp_path):
    study(tmp_path / "a [1]" / "study"), grid(tmp_path / "grid")
    page = page_of(tmp_path / "grid", tmp_path / "a [1]" / "study")
    links = [link["href"] for link in page.of("a") if not link["href"].startswith("#")]
    assert [unquote(link) for link in links] == [
        "../grid/run_1/report.html", *["../a [1]/study/model_0/report.html"] * 3]
    assert all((tmp_path / "page" / unquote(link)).is_file() for link in links)


@pytest.mark.parametrize("made", [
    lambda folder: study(folder, HOSTILE), lambda folder: study(folder, name=HOSTILE),
    lambda folder: attention_study(folder, HOSTILE), lambda folder: grid(folder, HOSTILE)])
def test_what_a_study_or_a_grid_says_is_text(tmp_path, made):
    page = page_of(made(tmp_path / "run"))
    assert len(page.of("script")) == 1  # the page's own
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert " ".join(HOSTILE.split()) in page.text
