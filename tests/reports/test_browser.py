"""Pages in a browser: nothing fails while they load, and clicks, keys and sliders do their work."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from reports import write_report
from tests.reports.folders import pretraining, regression, scene, segmentation, wide_study
from utils.drawing import themed_svg
from utils.style import OSM_COLOUR

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
               None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="neither chromium nor google-chrome is on the PATH")

TELL = """
const tell = results => document.body.append(Object.assign(
  document.createElement("pre"), { id: "results", textContent: JSON.stringify(results) }));
"""
# Each check is an expression that is true if the page works; they run in this order, in one page
# of all kinds of runs.
CHECKS = """
const one = (name, within = document) => within.querySelector(name);
const all = (name, within = document) => [...within.querySelectorAll(name)];
const send = (target, event) => target.dispatchEvent(event);
const key = (target, name) =>
  send(target, new KeyboardEvent("keydown", { key: name, bubbles: true }));
const point = (target, type, x, y, id = 1) =>
  send(target, new PointerEvent(type, { clientX: x, clientY: y, pointerId: id, bubbles: true }));
const wheel = () => new WheelEvent("wheel", { deltaY: 200, bubbles: true, cancelable: true });
const look = layer => getComputedStyle(one(`img[data-layer='${layer}']`));
const alpha = (stage, patch) => one("canvas", stage).getContext("2d")
  .getImageData(patch % 4, Math.floor(patch / 4), 1, 1).data[3];
const set = (input, value) => {
  input.value = value;
  send(input, new Event("input", { bubbles: true }));
};
const frame = one(".frame"), layers = one(".layers"), box = frame.getBoundingClientRect();
const scale = () => new DOMMatrix(layers.style.transform).a;
const left = () => new DOMMatrix(layers.style.transform).e;
frame.setPointerCapture = () => {};
const block = one(".attention"), tabs = all(".tabs");
const checks = {
  "a tab shows its panel alone": () => {
    one("[role=tab]:nth-child(2)", tabs[0]).click();
    const shown = all("[role=tabpanel]", tabs[0]).map(panel => !panel.hidden).join();
    one("[role=tab]", tabs[0]).click();
    return shown === "false,true" && !all("[role=tabpanel]", tabs[0])[0].hidden;
  },
  "arrow keys go through tabs": () => {
    one("[role=tab]", tabs[1]).focus();
    key(one("[role=tab]", tabs[1]), "ArrowRight");
    const now = document.activeElement;
    return now.textContent === "seed 1" && now.getAttribute("aria-selected") === "true";
  },
  "no heat before a choice": () => alpha(block, 0) === 0 && alpha(block, 1) === 0,
  "a click on a box shows where it looks": () => {
    send(one("polygon[data-object='1']", block), new MouseEvent("click", { bubbles: true }));
    return alpha(block, 1) > 100 && alpha(block, 0) === 0
      && one("output", block).textContent.includes("18.0% of its attention");
  },
  "the box and its row are marked": () => {
    const marked = all(".on", block).map(item => item.tagName.toLowerCase());
    return marked.sort().join() === "button,polygon,tr";
  },
  "a button of the list does so, too": () => {
    one("button[data-object='0']", block).click();
    return alpha(block, 0) > 100;
  },
  "arrow keys go from object to object": () => {
    key(one(".stage svg"), "ArrowRight");
    return alpha(block, 1) > 100;
  },
  "the heat fades": () => { set(one("[data-opacity]"), 0); return alpha(block, 1) === 0; },
  "the mean of the objects is taken away": () => {
    set(one("[data-opacity]"), 100);
    key(one(".stage svg"), "ArrowLeft");
    const before = one("[data-peak]").textContent;
    one("[data-relative]").click();
    return before.startsWith("4.0") && one("[data-peak]").textContent.startsWith("2.00");
  },
  "a layer is switched off": () => {
    one("input[type=checkbox][data-layer='1']").click();
    return look(1).display === "none" && look(0).display !== "none";
  },
  "and on": () => {
    one("input[type=checkbox][data-layer='1']").click();
    return look(1).display !== "none";
  },
  "a layer fades": () => {
    set(one("input[type=range][data-layer='1']"), 30);
    return look(1).opacity === "0.3";
  },
  "keys zoom": () => { key(frame, "+"); return scale() === 1.5; },
  "the scale bar follows": () => {
    const metres = Number(one(".scale-bar span").textContent.split(" ")[0]);
    const pixels = one(".scale-bar i").getBoundingClientRect().width;
    return Math.abs(pixels / metres - frame.clientWidth * 1.5 / 400) < 0.01;
  },
  "keys move": () => {
    const before = left();
    key(frame, "ArrowRight");
    return left() === before - 60;
  },
  "the pointer moves": () => {
    const before = left();
    point(frame, "pointerdown", box.left + 100, box.top + 50);
    point(frame, "pointermove", box.left + 120, box.top + 50);
    point(frame, "pointerup", box.left + 120, box.top + 50);
    point(frame, "pointermove", box.left + 190, box.top + 50);
    return left() === before + 20;
  },
  "two fingers zoom": () => {
    const before = scale();
    point(frame, "pointerdown", box.left + 100, box.top + 50, 1);
    point(frame, "pointerdown", box.left + 200, box.top + 50, 2);
    point(frame, "pointermove", box.left + 300, box.top + 50, 2);
    point(frame, "pointerup", 0, 0, 1);
    point(frame, "pointerup", 0, 0, 2);
    return Math.abs(scale() / before - 2) < 1e-6;
  },
  "the wheel zooms a chosen map": () => {
    const before = scale();
    frame.focus();
    send(frame, wheel());
    return scale() < before;
  },
  "the wheel scrolls past a map that is not chosen": () => {
    const before = scale(), turned = wheel();
    frame.blur();
    send(frame, turned);
    return scale() === before && !turned.defaultPrevented
      && one(".hint").classList.contains("on");
  },
  "a button shows all again": () => {
    one("[data-do=home]").click();
    return scale() === 1 && left() === 0;
  },
  "a click sorts a table, what has no value last": () => {
    const table = one("table.sortable"), button = all("thead button", table)[1];
    const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent);
    button.click();
    const falling = order();
    button.click();
    return falling.join() === "fusion,osm_raster,without a model: class prior,image"
      && order().join() === "without a model: class prior,osm_raster,fusion,image"
      && all("[aria-sort]", table).length === 1
      && one("[aria-sort=ascending]", table).textContent === "0";
  },
  "names sort as text": () => {
    const table = one("table.sortable");
    one("thead button", table).click();
    return table.tBodies[0].rows[0].cells[0].textContent === "fusion";
  },
};
const results = {};
for (const [name, check] of Object.entries(checks)) {
  try { results[name] = check(); } catch (error) { results[name] = String(error); }
}
tell(results);
"""


def browse(page: Path, *options: str) -> tuple[str, str]:
    """Return the document after the page's scripts have run, and the lines of the console."""
    home = page.parent / "browser"
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
         "--enable-logging=stderr", "--dump-dom",
         "--window-size=1200,900", f"--user-data-dir={home}", *options, page.as_uri()],
        capture_output=True, text=True, timeout=60)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def run_in(page: Path, code: str, *options: str) -> dict:
    """Return what `code` tells, run in a page."""
    # Without the policy, which would stop the code.
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    changed = page.with_name("checked.html")
    changed.write_text(source.replace("</body>", f"<script>{TELL}{code}</script></body>"))
    document, console = browse(changed, *options)
    assert "Uncaught" not in console
    return json.loads(html.unescape(re.search(r'<pre id="results">(.*?)</pre>', document,
                                              re.DOTALL)[1]))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    runs = [pretraining(folder / "a"), segmentation(folder / "b"), regression(folder / "c"),
            scene(folder / "d"), wide_study(folder / "e")]
    write_report(runs, folder / "report.html")
    return folder / "report.html"


def test_a_page_loads_without_a_complaint_under_its_own_policy(page):
    document, console = browse(page)
    assert console == ""
    assert 'class="tabs live"' in document  # its scripts ran


def test_the_policy_stops_other_scripts(page):
    changed = page.with_name("changed.html")
    script = "<script>document.title = 'changed'</script>"
    changed.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    document, console = browse(changed)
    assert "<title>changed" not in document
    assert "Content Security Policy" in console


def test_a_map_has_the_shape_of_its_ground_and_its_pictures_fill_it(tmp_path):
    """The pictures are twice as wide as high, as those of a raster in degrees may be whose ground
    is higher than wide."""
    described = scene(tmp_path / "map") / "scene.json"
    described.write_text(described.read_text().replace("400.0, 200.0", "250.0, 334.0"))
    write_report([tmp_path / "map"], tmp_path / "page.html")
    measure = """
      const sides = item => {
        const box = item.getBoundingClientRect();
        return [box.width, box.height];
      };
      const frame = document.querySelector(".frame"), bar = document.querySelector(".scale-bar");
      tell({ frame: sides(frame), pictures: [...frame.querySelectorAll("img")].map(sides),
             metres: Number(bar.textContent.split(" ")[0]) / sides(bar.querySelector("i"))[0] });
      """
    measured = run_in(tmp_path / "page.html", measure)
    width, height = measured["frame"]
    assert width / height == pytest.approx(250 / 334, rel=1e-2)
    assert measured["pictures"] == [pytest.approx([width, height], rel=1e-3)] * 3
    assert measured["metres"] == pytest.approx(250 / width, rel=1e-2)
    assert measured["metres"] == pytest.approx(334 / height, rel=1e-2)


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_the_ink_of_a_figure_is_light_on_dark_pages_and_dark_on_light_ones(tmp_path, scheme):
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    axes.set_title("a title")
    axes.plot([0, 1], color=OSM_COLOUR, linewidth=9)
    folder = pretraining(tmp_path / "run")
    (folder / "figures" / "loss.svg").write_text(themed_svg(figure))
    write_report([folder], tmp_path / "page.html")
    count = """
      const image = document.querySelector("figure.picture img");
      const canvas = document.createElement("canvas");
      image.decode().then(() => {
        [canvas.width, canvas.height] = [image.width, image.height];
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data, colours = {};
        for (let at = 0; at < pixels.length; at += 4) {
          const colour = pixels.slice(at, at + 4).join();
          colours[colour] = (colours[colour] ?? 0) + 1;
        }
        tell(colours);
      });"""
    pixels = run_in(tmp_path / "page.html", count,
                    f"--blink-settings=preferredColorScheme={scheme}")
    light, dark = ("231,235,236,255", "215,154,96,255"), ("28,34,38,255", "188,108,37,255")
    expected, others = (light, dark) if scheme == 0 else (dark, light)
    assert all(pixels.get(colour, 0) > 20 for colour in expected)
    assert not any(colour in pixels for colour in others)


def test_a_page_does_what_it_promises(page):
    results = run_in(page, CHECKS)
    assert {name: result for name, result in results.items() if result is not True} == {}
    assert len(results) == 22
